//! Deliveries over HTTP: list, read with what was asked and answered, deliver again.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{self, Answer, Listing};
use super::call::{Asked, Call};
use super::params::{DeliveryParams, time};
use super::problem::Problem;
use super::problems::Problems;
use super::webhooks::Nothing;
use crate::engine::request::foreseen;
use crate::ground::delivery::DeliveryView;
use crate::ground::header::MASK;
use crate::ground::id::{DeliveryId, EventId, WebhookId};
use crate::ground::query::DeliveryQuery;
use crate::ground::view::DeliveryJson;
use crate::ground::webhook::Webhook;
use crate::ports::authorizer::Permission;

/// List deliveries, newest first.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries", operation_id = "listDeliveries",
    params(DeliveryParams), responses((status = 200, body = Listing<DeliveryJson>), Problems))]
pub(super) async fn list(Asked(call, params): Asked<DeliveryParams>) -> Answer {
    let from = time(params.published_gte.as_deref(), "publishedTime[gte]")?;
    let until = time(params.published_lt.as_deref(), "publishedTime[lt]")?;
    let paging = params.paging();
    let Some((scope, page)) = paging.of(&call)? else {
        return answer::ok(&Listing::<DeliveryJson>::empty());
    };
    // What is no id is nobody's.
    let webhook = params.webhook.as_deref().map(WebhookId::parse).transpose();
    let event = params.event.as_deref().map(EventId::parse).transpose();
    let (Ok(webhook), Ok(event)) = (webhook, event) else {
        return answer::ok(&Listing::<DeliveryJson>::empty());
    };
    let query = DeliveryQuery {
        account: scope.account,
        mode: scope.mode,
        id: None,
        event,
        webhook,
        states: params.state,
        from,
        until,
    };
    let page = call.tidings().deliveries(&query, &page).await?;
    answer::ok(&paging.listing(page, |view| DeliveryJson::from(&view)))
}

/// A delivery, and what its next try would send.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryShown {
    #[serde(flatten)]
    delivery: DeliveryJson,
    /// What the next try would send, without the signature; absent when the webhook is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestJson>,
}

/// What a request does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = RequestMethod)]
enum Method {
    Post,
}

/// A request.
#[derive(Serialize, ToSchema)]
struct RequestJson {
    /// Always `POST`.
    method: Method,
    /// Where to.
    #[schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://")]
    url: String,
    /// Its headers: without the signature and its time, and without what the connection (`host`,
    /// `content-length`) and the sender's own hooks add. The values of the webhook's own, and what
    /// authenticates the sender, are `***`.
    headers: BTreeMap<String, String>,
    /// The payload, byte for byte; empty when it was expunged.
    body: String,
}

impl RequestJson {
    /// `None` where it cannot be written.
    fn of(view: &DeliveryView, webhook: &Webhook) -> Option<Self> {
        let headers = foreseen(webhook, &view.event).ok()?;
        let shown = headers.iter().map(|(name, value)| {
            let value = match value.is_sensitive() {
                true => MASK.to_owned(),
                false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.as_str().to_owned(), value)
        });
        Some(Self {
            method: Method::Post,
            url: webhook.address().as_str().to_owned(),
            headers: shown.collect(),
            body: view.event.rendered(webhook.api_version()).to_owned(),
        })
    }
}

/// Read a delivery, with its tries and what is sent.
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries", operation_id = "getDelivery",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = DeliveryShown), Problems))]
pub(super) async fn read(call: Call) -> Answer {
    let view = call.delivery().await?;
    let webhook = call.webhook_of(view.delivery.webhook).await.ok();
    let request = webhook.and_then(|webhook| RequestJson::of(&view, &webhook));
    answer::ok(&DeliveryShown { delivery: DeliveryJson::from(&view), request })
}

/// A new delivery.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redelivered {
    /// Its id.
    delivery_id: DeliveryId,
}

/// Deliver once more: the same event, the same bytes, signed anew.
#[utoipa::path(post, path = "/deliveries/{id}/redeliver", tag = "deliveries", operation_id = "redeliver",
    params(("id" = String, Path, description = "The delivery's id")), request_body = Nothing,
    responses((status = 202, body = Redelivered), Problems))]
pub(super) async fn redeliver(call: Call) -> Result<axum::response::Response, Problem> {
    call.may(Permission::Operate)?;
    let view = call.delivery().await?;
    call.body::<Nothing>()?;
    call.admit(view.event.account()).await?;
    let delivery_id = call.tidings().redeliver(view.delivery.id).await?;
    answer::accepted(&Redelivered { delivery_id })
}
