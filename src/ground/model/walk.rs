//! Goes through a change and says what happened: the resource, its parts, their parts.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::value::RawValue;

use super::super::resource::Parts;
use super::super::same::same_value;
use super::super::{diff, json};
use super::builder::state_type;
use super::pairs::{identity, pairs};
use super::path::word;
use super::{Model, ModelChange, Rule, Source};
use crate::ground::change::Change;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event_type::EventType;
use crate::policy::{PUBLISH_BYTES_MAX, PUBLISH_EVENTS_MAX};

/// The events of a change.
pub(super) fn events(change: &ModelChange<'_>) -> Result<Vec<Change>> {
    let mut said = Said::default();
    Node::root(change).events(&mut said)?;
    Ok(said.events)
}

/// The event of this type, of a change.
pub(super) fn named(change: &ModelChange<'_>, event_type: EventType) -> Result<Change> {
    if change.model.is_of_a_part(&event_type) {
        let message = format!("{event_type} is an event of a part, and comes from its change");
        return Err(Error::invalid("type", message));
    }
    Node::root(change).event(Cow::Owned(event_type))
}

/// The events so far.
#[derive(Default)]
struct Said {
    events: Vec<Change>,
    bytes: usize,
}

impl Said {
    /// Many parts whose events carry the whole resource are as much as the square of it.
    fn add(&mut self, event: Change) -> Result<()> {
        self.bytes +=
            event.object().get().len() + event.previous().map_or(0, |raw| raw.get().len());
        self.events.push(event);
        if self.events.len() > PUBLISH_EVENTS_MAX || self.bytes > PUBLISH_BYTES_MAX {
            let message = format!(
                "one change makes more than {PUBLISH_EVENTS_MAX} events or {PUBLISH_BYTES_MAX} bytes"
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }
}

/// A resource or part in the change that is gone through.
struct Node<'n> {
    change: &'n ModelChange<'n>,
    model: &'n Model,
    before: Option<&'n str>,
    after: Option<&'n str>,
    parent: Option<&'n Self>,
    /// The key of all events of the resource and its parts, so that they can be sent in order.
    key: Option<Rc<str>>,
}

impl<'n> Node<'n> {
    fn root(change: &'n ModelChange<'n>) -> Self {
        let text = |raw: &'n RawValue| Some(raw.get()).filter(|text| *text != "null");
        let (before, after) = (text(&change.before), text(&change.after));
        let id = after.or(before).and_then(|text| identity(&change.model.id, text));
        let key = id.filter(|id| !id.is_empty()).map(Into::into);
        Self { change, model: change.model, before, after, parent: None, key }
    }

    fn events(&self, said: &mut Said) -> Result<()> {
        match (self.before, self.after) {
            (None, None) => Ok(()),
            (None, Some(after)) => {
                self.say(&self.creation(after)?, said)?;
                self.parts("null", after, said)
            }
            (Some(before), Some(after)) if before == after => Ok(()),
            (Some(before), Some(after)) => {
                self.parts(before, after, said)?;
                self.say(&self.alteration(before, after)?, said)
            }
            (Some(_), None) => {
                let types: Vec<_> = self.model.deleted.iter().map(Cow::Borrowed).collect();
                self.say(&types, said)
            }
        }
    }

    fn parts(&self, before: &str, after: &str, said: &mut Said) -> Result<()> {
        for model in &self.model.parts {
            let Some(path) = &model.path else { continue };
            for (before, after) in pairs(path, &model.id, before, after) {
                let part = Node {
                    change: self.change,
                    model,
                    before,
                    after,
                    parent: Some(self),
                    key: self.key.clone(),
                };
                part.events(said)?;
            }
        }
        Ok(())
    }

    fn say(&self, types: &[Cow<'_, EventType>], said: &mut Said) -> Result<()> {
        for (at, event_type) in types.iter().enumerate() {
            if !types[..at].contains(event_type) {
                said.add(self.event(event_type.clone())?)?;
            }
        }
        Ok(())
    }

    /// The types of what is new.
    fn creation(&self, after: &str) -> Result<Vec<Cow<'n, EventType>>> {
        let mut types: Vec<_> = self.model.created.iter().map(Cow::Borrowed).collect();
        if let Some(state) = self.model.state_of(after) {
            types.extend(self.model.entered(None, &state)?);
        }
        Ok(types)
    }

    /// The types of a change of the resource itself.
    fn alteration(&self, before: &str, after: &str) -> Result<Vec<Cow<'n, EventType>>> {
        let model = self.model;
        let (from, to) = (model.state_of(before), model.state_of(after));
        let has_moved = from != to;
        let applies =
            |rule: &&Rule| (rule.becomes.is_some() || !has_moved) && rule.applies(before, after);
        let rules: Vec<&Rule> = model.rules.iter().filter(applies).collect();
        let mut types: Vec<_> =
            rules.iter().flat_map(|rule| &rule.types).map(Cow::Borrowed).collect();
        if let (true, Some(to)) = (has_moved, &to) {
            types.extend(model.entered(from.as_deref(), to)?);
        } else if let (true, Some(left)) = (has_moved, model.left(from)) {
            types.extend(left.iter().map(Cow::Borrowed));
        } else if rules.is_empty() && model.except.differs(before, after) {
            types.extend(model.updated.iter().map(Cow::Borrowed));
        }
        if has_moved && model.updated_with_state {
            types.extend(model.updated.iter().map(Cow::Borrowed));
        }
        Ok(types)
    }

    fn event(&self, event_type: Cow<'_, EventType>) -> Result<Change> {
        let source = self.model.objects.get(&*event_type).unwrap_or(&self.model.object);
        let (object, previous) = self.object(source, &event_type)?;
        let change = Change::from_raw(event_type.into_owned(), object, previous)
            .account(self.change.account.clone())
            .mode(self.change.mode);
        match &self.key {
            Some(key) => change.key(key),
            None => Ok(change),
        }
    }

    /// `data.object` and the previous attributes.
    fn object(
        &self,
        source: &Source,
        event_type: &EventType,
    ) -> Result<(Box<RawValue>, Option<Box<RawValue>>)> {
        let mut parts = Parts::default();
        match source {
            Source::Several(several) => {
                for (key, source) in several {
                    let (before, after) = self.sides(source, event_type)?;
                    let previous = previous(before, after);
                    parts.add(key, after.unwrap_or("{}"), previous.as_deref())?;
                }
                parts.finish()
            }
            source => {
                let (before, after) = self.sides(source, event_type)?;
                let previous = previous(before, after).map(raw).transpose()?;
                Ok((raw(after.unwrap_or("{}").to_owned())?, previous))
            }
        }
    }

    /// The resource that an event carries, before and after.
    fn sides<'s>(
        &'s self,
        source: &Source,
        event_type: &EventType,
    ) -> Result<(Option<&'s str>, Option<&'s str>)> {
        match source {
            Source::Parent => {
                let parent = self.parent.unwrap_or(self);
                Ok((parent.before, parent.after))
            }
            Source::Root => Ok((self.top().before, self.top().after)),
            Source::Attribute(path) => {
                let object = |text: &'s str| path.value(text).filter(|text| json::is_object(text));
                let sides = (self.before.and_then(object), self.after.and_then(object));
                if sides.1.is_none() && self.after.is_some() {
                    let message =
                        format!("of {event_type} is declared to be {path}, where none is");
                    return Err(Error::invalid("data.object", message));
                }
                Ok(sides)
            }
            Source::Related(name) => {
                let related = self.change.related.iter().rfind(|related| related.name == *name);
                let Some(related) = related else {
                    let message = format!("has no {name:?}, which {event_type} carries");
                    return Err(Error::invalid("related", message));
                };
                let before = related.before.as_deref().map(RawValue::get);
                Ok((before, Some(related.after.get())))
            }
            Source::Resource | Source::Several(_) => Ok((self.before, self.after)),
        }
    }

    fn top(&self) -> &Self {
        let mut at = self;
        while let Some(parent) = at.parent {
            at = parent;
        }
        at
    }
}

impl Model {
    /// The state that a resource is in.
    fn state_of(&self, text: &str) -> Option<String> {
        self.state.as_ref().and_then(|path| word(path.value(text)?))
    }

    /// The types of entering a state: the declared ones, the most specific first, or its own.
    fn entered(&self, from: Option<&str>, to: &str) -> Result<Vec<Cow<'_, EventType>>> {
        let (from, to_key) = (from.map(str::to_owned), Some(to.to_owned()));
        let declared = from
            .as_ref()
            .and_then(|_| {
                let exact = self.transitions.get(&(from.clone(), to_key.clone()));
                exact.or_else(|| self.transitions.get(&(from.clone(), None)))
            })
            .or_else(|| self.transitions.get(&(None, to_key.clone())));
        if let Some(types) = declared {
            return Ok(types.iter().map(Cow::Borrowed).collect());
        }
        let own =
            state_type(&self.prefix, to).map_err(|message| Error::invalid("type", message))?;
        Ok(vec![Cow::Owned(own)])
    }

    /// The types of leaving a state for none.
    fn left(&self, from: Option<String>) -> Option<&[EventType]> {
        self.transitions.get(&(from, None)).map(Vec::as_slice)
    }

    /// Tells the types that are known, and what their objects are.
    pub(super) fn list(&self, parents: &[&Self], tell: &mut impl FnMut(&EventType, String)) {
        let mut say = |event_type: &EventType| {
            let source = self.objects.get(event_type).unwrap_or(&self.object);
            tell(event_type, source.name(self, parents));
        };
        self.created.iter().for_each(&mut say);
        for state in &self.states {
            let types = self.entered(None, state).unwrap_or_default();
            types.iter().for_each(|event_type| say(event_type));
        }
        let mut declared: Vec<_> = self.transitions.iter().collect();
        declared.sort_unstable_by_key(|(transition, _)| *transition);
        declared.into_iter().flat_map(|(_, types)| types).for_each(&mut say);
        self.rules.iter().flat_map(|rule| &rule.types).for_each(&mut say);
        self.updated.iter().chain(&self.deleted).chain(self.objects.keys()).for_each(&mut say);
        let parents = [parents, &[self]].concat();
        self.parts.iter().for_each(|part| part.list(&parents, tell));
    }

    /// Whether only a part is known to say this.
    fn is_of_a_part(&self, event_type: &EventType) -> bool {
        let says = |model: &Self, parents: &[&Self]| {
            let mut says = false;
            model.list(parents, &mut |known, _| says |= known == event_type);
            says
        };
        !self.objects.contains_key(event_type) && self.parts.iter().any(|part| says(part, &[self]))
    }
}

impl Source {
    /// What stands in `data.object`, as a catalogue calls it.
    fn name(&self, model: &Model, parents: &[&Model]) -> String {
        match self {
            Self::Resource => model.prefix.clone(),
            Self::Parent => parents.last().unwrap_or(&model).prefix.clone(),
            Self::Root => parents.first().unwrap_or(&model).prefix.clone(),
            Self::Attribute(path) => format!("{}.{path}", model.prefix),
            Self::Related(name) => name.clone(),
            Self::Several(several) => {
                let keys: Vec<_> = several.iter().map(|(key, _)| key.as_str()).collect();
                keys.join("+")
            }
        }
    }
}

impl Rule {
    fn applies(&self, before: &str, after: &str) -> bool {
        let (was, is) = (self.path.value(before), self.path.value(after));
        let (was, is) = (was.unwrap_or("null"), is.unwrap_or("null"));
        !same_value(was, is) && self.becomes.as_ref().is_none_or(|becomes| same_value(is, becomes))
    }
}

/// The attributes that changed: none of what is new, all of what is gone.
fn previous(before: Option<&str>, after: Option<&str>) -> Option<String> {
    match (before?, after) {
        (before, Some(after)) => diff::between(before, after),
        (before, None) => (!json::is_empty_object(before)).then(|| before.to_owned()),
    }
}

fn raw(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|error| {
        Error::invalid("data.object", "cannot be written as JSON").with_source(error)
    })
}
