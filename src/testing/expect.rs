//! Expectations: what should have come to whom, and a message that helps where it did not.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{lacks, parsed, shown};
use super::kit::{Kit, good};
use super::receiver::Receiver;
use super::receivers::Entry;
use super::request::Request;
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{DeliveryView, State};
use crate::ground::event::Event;
use crate::ground::filter::Filter;
use crate::ground::page::PageRequest;
use crate::ground::query::EventQuery;
use crate::ground::time::format_time;
use crate::ground::webhook::{Status, Webhook};

/// Lines of one kind that a message shows.
const LINES: usize = 12;

/// What is expected of deliveries; [`Kit::expect`] makes it. [`to`](Self::to) and
/// [`to_nobody`](Self::to_nobody) look.
///
/// ```
/// use serde_json::json;
/// use tidings::Change;
/// use tidings::testing::Kit;
///
/// let kit = Kit::new();
/// let (shop, books) = (kit.webhook(["order.*"]), kit.webhook(["invoice.*"]));
/// let before = json!({ "id": "7", "state": "open", "lines": [1, 2] });
/// let after = json!({ "id": "7", "state": "paid", "lines": [1, 2] });
/// kit.publish(Change::updated("order.paid", &before, &after)?);
///
/// kit.expect("order.paid")
///     .with(json!({ "state": "paid" }))
///     .previous(json!({ "state": "open" }))
///     .to(&shop);
/// kit.expect("*").times(0).to(&books);
/// kit.expect("order.refunded").to_nobody();
/// # Ok::<(), tidings::Error>(())
/// ```
#[must_use = "an expectation is looked at by `to` or `to_nobody`"]
#[derive(Clone)]
pub struct Expectation<'k> {
    kit: &'k Kit,
    types: Filter,
    object: Value,
    previous: Value,
    account: Option<Account>,
    mode: Option<Mode>,
    times: usize,
}

/// How an event fits an expectation.
enum Fit {
    Fits,
    /// The right type, but something is not as expected.
    Differs(String),
    Other,
}

impl<'k> Expectation<'k> {
    #[track_caller]
    pub(super) fn new(kit: &'k Kit, event_type: &str) -> Self {
        let types = good(Filter::parse(event_type), "the expected type");
        let (object, previous) = (json!({}), json!({}));
        Self { kit, types, object, previous, account: None, mode: None, times: 1 }
    }

    /// The event's `data.object` has all of this. It may have more, at every level of objects; arrays
    /// are compared whole.
    pub fn with(mut self, object: Value) -> Self {
        self.object = object;
        self
    }

    /// The event's `data.previousAttributes` have all of this, likewise.
    pub fn previous(mut self, attributes: Value) -> Self {
        self.previous = attributes;
        self
    }

    /// The event is of this account; of any otherwise.
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// The event is of this mode; of any otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// So many deliveries; one otherwise. Zero is fine.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Does what is due, then expects that the receiver acknowledged exactly so many deliveries of
    /// such events, beside those that met an earlier expectation. Gives their requests.
    ///
    /// # Panics
    /// When it did not. The message says what came instead, and what still waits.
    #[track_caller]
    pub fn to(self, receiver: &Receiver) -> Vec<Request> {
        let of_this = Arc::ptr_eq(&self.kit.stage, &receiver.stage);
        assert!(of_this, "{} is a receiver of another kit", receiver.name());
        self.kit.settle();
        let found = receiver.stage.receivers.look(|log| {
            let mut fitting: Vec<&mut Entry> = log
                .iter_mut()
                .filter(|entry| entry.place == receiver.place && entry.is_open())
                .filter(|entry| self.fits(&entry.request))
                .collect();
            if fitting.len() != self.times {
                return Err(fitting.len());
            }
            fitting.iter_mut().for_each(|entry| entry.expected = true);
            Ok(fitting.iter().map(|entry| entry.request.clone()).collect())
        });
        found.unwrap_or_else(|count| panic!("{}", self.explain(receiver, count)))
    }

    /// Does what is due, then expects that no such event came to any receiver, acknowledged or not,
    /// beside those that met an earlier expectation, and that none waits to be sent.
    ///
    /// # Panics
    /// When one did, or waits.
    #[track_caller]
    pub fn to_nobody(self) {
        self.kit.settle();
        let stage = &self.kit.stage;
        let mut text = stage.receivers.look(|log| {
            let came = log
                .iter()
                .filter(|entry| entry.arrived && !entry.expected && self.fits(&entry.request));
            lines(came.map(|entry| format!("{}: {}", entry.place, line(&entry.request))))
        });
        let waiting = stage.unfinished();
        let waiting = waiting.iter().filter(|(view, webhook)| self.fits_as_sent(view, webhook));
        text.push_str(&lines(waiting.map(|(view, _)| waits(view))));
        assert!(text.is_empty(), "expected no {self} to anybody, but\n{text}");
    }

    fn fits(&self, request: &Request) -> bool {
        request.event.as_ref().is_some_and(|event| matches!(self.fit(event), Fit::Fits))
    }

    /// Whether the event fits in the version that its webhook will get.
    fn fits_as_sent(&self, view: &DeliveryView, webhook: &Webhook) -> bool {
        let event = &view.event;
        let sent = event.rendered(webhook.api_version());
        let sent = Event::parse(sent, event.account().clone(), event.created());
        matches!(self.fit(sent.as_ref().unwrap_or(event)), Fit::Fits)
    }

    fn fit(&self, event: &Event) -> Fit {
        if !self.types.matches(event.event_type()) {
            return Fit::Other;
        }
        if let Some(account) = self.account.as_ref().filter(|account| *account != event.account()) {
            return Fit::Differs(format!("it is of account {}, not {account}", event.account()));
        }
        if self.mode.is_some_and(|mode| mode != event.mode()) {
            return Fit::Differs(format!("it is of {:?} mode", event.mode()));
        }
        let object = event.object().map_or(Value::Null, parsed);
        let previous = event.previous_attributes().ok().flatten();
        let previous = previous.map_or_else(|| json!({}), parsed);
        lacks("data.object", &self.object, &object)
            .or_else(|| lacks("data.previousAttributes", &self.previous, &previous))
            .map_or(Fit::Fits, Fit::Differs)
    }

    /// Why an expectation of the receiver was not met.
    fn explain(&self, receiver: &Receiver, count: usize) -> String {
        let stage = &receiver.stage;
        let (times, name) = (self.times, receiver.name());
        let mut text = format!(
            "expected {times} acknowledged {} of {self} to {name}, but there {} {count}\n",
            if times == 1 { "delivery" } else { "deliveries" },
            if count == 1 { "is" } else { "are" },
        );
        let (here, elsewhere) = stage.receivers.look(|log| {
            let here = log.iter().filter(|entry| entry.place == receiver.place);
            let here =
                here.map(|entry| match entry.request.event.as_ref().map(|it| self.fit(it)) {
                    _ if entry.expected => format!("{}; expected before", line(&entry.request)),
                    Some(Fit::Differs(how)) => format!("{}; {how}", line(&entry.request)),
                    _ => line(&entry.request),
                });
            let here = lines(here);
            let there = log.iter().filter(|entry| entry.place != receiver.place);
            let there = there.filter(|entry| self.fits(&entry.request));
            let there = there.map(|entry| format!("{}: {}", entry.place, line(&entry.request)));
            (here, lines(there))
        });
        section(&mut text, &format!("sent to {name}"), &here, "nothing");
        let webhooks = receiver.webhooks();
        let waiting = stage.unfinished();
        let ours = waiting
            .iter()
            .filter(|(_, webhook)| webhooks.iter().any(|here| here.id() == webhook.id()));
        let waiting = lines(ours.map(|(view, _)| waits(view)));
        section(&mut text, &format!("waiting for {name}"), &waiting, "nothing");
        let webhooks = webhooks.iter().map(|webhook| {
            let status = match webhook.status() {
                Status::Enabled => "enabled".to_owned(),
                Status::Disabled(reason) => format!("disabled ({reason:?})"),
            };
            let types: Vec<_> = webhook.types().iter().map(Filter::as_str).collect();
            let (account, mode) = (webhook.account(), webhook.mode());
            format!("{}: {status}, {} ({account}, {mode:?})", webhook.id(), types.join(" "))
        });
        section(&mut text, &format!("webhooks of {name}"), &lines(webhooks), "none");
        if count < times {
            if !elsewhere.is_empty() {
                section(&mut text, "elsewhere", &elsewhere, "nothing");
            }
            let page = stage.wait(stage.tidings.events(&EventQuery::default(), &page()));
            let mut events = good(page, "the events").items;
            events.reverse();
            let events = events.iter().map(|event| {
                let (time, kind) = (format_time(event.created()), event.event_type());
                format!("{time} {kind} {} ({}, {:?})", event.id(), event.account(), event.mode())
            });
            section(&mut text, "published last", &lines(events), "nothing");
        }
        let _ = write!(text, "it is {}", format_time(self.kit.now()));
        text
    }
}

/// The text of what is expected.
impl fmt::Display for Expectation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.types.as_str())?;
        if self.object != json!({}) {
            write!(f, " with {}", shown(&self.object))?;
        }
        if self.previous != json!({}) {
            write!(f, " and before {}", shown(&self.previous))?;
        }
        if let Some(account) = &self.account {
            write!(f, " of account {account}")?;
        }
        match self.mode {
            Some(mode) => write!(f, " in {mode:?} mode"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Expectation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expectation({self})")
    }
}

impl Entry {
    /// Whether it was acknowledged, and no expectation was met by it.
    fn is_open(&self) -> bool {
        self.arrived && !self.expected && self.request.is_acknowledged()
    }
}

/// Panics unless everything that was acknowledged was expected.
#[track_caller]
pub(super) fn nothing(kit: &Kit) {
    kit.settle();
    let text = kit.stage.receivers.look(|log| {
        let open = log.iter().filter(|entry| entry.is_open() && entry.request.event.is_some());
        lines(open.map(|entry| format!("{}: {}", entry.place, line(&entry.request))))
    });
    assert!(text.is_empty(), "expected nothing more, but\n{text}");
}

fn page() -> PageRequest {
    PageRequest::first(LINES).expect("a few items are allowed")
}

/// A request, in words.
fn line(request: &Request) -> String {
    let time = format_time(request.at());
    match &request.event {
        Some(event) => {
            let (kind, id) = (event.event_type(), event.id());
            format!("{time} {kind} {id}: {}", request.result())
        }
        None => format!("{time} no event: {}", request.result()),
    }
}

/// A delivery that has not ended, in words.
fn waits(view: &DeliveryView) -> String {
    let (kind, id, attempt) = (view.event.event_type(), view.event.id(), view.delivery.attempt + 1);
    match view.delivery.state {
        State::Waiting { due } => {
            format!("{kind} {id}: attempt {attempt} is due at {}", format_time(due))
        }
        _ => format!("{kind} {id}: under way"),
    }
}

/// The last lines, each on its own.
fn lines(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let mut text = String::new();
    if all.len() > LINES {
        let _ = writeln!(text, "    … {} more before", all.len() - LINES);
    }
    for line in all.iter().skip(all.len().saturating_sub(LINES)) {
        let _ = writeln!(text, "    {line}");
    }
    text
}

fn section(text: &mut String, heading: &str, lines: &str, none: &str) {
    if lines.is_empty() {
        let _ = writeln!(text, "  {heading}: {none}");
    } else {
        let _ = write!(text, "  {heading}:\n{lines}");
    }
}
