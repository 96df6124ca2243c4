//! How the sender authenticates itself to a receiver, beside the signature.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::address::EndpointUrl;
use super::error::{Error, Result};
use super::header::Headers;
use super::oauth::OAuth;
use super::policy::CREDENTIAL_BYTES_MAX;
use super::signature::SignatureScheme;

/// How the sender authenticates itself (domain 4a: `transportType`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// By the signature alone.
    #[default]
    None,
    /// HTTP basic authentication (RFC 7617).
    Basic(Basic),
    /// A bearer token (RFC 6750) that the receiver's token endpoint gives out.
    OAuth(OAuth),
}

/// A user name and a password. Write-only: the password shows in no listing and no `Debug`.
///
/// ```
/// use tidings::Basic;
///
/// let basic = Basic::new("Aladdin", "open sesame")?;
/// assert_eq!(basic.header_value(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
/// assert!(!format!("{basic:?}").contains("sesame"));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    username: String,
    password: Zeroizing<String>,
}

impl Basic {
    /// These credentials.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `authentication` when one has more than
    /// 512 bytes or a control character, or the user name is empty or has a colon.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let (username, password) = (username.into(), Zeroizing::new(password.into()));
        if username.is_empty() || username.contains(':') {
            let message = "the user name must not be empty and must have no colon";
            return Err(Error::invalid("authentication", message));
        }
        check_credential("authentication", "user name", &username)?;
        check_credential("authentication", "password", &password)?;
        Ok(Self { username, password })
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    pub fn reveal_password(&self) -> &str {
        &self.password
    }

    /// The value of the `authorization` header: a secret.
    pub fn header_value(&self) -> String {
        basic(&self.username, &self.password)
    }
}

/// The value of an `authorization` header of RFC 7617.
pub(super) fn basic(username: &str, password: &str) -> String {
    // Each is made at its full length, so that growing leaves no copy behind.
    let pair = Zeroizing::new([username, ":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    ["Basic ", &encoded].concat()
}

/// Checks the bound and the characters of `text`, and repeats nothing of it.
pub(super) fn check_credential(field: &'static str, what: &str, text: &str) -> Result<()> {
    if text.len() > CREDENTIAL_BYTES_MAX {
        let message = format!(
            "the {what} has {} bytes; at most {CREDENTIAL_BYTES_MAX} are allowed",
            text.len()
        );
        return Err(Error::invalid(field, message));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("the {what} has a control character")));
    }
    Ok(())
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Authentication {
    /// The same without passwords and secrets.
    #[cfg(feature = "sealing")]
    pub(super) fn blanked(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Basic(basic) => Self::Basic(Basic {
                username: basic.username.clone(),
                password: Zeroizing::default(),
            }),
            Self::OAuth(oauth) => Self::OAuth(oauth.blanked()),
        }
    }

    /// The rules that bind it to the webhook's other fields.
    pub(super) fn check(
        &self,
        address: &EndpointUrl,
        headers: &Headers,
        schemes: &[SignatureScheme],
    ) -> Result<()> {
        if matches!(self, Self::None) {
            return Ok(());
        }
        let mut names = headers
            .iter()
            .map(|(name, _)| name.as_str())
            .chain(schemes.iter().flat_map(SignatureScheme::header_names));
        if names.any(|name| name.eq_ignore_ascii_case("authorization")) {
            let message = "authorization is already set by the webhook's authentication";
            return Err(Error::invalid("headers", message));
        }
        // Whoever can read the request could use the token elsewhere (RFC 6750, section 5.3).
        if matches!(self, Self::OAuth(_)) && !address.is_https() {
            let message = "must begin with https:// where a token is sent along";
            return Err(Error::invalid("address", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::oauth::Grant;

    /// Encodes the example of RFC 7617 and one beyond ASCII (table).
    #[test]
    fn basic_is_encoded_as_the_rfc_says() {
        for (username, password, value) in [
            ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test", "123\u{a3}", "Basic dGVzdDoxMjPCow=="),
            ("a", "", "Basic YTo="),
            ("a", "b:c", "Basic YTpiOmM="),
        ] {
            assert_eq!(Basic::new(username, password).unwrap().header_value(), value);
        }
    }

    /// Builds credentials that break one rule each (table), and looks for them in the error.
    #[test]
    fn bad_credentials_are_refused_without_repeating_them() {
        let long = "s3cret".repeat(86);
        for (username, password, says) in [
            ("", "s3cret", "must not be empty"),
            ("s3cret:x", "p", "no colon"),
            ("s3cret\n", "p", "user name has a control"),
            ("u", "s3cret\0", "password has a control"),
            (long.as_str(), "p", "user name has 516 bytes; at most 512"),
            ("u", long.as_str(), "password has 516 bytes; at most 512"),
        ] {
            let error = Basic::new(username, password).unwrap_err();
            assert_eq!(error.field(), Some("authentication"));
            assert!(error.to_string().contains(says), "{error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
        assert!(Basic::new("u".repeat(512), "p".repeat(512)).is_ok());
    }

    /// Combines each kind of authentication with addresses, headers and schemes (table).
    #[test]
    fn authentication_fits_the_rest_of_the_webhook() {
        let url = |text| EndpointUrl::parse(text).unwrap();
        let (http, https) = (url("http://a.example/"), url("https://a.example/"));
        let basic = Authentication::Basic(Basic::new("u", "p").unwrap());
        let oauth = Authentication::OAuth(
            OAuth::new(url("https://b.example/t"), "c", "s", Grant::client_credentials(None))
                .unwrap(),
        );
        let none = Headers::default();
        let own = Headers::parse([("AUTHORIZATION", "x")]).unwrap();
        let signed = [SignatureScheme::TimestampedHex {
            header: crate::HeaderName::parse("Authorization").unwrap(),
        }];
        for (authentication, address, headers, schemes, field) in [
            (&Authentication::None, &http, &own, &[][..], None),
            (&basic, &http, &none, &[], None),
            (&basic, &http, &own, &[], Some("headers")),
            (&basic, &http, &none, &signed, Some("headers")),
            (&oauth, &https, &none, &[], None),
            (&oauth, &https, &own, &[], Some("headers")),
            // domain 4c: OAuth demands https for the endpoint, too.
            (&oauth, &http, &none, &[], Some("address")),
        ] {
            let found = authentication.check(address, headers, schemes).err();
            let found = found.as_ref().and_then(Error::field);
            assert_eq!(found, field, "{authentication:?} {address} {headers:?}");
        }
    }
}
