//! The schemes: which headers a signature comes in, and which key it is made with.

use serde::{Deserialize, Serialize};

use super::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::ground::error::{Error, Result};
use crate::ground::header::{HeaderName, Headers};
use crate::ground::secret::{Key, Secret};
use crate::ground::secrets::Secrets;
use crate::policy::SCHEMES_MAX;

const DIGITAL_RIVER_SIGNATURE: &str = "DigitalRiver-Signature";

/// How a webhook's requests are signed. One webhook may use several schemes at once.
///
/// ```
/// use tidings::SignatureScheme;
///
/// let scheme: SignatureScheme = serde_json::from_str(r#"{"kind":"digitalRiver"}"#).unwrap();
/// assert_eq!(scheme, SignatureScheme::digital_river());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum SignatureScheme {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,<base64>[ v1,<base64>…]` over
    /// `id.timestamp.body`, newest secret first, as Standard Webhooks 1.0.0 has it. The key is what
    /// the secret's base64 stands for; for a `whk_` secret its text.
    #[default]
    StandardWebhooks,
    /// As [`StandardWebhooks`](Self::StandardWebhooks), with `v1a,<base64>` by ed25519: the receiver
    /// verifies with a public key (`whpk_`) and can sign nothing. The webhook's secrets are private
    /// keys then (`whsk_`), and it has no other scheme.
    ///
    /// Needs the feature `ed25519`. The variant is there in every build, so that a build without the
    /// feature says what it lacks when it meets such a webhook.
    StandardWebhooksAsymmetric,
    /// `<timestamp>, <base64>[, <base64>…]` over `timestamp.body`. The oldest secret comes first,
    /// so that readers that look at one signature keep working until they switch (domain 5). The
    /// key is the secret's text exactly as revealed.
    DigitalRiver {
        /// The name of the header.
        #[serde(default = "digital_river_signature")]
        header: HeaderName,
    },
    /// `t=<timestamp>,v1=<hex>[,v1=<hex>…]` over `timestamp.body`, newest secret first. The key is
    /// the secret's text exactly as revealed.
    TimestampedHex {
        /// The name of the header.
        header: HeaderName,
    },
}

fn digital_river_signature() -> HeaderName {
    HeaderName::known(DIGITAL_RIVER_SIGNATURE)
}

impl SignatureScheme {
    /// The Digital River scheme under its own header name, `DigitalRiver-Signature`.
    pub fn digital_river() -> Self {
        Self::DigitalRiver { header: digital_river_signature() }
    }

    /// The names of the headers that this scheme writes.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::StandardWebhooks | Self::StandardWebhooksAsymmetric => {
                [Some(WEBHOOK_ID), Some(WEBHOOK_TIMESTAMP), Some(WEBHOOK_SIGNATURE)]
            }
            Self::DigitalRiver { header } | Self::TimestampedHex { header } => {
                [Some(header.as_str()), None, None]
            }
        };
        names.into_iter().flatten()
    }

    /// Whether it signs with a private key and verifies with a public one.
    pub(crate) fn is_asymmetric(&self) -> bool {
        *self == Self::StandardWebhooksAsymmetric
    }

    /// The key of HMAC that `secret` gives under this scheme: none if it is of the other kind.
    pub(super) fn key<'s>(&self, secret: &'s Secret) -> Option<&'s Key> {
        match self {
            Self::StandardWebhooks => secret.decoded_key(),
            Self::StandardWebhooksAsymmetric => None,
            Self::DigitalRiver { .. } | Self::TimestampedHex { .. } => secret.text_key(),
        }
    }
}

/// Checks that one webhook can sign by all of `schemes` and send `headers` beside them.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid), for the field `schemes` when there is none or there are
/// more than four, when an asymmetric one stands beside another (the secrets of a webhook are all of
/// one kind) or the build lacks its feature, and for `headers` when two schemes, or a scheme and a custom header, would write
/// the same name.
pub fn check(schemes: &[SignatureScheme], headers: &Headers) -> Result<()> {
    if schemes.is_empty() || schemes.len() > SCHEMES_MAX {
        let message = format!("has {} entries; 1 to {SCHEMES_MAX} are allowed", schemes.len());
        return Err(Error::invalid("schemes", message));
    }
    if schemes.iter().any(SignatureScheme::is_asymmetric) {
        let message = if !cfg!(feature = "ed25519") {
            "has standardWebhooksAsymmetric, which needs the feature `ed25519` of tidings"
        } else if schemes.len() > 1 {
            "has standardWebhooksAsymmetric and another; its keys are of another kind, so it is alone"
        } else {
            ""
        };
        if !message.is_empty() {
            return Err(Error::invalid("schemes", message));
        }
    }
    let custom = headers.iter().map(|(name, _)| name.as_str());
    let signed = schemes.iter().flat_map(SignatureScheme::header_names);
    let names: Vec<_> = custom.chain(signed).collect();
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|other| other.eq_ignore_ascii_case(name)) {
            let message = format!("{name} would be written twice");
            return Err(Error::invalid("headers", message));
        }
    }
    Ok(())
}

/// Checks that `secrets` can sign by `schemes`: private keys by the asymmetric one, shared secrets by
/// all others.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for the field `secret` when they are of the other kind.
pub(crate) fn check_secrets(schemes: &[SignatureScheme], secrets: &Secrets) -> Result<()> {
    let asymmetric = schemes.iter().any(SignatureScheme::is_asymmetric);
    if secrets.parts().all(|record| record.secret.is_asymmetric() == asymmetric) {
        return Ok(());
    }
    let message = if asymmetric {
        "is shared; standardWebhooksAsymmetric signs with a private key (whsk_)"
    } else {
        "is a private key (whsk_), which signs by standardWebhooksAsymmetric alone"
    };
    Err(Error::invalid("secret", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> HeaderName {
        HeaderName::parse(name).unwrap()
    }

    /// Serialises each scheme and reads it back (table).
    #[test]
    fn schemes_are_tagged_objects() {
        for (scheme, json) in [
            (SignatureScheme::StandardWebhooks, r#"{"kind":"standardWebhooks"}"#),
            (
                SignatureScheme::StandardWebhooksAsymmetric,
                r#"{"kind":"standardWebhooksAsymmetric"}"#,
            ),
            (
                SignatureScheme::digital_river(),
                r#"{"kind":"digitalRiver","header":"DigitalRiver-Signature"}"#,
            ),
            (
                SignatureScheme::TimestampedHex { header: header("X-Signature") },
                r#"{"kind":"timestampedHex","header":"X-Signature"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&scheme).unwrap(), json);
            assert_eq!(serde_json::from_str::<SignatureScheme>(json).unwrap(), scheme);
        }
        for json in [
            r#"{"kind":"timestampedHex"}"#,
            r#"{"kind":"timestampedHex","header":"content-length"}"#,
            r#"{"kind":"none"}"#,
        ] {
            assert!(serde_json::from_str::<SignatureScheme>(json).is_err(), "{json}");
        }
    }

    /// Combines schemes and headers that do and do not collide (table).
    #[test]
    fn no_header_is_written_twice() {
        let standard = SignatureScheme::StandardWebhooks;
        let river = SignatureScheme::digital_river();
        let hex = |name| SignatureScheme::TimestampedHex { header: header(name) };
        let custom = Headers::parse([("X-A", "1")]).unwrap();
        let all = [standard.clone(), river.clone(), hex("X-S"), hex("X-T")];
        check(&all, &custom).unwrap();
        for (schemes, field) in [
            (vec![], "schemes"),
            ([all.as_slice(), &[hex("X-U")]].concat(), "schemes"),
            (vec![standard.clone(), standard], "headers"),
            (vec![river, hex("digitalriver-signature")], "headers"),
            (vec![hex("x-a")], "headers"),
        ] {
            assert_eq!(check(&schemes, &custom).unwrap_err().field(), Some(field));
        }
    }

    /// Puts the asymmetric scheme alone, beside others, and in a build that lacks it.
    #[test]
    fn the_asymmetric_scheme_is_alone() {
        let asymmetric = || SignatureScheme::StandardWebhooksAsymmetric;
        let alone = check(&[asymmetric()], &Headers::default());
        assert_eq!(alone.is_ok(), cfg!(feature = "ed25519"));
        if let Err(error) = alone {
            assert!(error.to_string().contains("`ed25519`"), "{error}");
        }
        for other in [SignatureScheme::StandardWebhooks, SignatureScheme::digital_river()] {
            let error = check(&[other, asymmetric()], &Headers::default()).unwrap_err();
            assert_eq!(error.field(), Some("schemes"));
        }
    }
}
