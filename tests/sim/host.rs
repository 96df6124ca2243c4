//! The host: what an application and its people do in thirty days.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidings::{
    Account, Change, Confirmation, Edit, Error, ErrorKind, Event, Filters, HeaderName, Mode,
    Ordering, Overlap, RateLimit, Registration, ReplayKind, ReplayRequest, Result, SignatureScheme,
    Tidings, WebhookId,
};

use super::rng::Rng;
use super::store::Shared;

const TYPES: [&str; 6] = [
    "order.created",
    "order.accepted",
    "order.charge.capture.complete",
    "subscription.extended",
    "refund.failed",
    "invoice.paid",
];
/// Narrow and wide filters, some of which say one thing several times.
const WANTED: [&[&str]; 7] = [
    &["*"],
    &["order.*"],
    &["order.charge.*", "order.accepted"],
    &["invoice.paid", "refund.*", "invoice.*"],
    &["subscription.extended"],
    &["order.*", "*"],
    &[
        "order.*",
        "order.charge.*",
        "order.charge.capture.*",
        "order.charge.capture.complete",
        "order.accepted",
        "refund.failed",
    ],
];

/// Acts until all events are published.
#[derive(Debug)]
pub struct Host {
    pub tidings: Tidings,
    /// The handles of the places where dispatchers run: they are told of what happened, one after
    /// the other.
    pub nodes: Vec<Tidings>,
    pub shared: Arc<Shared>,
    pub rng: Rng,
    pub made: u64,
}

impl Host {
    /// Registers the first webhooks and publishes `events` events over `days` days.
    pub async fn live(mut self, events: u64, days: u64) {
        for _ in 0..7 {
            self.create().await;
        }
        let step = Duration::from_secs(days * 86_400 / events);
        let mut published = 0;
        while published < events && !self.shared.has_failed() {
            let pause = self.rng.time(Duration::ZERO, step * 2);
            tokio::time::sleep(pause).await;
            match self.rng.below(100) {
                0..=79 => published += self.publish().await,
                80..=84 => self.publish_again().await,
                85..=86 => self.create().await,
                87..=90 => self.switch().await,
                91..=92 => self.edit().await,
                93 => self.delete().await,
                94..=95 => self.rotate().await,
                96 => self.redeliver().await,
                97 => self.replay().await,
                _ => self.test().await,
            }
            self.wake();
        }
    }

    fn wake(&self) {
        for node in &self.nodes {
            node.wake();
        }
    }

    /// Enables everything that is left, so that all can end.
    pub async fn enable_all(&mut self) {
        let count = self.shared.see(|model| model.webhooks().count()).unwrap_or(0);
        for at in 0..count {
            if let Some(id) = self.webhook(at as u64) {
                self.insist(async |tidings| tidings.enable(id).await.map(drop)).await;
            }
        }
        self.wake();
    }

    fn webhook(&self, roll: u64) -> Option<WebhookId> {
        self.shared.see(|model| model.any_webhook(roll)).flatten()
    }

    /// Repeats what failed for reasons of the storage, as a host would.
    async fn insist<T>(
        &self,
        mut call: impl AsyncFnMut(&Tidings) -> Result<T>,
    ) -> Option<Result<T, Error>> {
        for _ in 0..100 {
            match tokio::time::timeout(Duration::from_secs(60), call(&self.tidings)).await {
                Ok(Err(error)) if error.is_retryable() => {}
                Ok(result) => return Some(result),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        self.shared.fail("I10: the host gets nowhere".to_owned());
        None
    }

    /// One of two tenants.
    fn account(&mut self) -> Account {
        if self.rng.once_in(4) { Account::new("other").unwrap() } else { Account::default() }
    }

    /// Mostly the standard scheme, sometimes others, alone or beside it.
    fn schemes(&mut self) -> Vec<SignatureScheme> {
        let hex =
            SignatureScheme::TimestampedHex { header: HeaderName::parse("x-signature").unwrap() };
        match self.rng.below(6) {
            0 => vec![SignatureScheme::digital_river()],
            1 => vec![hex],
            2 => vec![SignatureScheme::StandardWebhooks, SignatureScheme::digital_river(), hex],
            _ => vec![SignatureScheme::StandardWebhooks],
        }
    }

    /// Order and limits, in about half of the webhooks.
    fn limits(&mut self) -> Edit {
        let ordering = if self.rng.once_in(3) { Ordering::PerObject } else { Ordering::Unordered };
        let rate = self.rng.once_in(4).then(|| {
            let limit = RateLimit::new(1 + self.rng.below(3) as u32).unwrap();
            limit.with_burst(1 + self.rng.below(4) as u32).unwrap()
        });
        let concurrency = self.rng.once_in(4).then(|| 1 + self.rng.below(3) as u32);
        Edit::new().ordering(ordering).rate_limit(rate).concurrency(concurrency)
    }

    fn change(&mut self) -> Change {
        let event_type = *self.rng.pick(&TYPES);
        // Few objects, so that many events are about the same one; each says something else.
        let (object, serial) = (self.rng.below(8).to_string(), self.rng.next());
        let before = json!({ "id": object, "serial": serial, "state": "draft", "total": 12.5 });
        let after = json!({ "id": object, "serial": serial, "state": "done", "total": 29.90 });
        let mode = if self.rng.once_in(6) { Mode::Test } else { Mode::Live };
        Change::updated(event_type, &before, &after).unwrap().account(self.account()).mode(mode)
    }

    async fn publish(&mut self) -> u64 {
        let count = if self.rng.once_in(8) { 2 + self.rng.below(12) } else { 1 };
        let events: Vec<Event> = (0..count)
            .map(|_| {
                let change = self.change();
                self.tidings.event(change).unwrap()
            })
            .collect();
        let done = self.insist(async |tidings| tidings.publish_all(&events).await).await;
        match done {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.shared.fail(format!("a publish fails: {error}")),
            None => return count,
        }
        // Acknowledged means kept.
        self.shared.see(|model| {
            for event in &events {
                assert!(model.event(event.id()).is_some(), "I1: acknowledged, but not kept");
            }
        });
        count
    }

    /// A retry of an old publish, honest or not.
    async fn publish_again(&mut self) {
        let roll = self.rng.next();
        let Some(Some(event)) = self.shared.see(|model| model.any_event(roll).cloned()) else {
            return;
        };
        if self.rng.once_in(2) {
            let again = self.insist(async |tidings| tidings.publish(&event).await).await;
            if let Some(Ok(published)) = again {
                if published.new {
                    self.shared.fail("I2: a repeated publish is new".to_owned());
                }
            } else if let Some(Err(error)) = again {
                self.shared.fail(format!("a repeated publish fails: {error}"));
            }
        } else {
            let other = self.change().id(event.id());
            let other = self.tidings.event(other).unwrap();
            let answer = self.insist(async |tidings| tidings.publish(&other).await).await;
            if let Some(Ok(_)) = answer {
                self.shared.fail("I2: other content under a known id is accepted".to_owned());
            } else if let Some(Err(error)) = answer
                && error.kind() != ErrorKind::Conflict
            {
                self.shared.fail(format!("a conflict is {error}"));
            }
        }
    }

    async fn create(&mut self) {
        if self.made >= 12 {
            return;
        }
        // After an unclear answer the host registers the next number: no two have one address.
        for _ in 0..100 {
            self.made += 1;
            let address = format!("https://example.com/hook/{}", self.made);
            let mode = if self.rng.once_in(5) { Mode::Test } else { Mode::Live };
            let registration = Registration::new(&address, *self.rng.pick(&WANTED))
                .unwrap()
                .account(self.account())
                .mode(mode)
                .with(self.limits().schemes(self.schemes()))
                .enabled(!self.rng.once_in(6));
            let call = self.tidings.create(registration);
            match tokio::time::timeout(Duration::from_secs(60), call).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) if !error.is_retryable() => {
                    self.shared.fail(format!("a registration fails: {error}"));
                    return;
                }
                _ => tokio::time::sleep(Duration::from_secs(5)).await,
            }
        }
    }

    async fn switch(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        if self.rng.once_in(3) {
            let confirmation = Confirmation::new("operator", "operator");
            self.insist(async |tidings| tidings.disable(id, &confirmation).await.map(drop)).await;
        } else {
            self.insist(async |tidings| tidings.enable(id).await.map(drop)).await;
        }
    }

    async fn edit(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        let edit = if self.rng.once_in(2) {
            Edit::new().types(Filters::parse(*self.rng.pick(&WANTED)).unwrap())
        } else {
            self.limits()
        };
        self.insist(async |tidings| tidings.edit(id, None, edit.clone()).await.map(drop)).await;
    }

    async fn delete(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        self.insist(async |tidings| match tidings.delete(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        })
        .await;
    }

    async fn rotate(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        let confirmation = Confirmation::new("operator", "operator");
        let overlap = Overlap::hours(*self.rng.pick(&[0, 1, 12])).unwrap();
        let rotated =
            self.insist(async |tidings| tidings.rotate(id, overlap, &confirmation).await).await;
        if let Some(Err(error)) = rotated
            && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Limit)
        {
            self.shared.fail(format!("a rotation fails: {error}"));
        }
    }

    async fn redeliver(&mut self) {
        let roll = self.rng.next();
        let Some(Some(id)) = self.shared.see(|model| model.any_delivery(roll)) else {
            return;
        };
        self.insist(async |tidings| match tidings.redeliver(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        })
        .await;
    }

    async fn replay(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        let kinds = [ReplayKind::All, ReplayKind::Failed, ReplayKind::Missed];
        let request = ReplayRequest::new(id, *self.rng.pick(&kinds));
        self.insist(async |tidings| match tidings.replay(request.clone()).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                Ok(())
            }
            result => result.map(drop),
        })
        .await;
    }

    async fn test(&mut self) {
        let roll = self.rng.next();
        let Some(id) = self.webhook(roll) else { return };
        self.insist(async |tidings| match tidings.send_test(id).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                Ok(())
            }
            result => result.map(drop),
        })
        .await;
    }
}
