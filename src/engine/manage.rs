//! Managing webhooks: create, search, edit, enable, disable, delete, reveal, rotate (seed rows W5,
//! W6).

use super::request::check_addresses;
use super::tidings::Tidings;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::filter::{Filter, Filters};
use crate::ground::id::WebhookId;
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::WebhookQuery;
use crate::ground::report::ReportKind;
use crate::ground::secret::Secret;
use crate::ground::secrets::{Overlap, Secrets};
use crate::ground::signature::SignatureScheme;
use crate::ground::webhook::{Confirmation, Created, DisabledReason, Edit, Registration, Webhook};
use crate::ports::storage::refuse_holder;

/// How often a change is repeated on a webhook that others change at the same time.
const CHANGE_TRIES: usize = 8;

impl Tidings {
    /// Creates a webhook. It is disabled unless the registration says otherwise (seed row W23);
    /// the answer tells whether the person is to be asked (W24).
    ///
    /// It gets the events that are published from now on (W7). The answer has its secrets open, to be
    /// shown to a person once; from then on they are read with [`reveal`](Self::reveal).
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), naming the field that breaks a rule;
    /// [`Refused`](ErrorKind::Refused) when it is ordered or limited and the storage keeps neither.
    ///
    /// # Cancellation
    /// If the future is dropped the webhook may or may not exist.
    pub async fn create(&self, registration: Registration) -> Result<Created> {
        let now = self.core.now();
        let prompt = registration.prompts();
        let id = WebhookId::new(now, &self.core.id_bytes()?);
        let made = self.made_secret(registration.schemes())?;
        let webhook = registration.into_webhook(id, made, now)?;
        let webhook = self.with_known_types(webhook, None)?;
        self.check_holder(&webhook)?;
        self.check_version(&webhook)?;
        check_addresses(&webhook, &self.core.network)?;
        let sealed = self.core.vault.seal(webhook, &*self.core.entropy)?;
        let stored = self.core.storage.put(&sealed, self.core.shared_now().await?).await?;
        Ok(Created { webhook: self.core.vault.open(&stored)?, prompt })
    }

    /// The webhook with this id, as it is stored: sealed, where the host gives keys.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn webhook(&self, id: WebhookId) -> Result<Webhook> {
        let query = WebhookQuery { id: Some(id), ..WebhookQuery::default() };
        let page = self.core.storage.webhooks(&query, &PageRequest::default()).await?;
        page.items.into_iter().next().ok_or_else(|| Error::not_found("webhook", id))
    }

    /// Searches webhooks, newest first. They come as they are stored.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn webhooks(
        &self,
        query: &WebhookQuery,
        page: &PageRequest,
    ) -> Result<Page<Webhook>> {
        self.core.storage.webhooks(query, page).await
    }

    /// Edits a webhook. With `version`, only if that is still its version.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), naming the field; [`Stale`](ErrorKind::Stale) when the
    /// webhook was changed since; [`NotFound`](ErrorKind::NotFound);
    /// [`Refused`](ErrorKind::Refused) as with [`create`](Self::create); [`Sealed`](ErrorKind::Sealed)
    /// when the key of its secrets is not at hand. Nothing is changed then.
    pub async fn edit(&self, id: WebhookId, version: Option<u64>, edit: Edit) -> Result<Webhook> {
        self.change(id, version, |webhook| {
            let mut edited = webhook.edit(edit.clone())?;
            if edit.has_types() {
                edited = self.with_known_types(edited, Some(webhook.types()))?;
            }
            self.check_holder(&edited)?;
            // A pin from before stays, also to a version that the host has no more.
            if edited.api_version() != webhook.api_version() {
                self.check_version(&edited)?;
            }
            check_addresses(&edited, &self.core.network)?;
            Ok(edited)
        })
        .await
    }

    /// Enables a webhook: it gets the events published from now on, and those that wait for it.
    /// Needs no confirmation (seed row W27).
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn enable(&self, id: WebhookId) -> Result<Webhook> {
        let webhook = self.change_status(id, |webhook| Ok(webhook.enable())).await?;
        self.wake();
        Ok(webhook)
    }

    /// Disables a webhook: nothing is sent to it any more but what is under way. What waits for it
    /// waits on, until it is enabled again or expires.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) unless the acting user's name was typed exactly (seed row
    /// W28); [`NotFound`](ErrorKind::NotFound).
    pub async fn disable(&self, id: WebhookId, confirmation: &Confirmation) -> Result<Webhook> {
        confirmation.check()?;
        self.change_status(id, |webhook| Ok(webhook.disable(DisabledReason::Person))).await
    }

    /// Deletes a webhook for good. Deliveries that wait for it are cancelled; the record of the
    /// others stays.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn delete(&self, id: WebhookId) -> Result<()> {
        if self.core.storage.delete(id, self.core.now()).await? {
            Ok(())
        } else {
            Err(Error::not_found("webhook", id))
        }
    }

    /// The webhook's secrets, to be shown to a person.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) unless the acting user's name was typed exactly;
    /// [`NotFound`](ErrorKind::NotFound); [`Sealed`](ErrorKind::Sealed) when the key is not at hand.
    pub async fn reveal(&self, id: WebhookId, confirmation: &Confirmation) -> Result<Secrets> {
        confirmation.check()?;
        Ok(self.core.vault.open(&self.webhook(id).await?)?.secrets()?.clone())
    }

    /// Gives the webhook a new secret of the kind that it has; the former one lives on for `overlap`. The new one is in
    /// the answer, as [`Secrets::current`].
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) unless the acting user's name was typed exactly;
    /// [`Limit`](ErrorKind::Limit) when five secrets are alive; [`NotFound`](ErrorKind::NotFound);
    /// [`Sealed`](ErrorKind::Sealed) when the key is not at hand.
    pub async fn rotate(
        &self,
        id: WebhookId,
        overlap: Overlap,
        confirmation: &Confirmation,
    ) -> Result<Secrets> {
        confirmation.check()?;
        let webhook = self
            .change(id, None, |webhook| {
                let made = self.made_secret(webhook.schemes())?;
                let secrets = webhook.secrets()?.rotate(made, overlap, self.core.now())?;
                webhook.with_secrets(secrets)
            })
            .await?;
        Ok(self.core.vault.open(&webhook)?.secrets()?.clone())
    }

    /// Changes a webhook with its secrets open, and seals it with the current key.
    async fn change(
        &self,
        id: WebhookId,
        version: Option<u64>,
        change: impl Fn(&Webhook) -> Result<Webhook> + Send + Sync,
    ) -> Result<Webhook> {
        self.change_stored(id, version, |stored| {
            let webhook = self.core.vault.open(stored)?;
            let changed = change(&webhook)?;
            // What changes nothing is not sealed anew, or it would be another text.
            if changed == webhook { Ok(stored.clone()) } else { Ok(changed) }
        })
        .await
    }

    /// Changes a webhook's status. That needs no key: whoever has lost it can still disable.
    async fn change_status(
        &self,
        id: WebhookId,
        change: impl Fn(&Webhook) -> Result<Webhook> + Send + Sync,
    ) -> Result<Webhook> {
        self.change_stored(id, None, change).await
    }

    /// Reads a webhook, changes it, and writes it if nobody else did meanwhile; without a given
    /// version it starts again if somebody did.
    async fn change_stored(
        &self,
        id: WebhookId,
        version: Option<u64>,
        change: impl Fn(&Webhook) -> Result<Webhook> + Send + Sync,
    ) -> Result<Webhook> {
        let mut tries = 0;
        loop {
            let webhook = self.webhook(id).await?;
            if version.is_some_and(|version| version != webhook.version()) {
                return Err(stale(&webhook));
            }
            let changed = change(&webhook)?;
            if changed == webhook {
                return Ok(webhook);
            }
            let changed = self.core.vault.seal(changed, &*self.core.entropy)?;
            tries += 1;
            match self.core.storage.put(&changed, self.core.shared_now().await?).await {
                Err(error)
                    if error.kind() == ErrorKind::Stale
                        && version.is_none()
                        && tries < CHANGE_TRIES => {}
                result => return result,
            }
        }
    }

    /// A webhook asks for types that the catalogue has, under their own names.
    fn with_known_types(&self, webhook: Webhook, former: Option<&Filters>) -> Result<Webhook> {
        match &self.core.catalogue {
            Some(catalogue) => {
                let hears = self.core.reports.as_ref() == Some(webhook.account());
                let reports = |filter: &Filter| hears && ReportKind::is_matched(filter);
                let types = catalogue.filters_beside(webhook.types(), former, reports)?;
                webhook.edit(Edit::new().types(types))
            }
            None => Ok(webhook),
        }
    }

    /// A webhook that needs a holder needs a storage that has some.
    fn check_holder(&self, webhook: &Webhook) -> Result<()> {
        if self.core.storage.exclusive() { Ok(()) } else { refuse_holder(webhook) }
    }

    /// A webhook is pinned to what the host has, if the host says what that is.
    fn check_version(&self, webhook: &Webhook) -> Result<()> {
        let versions = self.core.versions.as_ref();
        versions.map_or(Ok(()), |versions| versions.check_pin(webhook.api_version()))
    }

    /// A fresh secret of the kind that `schemes` sign with.
    fn made_secret(&self, schemes: &[SignatureScheme]) -> Result<Secret> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.core.entropy.fill(bytes.as_mut_slice())?;
        #[cfg(feature = "ed25519")]
        if schemes.contains(&SignatureScheme::StandardWebhooksAsymmetric) {
            return Ok(Secret::asymmetric_from_random(&bytes));
        }
        #[cfg(not(feature = "ed25519"))]
        let _ = schemes;
        Ok(Secret::from_random(&bytes))
    }
}

fn stale(webhook: &Webhook) -> Error {
    let message = format!(
        "webhook {} is at version {}; read it again and repeat the edit",
        webhook.id(),
        webhook.version()
    );
    Error::new(ErrorKind::Stale, message)
}
