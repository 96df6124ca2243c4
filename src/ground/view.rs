//! What listings and APIs may show: webhooks, deliveries and attempts as plain JSON, in camelCase
//! (domain 4a). No secret is in any of it, so that a view can be logged and sent without a thought.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account::Account;
use super::authentication::Authentication;
use super::condition::Condition;
use super::delivery::{Attempt, DeliveryView, Outcome, State, StateKind};
use super::event_type::EventType;
use super::filter::Filters;
use super::header::MASK;
use super::id::{Cause, DeliveryId, EventId, WebhookId};
use super::identity::ClientIdentity;
use super::oauth::OAuth;
use super::order::Ordering;
use super::rate_limit::RateLimit;
use super::signature::SignatureScheme;
use super::time::format_time;
use super::webhook::{API_VERSION_DEFAULT, DisabledReason, Status, Webhook};

/// A webhook without its secrets, sealed or not.
///
/// ```
/// use tidings::{Registration, Secret, Timestamp, WebhookId, WebhookView};
///
/// let now = Timestamp::UNIX_EPOCH;
/// let webhook = Registration::new("https://example.com/hook", ["order.*"])?
///     .into_webhook(WebhookId::new(now, &[1; 10]), Secret::from_random(&[2; 32]), now)?;
/// let json = serde_json::to_value(WebhookView::from(&webhook)).unwrap();
/// assert_eq!(json["address"], "https://example.com/hook");
/// assert_eq!(json["disabledReason"], "neverEnabled");
/// assert_eq!(json["createdTime"], "1970-01-01T00:00:00.000Z");
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub account: Account,
    /// Where payloads go.
    #[cfg_attr(feature = "api", schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://"))]
    pub address: String,
    /// The event types that it wants.
    pub types: Filters,
    /// Whether it is delivered to.
    pub enabled: bool,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<DisabledReason>,
    /// What people call it.
    pub description: String,
    /// The host's own notes.
    pub metadata: BTreeMap<String, String>,
    /// The names of the headers sent with every request, each with `***` for its value.
    #[cfg_attr(feature = "api", schema(value_type = BTreeMap<String, String>))]
    pub headers: BTreeMap<String, &'static str>,
    /// How the sender authenticates itself.
    pub transport_type: TransportType,
    /// The user of basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<UserView>,
    /// Where tokens come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthView>,
    /// The fingerprint (SHA-256) of the certificate that the sender shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// The fingerprints (SHA-256) of the authorities that are trusted instead of all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root_certificates: Vec<String>,
    /// The version that it is pinned to, or `default`.
    pub api_version: String,
    /// Live or test.
    pub live_mode: bool,
    /// Its own deadline for one attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_millis: Option<u64>,
    /// How requests are signed.
    pub schemes: Vec<SignatureScheme>,
    /// What receivers verify with (`whpk_`), where the current secret is a private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Whether it gets its events in order.
    pub ordering: Ordering,
    /// How many requests it gets in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many requests to it may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What must be in an event, beside its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "api", schema(value_type = Option<Object>))]
    pub condition: Option<Condition>,
    /// When it was created.
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub created_time: String,
    /// When it was last changed.
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub updated_time: String,
    /// Counts the changes; an edit names the version that it was made from.
    pub version: u64,
}

/// How the sender authenticates itself, in the words of domain 4a.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum TransportType {
    /// Not at all, or with a user name and a password.
    Http,
    /// With a token.
    OAuth,
}

/// The user of basic authentication, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct UserView {
    /// The user name.
    pub username: String,
}

/// Where tokens come from, without the client's secret and the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct OAuthView {
    /// The URL of the token endpoint.
    #[cfg_attr(feature = "api", schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://"))]
    pub token_end_point: String,
    /// The client's id there.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// `password` or `client_credentials`.
    #[cfg_attr(feature = "api", schema(value_type = GrantTypeName))]
    pub grant_type: &'static str,
    /// The user, for the password grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The audience, for the client's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// How a token is asked for.
#[cfg(feature = "api")]
#[derive(utoipa::ToSchema)]
#[schema(as = GrantType, rename_all = "snake_case")]
#[allow(dead_code)] // It describes the names, which grants have themselves.
enum GrantTypeName {
    Password,
    ClientCredentials,
}

impl From<&Webhook> for WebhookView {
    fn from(webhook: &Webhook) -> Self {
        let (authentication, oauth) = match webhook.authentication() {
            Authentication::None => (None, None),
            Authentication::Basic(basic) => {
                (Some(UserView { username: basic.username().into() }), None)
            }
            Authentication::OAuth(oauth) => (None, Some(OAuthView::from(oauth))),
        };
        Self {
            id: webhook.id(),
            account: webhook.account().clone(),
            address: webhook.address().as_str().into(),
            types: webhook.types().clone(),
            enabled: webhook.is_enabled(),
            disabled_reason: match webhook.status() {
                Status::Enabled => None,
                Status::Disabled(reason) => Some(reason),
            },
            description: webhook.description().into(),
            metadata: webhook.metadata().clone(),
            headers: webhook
                .headers()
                .iter()
                .map(|(name, _)| (name.as_str().to_owned(), MASK))
                .collect(),
            transport_type: match oauth {
                None => TransportType::Http,
                Some(_) => TransportType::OAuth,
            },
            authentication,
            oauth,
            client_certificate: webhook
                .tls()
                .and_then(|tls| tls.identity())
                .map(ClientIdentity::fingerprint),
            root_certificates: webhook
                .tls()
                .and_then(|tls| tls.roots())
                .map(|roots| roots.fingerprints().collect())
                .unwrap_or_default(),
            api_version: webhook.api_version().unwrap_or(API_VERSION_DEFAULT).into(),
            live_mode: webhook.mode().is_live(),
            timeout_millis: webhook.timeout().map(millis),
            schemes: webhook.schemes().to_vec(),
            public_key: webhook.public_key(),
            ordering: webhook.ordering(),
            rate_limit: webhook.rate_limit(),
            concurrency: webhook.concurrency(),
            condition: webhook.condition().cloned(),
            created_time: format_time(webhook.created()),
            updated_time: format_time(webhook.updated()),
            version: webhook.version(),
        }
    }
}

impl From<&OAuth> for OAuthView {
    fn from(oauth: &OAuth) -> Self {
        Self {
            token_end_point: oauth.token_endpoint().as_str().into(),
            client_id: oauth.client_id().into(),
            grant_type: oauth.grant().grant_type(),
            user_name: oauth.grant().username().map(Into::into),
            audience: oauth.grant().audience().map(Into::into),
        }
    }
}

/// A delivery and its attempts. The event's payload is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct DeliveryJson {
    /// Its id.
    pub id: DeliveryId,
    /// The event owed.
    pub event_id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The webhook it is owed to.
    pub webhook_id: WebhookId,
    /// The redelivery or replay that it comes from; absent where routing made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the event was published, or the redelivery asked for.
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub published_time: String,
    /// Where it stands.
    pub state: StateKind,
    /// The earliest moment of the next attempt, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub due_time: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub ended_time: Option<String>,
    /// Failures that counted towards the schedule.
    pub failures: u32,
    /// How often its sender died or failed for reasons of its own.
    pub interruptions: u32,
    /// The tries that were written down, in order.
    pub attempts: Vec<AttemptJson>,
}

impl From<&DeliveryView> for DeliveryJson {
    fn from(view: &DeliveryView) -> Self {
        let delivery = &view.delivery;
        let (due, ended) = match delivery.state {
            State::Waiting { due } => (Some(due), None),
            State::Leased { .. } => (None, None),
            State::Delivered { at }
            | State::Exhausted { at }
            | State::Expired { at }
            | State::Cancelled { at } => (None, Some(at)),
        };
        Self {
            id: delivery.id,
            event_id: delivery.event,
            event_type: view.event.event_type().clone(),
            webhook_id: delivery.webhook,
            cause: Some(delivery.cause).filter(|cause| *cause != Cause::ROUTED),
            published_time: format_time(delivery.published),
            state: delivery.state.kind(),
            due_time: due.map(format_time),
            ended_time: ended.map(format_time),
            failures: delivery.failures,
            interruptions: delivery.interruptions,
            attempts: view.attempts.iter().map(AttemptJson::from).collect(),
        }
    }
}

/// One try of a delivery: what was answered, or why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct AttemptJson {
    /// Its number, from 1; numbers may be missing.
    pub number: u32,
    /// When it began.
    #[cfg_attr(feature = "api", schema(format = DateTime))]
    pub started_time: String,
    /// How long it took, in milliseconds.
    pub latency_millis: u64,
    /// Whether it acknowledged the delivery (a status of 200 to 299).
    pub success: bool,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the answer asked to be left alone, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Why there is no answer: the stable name of a [`FailureKind`](crate::FailureKind), or
    /// `interrupted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "api", schema(value_type = Option<String>))]
    pub failure: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The bytes that were kept of the answer, as text; what is not UTF-8 is replaced.
    pub response: String,
    /// Whether the answer went on.
    pub truncated: bool,
}

impl From<&Attempt> for AttemptJson {
    fn from(attempt: &Attempt) -> Self {
        let (status, retry_after, failure) = match attempt.outcome {
            Outcome::Answered { status, retry_after } => (Some(status), retry_after, None),
            Outcome::Unanswered(kind) => (None, None, Some(kind.as_str())),
            Outcome::Interrupted => (None, None, Some("interrupted")),
        };
        Self {
            number: attempt.number,
            started_time: format_time(attempt.started),
            latency_millis: millis(attempt.latency),
            success: attempt.outcome.is_success(),
            status,
            retry_after_seconds: retry_after.map(|asked| asked.as_secs()),
            failure,
            error: attempt.error.clone(),
            response: String::from_utf8_lossy(&attempt.response).into_owned(),
            truncated: attempt.truncated,
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Basic, Edit, EndpointUrl, Event, FailureKind, Grant, Headers, Overlap, Registration,
        Secret, Timestamp,
    };

    fn now() -> Timestamp {
        crate::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
    }

    fn oauth(grant: Grant) -> Authentication {
        let endpoint = EndpointUrl::parse("https://id.example/t").unwrap();
        Authentication::OAuth(OAuth::new(endpoint, "shop", "CANARY-client", grant).unwrap())
    }

    fn webhook(authentication: Authentication) -> Webhook {
        let edit = Edit::new()
            .headers(Headers::parse([("X-Key", "CANARY-header"), ("X-A", "CANARY")]).unwrap())
            .authentication(authentication)
            .metadata([("team".to_owned(), "ops".to_owned())].into())
            .description("Shop")
            .timeout(Some(Duration::from_secs(5)));
        let secret = Secret::parse("whk_CANARY-00000000-0000-4000-8000").unwrap();
        let webhook = Registration::new("https://example.com/hook", ["order.*", "a.b"])
            .unwrap()
            .with(edit)
            .into_webhook(WebhookId::new(now(), &[1; 10]), secret, now())
            .unwrap();
        let new = Secret::parse("whk_CANARY-00000000-0000-4000-8001").unwrap();
        let secrets = webhook.secrets().unwrap().rotate(new, Overlap::default(), now()).unwrap();
        webhook.with_secrets(secrets).unwrap().stored(now())
    }

    /// Compares the whole JSON of a disabled webhook with basic authentication.
    #[test]
    fn a_webhook_is_shown_in_the_words_of_the_domain() {
        let basic = Authentication::Basic(Basic::new("ada", "CANARY-basic").unwrap());
        let webhook = webhook(basic);
        let expected = json!({
            "id": webhook.id().to_string(),
            "account": "default",
            "address": "https://example.com/hook",
            "types": ["a.b", "order.*"],
            "enabled": false,
            "disabledReason": "neverEnabled",
            "description": "Shop",
            "metadata": {"team": "ops"},
            "headers": {"X-A": "***", "X-Key": "***"},
            "transportType": "HTTP",
            "authentication": {"username": "ada"},
            "apiVersion": "default",
            "liveMode": true,
            "timeoutMillis": 5_000,
            "schemes": [{"kind": "standardWebhooks"}],
            "ordering": "unordered",
            "createdTime": "2026-01-31T08:15:30.120Z",
            "updatedTime": "2026-01-31T08:15:30.120Z",
            "version": 1,
        });
        assert_eq!(serde_json::to_value(WebhookView::from(&webhook)).unwrap(), expected);
    }

    /// Looks at the parts that depend on authentication, status and pin (table).
    #[test]
    fn a_view_tells_of_the_authentication_without_its_secrets() {
        let view = |webhook: &Webhook| serde_json::to_value(WebhookView::from(webhook)).unwrap();
        let none = view(&webhook(Authentication::None).enable());
        assert_eq!(none["enabled"], true);
        for absent in ["disabledReason", "authentication", "oauth"] {
            assert_eq!(none.get(absent), None);
        }
        let pin = Edit::new().api_version(Some("2026-01-31".into()));
        let pinned = webhook(Authentication::None).edit(pin).unwrap();
        assert_eq!(view(&pinned)["apiVersion"], "2026-01-31");
        let limits = Edit::new()
            .ordering(Ordering::PerObject)
            .rate_limit(Some(RateLimit::new(50).unwrap()))
            .concurrency(Some(3));
        let limited = view(&webhook(Authentication::None).edit(limits).unwrap());
        assert_eq!(limited["ordering"], "perObject");
        assert_eq!(limited["rateLimit"], json!({"perSecond": 50, "burst": 1}));
        assert_eq!(limited["concurrency"], 3);

        let common = |grant: Value| {
            let mut expected = json!({"tokenEndPoint": "https://id.example/t", "clientID": "shop"});
            expected.as_object_mut().unwrap().extend(grant.as_object().unwrap().clone());
            expected
        };
        for (grant, expected) in [
            (Grant::client_credentials(None), json!({"grantType": "client_credentials"})),
            (
                Grant::client_credentials(Some("hooks".into())),
                json!({"grantType": "client_credentials", "audience": "hooks"}),
            ),
            (
                Grant::password("ada", "CANARY-user"),
                json!({"grantType": "password", "userName": "ada"}),
            ),
        ] {
            let view = view(&webhook(oauth(grant)));
            assert_eq!(view["transportType"], "OAUTH");
            assert_eq!(view["oauth"], common(expected));
            assert_eq!(view.get("authentication"), None);
        }
    }

    /// Puts canaries into every place of a secret and looks for them in each form that is shown.
    #[test]
    fn no_form_shows_a_secret() {
        for authentication in [
            Authentication::Basic(Basic::new("ada", "CANARY-basic").unwrap()),
            oauth(Grant::client_credentials(None)),
            oauth(Grant::password("ada", "CANARY-user")),
        ] {
            let webhook = webhook(authentication);
            assert!(webhook.to_stored().unwrap().matches("CANARY").count() >= 5);
            let view = WebhookView::from(&webhook);
            let edit = Edit::new()
                .headers(webhook.headers().clone())
                .authentication(webhook.authentication().clone());
            let registration = Registration::new("https://example.com/", ["*"])
                .unwrap()
                .secret(webhook.secrets().unwrap().current().clone())
                .with(edit.clone());
            let created = crate::Created { webhook: webhook.clone(), prompt: true };
            for shown in [
                format!("{webhook:?} {webhook:#?}"),
                format!("{view:?}"),
                serde_json::to_string(&view).unwrap(),
                format!("{edit:?} {registration:?} {created:?}"),
                format!("{:?} {:?}", webhook.secrets(), webhook.headers()),
                format!("{:?}", webhook.authentication()),
            ] {
                assert!(!shown.contains("CANARY"), "{shown}");
            }
        }
    }

    /// Compares the JSON of deliveries in each kind of state, with attempts of each kind of outcome.
    #[test]
    fn a_delivery_is_shown_with_its_attempts() {
        let payload = r#"{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"a.b",
            "data":{"object":{"total":"CANARY"}}}"#;
        let event = Event::parse(payload, Account::default(), now()).unwrap();
        let webhook = WebhookId::new(now(), &[1; 10]);
        let cause = Cause::new(now(), &[3; 10]);
        let mut view = DeliveryView {
            delivery: crate::Delivery::owed(event.id(), webhook, Cause::ROUTED, now(), now()),
            event: event.clone(),
            attempts: Vec::new(),
        };
        let latency = Duration::from_millis(12);
        let answered =
            Outcome::Answered { status: 503, retry_after: Some(Duration::from_millis(2_500)) };
        let mut first = Attempt::new(1, now(), latency, answered);
        first.response = b"busy \xff".to_vec();
        first.truncated = true;
        let mut second = Attempt::new(3, now(), latency, Outcome::Unanswered(FailureKind::Timeout));
        second.error = Some("too late".into());
        view.attempts = vec![first, second, Attempt::new(4, now(), latency, Outcome::Interrupted)];
        let time = "2026-01-31T08:15:30.120Z";
        let expected = json!({
            "id": view.delivery.id.to_string(),
            "eventId": event.id().to_string(),
            "type": "a.b",
            "webhookId": webhook.to_string(),
            "publishedTime": time,
            "state": "waiting",
            "dueTime": time,
            "failures": 0,
            "interruptions": 0,
            "attempts": [
                {"number": 1, "startedTime": time, "latencyMillis": 12, "success": false,
                 "status": 503, "retryAfterSeconds": 2, "response": "busy \u{fffd}",
                 "truncated": true},
                {"number": 3, "startedTime": time, "latencyMillis": 12, "success": false,
                 "failure": "timeout", "error": "too late", "response": "", "truncated": false},
                {"number": 4, "startedTime": time, "latencyMillis": 12, "success": false,
                 "failure": "interrupted", "response": "", "truncated": false},
            ],
        });
        assert_eq!(serde_json::to_value(DeliveryJson::from(&view)).unwrap(), expected);

        view.delivery = crate::Delivery::owed(event.id(), webhook, cause, now(), now());
        for (state, name, ended) in [
            (State::Delivered { at: now() }, "delivered", true),
            (State::Exhausted { at: now() }, "exhausted", true),
            (State::Expired { at: now() }, "expired", true),
            (State::Cancelled { at: now() }, "cancelled", true),
            (
                State::Leased { dispatcher: crate::DispatcherId::new(now(), &[1; 10]), ticket: 1 },
                "leased",
                false,
            ),
        ] {
            view.delivery.state = state;
            let json = serde_json::to_value(DeliveryJson::from(&view)).unwrap();
            assert_eq!(json["state"], name);
            assert_eq!(json["cause"], cause.to_string());
            assert_eq!(json.get("endedTime").is_some(), ended, "{name}");
            assert_eq!(json.get("dueTime"), None);
        }
    }
}
