//! Events over HTTP: list, read, publish, and what became of one.

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::answer::{self, Answer, Listing};
use super::call::{Asked, Call};
use super::params::{EventParams, PageParams, time, types};
use super::problem::Problem;
use super::problems::Problems;
use crate::ground::account::{Account, Mode};
use crate::ground::change::Change;
use crate::ground::event::Event;
use crate::ground::event_type::EventType;
use crate::ground::id::EventId;
use crate::ground::policy::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::ground::query::{DeliveryQuery, EventQuery};
use crate::ground::time::{Timestamp, after, format_time};
use crate::ground::view::DeliveryJson;
use crate::ports::authorizer::Permission;

/// An event, as receivers get it; of one whose payload was expunged, what is left.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Event)]
pub(super) enum EventJson {
    /// The payload, byte for byte.
    #[schema(value_type = EventBody)]
    Whole(Box<RawValue>),
    /// What is left of it.
    Expunged(ExpungedJson),
}

/// The payload of an event. It may have further keys.
#[derive(ToSchema)]
#[schema(as = EventBody, rename_all = "camelCase")]
#[allow(dead_code)] // It describes the payload, whose text is given as it is.
pub(super) struct EventBody {
    /// Its id.
    id: EventId,
    /// What happened, such as `order.accepted`.
    #[schema(rename = "type")]
    event_type: EventType,
    /// The resource, and what it was before.
    data: DataBody,
    /// Live or test.
    live_mode: Option<bool>,
    /// When it happened.
    created_time: Option<String>,
}

/// What an event is about.
#[derive(ToSchema)]
#[schema(as = EventData, rename_all = "camelCase")]
#[allow(dead_code)] // As above.
pub(super) struct DataBody {
    /// The resource as it is after the change.
    #[schema(value_type = Object)]
    object: (),
    /// Its changed attributes, with their values from before.
    #[schema(value_type = Option<Object>)]
    previous_attributes: (),
}

/// An event whose payload was expunged.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExpungedEvent)]
pub(super) struct ExpungedJson {
    id: EventId,
    #[serde(rename = "type")]
    event_type: EventType,
    live_mode: bool,
    #[schema(format = DateTime)]
    created_time: String,
    /// Always true.
    expunged: bool,
}

impl From<&Event> for EventJson {
    fn from(event: &Event) -> Self {
        match RawValue::from_string(event.payload().to_owned()) {
            Ok(payload) if !event.is_expunged() => Self::Whole(payload),
            _ => Self::Expunged(ExpungedJson {
                id: event.id(),
                event_type: event.event_type().clone(),
                live_mode: event.mode().is_live(),
                created_time: format_time(event.created()),
                expunged: event.is_expunged(),
            }),
        }
    }
}

/// List events, newest first.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "listEvents",
    params(EventParams), responses((status = 200, body = Listing<EventJson>), Problems))]
pub(super) async fn list(Asked(call, params): Asked<EventParams>) -> Answer {
    let types = types(params.event_type.as_deref(), &params.types)?;
    let (from, until) = span(&params)?;
    let paging = params.paging();
    let Some((scope, page)) = paging.of(&call)? else {
        return answer::ok(&Listing::<EventJson>::empty());
    };
    let (account, mode) = (scope.account, scope.mode);
    let query = EventQuery { account, mode, id: None, types, from, until };
    let page = call.tidings().events(&query, &page).await?;
    answer::ok(&paging.listing(page, |event| EventJson::from(&event)))
}

/// The time that is asked for, in whole milliseconds, which is what events are created in.
fn span(params: &EventParams) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
    let next = |time: Timestamp| after(time, std::time::Duration::from_millis(1));
    let exact = time(params.created_time.as_deref(), "createdTime")?;
    let later = time(params.created_gt.as_deref(), "createdTime[gt]")?.map(next);
    let from = time(params.created_gte.as_deref(), "createdTime[gte]")?;
    let until = time(params.created_lt.as_deref(), "createdTime[lt]")?;
    let through = time(params.created_lte.as_deref(), "createdTime[lte]")?.map(next);
    let from = [exact, later, from].into_iter().flatten().max();
    let until = [exact.map(next), until, through].into_iter().flatten().min();
    Ok((from, until))
}

/// Read an event.
#[utoipa::path(get, path = "/events/{id}", tag = "events", operation_id = "getEvent",
    params(("id" = String, Path, description = "Its id, as in the webhook")),
    responses((status = 200, body = EventJson), Problems))]
pub(super) async fn read(call: Call) -> Answer {
    Ok(shown(StatusCode::OK, &call.event().await?))
}

/// List the deliveries of an event, newest first.
#[utoipa::path(get, path = "/events/{id}/deliveries", tag = "events", operation_id = "listDeliveriesOfEvent",
    params(("id" = String, Path, description = "Its id"), PageParams),
    responses((status = 200, body = Listing<DeliveryJson>), Problems))]
pub(super) async fn deliveries(Asked(call, params): Asked<PageParams>) -> Answer {
    let event = call.event().await?;
    let paging = params.paging();
    let query = DeliveryQuery { event: Some(event.id()), ..DeliveryQuery::default() };
    let page = call.tidings().deliveries(&query, &paging.request()?).await?;
    answer::ok(&paging.listing(page, |view| DeliveryJson::from(&view)))
}

/// An event to be published.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewEvent {
    /// What happened, such as `order.accepted`.
    #[serde(rename = "type")]
    event_type: String,
    /// The resource, and what it was before.
    data: NewData,
    /// Its id, of callers who reach all accounts: publishing it again does nothing more. Not together with
    /// `Idempotency-Key`.
    #[serde(default)]
    id: Option<EventId>,
    /// Whose event it is; the caller's, when nobody says.
    #[serde(default)]
    account: Option<String>,
    /// Live or test; live when nobody says.
    #[serde(default)]
    live_mode: Option<bool>,
    /// What it is about, for webhooks that get their events in order.
    #[serde(default)]
    key: Option<String>,
}

/// What an event is about.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewData {
    /// The resource as it is after the change, kept byte for byte.
    #[schema(value_type = Object)]
    object: Box<RawValue>,
    /// Its changed attributes, with their values from before.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    previous_attributes: Option<Box<RawValue>>,
}

/// Which event it is, in the caller's own words.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)] // It describes a header, which is read where it is needed.
pub(super) struct IdempotencyKey {
    /// Text of the caller's choice, of 1 to 255 bytes: the same key means the same event.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255)]
    key: Option<String>,
}

/// Publish an event. With the header `Idempotency-Key`, or an id, once however often it is sent.
#[utoipa::path(post, path = "/events", tag = "events", operation_id = "publishEvent",
    params(IdempotencyKey),
    request_body = NewEvent,
    responses((status = 201, body = EventJson, description = "It is kept"),
        (status = 200, body = EventJson, description = "It was kept before"), Problems))]
pub(super) async fn publish(call: Call) -> Answer {
    call.may(Permission::Operate)?;
    let form: NewEvent = call.body()?;
    let (account, mode) = call.place(form.account.as_deref(), form.live_mode)?;
    let given = call.own_id(form.id)?;
    let id = id_of(call.headers(), given, &account, mode)?;
    let mut change = Change::of(&form.event_type, &form.data.object)?;
    if let Some(previous) = &form.data.previous_attributes {
        change = change.previous_attributes(previous)?;
    }
    if let Some(key) = &form.key {
        change = change.key(key)?;
    }
    change = change.account(account).mode(mode);
    if let Some(id) = id {
        change = change.id(id);
    }
    let event = call.tidings().event(change)?;
    let published = call.tidings().publish(&event).await.map_err(Problem::crowded)?;
    if published.new {
        return Ok(shown(StatusCode::CREATED, &event));
    }
    // As it was kept then: this one's time is another.
    Ok(shown(StatusCode::OK, &call.tidings().stored_event(event.id()).await?))
}

/// The event's id: the caller's own, or one that its key always leads to. Keys of one account and mode
/// do not meet those of another.
fn id_of(
    headers: &HeaderMap,
    given: Option<EventId>,
    account: &Account,
    mode: Mode,
) -> Result<Option<EventId>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let Some(key) = headers.get(NAME) else { return Ok(given) };
    if given.is_some() {
        let message = "cannot be given together with an id";
        return Err(Problem::parameter("invalid_parameter", NAME, message));
    }
    let key = key.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        let message =
            format!("has {} bytes; 1 to {IDEMPOTENCY_KEY_BYTES_MAX} are allowed", key.len());
        return Err(Problem::parameter("invalid_parameter", NAME, message));
    }
    let mut hash = Sha256::new();
    let live = [u8::from(mode.is_live())];
    for part in [b"idempotency-key".as_slice(), account.as_str().as_bytes(), &live, key] {
        // With its length, so that no two lists of parts read alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Ok(Some(EventId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())))
}

fn shown(status: StatusCode, event: &Event) -> Response {
    if event.is_expunged() {
        return answer::json(status, &EventJson::from(event));
    }
    answer::of_kind(status, answer::JSON, event.payload().to_owned())
}
