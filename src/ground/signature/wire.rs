//! The texts of signature headers, read strictly (rules S2, S5, S8, S9, S10).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::verifier::VerifyError;
#[cfg(feature = "ed25519")]
use crate::policy::SIGNATURES_ASYMMETRIC_MAX;
use crate::policy::{MESSAGE_ID_BYTES_MAX, SIGNATURES_MAX};

/// The greatest timestamp of twelve digits.
pub(super) const TIMESTAMP_MAX: i64 = 999_999_999_999;
const TIMESTAMP_DIGITS: usize = 12;

/// A signature as it was computed: 32 bytes of HMAC-SHA-256.
pub(super) type Code = [u8; 32];

/// Unix seconds of 1 to 12 ASCII digits, nothing else (S2).
pub(super) fn seconds(text: &[u8]) -> Result<i64, VerifyError> {
    if !(1..=TIMESTAMP_DIGITS).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return Err(VerifyError::MalformedTimestamp);
    }
    Ok(text.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// 1 to 256 visible ASCII characters without a dot, which would move the border between the id and
/// the rest of what is signed (S9).
pub(super) fn message_id(text: &[u8]) -> Result<&str, VerifyError> {
    let good = |byte: &u8| byte.is_ascii_graphic() && *byte != b'.';
    if !(1..=MESSAGE_ID_BYTES_MAX).contains(&text.len()) || !text.iter().all(good) {
        return Err(VerifyError::MalformedId);
    }
    std::str::from_utf8(text).map_err(|_| VerifyError::MalformedId)
}

/// The `v1` signatures among the first items of `v1,<base64> v2,… …`.
pub(super) fn standard(value: &[u8]) -> Vec<Code> {
    let items = first(value.split(|byte| *byte == b' '));
    items.filter_map(|item| base64(item.strip_prefix(b"v1,")?)).collect()
}

/// The first `v1a` signatures among the first items of `v1a,<base64> v1,… …`. Fewer than of the other
/// versions, because each is checked by a pass over the body.
#[cfg(feature = "ed25519")]
pub(super) fn asymmetric(value: &[u8]) -> Vec<[u8; 64]> {
    let items = first(value.split(|byte| *byte == b' '));
    let signatures = items.filter_map(|item| {
        let text = item.strip_prefix(b"v1a,")?;
        let mut bytes = [0; 66];
        let len = STANDARD.decode_slice(text, &mut bytes).ok()?;
        bytes.get(..len)?.try_into().ok()
    });
    signatures.take(SIGNATURES_ASYMMETRIC_MAX).collect()
}

/// The timestamp and the signatures of `<timestamp>, <base64>[, <base64>…]`. The timestamp is all that
/// stands before the first comma, blanks included: they make it none.
pub(super) fn digital_river(value: &[u8]) -> (&[u8], Vec<Code>) {
    let mut items = value.split(|byte| *byte == b',');
    let timestamp = items.next().unwrap_or_default();
    let codes = first(items.map(trimmed)).filter_map(base64).collect();
    (timestamp, codes)
}

/// The timestamp and the `v1` signatures of `t=<timestamp>,v1=<hex>[,…]`, in any order. There is
/// exactly one `t` (S8), wherever it stands; blanks behind its digits make it none.
pub(super) fn timestamped_hex(value: &[u8]) -> Result<(&[u8], Vec<Code>), VerifyError> {
    let items = || value.split(|byte| *byte == b',').map(begun);
    let mut times = items().filter_map(|item| item.strip_prefix(b"t="));
    let timestamp = times.next().ok_or(VerifyError::MalformedTimestamp)?;
    if times.next().is_some() {
        return Err(VerifyError::RepeatedTimestamp);
    }
    let others = items().filter(|item| !item.starts_with(b"t=")).map(trimmed);
    let codes = first(others).filter_map(|item| hex(item.strip_prefix(b"v1=")?)).collect();
    Ok((timestamp, codes))
}

/// The items that are looked at (S5). Empty ones, which a list may have (RFC 9110, 5.6.1), are none.
fn first<'v>(items: impl Iterator<Item = &'v [u8]>) -> impl Iterator<Item = &'v [u8]> {
    items.filter(|item| !item.is_empty()).take(SIGNATURES_MAX)
}

/// An item without the blanks that a list may have before it (RFC 9110, 5.6.1).
fn begun(mut item: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = item {
        item = rest;
    }
    item
}

/// An item without the blanks that a list may have around it.
fn trimmed(item: &[u8]) -> &[u8] {
    let mut item = begun(item);
    while let [rest @ .., b' ' | b'\t'] = item {
        item = rest;
    }
    item
}

/// 32 bytes in the one base64 text that they have: 44 characters with padding, no stray bits (S10).
fn base64(text: &[u8]) -> Option<Code> {
    // The decoder asks for room for all that 44 characters may hold.
    let mut bytes = [0; 33];
    let len = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes.get(..len)?.try_into().ok()
}

/// 32 bytes in 64 hexadecimal digits of either case (S10).
fn hex(text: &[u8]) -> Option<Code> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
    let mut code = [0; 32];
    for (byte, [high, low]) in code.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(code)
}

#[cfg(all(test, feature = "ed25519"))]
mod tests {
    use super::*;

    /// Counts what is left to check of long headers.
    #[test]
    fn a_header_costs_five_checks_at_most() {
        let item = format!("v1a,{} ", STANDARD.encode([7; 64]));
        let other = "v1,x ";
        for (before, items, checked) in [(0, 4, 4), (0, 5, 5), (0, 6, 5), (0, 100, 5), (14, 5, 2)] {
            let value = other.repeat(before) + &item.repeat(items);
            assert_eq!(asymmetric(value.as_bytes()).len(), checked, "{before} {items}");
        }
        let shared = format!("v1,{} ", STANDARD.encode([7; 32])).repeat(100);
        assert_eq!(standard(shared.as_bytes()).len(), SIGNATURES_MAX);
    }
}
