//! A scripted receiver, as a test holds it.

use std::fmt;
use std::sync::Arc;

use super::answer::Answer;
use super::kit::{Stage, good};
use super::pages::deliveries;
use super::request::Request;
use crate::ground::delivery::Attempt;
use crate::ground::id::WebhookId;
use crate::ground::query::DeliveryQuery;
use crate::ground::webhook::{Registration, Webhook};

/// A receiver that does what it is told, and notes what it got. Cheap to clone; every clone is the
/// same.
///
/// It acknowledges everything with 204 until it is told otherwise, and verifies every request by the
/// webhook's own secrets: a signature that is wrong fails the test. It serves all webhooks whose
/// addresses have its host.
///
/// What looks at it first lets the kit do what is due ([`Kit::settle`](super::Kit::settle)).
///
/// ```
/// use serde_json::json;
/// use tidings::Change;
/// use tidings::testing::{Answer, Kit, seconds};
///
/// let kit = Kit::new();
/// let shop = kit.webhook(["order.*"]);
/// shop.then(500).then(Answer::hangs());
///
/// kit.publish(Change::of("order.paid", &json!({ "id": "7" }))?);
/// assert_eq!(shop.requests()[0].status(), Some(500));
///
/// kit.advance(seconds(5 + 15)); // The first wait of the schedule, and the deadline.
/// assert_eq!(shop.requests()[1].number(), 2);
/// assert_eq!(shop.requests()[1].status(), None);
/// assert_eq!(shop.attempts().len(), 2);
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
pub struct Receiver {
    pub(super) stage: Arc<Stage>,
    pub(super) name: Arc<str>,
    pub(super) address: Arc<str>,
    /// The host and port of the address.
    pub(super) place: Arc<str>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that webhooks name. Other paths under it lead here too.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Registers an enabled webhook at its address that wants these types. A receiver may have several.
    ///
    /// ```
    /// use tidings::testing::Kit;
    ///
    /// let kit = Kit::new();
    /// let shop = kit.receiver("shop").wants(["order.*", "refund.*"]);
    /// assert!(shop.webhook().is_enabled());
    /// ```
    ///
    /// # Panics
    /// When a pattern is malformed.
    #[track_caller]
    pub fn wants(self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let created = self.stage.tidings.create(self.registration(types));
        good(self.stage.wait(created), "the webhook");
        self
    }

    #[track_caller]
    pub(super) fn registration(
        &self,
        types: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Registration {
        good(Registration::new(&self.address, types), "the webhook").enabled(true)
    }

    /// From now on it always does this. What it was told before is forgotten.
    pub fn answers(&self, answer: impl Into<Answer>) -> &Self {
        self.stage.receivers.always(&self.place, answer.into());
        self
    }

    /// It does this with the next request (or [several](Answer::times)), after what it was told
    /// before; then what it [always](Self::answers) does.
    pub fn then(&self, answer: impl Into<Answer>) -> &Self {
        self.stage.receivers.then(&self.place, answer.into());
        self
    }

    /// What it got, in order: also what it did not acknowledge, not what failed on the way.
    #[track_caller]
    pub fn requests(&self) -> Vec<Request> {
        self.stage.settle();
        self.stage.receivers.look(|log| {
            let here = log.iter().filter(|entry| entry.place == self.place && entry.arrived);
            here.map(|entry| entry.request.clone()).collect()
        })
    }

    /// What it got although it had acknowledged the same event before: redeliveries, and what a host
    /// that crashed would send again.
    #[track_caller]
    pub fn duplicates(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(Request::is_duplicate);
        requests
    }

    /// The sender's own record of its attempts to reach this receiver's webhooks, in the order in
    /// which they began: also those that failed on the way.
    #[track_caller]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.stage.settle();
        let mut found = Vec::new();
        for webhook in self.webhooks() {
            let query = DeliveryQuery { webhook: Some(webhook.id()), ..DeliveryQuery::default() };
            let views = self.stage.wait(deliveries(&**self.stage.storage(), &query));
            found.extend(views.into_iter().flat_map(|view| view.attempts));
        }
        found.sort_by_key(|attempt| attempt.started);
        found
    }

    /// The webhook with this receiver's address, as it is now: enabled or not, say.
    ///
    /// # Panics
    /// Unless there is exactly one.
    #[track_caller]
    pub fn webhook(&self) -> Webhook {
        self.stage.settle();
        let mut found = self.webhooks();
        match found.len() {
            1 => found.remove(0),
            0 => panic!("no webhook has the address of {} ({})", self.name, self.address),
            many => panic!("{many} webhooks have the address of {}: ask for one by id", self.name),
        }
    }

    /// The id of the webhook with this receiver's address.
    ///
    /// # Panics
    /// As [`webhook`](Self::webhook).
    #[track_caller]
    pub fn id(&self) -> WebhookId {
        self.webhook().id()
    }

    /// All webhooks with this receiver's address.
    pub(super) fn webhooks(&self) -> Vec<Webhook> {
        self.stage.wait(self.stage.receivers.webhooks(&self.place))
    }
}
