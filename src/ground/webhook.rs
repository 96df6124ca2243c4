//! A webhook: a receiver's registration. What it is, how it is made, edited, enabled and disabled.
//!
//! All pure: each change takes the webhook and gives the changed one; the storage compares the
//! version and writes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, Mode};
use super::address::EndpointUrl;
use super::authentication::Authentication;
use super::condition::Condition;
use super::error::{Error, ErrorKind, Result};
use super::event::Event;
use super::filter::Filters;
use super::header::Headers;
use super::id::WebhookId;
use super::identity::{ClientIdentity, RootCertificates, TlsSettings};
use super::order::Ordering;
use super::policy::{
    API_VERSION_BYTES_MAX, CONCURRENCY_RANGE, DESCRIPTION_BYTES_MAX, METADATA_ENTRIES_MAX,
    METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX, TIMEOUT_RANGE,
};
use super::rate_limit::RateLimit;
use super::secret::Secret;
use super::secrets::Secrets;
use super::signature::{self, SignatureScheme};
use super::time::{Timestamp, to_millis};
use super::vault::{Guarded, KeyId, sealed_with};

/// What the API says for a webhook that is pinned to no version.
pub(super) const API_VERSION_DEFAULT: &str = "default";
/// How a webhook says that it goes with the newest version.
pub(super) const API_VERSION_LATEST: &str = "latest";

/// Whether a webhook is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::exhaustive_enums)]
pub enum Status {
    /// It gets the events that it wants.
    Enabled,
    /// It gets nothing (seed row W25).
    Disabled(DisabledReason),
}

/// Why a webhook is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum DisabledReason {
    /// It was created so (seed row W23) and nobody has enabled it yet.
    NeverEnabled,
    /// A person disabled it.
    Person,
    /// It did nothing but fail for too long (seed row W17).
    Failing,
    /// The receiver answered 410 Gone.
    Gone,
}

/// A receiver's registration.
///
/// Its `Debug` form shows no secret, and there is no `Serialize`: what a listing may show is
/// [`WebhookView`](crate::WebhookView), what a storage keeps is [`Webhook::to_stored`].
#[derive(Clone, PartialEq)]
pub struct Webhook {
    pub(super) id: WebhookId,
    pub(super) account: Account,
    pub(super) mode: Mode,
    pub(super) settings: Settings,
    pub(super) secrets: Guarded,
    pub(super) status: Status,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) version: u64,
}

/// What a person may set and edit.
#[derive(Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) address: EndpointUrl,
    pub(super) types: Filters,
    pub(super) description: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) headers: Headers,
    pub(super) authentication: Authentication,
    pub(super) tls: Option<Arc<TlsSettings>>,
    pub(super) api_version: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) ordering: Ordering,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) concurrency: Option<u32>,
    pub(super) condition: Option<Condition>,
}

impl Webhook {
    /// Its id: unique, and the same for life (seed row W11).
    pub fn id(&self) -> WebhookId {
        self.id
    }

    /// Whose it is. Never changes.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Live or test. Never changes.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where payloads go (seed row W14).
    pub fn address(&self) -> &EndpointUrl {
        &self.settings.address
    }

    /// The event types that it wants.
    pub fn types(&self) -> &Filters {
        &self.settings.types
    }

    /// What people call it.
    pub fn description(&self) -> &str {
        &self.settings.description
    }

    /// The host's own notes.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.settings.metadata
    }

    /// Headers sent with every request.
    pub fn headers(&self) -> &Headers {
        &self.settings.headers
    }

    /// How the sender authenticates itself, beside the signature.
    pub fn authentication(&self) -> &Authentication {
        &self.settings.authentication
    }

    /// The certificate that the sender shows, and whose it accepts, where that differs from what
    /// holds for all.
    pub fn tls(&self) -> Option<&Arc<TlsSettings>> {
        self.settings.tls.as_ref()
    }

    /// The version of the payload's shape that it is pinned to; `None` is the host's default.
    pub fn api_version(&self) -> Option<&str> {
        self.settings.api_version.as_deref()
    }

    /// Its own deadline for one attempt.
    pub fn timeout(&self) -> Option<Duration> {
        self.settings.timeout
    }

    /// How requests are signed: at least one way.
    pub fn schemes(&self) -> &[SignatureScheme] {
        &self.settings.schemes
    }

    /// Whether it gets its events in order.
    pub fn ordering(&self) -> Ordering {
        self.settings.ordering
    }

    /// How many requests it gets in time, over all dispatchers together.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.settings.rate_limit
    }

    /// How many requests to it may be under way at once, over all dispatchers together.
    pub fn concurrency(&self) -> Option<u32> {
        self.settings.concurrency
    }

    /// What must be in an event, beside its type, for it to be sent. Any other is cancelled, and says so.
    pub fn condition(&self) -> Option<&Condition> {
        self.settings.condition.as_ref()
    }

    /// Whether one dispatcher alone may send to it, the holder of its lane: because it is ordered,
    /// or has a limit that holds over all dispatchers together.
    pub fn needs_holder(&self) -> bool {
        self.is_ordered() || self.rate_limit().is_some() || self.concurrency().is_some()
    }

    /// Whether it is ordered [per object](Ordering::PerObject).
    pub fn is_ordered(&self) -> bool {
        self.ordering() == Ordering::PerObject
    }

    /// Its secrets. They are needed to sign; they show themselves only through
    /// [`Secret::reveal`].
    ///
    /// # Errors
    /// [`Sealed`](ErrorKind::Sealed), naming the key, while they are sealed: nothing can be signed then,
    /// and the values of headers and credentials are empty.
    pub fn secrets(&self) -> Result<&Secrets> {
        match &self.secrets {
            Guarded::Open(secrets) => Ok(secrets),
            Guarded::Sealed(sealed) => Err(sealed_with(self.id, &sealed.key, "; open them first")),
        }
    }

    /// The key that its secrets are sealed with; `None` while they are open.
    pub fn sealed_with(&self) -> Option<&KeyId> {
        match &self.secrets {
            Guarded::Open(_) => None,
            Guarded::Sealed(sealed) => Some(&sealed.key),
        }
    }

    /// What receivers verify with (`whpk_`), where the current secret is a private key, sealed or not.
    pub(super) fn public_key(&self) -> Option<String> {
        match &self.secrets {
            Guarded::Sealed(sealed) => sealed.public_key.clone(),
            #[cfg(feature = "ed25519")]
            Guarded::Open(secrets) => secrets.current().public_key().map(|key| key.to_string()),
            #[cfg(not(feature = "ed25519"))]
            Guarded::Open(_) => None,
        }
    }

    /// Whether it is delivered to.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether it is delivered to.
    pub fn is_enabled(&self) -> bool {
        self.status == Status::Enabled
    }

    /// When it was created.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last changed.
    pub fn updated(&self) -> Timestamp {
        self.updated
    }

    /// Counts the stored changes, from 1; 0 while it is not stored. The storage compares it
    /// before it writes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// This webhook, enabled. Needs no confirmation (seed row W27).
    #[must_use]
    pub fn enable(&self) -> Self {
        Self { status: Status::Enabled, ..self.clone() }
    }

    /// This webhook, disabled for `reason`. A person's wish needs a
    /// [`Confirmation`] (seed row W28), which the caller checks.
    #[must_use]
    pub fn disable(&self, reason: DisabledReason) -> Self {
        Self { status: Status::Disabled(reason), ..self.clone() }
    }

    /// This webhook with these secrets.
    ///
    /// # Errors
    /// [`Sealed`](ErrorKind::Sealed) while its own are sealed: its credentials would be lost.
    pub fn with_secrets(&self, secrets: Secrets) -> Result<Self> {
        self.secrets()?;
        Ok(Self { secrets: Guarded::Open(secrets), ..self.clone() })
    }

    /// This webhook as it is stored at `now`: the version is one more. For storage implementers;
    /// it is the only place where a version is made.
    #[must_use]
    pub fn stored(&self, now: Timestamp) -> Self {
        let now = to_millis(now);
        let created = if self.version == 0 { now } else { self.created };
        Self { created, updated: now, version: self.version + 1, ..self.clone() }
    }

    /// This webhook as it is stored at `now` in the place of the one with its id, whose version is
    /// `stored`: `None` where there never was one, 0 where one was deleted that is still named.
    ///
    /// # Errors
    /// [`Stale`](ErrorKind::Stale) when `stored` is another version than the one that this was made
    /// from; [`NotFound`](ErrorKind::NotFound) when there is none to replace;
    /// [`Conflict`](ErrorKind::Conflict) when a new webhook's id is taken.
    pub fn stored_over(&self, stored: Option<u64>, now: Timestamp) -> Result<Self> {
        let (id, seen) = (self.id, self.version);
        match (seen, stored) {
            (0, None) => Ok(self.stored(now)),
            (0, Some(_)) => {
                Err(Error::new(ErrorKind::Conflict, format!("webhook {id} exists already")))
            }
            (_, None | Some(0)) => Err(Error::not_found("webhook", id)),
            (_, Some(stored)) if stored == seen => Ok(self.stored(now)),
            (_, Some(stored)) => {
                let message =
                    format!("webhook {id} has version {stored}, not {seen}: read it again");
                Err(Error::new(ErrorKind::Stale, message))
            }
        }
    }

    /// Whether `event` may be sent to it at all: it is of the same account and mode.
    pub fn takes(&self, event: &Event) -> bool {
        self.mode == event.mode() && self.account == *event.account()
    }

    /// Whether `event` is to be sent to it while its filters hold: it takes the event, is enabled,
    /// and asks for the type.
    pub fn wants(&self, event: &Event) -> bool {
        self.is_enabled() && self.takes(event) && self.types().matches(event.event_type())
    }

    /// This webhook with `edit` applied. The id, the account and the mode stay.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if what comes out breaks a rule, also if its secrets cannot sign
    /// by its schemes; [`Sealed`](ErrorKind::Sealed) while its secrets are sealed. Nothing is changed
    /// then.
    pub fn edit(&self, mut edit: Edit) -> Result<Self> {
        let secrets = self.secrets()?;
        if let Some(headers) = edit.headers.as_mut().filter(|_| edit.masked) {
            *headers = headers.unmasked(self.headers())?;
        }
        let mut settings = self.settings.clone();
        edit.apply(&mut settings);
        settings.check()?;
        signature::check_secrets(&settings.schemes, secrets)?;
        Ok(Self { settings, ..self.clone() })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("mode", &self.mode)
            .field("address", &self.settings.address)
            .field("types", &self.settings.types)
            .field("status", &self.status)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What is needed to create a webhook.
///
/// ```
/// use tidings::Registration;
///
/// let registration = Registration::new("https://example.com/hook", ["order.*", "invoice.paid"])?
///     .enabled(true);
/// assert!(Registration::new("ftp://example.com", ["order.*"]).is_err());
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Registration {
    account: Account,
    mode: Mode,
    settings: Settings,
    enabled: Option<bool>,
    secret: Option<Secret>,
}

impl Registration {
    /// A webhook at `address` that wants `types` (patterns: `order.paid`, `order.*`, `*`).
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), naming `address` (seed row W15) or `types` (at least one).
    pub fn new(address: &str, types: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        Ok(Self {
            account: Account::default(),
            mode: Mode::default(),
            settings: Settings {
                address: EndpointUrl::parse(address)?,
                types: Filters::parse(types)?,
                description: String::new(),
                metadata: BTreeMap::new(),
                headers: Headers::default(),
                authentication: Authentication::None,
                tls: None,
                api_version: None,
                timeout: None,
                schemes: vec![SignatureScheme::StandardWebhooks],
                ordering: Ordering::default(),
                rate_limit: None,
                concurrency: None,
                condition: None,
            },
            enabled: None,
            secret: None,
        })
    }

    /// Whose it is; the default account otherwise.
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Live or test; live otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// States whether it is to be enabled at once. Without this it is disabled, and the person is
    /// to be asked (seed rows W23, W24).
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Brings a secret from outside; one is made otherwise.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets everything else that an edit can set.
    pub fn with(mut self, edit: Edit) -> Self {
        edit.apply(&mut self.settings);
        self
    }

    /// How requests are to be signed.
    #[cfg(feature = "engine")]
    pub(crate) fn schemes(&self) -> &[SignatureScheme] {
        &self.settings.schemes
    }

    /// Whether a secret was brought along.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The webhook, not yet stored. `made` is the secret used unless one was brought; it is of the kind
    /// that the schemes sign with.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), naming the field that breaks a rule.
    pub fn into_webhook(self, id: WebhookId, made: Secret, now: Timestamp) -> Result<Webhook> {
        self.settings.check()?;
        let now = to_millis(now);
        let secrets = Secrets::new(self.secret.unwrap_or(made), now);
        signature::check_secrets(&self.settings.schemes, &secrets)?;
        Ok(Webhook {
            id,
            account: self.account,
            mode: self.mode,
            settings: self.settings,
            secrets: Guarded::Open(secrets),
            status: match self.enabled {
                Some(true) => Status::Enabled,
                Some(false) => Status::Disabled(DisabledReason::Person),
                None => Status::Disabled(DisabledReason::NeverEnabled),
            },
            created: now,
            updated: now,
            version: 0,
        })
    }

    /// Whether the person who creates it is to be asked to enable it (seed row W24).
    pub fn prompts(&self) -> bool {
        self.enabled.is_none()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("account", &self.account)
            .field("mode", &self.mode)
            .field("address", &self.settings.address)
            .field("types", &self.settings.types)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// A created webhook, and whether to ask about enabling it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_structs)]
pub struct Created {
    /// The webhook as stored.
    pub webhook: Webhook,
    /// Whether the person is to be asked to enable it (seed row W24): the registration did not
    /// say.
    pub prompt: bool,
}

/// Changes to a webhook; what is not set stays.
#[derive(Clone, Default, PartialEq)]
#[must_use]
pub struct Edit {
    address: Option<EndpointUrl>,
    types: Option<Filters>,
    description: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    headers: Option<Headers>,
    /// Whether values of headers that are masked keep what is stored.
    masked: bool,
    authentication: Option<Authentication>,
    client_identity: Option<Option<ClientIdentity>>,
    root_certificates: Option<Option<RootCertificates>>,
    api_version: Option<Option<String>>,
    timeout: Option<Option<Duration>>,
    schemes: Option<Vec<SignatureScheme>>,
    ordering: Option<Ordering>,
    rate_limit: Option<Option<RateLimit>>,
    concurrency: Option<Option<u32>>,
    condition: Option<Option<Condition>>,
}

impl Edit {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends to another address from now on, waiting deliveries too.
    pub fn address(mut self, address: EndpointUrl) -> Self {
        self.address = Some(address);
        self
    }

    /// Wants other types, for events published from now on.
    pub fn types(mut self, types: Filters) -> Self {
        self.types = Some(types);
        self
    }

    /// What people call it; at most 1,024 bytes.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The host's own notes; at most 50 entries.
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Headers sent with every request.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = Some(headers);
        self.masked = false;
        self
    }

    /// Headers sent with every request, where a value that is [masked](Headers::unmasked) keeps the one that
    /// the webhook has by the name.
    #[cfg(feature = "api")]
    pub(crate) fn masked_headers(self, headers: Headers) -> Self {
        Self { masked: true, ..self.headers(headers) }
    }

    /// How the sender authenticates itself.
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// The certificate that the sender shows in the TLS handshake; `None` is none. The address must
    /// begin with `https://`.
    pub fn client_identity(mut self, identity: Option<ClientIdentity>) -> Self {
        self.client_identity = Some(identity);
        self
    }

    /// The authorities that are trusted for this webhook, instead of those that the transport trusts;
    /// `None` is those. The address must begin with `https://`.
    pub fn root_certificates(mut self, roots: Option<RootCertificates>) -> Self {
        self.root_certificates = Some(roots);
        self
    }

    /// Pins the payload's shape: `YYYY-MM-DD`, `latest`, or the host's own names; `None` and
    /// `default` unpin (domain 8, row 11). What the host has is said by its
    /// [`Versions`](crate::Versions).
    pub fn api_version(mut self, version: Option<String>) -> Self {
        self.api_version = Some(version.filter(|version| version != API_VERSION_DEFAULT));
        self
    }

    /// A deadline of its own for one attempt, 1 s to 60 s in whole milliseconds (the rest is cut
    /// off); `None` is the policy's.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.timeout = Some(timeout.map(millis).map(Duration::from_millis));
        self
    }

    /// How requests are signed: 1 to 4 ways at once.
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = SignatureScheme>) -> Self {
        self.schemes = Some(schemes.into_iter().collect());
        self
    }

    /// Whether it gets its events in order. Order, a rate limit and a limit of concurrency need a
    /// storage that gives lanes to holders, as those of this crate do. When the first of the three is set on a webhook that exists, it gets nothing for about a minute, until
    /// what was under way without it is over.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = Some(ordering);
        self
    }

    /// How many requests it gets in time, over all dispatchers together; `None` is no limit.
    pub fn rate_limit(mut self, limit: Option<RateLimit>) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// How many requests to it may be under way at once, over all dispatchers together, 1 to 10,000;
    /// `None` leaves it to each dispatcher's own limits, which hold in any case.
    pub fn concurrency(mut self, requests: Option<u32>) -> Self {
        self.concurrency = Some(requests);
        self
    }

    /// What must be in an event, beside its type, for it to be sent; `None` lets all go. It holds for
    /// what is sent from then on, also for events that wait already.
    pub fn condition(mut self, condition: Option<Condition>) -> Self {
        self.condition = Some(condition);
        self
    }

    /// Whether it says which types are wanted.
    #[cfg(feature = "engine")]
    pub(crate) fn has_types(&self) -> bool {
        self.types.is_some()
    }

    fn apply(self, settings: &mut Settings) {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut settings.address, self.address);
        set(&mut settings.types, self.types);
        set(&mut settings.description, self.description);
        set(&mut settings.metadata, self.metadata);
        set(&mut settings.headers, self.headers);
        set(&mut settings.authentication, self.authentication);
        if self.client_identity.is_some() || self.root_certificates.is_some() {
            let former = settings.tls.take();
            let identity = former.as_ref().and_then(|tls| tls.identity().cloned());
            let roots = former.as_ref().and_then(|tls| tls.roots().cloned());
            settings.tls = TlsSettings::new(
                self.client_identity.unwrap_or(identity),
                self.root_certificates.unwrap_or(roots),
            );
        }
        set(&mut settings.api_version, self.api_version);
        set(&mut settings.timeout, self.timeout);
        set(&mut settings.schemes, self.schemes);
        set(&mut settings.ordering, self.ordering);
        set(&mut settings.rate_limit, self.rate_limit);
        set(&mut settings.concurrency, self.concurrency);
        set(&mut settings.condition, self.condition);
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("address", &self.address)
            .field("types", &self.types)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The rules that bind several fields, and the bounds of the plain ones.
    pub(super) fn check(&self) -> Result<()> {
        bounded("description", &self.description, DESCRIPTION_BYTES_MAX)?;
        if self.metadata.len() > METADATA_ENTRIES_MAX {
            let message =
                format!("has {} entries; {METADATA_ENTRIES_MAX} are allowed", self.metadata.len());
            return Err(Error::invalid("metadata", message));
        }
        for (key, value) in &self.metadata {
            bounded("metadata", key, METADATA_KEY_BYTES_MAX)?;
            bounded("metadata", value, METADATA_VALUE_BYTES_MAX)?;
        }
        if let Some(version) = &self.api_version {
            check_version_name(version)?;
        }
        if let Some(timeout) = self.timeout
            && !TIMEOUT_RANGE.contains(&timeout)
        {
            return Err(Error::invalid("timeout", "must be 1 s to 60 s"));
        }
        if let Some(limit) = &self.rate_limit {
            limit.check()?;
        }
        if let Some(requests) = self.concurrency
            && !CONCURRENCY_RANGE.contains(&requests)
        {
            let (least, most) = (CONCURRENCY_RANGE.start(), CONCURRENCY_RANGE.end());
            let message = format!("is {requests}; {least} to {most} are allowed");
            return Err(Error::invalid("concurrency", message));
        }
        if self.tls.is_some() && !self.address.is_https() {
            let message = "must begin with https:// where certificates are set";
            return Err(Error::invalid("address", message));
        }
        signature::check(&self.schemes, &self.headers)?;
        self.authentication.check(&self.address, &self.headers, &self.schemes)
    }
}

/// Checks what a version may be called that a webhook is to be pinned to.
pub(super) fn check_version_name(version: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if version.is_empty() || !version.chars().all(plain) {
        let message = "must be letters, digits, '-', '_' and '.', such as 2026-01-31 or latest";
        return Err(Error::invalid("apiVersion", message));
    }
    bounded("apiVersion", version, API_VERSION_BYTES_MAX)
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::invalid(field, format!("has {} bytes; {max} are allowed", text.len())));
    }
    Ok(())
}

/// What a person typed to confirm, and who that person is.
///
/// Disabling, revealing and rotating need the acting user's name, typed exactly (seed row W28:
/// case matters).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Confirmation {
    user: String,
    typed: String,
}

impl Confirmation {
    /// `user` is who acts, as the host knows; `typed` is what was typed.
    pub fn new(user: impl Into<String>, typed: impl Into<String>) -> Self {
        Self { user: user.into(), typed: typed.into() }
    }

    /// Compares byte for byte.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) when they differ, or the user has no name.
    pub fn check(&self) -> Result<()> {
        if self.user.is_empty() || self.user != self.typed {
            let message = "type your user name exactly, in the same case, to confirm";
            return Err(Error::new(ErrorKind::Refused, message));
        }
        Ok(())
    }
}
