//! Reading what happened, and asking for it again: events, deliveries, attempts, redelivery, test
//! events.

use super::meters;
use super::tidings::{Tidings, short_answer};
use crate::ground::account::{Account, Mode};
use crate::ground::change::Change;
use crate::ground::delivery::DeliveryView;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::event_type::TEST_EVENT_TYPE;
use crate::ground::id::{Cause, DeliveryId, EventId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::{DeliveryQuery, EventQuery};
use crate::ground::statistics::{StatisticsQuery, StatisticsReport};
use crate::ground::time::{Timestamp, format_time};
use crate::ground::versions::Versions;
use crate::ports::storage::{Appended, Enqueued, NewEvent, Owed};

impl Tidings {
    /// The event with this id.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn stored_event(&self, id: EventId) -> Result<Event> {
        let query = EventQuery { id: Some(id), ..EventQuery::default() };
        let page = self.core.storage.events(&query, &PageRequest::default()).await?;
        page.items.into_iter().next().ok_or_else(|| Error::not_found("event", id))
    }

    /// Lists events, the last published first.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        self.core.storage.events(query, page).await
    }

    /// The delivery with this id, with its attempts.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn delivery(&self, id: DeliveryId) -> Result<DeliveryView> {
        let query = DeliveryQuery { id: Some(id), ..DeliveryQuery::default() };
        let page = self.core.storage.deliveries(&query, &PageRequest::default()).await?;
        page.items.into_iter().next().ok_or_else(|| Error::not_found("delivery", id))
    }

    /// Lists deliveries with their attempts.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        self.core.storage.deliveries(query, page).await
    }

    /// What was counted of attempts and deliveries, by hour: numbers, success rate, latency. They are
    /// kept as things happen, in the same transactions, so that they are exact whatever crashed, and
    /// for as long as [`Policy::retain_statistics`](crate::Policy::retain_statistics) says.
    ///
    /// ```
    /// # use tidings::{Result, StatisticsQuery, Tidings, Timestamp, WebhookId, time::before};
    /// # use std::time::Duration;
    /// # async fn shown(tidings: Tidings, webhook: WebhookId, now: Timestamp) -> Result<()> {
    /// let last_day = StatisticsQuery::new(before(now, Duration::from_secs(86_400)), now)?;
    /// let report = tidings.statistics(&last_day.webhook(webhook)).await?;
    /// println!("{:?} of {}", report.total.success_rate(), report.total.attempts());
    /// for hour in &report.hours {
    ///     println!("{}: 95% took at most {:?}", hour.hour, hour.tally.latency(95.0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) when the storage keeps
    /// [none](crate::storage::DeliveryQueue::statistics); otherwise when it fails.
    pub async fn statistics(&self, query: &StatisticsQuery) -> Result<StatisticsReport> {
        let Some(statistics) = self.core.storage.statistics() else {
            return Err(Error::new(ErrorKind::Refused, "this storage keeps no statistics"));
        };
        let counts = statistics.counts(query).await?.into_iter();
        Ok(StatisticsReport::of(counts.map(|one| (one.hour, one.measure, one.count))))
    }

    /// Enabled webhooks of which nothing but failures comes back, and since when: the longest first, at
    /// most `limit`, of one account and mode or of all.
    ///
    /// # Errors
    /// When the storage fails. One that does not tell answers with none.
    pub async fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Result<Vec<(WebhookId, Timestamp)>> {
        self.core.storage.failing(account, mode, limit).await
    }

    /// Delivers an event to a webhook once more, as a new delivery with tries of its own; signed
    /// with the present secrets, with the same id and the same bytes.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when the delivery, its event or its webhook is gone, or the event
    /// [was expunged](Event::is_expunged).
    ///
    /// # Cancellation
    /// If the future is dropped the new delivery may or may not exist; asking again makes another.
    pub async fn redeliver(&self, id: DeliveryId) -> Result<DeliveryId> {
        let DeliveryView { delivery, event, .. } = self.delivery(id).await?;
        event.kept_whole()?;
        let now = self.core.shared_now().await?;
        let cause = Cause::new(now, &self.core.id_bytes()?);
        let owed = Owed { event: delivery.event, webhook: delivery.webhook, cause };
        let owed = [owed];
        let enqueue = self.core.storage.enqueue(&owed, now);
        let enqueued = meters::timed("enqueue", enqueue).await?;
        self.wake();
        match enqueued.first() {
            Some(Enqueued::Made(id) | Enqueued::Existed(id)) => Ok(*id),
            Some(Enqueued::NoEvent) => Err(Error::not_found("event", delivery.event)),
            Some(Enqueued::NoWebhook) => Err(Error::not_found("webhook", delivery.webhook)),
            None => Err(short_answer()),
        }
    }

    /// Sends a test event to one webhook, whatever types it wants, and says which delivery tells
    /// of it. Its type is [`TEST_EVENT_TYPE`]; its object names the webhook, and is the same in all
    /// [`Versions`].
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the webhook is disabled: nothing would be sent (seed
    /// row W25). [`NotFound`](ErrorKind::NotFound).
    pub async fn send_test(&self, id: WebhookId) -> Result<DeliveryId> {
        let webhook = self.webhook(id).await?;
        if !webhook.is_enabled() {
            let message = "is disabled and gets nothing; enable it, then send the test event";
            return Err(Error::invalid("status", message));
        }
        let object = serde_json::json!({
            "id": id.to_string(),
            "address": webhook.address().as_str(),
            "sentTime": format_time(self.core.now()),
        });
        let change = Change::of(TEST_EVENT_TYPE, &object)?
            .account(webhook.account().clone())
            .mode(webhook.mode());
        let event = self.core.event(change, Versions::render_own)?;
        let new = NewEvent { event: event.clone(), only: Some(id) };
        match self.core.storage.append(&[new], self.core.shared_now().await?).await?.first() {
            Some(Appended::Stored | Appended::Duplicate) => {
                self.wake();
                Ok(DeliveryId::of(event.id(), id, Cause::ROUTED))
            }
            Some(Appended::Conflict) => {
                Err(Error::new(ErrorKind::Conflict, "the test event's fresh id is taken"))
            }
            None => Err(short_answer()),
        }
    }
}
