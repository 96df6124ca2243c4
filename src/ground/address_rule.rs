//! The rules that an address keeps, so that a refusal can name the one that was broken.

use std::fmt;

/// A rule for the addresses that requests may be sent to.
///
/// Every refusal names one: in words, at the end of its text, and here for programs
/// ([`Error::rule`](crate::Error::rule), [`Refusal::rule`](crate::Refusal::rule)). Names and codes
/// never change their meaning.
///
/// ```
/// use tidings::{AddressRule, EndpointUrl};
///
/// let error = EndpointUrl::parse("http://0x7f.1/").unwrap_err();
/// assert_eq!(error.rule(), Some(AddressRule::Ipv4));
/// assert!(error.to_string().ends_with("(rule R3b: ipv4)"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressRule {
    /// R1: at most 2,048 bytes that begin `http://` or `https://`, with no control character, white
    /// space, backslash or byte order mark. A host may require `https`.
    Text,
    /// R2: two slashes and a host; no user name, password or fragment.
    Authority,
    /// R3: the host's name has two labels or more of letters, digits, `-` and `_`, after IDNA, and
    /// is none that means this machine or its network.
    Host,
    /// R3b: an IPv4 address, as which every host counts that ends in a number, is written as four
    /// decimal numbers.
    Ipv4,
    /// R4: the port is a number that browsers do not refuse, and one that the host allows.
    Port,
    /// R5: the address, or every address of the name, is public.
    Address,
    /// R6: the host's own list of networks: an address in a denied one, or a private name that leads
    /// out of the allowed ones.
    Network,
}

impl AddressRule {
    /// Every rule, by code. An address that breaks several is refused for the one that is found first:
    /// what its text shows before what its host is, and a port before a private name.
    pub const ALL: [Self; 7] = [
        Self::Text,
        Self::Authority,
        Self::Host,
        Self::Ipv4,
        Self::Port,
        Self::Address,
        Self::Network,
    ];

    /// The stable name: one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Authority => "authority",
            Self::Host => "host",
            Self::Ipv4 => "ipv4",
            Self::Port => "port",
            Self::Address => "address",
            Self::Network => "network",
        }
    }

    /// The stable code, as in `R3b`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Text => "R1",
            Self::Authority => "R2",
            Self::Host => "R3",
            Self::Ipv4 => "R3b",
            Self::Port => "R4",
            Self::Address => "R5",
            Self::Network => "R6",
        }
    }
}

/// As refusals name it: `rule R3: host`.
impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.code(), self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Collects names and codes of all rules.
    #[test]
    fn no_two_rules_share_a_name() {
        let all = AddressRule::ALL;
        let names: BTreeSet<_> = all.iter().flat_map(|rule| [rule.as_str(), rule.code()]).collect();
        assert_eq!(names.len(), 2 * all.len());
        assert_eq!(AddressRule::Host.to_string(), "rule R3: host");
    }
}
