//! What is claimed of replays, over any storage.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::storage::Storage;
use tidings::{
    Confirmation, DisabledReason, ErrorKind, Event, EventId, Overlap, PageRequest, ReplayId,
    ReplayQuery, ReplayRequest, ReplayState, StateKind, Status, SystemClock, Timestamp, Verifier,
    WebhookId,
};

use crate::replaying::{Live, measure};
use crate::stage::{Stage, host};

fn confirmed() -> Confirmation {
    Confirmation::new("operator", "operator")
}

fn now() -> Timestamp {
    tidings::Clock::now(&SystemClock)
}

fn ids(events: &[Event]) -> HashSet<String> {
    events.iter().map(|event| event.id().to_string()).collect()
}

/// These events came to the host, each `times` times, and nothing else came.
fn came(stage: &Stage, number: usize, events: &[&[Event]], times: usize) {
    let counts = stage.receivers.counts(&host(number));
    let expected: HashSet<String> = events.iter().flat_map(|events| ids(events)).collect();
    let found: HashSet<String> = counts.keys().cloned().collect();
    assert_eq!(found, expected);
    assert!(counts.values().all(|count| *count == times), "{counts:?}");
}

fn all_at_once(webhook: WebhookId) -> ReplayRequest {
    ReplayRequest::all(webhook).rate(10_000).expect("a rate")
}

/// Publishes to a webhook that is there, disabled, failing and well again, and replays each part.
pub(crate) async fn missed_failed_and_all_arrive_once(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let before = stage.publish(5).await;
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    let fine = stage.publish(30).await;
    stage.until_ended(30).await;
    stage.tidings.disable(webhook, &confirmed()).await.expect("disabled");
    let meanwhile = stage.publish(20).await;
    stage.tidings.enable(webhook).await.expect("enabled");
    stage.receivers.answer(500);
    let failed = stage.publish(10).await;
    stage.until_ended(40).await;
    stage.receivers.answer(200);
    stage.receivers.forget();

    let missed = stage.tidings.replay(ReplayRequest::missed(webhook)).await.expect("a replay");
    let missed = stage.until_over(missed.id).await;
    assert!(matches!(missed.state, ReplayState::Done { .. }), "{missed:?}");
    assert_eq!((missed.made, missed.looked), (25, 65));
    stage.until_ended(65).await;
    came(&stage, 1, &[&before, &meanwhile], 1);
    stage.receivers.forget();

    let again = stage.tidings.replay(ReplayRequest::failed(webhook)).await.expect("a replay");
    assert_eq!(stage.until_over(again.id).await.made, 10);
    stage.until_ended(75).await;
    came(&stage, 1, &[&failed], 1);
    stage.receivers.forget();

    let all = stage.tidings.replay(all_at_once(webhook)).await.expect("a replay");
    assert_eq!(stage.until_over(all.id).await.made, 65);
    stage.until_ended(140).await;
    came(&stage, 1, &[&before, &fine, &meanwhile, &failed], 1);
    run.crash().await;
}

/// Replays one event to a webhook, to all, and to nobody.
pub(crate) async fn an_event_goes_to_one_or_to_all(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let run = stage.start();
    let events = stage.publish(2).await;
    let (one, two) = (stage.webhook(1).await.id(), stage.webhook(2).await.id());
    let id = events[0].id();
    let job = stage.tidings.replay_event(id, None).await.expect("a replay");
    stage.until_over(job.id).await;
    stage
        .until("both have it", async || {
            let made = stage.made(job.id).await;
            made.len() == 2 && made.iter().all(|view| view.delivery.state.is_ended())
        })
        .await;
    assert_eq!(stage.deliveries().await.len(), 2);
    let job = stage.tidings.replay_event(events[1].id(), Some(two)).await.expect("a replay");
    stage.until_over(job.id).await;
    let made = stage.made(job.id).await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].delivery.webhook, made[0].event.id()), (two, events[1].id()));

    let unknown = EventId::from_uuid(one.uuid());
    let error = stage.tidings.replay_event(unknown, None).await.expect_err("no such event");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    run.crash().await;
}

/// Starts the same replay from several callers, with two dispatchers at work.
pub(crate) async fn two_dispatchers_and_two_starts_make_one_replay(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let runs = [stage.start(), stage.start()];
    let events = stage.publish(300).await;
    stage.until_ended(300).await;
    stage.receivers.forget();
    let id = ReplayId::new(now(), &[7; 10]);
    let request = all_at_once(webhook).id(id);
    let start = || stage.tidings.replay(request.clone());
    let (one, two, three) = tokio::join!(start(), start(), start());
    assert!([one, two, three].into_iter().all(|job| job.expect("a replay").id == id));
    stage.until_over(id).await;
    stage.until_ended(600).await;
    came(&stage, 1, &[&events], 1);
    assert_eq!(stage.job(id).await.made, 300);
    for run in runs {
        run.crash().await;
    }
}

/// Starts another replay under a taken id, one under the nil id, and one of an event that was expunged.
pub(crate) async fn what_cannot_be_replayed_is_refused(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let event = stage.publish(1).await.remove(0);
    let id = ReplayId::new(now(), &[7; 10]);
    stage.tidings.replay(all_at_once(webhook).id(id)).await.expect("a replay");
    let another = ReplayRequest::failed(webhook).id(id);
    let error = stage.tidings.replay(another).await.expect_err("the id is taken");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let nil = all_at_once(webhook).id(ReplayId::from_uuid(uuid::Uuid::nil()));
    let error = stage.tidings.replay(nil).await.expect_err("the nil id");
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("id")), "{error}");
    stage.tidings.expunge(event.id()).await.expect("expunge");
    for to in [None, Some(webhook)] {
        let error = stage.tidings.replay_event(event.id(), to).await.expect_err("nothing to send");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let jobs = stage.tidings.replays(&ReplayQuery::default(), &PageRequest::default()).await;
    assert_eq!(jobs.expect("a listing").items.len(), 1, "nothing is half started");
}

/// Kills dispatchers in the middle of a replay, one after the other.
pub(crate) async fn a_replay_outlives_its_dispatchers(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    let events = stage.publish(400).await;
    stage.until_ended(400).await;
    run.crash().await;
    stage.receivers.forget();
    let request = ReplayRequest::all(webhook).rate(400).expect("a rate");
    let job = stage.tidings.replay(request).await.expect("a replay");
    for part in [1, 60, 150] {
        let run = stage.start();
        stage.until("a part is made", async || stage.job(job.id).await.made >= part).await;
        run.crash().await;
    }
    let run = stage.start();
    let over = stage.until_over(job.id).await;
    assert_eq!((over.made, over.looked), (400, 400));
    stage.until_ended(800).await;
    let made = stage.made(job.id).await;
    let once: HashSet<EventId> = made.iter().map(|view| view.event.id()).collect();
    assert_eq!((made.len(), once.len()), (400, 400), "each event has one delivery");
    assert!(made.iter().all(|view| view.delivery.state.kind() == StateKind::Delivered));
    let counts = stage.receivers.counts(&host(1));
    assert_eq!(counts.keys().cloned().collect::<HashSet<_>>(), ids(&events), "nothing is lost");
    run.crash().await;
}

/// Cancels a replay in the middle, and again when it is over.
pub(crate) async fn a_cancelled_replay_sends_no_more(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    stage.publish(200).await;
    stage.until_ended(200).await;
    let request = ReplayRequest::all(webhook).rate(20).expect("a rate");
    let job = stage.tidings.replay(request).await.expect("a replay");
    stage.until("it has begun", async || stage.job(job.id).await.made >= 20).await;
    let cancelled = stage.tidings.cancel_replay(job.id).await.expect("cancelled");
    assert!(matches!(cancelled.state, ReplayState::Cancelled { .. }), "{cancelled:?}");
    let over = stage.until_over(job.id).await;
    assert!(over.made < 200, "{over:?}");
    let made = stage.made(job.id).await;
    assert_eq!(made.len() as u64, over.made);
    assert!(made.iter().all(|view| view.delivery.state.is_ended()), "nothing waits any more");
    let kinds = made.iter().map(|view| view.delivery.state.kind());
    assert_eq!(kinds.filter(|kind| *kind == StateKind::Cancelled).count() as u64, over.withdrawn);
    assert_eq!(stage.tidings.cancel_replay(job.id).await.expect("it is there").state, over.state);
    let unknown = ReplayId::new(now(), &[9; 10]);
    let error = stage.tidings.cancel_replay(unknown).await.expect_err("no such replay");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    run.crash().await;
}

/// Replays to a receiver that is gone, then lets a live event meet it.
pub(crate) async fn a_replay_says_nothing_of_health(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    stage.publish(3).await;
    stage.until_ended(3).await;
    stage.receivers.answer(410);
    let job = stage.tidings.replay(all_at_once(webhook)).await.expect("a replay");
    stage.until_over(job.id).await;
    stage.until_ended(6).await;
    let made = stage.made(job.id).await;
    assert!(made.iter().all(|view| view.delivery.state.kind() == StateKind::Exhausted));
    let status = stage.tidings.webhook(webhook).await.expect("a webhook").status();
    assert_eq!(status, Status::Enabled, "a replay disables nothing");
    stage.publish(1).await;
    stage.until_ended(7).await;
    let status = stage.tidings.webhook(webhook).await.expect("a webhook").status();
    assert_eq!(status, Status::Disabled(DisabledReason::Gone), "a live event does");
    run.crash().await;
}

/// Rotates the secret without an overlap, and verifies what a replay sends.
pub(crate) async fn a_replay_is_signed_with_the_present_secret(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    stage.publish(2).await;
    stage.until_ended(2).await;
    let old = stage.tidings.reveal(webhook, &confirmed()).await.expect("secrets").current().clone();
    let none = Overlap::hours(0).expect("an overlap");
    let new = stage.tidings.rotate(webhook, none, &confirmed()).await.expect("secrets");
    stage.receivers.forget();
    let job = stage.tidings.replay(all_at_once(webhook)).await.expect("a replay");
    stage.until_over(job.id).await;
    stage.until_ended(4).await;
    let verifies = |secret: &tidings::Secret| {
        let verifier = Verifier::standard_webhooks([secret.clone()]).expect("a verifier");
        let got = stage.receivers.got();
        let verified = got.iter().filter(|got| {
            let headers = got.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_slice()));
            verifier.verify(headers, &got.body, now()).is_ok()
        });
        verified.count()
    };
    assert_eq!((verifies(new.current()), verifies(&old)), (2, 0));
    run.crash().await;
}

/// Asks for replays to webhooks that are disabled or gone, and lets both happen in the middle.
pub(crate) async fn a_webhook_that_is_disabled_or_deleted_gets_nothing(storage: Arc<dyn Storage>) {
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    let events = stage.publish(50).await;
    stage.until_ended(50).await;
    let future = ReplayRequest::all(webhook).from(now() + Duration::from_secs(3_600));
    let error = stage.tidings.replay(future).await.expect_err("no time lies between");
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("from")));

    let slow = ReplayRequest::all(webhook).rate(1).expect("a rate");
    let job = stage.tidings.replay(slow).await.expect("a replay");
    stage.until("it has begun", async || stage.job(job.id).await.made >= 1).await;
    stage.tidings.disable(webhook, &confirmed()).await.expect("disabled");
    for error in [
        stage.tidings.replay(ReplayRequest::all(webhook)).await,
        stage.tidings.replay_event(events[0].id(), Some(webhook)).await,
    ] {
        let error = error.expect_err("nothing would be sent");
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("status")));
        assert!(error.to_string().contains("enable it"), "{error}");
    }
    stage.tidings.delete(webhook).await.expect("deleted");
    let error = stage.tidings.replay(ReplayRequest::all(webhook)).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let over = stage.until_over(job.id).await;
    assert!(matches!(over.state, ReplayState::Gone { .. }), "{over:?}");
    assert!(over.made < 50, "{over:?}");
    run.crash().await;
}

/// Publishes while a long replay goes to the same webhook: what is live does not wait for its end.
pub(crate) async fn live_events_pass_a_long_replay(storage: Arc<dyn Storage>) {
    const PAST: usize = 3_000;
    let stage = Stage::new(storage);
    let webhook = stage.webhook(1).await.id();
    let run = stage.start();
    for _ in 0..3 {
        stage.publish(PAST / 3).await;
    }
    stage.until("the past is sent", async || stage.receivers.got().len() >= PAST).await;
    let request = ReplayRequest::all(webhook).rate(200).expect("a rate");
    let job = stage.tidings.replay(request).await.expect("a replay");
    stage.until("it has begun", async || stage.job(job.id).await.made >= 100).await;
    let began = Instant::now();
    for _ in 0..20 {
        let live = stage.publish(5).await;
        let live = ids(&live);
        stage
            .until("live events arrive", async || {
                let counts = stage.receivers.counts(&host(1));
                live.iter().all(|event| counts.contains_key(event))
            })
            .await;
    }
    let took = began.elapsed();
    let made = stage.job(job.id).await.made;
    assert!(made < PAST as u64, "the replay goes on meanwhile, and was not waited for: {took:?}");
    run.crash().await;
}

/// Measures live traffic without a replay and beside one; a fifth of what `benches/replay.rs` asks for, for
/// machines that do other things too.
pub(crate) async fn live_traffic_keeps_its_rate(storage: Arc<dyn Storage>) {
    let report = measure(storage, 1_000, 500, Duration::from_secs(1), Live::AllThatArrives).await;
    assert!(report.replayed == 1_000, "{report:?}");
    assert!(report.ratio() >= 0.9 / 5.0, "{report:?}");
}
