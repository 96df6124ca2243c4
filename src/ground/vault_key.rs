//! Sealing and opening: XChaCha20-Poly1305 over what is secret of one webhook.

use std::fmt;
use std::io::{self, Write};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authentication::Authentication;
use super::error::{Error, ErrorKind, Result};
use super::header::Headers;
use super::identity::{ClientIdentity, TlsSettings};
use super::secrets::{SecretRecord, Secrets};
use super::signature::check_secrets;
use super::vault::{Guarded, KeyId, Sealed, sealed_with};
use super::webhook::{Settings, Webhook};
use super::webhook_record::{AuthenticationRecord, IdentityRecord, SecretPart, Text};
use crate::policy::SEALED_BYTES_MAX;

/// Bytes of the code that follows what is sealed.
const TAG: usize = 16;

/// A key that seals secrets: 32 random bytes and a name. Wiped on drop; `Debug` shows the name.
///
/// ```
/// use tidings::{KeyId, SealingKey};
///
/// # let from_a_vault = [7; 32];
/// let key = SealingKey::new(KeyId::parse("2026-01")?, from_a_vault);
/// assert_eq!(key.id().as_str(), "2026-01");
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
pub struct SealingKey {
    id: KeyId,
    bytes: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// The key of this name. The bytes must be random, and one name must always mean the same.
    pub fn new(id: KeyId, bytes: [u8; 32]) -> Self {
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.bytes).into())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is sealed, as text.
#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    secrets: Vec<SecretPart<'a>>,
    #[serde(borrow)]
    headers: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow)]
    authentication: AuthenticationRecord<'a>,
    #[serde(borrow)]
    identity: Option<IdentityRecord<'a>>,
}

impl Webhook {
    /// This webhook with its secrets and credentials sealed: it can be stored, listed, enabled and
    /// disabled, and neither signed for nor edited. What was secret is empty in it.
    ///
    /// `nonce` must be random: the same one twice under one key gives both texts away.
    ///
    /// # Errors
    /// [`Sealed`](ErrorKind::Sealed) when it is sealed already; [`Limit`](ErrorKind::Limit) when
    /// the credentials are too long.
    pub fn seal(&self, key: &SealingKey, nonce: [u8; 24]) -> Result<Self> {
        let identity = self.settings.tls.as_ref().and_then(|tls| tls.identity());
        let headers = self.settings.headers.iter();
        let plain = Plain {
            secrets: self.secrets()?.parts().map(SecretPart::from).collect(),
            headers: headers
                .map(|(name, value)| (name.as_str().into(), value.reveal().into()))
                .collect(),
            authentication: (&self.settings.authentication).into(),
            identity: identity.map(IdentityRecord::from),
        };
        let mut text = written(&plain)?;
        let sealed =
            key.cipher().encrypt_in_place(&XNonce::from(nonce), &self.bound(&key.id), &mut *text);
        sealed
            .map_err(|_| Error::new(ErrorKind::Limit, "the secrets are too long to be sealed"))?;
        let text = text.as_slice().into();
        let settings = Settings {
            headers: self.settings.headers.blanked()?,
            authentication: self.settings.authentication.blanked(),
            tls: self.settings.tls.as_ref().and_then(|tls| {
                TlsSettings::new(tls.identity().map(ClientIdentity::blanked), tls.roots().cloned())
            }),
            ..self.settings.clone()
        };
        let public_key = self.public_key();
        let sealed = Sealed { key: key.id.clone(), nonce, text, public_key };
        Ok(Self { settings, secrets: Guarded::Sealed(sealed), ..self.clone() })
    }

    /// This webhook with its secrets open; as it is when they are not sealed.
    ///
    /// # Errors
    /// [`Sealed`](ErrorKind::Sealed), naming the key that sealed it, when `key` is another, or what is
    /// sealed was changed, or belongs to another account, mode or webhook.
    pub fn open(&self, key: &SealingKey) -> Result<Self> {
        let Guarded::Sealed(sealed) = &self.secrets else {
            return Ok(self.clone());
        };
        if sealed.key != key.id {
            let why = format!(", not {}", key.id);
            return Err(sealed_with(self.id, &sealed.key, &why));
        }
        let mut text = Zeroizing::new(sealed.text.to_vec());
        let bound = self.bound(&sealed.key);
        key.cipher().decrypt_in_place(&XNonce::from(sealed.nonce), &bound, &mut *text).map_err(
            |_| {
                let why = ", and the key of that name does not open them: it has other bytes, or the \
                           record was changed or moved";
                sealed_with(self.id, &sealed.key, why)
            },
        )?;
        // Its errors say nothing of what stands there.
        let unreadable =
            || sealed_with(self.id, &sealed.key, ", and what they hold cannot be read");
        let plain: Plain<'_> = serde_json::from_slice(&text).map_err(|_| unreadable())?;
        let secrets = plain.secrets.into_iter().map(SecretRecord::try_from);
        let secrets = secrets.collect::<Result<Vec<_>>>().and_then(Secrets::from_stored);
        let identity = plain.identity.map(ClientIdentity::try_from).transpose();
        let roots = self.settings.tls.as_ref().and_then(|tls| tls.roots().cloned());
        let settings = Settings {
            headers: Headers::parse(plain.headers).map_err(|_| unreadable())?,
            authentication: Authentication::try_from(plain.authentication)
                .map_err(|_| unreadable())?,
            tls: TlsSettings::new(identity.map_err(|_| unreadable())?, roots),
            ..self.settings.clone()
        };
        settings.check().map_err(|_| unreadable())?;
        let secrets = secrets.map_err(|_| unreadable())?;
        // The schemes lie beside the seal: nobody makes a webhook sign with nothing by changing them.
        check_secrets(&self.settings.schemes, &secrets).map_err(|_| unreadable())?;
        let secrets = Guarded::Open(secrets);
        Ok(Self { settings, secrets, ..self.clone() })
    }

    /// What must be the same where it is opened.
    fn bound(&self, key: &KeyId) -> Vec<u8> {
        let mut bound = b"tidings secrets 1".to_vec();
        for part in [self.account.as_str(), key.as_str()] {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part.as_bytes());
        }
        bound.push(u8::from(self.mode.is_live()));
        bound.extend_from_slice(self.id.uuid().as_bytes());
        bound
    }
}

/// The text, with room for the code behind it: growing would leave copies.
fn written(plain: &Plain<'_>) -> Result<Zeroizing<Vec<u8>>> {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let limit = |_| Error::new(ErrorKind::Limit, "the secrets cannot be written");
    let mut count = Count(0);
    serde_json::to_writer(&mut count, plain).map_err(limit)?;
    if count.0 + TAG > SEALED_BYTES_MAX {
        let message =
            format!("the secrets have {} bytes; at most {SEALED_BYTES_MAX} are sealed", count.0);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(count.0 + TAG));
    serde_json::to_writer(&mut *text, plain).map_err(limit)?;
    Ok(text)
}
