//! Replays from end to end: a host that asks, dispatchers that run, and receivers that count. Each claim
//! is tried over every storage.
#![cfg(feature = "sqlite")]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;

#[path = "replay/claims.rs"]
mod claims;
#[path = "support/replaying.rs"]
mod replaying;
#[path = "replay/stage.rs"]
mod stage;
#[cfg(feature = "testing")]
#[path = "replay/virtually.rs"]
mod virtually;

use std::sync::Arc;

use tidings::storage::{MemoryStorage, Storage};

/// Makes a test of each claim, with these attributes, over what is opened so.
macro_rules! each_claim {
    (@ [$($attribute:tt)*] $open:expr, $claim:ident) => {
        /// Tries the claim of this name over a storage of its own.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $claim() {
            let (storage, _kept) = $open.await;
            crate::claims::$claim(storage).await;
        }
    };
    ($attributes:tt $open:expr) => {
        each_claim! { @ $attributes $open, missed_failed_and_all_arrive_once }
        each_claim! { @ $attributes $open, an_event_goes_to_one_or_to_all }
        each_claim! { @ $attributes $open, two_dispatchers_and_two_starts_make_one_replay }
        each_claim! { @ $attributes $open, what_cannot_be_replayed_is_refused }
        each_claim! { @ $attributes $open, a_replay_outlives_its_dispatchers }
        each_claim! { @ $attributes $open, a_cancelled_replay_sends_no_more }
        each_claim! { @ $attributes $open, a_replay_says_nothing_of_health }
        each_claim! { @ $attributes $open, a_replay_is_signed_with_the_present_secret }
        each_claim! { @ $attributes $open, a_webhook_that_is_disabled_or_deleted_gets_nothing }
        each_claim! { @ $attributes $open, live_events_pass_a_long_replay }
        each_claim! { @ $attributes $open, live_traffic_keeps_its_rate }
    };
}

mod memory {
    use super::*;

    each_claim! { [] async { (Arc::new(MemoryStorage::new()) as Arc<dyn Storage>, ()) } }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use tidings::storage::{SqliteOptions, SqliteStorage};

    use super::*;

    async fn open() -> (Arc<dyn Storage>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteOptions::default().dangerously_without_sync(true);
        let storage = SqliteStorage::open_with(folder.path().join("tidings.db"), options).await;
        (Arc::new(storage.expect("a store")), folder)
    }

    each_claim! { [] open() }
}

#[cfg(feature = "postgres")]
mod postgres {
    use tidings::storage::PostgresStorage;

    use super::*;

    async fn open() -> (Arc<dyn Storage>, ()) {
        let url = cluster::Cluster::shared().new_database();
        (Arc::new(PostgresStorage::connect(&url).await.expect("a store")), ())
    }

    each_claim! { [#[ignore = "needs PostgreSQL: tests/run"]] open() }
}
