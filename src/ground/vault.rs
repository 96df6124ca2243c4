//! Secrets at rest: a webhook whose secrets are sealed, so that no storage sees them.
//!
//! What is sealed is one text: the secrets, the values of headers, the authentication, and the key
//! of the client certificate. The account, the mode and the webhook's id are bound to it, so that it
//! opens in no other record. The rest stays readable, for listings and searches.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::error::{Error, ErrorKind, Result};
use super::secrets::Secrets;
use crate::policy::{KEY_ID_BYTES_MAX, SEALED_BYTES_MAX};

/// The name of a sealing key. It is stored beside what the key has sealed, and is no secret.
///
/// 1 to 64 letters, digits, `-`, `_` and `.`: a key's number, or the date when it was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Reads a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `keyId`.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > KEY_ID_BYTES_MAX || !name.chars().all(plain) {
            let message =
                format!("must be 1 to {KEY_ID_BYTES_MAX} letters, digits, '-', '_' and '.'");
            return Err(Error::invalid("keyId", message));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secrets of a webhook: open, or sealed with all else that is secret.
#[derive(Clone, PartialEq)]
pub(super) enum Guarded {
    Open(Secrets),
    Sealed(Sealed),
}

/// What is kept of the secrets while they are sealed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) key: KeyId,
    pub(super) nonce: [u8; 24],
    pub(super) text: Arc<[u8]>,
    /// What receivers verify with, where the current secret is a private key: no secret, and listed.
    pub(super) public_key: Option<String>,
}

/// The same in a record.
#[derive(Serialize, Deserialize)]
pub(super) struct SealedRecord {
    key: String,
    nonce: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "publicKey")]
    public_key: Option<String>,
}

impl From<&Sealed> for SealedRecord {
    fn from(sealed: &Sealed) -> Self {
        Self {
            key: sealed.key.as_str().to_owned(),
            nonce: STANDARD.encode(sealed.nonce),
            text: STANDARD.encode(&sealed.text),
            public_key: sealed.public_key.clone(),
        }
    }
}

impl TryFrom<SealedRecord> for Sealed {
    type Error = Error;

    fn try_from(record: SealedRecord) -> Result<Self> {
        let unreadable = || Error::new(ErrorKind::Storage, "the sealed secrets cannot be read");
        let nonce = STANDARD.decode(&record.nonce).ok().and_then(|bytes| bytes.try_into().ok());
        let text = STANDARD.decode(&record.text).map_err(|_| unreadable())?;
        if text.len() > SEALED_BYTES_MAX {
            return Err(unreadable());
        }
        Ok(Self {
            key: KeyId::parse(&record.key).map_err(|_| unreadable())?,
            nonce: nonce.ok_or_else(unreadable)?,
            text: text.into(),
            public_key: record.public_key,
        })
    }
}

/// What is said where secrets are needed that are sealed.
pub(super) fn sealed_with(id: super::id::WebhookId, key: &KeyId, why: &str) -> Error {
    let message = format!("the secrets of webhook {id} are sealed with key {key}{why}");
    Error::new(ErrorKind::Sealed, message)
}
