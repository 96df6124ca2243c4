//! Walks the text of JSON without building values, so that numbers and strings keep their spelling.
//!
//! The text must have passed `serde_json` (a `RawValue` has). On any other text the functions here
//! give up or return less; they never panic.

use std::borrow::Cow;
use std::collections::HashMap;

/// One member of an object.
pub(crate) struct Member<'a> {
    /// The key as it is spelled, without its quotes.
    pub(crate) spelled: &'a str,
    /// The key that is meant. Bytes, for an escaped half of a surrogate pair is no character.
    pub(crate) key: Cow<'a, [u8]>,
    /// The text of the value.
    pub(crate) value: &'a str,
}

/// The members of the object that `text` is, in their order, repeated keys included; `None` when it
/// is something else.
pub(crate) fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut walk = Walk::new(text);
    let mut members = Vec::new();
    if !walk.eat(b'{') {
        return None;
    }
    while let Some(spelled) = walk.key() {
        let value = walk.value()?;
        members.push(Member { spelled, key: unescape(spelled), value });
        walk.eat(b',');
    }
    Some(members)
}

/// The members of an object, each key once: of a repeated one the last.
#[derive(Default)]
pub(crate) struct Attributes<'a> {
    members: Vec<Member<'a>>,
    /// Where the last member of each key is.
    places: HashMap<Vec<u8>, usize>,
}

impl<'a> Attributes<'a> {
    /// Those of the object that `text` is.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let members = members(text)?;
        let keys = members.iter().map(|member| member.key.to_vec());
        let places = keys.enumerate().map(|(place, key)| (key, place)).collect();
        Some(Self { members, places })
    }

    /// In the order in which they count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members
            .iter()
            .enumerate()
            .filter(|(place, member)| self.places.get(&*member.key) == Some(place))
            .map(|(_, member)| member)
    }

    /// The text of the value at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&'a str> {
        let place = *self.places.get(key)?;
        self.members.get(place).map(|member| member.value)
    }
}

/// The text of the last member named `key`: the one that counts where keys are repeated.
pub(crate) fn find<'a>(members: &[Member<'a>], key: &str) -> Option<&'a str> {
    members.iter().rfind(|member| *member.key == *key.as_bytes()).map(|member| member.value)
}

/// The texts of the values in the array that `text` is; `None` when it is something else.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    let mut walk = Walk::new(text);
    let mut elements = Vec::new();
    if !walk.eat(b'[') {
        return None;
    }
    while !walk.eat(b']') {
        elements.push(walk.value()?);
        walk.eat(b',');
    }
    Some(elements)
}

/// The text of the value at `key` of the object that `text` is.
pub(crate) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut walk = Walk::new(text);
    let mut found = None;
    if !walk.eat(b'{') {
        return None;
    }
    while let Some(spelled) = walk.key() {
        let value = walk.value()?;
        if *unescape(spelled) == *key.as_bytes() {
            found = Some(value);
        }
        walk.eat(b',');
    }
    found
}

/// Whether `text` is an object.
pub(crate) fn is_object(text: &str) -> bool {
    Walk::new(text).peek() == Some(b'{')
}

/// Whether `text` is an object without members.
pub(crate) fn is_empty_object(text: &str) -> bool {
    let mut walk = Walk::new(text);
    walk.eat(b'{') && walk.eat(b'}')
}

/// How many brackets and braces are open at once in `text`, at most.
pub(crate) fn depth(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut open, mut deepest) = (0, 0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(bytes, at).map_or(bytes.len(), |end| end + 1),
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A place in a JSON text.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// How many brackets and braces are open at once in the last value, at most.
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// How many bytes were stepped over.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Steps over `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Steps over a key and its colon.
    pub(crate) fn key(&mut self) -> Option<&'a str> {
        let key = self.string()?;
        self.eat(b':').then_some(key)
    }

    /// Steps over a string; what stands between its quotes.
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        let end = string_end(self.text.as_bytes(), start)?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// Steps over a number, `true`, `false` or `null`.
    pub(crate) fn scalar(&mut self) -> Option<&'a str> {
        self.peek()?;
        let rest = self.text.get(self.at..)?;
        let length = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }

    /// How many brackets and braces are open at once, at most, in the value that
    /// [`value`](Self::value) stepped over.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// What is left of the text.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Steps over a value of any kind, in two texts that are equal up to `same` (behind which both may
    /// be anything): whether it ends there, and so is equal in both. Else neither has moved.
    pub(crate) fn value_within(&mut self, other: &mut Self, same: usize) -> bool {
        if self.at != other.at || self.at >= same {
            return false;
        }
        let text = self.text.get(..same).unwrap_or_default();
        let mut common = Walk { text, at: self.at, depth: 0 };
        // A scalar that touches the end may go on behind it.
        if common.value().is_none() || common.at >= same {
            return false;
        }
        (self.at, other.at) = (common.at, common.at);
        true
    }

    /// Steps over a value of any kind.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        self.depth = 0;
        match first {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => {
                (self.at, self.depth) = bracket_end(self.text.as_bytes(), start)?;
            }
            _ => {
                self.scalar()?;
            }
        }
        self.text.get(start..self.at)
    }
}

/// What is compared at once where two texts are expected to be equal for long.
const CHUNK: usize = 64;

/// How many bytes two texts begin with in common, cut to whole characters.
pub(crate) fn common_prefix(one: &str, other: &str) -> usize {
    let (left, right) = (one.as_bytes(), other.as_bytes());
    let chunks = left.chunks_exact(CHUNK).zip(right.chunks_exact(CHUNK));
    let whole = chunks.take_while(|(left, right)| left == right).count() * CHUNK;
    let bytes = left[whole..].iter().zip(&right[whole..]);
    let length = whole + bytes.take_while(|(left, right)| left == right).count();
    (0..=length).rfind(|at| one.is_char_boundary(*at)).unwrap_or_default()
}

/// How many bytes two texts end with in common.
pub(crate) fn common_suffix(one: &str, other: &str) -> usize {
    let (left, right) = (one.as_bytes(), other.as_bytes());
    let chunks = left.rchunks_exact(CHUNK).zip(right.rchunks_exact(CHUNK));
    let whole = chunks.take_while(|(left, right)| left == right).count() * CHUNK;
    let (left, right) = (&left[..left.len() - whole], &right[..right.len() - whole]);
    let bytes = left.iter().rev().zip(right.iter().rev());
    whole + bytes.take_while(|(left, right)| left == right).count()
}

/// Where the string whose first quote stands before `start` has its last one.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += special(bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Where the first quote or backslash is. Eight bytes at a time: most of a payload is in strings,
/// and every event that is published passes here several times.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    // The highest bit of the lowest byte that is zero is set, and none below it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let hits = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += chunk.len();
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\');
    bytes[at..].iter().position(is_special).map(|rest| at + rest)
}

/// The place after the bracket that closes the one at `start`, and how many were open at once.
fn bracket_end(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let (mut at, mut open, mut deepest) = (start, 0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return Some((at + 1, deepest));
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The bytes that the inside of a JSON string means: UTF-8, and for an escaped half of a surrogate
/// pair the three bytes that UTF-8 would have for it, so that different texts stay different.
pub(crate) fn unescape(spelled: &str) -> Cow<'_, [u8]> {
    // Inside a string, what is special and comes first is a backslash.
    let Some(first) = special(spelled.as_bytes()) else {
        return Cow::Borrowed(spelled.as_bytes());
    };
    let mut out = Vec::with_capacity(spelled.len());
    let mut rest = spelled;
    let mut next = Some(first);
    while let Some(backslash) = next {
        out.extend_from_slice(&rest.as_bytes()[..backslash]);
        let escape = &rest[backslash..];
        let length = match escape.as_bytes().get(1) {
            Some(b'u') => push_code(escape, &mut out),
            Some(letter) => {
                out.push(match letter {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                2
            }
            None => 1,
        };
        rest = escape.get(length..).unwrap_or_default();
        next = rest.find('\\');
    }
    out.extend_from_slice(rest.as_bytes());
    Cow::Owned(out)
}

/// Adds the character of a `\u` escape, or of a pair of them; how long the escape is.
fn push_code(escape: &str, out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let hex = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(hex, 16).ok()
    };
    let Some(first) = unit(0) else {
        return 2;
    };
    let pair = match (first, unit(6)) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
        }
        _ => None,
    };
    if let Some(character) = pair {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return 12;
    }
    match char::from_u32(first) {
        Some(character) => {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        None => {
            let part = |shift: u32, mask: u32| u8::try_from((first >> shift) & mask).unwrap_or(0);
            out.extend_from_slice(&[
                0xe0 | part(12, 0xf),
                0x80 | part(6, 0x3f),
                0x80 | part(0, 0x3f),
            ]);
        }
    }
    6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits an object with every kind of value, white space and a repeated key.
    #[test]
    fn members_keep_the_spelling_of_their_values() {
        let text = r#" { "a" : 29.90 , "b\u0022":[1, {"x":"]}\\"}], "":"}", "d":{ }, "a":null } "#;
        let found: Vec<_> = members(text)
            .unwrap()
            .into_iter()
            .map(|member| (member.key.into_owned(), member.value))
            .collect();
        let expected: [(&[u8], &str); 5] = [
            (b"a", "29.90"),
            (b"b\"", r#"[1, {"x":"]}\\"}]"#),
            (b"", r#""}""#),
            (b"d", "{ }"),
            (b"a", "null"),
        ];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((&*found.0, found.1), expected);
        }
        assert_eq!(find(&members(text).unwrap(), "a"), Some("null"));
        assert!(members("[1]").is_none());
        assert!(is_empty_object(" {\n} ") && !is_empty_object(text) && !is_empty_object("[]"));
    }

    /// Looks for a quote and a backslash at each place among bytes of every value.
    #[test]
    fn the_first_special_byte_is_found() {
        for length in 0..40 {
            for other in 0..=u8::MAX {
                let mut bytes = vec![if matches!(other, b'"' | b'\\') { 0 } else { other }; length];
                assert_eq!(special(&bytes), None);
                for place in (0..length).rev() {
                    bytes[place] = if place % 2 == 0 { b'"' } else { b'\\' };
                    assert_eq!(special(&bytes), Some(place), "{other} {length}");
                }
            }
        }
    }

    /// Counts brackets outside strings (table).
    #[test]
    fn depth_counts_open_brackets() {
        for (text, expected) in
            [("1", 0), ("{}", 1), (r#"{"a":[{}],"b":"[[[[\"[["}"#, 3), ("[[],[[]]]", 3)]
        {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    /// Takes arrays and objects apart (table): the last member of a key counts.
    #[test]
    fn elements_and_members_are_found_by_place_and_by_key() {
        assert_eq!(elements(r#" [1 , "]",[2], {} ] "#).unwrap(), ["1", "\"]\"", "[2]", "{}"]);
        assert_eq!(elements("[]").unwrap(), [""; 0]);
        assert_eq!(elements("{}"), None);
        for (text, value) in [
            (r#"{"a":1,"b":{"a":2}}"#, Some("1")),
            (r#"{"a":1,"\u0061":[3]}"#, Some("[3]")),
            (r#"{"b":1}"#, None),
            ("[1]", None),
            ("{}", None),
        ] {
            assert_eq!(member(text, "a"), value, "{text}");
        }
    }

    /// Compares texts that are equal up to some byte, also one in the middle of a character.
    #[test]
    fn the_common_beginning_ends_between_characters() {
        for (one, other, common) in
            [("", "a", 0), ("abc", "abd", 2), ("é", "è", 0), ("xé", "xè", 1), ("same", "same", 4)]
        {
            for padding in [0, 63, 64, 65, 200] {
                let pad = "p".repeat(padding);
                let found = common_prefix(&format!("{pad}{one}"), &format!("{pad}{other}"));
                assert_eq!(found, padding + common, "{one} and {other} behind {padding}");
                let (one, other) = (format!("1{pad}"), format!("2{pad}"));
                assert_eq!(common_suffix(&one, &other), padding);
            }
        }
    }

    /// Decodes escapes, pairs and halves of pairs (table).
    #[test]
    fn escapes_mean_their_characters() {
        for (spelled, meant) in [
            ("plain", "plain".as_bytes()),
            (r#"\"\\\/\b\f\n\r\t"#, b"\"\\/\x08\x0c\n\r\t"),
            (r"\u00e9t\u00E9", "été".as_bytes()),
            (r"\ud83d\ude00!", "😀!".as_bytes()),
            (r"\ud83d", b"\xed\xa0\xbd"),
            (r"\ude00\ud83d", b"\xed\xb8\x80\xed\xa0\xbd"),
            (r"\ud83d\u0041", b"\xed\xa0\xbdA"),
        ] {
            assert_eq!(&*unescape(spelled), meant, "{spelled}");
        }
    }
}
