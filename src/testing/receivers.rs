//! All receivers behind one transport: what they are told to do, and the log of what they got.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::answer::{Answer, Deed};
use super::clock::KitClock;
use super::leases::Leases;
use super::pages::all;
use super::request::{Reply, Request};
use crate::ground::account::Account;
use crate::ground::address::EndpointUrl;
use crate::ground::event::Event;
use crate::ground::failure::FailureKind;
use crate::ground::id::{EventId, WebhookId};
use crate::ground::page::PageRequest;
use crate::ground::query::{EventQuery, WebhookQuery};
use crate::ground::signature::{Verifier, VerifyError};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::storage::{EventStore, WebhookStore};
use crate::ports::transport::{self, Response, Transport, TransportError};

/// What a receiver answers when nobody says.
const DEFAULT_STATUS: u16 = 204;

pub(super) struct Receivers {
    clock: Arc<KitClock>,
    storage: Arc<Leases>,
    state: Mutex<State>,
    /// Rung when a request ends.
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// What each receiver does, by the host and port of its address.
    scripts: BTreeMap<Arc<str>, Script>,
    log: Vec<Entry>,
    /// Where in the log the requests are that brought an event to a webhook.
    sent: HashMap<(WebhookId, EventId), Vec<usize>>,
    open: usize,
    faults: Vec<String>,
}

/// What a receiver does.
struct Script {
    next: VecDeque<Answer>,
    always: Answer,
}

/// A request that was sent.
pub(super) struct Entry {
    pub(super) request: Request,
    /// The host and port of its address.
    pub(super) place: Arc<str>,
    /// Whether there is a receiver, and it got the request.
    pub(super) arrived: bool,
    /// Whether an expectation was met by it.
    pub(super) expected: bool,
}

impl fmt::Debug for Receivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Receivers")
            .field("places", &state.scripts.keys())
            .field("requests", &state.log.len())
            .finish_non_exhaustive()
    }
}

impl Receivers {
    pub(super) fn new(clock: Arc<KitClock>, storage: Arc<Leases>) -> Self {
        Self { clock, storage, state: Mutex::default(), ended: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a receiver at this host and port, unless there is one.
    pub(super) fn add(&self, place: &Arc<str>) {
        let script = || Script { next: VecDeque::new(), always: DEFAULT_STATUS.into() };
        self.state().scripts.entry(Arc::clone(place)).or_insert_with(script);
    }

    /// From now on the receiver at `place` always does this.
    pub(super) fn always(&self, place: &str, answer: Answer) {
        let script = Script { next: VecDeque::new(), always: answer };
        let mut state = self.state();
        let former = state.scripts.get_mut(place).map(|former| replace(former, script));
        drop(state);
        // A closure of it may own the kit's last handle, whose end needs the state.
        drop(former);
    }

    /// After what it was told before, the receiver at `place` does this.
    pub(super) fn then(&self, place: &str, answer: Answer) {
        let mut state = self.state();
        let script = state.scripts.get_mut(place).filter(|_| !answer.is_empty());
        if let Some(script) = script {
            script.next.push_back(answer);
        }
    }

    /// Looks at the log.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut [Entry]) -> T) -> T {
        look(&mut self.state().log)
    }

    /// What broke a rule that has nothing to do with an expectation.
    pub(super) fn fault(&self) -> Option<String> {
        self.state().faults.first().cloned()
    }

    /// How many requests there have been, and how many of them are open.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.log.len(), state.open)
    }

    /// Waits for the end of a request.
    pub(super) async fn end(&self) {
        self.ended.notified().await;
    }

    /// The webhooks whose addresses have this host and port, in the order of their creation.
    pub(super) async fn webhooks(&self, place: &str) -> Vec<Webhook> {
        let query = WebhookQuery::default();
        let mut found = all(async |page| self.storage.webhooks(&query, page).await).await;
        found.retain(|webhook| *place_of(webhook.address()) == *place);
        found
    }

    /// The webhook with this id, as it is now.
    pub(super) async fn webhook(&self, id: WebhookId) -> Option<Webhook> {
        let query = WebhookQuery { id: Some(id), ..WebhookQuery::default() };
        let page = self.storage.webhooks(&query, &PageRequest::default()).await;
        page.expect("the storage in memory never fails").items.into_iter().next()
    }

    /// The event in a request's body, and the webhook that it is for; `None` where it is no delivery.
    ///
    /// # Errors
    /// When none of the webhooks at this address to which the event is on its way has signed it.
    async fn read(
        &self,
        http: &http::Request<Bytes>,
        now: Timestamp,
    ) -> (Option<Event>, Result<Option<Arc<Webhook>>, VerifyError>) {
        let text = std::str::from_utf8(http.body()).ok();
        let parse = |account: Account| Event::parse(text?, account, now).ok();
        let Some(event) = parse(Account::default()) else {
            return (None, Ok(None));
        };
        let here = |webhook: &Webhook| uri(webhook.address()) == *http.uri();
        let sender = self.storage.came(event.id(), here, |webhook| verify(webhook, http, now));
        let account = match &sender {
            Ok(Some(webhook)) => Some(webhook.account().clone()),
            _ => self.stored(event.id()).await.map(|event| event.account().clone()),
        };
        (account.and_then(parse).or(Some(event)), sender)
    }

    async fn stored(&self, id: EventId) -> Option<Event> {
        let query = EventQuery { id: Some(id), ..EventQuery::default() };
        let page = self.storage.events(&query, &PageRequest::default()).await;
        page.expect("the storage in memory never fails").items.into_iter().next()
    }

    /// Notes a request that came; says at which place of the log, and what to do with it.
    fn arrive(&self, mut request: Request) -> (usize, Request, Option<Answer>) {
        let place = request.uri.authority().map_or("", |authority| authority.as_str());
        let place: Arc<str> = place.into();
        let mut state = self.state();
        let at = state.log.len();
        if let (Some(webhook), Some(event)) = (request.webhook(), &request.event) {
            let State { sent, log, .. } = &mut *state;
            let before = sent.entry((webhook, event.id())).or_default();
            let arrived = before.iter().map(|at| &log[*at]).filter(|entry| entry.arrived);
            request.number = 1 + arrived.clone().count();
            request.again = arrived.clone().any(|entry| entry.request.is_acknowledged());
            before.push(at);
        }
        let answer = state.scripts.get_mut(&place).map(|script| match script.next.front_mut() {
            Some(answer) => {
                let now = answer.clone();
                if answer.is_used_up() {
                    script.next.pop_front();
                }
                now
            }
            None => script.always.clone(),
        });
        let arrived = answer.is_some();
        let shown = request.clone();
        state.log.push(Entry { request, place, arrived, expected: false });
        state.open += 1;
        (at, shown, answer)
    }

    /// Carries out what is to be done.
    async fn act(
        &self,
        delay: Duration,
        deed: Deed,
        deadline: Duration,
        keep: usize,
    ) -> Result<Response, TransportError> {
        let deed = if delay < deadline { deed } else { Deed::Hang };
        let time = if matches!(deed, Deed::Hang) { deadline } else { delay };
        if !time.is_zero() {
            sleep(time).await;
        }
        match deed {
            Deed::Response { status, headers, body } => {
                let mut response = Response::new(status);
                response.truncated = body.len() > keep;
                response.body = body.slice(..body.len().min(keep));
                response.headers = headers;
                Ok(response)
            }
            Deed::Fail(kind, text) => Err(TransportError::new(kind, text)),
            Deed::Hang => {
                let text = "the receiver did not answer in time";
                Err(TransportError::new(FailureKind::Timeout, text))
            }
        }
    }

    /// Notes what broke a rule that has nothing to do with an expectation.
    pub(super) fn blame(&self, fault: impl Into<String>) {
        self.state().faults.push(fault.into());
    }
}

#[async_trait]
impl Transport for Receivers {
    async fn send(&self, request: transport::Request) -> Result<Response, TransportError> {
        let transport::Request { http, deadline, keep, tls } = request;
        let now = self.clock.now();
        let (event, sender) = self.read(&http, now).await;
        let (parts, body) = http.into_parts();
        if let Err(error) = &sender {
            let host = parts.uri.host().unwrap_or_default();
            self.blame(format!("a request to {host} has no valid signature: {error}"));
        }
        let sender = sender.ok().flatten().map(|webhook| webhook.id());
        let (at, request, answer) = self.arrive(Request {
            at: now,
            uri: parts.uri,
            headers: parts.headers,
            body,
            deadline,
            tls,
            webhook: sender,
            event,
            number: 1,
            again: false,
            reply: None,
        });
        let _open = Open(self);
        let decided = match answer {
            Some(answer) => catch_unwind(AssertUnwindSafe(|| answer.decide(&request))),
            None => {
                let text = "no receiver of the kit has this address";
                Ok((Duration::ZERO, Deed::Fail(FailureKind::Dns, text)))
            }
        };
        let (delay, deed) = decided.unwrap_or_else(|panic| {
            self.blame(format!("a receiver's script panicked: {}", said(&*panic)));
            (Duration::ZERO, Deed::Fail(FailureKind::Panic, "the receiver's script panicked"))
        });
        if !deed.arrives() {
            self.look(|log| log[at].arrived = false);
        }
        let result = self.act(delay, deed, deadline, keep).await;
        let reply = match &result {
            Ok(response) => Reply::Status(response.status),
            Err(error) => Reply::Failed(error.kind()),
        };
        self.look(|log| log[at].request.reply = Some(reply));
        result
    }
}

/// Counts a request as open until it is dropped.
struct Open<'a>(&'a Receivers);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open -= 1;
        self.0.ended.notify_waiters();
    }
}

/// Verifies every signature of a request.
fn verify(
    webhook: &Webhook,
    http: &http::Request<Bytes>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    for scheme in webhook.schemes() {
        let secrets = webhook.secrets().expect("the kit seals nothing").active(now).cloned();
        let verifier =
            Verifier::new(scheme.clone(), secrets).expect("a webhook has 1 to 5 secrets");
        verifier.verify(named(http.headers()), http.body(), now)?;
    }
    Ok(())
}

fn named(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn uri(address: &EndpointUrl) -> Uri {
    address.url().as_str().parse().expect("an endpoint's URL is a URI")
}

/// The host and port that an address names.
pub(super) fn place_of(address: &EndpointUrl) -> Arc<str> {
    uri(address).authority().map_or("", |authority| authority.as_str()).into()
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::ground::change::Change;
    use crate::ground::secret::Secret;
    use crate::ground::secrets::Secrets;
    use crate::ground::signature::sign;
    use crate::testing::{Kit, seconds};

    /// Sends an event that is on its way, signed with a secret that the webhook never had.
    #[test]
    fn a_wrong_signature_fails_the_test() {
        let kit = Kit::new();
        let shop = kit.webhook(["order.*"]);
        let webhook = shop.webhook();
        shop.then(Answer::hangs());
        let change = Change::of("order.paid", &serde_json::json!({ "id": "7" })).unwrap();
        let event = kit.publish(change);
        kit.advance(seconds(1));

        let secrets = Secrets::new(Secret::from_random(&[9; 32]), kit.now());
        let body = Bytes::from(event.payload().to_owned());
        let mut request = http::Request::post(shop.address());
        for (name, value) in sign(webhook.schemes(), &secrets, event.id(), &body, kit.now()) {
            request = request.header(name, &*value);
        }
        let request = transport::Request::new(request.body(body).unwrap(), seconds(15), 0);
        kit.stage.receivers.send(request).now_or_never().unwrap().unwrap();

        let faults = [catch_unwind(AssertUnwindSafe(|| kit.settle())).unwrap_err()];
        let faults = faults.into_iter().chain(catch_unwind(AssertUnwindSafe(|| drop(kit))).err());
        let told: Vec<_> = faults.map(|fault| said(&*fault).to_owned()).collect();
        let text =
            "a request to webhook-1.receiver.test has no valid signature: no signature matches";
        assert_eq!(told, [text, text]);
    }
}
