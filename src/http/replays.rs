//! Replays over HTTP: start, list, watch, cancel.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{self, Answer, Listing};
use super::call::{Asked, Call};
use super::params::{ReplayParams, time};
use super::problems::Problems;
use super::webhooks::Nothing;
use crate::ground::account::Account;
use crate::ground::id::{EventId, ReplayId, WebhookId};
use crate::ground::replay::{ReplayJob, ReplayKind, ReplayScope, ReplayState};
use crate::ground::replay_request::{ReplayQuery, ReplayRequest};
use crate::ground::time::{Timestamp, format_time};
use crate::ports::authorizer::Permission;

/// A replay.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(super) struct ReplayJson {
    /// Its id, which its deliveries have as their cause.
    id: ReplayId,
    /// Whose events these are.
    account: Account,
    /// Live or test.
    live_mode: bool,
    /// `range` (events of a time, to one webhook) or `event`.
    scope: ScopeName,
    /// The webhook that gets them; absent where it is all that ask for the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookId>,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// Which events.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ReplayKind>,
    /// Published at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Published before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Deliveries per second, at most.
    rate: u32,
    /// `running`, `done`, `cancelled`, or `gone` with its webhook.
    state: StateName,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended_time: Option<String>,
    /// Events (of one event: webhooks) that it has looked at.
    looked: u64,
    /// Deliveries that it has made.
    made: u64,
    /// Deliveries that were cancelled with it.
    withdrawn: u64,
    /// The time of publish up to which it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    reached: Option<String>,
    /// When it was started.
    #[schema(format = DateTime)]
    created_time: String,
}

/// What a replay is of.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayScope)]
enum ScopeName {
    Range,
    Event,
}

/// How far a replay is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayState)]
enum StateName {
    Running,
    Done,
    Cancelled,
    Gone,
}

impl From<&ReplayJob> for ReplayJson {
    fn from(job: &ReplayJob) -> Self {
        let state = match job.state {
            ReplayState::Running => StateName::Running,
            ReplayState::Done { .. } => StateName::Done,
            ReplayState::Cancelled { .. } => StateName::Cancelled,
            ReplayState::Gone { .. } => StateName::Gone,
        };
        // Nobody said from when: from the beginning of time.
        let said = |time: &Timestamp| time.timestamp() > 0;
        let (scope, event, kind, from, until) = match job.scope {
            ReplayScope::Range { kind, from, until, .. } => {
                (ScopeName::Range, None, Some(kind), Some(from).filter(said), Some(until))
            }
            ReplayScope::Event { event, .. } => (ScopeName::Event, Some(event), None, None, None),
        };
        Self {
            id: job.id,
            account: job.account.clone(),
            live_mode: job.mode.is_live(),
            scope,
            webhook: job.webhook(),
            event,
            kind,
            from: from.map(format_time),
            until: until.map(format_time),
            rate: job.rate,
            state,
            ended_time: job.state.ended().map(format_time),
            looked: job.looked,
            made: job.made,
            withdrawn: job.withdrawn,
            reached: job.reached.map(format_time),
            created_time: format_time(job.created),
        }
    }
}

/// Which past events a webhook is to get again.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewReplay {
    /// Which of them.
    kind: ReplayKind,
    /// Published at this time or later; all that are kept, when nobody says.
    #[serde(default)]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Published before this time; up to now, when nobody says.
    #[serde(default)]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Deliveries per second, at most.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000, default = 100)]
    rate: Option<u32>,
    /// An id of one's own, of callers who reach all accounts: starting it again does nothing more.
    #[serde(default)]
    id: Option<ReplayId>,
}

/// Start a replay of past events to a webhook.
#[utoipa::path(post, path = "/webhooks/{id}/replays", tag = "replays", operation_id = "startReplay",
    params(("id" = String, Path, description = "The webhook's id")), request_body = NewReplay,
    responses((status = 202, body = ReplayJson), Problems))]
pub(super) async fn start(call: Call) -> Answer {
    call.may(Permission::Operate)?;
    let webhook = call.webhook().await?;
    let form: NewReplay = call.body()?;
    let mut request = ReplayRequest::new(webhook.id(), form.kind);
    if let Some(from) = time(form.from.as_deref(), "from")? {
        request = request.from(from);
    }
    if let Some(until) = time(form.until.as_deref(), "until")? {
        request = request.until(until);
    }
    if let Some(rate) = form.rate {
        request = request.rate(rate)?;
    }
    if let Some(id) = call.own_id(form.id)? {
        request = request.id(id);
    }
    answer::accepted(&ReplayJson::from(&call.tidings().replay(request).await?))
}

/// To whom an event is to go again.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewEventReplay {
    /// To this webhook, whatever it asks for; to all that ask for it, when nobody says.
    #[serde(default)]
    webhook: Option<WebhookId>,
}

/// Deliver an event again, to one webhook or to all that ask for it.
#[utoipa::path(post, path = "/events/{id}/replays", tag = "replays", operation_id = "startReplayOfEvent",
    params(("id" = String, Path, description = "The event's id")), request_body = NewEventReplay,
    responses((status = 202, body = ReplayJson), Problems))]
pub(super) async fn start_of_event(call: Call) -> Answer {
    call.may(Permission::Operate)?;
    let event = call.event().await?;
    let form: NewEventReplay = call.body()?;
    if let Some(webhook) = form.webhook {
        call.webhook_of(webhook).await?;
    }
    let job = call.tidings().replay_event(event.id(), form.webhook).await?;
    answer::accepted(&ReplayJson::from(&job))
}

/// List replays, the last started first.
#[utoipa::path(get, path = "/replays", tag = "replays", operation_id = "listReplays",
    params(ReplayParams), responses((status = 200, body = Listing<ReplayJson>), Problems))]
pub(super) async fn list(Asked(call, params): Asked<ReplayParams>) -> Answer {
    let paging = params.paging();
    let webhook = params.webhook.as_deref().map(WebhookId::parse).transpose();
    let (Some((scope, page)), Ok(webhook)) = (paging.of(&call)?, webhook) else {
        return answer::ok(&Listing::<ReplayJson>::empty());
    };
    let (account, mode, running) = (scope.account, scope.mode, params.running);
    let query = ReplayQuery { account, mode, webhook, running, ..ReplayQuery::default() };
    let page = call.tidings().replays(&query, &page).await?;
    answer::ok(&paging.listing(page, |job| ReplayJson::from(&job)))
}

/// See how far a replay is.
#[utoipa::path(get, path = "/replays/{id}", tag = "replays", operation_id = "getReplay",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = ReplayJson), Problems))]
pub(super) async fn read(call: Call) -> Answer {
    answer::ok(&ReplayJson::from(&call.replay().await?))
}

/// Cancel a replay: what it has made and is not sent yet is cancelled, too.
#[utoipa::path(post, path = "/replays/{id}/cancel", tag = "replays", operation_id = "cancelReplay",
    params(("id" = String, Path, description = "Its id")), request_body = Nothing,
    responses((status = 200, body = ReplayJson), Problems))]
pub(super) async fn cancel(call: Call) -> Answer {
    call.may(Permission::Operate)?;
    let job = call.replay().await?;
    call.body::<Nothing>()?;
    answer::ok(&ReplayJson::from(&call.tidings().cancel_replay(job.id).await?))
}
