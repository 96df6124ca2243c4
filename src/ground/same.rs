//! Whether two JSON texts mean the same value.
//!
//! Texts that are compared here are mostly the same resource before and after a change, written by the
//! same code: the same keys in the same order, and most of the values spelled alike. So both are walked
//! side by side, and only where the keys part ways is the value brought into a form in which their order
//! does not matter.

use super::digest::encoded;
use super::json::{Walk, common_prefix, unescape};

/// Whether two valid JSON texts of bounded depth mean the same value.
pub(crate) fn same_value(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let same = common_prefix(one, other);
    Pair { one: Walk::new(one), other: Walk::new(other), same }.value()
}

/// The same place in two texts.
struct Pair<'a> {
    one: Walk<'a>,
    other: Walk<'a>,
    /// How much of both is equal from the beginning.
    same: usize,
}

impl<'a> Pair<'a> {
    /// Steps over a value on both sides; where they differ, somewhere into it.
    fn value(&mut self) -> bool {
        if self.one.value_within(&mut self.other, self.same) {
            return true;
        }
        match (self.one.peek(), self.other.peek()) {
            (Some(b'"'), Some(b'"')) => match (self.one.string(), self.other.string()) {
                (Some(one), Some(other)) => {
                    one == other
                        || (one.contains('\\') || other.contains('\\'))
                            && unescape(one) == unescape(other)
                }
                _ => false,
            },
            (Some(b'{'), Some(b'{')) => self.object(),
            (Some(b'['), Some(b'[')) => self.array(),
            (Some(b'"' | b'{' | b'['), _) | (_, Some(b'"' | b'{' | b'[')) => false,
            _ => match (self.one.scalar(), self.other.scalar()) {
                (Some(one), Some(other)) => one == other || encoded(one) == encoded(other),
                _ => false,
            },
        }
    }

    fn array(&mut self) -> bool {
        let _ = (self.one.eat(b'['), self.other.eat(b'['));
        loop {
            match (self.one.eat(b']'), self.other.eat(b']')) {
                (true, true) => return true,
                (false, false) => {}
                _ => return false,
            }
            if !self.value() {
                return false;
            }
            let _ = (self.one.eat(b','), self.other.eat(b','));
        }
    }

    fn object(&mut self) -> bool {
        let start = (self.one.clone(), self.other.clone());
        let _ = (self.one.eat(b'{'), self.other.eat(b'{'));
        loop {
            match (self.one.key(), self.other.key()) {
                (None, None) => break self.one.eat(b'}') && self.other.eat(b'}'),
                (Some(key), Some(other)) if key == other && !key.contains('\\') => {
                    let mut rest = (self.one.clone(), self.other.clone());
                    if !self.value() {
                        // Unless a later value of the same key counts instead.
                        let again = is_again(key, &mut rest.0) || is_again(key, &mut rest.1);
                        return again && self.ordered(start);
                    }
                    let _ = (self.one.eat(b','), self.other.eat(b','));
                }
                _ => return self.ordered(start),
            }
        }
    }

    /// Steps over an object on both sides, whatever the order of its keys.
    fn ordered(&mut self, start: (Walk<'a>, Walk<'a>)) -> bool {
        (self.one, self.other) = start;
        match (self.one.value(), self.other.value()) {
            (Some(one), Some(other)) => encoded(one) == encoded(other),
            _ => false,
        }
    }
}

/// Whether `key` comes once more behind the value at `walk`. A key that is spelled in another way may
/// be the same.
fn is_again(key: &str, walk: &mut Walk<'_>) -> bool {
    while walk.value().is_some() {
        walk.eat(b',');
        match walk.key() {
            Some(other) if other == key || other.contains('\\') => return true,
            Some(_) => {}
            None => break,
        }
    }
    false
}
