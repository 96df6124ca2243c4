//! A second reading of rule R5, by its source: the special-purpose registries of IANA as tables of
//! prefixes, and what the rule adds to them. It shares nothing with the crate: a prefix is a number
//! and a length here, and an address a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A row of a registry: prefix, length, and whether IANA calls it globally reachable.
type Row = (&'static str, u32, bool);

/// The IANA IPv4 Special-Purpose Address Registry, as of October 2025.
const SPECIAL_V4: [Row; 26] = [
    ("0.0.0.0", 8, false),
    ("0.0.0.0", 32, false),
    ("10.0.0.0", 8, false),
    ("100.64.0.0", 10, false),
    ("127.0.0.0", 8, false),
    ("169.254.0.0", 16, false),
    ("172.16.0.0", 12, false),
    ("192.0.0.0", 24, false),
    ("192.0.0.0", 29, false),
    ("192.0.0.8", 32, false),
    ("192.0.0.9", 32, true),
    ("192.0.0.10", 32, true),
    ("192.0.0.170", 32, false),
    ("192.0.0.171", 32, false),
    ("192.0.2.0", 24, false),
    ("192.31.196.0", 24, true),
    ("192.52.193.0", 24, true),
    ("192.88.99.0", 24, false),
    ("192.168.0.0", 16, false),
    ("192.175.48.0", 24, true),
    ("198.18.0.0", 15, false),
    ("198.51.100.0", 24, false),
    ("203.0.113.0", 24, false),
    ("240.0.0.0", 4, false),
    ("255.255.255.255", 32, false),
    // Not in that registry, but in the one of multicast.
    ("224.0.0.0", 4, false),
];

/// What looks public in IPv4 and is not: the host agent of a cloud.
const AGENT: &str = "168.63.129.16";

/// The IANA IPv6 Special-Purpose Address Registry, as of October 2025.
const SPECIAL_V6: [Row; 24] = [
    ("::1", 128, false),
    ("::", 128, false),
    ("::ffff:0:0", 96, false),
    ("64:ff9b::", 96, true),
    ("64:ff9b:1::", 48, false),
    ("100::", 64, false),
    ("100:0:0:1::", 64, false),
    ("2001::", 23, false),
    ("2001::", 32, false),
    ("2001:1::1", 128, true),
    ("2001:1::2", 128, true),
    ("2001:1::3", 128, true),
    ("2001:2::", 48, false),
    ("2001:3::", 32, true),
    ("2001:4:112::", 48, true),
    ("2001:10::", 28, false),
    ("2001:20::", 28, true),
    ("2001:30::", 28, true),
    ("2001:db8::", 32, false),
    ("2002::", 16, false),
    ("2620:4f:8000::", 48, true),
    ("3fff::", 20, false),
    ("5f00::", 16, false),
    ("fc00::", 7, false),
];

/// What IANA allots as global unicast, and the block of it that is for protocols, whatever single
/// assignments in it are reachable.
const UNICAST: (&str, u32) = ("2000::", 3);
const PROTOCOLS: (&str, u32) = ("2001::", 23);
const TRANSLATED: (&str, u32) = ("64:ff9b::", 96);

fn bits_v4(text: &str) -> u32 {
    u32::from_be_bytes(text.parse::<Ipv4Addr>().unwrap().octets())
}

fn bits_v6(text: &str) -> u128 {
    u128::from_be_bytes(text.parse::<Ipv6Addr>().unwrap().octets())
}

fn in_v4(bits: u32, (prefix, length): (&str, u32)) -> bool {
    (bits ^ bits_v4(prefix)).checked_shr(32 - length).unwrap_or(0) == 0
}

fn in_v6(bits: u128, (prefix, length): (&str, u32)) -> bool {
    (bits ^ bits_v6(prefix)).checked_shr(128 - length).unwrap_or(0) == 0
}

/// The longest row that holds an address decides in the registries, and its answer comes second to
/// what the rule adds: in IPv4 no row at all is dialled.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(u32::from_be_bytes(v4.octets())),
        IpAddr::V6(v6) => is_public_v6(u128::from_be_bytes(v6.octets())),
    }
}

fn is_public_v4(bits: u32) -> bool {
    let listed = SPECIAL_V4.iter().any(|(prefix, length, _)| in_v4(bits, (prefix, *length)));
    !listed && bits != bits_v4(AGENT)
}

fn is_public_v6(bits: u128) -> bool {
    if in_v6(bits, TRANSLATED) {
        return is_public_v4(bits as u32);
    }
    let rows = SPECIAL_V6.iter().filter(|(prefix, length, _)| in_v6(bits, (prefix, *length)));
    let reachable = rows.max_by_key(|(_, length, _)| *length).is_none_or(|row| row.2);
    in_v6(bits, UNICAST) && !in_v6(bits, PROTOCOLS) && reachable
}

/// Every prefix that decides something, as an IPv6 one where it is one.
pub(crate) fn prefixes() -> Vec<(IpAddr, u32)> {
    let v4 = SPECIAL_V4.iter().map(|(prefix, length, _)| (*prefix, *length));
    let v6 = SPECIAL_V6.iter().map(|(prefix, length, _)| (*prefix, *length));
    v4.chain([(AGENT, 32)])
        .chain(v6)
        .chain([UNICAST, PROTOCOLS, TRANSLATED])
        .map(|(prefix, length)| (prefix.parse().unwrap(), length))
        .collect()
}

/// The forms in which an IPv4 address hides in an IPv6 one: compatible, mapped, translated (SIIT and
/// both NAT64), 6to4, Teredo (the server, and the client, inverted), ISATAP, and at the end of a public prefix.
pub(crate) fn wrapped(v4: Ipv4Addr) -> [Ipv6Addr; 9] {
    let low = u128::from(u32::from(v4));
    [
        low,
        bits_v6("::ffff:0:0") | low,
        bits_v6("::ffff:0:0:0") | low,
        bits_v6("64:ff9b::") | low,
        bits_v6("64:ff9b:1::") | low,
        bits_v6("2002::") | low << 80,
        bits_v6("2001::") | low << 64 | u128::from(!u32::from(v4)),
        bits_v6("fe80::5efe:0:0") | low,
        bits_v6("2606:4700::") | low,
    ]
    .map(Ipv6Addr::from_bits)
}
