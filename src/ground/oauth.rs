//! OAuth 2.0 (RFC 6749) as a sender of webhooks uses it: what is asked of the token endpoint, and
//! what its answer says. Asking is the engine's part, through the same guarded client as a POST.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::address::EndpointUrl;
use super::authentication::{basic, check_credential};
use super::error::{Error, Result};
use super::policy::{TOKEN_BYTES_MAX, TOKEN_RESPONSE_BYTES_MAX};

/// How the sender gets a token: where, who it is there, and by which grant (domain 4a, row `oauth`).
///
/// ```
/// use tidings::{EndpointUrl, Grant, OAuth};
///
/// let endpoint = EndpointUrl::parse("https://id.example.com/token")?;
/// let oauth = OAuth::new(endpoint, "shop", "s3cret", Grant::password("ada", "pa ss"))?;
/// assert_eq!(oauth.token_request_body(), "grant_type=password&username=ada&password=pa+ss");
/// assert!(!format!("{oauth:?}").contains("s3cret"));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth {
    token_endpoint: EndpointUrl,
    client_id: String,
    client_secret: Zeroizing<String>,
    grant: Grant,
}

/// What is presented to the token endpoint, beside the client's own credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    ClientCredentials { audience: Option<String> },
    Password { username: String, password: Zeroizing<String> },
}

impl Grant {
    /// Nothing but the client's own credentials (RFC 6749, section 4.4), for an audience if the
    /// endpoint wants one.
    pub fn client_credentials(audience: Option<String>) -> Self {
        Self(Kind::ClientCredentials { audience })
    }

    /// A user's name and password (RFC 6749, section 4.3).
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Kind::Password {
            username: username.into(),
            password: Zeroizing::new(password.into()),
        })
    }

    /// `client_credentials` or `password`: the value of `grant_type`.
    pub fn grant_type(&self) -> &'static str {
        match self.0 {
            Kind::ClientCredentials { .. } => "client_credentials",
            Kind::Password { .. } => "password",
        }
    }

    /// The audience, if one was given.
    pub fn audience(&self) -> Option<&str> {
        match &self.0 {
            Kind::ClientCredentials { audience } => audience.as_deref(),
            Kind::Password { .. } => None,
        }
    }

    /// The user's name, for the password grant.
    pub fn username(&self) -> Option<&str> {
        match &self.0 {
            Kind::ClientCredentials { .. } => None,
            Kind::Password { username, .. } => Some(username),
        }
    }

    /// The user's password, for the password grant.
    pub fn reveal_password(&self) -> Option<&str> {
        match &self.0 {
            Kind::ClientCredentials { .. } => None,
            Kind::Password { password, .. } => Some(password),
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("grant_type", &self.grant_type())
            .field("audience", &self.audience())
            .field("username", &self.username())
            .finish_non_exhaustive()
    }
}

impl OAuth {
    /// Tokens from `token_endpoint` for this client.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field: `oauth.tokenEndPoint` when it does
    /// not begin with `https://` (domain 4c); `oauth.clientID`, `oauth.clientSecret`,
    /// `oauth.audience`, `oauth.userName`, `oauth.password` when one has more than 512 bytes or a
    /// control character, or the client's id or the user's name is empty.
    pub fn new(
        token_endpoint: EndpointUrl,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        grant: Grant,
    ) -> Result<Self> {
        let client_id = client_id.into();
        let client_secret = Zeroizing::new(client_secret.into());
        if !token_endpoint.is_https() {
            return Err(Error::invalid("oauth.tokenEndPoint", "must begin with https://"));
        }
        if client_id.is_empty() {
            return Err(Error::invalid("oauth.clientID", "is empty"));
        }
        if grant.username().is_some_and(str::is_empty) {
            return Err(Error::invalid("oauth.userName", "is empty"));
        }
        check_credential("oauth.clientID", "id", &client_id)?;
        check_credential("oauth.clientSecret", "secret", &client_secret)?;
        for (field, what, text) in [
            ("oauth.audience", "audience", grant.audience()),
            ("oauth.userName", "user name", grant.username()),
            ("oauth.password", "password", grant.reveal_password()),
        ] {
            check_credential(field, what, text.unwrap_or_default())?;
        }
        Ok(Self { token_endpoint, client_id, client_secret, grant })
    }

    /// The same without secret and password.
    #[cfg(feature = "sealing")]
    pub(super) fn blanked(&self) -> Self {
        let grant = match &self.grant.0 {
            Kind::ClientCredentials { .. } => self.grant.clone(),
            Kind::Password { username, .. } => Grant::password(username.as_str(), ""),
        };
        Self { client_secret: Zeroizing::default(), grant, ..self.clone() }
    }

    /// Where tokens come from.
    pub fn token_endpoint(&self) -> &EndpointUrl {
        &self.token_endpoint
    }

    /// Who the sender is there.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// How the sender proves it.
    pub fn reveal_client_secret(&self) -> &str {
        &self.client_secret
    }

    /// By which grant.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The body of the POST to the token endpoint, `application/x-www-form-urlencoded`. The
    /// client's own credentials are not in it: they go into the `authorization` header
    /// ([`OAuth::basic_credentials`]). It is a secret where the grant has a password.
    pub fn token_request_body(&self) -> String {
        // Room for all of it, so that growing leaves no copy behind.
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(4_096));
        form.append_pair("grant_type", self.grant.grant_type());
        for (key, value) in [
            ("audience", self.grant.audience()),
            ("username", self.grant.username()),
            ("password", self.grant.reveal_password()),
        ] {
            if let Some(value) = value {
                form.append_pair(key, value);
            }
        }
        form.finish()
    }

    /// The `authorization` header of the POST to the token endpoint: a secret. The id and the
    /// secret are form-encoded before they are joined (RFC 6749, section 2.3.1).
    pub fn basic_credentials(&self) -> String {
        let encode = |text: &str| {
            // Room for all of it, so that growing leaves no copy behind.
            let mut encoded = Zeroizing::new(String::with_capacity(text.len() * 3));
            encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
            encoded
        };
        basic(&encode(&self.client_id), &encode(&self.client_secret))
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("token_endpoint", &self.token_endpoint)
            .field("client_id", &self.client_id)
            .field("grant", &self.grant)
            .finish_non_exhaustive()
    }
}

/// A bearer token. `Debug` hides it, and it is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    access_token: Zeroizing<String>,
    expires_in: Option<Duration>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires_in: Option<&'a serde_json::value::RawValue>,
}

impl Token {
    /// Reads the body of the token endpoint's answer with status 200 (RFC 6749, section 5.1).
    ///
    /// Tolerant where endpoints are known to differ: `token_type` may be missing and has any case,
    /// `expires_in` may be a string; one that is not a number of seconds is as good as none.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `oauth`, with nothing of the answer in
    /// its text: more than 16 KiB, not a JSON object, no `access_token`, one of more than 8 KiB or
    /// with anything but visible ASCII, or a `token_type` other than `Bearer`.
    pub fn parse_response(body: &[u8]) -> Result<Self> {
        let invalid = |message: String| Err(Error::invalid("oauth", message));
        if body.len() > TOKEN_RESPONSE_BYTES_MAX {
            return invalid(format!(
                "the token endpoint's answer has {} bytes; at most {TOKEN_RESPONSE_BYTES_MAX} are \
                 allowed",
                body.len()
            ));
        }
        // The cause is dropped: it may repeat the token.
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
            return invalid("the token endpoint's answer is not a JSON object of texts".into());
        };
        let access_token = answer.access_token.unwrap_or_default().into_owned();
        let access_token = Zeroizing::new(access_token);
        if access_token.is_empty() || access_token.len() > TOKEN_BYTES_MAX {
            return invalid(format!(
                "the token endpoint's answer has an access_token of {} bytes; 1 to \
                 {TOKEN_BYTES_MAX} are allowed",
                access_token.len()
            ));
        }
        if !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                "the token endpoint's answer has an access_token that is not visible ASCII";
            return invalid(message.into());
        }
        if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return invalid(
                "the token endpoint's answer has a token_type other than Bearer".into(),
            );
        }
        let seconds = answer.expires_in.and_then(|raw| raw.get().trim_matches('"').parse().ok());
        Ok(Self { access_token, expires_in: seconds.map(Duration::from_secs) })
    }

    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.access_token
    }

    /// How long it holds, counted from the answer, if the endpoint says.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    /// The value of the `authorization` header (RFC 6750): a secret.
    pub fn header_value(&self) -> String {
        ["Bearer ", &self.access_token].concat()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text).unwrap()
    }

    fn oauth(grant: Grant) -> Result<OAuth> {
        OAuth::new(url("https://id.example/token"), "s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", grant)
    }

    /// Encodes the examples of RFC 6749, sections 2.3.1, 4.3.2 and 4.4.2, and reserved characters
    /// (table).
    #[test]
    fn requests_are_those_of_the_rfc() {
        for (grant, body) in [
            (Grant::client_credentials(None), "grant_type=client_credentials"),
            (
                Grant::client_credentials(Some("https://a.example/?b=c&d".into())),
                "grant_type=client_credentials&audience=https%3A%2F%2Fa.example%2F%3Fb%3Dc%26d",
            ),
            (
                Grant::password("johndoe", "A3ddj3w"),
                "grant_type=password&username=johndoe&password=A3ddj3w",
            ),
            (
                Grant::password("a:b", "é =&+%"),
                "grant_type=password&username=a%3Ab&password=%C3%A9+%3D%26%2B%25",
            ),
        ] {
            assert_eq!(oauth(grant).unwrap().token_request_body(), body);
        }
        let client = oauth(Grant::client_credentials(None)).unwrap();
        assert_eq!(
            client.basic_credentials(),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
        let odd =
            OAuth::new(url("https://b.example"), "a:b", "c d", Grant::client_credentials(None));
        // "a%3Ab:c+d"
        assert_eq!(odd.unwrap().basic_credentials(), "Basic YSUzQWI6Yytk");
    }

    /// Builds clients that break one rule each (table).
    #[test]
    fn the_error_names_the_field() {
        let long = "s3cret".repeat(86);
        let plain = || Grant::client_credentials(None);
        let at =
            |address, id: &str, secret: &str, grant| OAuth::new(url(address), id, secret, grant);
        let https = "https://id.example/";
        for (made, field) in [
            (at("http://id.example/", "i", "s", plain()), "oauth.tokenEndPoint"),
            (at(https, "", "s", plain()), "oauth.clientID"),
            (at(https, &long, "s", plain()), "oauth.clientID"),
            (at(https, "i", &long, plain()), "oauth.clientSecret"),
            (at(https, "i", "s3cret\r", plain()), "oauth.clientSecret"),
            (at(https, "i", "s", Grant::client_credentials(Some(long.clone()))), "oauth.audience"),
            (at(https, "i", "s", Grant::password("", "p")), "oauth.userName"),
            (at(https, "i", "s", Grant::password("s3cret\0", "p")), "oauth.userName"),
            (at(https, "i", "s", Grant::password("u", "s3cret\n")), "oauth.password"),
        ] {
            let error = made.unwrap_err();
            assert_eq!(error.field(), Some(field));
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    /// Reads answers of endpoints that differ within what is tolerated (table; RFC 6749, 5.1).
    #[test]
    fn answers_are_read() {
        for (body, expires) in [
            (r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#, Some(3_600)),
            (r#"{"access_token":"abc","token_type":"bearer","expires_in":"60"}"#, Some(60)),
            (r#"{"access_token":"\u0061bc","refresh_token":"x","scope":null}"#, None),
            (r#"{"access_token":"abc","expires_in":-1}"#, None),
            (r#"{"access_token":"abc","expires_in":1e308}"#, None),
            (r#" {"access_token":"abc","expires_in":null} "#, None),
        ] {
            let token = Token::parse_response(body.as_bytes()).unwrap();
            assert_eq!(token.reveal(), "abc");
            assert_eq!(token.header_value(), "Bearer abc");
            assert_eq!(token.expires_in(), expires.map(Duration::from_secs), "{body}");
        }
    }

    /// Reads hostile and broken answers (table), and looks for their content in the error.
    #[test]
    fn bad_answers_are_refused_without_repeating_them() {
        let token = |token: &str| format!(r#"{{"access_token":"{token}"}}"#);
        for body in [
            String::new(),
            "s3cret".into(),
            r#""s3cret""#.into(),
            r#"{"access_token":{"s3cret":1}}"#.into(),
            r#"{"access_token":null}"#.into(),
            r#"{"error":"s3cret"}"#.into(),
            r#"{"access_token":"s3cret","token_type":"mac"}"#.into(),
            token(""),
            token("s3cret s3cret"),
            token(r"s3cret\r\nx: y"),
            token("s3cretü"),
            token(&"s3cret__".repeat(1_025)),
            token(&"s3cret__".repeat(2_100)),
        ] {
            let error = Token::parse_response(body.as_bytes()).unwrap_err();
            assert_eq!(error.field(), Some("oauth"));
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
        assert!(Token::parse_response(&[0xff; 4]).is_err());
        assert!(Token::parse_response(token(&"s".repeat(8_192)).as_bytes()).is_ok());
    }

    /// Puts a canary into every secret place and looks for it in the `Debug` forms.
    #[test]
    fn debug_shows_no_secret() {
        let grant = Grant::password("ada", "CANARY");
        let oauth = OAuth::new(url("https://id.example"), "shop", "CANARY", grant).unwrap();
        let token = Token::parse_response(br#"{"access_token":"CANARY"}"#).unwrap();
        let text = format!("{oauth:?} {token:?}");
        assert!(!text.contains("CANARY"), "{text}");
        assert!(text.contains("shop") && text.contains("ada"), "{text}");
    }
}
