//! Identifiers. Each noun has a type of its own, so that one cannot stand where another belongs.
//!
//! The crate makes UUIDs of version 7 (time-ordered, for index locality); hosts may bring any
//! UUID for their events. Ground has no randomness: the bytes come in as a parameter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::{Error, Result};
use super::time::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "api", derive(utoipa::ToSchema), schema(value_type = uuid::Uuid))]
        pub struct $name(Uuid);

        impl $name {
            /// A time-ordered id (UUID version 7) of `now` and ten random bytes.
            pub fn new(now: Timestamp, random: &[u8; 10]) -> Self {
                let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
            }

            /// The id that `uuid` is.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// This id as a plain UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Reads the usual text form.
            ///
            /// # Errors
            /// [`Invalid`](crate::ErrorKind::Invalid), naming the field.
            pub fn parse(text: &str) -> Result<Self> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|error| Error::invalid($field, "is not a UUID").with_source(error))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    };
}

id! {
    /// The id of an event. It is fixed when the event is built, is sent as `webhook-id`, and is
    /// the same on every attempt, so that receivers can tell a repetition.
    EventId, "id"
}
id! {
    /// The id of a webhook, unique and stable for life (seed rows W11, W12).
    WebhookId, "webhook"
}
id! {
    /// The id of a delivery: one event owed to one webhook for one cause.
    DeliveryId, "delivery"
}
id! {
    /// Why a delivery exists: [`Cause::ROUTED`] when the event was routed to the webhook, a fresh
    /// id for each redelivery or replay. One event, webhook and cause make at most one delivery.
    Cause, "cause"
}
id! {
    /// A running dispatcher: a random id made at its start, which its leases name.
    DispatcherId, "dispatcher"
}

id! {
    /// The id of a replay: past events that are delivered once more.
    ReplayId, "replay"
}

impl ReplayId {
    /// The cause of the replay's deliveries: with it, an event goes to a webhook at most once.
    pub const fn cause(self) -> Cause {
        Cause(self.0)
    }
}

impl Cause {
    /// The cause of every delivery that routing made.
    pub const ROUTED: Self = Self(Uuid::nil());
}

impl DeliveryId {
    /// The one id of the delivery of `event` to `webhook` for `cause`.
    ///
    /// It is a function of the three, so storing a delivery under its id keeps the triple unique
    /// without a second index. The first 60 bits that are free to choose are those of the event's
    /// id: deliveries of time-ordered events are time-ordered, and all deliveries of one event lie
    /// together ([`DeliveryId::range_of`]). The rest is a hash; the UUID's version is 8.
    pub fn of(event: EventId, webhook: WebhookId, cause: Cause) -> Self {
        let mut hash = Sha256::new();
        hash.update(event.0.as_bytes());
        hash.update(webhook.0.as_bytes());
        hash.update(cause.0.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&event.0.as_bytes()[..8]);
        bytes[8..].copy_from_slice(&digest[..8]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The least and the greatest id that a delivery of `event` can have. Others may lie between.
    pub fn range_of(event: EventId) -> (Self, Self) {
        let mut low = *Self::of(event, WebhookId(Uuid::nil()), Cause::ROUTED).0.as_bytes();
        let mut high = low;
        low[8..].fill(0);
        high[8..].fill(0xff);
        (Self(Uuid::from_bytes(low)), Self(Uuid::from_bytes(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Derives ids from chosen triples and looks at their order and range.
    #[test]
    fn delivery_ids_follow_their_event() {
        let now = Timestamp::UNIX_EPOCH;
        let early = EventId::new(now, &[1; 10]);
        let late =
            EventId::new(crate::time::after(now, std::time::Duration::from_secs(1)), &[0; 10]);
        let webhook = WebhookId::new(now, &[2; 10]);
        let id = DeliveryId::of(early, webhook, Cause::ROUTED);
        assert_eq!(id, DeliveryId::of(early, webhook, Cause::ROUTED));
        assert_ne!(id, DeliveryId::of(early, webhook, Cause::new(now, &[3; 10])));
        assert!(id < DeliveryId::of(late, webhook, Cause::ROUTED));
        let (low, high) = DeliveryId::range_of(early);
        assert!(low <= id && id <= high);
        assert_eq!(id.uuid().get_version_num(), 8);
    }
}
