//! What a bench is told from outside, and which stores it can measure.

/// A number from the environment.
pub(crate) fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether a row, or a section, is wanted.
pub(crate) fn wanted(name: &str, store: &str) -> bool {
    let only = std::env::var("TIDINGS_BENCH_ONLY").unwrap_or_default();
    format!("{name} {store}").contains(&only)
}

/// The stores that can be measured here.
pub(crate) fn stores() -> &'static [&'static str] {
    #[cfg(feature = "postgres")]
    if crate::cluster::available() {
        return &["memory", "sqlite", "postgres"];
    }
    &["memory", "sqlite"]
}
