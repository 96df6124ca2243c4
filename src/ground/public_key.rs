//! The public half of an asymmetric secret: what a receiver verifies with, and nobody can sign with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::ed25519::signature::MultipartVerifier;
use ed25519_dalek::{Signature, VerifyingKey};

use super::error::{Error, Result};

const PUBLIC_PREFIX: &str = "whpk_";

/// A public key of ed25519, for a [`Verifier`](crate::Verifier): `whpk_` and base64 of 32 bytes.
///
/// The sender shows it to the receiver ([`Secret::public_key`](crate::Secret::public_key)); it is no
/// secret, and may be read in logs.
///
/// ```
/// use tidings::{PublicKey, Secret};
///
/// let secret = Secret::asymmetric_from_random(&[7; 32]);
/// let key = secret.public_key().unwrap();
/// assert!(key.to_string().starts_with("whpk_"));
/// assert_eq!(PublicKey::parse(&key.to_string()).unwrap(), key);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `publicKey` when the text does not begin
    /// with `whpk_`, is not canonical base64 of 32 bytes, or is a point of the curve that any
    /// signature would fit (one of small order). The error does not repeat the text, which may be a
    /// secret in the wrong place.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |message: &'static str| Error::invalid("publicKey", message);
        let Some(encoded) = text.strip_prefix(PUBLIC_PREFIX) else {
            return Err(invalid("does not begin with whpk_; a secret is no public key"));
        };
        // The decoder asks for room for all that 44 characters may hold.
        let mut bytes = [0; 33];
        let len = STANDARD.decode_slice(encoded, &mut bytes).ok();
        let bytes: Option<&[u8; 32]> =
            len.and_then(|len| bytes.get(..len)).and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| invalid("is not base64 of 32 bytes behind whpk_"))?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| invalid("is no key of ed25519"))?;
        if key.is_weak() {
            return Err(invalid("is a weak key of ed25519"));
        }
        Ok(Self(key))
    }

    pub(super) fn of(key: VerifyingKey) -> Self {
        Self(key)
    }

    /// Whether `signature` is one of `parts`, one behind the other, by this key, in the one way that it
    /// can be written (RFC 8032, strictly: no small-order points, no second spelling of the scalar).
    pub(super) fn verifies(&self, parts: &[&[u8]], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        // What `verify_strict` adds to the plain check, which alone takes a message in parts.
        let strict = !self.0.is_weak()
            && VerifyingKey::from_bytes(signature.r_bytes()).is_ok_and(|point| !point.is_weak());
        strict && self.0.multipart_verify(parts, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a key, and texts that break one rule each (table).
    #[test]
    fn a_public_key_is_read_strictly() {
        let good = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        let key = PublicKey::parse(good).unwrap();
        assert_eq!(
            (key.to_string(), format!("{key:?}")),
            (good.into(), format!("PublicKey({good})"))
        );
        let of = |bytes: &[u8]| format!("whpk_{}", STANDARD.encode(bytes));
        let mut order_two = [0xff; 32];
        (order_two[0], order_two[31]) = (0xec, 0x7f);
        for text in [
            String::new(),
            "whpk_".into(),
            good.replace("whpk_", "WHPK_"),
            good.replace("whpk_", "whsk_"),
            good.replace("whpk_", "whsec_"),
            good.replace("whpk_", ""),
            good.replace('=', ""),
            good.replace("r4=", "r5="),
            format!("{good} "),
            format!(" {good}"),
            of(&[1; 31]),
            of(&[1; 33]),
            of(&[1; 64]),
            // Of small order: the neutral element, and one of order two.
            of(&[[1].as_slice(), &[0; 31]].concat()),
            of(&order_two),
            // No point of the curve.
            of(&[[2].as_slice(), &[0; 31]].concat()),
        ] {
            let error = PublicKey::parse(&text).expect_err(&text);
            assert_eq!(error.field(), Some("publicKey"), "{text}");
            assert!(text.len() < 6 || !error.to_string().contains(&text));
        }
    }
}
