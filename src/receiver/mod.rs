//! The receiver's side in axum: an extractor that verifies and parses, repetitions told by the event's
//! id, and dispatch by type.
//!
//! ```
//! use axum::extract::{FromRef, State};
//! use axum::http::StatusCode;
//! use axum::response::{IntoResponse, Response};
//! use axum::{Router, routing::post};
//! use chrono::Utc;
//! use tidings::receiver::{Dispatch, MemorySeen, Received, Receiver};
//! use tidings::{Secret, Verifier};
//!
//! # fn main() -> tidings::Result<()> {
//! let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
//! let receiver = Receiver::new(Verifier::standard_webhooks([secret])?, Utc::now)
//!     .with_seen(MemorySeen::default());
//! let dispatch = Dispatch::new()
//!     .on("order.accepted", async |event: Received| {
//!         println!("ship {}", event.object().get());
//!         Ok::<(), StatusCode>(())
//!     })?
//!     .on("order.*", async |_| Ok::<(), StatusCode>(()))?;
//!
//! #[derive(Clone)]
//! struct Shop(Receiver, Dispatch);
//! impl FromRef<Shop> for Receiver {
//!     fn from_ref(shop: &Shop) -> Self {
//!         shop.0.clone()
//!     }
//! }
//! async fn hook(State(shop): State<Shop>, event: Received) -> Response {
//!     shop.1.run(event).await
//! }
//! let app: Router = Router::new().route("/hook", post(hook)).with_state(Shop(receiver, dispatch));
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! The id of an event is recorded after its work was done, never before: a crash in between makes a
//! repetition, and no event is lost. Two requests with one id at the same moment may both find it new.
//! Where that matters, put the id into the transaction of the work, under a unique key.

mod dispatch;
mod extractor;
mod received;
mod rejection;
mod seen;

pub use dispatch::Dispatch;
pub use extractor::Receiver;
pub use received::Received;
pub use rejection::Rejection;
pub use seen::{MemorySeen, Seen};
