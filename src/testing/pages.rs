//! Whole listings, page by page.

use crate::ground::delivery::{DeliveryView, StateKind};
use crate::ground::error::Result;
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::PAGE_ITEMS_MAX;
use crate::ground::query::DeliveryQuery;
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::Timestamp;
use crate::ports::replay::Replay;
use crate::ports::storage::DeliveryQueue;

/// All items of a listing that gives the newest first, in the order in which they were made.
pub(super) async fn all<T>(list: impl AsyncFn(&PageRequest) -> Result<Page<T>>) -> Vec<T> {
    let mut found = Vec::new();
    let mut request = PageRequest::first(PAGE_ITEMS_MAX).expect("a whole page is allowed");
    loop {
        let page = list(&request).await.expect("the storage in memory never fails");
        found.extend(page.items);
        match page.next {
            Some(cursor) => request = request.after(cursor),
            None => break,
        }
    }
    found.reverse();
    found
}

/// All deliveries that fit, in the order of their events.
pub(super) async fn deliveries(
    storage: &(impl DeliveryQueue + ?Sized),
    query: &DeliveryQuery,
) -> Vec<DeliveryView> {
    all(async |page| storage.deliveries(query, page).await).await
}

/// All deliveries that have not ended, in the order of their events.
pub(super) async fn unfinished(storage: &(impl DeliveryQueue + ?Sized)) -> Vec<DeliveryView> {
    let states = vec![StateKind::Waiting, StateKind::Leased];
    deliveries(storage, &DeliveryQuery { states, ..DeliveryQuery::default() }).await
}

/// Whether a step of a replay is due.
pub(super) async fn replays_due(storage: &impl Replay, now: Timestamp) -> bool {
    let query = ReplayQuery::default();
    let jobs = all(async |page| storage.jobs(&query, page).await).await;
    jobs.iter().any(|job| job.due.is_some_and(|due| due <= now))
}
