//! The record of a webhook: the text that a storage keeps of it, and how it is read back.
//!
//! One JSON object, so that storages need no column for each field and a new field needs no new
//! schema. Keys that are not known are ignored: an older version reads what a newer one wrote as
//! far as it understands it. What is read is checked by the same rules as what people enter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::address::EndpointUrl;
use super::authentication::{Authentication, Basic};
use super::condition::Condition;
use super::error::{Error, ErrorKind, Result};
use super::header::Headers;
use super::identity::{ClientIdentity, KeyForm, PrivateKey, RootCertificates, TlsSettings};
use super::oauth::{Grant, OAuth};
use super::order::Ordering;
use super::rate_limit::RateLimit;
use super::secret::Secret;
use super::secrets::{SecretRecord, Secrets};
use super::signature;
use super::time::Timestamp;
use super::vault::{Guarded, SealedRecord};
use super::webhook::{DisabledReason, Settings, Status, Webhook};

pub(super) type Text<'a> = Cow<'a, str>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    id: super::id::WebhookId,
    account: &'a super::account::Account,
    mode: super::account::Mode,
    address: &'a str,
    types: &'a super::filter::Filters,
    description: &'a str,
    metadata: &'a BTreeMap<String, String>,
    headers: Vec<(&'a str, &'a str)>,
    authentication: AuthenticationRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_identity: Option<IdentityRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_certificates: Option<Vec<String>>,
    api_version: Option<&'a str>,
    timeout_millis: Option<u64>,
    schemes: &'a [super::signature::SignatureScheme],
    ordering: Ordering,
    rate_limit: Option<RateLimit>,
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Vec<SecretPart<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<SealedRecord>,
    enabled: bool,
    disabled_reason: Option<DisabledReason>,
    created: Millis,
    updated: Millis,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum AuthenticationRecord<'a> {
    None,
    Basic {
        /// Also read as it is spelt in older samples (domain 8, row 10).
        #[serde(borrow, alias = "userName")]
        username: Text<'a>,
        #[serde(borrow)]
        password: Text<'a>,
    },
    #[serde(rename = "oauth", rename_all = "camelCase")]
    OAuth {
        #[serde(borrow)]
        token_end_point: Text<'a>,
        #[serde(borrow, rename = "clientID")]
        client_id: Text<'a>,
        #[serde(borrow)]
        client_secret: Text<'a>,
        #[serde(borrow)]
        grant_type: Text<'a>,
        #[serde(borrow, default)]
        audience: Option<Text<'a>>,
        #[serde(borrow, default, alias = "userName")]
        username: Option<Text<'a>>,
        #[serde(borrow, default)]
        password: Option<Text<'a>>,
    },
}

/// A client certificate: DER in base64, and the key in whatever form it came.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdentityRecord<'a> {
    chain: Vec<String>,
    #[serde(borrow)]
    key_form: Option<Text<'a>>,
    key: Option<Wiped>,
}

/// A text that is wiped on drop.
struct Wiped(Zeroizing<String>);

impl Serialize for Wiped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SecretPart<'a> {
    #[serde(borrow)]
    secret: Text<'a>,
    created: Millis,
    #[serde(default)]
    expires: Option<Millis>,
}

/// Milliseconds since 1970: exact for every time, also outside the years that text can express.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Millis(#[serde(with = "chrono::serde::ts_milliseconds")] Timestamp);

impl Webhook {
    /// The text for a storage to keep: a JSON object with all of it, **secrets and credentials in
    /// clear** unless they are sealed. The storage must guard it like a password file. It says nothing
    /// of the webhook's lane.
    ///
    /// ```
    /// use tidings::{Registration, Secret, Timestamp, Webhook, WebhookId};
    ///
    /// let now = Timestamp::UNIX_EPOCH;
    /// let webhook = Registration::new("https://example.com/hook", ["order.*"])?
    ///     .into_webhook(WebhookId::new(now, &[1; 10]), Secret::from_random(&[2; 32]), now)?;
    /// assert_eq!(Webhook::from_stored(&webhook.to_stored()?)?, webhook);
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) when the text cannot be written.
    pub fn to_stored(&self) -> Result<String> {
        let tls = self.settings.tls.as_deref();
        let record = Record {
            id: self.id,
            account: &self.account,
            mode: self.mode,
            address: self.settings.address.as_str(),
            types: &self.settings.types,
            description: &self.settings.description,
            metadata: &self.settings.metadata,
            headers: self
                .settings
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.reveal()))
                .collect(),
            authentication: (&self.settings.authentication).into(),
            client_identity: tls.and_then(TlsSettings::identity).map(IdentityRecord::from),
            root_certificates: tls
                .and_then(TlsSettings::roots)
                .map(|roots| roots.certificates().map(|der| STANDARD.encode(der)).collect()),
            api_version: self.settings.api_version.as_deref(),
            timeout_millis: self
                .settings
                .timeout
                .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            schemes: &self.settings.schemes,
            ordering: self.settings.ordering,
            rate_limit: self.settings.rate_limit,
            concurrency: self.settings.concurrency,
            condition: self.settings.condition.as_ref(),
            secrets: match &self.secrets {
                Guarded::Open(secrets) => Some(secrets.parts().map(SecretPart::from).collect()),
                Guarded::Sealed(_) => None,
            },
            sealed: match &self.secrets {
                Guarded::Open(_) => None,
                Guarded::Sealed(sealed) => Some(sealed.into()),
            },
            enabled: self.is_enabled(),
            disabled_reason: match self.status {
                Status::Enabled => None,
                Status::Disabled(reason) => Some(reason),
            },
            created: Millis(self.created),
            updated: Millis(self.updated),
            version: self.version,
        };
        serde_json::to_string(&record).map_err(|error| {
            Error::new(ErrorKind::Storage, "the webhook cannot be written").with_source(error)
        })
    }

    /// The webhook that [`Webhook::to_stored`] wrote. Keys that are not known are ignored.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) when the text is not such a record, or breaks a rule that
    /// webhooks keep; the error names the key and repeats nothing of its value.
    pub fn from_stored(text: &str) -> Result<Self> {
        let keys = Keys::read(text)?;
        let enabled: bool = keys.get("enabled")?;
        let reason: Option<DisabledReason> = keys.find("disabledReason")?;
        let status = match (enabled, reason) {
            (true, _) => Status::Enabled,
            (false, Some(reason)) => Status::Disabled(reason),
            (false, None) => return Err(unreadable("disabledReason")),
        };
        let headers: Vec<(Text<'_>, Text<'_>)> = keys.find("headers")?.unwrap_or_default();
        let sealed: Option<SealedRecord> = keys.find("sealed")?;
        let secrets = match sealed {
            Some(sealed) => Guarded::Sealed(sealed.try_into().map_err(|_| unreadable("sealed"))?),
            None => Guarded::Open(open_secrets(&keys)?),
        };
        let authentication: Option<AuthenticationRecord<'_>> = keys.find("authentication")?;
        let identity: Option<IdentityRecord<'_>> = keys.find("clientIdentity")?;
        let identity = identity
            .map(ClientIdentity::try_from)
            .transpose()
            .map_err(|_| unreadable("clientIdentity"))?;
        let roots: Option<Vec<String>> = keys.find("rootCertificates")?;
        let roots = roots
            .map(|roots| decoded(&roots).and_then(RootCertificates::assemble))
            .transpose()
            .map_err(|_| unreadable("rootCertificates"))?;
        let settings = Settings {
            address: keys.get("address")?,
            types: keys.get("types")?,
            description: keys.find("description")?.unwrap_or_default(),
            metadata: keys.find("metadata")?.unwrap_or_default(),
            headers: Headers::parse(headers).map_err(|_| unreadable("headers"))?,
            authentication: authentication
                .map(Authentication::try_from)
                .transpose()
                .map_err(|_| unreadable("authentication"))?
                .unwrap_or_default(),
            tls: TlsSettings::new(identity, roots),
            api_version: keys.find("apiVersion")?,
            timeout: keys.find("timeoutMillis")?.map(Duration::from_millis),
            schemes: keys.get("schemes")?,
            ordering: keys.find("ordering")?.unwrap_or_default(),
            rate_limit: keys.find::<Option<RateLimit>>("rateLimit")?.flatten(),
            concurrency: keys.find::<Option<u32>>("concurrency")?.flatten(),
            condition: keys.find("condition")?,
        };
        // Its texts name fields and limits only.
        settings.check().map_err(|error| {
            let message = format!("the stored webhook breaks a rule: {error}");
            Error::new(ErrorKind::Storage, message)
        })?;
        if let Guarded::Open(secrets) = &secrets {
            signature::check_secrets(&settings.schemes, secrets)
                .map_err(|_| unreadable("secrets"))?;
        }
        Ok(Self {
            id: keys.get("id")?,
            account: keys.get("account")?,
            mode: keys.get("mode")?,
            settings,
            secrets,
            status,
            created: keys.get::<Millis>("created")?.0,
            updated: keys.get::<Millis>("updated")?.0,
            version: keys.get("version")?,
        })
    }
}

fn open_secrets(keys: &Keys<'_>) -> Result<Secrets> {
    let parts: Vec<SecretPart<'_>> = keys.get("secrets")?;
    parts
        .into_iter()
        .map(SecretRecord::try_from)
        .collect::<Result<Vec<_>>>()
        .and_then(Secrets::from_stored)
        // Its text says what a secret must be, or which feature it needs, and repeats nothing of it.
        .map_err(|error| {
            Error::new(ErrorKind::Storage, format!("{}: {error}", unreadable("secrets")))
        })
}

/// The record cut into its keys, so that an error can name one.
struct Keys<'a>(BTreeMap<Text<'a>, &'a RawValue>);

impl<'a> Keys<'a> {
    fn read(text: &'a str) -> Result<Self> {
        serde_json::from_str(text).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message =
                format!("a stored webhook is not a JSON object at line {line}, column {column}");
            Error::new(ErrorKind::Storage, message)
        })
    }

    fn find<T: Deserialize<'a>>(&self, key: &'static str) -> Result<Option<T>> {
        match self.0.get(key) {
            // The cause is dropped: serde repeats the value that it did not expect.
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| unreadable(key)),
            None => Ok(None),
        }
    }

    fn get<T: Deserialize<'a>>(&self, key: &'static str) -> Result<T> {
        self.find(key)?.ok_or_else(|| unreadable(key))
    }
}

fn unreadable(key: &'static str) -> Error {
    let message = format!("the stored webhook's {key} is missing or cannot be read");
    Error::new(ErrorKind::Storage, message)
}

impl<'a> From<&'a SecretRecord> for SecretPart<'a> {
    fn from(record: &'a SecretRecord) -> Self {
        Self {
            secret: record.secret.reveal().into(),
            created: Millis(record.created),
            expires: record.expires.map(Millis),
        }
    }
}

impl TryFrom<SecretPart<'_>> for SecretRecord {
    type Error = Error;

    fn try_from(part: SecretPart<'_>) -> Result<Self> {
        Ok(Self {
            secret: Secret::parse(&part.secret)?,
            created: part.created.0,
            expires: part.expires.map(|expires| expires.0),
        })
    }
}

impl<'a> From<&'a ClientIdentity> for IdentityRecord<'a> {
    fn from(identity: &'a ClientIdentity) -> Self {
        let key = identity.reveal_key();
        Self {
            chain: identity.certificates().map(|der| STANDARD.encode(der)).collect(),
            key_form: key.map(|(form, _)| form.as_str().into()),
            key: key.map(|(_, der)| Wiped(Zeroizing::new(STANDARD.encode(der)))),
        }
    }
}

impl TryFrom<IdentityRecord<'_>> for ClientIdentity {
    type Error = Error;

    fn try_from(record: IdentityRecord<'_>) -> Result<Self> {
        let key = match (record.key_form.as_deref().map(KeyForm::parse), record.key) {
            (Some(Some(form)), Some(Wiped(encoded))) => {
                let mut der = Zeroizing::new(vec![0; encoded.len()]);
                let len = STANDARD
                    .decode_slice(encoded.as_bytes(), der.as_mut_slice())
                    .map_err(|_| unreadable("clientIdentity"))?;
                der.truncate(len);
                Some(PrivateKey { form, der })
            }
            (None, None) => None,
            _ => return Err(unreadable("clientIdentity")),
        };
        Self::assemble(decoded(&record.chain)?, key)
    }
}

fn decoded(certificates: &[String]) -> Result<Vec<Vec<u8>>> {
    let decode = |text: &String| STANDARD.decode(text).map_err(|_| unreadable("certificates"));
    certificates.iter().map(decode).collect()
}

impl<'a> From<&'a Authentication> for AuthenticationRecord<'a> {
    fn from(authentication: &'a Authentication) -> Self {
        match authentication {
            Authentication::None => Self::None,
            Authentication::Basic(basic) => Self::Basic {
                username: basic.username().into(),
                password: basic.reveal_password().into(),
            },
            Authentication::OAuth(oauth) => Self::OAuth {
                token_end_point: oauth.token_endpoint().as_str().into(),
                client_id: oauth.client_id().into(),
                client_secret: oauth.reveal_client_secret().into(),
                grant_type: oauth.grant().grant_type().into(),
                audience: oauth.grant().audience().map(Cow::from),
                username: oauth.grant().username().map(Cow::from),
                password: oauth.grant().reveal_password().map(Cow::from),
            },
        }
    }
}

impl TryFrom<AuthenticationRecord<'_>> for Authentication {
    type Error = Error;

    fn try_from(record: AuthenticationRecord<'_>) -> Result<Self> {
        match record {
            AuthenticationRecord::None => Ok(Self::None),
            AuthenticationRecord::Basic { username, password } => {
                Basic::new(username, password).map(Self::Basic)
            }
            AuthenticationRecord::OAuth {
                token_end_point,
                client_id,
                client_secret,
                grant_type,
                audience,
                username,
                password,
            } => {
                let grant = match (&*grant_type, username, password) {
                    ("client_credentials", ..) => {
                        Grant::client_credentials(audience.map(Cow::into_owned))
                    }
                    ("password", Some(username), Some(password)) => {
                        Grant::password(username, password)
                    }
                    _ => return Err(unreadable("authentication")),
                };
                let endpoint = EndpointUrl::parse(&token_end_point)?;
                OAuth::new(endpoint, client_id, client_secret, grant).map(Self::OAuth)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Edit, Filters, Mode, Overlap, Registration, SignatureScheme, WebhookId};

    fn now() -> Timestamp {
        crate::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
    }

    fn full(authentication: Authentication) -> Webhook {
        let edit = Edit::new()
            .types(Filters::parse(["order.*", "refund.failed"]).unwrap())
            .description("Bücher \"quoted\"\n")
            .metadata([("team".to_owned(), "ops".to_owned())].into())
            .headers(Headers::parse([("X-B", "CANARY-header"), ("X-A", "2")]).unwrap())
            .authentication(authentication)
            .api_version(Some("2026-01-31".into()))
            .timeout(Some(Duration::from_millis(1_234)))
            .ordering(Ordering::PerObject)
            .rate_limit(Some(RateLimit::new(50).unwrap().with_burst(7).unwrap()))
            .concurrency(Some(3))
            .condition(Some(Condition::parse(r#"{"data.object.total": {"$gt": 29.90}}"#).unwrap()))
            .schemes([SignatureScheme::StandardWebhooks, SignatureScheme::digital_river()]);
        let secret = Secret::parse("whk_CANARY-00000000-0000-4000-8000").unwrap();
        let webhook = Registration::new("https://example.com/hook?a=b", ["*"])
            .unwrap()
            .account(Account::new("acme").unwrap())
            .mode(Mode::Test)
            .with(edit)
            .into_webhook(WebhookId::new(now(), &[1; 10]), secret, now())
            .unwrap()
            .stored(now());
        let secrets = webhook.secrets().unwrap();
        let new = Secret::from_random(&[2; 32]);
        let secrets = secrets.rotate(new, Overlap::default(), now()).unwrap();
        webhook
            .with_secrets(secrets)
            .unwrap()
            .stored(crate::time::after(now(), Duration::from_secs(9)))
    }

    fn authentications() -> [Authentication; 4] {
        let oauth = |grant| {
            let endpoint = EndpointUrl::parse("https://id.example/t").unwrap();
            Authentication::OAuth(OAuth::new(endpoint, "shop", "CANARY-client", grant).unwrap())
        };
        [
            Authentication::None,
            Authentication::Basic(Basic::new("ada", "CANARY-basic\"").unwrap()),
            oauth(Grant::client_credentials(Some("hooks".into()))),
            oauth(Grant::password("ada", "CANARY-user")),
        ]
    }

    /// Writes and reads webhooks with every field set, in each authentication and status.
    #[test]
    fn a_record_holds_everything() {
        for authentication in authentications() {
            let webhook = full(authentication);
            for webhook in [
                webhook.enable(),
                webhook.disable(DisabledReason::NeverEnabled),
                webhook.disable(DisabledReason::Person),
                webhook.disable(DisabledReason::Failing),
                webhook.disable(DisabledReason::Gone),
            ] {
                let text = webhook.to_stored().unwrap();
                assert_eq!(Webhook::from_stored(&text).unwrap(), webhook, "{text}");
            }
        }
    }

    /// Adds keys at the top and in the parts, and takes the optional ones away.
    #[test]
    fn a_newer_or_an_older_record_is_read() {
        let [_, basic, ..] = authentications();
        let webhook = full(basic);
        let text = webhook.to_stored().unwrap();
        let newer = text
            .replacen('{', r#"{"later":{"perSecond":5},"#, 1)
            .replace(r#"{"kind":"#, r#"{"later":[1],"kind":"#)
            .replace(r#"{"secret":"#, r#"{"later":null,"secret":"#);
        assert_ne!(newer, text);
        assert_eq!(Webhook::from_stored(&newer).unwrap(), webhook);

        // domain 8, row 10.
        let spelt = text.replace(r#""username":"#, r#""userName":"#);
        assert_ne!(spelt, text);
        assert_eq!(Webhook::from_stored(&spelt).unwrap(), webhook);

        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in [
            "description",
            "metadata",
            "headers",
            "authentication",
            "apiVersion",
            "ordering",
            "rateLimit",
            "concurrency",
            "condition",
        ] {
            json.as_object_mut().unwrap().remove(key).unwrap();
        }
        let older = Webhook::from_stored(&json.to_string()).unwrap();
        assert_eq!(older.authentication(), &Authentication::None);
        assert_eq!((older.headers().len(), older.description()), (0, ""));
        assert!(webhook.needs_holder() && !older.needs_holder());
    }

    /// Takes each needed key away, and puts a canary of a wrong kind in the place of every key.
    #[test]
    fn an_unreadable_record_names_the_key_and_repeats_nothing() {
        let [.., oauth] = authentications();
        let text = full(oauth).to_stored().unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let refused = |text: &str, key: &str| {
            let error = Webhook::from_stored(text).expect_err(key);
            let shown = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Storage, "{shown}");
            assert!(shown.contains(key), "{key}: {shown}");
            assert!(!shown.contains("CANARY"), "{shown}");
        };
        for key in json.as_object().unwrap().keys() {
            let mut wrong = json.clone();
            wrong[key] = serde_json::json!([[{"CANARY": "CANARY"}, "CANARY"]]);
            refused(&wrong.to_string(), key);
        }
        for key in ["id", "account", "mode", "address", "types", "schemes", "secrets", "enabled"] {
            let mut without = json.clone();
            without.as_object_mut().unwrap().remove(key).unwrap();
            refused(&without.to_string(), key);
        }
        for (from, to, key) in [
            ("whk_CANARY", "CANARY", "secrets"),
            ("\"X-A\"", "\"x-b\"", "headers"),
            ("\"grantType\":\"password\"", "\"grantType\":\"CANARY\"", "authentication"),
            ("https://id.example/t", "http://id.example/CANARY", "authentication"),
            ("https://example.com/hook?a=b", "http://example.com/hook", "address"),
            ("\"timeoutMillis\":1234", "\"timeoutMillis\":61000", "timeout"),
            ("\"burst\":7", "\"burst\":0", "rateLimit"),
            ("\"concurrency\":3", "\"concurrency\":0", "concurrency"),
            ("\"$gt\"", "\"$CANARY\"", "condition"),
        ] {
            assert!(text.contains(from), "{from}");
            refused(&text.replace(from, to), key);
        }
        for text in ["", "CANARY", "[\"CANARY\"]", "{\"CANARY\":", "\"CANARY\""] {
            refused(text, "JSON object");
        }
    }

    /// Writes and reads a webhook with private keys, and puts a shared secret in their place.
    #[cfg(feature = "ed25519")]
    #[test]
    fn a_record_holds_private_keys() {
        let schemes = Edit::new().schemes([SignatureScheme::StandardWebhooksAsymmetric]);
        let secret = Secret::asymmetric_from_random(&[3; 32]);
        let webhook = Registration::new("https://example.com/hook", ["*"])
            .unwrap()
            .with(schemes)
            .into_webhook(WebhookId::new(now(), &[1; 10]), secret.clone(), now())
            .unwrap();
        let text = webhook.to_stored().unwrap();
        assert_eq!(Webhook::from_stored(&text).unwrap(), webhook);
        let shared = text.replace(secret.reveal(), Secret::from_random(&[3; 32]).reveal());
        assert!(Webhook::from_stored(&shared).unwrap_err().to_string().contains("secrets"));
    }

    /// Reads such a record in a build that cannot sign by it: the error names what it lacks.
    #[cfg(not(feature = "ed25519"))]
    #[test]
    fn a_record_with_private_keys_names_the_feature() {
        let text = full(Authentication::None).to_stored().unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["schemes"] = serde_json::json!([{ "kind": "standardWebhooksAsymmetric" }]);
        json["secrets"][0]["secret"] = "whsk_CANARY".into();
        let error = Webhook::from_stored(&json.to_string()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.to_string().contains("`ed25519`"), "{error}");
        assert!(!format!("{error:?}").contains("CANARY"));
    }
}
