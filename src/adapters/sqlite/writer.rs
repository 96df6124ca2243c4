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
    /// The last event that was looked at for pruning out of turn.
    pub(super) strayed: i64,
    /// The last tombstone that was looked at: when it ended, and its key.
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
    /// A savepoint: for commands that may find out late that they are refused.
    Savepoint,
    /// The group's transaction: for commands that are refused before they have written anything,
    /// so that only SQLite itself can fail them halfway. That is nobody's own error, and everyone
    /// in the group is told.
    Group,
}

/// What reaches the thread.
pub(super) enum Message {
    Run(Box<dyn Command>),
    Stop(oneshot::Sender<()>),
}

/// A call on its way through the writer.
pub(super) trait Command: Send {
    fn guard(&self) -> Guard;
    /// Does the work; says whether it is to stay. An error breaks the group.
    fn run(&mut self, db: &mut Db) -> Step<bool>;
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
        Self { kind: error.kind(), message }
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
        Self { work: Some(work), guard, result: None, reply, _room: room }
    }
}

impl<T: Send, F> Command for Call<T, F>
where
    F: FnOnce(&mut Db) -> Step<Verdict<T>> + Send,
{
    fn guard(&self) -> Guard {
        self.guard
    }

    fn run(&mut self, db: &mut Db) -> Step<bool> {
        let Some(work) = self.work.take() else {
            return Ok(false);
        };
        let (result, stays) = match work(db) {
            Ok(Verdict::Keep(answer)) => (Ok(answer), true),
            Ok(Verdict::Undo(answer)) => (Ok(answer), false),
            Err(fault @ Fault::Sql(_)) if self.guard == Guard::Group => return Err(fault),
            Err(fault) => (Err(fault.into_error()), false),
        };
        self.result = Some(result);
        Ok(stays)
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
        let db = Db { conn, memory: Memory::default() };
        Self { db, queue, stopped: None, expected: 1, commit: Duration::ZERO }
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
        let _ = self.db.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
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
        if self.db.conn.is_autocommit() { self.execute("BEGIN IMMEDIATE") } else { Ok(()) }
    }

    /// Runs one command so that it leaves all of its work or nothing. An error breaks the group.
    fn guarded(&mut self, command: &mut dyn Command, first: bool) -> Step<bool> {
        // Before the first one there is nothing to keep: the transaction itself is the savepoint.
        let savepoint = !first && command.guard() == Guard::Savepoint;
        if savepoint {
            self.execute("SAVEPOINT command")?;
        }
        let db = &mut self.db;
        let stays = catch_unwind(AssertUnwindSafe(|| command.run(db)))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Storage, "a command panicked").into()))?;
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
        tracing::warn!(name: "tidings.sqlite.group_failed", commands = ran.len(), error = broken.message);
        for command in ran {
            command.answer(Some(broken));
        }
    }

    fn execute(&self, sql: &'static str) -> Step<()> {
        self.db.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::Semaphore;

    use super::*;

    fn call<T: Send + 'static>(
        queue: &mpsc::Sender<Message>,
        work: impl FnOnce(&mut Db) -> Step<Verdict<T>> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (reply, answer) = oneshot::channel();
        queue.send(Message::Run(Box::new(Call::new(work, Guard::Savepoint, reply, room)))).unwrap();
        answer
    }

    fn insert(number: i64) -> impl FnOnce(&mut Db) -> Step<Verdict<()>> + Send {
        move |db| {
            db.conn.execute("INSERT INTO numbers VALUES (?1)", [number])?;
            Ok(Verdict::Keep(()))
        }
    }

    /// Queues commands that insert 1, make `trouble`, insert 2 and 3, lets a writer run them, and
    /// returns the answers and the numbers that are kept.
    fn run(
        trouble: impl FnOnce(&mut Db) -> Step<Verdict<()>> + Send + 'static,
    ) -> (Vec<Result<()>>, Vec<i64>) {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
        let (queue, commands) = mpsc::channel();
        let mut answers = vec![call(&queue, insert(1)), call(&queue, trouble)];
        answers.extend([2, 3].map(|number| call(&queue, insert(number))));
        let (reply, kept) = oneshot::channel();
        let writer = std::thread::spawn(move || Writer::new(conn, commands).run());
        let answers = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        // By now all is committed, so this one is of another group.
        let all = call(&queue, move |db| {
            let mut select = db.conn.prepare("SELECT number FROM numbers ORDER BY number")?;
            let numbers =
                select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
            let _ = reply.send(numbers);
            Ok(Verdict::Keep(()))
        });
        all.blocking_recv().unwrap().unwrap();
        drop(queue);
        writer.join().unwrap();
        (answers, kept.blocking_recv().unwrap())
    }

    /// Fails after a write, in the middle of a group.
    #[test]
    fn a_failed_command_leaves_nothing_and_hurts_nobody() {
        let (answers, kept) = run(|db| {
            db.conn.execute("INSERT INTO numbers VALUES (10)", [])?;
            Err(Error::new(ErrorKind::NotFound, "gone").into())
        });
        assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        assert_eq!(kept, [1, 2, 3]);
    }

    /// Takes its own write back with an answer that is no error.
    #[test]
    fn an_undone_command_is_answered_and_leaves_nothing() {
        let (answers, kept) = run(|db| {
            db.conn.execute("INSERT INTO numbers VALUES (10)", [])?;
            Ok(Verdict::Undo(()))
        });
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(kept, [1, 2, 3]);
    }

    /// Panics in the middle of a group: all of it learns that nothing was kept, and the writer
    /// goes on.
    #[test]
    fn a_panic_fails_its_group_and_not_the_writer() {
        let (answers, kept) = run(|_| panic!("planted"));
        // Whoever shared the group fails with it; who came before or after it does not.
        let failed: Vec<_> = answers.iter().map(Result::is_err).collect();
        assert!(failed[1], "{answers:?}");
        let expected: Vec<i64> =
            [(0, 1), (2, 2), (3, 3)].iter().filter(|(i, _)| !failed[*i]).map(|(_, n)| *n).collect();
        assert_eq!(kept, expected);
    }

    /// Rolls the group's transaction back under its feet, as SQLite does when the disk is full.
    #[test]
    fn a_lost_transaction_fails_the_whole_group() {
        let (answers, kept) = run(|db| {
            db.conn.execute_batch("ROLLBACK")?;
            Ok(Verdict::Keep(()))
        });
        let failed: Vec<_> = answers.iter().map(Result::is_err).collect();
        assert!(failed[1], "{answers:?}");
        let expected: Vec<i64> =
            [(0, 1), (2, 2), (3, 3)].iter().filter(|(i, _)| !failed[*i]).map(|(_, n)| *n).collect();
        assert_eq!(kept, expected, "who got Ok is kept, who did not is not");
    }
}
