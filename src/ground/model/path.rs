//! Where in a resource something stands: `state`, `price.amount`, `payment.charges[]`.

use std::fmt;

use super::super::json;
use crate::policy::MODEL_PATH_STEPS_MAX;

/// Keys, one inside the other; `[]` behind a key stands for every element of the array there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: String,
    pub(super) each: bool,
}

impl Path {
    /// The path that `text` spells, or what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let step = |part: &str| {
            let (key, each) = match part.strip_suffix("[]") {
                Some(key) => (key, true),
                None => (part, false),
            };
            if key.is_empty() || key.contains(['[', ']']) {
                return Err(format!("{text:?} is no path like `state` or `payment.charges[]`"));
            }
            Ok(Step { key: key.to_owned(), each })
        };
        let steps = text.split('.').map(step).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > MODEL_PATH_STEPS_MAX {
            return Err(format!("{text:?} has more than {MODEL_PATH_STEPS_MAX} steps"));
        }
        Ok(Self { steps })
    }

    /// As [`parse`](Self::parse), of a path that leads to one place.
    pub(super) fn parse_single(text: &str) -> Result<Self, String> {
        let path = Self::parse(text)?;
        if !path.is_single() {
            return Err(format!("{text:?} leads to many places; one is needed"));
        }
        Ok(path)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it leads to one place only.
    pub(super) fn is_single(&self) -> bool {
        !self.steps.iter().any(|step| step.each)
    }

    /// What stands there; nothing for `null`. Of a path that leads to one place.
    pub(super) fn value<'t>(&self, text: &'t str) -> Option<&'t str> {
        let value = self.steps.iter().try_fold(text, |text, step| json::member(text, &step.key))?;
        (value != "null").then_some(value)
    }

    /// The objects that stand there, in their order.
    pub(super) fn objects<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut found = vec![text];
        for step in &self.steps {
            let values = found.into_iter().filter_map(|text| json::member(text, &step.key));
            found = if step.each {
                values.filter_map(json::elements).flatten().collect()
            } else {
                values.collect()
            };
        }
        found.retain(|text| json::is_object(text));
        found
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{}{}", step.key, if step.each { "[]" } else { "" })?;
        }
        Ok(())
    }
}

/// The text of a string, or the digits of a number: what an id or a state is.
pub(super) fn word(value: &str) -> Option<String> {
    match value.bytes().next()? {
        b'"' => {
            let spelled = value.strip_prefix('"')?.strip_suffix('"')?;
            Some(String::from_utf8_lossy(&json::unescape(spelled)).into_owned())
        }
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(value.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows paths into a resource (table).
    #[test]
    fn a_path_finds_what_stands_there() {
        let text = r#"{"a":{"b":[{"c":[{"n":1},2]},{"c":null},{"c":[{"n":3}]}],"s":"x"},"n":null}"#;
        for (path, found) in [
            ("a.b[].c[]", vec![r#"{"n":1}"#, r#"{"n":3}"#]),
            ("a.b[]", vec![r#"{"c":[{"n":1},2]}"#, r#"{"c":null}"#, r#"{"c":[{"n":3}]}"#]),
            ("a.b", vec![]),
            ("a.s[]", vec![]),
            ("b[]", vec![]),
        ] {
            assert_eq!(Path::parse(path).unwrap().objects(text), found, "{path}");
        }
        let value = |path| Path::parse_single(path).unwrap().value(text);
        assert_eq!((value("a.s"), value("n"), value("a.s.x")), (Some(r#""x""#), None, None));
    }

    /// Parses what is no path (table).
    #[test]
    fn a_bad_path_is_refused() {
        let long = ["a"; MODEL_PATH_STEPS_MAX + 1].join(".");
        for bad in ["", "a.", ".a", "[]", "a[", "a[].[]", "a[][]", "a[0]", &long] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        assert!(Path::parse_single("a[].b").is_err());
    }

    /// Reads ids and states of all kinds.
    #[test]
    fn texts_numbers_and_booleans_are_words() {
        for (value, expected) in [
            (r#""a\u0062""#, Some("ab")),
            ("-1.50", Some("-1.50")),
            ("true", Some("true")),
            ("null", None),
            ("{}", None),
            ("[]", None),
        ] {
            assert_eq!(word(value).as_deref(), expected, "{value}");
        }
    }
}
