//! `Tidings`: the handle that a host holds. Here it is built, and here it publishes.
//!
//! Managing webhooks is in `manage.rs`, reading what happened in `records.rs`, replaying it
//! in `replays.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Notify;

use super::audience::Audience;
use super::backlog::{Backlog, Gauge};
use super::core::Core;
use super::dispatcher::Dispatcher;
use super::hooks::Asked;
use super::life::Pulse;
use super::meters;
use super::options::DispatcherOptions;
use super::vault::Vault;
use crate::ground::account::Account;
use crate::ground::catalogue::Catalogue;
use crate::ground::change::Change;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::id::{DispatcherId, EventId};
use crate::ground::network::NetworkPolicy;
use crate::ground::policy::Policy;
use crate::ground::publish::check_publish;
use crate::ground::versions::Versions;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::entropy::{Entropy, OsEntropy};
use crate::ports::hooks::Hooks;
use crate::ports::observer::Observer;
use crate::ports::storage::{Appended, NewEvent, Storage};
use crate::ports::transport::Transport;

/// Events and webhooks, over a storage. Cheap to clone; every clone is the same.
///
/// It does nothing by itself: deliveries go out while a [`Dispatcher`] runs.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use serde_json::json;
/// use tidings::storage::MemoryStorage;
/// use tidings::{Change, Registration, Tidings};
///
/// let tidings = Tidings::new(MemoryStorage::new());
/// let registration = Registration::new("https://example.com/hook", ["order.*"])?.enabled(true);
/// tidings.create(registration).await?;
///
/// let before = json!({ "id": "247468780336", "state": "in_review" });
/// let after = json!({ "id": "247468780336", "state": "accepted" });
/// let event = tidings.event(Change::updated("order.accepted", &before, &after)?)?;
/// let published = tidings.publish(&event).await?;
/// assert!(published.new);
/// # Ok::<(), tidings::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Tidings {
    pub(super) core: Arc<Core>,
}

/// Builds a [`Tidings`] with ports and rules of the host's choice.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    core: Core,
}

impl Builder {
    /// Sets the rules of delivery.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.core.policy = policy;
        self
    }

    /// Sets which addresses webhooks may have. Give the transport the same.
    pub fn network(mut self, network: NetworkPolicy) -> Self {
        self.core.network = network;
        self
    }

    /// Sets the event types that the host supports. They are checked when events are published, and
    /// when webhooks ask for them.
    pub fn catalogue(mut self, catalogue: Catalogue) -> Self {
        self.core.catalogue = Some(catalogue);
        self
    }

    /// Sets the versions that webhooks may be pinned to, and that events are rendered for. Without them
    /// a webhook may be pinned to anything, and gets what all get.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.core.versions = Some(versions);
        self
    }

    /// Seals secrets and credentials of webhooks with these keys, before the storage sees them.
    /// Webhooks that are stored in clear are sealed when they are next written, or by
    /// [`reseal`](Tidings::reseal). Every node needs the keys.
    #[cfg(feature = "sealing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sealing")))]
    pub fn keys(mut self, keys: impl crate::ports::keys::KeyProvider) -> Self {
        self.core.vault.keys = Some(Arc::new(keys));
        self
    }

    /// Bounds what may wait to be delivered. Without it nothing does but the disk.
    pub fn backlog(mut self, limits: Backlog) -> Self {
        self.core.gauge.limits = Some(limits);
        self
    }

    /// Has events tell of webhooks and deliveries that fail, in this account: whoever listens there gets
    /// `webhook.failing`, `webhook.recovered`, `webhook.disabled` and `delivery.exhausted`
    /// ([`ReportKind`](crate::ReportKind)), in the mode of the webhook that they tell of. `data.object` is
    /// the webhook as [`WebhookView`](crate::WebhookView) has it, or the delivery, with the last attempt but
    /// for what was answered to it.
    ///
    /// Each is kept in the transaction that makes it true, and delivered as any other event. A strict
    /// catalogue of the host's need not have them. That a delivery of a report is exhausted is not reported,
    /// and the others come once in a stretch of failure, so that none leads to another without end. Without
    /// this call there are none. Every node should say the same.
    pub fn reports(mut self, account: Account) -> Self {
        self.core.reports = Some(account);
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.core.clock = Arc::new(clock);
        self
    }

    /// Sets the source of randomness.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.core.entropy = Arc::new(entropy);
        self
    }

    /// Sets who hears of what happens.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.core.audience = Audience::new(Some(Arc::new(observer)));
        self
    }

    /// Sets what the host decides and adds when a delivery is about to be sent.
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.core.hooks = Asked::new(hooks);
        self
    }

    /// The handle.
    #[must_use]
    pub fn build(self) -> Tidings {
        Tidings { core: Arc::new(self.core) }
    }
}

/// What became of a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Published {
    /// The event's id.
    pub id: EventId,
    /// Whether this call stored it; `false` for a repetition of an earlier publish.
    pub new: bool,
}

impl Tidings {
    /// A handle over `storage`, with the system's clock and randomness and the default rules.
    #[must_use]
    pub fn new(storage: impl Storage) -> Self {
        Self::builder(storage).build()
    }

    /// Builds a handle over `storage`.
    pub fn builder(storage: impl Storage) -> Builder {
        Self::builder_shared(Arc::new(storage))
    }

    /// Builds a handle over a storage that is shared already.
    pub fn builder_shared(storage: Arc<dyn Storage>) -> Builder {
        Builder {
            core: Core {
                storage,
                clock: Arc::new(SystemClock),
                entropy: Arc::new(OsEntropy),
                audience: Audience::new(None),
                hooks: Asked::new(Hooks::default()),
                policy: Policy::default(),
                gauge: Gauge::default(),
                network: NetworkPolicy::public_only(),
                reports: None,
                catalogue: None,
                versions: None,
                vault: Vault::default(),
                pulse: Pulse::default(),
                bell: Notify::new(),
                replays: AtomicU64::new(0),
                replay_start: tokio::sync::Mutex::default(),
            },
        }
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.core.storage
    }

    /// The time by the handle's clock.
    #[cfg(feature = "api")]
    pub(crate) fn now(&self) -> crate::ground::time::Timestamp {
        self.core.now()
    }

    /// The rules of delivery.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.core.policy
    }

    /// The versions that webhooks may be pinned to, where the host has some.
    #[must_use]
    pub fn versions(&self) -> Option<&Versions> {
        self.core.versions.as_ref()
    }

    /// Which addresses webhooks may have.
    #[must_use]
    pub fn network(&self) -> &NetworkPolicy {
        &self.core.network
    }

    /// The event types that the host supports, where it says so. What a webhook's details show is
    /// their [`selection`](Catalogue::selection) (seed row E7).
    #[must_use]
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.core.catalogue.as_ref()
    }

    /// The event of a change: it gets its id and its time now, unless the change brings its own.
    ///
    /// Where the host has [`Versions`], the event is of the newest unless the change says otherwise, and
    /// it is rendered for the older ones here, once and for all.
    ///
    /// Keep the event and publish it again after an error: the id tells the repetition. One that is
    /// built again by a release of the host whose resources have another shape is other content under the
    /// same id, and so a [`Conflict`](ErrorKind::Conflict).
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the payload breaks a limit; for the field `apiVersion` as
    /// with [`Versions::render`].
    pub fn event(&self, change: Change) -> Result<Event> {
        self.core.event(change, Versions::render)
    }

    /// The events of several changes, each with an id of its own: what a
    /// [`ResourceModel`](crate::ResourceModel) says of one operation, to be
    /// [published together](Self::publish_all).
    ///
    /// # Errors
    /// As [`event`](Self::event), for the first that breaks a limit.
    pub fn events_of(&self, changes: impl IntoIterator<Item = Change>) -> Result<Vec<Event>> {
        changes.into_iter().map(|change| self.event(change)).collect()
    }

    /// Publishes an event: `Ok` means that it is kept durably and will be delivered to every
    /// webhook that is enabled for it now.
    ///
    /// Idempotent by the event's id: publishing it again, or another event with the same id,
    /// account, mode, type and data, changes nothing and says so.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the [catalogue](Catalogue::check) refuses it;
    /// [`Conflict`](ErrorKind::Conflict) when the id is taken by an event with other content;
    /// [`Limit`](ErrorKind::Limit) when too much waits ([`Builder::backlog`]): publish it again later; a
    /// [retryable](Error::is_retryable) kind when the storage failed, after which the event may or
    /// may not be kept: publish it again.
    ///
    /// # Cancellation
    /// If the future is dropped the event may or may not be kept: publish it again.
    pub async fn publish(&self, event: &Event) -> Result<Published> {
        let published = self.publish_all(std::slice::from_ref(event)).await?;
        published.first().copied().ok_or_else(short_answer)
    }

    /// Publishes several events, all or none; otherwise as [`publish`](Self::publish). The answers
    /// are in the order of the events, and so is the order of the publishes.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); and [`Limit`](ErrorKind::Limit) for more than 10,000 events or
    /// 64 MiB of payload, in all [`Versions`] together.
    ///
    /// # Cancellation
    /// If the future is dropped, all of the events may be kept, or none: publish them again.
    pub async fn publish_all(&self, events: &[Event]) -> Result<Vec<Published>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        check_publish(events, self.core.catalogue.as_ref())?;
        let admission = self.core.admit(events.iter().map(Event::account)).await?;
        let new: Vec<NewEvent> =
            events.iter().map(|event| NewEvent { event: event.clone(), only: None }).collect();
        let append = self.core.storage.append(&new, self.core.now());
        let appended = meters::timed("append", append).await?;
        if appended.len() != events.len() {
            return Err(short_answer());
        }
        if let Some(at) = appended.iter().position(|appended| *appended == Appended::Conflict) {
            meters::conflicted();
            let message = format!(
                "an event with id {} but other content is already published; nothing of this call is kept",
                events[at].id()
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        admission.used();
        let new = appended.iter().filter(|appended| **appended == Appended::Stored).count();
        meters::published(new, events.len() - new);
        self.wake();
        Ok(events
            .iter()
            .zip(appended)
            .map(|(event, appended)| Published {
                id: event.id(),
                new: appended == Appended::Stored,
            })
            .collect())
    }

    /// Whether an event of this account may be published by the host's [`Backlog`]: what
    /// [`publish`](Self::publish) asks first. For hosts that publish in transactions of their own
    /// ([`Outbox`](crate::outbox::Outbox)): ask before the transaction begins, once for each event. It counts
    /// as published from then on, until the storage is counted again.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) when so much waits that it may not: ask again later; a kind of the
    /// storage's when it could not count.
    ///
    /// # Cancellation
    /// If the future is dropped nothing is changed.
    pub async fn admit(&self, account: &Account) -> Result<()> {
        self.core.admit(std::iter::once(account)).await?.used();
        Ok(())
    }

    /// Tells the dispatchers that there may be something to do: those of this process, and where the
    /// storage can ([`Wakeup`](crate::storage::Wakeup)) those of all others.
    ///
    /// The handle does so by itself. It is for hosts that wrote events through another connection;
    /// without it they are found at the next poll.
    pub fn wake(&self) {
        self.core.ring();
    }

    /// A dispatcher that sends with `transport`; it does nothing until it is run.
    ///
    /// Several may run, in one process or many, over one storage.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when there is no randomness for its id.
    pub fn dispatcher(&self, transport: impl Transport) -> Result<Dispatcher> {
        self.dispatcher_with(Arc::new(transport), DispatcherOptions::default())
    }

    /// A dispatcher with options, over a transport that may be shared.
    ///
    /// # Errors
    /// As [`dispatcher`](Self::dispatcher).
    pub fn dispatcher_with(
        &self,
        transport: Arc<dyn Transport>,
        options: DispatcherOptions,
    ) -> Result<Dispatcher> {
        let id = DispatcherId::new(self.core.now(), &self.core.id_bytes()?);
        Ok(Dispatcher::new(self.core.clone(), transport, options, id))
    }
}

/// A storage that answers with fewer results than it was asked for breaks its contract.
pub(super) fn short_answer() -> Error {
    Error::new(ErrorKind::Storage, "the storage answered with the wrong number of results")
}
