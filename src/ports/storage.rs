//! The storage port: what the engine asks of a database, as small as the work allows.
//!
//! Three traits, one for each user of them: the handle manages webhooks ([`WebhookStore`]), the
//! host publishes ([`EventStore`]), the dispatcher works ([`DeliveryQueue`]). One value implements
//! all three and is used as `Arc<dyn Storage>`.
//!
//! # Contract
//!
//! These rules bind every implementation; the suite in `storage::conformance` checks them, and
//! `examples/storage.rs` implements them all over plain collections.
//!
//! 1. **Whole calls.** Each call is one transaction: it happens whole or not at all, and `Ok`
//!    means that it is durable. A call whose future is dropped may or may not have happened.
//! 2. **A store never decides.** It finds, locks and writes. What to write comes in values that
//!    also say how to apply themselves: [`Webhook::stored_over`], [`Webhook::wants`],
//!    [`Appended::of_all`], [`Turn::check`], [`Turn::route`], [`Turn::claim`],
//!    [`Settlement::apply`], [`Heartbeat::frees`], [`Sweep::apply`], [`WebhookQuery::matches`],
//!    [`Page::of`]; and where a store needs smaller parts, [`Transition::apply`], [`Delivery`] and
//!    [`Lane`].
//! 3. **A store has no clock and no randomness.** `now` is a parameter; the id of a delivery is
//!    [`DeliveryId::of`] its event, webhook and cause.
//! 4. **Who gets an event is decided by when it was published.** Publishes are numbered in the
//!    order in which they become visible. A webhook's filters hold from the number that was the
//!    last one given when it was enabled (or edited) to the last one given when it was disabled (or
//!    edited, or deleted). An event reaches the webhooks of its account and mode whose filters held
//!    at its number and match its type, however late it is routed.
//! 5. **A lane per webhook** ([`Lane`]): whoever makes a delivery wait lowers `next_due`; whoever
//!    claims raises it to the least due time that is left. The two must not pass each other, or a
//!    delivery is stranded: write the waiting delivery and its lane in one transaction.
//! 6. **Leases belong to dispatchers.** A delivery is leased only to a dispatcher whose row is
//!    alive at `now`; [`route`](DeliveryQueue::route) and [`claim`](DeliveryQueue::claim) answer
//!    [`NotAlive`](crate::ErrorKind::NotAlive) otherwise. `claim` first reaps: a dispatcher whose
//!    `alive_until` is not after `now` is forgotten, and what it had leased goes back
//!    ([`Delivery::reap`]).
//! 7. **The fence**: a settlement applies only while its delivery, attempt and dispatcher are those
//!    of the lease. See [`Settled`].
//!
//! Rules 8 and 9 bind a store that says so by [`exclusive`](DeliveryQueue::exclusive). Any other
//! refuses a webhook that [needs a holder](Webhook::needs_holder), and ignores
//! [`Turn::held`] and [`Turn::holds`].
//!
//! 8. **The lane of a webhook that needs a holder is leased from by its holder alone**
//!    ([`Lane::holder`]), in [`claim`](DeliveryQueue::claim) alone: nothing of it is born leased.
//!    The steps of a claim, after the reap, each in the transaction of the call:
//!    * *Give back*: a lane that the store has for this dispatcher and [`Turn::held`] does not name
//!      is given back ([`Lane::release`]).
//!    * *Tell*: what [`Turn::held`] names and the store does not have for this dispatcher is named
//!      in [`Claimed::lost`]. Where the stored webhook has another version than [`Held::version`],
//!      it is in [`Claimed::held`], and nothing is leased from its lane in this call.
//!    * *Take*: of the lanes that are free ([`Lane::free_at`] is not after `now`) and whose webhook
//!      is enabled and needs a holder, longest free first, at most [`Turn::holds`] are taken
//!      ([`Lane::take`]). Where [`Lane::held_until`] is set, one of which anything is leased is
//!      passed over: those who sent before it had a holder may be slow. Their webhooks are in
//!      [`Claimed::held`]; nothing is leased from them in this call, since the dispatcher must learn
//!      their limits first.
//!    * *Lease*, beside plain lanes, from what it holds, at most [`Held::room`] from each.
//!
//!    A hold lives as long as its dispatcher. The reap frees the lanes of the dead by
//!    [`Lane::bereave`], with the dispatcher's `alive_until` (not with `now`); a heartbeat that ends
//!    its dispatcher frees its lanes by [`Lane::release`], after a [`Lane::bar`] where it takes back
//!    a lease of that lane ([`Heartbeat::frees_lane`]). [`put`](WebhookStore::put) applies
//!    [`Lane::replaced`]; [`Settlement::apply`] bars a lane when a POST was cut off. Nothing else
//!    changes a holder.
//! 9. **Order.** When routing makes a delivery for a webhook that [is
//!    ordered](Webhook::is_ordered) at that moment, the store keeps with it the event's
//!    [`order_key`](Event::order_key) and its number. Of such deliveries of one webhook and one key
//!    only the first that has not ended may be leased, while the webhook is ordered: `claim` passes
//!    over one that is due while one with a lower number waits (due or not) or is leased. When that
//!    one ends, by whatever call, the next is there to be claimed, and
//!    [`next_due`](Claimed::next_due) says so. Deliveries that were made by
//!    [`enqueue`](EventStore::enqueue), by [`append`](EventStore::append) with `only`, or by routing
//!    while the webhook was not ordered have no key: they wait for nobody, and nobody for them.
//!
//!    So that nothing is missing before a delivery that is leased, the events of an account are
//!    routed in the order of their numbers wherever an ordered webhook may want them: a delivery
//!    with a key is not made before every event of the account with a lower number is routed to its
//!    end. A store that routes one call at a time has that for free; one that does not lets one call
//!    at a time route an account that has ordered webhooks, and that call passes no mark that is
//!    locked, half routed, or not yet visible though its number was given.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::ground::account::{Account, Mode};
use crate::ground::advance::Transition;
use crate::ground::delivery::{Attempt, Delivery, DeliveryView, Fence};
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
use crate::ground::lane::Turned;
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::PAGE_ITEMS_MAX;
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::report::ReportKind;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
#[cfg(doc)]
use crate::ground::{advance::Seen, lane::Lane};
use crate::ports::replay::Replay;
use crate::ports::statistics::Statistics;

/// Where webhooks are kept.
#[async_trait]
pub trait WebhookStore: Debug + Send + Sync + 'static {
    /// Writes a webhook and returns it as stored ([`Webhook::stored`]).
    ///
    /// Version 0 inserts, with an empty lane. Any other version replaces the stored webhook if its
    /// version is the same. Filters begin and end to hold as rule 4 says, in the same transaction.
    /// A webhook that replaces another has its lane changed by [`Lane::replaced`].
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) when it needs a holder and the store has none to give
    /// ([`refuse_holder`]);
    /// [`Stale`](crate::ErrorKind::Stale) when the stored version is another;
    /// [`NotFound`](crate::ErrorKind::NotFound) when it is not (or no longer) there;
    /// [`Conflict`](crate::ErrorKind::Conflict) when an insert's id is taken.
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook>;

    /// Lists webhooks, newest first: by falling id.
    ///
    /// As in every listing, a page may be short, or empty, and say where the next one begins ([`Page`]): so
    /// a store need not read on for ever where few rows fit.
    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>>;

    /// How many webhooks there are, or enabled ones, or others, counted up to `most`. For people who look.
    ///
    /// Without more it goes through the listing: a store that can count does better.
    async fn count_webhooks(&self, group: &WebhookGroup, most: usize) -> Result<usize> {
        let WebhookGroup { account, mode, enabled } = group.clone();
        let query = &WebhookQuery { account, mode, enabled, ..WebhookQuery::default() };
        let (mut count, mut request) = (0, PageRequest::first(PAGE_ITEMS_MAX)?);
        loop {
            let page = self.webhooks(query, &request).await?;
            count += page.items.len();
            match page.next {
                Some(next) if count < most => request = request.after(next),
                _ => return Ok(count.min(most)),
            }
        }
    }

    /// Deletes a webhook for good; `false` if there is none. Costs the same however many
    /// deliveries wait: they are never claimed again, and [`sweep`](DeliveryQueue::sweep) cancels
    /// them. Its finished deliveries stay in the record; its lane has no holder any more.
    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool>;
}

/// Where events are kept.
#[async_trait]
pub trait EventStore: Debug + Send + Sync + 'static {
    /// Keeps events, all or none, each with a mark that [`route`](DeliveryQueue::route) will find.
    ///
    /// An id that is already stored is a [`Duplicate`](Appended::Duplicate) when the digest is the
    /// same, else a [`Conflict`](Appended::Conflict); also when the other one stands earlier in the
    /// same call. If any event conflicts, nothing of the call is kept, and the answer still tells
    /// of each event. Answers are in the order of the events.
    ///
    /// An event is kept whole, all fields of [`StoredEvent`](crate::StoredEvent), its texts byte for byte.
    ///
    /// An event with `only` gets no mark, but one delivery to that webhook, with
    /// [`Cause::ROUTED`], due at `now`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when an `only` webhook does not exist, or is of
    /// another account or mode than the event.
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>>;

    /// Lists events, newest first: by falling number of publish.
    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>>;

    /// Makes a delivery, due at `now`, for each that is owed; one that exists already (same event,
    /// webhook and cause) is left alone. All or nothing only where an error is returned.
    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>>;

    /// One bounded step of a privacy request: the payloads (with renderings and trace) of at most `limit`
    /// events are overwritten by nothing, and so are the bodies that receivers have answered with. A store
    /// to which these are work of their own takes at most [`Expunge::bodies`] of them, and goes on before the
    /// event of which some are left. All else stays: the event's id, type, times and digest, its deliveries, and
    /// that they were sent.
    ///
    /// What is still to be routed or waits is not touched; who leases it finds
    /// [`Event::is_expunged`], and ends it unsent. What is answered to a request that is under way is kept
    /// when it is settled; expunging again takes it away.
    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged>;
}

/// The work still to do, and the record of what was done.
#[async_trait]
pub trait DeliveryQueue: Debug + Send + Sync + 'static {
    /// Turns marks into deliveries: one for each webhook that rule 4 names, with
    /// [`Cause::ROUTED`].
    ///
    /// A delivery is *born leased* to the turn's dispatcher when its webhook is enabled, its lane
    /// is [plain](crate::Lane::is_plain), it needs no holder, and the turn has a permit left for it;
    /// it is born waiting, due at `now`, otherwise. At most `marks` marks are looked at, a few of each account, and at
    /// most `deliveries` are made: the rest of a wide event follows in later calls. Routing the
    /// same event again makes nothing twice.
    ///
    /// # Errors
    /// [`NotAlive`](crate::ErrorKind::NotAlive), and nothing is done.
    async fn route(&self, turn: &Turn) -> Result<Routed>;

    /// Leases waiting deliveries that are due, within the turn's permits.
    ///
    /// First it reaps (rule 6). Then it takes the lanes that are ready and whose webhook is
    /// enabled, longest ready first, a few deliveries from each before more from any. A lane that
    /// was paused gives one delivery, the probe, and moves its pause to `now` + `probe`
    /// ([`Lane::probe`](crate::Lane::probe)). Lanes of webhooks that need a holder: rule 8.
    ///
    /// # Errors
    /// [`NotAlive`](crate::ErrorKind::NotAlive), and nothing is leased.
    async fn claim(&self, turn: &Turn) -> Result<Claimed>;

    /// Writes attempts, and what they change, in one transaction. Answers are in the order of the
    /// settlements; one that is [`Lost`](Settled::Lost) or [`Gone`](Settled::Gone) does not touch
    /// the others.
    ///
    /// The transition is applied to the delivery, then to the lane: first
    /// [`Lane::change`](crate::Lane::change), then [`Lane::health`](crate::Lane::health), whose
    /// answer may disable the webhook ([`Webhook::disable`], one version more, its filters end).
    /// Events that the settlement [reports](Settlement::reported) are kept in the same transaction, as
    /// [`append`](EventStore::append) keeps them; one whose id is stored already is left alone.
    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>>;

    /// Says that a dispatcher lives, until `until`; the first call makes it known. A call that comes
    /// late never shortens a life: of two moments the later one counts.
    ///
    /// Leases of the `abandoned` tickets go back uncharged ([`Delivery::abandon`]), and later calls
    /// with such a ticket, should they still come, lease nothing ([`NotAlive`]). With `until` not
    /// after `now` the dispatcher ends: all that it still has leased goes back uncharged, and it is
    /// forgotten.
    ///
    /// [`NotAlive`]: crate::ErrorKind::NotAlive
    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive>;

    /// Lists deliveries with their events and attempts: by falling delivery id, which is newest
    /// event first where event ids are time-ordered.
    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>>;

    /// One bounded step of housekeeping, at most `limit` rows of each kind: waiting deliveries
    /// published before `expire_before` expire; waiting deliveries of deleted webhooks are
    /// cancelled; events published before `prune_before` that have no mark and no unfinished
    /// delivery are removed with their deliveries and attempts.
    async fn sweep(&self, sweep: &Sweep) -> Result<Swept>;

    /// How many deliveries wait, and events are still to be routed, of one account or of all: counted up
    /// to `most`, so that it costs no more than that.
    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize>;

    /// How large the storage's tables are, for people who watch it grow. Nothing where it does not know.
    async fn sizes(&self) -> Result<Vec<TableSize>> {
        Ok(Vec::new())
    }

    /// The clock of a storage that several machines share: due times and leases go by it, so that
    /// their own clocks need not agree. `None` where the dispatcher's clock is as good.
    async fn time(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// Since when there has been something to do that is not done: the earliest publish of an event
    /// that is not yet routed to its end, or moment at which a lane of an enabled webhook was ready
    /// ([`Lane::ready_at`](crate::Lane::ready_at)), whoever holds it. `None` when there is nothing due
    /// at `now`. For watchers: it may look at a part, where there is much to do, and it must be cheap.
    ///
    /// A store that does not tell answers `None`.
    async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let _ = now;
        Ok(None)
    }

    /// Enabled webhooks of which nothing but failures comes back, and since when
    /// ([`Lane::failing_since`](crate::Lane::failing_since)): the longest first, at most `limit`. For
    /// people who look: it may read every lane.
    ///
    /// A store that does not tell answers with none.
    async fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Result<Vec<(WebhookId, Timestamp)>> {
        let _ = (account, mode, limit);
        Ok(Vec::new())
    }

    /// How dispatchers elsewhere are woken; without it they poll.
    fn wakeup(&self) -> Option<&dyn Wakeup> {
        None
    }

    /// Who replays past events here; without it there are no replays.
    fn replay(&self) -> Option<&dyn Replay> {
        None
    }

    /// The statistics that are kept here; `None` where there are none.
    fn statistics(&self) -> Option<&dyn Statistics> {
        None
    }

    /// Whether lanes have holders here (rules 8 and 9). Without them there are no ordered webhooks
    /// and no limits over several dispatchers: `put` refuses such a webhook.
    fn exclusive(&self) -> bool {
        false
    }
}

/// Wakes dispatchers of other processes. Nothing depends on it but speed.
#[async_trait]
pub trait Wakeup: Debug + Send + Sync {
    /// There may be something to do, for everybody who uses this storage, this process included.
    /// Does not wait.
    fn announce(&self);

    /// Waits until more announcements were heard than `seen`, and says how many; 0 were heard before
    /// the first call. Dropping the future loses none.
    async fn heard(&self, seen: u64) -> u64;
}

/// Webhooks that are alike in this. What is `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct WebhookGroup {
    /// Of this account.
    pub account: Option<Account>,
    /// Of this mode.
    pub mode: Option<Mode>,
    /// Enabled or disabled.
    pub enabled: Option<bool>,
}

/// What [`put`](WebhookStore::put) does first in a store whose lanes have no holders.
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused), if the webhook needs a holder.
pub fn refuse_holder(webhook: &Webhook) -> Result<()> {
    if !webhook.needs_holder() {
        return Ok(());
    }
    let message = "this storage keeps no order and no limits over several dispatchers: leave \
                   ordering, rateLimit and concurrency of the webhook unset, or use a storage that \
                   has holders";
    Err(Error::new(ErrorKind::Refused, message))
}

/// All that the engine needs of a storage.
pub trait Storage: WebhookStore + EventStore + DeliveryQueue {}

impl<T: WebhookStore + EventStore + DeliveryQueue + ?Sized> Storage for T {}

/// What is to be expunged in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Expunge {
    /// Which events.
    pub what: Expunging,
    /// Where an earlier step's answer said that this one goes on.
    pub place: Option<ExpungePlace>,
    /// Events, at most.
    pub limit: usize,
}

/// How far a privacy request has come. The store that makes it knows what the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct ExpungePlace {
    /// The last event that it is through with.
    pub after: u64,
    /// The last event that was published when the first step began: later ones are not meant.
    pub through: u64,
}

/// Which events are to be expunged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Expunging {
    /// This one.
    Event(EventId),
    /// All of an account, in both modes, that are published when the first step begins.
    Account(Account),
}

/// What a step of expunging did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Expunged {
    /// Events that were expunged by it. One that was so before does not count.
    pub events: usize,
    /// Bodies of answers that were.
    pub answers: usize,
    /// Where the next step goes on; `None` when there is nothing left.
    pub next: Option<ExpungePlace>,
}

/// How large a table is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(clippy::exhaustive_structs)]
pub struct TableSize {
    /// Its name, as the storage calls it.
    pub name: String,
    /// Its rows; in a large table of some databases an estimate.
    pub rows: u64,
    /// Its bytes with its indexes, where they are known.
    pub bytes: Option<u64>,
}

/// An event to keep.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct NewEvent {
    /// The event; its [digest](Event::digest) tells a duplicate from a conflict.
    pub event: Event,
    /// For this webhook alone, whatever its filters.
    pub only: Option<WebhookId>,
}

/// What became of an event that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Appended {
    /// It is kept.
    Stored,
    /// It was kept before, with the same content.
    Duplicate,
    /// Its id is taken by an event with other content.
    Conflict,
}

/// A delivery to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)]
pub struct Owed {
    /// The event to deliver again.
    pub event: EventId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// A fresh one makes a new delivery.
    pub cause: Cause,
}

/// What became of a delivery that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Enqueued {
    /// It was made.
    Made(DeliveryId),
    /// It was there before.
    Existed(DeliveryId),
    /// There is no such event.
    NoEvent,
    /// There is no such webhook, or it is of another account or mode than the event.
    NoWebhook,
}

/// The frame of one route or claim call.
///
/// The dispatcher has reserved the permits before the call and returns those that are left, so
/// that every lease has a permit.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct Turn {
    /// Who asks.
    pub dispatcher: DispatcherId,
    /// This call's number, unique for the dispatcher.
    pub ticket: u64,
    /// The time.
    pub now: Timestamp,
    /// Marks to look at, at most ([`route`](DeliveryQueue::route)).
    pub marks: usize,
    /// Deliveries to make, at most ([`route`](DeliveryQueue::route)).
    pub deliveries: usize,
    /// Leases to give, at most.
    pub total: u32,
    /// Deliveries of one webhook that may be leased to this dispatcher at the same time.
    pub each: u32,
    /// How many of those there are already.
    pub busy: HashMap<WebhookId, u32>,
    /// How long a probe may take ([`claim`](DeliveryQueue::claim)).
    pub probe: Duration,
    /// The lanes that the dispatcher holds and goes on to hold ([`claim`](DeliveryQueue::claim),
    /// rule 8).
    pub held: HashMap<WebhookId, Held>,
    /// Free lanes to take, at most ([`claim`](DeliveryQueue::claim), rule 8).
    pub holds: usize,
}

/// A lane that a dispatcher holds, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)]
pub struct Held {
    /// The version of the webhook whose limits it keeps.
    pub version: u64,
    /// How many more of its deliveries may be leased now, by those limits.
    pub room: u32,
}

impl Turn {
    /// How many more deliveries of `webhook` may be leased, if it needs no holder.
    pub fn room(&self, webhook: WebhookId) -> u32 {
        self.each.saturating_sub(self.busy.get(&webhook).copied().unwrap_or(0))
    }

    /// How many more deliveries may be leased from a lane that the dispatcher holds, as the store
    /// says, and whose webhook has this version.
    pub fn held_room(&self, webhook: WebhookId, version: u64) -> u32 {
        let held = self.held.get(&webhook).filter(|held| held.version == version);
        held.map_or(0, |held| held.room.min(self.room(webhook)))
    }
}

/// A delivery that was leased, with all that is needed to send it.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct Leased {
    /// The delivery, its attempt number already raised.
    pub delivery: Delivery,
    /// Its event.
    pub event: Event,
    /// Its webhook, as it is now.
    pub webhook: Arc<Webhook>,
    /// The lane's [`failing_since`](crate::Lane::failing_since) ([`Seen`]).
    pub failing_since: Option<Timestamp>,
    /// Whether it is the probe of its lane ([`Seen`]).
    pub probe: bool,
}

/// The answer to [`route`](DeliveryQueue::route).
#[derive(Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Routed {
    /// Deliveries born leased.
    pub leased: Vec<Leased>,
    /// How many were born waiting.
    pub waiting: usize,
    /// How many events were routed to the end and matched no webhook at all.
    pub unmatched: usize,
    /// Whether marks are left.
    pub more: bool,
}

/// The answer to [`claim`](DeliveryQueue::claim).
#[derive(Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Claimed {
    /// Deliveries leased.
    pub leased: Vec<Leased>,
    /// When the next call could lease something: the least [`Lane::ready_at`] of the lanes of
    /// enabled webhooks, as they are after this call. It may be in the past, when permits ran out.
    ///
    /// Of the webhooks that need a holder only those lanes count that the dispatcher holds and from
    /// which more may be leased by [`Held::room`], and free ones, by [`Lane::free_at`].
    pub next_due: Option<Timestamp>,
    /// The webhooks whose lanes the dispatcher holds from now on, or whose version it did not know.
    pub held: Vec<Arc<Webhook>>,
    /// What it named in [`Turn::held`] and does not hold (any more).
    pub lost: Vec<WebhookId>,
}

/// What became of one lease.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct Settlement {
    /// The lease.
    pub fence: Fence,
    /// The try, if there was one; none when the lease is given back unused.
    pub attempt: Option<Attempt>,
    /// What it changes.
    pub transition: Transition,
    /// Events that tell the host of its own webhooks, each to be kept if it comes true
    /// ([`reported`](Self::reported)).
    pub reports: Vec<Report>,
}

/// An event that tells the host of its own webhooks, and what must come of a settlement for it to be
/// true.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct Report {
    /// What it tells of.
    pub kind: ReportKind,
    /// The event.
    pub event: Event,
}

/// The answer to one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Settled {
    /// It was applied, now or by an earlier call with the same settlement.
    Applied {
        /// What this call made of the webhook.
        turned: Option<Turned>,
    },
    /// The lease had moved on. The attempt is recorded (unless one with its number is already),
    /// nothing else is changed.
    Lost,
    /// The delivery is no longer there, or its webhook was deleted. In the latter case the attempt
    /// is recorded, and the delivery has ended: delivered if the transition says so, else
    /// cancelled.
    Gone,
}

/// A sign of life.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs)]
pub struct Heartbeat {
    /// Whose.
    pub dispatcher: DispatcherId,
    /// The time.
    pub now: Timestamp,
    /// How long its leases hold without another one.
    pub until: Timestamp,
    /// Calls whose answer never came.
    pub abandoned: Vec<u64>,
}

/// The answer to a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Alive {
    /// The dispatcher was known: its leases hold.
    Known,
    /// It was not: this is its first sign of life, or it was given up and what it had leased has
    /// gone back.
    New,
}

/// The frame of one step of housekeeping.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs)]
pub struct Sweep {
    /// The time.
    pub now: Timestamp,
    /// Rows of each kind, at most.
    pub limit: usize,
    /// Waiting deliveries published before this expire.
    pub expire_before: Timestamp,
    /// Events published before this may be removed.
    pub prune_before: Timestamp,
}

/// What one step of housekeeping did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Swept {
    /// Deliveries that expired.
    pub expired: usize,
    /// Deliveries that were cancelled.
    pub cancelled: usize,
    /// Events that were removed.
    pub pruned: usize,
    /// Whether a limit was reached, so that another step would find more.
    pub more: bool,
}
