//! A second reading of the rules for addresses, written apart from the first: which URLs and which
//! addresses are refused by the default policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidings::{EndpointUrl, NetworkPolicy};

fn is_accepted(text: &str) -> bool {
    EndpointUrl::parse(text).and_then(|url| NetworkPolicy::public_only().check_url(&url)).is_ok()
}

/// Hands every spelling of inner addresses and every trick of the text to parser and policy (table).
#[test]
fn what_must_not_be_dialled_is_refused() {
    for text in [
        // This machine, spelled in every way.
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/hook",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.255.255.254/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7F.0x0.0x0.0x1/",
        "http://0177.0.0.1/",
        "http://0177.0.0.0x1/",
        "http://00127.0.0.1/",
        "http://127.0.0.1./",
        "http://127。0。0。1/",
        "http://127.0.0.1/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b:1::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://localhost/",
        "http://LocalHost:3000/",
        "http://localhost./",
        "http://www.localhost/",
        "http://localhost.localdomain/",
        // Services inside networks and clouds.
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal/",
        "http://metadata/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.0.1/",
        "http://router.local/",
        "http://nas.home.arpa/",
        "http://intranet/",
        "http://abcdefghijklmnop.onion/",
        "http://[fc00::1]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[5f00::1]/",
        "http://[100::1]/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://240.0.0.1/",
        // Two readings of one text.
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1:80@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com\\.127.0.0.1/",
        "http:\\\\example.com\\",
        "http://example.com#@127.0.0.1/",
        "http://example.com/#",
        "http://exa\tmple.com/",
        "http://example.com\r\nHost: 127.0.0.1/",
        "\nhttp://example.com/",
        "http://example.com/ ",
        "\u{feff}http://example.com/",
        "http://example.com/\u{a0}",
        "http://%31%32%37.0.0.1/",
        "http://example%2Ecom/",
        "http://[fe80::1%25lo]/",
        "http://[::1]@example.com/",
        "http://[v1.fe80::a]/",
        "http://[example.com]/",
        "http:///127.0.0.1/",
        "http:////example.com/",
        "http:example.com/",
        "http:/example.com/",
        "//example.com/",
        "/hook",
        "",
        "example.com",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/plain,a",
        "ws://example.com/",
        "jar:http://example.com!/",
        // Names and ports that are none.
        "http://",
        "http://?",
        "http://.",
        "http://..",
        "http://.example.com/",
        "http://example..com/",
        "http://example.com../",
        "http://exam*ple.com/",
        "http://exam$ple.com/",
        "http://1.2.3/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://8.8.8.08/",
        "http://8.8.2056/",
        "http://example.com:0/",
        "http://example.com:25/",
        "http://example.com:6379000/",
        "http://example.com:-1/",
        "http://example.com:8o/",
        "https://example.com:22/",
    ] {
        assert!(!is_accepted(text), "{text:?} is accepted");
    }
}

/// Hands ordinary endpoints to parser and policy (table).
#[test]
fn what_customers_register_is_accepted() {
    for text in [
        "http://example.com",
        "https://example.com/",
        "HTTPS://Example.COM/Hook",
        "https://example.com./hook",
        "https://example.com:443/",
        "https://example.com:8443/a/b?c=d&e=%20f",
        "https://example.com/a@b:c",
        "https://hooks.sub-domain.example.co.uk/x_y",
        "https://_dmarc.example.com/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://例え.テスト/",
        "https://localhost.example.com/",
        "https://internal.example.com/",
        "https://127.0.0.1.nip.example/",
        "http://8.8.8.8/",
        "http://1.1.1.1:8080/",
        "http://100.128.0.1/",
        "http://172.32.0.1/",
        "http://192.169.0.1/",
        "http://198.20.0.1/",
        "http://223.255.255.255/",
        "http://[2606:4700:4700::1111]/",
        "http://[2a00:1450:4001:81b::200e]:8080/",
        "http://[64:ff9b::8.8.8.8]/",
    ] {
        assert!(is_accepted(text), "{text:?} is refused");
    }
}

/// The rule for IPv4, as comparisons instead of a table of networks.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_inner = matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [168, 63, 129, 16]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 31, 196, _]
            | [192, 52, 193, _]
            | [192, 88, 99, _]
            | [192, 175, 48, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    );
    !is_inner
}

/// The rule for IPv6, as comparisons instead of a table of networks.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => {
            let [[a, b], [c, d]] = [a.to_be_bytes(), b.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
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
            assert_eq!(is_public(v4.into()), is_public_v4(v4), "{v4}");
        }
        let wide = u128::from(bits) << 64 | u128::from(scatter(&mut state));
        let shift = u32::from(f) % 128;
        let v6 = Ipv6Addr::from_bits(prefixes[round % prefixes.len()] ^ (wide >> shift));
        assert_eq!(is_public(v6.into()), is_public_v6(v6), "{v6}");
    }
    // Every third byte of the crowded blocks, whole.
    for (first, second) in [(192, 0), (192, 31), (192, 52), (192, 88), (198, 51), (203, 0)] {
        for third in 0..=255 {
            let v4 = Ipv4Addr::new(first, second, third, 7);
            assert_eq!(is_public(v4.into()), is_public_v4(v4), "{v4}");
        }
    }
}
