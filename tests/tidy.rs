//! Reads the source and keeps its order: floors, clocks, panics, lengths, first lines.
//!
//! The compiler cannot say that ground stays pure or that an adapter does not call the engine, so
//! this does. It reads text, not syntax: comments and test modules are cut out first, and the rest
//! is searched for paths and calls. The checks are tested on snippets that break them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Lines that a file may have at most, and from which on it is named in the test's output.
const LINES_MAX: usize = 800;
const LINES_AIM: usize = 400;

/// Which floors each floor may use. `lib.rs` and `docs.rs` stand above all.
const FLOORS: [(&str, &[&str]); 8] = [
    ("ground", &["ground"]),
    ("ports", &["ground", "ports"]),
    ("engine", &["ground", "ports", "engine"]),
    ("adapters", &["ground", "ports", "adapters"]),
    ("receiver", &["ground", "receiver"]),
    ("http", &["ground", "ports", "engine", "http"]),
    ("console", &["ground", "ports", "engine", "http", "console"]),
    ("testing", &["ground", "ports", "engine", "adapters", "testing"]),
];

/// What stops the host's thread or writes to its terminal.
const RUDE: [&str; 10] = [
    ".unwrap()",
    ".expect(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    "dbg!(",
    "println!(",
    "eprintln!(",
    "print!(",
    "process::exit(",
];

/// What has no place in pure code.
const IMPURE: [&str; 8] = [
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "getrandom",
    "std::fs",
    "std::env",
    "std::thread",
];

/// A file of the crate: its path from the root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// Reads every file under the source, test, example and bench folders.
#[test]
fn the_source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        read(root, folder, &mut sources);
    }
    assert!(sources.len() > 30, "found only {} files", sources.len());

    let library = sources.iter().find(|source| source.path == "src/lib.rs");
    let exports = exports(&library.expect("src/lib.rs").text);
    assert!(exports.len() > 30, "understood only {exports:?}");

    let mut problems = Vec::new();
    for source in &sources {
        let lines = source.text.lines().count();
        if lines > LINES_AIM {
            println!("{lines} lines: {}", source.path);
        }
        problems.extend(look(source, &exports));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Reads the manifest.
#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest = manifest.expect("Cargo.toml");
    for line in ["unsafe_code = \"forbid\"", "missing_docs = \"deny\""] {
        assert!(manifest.contains(line), "Cargo.toml lacks: {line}");
    }
}

fn read(root: &Path, folder: &str, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a UTF-8 name");
        let path = format!("{folder}/{name}");
        if entry.file_type().expect("a type").is_dir() {
            read(root, &path, sources);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a UTF-8 text");
            sources.push(Source { path, text });
        }
    }
}

// --- the checks --------------------------------------------------------------------------------

/// Everything that is wrong with a file.
fn look(source: &Source, exports: &Exports) -> Vec<String> {
    let path = &source.path;
    let mut problems = Vec::new();
    if !source.text.starts_with("//!") {
        problems.push(format!("{path}: does not begin with //! saying what it is"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{path}: has {lines} lines, over {LINES_MAX}"));
    }
    problems.extend(tests_without_method(source));
    // A file of this name is compiled for tests only, by the module above it.
    if path.starts_with("src/") && !path.ends_with("/tests.rs") {
        let code = code(&source.text);
        problems.extend(floors(path, &code, exports));
        problems.extend(calls(path, &code));
    }
    problems
}

/// Each test says its method in a `///` line above it.
fn tests_without_method(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let is_test = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
    // A test that a macro makes says its method where it is listed.
    let is_made = |at: usize| lines[at..].iter().take(2).any(|line| line.contains("fn $"));
    let without = |at: usize| {
        let above = lines[..at].iter().rev();
        let mut above = above.skip_while(|line| line.starts_with("#["));
        !above.next().is_some_and(|line| line.starts_with("///"))
    };
    (0..lines.len())
        .filter(|at| is_test(lines[*at]) && !is_made(*at) && without(*at))
        .map(|at| format!("{}:{}: a test without a method", source.path, at + 1))
        .collect()
}

/// Paths that lead up, and crates that a floor may not know.
fn floors(path: &str, code: &str, exports: &Exports) -> Vec<String> {
    let Some((floor, allowed)) = FLOORS.iter().find(|(floor, _)| is_on(path, floor)) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for used in paths(path, code) {
        match exports.floor(&used) {
            Some(found) if allowed.contains(&found) => {}
            Some(found) => problems.push(format!(
                "{path}: {floor} uses crate::{}, which is of {found}",
                used.join("::")
            )),
            None => problems.push(format!("{path}: crate::{} is on no floor", used.join("::"))),
        }
    }
    if *floor == "ground" {
        let found = IMPURE.iter().filter(|impure| code.contains(**impure));
        problems.extend(found.map(|impure| format!("{path}: {impure} in pure code")));
    }
    problems
}

/// Calls that the floor may not make.
fn calls(path: &str, code: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut forbid = |what: &str, why: &str| {
        if let Some(line) = code.lines().find(|line| has(line, what)) {
            problems.push(format!("{path}: {why}: {}", line.trim()));
        }
    };
    if path != "src/ports/clock.rs" {
        for clock in ["Utc::now(", "Local::now(", "SystemTime::now("] {
            forbid(clock, "only the clock port asks for the time");
        }
        if is_on(path, "ground") || is_on(path, "ports") {
            forbid("now()", "no clock below the engine");
            forbid(".elapsed()", "no clock below the engine");
        }
    }
    forbid("unsafe ", "unsafe is forbidden");
    // These fail by a panic: that is what they are for.
    if !path.contains("conformance") && !is_on(path, "testing") {
        for rude in RUDE {
            forbid(rude, "not in a library");
        }
    }
    problems
}

fn is_on(path: &str, floor: &str) -> bool {
    path.strip_prefix("src/")
        .and_then(|path| path.strip_prefix(floor))
        .is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

/// Whether `line` has `what`, not as the end of a longer word.
fn has(line: &str, what: &str) -> bool {
    line.match_indices(what).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !what.starts_with(char::is_alphabetic) || !before.is_some_and(is_word)
    })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

// --- reading -----------------------------------------------------------------------------------

/// The text without comments and without what is compiled for tests only.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines, indent);
            continue;
        }
        code.push_str(uncommented(line));
        code.push('\n');
    }
    code
}

/// Skips an item that begins `indent` in: up to a `;` on its first line, or to a `}` as far in, which
/// is not in a raw string.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: usize) {
    let end = format!("{}}}", " ".repeat(indent));
    let mut first = true;
    while let Some(line) = lines.next() {
        if first && line.trim().starts_with("#[") {
            continue;
        }
        if (first && line.ends_with(';')) || line.trim_end() == end {
            return;
        }
        first = false;
        let raw = line.rsplit_once("r#\"");
        if raw.is_some_and(|(_, text)| !text.contains("\"#")) {
            lines.find(|line| line.contains("\"#"));
        }
    }
}

fn uncommented(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| {
        let before = &line[..*at];
        before.trim_end().len() < before.len() && before.matches('"').count().is_multiple_of(2)
            || before.is_empty()
    });
    comment.map_or(line, |(at, _)| &line[..at])
}

/// What is used of the crate: the paths after `crate::`, and those after `super::`, resolved.
fn paths(path: &str, code: &str) -> Vec<Vec<String>> {
    let mut module: Vec<String> = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let rest = &code[at + word.len()..];
        let before = code[..at].trim_end();
        if !rest.starts_with("::") || before.ends_with("::") {
            continue;
        }
        if word == "crate" {
            tree(&rest[2..], &mut Vec::new(), &mut found);
        } else if word == "super" {
            let mut base = module.clone();
            base.pop();
            let mut rest = &rest[2..];
            while let Some(further) = rest.strip_prefix("super::") {
                base.pop();
                rest = further;
            }
            tree(rest, &mut base, &mut found);
        }
    }
    found
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let length = code[start..].find(|char| !is_word(char));
        rest = length.map_or(code.len(), |length| start + length);
        Some((start, &code[start..rest]))
    })
}

/// Reads a path with its groups, as `a::{b, c::{d}}`, and returns what follows it.
fn tree<'a>(text: &'a str, base: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = base.len();
    let mut text = text.trim_start();
    loop {
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = tree(group, base, found).trim_start();
                match group.strip_prefix(',') {
                    Some(more) if more.trim_start().starts_with('}') => group = more.trim_start(),
                    Some(more) => {
                        group = more;
                        continue;
                    }
                    None => {}
                }
                break;
            }
            base.truncate(depth);
            return group.strip_prefix('}').unwrap_or(group);
        }
        let end = text.find(|char| !is_word(char)).unwrap_or(text.len());
        base.push(text[..end].to_owned());
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(more) if more.starts_with(|char| is_word(char) || char == '{') => text = more,
            _ => break,
        }
    }
    found.push(base.clone());
    base.truncate(depth);
    // An alias belongs to the path.
    match text.strip_prefix(" as ") {
        Some(alias) => alias.trim_start_matches(is_word),
        None => text,
    }
}

/// On which floor the names are that `lib.rs` exports: `Event`, `storage::MemoryStorage`, or
/// `storage::*` for a whole module.
type Names = BTreeMap<String, &'static str>;

#[derive(Debug)]
struct Exports(Names);

impl Exports {
    fn len(&self) -> usize {
        self.0.len()
    }

    /// The floor of a path in the crate.
    fn floor(&self, path: &[String]) -> Option<&'static str> {
        let first = path.first()?;
        if let Some((floor, _)) = FLOORS.iter().find(|(floor, _)| floor == first) {
            return Some(floor);
        }
        let second = path.get(1).map(|second| format!("{first}::{second}"));
        let in_module = second.and_then(|second| self.0.get(&second));
        let found = in_module.or_else(|| self.0.get(first));
        found.or_else(|| self.0.get(&format!("{first}::*"))).copied()
    }
}

fn exports(library: &str) -> Exports {
    let mut names = Names::new();
    let mut module = String::new();
    let code = code(library);
    let mut statement = String::new();
    for line in code.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(" {")) {
            module = format!("{name}::");
        } else if line == "}" {
            module.clear();
        }
        if !statement.is_empty() || line.starts_with("pub use ") {
            statement.push_str(line);
            statement.push(' ');
        }
        if !line.ends_with(';') || statement.is_empty() {
            continue;
        }
        let text = statement.trim_start_matches("pub use ").trim_start_matches("crate::");
        let mut found = Vec::new();
        tree(text, &mut Vec::new(), &mut found);
        for path in found {
            let floor = FLOORS.iter().find(|(floor, _)| path.first().is_some_and(|it| it == floor));
            let Some((floor, _)) = floor else { continue };
            let whole = text.trim_end().ends_with("::*;");
            let last = path.iter().rev().find(|name| *name != "self");
            let name = if whole { "*" } else { last.map_or("", String::as_str) };
            names.insert(format!("{module}{name}"), floor);
        }
        statement.clear();
    }
    Exports(names)
}

// --- the checks, checked -----------------------------------------------------------------------

fn problems(path: &str, text: &str) -> Vec<String> {
    let library = "//! A crate.\n\
        pub use ground::event::{Event, StoredEvent};\n\
        pub use ground::policy::{self, Policy};\n\
        #[cfg(feature = \"engine\")]\n\
        pub use ports::{\n    clock::{Clock, clock_fn},\n    entropy::Entropy,\n};\n\
        pub use engine::tidings::Tidings;\n\
        pub mod storage {\n    pub use crate::ports::storage::*;\n\
            pub use crate::adapters::memory::MemoryStorage;\n}\n";
    let source = Source { path: path.to_owned(), text: text.to_owned() };
    look(&source, &exports(library))
}

/// Looks at snippets that each break one rule (table).
#[test]
fn every_rule_finds_what_breaks_it() {
    let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
    for (path, text, expected) in [
        ("src/a.rs", "use std::fmt;", "does not begin"),
        ("tests/a.rs", "use std::fmt;", "does not begin"),
        ("examples/a.rs", long.as_str(), "lines, over"),
        ("src/ground/a.rs", "//!\nuse crate::ports::clock::Clock;", "of ports"),
        ("src/ground/a.rs", "//!\nuse crate::engine::core;", "of engine"),
        ("src/ground/a.rs", "//!\nuse crate::{Event, Clock};", "of ports"),
        ("src/ground/a.rs", "//!\nuse super::super::ports::clock;", "of ports"),
        ("src/ground/a/b.rs", "//!\nuse super::super::super::engine;", "of engine"),
        ("src/ground/a.rs", "//!\nfn a(_: crate::storage::Turn) {}", "of ports"),
        ("src/ground/a.rs", "//!\nuse crate::Nothing;", "on no floor"),
        ("src/ground/a.rs", "//!\nasync fn a() {}", "in pure code"),
        ("src/ground/a.rs", "//!\nlet a = tokio::time::sleep(b);", "in pure code"),
        ("src/ports/a.rs", "//!\nuse crate::Tidings;", "of engine"),
        (
            "src/ports/a.rs",
            "//!\nuse crate::{\n    Event,\n    storage::{Turn, MemoryStorage},\n};",
            "of adapters",
        ),
        ("src/ports.rs", "//!\nuse crate::engine::core::Core;", "of engine"),
        ("src/engine/a.rs", "//!\nuse crate::adapters::memory::MemoryStorage;", "of adapters"),
        ("src/engine/a.rs", "//!\nuse crate::storage::MemoryStorage;", "of adapters"),
        ("src/adapters/a.rs", "//!\nuse crate::engine::core::Core;", "of engine"),
        ("src/engine/a.rs", "//!\nuse crate::testing::Kit;", "of testing"),
        ("src/testing/a.rs", "//!\nlet a = SystemTime::now();", "clock port"),
        ("src/receiver/a.rs", "//!\nuse crate::ports::clock::Clock;", "of ports"),
        ("src/receiver/a.rs", "//!\nlet a = chrono::Utc::now();", "clock port"),
        ("src/ground/a.rs", "//!\nlet a = clock.now();", "no clock"),
        ("src/ports/a.rs", "//!\nlet a = std::time::Instant::now();", "no clock"),
        ("src/ground/a.rs", "//!\nlet a = b.elapsed();", "no clock"),
        ("src/engine/a.rs", "//!\nlet a = chrono::Utc::now();", "clock port"),
        ("src/adapters/a.rs", "//!\nlet a = SystemTime::now();", "clock port"),
        ("src/engine/a.rs", "//!\nlet a = b.unwrap();", "not in a library"),
        ("src/engine/a.rs", "//!\nlet a = b\n    .expect(\"c\");", "not in a library"),
        ("src/engine/a.rs", "//!\npanic!(\"a\");", "not in a library"),
        ("src/engine/a.rs", "//!\ntodo!()", "not in a library"),
        ("src/engine/a.rs", "//!\nprintln!(\"http://a\");", "not in a library"),
        ("src/engine/a.rs", "//!\nunsafe { a() }", "unsafe"),
        (
            "src/engine/a.rs",
            "//!\n#[cfg(test)]\nmod tests {\n    a.unwrap();\n}\nb.unwrap();",
            "b.unwrap",
        ),
        ("src/engine/a.rs", "//!\n#[cfg(test)]\nmod tests;\nb.unwrap();", "b.unwrap"),
        (
            "src/engine/a.rs",
            "//!\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn a() {}\n}",
            "without a method",
        ),
        ("tests/a.rs", "//!\n\n#[tokio::test]\nasync fn a() {}", "without a method"),
    ] {
        let found = problems(path, text);
        assert_eq!(found.len(), 1, "{path} {text:?}: {found:?}");
        assert!(found[0].contains(expected), "{text:?}: {found:?}");
    }
}

/// Looks at snippets that resemble what is forbidden (table).
#[test]
fn what_is_allowed_is_left_alone() {
    for (path, text) in [
        ("src/ground/a.rs", "//!\nuse super::event::Event;\nuse crate::policy::PAGE_ITEMS_MAX;"),
        ("src/ground/a/b.rs", "//!\nuse super::super::event::Event;\nuse super::c::{D, E as F};"),
        (
            "src/ground/a.rs",
            "//!\n/// As [`Tidings`](crate::Tidings), which calls `now()`.\nfn a() {}",
        ),
        ("src/ground/a.rs", "//!\nlet a = b; // as crate::engine does, .unwrap()"),
        (
            "src/ground/a.rs",
            "//!\n#[cfg(test)]\nmod tests {\n    use crate::Tidings;\n    fn a() { b.unwrap() }\n}",
        ),
        (
            "src/ground/a.rs",
            "//!\n#[cfg(test)]\nmod tests {\n    const A: &str = r#\"{\n}\n\"#;\n    fn b() { c.unwrap() }\n}",
        ),
        (
            "src/adapters/a.rs",
            "//!\nmacro_rules! a {\n    () => {\n        #[test]\n        fn $case() {}\n    };\n}",
        ),
        ("src/adapters/memory/tests.rs", "//!\nuse crate::Tidings;\nfn a() { b.unwrap() }"),
        ("src/ports/clock.rs", "//!\nfn now() -> Timestamp { chrono::Utc::now() }"),
        ("src/engine/a.rs", "//!\nlet a = tokio::time::Instant::now();\nlet b = core.clock.now();"),
        ("src/engine/a.rs", "//!\nlet a = b.unwrap_or(c).expect_more(\"\");"),
        ("src/adapters/conformance/a.rs", "//!\nuse crate::storage::Turn;\na.unwrap();"),
        ("src/testing/a.rs", "//!\nuse crate::{Tidings, storage::MemoryStorage};\npanic!(\"a\");"),
        (
            "src/adapters/memory/mod.rs",
            "//!\nuse super::super::ports::storage::{self, Turn};\nuse crate::{Event, Clock};",
        ),
        ("src/lib.rs", "//!\npub use engine::tidings::Tidings;\npub use adapters::memory::Memory;"),
        (
            "tests/a.rs",
            "//!\n\n/// Waits.\n#[tokio::test]\n#[ignore = \"long\"]\nasync fn a() { b.unwrap(); }",
        ),
    ] {
        let found = problems(path, text);
        assert!(found.is_empty(), "{text:?}: {found:?}");
    }
}
