//! A transaction of the host that stays open: what others publish passes it, at about the same speed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidings::outbox::Outbox;
use tidings::storage::{
    DeliveryQueue as _, EventStore as _, Heartbeat, NewEvent, PostgresStorage, Routed, Settlement,
    Turn,
};
use tidings::{
    Attempt, DispatcherId, Fence, Outcome, Policy, Registration, Seen, Tidings, Timestamp, advance,
};
use tokio_postgres::NoTls;

use crate::databases;
use crate::transactions::event;

/// Events that are published, routed and settled at a time.
const TOGETHER: u64 = 2_000;
/// The numbers of the events in the open transaction.
const HELD: [u64; 3] = [u64::MAX, u64::MAX - 1, u64::MAX - 2];

/// A storage with one webhook, and a dispatcher that lives.
struct Bench {
    storage: PostgresStorage,
    dispatcher: DispatcherId,
    tickets: u64,
    now: Timestamp,
}

impl Bench {
    async fn start(url: &str) -> Self {
        let storage = PostgresStorage::connect(url).await.unwrap();
        let tidings = Tidings::new(storage.clone());
        let registration = Registration::new("https://example.com/hook", ["order.*"]).unwrap();
        tidings.create(registration.enabled(true)).await.unwrap();
        let now = Timestamp::from_timestamp_millis(1_900_000_000_000).unwrap();
        let dispatcher = DispatcherId::new(now, &[7; 10]);
        let until = now + Duration::from_secs(86_400);
        let heartbeat = Heartbeat { dispatcher, now, until, abandoned: Vec::new() };
        storage.heartbeat(&heartbeat).await.unwrap();
        Self { storage, dispatcher, tickets: 0, now }
    }

    /// One turn, whose deliveries are then settled; how long the routing took.
    async fn route(&mut self) -> (Routed, Duration) {
        self.tickets += 1;
        let permits = 1_024;
        let turn = Turn {
            dispatcher: self.dispatcher,
            ticket: self.tickets,
            now: self.now,
            marks: 512,
            deliveries: 1_024,
            total: permits,
            each: permits,
            busy: HashMap::new(),
            probe: Duration::from_secs(60),
            held: HashMap::new(),
            holds: 0,
        };
        let began = Instant::now();
        let routed = self.storage.route(&turn).await.unwrap();
        let took = began.elapsed();
        let answered = Outcome::Answered { status: 204, retry_after: None };
        let settlements: Vec<Settlement> = routed
            .leased
            .iter()
            .map(|leased| {
                let delivery = &leased.delivery;
                let fence = Fence {
                    delivery: delivery.id,
                    attempt: delivery.attempt,
                    dispatcher: self.dispatcher,
                };
                let attempt = Attempt::new(delivery.attempt, self.now, Duration::ZERO, answered);
                let transition = advance(
                    delivery,
                    &leased.webhook,
                    Seen::default(),
                    &answered,
                    &Policy::default(),
                    self.now,
                );
                Settlement { fence, attempt: Some(attempt), transition, reports: Vec::new() }
            })
            .collect();
        self.storage.settle(&settlements, self.now).await.unwrap();
        (routed, took)
    }

    /// Publishes events, from the one with the number `first` on, and routes them. How long the
    /// routing took.
    async fn pass(&mut self, first: u64) -> Duration {
        let new: Vec<NewEvent> = (first..first + TOGETHER)
            .map(|number| NewEvent { event: event(number, 0), only: None })
            .collect();
        self.storage.append(&new, self.now).await.unwrap();
        let (mut routed, mut time) = (0, Duration::ZERO);
        while routed < TOGETHER {
            let (turn, took) = self.route().await;
            let held = turn.leased.iter().any(|leased| {
                HELD.iter().any(|number| event(*number, 0).id() == leased.event.id())
            });
            assert!(!held, "an event that is not committed was routed");
            assert_eq!(turn.waiting, 0);
            routed += turn.leased.len() as u64;
            time += took;
        }
        assert_eq!(routed, TOGETHER);
        time
    }
}

/// Holds a transaction with events open while others are published and routed, and commits it then.
/// In turns with another database without one, so that what else the machine does touches both.
async fn hold(events: u64) {
    let mut free = Bench::start(&databases::postgres()).await;
    let url = databases::postgres();
    let mut held = Bench::start(&url).await;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut tx = client.transaction().await.unwrap();
    let own = HELD.map(|number| event(number, 0));
    Outbox::postgres().publish(&mut tx, &own).await.unwrap();
    let mut times = Vec::new();
    for first in (0..events).step_by(TOGETHER as usize) {
        times.push((free.pass(first).await, held.pass(first).await));
    }
    tx.commit().await.unwrap();

    let began = Instant::now();
    let mut found = Vec::new();
    while found.len() < own.len() {
        let (turn, _) = held.route().await;
        found.extend(turn.leased.iter().map(|leased| leased.event.id()));
        assert!(began.elapsed() < Duration::from_secs(60), "only {found:?} of the own events");
    }
    found.sort();
    let mut expected = own.map(|event| event.id());
    expected.sort();
    assert_eq!(found, expected);

    let slower = |times: &[(Duration, Duration)]| {
        let (free, held): (Vec<Duration>, Vec<Duration>) = times.iter().copied().unzip();
        held.iter().sum::<Duration>().as_secs_f64() / free.iter().sum::<Duration>().as_secs_f64()
    };
    let (all, last) = (slower(&times), slower(&times[times.len() * 3 / 4..]));
    println!(
        "{events} events routed past an open transaction: {all:.2} times the time, in the last \
         quarter {last:.2}; its own {} ms after the commit",
        began.elapsed().as_millis()
    );
    assert!(all <= 2.0, "{all:.2} times the time");
}

/// Routes 50,000 events (a million in the long run) past an open transaction, and as many without
/// one, and compares the times.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn an_open_transaction_does_not_slow_routing() {
    let long = std::env::var_os("TIDINGS_LONG").is_some();
    hold(if long { 1_000_000 } else { 50_000 }).await;
}
