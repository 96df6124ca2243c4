//! The secrets of one webhook: the current one and, for a while after a rotation, older ones.
//!
//! Every living secret signs every request, so a receiver can switch at any moment of the overlap.

use std::time::Duration;

use super::error::{Error, ErrorKind, Result};
use super::secret::Secret;
use super::time::{self, Timestamp};
use crate::policy::{ROTATION_HOURS, SECRETS_MAX};

/// How long the old secret still signs after a rotation: 0, 1, 3, 6, 12 (the default) or 24 hours
/// (domain 4c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Overlap(u8);

impl Overlap {
    /// None: the old secret is invalid at once.
    pub const IMMEDIATE: Self = Self(0);

    /// An overlap of so many hours.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `overlap` when the number is not one of
    /// [`ROTATION_HOURS`].
    pub fn hours(hours: u8) -> Result<Self> {
        if ROTATION_HOURS.contains(&hours) {
            Ok(Self(hours))
        } else {
            let message = format!("is {hours} hours; 0, 1, 3, 6, 12 and 24 are the choices");
            Err(Error::invalid("overlap", message))
        }
    }

    /// The length of the overlap.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64 * 3_600)
    }
}

impl Default for Overlap {
    fn default() -> Self {
        Self(12)
    }
}

/// One secret of a webhook and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct SecretRecord {
    /// The secret.
    pub secret: Secret,
    /// When it became a secret of the webhook.
    pub created: Timestamp,
    /// From when on it signs nothing any more; `None` for the current one, which does not end.
    pub expires: Option<Timestamp>,
}

impl SecretRecord {
    fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// The 1 to 5 secrets of one webhook. Exactly one is current; the others have an expiry.
///
/// ```
/// use std::time::Duration;
/// use tidings::{Overlap, Secret, Secrets, Timestamp, time};
///
/// # fn main() -> tidings::Result<()> {
/// let now = Timestamp::UNIX_EPOCH;
/// let (old, new) = (Secret::from_random(&[1; 32]), Secret::from_random(&[2; 32]));
/// let secrets = Secrets::new(old.clone(), now).rotate(new.clone(), Overlap::hours(6)?, now)?;
///
/// assert_eq!(secrets.current(), &new);
/// assert!(secrets.active(now).eq([&new, &old]));
///
/// let later = time::after(now, Duration::from_secs(6 * 3_600));
/// assert!(secrets.active(later).eq([&new]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    current: SecretRecord,
    /// Newest first. Their order is that of the rotations, whatever the clock said.
    older: Vec<SecretRecord>,
}

impl Secrets {
    /// A first secret.
    pub fn new(secret: Secret, now: Timestamp) -> Self {
        Self {
            current: SecretRecord { secret, created: time::to_millis(now), expires: None },
            older: Vec::new(),
        }
    }

    /// The secrets as they were stored: what [`Secrets::parts`] gave, in the same order.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `secrets` when there is none, when
    /// there are more than five, when the first has an expiry, or when another one has none.
    pub fn from_stored(parts: impl IntoIterator<Item = SecretRecord>) -> Result<Self> {
        let invalid = |message| Err(Error::invalid("secrets", message));
        let mut parts = parts.into_iter();
        let Some(current) = parts.next() else {
            return invalid("there is none".to_owned());
        };
        let older: Vec<_> = parts.take(SECRETS_MAX).collect();
        if older.len() >= SECRETS_MAX {
            return invalid(format!("there are more than {SECRETS_MAX}"));
        }
        if current.expires.is_some() {
            return invalid("the first, current one has an expiry".to_owned());
        }
        if older.iter().any(|record| record.expires.is_none()) {
            return invalid("an older one has no expiry".to_owned());
        }
        let asymmetric = current.secret.is_asymmetric();
        if older.iter().any(|record| record.secret.is_asymmetric() != asymmetric) {
            return invalid("shared secrets and private keys are mixed".to_owned());
        }
        Ok(Self { current, older })
    }

    /// All secrets as they are to be stored, the current one first, then newest first. Expired ones
    /// are among them until the next rotation.
    pub fn parts(&self) -> impl Iterator<Item = &SecretRecord> {
        std::iter::once(&self.current).chain(&self.older)
    }

    /// The newest secret, which does not end.
    pub fn current(&self) -> &Secret {
        &self.current.secret
    }

    /// The secrets that live at `now`, newest first. A secret is dead from the millisecond of its
    /// expiry on.
    pub fn active(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Secret> {
        let older = self.older.iter().filter(move |record| record.lives(now));
        std::iter::once(&self.current).chain(older).map(|record| &record.secret)
    }

    /// These secrets with `new` as the current one. The one that was current lives on for
    /// `overlap`; older ones keep the expiry that they have, and those that are dead at `now` go.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) when that would be a sixth living secret; the text says
    /// when the next one expires. [`Invalid`](crate::ErrorKind::Invalid) for the field `secret`
    /// when `new` is among the living ones already, or is of another kind: all are shared, or all are
    /// private keys. These secrets stay as they are.
    pub fn rotate(&self, new: Secret, overlap: Overlap, now: Timestamp) -> Result<Self> {
        if self.active(now).any(|secret| *secret == new) {
            return Err(Error::invalid("secret", "is one of the webhook's secrets already"));
        }
        if new.is_asymmetric() != self.current().is_asymmetric() {
            let message = "is of another kind than the webhook's: all shared, or all private keys";
            return Err(Error::invalid("secret", message));
        }
        let retired = SecretRecord {
            expires: Some(time::after(now, overlap.duration())),
            ..self.current.clone()
        };
        let older: Vec<_> = std::iter::once(&retired)
            .chain(&self.older)
            .filter(|record| record.lives(now))
            .cloned()
            .collect();
        if older.len() >= SECRETS_MAX {
            let free = self.older.iter().filter(|record| record.lives(now));
            let free = free.filter_map(|record| record.expires).min();
            let free = free.map_or_else(String::new, |free| {
                format!("; the next one expires at {}", time::format_time(free))
            });
            return Err(Error::new(
                ErrorKind::Limit,
                format!("a webhook has at most {SECRETS_MAX} secrets at once{free}"),
            ));
        }
        Ok(Self { older, ..Self::new(new, now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(n: u8) -> Secret {
        Secret::from_random(&[n; 32])
    }

    fn hour(hours: u64) -> Timestamp {
        time::after(Timestamp::UNIX_EPOCH, Duration::from_secs(hours * 3_600))
    }

    fn active(secrets: &Secrets, now: Timestamp) -> Vec<Secret> {
        secrets.active(now).cloned().collect()
    }

    /// Asks for every number of hours (table).
    #[test]
    fn an_overlap_is_one_of_six() {
        for hours in 0..=u8::MAX {
            let overlap = Overlap::hours(hours);
            if ROTATION_HOURS.contains(&hours) {
                let seconds = u64::from(hours) * 3_600;
                assert_eq!(overlap.unwrap().duration(), Duration::from_secs(seconds));
            } else {
                assert_eq!(overlap.unwrap_err().field(), Some("overlap"), "{hours}");
            }
        }
        assert_eq!(Overlap::default(), Overlap::hours(12).unwrap());
        assert_eq!(Overlap::IMMEDIATE, Overlap::hours(0).unwrap());
    }

    /// Rotates with each overlap and looks one millisecond before and at its end (table).
    #[test]
    fn the_old_secret_lives_for_its_overlap() {
        let millisecond = Duration::from_millis(1);
        for hours in ROTATION_HOURS {
            let rotated = Secrets::new(secret(1), hour(0))
                .rotate(secret(2), Overlap::hours(hours).unwrap(), hour(10))
                .unwrap();
            let end = hour(10 + u64::from(hours));
            assert_eq!(rotated.current(), &secret(2));
            assert_eq!(active(&rotated, end), [secret(2)], "{hours}");
            if hours > 0 {
                let before = time::before(end, millisecond);
                assert_eq!(active(&rotated, before), [secret(2), secret(1)], "{hours}");
            } else {
                assert_eq!(rotated.parts().count(), 1);
            }
        }
    }

    /// Rotates twice with different overlaps, then at once.
    #[test]
    fn older_secrets_keep_their_own_expiry() {
        let secrets = Secrets::new(secret(1), hour(0))
            .rotate(secret(2), Overlap::hours(24).unwrap(), hour(0))
            .and_then(|it| it.rotate(secret(3), Overlap::hours(1).unwrap(), hour(1)))
            .unwrap();
        assert_eq!(active(&secrets, hour(1)), [secret(3), secret(2), secret(1)]);
        assert_eq!(active(&secrets, hour(2)), [secret(3), secret(1)]);
        let secrets = secrets.rotate(secret(4), Overlap::IMMEDIATE, hour(3)).unwrap();
        assert_eq!(active(&secrets, hour(3)), [secret(4), secret(1)]);
        assert_eq!(secrets.parts().count(), 2);
        assert_eq!(active(&secrets, hour(24)), [secret(4)]);
    }

    /// Rotates until there are five, then a sixth time before and after the first expiry.
    #[test]
    fn the_sixth_secret_is_refused_until_one_expires() {
        let mut secrets = Secrets::new(secret(1), hour(0));
        for n in 2..=5 {
            let overlap = if n == 3 { Overlap::hours(6) } else { Overlap::hours(24) };
            secrets = secrets.rotate(secret(n), overlap.unwrap(), hour(0)).unwrap();
        }
        let error = secrets.rotate(secret(6), Overlap::default(), hour(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(
            error.to_string(),
            "a webhook has at most 5 secrets at once; the next one expires at \
             1970-01-01T06:00:00.000Z"
        );
        assert_eq!(active(&secrets, hour(5)).len(), 5);
        let at_once = secrets.rotate(secret(6), Overlap::IMMEDIATE, hour(5)).unwrap();
        assert_eq!(active(&at_once, hour(5)).len(), 5);
        let later = secrets.rotate(secret(6), Overlap::default(), hour(6)).unwrap();
        assert_eq!(active(&later, hour(6)).len(), 5);
    }

    /// Rotates to the current secret, to a living old one and to a dead one.
    #[test]
    fn a_living_secret_cannot_come_back() {
        let secrets = Secrets::new(secret(1), hour(0))
            .rotate(secret(2), Overlap::hours(1).unwrap(), hour(0))
            .unwrap();
        for n in [1, 2] {
            let error = secrets.rotate(secret(n), Overlap::IMMEDIATE, hour(0)).unwrap_err();
            assert_eq!(error.field(), Some("secret"));
        }
        assert!(secrets.rotate(secret(1), Overlap::IMMEDIATE, hour(1)).is_ok());
    }

    /// Rotates under a clock that goes back, and stores the result.
    #[test]
    fn the_order_is_that_of_the_rotations() {
        let secrets = Secrets::new(secret(1), hour(9))
            .rotate(secret(2), Overlap::default(), hour(3))
            .unwrap();
        assert_eq!(active(&secrets, hour(4)), [secret(2), secret(1)]);
        let stored = Secrets::from_stored(secrets.parts().cloned()).unwrap();
        assert_eq!(stored, secrets);
    }

    /// Reads stored lists that break one rule each (table).
    #[test]
    fn broken_stored_lists_are_refused() {
        let record = |n, expires| SecretRecord { secret: secret(n), created: hour(0), expires };
        let old = |n| record(n, Some(hour(1)));
        assert!(Secrets::from_stored([record(1, None), old(2), old(3), old(4), old(5)]).is_ok());
        for (parts, text) in [
            (vec![], "secrets: there is none"),
            (
                vec![record(1, None), old(2), old(3), old(4), old(5), old(6)],
                "secrets: there are more than 5",
            ),
            (vec![old(1)], "secrets: the first, current one has an expiry"),
            (vec![record(1, None), record(2, None)], "secrets: an older one has no expiry"),
        ] {
            assert_eq!(Secrets::from_stored(parts).unwrap_err().to_string(), text);
        }
    }

    /// Rotates asymmetric secrets with an overlap, and mixes kinds in a rotation and in the store.
    #[cfg(feature = "ed25519")]
    #[test]
    fn secrets_are_all_of_one_kind() {
        let private = |n| Secret::asymmetric_from_random(&[n; 32]);
        let secrets = Secrets::new(private(1), hour(0));
        let secrets = secrets.rotate(private(2), Overlap::hours(1).unwrap(), hour(0)).unwrap();
        assert_eq!(active(&secrets, hour(0)), [private(2), private(1)]);
        assert_eq!(active(&secrets, hour(1)), [private(2)]);
        assert_eq!(Secrets::from_stored(secrets.parts().cloned()).unwrap(), secrets);

        let shared = Secrets::new(secret(1), hour(0));
        for (secrets, new) in [(&secrets, secret(3)), (&shared, private(3))] {
            let error = secrets.rotate(new, Overlap::default(), hour(0)).unwrap_err();
            assert_eq!(error.field(), Some("secret"));
        }
        let mixed = shared.parts().chain(secrets.parts().skip(1)).cloned();
        let error = Secrets::from_stored(mixed).unwrap_err();
        assert_eq!(error.to_string(), "secrets: shared secrets and private keys are mixed");
    }
}
