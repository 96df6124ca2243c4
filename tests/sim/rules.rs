//! The rules of delivery in plain words and numbers, apart from the crate's own: a fault in the
//! pure functions of the crate must not go unseen because their judge calls them too.

use std::time::Duration;

use tidings::time::between;
use tidings::{
    Attempt, FailureKind, LaneChange, Mode, Next, Outcome, Policy, Schedule, Timestamp, Transition,
};

use super::rng::Rng;

/// What the host has set, as plain values.
#[derive(Debug, Clone)]
pub struct Rules {
    live: Vec<Duration>,
    test: Vec<Duration>,
    standard: bool,
    timeout: Duration,
    jitter_percent: u32,
    warn_after: Duration,
    disable_after: Duration,
    pause_min: Duration,
    pause_max: Duration,
    retry_after_max: Duration,
    pub interruptions_free: u32,
    pub expire_after: Duration,
}

/// What is known of a delivery when its lease is settled.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    pub mode: Mode,
    pub published: Timestamp,
    pub failures: u32,
    pub interruptions: u32,
    pub lapsed: bool,
    pub probe: bool,
    /// Somebody asked for it: a redelivery, or a replay.
    pub asked_for: bool,
    /// The stretch of failure that its lease told of.
    pub failing_since: Option<Timestamp>,
}

/// What a settlement says of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the sender is at fault, or nothing was sent.
    Nothing,
    Success,
    Failure {
        gone: bool,
    },
}

/// Times are kept in milliseconds, and an answer may come a moment before its settlement.
const SLACK: Duration = Duration::from_secs(1);

fn seconds<const N: usize>(delays: [u64; N]) -> Vec<Duration> {
    delays.map(Duration::from_secs).to_vec()
}

impl Rules {
    pub fn draw(rng: &mut Rng) -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let standard = rng.once_in(2);
        let pause_min = Duration::from_secs(5);
        Self {
            live: if standard {
                seconds([5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400])
            } else {
                seconds([5, 60, 600])
            },
            test: seconds([300, 7_200]),
            standard,
            timeout: rng.time(Duration::from_secs(2), Duration::from_secs(20)),
            jitter_percent: rng.below(30) as u32,
            warn_after: rng.time(hours(1), hours(48)),
            disable_after: rng.time(hours(2), hours(24 * 6)),
            pause_min,
            pause_max: rng.time(hours(0), hours(2)).max(pause_min),
            retry_after_max: rng.time(hours(1), hours(48)),
            interruptions_free: rng.below(4) as u32,
            expire_after: rng.time(hours(24 * 10), hours(24 * 60)),
        }
    }

    /// The same as a policy.
    pub fn policy(&self) -> Policy {
        let policy = if self.standard {
            Policy::default()
        } else {
            let short = Schedule::new(self.live.iter().copied()).unwrap();
            Policy::default().with_schedule(Mode::Live, short)
        };
        policy
            .with_timeout(self.timeout)
            .with_jitter_percent(self.jitter_percent)
            .with_warn_after(self.warn_after)
            .with_disable_after(self.disable_after)
            .with_pause(self.pause_min, self.pause_max)
            .with_retry_after_max(self.retry_after_max)
            .with_interruptions_free(self.interruptions_free)
            .with_expire_after(self.expire_after)
            .with_retain(Duration::from_secs(86_400 * 900))
    }

    fn delays(&self, mode: Mode) -> &[Duration] {
        match mode {
            Mode::Live => &self.live,
            Mode::Test => &self.test,
        }
    }

    fn with_jitter(&self, delay: Duration) -> Duration {
        delay + delay * self.jitter_percent / 100
    }

    /// How long a webhook must do nothing but fail before it is disabled.
    pub fn disable_after(&self, mode: Mode) -> Duration {
        let schedule = self.delays(mode).iter().sum();
        self.disable_after.max(self.with_jitter(schedule))
    }

    /// How long before it is warned of.
    pub fn warn_after(&self, mode: Mode) -> Duration {
        self.warn_after.min(self.disable_after(mode) / 2)
    }

    /// Whether nothing may be sent before an interruption is accounted for.
    pub fn must_account(&self, before: &Before) -> bool {
        before.lapsed && before.interruptions > self.interruptions_free
    }

    /// Checks what a settlement makes of a delivery and its lane, and says what it means for the
    /// health of the webhook. What was asked for tells nothing of that.
    pub fn judge(&self, before: &Before, attempt: Option<&Attempt>, to: &Transition) -> Verdict {
        let verdict = self.judge_try(before, attempt, to);
        if before.asked_for { Verdict::Nothing } else { verdict }
    }

    fn judge_try(&self, before: &Before, attempt: Option<&Attempt>, to: &Transition) -> Verdict {
        let accounts = self.must_account(before);
        match attempt.map(|attempt| attempt.outcome) {
            None if to.next == (Next::Waiting { due: to.at }) => self.given_back(before, to),
            None => self.crowded_out(before, to),
            Some(Outcome::Unanswered(FailureKind::Busy)) => panic!("I8: nothing was sent"),
            Some(Outcome::Interrupted) if !accounts => self.given_back(before, to),
            Some(Outcome::Interrupted) => self.own_fault(before, before.interruptions, to),
            _ if accounts => panic!("I5: sent before its interruptions were accounted for"),
            Some(Outcome::Unanswered(
                FailureKind::Sealed | FailureKind::Local | FailureKind::Panic,
            )) => self.own_fault(before, before.interruptions + 1, to),
            Some(Outcome::Answered { status: 200..=299, .. }) => {
                assert_eq!(to.next, Next::Delivered, "I1: a 2xx delivers");
                assert_eq!(
                    (to.failures, to.interruptions, to.lapsed),
                    (before.failures, before.interruptions, false),
                    "I5: a 2xx counts as nothing else"
                );
                let open = [LaneChange::None, LaneChange::Open][usize::from(before.probe)];
                assert_eq!(to.lane, open, "I6: the probe opens the lane");
                Verdict::Success
            }
            Some(Outcome::Answered { status, retry_after }) => {
                let asked = retry_after.map(|asked| asked.min(self.retry_after_max));
                if before.asked_for && status == 410 {
                    assert_eq!(to.next, Next::Exhausted, "I5: nobody is there");
                    assert_eq!(to.failures, before.failures + 1, "I5: a failure counts");
                } else {
                    self.failed(before, to, asked.unwrap_or_default());
                }
                if matches!(status, 429 | 502 | 503 | 504) {
                    self.paused(before, to, asked);
                } else {
                    let open = [LaneChange::None, LaneChange::Open][usize::from(before.probe)];
                    assert_eq!(to.lane, open, "I6: only what throttles pauses, not {status}");
                }
                Verdict::Failure { gone: status == 410 }
            }
            Some(Outcome::Unanswered(_)) => {
                self.failed(before, to, Duration::ZERO);
                if before.probe || before.failing_since.is_some() {
                    self.paused(before, to, None);
                } else {
                    assert_eq!(to.lane, LaneChange::None, "I6: one silence is no pause");
                }
                Verdict::Failure { gone: false }
            }
            Some(other) => panic!("an outcome that the model does not know: {other:?}"),
        }
    }

    /// Nothing was sent, or a shutdown cut it off: due at once, uncharged.
    fn given_back(&self, before: &Before, to: &Transition) -> Verdict {
        assert_eq!(to.next, Next::Waiting { due: to.at }, "I5: given back");
        assert_eq!(
            (to.failures, to.interruptions, to.lapsed),
            (before.failures, before.interruptions, before.lapsed),
            "I5: given back uncharged"
        );
        self.reprobes(before, to);
        Verdict::Nothing
    }

    /// Its destination had no place: it waits for a little, uncharged, and its lane as long.
    fn crowded_out(&self, before: &Before, to: &Transition) -> Verdict {
        assert_eq!(
            (to.failures, to.interruptions, to.lapsed),
            (before.failures, before.interruptions, before.lapsed),
            "I5: crowded out uncharged"
        );
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        self.due(before, to, shortest, longest);
        let until = match (to.lane, before.probe) {
            (LaneChange::Pause { until }, false) | (LaneChange::Probed { until }, true) => until,
            (lane, _) => panic!("I6: a crowded lane rests: {lane:?}"),
        };
        let pause = between(to.at, until);
        assert!(pause >= shortest && pause <= longest, "I6: a crowded lane rests {pause:?}");
        Verdict::Nothing
    }

    /// The sender's own fault: free at first, then on the schedule.
    fn own_fault(&self, before: &Before, interruptions: u32, to: &Transition) -> Verdict {
        let free = interruptions <= self.interruptions_free;
        let failures = before.failures + u32::from(!free);
        assert_eq!(
            (to.failures, to.interruptions, to.lapsed),
            (failures, interruptions, false),
            "I5: the sender's own faults are counted"
        );
        if free {
            self.due(before, to, self.pause_min, self.pause_min);
        } else {
            self.on_schedule(before, to, Duration::ZERO);
        }
        self.reprobes(before, to);
        Verdict::Nothing
    }

    fn reprobes(&self, before: &Before, to: &Transition) {
        let change =
            if before.probe { LaneChange::Probed { until: to.at } } else { LaneChange::None };
        assert_eq!(to.lane, change, "I6: a probe that was not sent is repeated");
    }

    /// The receiver's fault.
    fn failed(&self, before: &Before, to: &Transition, asked: Duration) {
        assert_eq!(
            (to.failures, to.interruptions, to.lapsed),
            (before.failures + 1, before.interruptions, false),
            "I5: a failure counts"
        );
        self.on_schedule(before, to, asked);
    }

    /// The next try, or the end, by the schedule.
    fn on_schedule(&self, before: &Before, to: &Transition, asked: Duration) {
        let delays = self.delays(before.mode);
        match delays.get(to.failures as usize - 1) {
            Some(delay) => {
                let latest = self.with_jitter(*delay).max(asked);
                self.due(before, to, (*delay).max(asked), latest);
            }
            None => assert_eq!(to.next, Next::Exhausted, "I5: {} tries are all", to.failures),
        }
    }

    fn due(&self, before: &Before, to: &Transition, least: Duration, most: Duration) {
        let end = before.published + self.expire_after;
        match to.next {
            Next::Waiting { due } => {
                assert!(
                    due >= to.at + least && due <= to.at + most,
                    "I6: failure {} at {} is followed by a try at {due}, not {least:?} to {most:?} later",
                    to.failures,
                    to.at
                );
                assert!(due < end, "I5: a try after the expiry");
            }
            Next::Expired => assert!(to.at + most >= end, "I1: expired before its time"),
            other => panic!("I1: {other:?} with tries left: {before:?}"),
        }
    }

    fn paused(&self, before: &Before, to: &Transition, asked: Option<Duration>) {
        let until = match (to.lane, before.probe) {
            (LaneChange::Pause { until }, false) | (LaneChange::Probed { until }, true) => until,
            _ => panic!("I6: a receiver that asks for peace is not left in peace"),
        };
        let (least, most) = match asked {
            Some(asked) => (asked.max(self.pause_min), self.with_jitter(asked).max(self.pause_min)),
            None => (self.pause_min, self.pause_max),
        };
        assert!(
            until >= to.at + least && until <= to.at + most,
            "I6: paused from {} until {until}, not for {least:?} to {most:?}",
            to.at
        );
    }
}

/// Whether the record of an attempt agrees with what the receiver said.
pub fn agrees(said: Option<(u16, Option<Duration>)>, outcome: &Outcome) -> bool {
    match (said, outcome) {
        (Some((answered, asked)), Outcome::Answered { status, retry_after }) => {
            let close = match (asked, retry_after) {
                (Some(asked), Some(heard)) => asked.abs_diff(*heard) <= SLACK,
                (None, None) => true,
                _ => false,
            };
            answered == *status && close
        }
        // Whatever was said, a shutdown may have cut it off.
        (_, Outcome::Interrupted) => true,
        (said, _) => said.is_none() && matches!(outcome, Outcome::Unanswered(_)),
    }
}

/// Whether a pattern names a type of events.
pub fn wants(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => event_type.starts_with(prefix),
        None => pattern == event_type,
    }
}
