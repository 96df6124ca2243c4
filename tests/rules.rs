//! The rules of delivery, as tables: each row names the rule and where it comes from. `W…` are rows
//! of the seed; a section or a name is that of the specification. All pure, all by the public API.

use std::collections::HashMap;
use std::time::Duration;

use tidings::time::{after, before, between};
use tidings::{
    Cause, Delivery, DispatcherId, EventId, FailureKind, Health, Lane, LaneChange, Mode, Next,
    Outcome, Policy, Registration, Schedule, Secret, Seen, State, Timestamp, Transition, Turned,
    Webhook, WebhookId, advance, must_account,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    tidings::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
}

fn webhook(mode: Mode) -> Webhook {
    Registration::new("https://example.com/hook", ["*"])
        .unwrap()
        .mode(mode)
        .enabled(true)
        .into_webhook(WebhookId::new(now(), &[1; 10]), Secret::from_random(&[2; 32]), now())
        .unwrap()
}

fn dispatcher(byte: u8) -> DispatcherId {
    DispatcherId::new(now(), &[byte; 10])
}

fn event(number: u64) -> EventId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_be_bytes());
    EventId::new(now(), &random)
}

/// A leased delivery that was published at `published` and has failed `failures` times.
fn leased(number: u64, published: Timestamp, failures: u32) -> Delivery {
    let webhook = WebhookId::new(now(), &[1; 10]);
    let mut delivery = Delivery::owed(event(number), webhook, Cause::ROUTED, published, published);
    delivery.attempt = failures;
    delivery.failures = failures;
    delivery.lease(dispatcher(1), 1);
    delivery
}

fn exact() -> Policy {
    Policy::default().with_jitter_percent(0)
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after: None }
}

fn asking(status: u16, retry_after: Duration) -> Outcome {
    Outcome::Answered { status, retry_after: Some(retry_after) }
}

fn waiting(delay: Duration) -> Next {
    Next::Waiting { due: after(now(), delay) }
}

fn pause(time: Duration) -> LaneChange {
    LaneChange::Pause { until: after(now(), time) }
}

fn probed(time: Duration) -> LaneChange {
    LaneChange::Probed { until: after(now(), time) }
}

/// One rule: what is given, and what must come of it. [`row`] fills in a first failure.
struct Row {
    rule: &'static str,
    mode: Mode,
    failures: u32,
    interruptions: u32,
    lapsed: bool,
    age: Duration,
    failing: Option<Duration>,
    probe: bool,
    outcome: Outcome,
    policy: Policy,
    next: Next,
    charged: (u32, u32),
    health: Health,
    lane: LaneChange,
}

fn row(rule: &'static str, outcome: Outcome) -> Row {
    Row {
        rule,
        mode: Mode::Live,
        failures: 0,
        interruptions: 0,
        lapsed: false,
        age: SECOND,
        failing: None,
        probe: false,
        outcome,
        policy: exact(),
        next: waiting(5 * SECOND),
        charged: (1, 0),
        health: Health::Failing { at: now() },
        lane: LaneChange::None,
    }
}

impl Row {
    fn success(self) -> Self {
        let charged = (self.failures, self.interruptions);
        Self { next: Next::Delivered, charged, health: Health::Recovered, ..self }
    }

    fn check(&self) {
        let mut delivery = leased(1, before(now(), self.age), self.failures);
        delivery.interruptions = self.interruptions;
        delivery.lapsed = self.lapsed;
        let seen =
            Seen { failing_since: self.failing.map(|time| before(now(), time)), probe: self.probe };
        let webhook = webhook(self.mode);
        let found = advance(&delivery, &webhook, seen, &self.outcome, &self.policy, now());
        let name = self.rule;
        assert_eq!(found.next, self.next, "{name}");
        assert_eq!((found.failures, found.interruptions), self.charged, "{name}");
        assert_eq!(found.health, self.health, "{name}");
        assert_eq!(found.lane, self.lane, "{name}");
        assert!(!found.lapsed, "{name}");
        assert_eq!(found.at, now(), "{name}");
    }
}

/// Gives each rule its row and compares the whole decision (table).
#[test]
fn every_rule_has_its_row() {
    let no_answer = |kind| Outcome::Unanswered(kind);
    let since = |time| Health::Disable { observed: before(now(), time), at: now() };
    let local = no_answer(FailureKind::Local);
    let crashed = Outcome::Interrupted;
    let busy = no_answer(FailureKind::Busy);
    let busy_pause = |failures| match crowded(failures, 1, failures + 1).next {
        Next::Waiting { due } => LaneChange::Pause { until: due },
        next => panic!("{next:?}"),
    };
    let unchanged = Health::Unchanged;
    for row in [
        row("a 2xx acknowledges (W16)", answered(200)).success(),
        row("202 is success, work comes later (domain 6)", answered(202)).success(),
        Row { failures: 9, ..row("the last try may succeed (W16)", answered(204)) }.success(),
        Row { failing: Some(9 * DAY), ..row("one success ends it (W17)", answered(299)) }.success(),
        Row {
            probe: true,
            lane: LaneChange::Open,
            ..row("the probe opens the lane (design 1, claim)", answered(200)).success()
        },
        row("Retry-After on success is nothing (RFC 9110, 10.2.3)", asking(200, HOUR)).success(),
        row("anything else is not received (W18)", answered(500)),
        row("a redirect is a failure (W19)", answered(302)),
        row("a bad request is tried again (W18)", answered(400)),
        row("101 is no acknowledgement (W18)", answered(101)),
        Row {
            health: Health::Gone { at: now() },
            ..row("410 disables (Standard Webhooks)", answered(410))
        },
        Row {
            health: Health::Gone { at: now() },
            failing: Some(9 * DAY),
            ..row("410 disables, even where time would (Standard Webhooks)", answered(410))
        },
        Row { lane: pause(5 * SECOND), ..row("429 pauses (Standard Webhooks)", answered(429)) },
        Row { lane: pause(5 * SECOND), ..row("502 pauses (Standard Webhooks)", answered(502)) },
        Row { lane: pause(5 * SECOND), ..row("503 pauses (Standard Webhooks)", answered(503)) },
        Row { lane: pause(5 * SECOND), ..row("504 pauses (Standard Webhooks)", answered(504)) },
        Row {
            lane: pause(15 * MINUTE),
            failing: Some(HOUR),
            ..row("a pause grows to a quarter of the stretch (design 5)", answered(503))
        },
        Row {
            lane: pause(15 * MINUTE),
            failing: Some(DAY),
            health: Health::Warn { observed: before(now(), DAY), at: now() },
            ..row("a pause of our own has an end (policy: pause_max)", answered(503))
        },
        Row {
            next: waiting(2 * MINUTE),
            lane: pause(2 * MINUTE),
            ..row("Retry-After sets pause and try (Standard Webhooks)", asking(503, 2 * MINUTE))
        },
        Row {
            next: waiting(24 * HOUR),
            lane: pause(24 * HOUR),
            ..row("Retry-After is cut (policy: retry_after_max)", asking(429, Duration::MAX))
        },
        Row {
            next: waiting(30 * MINUTE),
            failures: 2,
            charged: (3, 0),
            lane: pause(5 * SECOND),
            ..row(
                "never earlier than the schedule (Standard Webhooks, clamped)",
                asking(503, Duration::ZERO),
            )
        },
        Row {
            next: waiting(2 * MINUTE),
            ..row("Retry-After on other answers delays the try (RFC 9110)", asking(500, 2 * MINUTE))
        },
        Row {
            probe: true,
            lane: LaneChange::Open,
            ..row("a probe that is answered opens (design 1, claim)", answered(500))
        },
        Row {
            probe: true,
            lane: probed(5 * SECOND),
            ..row("a probe that finds 503 pauses again (design 1, claim)", answered(503))
        },
        row("no answer is a failure (W18)", no_answer(FailureKind::Timeout)),
        row("one timeout does not pause (design 1, claim)", no_answer(FailureKind::Timeout)),
        Row {
            failing: Some(MINUTE),
            lane: pause(15 * SECOND),
            ..row("timeouts in a row pause (design 1, claim)", no_answer(FailureKind::Timeout))
        },
        Row {
            failing: Some(MINUTE),
            lane: pause(15 * SECOND),
            ..row("so do refused connections (design 1, claim)", no_answer(FailureKind::Connect))
        },
        Row {
            probe: true,
            lane: probed(5 * SECOND),
            ..row("an unanswered probe pauses (design 1)", no_answer(FailureKind::Dns))
        },
        row("a blocked address is a failure (address policy)", no_answer(FailureKind::Blocked)),
        row("broken TLS is a failure (W18)", no_answer(FailureKind::Tls)),
        row("what is no HTTP is a failure (W18)", no_answer(FailureKind::Protocol)),
        Row {
            failures: 9,
            next: Next::Exhausted,
            charged: (10, 0),
            ..row("the tenth failure is the last (Standard Webhooks: schedule)", answered(500))
        },
        Row {
            mode: Mode::Test,
            next: waiting(5 * MINUTE),
            ..row("test mode has a schedule of its own (domain 6)", answered(500))
        },
        Row {
            mode: Mode::Test,
            failures: 2,
            next: Next::Exhausted,
            charged: (3, 0),
            ..row("test mode: three tries (domain 8, row 7)", answered(500))
        },
        Row {
            failures: 8,
            age: 29 * DAY,
            next: Next::Expired,
            charged: (9, 0),
            ..row("too late for another try (policy: expire_after)", answered(500))
        },
        Row {
            failures: 8,
            age: 29 * DAY - SECOND,
            next: waiting(DAY),
            charged: (9, 0),
            ..row("just not too late (policy: expire_after)", answered(500))
        },
        Row { age: 40 * DAY, ..row("a late success counts (W16)", answered(200)).success() },
        Row {
            failing: Some(5 * DAY - Duration::from_millis(1)),
            health: Health::Warn {
                observed: before(now(), 5 * DAY - Duration::from_millis(1)),
                at: now(),
            },
            ..row("not yet several days (W17)", answered(500))
        },
        Row {
            failing: Some(5 * DAY),
            health: since(5 * DAY),
            ..row("several days disable (W17)", answered(500))
        },
        Row {
            failing: Some(2 * HOUR),
            health: since(2 * HOUR),
            policy: exact().with_disable_after(HOUR),
            ..row("the schedule's length is enough (design 5)", answered(500))
        }
        .with_schedule_of(&[5 * SECOND, 2 * HOUR - 5 * SECOND]),
        Row {
            failing: Some(2 * HOUR - SECOND),
            health: Health::Warn { observed: before(now(), 2 * HOUR - SECOND), at: now() },
            policy: exact().with_disable_after(HOUR),
            ..row("never before the schedule's length (design 5)", answered(500))
        }
        .with_schedule_of(&[5 * SECOND, 2 * HOUR - 5 * SECOND]),
        Row {
            interruptions: 0,
            charged: (0, 1),
            health: unchanged,
            ..row("our own fault is free at first (design 1, leases)", local)
        },
        Row {
            interruptions: 2,
            failures: 4,
            failing: Some(9 * DAY),
            charged: (4, 3),
            health: unchanged,
            ..row("the third is free, too, and disables nothing (design 1, leases)", local)
        },
        Row {
            interruptions: 3,
            charged: (1, 4),
            health: unchanged,
            ..row("the fourth follows the schedule (design 1, leases)", local)
        },
        Row {
            interruptions: 3,
            charged: (1, 4),
            health: unchanged,
            ..row("a panic is our own fault (design 1)", no_answer(FailureKind::Panic))
        },
        Row {
            interruptions: 3,
            charged: (1, 4),
            health: unchanged,
            ..row("a hook of the host is our own fault (F57)", no_answer(FailureKind::Hook))
        },
        Row {
            interruptions: 3,
            failures: 2,
            failing: Some(9 * DAY),
            next: Next::Cancelled,
            charged: (2, 3),
            health: unchanged,
            ..row("what the filter refuses ends (F57)", no_answer(FailureKind::Filtered))
        },
        Row {
            interruptions: 4,
            failures: 1,
            lapsed: true,
            next: waiting(5 * MINUTE),
            charged: (2, 4),
            health: unchanged,
            ..row("a crash was counted when it was found (design 1, leases)", crashed)
        },
        Row {
            interruptions: 12,
            failures: 9,
            lapsed: true,
            next: Next::Exhausted,
            charged: (10, 12),
            health: unchanged,
            ..row("what kills its sender ends (I5)", crashed)
        },
        Row {
            probe: true,
            charged: (0, 1),
            health: unchanged,
            lane: probed(Duration::ZERO),
            ..row("an unsent probe is taken again (design 1, claim)", local)
        },
        Row {
            age: 31 * DAY,
            next: Next::Expired,
            charged: (0, 1),
            health: unchanged,
            ..row("a free interruption expires, too (policy: expire_after)", local)
        },
        Row {
            age: 31 * DAY,
            failures: 2,
            interruptions: 1,
            next: Next::Expired,
            charged: (2, 1),
            health: unchanged,
            lane: busy_pause(2),
            ..row("no place at the destination keeps nothing alive (policy: expire_after)", busy)
        },
        Row {
            lapsed: true,
            interruptions: 1,
            charged: (0, 1),
            ..row("a sent try clears the lapse (design 1, leases)", answered(200)).success()
        },
    ] {
        row.check();
    }
}

impl Row {
    fn with_schedule_of(mut self, delays: &[Duration]) -> Self {
        let schedule = Schedule::new(delays.iter().copied()).unwrap();
        self.policy = self.policy.with_schedule(Mode::Live, schedule);
        self
    }
}

/// Gives the same outcomes to a routed delivery and to one that was asked for, in long stretches of
/// failure and as probes (table; redeliveries and replays).
#[test]
fn what_was_asked_for_says_nothing_of_the_webhook() {
    let webhook = webhook(Mode::Live);
    for outcome in [
        answered(200),
        answered(500),
        answered(410),
        asking(429, MINUTE),
        asking(503, HOUR),
        Outcome::Unanswered(FailureKind::Timeout),
        Outcome::Unanswered(FailureKind::Busy),
        Outcome::Unanswered(FailureKind::Filtered),
        Outcome::Unanswered(FailureKind::Local),
        Outcome::Interrupted,
    ] {
        for (failing, probe) in [(None, false), (None, true), (Some(9 * DAY), true)] {
            let routed = leased(1, before(now(), SECOND), 2);
            let mut asked = routed.clone();
            asked.cause = Cause::new(now(), &[5; 10]);
            assert!(asked.is_asked_for() && !routed.is_asked_for());
            let seen = Seen { failing_since: failing.map(|time| before(now(), time)), probe };
            let told = advance(&routed, &webhook, seen, &outcome, &exact(), now());
            let found = advance(&asked, &webhook, seen, &outcome, &exact(), now());
            assert_eq!(found.health, Health::Unchanged, "{outcome:?}");
            assert_eq!(found.lane, told.lane, "the receiver is left in peace: {outcome:?}");
            let gone = outcome == answered(410);
            let next = if gone { Next::Exhausted } else { told.next };
            assert_eq!((found.next, found.failures), (next, told.failures), "{outcome:?}");
        }
    }
}

/// What becomes of a delivery for which there was no place, with so many failures, interruptions and
/// leases.
fn crowded(failures: u32, interruptions: u32, attempt: u32) -> Transition {
    let mut delivery = leased(1, before(now(), SECOND), 0);
    delivery.failures = failures;
    (delivery.interruptions, delivery.attempt) = (interruptions, attempt);
    delivery.lapsed = interruptions > 0;
    let busy = Outcome::Unanswered(FailureKind::Busy);
    let seen = Seen { failing_since: Some(before(now(), 9 * DAY)), probe: true };
    advance(&delivery, &webhook(Mode::Live), seen, &busy, &exact(), now())
}

/// Crowds a delivery out after one lease, some, and more than can be counted (table, A16).
#[test]
fn being_crowded_out_counts_nothing_and_waits_longer_each_time() {
    for (failures, interruptions, attempt, longest) in [
        (0, 0, 1, 2),
        (0, 0, 3, 4),
        (9, 3, 13, 2),
        (2, 1, 6, 4),
        (0, 0, 9, 10),
        (0, 0, 1_000, 10),
        (0, 0, u32::MAX, 10),
        (u32::MAX, u32::MAX, 7, 2),
    ] {
        let found = crowded(failures, interruptions, attempt);
        let Next::Waiting { due } = found.next else { panic!("{:?}", found.next) };
        let delay = between(now(), due);
        assert!(delay >= SECOND && delay <= longest * SECOND, "{delay:?} of {longest} s");
        assert_eq!(found.lane, LaneChange::Probed { until: due }, "what is behind waits, too");
        assert_eq!((found.failures, found.interruptions), (failures, interruptions));
        assert_eq!(found.lapsed, interruptions > 0, "nothing was sent: as it was");
        assert_eq!(found.health, Health::Unchanged);
    }
    let mut delays: Vec<_> = (1..=100).map(|attempt| crowded(0, 0, attempt).next).collect();
    delays.sort_by_key(|next| format!("{next:?}"));
    delays.dedup();
    assert!(delays.len() > 95, "they are spread: {}", delays.len());
}

/// Decides on every status from 100 to 999 (W16, W18, W19, F40).
#[test]
fn only_2xx_is_success() {
    let (delivery, webhook, policy) = (leased(1, now(), 0), webhook(Mode::Live), exact());
    for status in 100..=999 {
        let outcome = answered(status);
        let found = advance(&delivery, &webhook, Seen::default(), &outcome, &policy, now());
        let success = status / 100 == 2;
        assert_eq!(outcome.is_success(), success, "{status}");
        assert_eq!(found.next == Next::Delivered, success, "{status}");
        assert_eq!(found.health == Health::Recovered, success, "{status}");
        let gone = found.health == Health::Gone { at: now() };
        assert_eq!(gone, status == 410, "{status}");
        let pauses = matches!(found.lane, LaneChange::Pause { .. });
        assert_eq!(pauses, [429, 502, 503, 504].contains(&status), "{status}");
    }
}

/// Fails a delivery until it ends, each time at its due moment, and returns the delays.
fn delays(mode: Mode, number: u64, policy: &Policy) -> Vec<Duration> {
    let webhook = webhook(mode);
    let mut delivery = leased(number, now(), 0);
    let (mut at, mut delays) = (now(), Vec::new());
    loop {
        let found = advance(&delivery, &webhook, Seen::default(), &answered(500), policy, at);
        found.apply(&mut delivery, dispatcher(1));
        let Next::Waiting { due } = found.next else {
            assert_eq!(delivery.state, State::Exhausted { at });
            return delays;
        };
        delays.push(between(at, due));
        at = due;
        delivery.lease(dispatcher(1), 1);
    }
}

/// Plays both schedules to their ends, without jitter and with (domain 6, Standard Webhooks, P4).
#[test]
fn the_schedules_are_those_of_the_documents() {
    let live: Vec<_> = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
        .map(Duration::from_secs)
        .into();
    let test: Vec<_> = [300, 7_200].map(Duration::from_secs).into();
    assert_eq!(delays(Mode::Live, 1, &exact()), live);
    assert_eq!(delays(Mode::Test, 1, &exact()), test);
    assert_eq!(live.iter().sum::<Duration>(), 75 * HOUR + 35 * MINUTE + 5 * SECOND);
    for number in 0..200 {
        for (mode, expected) in [(Mode::Live, &live), (Mode::Test, &test)] {
            let found = delays(mode, number, &Policy::default());
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!(found >= expected && *found < *expected * 11 / 10, "{found:?}");
            }
        }
    }
}

/// Fails 10,000 deliveries within one second and counts what is due in each second (P4, F43).
#[test]
fn jitter_is_repeatable_and_spreads() {
    let (webhook, policy) = (webhook(Mode::Live), Policy::default());
    // After the third failure: 30 minutes, and a window of 3 minutes.
    let due = |number: u64| {
        let at = after(now(), Duration::from_micros(number * 100));
        let delivery = leased(number, now(), 2);
        match advance(&delivery, &webhook, Seen::default(), &answered(500), &policy, at).next {
            Next::Waiting { due } => due,
            other => panic!("{other:?}"),
        }
    };
    let mut seconds = HashMap::new();
    for number in 0..10_000 {
        assert_eq!(due(number), due(number));
        *seconds.entry(due(number).timestamp()).or_insert(0) += 1;
    }
    // Even: 56 in each of 180 seconds.
    let most = *seconds.values().max().unwrap();
    assert!(most < 100, "{most} in one second");
    assert!((178..=182).contains(&seconds.len()), "{} seconds", seconds.len());
    let none = Policy::default().with_jitter_percent(0);
    let exact =
        advance(&leased(1, now(), 2), &webhook, Seen::default(), &answered(500), &none, now());
    assert_eq!(exact.next, waiting(30 * MINUTE));
}

/// Compares the jitter of the same delivery after different failures, and of different deliveries.
#[test]
fn jitter_differs_by_delivery_and_failure() {
    let policy = Policy::default().with_schedule(Mode::Live, Schedule::new([HOUR; 9]).unwrap());
    let mut all: Vec<_> = (0..10).flat_map(|number| delays(Mode::Live, number, &policy)).collect();
    all.sort();
    all.dedup();
    assert!(all.len() > 85, "{} different delays of 90", all.len());
}

/// Applies transitions and gives a lease back, and compares the delivery (table).
#[test]
fn a_transition_is_applied_as_it_says() {
    let policy = exact();
    for (outcome, state, failures) in [
        (answered(200), State::Delivered { at: now() }, 0),
        (answered(500), State::Waiting { due: after(now(), 5 * SECOND) }, 1),
    ] {
        let mut delivery = leased(1, now(), 0);
        delivery.lapsed = true;
        let webhook = webhook(Mode::Live);
        advance(&delivery, &webhook, Seen::default(), &outcome, &policy, now())
            .apply(&mut delivery, dispatcher(1));
        assert_eq!((delivery.state, delivery.failures, delivery.lapsed), (state, failures, false));
        assert_eq!((delivery.attempt, delivery.settled_by), (1, Some(dispatcher(1))));
    }
    for (probe, lane) in [(false, LaneChange::None), (true, probed(Duration::ZERO))] {
        let mut delivery = leased(1, before(now(), HOUR), 3);
        (delivery.interruptions, delivery.lapsed) = (2, true);
        let mut expected = delivery.clone();
        let seen = Seen { failing_since: Some(now()), probe };
        let back = Transition::given_back(&delivery, seen, now());
        assert_eq!((back.health, back.lane), (Health::Unchanged, lane));
        back.apply(&mut delivery, dispatcher(1));
        expected.state = State::Waiting { due: now() };
        expected.settled_by = Some(dispatcher(1));
        assert_eq!(delivery, expected, "uncharged");
    }
}

/// Asks for each number of interruptions whether it is accounted for first (table).
#[test]
fn the_first_three_interruptions_are_free() {
    for (interruptions, lapsed, must) in
        [(0, false, false), (1, true, false), (3, true, false), (4, true, true), (4, false, false)]
    {
        let mut delivery = leased(1, now(), 0);
        (delivery.interruptions, delivery.lapsed) = (interruptions, lapsed);
        assert_eq!(must_account(&delivery, &exact()), must, "{interruptions} {lapsed}");
    }
    let none_free = exact().with_interruptions_free(0);
    let mut delivery = leased(1, now(), 0);
    delivery.reap(now());
    assert!(must_account(&delivery, &none_free));
}

/// Lets a payload kill its sender whenever it is sent, and counts the sends until it ends (I5).
#[test]
fn a_payload_that_kills_its_sender_ends() {
    let (webhook, policy) = (webhook(Mode::Live), exact());
    let mut delivery = leased(1, now(), 0);
    let (mut at, mut killed, mut crashes_uncounted) = (now(), 1, Vec::new());
    delivery.reap(at);
    while !delivery.state.is_ended() {
        if let State::Waiting { due } = delivery.state {
            at = at.max(due);
        }
        delivery.lease(dispatcher(1), 1);
        if must_account(&delivery, &policy) {
            let seen = Seen::default();
            let found = advance(&delivery, &webhook, seen, &Outcome::Interrupted, &policy, at);
            assert_eq!(found.health, Health::Unchanged);
            found.apply(&mut delivery, dispatcher(1));
        } else {
            killed += 1;
            delivery.reap(at);
            crashes_uncounted.push(delivery.interruptions);
            assert!(killed < 100);
        }
    }
    assert_eq!(delivery.state, State::Exhausted { at });
    // Three free ones, and as many as there are tries.
    assert_eq!((killed, delivery.failures), (13, 10));
    assert_eq!(between(now(), at), 75 * HOUR + 35 * MINUTE + 5 * SECOND);
}

/// Plays 30 days with one delivery an hour: nine of ten fail, or all do (F42, W17).
#[test]
fn flapping_is_not_disabled_but_silence_is() {
    let (webhook, policy) = (webhook(Mode::Live), exact());
    let disabled = |succeeds: fn(u32) -> bool| {
        let mut lane = Lane::default();
        (0..30 * 24).find(|hour| {
            let at = after(now(), HOUR * *hour);
            let seen = Seen { failing_since: lane.failing_since, probe: false };
            let outcome = answered(if succeeds(*hour) { 200 } else { 500 });
            let delivery = leased(u64::from(*hour), at, 0);
            let found = advance(&delivery, &webhook, seen, &outcome, &policy, at);
            matches!(lane.health(found.health), Some(Turned::Disabled { .. }))
        })
    };
    assert_eq!(disabled(|hour| hour % 10 == 9), None);
    assert_eq!(disabled(|hour| hour == 0), Some(5 * 24 + 1));
    assert_eq!(disabled(|_| false), Some(5 * 24));
}

/// Fails once an hour, with and without a success in between: one warning in each stretch of a day.
#[test]
fn silence_is_warned_of_before_it_disables() {
    let (webhook, policy) = (webhook(Mode::Live), exact());
    let turns = |succeeds: fn(u32) -> bool| {
        let mut lane = Lane::default();
        let turn = |hour: u32| {
            let at = after(now(), HOUR * hour);
            let seen = Seen { failing_since: lane.failing_since, probe: false };
            let outcome = answered(if succeeds(hour) { 200 } else { 500 });
            let delivery = leased(u64::from(hour), at, 0);
            let found = advance(&delivery, &webhook, seen, &outcome, &policy, at);
            lane.health(found.health).map(|turned| (hour, turned))
        };
        (0..60).filter_map(turn).collect::<Vec<_>>()
    };
    let since = |hour| after(now(), HOUR * hour);
    let failing = |hour| Turned::Failing { since: since(hour) };
    let recovered = |hour| Turned::Recovered { since: since(hour) };
    assert_eq!(turns(|_| false), [(24, failing(0))]);
    assert_eq!(turns(|hour| hour % 20 == 19), [], "a stretch of a day is warned of");
    let found = turns(|hour| hour == 30);
    assert_eq!(found, [(24, failing(0)), (30, recovered(0)), (55, failing(31))]);
    for after in [Duration::ZERO, HOUR, 9 * DAY] {
        let policy = Policy::default().with_warn_after(after);
        let (warned, off) = (policy.warn_after(Mode::Live), policy.disable_after(Mode::Live));
        assert!(warned >= MINUTE && warned <= off / 2, "{warned:?}");
    }
}

/// Draws deliveries that failed together: their pauses lie apart, within their bounds.
#[test]
fn pauses_are_spread() {
    let (webhook, policy) = (webhook(Mode::Live), Policy::default());
    let seen = Seen { failing_since: Some(before(now(), HOUR)), probe: false };
    for (outcome, least, most) in [
        (answered(503), 450 * SECOND, 900 * SECOND),
        (asking(503, 100 * SECOND), 100 * SECOND, 110 * SECOND),
    ] {
        let pauses = (0..1_000).map(|number| {
            let delivery = leased(number, now(), 0);
            let found = advance(&delivery, &webhook, seen, &outcome, &policy, now());
            match found.lane {
                LaneChange::Pause { until } => between(now(), until),
                other => panic!("{other:?}"),
            }
        });
        let mut tenths = [0; 10];
        for pause in pauses {
            assert!(pause >= least && pause <= most, "{pause:?}");
            let tenth = (pause - least).as_millis() * 10 / (most - least).as_millis();
            tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }
}

/// Compares the time until the disable with the schedule's length, with jitter (W17; table).
#[test]
fn the_last_try_comes_before_the_disable() {
    for percent in [0, 10, 100] {
        for time in [Duration::ZERO, HOUR, 75 * HOUR, 5 * DAY, 60 * DAY] {
            let policy = Policy::default().with_jitter_percent(percent).with_disable_after(time);
            for mode in [Mode::Live, Mode::Test] {
                let longest: Duration = delays(mode, 7, &policy).iter().sum();
                assert!(policy.disable_after(mode) >= longest.max(time), "{percent} {time:?}");
            }
        }
    }
}
