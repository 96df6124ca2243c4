//! Asking the host's hooks, without trusting them: on a thread for blocking work, within a time limit,
//! so many at once and no more.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::request::{Failure, header_name, header_value};
use crate::ground::failure::FailureKind;
use crate::ground::plain::plain;
use crate::ground::policy::{HOOKS_AT_ONCE, MESSAGE_BYTES_MAX};
use crate::ports::hooks::{Additions, HookName, Hooks, Sending, Verdict};

/// The hooks of a handle and the threads that they may have.
#[derive(Debug)]
pub(crate) struct Asked {
    hooks: Hooks,
    threads: Arc<Semaphore>,
}

impl Asked {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { hooks, threads: Arc::new(Semaphore::new(HOOKS_AT_ONCE)) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// What the hooks say of `sending`, by `end` at the latest.
    ///
    /// # Cancellation
    /// Dropping the future leaves a hook that has begun to its thread; nobody hears what it says.
    pub(super) async fn ask(
        &self,
        sending: Sending,
        authorizes: bool,
        end: Instant,
    ) -> Result<Additions, Failure> {
        let limit = self.hooks.limit();
        let end = end.min(Instant::now() + limit);
        let delivery = sending.delivery.id;
        let Ok(turn) = timeout_at(end, self.threads.clone().acquire_owned()).await else {
            return Err(failed(format!("all {HOOKS_AT_ONCE} threads for hooks are taken")));
        };
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
                warn!(name: "tidings.hook.failed", %delivery, hook = name, %error);
                Err(failed(format!("the {name} hook failed")))
            }
            Ok(Ok(Err(_)) | Err(_)) => {
                let name = step.name();
                warn!(name: "tidings.hook.panicked", %delivery, hook = name);
                Err(failed(format!("the {name} hook panicked")))
            }
            Err(_) => {
                let name = step.name();
                warn!(name: "tidings.hook.late", %delivery, hook = name, ?limit);
                Err(failed(format!("the {name} hook did not return in time")))
            }
        }
    }
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
