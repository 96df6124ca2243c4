//! Properties of the decision and of records, over drawn input: what must hold whatever happens.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tidings::time::{after, between};
use tidings::{
    Account, Authentication, Basic, Cause, Delivery, DisabledReason, DispatcherId, Edit,
    EndpointUrl, EventId, FailureKind, Filters, Grant, Headers, Health, Lane, LaneChange, Mode,
    Next, OAuth, Outcome, Overlap, Policy, Registration, Schedule, Secret, Seen, SignatureScheme,
    Timestamp, Webhook, WebhookId, WebhookView, advance, must_account,
};

fn start() -> Timestamp {
    tidings::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
}

fn registration(mode: Mode) -> Registration {
    Registration::new("https://example.com/hook", ["*"]).unwrap().mode(mode).enabled(true)
}

fn created(registration: Registration) -> Webhook {
    let id = WebhookId::new(start(), &[1; 10]);
    registration.into_webhook(id, Secret::from_random(&[2; 32]), start()).unwrap()
}

fn duration(longest: Duration) -> impl Strategy<Value = Duration> {
    (0..=u64::try_from(longest.as_millis()).unwrap()).prop_map(Duration::from_millis)
}

fn policies() -> impl Strategy<Value = Policy> {
    let day = Duration::from_secs(86_400);
    let schedule = vec(duration(2 * day), 0..12).prop_map(|all| Schedule::new(all).unwrap());
    let pause = (duration(day), duration(day));
    (
        schedule,
        0..=100_u32,
        duration(2 * day),
        pause,
        0..6_u32,
        duration(9 * day),
        duration(40 * day),
    )
        .prop_map(|(schedule, jitter, retry, (least, most), free, disable, expire)| {
            Policy::default()
                .with_schedule(Mode::Test, schedule)
                .with_jitter_percent(jitter)
                .with_retry_after_max(retry)
                .with_pause(least, most)
                .with_interruptions_free(free)
                .with_disable_after(disable)
                .with_expire_after(expire)
        })
}

/// What happens to one attempt.
#[derive(Debug, Clone)]
enum Step {
    Outcome(Outcome),
    Crash,
    GivenBack,
}

fn steps() -> impl Strategy<Value = Vec<(Step, Duration, bool)>> {
    let status = prop_oneof![
        1 => 200..300_u16,
        20 => prop_oneof![Just(429), Just(500), Just(502), Just(503), Just(504), Just(410)],
        10 => 100..=999_u16,
    ];
    let asked = option::of(prop_oneof![
        duration(Duration::from_secs(999_999)),
        Just(Duration::MAX),
        Just(Duration::ZERO)
    ]);
    let answered =
        (status, asked).prop_map(|(status, retry_after)| Outcome::Answered { status, retry_after });
    let unanswered =
        (0..FailureKind::ALL.len()).prop_map(|at| Outcome::Unanswered(FailureKind::ALL[at]));
    let step = prop_oneof![
        6 => answered.prop_map(Step::Outcome),
        3 => unanswered.prop_map(Step::Outcome),
        2 => Just(Step::Crash),
        1 => Just(Step::GivenBack),
    ];
    // The outcome, how late the attempt begins and how long it takes, whether it is a probe.
    vec((step, duration(Duration::from_secs(90)), any::<bool>()), 40)
}

fn authentications() -> impl Strategy<Value = Authentication> {
    let text = "[^\\p{Cc}:]{1,40}";
    let grant = prop_oneof![
        option::of(text).prop_map(Grant::client_credentials),
        (text, text).prop_map(|(user, password)| Grant::password(user, password)),
    ];
    prop_oneof![
        Just(Authentication::None),
        (text, text).prop_map(|(user, password)| {
            Authentication::Basic(Basic::new(user, password).unwrap())
        }),
        (text, text, grant).prop_map(|(id, secret, grant)| {
            let endpoint = EndpointUrl::parse("https://id.example/t").unwrap();
            Authentication::OAuth(OAuth::new(endpoint, id, secret, grant).unwrap())
        }),
    ]
}

fn webhooks() -> impl Strategy<Value = Webhook> {
    let types = vec("[a-z]{1,5}\\.([a-z_]{1,9}|\\*)", 1..9)
        .prop_map(|types| Filters::parse(types).unwrap());
    let headers = vec("[!-~]([ -~]{0,20}[!-~])?", 0..9).prop_map(|values| {
        let named = values.into_iter().enumerate().map(|(n, value)| (format!("X-{n}"), value));
        Headers::parse(named).unwrap()
    });
    let edit = (
        types,
        ".{0,99}",
        btree_map(".{0,16}", ".{0,99}", 0..9),
        headers,
        authentications(),
        option::of("[A-Za-z0-9_.-]{1,64}"),
        option::of(1_000..=60_000_u64),
        1..16_u8,
    );
    let edit =
        edit.prop_map(|(types, description, metadata, headers, auth, api, timeout, bits)| {
            let hex = |name| SignatureScheme::TimestampedHex {
                header: tidings::HeaderName::parse(name).unwrap(),
            };
            let schemes = [
                SignatureScheme::StandardWebhooks,
                SignatureScheme::digital_river(),
                hex("S-1"),
                hex("S-2"),
            ];
            let chosen = schemes.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
            Edit::new()
                .types(types)
                .description(description)
                .metadata(metadata)
                .headers(headers)
                .authentication(auth)
                .api_version(api)
                .timeout(timeout.map(Duration::from_millis))
                .schemes(chosen.map(|(_, scheme)| scheme))
        });
    let rotations = vec((0..4_u8, prop::sample::select(vec![0, 1, 3, 6, 12, 24])), 0..4);
    let account = "[^\\p{Cc}]{1,30}".prop_map(|name| Account::new(name).unwrap());
    let status = 0..5_usize;
    (edit, account, any::<bool>(), status, rotations, 0..9_u32).prop_map(
        |(edit, account, live, status, rotations, stored)| {
            let registration = registration(Mode::from_live(live)).account(account).with(edit);
            let mut webhook = created(registration);
            for (n, (hours, overlap)) in rotations.into_iter().enumerate() {
                let new = Secret::from_random(&[u8::try_from(n).unwrap() + 3; 32]);
                let at = after(start(), Duration::from_secs(3_600 * u64::from(hours)));
                let overlap = Overlap::hours(overlap).unwrap();
                webhook = webhook
                    .with_secrets(webhook.secrets().unwrap().rotate(new, overlap, at).unwrap())
                    .unwrap();
            }
            for n in 0..stored {
                webhook = webhook.stored(after(start(), Duration::from_millis(17) * n));
            }
            let reasons = [
                DisabledReason::NeverEnabled,
                DisabledReason::Person,
                DisabledReason::Failing,
                DisabledReason::Gone,
            ];
            match reasons.get(status) {
                Some(reason) => webhook.disable(*reason),
                None => webhook.enable(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Drives a delivery and its lane through drawn outcomes until it ends, as a store would.
    #[test]
    fn a_delivery_keeps_to_its_bounds(policy in policies(), steps in steps(), number in any::<[u8; 10]>()) {
        let webhook = created(registration(Mode::Test));
        let event = EventId::new(start(), &number);
        let dispatcher = DispatcherId::new(start(), &number);
        let mut delivery = Delivery::owed(event, webhook.id(), Cause::ROUTED, start(), start());
        let mut lane = Lane::default();
        let (mut now, mut sent) = (start(), 0);
        let schedule = policy.schedule(Mode::Test).clone();
        for (step, delay, probe) in steps {
            let tidings::State::Waiting { due } = delivery.state else { break };
            now = after(now.max(due), delay);
            let before = delivery.clone();
            delivery.lease(dispatcher, 1);
            prop_assert_eq!(delivery.attempt, before.attempt + 1);
            let seen = Seen { failing_since: lane.failing_since, probe };
            let outcome = match step {
                _ if must_account(&delivery, &policy) => Outcome::Interrupted,
                Step::GivenBack => {
                    let back = tidings::Transition::given_back(&delivery, seen, now);
                    back.apply(&mut delivery, dispatcher);
                    lane.change(back.lane);
                    prop_assert_eq!(delivery.failures, before.failures);
                    continue;
                }
                Step::Crash => {
                    sent += 1;
                    delivery.reap(now);
                    prop_assert_eq!(delivery.failures, before.failures);
                    continue;
                }
                Step::Outcome(outcome) => {
                    sent += 1;
                    outcome
                }
            };
            let found = advance(&delivery, &webhook, seen, &outcome, &policy, now);
            prop_assert_eq!(advance(&delivery, &webhook, seen, &outcome, &policy, now), found);
            // Monotone, and by one at most.
            prop_assert!(found.failures - before.failures <= 1);
            prop_assert!(found.interruptions - delivery.interruptions <= 1);
            prop_assert_eq!(found.next == Next::Delivered, outcome.is_success());
            let ours = matches!(
                outcome,
                Outcome::Interrupted
                    | Outcome::Unanswered(
                        FailureKind::Sealed
                            | FailureKind::Local
                            | FailureKind::Panic
                            | FailureKind::Hook
                            | FailureKind::Filtered
                            | FailureKind::Expunged
                    )
            );
            let crowded = matches!(outcome, Outcome::Unanswered(FailureKind::Busy));
            let ours = ours || crowded;
            if crowded {
                sent -= 1;
                prop_assert_eq!(found.failures, delivery.failures);
                prop_assert_eq!(found.interruptions, delivery.interruptions);
            }
            prop_assert_eq!(found.health == Health::Unchanged, ours);
            if let Next::Waiting { due } = found.next {
                prop_assert!(due >= now);
                prop_assert!(between(start(), due) < policy.expire_after());
                if found.failures > before.failures {
                    let delay = schedule.delay(found.failures).unwrap();
                    prop_assert!(between(now, due) >= delay, "never earlier than the schedule");
                    let longest = delay + delay * policy.jitter_percent() / 100;
                    let longest = longest.max(policy.retry_after_max());
                    prop_assert!(between(now, due) <= longest);
                }
            }
            match found.lane {
                LaneChange::Probed { .. } => prop_assert!(probe),
                LaneChange::Pause { .. } => prop_assert!(!probe),
                _ => {}
            }
            match found.lane {
                LaneChange::Probed { until } if ours && !crowded => prop_assert_eq!(until, now),
                LaneChange::Pause { until } | LaneChange::Probed { until } if crowded => {
                    prop_assert!(between(now, until) >= Duration::from_secs(1));
                    prop_assert!(between(now, until) <= Duration::from_secs(10));
                }
                LaneChange::Pause { until } | LaneChange::Probed { until } => {
                    let asked = policy.retry_after_max();
                    let longest = asked + asked * policy.jitter_percent() / 100;
                    let longest = longest.max(policy.pause_max());
                    prop_assert!(between(now, until) >= policy.pause_min());
                    prop_assert!(between(now, until) <= longest.max(policy.pause_min()));
                }
                LaneChange::None => prop_assert!(!probe, "a probe's settle always speaks"),
                LaneChange::Open => prop_assert!(probe),
                _ => prop_assert!(false, "an unknown change"),
            }
            if let Health::Disable { observed, at } = found.health {
                prop_assert_eq!(Some(observed), seen.failing_since);
                prop_assert!(between(observed, at) >= schedule.length());
            }
            found.apply(&mut delivery, dispatcher);
            lane.change(found.lane);
            lane.health(found.health);
            prop_assert!(delivery.failures <= schedule.tries());
        }
        // What was sent counted as a failure, or was free, or was the success; a crash that no claim
        // has found yet may be one more.
        let most = schedule.tries() + policy.interruptions_free() + 1;
        prop_assert!(sent <= most, "{} sent, {} allowed", sent, most);
    }

    /// Writes and reads drawn webhooks.
    #[test]
    fn a_record_is_read_as_it_was_written(webhook in webhooks()) {
        let text = webhook.to_stored().unwrap();
        let read = Webhook::from_stored(&text).unwrap();
        prop_assert_eq!(&read, &webhook);
        prop_assert_eq!(read.to_stored().unwrap(), text);
        prop_assert_eq!(WebhookView::from(&read), WebhookView::from(&webhook));
    }

    /// Damages a record at a drawn place: it is read, or refused without its secret in the error.
    #[test]
    fn a_damaged_record_is_refused_quietly(webhook in webhooks(), at in any::<prop::sample::Index>(), byte in 32..127_u8) {
        let text = webhook.to_stored().unwrap();
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Err(error) = Webhook::from_stored(&text)
        {
            let shown = format!("{error} {error:?}");
            prop_assert_eq!(error.kind(), tidings::ErrorKind::Storage);
            prop_assert!(!shown.contains(webhook.secrets().unwrap().current().reveal()));
            prop_assert!(shown.len() < 700, "{}", shown);
        }
    }
}
