//! Bearer tokens for webhooks that authenticate by OAuth: fetched, kept until shortly before their
//! end, and replaced when the receiver refuses one.
//!
//! Token requests leave through the same transport as every other request: the token endpoint is a
//! URL that a customer chose, too. At most one is under way for each webhook; who comes meanwhile
//! waits for its answer, good or bad. They carry no client certificate, and trust what the transport
//! trusts: those settings are for the webhook's own address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::request::{Failure, USER_AGENT_VALUE, header_value, uri};
use crate::ground::error::Result;
use crate::ground::failure::FailureKind;
use crate::ground::id::WebhookId;
use crate::ground::oauth::{OAuth, Token};
use crate::ground::policy::{
    TOKEN_LIFETIME, TOKEN_LIFETIME_MAX, TOKEN_MARGIN, TOKEN_RESPONSE_BYTES_MAX, TOKEN_REST,
    TOKENS_KEPT,
};
use crate::ports::transport::{Request, Transport};

/// A webhook in one of its versions: an edit may change its credentials.
type Key = (WebhookId, u64);

/// The tokens of one dispatcher.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<Key, Slot>>,
}

/// Locked while its token is being fetched.
type Slot = Arc<tokio::sync::Mutex<Last>>;

/// What the token endpoint said last.
#[derive(Debug, Default)]
enum Last {
    #[default]
    Nothing,
    Token {
        held: Held,
        /// When a token was last asked for because the receiver had refused one.
        replaced: Option<Instant>,
    },
    Failed {
        failure: Failure,
        at: Instant,
    },
}

/// A token and how long it is used.
#[derive(Debug, Clone)]
pub(super) struct Held {
    token: Token,
    fetched: Instant,
    until: Instant,
}

impl Held {
    /// The `authorization` header.
    pub(super) fn header(&self) -> Result<HeaderValue> {
        let mut value = header_value(&Zeroizing::new(self.token.header_value()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Tokens {
    /// A token for `webhook`, kept or fetched, before `end`; never the one that was `refused`.
    ///
    /// # Errors
    /// A [`Token`](FailureKind::Token) failure when there is none to be had; after one, the
    /// endpoint is left in peace for a moment and the failure repeated.
    ///
    /// # Cancellation
    /// Dropping the future ends its request; the next one who waits makes another.
    pub(super) async fn get(
        &self,
        webhook: Key,
        oauth: &OAuth,
        transport: &dyn Transport,
        end: Instant,
        refused: Option<&Held>,
    ) -> Result<Held, Failure> {
        let asked = Instant::now();
        let slot = self.slot(webhook);
        let Ok(mut last) = tokio::time::timeout_at(end, slot.lock()).await else {
            return Err(failed("no token within the deadline of the attempt"));
        };
        let now = Instant::now();
        let mut replaced_at = None;
        match &*last {
            Last::Token { held, replaced }
                if refused.is_some_and(|refused| refused.token == held.token) =>
            {
                // A receiver that refuses whatever comes must not have the endpoint asked without end.
                if replaced.is_some_and(|at| now < at + TOKEN_REST) {
                    return Err(failed("the token that it gave a moment ago was refused, too"));
                }
                replaced_at = Some(now);
            }
            // One that came while this caller waited is fresh enough, however short its life.
            Last::Token { held, .. } if now < held.until || held.fetched >= asked => {
                return Ok(held.clone());
            }
            Last::Token { replaced, .. } => replaced_at = *replaced,
            Last::Failed { failure, at } if *at >= asked || now < *at + TOKEN_REST => {
                return Err(failure.clone());
            }
            Last::Failed { .. } | Last::Nothing => {}
        }
        let answer = fetch(oauth, transport, end).await;
        *last = match &answer {
            Ok(held) => Last::Token { held: held.clone(), replaced: replaced_at },
            Err(failure) => Last::Failed { failure: failure.clone(), at: Instant::now() },
        };
        answer
    }

    fn slot(&self, webhook: Key) -> Slot {
        // Nothing panics between two writes that belong together.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&webhook) {
            return slot.clone();
        }
        let idle = |slot: &Slot| Arc::strong_count(slot) == 1;
        // What belongs to an older version is not used again.
        slots.retain(|key, slot| key.0 != webhook.0 || key.1 > webhook.1 || !idle(slot));
        if slots.len() >= TOKENS_KEPT {
            let idle = slots.iter().find(|(_, slot)| idle(slot)).map(|(key, _)| *key);
            if let Some(idle) = idle {
                slots.remove(&idle);
            }
        }
        slots.entry(webhook).or_default().clone()
    }
}

/// Asks the token endpoint.
async fn fetch(oauth: &OAuth, transport: &dyn Transport, end: Instant) -> Result<Held, Failure> {
    let begun = Instant::now();
    let left = end.saturating_duration_since(begun);
    if left.is_zero() {
        return Err(failed("no time was left to ask for a token"));
    }
    let http = request(oauth).map_err(|_| failed("its request cannot be written"))?;
    // A byte more than allowed, so that too much shows.
    let request = Request::new(http, left, TOKEN_RESPONSE_BYTES_MAX + 1);
    let response = transport.send(request).await.map_err(|error| match error.kind() {
        // Trouble of our own stays that: nobody else is to blame.
        kind @ (FailureKind::Local | FailureKind::Busy) => {
            Failure::new(kind, format!("token: {error}"))
        }
        _ => failed(&error.to_string()),
    })?;
    // The body is never repeated: it may hold a token, whatever the status.
    if response.status != 200 {
        return Err(failed(&format!("it answered {}", response.status)));
    }
    if response.truncated {
        return Err(failed("its answer is too long or broke off"));
    }
    let token =
        Token::parse_response(&response.body).map_err(|error| failed(&error.to_string()))?;
    let lifetime = token.expires_in().unwrap_or(TOKEN_LIFETIME);
    let lifetime = lifetime.min(TOKEN_LIFETIME_MAX);
    let fetched = Instant::now();
    // Counted from the request: the endpoint counts from somewhere between it and its answer.
    let until = begun + lifetime - TOKEN_MARGIN.min(lifetime / 2);
    // However short its life, the endpoint is not asked for each delivery.
    Ok(Held { token, fetched, until: until.max(fetched + TOKEN_REST) })
}

fn request(oauth: &OAuth) -> Result<http::Request<Bytes>> {
    let body = Zeroizing::new(oauth.token_request_body());
    let mut request = http::Request::new(Bytes::from_owner(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(oauth.token_endpoint())?;
    let mut authorization = header_value(&Zeroizing::new(oauth.basic_credentials()))?;
    authorization.set_sensitive(true);
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, authorization);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    Ok(request)
}

fn failed(text: &str) -> Failure {
    Failure::new(FailureKind::Token, format!("the token endpoint: {text}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ground::address::EndpointUrl;
    use crate::ground::oauth::Grant;
    use crate::ground::time::Timestamp;
    use crate::ports::transport::{Response, TransportError, transport_fn};

    fn oauth() -> OAuth {
        let endpoint = EndpointUrl::parse("https://id.example/token").unwrap();
        OAuth::new(endpoint, "shop", "CANARY", Grant::password("ada", "CANARY")).unwrap()
    }

    fn key(n: u8) -> Key {
        (WebhookId::new(Timestamp::UNIX_EPOCH, &[n; 10]), 1)
    }

    fn id(number: u64) -> [u8; 10] {
        let mut id = [0; 10];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn end() -> Instant {
        Instant::now() + Duration::from_secs(15)
    }

    fn response(status: u16, body: &'static str) -> Response {
        let mut response = Response::new(status);
        response.body = Bytes::from_static(body.as_bytes());
        response
    }

    /// Gets tokens from endpoints that are broken in different ways (table), and looks for
    /// their content in the failure.
    #[tokio::test(start_paused = true)]
    async fn a_broken_endpoint_is_a_failure_without_secrets() {
        type Answer = Result<Response, TransportError>;
        type Case = (fn() -> Answer, FailureKind, &'static str);
        let cases: [Case; 7] = [
            (|| Ok(response(401, "CANARY")), FailureKind::Token, "answered 401"),
            (|| Ok(response(302, "")), FailureKind::Token, "answered 302"),
            (|| Ok(response(200, "CANARY")), FailureKind::Token, "not a JSON object"),
            (
                || Ok(response(200, r#"{"access_token":"CANARY\n"}"#)),
                FailureKind::Token,
                "not visible ASCII",
            ),
            (
                || {
                    let mut cut = response(200, r#"{"access_token":"CANARY"}"#);
                    cut.truncated = true;
                    Ok(cut)
                },
                FailureKind::Token,
                "too long",
            ),
            (
                || Err(TransportError::new(FailureKind::Blocked, "10.0.0.1")),
                FailureKind::Token,
                "blocked: 10.0.0.1",
            ),
            (
                || Err(TransportError::new(FailureKind::Local, "no descriptors")),
                FailureKind::Local,
                "no descriptors",
            ),
        ];
        for (answer, kind, says) in cases {
            let transport = transport_fn(move |_| async move { answer() });
            let tokens = Tokens::default();
            let failure = tokens.get(key(1), &oauth(), &transport, end(), None).await;
            let failure = failure.unwrap_err();
            assert_eq!(failure.kind, kind);
            assert!(failure.text.contains(says), "{}", failure.text);
            assert!(!format!("{failure:?} {tokens:?}").contains("CANARY"));
        }
    }

    /// Asks for the tokens of more webhooks than are kept.
    #[tokio::test(start_paused = true)]
    async fn the_number_of_kept_tokens_is_bounded() {
        let body = r#"{"access_token":"abc"}"#;
        let transport = transport_fn(move |_| async move { Ok(response(200, body)) });
        let tokens = Tokens::default();
        for version in 0..TOKENS_KEPT as u64 + 50 {
            let key = (WebhookId::new(Timestamp::UNIX_EPOCH, &id(version)), 1);
            tokens.get(key, &oauth(), &transport, end(), None).await.unwrap();
        }
        assert_eq!(tokens.slots.lock().unwrap().len(), TOKENS_KEPT);
    }

    /// Edits a webhook many times: the tokens of its older versions go.
    #[tokio::test(start_paused = true)]
    async fn a_new_version_replaces_the_token_of_the_one_before() {
        let body = r#"{"access_token":"abc"}"#;
        let transport = transport_fn(move |_| async move { Ok(response(200, body)) });
        let tokens = Tokens::default();
        for (number, version) in [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)] {
            let key = (key(number).0, version);
            tokens.get(key, &oauth(), &transport, end(), None).await.unwrap();
        }
        let kept: std::collections::BTreeSet<_> =
            tokens.slots.lock().unwrap().keys().copied().collect();
        assert_eq!(kept, [(key(1).0, 3), (key(2).0, 2)].into());
    }

    /// Refuses every token at once, again and again, with many callers at a time.
    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_refuses_all_does_not_wear_the_endpoint_out() {
        let given = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = given.clone();
        let transport = transport_fn(move |_| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut answer = Response::new(200);
            answer.body = format!(r#"{{"access_token":"t{number}","expires_in":0}}"#).into();
            async move { Ok(answer) }
        });
        let tokens = Tokens::default();
        let (begun, oauth) = (Instant::now(), oauth());
        while begun.elapsed() < Duration::from_secs(10) {
            let callers = (0..50).map(|_| async {
                let first = tokens.get(key(1), &oauth, &transport, end(), None).await.unwrap();
                let _ = tokens.get(key(1), &oauth, &transport, end(), Some(&first)).await;
            });
            futures_util::future::join_all(callers).await;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let given = given.load(std::sync::atomic::Ordering::Relaxed);
        assert!((5..=22).contains(&given), "{given} in 10 s");
    }

    /// Reads the life of a token at its ends: none given, none at all, and forever (table).
    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_shortly_before_its_end() {
        for (body, seconds) in [
            (r#"{"access_token":"a"}"#, 270),
            (r#"{"access_token":"a","expires_in":0}"#, 1),
            (r#"{"access_token":"a","expires_in":1}"#, 1),
            (r#"{"access_token":"a","expires_in":20}"#, 10),
            (r#"{"access_token":"a","expires_in":3600}"#, 3_570),
            (r#"{"access_token":"a","expires_in":18446744073709551615}"#, 86_370),
        ] {
            let transport = transport_fn(move |_| async move { Ok(response(200, body)) });
            let held = fetch(&oauth(), &transport, end()).await.unwrap();
            assert_eq!(held.until - Instant::now(), Duration::from_secs(seconds), "{body}");
        }
    }
}
