//! Live traffic beside a replay: how much of its rate it keeps.
//!
//! A publisher publishes as fast as what it has published before arrives, or half as fast as that was;
//! receivers answer at once, in the process. In the first case whatever the replay takes from storage and
//! processor is missing from the live rate, and the slowest of the webhooks sets the pace of all.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::storage::Storage;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{Change, Event, Registration, ReplayRequest, Tidings};
use tokio::sync::{Notify, oneshot};

/// Webhooks that get what is live; the first one gets the replay, too.
const WEBHOOKS: usize = 10;
/// Events in one publish.
const BATCH: usize = 20;
/// Live deliveries that may be on their way.
const AHEAD: usize = 2_000;
/// How long a replay is watched: one to a webhook whose live events take all that it can take does not end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much is published beside a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// As much as arrives.
    AllThatArrives,
    /// Half as much as arrived alone, steadily.
    Half,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    /// Live deliveries per second without a replay; where half of it is published, this half.
    pub(crate) alone: f64,
    /// And beside one.
    pub(crate) beside: f64,
    /// Past events that were delivered meanwhile.
    pub(crate) replayed: usize,
    /// In what time.
    pub(crate) took: Duration,
}

impl Report {
    /// How much of its rate live traffic keeps.
    pub(crate) fn ratio(&self) -> f64 {
        self.beside / self.alone.max(1.0)
    }
}

/// Counts what arrived.
#[derive(Default)]
struct Arrived {
    live: AtomicUsize,
    past: AtomicUsize,
    more: Notify,
}

/// Measures live traffic for `time`, and then beside a replay of `past` events at `rate` per second.
pub(crate) async fn measure(
    storage: Arc<dyn Storage>,
    past: usize,
    rate: u32,
    time: Duration,
    beside: Live,
) -> Report {
    let tidings = Tidings::builder_shared(storage).build();
    // Before anybody is registered: these are missed.
    for batch in 0..past.div_ceil(1_000) {
        let count = (past - batch * 1_000).min(1_000);
        let events: Vec<Event> = (0..count).map(|_| event(&tidings, "past.event")).collect();
        tidings.publish_all(&events).await.expect("a publish");
    }
    let arrived = Arc::new(Arrived::default());
    let heard = arrived.clone();
    let transport = transport_fn(move |request: Request| {
        // The past has the longer type, and nothing else differs.
        let is_past = request.http.body().windows(10).any(|part| part == b"past.event");
        let count = if is_past { &heard.past } else { &heard.live };
        count.fetch_add(1, Ordering::Relaxed);
        heard.more.notify_waiters();
        async { Ok(Response::new(204)) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tidings.dispatcher(transport).expect("a dispatcher");
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    let mut first = None;
    for number in 0..WEBHOOKS {
        let address = format!("https://receiver-{number}.example.com/hook");
        let registration = Registration::new(&address, ["live.*", "past.*"]).expect("a webhook");
        let webhook = tidings.create(registration.enabled(true)).await.expect("a webhook").webhook;
        first.get_or_insert(webhook.id());
    }
    let pace = Arc::new(AtomicUsize::new(0));
    let live = tokio::spawn(publish(tidings.clone(), arrived.clone(), pace.clone()));
    let count = || arrived.live.load(Ordering::Relaxed);
    // Marks of the past are routed first, and connections and caches fill.
    tokio::time::sleep(time / 2).await;
    let (began, before) = (Instant::now(), count());
    tokio::time::sleep(time).await;
    let mut alone = per_second(count() - before, began);
    if beside == Live::Half {
        alone /= 2.0;
        pace.store(alone as usize, Ordering::Relaxed);
        // What is on its way arrives.
        tokio::time::sleep(time / 4).await;
    }

    let request = ReplayRequest::missed(first.expect("a webhook")).rate(rate).expect("a rate");
    let (began, before) = (Instant::now(), count());
    tidings.replay(request).await.expect("a replay");
    loop {
        // Before the look, so that no arrival is missed.
        let more = arrived.more.notified();
        if arrived.past.load(Ordering::Relaxed) >= past {
            break;
        }
        if tokio::time::timeout(PATIENCE.saturating_sub(began.elapsed()), more).await.is_err() {
            break;
        }
    }
    let (took, beside) = (began.elapsed(), per_second(count() - before, began));
    let replayed = arrived.past.load(Ordering::Relaxed);
    live.abort();
    let _ = stop.send(());
    running.await.expect("a dispatcher");
    Report { alone, beside, replayed, took }
}

fn event(tidings: &Tidings, event_type: &str) -> Event {
    let change = Change::of(event_type, &json!({ "id": "247468780336", "total": 29.90 }));
    tidings.event(change.expect("a change")).expect("an event")
}

/// Publishes at `pace` deliveries per second, once there is one.
async fn publish(tidings: Tidings, arrived: Arc<Arrived>, pace: Arc<AtomicUsize>) {
    let (mut published, mut next) = (0, tokio::time::Instant::now());
    loop {
        let more = arrived.more.notified();
        let pace = pace.load(Ordering::Relaxed);
        if pace > 0 {
            let each = Duration::from_secs_f64((BATCH * WEBHOOKS) as f64 / pace as f64);
            next = (next + each).max(tokio::time::Instant::now() - Duration::from_secs(1));
            tokio::time::sleep_until(next).await;
        } else if published >= arrived.live.load(Ordering::Relaxed) + AHEAD {
            more.await;
            continue;
        } else {
            next = tokio::time::Instant::now();
        }
        let events: Vec<Event> = (0..BATCH).map(|_| event(&tidings, "live.event")).collect();
        tidings.publish_all(&events).await.expect("a publish");
        published += BATCH * WEBHOOKS;
    }
}

fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
