//! Why a request was not received, as the answer that the sender gets.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::ground::error::Error;
use crate::ground::signature::VerifyError;

/// Why a request was not received. As an answer it is a status and a short text that holds nothing of
/// the request, and nothing that helps a forger: the details are for the receiver's own log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is not from the sender, was changed, or is too old: 401.
    #[error("not verified: {0}")]
    NotVerified(#[source] VerifyError),
    /// The body is longer than the receiver takes: 413.
    #[error("the body is too long")]
    TooLarge,
    /// The body ended early: 400.
    #[error("the body could not be read")]
    Interrupted,
    /// It was verified, and is not an object with a `type`, or not what a handler asked for: 400. The
    /// error tells where.
    #[error("the payload is malformed at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// It was verified, and has no id of 1 to 256 bytes: 400.
    #[error("the event has no id")]
    WithoutId,
    /// Whether it was seen before could not be found out: 503, so that the sender tries again.
    #[error("what was seen before is not known: {0}")]
    Unavailable(#[source] Error),
}

impl Rejection {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotVerified(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Interrupted | Self::Malformed { .. } | Self::WithoutId => StatusCode::BAD_REQUEST,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::BodyTooLong => Self::TooLarge,
            error => Self::NotVerified(error),
        }
    }
}

impl From<serde_json::Error> for Rejection {
    /// The cause is dropped: it may repeat what it did not expect.
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed { line: error.line(), column: error.column() }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let text = match self {
            Self::NotVerified(_) => "not verified",
            Self::TooLarge => "too long",
            Self::Interrupted => "incomplete",
            Self::Malformed { .. } | Self::WithoutId => "malformed",
            Self::Unavailable(_) => "not now",
        };
        (self.status(), text).into_response()
    }
}
