//! The thread on which the dispatcher runs, in a runtime whose time stands still.
//!
//! The runtime has one task of its own, which waits for commands and blocks the thread while it does:
//! so nothing runs, and no time passes, but by a command.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::clock::KitClock;
use super::leases::Leases;
use super::pages::{replays_due, unfinished};
use super::receivers::Receivers;
use crate::ground::delivery::State;

/// How long the kit waits, in virtual time, for what is due and does not go.
const QUIET: Duration = Duration::from_millis(100);
/// The longest time that settling takes, in virtual time.
const SETTLE_MAX: Duration = Duration::from_secs(3_600);
/// Timers of tokio reach about two years: longer times are waited for in steps.
const STEP: Duration = Duration::from_secs(86_400);

/// What the thread can be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    /// Let this much time pass, and do all that is due by its end.
    Advance(Duration),
    /// Do what is due now.
    Settle,
}

/// Ends when the kit does.
pub(super) type Shutdown = oneshot::Receiver<()>;

/// A command, and whom to tell when it is done.
type Asked = (Command, SyncSender<()>);

pub(super) struct Runner {
    id: ThreadId,
    /// Gone when the kit is.
    commands: Mutex<Option<Sender<Asked>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
}

impl Runner {
    /// Starts the thread, and on it the dispatcher, which ends when what it is given does.
    pub(super) fn start<D: Future<Output = ()> + Send + 'static>(
        dispatch: impl FnOnce(Shutdown) -> D + Send + 'static,
        receivers: Arc<Receivers>,
        storage: Arc<Leases>,
        clock: Arc<KitClock>,
    ) -> Self {
        let (commands, asked) = channel();
        let (idle, carried, left) = (Arc::default(), Cell::default(), Cell::default());
        let work = Work { receivers, storage, clock, idle, carried, left };
        let thread = thread::Builder::new().name("tidings-kit".into());
        let thread = thread.spawn(move || work.run(dispatch, asked)).expect("a thread");
        Self {
            id: thread.thread().id(),
            commands: Mutex::new(Some(commands)),
            thread: Mutex::new(Some(thread)),
        }
    }

    /// Has the command carried out. Does nothing when the kit is gone.
    ///
    /// # Panics
    /// When the thread ended, or time is to pass on the thread itself.
    #[track_caller]
    pub(super) fn call(&self, command: Command) {
        if thread::current().id() == self.id {
            // A receiver's script looks at things as they stand.
            let Command::Advance(_) = command else { return };
            panic!("a receiver's script cannot make time pass: use `Answer::after`");
        }
        let (done, finished) = sync_channel(1);
        if let Some(commands) = &*lock(&self.commands) {
            let asked = commands.send((command, done));
            asked.expect("the kit's thread takes commands while the kit lives");
        } else {
            return;
        }
        finished.recv().expect("the kit's thread carries out its commands");
    }

    /// Shuts the dispatcher down and waits for the thread's end.
    pub(super) fn stop(&self) {
        lock(&self.commands).take();
        // A script that held the kit's last handle cannot wait for its own thread.
        let elsewhere = thread::current().id() != self.id;
        if let Some(thread) = lock(&self.thread).take().filter(|_| elsewhere) {
            // Its panic was seen by whoever asked it for something last.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells when there is nothing left to do at this moment of virtual time: no task can run before the
/// next timer.
#[derive(Default)]
struct Idle(Mutex<(Option<Waker>, bool)>);

impl Idle {
    /// The runtime is about to park.
    fn reached(&self) {
        let mut state = lock(&self.0);
        if let Some(waker) = state.0.take() {
            state.1 = true;
            waker.wake();
        }
    }

    async fn wait(&self) {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if std::mem::take(&mut state.1) {
                return Poll::Ready(());
            }
            state.0 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What the thread works with.
struct Work {
    receivers: Arc<Receivers>,
    storage: Arc<Leases>,
    clock: Arc<KitClock>,
    idle: Arc<Idle>,
    /// Time that was to pass and is less than a millisecond, which a timer cannot tell.
    carried: Cell<Duration>,
    /// When something due was last left, and what had been written by then.
    left: Cell<Option<(Instant, u64)>>,
}

impl Work {
    fn run<D: Future<Output = ()> + Send + 'static>(
        self,
        dispatch: impl FnOnce(Shutdown) -> D,
        asked: Receiver<Asked>,
    ) {
        let idle = Arc::clone(&self.idle);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || idle.reached())
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            self.clock.begin();
            let (stop, stopped) = oneshot::channel();
            let dispatcher = tokio::spawn(dispatch(stopped));
            // Blocks on purpose: nothing may run between two commands.
            while let Ok((command, done)) = asked.recv() {
                match command {
                    Command::Advance(time) => self.advance(time).await,
                    Command::Settle => self.settle().await,
                }
                if dispatcher.is_finished() {
                    self.receivers.blame("the dispatcher has ended: nothing is sent any more");
                }
                // What others see as the time is the time of the command's end.
                let _ = self.clock.now();
                let _ = done.send(());
            }
            drop(stop);
            let _ = dispatcher.await;
        });
    }

    async fn advance(&self, time: Duration) {
        self.idle.wait().await;
        let time = time.saturating_add(self.carried.take());
        let parts = Duration::from_nanos(u64::from(time.subsec_nanos() % 1_000_000));
        self.carried.set(parts);
        let mut left = time - parts;
        while !left.is_zero() {
            let step = left.min(STEP);
            sleep_until(Instant::now() + step).await;
            left -= step;
        }
        self.idle.wait().await;
    }

    async fn settle(&self) {
        let end = Instant::now() + SETTLE_MAX;
        let (mut seen, mut quiet) = (0, Instant::now());
        loop {
            self.idle.wait().await;
            let stands = (Instant::now(), self.storage.writes());
            if stands.0 >= end {
                return;
            }
            let (requests, open) = self.receivers.counts();
            if open > 0 {
                let _ = timeout_at(end, self.receivers.end()).await;
                continue;
            }
            if self.left.get() == Some(stands) {
                return;
            }
            if requests != seen {
                (seen, quiet) = (requests, Instant::now());
            }
            if !self.is_due().await {
                return;
            }
            if quiet.elapsed() >= QUIET {
                // Another look at this moment would see the same.
                self.left.set(Some(stands));
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether a delivery is under way, or due to an enabled webhook, or a step of a replay is due.
    async fn is_due(&self) -> bool {
        let now = self.clock.now();
        if replays_due(&*self.storage, now).await {
            return true;
        }
        let mut webhooks = BTreeSet::new();
        for view in unfinished(&*self.storage).await {
            match view.delivery.state {
                State::Waiting { due } if due > now => {}
                State::Waiting { .. } => {
                    webhooks.insert(view.delivery.webhook);
                }
                _ => return true,
            }
        }
        for id in webhooks {
            if self.receivers.webhook(id).await.is_some_and(|webhook| webhook.is_enabled()) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Kit;

    /// Runs one that ends at once, and one that panics.
    #[test]
    fn a_dispatcher_that_ends_fails_the_test() {
        for panics in [false, true] {
            let (clock, storage) = (KitClock::new(Kit::START), Arc::new(Leases::new()));
            let receivers = Arc::new(Receivers::new(clock.clone(), storage.clone()));
            let dispatch = move |_| async move { assert!(!panics) };
            let runner = Runner::start(dispatch, receivers.clone(), storage, clock);
            assert_eq!(receivers.fault(), None);
            runner.call(Command::Settle);
            assert!(receivers.fault().unwrap().contains("the dispatcher has ended"));
            runner.stop();
        }
    }
}
