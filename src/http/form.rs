//! What callers send of a webhook, and the [`Registration`] or [`Edit`] that it asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::ground::account::{Account, Mode};
use crate::ground::address::EndpointUrl;
use crate::ground::authentication::{Authentication, Basic};
use crate::ground::condition::Condition;
use crate::ground::error::{Error, Result};
use crate::ground::filter::Filters;
use crate::ground::header::{Headers, MASK};
use crate::ground::identity::{ClientIdentity, RootCertificates};
use crate::ground::oauth::{Grant, OAuth};
use crate::ground::order::Ordering;
use crate::ground::rate_limit::RateLimit;
use crate::ground::secret::Secret;
use crate::ground::signature::SignatureScheme;
use crate::ground::webhook::{Edit, Registration, Webhook};

/// Absent, `null`, or something: an edit leaves, clears, or sets.
type Given<T> = Option<Option<T>>;

fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Given<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Who the sender is, by name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicForm {
    /// The user name. `userName` is read, too.
    #[serde(alias = "userName")]
    username: String,
    /// The password. It is never shown again.
    #[schema(format = Password)]
    password: String,
}

/// Where the sender gets tokens.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OAuthForm {
    /// The token endpoint: `https://…`.
    #[schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://", max_length = 2048)]
    token_end_point: String,
    /// The client's id there.
    #[serde(rename = "clientID")]
    client_id: String,
    /// The client's secret. It is never shown again.
    #[schema(format = Password)]
    client_secret: String,
    /// `password` when nobody says.
    #[serde(default)]
    grant_type: GrantType,
    /// The user, for the password grant.
    #[serde(default, alias = "username")]
    user_name: Option<String>,
    /// The user's password. It is never shown again.
    #[serde(default)]
    #[schema(format = Password)]
    password: Option<String>,
    /// For whom the token is, for the client's own credentials.
    #[serde(default)]
    audience: Option<String>,
}

/// How a token is asked for.
#[derive(Default, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GrantType {
    #[default]
    Password,
    ClientCredentials,
}

/// How many requests in time.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RateForm {
    /// Requests per second.
    #[schema(minimum = 1, maximum = 10000)]
    per_second: u32,
    /// Requests at once after a rest; 1 when nobody says.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    burst: Option<u32>,
}

/// The certificate that the sender shows.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityForm {
    /// The certificate and those that vouch for it, as PEM.
    certificates: String,
    /// The private key, as PEM. It is never shown again.
    #[schema(format = Password)]
    key: String,
}

/// Defines a form: its own fields, and those that both creating and editing have.
macro_rules! form {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$meta])* $field: $type,)*
            /// What people call it.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<String>)]
            description: Given<String>,
            /// The host's own notes.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<BTreeMap<String, String>>)]
            metadata: Given<BTreeMap<String, String>>,
            /// Headers to send with every request. Their values are never shown again: a value of `***` in a change
            /// keeps the one that the name has, and is refused where it has none.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<BTreeMap<String, String>>)]
            headers: Given<BTreeMap<String, String>>,
            /// Basic authentication. Not together with `oauth`.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<BasicForm>)]
            authentication: Given<BasicForm>,
            /// Tokens.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<OAuthForm>)]
            oauth: Given<OAuthForm>,
            /// The certificate that the sender shows.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<IdentityForm>)]
            client_certificate: Given<IdentityForm>,
            /// The authorities that are trusted instead of all others, as PEM.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<String>)]
            root_certificates: Given<String>,
            /// The version that payloads have: one of the host's, `latest`, or `default`.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<String>)]
            api_version: Given<String>,
            /// The deadline of one attempt.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<u64>, minimum = 1000, maximum = 60000)]
            timeout_millis: Given<u64>,
            /// How requests are signed; as Standard Webhooks says when nobody says.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<Vec<SignatureScheme>>, min_items = 1, max_items = 4)]
            schemes: Given<Vec<SignatureScheme>>,
            /// Whether it gets its events in order.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<Ordering>)]
            ordering: Given<Ordering>,
            /// How many requests it gets in time.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<RateForm>)]
            rate_limit: Given<RateForm>,
            /// How many requests to it may be under way at once.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<u32>, minimum = 1, maximum = 10000)]
            concurrency: Given<u32>,
            /// What must be in an event, beside its type.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = Option<Object>)]
            condition: Given<Condition>,
        }

        impl $name {
            /// What both have in common, as an edit.
            fn common(&mut self, former: Option<&Webhook>) -> Result<Edit> {
                let mut edit = Edit::new();
                if let Some(text) = self.description.take() {
                    edit = edit.description(text.unwrap_or_default());
                }
                if let Some(metadata) = self.metadata.take() {
                    edit = edit.metadata(metadata.unwrap_or_default());
                }
                if let Some(headers) = self.headers.take() {
                    let headers = Headers::parse(headers.unwrap_or_default())?;
                    edit = match former {
                        // It is resolved where the stored values are open.
                        Some(_) => edit.masked_headers(headers),
                        None => edit.headers(headers.unmasked(&Headers::default())?),
                    };
                }
                let former = former.map_or(&Authentication::None, Webhook::authentication);
                if let Some(authentication) = authentication(self.authentication.take(), self.oauth.take(), former)? {
                    edit = edit.authentication(authentication);
                }
                if let Some(identity) = self.client_certificate.take() {
                    let read = |it: IdentityForm| ClientIdentity::from_pem(&it.certificates, &it.key);
                    edit = edit.client_identity(identity.map(read).transpose()?);
                }
                if let Some(roots) = self.root_certificates.take() {
                    let read = |pem: String| RootCertificates::from_pem(&pem);
                    edit = edit.root_certificates(roots.map(read).transpose()?);
                }
                if let Some(version) = self.api_version.take() {
                    edit = edit.api_version(version);
                }
                if let Some(millis) = self.timeout_millis.take() {
                    edit = edit.timeout(millis.map(Duration::from_millis));
                }
                if let Some(schemes) = self.schemes.take() {
                    edit = edit.schemes(schemes.unwrap_or_else(|| vec![SignatureScheme::default()]));
                }
                if let Some(ordering) = self.ordering.take() {
                    edit = edit.ordering(ordering.unwrap_or_default());
                }
                if let Some(rate) = self.rate_limit.take() {
                    edit = edit.rate_limit(rate.map(rate_limit).transpose()?);
                }
                if let Some(requests) = self.concurrency.take() {
                    edit = edit.concurrency(requests);
                }
                if let Some(condition) = self.condition.take() {
                    edit = edit.condition(condition);
                }
                Ok(edit)
            }
        }
    };
}

form! {
    /// A webhook to be created.
    NewWebhook {
        /// Where payloads go: `http://` or `https://`.
        #[schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://", max_length = 2048)]
        address: String,
        /// The event types that it wants: `order.accepted`, `order.*`, `*`. One at least.
        #[schema(min_items = 1, max_items = 512)]
        types: Vec<String>,
        /// Whether it is delivered to from the start. It is not when nobody says; `prompt` in the answer
        /// says then that the person is to be asked.
        #[serde(default)]
        enabled: Option<bool>,
        /// Whose it is; the caller's, when nobody says.
        #[serde(default)]
        account: Option<String>,
        /// Live or test; live when nobody says.
        #[serde(default)]
        live_mode: Option<bool>,
        /// A secret of one's own (`whsec_…`, `whk_…`, `whsk_…`), for those who may reveal; made when nobody says.
        #[serde(default)]
        #[schema(format = Password)]
        secret: Option<String>,
    }
}

form! {
    /// Changes to a webhook: what is absent stays, `null` clears.
    WebhookEdit {
        /// Where payloads go from now on.
        #[serde(default)]
        #[schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://", max_length = 2048)]
        address: Option<String>,
        /// The event types that it wants from now on.
        #[serde(default)]
        #[schema(min_items = 1, max_items = 512)]
        types: Option<Vec<String>>,
        /// Enables or disables. Not together with other changes; `confirmation` is needed to disable.
        #[serde(default)]
        enabled: Option<bool>,
        /// The acting user's name, exactly as it is, to disable.
        #[serde(default)]
        confirmation: Option<String>,
    }
}

impl NewWebhook {
    pub(super) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(super) fn live_mode(&self) -> Option<bool> {
        self.live_mode
    }

    pub(super) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The registration that is asked for.
    pub(super) fn into_registration(
        mut self,
        account: Account,
        mode: Mode,
    ) -> Result<Registration> {
        let registration = Registration::new(&self.address, &self.types)?;
        let mut registration = registration.with(self.common(None)?).account(account).mode(mode);
        if let Some(enabled) = self.enabled {
            registration = registration.enabled(enabled);
        }
        match &self.secret {
            Some(secret) => Ok(registration.secret(Secret::parse(secret)?)),
            None => Ok(registration),
        }
    }
}

/// What an edit asks for.
pub(super) enum Wish {
    Change(Box<Edit>),
    Enable,
    /// With what was typed to confirm.
    Disable(String),
}

impl WebhookEdit {
    /// Whether it sends what the webhook has of secrets to another host, without giving them anew.
    pub(super) fn moves_credentials(&self, webhook: &Webhook) -> bool {
        let Some(Ok(address)) = self.address.as_deref().map(EndpointUrl::parse) else {
            return false;
        };
        let old = webhook.address();
        let moves = address.host() != old.host()
            || address.port() != old.port()
            || address.is_https() != old.is_https();
        let kept = |headers: &BTreeMap<_, String>| headers.values().any(|value| value == MASK);
        let headers = match &self.headers {
            None => !webhook.headers().is_empty(),
            Some(headers) => headers.as_ref().is_some_and(kept),
        };
        let anew = self.authentication.is_some() || self.oauth.is_some();
        let authentication = !anew && *webhook.authentication() != Authentication::None;
        moves && (headers || authentication)
    }

    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field; also where a change of the status comes
    /// with others: one of them could fail, and half of it would be done.
    pub(super) fn into_wish(mut self, former: &Webhook) -> Result<Wish> {
        let none = Edit::new();
        let mut edit = self.common(Some(former))?;
        if let Some(address) = self.address.take() {
            edit = edit.address(EndpointUrl::parse(&address)?);
        }
        if let Some(types) = self.types.take() {
            edit = edit.types(Filters::parse(types)?);
        }
        let confirmation = self.confirmation.take();
        match self.enabled {
            None if confirmation.is_some() => {
                Err(Error::invalid("confirmation", "is for disabling alone"))
            }
            None => Ok(Wish::Change(Box::new(edit))),
            Some(_) if edit != none => {
                Err(Error::invalid("enabled", "cannot be changed together with something else"))
            }
            Some(true) => Ok(Wish::Enable),
            Some(false) => Ok(Wish::Disable(confirmation.unwrap_or_default())),
        }
    }
}

fn authentication(
    basic: Given<BasicForm>,
    oauth: Given<OAuthForm>,
    former: &Authentication,
) -> Result<Option<Authentication>> {
    match (basic, oauth) {
        (Some(Some(_)), Some(Some(_))) => {
            Err(Error::invalid("oauth", "cannot be given together with authentication"))
        }
        (Some(Some(basic)), _) => {
            Ok(Some(Authentication::Basic(Basic::new(basic.username, basic.password)?)))
        }
        (_, Some(Some(form))) => Ok(Some(Authentication::OAuth(oauth_of(form)?))),
        // `null` clears what it names, and not the other one.
        (basic, oauth) => {
            let clears = match former {
                Authentication::None => false,
                Authentication::Basic(_) => basic.is_some(),
                Authentication::OAuth(_) => oauth.is_some(),
            };
            Ok(clears.then_some(Authentication::None))
        }
    }
}

fn oauth_of(form: OAuthForm) -> Result<OAuth> {
    let in_oauth = |field: &'static str, what: &'static str| Err(Error::invalid(field, what));
    let grant = match (form.grant_type, form.user_name, form.password, form.audience) {
        (GrantType::Password, Some(user), password, None) => {
            Grant::password(user, password.unwrap_or_default())
        }
        (GrantType::Password, None, _, _) => {
            return in_oauth("oauth.userName", "is needed for the grant `password`");
        }
        (GrantType::Password, _, _, Some(_)) => {
            return in_oauth("oauth.audience", "is for the grant `client_credentials`");
        }
        (GrantType::ClientCredentials, None, None, audience) => Grant::client_credentials(audience),
        (GrantType::ClientCredentials, _, _, _) => {
            return in_oauth("oauth.userName", "is for the grant `password`");
        }
    };
    let endpoint = EndpointUrl::parse(&form.token_end_point);
    let endpoint = endpoint.map_err(|error| error.in_field("oauth.tokenEndPoint"))?;
    OAuth::new(endpoint, form.client_id, form.client_secret, grant)
}

fn rate_limit(form: RateForm) -> Result<RateLimit> {
    let limit = RateLimit::new(form.per_second)?;
    form.burst.map_or(Ok(limit), |burst| limit.with_burst(burst))
}
