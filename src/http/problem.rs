//! What is wrong with a request: the error body of domain 4b, its status, and how the crate's errors
//! become one.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use crate::ground::error::{Error, ErrorKind};

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// The kind of error, such as `bad_request` or `not_found`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "bad_request")]
    kind: &'static str,
    /// What is wrong.
    errors: Vec<Item>,
    #[serde(skip)]
    header: Option<(HeaderName, HeaderValue)>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorItem)]
struct Item {
    /// Which rule is broken, such as `invalid_parameter`, `confirmation` or `stale`.
    #[schema(value_type = String, example = "invalid_parameter")]
    code: &'static str,
    /// The part of the request that breaks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "address")]
    parameter: Option<Cow<'static, str>>,
    /// The same in words, for people.
    #[schema(value_type = String, example = "must begin with http:// or https://")]
    message: Cow<'static, str>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let errors = vec![Item { code, parameter: None, message: message.into() }];
        Self { status, kind: kind(status), errors, header: None }
    }

    #[cfg(feature = "console")]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// A part of the request that breaks a rule.
    pub(super) fn parameter(
        code: &'static str,
        parameter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message).about(parameter)
    }

    /// The same, about this part of the request.
    pub(super) fn about(mut self, parameter: impl Into<Cow<'static, str>>) -> Self {
        let parameter = parameter.into();
        for item in &mut self.errors {
            item.parameter = Some(parameter.clone());
        }
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// What does not exist, or is out of reach: nobody can tell which.
    pub(super) fn not_found(what: &'static str) -> Self {
        let message = format!("there is no such {what}");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// What waits passes with time.
    pub(super) fn crowded(error: Error) -> Self {
        if error.kind() != ErrorKind::Limit {
            return error.into();
        }
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "backlog", error.to_string());
        problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    pub(super) fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }
}

/// What the crate's own calls say. The text of what failed inside is for the log, not for strangers.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            // What is asked for is right, and the webhook is disabled.
            ErrorKind::Invalid if error.field() == Some("status") => {
                (StatusCode::CONFLICT, "disabled")
            }
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::Stale => (StatusCode::PRECONDITION_FAILED, "stale"),
            ErrorKind::Refused => (StatusCode::CONFLICT, "refused"),
            ErrorKind::Limit => (StatusCode::CONFLICT, "limit"),
            ErrorKind::Sealed => (StatusCode::CONFLICT, "sealed"),
            ErrorKind::Unavailable | ErrorKind::NotAlive => {
                tracing::warn!(name: "tidings.api.unavailable", %error);
                let message = "the storage is busy or cannot be reached: try again";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
            }
            ErrorKind::Schema | ErrorKind::Storage => {
                tracing::error!(name: "tidings.api.failed", %error);
                let message = "this could not be done, for a reason that the server's log tells";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
            }
        };
        let field = error.field().map(parameter_of);
        let problem = Self::new(status, code, error.message().to_owned());
        match field {
            Some(field) => problem.about(field),
            None => problem,
        }
    }
}

/// What a field of the crate's is called in requests.
fn parameter_of(field: &str) -> Cow<'static, str> {
    match field {
        "timeout" => "timeoutMillis".into(),
        other => other.to_owned().into(),
    }
}

const fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::UNAUTHORIZED => "authentication",
        StatusCode::FORBIDDEN => "authorization",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PRECONDITION_FAILED => "precondition_failed",
        StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "internal",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status, &self);
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 11.6.1 asks for one; which scheme it is, the host's login knows.
            let scheme = HeaderValue::from_static("Host");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns an error of every kind into a problem (table).
    #[test]
    fn errors_become_statuses() {
        for (kind, status, name) in [
            (ErrorKind::Invalid, 400, "bad_request"),
            (ErrorKind::NotFound, 404, "not_found"),
            (ErrorKind::Conflict, 409, "conflict"),
            (ErrorKind::Stale, 412, "precondition_failed"),
            (ErrorKind::Refused, 409, "conflict"),
            (ErrorKind::Limit, 409, "conflict"),
            (ErrorKind::Sealed, 409, "conflict"),
            (ErrorKind::NotAlive, 503, "unavailable"),
            (ErrorKind::Unavailable, 503, "unavailable"),
            (ErrorKind::Schema, 500, "internal"),
            (ErrorKind::Storage, 500, "internal"),
        ] {
            let problem = Problem::from(Error::new(kind, "inside"));
            assert_eq!((problem.status.as_u16(), problem.kind), (status, name), "{kind:?}");
            let told = problem.errors.iter().any(|item| item.message.contains("inside"));
            assert_eq!(told, status < 500, "what failed inside is not for strangers: {kind:?}");
        }
    }

    /// Reads the body of an error that names a field.
    #[test]
    fn a_problem_names_the_parameter() {
        let problem = Problem::from(Error::invalid("timeout", "must be 1 s to 60 s"));
        let json = serde_json::to_value(&problem).unwrap();
        let expected = serde_json::json!({
            "type": "bad_request",
            "errors": [{
                "code": "invalid_parameter",
                "parameter": "timeoutMillis",
                "message": "must be 1 s to 60 s",
            }],
        });
        assert_eq!(json, expected);
    }
}
