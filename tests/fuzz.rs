//! The fuzz targets on stable Rust: the committed corpora, and mutations of them that a seed decides.
//!
//! `TIDINGS_LONG` runs many more; `TIDINGS_SEED` repeats one run, whose number a failure tells. What
//! cargo-fuzz finds belongs in `tests/fuzz/corpus`, under the name of its target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "address_policy/registries.rs"]
#[allow(dead_code)]
mod registries;

#[path = "fuzz/entries/condition.rs"]
mod condition;
#[path = "fuzz/entries/cursor.rs"]
mod cursor;
#[path = "fuzz/entries/event.rs"]
mod event;
#[path = "fuzz/entries/filter.rs"]
mod filter;
#[cfg(feature = "ed25519")]
#[path = "fuzz/entries/public_key.rs"]
mod public_key;
#[path = "fuzz/entries/retry_after.rs"]
mod retry_after;
#[path = "fuzz/entries/signature.rs"]
mod signature;
#[path = "fuzz/entries/stored.rs"]
mod stored;
#[path = "fuzz/entries/token.rs"]
mod token;
#[path = "fuzz/entries/url.rs"]
mod url;

/// Inputs that are made of each corpus.
const RUNS: usize = 10_000;
const RUNS_LONG: usize = 500_000;
/// What one input may take: far more than it needs.
const CEILING: Duration = Duration::from_secs(5);

/// Bits that look random and repeat themselves (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }
}

/// What is put in as a whole: characters that parsers stumble over.
const PIECES: [&str; 40] = [
    "@",
    "%",
    ":",
    "/",
    "//",
    "\\",
    "#",
    "?",
    ".",
    "..",
    "*",
    ",",
    " ",
    "\t",
    "\r\n",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{ad}",
    "\u{200b}",
    "\u{202e}",
    "\u{3002}",
    "\u{ff0e}",
    "\u{feff}",
    "\u{ff11}",
    "[",
    "]",
    "::",
    "xn--",
    "0x",
    "-1",
    "1e999",
    "18446744073709551616",
    "{",
    "}",
    "\"",
    "\\u0000",
    "\\ud800",
    "null",
    "t=1614265330",
];

/// One to four changes of an input from the corpus.
fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut data = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        let to = at + dice.below((data.len() - at).min(16) + 1);
        match dice.below(8) {
            0 => data.truncate(at),
            1 if at < data.len() => data[at] ^= 1 << dice.below(8),
            2 if at < data.len() => data[at] = dice.roll() as u8,
            3 => drop(data.splice(at..to, [])),
            4 => {
                let piece = PIECES[dice.below(PIECES.len())];
                data.splice(at..at, piece.bytes());
            }
            5 => {
                let piece = PIECES[dice.below(PIECES.len())];
                data.splice(at..to, piece.bytes());
            }
            6 => {
                let copy = data[at..to].repeat(1 + dice.below(20));
                data.splice(at..at, copy);
            }
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                data.splice(at.., other[from..].iter().copied());
            }
        }
    }
    data
}

/// Runs a target over its corpus and over mutations of it.
fn smoke(target: &str, run: fn(&[u8])) {
    smoke_few(target, run, 1);
}

/// The same with so much fewer mutations, for what takes long.
fn smoke_few(target: &str, run: fn(&[u8]), fewer: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() >= 5, "{target} has {} inputs", corpus.len());
    for (path, data) in paths.iter().zip(&corpus) {
        judge(&format!("{}", path.display()), data, run);
    }
    let seed = std::env::var("TIDINGS_SEED").map_or(20_260_131, |seed| seed.parse().unwrap());
    let long = std::env::var_os("TIDINGS_LONG").is_some();
    let runs = if long { RUNS_LONG } else { RUNS } / fewer;
    println!("{target}: {} inputs and {runs} mutations, TIDINGS_SEED={seed}", corpus.len());
    let mut dice = Dice(seed);
    for number in 0..runs {
        let data = mutate(&mut dice, &corpus);
        judge(&format!("{target}, TIDINGS_SEED={seed}, mutation {number}"), &data, run);
    }
}

fn judge(name: &str, data: &[u8], run: fn(&[u8])) {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| run(data)));
    assert!(result.is_ok(), "{name}: b\"{}\"", data.escape_ascii());
    assert!(begun.elapsed() < CEILING, "{name} took {:?}", begun.elapsed());
}

/// URLs: accepted ones keep every rule by a second reading.
#[test]
fn url() {
    smoke("url", url::run);
}

/// The headers of Standard Webhooks: no stranger's request verifies.
#[test]
fn signature_standard() {
    smoke("signature_standard", signature::standard);
}

/// The headers of Standard Webhooks with private keys: no stranger's request verifies.
#[cfg(feature = "ed25519")]
#[test]
fn signature_asymmetric() {
    smoke_few("signature_asymmetric", signature::asymmetric, 8);
}

/// Public keys: none verifies what was made without its private half.
#[cfg(feature = "ed25519")]
#[test]
fn public_key() {
    smoke("public_key", public_key::run);
}

/// The `<timestamp>, <base64>` header: no stranger's request verifies.
#[test]
fn signature_digital_river() {
    smoke("signature_digital_river", signature::digital_river);
}

/// The `t=,v1=` header: no stranger's request verifies.
#[test]
fn signature_hex() {
    smoke("signature_hex", signature::hex);
}

/// `Retry-After`: digits are seconds, all else is a date or nothing.
#[test]
fn retry_after() {
    smoke("retry_after", retry_after::run);
}

/// Filters: accepted ones match by their definition.
#[test]
fn filter() {
    smoke("filter", filter::run);
}

/// Conditions: accepted ones obey the laws of their operators.
#[test]
fn condition() {
    smoke("condition", condition::run);
}

/// Cursors and pages: a walk repeats and hides nothing.
#[test]
fn cursor() {
    smoke("cursor", cursor::run);
}

/// Stored rows: what is read is written as it was.
#[test]
fn stored() {
    smoke("stored", stored::run);
}

/// Events: accepted ones are JSON to another parser, too.
#[test]
fn event() {
    smoke("event", event::run);
}

/// Answers of token endpoints: a token fits in a header.
#[test]
fn token() {
    smoke("token", token::run);
}
