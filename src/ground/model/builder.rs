//! How a model is declared: as calls, or as JSON.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compare::Except;
use super::path::Path;
use super::{Model, ResourceModel, Rule, Source, Transitions};
use crate::ground::error::{Error, Result};
use crate::ground::event_type::EventType;
use crate::policy::{MODEL_PARTS_MAX, MODEL_STATES_MAX, MODEL_TYPES_MAX};

/// Declares a [`ResourceModel`]. Whatever is wrong with it is said by [`build`](Self::build).
///
/// It can also be read with serde; the keys are the names of the methods in camelCase, and `parts`:
///
/// ```
/// use tidings::ModelBuilder;
///
/// let declared = r#"{
///     "name": "order",
///     "state": "state",
///     "states": ["accepted", "blocked"],
///     "onState": { "in_review": ["order.review_opened"] },
///     "parts": [{ "path": "payment.charges[]", "model": { "name": "charge", "state": "state" } }]
/// }"#;
/// let model = serde_json::from_str::<ModelBuilder>(declared)?.build()?;
/// assert_eq!(model.name(), "order");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[must_use = "it is no model yet"]
pub struct ModelBuilder {
    name: String,
    #[serde(default = "usual_id")]
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<String>,
    #[serde(default = "usual_bookkeeping")]
    bookkeeping: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_created: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_updated: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_deleted: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    on_state: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    on_leaving: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_transition: Vec<(String, String, Vec<String>)>,
    #[serde(default)]
    updated_with_state: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when_changed: Vec<(String, Vec<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when_becomes: Vec<(String, Value, Vec<String>)>,
    #[serde(default)]
    object: DataObject,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    object_of: BTreeMap<String, DataObject>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
    /// What was declared twice.
    #[serde(skip)]
    twice: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    path: String,
    model: ModelBuilder,
}

fn usual_id() -> String {
    "id".to_owned()
}

fn usual_bookkeeping() -> Vec<String> {
    vec!["updatedTime".to_owned()]
}

/// What an event has in `data.object`. Its `previousAttributes` are of the same resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum DataObject {
    /// The resource that the event is about; `{}` once it is deleted.
    #[default]
    Resource,
    /// The resource that has it as a part: the charge, for a capture.
    Parent,
    /// The resource that the model is of, however deep the part lies: the order, for a capture.
    Root,
    /// An object within the resource, at this path.
    Attribute(String),
    /// A resource that the host hands over by this name ([`related`](super::ModelChange::related)).
    Related(String),
    /// Several of these, each under a key.
    Several(Vec<(String, Self)>),
}

impl ModelBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: usual_id(),
            state: None,
            states: Vec::new(),
            bookkeeping: usual_bookkeeping(),
            on_created: None,
            on_updated: None,
            on_deleted: None,
            on_state: BTreeMap::new(),
            on_leaving: BTreeMap::new(),
            on_transition: Vec::new(),
            updated_with_state: false,
            when_changed: Vec::new(),
            when_becomes: Vec::new(),
            object: DataObject::default(),
            object_of: BTreeMap::new(),
            parts: Vec::new(),
            twice: Vec::new(),
        }
    }

    /// Where the id stands; `id` when nobody says.
    pub fn id(mut self, path: &str) -> Self {
        self.id = path.to_owned();
        self
    }

    /// Where the state stands. A resource without one has the events `created`, `updated` and
    /// `deleted` (seed row E12); one with a state has its states' events in the place of `created`, so
    /// while that is missing it says nothing of being new.
    pub fn state(mut self, path: &str) -> Self {
        self.state = Some(path.to_owned());
        self
    }

    /// The states that are known, so that [`event_types`](ResourceModel::event_types) can list their
    /// events. Others are states all the same.
    pub fn states(mut self, states: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.states.extend(texts(states));
        self
    }

    /// Attributes that change whenever anything does: a change of these alone is no event. `updatedTime`
    /// when nobody says.
    pub fn bookkeeping(mut self, paths: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.bookkeeping = texts(paths);
        self
    }

    /// The events of a new resource, before the one of its state: `created` where there is no state,
    /// none where there is one, when nobody says.
    pub fn on_created(mut self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.on_created = Some(texts(types));
        self
    }

    /// The events of a change within a state; `updated` when nobody says. None: nothing is said then.
    pub fn on_updated(mut self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.on_updated = Some(texts(types));
        self
    }

    /// The events of a deletion; `deleted` when nobody says.
    pub fn on_deleted(mut self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.on_deleted = Some(texts(types));
        self
    }

    /// The events of entering `state`, in the place of `resource.state`. None: entering it is silent,
    /// whatever else changes with it.
    pub fn on_state(
        mut self,
        state: &str,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        if self.on_state.insert(state.to_owned(), texts(types)).is_some() {
            self.twice.push(format!("on_state {state}"));
        }
        self
    }

    /// The events of leaving `state`, whichever state follows, in the place of that one's.
    pub fn on_leaving(
        mut self,
        state: &str,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        if self.on_leaving.insert(state.to_owned(), texts(types)).is_some() {
            self.twice.push(format!("on_leaving {state}"));
        }
        self
    }

    /// The events of going from one state to another, in the place of what is said of either alone.
    pub fn on_transition(
        mut self,
        from: &str,
        to: &str,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        self.on_transition.push((from.to_owned(), to.to_owned(), texts(types)));
        self
    }

    /// Lets the events of an update follow those of every change of state.
    pub fn updated_with_state(mut self) -> Self {
        self.updated_with_state = true;
        self
    }

    /// The events of another value at `path` while the state stays, in the place of an update's:
    /// `subscription.extended` when the end of the period moved (seed row E11).
    pub fn when_changed(
        mut self,
        path: &str,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        self.when_changed.push((path.to_owned(), texts(types)));
        self
    }

    /// The events of the value at `path` becoming `value`, before those of a change of state, and in the
    /// place of an update's: `order.review_closed` when `fraudState` becomes `passed`.
    pub fn when_becomes(
        mut self,
        path: &str,
        value: impl Into<Value>,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        self.when_becomes.push((path.to_owned(), value.into(), texts(types)));
        self
    }

    /// What the events have in `data.object`; the resource itself when nobody says.
    pub fn object(mut self, object: DataObject) -> Self {
        self.object = object;
        self
    }

    /// What one type of event has in `data.object`.
    pub fn object_of(mut self, event_type: &str, object: DataObject) -> Self {
        if self.object_of.insert(event_type.to_owned(), object).is_some() {
            self.twice.push(format!("object_of {event_type}"));
        }
        self
    }

    /// Declares a part with events of its own, at a path of objects or arrays of objects
    /// (`payment.charges[]`). Its events' types begin with the resource's and its own name:
    /// `order.charge.cancelled`. Its changes are none of the resource (seed row E13).
    ///
    /// Parts are matched by their ids, which must be told apart among all that the path leads to: where
    /// arrays lie in arrays (`items[].returns[]`) and ids count within one of them only, the outer ones
    /// are parts, too. What stands there and is no object (a reference, say) is an attribute of the
    /// resource.
    pub fn part(mut self, path: &str, model: Self) -> Self {
        self.parts.push(Part { path: path.to_owned(), model });
        self
    }

    /// The model.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the field `model`, and the place in its message, when
    /// a name or type makes no event type, a path is malformed, two things are said of one transition,
    /// an object cannot be found, or a bound is broken.
    pub fn build(self) -> Result<ResourceModel> {
        let mut parts = 0;
        let root =
            self.compile(None, &mut parts).map_err(|message| Error::invalid("model", message))?;
        Ok(ResourceModel { root: std::sync::Arc::new(root) })
    }

    fn compile(&self, within: Option<(&str, &str)>, parts: &mut usize) -> Result<Model, String> {
        *parts += 1;
        if *parts > MODEL_PARTS_MAX {
            return Err(format!("has more than {MODEL_PARTS_MAX} resources and parts"));
        }
        let (prefix, path) = match within {
            None => (self.name.clone(), None),
            Some((parent, path)) => (format!("{parent}.{}", self.name), Some(Path::parse(path)?)),
        };
        let at = |message: String| format!("{prefix}: {message}");
        if let Some(twice) = self.twice.first() {
            return Err(at(format!("{twice} is declared twice")));
        }
        let states = self.states.len() + self.on_state.len() + self.on_transition.len();
        if states > MODEL_STATES_MAX {
            return Err(at(format!("has more than {MODEL_STATES_MAX} states and transitions")));
        }
        let own = |verb: &str| -> Result<Vec<EventType>, String> {
            Ok(vec![event_type(&format!("{prefix}.{verb}"))?])
        };
        let verb = |given: &Option<Vec<String>>, verb: &str| match given {
            Some(types) => event_types(types),
            None => own(verb),
        };
        let created = match (&self.on_created, &self.state) {
            (None, Some(_)) => own("created").map(|_| Vec::new()),
            (given, _) => verb(given, "created"),
        };
        let (updated, deleted) =
            (verb(&self.on_updated, "updated"), verb(&self.on_deleted, "deleted"));
        let mut except = Except::default();
        for path in &self.bookkeeping {
            except.add(&Path::parse(path).map_err(at)?);
        }
        let compiled = self.parts.iter().map(|part| {
            except.add_parts(&Path::parse(&part.path).map_err(at)?);
            part.model.compile(Some((&prefix, &part.path)), parts)
        });
        let compiled = compiled.collect::<Result<Vec<_>, String>>()?;
        let single = |path: &String| Path::parse_single(path).map_err(at);
        let source = |object: &DataObject| Source::parse(object, within.is_some()).map_err(at);
        let mut objects = BTreeMap::new();
        for (name, object) in &self.object_of {
            objects.insert(event_type(name).map_err(at)?, source(object)?);
        }
        for state in self.states.iter().filter(|state| !self.on_state.contains_key(*state)) {
            state_type(&prefix, state).map_err(at)?;
        }
        Ok(Model {
            path,
            id: single(&self.id)?,
            state: self.state.as_ref().map(single).transpose()?,
            states: self.states.clone(),
            created: created.map_err(at)?,
            updated: updated.map_err(at)?,
            deleted: deleted.map_err(at)?,
            transitions: self.transitions().map_err(at)?,
            updated_with_state: self.updated_with_state,
            rules: self.rules().map_err(at)?,
            object: source(&self.object)?,
            objects,
            except,
            parts: compiled,
            prefix,
        })
    }

    fn transitions(&self) -> Result<Transitions, String> {
        if self.state.is_none()
            && !(self.states.is_empty()
                && self.on_state.is_empty()
                && self.on_leaving.is_empty()
                && self.on_transition.is_empty())
        {
            return Err("states are declared, but not where the state stands".to_owned());
        }
        let entering = self.on_state.iter().map(|(to, types)| (None, Some(to), types));
        let leaving = self.on_leaving.iter().map(|(from, types)| (Some(from), None, types));
        let both = self.on_transition.iter().map(|(from, to, types)| (Some(from), Some(to), types));
        let mut transitions = HashMap::new();
        for (from, to, types) in entering.chain(leaving).chain(both) {
            let types = event_types(types)?;
            if transitions.insert((from.cloned(), to.cloned()), types).is_some() {
                return Err(format!("the transition from {from:?} to {to:?} is declared twice"));
            }
        }
        Ok(transitions)
    }

    fn rules(&self) -> Result<Vec<Rule>, String> {
        let changed = self.when_changed.iter().map(|(path, types)| (path, None, types));
        let becomes =
            self.when_becomes.iter().map(|(path, value, types)| (path, Some(value), types));
        changed
            .chain(becomes)
            .map(|(path, value, types)| {
                Ok(Rule {
                    path: Path::parse_single(path)?,
                    becomes: value.map(ToString::to_string),
                    types: event_types(types)?,
                })
            })
            .collect()
    }
}

impl Source {
    fn parse(object: &DataObject, is_part: bool) -> Result<Self, String> {
        Ok(match object {
            DataObject::Resource => Self::Resource,
            DataObject::Parent if is_part => Self::Parent,
            DataObject::Parent => return Err("it is no part, and so has no parent".to_owned()),
            DataObject::Root => Self::Root,
            DataObject::Attribute(path) => Self::Attribute(Path::parse_single(path)?),
            DataObject::Related(name) => Self::Related(name.clone()),
            DataObject::Several(parts) => {
                let keys: HashSet<_> = parts.iter().map(|(key, _)| key).collect();
                if keys.is_empty() || keys.len() < parts.len() {
                    return Err("several objects need a key each, and at least one".to_owned());
                }
                let parts = parts.iter().map(|(key, object)| match object {
                    DataObject::Several(_) => Err("several within several".to_owned()),
                    object => Ok((key.clone(), Self::parse(object, is_part)?)),
                });
                Self::Several(parts.collect::<Result<_, _>>()?)
            }
        })
    }
}

fn texts(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    texts.into_iter().map(|text| text.as_ref().to_owned()).collect()
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).map_err(|error| format!("{text:?} is no event type: it {error}"))
}

/// The type of entering a state of which nothing else is declared.
pub(super) fn state_type(prefix: &str, state: &str) -> Result<EventType, String> {
    let text = format!("{prefix}.{state}");
    // A dot would make it an event of another resource.
    if state.contains('.') {
        return Err(format!("{text:?} cannot be the event of a state: declare another"));
    }
    EventType::parse(&text)
        .map_err(|error| format!("{text:?} is no event type, for it {error}: declare another"))
}

fn event_types(texts: &[String]) -> Result<Vec<EventType>, String> {
    if texts.len() > MODEL_TYPES_MAX {
        return Err(format!("has more than {MODEL_TYPES_MAX} events for one change"));
    }
    texts.iter().map(|text| event_type(text)).collect()
}
