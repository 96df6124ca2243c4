//! An event: something that happened, as it is stored and sent.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::value::RawValue;

use super::account::{Account, Mode};
use super::digest::Digest;
use super::error::{Error, ErrorKind, Result};
use super::event_type::EventType;
use super::id::EventId;
use super::json::{self, Member, unescape};
use super::order::OrderKey;
use super::time::{Timestamp, parse_time, to_millis};
use super::trace::TraceContext;
use super::versions::{self, Rendering};
use super::webhook::API_VERSION_LATEST;
use crate::policy::{API_VERSION_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};

/// The keys under which a payload may carry the version of the resource's shape: the crate's own,
/// then the two spellings that are known from elsewhere (domain 8, row 9).
const VERSION_KEYS: [&str; 3] = ["apiVersion", "digitalriverVersion", "digitalRiverVersion"];

/// Whether the version of the resource's shape may stand under this key.
pub(super) fn names_version(key: &[u8]) -> bool {
    VERSION_KEYS.iter().any(|known| known.as_bytes() == key)
}

/// Top-level keys with a meaning of their own.
pub(crate) fn is_reserved(key: &str) -> bool {
    ["id", "type", "data", "liveMode", "createdTime"].contains(&key) || VERSION_KEYS.contains(&key)
}

/// Something that happened to a resource. Immutable, valid, and cheap to clone.
///
/// An event is built by a [`Change`](crate::Change) or read from a payload. The payload's bytes are
/// fixed from then on, and so are those of its older [`Versions`](crate::Versions): every attempt to
/// deliver the event sends exactly these, to each webhook those of the version that it is pinned to.
#[derive(Clone, PartialEq, Eq)]
pub struct Event(Arc<Inner>);

struct Inner {
    columns: StoredEvent,
    /// Found in the payload when first asked for.
    api_version: OnceLock<Option<Box<str>>>,
    /// Found in the column of renderings when first asked for.
    rendered: OnceLock<Option<Vec<Rendering>>>,
}

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
    }
}

impl Eq for Inner {}

/// An event as a storage keeps it: one column for each field.
#[derive(Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // Storages build it; a new column is a new schema anyway.
pub struct StoredEvent {
    /// The id.
    pub id: EventId,
    /// Whose event it is.
    pub account: Account,
    /// Live or test.
    pub mode: Mode,
    /// What happened.
    pub event_type: EventType,
    /// When it happened, in whole milliseconds.
    pub created: Timestamp,
    /// The exact text that is sent. To be kept byte for byte: as text or bytes, never as a JSON type
    /// of a database, which rewrites numbers and the order of keys.
    pub payload: Arc<str>,
    /// What tells a repetition of the publish from other content.
    pub digest: Digest,
    /// The [key](crate::Change::key) that the host gave with the change.
    pub key: Option<Arc<str>>,
    /// The payloads of older [`Versions`](crate::Versions), if there are any, in one text. To be kept
    /// byte for byte, like the payload.
    pub renderings: Option<Arc<str>>,
    /// The [trace](crate::Change::trace) that the event belongs to, if there is one. It does not tell one
    /// publish from another.
    pub trace: Option<Arc<str>>,
}

impl Event {
    /// Reads the payload of an event, as a host has it or a receiver got it. The text is kept as it
    /// is, white space, key order and unknown keys included.
    ///
    /// Reading is tolerant of what senders of such events are known to leave out or spell otherwise
    /// (domain 2 and 8): `id` may have the prefix `evt_`; `liveMode` is `true` when missing;
    /// `createdTime` is `fallback_created` (the time of receipt, say) when missing, and may have 0
    /// to 9 digits of fraction and an offset like `+0000`; `previousAttributes` may be missing,
    /// `null` or `{}`; the version may stand under `apiVersion`, `digitalriverVersion` or
    /// `digitalRiverVersion`. Of a repeated key the last value counts.
    ///
    /// ```
    /// use tidings::{Account, Event, Timestamp};
    ///
    /// let payload = r#"{"id": "0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10", "type": "order.accepted",
    ///     "data": {"object": {"id": "247", "total": 29.90}}, "liveMode": true}"#;
    /// let event = Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH)?;
    /// assert_eq!(event.event_type().as_str(), "order.accepted");
    /// assert_eq!(event.object()?.get(), r#"{"id": "247", "total": 29.90}"#);
    /// assert_eq!(event.payload(), payload);
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field: `payload` when the text has more
    /// than 1 MiB, is not JSON, not an object or nested deeper than 100 levels; `id`, `type`,
    /// `data`, `data.object` when missing or malformed; `data.previousAttributes`, `liveMode`,
    /// `createdTime`, `apiVersion` when malformed.
    pub fn parse(
        payload: impl AsRef<str> + Into<Arc<str>>,
        account: Account,
        fallback_created: Timestamp,
    ) -> Result<Self> {
        let text = payload.as_ref();
        check_size(text.len())?;
        serde_json::from_str::<&RawValue>(text)
            .map_err(|error| Error::invalid("payload", "is not JSON").with_source(error))?;
        let top =
            json::members(text).ok_or_else(|| Error::invalid("payload", "is not a JSON object"))?;
        if is_too_deep(text) {
            return Err(Error::invalid("payload", too_deep()));
        }

        let id = required(&top, "id", "id").and_then(|value| string("id", value))?;
        let id = EventId::parse(id.strip_prefix("evt_").unwrap_or(&id))?;
        let event_type = required(&top, "type", "type").and_then(|value| string("type", value))?;
        let event_type = EventType::parse(&event_type)?;
        let data = required(&top, "data", "data")?;
        check_data(data)?;
        let mode = match optional(&top, "liveMode") {
            None => Mode::default(),
            Some("true") => Mode::Live,
            Some("false") => Mode::Test,
            Some(_) => return Err(Error::invalid("liveMode", "is not true or false")),
        };
        let created = match optional(&top, "createdTime") {
            None => fallback_created,
            Some(value) => parse_time(&string("createdTime", value)?).ok_or_else(|| {
                Error::invalid("createdTime", "is not a time like 2026-01-31T08:15:30.120Z")
            })?,
        };
        let api_version = version(&top)?;
        let digest = Digest::of(&account, mode, &event_type, data);
        let event = Self::from_stored(StoredEvent {
            id,
            account,
            mode,
            event_type,
            created: check_created(created)?,
            payload: payload.into(),
            digest,
            key: None,
            renderings: None,
            trace: None,
        });
        let _ = event.0.api_version.set(api_version.map(Into::into));
        Ok(event)
    }

    /// The event that a storage kept. Its columns are trusted: nothing is read again.
    pub fn from_stored(stored: StoredEvent) -> Self {
        let (api_version, rendered) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { columns: stored, api_version, rendered }))
    }

    /// The columns for a storage to keep.
    pub fn to_stored(&self) -> StoredEvent {
        self.0.columns.clone()
    }

    /// The id: the same on every attempt, sent as `webhook-id`.
    pub fn id(&self) -> EventId {
        self.0.columns.id
    }

    /// Whose event it is. It is not part of the payload.
    pub fn account(&self) -> &Account {
        &self.0.columns.account
    }

    /// Live or test: `liveMode`.
    pub fn mode(&self) -> Mode {
        self.0.columns.mode
    }

    /// What happened: `type`.
    pub fn event_type(&self) -> &EventType {
        &self.0.columns.event_type
    }

    /// When it happened, in whole milliseconds: `createdTime`.
    pub fn created(&self) -> Timestamp {
        self.0.columns.created
    }

    /// The exact text that is signed and sent, to webhooks that are not pinned to an older version. Empty
    /// where it [was expunged](Self::is_expunged).
    pub fn payload(&self) -> &str {
        &self.0.columns.payload
    }

    /// Whether the payload was expunged where it was kept, and is empty: who asked for it had a right to
    /// be forgotten. It is never sent again.
    pub fn is_expunged(&self) -> bool {
        self.payload().is_empty()
    }

    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when it [was expunged](Self::is_expunged).
    pub(crate) fn kept_whole(&self) -> Result<()> {
        if self.is_expunged() {
            let message = format!("the payload of event {} was expunged", self.id());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(())
    }

    /// The payload, shared rather than copied.
    pub fn payload_arc(&self) -> Arc<str> {
        Arc::clone(&self.0.columns.payload)
    }

    /// The exact text that is signed and sent to a webhook that is pinned to `version`
    /// ([`Webhook::api_version`](crate::Webhook::api_version)): what was rendered for that version when
    /// the event was built ([`Versions`](crate::Versions)).
    ///
    /// It is the [`payload`](Self::payload) for a webhook that is not pinned, for `latest`, and for a
    /// version of which the event has no rendering. It is the payload, too, where what was rendered was
    /// damaged where it was kept; that is never sent to such a webhook: the attempt fails instead.
    pub fn rendered(&self, version: Option<&str>) -> &str {
        self.try_rendered(version).unwrap_or_else(|_| self.payload())
    }

    /// As [`rendered`](Self::rendered), but for damage.
    pub(crate) fn try_rendered(&self, version: Option<&str>) -> Result<&str> {
        let older = version.filter(|version| *version != API_VERSION_LATEST);
        let Some((version, text)) = older.zip(self.renderings()) else {
            return Ok(self.payload());
        };
        let rendered = self.0.rendered.get_or_init(|| versions::read(text)).as_ref();
        let rendered = rendered.ok_or_else(|| {
            let message = "what is stored for older versions of the payload is damaged";
            Error::new(ErrorKind::Storage, message)
        })?;
        let found = rendered.iter().find(|rendering| rendering.is_for(version));
        Ok(found.and_then(|found| found.of(text)).unwrap_or_else(|| self.payload()))
    }

    /// The payloads of older versions, as a storage keeps them: one column.
    pub fn renderings(&self) -> Option<&str> {
        self.0.columns.renderings.as_deref()
    }

    /// How many bytes of payload there are to keep, in all versions.
    #[cfg(feature = "engine")]
    pub(crate) fn bytes(&self) -> usize {
        self.payload().len() + self.renderings().map_or(0, str::len)
    }

    /// The event as it is kept once its payload [was expunged](Self::is_expunged).
    #[must_use]
    pub fn expunged(&self) -> Self {
        Self::from_stored(StoredEvent {
            payload: "".into(),
            renderings: None,
            trace: None,
            ..self.to_stored()
        })
    }

    /// The event with these renderings.
    pub(super) fn with_renderings(&self, renderings: String) -> Self {
        let renderings = Some(renderings.into());
        Self::from_stored(StoredEvent { renderings, ..self.to_stored() })
    }

    /// What tells a repetition of the publish from other content under the same id. It is taken of
    /// the payload alone.
    pub fn digest(&self) -> Digest {
        self.0.columns.digest
    }

    /// The version of the resource's shape, where the payload names one.
    pub fn api_version(&self) -> Option<&str> {
        self.0
            .api_version
            .get_or_init(|| {
                let top = json::members(self.payload())?;
                version(&top).ok()?.map(Into::into)
            })
            .as_deref()
    }

    /// The resource that changed: `data.object`. It is `{}` where the resource was deleted.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) when the payload was damaged where it was kept;
    /// [`NotFound`](crate::ErrorKind::NotFound) when it [was expunged](Self::is_expunged).
    pub fn object(&self) -> Result<&RawValue> {
        self.in_data("object")?.ok_or_else(|| damaged("has no data.object"))
    }

    /// The attributes that changed, with their values before: `data.previousAttributes`. `None`
    /// when there are none.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn previous_attributes(&self) -> Result<Option<&RawValue>> {
        let found = self.in_data("previousAttributes")?;
        Ok(found.filter(|value| !json::is_empty_object(value.get())))
    }

    /// The [key](crate::Change::key) that the host gave with the change.
    pub fn key(&self) -> Option<&str> {
        self.0.columns.key.as_deref()
    }

    /// The [trace](crate::Change::trace) that the event belongs to.
    pub fn trace(&self) -> Option<TraceContext> {
        self.0.columns.trace.as_ref().and_then(TraceContext::from_stored)
    }

    /// The trace, as a storage keeps it: one column.
    pub fn trace_text(&self) -> Option<&str> {
        self.0.columns.trace.as_deref()
    }

    /// What the event has in common with those that it must follow at a webhook that is
    /// [ordered](crate::Ordering::PerObject). It is read from the payload each time.
    pub fn order_key(&self) -> OrderKey {
        if let Some(key) = self.key() {
            return OrderKey::of(Some(key));
        }
        let ids = json::members(self.payload()).and_then(|top| {
            let data = json::members(json::find(&top, "data")?)?;
            let id = |part| optional(&json::members(optional(&data, part)?)?, "id");
            id("object").or_else(|| id("previousAttributes"))
        });
        match ids {
            // The text of a string and the digits of a number name the same object.
            Some(id) => match id.strip_prefix('"').and_then(|id| id.strip_suffix('"')) {
                Some(spelled) => OrderKey::of(Some(&String::from_utf8_lossy(&unescape(spelled)))),
                None => OrderKey::of(Some(id)),
            },
            None => OrderKey::of(None),
        }
    }

    fn in_data(&self, key: &str) -> Result<Option<&RawValue>> {
        self.kept_whole()?;
        let top = json::members(self.payload()).ok_or_else(|| damaged("is not JSON"))?;
        let data = json::find(&top, "data").and_then(json::members);
        let data = data.ok_or_else(|| damaged("has no data"))?;
        optional(&data, key)
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| damaged("is not JSON").with_source(error))
    }
}

/// The parts of an event that a caller has already checked.
pub(crate) struct Parts {
    pub(crate) id: EventId,
    pub(crate) account: Account,
    pub(crate) mode: Mode,
    pub(crate) event_type: EventType,
    pub(crate) created: Timestamp,
    pub(crate) api_version: Option<Box<str>>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) trace: Option<Arc<str>>,
}

impl Event {
    /// The event of these parts, whose payload is `payload` and has its `data` at `data`.
    pub(crate) fn from_parts(
        parts: Parts,
        payload: String,
        data: std::ops::Range<usize>,
    ) -> Result<Self> {
        check_size(payload.len())?;
        let data = &payload[data];
        let digest = Digest::of(&parts.account, parts.mode, &parts.event_type, data);
        let event = Self::from_stored(StoredEvent {
            id: parts.id,
            account: parts.account,
            mode: parts.mode,
            event_type: parts.event_type,
            created: parts.created,
            payload: payload.into(),
            digest,
            key: parts.key,
            renderings: None,
            trace: parts.trace,
        });
        let _ = event.0.api_version.set(parts.api_version);
        Ok(event)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.columns.describe("Event", f)
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe("StoredEvent", f)
    }
}

impl StoredEvent {
    /// Leaves the payload out: it may hold what does not belong in a log.
    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("id", &self.id)
            .field("type", &self.event_type.as_str())
            .field("account", &self.account.as_str())
            .field("mode", &self.mode)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// `created` in whole milliseconds, if text of the usual form can express it.
pub(crate) fn check_created(created: Timestamp) -> Result<Timestamp> {
    if !(0..=9999).contains(&chrono::Datelike::year(&created)) {
        return Err(Error::invalid("createdTime", "is outside the years 0 to 9999"));
    }
    // By the count of milliseconds, as storages do: a leap second becomes the next one.
    let millis = Timestamp::from_timestamp_millis(created.timestamp_millis());
    Ok(millis.unwrap_or_else(|| to_millis(created)))
}

/// Checks the text of an `apiVersion`.
pub(crate) fn check_version(version: &str) -> Result<()> {
    if version.is_empty() || version.len() > API_VERSION_BYTES_MAX {
        return Err(Error::invalid(
            "apiVersion",
            format!("has {} bytes; 1 to {API_VERSION_BYTES_MAX} are allowed", version.len()),
        ));
    }
    if version.chars().any(char::is_control) {
        return Err(Error::invalid("apiVersion", "has a control character"));
    }
    Ok(())
}

pub(crate) fn too_deep() -> String {
    format!("is nested deeper than {PAYLOAD_DEPTH_MAX} levels")
}

pub(super) fn is_too_deep(payload: &str) -> bool {
    json::depth(payload) > PAYLOAD_DEPTH_MAX
}

/// What is wrong with a payload of so many bytes.
pub(super) fn too_big(bytes: usize) -> Option<String> {
    (bytes > PAYLOAD_BYTES_MAX)
        .then(|| format!("has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} are allowed"))
}

fn check_size(bytes: usize) -> Result<()> {
    too_big(bytes).map_or(Ok(()), |problem| Err(Error::invalid("payload", problem)))
}

/// Checks the kinds of `data`, `data.object` and `data.previousAttributes`.
fn check_data(data: &str) -> Result<()> {
    let members =
        json::members(data).ok_or_else(|| Error::invalid("data", "is not a JSON object"))?;
    if !json::is_object(required(&members, "object", "data.object")?) {
        return Err(Error::invalid("data.object", "is not a JSON object"));
    }
    match optional(&members, "previousAttributes") {
        Some(value) if !json::is_object(value) => {
            Err(Error::invalid("data.previousAttributes", "is not a JSON object"))
        }
        _ => Ok(()),
    }
}

/// The version that the envelope names, under the first key that does.
fn version(top: &[Member<'_>]) -> Result<Option<String>> {
    let Some(value) = VERSION_KEYS.iter().find_map(|key| optional(top, key)) else {
        return Ok(None);
    };
    let version = string("apiVersion", value)?;
    check_version(&version)?;
    Ok(Some(version))
}

/// The text of the value at `key`; nothing where it is missing or `null`.
fn optional<'a>(members: &[Member<'a>], key: &str) -> Option<&'a str> {
    json::find(members, key).filter(|value| *value != "null")
}

fn required<'a>(members: &[Member<'a>], key: &str, field: &'static str) -> Result<&'a str> {
    optional(members, key).ok_or_else(|| Error::invalid(field, "is missing"))
}

fn string(field: &'static str, value: &str) -> Result<String> {
    serde_json::from_str(value)
        .map_err(|error| Error::invalid(field, "is not a string").with_source(error))
}

fn damaged(what: &'static str) -> Error {
    Error::new(ErrorKind::Storage, format!("the stored payload {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::format_time;

    const SAMPLE: &str = r#"{
"id": "86976837-18b5-473c-9a2e-7e774a827670",
"type": "order.accepted",
"data": {
"object": {
"id": "247468780336",
"state": "accepted"
}
}
}"#;

    fn parse(payload: &str) -> Result<Event> {
        Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH)
    }

    /// An envelope with `members` beside an id, a type and data.
    fn envelope(members: &str) -> String {
        format!(
            r#"{{"id":"86976837-18b5-473c-9a2e-7e774a827670","type":"order.accepted","data":{{"object":{{}}}}{members}}}"#
        )
    }

    /// Parses the sample of the seed page, its ellipses removed (seed row E10).
    #[test]
    fn the_sample_event_is_read_without_loss() {
        let event = parse(SAMPLE).unwrap();
        assert_eq!(event.id().to_string(), "86976837-18b5-473c-9a2e-7e774a827670");
        assert_eq!(event.event_type().as_str(), "order.accepted");
        assert_eq!(event.mode(), Mode::Live);
        assert_eq!(event.created(), Timestamp::UNIX_EPOCH);
        assert_eq!(event.api_version(), None);
        assert_eq!(
            event.object().unwrap().get(),
            "{\n\"id\": \"247468780336\",\n\"state\": \"accepted\"\n}"
        );
        assert!(event.previous_attributes().unwrap().is_none());
        assert_eq!(event.payload(), SAMPLE);
    }

    /// Parses a full envelope and looks at every field.
    #[test]
    fn a_full_envelope_is_read() {
        let payload = r#"{"id":"evt_86976837-18b5-473c-9a2e-7e774a827670","type":"subscription.updated",
            "data":{"object":{"n":12345678901234567890,"price":29.90},"previousAttributes":{"price": 9.250}},
            "liveMode":false,"createdTime":"2021-05-06T07:08:09.1234567Z",
            "webhookIds":["a"],"digitalriverVersion":"2021-12-13"}"#;
        let event = parse(payload).unwrap();
        assert_eq!(event.id().to_string(), "86976837-18b5-473c-9a2e-7e774a827670");
        assert_eq!(event.mode(), Mode::Test);
        assert_eq!(format_time(event.created()), "2021-05-06T07:08:09.123Z");
        assert_eq!(event.created().timestamp_subsec_nanos(), 123_000_000);
        assert_eq!(event.api_version(), Some("2021-12-13"));
        assert_eq!(event.object().unwrap().get(), r#"{"n":12345678901234567890,"price":29.90}"#);
        assert_eq!(event.previous_attributes().unwrap().unwrap().get(), r#"{"price": 9.250}"#);
        assert_eq!(event.payload(), payload);
    }

    /// Parses envelopes with members left out, empty or spelled otherwise (table; domain 2 and 8).
    #[test]
    fn reading_is_tolerant() {
        for (members, mode, created, version) in [
            ("", Mode::Live, "1970-01-01T00:00:00.000Z", None),
            (
                r#","liveMode":null,"createdTime":null,"apiVersion":null"#,
                Mode::Live,
                "1970-01-01T00:00:00.000Z",
                None,
            ),
            (r#","liveMode":true,"liveMode":false"#, Mode::Test, "1970-01-01T00:00:00.000Z", None),
            (
                r#","createdTime":"2022-08-25T21:09:39.061+0000""#,
                Mode::Live,
                "2022-08-25T21:09:39.061Z",
                None,
            ),
            (
                r#","createdTime":"2022-08-25T21:09:39.67313Z""#,
                Mode::Live,
                "2022-08-25T21:09:39.673Z",
                None,
            ),
            (
                r#","createdTime":"2016-12-31T23:59:60Z""#,
                Mode::Live,
                "2017-01-01T00:00:00.000Z",
                None,
            ),
            (
                r#","digitalRiverVersion":"2020-01-07""#,
                Mode::Live,
                "1970-01-01T00:00:00.000Z",
                Some("2020-01-07"),
            ),
            (
                r#","digitalriverVersion":"b","apiVersion":"\u0061""#,
                Mode::Live,
                "1970-01-01T00:00:00.000Z",
                Some("a"),
            ),
            (
                r#","clientIds":{"site_id":"x"},"versionIds":[]"#,
                Mode::Live,
                "1970-01-01T00:00:00.000Z",
                None,
            ),
        ] {
            let event =
                parse(&envelope(members)).unwrap_or_else(|error| panic!("{members}: {error}"));
            assert_eq!(event.mode(), mode, "{members}");
            assert_eq!(format_time(event.created()), created, "{members}");
            assert_eq!(event.api_version(), version, "{members}");
            let kept = Event::from_stored(event.to_stored());
            assert_eq!(kept, event);
            assert_eq!(kept.api_version(), version, "{members}");
        }
        for nothing in ["", r#","previousAttributes":null"#, r#","previousAttributes": { }"#] {
            let payload = format!(
                r#"{{"id":"86976837-18b5-473c-9a2e-7e774a827670","type":"a.b","data":{{"object":{{"x":1}}{nothing}}}}}"#
            );
            assert!(parse(&payload).unwrap().previous_attributes().unwrap().is_none());
        }
    }

    /// Parses bad envelopes (table): the error names the field and what is wrong.
    #[test]
    fn errors_name_the_field() {
        let good = envelope("");
        let nested = |levels: usize| {
            let value = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
            envelope(&format!(r#","deep":{value}"#))
        };
        assert!(parse(&nested(PAYLOAD_DEPTH_MAX - 1)).is_ok());
        let id = "86976837-18b5-473c-9a2e-7e774a827670";
        for (payload, field, says) in [
            (String::new(), "payload", "not JSON"),
            ("{".into(), "payload", "not JSON"),
            (format!("{good}x"), "payload", "not JSON"),
            (good.replace("{}", "{...}"), "payload", "not JSON"),
            ("[]".into(), "payload", "not a JSON object"),
            (nested(PAYLOAD_DEPTH_MAX), "payload", "deeper than 100"),
            ("{}".into(), "id", "missing"),
            (good.replace(&format!("\"{id}\""), "null"), "id", "missing"),
            (good.replace(id, "247468780336"), "id", "not a UUID"),
            (good.replace(&format!("\"{id}\""), "7"), "id", "not a string"),
            (good.replace("type", "kind"), "type", "missing"),
            (good.replace("order.accepted", "order"), "type", "1 segments"),
            (good.replace("data", "body"), "data", "missing"),
            (good.replace(r#"{"object":{}}"#, "[]"), "data", "not a JSON object"),
            (good.replace("object", "resource"), "data.object", "missing"),
            (good.replace("{}", "null"), "data.object", "missing"),
            (good.replace("{}", r#""x""#), "data.object", "not a JSON object"),
            (
                good.replace("{}", r#"{},"previousAttributes":["state"]"#),
                "data.previousAttributes",
                "not a JSON object",
            ),
            (envelope(r#","liveMode":"true""#), "liveMode", "not true or false"),
            (envelope(r#","createdTime":1620284889"#), "createdTime", "not a string"),
            (envelope(r#","createdTime":"yesterday""#), "createdTime", "not a time"),
            (
                envelope(r#","createdTime":"+12345-01-01T00:00:00Z""#),
                "createdTime",
                "years 0 to 9999",
            ),
            (envelope(r#","apiVersion":1"#), "apiVersion", "not a string"),
            (envelope(r#","apiVersion":"""#), "apiVersion", "1 to 64"),
            (envelope(&format!(r#","apiVersion":"{}""#, "1".repeat(65))), "apiVersion", "1 to 64"),
        ] {
            let error = parse(&payload).expect_err(&payload);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{payload}");
            assert_eq!(error.field(), Some(field), "{payload}: {error}");
            assert!(error.to_string().contains(says), "{payload}: {error}");
        }
    }

    /// Compares the keys of events whose objects are told in every way (table).
    #[test]
    fn events_of_one_object_share_a_key() {
        let of = |data: &str| {
            let payload = format!(
                r#"{{"id":"86976837-18b5-473c-9a2e-7e774a827670","type":"a.b","data":{data}}}"#
            );
            parse(&payload).unwrap().order_key()
        };
        for (data, key) in [
            (r#"{"object":{"id":"247"}}"#, Some("247")),
            (r#"{"object":{"state":"new","id":247}}"#, Some("247")),
            (r#"{"object":{"id":"\u0032\u0034\u0037"}}"#, Some("247")),
            (r#"{"object":{"id":""}}"#, Some("")),
            (r#"{"object":{},"previousAttributes":{"id":"247"}}"#, Some("247")),
            (r#"{"object":{"id":"248"},"previousAttributes":{"id":"247"}}"#, Some("248")),
            (r#"{"object":{"id":null}}"#, None),
            (r#"{"object":{},"previousAttributes":null}"#, None),
        ] {
            assert_eq!(of(data), OrderKey::of(key), "{data}");
        }
        let event = parse(SAMPLE).unwrap();
        assert_eq!((event.key(), event.order_key()), (None, OrderKey::of(Some("247468780336"))));
        let key = Some("cart".into());
        let keyed = Event::from_stored(StoredEvent { key, ..event.to_stored() });
        assert_eq!((keyed.key(), keyed.order_key()), (Some("cart"), OrderKey::of(Some("cart"))));
    }

    /// Parses payloads of one byte less than 1 MiB, 1 MiB, and one more.
    #[test]
    fn a_payload_has_at_most_1_mib() {
        let of_size = |bytes: usize| {
            let frame = envelope(r#","pad":"""#).len();
            envelope(&format!(r#","pad":"{}""#, "x".repeat(bytes - frame)))
        };
        for bytes in [PAYLOAD_BYTES_MAX - 1, PAYLOAD_BYTES_MAX] {
            let payload = of_size(bytes);
            assert_eq!(payload.len(), bytes);
            assert_eq!(
                Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH)
                    .unwrap()
                    .payload()
                    .len(),
                bytes
            );
        }
        let error = parse(&of_size(PAYLOAD_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(error.to_string(), "payload: has 1048577 bytes; at most 1048576 are allowed");
    }

    /// Prints an event with a secret in its object.
    #[test]
    fn debug_leaves_the_payload_out() {
        let event = parse(&SAMPLE.replace("247468780336", "hunter2")).unwrap();
        for shown in [format!("{event:?}"), format!("{:?}", event.to_stored())] {
            assert!(shown.contains("order.accepted") && shown.contains("86976837"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    /// Reads from an event whose stored payload is damaged (table).
    #[test]
    fn a_damaged_payload_is_an_error() {
        let stored = parse(SAMPLE).unwrap().to_stored();
        for damaged in
            [" ", "{", "[]", r#"{"data":1}"#, r#"{"data":{}}"#, r#"{"data":{"object":tru}}"#]
        {
            let event =
                Event::from_stored(StoredEvent { payload: damaged.into(), ..stored.clone() });
            assert_eq!(event.object().unwrap_err().kind(), ErrorKind::Storage, "{damaged}");
            assert_eq!(event.api_version(), None, "{damaged}");
        }
    }
}
