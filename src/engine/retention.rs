//! Privacy requests, and how much is kept.

use super::tidings::Tidings;
use crate::ground::account::Account;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::id::EventId;
use crate::ground::policy::EXPUNGE_EVENTS;
use crate::ports::storage::{Expunge, Expunged, Expunging, TableSize};

impl Tidings {
    /// Forgets what an event said: its payload is overwritten by nothing, and so are the bodies that
    /// receivers answered with. That it was sent, when, and to whom stays on record. What still waits of it
    /// is never sent.
    ///
    /// A request that is under way at this moment ends, and its answer is kept: ask again when the longest
    /// deadline is over (60 s). `false`: there was nothing to forget any more.
    ///
    /// The event's [key](crate::Change::key) stays, which the host chose. Copies elsewhere (backups, the
    /// write-ahead logs of a database, PostgreSQL's old rows until they are vacuumed) are the host's. Every
    /// node must know of it: one of an older version sends what waits as an empty body.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such event.
    ///
    /// # Cancellation
    /// If the future is dropped it may or may not be done; it can be asked for again.
    pub async fn expunge(&self, id: EventId) -> Result<bool> {
        let done = self.expunge_all(Expunging::Event(id), 1).await?;
        if done.events + done.answers > 0 {
            return Ok(true);
        }
        self.stored_event(id).await.map(|_| false)
    }

    /// Forgets what all events of an account said that are published when this begins, in both modes; as
    /// [`expunge`](Self::expunge), in steps of 200 events. How many were forgotten by this call.
    ///
    /// # Errors
    /// When the storage fails; what was forgotten until then stays so, and it can be asked for again.
    ///
    /// # Cancellation
    /// If the future is dropped some of the events are forgotten; it can be asked for again.
    pub async fn expunge_account(&self, account: &Account) -> Result<usize> {
        let done = self.expunge_all(Expunging::Account(account.clone()), EXPUNGE_EVENTS).await?;
        Ok(done.events)
    }

    /// Step after step.
    async fn expunge_all(&self, what: Expunging, limit: usize) -> Result<Expunged> {
        let mut all = Expunged::default();
        loop {
            let expunge = Expunge { what: what.clone(), place: all.next, limit };
            let done = self.core.storage.expunge(&expunge).await?;
            let stands = done.events + done.answers == 0 && done.next == all.next;
            all.events += done.events;
            all.answers += done.answers;
            all.next = done.next;
            if all.next.is_none() {
                return Ok(all);
            }
            if stands {
                let message = "the storage does not get on with what is to be expunged";
                return Err(Error::new(ErrorKind::Storage, message));
            }
        }
    }

    /// How large the storage's tables are. It may take a while where a database has to count.
    ///
    /// # Errors
    /// When the storage fails.
    ///
    /// # Cancellation
    /// If the future is dropped nothing is changed.
    pub async fn sizes(&self) -> Result<Vec<TableSize>> {
        self.core.storage.sizes().await
    }
}
