//! What the tests over PostgreSQL share: handles, dispatchers, and a receiver in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings::storage::{PostgresOptions, PostgresStorage};
use tidings::transport::{Request, Response, transport_fn};
use tidings::{Account, Change, DispatcherOptions, Event, Registration, Tidings};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Far more than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A handle over a storage with few connections.
pub(crate) async fn tidings(url: &str) -> Tidings {
    tidings_with(url, PostgresOptions::default().connections(6)).await
}

pub(crate) async fn tidings_with(url: &str, options: PostgresOptions) -> Tidings {
    Tidings::new(PostgresStorage::connect_with(url, options).await.expect("a store"))
}

/// Receives in this process, with 204 for everything, and counts.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    seen: Mutex<HashMap<(String, String), usize>>,
    count: AtomicUsize,
    changed: Notify,
}

impl Receiver {
    /// Waits until this many different deliveries came.
    pub(crate) async fn wait_for(&self, count: usize) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.count.load(Ordering::SeqCst) >= count {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        let came = self.count.load(Ordering::SeqCst);
        waited.unwrap_or_else(|_| panic!("{came} of {count} deliveries came"));
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// How many requests came for what had come before.
    pub(crate) fn duplicates(&self) -> usize {
        self.seen.lock().unwrap().values().map(|count| count - 1).sum()
    }

    fn receive(&self, request: &Request) {
        let id = request.http.headers()["webhook-id"].to_str().unwrap().to_owned();
        let place = (id, request.http.uri().path().to_owned());
        let mut seen = self.seen.lock().unwrap();
        let times = seen.entry(place).or_default();
        *times += 1;
        if *times == 1 {
            drop(seen);
            self.count.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_waiters();
        }
    }
}

/// A dispatcher that runs until it is stopped.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(
        tidings: &Tidings,
        receiver: &Arc<Receiver>,
        options: DispatcherOptions,
    ) -> Self {
        let receiver = receiver.clone();
        let transport = transport_fn(move |request: Request| {
            let receiver = receiver.clone();
            async move {
                // A turn of the loop, as a real request would take.
                tokio::task::yield_now().await;
                receiver.receive(&request);
                Ok(Response::new(204))
            }
        });
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it stops")
            .expect("without a panic");
    }
}

pub(crate) fn account(number: usize) -> Account {
    Account::new(format!("account-{number}")).unwrap()
}

/// Makes an enabled webhook of an account.
pub(crate) async fn register(tidings: &Tidings, account: Account, name: &str, types: &[&str]) {
    let address = format!("https://example.com/{name}");
    let registration = Registration::new(&address, types).unwrap().enabled(true);
    tidings.create(registration.account(account)).await.unwrap();
}

pub(crate) fn event(tidings: &Tidings, account: Account, kind: &str, number: usize) -> Event {
    let object = json!({ "id": number.to_string(), "state": "accepted" });
    tidings.event(Change::of(kind, &object).unwrap().account(account)).unwrap()
}
