//! The secret of one webhook: its text and the keys made of it.
//!
//! A secret that sender and receiver share gives two keys, because the schemes disagree: Standard Webhooks signs with the bytes
//! that the base64 text stands for, the Digital River header and the `t=…,v1=…` form with the text
//! as it was revealed (domain 5). Both are kept as HMAC states that have taken in the key, which saves
//! a fifth of the time to sign a small body, and are overwritten when the secret goes. An asymmetric
//! one (`whsk_`, feature `ed25519`) gives one, which the sender alone has.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
#[cfg(feature = "ed25519")]
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};
use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::{Error, Result};
#[cfg(feature = "ed25519")]
use super::public_key::PublicKey;
use crate::policy::{SECRET_BYTES, SECRET_BYTES_MADE};

const STANDARD_PREFIX: &str = "whsec_";
const DIGITAL_RIVER_PREFIX: &str = "whk_";
const PUBLIC_PREFIX: &str = "whpk_";
const PRIVATE_PREFIX: &str = "whsk_";

/// Bytes of a block of SHA-256; HMAC fills shorter keys with zeros to one block.
const BLOCK: usize = 64;

/// Secrets in use have no padding, or bits behind their last byte; both are harmless in a key.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a webhook's requests are signed with.
///
/// Sender and receiver share it: its text is `whsec_` and base64 of 24 to 64 bytes (Standard Webhooks), or `whk_…`, 24 to 64
/// visible ASCII characters in all (as Digital River's dashboard shows them). What signs depends on
/// the scheme:
///
/// | | `whsec_…` | `whk_…` |
/// |---|---|---|
/// | Standard Webhooks | the decoded bytes | the text, prefix included |
/// | Digital River, `t=…,v1=…` | the text, prefix included | the text, prefix included |
///
/// Or it is the sender's alone: `whsk_` and base64 of the 32 bytes of an ed25519 seed, or of 64, the
/// public key behind the seed. Then it signs by
/// [`StandardWebhooksAsymmetric`](crate::SignatureScheme::StandardWebhooksAsymmetric) and nothing
/// else, and the receiver verifies with its public key. Needs the feature `ed25519`.
///
/// Copies share one allocation, which is wiped when the last one goes. `Debug` hides the secret,
/// comparison takes the same time wherever two texts differ, and there is no `Serialize`: what
/// stores a secret calls [`Secret::reveal`].
///
/// ```
/// use tidings::Secret;
///
/// let secret = Secret::from_random(&[7; 32]);
/// assert!(secret.reveal().starts_with("whsec_"));
/// assert_eq!(Secret::parse(secret.reveal()).unwrap(), secret);
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    text: Zeroizing<String>,
    keys: Keys,
}

enum Keys {
    Shared(SharedKeys),
    /// Wipes itself.
    #[cfg(feature = "ed25519")]
    Asymmetric(SigningKey),
}

struct SharedKeys {
    decoded: Key,
    text: Key,
}

/// A key, ready to sign: HMAC-SHA-256 that has read its key and no message yet.
pub(crate) type Key = Hmac<Sha256>;

impl Drop for SharedKeys {
    /// Overwrites the keys, as good as safe code can; the text wipes itself.
    fn drop(&mut self) {
        let blank = Key::new(&[0; BLOCK].into());
        self.decoded = blank.clone();
        self.text = blank;
        // What nobody reads, the compiler need not write.
        std::hint::black_box(&mut *self);
    }
}

impl Secret {
    /// The secret of 32 random bytes, in the form of Standard Webhooks.
    pub fn from_random(bytes: &[u8; SECRET_BYTES_MADE]) -> Self {
        // Room for all of it, so that growing leaves no copy behind.
        let mut text = String::with_capacity(STANDARD_PREFIX.len() + bytes.len() * 2);
        text.push_str(STANDARD_PREFIX);
        STANDARD.encode_string(bytes, &mut text);
        Self::assemble(text, bytes)
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `secret` when the text has neither
    /// form, is too short or too long, or is a public key (`whpk_`), which signs nothing; for a
    /// private key (`whsk_`) also when its public half is that of another one, and without the
    /// feature `ed25519`. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |message: String| Err(Error::invalid("secret", message));
        if text.starts_with(PUBLIC_PREFIX) {
            return invalid("is a public key (whpk_), not a secret".into());
        }
        if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            return Self::parse_private(text, encoded);
        }
        let (least, most) = (*SECRET_BYTES.start(), *SECRET_BYTES.end());
        if let Some(encoded) = text.strip_prefix(STANDARD_PREFIX) {
            let mut bytes = Zeroizing::new([0; BLOCK + 2]);
            if encoded.len() > BLOCK.div_ceil(3) * 4 {
                return invalid(format!("has a key of more than {most} bytes"));
            }
            let Ok(len) = TOLERANT.decode_slice(encoded, bytes.as_mut_slice()) else {
                return invalid("is not standard base64 behind whsec_".into());
            };
            if !SECRET_BYTES.contains(&len) {
                return invalid(format!("has a key of {len} bytes; {least} to {most} are allowed"));
            }
            return Ok(Self::assemble(text.into(), bytes.get(..len).unwrap_or_default()));
        }
        if text.starts_with(DIGITAL_RIVER_PREFIX) {
            if !SECRET_BYTES.contains(&text.len()) {
                return invalid(format!(
                    "has {} bytes; {least} to {most} are allowed, whk_ included",
                    text.len()
                ));
            }
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return invalid("has a character that is not visible ASCII".into());
            }
            return Ok(Self::assemble(text.into(), text.as_bytes()));
        }
        invalid("begins neither with whsec_ nor with whk_".into())
    }

    #[cfg(feature = "ed25519")]
    fn parse_private(text: &str, encoded: &str) -> Result<Self> {
        let invalid = |message| Error::invalid("secret", message);
        let mut bytes = Zeroizing::new([0; 2 * SECRET_KEY_LENGTH + 2]);
        let len = STANDARD.decode_slice(encoded, bytes.as_mut_slice()).unwrap_or_default();
        let (seed, public) = match bytes.get(..len).and_then(|bytes| bytes.split_first_chunk()) {
            Some((seed, public)) if public.is_empty() || public.len() == seed.len() => {
                (seed, public)
            }
            _ => return Err(invalid("is not base64 of 32 or 64 bytes behind whsk_")),
        };
        let key = SigningKey::from_bytes(seed);
        // Signatures under another public key than their own give the private one away.
        if !public.is_empty() && key.verifying_key().as_bytes() != public {
            return Err(invalid("has the public half of another key"));
        }
        Ok(Self::of(text.into(), Keys::Asymmetric(key)))
    }

    #[cfg(not(feature = "ed25519"))]
    fn parse_private(_text: &str, _encoded: &str) -> Result<Self> {
        let message = "is a private key (whsk_), which needs the feature `ed25519` of tidings";
        Err(Error::invalid("secret", message))
    }

    /// The asymmetric secret of 32 random bytes: `whsk_` and base64 of them and the public key.
    #[cfg(feature = "ed25519")]
    pub fn asymmetric_from_random(bytes: &[u8; SECRET_BYTES_MADE]) -> Self {
        let key = SigningKey::from_bytes(bytes);
        let pair = Zeroizing::new(key.to_keypair_bytes());
        // Room for all of it, so that growing leaves no copy behind.
        let mut text = String::with_capacity(PRIVATE_PREFIX.len() + pair.len() * 2);
        text.push_str(PRIVATE_PREFIX);
        STANDARD.encode_string(*pair, &mut text);
        Self::of(text, Keys::Asymmetric(key))
    }

    fn assemble(text: String, decoded: &[u8]) -> Self {
        let keys = SharedKeys {
            decoded: Key::new((&*key_block(decoded)).into()),
            text: Key::new((&*key_block(text.as_bytes())).into()),
        };
        Self::of(text, Keys::Shared(keys))
    }

    fn of(text: String, keys: Keys) -> Self {
        Self(Arc::new(Inner { text: Zeroizing::new(text), keys }))
    }

    /// The text of the secret, for its owner and for the store; not to be logged.
    pub fn reveal(&self) -> &str {
        &self.0.text
    }

    /// Whether it is the sender's alone (`whsk_`), so that receivers verify with its public key.
    pub fn is_asymmetric(&self) -> bool {
        !matches!(self.0.keys, Keys::Shared(_))
    }

    /// What receivers verify with, for an asymmetric secret; to be shown to anybody.
    #[cfg(feature = "ed25519")]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.signing_key().map(|key| PublicKey::of(key.verifying_key()))
    }

    /// The key of the decoded bytes; of the text where nothing is encoded. Shared secrets have one.
    pub(crate) fn decoded_key(&self) -> Option<&Key> {
        self.shared().map(|keys| &keys.decoded)
    }

    /// The key of the text exactly as revealed. Shared secrets have one.
    pub(crate) fn text_key(&self) -> Option<&Key> {
        self.shared().map(|keys| &keys.text)
    }

    fn shared(&self) -> Option<&SharedKeys> {
        match &self.0.keys {
            Keys::Shared(keys) => Some(keys),
            #[cfg(feature = "ed25519")]
            Keys::Asymmetric(_) => None,
        }
    }

    /// The key that asymmetric secrets have.
    #[cfg(feature = "ed25519")]
    pub(crate) fn signing_key(&self) -> Option<&SigningKey> {
        match &self.0.keys {
            Keys::Shared(_) => None,
            Keys::Asymmetric(key) => Some(key),
        }
    }
}

/// The key as HMAC uses it (RFC 2104): hashed when longer than a block, then filled with zeros.
fn key_block(key: &[u8]) -> Zeroizing<[u8; BLOCK]> {
    let mut block = Zeroizing::new([0; BLOCK]);
    if let Some(start) = block.get_mut(..key.len()) {
        start.copy_from_slice(key);
    } else {
        let mut hash = Zeroizing::new([0; 32]);
        hash.copy_from_slice(&Sha256::digest(key));
        block[..32].copy_from_slice(hash.as_slice());
    }
    block
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reveal().as_bytes().ct_eq(other.reveal().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac;

    use super::*;

    fn encoded(bytes: usize) -> String {
        format!("whsec_{}", STANDARD.encode(vec![0xa5; bytes]))
    }

    /// Reads both forms at their shortest and longest (table).
    #[test]
    fn secrets_of_both_forms_are_read_as_they_are() {
        for text in [
            encoded(24),
            encoded(32),
            encoded(64),
            encoded(25).trim_end_matches('=').to_owned(),
            encoded(26).trim_end_matches('=').to_owned(),
            // The reference libraries' own tests leave bits behind the last byte.
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr".to_owned(),
            "whk_00000000-0000-4000-8000-000000000001".to_owned(),
            format!("whk_{}", "x".repeat(20)),
            format!("whk_{}", "~".repeat(60)),
        ] {
            assert_eq!(Secret::parse(&text).unwrap().reveal(), text);
        }
    }

    /// Reads texts that break one rule each; the error names the field and not the text (table).
    #[test]
    fn other_secrets_are_refused_without_an_echo() {
        for text in [
            String::new(),
            "whsec_".to_owned(),
            "whk_".to_owned(),
            encoded(0),
            encoded(23),
            encoded(65),
            encoded(600),
            encoded(32).replace("whsec_", ""),
            encoded(32).replace("whsec_", "WHSEC_"),
            encoded(32).replace("whsec_", "whpk_"),
            encoded(64).replace("whsec_", "whsk_"),
            "whsec_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_".to_owned(),
            format!("{} ", encoded(32)),
            format!("whk_{}", "x".repeat(19)),
            format!("whk_{}", "x".repeat(61)),
            format!("whk_{} {}", "x".repeat(20), "x"),
            format!("whk_{}é", "x".repeat(20)),
        ] {
            let error = Secret::parse(&text).unwrap_err();
            assert_eq!(error.field(), Some("secret"), "{text}");
            if text.len() > 6 {
                assert!(!format!("{error} {error:?}").contains(&text), "{error}");
            }
        }
        let text = Secret::parse(&encoded(32).replace("whsec_", "whpk_")).unwrap_err().to_string();
        assert_eq!(text, "secret: is a public key (whpk_), not a secret");
    }

    /// Fills keys at and around a block's length (table).
    #[test]
    fn long_keys_are_hashed_to_a_block() {
        for len in [0, 24, 63, 64] {
            let block = key_block(&vec![0xa5; len]);
            assert_eq!(block[..len], vec![0xa5; len]);
            assert_eq!(block[len..], vec![0; BLOCK - len]);
        }
        let block = key_block(&[0xa5; 65]);
        assert_eq!(block[..32], Sha256::digest([0xa5; 65])[..]);
        assert_eq!(block[32..], [0; 32]);
    }

    /// Signs with both keys of secrets of known bytes, and with keys made from those bytes.
    #[test]
    fn a_secret_gives_the_key_that_each_scheme_wants() {
        let code = |key: &Key| key.clone().chain_update("message").finalize().into_bytes();
        let expected = |key: &[u8]| code(&Key::new_from_slice(key).unwrap());

        for bytes in [24, 32, 64] {
            let secret = Secret::parse(&encoded(bytes)).unwrap();
            assert_eq!(code(secret.decoded_key().unwrap()), expected(&vec![0xa5; bytes]));
            assert_eq!(code(secret.text_key().unwrap()), expected(encoded(bytes).as_bytes()));
        }
        assert_eq!(Secret::from_random(&[0xa5; 32]).reveal(), encoded(32));

        let text = "whk_00000000-0000-4000-8000-000000000001";
        let plain = Secret::parse(text).unwrap();
        assert_eq!(code(plain.decoded_key().unwrap()), expected(text.as_bytes()));
        assert_eq!(code(plain.text_key().unwrap()), expected(text.as_bytes()));
    }

    /// Reads the seed alone, the pair, and texts that break one rule each (table).
    #[cfg(feature = "ed25519")]
    #[test]
    fn a_private_key_is_a_seed_or_a_pair() {
        let made = Secret::asymmetric_from_random(&[0xa5; 32]);
        let of = |bytes: &[u8]| format!("whsk_{}", STANDARD.encode(bytes));
        let pair = SigningKey::from_bytes(&[0xa5; 32]).to_keypair_bytes();
        assert_eq!(made.reveal(), of(&pair));
        for text in [of(&pair), of(&pair[..32])] {
            let secret = Secret::parse(&text).unwrap();
            assert!(secret.is_asymmetric() && secret.decoded_key().is_none());
            assert!(secret.text_key().is_none());
            assert_eq!((secret.reveal(), secret.public_key()), (text.as_str(), made.public_key()));
            assert_eq!(format!("{secret:?}"), "Secret(..)");
        }
        let mut other = pair;
        other[63] ^= 1;
        for text in [
            "whsk_".to_owned(),
            of(&[]),
            of(&pair[..31]),
            of(&pair[..33]),
            of(&pair[..63]),
            of(&[pair.as_slice(), &[0]].concat()),
            of(&[0xa5; 64]),
            of(&other),
            of(&pair).replace("whsk_", "WHSK_"),
            of(&pair).trim_end_matches('=').to_owned(),
            format!("{} ", of(&pair)),
            of(&[0xa5; 600]),
        ] {
            let error = Secret::parse(&text).expect_err(&text);
            assert_eq!(error.field(), Some("secret"), "{text}");
            assert!(text.len() < 6 || !format!("{error:?}").contains(&text[5..]));
        }
        let shared = Secret::from_random(&[0xa5; 32]);
        assert_eq!((shared.is_asymmetric(), shared.public_key()), (false, None));
    }

    /// Reads a private key in a build that cannot sign with it.
    #[cfg(not(feature = "ed25519"))]
    #[test]
    fn a_private_key_needs_its_feature() {
        let error = Secret::parse(&encoded(32).replace("whsec_", "whsk_")).unwrap_err();
        assert_eq!(error.field(), Some("secret"));
        assert!(error.to_string().contains("`ed25519`"), "{error}");
    }

    /// Compares secrets that differ in the first or last byte, or in length.
    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        let text = "whk_abcdefghijklmnopqrstuvwxyz";
        let secret = Secret::parse(text).unwrap();
        assert_eq!(secret, Secret::parse(text).unwrap());
        for other in [
            "whk_Xbcdefghijklmnopqrstuvwxyz",
            "whk_abcdefghijklmnopqrstuvwxyX",
            "whk_abcdefghijklmnopqrstuvwxyzz",
        ] {
            assert_ne!(secret, Secret::parse(other).unwrap());
        }
    }
}
