//! Reading PEM (RFC 7468): the sections of a text, decoded, with nothing of a key left behind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::{Error, Result};
use crate::policy::PEM_BYTES_MAX;

/// One section: what its label says, and the bytes.
pub(super) struct Section<'a> {
    pub(super) label: &'a str,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The sections of `text`; what stands around them is skipped.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for `field`. The text is not repeated.
pub(super) fn sections<'a>(field: &'static str, text: &'a str) -> Result<Vec<Section<'a>>> {
    let invalid = |message: String| Err(Error::invalid(field, message));
    if text.len() > PEM_BYTES_MAX {
        return invalid(format!("has {} bytes; at most {PEM_BYTES_MAX} are allowed", text.len()));
    }
    let mut found = Vec::new();
    // Room for all of it, so that growing leaves no copy behind; one for all sections.
    let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----"))
        else {
            continue;
        };
        encoded.clear();
        loop {
            let Some(line) = lines.next() else {
                return invalid("has a PEM section without an end".into());
            };
            if let Some(end) = line.strip_prefix("-----END ") {
                if end.strip_suffix("-----") != Some(label) {
                    return invalid("has a PEM section that ends as another".into());
                }
                break;
            }
            if line.contains(':') {
                return invalid("has a PEM section with headers, as encrypted keys do".into());
            }
            encoded.push_str(line);
        }
        let mut der = Zeroizing::new(vec![0; encoded.len()]);
        let Ok(len) = STANDARD.decode_slice(encoded.as_bytes(), der.as_mut_slice()) else {
            return invalid("has a PEM section that is not base64".into());
        };
        der.truncate(len);
        found.push(Section { label, der });
    }
    Ok(found)
}

/// Whether `der` is one ASN.1 SEQUENCE and nothing behind it: what certificates and keys are.
pub(super) fn is_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else {
        return false;
    };
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let Some((bytes, rest)) = rest.split_at_checked(usize::from(long & 0x7f)) else {
                return false;
            };
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return false,
    };
    rest.len() == len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads texts with sections between prose, with CRLF, and with none.
    #[test]
    fn sections_are_found_among_other_text() {
        let text = "Subject: x\r\n-----BEGIN A B-----\r\nAAEC\r\nAw==\r\n-----END A B-----\r\n\
                    more\n-----BEGIN C-----\n-----END C-----";
        let found = sections("f", text).unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.label, one.der.to_vec())).collect();
        assert_eq!(found, [("A B", vec![0, 1, 2, 3]), ("C", vec![])]);
        assert!(sections("f", "nothing").unwrap().is_empty());
    }

    /// Reads broken texts with a canary in them (table).
    #[test]
    fn broken_texts_are_refused_without_repeating_them() {
        let long = "s3cret".repeat(PEM_BYTES_MAX / 6 + 1);
        for (text, says) in [
            ("-----BEGIN A-----\ns3cret", "without an end"),
            ("-----BEGIN A-----\n-----END s3cret-----", "ends as another"),
            ("-----BEGIN A-----\nDEK-Info: s3cret\n-----END A-----", "headers"),
            ("-----BEGIN A-----\ns3cret!\n-----END A-----", "not base64"),
            (long.as_str(), "at most"),
        ] {
            let Err(error) = sections("f", text) else { panic!("{says}") };
            assert_eq!(error.field(), Some("f"));
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(says) && !shown.contains("s3cret"), "{shown}");
        }
    }

    /// Looks at lengths in each form, too short and too long (table).
    #[test]
    fn a_sequence_has_the_length_that_it_says() {
        let of = |head: &[u8], len: usize| [head, &vec![0; len]].concat();
        for (der, good) in [
            (of(&[0x30, 0], 0), true),
            (of(&[0x30, 5], 5), true),
            (of(&[0x30, 5], 6), false),
            (of(&[0x30, 0x81, 0x80], 128), true),
            (of(&[0x30, 0x82, 1, 0], 256), true),
            (of(&[0x30, 0x82, 1, 0], 255), false),
            (of(&[0x30, 0x82, 1], 0), false),
            (of(&[0x30, 0x80], 0), false),
            (of(&[0x31, 0], 0), false),
            (vec![], false),
        ] {
            assert_eq!(is_sequence(&der), good, "{der:?}");
        }
    }
}
