//! Whether a resource changed, apart from what does not count as its own.

use std::collections::BTreeMap;

use super::super::json::{self, Attributes};
use super::super::same::same_value;
use super::path::Path;

/// What a comparison leaves out: the parts that have events of their own, and bookkeeping.
#[derive(Debug, Clone, Default)]
pub(super) struct Except {
    left_out: Option<LeftOut>,
    keys: BTreeMap<Vec<u8>, Self>,
    each: Option<Box<Self>>,
}

/// What is left out where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Whatever it is.
    All,
    /// An object.
    Object,
    /// The objects of an array.
    Objects,
}

impl Except {
    /// Leaves out whatever stands at `path`.
    pub(super) fn add(&mut self, path: &Path) {
        self.leave_out(path, LeftOut::All);
    }

    /// Leaves out the parts at `path`. What is no object is no part.
    pub(super) fn add_parts(&mut self, path: &Path) {
        let is_array = path.steps().last().is_some_and(|step| step.each);
        self.leave_out(path, if is_array { LeftOut::Objects } else { LeftOut::Object });
    }

    fn leave_out(&mut self, path: &Path, what: LeftOut) {
        let Some((last, steps)) = path.steps().split_last() else { return };
        let mut at = self;
        for step in steps {
            at = at.keys.entry(step.key.clone().into_bytes()).or_default();
            if step.each {
                at = at.each.get_or_insert_default();
            }
        }
        at.keys.entry(last.key.clone().into_bytes()).or_default().left_out = Some(what);
    }

    /// Whether two values differ in what is not left out.
    pub(super) fn differs(&self, before: &str, after: &str) -> bool {
        if before == after {
            return false;
        }
        match self.left_out {
            Some(LeftOut::All) => return false,
            Some(LeftOut::Object) => {
                let own = |text| if json::is_object(text) { "null" } else { text };
                return !same_value(own(before), own(after));
            }
            Some(LeftOut::Objects) => {
                let (Some(mut before), Some(mut after)) = (elements(before), elements(after))
                else {
                    return !same_value(before, after);
                };
                before.retain(|text| !json::is_object(text));
                after.retain(|text| !json::is_object(text));
                let mut pairs = before.iter().zip(&after);
                return before.len() != after.len()
                    || pairs.any(|(before, after)| !same_value(before, after));
            }
            None => {}
        }
        if let Some(each) = &self.each
            && let (Some(before), Some(after)) = (elements(before), elements(after))
        {
            let mut pairs = before.iter().zip(&after);
            return before.len() != after.len()
                || pairs.any(|(before, after)| each.differs(before, after));
        }
        if self.keys.is_empty() {
            return !same_value(before, after);
        }
        // What is not there has no attributes: it differs only in what is not left out.
        let (Some(former), Some(present)) = (attributes(before), attributes(after)) else {
            return !same_value(before, after);
        };
        let differs = |key: &[u8]| {
            let (was, is) = (former.get(key), present.get(key));
            match self.keys.get(key) {
                Some(except) => except.differs(was.unwrap_or("null"), is.unwrap_or("null")),
                None => was.zip(is).is_none_or(|(was, is)| !same_value(was, is)),
            }
        };
        let is_added = |key: &[u8]| former.get(key).is_none();
        former.iter().any(|member| differs(&member.key))
            || present.iter().any(|member| is_added(&member.key) && differs(&member.key))
    }
}

fn elements(text: &str) -> Option<Vec<&str>> {
    if text == "null" { Some(Vec::new()) } else { json::elements(text) }
}

fn attributes(text: &str) -> Option<Attributes<'_>> {
    if text == "null" { Some(Attributes::default()) } else { Attributes::of(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares resources apart from parts and bookkeeping (table).
    #[test]
    fn what_is_left_out_does_not_count() {
        let mut except = Except::default();
        for path in ["updatedTime", "flags.seen"] {
            except.add(&Path::parse(path).unwrap());
        }
        for path in ["payment.charges[]", "items[].returns[]", "source"] {
            except.add_parts(&Path::parse(path).unwrap());
        }
        for (name, before, after, differs) in [
            ("equal", r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":1}"#, false),
            ("own", r#"{"a":1}"#, r#"{"a":2}"#, true),
            ("added", r#"{}"#, r#"{"a":null}"#, true),
            ("removed", r#"{"a":1}"#, r#"{}"#, true),
            ("bookkeeping", r#"{"updatedTime":1}"#, r#"{"updatedTime":2}"#, false),
            ("bookkeeping added", r#"{}"#, r#"{"updatedTime":2}"#, false),
            (
                "a part",
                r#"{"payment":{"charges":[{}],"n":1}}"#,
                r#"{"payment":{"charges":[{"a":2},{}],"n":1}}"#,
                false,
            ),
            (
                "beside a part",
                r#"{"payment":{"charges":[1],"n":1}}"#,
                r#"{"payment":{"charges":[1],"n":2}}"#,
                true,
            ),
            ("around the first part", r#"{}"#, r#"{"payment":{"charges":[{}]}}"#, false),
            ("around nothing", r#"{}"#, r#"{"payment":{}}"#, false),
            ("beside the first part", r#"{}"#, r#"{"payment":{"n":1}}"#, true),
            ("no object", r#"{"payment":1}"#, r#"{"payment":{}}"#, true),
            (
                "in elements",
                r#"{"items":[{"n":1,"returns":[]},{"n":2}]}"#,
                r#"{"items":[{"n":1,"returns":[{"id":1}]},{"n":2,"returns":[]}]}"#,
                false,
            ),
            ("an element", r#"{"items":[{"n":1}]}"#, r#"{"items":[{"n":2}]}"#, true),
            ("one more element", r#"{"items":[{"n":1}]}"#, r#"{"items":[{"n":1},{}]}"#, true),
            ("no elements", r#"{"items":[]}"#, r#"{}"#, false),
            ("a single part", r#"{"source":{"id":1}}"#, r#"{"source":null}"#, false),
            ("what is no part", r#"{"source":"s1"}"#, r#"{"source":"s2"}"#, true),
            ("what became a part", r#"{"source":"s1"}"#, r#"{"source":{}}"#, true),
            (
                "no parts",
                r#"{"payment":{"charges":["a",{}]}}"#,
                r#"{"payment":{"charges":["b"]}}"#,
                true,
            ),
            ("inside", r#"{"flags":{"seen":1}}"#, r#"{"flags":{"seen":2}}"#, false),
            ("a repeated key", r#"{"a":1,"a":2}"#, r#"{"a":2}"#, false),
        ] {
            assert_eq!(except.differs(before, after), differs, "{name}");
            assert_eq!(except.differs(after, before), differs, "{name}, backwards");
        }
    }
}
