//! The test kit, tested: each way to answer, exact time, repeatable runs, messages that help.
#![cfg(feature = "testing")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use serde_json::json;
use tidings::testing::{Answer, Kit, Receiver, days, hours, minutes, seconds};
use tidings::{
    Account, Authentication, Change, Confirmation, Delivery, DeliveryView, DisabledReason,
    DispatcherOptions, Edit, EndpointUrl, Event, FailureKind, Grant, HeaderName, Mode, Next,
    Notice, OAuth, Observer, Ordering, Outcome, Overlap, PageRequest, Policy, RateLimit,
    Registration, Secret, Secrets, Seen, SignatureScheme, StateKind, Status, Tidings, Timestamp,
    VersionedData, Versions, Webhook, WebhookQuery, advance, time,
};

fn change(id: u64) -> Change {
    Change::of("order.paid", &json!({ "id": id.to_string(), "total": 29.90 })).unwrap()
}

fn millis(millis: u64) -> std::time::Duration {
    std::time::Duration::from_millis(millis)
}

/// Milliseconds since the start.
fn since(at: Timestamp) -> u64 {
    u64::try_from((at - Kit::START).num_milliseconds()).unwrap()
}

/// Awaits what a host would.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// When the receiver was tried, in milliseconds since the start.
fn times(receiver: &Receiver) -> Vec<u64> {
    receiver.attempts().iter().map(|attempt| since(attempt.started)).collect()
}

/// What an expectation that is not met says.
fn message(expect: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(expect)).expect_err("it was met");
    *panic.downcast::<String>().expect("a text")
}

// --- what receivers do -------------------------------------------------------------------------

/// Gives each answer once, then the usual one (table): the attempt's record says what it was.
#[test]
fn each_answer_comes_as_it_is_told() {
    let unanswered = Outcome::Unanswered;
    let answered = |status| Outcome::Answered { status, retry_after: None };
    for (answer, arrives, latency, outcome) in [
        (Answer::status(500), true, 0, answered(500)),
        (Answer::status(301).header("location", "https://a.test/"), true, 0, answered(301)),
        (Answer::status(500).after(seconds(3)), true, 3_000, answered(500)),
        (Answer::hangs(), true, 15_000, unanswered(FailureKind::Timeout)),
        (Answer::status(200).after(seconds(15)), true, 15_000, unanswered(FailureKind::Timeout)),
        (Answer::drops(), true, 0, unanswered(FailureKind::Protocol)),
        (Answer::drops().after(seconds(1)), true, 1_000, unanswered(FailureKind::Protocol)),
        (Answer::refuses(), false, 0, unanswered(FailureKind::Connect)),
        (Answer::fails(FailureKind::Dns), false, 0, unanswered(FailureKind::Dns)),
        (Answer::fails(FailureKind::Tls), false, 0, unanswered(FailureKind::Tls)),
        (
            Answer::by(|request| 500 + request.object()["id"].as_str().unwrap().len() as u16),
            true,
            0,
            answered(501),
        ),
        (Answer::by(|_| Answer::hangs()), true, 15_000, unanswered(FailureKind::Timeout)),
    ] {
        let case = format!("{answer:?}");
        let kit = Kit::new();
        let shop = kit.webhook(["order.*"]);
        shop.then(answer);
        kit.publish(change(7));
        let first = shop.attempts().remove(0);
        assert_eq!((first.outcome, first.latency), (outcome, millis(latency)), "{case}");
        assert_eq!(shop.requests().len(), usize::from(arrives), "{case}");
        assert_eq!(since(kit.now()), latency, "{case}");
        kit.advance(seconds(5));
        kit.expect("order.paid").with(json!({ "id": "7" })).to(&shop);
        assert_eq!(kit.waiting(), 0, "{case}");
    }
}

/// Answers with headers and a body: the wait that was asked for is kept, the body is on record.
#[test]
fn headers_and_bodies_reach_the_sender() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.then(Answer::status(503).header("retry-after", "120").json(&json!({ "busy": true })));
    kit.publish(change(7));
    kit.advance(minutes(2));
    kit.expect("order.paid").to(&shop);
    let attempts = shop.attempts();
    assert_eq!(times(&shop), [0, 120_000]);
    assert_eq!(attempts[0].response, br#"{"busy":true}"#);
}

/// Tells a receiver several things at once, then something for good, then for good again.
#[test]
fn a_script_is_done_in_order_and_then_what_is_always_done() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.answers(410).answers(202).then(Answer::status(500).times(2)).then(501);
    shop.then(Answer::status(999).times(0));
    for id in 0..5 {
        kit.publish(change(id));
    }
    let statuses = |receiver: &Receiver| -> Vec<_> {
        receiver.requests().iter().map(|request| request.status().unwrap()).collect()
    };
    assert_eq!(statuses(&shop), [500, 500, 501, 202, 202]);
    shop.then(500).answers(200);
    kit.advance(seconds(5));
    assert_eq!(statuses(&shop)[5..], [200, 200, 200]);
}

/// Asserts in a script, so that it panics: the test fails at the next look, with the text.
#[test]
fn a_script_that_panics_fails_the_test() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.then(Answer::by(|request| -> u16 { panic!("I saw {}", request.event_type()) }));
    kit.publish(change(7));
    let text = message(|| kit.settle());
    assert_eq!(text, "a receiver's script panicked: I saw order.paid");
    assert_eq!(message(|| drop(kit)), text, "nor is it forgotten");
}

/// Looks at the kit and moves time from inside a script.
#[test]
fn a_script_sees_things_as_they_stand_and_makes_no_time_pass() {
    let kit = Arc::new(Kit::new());
    let shop = kit.webhook(["order.*"]);
    let (inner, seen) = (Arc::downgrade(&kit), Arc::new(Mutex::new(None)));
    let (shop_inside, saw) = (shop.clone(), seen.clone());
    shop.then(Answer::by(move |_| {
        let kit = inner.upgrade().unwrap();
        let moved = catch_unwind(AssertUnwindSafe(|| kit.advance(hours(1)))).is_ok();
        *saw.lock().unwrap() =
            Some((shop_inside.requests().len(), kit.waiting(), kit.now(), moved));
        204
    }));
    kit.publish(change(7));
    kit.settle();
    assert_eq!(*seen.lock().unwrap(), Some((1, 1, Kit::START, false)));
}

// --- time --------------------------------------------------------------------------------------

/// Fails until the schedule ends, for policies with and without jitter: each attempt comes at the
/// millisecond that the rules compute, told by folding the decision over the outcomes.
#[test]
fn attempts_come_at_the_exact_times_of_the_schedule() {
    for (seed, jitter) in [(0, 0), (1, 10), (2, 10), (3, 100)] {
        let policy = Policy::default().with_jitter_percent(jitter);
        let kit = Kit::builder().seed(seed).policy(policy.clone()).build();
        let shop = kit.webhook(["order.*"]);
        shop.answers(500);
        kit.publish(change(7));
        kit.advance(days(7));

        let DeliveryView { delivery, attempts, .. } = kit.deliveries().remove(0);
        assert_eq!(delivery.state.kind(), StateKind::Exhausted);
        let webhook = shop.webhook();
        let published = delivery.published;
        let mut told =
            Delivery::owed(delivery.event, delivery.webhook, delivery.cause, published, published);
        let (mut at, mut expected) = (Kit::START, Vec::new());
        loop {
            expected.push(at);
            let outcome = Outcome::Answered { status: 500, retry_after: None };
            let next = advance(&told, &webhook, Seen::default(), &outcome, &policy, at);
            told.failures = next.failures;
            let Next::Waiting { due } = next.next else { break };
            at = due;
        }
        assert_eq!(expected.len(), 10);
        let started: Vec<_> = attempts.iter().map(|attempt| attempt.started).collect();
        assert_eq!(started, expected, "jitter {jitter}");
        let came: Vec<_> = shop.requests().iter().map(|request| request.at()).collect();
        assert_eq!(came, expected, "the receiver's record");
        if jitter == 0 {
            assert_eq!(since(at) / 1_000, 272_105, "75 hours, 35 minutes and 5 seconds");
        }
    }
}

/// Looks at the time while things happen that take none, and some.
#[test]
fn time_stands_still_unless_it_is_moved() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    for id in 0..100 {
        kit.publish(change(id));
    }
    kit.expect("order.paid").times(100).to(&shop);
    shop.then(500);
    kit.publish(change(100));
    assert_eq!((kit.waiting(), since(kit.now())), (1, 0));
    assert_eq!(kit.publish(change(101)).created(), Kit::START);

    kit.advance(millis(4_999));
    assert_eq!((shop.requests().len(), since(kit.now())), (102, 4_999));
    kit.advance(millis(1));
    assert_eq!((shop.requests().len(), since(kit.now())), (103, 5_000));
    kit.advance(seconds(0));
    assert_eq!(kit.publish(change(102)).created(), kit.now());
    shop.then(Answer::status(200).after(seconds(10)));
    kit.advance(seconds(4));
    assert_eq!(since(kit.now()), 9_000, "the request is open");
    kit.settle();
    assert_eq!(since(kit.now()), 15_000, "it has ended");
}

/// Moves time further than the timers of a runtime reach, with a dispatcher that has little to do.
#[test]
fn years_may_pass() {
    let options = DispatcherOptions::default().lease(days(1)).poll(days(1)).sweep_every(None);
    let kit = Kit::builder().dispatcher(options).build();
    let shop = kit.webhook(["order.*"]);
    kit.advance(days(5_000));
    assert_eq!(since(kit.now()), 5_000 * 86_400_000);
    kit.publish(change(7));
    kit.expect("order.paid").to(&shop);
}

/// Pauses, limits and orders deliveries: a look leaves what may not go yet, and time brings it.
#[test]
fn what_may_not_go_yet_waits() {
    let kit = Kit::new();
    let limit = RateLimit::new(1).unwrap();
    let slow = kit.webhook_with(["order.*"], |it| it.with(Edit::new().rate_limit(Some(limit))));
    let ordered =
        kit.webhook_with(["order.*"], |it| it.with(Edit::new().ordering(Ordering::PerObject)));
    ordered.then(500);
    for _ in 0..3 {
        kit.publish(change(7));
    }
    // The bucket of a limit is empty at first.
    assert_eq!((slow.requests().len(), ordered.requests().len()), (0, 1));
    assert!(since(kit.now()) < 1_000, "{}", kit.now());
    kit.advance(seconds(2));
    assert_eq!((slow.requests().len(), ordered.requests().len()), (2, 1));
    kit.advance(seconds(4));
    assert_eq!((slow.requests().len(), ordered.requests().len()), (3, 4));
}

/// Moves time by half milliseconds.
#[test]
fn parts_of_a_millisecond_add_up() {
    let kit = Kit::new();
    for _ in 0..1_001 {
        kit.advance(std::time::Duration::from_micros(500));
    }
    assert_eq!(since(kit.now()), 500);
    kit.advance(std::time::Duration::from_micros(500));
    assert_eq!(since(kit.now()), 501);
}

/// Looks again and again at what a limit holds back: only the first look waits for it.
#[test]
fn looks_at_what_may_not_go_yet_cost_once() {
    let kit = Kit::new();
    let limit = RateLimit::new(1).unwrap();
    let slow = kit.webhook_with(["order.*"], |it| it.with(Edit::new().rate_limit(Some(limit))));
    for id in 1..3 {
        kit.publish(change(id));
        for _ in 0..30 {
            assert_eq!((slow.requests().len(), kit.waiting()), (0, id as usize));
        }
        assert_eq!(since(kit.now()), 100 * id);
    }
    kit.advance(seconds(2));
    kit.expect("order.paid").times(2).to(&slow);
}

/// Publishes 1,000 events over three days of which each tenth fails twice: nothing is lost, and it
/// takes no such time.
#[test]
fn three_days_pass_quickly() {
    let begun = Instant::now();
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.answers(Answer::by(|request| {
        let id: u64 = request.object()["id"].as_str().unwrap().parse().unwrap();
        if id.is_multiple_of(10) && request.number() < 3 { 500 } else { 200 }
    }));
    let step = days(3) / 1_000;
    for id in 0..1_000 {
        kit.publish(change(id));
        kit.advance(step);
    }
    kit.advance(minutes(6));
    kit.expect("order.paid").times(1_000).to(&shop);
    assert_eq!((shop.requests().len(), kit.waiting()), (1_200, 0));
    assert_eq!(since(kit.now()), 3 * 86_400_000 + 360_000);
    assert!(begun.elapsed() < seconds(30), "{:?}", begun.elapsed());
}

// --- where it runs -----------------------------------------------------------------------------

/// Publishes as a host does, and looks.
async fn publish(tidings: &Tidings, id: u64) {
    let event = tidings.event(change(id)).unwrap();
    assert!(tidings.publish(&event).await.unwrap().new);
}

/// Uses a kit from a task of a runtime with one thread.
#[tokio::test]
async fn it_works_on_a_runtime_with_one_thread() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.then(500);
    publish(kit.tidings(), 7).await;
    kit.advance(seconds(5));
    kit.expect("order.paid").to(&shop);
}

/// Uses a kit from tasks of a runtime with several threads, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_a_runtime_with_several_threads() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    let tasks: Vec<_> = (0..20)
        .map(|id| {
            let tidings = kit.tidings().clone();
            tokio::spawn(async move { publish(&tidings, id).await })
        })
        .collect();
    for task in tasks {
        kit.settle();
        task.await.unwrap();
    }
    kit.expect("order.paid").times(20).to(&shop);
}

/// Uses a kit from a runtime whose own time is paused too: neither moves the other.
#[tokio::test(start_paused = true)]
async fn the_time_of_the_callers_runtime_is_another() {
    let kit = Kit::new();
    let begun = tokio::time::Instant::now();
    kit.advance(hours(1));
    assert_eq!(begun.elapsed(), seconds(0));
    tokio::time::sleep(minutes(1)).await;
    assert_eq!(since(kit.now()), 3_600_000);
}

/// Moves two kits against each other.
#[test]
fn two_kits_know_nothing_of_each_other() {
    let (one, two) = (Kit::new(), Kit::builder().seed(1).build());
    let (a, b) = (one.webhook(["order.*"]), two.webhook(["order.*"]));
    a.then(500);
    one.publish(change(1));
    two.publish(change(2));
    one.advance(hours(1));
    assert_eq!((since(one.now()), since(two.now())), (3_600_000, 0));
    one.expect("order.paid").with(json!({ "id": "1" })).to(&a);
    two.expect("order.paid").with(json!({ "id": "2" })).to(&b);
    one.expect_nothing();
    two.expect_nothing();
    let text = message(|| drop(one.expect("order.paid").to(&b)));
    assert_eq!(text, "webhook-1 is a receiver of another kit");
}

/// Drops kits in all states: untouched, with work that nobody looked at, with open requests. Receivers
/// that are kept answer from their notes.
#[test]
fn a_kit_ends_when_it_is_dropped() {
    let begun = Instant::now();
    drop(Kit::new());
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    kit.publish(change(1));
    drop(kit);
    assert!(shop.requests().len() < 2);

    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.answers(Answer::hangs());
    kit.publish(change(1));
    kit.advance(seconds(1));
    drop(kit);
    assert_eq!(shop.requests().len(), 1);
    assert!(begun.elapsed() < seconds(30), "{:?}", begun.elapsed());
}

/// Leaves the last handle of a kit to a script, which drops it on the kit's own thread.
#[test]
fn a_script_may_drop_the_kit() {
    let kit = Arc::new(Kit::new());
    let shop = kit.webhook(["order.*"]);
    let (last, dropped) = (Mutex::new(None), Arc::new(Mutex::new(false)));
    let (last, tell) = (Arc::new(last), dropped.clone());
    let held = last.clone();
    shop.then(Answer::by(move |_| {
        drop(held.lock().unwrap().take());
        *tell.lock().unwrap() = true;
        204
    }));
    kit.publish(change(7));
    *last.lock().unwrap() = Some(kit);
    assert_eq!(shop.requests()[0].status(), Some(204));
    assert!(*dropped.lock().unwrap());
}

/// Leaves the last handle of a kit to a script, and replaces the script.
#[test]
fn a_script_that_owns_the_kit_may_be_replaced() {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let kit = Arc::new(Kit::new());
        let shop = kit.webhook(["order.*"]);
        shop.answers(Answer::by(move |_| if kit.waiting() > 9 { 500 } else { 204 }));
        shop.answers(200);
        done.send(shop.requests().len()).unwrap();
    });
    assert_eq!(finished.recv_timeout(seconds(30)), Ok(0));
}

/// Everything that a story left behind.
fn story(seed: u64) -> String {
    let kit = Kit::builder().seed(seed).policy(Policy::default()).build();
    let (shop, books) = (kit.webhook(["order.*"]), kit.webhook(["*"]));
    shop.answers(Answer::by(|request| if request.number() < 4 { 500 } else { 200 }));
    books.then(Answer::hangs().times(7)).then(Answer::refuses().times(3));
    for id in 0..30 {
        kit.publish(change(id));
        kit.advance(seconds(id));
    }
    kit.advance(days(4));
    let secret = shop.webhook().secrets().unwrap().current().reveal().to_string();
    let requests: Vec<_> = [shop, books]
        .iter()
        .flat_map(|receiver| receiver.requests())
        .map(|it| format!("{it:?} {:?}", it.headers()))
        .collect();
    format!("{secret}\n{}\n{:#?}", requests.join("\n"), kit.deliveries())
}

/// Tells the same story twice, and with another seed.
#[test]
fn the_same_seed_gives_the_same_run() {
    let told = story(7);
    assert!(told.len() > 10_000);
    assert!(told == story(7), "it differs");
    assert!(told != story(8), "the seed does nothing");
}

// --- expectations ------------------------------------------------------------------------------

/// Expects what did not come, in several ways (table of what the messages must say).
#[test]
fn a_failed_expectation_says_what_came_instead() {
    let kit = Kit::new();
    let (shop, books) = (kit.webhook(["order.*"]), kit.webhook(["order.*"]));
    shop.then(204).then(500);
    books.answers(Answer::refuses());
    let id = kit.publish(change(7)).id();
    kit.publish(change(8));

    let text = message(|| drop(kit.expect("order.paid").with(json!({ "id": "9" })).to(&shop)));
    for said in [
        r#"expected 1 acknowledged delivery of order.paid with {"id":"9"} to webhook-1, but there are 0"#,
        &format!(
            r#"2026-01-01T00:00:00.000Z order.paid {id}: answered 204; data.object.id is "7", expected "9""#
        ),
        r#"answered 500; data.object.id is "8", expected "9""#,
        "attempt 2 is due at 2026-01-01T00:00:05.000Z",
        "enabled, order.* (default, Live)",
        "published last",
        "it is 2026-01-01T00:00:00.000Z",
    ] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
    assert!(!text.contains("whsec_") && !text.contains("v1,"), "{text}");

    let text = message(|| drop(kit.expect("order.paid").to(&books)));
    assert!(text.contains("failed (connect)") && text.contains("elsewhere"), "{text}");
    kit.expect("order.paid").to(&shop);
    let text = message(|| drop(kit.expect("order.paid").to(&shop)));
    assert!(text.contains("answered 204; expected before"), "{text}");
    let text = message(|| kit.expect("order.paid").to_nobody());
    assert!(text.starts_with("expected no order.paid to anybody, but\n"), "{text}");
    kit.expect("order.paid").times(0).to(&kit.receiver("idle"));
}

/// Expects more, fewer and other deliveries than there are, of accounts and modes.
#[test]
fn expectations_are_exact() {
    let kit = Kit::new();
    let acme = Account::new("acme").unwrap();
    let shop = kit.webhook_with(["*"], |it| it.account(acme.clone()).mode(Mode::Test));
    for id in 0..3 {
        kit.publish(change(id).account(acme.clone()).mode(Mode::Test));
    }
    kit.publish(change(9));
    let expect = || kit.expect("order.*").account(acme.clone()).mode(Mode::Test);
    let text = message(|| drop(expect().to(&shop)));
    assert!(text.contains("but there are 3"), "{text}");
    message(|| drop(expect().times(4).to(&shop)));
    message(|| drop(expect().account(Account::default()).to(&shop)));
    message(|| drop(expect().mode(Mode::Live).to(&shop)));
    message(|| kit.expect_nothing());
    let met = expect().with(json!({ "id": "1" })).to(&shop);
    assert_eq!(met[0].object(), json!({ "id": "1", "total": 29.9 }));
    expect().times(2).to(&shop);
    expect().times(0).to(&shop);
    kit.expect_nothing();
    kit.expect("order.paid").to_nobody();
}

/// Loses an answer, redelivers, and looks at what is told of repetitions.
#[test]
fn repetitions_are_told() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.then(Answer::drops());
    kit.publish(change(7));
    kit.advance(seconds(5));
    assert_eq!(shop.requests()[1].number(), 2);
    assert_eq!(shop.duplicates().len(), 0, "it had not been acknowledged");
    let delivery = kit.deliveries()[0].delivery.id;
    wait(kit.tidings().redeliver(delivery)).unwrap();
    assert_eq!(shop.duplicates().len(), 1);
    assert_eq!(shop.duplicates()[0].number(), 3);
    kit.expect("order.paid").times(2).to(&shop);
}

// --- signatures, webhooks, settings ------------------------------------------------------------

/// Signs by every scheme, rotates secrets, and shares an address between webhooks.
#[test]
fn every_request_is_verified_by_the_webhooks_own_secrets() {
    let kit = Kit::new();
    let header = HeaderName::parse("X-Signature").unwrap();
    let schemes = vec![
        SignatureScheme::StandardWebhooks,
        SignatureScheme::digital_river(),
        SignatureScheme::TimestampedHex { header },
    ];
    let shop = kit.webhook_with(["order.*"], |it| it.with(Edit::new().schemes(schemes)));
    let first = shop.id();
    let second = Registration::new(shop.address(), ["order.*"]).unwrap().enabled(true);
    let second = kit.create(second).id();
    kit.publish(change(1));
    let found: Vec<_> = shop.requests().iter().map(|request| request.webhook().unwrap()).collect();
    assert!(found.contains(&first) && found.contains(&second), "{found:?}");
    assert!(shop.requests().iter().any(|request| request.header("x-signature").is_some()));
    assert!(message(|| drop(shop.webhook())).contains("2 webhooks"));

    let confirmation = Confirmation::new("ada", "ada");
    for overlap in [Overlap::IMMEDIATE, Overlap::default()] {
        wait(kit.tidings().rotate(first, overlap, &confirmation)).unwrap();
        kit.publish(change(2));
        kit.advance(hours(13));
    }
    kit.expect("order.paid").times(6).to(&shop);
}

/// A webhook that needs a token, with the receiver of its login.
fn with_login(kit: &Kit) -> (Receiver, Receiver) {
    let login = kit.receiver("login");
    let endpoint = EndpointUrl::parse(login.address()).unwrap();
    let oauth = OAuth::new(endpoint, "shop", "hush", Grant::client_credentials(None)).unwrap();
    let edit = Edit::new().authentication(Authentication::OAuth(oauth));
    let shop = kit.webhook_with(["order.*"], |registration| registration.with(edit));
    let token = json!({ "access_token": "sesame", "token_type": "bearer" });
    login.then(401).then(Answer::status(200).json(&token).after(seconds(5)));
    (shop, login)
}

/// Asks a scripted endpoint for access tokens: it gives none, then one.
#[test]
fn access_tokens_come_from_a_receiver_too() {
    let kit = Kit::new();
    let (shop, login) = with_login(&kit);
    kit.publish(change(1));
    assert_eq!(shop.attempts()[0].outcome, Outcome::Unanswered(FailureKind::Token));
    assert_eq!((shop.requests().len(), login.requests().len()), (0, 1));
    kit.advance(seconds(10));
    let met = kit.expect("order.paid").to(&shop);
    assert_eq!(met[0].header("authorization"), Some("Bearer sesame"));
    let asked = &login.requests()[1];
    assert_eq!(
        (asked.event().is_none(), asked.webhook(), asked.object()),
        (true, None, json!(null))
    );
    assert!(String::from_utf8_lossy(asked.body()).contains("client_credentials"));
    kit.expect_nothing();
}

/// A webhook that needs a token, with an attempt under way that waits for it.
fn with_login_under_way(kit: &Kit) -> Receiver {
    let (shop, _) = with_login(kit);
    kit.publish(change(1));
    kit.settle();
    kit.advance(seconds(6));
    shop
}

/// The only webhook, without letting the kit do what is due.
fn webhook(kit: &Kit) -> Webhook {
    let found = wait(kit.tidings().webhooks(&WebhookQuery::default(), &PageRequest::default()));
    found.unwrap().items.remove(0)
}

/// Gives a webhook another secret, past the handle, while a request with the former one is under way.
#[test]
fn a_request_under_way_is_verified_as_it_was_signed() {
    let kit = Kit::new();
    let shop = with_login_under_way(&kit);
    let secrets = Secrets::new(Secret::from_random(&[9; 32]), kit.now());
    let other = webhook(&kit).with_secrets(secrets).unwrap();
    wait(kit.tidings().storage().put(&other, kit.now())).unwrap();
    let met = kit.expect("order.paid").to(&shop);
    assert_eq!(met[0].webhook(), Some(other.id()));
}

/// Deletes a webhook, or moves it, while a request is under way: it is seen all the same.
#[test]
fn what_came_counts_though_its_webhook_is_elsewhere() {
    for delete in [true, false] {
        let kit = Kit::new();
        let shop = with_login_under_way(&kit);
        let id = webhook(&kit).id();
        if delete {
            wait(kit.tidings().delete(id)).unwrap();
        } else {
            let address = EndpointUrl::parse(kit.receiver("new").address()).unwrap();
            wait(kit.tidings().edit(id, None, Edit::new().address(address))).unwrap();
        }
        assert_eq!(shop.requests()[0].event_type(), "order.paid");
        let text = message(|| kit.expect("order.paid").to_nobody());
        assert!(text.contains("webhook-1.receiver.test: 2026-01-01T00:00:10.000Z order.paid"));
        message(|| kit.expect_nothing());
        kit.expect("order.paid").to(&shop);
    }
}

/// Gives webhooks of two accounts, and two of one, the same address and secret.
#[test]
fn webhooks_that_share_an_address_and_a_secret_are_told_apart() {
    let kit = Kit::new();
    let (shop, acme) = (kit.receiver("shop"), Account::new("acme").unwrap());
    let create = |account: &Account| {
        let registration = Registration::new(shop.address(), ["order.*"]).unwrap().enabled(true);
        let secret = Secret::from_random(&[7; 32]);
        kit.create(registration.account(account.clone()).secret(secret)).id()
    };
    let (first, second, other) =
        (create(&Account::default()), create(&Account::default()), create(&acme));
    kit.publish(change(1).account(acme.clone()));
    assert_eq!(kit.expect("*").account(acme).to(&shop)[0].webhook(), Some(other));
    kit.publish(change(2));
    let mut found: Vec<_> = kit.expect("*").times(2).to(&shop);
    found.sort_by_key(|request| request.webhook());
    let (first, second) = (first.min(second), first.max(second));
    assert_eq!([found[0].webhook(), found[1].webhook()], [Some(first), Some(second)]);
    assert_eq!((found[0].number(), found[1].number(), shop.duplicates().len()), (1, 1, 0));
}

/// Pins a webhook to an older version, and expects what waits for it in the words of both.
#[test]
fn what_waits_is_compared_as_it_will_be_sent() {
    let older = |event: &Event| -> tidings::Result<VersionedData> {
        VersionedData::of(&json!({ "order": event.object()? }))
    };
    let versions = Versions::new("2026-01-01").unwrap().older("2025-01-01", older).unwrap();
    let kit = Kit::builder().with(|builder| builder.versions(versions)).build();
    let pin = Edit::new().api_version(Some("2025-01-01".into()));
    kit.webhook_with(["order.*"], |it| it.with(pin)).answers(Answer::refuses());
    kit.publish(change(7));
    kit.expect("order.paid").with(json!({ "id": "7" })).to_nobody();
    let expect = kit.expect("order.paid").with(json!({ "order": { "id": "7" } }));
    assert!(message(|| expect.to_nobody()).contains("attempt 2 is due at"));
}

/// Registers webhooks as a host does: at a named receiver, at an address of its own, at none.
#[test]
fn webhooks_of_the_hosts_own_lead_to_receivers() {
    let kit = Kit::new();
    let (named, own) = (kit.receiver("named"), kit.receiver_at("https://example.com/hook?from=a"));
    for address in [named.address(), own.address(), "https://nobody.example/"] {
        kit.create(Registration::new(address, ["order.*"]).unwrap().enabled(true));
    }
    kit.publish(change(7));
    kit.expect("order.paid").to(&named);
    let met = kit.expect("order.paid").to(&own);
    assert_eq!((met[0].path(), own.name()), ("/hook?from=a", "https://example.com/hook?from=a"));
    assert_eq!(kit.waiting(), 1, "nobody was reached");
    assert_eq!(kit.receiver("named").requests().len(), 1, "the same receiver");
    let named = named.wants(["order.*"]);
    kit.publish(change(8));
    kit.expect("order.paid").with(json!({ "id": "8" })).times(2).to(&named);
    for name in ["a.test/x", "a.test:80/", "a@b", "a?b", "a#b", ""] {
        let text = message(|| drop(kit.receiver(name)));
        assert!(text.contains("receiver"), "{name}: {text}");
    }
    assert_eq!(kit.receiver("Named").requests().len(), 3, "hosts have no case");
    let text = message(|| drop(kit.receiver("else").webhook()));
    assert!(text.contains("no webhook has the address of else"), "{text}");
}

/// Tells of what is disabled by the rule, of a receiver that is gone, and of one that is deleted.
#[test]
fn webhooks_are_seen_as_they_are() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    shop.then(410);
    kit.publish(change(7));
    assert_eq!(shop.webhook().status(), Status::Disabled(DisabledReason::Gone));
    kit.publish(change(8));
    kit.advance(days(2));
    assert_eq!((shop.requests().len(), kit.waiting()), (1, 1));
    let text = message(|| drop(kit.expect("order.paid").to(&shop)));
    assert!(text.contains("disabled (Gone)"), "{text}");
    let books = kit.webhook(["invoice.*"]);
    books.answers(Answer::refuses());
    kit.publish(Change::of("invoice.paid", &json!({ "id": "1" })).unwrap());
    assert!(message(|| kit.expect("invoice.*").to_nobody()).contains("attempt 2 is due at"));
    wait(kit.tidings().delete(shop.id())).unwrap();
    wait(kit.tidings().delete(books.id())).unwrap();
    assert_eq!(kit.waiting(), 0, "though nothing is swept yet");
    kit.expect("invoice.*").to_nobody();
}

#[derive(Debug, Clone, Default)]
struct Ear(Arc<Mutex<Vec<Timestamp>>>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { attempt, .. } = notice {
            self.0.lock().unwrap().push(attempt.started);
        }
    }
}

/// Builds kits with an observer, a start, rules and options of the host's.
#[test]
fn the_hosts_own_settings_apply() {
    let start = time::parse_time("2030-06-01T12:00:00Z").unwrap();
    let (ear, policy) = (Ear::default(), Policy::default().with_timeout(seconds(2)));
    let heard = ear.clone();
    let kit = Kit::builder()
        .start(start)
        .policy(policy)
        .dispatcher(DispatcherOptions::default())
        .with(|builder| builder.observer(ear))
        .build();
    let shop = kit.webhook(["order.*"]);
    shop.then(Answer::hangs());
    kit.publish(change(7));
    assert_eq!(shop.requests()[0].deadline(), seconds(2));
    kit.advance(minutes(1));
    kit.expect("order.paid").to(&shop);
    let heard = heard.0.lock().unwrap().clone();
    assert_eq!((heard.len(), heard[0]), (2, start));
    assert_eq!(heard, shop.attempts().iter().map(|it| it.started).collect::<Vec<_>>());
}
