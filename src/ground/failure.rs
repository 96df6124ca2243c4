//! Why an attempt brought no answer.

use std::fmt;

/// Why an attempt brought no HTTP answer at all.
///
/// Kept with the attempt, so the texts of [`FailureKind::as_str`] never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The address policy refused the URL or an address that its name has.
    Blocked,
    /// The name could not be looked up, or has no address.
    Dns,
    /// No connection could be made to any of the addresses.
    Connect,
    /// No TLS session: the certificate is not trusted, names another host, or the handshake broke.
    Tls,
    /// The deadline of the attempt passed before an answer was there.
    Timeout,
    /// What came back is not HTTP, or the connection ended before an answer was complete.
    Protocol,
    /// The token endpoint gave no access token, so that nothing was sent to the receiver.
    Token,
    /// A limit of the sender's own: too much is under way to this destination, from whomever, or too many
    /// of the host's hooks hang. Nothing was sent, the receiver is not to blame, and no attempt is recorded.
    Busy,
    /// The webhook's secrets are sealed with a key that the sender does not have, so that nothing was
    /// sent. The receiver is not to blame.
    Sealed,
    /// Trouble of the sender itself, such as too few file descriptors. The receiver is not to blame.
    Local,
    /// The transport panicked.
    Panic,
    /// A hook of the sender failed, panicked or took too long. The receiver is not to blame.
    Hook,
    /// The webhook's [condition](crate::Condition), or a filter of the host, decided that it is not to be
    /// sent.
    Filtered,
    /// The event's payload was expunged before it could be sent.
    Expunged,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Blocked,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Protocol,
        Self::Token,
        Self::Busy,
        Self::Sealed,
        Self::Local,
        Self::Panic,
        Self::Hook,
        Self::Filtered,
        Self::Expunged,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Token => "token",
            Self::Busy => "busy",
            Self::Sealed => "sealed",
            Self::Local => "local",
            Self::Panic => "panic",
            Self::Hook => "hook",
            Self::Filtered => "filtered",
            Self::Expunged => "expunged",
        }
    }

    /// The kind with the name that a storage kept. One that a newer version of this crate wrote, beside this
    /// one, is read as [`Local`](Self::Local), so that the record it is in can be read.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn kept(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::Local)
    }

    /// The kind with this stable name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes and reads the name of every kind.
    #[test]
    fn names_are_read_back() {
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(FailureKind::parse("Dns"), None);
    }
}
