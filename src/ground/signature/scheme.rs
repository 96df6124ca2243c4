//! The schemes: which headers a signature comes in, and which key it is made with.

use serde::{Deserialize, Serialize};

use super::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::ground::error::{Error, Result};
use crate::ground::header::{HeaderName, Headers};
use crate::ground::secret::{Key, Secret};
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
pub enum SignatureScheme {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,<base64>[ v1,<base64>…]` over
    /// `id.timestamp.body`, newest secret first, as Standard Webhooks 1.0.0 has it. The key is what
    /// the secret's base64 stands for; for a `whk_` secret its text.
    #[default]
    StandardWebhooks,
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
            Self::StandardWebhooks => {
                [Some(WEBHOOK_ID), Some(WEBHOOK_TIMESTAMP), Some(WEBHOOK_SIGNATURE)]
            }
            Self::DigitalRiver { header } | Self::TimestampedHex { header } => {
                [Some(header.as_str()), None, None]
            }
        };
        names.into_iter().flatten()
    }

    /// The key that `secret` gives under this scheme.
    pub(super) fn key<'s>(&self, secret: &'s Secret) -> &'s Key {
        match self {
            Self::StandardWebhooks => secret.decoded_key(),
            Self::DigitalRiver { .. } | Self::TimestampedHex { .. } => secret.text_key(),
        }
    }
}

/// Checks that one webhook can sign by all of `schemes` and send `headers` beside them.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid), for the field `schemes` when there is none or there are
/// more than four, and for `headers` when two schemes, or a scheme and a custom header, would write
/// the same name.
pub fn check(schemes: &[SignatureScheme], headers: &Headers) -> Result<()> {
    if schemes.is_empty() || schemes.len() > SCHEMES_MAX {
        let message = format!("has {} entries; 1 to {SCHEMES_MAX} are allowed", schemes.len());
        return Err(Error::invalid("schemes", message));
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
}
