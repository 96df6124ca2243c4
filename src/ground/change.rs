//! What a host says happened: the way from its resources to an [`Event`].

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::account::{Account, Mode};
use super::diff;
use super::error::{Error, Result};
use super::event::{Event, Parts, check_created, check_version, is_reserved, too_deep};
use super::event_type::EventType;
use super::id::EventId;
use super::json;
use super::time::{Timestamp, format_time};
use super::trace::TraceContext;
use crate::policy::{ORDER_KEY_BYTES_MAX, PAYLOAD_DEPTH_MAX};

/// A change of a resource that is to become an event.
///
/// The resources are written as JSON at once and kept as text, so numbers of any length and
/// spelling (`RawValue`s, decimals, 128-bit integers) reach the receiver as they are.
///
/// ```
/// use serde_json::json;
/// use tidings::{Change, EventId, Mode, Timestamp};
///
/// let before = json!({"id": "sub_1", "state": "draft", "plan": "gold"});
/// let after = json!({"id": "sub_1", "state": "active", "plan": "gold"});
/// let change = Change::updated("subscription.updated", &before, &after)?.mode(Mode::Test);
///
/// let event = change.into_event(EventId::new(Timestamp::UNIX_EPOCH, &[7; 10]), Timestamp::UNIX_EPOCH)?;
/// assert_eq!(event.previous_attributes()?.unwrap().get(), r#"{"state":"draft"}"#);
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a change does nothing until it is published"]
pub struct Change {
    event_type: EventType,
    object: Box<RawValue>,
    previous: Option<Box<RawValue>>,
    account: Account,
    mode: Mode,
    id: Option<EventId>,
    created: Option<Timestamp>,
    api_version: Option<Box<str>>,
    extras: Vec<(String, Box<RawValue>)>,
    key: Option<Arc<str>>,
    trace: Option<TraceContext>,
}

impl Change {
    /// `event_type` happened to the resource `object`, which is given as it is after the change.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when that is malformed, or
    /// `data.object` when the resource cannot be written as a JSON object.
    pub fn of(event_type: &str, object: &(impl Serialize + ?Sized)) -> Result<Self> {
        let object = written_object("data.object", object)?;
        Ok(Self::from_raw(EventType::parse(event_type)?, object, None))
    }

    /// A change of which both resources are known to be objects.
    pub(crate) fn from_raw(
        event_type: EventType,
        object: Box<RawValue>,
        previous: Option<Box<RawValue>>,
    ) -> Self {
        Self {
            event_type,
            object,
            previous,
            account: Account::default(),
            mode: Mode::default(),
            id: None,
            created: None,
            api_version: None,
            extras: Vec::new(),
            key: None,
            trace: None,
        }
    }

    /// A resource was `before` and is `after`: its previous attributes are their
    /// [`diff`](crate::diff).
    ///
    /// # Errors
    /// As [`Change::of`] and [`diff`](crate::diff::diff).
    pub fn updated(
        event_type: &str,
        before: &(impl Serialize + ?Sized),
        after: &(impl Serialize + ?Sized),
    ) -> Result<Self> {
        Self::of(event_type, after)?.since(before)
    }

    /// Says what the resource was before: its previous attributes are the [`diff`](crate::diff).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `previousAttributes` when that cannot be
    /// written as a JSON object, or is nested deeper than 100 levels.
    pub fn since(mut self, before: &(impl Serialize + ?Sized)) -> Result<Self> {
        let before = written_object("previousAttributes", before)?;
        self.previous = diff::diff(&before, &self.object)?;
        Ok(self)
    }

    /// The resource `before` was deleted: the object is `{}`, the previous attributes are all of it
    /// (domain 3).
    ///
    /// # Errors
    /// As [`Change::of`].
    pub fn deleted(event_type: &str, before: &(impl Serialize + ?Sized)) -> Result<Self> {
        Self::of(event_type, &serde_json::Map::new())?.previous_attributes(before)
    }

    /// Sets the previous attributes, for hosts that know them. `{}` stands for none.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `previousAttributes` when they cannot
    /// be written as a JSON object.
    pub fn previous_attributes(mut self, attributes: &(impl Serialize + ?Sized)) -> Result<Self> {
        let written = written_object("previousAttributes", attributes)?;
        self.previous = Some(written).filter(|written| !json::is_empty_object(written.get()));
        Ok(self)
    }

    /// Sets whose event it is; [`Account::default`] when nobody says.
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Sets live or test mode; live when nobody says.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the event's id: publishing the same id again does nothing more.
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets when it happened; the time of the publish when nobody says. Cut to whole milliseconds.
    pub fn created(mut self, created: Timestamp) -> Self {
        self.created = Some(created);
        self
    }

    /// Sets the version of the resource's shape: `apiVersion`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `apiVersion` when it is empty, longer
    /// than 64 bytes or has control characters.
    pub fn api_version(mut self, version: &str) -> Result<Self> {
        check_version(version)?;
        self.api_version = Some(version.into());
        Ok(self)
    }

    /// The change, of the version `newest` unless it names one.
    #[cfg(feature = "engine")]
    pub(crate) fn api_version_or(mut self, newest: &str) -> Self {
        self.api_version.get_or_insert_with(|| newest.into());
        self
    }

    /// Says what the event is about, for webhooks that get their events
    /// [in order](crate::Ordering::PerObject): events with one key are sent one after the other. It
    /// is stored with the event and is not part of the payload. Without it the object's `id` counts,
    /// and that is the same as a key with this text.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `key` when it is empty or longer than 256
    /// bytes, or has a character NUL.
    pub fn key(mut self, key: &str) -> Result<Self> {
        if key.is_empty() || key.len() > ORDER_KEY_BYTES_MAX {
            let message =
                format!("has {} bytes; 1 to {ORDER_KEY_BYTES_MAX} are allowed", key.len());
            return Err(Error::invalid("key", message));
        }
        // PostgreSQL keeps no such text.
        if key.contains('\0') {
            return Err(Error::invalid("key", "has a character NUL"));
        }
        self.key = Some(key.into());
        Ok(self)
    }

    /// Says which trace the change belongs to: `traceparent` (and `tracestate`) go with every attempt to
    /// deliver the event, unless the webhook's own headers or the host's hooks set them. It is no part of
    /// the payload, and does not tell one publish from another.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Adds a further top-level key to the payload, after the crate's own; the same key again
    /// replaces its value.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the key as the field, when it has a meaning of
    /// its own (`id`, `type`, `data`, `liveMode`, `createdTime`, `apiVersion`,
    /// `digitalriverVersion`, `digitalRiverVersion`) or is empty, or when the value cannot be
    /// written as JSON of at most 99 levels.
    pub fn with(mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::invalid("payload", "has an empty top-level key"));
        }
        if is_reserved(key) {
            return Err(Error::invalid(key.to_owned(), "is a reserved key"));
        }
        let value = written(key, value)?;
        if json::depth(value.get()) > PAYLOAD_DEPTH_MAX - 1 {
            return Err(Error::invalid(key.to_owned(), too_deep()));
        }
        match self.extras.iter_mut().find(|(taken, _)| taken == key) {
            Some((_, old)) => *old = value,
            None => self.extras.push((key.to_owned(), value)),
        }
        Ok(self)
    }

    /// What happened.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The resource as it is after the change: `data.object`.
    pub fn object(&self) -> &RawValue {
        &self.object
    }

    /// What it was before, where it changed: `data.previousAttributes`.
    pub fn previous(&self) -> Option<&RawValue> {
        self.previous.as_deref()
    }

    /// The id that [`Change::id`] set.
    pub fn id_given(&self) -> Option<EventId> {
        self.id
    }

    /// The time that [`Change::created`] set.
    pub fn created_given(&self) -> Option<Timestamp> {
        self.created
    }

    /// Builds the event. An id and a time that the change was given win over the arguments.
    ///
    /// The payload's keys are, in this order, `id`, `type`, `data` with `object` and (unless there
    /// are none) `previousAttributes`, `liveMode`, `createdTime`, then `apiVersion` and what
    /// [`Change::with`] added.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `data` when the payload would be nested
    /// deeper than 100 levels, `payload` when it would have more than 1 MiB, or `createdTime`
    /// outside the years 0 to 9999.
    pub fn into_event(self, id: EventId, created: Timestamp) -> Result<Event> {
        let id = self.id.unwrap_or(id);
        let created = check_created(self.created.unwrap_or(created))?;
        let resources = [Some(&self.object), self.previous.as_ref()];
        let depth = resources.into_iter().flatten().map(|raw| json::depth(raw.get()));
        // The payload and its `data` are two levels around them.
        if depth.max() > Some(PAYLOAD_DEPTH_MAX - 2) {
            return Err(Error::invalid("data", too_deep()));
        }

        let mut out = String::with_capacity(self.object.get().len() + 256);
        out.push_str(&format!(r#"{{"id":"{id}","type":"{}","data":"#, self.event_type));
        let data = out.len();
        out.push_str(r#"{"object":"#);
        out.push_str(self.object.get());
        if let Some(previous) = &self.previous {
            out.push_str(r#","previousAttributes":"#);
            out.push_str(previous.get());
        }
        out.push('}');
        let data = data..out.len();
        out.push_str(&format!(
            r#","liveMode":{},"createdTime":"{}""#,
            self.mode.is_live(),
            format_time(created)
        ));
        if let Some(version) = &self.api_version {
            push_member("apiVersion", &quoted(version)?, &mut out)?;
        }
        for (key, value) in &self.extras {
            push_member(key, value.get(), &mut out)?;
        }
        out.push('}');

        let parts = Parts {
            id,
            account: self.account,
            mode: self.mode,
            event_type: self.event_type,
            created,
            api_version: self.api_version,
            key: self.key,
            trace: self.trace.map(|trace| trace.to_stored()),
        };
        Event::from_parts(parts, out, data)
    }
}

impl fmt::Debug for Change {
    /// Leaves the resources out: they may hold what does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("type", &self.event_type.as_str())
            .field("account", &self.account.as_str())
            .field("mode", &self.mode)
            .field("id", &self.id)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

fn push_member(key: &str, value: &str, out: &mut String) -> Result<()> {
    out.push(',');
    out.push_str(&quoted(key)?);
    out.push(':');
    out.push_str(value);
    Ok(())
}

pub(crate) fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text)
        .map_err(|error| Error::invalid("payload", "cannot be written as JSON").with_source(error))
}

pub(crate) fn written(field: &str, value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|error| {
        Error::invalid(field.to_owned(), "cannot be written as JSON").with_source(error)
    })
}

pub(crate) fn written_object(
    field: &'static str,
    value: &(impl Serialize + ?Sized),
) -> Result<Box<RawValue>> {
    let written = written(field, value)?;
    if !json::is_object(written.get()) {
        return Err(Error::invalid(field, "is not a JSON object"));
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::PAYLOAD_BYTES_MAX;
    use crate::time::parse_time;

    fn id() -> EventId {
        EventId::parse("0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10").unwrap()
    }

    fn now() -> Timestamp {
        parse_time("2026-01-31T08:15:30.120987Z").unwrap()
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn payload(change: Change) -> String {
        let event = change.into_event(id(), now()).unwrap();
        let read = Event::parse(event.payload(), event.account().clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(read.unwrap(), event, "the payload says what the event says");
        event.payload().to_owned()
    }

    /// Builds a change with everything set, and compares the payload's bytes (seed row E10).
    #[test]
    fn the_payload_has_its_keys_in_order() {
        let change =
            Change::of("order.accepted", &raw(r#"{"total":29.90,"n":12345678901234567890}"#))
                .unwrap()
                .previous_attributes(&json!({"state": "draft"}))
                .unwrap()
                .account(Account::new("shop").unwrap())
                .mode(Mode::Test)
                .with("request", &json!({"id": "r\"1"}))
                .unwrap()
                .with("hops", &1)
                .unwrap()
                .with("request", &json!(null))
                .unwrap()
                .api_version("2021-12-13")
                .unwrap();
        assert_eq!(
            payload(change),
            concat!(
                r#"{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"order.accepted","#,
                r#""data":{"object":{"total":29.90,"n":12345678901234567890},"#,
                r#""previousAttributes":{"state":"draft"}},"#,
                r#""liveMode":false,"createdTime":"2026-01-31T08:15:30.120Z","#,
                r#""apiVersion":"2021-12-13","request":null,"hops":1}"#
            )
        );
    }

    /// Builds changes of each kind, and compares their `data` (domain 3; seed rows E15, E20).
    #[test]
    fn previous_attributes_are_left_out_when_empty() {
        let before = json!({"a": 1, "b": 2});
        let after = json!({"a": 1, "b": 3});
        for (kind, change, data) in [
            ("of", Change::of("a.b", &after), r#"{"object":{"a":1,"b":3}}"#),
            (
                "updated",
                Change::updated("a.b", &before, &after),
                r#"{"object":{"a":1,"b":3},"previousAttributes":{"b":2}}"#,
            ),
            ("unchanged", Change::updated("a.b", &before, &before), r#"{"object":{"a":1,"b":2}}"#),
            (
                "deleted",
                Change::deleted("a.b", &before),
                r#"{"object":{},"previousAttributes":{"a":1,"b":2}}"#,
            ),
            ("deleted empty", Change::deleted("a.b", &json!({})), r#"{"object":{}}"#),
            (
                "taken back",
                Change::deleted("a.b", &before)
                    .and_then(|change| change.previous_attributes(&json!({}))),
                r#"{"object":{}}"#,
            ),
        ] {
            let payload = payload(change.unwrap());
            assert!(
                payload.contains(&format!(r#""data":{data},"liveMode":true"#)),
                "{kind}: {payload}"
            );
        }
    }

    /// Builds a change that was given an id and a time, and one that was not.
    #[test]
    fn what_was_given_wins() {
        let own = EventId::parse("86976837-18b5-473c-9a2e-7e774a827670").unwrap();
        let then = parse_time("2020-01-01T00:00:00Z").unwrap();
        let change = Change::of("a.b", &json!({})).unwrap();
        assert_eq!((change.id_given(), change.created_given()), (None, None));
        let event = change.clone().into_event(id(), now()).unwrap();
        assert_eq!(event.id(), id());
        assert_eq!(event.created(), parse_time("2026-01-31T08:15:30.120Z").unwrap());
        let change = change.id(own).created(then);
        assert_eq!((change.id_given(), change.created_given()), (Some(own), Some(then)));
        let given = change.into_event(id(), now()).unwrap();
        assert_eq!((given.id(), given.created()), (own, then));
        assert_eq!(given.digest(), event.digest(), "neither is part of the content");
    }

    /// Builds an event with a key of its own: it is nowhere in the payload or the digest.
    #[test]
    fn a_key_is_kept_beside_the_payload() {
        let change = Change::of("a.b", &json!({"id": 1})).unwrap();
        let plain = change.clone().into_event(id(), now()).unwrap();
        let keyed = change.key("cart-7").unwrap().into_event(id(), now()).unwrap();
        assert_eq!((plain.key(), keyed.key()), (None, Some("cart-7")));
        assert_eq!(keyed.payload(), plain.payload());
        assert_eq!(keyed.digest(), plain.digest());
    }

    /// Gives every step bad input (table): the error names the field.
    #[test]
    fn bad_input_is_refused() {
        let good = || Change::of("a.b", &json!({})).unwrap();
        let nested = |levels: usize| {
            raw(&format!("{}{{}}{}", r#"{"a":"#.repeat(levels - 1), "}".repeat(levels - 1)))
        };
        let keyed = std::collections::HashMap::from([(vec![1], 2)]);
        let build = |change: Change| change.into_event(id(), now());
        for (case, error, field) in [
            ("type", Change::of("a", &json!({})).err(), "type"),
            ("scalar", Change::of("a.b", &1).err(), "data.object"),
            ("array", Change::of("a.b", &json!([])).err(), "data.object"),
            ("null", Change::of("a.b", &json!(null)).err(), "data.object"),
            ("keys", Change::of("a.b", &keyed).err(), "data.object"),
            ("before", Change::updated("a.b", &1, &json!({})).err(), "previousAttributes"),
            ("after", Change::updated("a.b", &json!({}), &1).err(), "data.object"),
            ("previous", good().previous_attributes(&"x").err(), "previousAttributes"),
            ("no version", good().api_version("").err(), "apiVersion"),
            ("long version", good().api_version(&"1".repeat(65)).err(), "apiVersion"),
            ("control", good().api_version("1\n").err(), "apiVersion"),
            ("no key", good().with("", &1).err(), "payload"),
            ("empty key", good().key("").err(), "key"),
            ("long key", good().key(&"k".repeat(257)).err(), "key"),
            ("reserved", good().with("liveMode", &1).err(), "liveMode"),
            ("reserved alias", good().with("digitalriverVersion", &1).err(), "digitalriverVersion"),
            ("deep extra", good().with("extra", &nested(100)).err(), "extra"),
            ("deep object", build(Change::of("a.b", &nested(99)).unwrap()).err(), "data"),
            ("deep previous", build(Change::deleted("a.b", &nested(99)).unwrap()).err(), "data"),
            ("far future", build(good().created(Timestamp::MAX_UTC)).err(), "createdTime"),
        ] {
            let error = error.expect(case);
            assert_eq!(error.field(), Some(field), "{case}: {error}");
        }
        payload(Change::deleted("a.b", &nested(98)).unwrap().with("x", &nested(99)).unwrap());
    }

    /// Builds payloads of one byte less than 1 MiB, 1 MiB, and one more.
    #[test]
    fn a_payload_has_at_most_1_mib() {
        let padded = |pad: usize| {
            let change = Change::of("a.b", &json!({"pad": "x".repeat(pad)})).unwrap();
            change.into_event(id(), now())
        };
        let room = PAYLOAD_BYTES_MAX - padded(0).unwrap().payload().len();
        assert_eq!(padded(room - 1).unwrap().payload().len(), PAYLOAD_BYTES_MAX - 1);
        assert_eq!(padded(room).unwrap().payload().len(), PAYLOAD_BYTES_MAX);
        let error = padded(room + 1).unwrap_err();
        assert_eq!(error.to_string(), "payload: has 1048577 bytes; at most 1048576 are allowed");
    }

    /// Prints a change with a secret in its object.
    #[test]
    fn debug_leaves_the_resources_out() {
        let change = Change::deleted("order.deleted", &json!({"password": "hunter2"})).unwrap();
        let shown = format!("{change:?}");
        assert!(shown.contains("order.deleted") && !shown.contains("hunter2"), "{shown}");
    }
}
