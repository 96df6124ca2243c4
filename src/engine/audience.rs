//! What the observer hears, and how: one notice after the other, in order, on a thread where it may
//! block. A dispatcher never waits for it.
//!
//! Notices wait in a queue with an end. An observer that hangs, or cannot keep up, misses what comes
//! when the queue is full, and is told how much that was.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::{error, warn};

use crate::ground::policy::NOTICES_WAITING;
use crate::ports::observer::{Notice, Observer};

/// The observer of a handle and what it has yet to hear.
#[derive(Debug)]
pub(crate) struct Audience {
    observer: Option<Arc<dyn Observer>>,
    queue: Mutex<Queue>,
    silence: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    notices: VecDeque<Notice>,
    /// How many were lost behind them.
    missed: u64,
    /// Whether a thread is telling them.
    telling: bool,
}

impl Audience {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Self { observer, queue: Mutex::default(), silence: Notify::new() })
    }

    /// Keeps a notice for the observer. Called in a tokio runtime.
    pub(crate) fn tell(self: &Arc<Self>, notice: impl FnOnce() -> Notice) {
        let Some(observer) = &self.observer else { return };
        let mut queue = self.lock();
        if queue.notices.len() >= NOTICES_WAITING {
            queue.missed += 1;
            let first = queue.missed == 1;
            drop(queue);
            if first {
                warn!(name: "tidings.observer.behind", "the observer hangs or is too slow");
            }
            return;
        }
        queue.notices.push_back(notice());
        if !queue.telling {
            queue.telling = true;
            let (audience, observer) = (self.clone(), observer.clone());
            drop(tokio::task::spawn_blocking(move || audience.speak(&*observer)));
        }
    }

    /// Tells all that is there.
    fn speak(&self, observer: &dyn Observer) {
        loop {
            let mut queue = self.lock();
            let mut notices = std::mem::take(&mut queue.notices);
            if notices.is_empty() {
                queue.telling = false;
                drop(queue);
                self.silence.notify_waiters();
                return;
            }
            // They were lost while these filled the queue.
            let count = std::mem::take(&mut queue.missed);
            if count > 0 {
                notices.push_back(Notice::Missed { count });
            }
            drop(queue);
            for notice in notices {
                if catch_unwind(AssertUnwindSafe(|| observer.notice(&notice))).is_err() {
                    error!(name: "tidings.observer.panicked", "the observer panicked");
                }
            }
        }
    }

    /// Waits until the observer has heard everything.
    pub(crate) async fn silence(&self) {
        let mut silence = std::pin::pin!(self.silence.notified());
        loop {
            silence.as_mut().enable();
            if !self.lock().telling {
                return;
            }
            silence.as_mut().await;
            silence.set(self.silence.notified());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics between two writes that belong together.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
