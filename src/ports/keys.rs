//! The key port: where the keys come from that seal secrets.

use std::fmt::Debug;

use crate::ground::error::Result;
use crate::ground::vault::KeyId;
use crate::ground::vault_key::SealingKey;

/// Gives the keys that seal secrets before a storage sees them.
///
/// # Contract
/// - It answers at once, from memory: it is asked on the runtime's threads, by the task that is about to
///   send. Keys from a service are fetched beforehand.
/// - A name means the same key for ever. A new key is a new name.
/// - A key is kept until [`reseal`](crate::Tidings::reseal) says that nothing is left that an older
///   one has sealed; what is sealed with a key that is lost, is lost.
///
/// A panic counts as a key that is not there.
pub trait KeyProvider: Debug + Send + Sync + 'static {
    /// The key that seals from now on.
    ///
    /// # Errors
    /// When there is none. Nothing is stored then.
    fn current(&self) -> Result<SealingKey>;

    /// The key of this name; `None` where there is no such key.
    ///
    /// # Errors
    /// When it cannot be told.
    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>>;
}

/// Keys in memory: the current one, and older ones that still open what they have sealed.
///
/// ```
/// use tidings::{KeyId, KeyRing, SealingKey};
///
/// # let (new, old) = ([1; 32], [2; 32]);
/// let keys = KeyRing::new(SealingKey::new(KeyId::parse("2026")?, new))
///     .with_old(SealingKey::new(KeyId::parse("2025")?, old));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: SealingKey,
    old: Vec<SealingKey>,
}

impl KeyRing {
    /// A ring with one key.
    pub fn new(current: SealingKey) -> Self {
        Self { current, old: Vec::new() }
    }

    /// Adds a key that opens and does not seal any more.
    #[must_use]
    pub fn with_old(mut self, key: SealingKey) -> Self {
        self.old.push(key);
        self
    }
}

impl KeyProvider for KeyRing {
    fn current(&self) -> Result<SealingKey> {
        Ok(self.current.clone())
    }

    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>> {
        let mut all = std::iter::once(&self.current).chain(&self.old);
        Ok(all.find(|key| key.id() == id).cloned())
    }
}
