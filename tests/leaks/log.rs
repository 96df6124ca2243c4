//! Everything that was logged at TRACE and everything that panics said, and a search in it.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tracing::level_filters::LevelFilter;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What else is secret: keys that are made anew each time.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Every canary begins so.
pub(crate) const MARK: &str = "CANARY-";

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the logs of all crates down, and what panics say.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = io::Write::write(&mut Log, format!("{info}\n").as_bytes());
            before(info);
        }));
    });
}

/// Looks for this private key, too: for its lines, and for its bytes in the middle, where no form of key is
/// like another.
pub(crate) fn watch(pem: &str, der: &[u8]) {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    made.extend(lines.map(|line| line[line.len() / 2 - 8..line.len() / 2 + 8].to_owned()));
    let middle = &der[der.len() / 2..der.len() / 2 + 8];
    made.push(middle.iter().map(|byte| format!("{byte:02x}")).collect());
    let numbers: Vec<String> = middle.iter().map(|byte| byte.to_string()).collect();
    made.push(numbers.join(", "));
}

/// What was logged up to now.
pub(crate) fn logged() -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log).into_owned()
}

/// The lines that have a canary, in any form.
pub(crate) fn found(text: &str) -> Vec<String> {
    let forms = forms();
    let has = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        forms.iter().any(|form| line.contains(form) || lower.contains(form))
    };
    text.lines().filter(has).map(str::to_owned).collect()
}

/// The mark in clear, in base64 at each of its three places, in hex, and as numbers.
fn forms() -> Vec<String> {
    let mut forms = vec![MARK.to_owned()];
    for before in 0..3 {
        let text = [&vec![b' '; before], MARK.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&text);
        // What its neighbours have a part in is left out.
        let begin = (before * 8).div_ceil(6);
        let end = text.len() * 8 / 6;
        forms.push(encoded[begin..end].to_owned());
    }
    forms.push(MARK.bytes().map(|byte| format!("{byte:02x}")).collect());
    let numbers: Vec<String> = MARK.bytes().map(|byte| byte.to_string()).collect();
    forms.push(numbers.join(", "));
    forms.extend(MADE.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    forms
}
