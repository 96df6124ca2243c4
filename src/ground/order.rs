//! Order: whether a webhook gets the events of one object one after the other, and what says which
//! events belong together.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Whether a webhook gets its events in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum Ordering {
    /// Side by side: a retry comes later than what was published after it.
    #[default]
    Unordered,
    /// The events of one object one after the other, in the order of their publishes: none is sent
    /// before each earlier one has ended (delivered, exhausted, expired or cancelled). Events of
    /// other objects do not wait for them.
    ///
    /// An object is told by the [key](crate::Change::key) that the host gave with the change, else
    /// by the `id` in `data.object`, else (it was deleted) by the one in `data.previousAttributes`.
    /// Events without any of these count as events of one object.
    ///
    /// It holds among the events that are routed while the webhook is ordered. Redeliveries and test
    /// events are exempt.
    PerObject,
}

/// What events that must follow each other have in common: a digest of the object's key.
///
/// Two objects may share one (once in about 2⁶⁴ pairs); then their events wait for each other too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(u64);

impl OrderKey {
    /// The key of an object; `None` stands for all events that name no object.
    pub fn of(object: Option<&str>) -> Self {
        let Some(object) = object else {
            return Self(0);
        };
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(object.as_bytes())[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// The key that a storage kept.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, for storages to keep.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderKey({:016x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the keys of objects, and of none, with what a storage keeps of them.
    #[test]
    fn a_key_is_the_same_for_the_same_object() {
        let keys = [Some("247"), Some("248"), Some(""), None].map(OrderKey::of);
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at), "{key:?}");
            assert_eq!(OrderKey::from_bits(key.to_bits()), *key);
        }
        assert_eq!(OrderKey::of(Some("247")), keys[0]);
        // Stored: it must be the same in every version.
        assert_eq!(format!("{:?}", keys[3]), "OrderKey(0000000000000000)");
    }
}
