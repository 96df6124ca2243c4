//! The parameters of listings: what all have, and each one's own.

use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Listing;
use super::call::{Call, Scope};
use super::problem::Problem;
use crate::ground::error::Error;
use crate::ground::event_type::EventType;
use crate::ground::filter::Filter;
use crate::ground::page::{Page, PageRequest, Place};
use crate::ground::policy::API_TYPES_MAX;
use crate::ground::time::{Timestamp, parse_time};

/// Which part of a listing, and whose.
pub(super) struct Paging {
    pub(super) account: Option<String>,
    pub(super) live: Option<bool>,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<String>,
    pub(super) before: Option<String>,
}

impl Paging {
    /// What is asked for; `None` where that is nothing within reach.
    pub(super) fn of(&self, call: &Call) -> Result<Option<(Scope, PageRequest)>, Problem> {
        let request = self.request()?;
        let scope = call.scope(self.account.as_deref(), self.live)?;
        Ok(scope.map(|scope| (scope, request)))
    }

    /// Which part.
    pub(super) fn request(&self) -> Result<PageRequest, Problem> {
        let request = match self.limit {
            Some(limit) => PageRequest::first(limit)?,
            None => PageRequest::default(),
        };
        let cursor = |text: &str, name: &'static str| {
            text.parse().map_err(|error: Error| Problem::from(error).about(name))
        };
        let request = match (&self.after, &self.before) {
            (None, None) => request,
            (Some(after), None) => request.at(Place::After(cursor(after, "startingAfter")?)),
            (None, Some(before)) => request.at(Place::Before(cursor(before, "endingBefore")?)),
            (Some(_), Some(_)) => {
                let message = "cannot be given together with startingAfter";
                return Err(Problem::parameter("invalid_parameter", "endingBefore", message));
            }
        };
        Ok(request)
    }

    /// The page as it is answered.
    pub(super) fn listing<T, J>(&self, page: Page<T>, json: impl FnMut(T) -> J) -> Listing<J> {
        Listing::of(page.map(json), self.before.is_some())
    }
}

/// A time in the query.
pub(super) fn time(text: Option<&str>, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    parse_time(text).map(Some).ok_or_else(|| {
        let message = "is no time such as 2026-01-31T08:15:30Z";
        Problem::parameter("invalid_parameter", name, message)
    })
}

/// The types that are asked for: one, which may be a pattern, or several exact ones.
pub(super) fn types(one: Option<&str>, several: &[String]) -> Result<Vec<Filter>, Problem> {
    let about = |name: &'static str| move |error: Error| Problem::from(error).about(name);
    match (one, several.len()) {
        (Some(_), 1..) => {
            let message = "cannot be given together with type";
            Err(Problem::parameter("invalid_parameter", "types", message))
        }
        (Some(one), 0) => Ok(vec![Filter::parse(one).map_err(about("type"))?]),
        (None, count) if count > API_TYPES_MAX => {
            let message = format!("has {count} types; {API_TYPES_MAX} are allowed");
            Err(Problem::parameter("invalid_parameter", "types", message))
        }
        (None, _) => {
            let exact = |text: &String| EventType::parse(text).map(Filter::from);
            several.iter().map(exact).collect::<Result<_, _>>().map_err(about("types"))
        }
    }
}

/// Defines the query of a listing: its own parameters, and those of all listings.
macro_rules! listing_params {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, IntoParams)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            $($(#[$meta])* pub(super) $field: $type,)*
            /// Of this account. Who reaches several has to say which.
            account: Option<String>,
            /// Live or test alone.
            live_mode: Option<bool>,
            /// So many at most; 10 when nobody says.
            #[param(minimum = 1, maximum = 100)]
            limit: Option<usize>,
            /// What follows: the `next` of a page.
            starting_after: Option<String>,
            /// What precedes: the `previous` of a page.
            ending_before: Option<String>,
        }

        impl $name {
            pub(super) fn paging(&self) -> Paging {
                Paging {
                    account: self.account.clone(),
                    live: self.live_mode,
                    limit: self.limit,
                    after: self.starting_after.clone(),
                    before: self.ending_before.clone(),
                }
            }
        }
    };
}

listing_params! {
    /// Which webhooks.
    WebhookParams {
        /// Whose id or address has this text in it, whatever the case.
        search: Option<String>,
        /// Enabled or disabled ones.
        enabled: Option<bool>,
        /// Those that want events of this type; with a pattern such as `order.*`, those that want anything that
        /// it matches. Not together with `types`.
        #[serde(rename = "type")]
        event_type: Option<String>,
        /// Those that want events of one of these exact types, at most 20.
        #[serde(default)]
        #[param(max_items = 20)]
        types: Vec<String>,
    }
}

listing_params! {
    /// Which events.
    EventParams {
        /// Of this type: exact, or a pattern such as `order.*`. Not together with `types`.
        #[serde(rename = "type")]
        event_type: Option<String>,
        /// Of one of these exact types, at most 20.
        #[serde(default)]
        #[param(max_items = 20)]
        types: Vec<String>,
        /// Created at this time.
        #[param(format = DateTime)]
        created_time: Option<String>,
        /// Created later than this.
        #[serde(rename = "createdTime[gt]")]
        #[param(format = DateTime)]
        created_gt: Option<String>,
        /// Created at this time or later.
        #[serde(rename = "createdTime[gte]")]
        #[param(format = DateTime)]
        created_gte: Option<String>,
        /// Created earlier than this.
        #[serde(rename = "createdTime[lt]")]
        #[param(format = DateTime)]
        created_lt: Option<String>,
        /// Created at this time or earlier.
        #[serde(rename = "createdTime[lte]")]
        #[param(format = DateTime)]
        created_lte: Option<String>,
    }
}

listing_params! {
    /// Which deliveries.
    DeliveryParams {
        /// To this webhook.
        webhook: Option<String>,
        /// Of this event.
        event: Option<String>,
        /// In one of these states.
        #[serde(default)]
        state: Vec<crate::ground::delivery::StateKind>,
        /// Published at this time or later.
        #[serde(rename = "publishedTime[gte]")]
        #[param(format = DateTime)]
        published_gte: Option<String>,
        /// Published earlier than this.
        #[serde(rename = "publishedTime[lt]")]
        #[param(format = DateTime)]
        published_lt: Option<String>,
    }
}

listing_params! {
    /// Which replays.
    ReplayParams {
        /// To this webhook alone.
        webhook: Option<String>,
        /// Those that are running, or those that have ended.
        running: Option<bool>,
    }
}

/// From which version of a webhook a change is made.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)] // It describes a header, which is read where it is needed.
pub(super) struct IfMatch {
    /// The `ETag` that the change is made from: it is done only if nobody else has changed the webhook.
    #[param(rename = "If-Match", value_type = String, required = false)]
    tag: Option<String>,
}

/// Which part of a listing.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// So many at most; 10 when nobody says.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// What follows: the `next` of a page.
    starting_after: Option<String>,
    /// What precedes: the `previous` of a page.
    ending_before: Option<String>,
}

impl PageParams {
    pub(super) fn paging(self) -> Paging {
        let Self { limit, starting_after: after, ending_before: before } = self;
        Paging { account: None, live: None, limit, after, before }
    }
}
