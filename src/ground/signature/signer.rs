//! The sender's side: one attempt's signature headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "ed25519")]
use ed25519_dalek::ed25519::signature::MultipartSigner;

use super::scheme::SignatureScheme;
use super::wire::TIMESTAMP_MAX;
use super::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, mac};
use crate::ground::id::EventId;
use crate::ground::secret::Secret;
use crate::ground::secrets::Secrets;
use crate::ground::time::Timestamp;

/// The headers that sign `body` by each of `schemes` with every secret that lives at `now`.
///
/// `now` is the time of the attempt: each attempt has a fresh timestamp, in whole Unix seconds
/// (rounded down, never before 1970), and fresh signatures. `id` and `body` are the same on all of
/// them. The body is hashed where it lies, once for each scheme and secret: about 1 µs for 1 KiB
/// (ed25519 hashes it twice and takes about 20 µs). A secret that is not of a scheme's kind gives
/// that scheme no signature; a [`Webhook`](crate::Webhook) has none of those.
///
/// ```
/// use tidings::{EventId, Secret, Secrets, SignatureScheme, Timestamp, signature};
///
/// let now = Timestamp::UNIX_EPOCH;
/// let secrets = Secrets::new(Secret::from_random(&[7; 32]), now);
/// let id = EventId::new(now, &[1; 10]);
/// let headers = signature::sign(&[SignatureScheme::StandardWebhooks], &secrets, id, b"{}", now);
/// let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
/// assert_eq!(names, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
/// assert!(headers[2].1.starts_with("v1,"));
/// ```
pub fn sign<'s>(
    schemes: &'s [SignatureScheme],
    secrets: &Secrets,
    id: EventId,
    body: &[u8],
    now: Timestamp,
) -> Vec<(&'s str, String)> {
    let timestamp = now.timestamp().clamp(0, TIMESTAMP_MAX).to_string();
    let mut headers = Vec::with_capacity(schemes.len() + 2);
    for scheme in schemes {
        match scheme {
            SignatureScheme::StandardWebhooks | SignatureScheme::StandardWebhooksAsymmetric => {
                let (name, id) = message_id(id);
                let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
                let mut value = String::new();
                for secret in secrets.active(now) {
                    push_standard(&mut value, scheme, secret, &parts);
                }
                headers.push((name, id));
                headers.push((WEBHOOK_TIMESTAMP, timestamp.clone()));
                headers.push((WEBHOOK_SIGNATURE, value));
            }
            SignatureScheme::DigitalRiver { header } => {
                let mut value = timestamp.clone();
                for secret in secrets.active(now).rev() {
                    if let Some(code) = dated(scheme, secret, &timestamp, body) {
                        value.push_str(", ");
                        STANDARD.encode_string(code, &mut value);
                    }
                }
                headers.push((header.as_str(), value));
            }
            SignatureScheme::TimestampedHex { header } => {
                let mut value = format!("t={timestamp}");
                for secret in secrets.active(now) {
                    if let Some(code) = dated(scheme, secret, &timestamp, body) {
                        value.push_str(",v1=");
                        push_hex(&mut value, &code);
                    }
                }
                headers.push((header.as_str(), value));
            }
        }
    }
    headers
}

/// Those of [`sign`]'s headers that every attempt has alike: they tell of the event, and sign nothing.
#[cfg(feature = "api")]
pub(crate) fn unsigned(
    schemes: &[SignatureScheme],
    id: EventId,
) -> impl Iterator<Item = (&'static str, String)> {
    schemes.iter().filter_map(move |scheme| match scheme {
        SignatureScheme::StandardWebhooks | SignatureScheme::StandardWebhooksAsymmetric => {
            Some(message_id(id))
        }
        SignatureScheme::DigitalRiver { .. } | SignatureScheme::TimestampedHex { .. } => None,
    })
}

/// The header that says which event it is.
fn message_id(id: EventId) -> (&'static str, String) {
    (WEBHOOK_ID, id.uuid().hyphenated().to_string())
}

/// Adds the item that `secret` gives, if it is of the scheme's kind.
fn push_standard(value: &mut String, scheme: &SignatureScheme, secret: &Secret, parts: &[&[u8]]) {
    let blank = if value.is_empty() { "" } else { " " };
    if scheme.is_asymmetric() {
        #[cfg(feature = "ed25519")]
        if let Some(key) = secret.signing_key() {
            value.push_str(blank);
            value.push_str("v1a,");
            STANDARD.encode_string(key.multipart_sign(parts).to_bytes(), value);
        }
    } else if let Some(key) = scheme.key(secret) {
        value.push_str(blank);
        value.push_str("v1,");
        STANDARD.encode_string(mac(key, parts), value);
    }
}

fn dated(
    scheme: &SignatureScheme,
    secret: &Secret,
    timestamp: &str,
    body: &[u8],
) -> Option<[u8; 32]> {
    scheme.key(secret).map(|key| mac(key, &[timestamp.as_bytes(), b".", body]))
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}
