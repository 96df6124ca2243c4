//! Which addresses may be dialled: public ones only, unless the host says otherwise.
//!
//! Customers choose the URLs, and the sender sits inside the host's network, so every address is
//! judged, not only the text of the URL: at registration where the URL has a literal address, and
//! again for every address of every look-up, before it is dialled.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

use super::address::{EndpointUrl, FIELD};
use super::address_rule::AddressRule as Rule;
use super::error::{Error, Result};

/// Names, and all names under them, that mean this machine or this network whatever DNS says.
const PRIVATE_NAMES: [&str; 6] =
    ["localhost", "localdomain", "local", "internal", "home.arpa", "onion"];

/// The IPv4 networks that are not public: the special-purpose list of IANA, multicast, and the
/// address of the host agent of one cloud, which looks public and is not.
const REFUSED_V4: [(Ipv4Net, &str); 20] = [
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "a private network"),
    (v4([100, 64, 0, 0], 10), "shared address space"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "a cloud's host agent"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "a private network"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 31, 196, 0], 24), "a sink for reverse look-ups"),
    (v4([192, 52, 193, 0], 24), "multicast tunnelling"),
    (v4([192, 88, 99, 0], 24), "relays of 6to4"),
    (v4([192, 168, 0, 0], 16), "a private network"),
    (v4([192, 175, 48, 0], 24), "a sink for reverse look-ups"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// All that is global unicast in IPv6 lies here.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0], 3);

/// The networks inside [`PUBLIC_V6`] that are not public.
const REFUSED_V6: [(Ipv6Net, &str); 4] = [
    (v6([0x2001, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8], 32), "documentation"),
    (v6([0x2002, 0], 16), "6to4"),
    (v6([0x3fff, 0], 20), "documentation"),
];

const fn v4(octets: [u8; 4], bits: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(segments: [u16; 2], bits: u8) -> Ipv6Net {
    let [a, b] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

/// Which addresses may be dialled.
///
/// By default only global unicast ones: no loopback, private, link-local, metadata, documentation,
/// multicast or reserved address, in IPv4 or IPv6, nor one of those wrapped into IPv6. A host
/// opens single networks with [`allow`](Self::allow) and closes more with [`deny`](Self::deny);
/// a denied network stays closed even where it is also allowed.
///
/// ```
/// use tidings::{EndpointUrl, NetworkPolicy};
///
/// let inside = EndpointUrl::parse("http://10.1.2.3:8080/hook").unwrap();
/// assert!(NetworkPolicy::public_only().check_url(&inside).is_err());
///
/// let policy = NetworkPolicy::public_only().allow("10.1.0.0/16".parse().unwrap());
/// assert!(policy.check_url(&inside).is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkPolicy {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
    require_https: bool,
    /// `None`: every port that an address may name.
    ports: Option<BTreeSet<u16>>,
}

impl NetworkPolicy {
    /// Public addresses only; `http` and `https`. The default.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Allows the addresses of `network`, whatever they are.
    #[must_use]
    pub fn allow(mut self, network: IpNet) -> Self {
        self.allowed.push(network);
        self
    }

    /// Allows this machine (`127.0.0.0/8` and `::1`): for tests and examples.
    #[must_use]
    pub fn allow_loopback(self) -> Self {
        self.allow(IpNet::V4(v4([127, 0, 0, 0], 8)))
            .allow(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)))
    }

    /// Refuses the addresses of `network`, also where [`allow`](Self::allow) named them.
    #[must_use]
    pub fn deny(mut self, network: IpNet) -> Self {
        self.denied.push(network);
        self
    }

    /// Whether `http` is refused. It is not by default.
    #[must_use]
    pub fn require_https(mut self, required: bool) -> Self {
        self.require_https = required;
        self
    }

    /// Refuses every port but these: those that URLs name and those that their schemes imply.
    /// Without it every port is allowed that an [`EndpointUrl`] may name. A second call replaces the
    /// first; with no port at all, every URL is refused.
    ///
    /// ```
    /// use tidings::{AddressRule, EndpointUrl, NetworkPolicy};
    ///
    /// let policy = NetworkPolicy::public_only().only_ports([443, 8443]);
    /// assert!(policy.check_url(&EndpointUrl::parse("https://example.com/")?).is_ok());
    /// let error = policy.check_url(&EndpointUrl::parse("https://example.com:444/")?).unwrap_err();
    /// assert_eq!(error.rule(), Some(AddressRule::Port));
    /// # Ok::<(), tidings::Error>(())
    /// ```
    #[must_use]
    pub fn only_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = Some(ports.into_iter().collect());
        self
    }

    /// Judges what can be judged of a URL without a look-up: its scheme, its port, a literal address,
    /// and names that mean this machine or this network (`localhost`, `localdomain`, `local`,
    /// `internal`, `home.arpa`, `onion`, all names under them, and names of one label).
    ///
    /// Once the host allows a network, such names pass here; what they resolve to must then lie in
    /// an allowed network ([`check_resolved`](Self::check_resolved)).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field `address` and the rule.
    pub fn check_url(&self, url: &EndpointUrl) -> Result<()> {
        if self.require_https && !url.is_https() {
            return Err(Error::address(FIELD, Rule::Text, "must begin with https://"));
        }
        if self.ports.as_ref().is_some_and(|ports| !ports.contains(&url.port())) {
            let message =
                format_args!("must not use port {}, which the host does not allow", url.port());
            return Err(Error::address(FIELD, Rule::Port, message));
        }
        let verdict = match url.url().host() {
            Some(Host::Ipv4(address)) => self.check_ip(address.into()),
            Some(Host::Ipv6(address)) => self.check_ip(address.into()),
            Some(Host::Domain(_)) | None => {
                if self.allowed.is_empty() && is_private_name(url.host()) {
                    let message = format_args!(
                        "{} is a name of this machine or network, not a public one",
                        url.host()
                    );
                    return Err(Error::address(FIELD, Rule::Host, message));
                }
                Ok(())
            }
        };
        verdict.map_err(|refusal| Error::address(FIELD, refusal.rule, refusal.words()))
    }

    /// Judges an address that the host of `url` resolved to. Every address of the answer must
    /// pass, or none of them may be dialled.
    ///
    /// # Errors
    /// A [`Refusal`] when the address is refused, or when the name is one of this machine or
    /// network and the address is in none of the allowed networks.
    pub fn check_resolved(&self, url: &EndpointUrl, address: IpAddr) -> Result<(), Refusal> {
        self.check_ip(address)?;
        let is_name = matches!(url.url().host(), Some(Host::Domain(_)));
        if is_name && is_private_name(url.host()) && !contains(&self.allowed, address) {
            return Err(Refusal {
                address,
                rule: Rule::Network,
                reason: "not in an allowed network, as the name requires",
            });
        }
        Ok(())
    }

    /// Judges one address.
    ///
    /// # Errors
    /// A [`Refusal`], which says what the address is.
    pub fn check_ip(&self, address: IpAddr) -> Result<(), Refusal> {
        if contains(&self.denied, address) {
            let reason = "in a network that is denied";
            return Err(Refusal { address, rule: Rule::Network, reason });
        }
        if contains(&self.allowed, address) {
            return Ok(());
        }
        let reason = match address {
            IpAddr::V4(address) => refused_v4(address),
            IpAddr::V6(outer) => match nat64(outer) {
                // A network of NAT64 reaches the address inside, so that one is judged.
                Some(inner) => match self.check_ip(inner.into()) {
                    Ok(()) => None,
                    Err(inner) => return Err(Refusal { address, ..inner }),
                },
                None => refused_v6(outer),
            },
        };
        let refuse = |reason| Err(Refusal { address, rule: Rule::Address, reason });
        reason.map_or(Ok(()), refuse)
    }
}

/// Whether one of the networks has the address; an IPv4 address mapped into IPv6 counts as itself.
fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let canonical = address.to_canonical();
    networks.iter().any(|network| network.contains(&address) || network.contains(&canonical))
}

fn is_private_name(host: &str) -> bool {
    !host.contains('.')
        || PRIVATE_NAMES.iter().any(|name| {
            host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let refused = REFUSED_V4.iter().find(|(net, _)| net.contains(&address))?;
    Some(refused.1)
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("loopback");
    }
    if address.to_ipv4_mapped().is_some() {
        return Some("an IPv4 address mapped into IPv6");
    }
    if !PUBLIC_V6.contains(&address) {
        return Some("not global unicast");
    }
    let refused = REFUSED_V6.iter().find(|(net, _)| net.contains(&address))?;
    Some(refused.1)
}

/// The IPv4 address inside the well-known prefix of NAT64, `64:ff9b::/96` (RFC 6052).
pub(crate) fn nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

/// An address that may not be dialled, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    address: IpAddr,
    rule: Rule,
    reason: &'static str,
}

impl Refusal {
    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What the address is, in words.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The rule that refuses it.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    fn words(&self) -> impl fmt::Display {
        format!("{} may not be dialled: {}", self.address, self.reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words(), self.rule)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text).unwrap()
    }

    /// Judges the first and last address of every refused network and their neighbours (table).
    #[test]
    fn every_refused_network_is_refused_to_its_edges() {
        let policy = NetworkPolicy::public_only();
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
            ("192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"),
            ("192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
            ("224.0.0.0", "255.255.255.255", "223.255.255.255", ""),
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2000::"),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff::1", "2001:200::"),
            ("2001:db8::", "2001:db8:ffff::1", "2001:db7:ffff::1", "2001:db9::"),
            ("2002::", "2002:ffff::1", "2001:ffff::1", "2003::"),
            ("3fff::", "3fff:fff::1", "3ffe:ffff::1", "3fff:1000::"),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:ffff::1", ""),
            ("::ffff:0.0.0.0", "::ffff:255.255.255.255", "", ""),
            ("fc00::", "fdff::1", "", ""),
            ("fe80::", "febf::1", "", ""),
            (
                "64:ff9b::10.0.0.0",
                "64:ff9b::10.255.255.255",
                "64:ff9b::9.9.9.9",
                "64:ff9b::11.0.0.0",
            ),
            ("64:ff9b:0:0:0:1:808:808", "64:ff9b:1::808:808", "", ""),
        ] {
            for refused in [first, last] {
                let address: IpAddr = refused.parse().unwrap();
                assert!(policy.check_ip(address).is_err(), "{refused} is allowed");
            }
            for allowed in [before, after].into_iter().filter(|text| !text.is_empty()) {
                let address: IpAddr = allowed.parse().unwrap();
                assert_eq!(policy.check_ip(address), Ok(()), "{allowed} is refused");
            }
        }
    }

    /// Judges URLs by policies that allow, deny and require (table).
    #[test]
    fn a_host_opens_and_closes_networks() {
        let public = NetworkPolicy::public_only();
        let local = NetworkPolicy::public_only().allow_loopback();
        let part = local.clone().deny("127.0.0.2/32".parse().unwrap());
        let https = NetworkPolicy::public_only().require_https(true);
        for (policy, text, allowed) in [
            (&public, "http://example.com/", true),
            (&public, "http://8.8.8.8/", true),
            (&public, "http://127.0.0.1/", false),
            (&public, "http://[::1]/", false),
            (&public, "http://[::ffff:127.0.0.1]/", false),
            (&public, "http://[64:ff9b::7f00:1]/", false),
            (&public, "http://localhost/", false),
            (&public, "http://LOCALHOST./", false),
            (&public, "http://a.localhost/", false),
            (&public, "http://printer/", false),
            (&public, "http://metadata.google.internal/", false),
            (&public, "http://router.home.arpa/", false),
            (&public, "http://a.onion/", false),
            (&public, "http://thelocal.example/", true),
            (&public, "http://notlocal/", false),
            (&public, "http://mylocal.com/", true),
            (&public, "http://a.mylocal/", true),
            (&local, "http://127.0.0.2/", true),
            (&local, "http://[::1]/", true),
            (&local, "http://[::ffff:127.0.0.1]/", true),
            (&local, "http://localhost/", true),
            (&local, "http://10.0.0.1/", false),
            (&part, "http://127.0.0.1/", true),
            (&part, "http://127.0.0.2/", false),
            (&https, "http://example.com/", false),
            (&https, "https://example.com/", true),
        ] {
            let verdict = policy.check_url(&url(text));
            assert_eq!(verdict.is_ok(), allowed, "{text}: {verdict:?}");
        }
    }

    /// Judges what names resolve to under a policy that allows loopback (table).
    #[test]
    fn a_private_name_leads_to_an_allowed_network_only() {
        let policy = NetworkPolicy::public_only().allow_loopback();
        for (text, address, allowed) in [
            ("http://localhost/", "127.0.0.1", true),
            ("http://localhost/", "8.8.8.8", false),
            ("http://printer/", "8.8.8.8", false),
            ("http://example.com/", "8.8.8.8", true),
            ("http://example.com/", "10.0.0.1", false),
        ] {
            let verdict = policy.check_resolved(&url(text), address.parse().unwrap());
            assert_eq!(verdict.is_ok(), allowed, "{text} at {address}: {verdict:?}");
        }
    }
}
