//! Replays from end to end: a host that asks, dispatchers that run, and receivers that count. Each claim
//! is tried over every storage.

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "../examples/storage.rs"]
#[allow(dead_code)]
mod own;

#[path = "replay/claims.rs"]
mod claims;
#[path = "replay/stage.rs"]
mod stage;
#[cfg(feature = "testing")]
#[path = "replay/virtually.rs"]
mod virtually;

use std::sync::Arc;

use tidings::storage::{MemoryStorage, Storage};

macro_rules! each_claim {
    ($(#[$attribute:meta])* $open:expr) => { each_claim! { @ [$(#[$attribute])*] [$open]
        missed_failed_and_all_arrive_once
        an_event_goes_to_one_or_to_all
        two_dispatchers_and_two_starts_make_one_replay
        a_replay_outlives_its_dispatchers
        a_cancelled_replay_sends_no_more
        a_replay_says_nothing_of_health
        a_replay_is_signed_with_the_present_secret
        a_webhook_that_is_disabled_or_deleted_gets_nothing
        live_events_pass_a_long_replay
    } };
    (@ [$(#[$attribute:meta])*] [$open:expr] $($claim:ident)*) => {
        $(
            /// Tries the claim of this name over a storage of its own.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            $(#[$attribute])*
            async fn $claim() {
                let (storage, _kept) = $open.await;
                crate::claims::$claim(storage).await;
            }
        )*
    };
}

mod memory {
    use super::*;

    each_claim!(async { (Arc::new(MemoryStorage::new()) as Arc<dyn Storage>, ()) });
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

    each_claim!(open());
}

#[cfg(feature = "postgres")]
mod postgres {
    use tidings::storage::PostgresStorage;

    use super::*;

    async fn open() -> (Arc<dyn Storage>, ()) {
        let url = cluster::Cluster::shared().new_database();
        (Arc::new(PostgresStorage::connect(&url).await.expect("a store")), ())
    }

    each_claim!(
        #[ignore = "needs PostgreSQL: tests/run"]
        open()
    );
}

/// Asks a storage without replays for every thing that a replay is.
#[tokio::test]
async fn a_storage_without_replays_says_so() {
    use tidings::{ErrorKind, PageRequest, ReplayId, ReplayQuery, ReplayRequest, Tidings};

    let tidings = Tidings::new(own::OwnStorage::default());
    let webhook = tidings.create(stage::registration(1)).await.expect("a webhook").webhook.id();
    let id = ReplayId::from_uuid(webhook.uuid());
    let event = tidings::EventId::from_uuid(webhook.uuid());
    let page = PageRequest::default();
    for error in [
        tidings.replay(ReplayRequest::all(webhook)).await.map(drop),
        tidings.replay_event(event, None).await.map(drop),
        tidings.replays(&ReplayQuery::default(), &page).await.map(drop),
        tidings.replay_job(id).await.map(drop),
        tidings.cancel_replay(id).await.map(drop),
    ] {
        let error = error.expect_err("it has no replays");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("redeliver"), "{error}");
    }
}
