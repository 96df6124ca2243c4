//! Group commit: publishes of single events that come at the same time share a transaction.
//!
//! A commit costs a sync of the disk, and each statement a trip; many callers share both. The first
//! one to come leads: it takes all that wait and writes them, and again, until nobody waits; the
//! others only wait. Leading is done in a task of its own, so that a leader that goes away leaves
//! nobody behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::Inner;
use super::append;
use super::fault::{Fault, Step};
use super::tx::retried;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::policy::{POSTGRES_GROUP_BYTES, POSTGRES_GROUP_EVENTS, POSTGRES_GROUPS};
use crate::ground::time::Timestamp;
use crate::ports::storage::{Appended, NewEvent};

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Publisher {
    waiting: Mutex<VecDeque<Job>>,
    /// How many groups may be under way at once: while one waits for the disk, the next is filled.
    leaders: Arc<Semaphore>,
}

#[derive(Debug)]
struct Job {
    event: NewEvent,
    now: Timestamp,
    reply: oneshot::Sender<Result<Appended>>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self { waiting: Mutex::default(), leaders: Arc::new(Semaphore::new(POSTGRES_GROUPS)) }
    }
}

/// Keeps one event, that is not for one webhook alone.
pub(super) async fn publish(
    inner: &Arc<Inner>,
    event: &NewEvent,
    now: Timestamp,
) -> Result<Appended> {
    let (reply, answer) = oneshot::channel();
    let publisher = &inner.publisher;
    let job = Job { event: event.clone(), now, reply };
    publisher.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
    if let Ok(leader) = publisher.leaders.clone().try_acquire_owned() {
        let inner = inner.clone();
        tokio::spawn(async move {
            // Until nobody waits, looked at once more after the place is free: whoever came in
            // between found it taken.
            let mut leader = Some(leader);
            while leader.is_some() {
                while let Some(group) = inner.publisher.group() {
                    write(&inner, group).await;
                }
                drop(leader.take());
                if !inner.publisher.is_empty() {
                    leader = inner.publisher.leaders.clone().try_acquire_owned().ok();
                }
            }
        });
    }
    answer.await.unwrap_or_else(|_| {
        let message = "the publish was given up; it may or may not have happened";
        Err(Error::new(ErrorKind::Unavailable, message))
    })
}

impl Publisher {
    fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The next group, if anybody waits.
    fn group(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has gone away does not want it any more, and was told nothing.
        waiting.retain(|job| !job.reply.is_closed());
        let mut bytes = 0;
        let fits = waiting.iter().take(POSTGRES_GROUP_EVENTS).take_while(|job| {
            let first = bytes == 0;
            bytes += job.event.event.bytes();
            first || bytes <= POSTGRES_GROUP_BYTES
        });
        let count = fits.count();
        (count > 0).then(|| waiting.drain(..count).collect())
    }
}

/// Writes a group, and answers its callers.
async fn write(inner: &Inner, group: Vec<Job>) {
    let events: Vec<NewEvent> = group.iter().map(|job| job.event.clone()).collect();
    // In one group the moments lie within one trip of each other: the latest stands for all.
    let Some(now) = group.iter().map(|job| job.now).max() else { return };
    match retried(|| append::append_each(inner, &events, now)).await {
        Ok(answers) => {
            for (job, answer) in group.into_iter().zip(answers) {
                let _ = job.reply.send(Ok(answer));
            }
        }
        Err(fault) if fault.is_data() && group.len() > 1 => {
            // One of the values was refused: alone, the others are accepted.
            for job in group {
                let answer = alone(inner, &job).await;
                let _ = job.reply.send(answer.map_err(Fault::into_error));
            }
        }
        Err(fault) => {
            let error = fault.into_error();
            for job in group {
                let _ = job.reply.send(Err(Error::new(error.kind(), error.to_string())));
            }
        }
    }
}

async fn alone(inner: &Inner, job: &Job) -> Step<Appended> {
    let events = [job.event.clone()];
    let answers = retried(|| append::append_each(inner, &events, job.now)).await?;
    answers.first().copied().ok_or_else(|| Fault::unreadable("an event without an answer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::account::Account;
    use crate::ground::event::{Event, StoredEvent};

    /// Queues a hundred events of 1 MiB with as much for older versions, one that is larger than a
    /// group, and small ones, and takes all groups.
    #[test]
    fn a_group_is_bounded_in_events_and_bytes() {
        let payload =
            r#"{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"a.b","data":{"object":{}}}"#;
        let small = Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH).unwrap();
        let with = |payload: usize, renderings: usize| {
            let renderings = Some("x".repeat(renderings).into());
            let payload = "x".repeat(payload).into();
            Event::from_stored(StoredEvent { payload, renderings, ..small.to_stored() })
        };
        let (large, huge) = (with(1 << 20, 1 << 20), with(1, POSTGRES_GROUP_BYTES));
        let events = std::iter::repeat_n(&large, 100).chain([&huge]);
        let events = events.chain(std::iter::repeat_n(&small, POSTGRES_GROUP_EVENTS + 1));
        let publisher = Publisher::default();
        let mut answers = Vec::new();
        for event in events {
            let (reply, answer) = oneshot::channel();
            let event = NewEvent { event: event.clone(), only: None };
            let job = Job { event, now: Timestamp::UNIX_EPOCH, reply };
            publisher.waiting.lock().unwrap().push_back(job);
            answers.push(answer);
        }
        let groups: Vec<usize> =
            std::iter::from_fn(|| publisher.group()).map(|group| group.len()).collect();
        assert_eq!(groups, [32, 32, 32, 4, 1, POSTGRES_GROUP_EVENTS, 1]);
        assert!(publisher.is_empty());
    }
}
