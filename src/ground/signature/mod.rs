//! Signatures: how a receiver knows that a request comes from the sender and is unchanged (seed
//! rows W20, W21).
//!
//! All schemes are over the body's raw bytes and the attempt's time, by HMAC-SHA-256 or, for one of
//! them, ed25519; they differ in the envelope and the key. [`sign`] writes them, [`Verifier`] checks them and needs nothing else
//! of the crate.

mod scheme;
mod signer;
mod verifier;
mod wire;

pub(crate) use scheme::check_secrets;
pub use scheme::{SignatureScheme, check};
pub use signer::sign;
#[cfg(feature = "api")]
pub(crate) use signer::unsigned;
pub use verifier::{Verified, Verifier, VerifyError};

use hmac::Mac;

use crate::ground::secret::Key;

/// The names of Standard Webhooks 1.0.0.
const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// The code of `parts`, one behind the other, under `key`. The parts are hashed where they lie.
fn mac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = key.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::Secret;

    /// Computes the Digital River codes of times that no verifier takes (domain 5, rows 3 and 4).
    #[test]
    fn codes_of_opaque_timestamps_match_the_vectors() {
        let secret = Secret::parse("whk_00000000-0000-4000-8000-000000000001").unwrap();
        let body = br#"{"id":"86976837-18b5-473c-9a2e-7e774a827670","type":"order.accepted","data":{"object":{"id":"247468780336","state":"accepted"}}}"#;
        for (timestamp, expected) in [
            ("1700000000000", "H8fQJRiP/4s3OkbKcwJZr+q+hFY7hIgSiVWHBIqOAQc="),
            ("2023-11-14T22:13:20Z", "6M1me2cl8mDviYr6z0i9czCLyHuJTeTGNaMn5ChqNVs="),
        ] {
            let code = mac(secret.text_key().unwrap(), &[timestamp.as_bytes(), b".", body]);
            assert_eq!(STANDARD.encode(code), expected);
        }
    }
}
