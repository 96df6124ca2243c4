//! Opens webhooks that are sealed and seals those that go to the storage, with the host's keys.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

use crate::ground::error::Result;
use crate::ground::webhook::Webhook;
use crate::ports::entropy::Entropy;
#[cfg(feature = "sealing")]
use crate::{
    ground::error::{Error, ErrorKind},
    ground::vault_key::SealingKey,
    ports::keys::KeyProvider,
};

/// The host's keys, if it has given some.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    #[cfg(feature = "sealing")]
    pub(super) keys: Option<std::sync::Arc<dyn KeyProvider>>,
    warned: AtomicBool,
}

impl Vault {
    /// Says, once, that secrets are stored in clear.
    pub(crate) fn warn_if_missing(&self) {
        #[cfg(feature = "sealing")]
        if self.keys.is_some() {
            return;
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                name: "tidings.secrets.in_clear",
                "webhook secrets and credentials are stored in clear: switch on the feature \
                 `sealing` and give `Tidings::builder(..).keys(..)` a key provider"
            );
        }
    }
}

#[cfg(not(feature = "sealing"))]
impl Vault {
    /// The webhook with its secrets open.
    pub(crate) fn open(&self, webhook: &Webhook) -> Result<Webhook> {
        webhook.secrets()?;
        Ok(webhook.clone())
    }

    /// The webhook as it is to be stored.
    pub(crate) fn seal(&self, webhook: Webhook, _: &dyn Entropy) -> Result<Webhook> {
        Ok(webhook)
    }
}

#[cfg(feature = "sealing")]
impl Vault {
    /// The webhook with its secrets open.
    ///
    /// # Errors
    /// [`Sealed`](ErrorKind::Sealed), naming the key, when it is not to be had or does not open them.
    pub(crate) fn open(&self, webhook: &Webhook) -> Result<Webhook> {
        let Some(id) = webhook.sealed_with() else {
            return Ok(webhook.clone());
        };
        let cannot = |why: &str| {
            let message =
                format!("the secrets of webhook {} are sealed with key {id}, {why}", webhook.id());
            Error::new(ErrorKind::Sealed, message)
        };
        let Some(keys) = &self.keys else {
            return Err(cannot("and there is no key provider"));
        };
        match guarded(|| keys.key(id)) {
            Ok(Some(key)) => webhook.open(&key),
            Ok(None) => Err(cannot("which the key provider does not have")),
            // Its text is the host's, and may say anything.
            Err(error) => Err(cannot("which the key provider failed to give").with_source(error)),
        }
    }

    /// The webhook as it is to be stored: sealed with the current key, if there is one. One that is
    /// sealed already stays so.
    pub(crate) fn seal(&self, webhook: Webhook, entropy: &dyn Entropy) -> Result<Webhook> {
        if webhook.sealed_with().is_some() {
            return Ok(webhook);
        }
        match self.current()? {
            Some(key) => seal_with(&webhook, &key, entropy),
            None => Ok(webhook),
        }
    }

    /// The key that seals from now on.
    pub(super) fn current(&self) -> Result<Option<SealingKey>> {
        self.keys.as_ref().map(|keys| guarded(|| keys.current())).transpose()
    }
}

#[cfg(feature = "sealing")]
pub(super) fn seal_with(
    webhook: &Webhook,
    key: &SealingKey,
    entropy: &dyn Entropy,
) -> Result<Webhook> {
    let mut nonce = [0; 24];
    entropy.fill(&mut nonce)?;
    webhook.seal(key, nonce)
}

/// The host's code must not take the dispatcher down.
#[cfg(feature = "sealing")]
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the key provider panicked")))
}
