//! What an event says, in 32 bytes: tells an honest repetition of a publish from other content
//! under the same id.
//!
//! The digest is of values, not of spelling: the retry of a publish rebuilds its event, perhaps with
//! the keys in another order. Numbers are compared as decimal numbers of any length, never as
//! floating point, in which amounts of twenty digits would be alike.

use std::fmt;
use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use super::account::{Account, Mode};
use super::event_type::EventType;
use super::json::{Walk, unescape};

/// The first byte that is hashed. Another encoding needs another, for digests are stored.
const ENCODING: u8 = 1;

/// SHA-256 over an event's account, mode, type and `data`, as JSON values.
///
/// Key order, white space, string escapes and the spelling of numbers (`29.90`, `29.9`, `2990e-2`)
/// make no difference; of a repeated key the last value counts; `previousAttributes` that are
/// absent, `null` or `{}` are alike. The id, the time and other keys of the envelope do not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes, as a storage kept them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for storages to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of an event whose `data` is this valid JSON of bounded depth.
    pub(crate) fn of(account: &Account, mode: Mode, event_type: &EventType, data: &str) -> Self {
        let mut out = Vec::with_capacity(data.len() + 256);
        out.push(ENCODING);
        out.push(u8::from(mode.is_live()));
        push_bytes(account.as_str().as_bytes(), &mut out);
        push_bytes(event_type.as_str().as_bytes(), &mut out);
        Encoder::new(&mut out).data(data);
        Self(Sha256::digest(&out).into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The bytes that stand for a value: the same for the same value, however it is spelled.
pub(crate) fn encoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    Encoder::new(&mut out).value(&mut Walk::new(text));
    out
}

/// Writes JSON values so that the same value is always the same bytes, and no two values share
/// theirs: every value begins with a tag, strings have their length before them, numbers and
/// brackets end with a byte that cannot go on with.
struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// The members of the objects that are open, the innermost last.
    entries: Vec<Entry>,
    /// Room for the members of one object while they are put in order.
    sorted: Vec<u8>,
}

/// Where in the output a member lies.
#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    value: usize,
    end: usize,
}

impl<'a> Encoder<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, entries: Vec::with_capacity(32), sorted: Vec::new() }
    }

    /// Writes an event's `data`, in which empty `previousAttributes` are left out.
    fn data(&mut self, text: &str) {
        let mut walk = Walk::new(text);
        if walk.eat(b'{') {
            self.object(&mut walk, true);
        } else {
            self.value(&mut walk);
        }
    }

    fn value(&mut self, walk: &mut Walk<'_>) {
        match walk.peek() {
            Some(b'"') => self.string(walk.string().unwrap_or_default()),
            Some(b'{') => {
                walk.eat(b'{');
                self.object(walk, false);
            }
            Some(b'[') => {
                walk.eat(b'[');
                self.out.push(b'[');
                while !matches!(walk.peek(), None | Some(b']')) {
                    let before = self.out.len();
                    self.value(walk);
                    if !walk.eat(b',') && self.out.len() == before {
                        break;
                    }
                }
                walk.eat(b']');
                self.out.push(b']');
            }
            _ => match walk.scalar() {
                Some(word @ ("true" | "false" | "null")) => self.out.push(word.as_bytes()[0]),
                Some(number) => self.number(number),
                None => {}
            },
        }
    }

    fn string(&mut self, spelled: &str) {
        self.out.push(b'"');
        push_bytes(&unescape(spelled), self.out);
    }

    /// Writes an object whose brace is already passed: sorted by key, of equal keys the last.
    fn object(&mut self, walk: &mut Walk<'_>, is_data: bool) {
        self.out.push(b'{');
        let (base, first) = (self.out.len(), self.entries.len());
        while let Some(key) = walk.key() {
            let start = self.out.len();
            self.string(key);
            let value = self.out.len();
            self.value(walk);
            let end = self.out.len();
            self.entries.push(Entry { start, value, end });
            walk.eat(b',');
        }
        walk.eat(b'}');

        let out = &mut *self.out;
        // Encoded keys, lengths first: any fixed order will do.
        let key = |entry: &Entry| &out[entry.start..entry.value];
        let is_sorted = self.entries[first..].windows(2).all(|pair| key(&pair[0]) < key(&pair[1]));
        if !is_sorted || is_data {
            // Stable, so that of equal keys the last stays last.
            self.entries[first..].sort_by(|one, other| key(one).cmp(key(other)));
            self.sorted.clear();
            for (index, entry) in self.entries[first..].iter().enumerate() {
                let next = self.entries.get(first + index + 1);
                if next.is_some_and(|next| key(next) == key(entry)) {
                    continue;
                }
                let value = &out[entry.value..entry.end];
                let is_nothing = value == b"{}" || value == b"n";
                if is_data && is_nothing && key(entry) == PREVIOUS_ATTRIBUTES {
                    continue;
                }
                self.sorted.extend_from_slice(&out[entry.start..entry.end]);
            }
            out.truncate(base);
            out.extend_from_slice(&self.sorted);
        }
        self.entries.truncate(first);
        self.out.push(b'}');
    }

    /// Writes a number as its digits without zeros at either end, and the power of ten.
    fn number(&mut self, text: &str) {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        let whole = whole.trim_start_matches('0');
        self.out.push(b'#');
        if whole.is_empty() && fraction.is_empty() {
            self.out.extend_from_slice(b"0;");
            return;
        }
        if negative {
            self.out.push(b'-');
        }
        let shift = if fraction.is_empty() {
            let digits = whole.trim_end_matches('0');
            self.out.extend_from_slice(digits.as_bytes());
            i64::try_from(whole.len() - digits.len()).unwrap_or(i64::MAX)
        } else {
            let leading =
                if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
            self.out.extend_from_slice(whole.as_bytes());
            self.out.extend_from_slice(leading.as_bytes());
            i64::try_from(fraction.len()).map_or(i64::MIN, |length| -length)
        };
        let sum = power.parse::<i64>().ok().and_then(|power| power.checked_add(shift));
        // Writing to a `Vec` does not fail.
        let _ = match sum {
            Some(0) => Ok(()),
            Some(sum) => write!(self.out, "e{sum}"),
            // A power beyond 64 bits: kept as it is spelled, so at worst two spellings of one such
            // number count as different, never two numbers as the same.
            None => write!(self.out, "E{shift},{power}"),
        };
        self.out.push(b';');
    }
}

/// The key `previousAttributes`, encoded.
const PREVIOUS_ATTRIBUTES: &[u8] = b"\"\x12previousAttributes";

/// Writes a length, seven bits a byte and the lowest first, and the bytes.
fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::same::same_value;

    fn digest(data: &str) -> Digest {
        let event_type = EventType::parse("order.accepted").unwrap();
        Digest::of(&Account::default(), Mode::Live, &event_type, data)
    }

    /// Compares the digests of `data` in different words (table).
    #[test]
    fn spelling_makes_no_difference() {
        for (one, other) in [
            (r#"{"object":{"a":1,"b":2}}"#, r#" { "object" : { "b" : 2 , "a" : 1 } } "#),
            (r#"{"object":{"a":"x\/y\u00e9"}}"#, r#"{"object":{"\u0061":"\u0078/yé"}}"#),
            (r#"{"object":{"a":"😀"}}"#, r#"{"object":{"a":"\ud83d\ude00"}}"#),
            (r#"{"object":{"a":1,"a":2}}"#, r#"{"object":{"a":2}}"#),
            (r#"{"object":{"a":2,"b":0,"a":1}}"#, r#"{"object":{"b":0,"a":1}}"#),
            (r#"{"object":{"z":[{"b":1,"a":2}]}}"#, r#"{"object":{"z":[{"a":2,"b":1}]}}"#),
            (r#"{"object":{}}"#, r#"{"object":{},"previousAttributes":{}}"#),
            (r#"{"object":{}}"#, r#"{"previousAttributes":null,"object":{}}"#),
            (
                r#"{"object":{}}"#,
                r#"{"previousAttributes":{"a":1},"object":{},"previousAttributes":{ }}"#,
            ),
        ] {
            assert_eq!(digest(one), digest(other), "{one} {other}");
        }
    }

    /// Compares the digests of different `data` (table).
    #[test]
    fn other_values_have_other_digests() {
        let all = [
            "{}",
            r#"{"object":{}}"#,
            r#"{"object":[]}"#,
            r#"{"object":null}"#,
            r#"{"object":""}"#,
            r#"{"object":{"a":1}}"#,
            r#"{"object":{"a":"1"}}"#,
            r#"{"object":{"a":null}}"#,
            r#"{"object":{"a":true}}"#,
            r#"{"object":{"a":false}}"#,
            r#"{"object":{"a":"null"}}"#,
            r#"{"object":{"a":[]}}"#,
            r#"{"object":{"a":{}}}"#,
            r#"{"object":{"a":[1,2]}}"#,
            r#"{"object":{"a":[2,1]}}"#,
            r#"{"object":{"a":[12]}}"#,
            r#"{"object":{"a":[[1],2]}}"#,
            r#"{"object":{"a":[[1,2]]}}"#,
            r#"{"object":{"a":["1,2"]}}"#,
            r#"{"object":{"ab":"c"}}"#,
            r#"{"object":{"a":"bc"}}"#,
            r#"{"object":{"a":{"b":{}},"c":{}}}"#,
            r#"{"object":{"a":{"b":{},"c":{}}}}"#,
            r#"{"object":{"previousAttributes":{}}}"#,
            r#"{"object":{},"previousAttributes":{"a":null}}"#,
            r#"{"object":{},"a":null}"#,
            r#"{"object":{"a":"\ud83d"}}"#,
            r#"{"object":{"a":"\ud83e"}}"#,
            r#"{"object":{"a":"\ufffd"}}"#,
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(digest(one), digest(other), "{one} {other}");
            }
        }
    }

    /// Compares numbers: each row is one number in several spellings (table).
    #[test]
    fn numbers_are_decimal() {
        let zeros = format!("1{}", "0".repeat(400));
        let rows: [&[&str]; 16] = [
            &["0", "-0", "0.0", "0e9", "-0.00E-7", "0e99999999999999999999"],
            &["1", "1.0", "1e0", "10e-1", "0.1e1", "0.01E+2", "100e-0002"],
            &["-1", "-1.0", "-10e-1"],
            &["10", "1e1", "1E+01", "10.0", "100e-1"],
            &["29.90", "29.9", "2990e-2", "0.299e2", "0.0299e3"],
            &["29.09", "2909e-2"],
            &["0.05", "5e-2", "0.0050e1"],
            &["0.5", "50e-2"],
            &["12345678901234567890", "1234567890123456789e1"],
            &["12345678901234567891", "12345678901234567891.0"],
            &["1e400", &zeros],
            &["1e401"],
            &["0.1"],
            &["0.1000000000000000055511151231257827"],
            &["1e99999999999999999999"],
            &["1e99999999999999999998"],
        ];
        let object = |number: &str| digest(&format!(r#"{{"object":{{"n":{number}}}}}"#));
        for (index, row) in rows.iter().enumerate() {
            for spelling in *row {
                assert_eq!(object(spelling), object(row[0]), "{spelling} {}", row[0]);
                assert!(same_value(spelling, row[0]), "{spelling} {}", row[0]);
            }
            for other in &rows[index + 1..] {
                assert_ne!(object(row[0]), object(other[0]), "{} {}", row[0], other[0]);
                assert!(!same_value(row[0], other[0]), "{} {}", row[0], other[0]);
            }
        }
    }

    /// Compares the digests of one `data` under other accounts, modes and types, and with one
    /// computed by hand.
    #[test]
    fn whose_and_what_count() {
        let data = r#"{"object":{"id":"247","total":29.90}}"#;
        let of = |account: &str, mode, event_type: &str| {
            let account = Account::new(account).unwrap();
            Digest::of(&account, mode, &EventType::parse(event_type).unwrap(), data)
        };
        let all = [
            of("default", Mode::Live, "order.accepted"),
            of("default", Mode::Test, "order.accepted"),
            of("default", Mode::Live, "order.blocked"),
            of("other", Mode::Live, "order.accepted"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
        assert_eq!(digest(data), all[0]);
        assert_eq!(Digest::from_bytes(*all[0].as_bytes()), all[0]);
        assert_eq!(
            format!("{:?}", all[0]),
            "Digest(ec7300853fa3baa1abcbb7807ac53308be049fbb9aae5a1de7d32ffc5e738405)",
            "stored digests would no longer be recognised: change ENCODING with the encoding"
        );
    }
}
