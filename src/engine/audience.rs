//! What the observer hears, and how: one notice after the other, in order, on a thread where it may
//! block. A dispatcher never waits for it.
//!
//! Notices wait in a queue with an end, in number and in bytes: what receivers answer is in them. An
//! observer that hangs, or cannot keep up, misses what comes when the queue is full, and is told how much
//! that was.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::{error, warn};

use super::meters;
use crate::ground::policy::{NOTICE_BYTES_WAITING, NOTICES_WAITING};
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
    bytes: usize,
    /// Whether a thread is telling them.
    telling: bool,
}

impl Queue {
    /// Adds a notice, or counts it as missed. Whether it is the first one missed here.
    fn push(&mut self, notice: impl FnOnce() -> Notice) -> bool {
        if self.notices.len() < NOTICES_WAITING && self.bytes < NOTICE_BYTES_WAITING {
            let notice = notice();
            self.bytes += notice.bytes();
            self.notices.push_back(notice);
            return false;
        }
        if let Some(Notice::Missed { count }) = self.notices.back_mut() {
            *count += 1;
            return false;
        }
        self.notices.push_back(Notice::Missed { count: 1 });
        true
    }

    fn pop(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front()?;
        self.bytes -= notice.bytes();
        Some(notice)
    }
}

impl Notice {
    /// What it keeps in memory for the most part, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Settled { event, attempt, .. } => event.bytes() + attempt.response.len(),
            _ => 0,
        }
    }
}

impl Audience {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Self { observer, queue: Mutex::default(), silence: Notify::new() })
    }

    /// Keeps a notice for the observer. Called in a tokio runtime.
    pub(crate) fn tell(self: &Arc<Self>, notice: impl FnOnce() -> Notice) {
        let Some(observer) = &self.observer else { return };
        let mut queue = self.lock();
        let mut kept = false;
        let behind = queue.push(|| {
            kept = true;
            notice()
        });
        let teller = (!std::mem::replace(&mut queue.telling, true))
            .then(|| Teller { audience: self.clone(), done: false });
        drop(queue);
        if !kept {
            meters::missed();
        }
        if behind {
            warn!(name: "tidings.observer.behind", "the observer hangs or is too slow");
        }
        if let Some(teller) = teller {
            let observer = observer.clone();
            drop(tokio::task::spawn_blocking(move || teller.speak(&*observer)));
        }
    }

    /// What is to be told next. When there is nothing, nobody tells any more.
    fn next(&self) -> Option<Notice> {
        let mut queue = self.lock();
        let next = queue.pop();
        queue.telling = next.is_some();
        next
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

/// Who tells the notices, on a thread of its own. A runtime that ends may drop it before it has begun:
/// then the next notice finds another.
struct Teller {
    audience: Arc<Audience>,
    /// Whether it has told all that there was. From then on another may be telling.
    done: bool,
}

impl Teller {
    fn speak(mut self, observer: &dyn Observer) {
        while let Some(notice) = self.audience.next() {
            if catch_unwind(AssertUnwindSafe(|| observer.notice(&notice))).is_err() {
                error!(name: "tidings.observer.panicked", "the observer panicked");
            }
        }
        self.done = true;
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if !self.done {
            self.audience.lock().telling = false;
        }
        self.audience.silence.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Ear(Mutex<Vec<u64>>);

    impl Observer for Ear {
        fn notice(&self, notice: &Notice) {
            if let Notice::Missed { count } = notice {
                self.0.lock().unwrap().push(*count);
            }
        }
    }

    /// Tells a notice in a runtime that has ended, and another one in the next.
    #[test]
    fn what_no_runtime_told_the_next_one_tells() {
        let ear = Arc::new(Ear::default());
        let audience = Audience::new(Some(ear.clone()));
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime();
        let handle = ended.handle().clone();
        drop(ended);
        {
            let _entered = handle.enter();
            audience.tell(|| Notice::Missed { count: 1 });
        }
        runtime().block_on(async {
            // It does not wait for what nobody tells.
            audience.silence().await;
            assert!(ear.0.lock().unwrap().is_empty());
            audience.tell(|| Notice::Missed { count: 2 });
            audience.silence().await;
        });
        assert_eq!(*ear.0.lock().unwrap(), [1, 2]);
    }
}
