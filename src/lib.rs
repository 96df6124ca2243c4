//! Embeddable events and webhooks.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "engine")]
mod adapters;
mod ground;
#[cfg(feature = "engine")]
mod ports;

pub use ground::account::{Account, Mode};
pub use ground::address::EndpointUrl;
pub use ground::error::{Error, ErrorKind, Result};
pub use ground::failure::FailureKind;
pub use ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
pub use ground::network::{NetworkPolicy, Refusal};
pub use ground::policy::{self, Policy, Schedule};
pub use ground::time::{self, Timestamp};

/// The port through which requests leave, and the adapter that comes with the crate.
#[cfg(feature = "engine")]
#[cfg_attr(docsrs, doc(cfg(feature = "engine")))]
pub mod transport {
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::adapters::hyper::{HyperOptions, HyperTransport, Resolver};
    pub use crate::ports::transport::{Request, Response, Transport, TransportError, transport_fn};
}
