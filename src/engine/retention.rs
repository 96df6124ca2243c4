//! Privacy requests, and how much is kept.

use super::tidings::Tidings;
use crate::ground::account::Account;
use crate::ground::error::{Error, Result};
use crate::ground::id::EventId;
use crate::ground::policy::EXPUNGE_EVENTS;
use crate::ports::storage::{Expunge, Expunging, TableSize};

impl Tidings {
    /// Forgets what an event said: its payload is overwritten by nothing, and so is what receivers
    /// answered to it. That it was sent, when, and to whom stays on record. What still waits of it is never
    /// sent; a request that is under way at this moment ends.
    ///
    /// The event's [key](crate::Change::key) stays, which the host chose. Copies elsewhere (backups, the
    /// write-ahead logs of a database, PostgreSQL's old rows until they are vacuumed) are the host's.
    /// `false`: it was forgotten before.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such event.
    ///
    /// # Cancellation
    /// If the future is dropped it may or may not be done; it can be asked for again.
    pub async fn expunge(&self, id: EventId) -> Result<bool> {
        let expunge = Expunge { what: Expunging::Event(id), after: None, limit: 1 };
        if self.core.storage.expunge(&expunge).await?.events > 0 {
            return Ok(true);
        }
        self.stored_event(id).await.map(|_| false)
    }

    /// Forgets what all events of an account said that were published up to now, in both modes; as
    /// [`expunge`](Self::expunge), in steps of 200 events. How many were forgotten by this call.
    ///
    /// # Errors
    /// When the storage fails; what was forgotten until then stays so, and it can be asked for again.
    ///
    /// # Cancellation
    /// If the future is dropped some of the events are forgotten; it can be asked for again.
    pub async fn expunge_account(&self, account: &Account) -> Result<usize> {
        let before = self.core.shared_now().await? + chrono::Duration::milliseconds(1);
        let what = Expunging::Account { account: account.clone(), before };
        let (mut after, mut events) = (None, 0);
        loop {
            let expunge = Expunge { what: what.clone(), after, limit: EXPUNGE_EVENTS };
            let done = self.core.storage.expunge(&expunge).await?;
            events += done.events;
            if done.next.is_some_and(|next| after.is_some_and(|after| next <= after)) {
                return Err(Error::new(
                    crate::ErrorKind::Storage,
                    "the storage does not get on with what is to be expunged",
                ));
            }
            after = done.next;
            if after.is_none() {
                return Ok(events);
            }
        }
    }

    /// How large the storage's tables are. It may take a while where a database has to count.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn sizes(&self) -> Result<Vec<TableSize>> {
        self.core.storage.sizes().await
    }
}
