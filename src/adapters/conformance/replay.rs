//! [`Replay`]: jobs are kept, done in bounded steps, and make each delivery once.
//!
//! A storage that has no replays passes: there is nothing to claim.

use futures_util::future::join_all;

use super::fixtures::*;
use crate::ground::id::ReplayId;
use crate::ground::policy::{REPLAY_DUE_MAX, REPLAY_REST_LONG, REPLAY_STEP_DELIVERIES};
use crate::ground::replay::{ReplayJob, ReplayKind, ReplayState};
use crate::ground::replay_request::{ReplayQuery, ReplayRequest};
use crate::ground::time::after;
use crate::ports::replay::{Replay, ReplayStepped};

/// The `number`-th job's id; ids rise with the number.
fn replay_id(number: u64) -> ReplayId {
    ReplayId::from_uuid(event_id(number).uuid())
}

/// A job of this kind over everything that was published before `now`.
fn job(number: u64, kind: ReplayKind, webhook: &Webhook, now: Timestamp) -> ReplayJob {
    let request = ReplayRequest::new(webhook.id(), kind);
    request.into_job(replay_id(number), webhook, now).expect("a job")
}

/// The same, as fast as may be.
fn fast(number: u64, kind: ReplayKind, webhook: &Webhook, now: Timestamp) -> ReplayJob {
    let request = ReplayRequest::new(webhook.id(), kind).rate(10_000).expect("a rate");
    request.into_job(replay_id(number), webhook, now).expect("a job")
}

async fn begin(replay: &dyn Replay, job: &ReplayJob) -> ReplayJob {
    replay.start(job).await.expect("start a replay")
}

async fn step(replay: &dyn Replay, now: Timestamp) -> ReplayStepped {
    let stepped = replay.step(now).await.expect("a step of a replay");
    assert!(stepped.made <= REPLAY_STEP_DELIVERIES, "a step is bounded: {stepped:?}");
    stepped
}

async fn stored_job(replay: &dyn Replay, id: ReplayId) -> Option<ReplayJob> {
    let query = ReplayQuery { id: Some(id), ..ReplayQuery::default() };
    let page = replay.jobs(&query, &PageRequest::default()).await.expect("list replays");
    page.items.into_iter().next()
}

/// Steps when a step is due, and delivers what is, until nothing is left to do. Says what was
/// delivered, and the time.
async fn run(
    store: &dyn Storage,
    replay: &dyn Replay,
    worker: &Worker<'_>,
    now: Timestamp,
) -> (Vec<DeliveryId>, Timestamp) {
    let (mut now, mut done) = (now, Vec::new());
    for _ in 0..10_000 {
        let stepped = step(replay, now).await;
        done.extend(worker.drain(now).await);
        match stepped.next_due {
            Some(due) => now = now.max(due),
            None => {
                now = after(now, Duration::from_secs(1));
                done.extend(worker.drain(now).await);
                let unfinished = deliveries_of(store, &DeliveryQuery::default()).await;
                let left = unfinished.iter().filter(|view| !view.delivery.state.is_ended());
                assert_eq!(left.count(), 0, "what a replay makes waits in its lane");
                return (done, now);
            }
        }
    }
    panic!("a replay never ends");
}

/// The deliveries of these events that a job makes to a webhook.
fn of<'e>(
    job: &ReplayJob,
    webhook: &Webhook,
    events: impl IntoIterator<Item = &'e Event>,
) -> HashSet<DeliveryId> {
    let id = |event: &Event| DeliveryId::of(event.id(), webhook.id(), job.id.cause());
    events.into_iter().map(id).collect()
}

fn set(ids: Vec<DeliveryId>) -> HashSet<DeliveryId> {
    let count = ids.len();
    let set: HashSet<_> = ids.into_iter().collect();
    assert_eq!(set.len(), count, "a replay delivers nothing twice");
    set
}

/// Routes these orders and delivers them.
async fn delivered_orders(
    store: &dyn Storage,
    worker: &Worker<'_>,
    numbers: impl IntoIterator<Item = u64>,
    now: Timestamp,
) -> Vec<Event> {
    let events = orders(store, numbers, now).await;
    settle_all(store, &worker.route(now).await.leased, now).await;
    worker.drain(now).await;
    events
}

/// Keeps jobs of every form, and one under a taken id.
pub(super) async fn a_job_is_kept_whole_and_once(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], start()).await.remove(0);
    let ranged = ReplayRequest::failed(webhook.id()).from(start()).until(at(5)).rate(7);
    let ranged = ranged.expect("a rate").into_job(replay_id(2), &webhook, at(9)).expect("a job");
    for job in [
        job(1, ReplayKind::All, &webhook, at(9)),
        ranged,
        ReplayJob::of_event(replay_id(3), &event, Some(&webhook), at(9)).expect("a job"),
        ReplayJob::of_event(replay_id(4), &event, None, at(9)).expect("a job"),
    ] {
        let mut started = job.clone();
        started.starts(1);
        assert_eq!(begin(replay, &job).await, started, "a job is kept as it is");
        assert_eq!(stored_job(replay, job.id).await, Some(started));
    }
    let other = job(1, ReplayKind::Missed, &webhook, at(20));
    let kept = begin(replay, &other).await;
    let mut first = job(1, ReplayKind::All, &webhook, at(9));
    first.starts(1);
    assert_eq!(kept, first, "the first under an id stays");
    assert_eq!(stored_job(replay, replay_id(8)).await, None);
}

/// Lists jobs of several accounts, modes and webhooks, running and ended, page by page.
pub(super) async fn jobs_are_listed_by_every_field(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let mine = registered(store, 1, &["order.*"]).await;
    let of_test = hook_of(2, &["*"], |registration| registration.mode(Mode::Test));
    let of_other = hook_of(3, &["*"], |registration| registration.account(account("other")));
    let (of_test, of_other) =
        (put(store, &of_test, start()).await, put(store, &of_other, start()).await);
    for (number, webhook) in [(1, &mine), (2, &of_test), (3, &of_other), (4, &mine)] {
        begin(replay, &job(number, ReplayKind::All, webhook, at(5))).await;
    }
    replay.cancel(replay_id(4), at(6)).await.expect("cancel a replay");
    let all = ReplayQuery::default;
    for (query, expected) in [
        (all(), vec![4, 3, 2, 1]),
        (ReplayQuery { account: Some(Account::default()), ..all() }, vec![4, 2, 1]),
        (ReplayQuery { account: Some(account("none")), ..all() }, vec![]),
        (ReplayQuery { mode: Some(Mode::Test), ..all() }, vec![2]),
        (ReplayQuery { webhook: Some(mine.id()), ..all() }, vec![4, 1]),
        (ReplayQuery { running: Some(true), ..all() }, vec![3, 2, 1]),
        (ReplayQuery { running: Some(false), ..all() }, vec![4]),
        (ReplayQuery { id: Some(replay_id(3)), ..all() }, vec![3]),
        (ReplayQuery { id: Some(replay_id(3)), mode: Some(Mode::Test), ..all() }, vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(replay_id).collect();
        let mut request = PageRequest::first(2).expect("a limit");
        let mut found = Vec::new();
        loop {
            let page = replay.jobs(&query, &request).await.expect("list replays");
            found.extend(page.items.iter().map(|job| job.id));
            let Some(next) = page.next else { break };
            request = request.after(next);
        }
        assert_eq!(found, expected, "{query:?}");
    }
}

/// Replays everything before and within a range, among events of other types, accounts, modes and
/// times, and test events.
pub(super) async fn all_are_those_that_the_filters_ask_for(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*", "webhook.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let early = delivered_orders(store, &worker, [1, 2], at(10)).await;
    let strangers = [
        event(3, "invoice.paid"),
        event_of(4, "order.paid", account("other"), Mode::Live),
        event_of(5, "order.paid", Account::default(), Mode::Test),
    ];
    publish(store, &strangers, at(11)).await;
    let test = only(&event(6, "webhook.test"), webhook.id());
    store.append(&[test], at(11)).await.expect("append");
    let late = delivered_orders(store, &worker, [7, 8], at(20)).await;
    worker.drain(at(20)).await;
    let all = begin(replay, &job(1, ReplayKind::All, &webhook, at(30))).await;
    // In the same moment, but after it: the number of the publish counts, not a clock.
    let last = delivered_orders(store, &worker, [9], at(30)).await;
    let (done, now) = run(store, replay, &worker, at(30)).await;
    assert_eq!(set(done), of(&all, &webhook, early.iter().chain(&late)), "before its start");
    let ended = stored_job(replay, all.id).await.expect("a job");
    assert!(matches!(ended.state, ReplayState::Done { .. }), "{ended:?}");
    assert_eq!((ended.looked, ended.made, ended.due), (6, 4, None), "what it covers is counted");

    let request = ReplayRequest::all(webhook.id()).from(at(20)).until(at(30));
    let ranged = request.into_job(replay_id(2), &webhook, now).expect("a job");
    begin(replay, &ranged).await;
    let (done, now) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), of(&ranged, &webhook, &late), "the first moment is in, the last is not");
    let rest = ReplayRequest::all(webhook.id()).from(at(30));
    let rest = rest.into_job(replay_id(3), &webhook, now).expect("a job");
    begin(replay, &rest).await;
    let (done, _) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), of(&rest, &webhook, &last), "to the end");
}

/// Replays what failed among what was delivered, is under way, waits, expired, and was delivered by a
/// redelivery after all.
pub(super) async fn failed_are_those_that_no_try_brought(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    // Published early, so that it expires.
    let old = orders(store, [1], at(1)).await.remove(0);
    let events = orders(store, 2..=7, at(10)).await;
    worker.route_waiting(at(10)).await;
    let sweep = Sweep { expire_before: at(5), ..sweep(at(11)) };
    assert_eq!(sweep_all(store, &sweep).await.expired, 1);
    let mut leased = worker.claim(at(12)).await.leased;
    leased.sort_by_key(|leased| leased.event.id());
    let [lost, saved, fine, tried, away, gone] = &leased[..] else {
        panic!("six orders are leased")
    };
    for settlement in [
        exhausted(lost, at(13)),
        exhausted(saved, at(13)),
        delivered(fine, at(13)),
        failed(tried, at(9_000), at(13)),
        exhausted(gone, at(13)),
    ] {
        settle(store, settlement, at(13)).await;
    }
    let again = [saved, gone].map(|it| Owed {
        event: it.event.id(),
        webhook: webhook.id(),
        cause: cause(1),
    });
    store.enqueue(&again, at(14)).await.expect("enqueue");
    let mut leased = worker.claim(at(15)).await.leased;
    leased.sort_by_key(|leased| leased.event.id());
    settle(store, delivered(&leased[0], at(16)), at(16)).await;
    settle(store, exhausted(&leased[1], at(16)), at(16)).await;

    let failed = begin(replay, &job(1, ReplayKind::Failed, &webhook, at(20))).await;
    let mut made = Vec::new();
    let mut now = at(20);
    while let Some(due) = step(replay, now).await.next_due {
        now = due;
    }
    for view in all_deliveries(store).await {
        made.extend((view.delivery.cause == failed.id.cause()).then_some(view.delivery.id));
    }
    let expected = of(&failed, &webhook, [&old, &events[0], &events[5]]);
    assert_eq!(set(made), expected, "exhausted or expired, and nothing else came or is to come");
    settle(store, delivered(away, at(30)), at(30)).await;
}

/// Replays what a webhook missed: before it was there, while it was disabled, and while it asked for
/// other types.
pub(super) async fn missed_are_those_that_it_never_had(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let worker = Worker::start(store, 1, start()).await;
    let before = orders(store, [1, 2], at(1)).await;
    worker.route(at(1)).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    delivered_orders(store, &worker, [3], at(2)).await;
    disabled(store, webhook.id(), at(3)).await;
    let meanwhile = orders(store, [4], at(4)).await;
    worker.route(at(4)).await;
    enabled(store, webhook.id(), at(5)).await;
    edited(store, webhook.id(), &["invoice.*"], at(6)).await;
    let unasked = orders(store, [5], at(7)).await;
    worker.route(at(7)).await;
    let webhook = edited(store, webhook.id(), &["order.*"], at(8)).await;
    let waiting = orders(store, [6], at(9)).await;
    worker.route_waiting(at(9)).await;

    let missed = begin(replay, &job(1, ReplayKind::Missed, &webhook, at(10))).await;
    let (done, now) = run(store, replay, &worker, at(10)).await;
    let expected: HashSet<_> =
        of(&missed, &webhook, before.iter().chain(&meanwhile).chain(&unasked));
    let routed: HashSet<_> = [routed(&waiting[0], &webhook)].into();
    assert_eq!(set(done), &expected | &routed, "what it had, or has waiting, it did not miss");
    begin(replay, &job(2, ReplayKind::Missed, &webhook, now)).await;
    let (done, _) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), HashSet::new(), "what was replayed is missed no more");
}

/// Starts a job, does it, and starts the same and another one over the same events.
pub(super) async fn a_job_delivers_an_event_once(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let events = delivered_orders(store, &worker, 1..=3, start()).await;
    let once = job(1, ReplayKind::All, &webhook, at(5));
    begin(replay, &once).await;
    begin(replay, &once).await;
    let (done, now) = run(store, replay, &worker, at(5)).await;
    assert_eq!(set(done), of(&once, &webhook, &events));
    begin(replay, &once).await;
    let (done, now) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), HashSet::new(), "a job that has ended does not begin again");
    let another = begin(replay, &job(2, ReplayKind::All, &webhook, now)).await;
    let (done, _) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), of(&another, &webhook, &events), "another job is another cause");
    let view = view(store, DeliveryId::of(events[0].id(), webhook.id(), once.id.cause())).await;
    assert_eq!(view.delivery.published, at(5), "its expiry counts from when it was made");
}

/// Steps through more events than a step looks at, and watches the pace and the room.
pub(super) async fn a_job_keeps_its_pace_in_bounded_steps(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let events = delivered_orders(store, &worker, 1..=1_300, start()).await;
    let slow = ReplayRequest::all(webhook.id()).rate(20).expect("a rate");
    let slow = slow.into_job(replay_id(1), &webhook, at(5)).expect("a job");
    begin(replay, &slow).await;
    let first = step(replay, at(5)).await;
    assert_eq!(first.made, 2, "a share of a tenth of a second");
    assert_eq!(first.next_due, Some(at_millis(5_100)), "and the next one when that has passed");
    let leased = worker.claim(at(5)).await.leased;
    assert_eq!(leased.len(), 2, "they are due at once");
    settle_all(store, &leased, at(5)).await;
    assert_eq!(step(replay, at_millis(5_099)).await.made, 0, "not before its time");
    replay.cancel(slow.id, at(6)).await.expect("cancel a replay");
    let (done, _) = run(store, replay, &worker, at(100)).await;
    assert_eq!(done, [], "what it had made is withdrawn");

    let quick = begin(replay, &fast(2, ReplayKind::All, &webhook, at(200))).await;
    let mut made = 0;
    for _ in 0..20 {
        made += step(replay, at(200)).await.made;
    }
    assert!(made <= REPLAY_DUE_MAX, "{made} wait at once: what is live would stand behind them");
    let (done, _) = run(store, replay, &worker, at(201)).await;
    assert_eq!(set(done), of(&quick, &webhook, &events));
    let ended = stored_job(replay, quick.id).await.expect("a job");
    assert_eq!((ended.made, ended.looked), (1_300, 1_300));
}

/// Steps at the same time from sixteen callers, again and again.
pub(super) async fn steps_that_meet_make_nothing_twice(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let events = delivered_orders(store, &worker, 1..=700, start()).await;
    let jobs = [1, 2].map(|number| fast(number, ReplayKind::All, &webhook, at(5)));
    for job in &jobs {
        join_all((0..4).map(|_| begin(replay, job))).await;
    }
    let (mut now, mut done) = (at(5), Vec::new());
    for _ in 0..200 {
        join_all((0..8).map(|_| step(replay, now))).await;
        done.extend(worker.drain(now).await);
        now = after(now, Duration::from_millis(200));
    }
    let [one, two] = jobs.map(|job| of(&job, &webhook, &events));
    assert_eq!(set(done), &one | &two, "each event once for each job");
}

/// Steps while an event of its range is still to be routed.
pub(super) async fn an_event_is_replayed_after_it_was_routed(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let events = orders(store, [1, 2], at(1)).await;
    let missed = begin(replay, &job(1, ReplayKind::Missed, &webhook, at(2))).await;
    let stepped = step(replay, at(2)).await;
    assert_eq!(stepped.made, 0, "routing will deliver these");
    assert!(stepped.next_due.is_some_and(|due| due > at(2)), "it looks again, not at once");
    let leased = worker.route(at(3)).await.leased;
    assert_eq!(ids(&leased).len(), events.len());
    settle_all(store, &leased, at(3)).await;
    let (done, _) = run(store, replay, &worker, at(4)).await;
    assert_eq!(set(done), HashSet::new(), "what was routed was not missed");
    let ended = stored_job(replay, missed.id).await.expect("a job");
    assert_eq!((ended.looked, ended.made), (2, 0));
}

/// Cancels a job with deliveries that wait, that are being sent and that have ended, twice, and replays
/// what was withdrawn.
pub(super) async fn a_cancelled_job_withdraws_what_waits(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let worker = Worker::start(store, 1, start()).await;
    let events = orders(store, 1..=40, at(1)).await;
    worker.route(at(1)).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let missed = begin(replay, &fast(1, ReplayKind::Missed, &webhook, at(2))).await;
    assert_eq!(step(replay, at(2)).await.made, 40);
    let away = worker.claim_of(at(3), 2).await.leased;
    let one = worker.claim_of(at(3), 1).await.leased;
    settle_all(store, &one, at(3)).await;
    for now in [at(4), at(5)] {
        let cancelled = replay.cancel(missed.id, now).await.expect("cancel").expect("a job");
        assert_eq!(cancelled.state, ReplayState::Cancelled { at: at(4) }, "the first one counts");
    }
    assert_eq!(replay.cancel(replay_id(9), at(4)).await.expect("cancel"), None);
    let stepped = step(replay, at(6)).await;
    assert_eq!(stepped.job.map(|job| job.withdrawn), Some(37));
    let due = stepped.next_due.expect("what is being sent may come back");
    worker.claims_nothing(at(6), "what waited is cancelled").await;
    settle(store, delivered(&away[0], at(7)), at(7)).await;
    settle(store, failed(&away[1], at(8), at(7)), at(7)).await;
    let stepped = step(replay, due.max(at(8))).await;
    assert_eq!((stepped.job.map(|job| job.withdrawn), stepped.next_due), (Some(38), None));
    worker.claims_nothing(at(20), "nothing is left of it").await;

    let again = begin(replay, &fast(2, ReplayKind::Missed, &webhook, at(30))).await;
    let (done, _) = run(store, replay, &worker, at(30)).await;
    assert_eq!(done.len(), 38, "what was withdrawn is missed as before");
    assert!(set(done).is_subset(&of(&again, &webhook, &events)));
}

/// Steps jobs whose webhooks are disabled, paused and deleted meanwhile.
pub(super) async fn a_job_minds_its_webhook(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    delivered_orders(store, &worker, 1..=3, at(1)).await;
    begin(replay, &job(1, ReplayKind::All, &webhook, at(2))).await;
    disabled(store, webhook.id(), at(3)).await;
    let stepped = step(replay, at(3)).await;
    assert_eq!((stepped.made, stepped.next_due), (0, Some(at(3) + REPLAY_REST_LONG)));
    enabled(store, webhook.id(), at(4)).await;

    let due = at(40);
    orders(store, [4], due).await;
    let leased = worker.route(due).await.leased.remove(0);
    settle(store, paused(&leased, at(60), due), due).await;
    let stepped = step(replay, due).await;
    assert_eq!((stepped.made, stepped.next_due), (0, Some(at(60))), "its receiver asked for peace");
    assert_eq!(worker.drain(at(60)).await.len(), 1, "the probe");

    store.delete(webhook.id(), at(61)).await.expect("delete");
    let stepped = step(replay, at(62)).await;
    let state = stepped.job.map(|job| job.state);
    assert_eq!(state, Some(ReplayState::Gone { at: at(62) }), "there is nobody to deliver to");
    assert_eq!((stepped.made, stepped.next_due), (0, None));
}

/// Replays one event to all, among webhooks that ask for other types, are disabled, or another's; and to
/// one that does not ask for it.
pub(super) async fn one_event_goes_to_whom_it_is_meant_for(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let worker = Worker::start(store, 1, start()).await;
    let event = orders(store, [1], start()).await.remove(0);
    worker.route(start()).await;
    let asking = [registered(store, 1, &["*"]).await, registered(store, 2, &["order.*"]).await];
    let indifferent = registered(store, 3, &["invoice.*"]).await;
    registered(store, 4, &["*"]).await;
    disabled(store, webhook_id(4), at(1)).await;
    let strangers = [
        hook_of(5, &["*"], |registration| registration.mode(Mode::Test)),
        hook_of(6, &["*"], |registration| registration.account(account("other"))),
    ];
    for webhook in &strangers {
        put(store, webhook, start()).await;
    }
    let all = ReplayJob::of_event(replay_id(1), &event, None, at(2)).expect("a job");
    begin(replay, &all).await;
    let (done, now) = run(store, replay, &worker, at(2)).await;
    let expected: HashSet<_> =
        asking.iter().flat_map(|webhook| of(&all, webhook, [&event])).collect();
    assert_eq!(set(done), expected, "all that are enabled and ask for it");
    let one = ReplayJob::of_event(replay_id(2), &event, Some(&indifferent), now).expect("a job");
    begin(replay, &one).await;
    let (done, _) = run(store, replay, &worker, now).await;
    assert_eq!(set(done), of(&one, &indifferent, [&event]), "somebody named it");
    let ended = stored_job(replay, one.id).await.expect("a job");
    assert_eq!((ended.made, ended.looked), (1, 1));
}

/// Sweeps jobs that run, ended long ago, and ended lately; and replays what was pruned.
pub(super) async fn what_ended_long_ago_is_forgotten(store: &dyn Storage) {
    let Some(replay) = store.replay() else { return };
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let event = delivered_orders(store, &worker, [1], at(1)).await.remove(0);
    for (number, now) in [(1, at(10)), (2, at(20))] {
        begin(replay, &job(number, ReplayKind::All, &webhook, now)).await;
        run(store, replay, &worker, now).await;
    }
    begin(replay, &job(3, ReplayKind::All, &webhook, at(5))).await;
    let single = ReplayJob::of_event(replay_id(4), &event, None, at(25)).expect("a job");
    begin(replay, &single).await;
    sweep_all(store, &Sweep { prune_before: at(15), ..sweep(at(30)) }).await;
    for (number, kept) in [(1, false), (2, true), (3, true), (4, true)] {
        assert_eq!(stored_job(replay, replay_id(number)).await.is_some(), kept, "{number}");
    }
    let (done, _) = run(store, replay, &worker, at(40)).await;
    assert_eq!(done, [], "an event that is no longer there is not replayed");
}
