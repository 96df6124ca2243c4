//! The log at TRACE of whole test binaries, where `TIDINGS_TRACE` names a folder: a file for each process.
//! `tests/run` looks for secrets in them.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, Once};

use tracing::level_filters::LevelFilter;

/// Writes down what all crates log from here on, if that is wanted.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(folder) = std::env::var_os("TIDINGS_TRACE") else { return };
        let name = format!("{}.log", std::process::id());
        let file = File::create(Path::new(&folder).join(name)).unwrap();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .init();
    });
}
