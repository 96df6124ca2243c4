//! Secrets over HTTP: reveal and rotate, for those who may, once they have typed their name.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::answer::{self, Answer};
use super::call::Call;
use super::params::IfMatch;
use super::problems::Problems;
use super::webhooks::Confirmed;
use crate::ground::policy::ROTATION_HOURS;
use crate::ground::secret::Secret;
use crate::ground::secrets::{Overlap, SecretRecord, Secrets};
use crate::ground::time::format_time;
use crate::ports::authorizer::Permission;

/// The secrets of a webhook, the current one first.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretList {
    /// The current one, then those that live on for a while.
    secrets: Vec<SecretJson>,
}

/// One secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SecretJson {
    /// The secret.
    secret: String,
    /// What receivers verify with, where it is a private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When it became a secret of the webhook.
    #[schema(format = DateTime)]
    created_time: String,
    /// From when on it signs nothing any more; absent for the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_time: Option<String>,
}

impl From<&SecretRecord> for SecretJson {
    fn from(record: &SecretRecord) -> Self {
        Self {
            secret: record.secret.reveal().to_owned(),
            public_key: public_key(&record.secret),
            created_time: format_time(record.created),
            expires_time: record.expires.map(format_time),
        }
    }
}

#[cfg(feature = "ed25519")]
fn public_key(secret: &Secret) -> Option<String> {
    secret.public_key().map(|key| key.to_string())
}

/// Without the feature there are no private keys.
#[cfg(not(feature = "ed25519"))]
fn public_key(_: &Secret) -> Option<String> {
    None
}

fn shown(secrets: &Secrets) -> SecretList {
    let mut parts: Vec<&SecretRecord> = secrets.parts().collect();
    // The current one has no end; of the others, the one that lives longest is the newest.
    parts.sort_by_key(|part| (part.expires.is_some(), std::cmp::Reverse(part.created)));
    SecretList { secrets: parts.into_iter().map(SecretJson::from).collect() }
}

/// See the secrets of a webhook.
#[utoipa::path(post, path = "/webhooks/{id}/secrets/reveal", tag = "secrets", operation_id = "revealSecrets",
    params(("id" = String, Path, description = "The webhook's id")), request_body = Confirmed,
    responses((status = 200, body = SecretList), Problems))]
pub(super) async fn reveal(call: Call) -> Answer {
    call.may(Permission::Reveal)?;
    let webhook = call.webhook().await?;
    let confirmation = call.confirmation(&call.body::<Confirmed>()?.confirmation)?;
    answer::ok(&shown(&call.tidings().reveal(webhook.id(), &confirmation).await?))
}

/// How a secret is to be rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rotation {
    /// The acting user's name, exactly as it is.
    #[serde(default)]
    #[schema(required = true)]
    confirmation: String,
    /// How long the old secret lives on: 0 (it ends at once), 1, 3, 6, 12 or 24 hours.
    #[serde(default = "usual_overlap")]
    #[schema(schema_with = overlap_hours)]
    overlap_hours: u8,
}

const fn usual_overlap() -> u8 {
    12
}

/// The choices, for the description of the API.
fn overlap_hours() -> Object {
    let hours = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some(ROTATION_HOURS));
    let hours = hours.default(Some(usual_overlap().into()));
    hours
        .description(Some("How long the old secret lives on, in hours; with 0 it ends at once."))
        .build()
}

/// Give a webhook a new secret.
#[utoipa::path(post, path = "/webhooks/{id}/secrets/rotate", tag = "secrets", operation_id = "rotateSecret",
    params(("id" = String, Path, description = "The webhook's id"), IfMatch), request_body = Rotation,
    responses((status = 200, body = SecretList), Problems))]
pub(super) async fn rotate(call: Call) -> Answer {
    call.may(Permission::Reveal)?;
    let webhook = call.webhook().await?;
    call.unchanged(&webhook)?;
    let asked: Rotation = call.body()?;
    let confirmation = call.confirmation(&asked.confirmation)?;
    let overlap = Overlap::hours(asked.overlap_hours);
    let overlap = overlap.map_err(|error| error.in_field("overlapHours"))?;
    let secrets = call.tidings().rotate(webhook.id(), overlap, &confirmation).await?;
    answer::ok(&shown(&secrets))
}
