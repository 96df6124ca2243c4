//! Embeddable events and webhooks.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ground;

pub use ground::account::{Account, Mode};
pub use ground::change::Change;
pub use ground::diff;
pub use ground::digest::Digest;
pub use ground::error::{Error, ErrorKind, Result};
pub use ground::event::{Event, StoredEvent};
pub use ground::event_type::EventType;
pub use ground::filter::{Filter, Filters};
pub use ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
pub use ground::policy::{self, Policy, Schedule};
pub use ground::time::{self, Timestamp};
