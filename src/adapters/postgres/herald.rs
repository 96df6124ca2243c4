//! The herald: wakes other nodes by NOTIFY, and hears them by LISTEN, on a connection of its own.
//!
//! Never in a transaction that publishes: NOTIFY makes commits wait for each other. And nothing
//! depends on it but speed: what is not heard is found by polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use super::fault::{Fault, Step};
use crate::ground::policy::{POSTGRES_NOTIFY_EVERY, POSTGRES_RECONNECT};

/// The handle to the herald. Dropping it ends the herald.
#[derive(Debug)]
pub(super) struct Herald {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Set when others are to be woken.
    outgoing: Notify,
    /// Counts what was heard.
    heard: watch::Sender<u64>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { outgoing: Notify::new(), heard: watch::Sender::new(0) })
    }

    fn hear(&self) {
        self.heard.send_modify(|count| *count += 1);
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Herald {
    /// One that tells nobody outside this process.
    pub(super) fn silent() -> Self {
        Self { shared: Shared::new(), task: None }
    }

    /// One that speaks and listens on a connection to this database, which it opens and reopens.
    pub(super) fn start<T>(config: Config, tls: T, schema: String) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let shared = Shared::new();
        let task = tokio::spawn(run(shared.clone(), config, tls, schema));
        Self { shared, task: Some(task) }
    }

    pub(super) fn announce(&self) {
        self.shared.hear();
        self.shared.outgoing.notify_one();
    }

    /// Waits until more was heard than `seen`, and says how much.
    pub(super) async fn heard(&self, seen: u64) -> u64 {
        let mut heard = self.shared.heard.subscribe();
        let count = heard.wait_for(|count| *count != seen).await.map(|count| *count);
        match count {
            Ok(count) => count,
            Err(_) => std::future::pending().await,
        }
    }
}

async fn run<T>(shared: Arc<Shared>, config: Config, tls: T, schema: String)
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (least, most) = POSTGRES_RECONNECT;
    let mut rest = least;
    loop {
        match connected(&shared, &config, tls.clone(), &schema, &mut rest).await {
            Ok(()) => {}
            Err(fault) => {
                let error = fault.into_error();
                tracing::warn!(name: "tidings.postgres.listen_failed", %error, retry_in = ?rest);
            }
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(most);
    }
}

/// Listens and speaks until the connection breaks.
async fn connected<T>(
    shared: &Shared,
    config: &Config,
    tls: T,
    schema: &str,
    rest: &mut Duration,
) -> Step<()>
where
    T: MakeTlsConnect<Socket> + Send,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, mut connection) = config.connect(tls).await?;
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    let own = AtomicI32::new(0);
    let mut speak = std::pin::pin!(speak(shared, &client, schema, &own));
    loop {
        tokio::select! {
            message = messages.next() => match message {
                None => return Ok(()),
                Some(Err(error)) => return Err(Fault::from(error)),
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    *rest = POSTGRES_RECONNECT.0;
                    if notification.process_id() != own.load(Ordering::Relaxed) {
                        shared.hear();
                    }
                }
                Some(Ok(_)) => {}
            },
            ended = &mut speak => return ended,
        }
    }
}

/// Begins to listen, and wakes others when asked to, not too often.
async fn speak(shared: &Shared, client: &Client, schema: &str, own: &AtomicI32) -> Step<()> {
    let rows = client.query_typed("SELECT pg_backend_pid()", &[]).await?;
    if let Some(row) = rows.first() {
        own.store(row.try_get(0)?, Ordering::Relaxed);
    }
    client.batch_execute(&format!("LISTEN \"{schema}\"")).await?;
    // Whatever was written while nobody listened is looked for now.
    shared.hear();
    loop {
        shared.outgoing.notified().await;
        client.batch_execute(&format!("NOTIFY \"{schema}\"")).await?;
        tokio::time::sleep(POSTGRES_NOTIFY_EVERY).await;
    }
}
