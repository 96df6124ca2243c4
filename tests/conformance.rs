//! The conformance suite over the storages that come with the crate: one test for each case.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use tidings::storage::Storage;
use tidings::storage::conformance::{self, Case};

/// Opens a store and runs a case on it, on a runtime without a clock or workers.
fn run(case: Case, open: impl Future<Output = Arc<dyn Storage>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { case.run(open.await).await });
}

mod memory {
    use tidings::storage::MemoryStorage;

    use super::*;

    fn over_memory(case: Case) {
        run(case, async { Arc::new(MemoryStorage::new()) as Arc<dyn Storage> });
    }

    tidings::conformance_tests!(over_memory);

    /// Delivers 10,000 events to 100 webhooks.
    #[test]
    #[ignore = "a million deliveries take minutes"]
    fn a_million_deliveries_arrive() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(conformance::scale::heavy(Arc::new(MemoryStorage::new())));
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use tidings::storage::SqliteStorage;

    use super::*;

    fn over_sqlite(case: Case) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidings.db");
        run(case, async {
            let store = SqliteStorage::open(path).await.expect("a file that can be opened");
            Arc::new(store) as Arc<dyn Storage>
        });
    }

    tidings::conformance_tests!(over_sqlite);

    /// Delivers 10,000 events to 100 webhooks.
    #[test]
    #[ignore = "a million deliveries take minutes"]
    fn a_million_deliveries_arrive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidings.db");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = SqliteStorage::open(path).await.expect("a file that can be opened");
            conformance::scale::heavy(Arc::new(store)).await;
        });
    }
}
