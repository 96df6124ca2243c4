//! The receiver's side: is this request from the sender, unchanged and fresh?

use std::time::Duration;

use chrono::DateTime;
use subtle::{Choice, ConstantTimeEq};

use super::scheme::SignatureScheme;
use super::wire::{self, Code};
use super::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, mac};
use crate::ground::error::{Error, Result};
use crate::ground::header::{HeaderName, Headers};
#[cfg(feature = "ed25519")]
use crate::ground::public_key::PublicKey;
use crate::ground::secret::Secret;
use crate::ground::signature;
use crate::ground::time::Timestamp;
#[cfg(feature = "ed25519")]
use crate::policy::VERIFY_PUBLIC_KEYS_MAX;
use crate::policy::{TOLERANCE, VERIFY_BYTES_MAX, VERIFY_SECRETS_MAX};

/// Verifies the requests of one sender. For receivers; needs no feature of the crate.
///
/// Strict on purpose. Each header of the scheme is there once, in whatever case; the timestamp has
/// 1 to 12 digits and is at most 300 s from the receiver's clock, in both directions; one of the
/// first 16 signatures matches one of the secrets in all 32 bytes, compared in constant time (or one of
/// the first 5 is by one of the public keys, verified strictly: each costs a pass over the body for each
/// key, so that a stranger's longest request costs 25). Items of other versions, and malformed ones,
/// are skipped. The body is taken as it came: verify it before anything parses it.
///
/// ```
/// use tidings::time::parse_time;
/// use tidings::{Secret, Verifier, VerifyError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let verifier = Verifier::standard_webhooks([secret])?;
///
/// // With the `http` crate: headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
/// let headers: [(&str, &[u8]); 3] = [
///     ("Webhook-Id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
///     ("Webhook-Timestamp", b"1614265330"),
///     ("Webhook-Signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
/// ];
/// let now = parse_time("2021-02-25T15:03:00Z").ok_or("no time")?;
///
/// let verified = verifier.verify(headers, br#"{"test": 2432232314}"#, now)?;
/// assert_eq!(verified.id.as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
///
/// let forged = verifier.verify(headers, br#"{"test": 2432232315}"#, now);
/// assert_eq!(forged, Err(VerifyError::NoMatch));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Verifier {
    scheme: SignatureScheme,
    keys: Keys,
    tolerance: Duration,
}

#[derive(Debug, Clone)]
enum Keys {
    Shared(Vec<Secret>),
    #[cfg(feature = "ed25519")]
    Public(Vec<PublicKey>),
}

/// A request that came from the sender, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The `webhook-id`: the same on every attempt, so that a repetition can be told. `None` in
    /// schemes that sign no id.
    pub id: Option<String>,
    /// When the sender made this attempt, in whole seconds.
    pub timestamp: Timestamp,
}

/// Why a request was not verified. Nothing of it can be trusted.
///
/// The texts hold nothing from the request. Answer all of them alike, with 400 or 401.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header of the scheme is not there.
    #[error("the header {header} is missing")]
    MissingHeader {
        /// Its name.
        header: String,
    },
    /// A header of the scheme is there more than once.
    #[error("the header {header} is there more than once")]
    RepeatedHeader {
        /// Its name.
        header: String,
    },
    /// The id is not 1 to 256 visible ASCII characters without a dot.
    #[error("the id is malformed")]
    MalformedId,
    /// There is no timestamp, or it is not 1 to 12 digits.
    #[error("the timestamp is missing or malformed")]
    MalformedTimestamp,
    /// There is more than one timestamp in the signature header.
    #[error("there is more than one timestamp")]
    RepeatedTimestamp,
    /// The timestamp is further in the past than the tolerance allows.
    #[error("the timestamp is too old")]
    TooOld,
    /// The timestamp is further in the future than the tolerance allows.
    #[error("the timestamp is too new")]
    TooNew,
    /// The body is longer than [`VERIFY_BYTES_MAX`].
    #[error("the body has more than {VERIFY_BYTES_MAX} bytes")]
    BodyTooLong,
    /// No signature matches: the body, the timestamp or the id was changed, or another secret was
    /// used.
    #[error("no signature matches")]
    NoMatch,
}

impl Verifier {
    /// A verifier of `scheme` that takes a signature by any of `secrets`.
    ///
    /// [`StandardWebhooksAsymmetric`](SignatureScheme::StandardWebhooksAsymmetric) is verified with the
    /// public halves of private keys, for a sender that verifies itself; who has only the public keys
    /// calls `Verifier::standard_webhooks_asymmetric` (feature `ed25519`).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `secrets` when there is none (a verifier
    /// without a secret would be no verifier), there are more than 16 (5 private keys), or one is
    /// of another kind than the scheme's; for the field `schemes` when the build lacks the
    /// scheme's feature.
    pub fn new(scheme: SignatureScheme, secrets: impl IntoIterator<Item = Secret>) -> Result<Self> {
        let secrets = some("secrets", secrets, VERIFY_SECRETS_MAX)?;
        signature::check(std::slice::from_ref(&scheme), &Headers::default())?;
        let asymmetric = scheme.is_asymmetric();
        if secrets.iter().any(|secret| secret.is_asymmetric() != asymmetric) {
            let message = if asymmetric {
                "has a shared secret; standardWebhooksAsymmetric takes private keys (whsk_)"
            } else {
                "has a private key (whsk_), which only standardWebhooksAsymmetric takes"
            };
            return Err(Error::invalid("secrets", message));
        }
        #[cfg(feature = "ed25519")]
        if asymmetric {
            let keys = secrets.iter().filter_map(Secret::public_key);
            let keys = Keys::Public(some("secrets", keys, VERIFY_PUBLIC_KEYS_MAX)?);
            return Ok(Self { scheme, keys, tolerance: TOLERANCE });
        }
        Ok(Self { scheme, keys: Keys::Shared(secrets), tolerance: TOLERANCE })
    }

    /// A verifier of [`SignatureScheme::StandardWebhooksAsymmetric`] that takes a signature by any of
    /// the private keys that `keys` belong to.
    ///
    /// ```
    /// use tidings::{PublicKey, Verifier};
    ///
    /// let key = PublicKey::parse("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")?;
    /// let verifier = Verifier::standard_webhooks_asymmetric([key])?;
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `publicKeys` when there is none, or there
    /// are more than 5: each signature of a request costs a pass over its body for each key.
    #[cfg(feature = "ed25519")]
    pub fn standard_webhooks_asymmetric(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self> {
        let keys = Keys::Public(some("publicKeys", keys, VERIFY_PUBLIC_KEYS_MAX)?);
        let scheme = SignatureScheme::StandardWebhooksAsymmetric;
        Ok(Self { scheme, keys, tolerance: TOLERANCE })
    }

    /// A verifier of [`SignatureScheme::StandardWebhooks`].
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn standard_webhooks(secrets: impl IntoIterator<Item = Secret>) -> Result<Self> {
        Self::new(SignatureScheme::StandardWebhooks, secrets)
    }

    /// A verifier of [`SignatureScheme::DigitalRiver`] in the header of this name.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn digital_river(
        header: HeaderName,
        secrets: impl IntoIterator<Item = Secret>,
    ) -> Result<Self> {
        Self::new(SignatureScheme::DigitalRiver { header }, secrets)
    }

    /// A verifier of [`SignatureScheme::TimestampedHex`] in the header of this name.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn timestamped_hex(
        header: HeaderName,
        secrets: impl IntoIterator<Item = Secret>,
    ) -> Result<Self> {
        Self::new(SignatureScheme::TimestampedHex { header }, secrets)
    }

    /// Sets how far the timestamp may be from `now`, both ways and inclusive, in whole seconds.
    /// Zero means the same second.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Verifies one request: its headers as names and raw values, its body's raw bytes, and the
    /// receiver's clock.
    ///
    /// Repetitions within the tolerance are verified too: a sender that saw no answer tries again.
    /// Keep [`Verified::id`] to tell them.
    ///
    /// # Errors
    /// [`VerifyError`] says which rule was broken first.
    pub fn verify<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        if body.len() > VERIFY_BYTES_MAX {
            return Err(VerifyError::BodyTooLong);
        }
        match &self.scheme {
            SignatureScheme::StandardWebhooks | SignatureScheme::StandardWebhooksAsymmetric => {
                let names = [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE];
                let [id, time, signatures] = once_each(headers, names)?;
                let id = wire::message_id(id)?;
                let timestamp = self.fresh(time, now)?;
                let parts = [id.as_bytes(), b".", time, b".", body];
                match &self.keys {
                    Keys::Shared(_) => self.matches(&wire::standard(signatures), &parts)?,
                    #[cfg(feature = "ed25519")]
                    Keys::Public(keys) => signed(&wire::asymmetric(signatures), keys, &parts)?,
                }
                let id = Some(id.to_owned());
                Ok(Verified { id, timestamp })
            }
            SignatureScheme::DigitalRiver { header } => {
                let [value] = once_each(headers, [header.as_str()])?;
                let (time, codes) = wire::digital_river(value);
                self.dated(time, &codes, body, now)
            }
            SignatureScheme::TimestampedHex { header } => {
                let [value] = once_each(headers, [header.as_str()])?;
                let (time, codes) = wire::timestamped_hex(value)?;
                self.dated(time, &codes, body, now)
            }
        }
    }

    fn dated(
        &self,
        time: &[u8],
        codes: &[Code],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        let timestamp = self.fresh(time, now)?;
        self.matches(codes, &[time, b".", body])?;
        let id = None;
        Ok(Verified { id, timestamp })
    }

    /// The time that `text` says, if it is within the tolerance (S2, S3).
    fn fresh(&self, text: &[u8], now: Timestamp) -> Result<Timestamp, VerifyError> {
        let seconds = wire::seconds(text)?;
        let now = now.timestamp();
        if now.abs_diff(seconds) > self.tolerance.as_secs() {
            return Err(if seconds < now { VerifyError::TooOld } else { VerifyError::TooNew });
        }
        DateTime::from_timestamp(seconds, 0).ok_or(VerifyError::MalformedTimestamp)
    }

    /// Whether any code is that of `parts` under any secret (S4, S5). All are compared, whichever
    /// matches, so that the time taken tells nothing.
    fn matches(&self, codes: &[Code], parts: &[&[u8]]) -> Result<(), VerifyError> {
        let mut matched = Choice::from(0);
        let secrets: &[Secret] = match &self.keys {
            Keys::Shared(secrets) if !codes.is_empty() => secrets,
            _ => &[],
        };
        for key in secrets.iter().filter_map(|secret| self.scheme.key(secret)) {
            let expected = mac(key, parts);
            for code in codes {
                matched |= expected.ct_eq(code);
            }
        }
        if matched.into() { Ok(()) } else { Err(VerifyError::NoMatch) }
    }
}

/// Whether any signature is one of `parts` by any key. Nothing of it is secret, so the first that fits
/// ends the search. The parts are hashed where they lie: a second copy of the body would cost memory.
#[cfg(feature = "ed25519")]
fn signed(signatures: &[[u8; 64]], keys: &[PublicKey], parts: &[&[u8]]) -> Result<(), VerifyError> {
    let mut pairs = signatures.iter().flat_map(|one| keys.iter().map(move |key| (one, key)));
    let matched = pairs.any(|(signature, key)| key.verifies(parts, signature));
    if matched { Ok(()) } else { Err(VerifyError::NoMatch) }
}

/// 1 to `most` of `given`.
fn some<T>(field: &'static str, given: impl IntoIterator<Item = T>, most: usize) -> Result<Vec<T>> {
    let found: Vec<_> = given.into_iter().take(most + 1).collect();
    if found.is_empty() {
        return Err(Error::invalid(field, "there is none"));
    }
    if found.len() > most {
        return Err(Error::invalid(field, format!("there are more than {most}")));
    }
    Ok(found)
}

/// The values of the headers of these names, each of which is there exactly once, in any case (S1).
fn once_each<'h, const N: usize>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    names: [&str; N],
) -> Result<[&'h [u8]; N], VerifyError> {
    let mut found = [None; N];
    for (name, value) in headers {
        for (slot, wanted) in found.iter_mut().zip(names) {
            if name.eq_ignore_ascii_case(wanted) && slot.replace(value).is_some() {
                let header = wanted.to_owned();
                return Err(VerifyError::RepeatedHeader { header });
            }
        }
    }
    let mut values: [&[u8]; N] = [&[]; N];
    for ((value, slot), name) in values.iter_mut().zip(found).zip(names) {
        *value = slot.ok_or_else(|| VerifyError::MissingHeader { header: name.to_owned() })?;
    }
    Ok(values)
}
