//! Health: what settlements say of a webhook, compared with the stored facts.

use super::fixtures::*;

/// The settlement of a failure that says: disable, if the stretch is the one from `observed`.
fn disable(leased: &Leased, observed: Timestamp, now: Timestamp) -> Settlement {
    let mut settlement = failed(leased, at(100_000), now);
    settlement.transition.health = Health::Disable { observed, at: now };
    settlement
}

/// The answer to a settlement that disabled the webhook.
fn turned_off(reason: DisabledReason) -> Settled {
    Settled::Applied { turned: Some(Turned::Disabled { reason }) }
}

/// Fails twice and looks at what the claims see, then succeeds.
pub(super) async fn a_stretch_of_failure_begins_once_and_ends_with_a_success(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim_of(at(1), 3).await.leased;
    assert!(leased.iter().all(|leased| leased.failing_since.is_none()), "nothing has failed");
    settle(store, failed(&leased[0], at(50), at(2)), at(2)).await;
    settle(store, failed(&leased[1], at(50), at(3)), at(3)).await;
    let next = worker.claim_one(at(4)).await;
    assert_eq!(next.failing_since, Some(at(2)), "the first failure begins the stretch");
    settle(store, delivered(&leased[2], at(5)), at(5)).await;
    let after = worker.claim(at(50)).await.leased;
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|leased| leased.failing_since.is_none()), "a success ends it");
    settle(store, given_back(&after[0], at(51)), at(51)).await;
    let unchanged = worker.claim_one(at(52)).await;
    assert_eq!(unchanged.failing_since, None, "a lease given back says nothing of health");
}

/// Disables a webhook whose stretch is the one that was observed.
pub(super) async fn a_settlement_disables_the_webhook(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=5, start()).await;
    let leased = worker.claim_of(start(), 4).await.leased;
    settle(store, failed(&leased[0], at(9), at(2)), at(2)).await;
    let settlement = disable(&leased[1], at(2), at(3));
    let answer = settle(store, settlement.clone(), at(3)).await;
    assert_eq!(answer, turned_off(DisabledReason::Failing), "this call disabled it");
    let expected = webhook.disable(DisabledReason::Failing).stored(at(3));
    let found = stored_webhook(store, webhook.id()).await;
    assert_eq!(found, Some(expected), "Webhook::disable, one version more");
    let delivery = view(store, leased[1].delivery.id).await.delivery;
    assert_eq!(delivery, applied(&leased[1], &settlement), "the delivery is settled as well");
    let again = settle(store, settlement, at(4)).await;
    assert_eq!(again, APPLIED, "the repetition did not disable it");
    let next = worker.claims_nothing(at(200_000 - 150_000), "its deliveries wait").await;
    assert_eq!(next, None);
    settle(store, failed(&leased[2], at(10), at(5)), at(5)).await;
    settle(store, delivered(&leased[3], at(5)), at(5)).await;
    let found = stored_webhook(store, webhook.id()).await.expect("it is there");
    assert_eq!(found.version(), 2, "what was in flight changes it no more");
    assert_eq!(found.status(), Status::Disabled(DisabledReason::Failing));
}

/// Says: disable, for a stretch that a success has ended, and for one that has begun since.
pub(super) async fn a_disable_needs_the_stretch_that_it_saw(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim(start()).await.leased;
    settle(store, failed(&leased[0], at(9), at(2)), at(2)).await;
    settle(store, delivered(&leased[1], at(3)), at(3)).await;
    let ended = disable(&leased[2], at(2), at(4));
    assert_eq!(settle(store, ended, at(4)).await, APPLIED, "a success ended the stretch");
    let other = disable(&leased[3], at(2), at(5));
    assert_eq!(settle(store, other, at(5)).await, APPLIED, "another stretch has begun");
    assert_eq!(stored_webhook(store, webhook.id()).await, Some(webhook), "it stays enabled");
    let next = worker.claim_one(at(9)).await;
    assert_eq!(next.failing_since, Some(at(4)), "the failure counts, from when it came");
}

/// Answers 410 for three deliveries in flight, two of them in one call.
pub(super) async fn a_webhook_is_disabled_once(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let leased = worker.claim(start()).await.leased;
    let settlements = [gone(&leased[0], at(60), at(1)), gone(&leased[1], at(60), at(1))];
    let answers = store.settle(&settlements, at(1)).await.expect("settle");
    assert_eq!(answers, [turned_off(DisabledReason::Gone), APPLIED], "the first one did it");
    assert_eq!(settle(store, gone(&leased[2], at(60), at(2)), at(2)).await, APPLIED);
    let expected = webhook.disable(DisabledReason::Gone).stored(at(1));
    let found = stored_webhook(store, webhook.id()).await;
    assert_eq!(found, Some(expected), "one version more, once");
}

/// Edits with the version that was there before a settlement disabled the webhook.
pub(super) async fn an_older_edit_does_not_undo_a_disable(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let seen = stored_webhook(store, leased.webhook.id()).await.expect("it is there");
    settle(store, gone(&leased, at(60), at(1)), at(1)).await;
    let edit = seen.edit(Edit::new().description("older")).expect("an edit");
    refused(store.put(&edit, at(2)).await, ErrorKind::Stale, "the disable came between");
    let found = stored_webhook(store, seen.id()).await.expect("it is there");
    assert_eq!(found.status(), Status::Disabled(DisabledReason::Gone));
}

/// Publishes around the disable, and routes late.
pub(super) async fn filters_end_with_a_disable_by_settlement(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, [1], start()).await;
    let leased = worker.claim_one(start()).await;
    orders(store, [2], at(1)).await;
    settle(store, gone(&leased, at(60), at(2)), at(2)).await;
    orders(store, [3], at(3)).await;
    enabled(store, webhook.id(), at(4)).await;
    orders(store, [4], at(5)).await;
    let routed = worker.route(at(6)).await;
    assert_eq!(routed.unmatched, 1, "what was published while it was disabled");
    let mut found: Vec<_> =
        all_deliveries(store).await.iter().map(|view| view.delivery.event).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2, 4].map(event_id), "those published while it was enabled");
}

/// Enables a webhook that a settlement disabled: probe first, clean record, and another stretch.
pub(super) async fn enabling_begins_a_clean_record(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let leased = worker.claim_of(start(), 2).await.leased;
    settle(store, failed(&leased[0], at(5), at(1)), at(1)).await;
    settle(store, disable(&leased[1], at(1), at(2)), at(2)).await;
    enabled(store, webhook.id(), at(10)).await;
    let probe = worker.claim_one(at(10)).await;
    assert!(probe.probe, "the first one after enabling is a probe");
    assert_eq!(probe.failing_since, None, "the record is clean");
    let stale = disable(&probe, at(1), at(11));
    assert_eq!(settle(store, stale, at(11)).await, APPLIED, "the old stretch is forgotten");
    let found = stored_webhook(store, webhook.id()).await.expect("it is there");
    assert!(found.is_enabled());
}

/// Answers 410 with a pause in the same settlement.
pub(super) async fn the_lane_is_changed_before_the_health(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, [1, 2], start()).await;
    let leased = worker.claim_of(start(), 1).await.leased.remove(0);
    let mut settlement = gone(&leased, at(30), at(1));
    settlement.transition.lane = LaneChange::Pause { until: at(900) };
    let answer = settle(store, settlement, at(1)).await;
    assert_eq!(answer, turned_off(DisabledReason::Gone));
    worker.claims_nothing(at(2), "it is disabled").await;
    enabled(store, webhook.id(), at(3)).await;
    assert!(worker.claim_one(at(3)).await.probe, "enabling puts a probe in a pause's place");
}

/// The settlement of a failure that says: warn, if the stretch is the one from `observed`.
fn warn(leased: &Leased, observed: Timestamp, now: Timestamp) -> Settlement {
    let mut settlement = failed(leased, at(100_000), now);
    settlement.transition.health = Health::Warn { observed, at: now };
    settlement
}

fn turned(turned: Turned) -> Settled {
    Settled::Applied { turned: Some(turned) }
}

/// Warns twice in one stretch, and once in the next; of a stretch that was not warned of, a success
/// ends it without a word.
pub(super) async fn a_stretch_of_failure_is_warned_of_once(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=9, start()).await;
    let leased = worker.claim_of(at(1), 9).await.leased;
    let (first, second) = (at(2), at(20));
    let answers = [
        (failed(&leased[0], at(90), first), None),
        (warn(&leased[1], first, at(3)), Some(Turned::Failing { since: first })),
        (warn(&leased[2], first, at(4)), None),
        (delivered(&leased[3], at(5)), Some(Turned::Recovered { since: first })),
        (delivered(&leased[4], at(6)), None),
        (failed(&leased[5], at(90), second), None),
        (warn(&leased[6], first, at(21)), None),
        (warn(&leased[7], second, at(22)), Some(Turned::Failing { since: second })),
    ];
    for (settlement, expected) in answers {
        let now = settlement.transition.at;
        let answer = settle(store, settlement.clone(), now).await;
        assert_eq!(answer, Settled::Applied { turned: expected }, "at {now}");
        let again = settle(store, settlement, now).await;
        assert_eq!(again, APPLIED, "a repetition turns nothing, at {now}");
    }
    let webhook = leased[0].webhook.id();
    let stored = disabled(store, webhook, at(30)).await;
    settle(store, delivered(&leased[8], at(31)), at(31)).await;
    enabled(store, stored.id(), at(32)).await;
    let probe = worker.claim_one(at(90)).await;
    let mut failure = failed(&probe, at(99), at(91));
    failure.transition.lane = LaneChange::Open;
    assert_eq!(settle(store, failure, at(91)).await, APPLIED);
    let next = worker.claim_of(at(100), 1).await.leased.remove(0);
    let again = settle(store, warn(&next, at(91), at(101)), at(101)).await;
    assert_eq!(again, turned(Turned::Failing { since: at(91) }), "enabling begins a clean record");
}

/// Settles with a report of each kind: what comes true is kept with it, and routed.
pub(super) async fn a_report_is_kept_if_it_comes_true(store: &dyn Storage) {
    const KINDS: [ReportKind; 4] =
        [ReportKind::Failing, ReportKind::Recovered, ReportKind::Disabled, ReportKind::Exhausted];
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=7, start()).await;
    let listener = registered(store, 2, &["report.*"]).await;
    let leased = worker.claim_of(at(1), 7).await.leased;
    let told = |at: u64, kind: ReportKind| {
        1_000 * at + KINDS.iter().position(|k| *k == kind).unwrap_or(9) as u64
    };
    let with = |mut settlement: Settlement, at: u64| {
        let report = |kind| Report { kind, event: event(told(at, kind), "report.made") };
        settlement.reports = KINDS.map(report).into();
        settlement
    };
    let ended = exhausted(&leased[3], at(5));
    let mut late = delivered(&leased[4], at(6));
    late.fence.attempt += 1;
    let settlements = [
        with(failed(&leased[0], at(90), at(2)), 2),
        with(warn(&leased[1], at(2), at(3)), 3),
        with(delivered(&leased[2], at(4)), 4),
        with(ended.clone(), 5),
        with(late, 6),
        with(gone(&leased[5], at(90), at(7)), 7),
        with(gone(&leased[6], at(90), at(8)), 8),
    ];
    for settlement in &settlements {
        settle(store, settlement.clone(), settlement.transition.at).await;
        settle(store, settlement.clone(), settlement.transition.at).await;
    }
    let expected = [
        (3, ReportKind::Failing),
        (4, ReportKind::Recovered),
        (5, ReportKind::Exhausted),
        (7, ReportKind::Disabled),
    ];
    let expected: Vec<_> = expected.iter().map(|(at, kind)| event_id(told(*at, *kind))).collect();
    let types = filters(&["report.*"]).iter().cloned().collect();
    let query = EventQuery { types, ..EventQuery::default() };
    let mut kept: Vec<_> = all_events(store, &query).await.iter().map(Event::id).collect();
    kept.sort_unstable();
    assert_eq!(kept, expected, "each that came true, once");
    let routed = worker.route(at(10)).await;
    let mut heard: Vec<_> = routed.leased.iter().map(|one| one.event.id()).collect();
    heard.sort_unstable();
    assert_eq!(heard, expected, "they are routed as any other event");
    assert!(routed.leased.iter().all(|one| one.webhook.id() == listener.id()));
    assert!(!stored_webhook(store, webhook.id()).await.expect("it is there").is_enabled());
}
