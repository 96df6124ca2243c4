//! What happens to lanes, and whose settlement a delivery accepts, as tables. All pure, all by the
//! public API. `W…` are rows of the seed.

use std::time::Duration;

use tidings::time::after;
use tidings::{
    Cause, Delivery, DeliveryId, DisabledReason, DispatcherId, Edit, EventId, Fence, Health, Lane,
    LaneChange, Ordering, Outcome, Policy, Readiness, Registration, Secret, Seen, Standing, State,
    Timestamp, Transition, Turned, WebhookId, advance, policy,
};

fn now() -> Timestamp {
    tidings::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
}

fn at(seconds: u64) -> Timestamp {
    after(now(), Duration::from_secs(seconds))
}

fn dispatcher(byte: u8) -> DispatcherId {
    DispatcherId::new(now(), &[byte; 10])
}

fn owed(event: u8) -> Delivery {
    let (event, webhook) = (EventId::new(now(), &[event; 10]), WebhookId::new(now(), &[1; 10]));
    Delivery::owed(event, webhook, Cause::ROUTED, now(), at(1))
}

fn leased(event: u8) -> Delivery {
    let mut delivery = owed(event);
    delivery.lease(dispatcher(1), 7);
    delivery
}

fn settled(status: u16) -> Delivery {
    let webhook = Registration::new("https://example.com/hook", ["*"])
        .and_then(|it| {
            it.into_webhook(WebhookId::new(now(), &[1; 10]), Secret::from_random(&[2; 32]), now())
        })
        .unwrap();
    let outcome = Outcome::Answered { status, retry_after: None };
    let mut delivery = leased(1);
    advance(&delivery, &webhook, Seen::default(), &outcome, &Policy::default(), now())
        .apply(&mut delivery, dispatcher(1));
    delivery
}

fn lane(next_due: Option<u64>, paused_until: Option<u64>) -> Lane {
    let paused_until = paused_until.map(at);
    let asked_until = paused_until;
    Lane { next_due: next_due.map(at), paused_until, asked_until, ..Lane::default() }
}

/// A lane with a probe out until then.
fn probed(until: u64, asked_until: Option<u64>) -> Lane {
    Lane { paused_until: Some(at(until)), ..lane(Some(1), asked_until) }
}

/// Takes, gives back and inherits a lane, before, at and after the moments that count.
#[test]
fn a_lane_has_one_holder_at_a_time() {
    let wait = policy::TAKEOVER_WAIT.as_secs();
    let empty = lane(None, None);
    assert!(!{ empty }.take(dispatcher(1), at(9)), "nothing waits");
    let mut lane = lane(Some(5), None);
    assert!(!lane.take(dispatcher(1), at(4)), "it is not due");
    assert!(lane.take(dispatcher(1), at(5)));
    assert!(!lane.take(dispatcher(2), at(5)) && lane.free_at().is_none(), "it is held");

    // Given back with nothing under way, it waits for nothing.
    let mut free = lane;
    free.release();
    assert_eq!(free.free_at(), Some(at(5)));
    assert!(free.take(dispatcher(2), at(6)));

    // After a death nobody takes it before all that was begun is over.
    let mut orphan = lane;
    orphan.bereave(at(20));
    assert_eq!((orphan.holder, orphan.free_at()), (None, Some(at(20 + wait))));
    assert!(!{ orphan }.take(dispatcher(1), at(19 + wait)), "also not by who had it");
    assert!(orphan.take(dispatcher(2), at(20 + wait)));
    assert_eq!(orphan.held_until, None);

    // Of two waits the later one counts, and a clean end does not shorten it.
    lane.bar(at(30));
    lane.bar(at(10));
    lane.release();
    assert_eq!(lane.free_at(), Some(at(30 + wait)));
}

/// Writes webhooks that need a holder, or do not, one in the place of the other.
#[test]
fn a_first_limit_waits_for_those_who_send_without() {
    let plain = Registration::new("https://example.com/hook", ["*"])
        .and_then(|it| {
            it.into_webhook(WebhookId::new(now(), &[1; 10]), Secret::from_random(&[2; 32]), now())
        })
        .unwrap();
    let ordered = plain.edit(Edit::new().ordering(Ordering::PerObject)).unwrap();
    let limited = plain.edit(Edit::new().concurrency(Some(3))).unwrap();
    let held = Lane { holder: Some(dispatcher(1)), held_until: Some(at(9)), ..lane(Some(5), None) };
    let until = at(10 + policy::TAKEOVER_WAIT.as_secs());
    let barred = Lane { held_until: Some(until), holder: None, ..held };
    for (before, stored, after) in [
        (&plain, &plain, lane(Some(5), None)),
        (&plain, &ordered, barred),
        (&ordered, &plain, lane(Some(5), None)),
        (&ordered, &limited, held),
        (&limited, &ordered, held),
    ] {
        let mut lane = held;
        lane.replaced(before, stored, at(10));
        assert_eq!(lane, after, "{:?} by {:?}", before.ordering(), stored.ordering());
    }
}

/// Asks lanes of each kind what may be claimed at 10 s (table; design 1, claim).
#[test]
fn a_lane_is_ready_when_it_is_due_and_not_paused() {
    for (next_due, paused_until, ready_at, readiness, plain) in [
        (None, None, None, Readiness::NotReady, true),
        (None, Some(5), None, Readiness::NotReady, false),
        (Some(5), None, Some(5), Readiness::Open, false),
        (Some(10), None, Some(10), Readiness::Open, false),
        (Some(11), None, Some(11), Readiness::NotReady, false),
        (Some(5), Some(11), Some(11), Readiness::NotReady, false),
        (Some(5), Some(10), Some(10), Readiness::Probe, false),
        (Some(10), Some(5), Some(10), Readiness::Probe, false),
        (Some(11), Some(5), Some(11), Readiness::NotReady, false),
    ] {
        let lane = lane(next_due, paused_until);
        assert_eq!(lane.ready_at(), ready_at.map(at), "{lane:?}");
        assert_eq!(lane.readiness(at(10)), readiness, "{lane:?}");
        assert_eq!(lane.is_plain(), plain, "{lane:?}");
    }
}

/// Applies each change to lanes of each kind (table; design 1, claim).
#[test]
fn a_lane_changes_as_it_is_told() {
    type Change = fn(&mut Lane);
    let rows: [(&str, Lane, Change, Lane); 17] = [
        ("the first delivery", lane(None, None), |it| it.lower(at(5)), lane(Some(5), None)),
        ("an earlier one", lane(Some(7), None), |it| it.lower(at(5)), lane(Some(5), None)),
        ("a later one", lane(Some(3), None), |it| it.lower(at(5)), lane(Some(3), None)),
        ("a pause stays", lane(None, Some(9)), |it| it.lower(at(5)), lane(Some(5), Some(9))),
        ("a pause", lane(Some(1), None), |it| it.pause(at(5)), lane(Some(1), Some(5))),
        ("a longer pause", lane(None, Some(4)), |it| it.pause(at(5)), lane(None, Some(5))),
        ("a shorter pause", lane(None, Some(6)), |it| it.pause(at(5)), lane(None, Some(6))),
        (
            "the probe's own end",
            lane(None, Some(1)),
            |it| it.probe(at(5)),
            Lane { paused_until: Some(at(5)), ..lane(None, Some(1)) },
        ),
        (
            "no change",
            lane(Some(1), Some(2)),
            |it| it.change(LaneChange::None),
            lane(Some(1), Some(2)),
        ),
        (
            "a pause by settlement: the later one counts",
            lane(Some(1), Some(9)),
            |it| it.change(LaneChange::Pause { until: at(5) }),
            lane(Some(1), Some(9)),
        ),
        (
            "the probe opens",
            lane(Some(1), Some(9)),
            |it| it.change(LaneChange::Open),
            lane(Some(1), None),
        ),
        (
            "another probe, sooner than the last would have ended",
            probed(9, None),
            |it| it.change(LaneChange::Probed { until: at(5) }),
            lane(Some(1), Some(5)),
        ),
        (
            "another probe, later than others asked for",
            probed(9, Some(4)),
            |it| it.change(LaneChange::Probed { until: at(5) }),
            lane(Some(1), Some(5)),
        ),
        (
            "others asked for more, and less than the probe's own pause",
            probed(9, Some(7)),
            |it| it.change(LaneChange::Probed { until: at(5) }),
            lane(Some(1), Some(7)),
        ),
        (
            "another probe, of a lane that was opened meanwhile",
            lane(Some(1), None),
            |it| it.change(LaneChange::Probed { until: at(5) }),
            lane(Some(1), Some(5)),
        ),
        ("enabled when empty", lane(None, Some(9)), |it| it.enable(at(5)), lane(None, None)),
        (
            "enabled with a queue",
            lane(Some(1), Some(9)),
            |it| it.enable(at(5)),
            lane(Some(1), Some(5)),
        ),
    ];
    for (name, mut lane, change, expected) in rows {
        change(&mut lane);
        assert_eq!(lane, expected, "{name}");
    }
}

/// Applies each word on health to stretches of failure (table; W17, Standard Webhooks' 410).
#[test]
fn health_is_judged_by_the_stored_stretch() {
    let failing = |at| Health::Failing { at };
    let disable = |observed| Health::Disable { observed: at(observed), at: at(9) };
    let gone = Health::Gone { at: at(9) };
    let warn = |observed| Health::Warn { observed: at(observed), at: at(9) };
    let failing_since = |since| Some(Turned::Failing { since: at(since) });
    let off = |reason| Turned::Disabled { reason };
    for (stored, health, expected, reason) in [
        (None, Health::Unchanged, None, None),
        (Some(1), Health::Unchanged, Some(1), None),
        (None, Health::Recovered, None, None),
        (Some(1), Health::Recovered, None, None),
        (None, failing(at(9)), Some(9), None),
        (Some(1), failing(at(9)), Some(1), None),
        (Some(1), disable(1), Some(1), Some(off(DisabledReason::Failing))),
        // A success has ended the stretch since; this failure begins another.
        (None, disable(1), Some(9), None),
        (Some(5), disable(1), Some(5), None),
        (Some(1), warn(1), Some(1), failing_since(1)),
        (None, warn(1), Some(9), None),
        (Some(5), warn(1), Some(5), None),
        (None, gone, Some(9), Some(off(DisabledReason::Gone))),
        (Some(1), gone, Some(1), Some(off(DisabledReason::Gone))),
    ] {
        let mut lane = Lane { failing_since: stored.map(at), ..Lane::default() };
        assert_eq!(lane.health(health), reason, "{stored:?} {health:?}");
        assert_eq!(lane.failing_since, expected.map(at), "{stored:?} {health:?}");
        assert!(lane.is_plain());
    }
    let mut lane = Lane { failing_since: Some(at(1)), ..Lane::default() };
    assert_eq!(lane.health(warn(1)), failing_since(1));
    assert_eq!(lane.health(warn(1)), None, "once in a stretch");
    let mut recovered = lane;
    let recovery = Some(Turned::Recovered { since: at(1) });
    assert_eq!(recovered.health(Health::Recovered), recovery);
    assert_eq!(recovered.health(Health::Recovered), None, "it has recovered");
    assert_eq!((recovered.failing_since, recovered.warned), (None, None));
    // Written by a dispatcher that knows of no warnings: another stretch.
    let mut other = Lane { failing_since: Some(at(3)), ..lane };
    assert_eq!(other.health(warn(3)), failing_since(3));
    let mut other = Lane { failing_since: Some(at(3)), ..lane };
    assert_eq!(other.health(Health::Recovered), None, "this stretch was not warned of");
    lane.enable(at(5));
    assert_eq!((lane.failing_since, lane.warned), (None, None), "an enabled webhook starts anew");
}

/// Compares fences with deliveries in each state (table; design 1, leases).
#[test]
fn a_fence_holds_for_its_own_lease_only() {
    let base = leased(1);
    let fence = Fence { delivery: base.id, attempt: 1, dispatcher: dispatcher(1) };
    let other = Fence { dispatcher: dispatcher(2), ..fence };
    let later = Fence { attempt: 2, ..fence };
    let elsewhere = Fence { delivery: leased(2).id, ..fence };
    let changed = |change: fn(&mut Delivery)| {
        let mut delivery = base.clone();
        change(&mut delivery);
        delivery
    };
    let back = changed(|it| {
        Transition::given_back(it, Seen::default(), now()).apply(it, dispatcher(1));
    });
    let reaped = changed(|it| it.reap(now()));
    let abandoned = changed(|it| it.abandon(now()));
    let again = |delivery: &Delivery| {
        let mut delivery = delivery.clone();
        delivery.lease(dispatcher(1), 8);
        delivery
    };
    for (name, delivery, fence, standing) in [
        ("waiting", &owed(1), fence, Standing::Lost),
        ("leased", &base, fence, Standing::Holds),
        ("leased to another", &base, other, Standing::Lost),
        ("another attempt", &base, later, Standing::Lost),
        ("another delivery", &base, elsewhere, Standing::Lost),
        ("delivered by this", &settled(200), fence, Standing::Repeated),
        ("delivered, another attempt", &settled(200), later, Standing::Lost),
        ("delivered by another", &settled(200), other, Standing::Lost),
        ("waiting after this", &settled(500), fence, Standing::Repeated),
        ("waiting after another", &settled(500), other, Standing::Lost),
        ("given back by this", &back, fence, Standing::Repeated),
        ("reaped", &reaped, fence, Standing::Lost),
        ("abandoned", &abandoned, fence, Standing::Lost),
        ("leased again", &again(&reaped), fence, Standing::Lost),
        ("leased again after a settlement", &again(&settled(500)), fence, Standing::Lost),
        ("leased again, with its own fence", &again(&reaped), later, Standing::Holds),
    ] {
        assert_eq!(delivery.standing(&fence), standing, "{name}");
    }
}

/// Takes a delivery through lease, reap, lease and abandon.
#[test]
fn the_attempt_only_grows_and_a_crash_is_counted_once() {
    let mut delivery = owed(1);
    assert_eq!(delivery.id, DeliveryId::of(delivery.event, delivery.webhook, Cause::ROUTED));
    assert_eq!((delivery.state, delivery.attempt), (State::Waiting { due: at(1) }, 0));
    delivery.lease(dispatcher(1), 7);
    assert_eq!(delivery.state, State::Leased { dispatcher: dispatcher(1), ticket: 7 });
    delivery.reap(at(2));
    assert_eq!((delivery.attempt, delivery.interruptions, delivery.lapsed), (1, 1, true));
    assert_eq!(delivery.state, State::Waiting { due: at(2) });
    delivery.lease(dispatcher(2), 1);
    delivery.abandon(at(3));
    assert_eq!((delivery.attempt, delivery.interruptions, delivery.lapsed), (2, 1, true));
    assert_eq!(delivery.state, State::Waiting { due: at(3) });
    assert_eq!((delivery.failures, delivery.settled_by), (0, None));
}
