//! Placeholder.
pub(crate) fn accounts() -> Vec<tidings::Account> {
    Vec::new()
}
