//! Embeddable events and webhooks.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ground;

#[cfg(feature = "engine")]
mod adapters;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod ports;

pub use ground::account::{Account, Mode};
pub use ground::address::EndpointUrl;
pub use ground::advance::{Health, LaneChange, Next, Seen, Transition, advance, must_account};
pub use ground::authentication::{Authentication, Basic};
pub use ground::change::Change;
pub use ground::delivery::{
    Attempt, Delivery, DeliveryView, Fence, Outcome, Standing, State, StateKind,
};
pub use ground::diff;
pub use ground::digest::Digest;
pub use ground::error::{Error, ErrorKind, Result};
pub use ground::event::{Event, StoredEvent};
pub use ground::event_type::EventType;
pub use ground::failure::FailureKind;
pub use ground::filter::{Filter, Filters};
pub use ground::header::{HeaderName, HeaderValue, Headers};
pub use ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
pub use ground::lane::{Lane, Readiness};
pub use ground::network::{NetworkPolicy, Refusal};
pub use ground::oauth::{Grant, OAuth, Token};
pub use ground::page::{Cursor, Page, PageRequest, Place};
pub use ground::policy::{self, Policy, Schedule};
pub use ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
pub use ground::retry_after::retry_after;
pub use ground::secret::Secret;
pub use ground::secrets::{Overlap, SecretRecord, Secrets};
pub use ground::signature::{SignatureScheme, Verified, Verifier, VerifyError};
pub use ground::time::{self, Timestamp};
pub use ground::view::{AttemptJson, DeliveryJson, OAuthView, TransportType, UserView, WebhookView};
pub use ground::webhook::{
    Confirmation, Created, DisabledReason, Edit, Registration, Status, Webhook,
};

#[cfg(feature = "engine")]
pub use engine::dispatcher::Dispatcher;
#[cfg(feature = "engine")]
pub use engine::options::DispatcherOptions;
#[cfg(feature = "engine")]
pub use engine::records::TEST_EVENT_TYPE;
#[cfg(feature = "engine")]
pub use engine::tidings::{Builder, Published, Tidings};
#[cfg(feature = "engine")]
pub use ports::{
    clock::{Clock, SystemClock, clock_fn},
    entropy::{Entropy, OsEntropy, entropy_fn},
    observer::{NoObserver, Notice, Observer},
};

/// What a sender does with signatures. A receiver uses [`Verifier`].
pub mod signature {
    pub use crate::ground::signature::{check, sign};
}

/// The storage port, and the storages that come with the crate.
#[cfg(feature = "engine")]
pub mod storage {
    #[cfg(feature = "conformance")]
    pub use crate::adapters::conformance;
    pub use crate::adapters::memory::MemoryStorage;
    #[cfg(feature = "sqlite")]
    pub use crate::adapters::sqlite::{SqliteOptions, SqliteStorage};
    pub use crate::ports::storage::*;
}

/// The transport port, and the transport that comes with the crate.
#[cfg(feature = "engine")]
pub mod transport {
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::adapters::hyper::{HyperOptions, HyperTransport, Resolver};
    pub use crate::ports::transport::{Request, Response, Transport, TransportError, transport_fn};
}
