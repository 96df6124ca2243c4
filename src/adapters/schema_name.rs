//! The names that a schema of PostgreSQL may have here: such as need no care in a statement.

use crate::ground::error::{Error, Result};
use crate::ground::policy::POSTGRES_NAME_MAX;

/// Refuses a name that would have to be quoted, or that PostgreSQL would cut off.
pub(super) fn check_name(schema: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = schema.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if first && schema.len() <= POSTGRES_NAME_MAX && schema.bytes().all(plain) {
        return Ok(());
    }
    let message = format!(
        "must be 1 to {POSTGRES_NAME_MAX} lower-case letters, digits or _, and not begin with a digit"
    );
    Err(Error::invalid("schema", message))
}
