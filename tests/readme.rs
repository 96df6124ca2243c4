//! The README says what the crate's own documentation and its manifest say.
//!
//! The code in `lib.rs` is compiled by the doctests; here the README is compared with it, section by
//! section, after what differs on purpose has been taken out: headings one level up, hidden lines,
//! links between items.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts of all files of Rust under `folder`.
fn texts(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).expect("a text"));
        }
    }
    found
}

/// The crate's documentation, as the README would say it.
fn documentation(library: &str) -> String {
    let mut text = String::new();
    let mut code = false;
    for line in library.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with("```") {
            code = !code;
            text.push_str(if code { "```rust" } else { "```" });
        } else if code && (line == "#" || line.starts_with("# ")) {
            continue;
        } else if !code && line.starts_with("# ") {
            text.push('#');
            text.push_str(line);
        } else {
            text.push_str(&unlinked(line));
        }
        text.push('\n');
    }
    text
}

/// `line` without links to items: `` [`Storage`](storage::Storage) `` becomes `` `Storage` ``.
fn unlinked(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, linked)) = rest.split_once("[`") {
        let Some((name, after)) = linked.split_once("`]") else {
            break;
        };
        text.push_str(&format!("{before}`{name}`"));
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text + rest
}

/// Sections by their headings; what comes before the first one is under the empty heading.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("## ") {
            heading = found.to_owned();
        }
        let section: &mut String = sections.entry(heading.clone()).or_default();
        section.push_str(line);
        section.push('\n');
    }
    sections
}

/// The features of a manifest, each with those that it switches on.
fn features(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let lines = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let mut features = BTreeMap::new();
    let mut name = String::new();
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let list = match line.split_once(" = ") {
            Some((found, list)) if !line.starts_with([' ', '#']) => {
                name = found.to_owned();
                list
            }
            _ => line,
        };
        if name.is_empty() || line.starts_with('#') {
            continue;
        }
        let listed: &mut Vec<String> = features.entry(name.clone()).or_default();
        listed.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    features
}

/// What the default switches on, directly or not.
fn defaults(features: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec!["default".to_owned()];
    while let Some(name) = open.pop() {
        for further in features.get(&name).into_iter().flatten() {
            if features.contains_key(further) && found.insert(further.clone()) {
                open.push(further.clone());
            }
        }
    }
    found
}

/// The rows of the features table, as (name, whether it is in the default).
fn table(section: &str) -> BTreeSet<(String, bool)> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2] == "yes")
    })
    .collect()
}

/// Compares each section of the crate's documentation but the last, which points elsewhere.
#[test]
fn the_readme_says_what_the_documentation_says() {
    let (readme, library) = (file("README.md"), file("src/lib.rs"));
    let documentation = documentation(&library);
    let (said, wanted) = (sections(&readme), sections(&documentation));
    assert!(wanted.len() > 6, "found only {:?}", wanted.keys());
    for (heading, text) in &wanted {
        match heading.as_str() {
            "" => assert!(readme.contains(text.trim()), "the README begins otherwise"),
            "More" => {}
            _ => assert_eq!(said.get(heading), Some(text), "section {heading}"),
        }
    }
}

/// Looks for the first sentence, the commands, the version of Rust and the code that publishes.
#[test]
fn the_readme_says_what_the_manifest_says() {
    let (readme, manifest, library) = (file("README.md"), file("Cargo.toml"), file("src/lib.rs"));
    let value = |key: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.and_then(|rest| rest.strip_suffix('"')).expect("a key of the manifest").to_owned()
    };
    let sentence = value("description");
    assert!(library.starts_with(&format!("//! {sentence}\n")), "lib.rs: {sentence}");
    assert!(readme.contains(&format!("# tidings\n\n{sentence}\n")), "README: {sentence}");
    assert!(readme.contains(&format!("It needs Rust {}.", value("rust-version"))));
    for command in ["\ncargo run --example quickstart\n", "\ntests/run\n"] {
        assert!(readme.contains(command), "README lacks {command}");
    }
    assert!(readme.contains("`cargo run --features postgres --example cluster`"));
    let publishing = &sections(&readme)["Publishing"];
    let code = publishing.split("```").nth(1).expect("a code block");
    assert!(code.contains(".publish("), "{code}");
    assert!(code.lines().filter(|line| !line.trim().is_empty()).count() <= 12, "{code}");
}

/// Compares the list with the folder, in both directions.
#[test]
fn the_examples_are_those_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(folder).expect("the examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    // A file, or a folder that begins in `main.rs`.
    let expected: BTreeSet<_> = paths
        .filter(|path| {
            path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists()
        })
        .map(|path| path.file_stem().expect("a name").to_str().expect("text").to_owned())
        .collect();
    let readme = file("README.md");
    let listed = sections(&readme)["Examples"].clone();
    let rows = listed.lines().filter_map(|line| line.strip_prefix("* `")?.split('`').next());
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(rows.map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

/// Compares the table with the manifest, in both directions.
#[test]
fn the_features_are_those_of_the_manifest() {
    let features = features(&file("Cargo.toml"));
    let defaults = defaults(&features);
    let names = features.keys().filter(|name| *name != "default");
    let expected: BTreeSet<_> = names.map(|name| (name.clone(), defaults.contains(name))).collect();
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(table(&sections(&file("README.md"))["Features"]), expected);
}

/// Compares the names of `tracing` events in the source with the table of the documentation.
#[test]
fn the_names_to_watch_are_those_in_the_source() {
    let mut named = BTreeSet::new();
    for text in texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for after in text.split("name: \"tidings.").skip(1) {
            let name = after.split('"').next();
            named.extend(name.map(|name| format!("tidings.{name}")));
        }
    }
    assert!(named.len() > 5, "{named:?}");
    assert_eq!(told("Events", "tidings."), named);
}

/// The names in the first column of a table of the documentation.
fn told(section: &str, beginning: &str) -> BTreeSet<String> {
    let sections = sections(&file("src/docs/observability.md"));
    let prefix = format!("| `{beginning}");
    let rows = sections[section].lines().filter_map(|line| line.strip_prefix(&prefix));
    rows.filter_map(|row| row.split('`').next().map(|name| format!("{beginning}{name}"))).collect()
}

/// The texts in quotes that follow `call` in the source, with white space or without.
fn quoted(source: &str, call: &str) -> BTreeSet<String> {
    let after = source.split(call).skip(1).map(str::trim_start);
    let names = after.filter_map(|after| after.strip_prefix('"')?.split('"').next());
    names.map(str::to_owned).collect()
}

/// Compares the names of metrics in the source with the table of the documentation, and with what the
/// recorder is told of each.
#[test]
fn the_metrics_are_those_in_the_source() {
    let source = file("src/engine/meters.rs");
    let made = |macros: &[&str]| -> BTreeSet<String> {
        let names = macros.iter().flat_map(|call| quoted(&source, call));
        names.filter(|name| name.starts_with("tidings_")).collect()
    };
    // The longer names end like the shorter ones.
    let described = ["describe_counter!(", "describe_gauge!(", "describe_histogram!("];
    let used = made(&[" count!(", " time!(", " set!(", " shift!("]);
    assert!(used.len() > 10, "{used:?}");
    assert_eq!(told("Metrics", "tidings_"), used);
    assert_eq!(made(&described), used);
    for text in texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let elsewhere = ["counter!(", "gauge!(", "histogram!("].map(|call| quoted(&text, call));
        let found = elsewhere.iter().flatten().any(|name| name.starts_with("tidings_"));
        assert!(text == source || !found, "a metric outside of its file");
    }
}

/// Compares the names of spans in the source with the table of the documentation.
#[test]
fn the_spans_are_those_in_the_source() {
    let mut named = BTreeSet::new();
    for text in texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        named.extend(quoted(&text, "span!("));
    }
    assert!(!named.is_empty());
    assert_eq!(told("Spans", "tidings."), named);
}

/// Looks for each name that is a warning or an error in the text that says what to do.
#[test]
fn each_alarm_has_a_place_in_operations() {
    let (table, operations) = (file("src/docs/observability.md"), file("src/docs/operations.md"));
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `tidings."));
    let alarms = rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let level = rest.split('|').nth(1)?;
        ["warn", "error"].iter().any(|one| level.contains(one)).then_some(name)
    });
    let alarms: Vec<_> = alarms.collect();
    assert!(alarms.len() > 10, "{alarms:?}");
    for alarm in alarms {
        assert!(operations.contains(&format!("`tidings.{alarm}`")), "{alarm} is in no section");
    }
}

/// Reads a small library, README and manifest that agree, and then differ.
#[test]
fn a_difference_is_noticed() {
    let library = "//! Says.\n//!\n//! # One\n//!\n//! A [`Thing`](a::Thing) and [`Other`].\n//!\n\
        //! ```no_run\n//! # hidden();\n//! shown();\n//! ```\nmod a;\n//! not this\n";
    let expected = "Says.\n\n## One\n\nA `Thing` and `Other`.\n\n```rust\nshown();\n```\n";
    assert_eq!(documentation(library), expected);
    assert_eq!(sections(expected).len(), 2);

    let manifest = "[features]\ndefault = [\"a\"]\n# A comment = \"no\".\na = [\"b\", \"dep:x\"]\n\
        b = [\n    \"dep:y\",\n]\nc = []\n\n[dependencies]\nd = \"1\"\n";
    let features = features(manifest);
    assert_eq!(features.keys().collect::<Vec<_>>(), ["a", "b", "c", "default"]);
    assert_eq!(defaults(&features), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let rows = table("| feature | default |\n|---|---|\n| `a` | yes | x |\n| `c` | no | y |\n");
    assert_eq!(rows, BTreeSet::from([("a".to_owned(), true), ("c".to_owned(), false)]));
}
