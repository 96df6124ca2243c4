//! Webhooks over HTTP: search, create, read, edit, delete, enable, disable, test.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{self, Answer, Listing};
use super::call::{Asked, Call};
use super::form::{NewWebhook, WebhookEdit, Wish};
use super::params::{IfMatch, WebhookParams, types};
use super::problem::Problem;
use super::problems::Problems;
use crate::ground::id::{DeliveryId, EventId};
use crate::ground::query::WebhookQuery;
use crate::ground::view::WebhookView;
use crate::ground::webhook::Webhook;
use crate::ports::authorizer::Permission;

/// Search webhooks, newest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", operation_id = "listWebhooks",
    params(WebhookParams), responses((status = 200, body = Listing<WebhookView>), Problems))]
pub(super) async fn list(Asked(call, params): Asked<WebhookParams>) -> Answer {
    let types = types(params.event_type.as_deref(), &params.types)?;
    let paging = params.paging();
    let Some((scope, page)) = paging.of(&call)? else {
        return answer::ok(&Listing::<WebhookView>::empty());
    };
    let query = WebhookQuery {
        account: scope.account,
        mode: scope.mode,
        text: params.search,
        enabled: params.enabled,
        types,
        ..WebhookQuery::default()
    };
    let page = call.tidings().webhooks(&query, &page).await?;
    answer::ok(&paging.listing(page, |webhook| WebhookView::from(&webhook)))
}

/// A webhook that was just created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookView,
    /// Whether the person is to be asked to enable it: nobody said.
    prompt: bool,
    /// Its secret, for those who may reveal: to be shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Create a webhook. It is disabled unless `enabled` is true.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body = NewWebhook, responses((status = 201, body = CreatedWebhook, headers(
        ("ETag" = String, description = "Its version, for `If-Match`"),
        ("Location" = String, description = "Where it is, relative to this request"))), Problems))]
pub(super) async fn create(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let form: NewWebhook = call.body()?;
    if form.has_secret() {
        call.may(Permission::Reveal)?;
    }
    let (account, mode) = call.place(form.account(), form.live_mode())?;
    let created = call.tidings().create(form.into_registration(account, mode)?).await?;
    let webhook = &created.webhook;
    let secret = call.actor().can(Permission::Reveal).then(|| webhook.secrets()).transpose()?;
    let body = CreatedWebhook {
        webhook: webhook.into(),
        prompt: created.prompt,
        secret: secret.map(|secrets| secrets.current().reveal().to_owned()),
    };
    let mut response = answer::json(StatusCode::CREATED, &body);
    // Relative to the request, wherever this is mounted (RFC 9110, 10.2.2).
    if let Ok(place) = HeaderValue::from_str(&format!("webhooks/{}", webhook.id())) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(answer::versioned(response, webhook))
}

/// Read a webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "getWebhook",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = WebhookView,
        headers(("ETag" = String, description = "Its version, for `If-Match`"))), Problems))]
pub(super) async fn read(call: Call) -> Answer {
    Ok(shown(&call.webhook().await?))
}

/// Change a webhook: what is absent stays, `null` clears. With `If-Match`, only if nobody else has changed it.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", operation_id = "editWebhook",
    params(("id" = String, Path, description = "Its id"),
        IfMatch),
    request_body = WebhookEdit, responses((status = 200, body = WebhookView,
        headers(("ETag" = String, description = "Its version, for `If-Match`"))), Problems))]
pub(super) async fn edit(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let webhook = call.webhook().await?;
    let version = call.unchanged(&webhook)?;
    let (id, tidings) = (webhook.id(), call.tidings());
    let form: WebhookEdit = call.body()?;
    // Whoever moves a webhook that sends credentials could have them sent to himself.
    if form.moves_credentials(&webhook) && !call.actor().can(Permission::Reveal) {
        let message =
            "give the headers and the authentication again: they would go to another host";
        return Err(Problem::forbidden("permission", message).about("address"));
    }
    let wish = form.into_wish(&webhook)?;
    let changed = match wish {
        Wish::Change(edit) => tidings.edit(id, version, *edit).await?,
        Wish::Enable => tidings.enable(id).await?,
        Wish::Disable(typed) => tidings.disable(id, &call.confirmation(&typed)?).await?,
    };
    Ok(shown(&changed))
}

/// Delete a webhook for good. What waits for it is cancelled, the record of the rest stays.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "Its id"), IfMatch),
    responses((status = 204, description = "It is gone"), Problems))]
pub(super) async fn delete(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let webhook = call.webhook().await?;
    call.unchanged(&webhook)?;
    call.tidings().delete(webhook.id()).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// Enable a webhook. Needs no confirmation.
#[utoipa::path(post, path = "/webhooks/{id}/enable", tag = "webhooks", operation_id = "enableWebhook",
    params(("id" = String, Path, description = "Its id"), IfMatch), request_body = Nothing,
    responses((status = 200, body = WebhookView,
        headers(("ETag" = String, description = "Its version, for `If-Match`"))), Problems))]
pub(super) async fn enable(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let webhook = call.webhook().await?;
    call.unchanged(&webhook)?;
    call.body::<Nothing>()?;
    Ok(shown(&call.tidings().enable(webhook.id()).await?))
}

/// An empty body.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What is typed to confirm.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    /// The acting user's name, exactly as it is.
    #[serde(default)]
    #[schema(required = true)]
    pub(super) confirmation: String,
}

/// Disable a webhook: nothing is sent to it any more.
#[utoipa::path(post, path = "/webhooks/{id}/disable", tag = "webhooks", operation_id = "disableWebhook",
    params(("id" = String, Path, description = "Its id"), IfMatch), request_body = Confirmed,
    responses((status = 200, body = WebhookView,
        headers(("ETag" = String, description = "Its version, for `If-Match`"))), Problems))]
pub(super) async fn disable(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let webhook = call.webhook().await?;
    call.unchanged(&webhook)?;
    let confirmation = call.confirmation(&call.body::<Confirmed>()?.confirmation)?;
    Ok(shown(&call.tidings().disable(webhook.id(), &confirmation).await?))
}

/// A test event that is on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    /// The delivery that tells what becomes of it.
    pub(super) delivery_id: DeliveryId,
    /// The event.
    pub(super) event_id: EventId,
}

/// Send a test event to a webhook, whatever types it wants.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", operation_id = "testWebhook",
    params(("id" = String, Path, description = "Its id")), request_body = Nothing,
    responses((status = 202, body = Sent), Problems))]
pub(super) async fn test(call: Call) -> Answer {
    call.may(Permission::Manage)?;
    let webhook = call.webhook().await?;
    call.body::<Nothing>()?;
    call.admit(webhook.account()).await?;
    let delivery_id = call.tidings().send_test(webhook.id()).await?;
    let event_id = call.tidings().delivery(delivery_id).await?.delivery.event;
    answer::accepted(&Sent { delivery_id, event_id })
}

fn shown(webhook: &Webhook) -> Response {
    let response = answer::json(StatusCode::OK, &WebhookView::from(webhook));
    answer::versioned(response, webhook)
}
