//! Readers: a few threads with a connection each, so that a listing waits for no writer and no
//! writer for a listing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::fault::Step;
use crate::ground::error::Result;

/// What reaches a reader.
pub(super) enum Message {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    Stop(oneshot::Sender<()>),
}

/// The job of a closure that reads.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Step<T> + Send + 'static,
    reply: oneshot::Sender<Result<T>>,
) -> Message {
    Message::Run(Box::new(move |conn| {
        // Nobody waits for it any more.
        if reply.is_closed() {
            return;
        }
        let result = snapshot(conn, work);
        let _ = reply.send(result.map_err(super::fault::Fault::into_error));
    }))
}

/// One moment for all statements of a listing.
fn snapshot<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Step<T>) -> Step<T> {
    let transaction = conn.unchecked_transaction()?;
    let result = work(&transaction);
    transaction.finish()?;
    result
}

/// Takes jobs from the queue that all readers share, until it is stopped or nobody is left.
pub(super) fn run(conn: Connection, queue: &Arc<Mutex<Receiver<Message>>>) {
    loop {
        let message = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match message {
            // A panic drops the reply, and so tells its caller; the transaction rolls back.
            Ok(Message::Run(job)) => drop(catch_unwind(AssertUnwindSafe(|| job(&conn)))),
            Ok(Message::Stop(done)) => {
                drop(conn);
                let _ = done.send(());
                return;
            }
            Err(_) => return,
        }
    }
}
