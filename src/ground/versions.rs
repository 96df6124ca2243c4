//! Versions of the host's API: what an event's payload is for webhooks that are pinned to an older
//! one.
//!
//! An event is rendered once, when it is built, and keeps what came out: a later release of the host,
//! with other functions, sends the same bytes on the next attempt.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::change::written_object;
use super::error::{Error, ErrorKind, Result};
use super::event::{Event, is_too_deep, names_version, too_big, too_deep};
use super::json::{self, Member, Walk};
use super::webhook::{API_VERSION_DEFAULT, API_VERSION_LATEST, check_version_name};
use crate::policy::{RENDERINGS_BYTES_MAX, VERSIONS_OLDER_MAX};

type BoxError = Box<dyn StdError + Send + Sync>;
type Render = dyn Fn(&Event) -> Result<VersionedData, BoxError> + Send + Sync;

/// The versions of the host's API: the newest, which events are built in, and older ones, each with a
/// function that makes its `data` of the newest event.
///
/// A webhook that is [pinned](crate::Edit::api_version) to an older version gets payloads that differ
/// in `data` and `apiVersion` from those of the others, and in nothing else: same id, type, mode, time
/// and further keys.
///
/// The functions run once for each event, when it is built, and must be **pure**: what they answer
/// depends on nothing but the event. What they made is stored with the event; all attempts,
/// redeliveries and later releases of the host send that.
///
/// ```
/// use serde_json::{Value, json, value::RawValue};
/// use tidings::{Change, Event, EventId, Timestamp, VersionedData, Versions};
///
/// // Since 2026 an amount names its currency.
/// fn before_2026(event: &Event) -> Result<VersionedData, Box<dyn std::error::Error + Send + Sync>> {
///     let old = |new: &RawValue| -> serde_json::Result<Value> {
///         let mut object: Value = serde_json::from_str(new.get())?;
///         if let Some(amount) = object.pointer_mut("/amount/value").map(Value::take) {
///             object["amount"] = amount;
///         }
///         Ok(object)
///     };
///     let data = VersionedData::of(&old(event.object()?)?)?;
///     Ok(match event.previous_attributes()? {
///         Some(previous) => data.previous_attributes(&old(previous)?)?,
///         None => data,
///     })
/// }
///
/// let versions = Versions::new("2026-01-01")?.older("2025-06-01", before_2026)?;
///
/// let payment = json!({ "id": "p-1", "amount": { "value": 2990, "currency": "EUR" } });
/// let change = Change::of("payment.settled", &payment)?.api_version("2026-01-01")?;
/// let id = EventId::new(Timestamp::UNIX_EPOCH, &[7; 10]);
/// let event = versions.render(change.into_event(id, Timestamp::UNIX_EPOCH)?)?;
/// assert!(event.rendered(Some("2025-06-01")).contains(r#""object":{"amount":2990,"id":"p-1"}"#));
/// assert_eq!(event.rendered(None), event.payload());
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Versions {
    newest: Arc<str>,
    older: Vec<Older>,
}

#[derive(Clone)]
struct Older {
    version: Arc<str>,
    render: Arc<Render>,
}

impl Versions {
    /// The newest version, and no older one.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for the field `apiVersion` unless the name is 1 to 64 letters,
    /// digits, `-`, `_` and `.`, and neither `default` nor `latest`.
    pub fn new(newest: &str) -> Result<Self> {
        Ok(Self { newest: name(newest)?, older: Vec::new() })
    }

    /// Adds an older version. `render` makes its `data` of an event of the newest version; it gets
    /// every event, whatever its type ([`VersionedData::unchanged`] serves those that were the same). It
    /// runs in the call that builds the event, and a panic of it is that caller's.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a version that is there already; [`Limit`](ErrorKind::Limit) for
    /// more than 16 older versions.
    pub fn older<F, E>(mut self, version: &str, render: F) -> Result<Self>
    where
        F: Fn(&Event) -> Result<VersionedData, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let version = name(version)?;
        if self.has(&version) {
            return Err(Error::invalid("apiVersion", format!("{version} is given twice")));
        }
        if self.older.len() == VERSIONS_OLDER_MAX {
            let message = format!("at most {VERSIONS_OLDER_MAX} older versions are allowed");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let render = Arc::new(move |event: &Event| render(event).map_err(Into::into));
        self.older.push(Older { version, render });
        Ok(self)
    }

    /// The version that events are built in.
    #[must_use]
    pub fn newest(&self) -> &str {
        &self.newest
    }

    /// All versions: the newest, then the older ones in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let older = self.older.iter().map(|older| &*older.version);
        std::iter::once(&*self.newest).chain(older)
    }

    /// The event with what webhooks get that are pinned to an older version. One that has that already
    /// stays as it is: an event is rendered once.
    ///
    /// `Tidings::event` does so by itself. This is for events that are built in another way.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for the field `apiVersion`, naming the version: when the event is
    /// not of the newest version; when a function fails, with its error as the source; when a payload
    /// would have more than 1 MiB or be nested deeper than 100 levels, or all for older versions together
    /// more than 4 MiB.
    pub fn render(&self, event: Event) -> Result<Event> {
        self.rendered(event, |older, event| {
            (older.render)(event).map_err(|error| {
                let message = format!("the data for version {} could not be made", older.version);
                Error::invalid("apiVersion", message).with_source(error)
            })
        })
    }

    /// As [`render`](Self::render), for an event of the crate's own, of which the host's functions
    /// know nothing: it is the same in all versions.
    #[cfg(feature = "engine")]
    pub(crate) fn render_own(&self, event: Event) -> Result<Event> {
        self.rendered(event, |_, event| VersionedData::unchanged(event))
    }

    fn rendered(
        &self,
        event: Event,
        data: impl Fn(&Older, &Event) -> Result<VersionedData>,
    ) -> Result<Event> {
        if event.renderings().is_some() {
            return Ok(event);
        }
        if event.api_version() != Some(&self.newest) {
            let names = event.api_version().map_or("no version".into(), |own| format!("{own:?}"));
            let message = format!("the event names {names}; the newest is {:?}", self.newest);
            return Err(Error::invalid("apiVersion", message));
        }
        if self.older.is_empty() {
            return Ok(event);
        }
        let top = json::members(event.payload())
            .ok_or_else(|| Error::new(ErrorKind::Storage, "the stored payload is not JSON"))?;
        let mut text = String::from("{");
        for older in &self.older {
            let payload = payload(&top, &older.version, &data(older, &event)?.text());
            check(&older.version, &payload)?;
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&format!(r#""{}":"#, older.version));
            text.push_str(&payload);
            if text.len() >= RENDERINGS_BYTES_MAX {
                let message = format!(
                    "the payloads for older versions, up to {}, have {} bytes together; at most \
                     {RENDERINGS_BYTES_MAX} are allowed",
                    older.version,
                    text.len() + 1
                );
                return Err(Error::invalid("apiVersion", message));
            }
        }
        text.push('}');
        Ok(event.with_renderings(text))
    }

    /// Checks that a webhook may be pinned to this.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for the field `apiVersion`, naming the versions that there are.
    #[cfg(feature = "engine")]
    pub(crate) fn check_pin(&self, pin: Option<&str>) -> Result<()> {
        match pin {
            Some(version) if version != API_VERSION_LATEST && !self.has(version) => {
                let names: Vec<&str> = self.names().collect();
                let message = format!(
                    "there is no version {version}; {}, {API_VERSION_LATEST} and \
                     {API_VERSION_DEFAULT} are known",
                    names.join(", ")
                );
                Err(Error::invalid("apiVersion", message))
            }
            _ => Ok(()),
        }
    }

    fn has(&self, version: &str) -> bool {
        self.names().any(|name| name == version)
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Versions")?;
        f.debug_list().entries(self.names()).finish()
    }
}

/// A name that can be told from those that stand for the newest version.
fn name(version: &str) -> Result<Arc<str>> {
    check_version_name(version)?;
    if [API_VERSION_DEFAULT, API_VERSION_LATEST].contains(&version) {
        return Err(Error::invalid("apiVersion", format!("{version} is no version's name")));
    }
    Ok(version.into())
}

/// The payload with these top-level members, but of this version and with this `data`.
fn payload(top: &[Member<'_>], version: &str, data: &str) -> String {
    let mut out = String::from("{");
    for member in top {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&format!(r#""{}":"#, member.spelled));
        match &*member.key {
            b"data" => out.push_str(data),
            // A name has nothing to escape.
            key if names_version(key) => out.push_str(&format!(r#""{version}""#)),
            _ => out.push_str(member.value),
        }
    }
    out.push('}');
    out
}

fn check(version: &str, payload: &str) -> Result<()> {
    let problem = too_big(payload.len()).or_else(|| is_too_deep(payload).then(too_deep));
    problem.map_or(Ok(()), |problem| {
        let message = format!("the payload for version {version} {problem}");
        Err(Error::invalid("apiVersion", message))
    })
}

/// What an older version of a resource is, as its receivers know it: `data`.
///
/// As with a [`Change`](crate::Change), it is written as JSON at once and kept as text, so that numbers
/// of any length and spelling survive.
#[derive(Clone)]
#[must_use]
pub struct VersionedData {
    object: Box<RawValue>,
    previous: Option<Box<RawValue>>,
}

impl VersionedData {
    /// The resource as it is after the change: `data.object`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for the field `data.object` when it cannot be written as a JSON
    /// object.
    pub fn of(object: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self { object: written_object("data.object", object)?, previous: None })
    }

    /// Sets the attributes that changed, with their values before: `data.previousAttributes`. `{}`
    /// stands for none.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for the field `previousAttributes` when they cannot be written as
    /// a JSON object.
    pub fn previous_attributes(mut self, attributes: &(impl Serialize + ?Sized)) -> Result<Self> {
        let written = written_object("previousAttributes", attributes)?;
        self.previous = Some(written).filter(|written| !json::is_empty_object(written.get()));
        Ok(self)
    }

    /// The same object and previous attributes as in the newest version, in the same spelling.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) when the event's payload was damaged where it was kept.
    pub fn unchanged(event: &Event) -> Result<Self> {
        let previous = event.previous_attributes()?.map(ToOwned::to_owned);
        Ok(Self { object: event.object()?.to_owned(), previous })
    }

    fn text(&self) -> String {
        let object = self.object.get();
        match &self.previous {
            None => format!(r#"{{"object":{object}}}"#),
            Some(previous) => {
                format!(r#"{{"object":{object},"previousAttributes":{}}}"#, previous.get())
            }
        }
    }
}

impl fmt::Debug for VersionedData {
    /// Leaves the resource out: it may hold what does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionedData")
            .field("bytes", &self.object.get().len())
            .finish_non_exhaustive()
    }
}

/// Where the payload for a version stands in the column of renderings: a JSON object whose keys are
/// the versions, and whose values are the payloads as they are, for they are JSON themselves.
#[derive(Debug)]
pub(super) struct Rendering {
    version: Box<str>,
    at: Range<usize>,
}

impl Rendering {
    pub(super) fn is_for(&self, version: &str) -> bool {
        *self.version == *version
    }

    /// The payload, of the column's text.
    pub(super) fn of<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(self.at.clone())
    }
}

/// The renderings in a column's text; `None` when it is damaged: then it is not known of what there
/// was one.
pub(super) fn read(text: &str) -> Option<Vec<Rendering>> {
    let mut walk = Walk::new(text);
    let mut found = Vec::new();
    if !walk.eat(b'{') {
        return None;
    }
    loop {
        let version = walk.key()?.into();
        let payload = walk.value().filter(|payload| json::is_object(payload))?;
        let end = walk.at();
        found.push(Rendering { version, at: end - payload.len()..end });
        if !walk.eat(b',') {
            break;
        }
    }
    (walk.eat(b'}') && walk.rest().is_empty()).then_some(found)
}
