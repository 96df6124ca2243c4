//! What there is to see over HTTP: who one is, statistics, the overview, the catalogue.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::{self, Answer};
use super::call::{Asked, Call, Scope};
use super::params::time;
use super::problem::Problem;
use super::problems::Problems;
use crate::engine::health::HealthReport;
use crate::ground::catalogue::{CatalogueEntry, Selected};
use crate::ground::id::WebhookId;
use crate::ground::page::PageRequest;
use crate::ground::policy::{API_COUNT_MAX, API_FAILING_MAX, PAGE_ITEMS_MAX};
use crate::ground::query::WebhookQuery;
use crate::ground::statistics::{StatisticsQuery, StatisticsReport};
use crate::ground::time::{before, format_time};
use crate::ground::view::WebhookView;
use crate::ground::webhook::{DisabledReason, Status, Webhook};
use crate::ports::authorizer::Permission;
use crate::ports::storage::WebhookGroup;

/// Who acts, and what is within their reach.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    /// Their name, which they type to confirm.
    user: String,
    /// The accounts within reach; `null`: all.
    accounts: Option<Vec<String>>,
    /// The mode within reach, as `liveMode`; `null`: both.
    live_mode: Option<bool>,
    /// What they may do: `view`, `manage`, `reveal`, `operate`.
    #[schema(value_type = Vec<PermissionName>)]
    permissions: Vec<&'static str>,
}

/// What somebody may do.
#[derive(ToSchema)]
#[schema(as = Permission, rename_all = "lowercase")]
#[allow(dead_code)] // It describes the names, which the permissions have themselves.
enum PermissionName {
    View,
    Manage,
    Reveal,
    Operate,
}

/// See who you are to the host, and what you may do.
#[utoipa::path(get, path = "/me", tag = "sight", operation_id = "getMe",
    responses((status = 200, body = Me), Problems))]
pub(super) async fn me(call: Call) -> Answer {
    let actor = call.actor();
    let accounts = actor.reach();
    let accounts =
        accounts.map(|accounts| accounts.iter().map(|account| account.as_str().into()).collect());
    let allowed = Permission::ALL.into_iter().filter(|permission| actor.can(*permission));
    answer::ok(&Me {
        user: actor.user().to_owned(),
        accounts,
        live_mode: actor.only_mode().map(|mode| mode.is_live()),
        permissions: std::iter::once("view").chain(allowed.map(Permission::as_str)).collect(),
    })
}

/// Statistics of a time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatisticsParams {
    /// From this hour on; the last 24 hours, when nobody says.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this hour ends; now, when nobody says.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Of this account. Who reaches several has to say which.
    account: Option<String>,
    /// Live or test alone.
    live_mode: Option<bool>,
}

/// The hours that are asked for; the last 24, when nobody says.
fn span(call: &Call, from: Option<&str>, to: Option<&str>) -> Result<StatisticsQuery, Problem> {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    let to = time(to, "to")?.unwrap_or_else(|| call.tidings().now());
    let from = time(from, "from")?.unwrap_or_else(|| before(to, DAY));
    Ok(StatisticsQuery::new(from, to)?)
}

/// What happened, by hour and in all.
#[derive(ToSchema)]
#[schema(as = Statistics, rename_all = "camelCase")]
#[allow(dead_code)] // It describes what a report writes of itself.
pub(super) struct StatisticsBody {
    #[schema(inline)]
    #[serde(flatten)]
    total: TallyBody,
    /// The hours in which something happened, the earliest first.
    hours: Vec<HourBody>,
}

/// What happened in an hour.
#[derive(ToSchema)]
#[schema(as = StatisticsHour, rename_all = "camelCase")]
#[allow(dead_code)] // As above.
struct HourBody {
    /// When the hour began.
    #[schema(format = DateTime)]
    from: String,
    #[schema(inline)]
    #[serde(flatten)]
    tally: TallyBody,
}

/// Counts.
#[derive(ToSchema)]
#[schema(as = Tally, rename_all = "camelCase")]
#[allow(dead_code)] // As above.
struct TallyBody {
    /// Tries.
    attempts: u64,
    /// Tries by what came of them.
    outcomes: std::collections::BTreeMap<String, u64>,
    /// The part of the rated tries that succeeded; `null` where there was none.
    success_rate: Option<f64>,
    /// Deliveries that ended, by how.
    deliveries: std::collections::BTreeMap<String, u64>,
    /// How long answers took, in milliseconds; `null` where there was none.
    #[schema(inline)]
    latency: Option<LatencyBody>,
}

/// Percentiles, in milliseconds.
#[derive(ToSchema)]
#[allow(dead_code)] // As above.
struct LatencyBody {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Statistics of all webhooks within reach.
#[utoipa::path(get, path = "/statistics", tag = "sight", operation_id = "getStatistics",
    params(StatisticsParams), responses((status = 200, body = StatisticsBody), Problems))]
pub(super) async fn statistics(Asked(call, params): Asked<StatisticsParams>) -> Answer {
    let query = span(&call, params.from.as_deref(), params.to.as_deref())?;
    let Some(scope) = call.scope(params.account.as_deref(), params.live_mode)? else {
        return answer::ok(&StatisticsReport::default());
    };
    answer::ok(&call.tidings().statistics(&narrowed(query, scope)).await?)
}

/// A time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SpanParams {
    /// From this hour on; the last 24 hours, when nobody says.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this hour ends; now, when nobody says.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// Statistics of one webhook.
#[utoipa::path(get, path = "/webhooks/{id}/statistics", tag = "webhooks", operation_id = "getStatisticsOfWebhook",
    params(("id" = String, Path, description = "The webhook's id"), SpanParams),
    responses((status = 200, body = StatisticsBody), Problems))]
pub(super) async fn of_webhook(Asked(call, params): Asked<SpanParams>) -> Answer {
    let SpanParams { from, to } = params;
    let query = span(&call, from.as_deref(), to.as_deref())?;
    let webhook = call.webhook().await?;
    answer::ok(&call.tidings().statistics(&query.webhook(webhook.id())).await?)
}

fn narrowed(mut query: StatisticsQuery, scope: Scope) -> StatisticsQuery {
    if let Some(account) = scope.account {
        query = query.account(account);
    }
    if let Some(mode) = scope.mode {
        query = query.mode(mode);
    }
    query
}

/// What needs somebody's attention.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    /// How the node and its storage are doing, for those who reach everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    health: Option<HealthReport>,
    /// What waits, in both modes, for those who reach both.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Waiting>,
    /// How many webhooks there are.
    webhooks: Registered,
    /// Webhooks of which nothing but failures comes back, and those that were disabled for it.
    failing: Vec<Failing>,
}

/// How much waits: deliveries that are not sent yet, and events that are not routed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    /// How many.
    waiting: usize,
    /// Whether there are more: counting ended there.
    at_least: bool,
}

/// How many webhooks there are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Registered {
    /// Enabled ones.
    enabled: usize,
    /// Disabled ones.
    disabled: usize,
    /// Whether there are more: counting ended there.
    at_least: bool,
}

/// A webhook that fails.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Failing {
    #[serde(flatten)]
    webhook: WebhookView,
    /// Since when nothing but failures comes back; absent where it was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    failing_since: Option<String>,
}

/// Whose overview.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OverviewParams {
    /// Of this account. Who reaches several has to say which.
    account: Option<String>,
    /// Live or test alone: of webhooks. What waits is counted in both.
    live_mode: Option<bool>,
}

/// See what needs attention.
#[utoipa::path(get, path = "/overview", tag = "sight", operation_id = "getOverview",
    params(OverviewParams), responses((status = 200, body = Overview), Problems))]
pub(super) async fn overview(Asked(call, params): Asked<OverviewParams>) -> Answer {
    let scope = call.scope(params.account.as_deref(), params.live_mode)?;
    let actor = call.actor();
    let operator = actor.reach().is_none() && actor.only_mode().is_none();
    let health = if operator { Some(call.tidings().health().await) } else { None };
    let mut seen = Overview {
        health,
        backlog: None,
        webhooks: Registered { enabled: 0, disabled: 0, at_least: false },
        failing: Vec::new(),
    };
    let Some(scope) = scope else { return answer::ok(&seen) };
    // It is counted in both modes together.
    if actor.only_mode().is_none() {
        let waiting =
            call.tidings().storage().backlog(scope.account.as_ref(), API_COUNT_MAX).await?;
        seen.backlog = Some(Waiting { waiting, at_least: waiting >= API_COUNT_MAX });
    }
    let failing = call.tidings().failing(scope.account.as_ref(), scope.mode, API_FAILING_MAX);
    let failing = failing.await?;
    for (id, since) in failing {
        // One that was deleted since is no matter any more.
        if let Ok(webhook) = call.tidings().webhook(id).await {
            let failing_since = Some(format_time(since));
            seen.failing.push(Failing { webhook: (&webhook).into(), failing_since });
        }
    }
    let room = API_FAILING_MAX.saturating_sub(seen.failing.len());
    let given_up = given_up(&call, &scope, room).await?;
    seen.failing.extend(
        given_up.iter().map(|webhook| Failing { webhook: webhook.into(), failing_since: None }),
    );
    let (enabled, disabled) =
        (count(&call, &scope, true).await?, count(&call, &scope, false).await?);
    let at_least = enabled.max(disabled) >= API_COUNT_MAX;
    seen.webhooks = Registered { enabled, disabled, at_least };
    answer::ok(&seen)
}

/// How many webhooks there are, up to a bound.
async fn count(call: &Call, scope: &Scope, enabled: bool) -> Result<usize, Problem> {
    let (account, mode) = (scope.account.clone(), scope.mode);
    let group = WebhookGroup { account, mode, enabled: Some(enabled) };
    Ok(call.tidings().storage().count_webhooks(&group, API_COUNT_MAX).await?)
}

/// Webhooks that were disabled because they failed: the newest, as far as a few pages of disabled ones tell.
async fn given_up(call: &Call, scope: &Scope, most: usize) -> Result<Vec<Webhook>, Problem> {
    const PAGES: usize = 5;
    const GIVEN_UP: [DisabledReason; 2] = [DisabledReason::Failing, DisabledReason::Gone];
    let query = WebhookQuery {
        account: scope.account.clone(),
        mode: scope.mode,
        enabled: Some(false),
        ..WebhookQuery::default()
    };
    let failed = |webhook: &Webhook| matches!(webhook.status(), Status::Disabled(reason) if GIVEN_UP.contains(&reason));
    let mut found = Vec::new();
    let mut request = PageRequest::first(PAGE_ITEMS_MAX)?;
    for _ in 0..PAGES {
        let page = call.tidings().webhooks(&query, &request).await?;
        found.extend(page.items.into_iter().filter(failed));
        match page.next {
            Some(next) if found.len() < most => request = request.after(next),
            _ => break,
        }
    }
    found.truncate(most);
    Ok(found)
}

/// The event types that the host publishes.
#[derive(Serialize, ToSchema)]
pub(super) struct CatalogueJson {
    /// Whether webhooks may ask for these types alone.
    strict: bool,
    /// The types.
    #[schema(value_type = Vec<Object>)]
    data: Entries,
}

/// Plain, or with what a webhook has selected.
#[derive(Serialize)]
#[serde(untagged)]
enum Entries {
    Plain(Vec<CatalogueEntry>),
    Selected(Vec<SelectedEntry>),
}

#[derive(Serialize)]
struct SelectedEntry {
    #[serde(flatten)]
    entry: CatalogueEntry,
    selected: bool,
}

impl From<Selected<'_>> for SelectedEntry {
    fn from(selected: Selected<'_>) -> Self {
        Self { entry: selected.entry.clone(), selected: selected.selected }
    }
}

/// Whose selection.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CatalogueParams {
    /// Says of each type whether this webhook asks for it, too (`selected`).
    webhook: Option<String>,
}

/// See the event types that the host publishes.
#[utoipa::path(get, path = "/catalogue", tag = "sight", operation_id = "getCatalogue",
    params(CatalogueParams), responses((status = 200, body = CatalogueJson), Problems))]
pub(super) async fn catalogue(Asked(call, params): Asked<CatalogueParams>) -> Answer {
    let webhook = match params.webhook {
        Some(text) => {
            let id = WebhookId::parse(&text).map_err(|_| Problem::not_found("webhook"))?;
            Some(call.webhook_of(id).await?)
        }
        None => None,
    };
    let Some(catalogue) = call.tidings().catalogue() else {
        return answer::ok(&CatalogueJson { strict: false, data: Entries::Plain(Vec::new()) });
    };
    let data = match webhook {
        Some(webhook) => {
            let selected = catalogue.selection(webhook.types());
            Entries::Selected(selected.into_iter().map(SelectedEntry::from).collect())
        }
        None => Entries::Plain(catalogue.entries().cloned().collect()),
    };
    answer::ok(&CatalogueJson { strict: catalogue.is_strict(), data })
}
