//! A weekend without a receiver: its webhook was disabled, and gets what it missed on Monday.
//!
//! `cargo run --example replay`. No network and no file: the storage is in memory, and the receiver prints.

use std::time::Duration;

use serde_json::json;
use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{
    Change, Confirmation, Registration, ReplayJob, ReplayRequest, ReplayState, Result, Tidings,
    WebhookId,
};
use tokio::sync::oneshot;

/// Publishes a shipment.
async fn ship(tidings: &Tidings, number: u32) -> Result<()> {
    let shipment = json!({ "id": format!("s-{number}"), "state": "sent" });
    let event = tidings.event(Change::of("shipment.sent", &shipment)?)?;
    tidings.publish(&event).await.map(drop)
}

/// Starts a replay of what the webhook missed, and watches it.
async fn catch_up(tidings: &Tidings, webhook: WebhookId) -> Result<ReplayJob> {
    let started = tidings.replay(ReplayRequest::missed(webhook).rate(100)?).await?;
    loop {
        let job = tidings.replay_job(started.id).await?;
        if job.state != ReplayState::Running {
            println!("replayed {} of {} events", job.made, job.looked);
            return Ok(job);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Friday, the weekend, Monday. Answers with the replay and the number of requests.
async fn weekend() -> Result<(ReplayJob, usize)> {
    let tidings = Tidings::new(MemoryStorage::new());
    let (requests, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let transport = transport_fn(move |request: Request| {
        let payload = String::from_utf8_lossy(request.http.body()).into_owned();
        println!("POST {payload}");
        let _ = requests.send(payload);
        std::future::ready(Ok(Response::new(204)))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(tidings.dispatcher(transport)?.run(async move {
        let _ = stopped.await;
    }));

    let registration = Registration::new("https://example.com/hook", ["shipment.*"])?;
    let webhook = tidings.create(registration.enabled(true)).await?.webhook.id();
    ship(&tidings, 1).await?;
    let mut count = 0;
    count += usize::from(arrived.recv().await.is_some());

    tidings.disable(webhook, &Confirmation::new("Ada", "Ada")).await?;
    for number in 2..=6 {
        ship(&tidings, number).await?;
    }

    tidings.enable(webhook).await?;
    let job = catch_up(&tidings, webhook).await?;
    for _ in 0..job.made {
        count += usize::from(arrived.recv().await.is_some());
    }
    drop(stop);
    let _ = running.await;
    Ok((job, count))
}

#[tokio::main]
async fn main() -> Result<()> {
    weekend().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the weekend and counts what arrived.
    #[tokio::test]
    async fn what_was_missed_arrives() {
        let (job, requests) = weekend().await.unwrap();
        assert_eq!((job.made, job.looked, requests), (5, 6, 6));
    }
}
