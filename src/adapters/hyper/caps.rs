//! What may go to one destination, whoever asked for it: requests under way, connections, and a rate.
//!
//! Webhooks of many accounts may point at one victim, under one name, under many names, or at many
//! ports. So a destination is a host's name, and it is an address, whatever the scheme and the port;
//! of IPv6 a whole /64, since that is what one machine commonly has. Each has the same kinds of
//! limits. A request needs a place at its host and at the address that it goes to.
//!
//! Waiting is bounded, in number and in time: whoever waits here holds what others need. Where
//! somebody's time ran out lately, the destination is stuck, and few may wait; where places come free,
//! many may. Beyond the bounds a request is refused at once as [`Busy`](FailureKind::Busy), and nothing
//! of it is sent.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::FailureKind;
use crate::ground::network::nat64;
use crate::policy::{
    DESTINATION_STUCK, DESTINATION_WAIT_MAX, DESTINATION_WAITERS_MAX, DESTINATION_WAITERS_MIN,
    DESTINATIONS_MAX,
};
use crate::ports::transport::TransportError;

/// The limits of every destination.
#[derive(Debug, Clone, Copy)]
pub(super) struct CapLimits {
    pub(super) host_connections: usize,
    pub(super) address_connections: usize,
    /// Requests in a second, at each host and at each address.
    pub(super) per_second: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Host(String),
    Address(IpAddr),
}

impl Place {
    fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            // Behind NAT64 each IPv4 address is a machine of its own.
            IpAddr::V6(address) => match nat64(address) {
                Some(inner) => inner.into(),
                None => {
                    let [a, b, c, d, ..] = address.segments();
                    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
                }
            },
            address => address,
        })
    }
}

/// The caps of all destinations that are in use.
#[derive(Debug)]
pub(super) struct Caps {
    limits: CapLimits,
    places: Mutex<Places>,
}

#[derive(Debug)]
struct Places {
    map: HashMap<Place, Arc<Cap>>,
    /// How many there are when unused ones are looked for.
    sweep_at: usize,
}

/// The least number of caps at which unused ones are looked for.
const SWEEP_MIN: usize = 1_024;

impl Caps {
    pub(super) fn new(limits: CapLimits) -> Self {
        Self { limits, places: Mutex::new(Places { map: HashMap::new(), sweep_at: SWEEP_MIN }) }
    }

    /// The cap of a host by its name.
    pub(super) fn host(&self, name: &str) -> Result<Arc<Cap>, TransportError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.cap(Place::Host(name), self.limits.host_connections)
    }

    /// The cap of an address.
    pub(super) fn address(&self, address: IpAddr) -> Result<Arc<Cap>, TransportError> {
        self.cap(Place::address(address), self.limits.address_connections)
    }

    fn cap(&self, place: Place, most: usize) -> Result<Arc<Cap>, TransportError> {
        let mut places = lock(&self.places);
        if let Some(cap) = places.map.get(&place) {
            return Ok(Arc::clone(cap));
        }
        if places.map.len() >= places.sweep_at {
            places.sweep();
        }
        if places.map.len() >= DESTINATIONS_MAX {
            return Err(busy("there are too many destinations at once"));
        }
        let cap = Arc::new(Cap::new(most, self.limits.per_second));
        places.map.insert(place, Arc::clone(&cap));
        Ok(cap)
    }

    /// Forgets what is not used. Whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let mut places = lock(&self.places);
        places.sweep();
        !places.map.is_empty()
    }
}

impl Places {
    fn sweep(&mut self) {
        let now = Instant::now();
        self.map.retain(|_, cap| Arc::strong_count(cap) > 1 || !cap.is_rested(now));
        self.sweep_at = (self.map.len() * 2).clamp(SWEEP_MIN, DESTINATIONS_MAX);
    }
}

/// Has connections that may be ended when others need their seats.
pub(super) trait Keeper: Send + Sync {
    /// Ends one connection of this cap's that nobody uses. Whether there was one.
    fn give_up(&self, cap: &Arc<Cap>) -> bool;
}

/// The limits of one destination.
pub(super) struct Cap {
    /// Requests from before they take a connection until after they gave it back.
    places: Arc<Semaphore>,
    /// Open connections, whether used or kept. A request that has a place finds a seat, if need be
    /// that of a connection that nobody uses.
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many may wait while it is stuck.
    waiters_stuck: usize,
    /// Until when it counts as stuck.
    stuck: Mutex<Option<Instant>>,
    rate: Option<Rate>,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
}

impl fmt::Debug for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cap")
            .field("places", &self.places.available_permits())
            .field("seats", &self.seats.available_permits())
            .finish_non_exhaustive()
    }
}

impl Cap {
    fn new(most: usize, per_second: Option<u32>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            seats: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            waiters_stuck: most.max(DESTINATION_WAITERS_MIN),
            stuck: Mutex::default(),
            rate: per_second.map(Rate::new),
            keepers: Mutex::default(),
        }
    }

    /// Whether forgetting it makes no difference.
    fn is_rested(&self, now: Instant) -> bool {
        self.rate.as_ref().is_none_or(|rate| lock(&rate.bucket).is_full(now))
    }

    /// A place for a request, and the right to send it now.
    pub(super) async fn enter(
        self: &Arc<Self>,
        patience: &mut Patience,
    ) -> Result<Entry, TransportError> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiter = Waiter::of(self)?;
                let was_long = patience.is_long();
                let place = patience.wait(Arc::clone(&self.places).acquire_owned()).await;
                place.and_then(Result::ok).ok_or_else(|| {
                    // Whose time was spent elsewhere says nothing of this destination.
                    if was_long {
                        *lock(&self.stuck) = Some(Instant::now() + DESTINATION_STUCK);
                    }
                    busy("all places at it are taken")
                })?
            }
        };
        if let Some(rate) = &self.rate {
            rate.take(patience).await?;
        }
        Ok(Entry { cap: Arc::clone(self), _place: permit, spent: false })
    }

    /// The same without waiting.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Entry> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        if let Some(rate) = &self.rate {
            rate.try_take().then_some(())?;
        }
        Some(Entry { cap: Arc::clone(self), _place: place, spent: false })
    }

    /// The right to have one connection, for who has a place. `keeper` may be asked to end it when
    /// it is kept unused.
    pub(super) async fn sit(
        self: &Arc<Self>,
        keeper: &Weak<dyn Keeper>,
        patience: &mut Patience,
    ) -> Result<Seat, TransportError> {
        {
            let mut keepers = lock(&self.keepers);
            if !keepers.iter().any(|known| Weak::ptr_eq(known, keeper)) {
                keepers.retain(|known| known.strong_count() > 0);
                keepers.push(Weak::clone(keeper));
            }
        }
        let seat = match Arc::clone(&self.seats).try_acquire_owned() {
            Ok(seat) => seat,
            Err(_) => {
                self.make_room();
                let seat = patience.wait(Arc::clone(&self.seats).acquire_owned()).await;
                seat.and_then(Result::ok).ok_or_else(|| busy("it has too many connections"))?
            }
        };
        Ok(Seat { cap: Arc::clone(self), _seat: seat })
    }

    fn waiters_max(&self) -> usize {
        let stuck = lock(&self.stuck).is_some_and(|until| Instant::now() < until);
        if stuck { self.waiters_stuck } else { DESTINATION_WAITERS_MAX }
    }

    fn make_room(self: &Arc<Self>) {
        let keepers = lock(&self.keepers).clone();
        for keeper in keepers {
            if keeper.upgrade().is_some_and(|keeper| keeper.give_up(self)) {
                return;
            }
        }
    }
}

/// One of those that wait for a place.
struct Waiter<'a>(&'a Cap);

impl<'a> Waiter<'a> {
    fn of(cap: &'a Cap) -> Result<Self, TransportError> {
        let waiter = Self(cap);
        if cap.waiting.fetch_add(1, Ordering::Relaxed) >= cap.waiters_max() {
            return Err(busy("too many requests wait for it"));
        }
        Ok(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's place at a destination.
#[derive(Debug)]
pub(super) struct Entry {
    cap: Arc<Cap>,
    _place: OwnedSemaphorePermit,
    spent: bool,
}

impl Entry {
    /// Whether the destination gets to feel it. What it does not feel does not count for the rate.
    pub(super) fn spend(&mut self, spent: bool) {
        self.spent = spent;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.spent
            && let Some(rate) = &self.cap.rate
        {
            lock(&rate.bucket).give_back();
        }
    }
}

/// The right to have one connection to a destination.
#[derive(Debug)]
pub(super) struct Seat {
    cap: Arc<Cap>,
    _seat: OwnedSemaphorePermit,
}

/// The seats of one connection, at its host and at its address. Its socket holds them until it is
/// closed.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) host: Seat,
    pub(super) address: Seat,
}

impl Seats {
    pub(super) fn are_of(&self, cap: &Arc<Cap>) -> bool {
        Arc::ptr_eq(&self.host.cap, cap) || Arc::ptr_eq(&self.address.cap, cap)
    }

    /// The cap of the address.
    pub(super) fn address(&self) -> &Arc<Cap> {
        &self.address.cap
    }
}

/// How long a request may still wait for its own kind.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    whole: Duration,
}

impl Patience {
    /// Of a request with this deadline.
    pub(super) fn of(deadline: Duration) -> Self {
        let whole = (deadline / 4).min(DESTINATION_WAIT_MAX);
        Self { left: whole, whole }
    }

    /// Whether most of it is left.
    fn is_long(&self) -> bool {
        self.left * 2 >= self.whole
    }

    async fn wait<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let begun = Instant::now();
        let output = tokio::time::timeout(self.left, work).await.ok();
        self.left = self.left.saturating_sub(begun.elapsed());
        output
    }
}

/// A limit of requests in time.
#[derive(Debug)]
struct Rate {
    bucket: Mutex<Bucket>,
    /// Those who wait go one after the other.
    turn: tokio::sync::Mutex<()>,
    queued: AtomicUsize,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(per_second, Instant::now())),
            turn: tokio::sync::Mutex::default(),
            queued: AtomicUsize::new(0),
        }
    }

    /// Takes one if there is one, and nobody waits for it.
    fn try_take(&self) -> bool {
        let mut bucket = lock(&self.bucket);
        self.queued.load(Ordering::Relaxed) == 0 && bucket.take(Instant::now()).is_ok()
    }

    async fn take(&self, patience: &mut Patience) -> Result<(), TransportError> {
        if self.try_take() {
            return Ok(());
        }
        let interval = lock(&self.bucket).interval;
        let queued = Queued::of(&self.queued);
        let ahead = u32::try_from(queued.ahead).unwrap_or(u32::MAX);
        if interval.saturating_mul(ahead) > patience.left {
            return Err(busy("its rate is used up"));
        }
        // Taken when it is time, not booked ahead: after a stop of the process those who woke late
        // would go all at once.
        let take = async {
            let _turn = self.turn.lock().await;
            loop {
                let taken = lock(&self.bucket).take(Instant::now());
                let Err(at) = taken else { return };
                tokio::time::sleep_until(at).await;
            }
        };
        patience.wait(take).await.ok_or_else(|| busy("its rate is used up"))
    }
}

struct Queued<'a> {
    count: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Queued<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        Self { count, ahead: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many in a second, and as many at once after a rest.
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    slack: Duration,
    /// When the next one would go if all went evenly.
    even: Instant,
}

impl Bucket {
    fn new(per_second: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, slack: interval * per_second.saturating_sub(1), even: now }
    }

    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let first = self.even.checked_sub(self.slack).unwrap_or(now);
        if first > now {
            return Err(first);
        }
        self.even = self.even.max(now) + self.interval;
        Ok(())
    }

    fn give_back(&mut self) {
        self.even = self.even.checked_sub(self.interval).unwrap_or(self.even);
    }

    fn is_full(&self, now: Instant) -> bool {
        self.even <= now
    }
}

pub(super) fn busy(why: &str) -> TransportError {
    let message = format!("not sent, by the sender's own limit for this destination: {why}");
    TransportError::new(FailureKind::Busy, message)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(most: usize, per_second: Option<u32>) -> Caps {
        Caps::new(CapLimits { host_connections: most, address_connections: most, per_second })
    }

    /// Asks for the caps of names and addresses that are one destination, or several (table).
    #[test]
    fn a_destination_is_a_name_or_a_network() {
        let caps = caps(1, None);
        let same = |one: &str, other: &str| match (one.parse(), other.parse()) {
            (Ok(one), Ok(other)) => {
                Arc::ptr_eq(&caps.address(one).unwrap(), &caps.address(other).unwrap())
            }
            _ => Arc::ptr_eq(&caps.host(one).unwrap(), &caps.host(other).unwrap()),
        };
        for (one, other, expected) in [
            ("victim.example", "VICTIM.example.", true),
            ("victim.example", "other.example", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8:0:0:ffff::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false),
            ("64:ff9b::192.0.2.1", "192.0.2.1", true),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
    }

    /// Uses more destinations than are remembered without a look.
    #[test]
    fn destinations_are_forgotten_when_nobody_uses_them() {
        let caps = caps(1, None);
        let used = caps.host("used.example").unwrap();
        for number in 0..10 * SWEEP_MIN {
            caps.host(&format!("host{number}.example")).unwrap();
        }
        assert!(lock(&caps.places).map.len() <= SWEEP_MIN + 1);
        assert!(Arc::ptr_eq(&used, &caps.host("used.example").unwrap()));
        drop(used);
        assert!(!caps.sweep());
    }

    /// Holds on to as many destinations as there may be.
    #[test]
    fn destinations_are_bounded() {
        let caps = caps(1, None);
        let all: Vec<_> =
            (0..DESTINATIONS_MAX).map(|n| caps.host(&format!("h{n}")).unwrap()).collect();
        assert_eq!(caps.host("more").unwrap_err().kind(), FailureKind::Busy);
        drop(all);
        assert!(caps.host("more").is_ok());
    }

    /// Takes all places, fills the queue behind them, and lets it run out of patience.
    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded_in_number_and_time() {
        let cap = caps(2, None).host("victim.example").unwrap();
        let mut patience = Patience::of(Duration::from_secs(2));
        let first = cap.enter(&mut patience).await.unwrap();
        let _second = cap.enter(&mut patience).await.unwrap();
        assert!(cap.try_enter().is_none());
        let begun = Instant::now();
        let waits = |deadline| {
            let cap = Arc::clone(&cap);
            tokio::spawn(async move { cap.enter(&mut Patience::of(deadline)).await })
        };
        let most = DESTINATION_WAITERS_MAX;
        let waiting: Vec<_> = (0..most).map(|_| waits(Duration::from_secs(2))).collect();
        tokio::task::yield_now().await;
        let refused = waits(Duration::from_secs(2)).await.unwrap().unwrap_err();
        assert_eq!((refused.kind(), begun.elapsed()), (FailureKind::Busy, Duration::ZERO));
        drop(first);
        let mut served = 0;
        for one in waiting {
            match one.await.unwrap() {
                // Each that is served frees its place for the next.
                Ok(_) => served += 1,
                Err(error) => assert_eq!(error.kind(), FailureKind::Busy),
            }
        }
        assert_eq!(served, most);
        let held = cap.enter(&mut patience).await.unwrap();
        let begun = Instant::now();
        for (deadline, time) in [(2_000, 500), (60_000, 1_000)] {
            let before = begun.elapsed();
            let error = waits(Duration::from_millis(deadline)).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), FailureKind::Busy);
            let took = begun.elapsed() - before;
            assert!(took.abs_diff(Duration::from_millis(time)) < Duration::from_millis(5));
        }
        // Somebody waited in vain, so few may from now on, and many again after a while.
        let stuck: Vec<_> = (0..cap.waiters_stuck).map(|_| waits(Duration::from_secs(4))).collect();
        tokio::task::yield_now().await;
        let begun = Instant::now();
        assert!(waits(Duration::from_secs(4)).await.unwrap().is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for one in stuck {
            assert!(one.await.unwrap().is_err());
        }
        tokio::time::sleep(DESTINATION_STUCK).await;
        assert_eq!(cap.waiters_max(), most);
        drop(held);
    }

    /// Lets many ask at once, again and again, and counts each second that begins with a departure.
    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_rate_and_the_burst() {
        for per_second in [1, 3, 50, 1_000] {
            let cap = caps(2_000, Some(per_second)).host("victim.example").unwrap();
            let departures = Arc::new(Mutex::new(Vec::new()));
            for round in 0..20 {
                let all = (0..200).map(|_| {
                    let (cap, departures) = (Arc::clone(&cap), Arc::clone(&departures));
                    tokio::spawn(async move {
                        let mut patience = Patience::of(Duration::from_secs(4));
                        if let Ok(mut entry) = cap.enter(&mut patience).await {
                            entry.spend(true);
                            lock(&departures).push(Instant::now());
                        }
                    })
                });
                for one in all.collect::<Vec<_>>() {
                    one.await.unwrap();
                }
                if round == 10 {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
            let mut departures = lock(&departures).clone();
            departures.sort();
            assert!(departures.len() >= 10, "{} at {per_second}", departures.len());
            for (at, from) in departures.iter().enumerate() {
                let end = *from + Duration::from_secs(1);
                let count = departures[at..].partition_point(|one| *one < end);
                assert!(count <= 2 * per_second as usize, "{count} at {per_second}");
            }
        }
    }

    /// Waits for the rate, and asks without waiting when the next one is free.
    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_those_who_wait_for_the_rate() {
        let cap = caps(10, Some(4)).host("victim.example").unwrap();
        let enter = || {
            let cap = Arc::clone(&cap);
            async move { cap.enter(&mut Patience::of(Duration::from_secs(60))).await }
        };
        for _ in 0..4 {
            enter().await.unwrap().spend(true);
        }
        let rate = cap.rate.as_ref().unwrap();
        let turn = rate.turn.lock().await;
        let waiting = tokio::spawn(enter());
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(260)).await;
        assert!(cap.try_enter().is_none(), "the next one is for who waits");
        drop(turn);
        assert!(waiting.await.unwrap().is_ok());
    }

    /// Lets time run out that was spent elsewhere for the most part, then all of it.
    #[tokio::test(start_paused = true)]
    async fn a_destination_is_stuck_only_after_a_wait_for_it() {
        let cap = caps(1, None).host("victim.example").unwrap();
        let _held = cap.try_enter().unwrap();
        let mut patience = Patience::of(Duration::from_secs(4));
        patience.wait(tokio::time::sleep(Duration::from_millis(900))).await.unwrap();
        cap.enter(&mut patience).await.unwrap_err();
        assert_eq!(cap.waiters_max(), DESTINATION_WAITERS_MAX);
        cap.enter(&mut Patience::of(Duration::from_secs(4))).await.unwrap_err();
        assert_eq!(cap.waiters_max(), cap.waiters_stuck);
    }

    /// Enters without spending more often than the rate allows, and spends once.
    #[tokio::test(start_paused = true)]
    async fn what_was_not_sent_does_not_count() {
        let cap = caps(1, Some(1)).host("victim.example").unwrap();
        for _ in 0..100 {
            drop(cap.try_enter().unwrap());
        }
        cap.try_enter().unwrap().spend(true);
        assert!(cap.try_enter().is_none());
    }
}
