//! A second reading of the rules for addresses, written apart from the first: which URLs and which
//! addresses are refused by the default policy, at every entrance, and which rule a refusal names.

#[cfg(feature = "engine")]
#[path = "address_policy/entrances.rs"]
mod entrances;
#[path = "address_policy/lists.rs"]
mod lists;
#[path = "address_policy/registries.rs"]
mod registries;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidings::{AddressRule, EndpointUrl, Error, NetworkPolicy};

fn judge(text: &str, policy: &NetworkPolicy) -> Result<EndpointUrl, Error> {
    EndpointUrl::parse(text).and_then(|url| policy.check_url(&url).map(|()| url))
}

/// Hands every spelling of inner addresses and every trick of the text to parser and policy, and
/// compares the rule that the error names (table).
#[test]
fn what_must_not_be_dialled_is_refused_by_its_rule() {
    let refused = lists::refused();
    assert!(refused.len() > 400, "{}", refused.len());
    let mut wrong = Vec::new();
    for (rule, text) in &refused {
        match judge(text, &NetworkPolicy::public_only()) {
            Ok(_) => wrong.push(format!("{text:?} is accepted")),
            Err(error) if error.rule() != Some(*rule) => {
                wrong.push(format!("{text:?} breaks {rule}: {error}"));
            }
            Err(error) => {
                assert_eq!(error.field(), Some("address"), "{text:?}");
                assert!(error.to_string().ends_with(&format!(" ({rule})")), "{error}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Hands ordinary endpoints to parser and policy (table).
#[test]
fn what_customers_register_is_accepted() {
    let wrong: Vec<_> = lists::accepted()
        .iter()
        .filter_map(|text| {
            judge(text, &NetworkPolicy::public_only()).err().map(|it| (text.clone(), it))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Registers each port from 0 to 65535 and compares with the list of the Fetch standard, by ranges.
#[test]
fn the_ports_that_browsers_refuse_are_refused() {
    for port in 0..=u16::MAX {
        let bad = matches!(
            port,
            0 | 1 | 7 | 9 | 11 | 13 | 15 | 17 | 19..=23 | 25 | 37 | 42 | 43 | 53 | 69 | 77 | 79 | 87
                | 95 | 101..=104 | 109..=111 | 113 | 115 | 117 | 119 | 123 | 135 | 137 | 139 | 143
                | 161 | 179 | 389 | 427 | 465 | 512..=515 | 526 | 530..=532 | 540 | 548 | 554 | 556
                | 563 | 587 | 601 | 636 | 989 | 990 | 993 | 995 | 1719 | 1720 | 1723 | 2049 | 3659
                | 4045 | 4190 | 5060 | 5061 | 6000 | 6566 | 6665..=6669 | 6679 | 6697 | 10080
        );
        let verdict = EndpointUrl::parse(&format!("https://example.com:{port}/"));
        assert_eq!(verdict.is_err(), bad, "{port}");
    }
}

/// Judges URLs by policies that a host has set (table).
#[test]
fn a_host_sets_scheme_ports_and_networks() {
    let public = NetworkPolicy::public_only;
    let net = |text: &str| text.parse().unwrap();
    let ports = public().only_ports([443, 8443]);
    let inner = public().allow(net("10.1.0.0/16")).deny(net("10.1.9.0/24"));
    let closed = public().deny(net("8.8.8.0/24")).deny(net("2606:4700::/32"));
    let both = public().require_https(true).only_ports([80, 443]);
    for (policy, text, expected) in [
        (&ports, "https://example.com/", None),
        (&ports, "https://example.com:443/", None),
        (&ports, "http://example.com:8443/", None),
        (&ports, "http://example.com/", Some(AddressRule::Port)),
        (&ports, "https://example.com:8444/", Some(AddressRule::Port)),
        (&ports, "https://8.8.8.8:80/", Some(AddressRule::Port)),
        (&public().only_ports([]), "https://example.com/", Some(AddressRule::Port)),
        (&public().only_ports([1]).only_ports([443]), "https://example.com/", None),
        (&both, "https://example.com/", None),
        (&both, "http://example.com/", Some(AddressRule::Text)),
        (&both, "HTTP://example.com:443/", Some(AddressRule::Text)),
        (&inner, "http://10.1.2.3/", None),
        (&inner, "http://[::ffff:10.1.2.3]/", None),
        (&inner, "http://[64:ff9b::10.1.2.3]/", None),
        (&inner, "http://10.2.2.3/", Some(AddressRule::Address)),
        (&inner, "http://10.1.9.3/", Some(AddressRule::Network)),
        (&inner, "http://[::ffff:10.1.9.3]/", Some(AddressRule::Network)),
        (&inner, "http://[64:ff9b::10.1.9.3]/", Some(AddressRule::Network)),
        (&inner, "http://localhost/", None),
        (&inner, "http://printer/", None),
        (&inner, "http://0x0a010203/", Some(AddressRule::Ipv4)),
        (&closed, "http://8.8.8.8/", Some(AddressRule::Network)),
        (&closed, "http://[64:ff9b::8.8.8.8]/", Some(AddressRule::Network)),
        (&closed, "http://[::ffff:8.8.8.8]/", Some(AddressRule::Network)),
        (&closed, "http://[2606:4700::1]/", Some(AddressRule::Network)),
        (&closed, "http://1.1.1.1/", None),
    ] {
        let verdict = judge(text, policy);
        assert_eq!(verdict.as_ref().err().and_then(Error::rule), expected, "{text}: {verdict:?}");
        assert_eq!(verdict.is_ok(), expected.is_none(), "{text}");
    }
}

/// Resolves public and private names to addresses of every kind and compares the rule (table).
#[test]
fn what_a_name_resolves_to_is_refused_by_its_rule() {
    let public = NetworkPolicy::public_only();
    let inner = public.clone().allow("10.1.0.0/16".parse().unwrap());
    for (policy, text, address, expected) in [
        (&public, "http://example.com/", "8.8.8.8", None),
        (&public, "http://example.com/", "10.1.0.1", Some(AddressRule::Address)),
        (&public, "http://example.com/", "::ffff:8.8.8.8", Some(AddressRule::Address)),
        (&public, "http://localhost/", "8.8.8.8", Some(AddressRule::Network)),
        (&inner, "http://example.com/", "10.1.0.1", None),
        (&inner, "http://printer/", "10.1.0.1", None),
        (&inner, "http://printer/", "10.2.0.1", Some(AddressRule::Address)),
        (&inner, "http://printer./", "8.8.8.8", Some(AddressRule::Network)),
        (&inner, "http://a.internal/", "8.8.8.8", Some(AddressRule::Network)),
    ] {
        let url = EndpointUrl::parse(text).unwrap();
        let refusal = policy.check_resolved(&url, address.parse().unwrap()).err();
        assert_eq!(refusal.map(|it| it.rule()), expected, "{text} at {address}");
        if let Some(refusal) = refusal {
            assert!(refusal.to_string().ends_with(&format!("({})", refusal.rule())), "{refusal}");
        }
    }
}

/// Compares the crate with the registries over whole prefixes: for each the first and last addresses,
/// their neighbours outside, and 1,000 scattered ones inside and 500 around; then the same IPv4
/// addresses in every form that hides one in IPv6.
#[test]
fn whole_prefixes_are_judged_as_the_registries_say() {
    let policy = NetworkPolicy::public_only();
    let mut state = 7;
    let mut compared = 0;
    let mut compare = |address: IpAddr| {
        compared += 1;
        let verdict = policy.check_ip(address);
        assert_eq!(verdict.is_ok(), registries::is_public(address), "{address}: {verdict:?}");
    };
    for (prefix, length) in registries::prefixes() {
        let (first, width) = match prefix {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let make = |bits: u128| -> IpAddr {
            if width == 32 {
                Ipv4Addr::from_bits(bits as u32).into()
            } else {
                Ipv6Addr::from_bits(bits).into()
            }
        };
        let inside = u128::MAX.checked_shr(128 - width + length).unwrap_or(0);
        let around = inside << 2 | 3;
        let mut judge = |bits: u128| {
            compare(make(bits));
            if let IpAddr::V4(v4) = make(bits) {
                registries::wrapped(v4).into_iter().for_each(|v6| compare(v6.into()));
            }
        };
        for edge in [first, first | inside] {
            for near in 0..3 {
                judge(edge.wrapping_add(near));
                judge(edge.wrapping_sub(near));
            }
        }
        for round in 0..1_500 {
            let wide = u128::from(scatter(&mut state)) << 64 | u128::from(scatter(&mut state));
            judge(first ^ (wide & if round < 1_000 { inside } else { around }));
        }
    }
    assert!(compared > 100_000, "{compared}");
    println!("{compared} addresses compared");
}

/// Bits that look random and are the same on every run (SplitMix64).
fn scatter(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Compares both readings over 300,000 addresses: scattered ones, and ones close to the edges.
#[test]
fn both_readings_agree_everywhere() {
    let policy = NetworkPolicy::public_only();
    let is_public = |address: IpAddr| policy.check_ip(address).is_ok();
    let prefixes: [u128; 9] = [
        0,
        0x2000 << 112,
        0x2001 << 112,
        0x2001_0db8 << 96,
        0x2002 << 112,
        0x3fff << 112,
        0x0064_ff9b << 96,
        0xffff << 32,
        0xfe80 << 112,
    ];
    let mut state = 1;
    for round in 0..100_000 {
        let bits = scatter(&mut state);
        let [a, b, c, d, e, f, ..] = bits.to_be_bytes();
        let near = [0, 10, 100, 127, 168, 169, 172, 192, 198, 203, 224][usize::from(e) % 11];
        for v4 in [Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(near, b, c, d)] {
            assert_eq!(is_public(v4.into()), registries::is_public(v4.into()), "{v4}");
        }
        let wide = u128::from(bits) << 64 | u128::from(scatter(&mut state));
        let shift = u32::from(f) % 128;
        let v6 = Ipv6Addr::from_bits(prefixes[round % prefixes.len()] ^ (wide >> shift));
        assert_eq!(is_public(v6.into()), registries::is_public(v6.into()), "{v6}");
    }
    // Every third byte of the crowded blocks, whole.
    for (first, second) in [(192, 0), (192, 31), (192, 52), (192, 88), (198, 51), (203, 0)] {
        for third in 0..=255 {
            let v4 = Ipv4Addr::new(first, second, third, 7);
            assert_eq!(is_public(v4.into()), registries::is_public(v4.into()), "{v4}");
        }
    }
}
