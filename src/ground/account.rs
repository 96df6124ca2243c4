//! Whose events and webhooks these are, and whether they are for real.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::policy::ACCOUNT_BYTES_MAX;

/// Whose events and webhooks these are. An event reaches webhooks of its own account only.
///
/// Hosts without tenants use [`Account::default`]. Any text of 1 to 128 bytes without control
/// characters will do; it is compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct Account(Arc<str>);

impl Account {
    /// The account named `name`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the name is empty, longer than 128 bytes or has
    /// control characters.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > ACCOUNT_BYTES_MAX {
            return Err(Error::invalid(
                "account",
                format!("has {} bytes; 1 to {ACCOUNT_BYTES_MAX} are allowed", name.len()),
            ));
        }
        if name.chars().any(char::is_control) {
            return Err(Error::invalid("account", "has a control character"));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Account {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Account {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.0.as_ref().into()
    }
}

/// Live (production) or test. Events of one mode never reach webhooks of the other.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::exhaustive_enums)]
pub enum Mode {
    /// For real. `liveMode` is `true`.
    #[default]
    Live,
    /// For trying out: fewer retries. `liveMode` is `false`.
    Test,
}

impl Mode {
    /// The mode that `liveMode` says.
    pub const fn from_live(live: bool) -> Self {
        if live { Self::Live } else { Self::Test }
    }

    /// What `liveMode` is in payloads.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live)
    }
}
