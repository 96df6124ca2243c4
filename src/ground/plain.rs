//! Texts that came from elsewhere, made fit to be shown: in one line, in one direction, in bounds.
//!
//! Names, bodies and errors of receivers reach log files, terminals and web pages. A line break in one
//! forges a line of the log, an escape sequence moves the cursor of whoever reads it, and a mark that
//! turns the direction of writing makes `exe.txt` of `txt.exe`.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` in at most `limit` bytes, with everything escaped that is not seen where it stands: control
/// characters, line and paragraph separators, marks of direction, and characters without width.
///
/// What is escaped reads as in Rust, `\u{1b}`, and line breaks and tabs as `\n`, `\r`, `\t`.
pub(crate) fn plain(text: Cow<'static, str>, limit: usize) -> Cow<'static, str> {
    if is_plain(&text, limit) {
        return text;
    }
    // What an escape needs at most, beside the text that is kept.
    let mut out = String::with_capacity(text.len().min(limit) + 16);
    for char in text.chars() {
        let before = out.len();
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if is_unseen(char) => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(char));
            }
            char => out.push(char),
        }
        if out.len() > limit {
            out.truncate(before);
            break;
        }
    }
    out.into()
}

/// Whether `text` can be shown as it is.
pub(crate) fn is_plain(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.chars().any(is_unseen)
}

/// Whether a character shows nothing where it stands: control characters, separators of lines and
/// paragraphs, marks of annotation, and what Unicode 16 lists as Default_Ignorable_Code_Point (marks of
/// direction, joiners, variation selectors, fillers, tags).
fn is_unseen(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows texts that would do something to whoever reads them (table).
    #[test]
    fn nothing_unseen_is_left() {
        for (text, shown) in [
            ("plain, wide ü and 漢", "plain, wide ü and 漢"),
            ("a\r\nINFO forged", "a\\r\\nINFO forged"),
            ("\u{1b}[2J\u{7}\u{9b}31m", "\\u{1b}[2J\\u{7}\\u{9b}31m"),
            ("\u{0}\u{7f}\u{85}", "\\u{0}\\u{7f}\\u{85}"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("\u{202e}txt.exe\u{2066}\u{2069}", "\\u{202e}txt.exe\\u{2066}\\u{2069}"),
            ("\u{feff}\u{200b}\u{ad}x", "\\u{feff}\\u{200b}\\u{ad}x"),
            ("a\u{34f}\u{3164}\u{fe0f}", "a\\u{34f}\\u{3164}\\u{fe0f}"),
            ("a\u{e0100}\u{e01ef}", "a\\u{e0100}\\u{e01ef}"),
            ("e\u{301} \u{a0}\u{600} \u{1f600}", "e\u{301} \u{a0}\u{600} \u{1f600}"),
        ] {
            assert_eq!(plain(text.into(), 100), shown);
        }
    }

    /// Cuts texts of wide and of escaped characters at every length.
    #[test]
    fn no_text_passes_its_limit_and_none_is_cut_within_a_character() {
        for text in ["üüüü", "a\u{1b}b\u{202e}c", "abcdefgh"] {
            for limit in 0..40 {
                let shown = plain(text.into(), limit);
                assert!(shown.len() <= limit, "{shown} {limit}");
                assert!(plain(text.into(), 100).starts_with(&*shown), "{shown}");
            }
        }
    }
}
