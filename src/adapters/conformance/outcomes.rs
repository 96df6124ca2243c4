//! Outcomes of attempts, as settlements of a lease.

use super::fixtures::*;

/// The fence of this lease.
pub(super) fn fence(leased: &Leased) -> Fence {
    let State::Leased { dispatcher, .. } = leased.delivery.state else {
        panic!("{:?} was answered as leased", leased.delivery);
    };
    let Delivery { id: delivery, attempt, .. } = leased.delivery;
    Fence { delivery, attempt, dispatcher }
}

fn answered(leased: &Leased, status: u16, now: Timestamp) -> Attempt {
    let outcome = Outcome::Answered { status, retry_after: None };
    Attempt::new(leased.delivery.attempt, now, Duration::from_millis(12), outcome)
}

fn transition(leased: &Leased, next: Next, now: Timestamp) -> Transition {
    Transition {
        at: now,
        next,
        failures: leased.delivery.failures,
        interruptions: leased.delivery.interruptions,
        lapsed: false,
        health: Health::Unchanged,
        lane: LaneChange::None,
    }
}

/// A 204.
pub(super) fn delivered(leased: &Leased, now: Timestamp) -> Settlement {
    let lane = if leased.probe { LaneChange::Open } else { LaneChange::None };
    Settlement {
        fence: fence(leased),
        attempt: Some(answered(leased, 204, now)),
        transition: Transition {
            health: Health::Recovered,
            lane,
            ..transition(leased, Next::Delivered, now)
        },
        reports: Vec::new(),
    }
}

/// A 500, to be tried again at `due`. Says nothing of the lane.
pub(super) fn failed(leased: &Leased, due: Timestamp, now: Timestamp) -> Settlement {
    Settlement {
        fence: fence(leased),
        attempt: Some(answered(leased, 500, now)),
        transition: Transition {
            failures: leased.delivery.failures + 1,
            health: Health::Failing { at: now },
            ..transition(leased, Next::Waiting { due }, now)
        },
        reports: Vec::new(),
    }
}

/// A 503, to be tried again at `due`, with the lane paused until then.
pub(super) fn paused(leased: &Leased, until: Timestamp, now: Timestamp) -> Settlement {
    let mut settlement = failed(leased, until, now);
    settlement.transition.lane =
        if leased.probe { LaneChange::Probed { until } } else { LaneChange::Pause { until } };
    settlement
}

/// The last try failed.
pub(super) fn exhausted(leased: &Leased, now: Timestamp) -> Settlement {
    let mut settlement = failed(leased, now, now);
    settlement.transition.next = Next::Exhausted;
    settlement
}

/// A 410: the webhook is to be disabled.
pub(super) fn gone(leased: &Leased, due: Timestamp, now: Timestamp) -> Settlement {
    let mut settlement = failed(leased, due, now);
    settlement.attempt = Some(answered(leased, 410, now));
    settlement.transition.health = Health::Gone { at: now };
    settlement
}

/// The lease was not used.
pub(super) fn given_back(leased: &Leased, now: Timestamp) -> Settlement {
    let seen = Seen { failing_since: leased.failing_since, probe: leased.probe };
    let transition = Transition::given_back(&leased.delivery, seen, now);
    Settlement { fence: fence(leased), attempt: None, transition, reports: Vec::new() }
}

/// The delivery as this settlement leaves it.
pub(super) fn applied(leased: &Leased, settlement: &Settlement) -> Delivery {
    let mut delivery = leased.delivery.clone();
    settlement.transition.apply(&mut delivery, settlement.fence.dispatcher);
    delivery
}

/// The answer to a settlement that changed no webhook.
pub(super) const APPLIED: Settled = Settled::Applied { turned: None };

/// Settles one lease.
pub(super) async fn settle(store: &dyn Storage, settlement: Settlement, now: Timestamp) -> Settled {
    let answers = store.settle(&[settlement], now).await.expect("settle");
    assert_eq!(answers.len(), 1, "settle answers once for each settlement");
    answers[0]
}

/// Delivers all of these.
pub(super) async fn settle_all(store: &dyn Storage, leased: &[Leased], now: Timestamp) {
    for some in leased.chunks(256) {
        let settlements: Vec<_> = some.iter().map(|leased| delivered(leased, now)).collect();
        let answers = store.settle(&settlements, now).await.expect("settle");
        assert_eq!(answers, vec![APPLIED; some.len()], "a lease that holds is settled");
    }
}
