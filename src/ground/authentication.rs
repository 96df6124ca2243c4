//! How the sender authenticates itself to a receiver, beside the signature.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::address::EndpointUrl;
use super::error::{Error, Result};
use super::header::Headers;
use super::policy::CREDENTIAL_BYTES_MAX;

/// How the sender authenticates itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// By the signature alone.
    #[default]
    None,
    /// HTTP basic authentication (RFC 7617).
    Basic(Basic),
}

/// A user name and a password. Write-only: the password shows in no listing and no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    username: String,
    password: Zeroizing<String>,
}

impl Basic {
    /// These credentials.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when one is too long or has a control character, or
    /// the user name is empty or has a colon.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let (username, password) = (username.into(), Zeroizing::new(password.into()));
        if username.is_empty() || username.contains(':') {
            let message = "the user name must not be empty and must have no colon";
            return Err(Error::invalid("authentication", message));
        }
        for text in [username.as_str(), password.as_str()] {
            if text.len() > CREDENTIAL_BYTES_MAX || text.chars().any(char::is_control) {
                let message =
                    format!("has more than {CREDENTIAL_BYTES_MAX} bytes, or a control character");
                return Err(Error::invalid("authentication", message));
            }
        }
        Ok(Self { username, password })
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The value of the `Authorization` header.
    pub fn header_value(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.username, &*self.password));
        Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
    }

    /// The password.
    pub fn reveal_password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Authentication {
    /// The rules that bind it to the webhook's other fields.
    pub(super) fn check(&self, _address: &EndpointUrl, headers: &Headers) -> Result<()> {
        let own = headers
            .iter()
            .any(|(name, _)| name.as_str().eq_ignore_ascii_case("authorization"));
        if own && !matches!(self, Self::None) {
            let message = "authorization is already set by the webhook's authentication";
            return Err(Error::invalid("headers", message));
        }
        Ok(())
    }
}
