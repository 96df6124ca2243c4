//! A past: a day of a shop with receivers that are well, slow and failing, so that there is something to see.
//!
//! It is lived through by a handle with a clock of its own, over the storage that the stage then has.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tidings::storage::{MemoryStorage, Storage};
use tidings::transport::{Response, Transport, transport_fn};
use tidings::{
    Change, Edit, PageRequest, Registration, State, Tidings, Timestamp, Webhook, clock_fn,
};
use tokio::sync::oneshot;

use super::stage::{Stage, accepted};

/// What there is after that day.
pub(crate) struct Past {
    pub(crate) stage: Stage,
    pub(crate) well: Webhook,
    pub(crate) failing: Webhook,
}

const HOUR: i64 = 3_600;

/// So many orders in each hour: more by day than by night.
const ORDERS: [usize; 24] =
    [3, 2, 1, 1, 2, 4, 7, 9, 12, 10, 8, 9, 11, 12, 9, 8, 10, 13, 11, 8, 6, 5, 4, 6];

/// Lives through the last 24 hours.
pub(crate) async fn lived() -> Past {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let seconds = SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs();
    let start = i64::try_from(seconds).expect("a time") - 24 * HOUR;
    let now = Arc::new(AtomicI64::new(start));
    let clock = {
        let now = now.clone();
        clock_fn(move || Timestamp::from_timestamp(now.load(Ordering::SeqCst), 0).expect("a time"))
    };
    let tidings = Tidings::builder_shared(storage.clone()).clock(clock).build();
    let register = async |place: &str, types: &[&str], about: &str, enabled: bool| {
        let registration = Registration::new(&format!("https://{place}"), types);
        let edit = Edit::new().description(about);
        let registration = registration.expect("a webhook").with(edit).enabled(enabled);
        // Lists are by age.
        now.fetch_add(1, Ordering::SeqCst);
        tidings.create(registration).await.expect("a webhook").webhook
    };
    register("invoices.example.com/in", &["invoice.*"], "Invoices, from next month on", false)
        .await;
    let types = ["fulfillment.*", "order.*"];
    let failing =
        register("shipping.example.com/v2/hook", &types, "Shipping, being rebuilt", true).await;
    register(
        "books.example.com/orders",
        &["order.*", "refund.*"],
        "Orders, to the bookkeeping",
        true,
    )
    .await;
    let well =
        register("warehouse.example.com/events", &["*"], "Everything, to the data warehouse", true)
            .await;

    let (end, ended) = oneshot::channel::<()>();
    let sent = Arc::new(AtomicU64::new(0));
    let dispatcher = tidings.dispatcher(receivers(sent.clone())).expect("a dispatcher");
    let running = tokio::spawn(dispatcher.run(async { drop(ended.await) }));
    let mut owed = 0;
    for (hour, count) in ORDERS.into_iter().enumerate() {
        for number in 0..count {
            publish(&tidings, accepted(&format!("10{hour:02}{number:02}"))).await;
        }
        let refund = json!({ "id": format!("r{hour}"), "state": "succeeded", "amount": 12.5 });
        publish(&tidings, Change::of("refund.complete", &refund).expect("a change")).await;
        // Each goes to the two that are well.
        owed += 2 * (count as u64 + 1);
        settled(&tidings, || sent.load(Ordering::SeqCst) >= owed).await;
        now.fetch_add(if hour == 23 { HOUR - 60 } else { HOUR }, Ordering::SeqCst);
        tidings.wake();
    }
    settled(&tidings, || true).await;
    drop(end);
    running.await.expect("the dispatcher ends");
    let stage = Stage::after(storage, receivers(Arc::default())).await;
    Past { stage, well, failing }
}

/// Receivers that answer after a while: that of the shipping never well, that of the warehouse not always.
/// Counts what they were given for the first time.
fn receivers(sent: Arc<AtomicU64>) -> impl Transport {
    const PAUSES: [u64; 7] = [12, 7, 31, 9, 18, 5, 44];
    let turn = AtomicU64::new(0);
    let refused = Mutex::new(BTreeSet::new());
    transport_fn(move |request| {
        let turn = turn.fetch_add(1, Ordering::SeqCst) as usize;
        let pause = PAUSES[turn % PAUSES.len()];
        let host = request.http.uri().host().unwrap_or_default();
        let failing = host.starts_with("shipping");
        let event = request.http.headers()["webhook-id"].clone();
        let mut refused = refused.lock().expect("a set");
        let again = refused.contains(event.as_bytes());
        let refuses = host.starts_with("warehouse") && turn.is_multiple_of(29) && !again;
        if refuses {
            refused.insert(event.as_bytes().to_vec());
        }
        let counts = !(failing || again && host.starts_with("warehouse"));
        let sent = sent.clone();
        async move {
            // A receiver takes its time.
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let (status, text) = match (failing, refuses) {
                (true, _) => (500, "we are being rebuilt"),
                (_, true) => (500, "not at the moment"),
                _ => (200, "thank you"),
            };
            let mut response = Response::new(status);
            response.body = text.into();
            if counts {
                sent.fetch_add(1, Ordering::SeqCst);
            }
            Ok(response)
        }
    })
}

async fn publish(tidings: &Tidings, change: Change) {
    let event = tidings.event(change).expect("an event");
    tidings.publish(&event).await.expect("a publish");
}

/// Waits until all is `sent` and written down: what still waits, waits for a later time.
async fn settled(tidings: &Tidings, sent: impl Fn() -> bool) {
    let settled = async {
        let request = PageRequest::first(100).expect("a page");
        loop {
            let latest = tidings.deliveries(&Default::default(), &request).await.expect("a list");
            let leased = |state: &State| matches!(state, State::Leased { .. });
            if sent() && !latest.items.iter().any(|one| leased(&one.delivery.state)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.expect("the day goes on");
}
