//! Dispatch by type: which handler gets which events. What no handler asked for is fine.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::received::Received;
use crate::ground::error::Result;
use crate::ground::event_type::EventType;
use crate::ground::filter::Filter;

type Done = Pin<Box<dyn Future<Output = Result<(), Response>> + Send>>;
type Handler = Arc<dyn Fn(Received) -> Done + Send + Sync>;

/// Handlers by event type, tried in the order in which they were named. Clones share them.
///
/// [`run`](Self::run) answers 204 to what was handled, to repetitions (without asking a handler) and to
/// types that nobody asked for: a sender adds types without notice, and would try for days to deliver
/// what is answered with an error. A handler's error is the answer; the event is not recorded then and
/// comes again.
#[derive(Clone, Default)]
pub struct Dispatch {
    arms: Vec<(Filter, Handler)>,
    otherwise: Option<Handler>,
}

impl Dispatch {
    /// No handler yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the events of `pattern` (`order.accepted`, `order.*`, `*`) to `handler`. Its error is what
    /// the sender is answered: a status, a [`Rejection`](super::Rejection), a whole response.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when that is no pattern.
    pub fn on<F, D, E>(mut self, pattern: &str, handler: F) -> Result<Self>
    where
        F: Fn(Received) -> D + Send + Sync + 'static,
        D: Future<Output = Result<(), E>> + Send + 'static,
        E: IntoResponse,
    {
        self.arms.push((Filter::parse(pattern)?, boxed(handler)));
        Ok(self)
    }

    /// Gives all other events to `handler`. Without one they are acknowledged.
    #[must_use]
    pub fn otherwise<F, D, E>(mut self, handler: F) -> Self
    where
        F: Fn(Received) -> D + Send + Sync + 'static,
        D: Future<Output = Result<(), E>> + Send + 'static,
        E: IntoResponse,
    {
        self.otherwise = Some(boxed(handler));
        self
    }

    /// Handles `received` unless it is a repetition, records it, and gives the answer.
    ///
    /// # Cancellation
    /// If the future is dropped the handler may have run, and the event may not be recorded: the
    /// sender tries again.
    pub async fn run(&self, received: Received) -> Response {
        if !received.repeated()
            && let Some(handler) = self.handler(&received)
        {
            if let Err(answer) = handler(received.clone()).await {
                return answer;
            }
            // The work is done. Without a record a repetition would do it again, but an error here
            // would make that repetition certain.
            let _ = received.done().await;
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn handler(&self, received: &Received) -> Option<&Handler> {
        let event_type = EventType::parse(received.event_type()).ok();
        // Whatever a sender calls its events: `*` is for all of them.
        let asked = |filter: &Filter| match &event_type {
            Some(event_type) => filter.matches(event_type),
            None => filter.as_str() == "*",
        };
        let arm = self.arms.iter().find(|(filter, _)| asked(filter));
        arm.map(|(_, handler)| handler).or(self.otherwise.as_ref())
    }
}

fn boxed<F, D, E>(handler: F) -> Handler
where
    F: Fn(Received) -> D + Send + Sync + 'static,
    D: Future<Output = Result<(), E>> + Send + 'static,
    E: IntoResponse,
{
    Arc::new(move |received| {
        let done = handler(received);
        Box::pin(async move { done.await.map_err(IntoResponse::into_response) })
    })
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.arms.iter().map(|(filter, _)| filter.as_str());
        f.debug_list().entries(patterns).finish()
    }
}
