//! Sealing anew, after the host has changed its key, or has begun to seal.

use super::tidings::Tidings;
use super::vault::seal_with;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::id::WebhookId;
use crate::ground::page::PageRequest;
use crate::ground::policy::{PAGE_ITEMS_MAX, RESEAL_TRIES};
use crate::ground::query::WebhookQuery;
use crate::ground::vault_key::SealingKey;
use crate::ground::webhook::Webhook;

/// What [`Tidings::reseal`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// Webhooks that are sealed with the current key since this call.
    pub done: usize,
    /// Webhooks that are not yet: those beyond the limit, and those that are locked. When it is 0 and all
    /// processes seal with the current key, no older key is needed any more.
    pub left: usize,
    /// Those of them whose key is not to be had, or does not open them.
    pub locked: usize,
}

impl Tidings {
    /// Seals up to `limit` webhooks with the current key that are sealed with another, or not at all.
    /// An edit or a rotation seals its webhook anew in any case.
    ///
    /// First let every process have the new key as its current one: a process that has not would seal
    /// with the old one behind this call's back. Then call it until `left` equals
    /// [`locked`](Resealed::locked): calling again does not open what is locked. When `left` is 0, the
    /// old key can go.
    ///
    /// It reads all webhooks, page by page. Edits go on beside it: each webhook is written only if
    /// nobody else did meanwhile.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) when there is no key provider; when it, or the storage, fails.
    ///
    /// # Cancellation
    /// What is done stays done.
    pub async fn reseal(&self, limit: usize) -> Result<Resealed> {
        let Some(key) = self.core.vault.current()? else {
            let message = "there is no key provider: give Tidings::builder one";
            return Err(Error::new(ErrorKind::Refused, message));
        };
        let mut resealed = Resealed::default();
        let mut page = PageRequest::first(PAGE_ITEMS_MAX)?;
        loop {
            let found = self.core.storage.webhooks(&WebhookQuery::default(), &page).await?;
            for webhook in found.items.iter().filter(|webhook| is_due(webhook, &key)) {
                if resealed.done >= limit {
                    resealed.left += 1;
                    continue;
                }
                match self.reseal_one(webhook.id(), &key).await {
                    Ok(true) => resealed.done += 1,
                    Ok(false) => {}
                    Err(error) if error.kind() == ErrorKind::Sealed => {
                        tracing::warn!(name: "tidings.secrets.locked", %error);
                        resealed.locked += 1;
                        resealed.left += 1;
                    }
                    // Others write it all the time: it is their turn to seal it, or the next call's.
                    Err(error) if error.kind() == ErrorKind::Stale => resealed.left += 1,
                    Err(error) => return Err(error),
                }
            }
            match found.next {
                Some(next) => page = page.after(next),
                None => return Ok(resealed),
            }
        }
    }

    /// Whether it was sealed anew here; `false` when others did, or it is gone.
    async fn reseal_one(&self, id: WebhookId, key: &SealingKey) -> Result<bool> {
        let mut tries = 0;
        loop {
            let webhook = match self.webhook(id).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                webhook => webhook?,
            };
            if !is_due(&webhook, key) {
                return Ok(false);
            }
            let open = self.core.vault.open(&webhook)?;
            let sealed = seal_with(&open, key, &*self.core.entropy)?;
            tries += 1;
            match self.core.storage.put(&sealed, self.core.shared_now().await?).await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Stale && tries < RESEAL_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_due(webhook: &Webhook, key: &SealingKey) -> bool {
    webhook.sealed_with() != Some(key.id())
}
