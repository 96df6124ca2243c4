//! The conformance suite over the storages that come with the crate: one test for each case.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use tidings::storage::Storage;
use tidings::storage::conformance::Case;

fn run(case: Case, store: Arc<dyn Storage>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(case.run(store));
}

mod memory {
    use tidings::storage::MemoryStorage;

    use super::*;

    fn over_memory(case: Case) {
        run(case, Arc::new(MemoryStorage::new()));
    }

    tidings::conformance_tests!(over_memory);
}
