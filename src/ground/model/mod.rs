//! Resources that are declared: the rules by which a change becomes events, in one place.
//!
//! Here is what a model is and how it is asked; `builder.rs` declares it, `walk.rs` goes through a
//! change, `path.rs`, `pairs.rs` and `compare.rs` look into the resources' text.

mod builder;
mod compare;
mod pairs;
mod path;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

pub use self::builder::{DataObject, ModelBuilder};
use self::compare::Except;
use self::path::Path;
use super::account::{Account, Mode};
use super::change::{Change, written};
use super::error::{Error, Result};
use super::event_type::EventType;
use super::json;
use crate::policy::{PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};

/// The rules by which changes of a resource become events (seed rows E1, E9 to E20). Cheap to clone.
///
/// ```
/// use serde_json::json;
/// use tidings::{DataObject, ResourceModel};
///
/// let capture = ResourceModel::builder("capture").state("state").object(DataObject::Parent);
/// let charge = ResourceModel::builder("charge").state("state").part("captures[]", capture);
/// let order = ResourceModel::builder("order")
///     .state("state")
///     .on_state("in_review", ["order.review_opened"])
///     .part("payment.charges[]", charge)
///     .build()?;
///
/// let before = json!({ "id": "247", "state": "in_review", "payment": { "charges": [
///     { "id": "c1", "state": "capturable", "captures": [] },
/// ]}});
/// let after = json!({ "id": "247", "state": "accepted", "payment": { "charges": [
///     { "id": "c1", "state": "capturable", "captures": [{ "id": "p1", "state": "complete" }] },
/// ]}});
/// let events = order.events(&before, &after)?;
/// let types: Vec<&str> = events.iter().map(|change| change.event_type().as_str()).collect();
/// assert_eq!(types, ["order.charge.capture.complete", "order.accepted"]);
/// // The event of a capture carries its charge, as it was declared (row E17).
/// assert!(events[0].object().get().contains(r#""captures":"#));
/// assert_eq!(events[0].previous().unwrap().get(), r#"{"captures":[]}"#);
/// # Ok::<(), tidings::Error>(())
/// ```
///
/// # What a change says
///
/// | The resource | Its events, in this order |
/// |---|---|
/// | is new | `created` (where there is no state, or [`on_created`](ModelBuilder::on_created) says so), then its state's; then its parts', as new ones |
/// | changed | its parts'; then those of [`when_becomes`](ModelBuilder::when_becomes) and, while the state stays, [`when_changed`](ModelBuilder::when_changed); then those of the state that it entered; or, where the state stays and none spoke, `updated` |
/// | is gone | `deleted`; its parts went with it, and say nothing |
///
/// A part that came, changed or went is treated like the resource: it has a state, or the verbs. What
/// changed only in parts, or in [bookkeeping](ModelBuilder::bookkeeping), is no change of the resource
/// itself. No type comes twice from one resource in one change.
///
/// The events of one change belong together: publish them
/// [together](crate::Tidings::publish_all), or in one transaction.
#[derive(Debug, Clone)]
pub struct ResourceModel {
    root: Arc<Model>,
}

/// A resource or part, with its rules.
#[derive(Debug)]
struct Model {
    /// What its event types begin with.
    prefix: String,
    /// Where it stands in the resource that it is a part of.
    path: Option<Path>,
    id: Path,
    state: Option<Path>,
    /// The states that are known.
    states: Vec<String>,
    created: Vec<EventType>,
    updated: Vec<EventType>,
    deleted: Vec<EventType>,
    transitions: Transitions,
    updated_with_state: bool,
    rules: Vec<Rule>,
    object: Source,
    objects: BTreeMap<EventType, Source>,
    /// What is not its own change.
    except: Except,
    parts: Vec<Self>,
}

/// Types by the state that is left and the one that is entered; none stands for any.
type Transitions = HashMap<(Option<String>, Option<String>), Vec<EventType>>;

/// What to say when an attribute changes.
#[derive(Debug)]
struct Rule {
    path: Path,
    /// The value that it must become.
    becomes: Option<String>,
    types: Vec<EventType>,
}

/// Where `data.object` comes from.
#[derive(Debug)]
enum Source {
    Resource,
    Parent,
    Root,
    Attribute(Path),
    Related(String),
    Several(Vec<(String, Self)>),
}

impl ResourceModel {
    /// Declares a model of resources with this name, which their event types begin with.
    pub fn builder(name: &str) -> ModelBuilder {
        ModelBuilder::new(name)
    }

    /// What its event types begin with.
    pub fn name(&self) -> &str {
        &self.root.prefix
    }

    /// The events of a change, in their order. `null` (`&()`, `&None::<Order>`) stands for a resource
    /// that is not there: before it was made, or after it was deleted.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field: `data.object` or `previousAttributes`
    /// when a resource cannot be written as a JSON object, has more than 1 MiB or is nested deeper than
    /// 100 levels; `type` when a state makes no event type; `data.object` when the object that was
    /// declared is not there; `key` when the resource's id has more than 256 bytes.
    /// [`Limit`](crate::ErrorKind::Limit) when there would be more than 10,000 events, or 64 MiB of them.
    pub fn events(
        &self,
        before: &(impl Serialize + ?Sized),
        after: &(impl Serialize + ?Sized),
    ) -> Result<Vec<Change>> {
        self.change(before, after)?.events()
    }

    /// A change, to which related resources, account and mode can be added before it is asked for its
    /// events.
    ///
    /// # Errors
    /// As [`events`](Self::events), for the two resources.
    pub fn change(
        &self,
        before: &(impl Serialize + ?Sized),
        after: &(impl Serialize + ?Sized),
    ) -> Result<ModelChange<'_>> {
        Ok(ModelChange {
            model: &self.root,
            before: resource("previousAttributes", before)?,
            after: resource("data.object", after)?,
            related: Vec::new(),
            account: Account::default(),
            mode: Mode::default(),
        })
    }

    /// The types that the model is known to produce, each once, with what their `data.object` is: those
    /// that are declared, and those of the [states](ModelBuilder::states).
    pub fn event_types(&self) -> Vec<(EventType, String)> {
        let (mut types, mut known) = (Vec::new(), HashSet::new());
        self.root.list(&[], &mut |event_type: &EventType, object| {
            if known.insert(event_type.clone()) {
                types.push((event_type.clone(), object));
            }
        });
        types
    }
}

/// A change of a resource, for its model to say what happened.
#[derive(Debug, Clone)]
#[must_use = "it has no events until it is asked for them"]
pub struct ModelChange<'m> {
    model: &'m Model,
    before: Box<RawValue>,
    after: Box<RawValue>,
    related: Vec<Related>,
    account: Account,
    mode: Mode,
}

#[derive(Debug, Clone)]
struct Related {
    name: String,
    before: Option<Box<RawValue>>,
    after: Box<RawValue>,
}

impl ModelChange<'_> {
    /// Hands over a resource that an event carries besides or instead of the changed one:
    /// [`DataObject::Related`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `data.object` when it cannot be written as a
    /// JSON object.
    pub fn related(mut self, name: &str, resource: &(impl Serialize + ?Sized)) -> Result<Self> {
        let after = related("data.object", resource)?;
        self.related.push(Related { name: name.to_owned(), before: None, after });
        Ok(self)
    }

    /// As [`related`](Self::related), of a resource that changed, too.
    ///
    /// # Errors
    /// As [`related`](Self::related), and for the field `previousAttributes`.
    pub fn related_changed(
        mut self,
        name: &str,
        before: &(impl Serialize + ?Sized),
        after: &(impl Serialize + ?Sized),
    ) -> Result<Self> {
        let before = Some(related("previousAttributes", before)?);
        let after = related("data.object", after)?;
        self.related.push(Related { name: name.to_owned(), before, after });
        Ok(self)
    }

    /// Sets whose events they are.
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Sets live or test mode.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The events, in their order.
    ///
    /// # Errors
    /// As [`ResourceModel::events`]; and [`Invalid`](crate::ErrorKind::Invalid) for the field `related`
    /// when a resource is missing that an event carries.
    pub fn events(&self) -> Result<Vec<Change>> {
        walk::events(self)
    }

    /// One event of the resource by its whole name, whatever changed: a reminder, a chargeback. Its
    /// object is the one that was declared for the type, and its previous attributes are of the change.
    ///
    /// # Errors
    /// As [`events`](Self::events), and for the field `type` when that is malformed, or an event of a part:
    /// only a change of the part says which one it is about.
    pub fn named(&self, event_type: &str) -> Result<Change> {
        walk::named(self, EventType::parse(event_type)?)
    }
}

/// The text of a resource that is there.
fn related(field: &'static str, value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>> {
    let written = resource(field, value)?;
    if written.get() == "null" {
        return Err(Error::invalid(field, "is not a JSON object"));
    }
    Ok(written)
}

/// The text of a resource, or of `null`.
fn resource(field: &'static str, value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>> {
    let written = written(field, value)?;
    let text = written.get();
    if text != "null" && !json::is_object(text) {
        return Err(Error::invalid(field, "is not a JSON object"));
    }
    if text.len() > PAYLOAD_BYTES_MAX {
        let message = format!("has {} bytes; at most {PAYLOAD_BYTES_MAX} are allowed", text.len());
        return Err(Error::invalid(field, message));
    }
    if json::depth(text) > PAYLOAD_DEPTH_MAX {
        let message = format!("is nested deeper than {PAYLOAD_DEPTH_MAX} levels");
        return Err(Error::invalid(field, message));
    }
    Ok(written)
}
