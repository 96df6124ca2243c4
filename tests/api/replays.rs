//! How many replays may run at once, over the handle and over HTTP.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tidings::policy::REPLAYS_RUNNING_MAX;
use tidings::storage::{MemoryStorage, SqliteOptions, SqliteStorage, Storage};
use tidings::{ErrorKind, PageRequest, ReplayQuery, ReplayRequest};

use crate::stage::{Stage, account};

/// A storage of each kind that needs no server.
async fn storages(folder: &Path) -> [Arc<dyn Storage>; 2] {
    let options = SqliteOptions::default().dangerously_without_sync(true);
    let file = SqliteStorage::open_with(folder.join("tidings.db"), options).await;
    [Arc::new(MemoryStorage::new()), Arc::new(file.expect("a store"))]
}

/// Starts more replays at once than may run, with nobody to do them, then one of another mode, of another
/// account, under an id that is there already, and one in the place of one that was cancelled.
#[tokio::test]
async fn so_many_replays_run_at_once_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    for storage in storages(folder.path()).await {
        let stage = Stage::over(storage);
        let (webhook, path) = stage.webhook("a").await;
        let id = webhook.id().parse().expect("an id");
        let starts = (0..REPLAYS_RUNNING_MAX + 5).map(|_| {
            let tidings = stage.tidings.clone();
            tokio::spawn(async move { tidings.replay(ReplayRequest::all(id)).await })
        });
        let starts: Vec<_> = starts.collect();
        let (mut started, mut refused) = (Vec::new(), 0);
        for start in starts {
            match start.await.expect("no panic") {
                Ok(job) => started.push(job),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
                    refused += 1;
                }
            }
        }
        assert_eq!((started.len(), refused), (REPLAYS_RUNNING_MAX, 5));
        let event = stage.event(1).await;
        let of_event = format!("/events/{}/replays", event.id());
        for (path, body) in
            [(&of_event, json!({})), (&format!("{path}/replays"), json!({ "kind": "all" }))]
        {
            let answer = stage.post("Alice", path, body).await;
            assert_eq!(answer.error(), (409, "limit", ""), "{path} {answer:?}");
        }
        let again = ReplayRequest::all(id).id(started[0].id);
        let again = stage.tidings.replay(again).await.expect("the same one");
        assert_eq!(again, started[0], "it is there already");

        let hook = json!({ "address": "https://b.example.com/", "types": ["*"], "enabled": true });
        for (user, live) in [("Alice", false), ("Bob", true)] {
            let mut hook = hook.clone();
            hook["liveMode"] = json!(live);
            let other = stage.post(user, "/webhooks", hook).await;
            let path = format!("/webhooks/{}/replays", other.id());
            let answer = stage.post(user, &path, json!({ "kind": "all" })).await;
            assert_eq!(answer.status, 202, "{user} {answer:?}");
        }
        stage.tidings.cancel_replay(started[1].id).await.expect("cancelled");
        let answer = stage.post("Alice", &of_event, json!({})).await;
        assert_eq!(answer.status, 202, "there is room again: {answer:?}");
        let query = ReplayQuery {
            account: Some(account("acme")),
            webhook: Some(id),
            running: Some(true),
            ..ReplayQuery::default()
        };
        let page = PageRequest::first(REPLAYS_RUNNING_MAX).expect("a page");
        let listed = stage.tidings.replays(&query, &page).await.expect("replays");
        assert_eq!(listed.items.len(), REPLAYS_RUNNING_MAX - 1);
    }
}
