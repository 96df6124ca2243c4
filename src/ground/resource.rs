//! Resources of a host's own types: from a struct to the event that its change makes.
//!
//! A type says once what it is called, and what its id and state are. The functions here make changes
//! of it. The event's type is `resource.state` where a state was entered (seed row E9), and otherwise
//! the name of what happened: `checkout.created`, `subscription.extended` (rows E11 and E12).
//!
//! ```
//! use std::borrow::Cow;
//! use serde::Serialize;
//! use tidings::resource::{self, Resource};
//!
//! #[derive(Clone, Serialize)]
//! struct Order {
//!     id: u64,
//!     state: &'static str,
//!     total: f64,
//! }
//!
//! impl Resource for Order {
//!     const NAME: &'static str = "order";
//!     fn id(&self) -> Cow<'_, str> {
//!         self.id.to_string().into()
//!     }
//!     fn state(&self) -> Option<Cow<'_, str>> {
//!         Some(self.state.into())
//!     }
//! }
//!
//! let before = Order { id: 247, state: "in_review", total: 29.9 };
//! let after = Order { state: "accepted", ..before.clone() };
//!
//! let change = resource::state_changed(&before, &after)?;
//! assert_eq!(change.event_type().as_str(), "order.accepted");
//! assert_eq!(change.previous().unwrap().get(), r#"{"state":"in_review"}"#);
//!
//! let reminder = resource::named("payment_reminder", &after)?;
//! assert_eq!(reminder.event_type().as_str(), "order.payment_reminder");
//! # Ok::<(), tidings::Error>(())
//! ```
//!
//! Every change has the resource's id as its [key](crate::Change::key). Where the rules are less simple
//! (states of other names, parts with events of their own), declare a
//! [`ResourceModel`](crate::ResourceModel).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::change::{Change, quoted, written_object};
use super::diff;
use super::error::{Error, Result};
use super::event_type::EventType;

/// A type of the host whose values are resources that events are about.
pub trait Resource: Serialize {
    /// The resource's name, which event types begin with: `order`, `order.charge`.
    const NAME: &'static str;

    /// What tells one such resource from another.
    fn id(&self) -> Cow<'_, str>;

    /// The state that the resource is in; `None` for resources without one, such as a checkout.
    fn state(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// The resource came into being: `order.created`.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when the resource's name makes no event
/// type, `data.object` when it cannot be written as a JSON object, `key` when its id is empty or longer
/// than 256 bytes.
pub fn created<R: Resource>(after: &R) -> Result<Change> {
    named("created", after)
}

/// The resource is another than it was: `order.updated`, with its previous attributes.
///
/// # Errors
/// As [`created`], and for the field `previousAttributes` as [`Change::since`].
pub fn updated<R: Resource>(before: &R, after: &R) -> Result<Change> {
    named("updated", after)?.since(before)
}

/// The resource is no more: `order.deleted`, with the object `{}` and all of its attributes as previous
/// ones (domain 3).
///
/// # Errors
/// As [`created`], with the field `previousAttributes` in the place of `data.object`.
pub fn deleted<R: Resource>(before: &R) -> Result<Change> {
    Change::deleted(&format!("{}.deleted", R::NAME), before)?.key(&before.id())
}

/// The resource entered its state: `order.accepted`, with its previous attributes.
///
/// # Errors
/// As [`updated`]; and [`Invalid`](crate::ErrorKind::Invalid) for the field `state` when the resource
/// has none, or had the same before. What happens within a state has a name of its own ([`named`]), or
/// is an update.
pub fn state_changed<R: Resource>(before: &R, after: &R) -> Result<Change> {
    if before.state() == after.state() {
        let message = "is what it was: use `updated`, or `named` for what happens within a state";
        return Err(Error::invalid("state", message));
    }
    in_state(after)?.since(before)
}

/// The resource entered its state, and what it was before is not known: `order.accepted`.
///
/// # Errors
/// As [`created`]; and [`Invalid`](crate::ErrorKind::Invalid) for the field `state` when the resource
/// has none.
pub fn in_state<R: Resource>(after: &R) -> Result<Change> {
    let Some(state) = after.state() else {
        return Err(Error::invalid("state", format!("is missing: this {} has none", R::NAME)));
    };
    named(&state, after)
}

/// What a comparison says: the state's event where the resource entered one, else `created`, `updated`
/// or `deleted`; nothing where nothing changed.
///
/// # Errors
/// As the function that applies.
pub fn between<R: Resource>(before: Option<&R>, after: Option<&R>) -> Result<Option<Change>> {
    match (before, after) {
        (None, None) => Ok(None),
        (None, Some(after)) if after.state().is_some() => in_state(after).map(Some),
        (None, Some(after)) => created(after).map(Some),
        (Some(before), None) => deleted(before).map(Some),
        (Some(before), Some(after))
            if after.state().is_some() && before.state() != after.state() =>
        {
            state_changed(before, after).map(Some)
        }
        (Some(before), Some(after)) => {
            let change = updated(before, after)?;
            Ok(change.previous().is_some().then_some(change))
        }
    }
}

/// Something happened to the resource that has a name: `named("extended", &subscription)` is
/// `subscription.extended`. Add what it was before with [`Change::since`].
///
/// # Errors
/// As [`created`].
pub fn named<R: Resource>(event: &str, after: &R) -> Result<Change> {
    Change::of(&format!("{}.{event}", R::NAME), after)?.key(&after.id())
}

/// An event about several resources, each under its own name in `data.object` (seed row E19).
///
/// ```
/// # use std::borrow::Cow;
/// # use serde::Serialize;
/// # use tidings::resource::{self, Resource};
/// # #[derive(Serialize)] struct Subscription { id: &'static str }
/// # #[derive(Serialize)] struct Invoice { id: &'static str, state: &'static str }
/// # impl Resource for Subscription {
/// #     const NAME: &'static str = "subscription";
/// #     fn id(&self) -> Cow<'_, str> { self.id.into() }
/// # }
/// # impl Resource for Invoice {
/// #     const NAME: &'static str = "invoice";
/// #     fn id(&self) -> Cow<'_, str> { self.id.into() }
/// # }
/// let (subscription, draft) = (Subscription { id: "s1" }, Invoice { id: "i1", state: "draft" });
/// let open = Invoice { state: "open", ..draft };
/// let reminder = resource::several("subscription.reminder")
///     .and(&subscription)?
///     .and_changed(&draft, &open)?
///     .change()?;
/// assert_eq!(
///     reminder.object().get(),
///     r#"{"subscription":{"id":"s1"},"invoice":{"id":"i1","state":"open"}}"#
/// );
/// assert_eq!(reminder.previous().unwrap().get(), r#"{"invoice":{"state":"draft"}}"#);
/// # Ok::<(), tidings::Error>(())
/// ```
pub fn several(event_type: &str) -> Several {
    Several { event_type: event_type.to_owned(), parts: Parts::default(), key: None }
}

/// Several resources that one event is about. The first one's id is the event's key.
#[derive(Debug, Clone)]
#[must_use = "it is no change yet"]
pub struct Several {
    event_type: String,
    parts: Parts,
    key: Option<String>,
}

impl Several {
    /// Adds a resource, under its name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `data.object` when it cannot be written as a
    /// JSON object, or a resource of its name is there.
    pub fn and<R: Resource>(self, resource: &R) -> Result<Self> {
        self.add(R::NAME, resource.id(), &written_object("data.object", resource)?, None)
    }

    /// Adds a resource, and says what it was before.
    ///
    /// # Errors
    /// As [`and`](Self::and) and [`Change::since`].
    pub fn and_changed<R: Resource>(self, before: &R, after: &R) -> Result<Self> {
        let former = written_object("previousAttributes", before)?;
        let object = written_object("data.object", after)?;
        let previous = diff::diff(&former, &object)?;
        self.add(R::NAME, after.id(), &object, previous.as_deref())
    }

    fn add(
        mut self,
        name: &str,
        id: Cow<'_, str>,
        object: &RawValue,
        previous: Option<&RawValue>,
    ) -> Result<Self> {
        self.key.get_or_insert_with(|| id.into_owned());
        self.parts.add(name, object.get(), previous.map(RawValue::get))?;
        Ok(self)
    }

    /// The change.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when that is malformed, `key` as
    /// [`created`].
    pub fn change(self) -> Result<Change> {
        let (object, previous) = self.parts.finish()?;
        let change = Change::from_raw(EventType::parse(&self.event_type)?, object, previous);
        match &self.key {
            Some(key) => change.key(key),
            None => Ok(change),
        }
    }
}

/// The members of an object that is put together of resources, and what they were before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    names: Vec<String>,
    object: String,
    previous: String,
}

impl Parts {
    pub(crate) fn add(&mut self, name: &str, object: &str, previous: Option<&str>) -> Result<()> {
        if self.names.iter().any(|taken| taken == name) {
            return Err(Error::invalid("data.object", format!("has two resources named {name:?}")));
        }
        self.names.push(name.to_owned());
        let key = quoted(name)?;
        push(&mut self.object, &key, object);
        if let Some(previous) = previous {
            push(&mut self.previous, &key, previous);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(Box<RawValue>, Option<Box<RawValue>>)> {
        let raw = |members: String| {
            RawValue::from_string(format!("{{{members}}}")).map_err(|error| {
                Error::invalid("data.object", "cannot be written as JSON").with_source(error)
            })
        };
        let previous = (!self.previous.is_empty()).then(|| raw(self.previous)).transpose()?;
        Ok((raw(self.object)?, previous))
    }
}

fn push(members: &mut String, key: &str, value: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(key);
    members.push(':');
    members.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Serialize)]
    struct Order {
        id: &'static str,
        state: Option<&'static str>,
        note: &'static str,
    }

    impl Resource for Order {
        const NAME: &'static str = "order";
        fn id(&self) -> Cow<'_, str> {
            self.id.into()
        }
        fn state(&self) -> Option<Cow<'_, str>> {
            self.state.map(Into::into)
        }
    }

    #[derive(Clone, Serialize)]
    struct Checkout {
        id: u32,
        note: &'static str,
    }

    impl Resource for Checkout {
        const NAME: &'static str = "checkout";
        fn id(&self) -> Cow<'_, str> {
            self.id.to_string().into()
        }
    }

    fn said(change: Change) -> (String, String, Option<String>) {
        let previous = change.previous().map(|previous| previous.get().to_owned());
        (change.event_type().to_string(), change.object().get().to_owned(), previous)
    }

    /// Compares resources with and without states (table; seed rows E9, E11, E12).
    #[test]
    fn a_comparison_names_the_event() {
        let draft = Order { id: "1", state: Some("draft"), note: "" };
        let open = Order { state: Some("open"), ..draft };
        let noted = Order { note: "x", ..draft };
        let stateless = Order { state: None, ..draft };
        for (name, before, after, event_type, previous) in [
            ("new", None, Some(&draft), Some("order.draft"), None),
            ("state", Some(&draft), Some(&open), Some("order.open"), Some(r#"{"state":"draft"}"#)),
            ("noted", Some(&draft), Some(&noted), Some("order.updated"), Some(r#"{"note":""}"#)),
            (
                "no state any more",
                Some(&draft),
                Some(&stateless),
                Some("order.updated"),
                Some(r#"{"state":"draft"}"#),
            ),
            ("equal", Some(&draft), Some(&draft), None, None),
            ("never there", None, None, None, None),
        ] {
            let change = between(before, after).unwrap().map(said);
            assert_eq!(change.as_ref().map(|said| &*said.0), event_type, "{name}");
            assert_eq!(change.and_then(|said| said.2).as_deref(), previous, "{name}");
        }
        let gone = said(between(Some(&draft), None).unwrap().unwrap());
        let whole = r#"{"id":"1","state":"draft","note":""}"#;
        assert_eq!(gone, ("order.deleted".into(), "{}".into(), Some(whole.into())));

        let checkout = Checkout { id: 7, note: "" };
        let noted = Checkout { note: "x", ..checkout };
        let types = [
            between(None, Some(&checkout)),
            between(Some(&checkout), Some(&noted)),
            between(Some(&noted), None),
        ]
        .map(|change| said(change.unwrap().unwrap()).0);
        assert_eq!(types, ["checkout.created", "checkout.updated", "checkout.deleted"]);
    }

    /// Asks for each kind of event by name, and for those that make no sense.
    #[test]
    fn an_event_may_be_named() {
        let draft = Order { id: "1", state: Some("draft"), note: "" };
        let open = Order { state: Some("open"), ..draft };
        assert_eq!(said(in_state(&open).unwrap()).0, "order.open");
        assert_eq!(said(created(&open).unwrap()).0, "order.created");
        let extended = named("extended", &open).unwrap().since(&draft).unwrap();
        let expected = r#"{"state":"draft"}"#;
        assert_eq!(
            (said(extended.clone()).0, said(extended).2.unwrap()),
            ("order.extended".into(), expected.into())
        );
        let stay = state_changed(&draft, &draft).unwrap_err();
        let none = in_state(&Order { state: None, ..draft }).unwrap_err();
        assert_eq!([stay.field(), none.field()], [Some("state"); 2]);
        let odd = Order { state: Some("In Review"), ..draft };
        assert_eq!(state_changed(&draft, &odd).unwrap_err().field(), Some("type"));
        assert_eq!(created(&Order { id: "", ..draft }).unwrap_err().field(), Some("key"));
    }

    /// Puts two resources into one event, and one twice.
    #[test]
    fn an_event_about_several_has_each_once() {
        let order = Order { id: "1", state: None, note: "" };
        let checkout = Checkout { id: 7, note: "" };
        let noted = Checkout { note: "x", ..checkout };
        let both = several("order.x").and(&order).unwrap().and_changed(&checkout, &noted).unwrap();
        let (_, object, previous) = said(both.clone().change().unwrap());
        assert_eq!(
            object,
            r#"{"order":{"id":"1","state":null,"note":""},"checkout":{"id":7,"note":"x"}}"#
        );
        assert_eq!(previous.as_deref(), Some(r#"{"checkout":{"note":""}}"#));
        assert_eq!(both.and(&order).unwrap_err().field(), Some("data.object"));
        assert_eq!(
            several("order").and(&order).unwrap().change().unwrap_err().field(),
            Some("type")
        );
    }
}
