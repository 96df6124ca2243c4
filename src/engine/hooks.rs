//! Asking the host's hooks, without trusting them: on a thread for blocking work, within a time limit,
//! so many at once and no more.
//!
//! A thread cannot be ended from outside, so a hook that hangs keeps its own. As soon as it is late it
//! makes room for others, up to a second bound, of which one webhook has a part. What finds no thread is
//! not sent and not counted, like a request that finds no place at its destination.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::meters;
use super::request::{Failure, header_name, header_value};
use crate::ground::failure::FailureKind;
use crate::ground::id::WebhookId;
use crate::ground::plain::plain;
use crate::ground::policy::{
    HOOK_WEBHOOKS, HOOKS_AT_ONCE, HOOKS_LATE, HOOKS_LATE_PER_WEBHOOK, MESSAGE_BYTES_MAX,
};
use crate::ports::hooks::{Additions, HookName, Hooks, Sending, Verdict};

/// The hooks of a handle and the threads that they may have.
#[derive(Debug)]
pub(crate) struct Asked {
    hooks: Hooks,
    /// For hooks that are in time.
    threads: Arc<Semaphore>,
    /// For those that are late.
    late: Arc<Semaphore>,
    webhooks: Mutex<HashMap<WebhookId, Arc<Lates>>>,
}

/// The late hooks of one webhook's deliveries.
#[derive(Debug, Default)]
struct Lates {
    /// How many have not returned.
    count: AtomicUsize,
    /// Whether the last that asked found no thread.
    crowded: AtomicBool,
}

impl Lates {
    /// Nothing is asked, and nothing is sent. Said once for all that it happens to on end.
    fn crowded(&self, webhook: WebhookId, why: &str) -> Failure {
        meters::hooked("crowded");
        if !self.crowded.swap(true, Ordering::Relaxed) {
            warn!(name: "tidings.hook.crowded", %webhook, why, "deliveries wait for hooks that hang");
        }
        let text = format!("not sent, by the sender's own limit for its hooks: {why}");
        Failure::new(FailureKind::Busy, text)
    }
}

impl Asked {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self {
            hooks,
            threads: Arc::new(Semaphore::new(HOOKS_AT_ONCE)),
            late: Arc::new(Semaphore::new(HOOKS_LATE)),
            webhooks: Mutex::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// What the hooks say of `sending`, within `time` from when there is a thread for them, which takes
    /// as long at most.
    ///
    /// # Cancellation
    /// Dropping the future leaves a hook that has begun to its thread; nobody hears what it says.
    pub(super) async fn ask(
        &self,
        sending: Sending,
        authorizes: bool,
        time: Duration,
    ) -> Result<Additions, Failure> {
        let delivery = sending.delivery.id;
        let limit = self.hooks.limit().min(time);
        let turn = self.turn(sending.webhook.id(), limit).await?;
        // The wait for a thread was not the hook's.
        let end = Instant::now() + limit;
        let waiting = Waiting { turn: Arc::downgrade(&turn), late: self.late.clone() };
        let (hooks, step) = (self.hooks.clone(), Arc::new(Step::default()));
        let told = step.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the hooks return, even when nobody waits any more: what is bounded is the
            // number of threads.
            let _turn = turn;
            let ask = || match hooks.ask(&sending, authorizes, |name| told.set(name)) {
                Verdict::Send(additions) => Said::Send(additions),
                Verdict::Refused => Said::Refused,
                // Its words, and its end, are the host's code, too.
                Verdict::Failed(name, error) => {
                    Said::Failed(name, plain(error.to_string().into(), MESSAGE_BYTES_MAX))
                }
            };
            let verdict = catch_unwind(AssertUnwindSafe(ask));
            // The host's values go here, where their own drop may do what it likes.
            drop(sending);
            verdict
        });
        match timeout_at(end, answer).await {
            Ok(Ok(Ok(Said::Send(additions)))) => Ok(additions),
            Ok(Ok(Ok(Said::Refused))) => {
                Err(Failure::new(FailureKind::Filtered, "the sender's filter refused the delivery"))
            }
            Ok(Ok(Ok(Said::Failed(name, error)))) => {
                // Only the log has its words: they are the host's, and customers see the attempt.
                meters::hooked("failed");
                warn!(name: "tidings.hook.failed", %delivery, hook = name, %error);
                Err(failed(format!("the {name} hook failed")))
            }
            Ok(Ok(Err(_)) | Err(_)) => {
                let name = step.name();
                meters::hooked("panicked");
                warn!(name: "tidings.hook.panicked", %delivery, hook = name);
                Err(failed(format!("the {name} hook panicked")))
            }
            Err(_) => {
                drop(waiting);
                let name = step.name();
                meters::hooked("late");
                warn!(name: "tidings.hook.late", %delivery, hook = name, ?limit);
                Err(failed(format!("the {name} hook did not return in time")))
            }
        }
    }
}

impl Asked {
    /// A thread for the hooks of one delivery to `webhook`.
    async fn turn(&self, webhook: WebhookId, patience: Duration) -> Result<Arc<Turn>, Failure> {
        let lates = self.lates(webhook);
        if lates.count.load(Ordering::Relaxed) >= HOOKS_LATE_PER_WEBHOOK {
            return Err(lates.crowded(webhook, "those of earlier deliveries to this webhook hang"));
        }
        match timeout(patience, self.threads.clone().acquire_owned()).await {
            Ok(Ok(thread)) => {
                lates.crowded.store(false, Ordering::Relaxed);
                let held = Mutex::new(Held { late: false, _thread: thread });
                Ok(Arc::new(Turn { lates, held }))
            }
            _ => Err(lates.crowded(webhook, "all threads for them are taken")),
        }
    }

    fn lates(&self, webhook: WebhookId) -> Arc<Lates> {
        let mut webhooks = lock(&self.webhooks);
        if webhooks.len() >= HOOK_WEBHOOKS {
            webhooks.retain(|_, lates| Arc::strong_count(lates) > 1);
        }
        webhooks.entry(webhook).or_default().clone()
    }
}

/// A thread with a hook on it, until that returns.
#[derive(Debug)]
struct Turn {
    lates: Arc<Lates>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    late: bool,
    _thread: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if lock(&self.held).late {
            self.lates.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Who waits for a hook. When that is over and the hook has not returned, it is late.
struct Waiting {
    turn: Weak<Turn>,
    late: Arc<Semaphore>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(turn) = self.turn.upgrade() else { return };
        let mut held = lock(&turn.held);
        held.late = true;
        turn.lates.count.fetch_add(1, Ordering::Relaxed);
        // Without room among the late ones it stays where it is.
        if let Ok(thread) = self.late.clone().try_acquire_owned() {
            held._thread = thread;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Additions {
    /// Adds what the hooks said to a request that has everything else.
    pub(super) fn write(&self, headers: &mut HeaderMap) -> Result<(), Failure> {
        for (name, value) in self.headers.iter() {
            let written = header_name(name.as_str())?;
            if headers.contains_key(&written) {
                return Err(failed(format!("the header hook would write {name} twice")));
            }
            let mut value = header_value(value.reveal())?;
            value.set_sensitive(true);
            headers.insert(written, value);
        }
        if let Some(authorization) = &self.authorization {
            if headers.contains_key(AUTHORIZATION) {
                return Err(failed("the authorizer hook would write authorization twice".into()));
            }
            let mut value = header_value(authorization.reveal())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }
}

/// What hooks said, without a value of the host's in it.
enum Said {
    Send(Additions),
    Refused,
    Failed(HookName, Cow<'static, str>),
}

fn failed(text: String) -> Failure {
    Failure::new(FailureKind::Hook, text)
}

/// Which hook is being asked.
#[derive(Debug, Default)]
struct Step(AtomicU8);

impl Step {
    const NAMES: [HookName; 4] = ["first", "filter", "header", "authorizer"];

    fn set(&self, name: HookName) {
        let at = Self::NAMES.iter().position(|known| *known == name).unwrap_or(0);
        self.0.store(u8::try_from(at).unwrap_or(0), Ordering::Relaxed);
    }

    fn name(&self) -> HookName {
        Self::NAMES[usize::from(self.0.load(Ordering::Relaxed)) % Self::NAMES.len()]
    }
}
