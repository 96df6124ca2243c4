//! The kit: a handle over a storage in memory, a dispatcher, receivers and a clock of its own.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use super::clock::{KitClock, entropy};
use super::expect::Expectation;
use super::leases::Leases;
use super::pages::{deliveries, unfinished};
use super::receiver::Receiver;
use super::receivers::{Receivers, place_of};
use super::runner::{Command, Runner};
use crate::engine::options::DispatcherOptions;
use crate::engine::tidings::{Builder, Tidings};
use crate::ground::address::EndpointUrl;
use crate::ground::change::Change;
use crate::ground::delivery::DeliveryView;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::policy::Policy;
use crate::ground::query::DeliveryQuery;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{Registration, Webhook};
use crate::ports::storage::Storage;

/// A [`Tidings`] with virtual time and scripted receivers, for a host's own tests.
///
/// Its methods block, and need no runtime: they work in a `#[test]` and in a `#[tokio::test]` of any
/// flavour. What they need is done on a thread of the kit, which ends when the kit is dropped.
/// In a `#[tokio::test]` of one thread a look blocks that thread: what the host has spawned and not
/// awaited has not run by then.
///
/// **Time** stands still at [`START`](Self::START) until the test moves it with
/// [`advance`](Self::advance). Attempts, answers and the ends of pauses come at their exact times on the
/// way; what expires, or goes with a deleted webhook, does so at the dispatcher's next
/// [sweep](DispatcherOptions::sweep_every). Nothing sleeps.
///
/// **Chance** comes from a seed, so the same test has the same ids and secrets in every run.
///
/// A fault that is no expectation's fails the test at the kit's next method, or when it is dropped: a
/// request with a wrong signature, a panic in a receiver's script.
///
/// ```
/// use serde_json::json;
/// use tidings::Change;
/// use tidings::testing::{Kit, minutes, seconds};
///
/// let kit = Kit::new();
/// let shop = kit.webhook(["order.*"]);
/// shop.then(503).then(500);
///
/// // Here the code under test would do this, with a clone of `kit.tidings()`.
/// kit.publish(Change::of("order.paid", &json!({ "id": "7", "total": 29.90 }))?);
///
/// assert_eq!(kit.waiting(), 1);
/// kit.advance(seconds(5) + minutes(5));
/// kit.expect("order.paid").with(json!({ "id": "7" })).to(&shop);
/// kit.expect_nothing();
/// # Ok::<(), tidings::Error>(())
/// ```
pub struct Kit {
    pub(super) stage: Arc<Stage>,
    names: AtomicUsize,
}

/// What a kit and its receivers share.
pub(super) struct Stage {
    pub(super) tidings: Tidings,
    pub(super) clock: Arc<KitClock>,
    pub(super) receivers: Arc<Receivers>,
    runner: Runner,
}

impl Stage {
    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        self.tidings.storage()
    }

    /// The answer of a future that has nothing to wait for: a storage in memory answers at once.
    #[track_caller]
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("the storage in memory answers at once")
    }

    /// All deliveries that have not ended, each with its webhook. Those of deleted webhooks are left
    /// out: nothing sends them, and the next sweep ends them.
    pub(super) fn unfinished(&self) -> Vec<(DeliveryView, Webhook)> {
        self.wait(async {
            let mut found = Vec::new();
            for view in unfinished(&**self.storage()).await {
                if let Some(webhook) = self.receivers.webhook(view.delivery.webhook).await {
                    found.push((view, webhook));
                }
            }
            found
        })
    }

    #[track_caller]
    pub(super) fn settle(&self) {
        self.runner.call(Command::Settle);
        self.check();
    }

    /// Fails the test for what went wrong behind its back.
    #[track_caller]
    fn check(&self) {
        if let Some(fault) = self.receivers.fault() {
            panic!("{fault}");
        }
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("receivers", &self.stage.receivers).finish_non_exhaustive()
    }
}

impl Default for Kit {
    fn default() -> Self {
        Self::new()
    }
}

impl Kit {
    /// When the time of a kit begins, unless it is [built](KitBuilder::start) otherwise:
    /// 2026-01-01T00:00:00Z, a Thursday.
    pub const START: Timestamp = Timestamp::from_timestamp_millis(1_767_225_600_000).unwrap();

    /// A kit with the default rules, but without jitter, so that retries come exactly when the
    /// schedule says.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Builds a kit with rules of the host's own.
    pub fn builder() -> KitBuilder {
        KitBuilder {
            start: Self::START,
            seed: 0,
            options: DispatcherOptions::default()
                .lease(Duration::from_secs(300))
                .poll(Duration::from_secs(3_600))
                .settle_within(Duration::ZERO),
            settings: Vec::new(),
        }
    }

    /// The handle, for the code under test.
    pub fn tidings(&self) -> &Tidings {
        &self.stage.tidings
    }

    /// The time, which stands still.
    pub fn now(&self) -> Timestamp {
        self.stage.clock.now()
    }

    /// A new enabled webhook that wants these types, with a receiver of its own.
    ///
    /// Where messages should name it, `kit.receiver("shop").wants(["order.*"])` does the same.
    ///
    /// # Panics
    /// When a pattern is malformed.
    #[track_caller]
    pub fn webhook(&self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Receiver {
        self.webhook_with(types, |registration| registration)
    }

    /// As [`webhook`](Self::webhook), with more said of it: another account, a signature scheme, order.
    ///
    /// ```
    /// use tidings::testing::Kit;
    /// use tidings::{Account, Edit, Ordering};
    ///
    /// let kit = Kit::new();
    /// let acme = Account::new("acme")?;
    /// let shop = kit.webhook_with(["order.*"], |registration| {
    ///     registration.account(acme).with(Edit::new().ordering(Ordering::PerObject))
    /// });
    /// assert!(shop.webhook().is_ordered());
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the webhook cannot be created.
    #[track_caller]
    pub fn webhook_with(
        &self,
        types: impl IntoIterator<Item = impl AsRef<str>>,
        more: impl FnOnce(Registration) -> Registration,
    ) -> Receiver {
        let number = self.names.fetch_add(1, Ordering::Relaxed) + 1;
        let receiver = self.receiver(&format!("webhook-{number}"));
        self.create(more(receiver.registration(types)));
        receiver
    }

    /// A receiver at `https://<name>.receiver.test/`, for webhooks that the code under test registers
    /// itself. The same name gives the same receiver, whatever its case.
    ///
    /// # Panics
    /// When the name cannot be part of a host's name.
    #[track_caller]
    pub fn receiver(&self, name: &str) -> Receiver {
        let host = format!("{name}.receiver.test");
        let receiver = self.make(name, &format!("https://{host}/"));
        let named = receiver.place.eq_ignore_ascii_case(&host);
        assert!(named, "the receiver: {name:?} cannot be part of a host's name");
        receiver
    }

    /// A receiver at an address of the test's choice: everything under its host and port.
    ///
    /// # Panics
    /// When the address is malformed.
    #[track_caller]
    pub fn receiver_at(&self, address: &str) -> Receiver {
        self.make(address, address)
    }

    #[track_caller]
    fn make(&self, name: &str, address: &str) -> Receiver {
        let place = place_of(&good(EndpointUrl::parse(address), "the receiver"));
        self.stage.receivers.add(&place);
        Receiver {
            stage: Arc::clone(&self.stage),
            name: name.into(),
            address: address.into(),
            place,
        }
    }

    /// Creates a webhook, as [`Tidings::create`] does.
    ///
    /// # Panics
    /// When it cannot be created.
    #[track_caller]
    pub fn create(&self, registration: Registration) -> Webhook {
        let created = self.stage.wait(self.tidings().create(registration));
        good(created, "the webhook").webhook
    }

    /// Publishes the event of a change, as [`Tidings::publish`] does. Nothing is sent before the next
    /// look.
    ///
    /// # Panics
    /// When it cannot be published.
    #[track_caller]
    pub fn publish(&self, change: Change) -> Event {
        let event = good(self.tidings().event(change), "the event");
        good(self.stage.wait(self.tidings().publish(&event)), "the event");
        event
    }

    /// Moves time by exactly this much; parts of a millisecond are carried to the next call. What becomes due on the way and at its end happens, each at
    /// its own time; requests that are still open then stay so.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.stage.runner.call(Command::Advance(time));
        self.stage.check();
    }

    /// Does what is due now: routes and sends what was published, and waits for answers.
    ///
    /// Time stands still meanwhile unless something takes time: a receiver that does (as long as it
    /// takes), and what is due but may not go yet, as behind a pause, a rate limit or an earlier event.
    /// That is left when a tenth of a second passes without a request, and costs no more time until
    /// time was moved or something was published, sent or changed. So a webhook with a limit of more
    /// than ten requests a second is sent all that waits for it, in as much time as its limit asks;
    /// [`advance`](Self::advance) stops where it is told. At most an hour passes.
    ///
    /// Everything that looks does so first, so a test seldom needs to.
    #[track_caller]
    pub fn settle(&self) {
        self.stage.settle();
    }

    /// Expects deliveries of events of this type; a pattern like `order.*` will do.
    ///
    /// # Panics
    /// When the type is malformed.
    #[track_caller]
    pub fn expect(&self, event_type: &str) -> Expectation<'_> {
        Expectation::new(self, event_type)
    }

    /// Expects that nobody acknowledged anything but what met an earlier expectation.
    ///
    /// # Panics
    /// When somebody did.
    #[track_caller]
    pub fn expect_nothing(&self) {
        super::expect::nothing(self);
    }

    /// All deliveries with the sender's record of their attempts, in the order of their events.
    #[track_caller]
    pub fn deliveries(&self) -> Vec<DeliveryView> {
        self.settle();
        self.stage.wait(deliveries(&**self.stage.storage(), &DeliveryQuery::default()))
    }

    /// How many deliveries have not ended: they wait for their time, or for their webhook to be enabled.
    /// Those of deleted webhooks do not count.
    #[track_caller]
    pub fn waiting(&self) -> usize {
        self.settle();
        self.stage.unfinished().len()
    }
}

impl Drop for Kit {
    /// Shuts the dispatcher down and waits for the end of the kit's thread.
    fn drop(&mut self) {
        self.stage.runner.stop();
        if !std::thread::panicking() {
            self.stage.check();
        }
    }
}

/// Builds a [`Kit`] with rules of the host's own.
#[must_use]
pub struct KitBuilder {
    start: Timestamp,
    seed: u64,
    options: DispatcherOptions,
    settings: Vec<Box<dyn FnOnce(Builder) -> Builder>>,
}

impl fmt::Debug for KitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KitBuilder")
            .field("start", &self.start)
            .field("seed", &self.seed)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl KitBuilder {
    /// Sets when time begins.
    pub fn start(mut self, start: Timestamp) -> Self {
        self.start = start;
        self
    }

    /// Sets the seed of ids and secrets.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the rules of delivery, the host's own for example. Jitter is as they say.
    pub fn policy(self, policy: Policy) -> Self {
        self.with(|builder| builder.policy(policy))
    }

    /// Sets how the dispatcher works. Frequent polls make long stretches of time slow.
    pub fn dispatcher(mut self, options: DispatcherOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what the host sets of a [`Builder`]: an observer, which addresses are allowed. The clock
    /// and the randomness stay the kit's.
    ///
    /// ```
    /// use tidings::NetworkPolicy;
    /// use tidings::testing::Kit;
    ///
    /// let network = NetworkPolicy::public_only().require_https(true);
    /// let kit = Kit::builder().with(|builder| builder.network(network)).build();
    /// # drop(kit);
    /// ```
    pub fn with(mut self, settings: impl FnOnce(Builder) -> Builder + 'static) -> Self {
        self.settings.push(Box::new(settings));
        self
    }

    /// The kit.
    #[must_use]
    pub fn build(self) -> Kit {
        let clock = KitClock::new(self.start);
        let storage = Arc::new(Leases::new());
        let builder = Tidings::builder_shared(storage.clone())
            .policy(Policy::default().with_jitter_percent(0));
        let builder = self.settings.into_iter().fold(builder, |builder, set| set(builder));
        let tidings = builder.clock(clock.port()).entropy(entropy(self.seed)).build();
        let receivers = Arc::new(Receivers::new(Arc::clone(&clock), Arc::clone(&storage)));
        let dispatcher = tidings.dispatcher_with(receivers.clone(), self.options);
        let dispatcher = good(dispatcher, "the dispatcher");
        let dispatch = |shutdown| {
            dispatcher.run(async {
                let _ = shutdown.await;
            })
        };
        let runner = Runner::start(dispatch, receivers.clone(), storage, clock.clone());
        let stage = Stage { tidings, clock, receivers, runner };
        Kit { stage: Arc::new(stage), names: AtomicUsize::new(0) }
    }
}

/// What came of something that a test takes for granted.
#[track_caller]
pub(super) fn good<T>(result: Result<T>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}
