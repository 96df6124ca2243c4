//! A call: one request, once it is known who sends it, and what of it is within their reach.

use std::panic::AssertUnwindSafe;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::answer;
use super::origin;
use super::problem::Problem;
use super::router::Shared;
use super::webhooks::Nothing;
use crate::engine::tidings::Tidings;
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::DeliveryView;
use crate::ground::error::{ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::id::{DeliveryId, EventId, ReplayId, WebhookId};
use crate::ground::plain::plain;
use crate::ground::policy::{API_BODY_BYTES_MAX, API_PATIENCE, MESSAGE_BYTES_MAX};
use crate::ground::replay::ReplayJob;
use crate::ground::webhook::{Confirmation, Webhook};
use crate::ports::authorizer::{Actor, Permission};

/// Bytes of a parameter's name in an answer.
const PARAMETER_BYTES_MAX: usize = 128;

/// One request.
pub(super) struct Call {
    shared: Shared,
    actor: Actor,
    headers: HeaderMap,
    path: Vec<(String, String)>,
    body: Bytes,
}

/// One without parameters in its query: those that are there all the same are refused, as those of lists are.
impl FromRequest<Shared> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let Asked(call, Nothing {}) = Asked::from_request(request, shared).await?;
        Ok(call)
    }
}

/// One request, and the parameters in its query. Unknown and malformed ones are refused.
pub(super) struct Asked<T>(pub(super) Call, pub(super) T);

impl<T: DeserializeOwned + Send> FromRequest<Shared> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        origin::check(&parts, &shared.origins)?;
        let actor = actor(&parts, shared).await?;
        let path = RawPathParams::from_request_parts(&mut parts, shared).await;
        let path = path.map_err(|_| Problem::not_found("page"))?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let params = query(parts.uri.query().unwrap_or_default())?;
        let body = read(body).await?;
        let call = Call { shared: shared.clone(), actor, headers: parts.headers, path, body };
        Ok(Self(call, params))
    }
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let read = serde_path_to_error::deserialize(serde_html_form::Deserializer::new(pairs));
    read.map_err(|error| refused(&error, "query"))
}

/// Who sends it. Whatever goes wrong here denies.
pub(crate) async fn actor(parts: &Parts, shared: &Shared) -> Result<Actor, Problem> {
    let denied = |why: &str| {
        tracing::warn!(name: "tidings.api.authorizer_failed", why);
        Problem::forbidden("denied", "it cannot be told whether this is allowed")
    };
    let late = || {
        tracing::warn!(name: "tidings.api.authorizer_failed", why = "it gave no answer");
        let message = "it cannot be told who sends this: try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    };
    // Within the future, since the call itself may panic, too.
    let asked = AssertUnwindSafe(async { shared.authorizer.authorize(parts).await }).catch_unwind();
    match tokio::time::timeout(API_PATIENCE, asked).await {
        Err(_) => Err(late()),
        Ok(Err(_)) => Err(denied("it panicked")),
        Ok(Ok(Err(error))) if error.is_retryable() => {
            tracing::warn!(name: "tidings.api.authorizer_failed", why = %error);
            Err(late())
        }
        Ok(Ok(Err(error))) => Err(denied(&error.to_string())),
        Ok(Ok(Ok(None))) => {
            let message = "nobody is logged in";
            Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", message))
        }
        Ok(Ok(Ok(Some(actor)))) => Ok(actor),
    }
}

/// The body, within its bounds.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let reading = Limited::new(body, API_BODY_BYTES_MAX).collect();
    let problem = match tokio::time::timeout(API_PATIENCE, reading).await {
        Ok(Ok(read)) => return Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("has more than {API_BODY_BYTES_MAX} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        }
        Ok(Err(_)) => Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "ended too early"),
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "did not come in time"),
    };
    Err(problem.about("body"))
}

impl Call {
    pub(super) fn tidings(&self) -> &Tidings {
        &self.shared.tidings
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Refuses unless they may. It is asked before anything is looked up, so that the answer says nothing
    /// of what there is.
    pub(super) fn may(&self, permission: Permission) -> Result<(), Problem> {
        if self.actor.can(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission {}", permission.as_str());
        Err(Problem::forbidden("permission", message))
    }

    /// The body, as this asks for it. A request without a body has an empty one: `{}`.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        // A list would be read as the fields of an object, in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::parameter("invalid_body", "body", "is no JSON object"));
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = serde_path_to_error::deserialize(&mut json);
        let value = read.map_err(|error| refused(&error, "body"))?;
        let end = json.end().map(|()| value);
        end.map_err(|_| Problem::parameter("invalid_body", "body", "goes on after its JSON"))
    }

    /// An id in the path. One that is malformed is nobody's, like one that is unknown.
    fn id<T: FromStr>(&self, name: &str, what: &'static str) -> Result<T, Problem> {
        let text = self.path.iter().find(|(known, _)| known == name);
        let id = text.and_then(|(_, text)| text.parse().ok());
        id.ok_or_else(|| Problem::not_found(what))
    }

    /// The webhook in the path, if it is within reach.
    pub(super) async fn webhook(&self) -> Result<Webhook, Problem> {
        self.webhook_of(self.id("id", "webhook")?).await
    }

    /// This webhook, if it is within reach.
    pub(super) async fn webhook_of(&self, id: WebhookId) -> Result<Webhook, Problem> {
        let found = self.tidings().webhook(id).await;
        self.within_reach(found, "webhook", |webhook| (webhook.account(), webhook.mode()))
    }

    /// The event in the path, if it is within reach.
    pub(super) async fn event(&self) -> Result<Event, Problem> {
        let id: EventId = self.id("id", "event")?;
        let found = self.tidings().stored_event(id).await;
        self.within_reach(found, "event", |event| (event.account(), event.mode()))
    }

    /// The delivery in the path, if it is within reach.
    pub(super) async fn delivery(&self) -> Result<DeliveryView, Problem> {
        let id: DeliveryId = self.id("id", "delivery")?;
        let found = self.tidings().delivery(id).await;
        self.within_reach(found, "delivery", |view| (view.event.account(), view.event.mode()))
    }

    /// The replay in the path, if it is within reach.
    pub(super) async fn replay(&self) -> Result<ReplayJob, Problem> {
        let id: ReplayId = self.id("id", "replay")?;
        let found = self.tidings().replay_job(id).await;
        self.within_reach(found, "replay", |job| (&job.account, job.mode))
    }

    /// What was found. What is unknown is answered as what is out of reach: in the same words.
    fn within_reach<T>(
        &self,
        found: Result<T>,
        what: &'static str,
        whose: impl Fn(&T) -> (&Account, Mode),
    ) -> Result<T, Problem> {
        match found {
            Ok(found) => {
                let (account, mode) = whose(&found);
                let reached = self.actor.reaches(account, mode);
                if reached { Ok(found) } else { Err(Problem::not_found(what)) }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Problem::not_found(what)),
            Err(error) => Err(error.into()),
        }
    }

    /// What a listing is of: the account and mode that are asked for, within reach. `None` is a listing of
    /// nothing: what is out of reach looks as if it did not exist.
    pub(super) fn scope(
        &self,
        account: Option<&str>,
        live: Option<bool>,
    ) -> Result<Option<Scope>, Problem> {
        let asked = live.map(Mode::from_live);
        let mode = match (asked, self.actor.only_mode()) {
            (Some(asked), Some(only)) if asked != only => return Ok(None),
            (asked, only) => asked.or(only),
        };
        if let Some(name) = account {
            let account = Account::new(name)?;
            let reached = self.actor.reaches_account(&account);
            return Ok(reached.then_some(Scope { account: Some(account), mode }));
        }
        let Some(accounts) = self.actor.reach() else {
            return Ok(Some(Scope { account: None, mode }));
        };
        let mut accounts = accounts.iter();
        match (accounts.next(), accounts.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => Ok(Some(Scope { account: Some(one.clone()), mode })),
            (Some(_), Some(_)) => {
                let message = "say which of your accounts is meant";
                Err(Problem::parameter("missing_parameter", "account", message))
            }
        }
    }

    /// Where something new goes: an account and mode, which must be within reach.
    pub(super) fn place(
        &self,
        account: Option<&str>,
        live: Option<bool>,
    ) -> Result<(Account, Mode), Problem> {
        let mode = live.map(Mode::from_live).or(self.actor.only_mode()).unwrap_or_default();
        let account = match account {
            Some(name) => Account::new(name)?,
            None => match self.scope(None, Some(mode.is_live()))? {
                Some(Scope { account, .. }) => account.unwrap_or_default(),
                None => return Err(out_of_reach()),
            },
        };
        if self.actor.reaches(&account, mode) { Ok((account, mode)) } else { Err(out_of_reach()) }
    }

    /// Refuses an id of the caller's own, unless all accounts are within their reach: ids are those of the
    /// whole storage, and whether one is taken would tell what another has.
    pub(super) fn own_id<T>(&self, id: Option<T>) -> Result<Option<T>, Problem> {
        if id.is_some() && self.actor.reach().is_some() {
            let message = "is for those who reach all accounts";
            return Err(Problem::forbidden("out_of_reach", message).about("id"));
        }
        Ok(id)
    }

    /// Refuses when as much waits already as the host allows of this account.
    pub(super) async fn admit(&self, account: &Account) -> Result<(), Problem> {
        self.tidings().admit(account).await.map_err(Problem::crowded)
    }

    /// Refuses where the request says which version it is made from, and that is another by now.
    pub(super) fn unchanged(&self, webhook: &Webhook) -> Result<Option<u64>, Problem> {
        let version = answer::version_asked(&self.headers)?;
        if version.is_some_and(|version| version != webhook.version()) {
            let message = "the webhook was changed since it was read: read it again";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "stale", message));
        }
        Ok(version)
    }

    /// What was typed to confirm, with the name of who acts.
    pub(super) fn confirmation(&self, typed: &str) -> Result<Confirmation, Problem> {
        let confirmation = Confirmation::new(self.actor.user(), typed);
        match confirmation.check() {
            Ok(()) => Ok(confirmation),
            Err(error) => {
                let message = error.to_string();
                Err(Problem::forbidden("confirmation", message).about("confirmation"))
            }
        }
    }
}

/// What a listing is of.
pub(super) struct Scope {
    pub(super) account: Option<Account>,
    pub(super) mode: Option<Mode>,
}

fn out_of_reach() -> Problem {
    Problem::forbidden("out_of_reach", "this account or mode is not yours").about("account")
}

/// What a deserializer says, about the parameter that it stopped at.
fn refused<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>, whole: &str) -> Problem {
    // Where it cannot be told, the path ends in `?`.
    let path = error.path().to_string();
    let path = path.trim_end_matches('?').trim_end_matches('.').to_owned();
    let text = error.inner().to_string();
    // The one place where the message has the parameter's name, and the path does not.
    let named = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let join = |name: &str| match path.as_str() {
        "" => name.to_owned(),
        path if path.rsplit('.').next() == Some(name) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let (code, parameter) = match (named, missing) {
        (Some(name), _) => ("unknown_parameter", join(name)),
        (_, Some(name)) => ("missing_parameter", join(name)),
        _ if path.is_empty() => ("invalid_body", whole.to_owned()),
        _ => ("invalid_parameter", path),
    };
    // Both may repeat what a stranger wrote.
    let parameter = plain(parameter.into(), PARAMETER_BYTES_MAX);
    Problem::parameter(code, parameter, plain(text.into(), MESSAGE_BYTES_MAX))
}
