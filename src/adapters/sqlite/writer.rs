//! The writer: one thread, one connection, many callers to a commit.
//!
//! A synced commit costs milliseconds, whatever is in it, so the commands that are waiting share
//! one (group commit). Each is a whole call all the same: one that fails is rolled back to the
//! savepoint before it, and its error is its caller's alone. Nobody is answered before the commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::fault::{Fault, Step};
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::policy::{SQLITE_GROUP_COMMANDS, SQLITE_GROUP_LINGER, SQLITE_GROUP_TIME};
use crate::ground::webhook::Webhook;

/// What commands work on.
pub(super) struct Db {
    pub(super) conn: Connection,
    pub(super) memory: Memory,
}

/// What the writer remembers from call to call. Nothing depends on it but speed and fairness.
#[derive(Default)]
pub(super) struct Memory {
    /// Webhooks by key, as they are at a version.
    pub(super) webhooks: HashMap<i64, (u64, Arc<Webhook>)>,
    /// The account whose marks were routed last.
    pub(super) served: String,
    /// The last event that was looked at for pruning.
    pub(super) pruned: i64,
    /// The last tombstone that was looked at.
    pub(super) buried: (i64, i64),
}

/// What a command answers, and whether what it wrote is to stay.
pub(super) enum Verdict<T> {
    Keep(T),
    Undo(T),
}

/// What keeps a failing command from leaving half of its work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// It writes with one statement at most, which happens whole or not at all by itself.
    Statement,
    /// It needs a savepoint.
    Savepoint,
}

/// What reaches the thread.
pub(super) enum Message {
    Run(Box<dyn Command>),
    Stop(oneshot::Sender<()>),
}

/// A call on its way through the writer.
pub(super) trait Command: Send {
    fn guard(&self) -> Guard;
    /// Does the work; says whether it is to stay.
    fn run(&mut self, db: &mut Db) -> bool;
    /// Answers the caller: with the command's own result, or with what broke the group.
    fn answer(self: Box<Self>, broken: Option<&Broken>);
}

/// Why a whole group failed.
pub(super) struct Broken {
    kind: ErrorKind,
    message: String,
}

impl Broken {
    fn of(fault: Fault) -> Self {
        let error = fault.into_error();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("{error}{}; nothing was kept", cause.unwrap_or_default());
        Self {
            kind: error.kind(),
            message,
        }
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

/// The command made of a closure.
pub(super) struct Call<T, F> {
    work: Option<F>,
    guard: Guard,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
    /// Held for as long as the command is in memory.
    _room: OwnedSemaphorePermit,
}

impl<T, F> Call<T, F>
where
    F: FnOnce(&mut Db) -> Step<Verdict<T>> + Send,
{
    pub(super) fn new(
        work: F,
        guard: Guard,
        reply: oneshot::Sender<Result<T>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            work: Some(work),
            guard,
            result: None,
            reply,
            _room: room,
        }
    }
}

impl<T: Send, F> Command for Call<T, F>
where
    F: FnOnce(&mut Db) -> Step<Verdict<T>> + Send,
{
    fn guard(&self) -> Guard {
        self.guard
    }

    fn run(&mut self, db: &mut Db) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let (result, stays) = match work(db) {
            Ok(Verdict::Keep(answer)) => (Ok(answer), true),
            Ok(Verdict::Undo(answer)) => (Ok(answer), false),
            Err(fault) => (Err(fault.into_error()), false),
        };
        self.result = Some(result);
        stays
    }

    fn answer(self: Box<Self>, broken: Option<&Broken>) {
        let result = match (broken, self.result) {
            (None, Some(result)) => result,
            (Some(broken), _) => Err(broken.error()),
            (None, None) => Err(Error::new(ErrorKind::Storage, "the call was not run")),
        };
        // A caller that is gone does not want to know.
        let _ = self.reply.send(result);
    }
}

/// The thread's state.
pub(super) struct Writer {
    db: Db,
    queue: Receiver<Message>,
    stopped: Option<oneshot::Sender<()>>,
    /// How many commands the last group had, and how long its commit took: what to expect.
    expected: usize,
    commit: Duration,
}

impl Writer {
    pub(super) fn new(conn: Connection, queue: Receiver<Message>) -> Self {
        let db = Db {
            conn,
            memory: Memory::default(),
        };
        Self {
            db,
            queue,
            stopped: None,
            expected: 1,
            commit: Duration::ZERO,
        }
    }

    /// Works until it is stopped, or nobody is left who could call.
    pub(super) fn run(mut self) {
        while self.stopped.is_none()
            && let Ok(message) = self.queue.recv()
        {
            match message {
                Message::Run(command) => self.group(command),
                Message::Stop(done) => self.stopped = Some(done),
            }
        }
        // So that the file stands alone. If readers are in the way, the next one to open it will.
        let _ = self
            .db
            .conn
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        let Self { db, stopped, .. } = self;
        drop(db);
        if let Some(done) = stopped {
            let _ = done.send(());
        }
    }

    /// Runs a command and those that wait behind it, commits, and answers all.
    fn group(&mut self, first: Box<dyn Command>) {
        let started = Instant::now();
        let mut ran: Vec<Box<dyn Command>> = Vec::new();
        let mut written = 0_usize;
        let mut next = Some(first);
        while let Some(mut command) = next {
            let run = if written == 0 { self.begin() } else { Ok(()) }
                .and_then(|()| self.guarded(command.as_mut(), written == 0));
            ran.push(command);
            match run {
                Ok(true) => written += 1,
                Ok(false) => {}
                Err(fault) => return self.broken(&Broken::of(fault), ran),
            }
            next = self.next(ran.len(), started);
        }
        if written > 0 {
            let committing = Instant::now();
            if let Err(fault) = self.execute("COMMIT") {
                return self.broken(&Broken::of(fault), ran);
            }
            self.commit = committing.elapsed();
        } else if !self.db.conn.is_autocommit()
            && let Err(fault) = self.execute("ROLLBACK")
        {
            return self.broken(&Broken::of(fault), ran);
        }
        self.expected = ran.len();
        for command in ran {
            command.answer(None);
        }
    }

    fn begin(&mut self) -> Step<()> {
        if self.db.conn.is_autocommit() {
            self.execute("BEGIN IMMEDIATE")
        } else {
            Ok(())
        }
    }

    /// Runs one command so that it leaves all of its work or nothing. An error breaks the group.
    fn guarded(&mut self, command: &mut dyn Command, first: bool) -> Step<bool> {
        // Before the first one there is nothing to keep: the transaction itself is the savepoint.
        let savepoint = !first && command.guard() == Guard::Savepoint;
        if savepoint {
            self.execute("SAVEPOINT command")?;
        }
        let db = &mut self.db;
        let Ok(stays) = catch_unwind(AssertUnwindSafe(|| command.run(db))) else {
            return Err(Error::new(ErrorKind::Storage, "a command panicked").into());
        };
        if self.db.conn.is_autocommit() {
            let message = "SQLite gave the transaction up after an error";
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        }
        if !stays && command.guard() == Guard::Savepoint {
            self.db.memory.webhooks.clear();
        }
        match (savepoint, stays) {
            (true, true) => self.execute("RELEASE command")?,
            (true, false) => {
                self.execute("ROLLBACK TO command")?;
                self.execute("RELEASE command")?;
            }
            (false, false) if first => self.execute("ROLLBACK")?,
            (false, _) => {}
        }
        Ok(stays)
    }

    /// The next command of this group, if it may have one more.
    ///
    /// Callers who were answered together come back together, a moment later than the first of
    /// them: waiting for them a little costs less than a commit for each part.
    fn next(&mut self, ran: usize, started: Instant) -> Option<Box<dyn Command>> {
        let spent = started.elapsed();
        if self.stopped.is_some() || ran >= SQLITE_GROUP_COMMANDS || spent >= SQLITE_GROUP_TIME {
            return None;
        }
        let message = match self.queue.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {
                let linger = (self.commit / 4).min(SQLITE_GROUP_LINGER);
                if ran >= self.expected || spent >= linger {
                    return None;
                }
                match self.queue.recv_timeout(linger.saturating_sub(spent)) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        match message {
            Message::Run(command) => Some(command),
            Message::Stop(done) => {
                self.stopped = Some(done);
                None
            }
        }
    }

    /// Rolls back, and tells everyone in the group, and whoever waits behind it and would fare no
    /// better.
    fn broken(&mut self, broken: &Broken, mut ran: Vec<Box<dyn Command>>) {
        self.db.memory.webhooks.clear();
        self.expected = 1;
        if !self.db.conn.is_autocommit() {
            let _ = self.execute("ROLLBACK");
        }
        while self.stopped.is_none()
            && ran.len() < SQLITE_GROUP_COMMANDS
            && let Ok(message) = self.queue.try_recv()
        {
            match message {
                Message::Run(command) => ran.push(command),
                Message::Stop(done) => self.stopped = Some(done),
            }
        }
        tracing::warn!(
            commands = ran.len(),
            error = broken.message,
            "tidings.sqlite.group_failed"
        );
        for command in ran {
            command.answer(Some(broken));
        }
    }

    fn execute(&self, sql: &'static str) -> Step<()> {
        self.db.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
