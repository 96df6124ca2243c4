//! Any text as a public key: one that is accepted is written as it was read, and verifies nothing that was
//! made without its private half.

use tidings::{PublicKey, Secret, Timestamp, Verifier};

/// Points of small order, by which a signature could be made that fits any message of a weak key.
const SMALL: [[u8; 2]; 4] = [[0, 0], [1, 0], [0, 0x80], [1, 0x80]];

/// Reads the key, and verifies forgeries by it.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = match PublicKey::parse(text) {
        Ok(key) => key,
        Err(error) => {
            assert_eq!(error.field(), Some("publicKey"));
            assert!(text.len() < 8 || !error.to_string().contains(text), "{error}");
            return;
        }
    };
    assert_eq!(key.to_string(), text, "one key, one text");
    assert_eq!(PublicKey::parse(&key.to_string()).unwrap(), key);
    assert!(Secret::parse(text).is_err(), "a public key is no secret");
    let verifier = Verifier::standard_webhooks_asymmetric([key]).unwrap();
    let now = Timestamp::from_timestamp(1_614_265_330, 0).unwrap();
    for [first, last] in SMALL {
        let mut signature = [0; 64];
        (signature[0], signature[31]) = (first, last);
        let value = format!("v1a,{}", base64(&signature));
        let headers = [
            ("webhook-id", b"a".as_slice()),
            ("webhook-timestamp", b"1614265330"),
            ("webhook-signature", value.as_bytes()),
        ];
        assert!(verifier.verify(headers, b"{}", now).is_err(), "a forgery verifies");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..4 {
            match digit <= three.len() {
                true => out.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}
