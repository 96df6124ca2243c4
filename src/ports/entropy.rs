//! The entropy port: random bytes for ids and secrets.

use std::fmt::Debug;

use crate::ground::error::{Error, ErrorKind, Result};

/// Gives random bytes.
///
/// # Contract
/// The bytes must be unpredictable: secrets are made of them. A test may give predictable ones, as
/// long as they differ from call to call.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when there is no randomness to be had.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

/// The operating system's random bytes.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes).map_err(|error| {
            let message = "the operating system gives no random bytes";
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })
    }
}

/// Entropy made of a closure.
pub fn entropy_fn<F>(fill: F) -> impl Entropy
where
    F: Fn(&mut [u8]) + Send + Sync + 'static,
{
    EntropyFn(fill)
}

struct EntropyFn<F>(F);

impl<F> Debug for EntropyFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntropyFn")
    }
}

impl<F: Fn(&mut [u8]) + Send + Sync + 'static> Entropy for EntropyFn<F> {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        (self.0)(bytes);
        Ok(())
    }
}
