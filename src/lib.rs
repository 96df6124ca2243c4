//! Embeddable events and webhooks.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ground;

pub use ground::account::{Account, Mode};
pub use ground::error::{Error, ErrorKind, Result};
pub use ground::header::{HeaderName, HeaderValue, Headers};
pub use ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
pub use ground::policy::{self, Policy, Schedule};
pub use ground::secret::Secret;
pub use ground::secrets::{Overlap, SecretRecord, Secrets};
pub use ground::signature::{SignatureScheme, Verified, Verifier, VerifyError};
pub use ground::time::{self, Timestamp};

/// What a sender does with signatures. A receiver uses [`Verifier`].
pub mod signature {
    pub use crate::ground::signature::{check, sign};
}
