//! [`append`](crate::ports::storage::EventStore::append): all or none, each id once, byte for byte.

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::fixtures::*;
use crate::ground::change::Change;
use crate::ground::trace::TraceContext;
use crate::ground::versions::{VersionedData, Versions};

async fn append(store: &dyn Storage, events: &[NewEvent], now: Timestamp) -> Vec<Appended> {
    let answers = store.append(events, now).await.expect("append");
    assert_eq!(answers.len(), events.len(), "append answers once for each event");
    answers
}

/// The event of this number with other content.
fn other(number: u64) -> Event {
    let id = event_id(number);
    event_with(id, "order.paid", Account::default(), Mode::Live, r#"{"other":true}"#)
}

/// Appends nothing.
pub(super) async fn an_empty_append_is_answered(store: &dyn Storage) {
    assert_eq!(append(store, &[], start()).await, []);
}

/// Appends an event three times and routes it.
pub(super) async fn a_repeated_event_is_a_duplicate(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = event(1, "order.paid");
    assert_eq!(append(store, &[new(&event)], start()).await, [Appended::Stored]);
    for second in 1..3 {
        let answer = append(store, &[new(&event)], at(second)).await;
        assert_eq!(answer, [Appended::Duplicate], "the same id with the same digest");
    }
    let worker = Worker::start(store, 1, at(3)).await;
    let routed = worker.route(at(3)).await;
    assert_eq!(routed.leased.len() + routed.waiting, 1, "a duplicate leaves no second mark");
    let again = append(store, &[new(&event)], at(4)).await;
    assert_eq!(again, [Appended::Duplicate], "also when it was routed already");
    let nothing = worker.route(at(5)).await;
    assert_eq!(nothing.leased.len() + nothing.waiting, 0, "a duplicate leaves no mark");
    assert_eq!(all_deliveries(store).await.len(), 1);
    assert_eq!(all_deliveries(store).await[0].delivery.webhook, webhook.id());
}

/// Appends the same content in another order of keys: the first bytes stay.
pub(super) async fn a_rebuilt_event_is_a_duplicate(store: &dyn Storage) {
    let build =
        |object| event_with(event_id(1), "order.paid", Account::default(), Mode::Live, object);
    let (first, second) = (build(r#"{"a":1,"b":2}"#), build(r#"{ "b":2, "a":1 }"#));
    assert_eq!(first.digest(), second.digest());
    publish(store, from_ref(&first), start()).await;
    assert_eq!(append(store, &[new(&second)], at(1)).await, [Appended::Duplicate]);
    let events = all_events(store, &EventQuery::default()).await;
    assert_eq!(events, [first], "the bytes that were published first are the event's bytes");
}

/// Appends one id with other data, type, account and mode.
pub(super) async fn other_content_under_an_id_is_a_conflict(store: &dyn Storage) {
    let first = event(1, "order.paid");
    publish(store, from_ref(&first), start()).await;
    let others = [
        ("data", other(1)),
        ("type", event(1, "order.refunded")),
        ("account", event_of(1, "order.paid", account("other"), Mode::Live)),
        ("mode", event_of(1, "order.paid", Account::default(), Mode::Test)),
    ];
    for (what, other) in others {
        let answer = append(store, &[new(&other)], at(1)).await;
        assert_eq!(answer, [Appended::Conflict], "another {what} under the same id");
    }
    assert_eq!(all_events(store, &EventQuery::default()).await, [first], "the first one stays");
}

/// Appends one id several times in one call, then mixed with an id that was there before.
pub(super) async fn a_call_is_compared_with_itself(store: &dyn Storage) {
    let [one, two, three] = [1, 2, 3].map(|number| event(number, "order.paid"));
    let answers = append(store, &[new(&one), new(&two), new(&one)], start()).await;
    let expected = [Appended::Stored, Appended::Stored, Appended::Duplicate];
    assert_eq!(answers, expected, "answers come in the order of the events");
    let answers = append(store, &[new(&two), new(&three), new(&three), new(&one)], at(1)).await;
    let expected =
        [Appended::Duplicate, Appended::Stored, Appended::Duplicate, Appended::Duplicate];
    assert_eq!(answers, expected, "answers come in the order of the events");
    assert_eq!(all_events(store, &EventQuery::default()).await.len(), 3, "each id is kept once");
}

/// Appends an id with two contents in one call.
pub(super) async fn a_call_conflicts_with_itself(store: &dyn Storage) {
    let answers = append(store, &[new(&event(1, "order.paid")), new(&other(1))], start()).await;
    assert_eq!(answers[1], Appended::Conflict, "the other one stands earlier in the same call");
    let events = all_events(store, &EventQuery::default()).await;
    assert_eq!(events, [], "if any event conflicts, nothing of the call is kept");
}

/// Appends good events around one that conflicts, then the good ones alone.
pub(super) async fn a_conflict_keeps_nothing_of_its_call(store: &dyn Storage) {
    registered(store, 1, &["*"]).await;
    let [one, two, three] = [1, 2, 3].map(|number| event(number, "order.paid"));
    publish(store, from_ref(&one), start()).await;
    let call = [new(&two), new(&one), new(&other(1)), new(&three)];
    let answers = append(store, &call, at(1)).await;
    let expected = [Appended::Stored, Appended::Duplicate, Appended::Conflict, Appended::Stored];
    assert_eq!(answers, expected, "the answer still tells of each event");
    let events = all_events(store, &EventQuery::default()).await;
    assert_eq!(events, [one], "nothing of a call with a conflict is kept");
    let worker = Worker::start(store, 1, at(2)).await;
    assert_eq!(worker.route(at(2)).await.leased.len(), 1, "nor a mark of it");
    publish(store, &[two, three], at(3)).await;
    assert_eq!(worker.route(at(3)).await.leased.len(), 2, "what was not kept can be published");
}

/// Publishes one id from thirty-two callers at once, with the same content.
pub(super) async fn of_concurrent_publishes_one_is_stored(store: &dyn Storage) {
    registered(store, 1, &["*"]).await;
    let call = [new(&event(1, "order.paid"))];
    let answers = join_all((0..32).map(|_| append(store, &call, start()))).await.concat();
    let stored = answers.iter().filter(|answer| **answer == Appended::Stored).count();
    assert_eq!(stored, 1, "exactly one of the callers stored it: {answers:?}");
    assert!(!answers.contains(&Appended::Conflict), "the content is the same: {answers:?}");
    let worker = Worker::start(store, 1, at(1)).await;
    assert_eq!(worker.route(at(1)).await.leased.len(), 1, "one event, one mark");
}

/// Publishes one id from thirty-two callers at once, half of them with other content.
pub(super) async fn of_concurrent_contents_one_is_stored(store: &dyn Storage) {
    let contents = [event(1, "order.paid"), other(1)];
    let calls: Vec<_> = (0..32).map(|number| [new(&contents[number % 2])]).collect();
    let answers = join_all(calls.iter().map(|call| append(store, call, start()))).await;
    let stored: Vec<_> = (0..32).filter(|number| answers[*number] == [Appended::Stored]).collect();
    assert_eq!(stored.len(), 1, "exactly one of the callers stored it: {answers:?}");
    let winner = stored[0] % 2;
    for (number, answer) in answers.iter().enumerate().filter(|(number, _)| *number != stored[0]) {
        let expected = if number % 2 == winner { Appended::Duplicate } else { Appended::Conflict };
        assert_eq!(*answer, [expected], "the answer to a loser follows from the content kept");
    }
    let events = all_events(store, &EventQuery::default()).await;
    assert_eq!(events, [contents[winner].clone()]);
}

/// Publishes the same twenty ids from eight callers at once, in rising and in falling order.
pub(super) async fn batches_that_cross_do_not_fail(store: &dyn Storage) {
    let rising: Vec<_> = (1..=20).map(|number| new(&event(number, "order.paid"))).collect();
    let mut falling = rising.clone();
    falling.reverse();
    let calls: Vec<_> =
        (0..8).map(|number| if number % 2 == 0 { &rising } else { &falling }).collect();
    let answers = join_all(calls.iter().map(|call| append(store, call, start()))).await;
    let mut stored = HashMap::new();
    for (call, answer) in calls.iter().zip(&answers) {
        for (event, answer) in call.iter().zip(answer) {
            assert_ne!(*answer, Appended::Conflict, "the content is the same");
            let count: &mut u32 = stored.entry(event.event.id()).or_default();
            *count += u32::from(*answer == Appended::Stored);
        }
    }
    assert!(stored.values().all(|count| *count == 1), "each id is stored once: {stored:?}");
    assert_eq!(all_events(store, &EventQuery::default()).await.len(), 20);
}

/// Sends forty calls at once, of which a quarter conflicts and a quarter names no webhook.
pub(super) async fn one_callers_error_is_his_alone(store: &dyn Storage) {
    registered(store, 1, &["*"]).await;
    publish(store, &[event(1_000, "order.paid")], start()).await;
    let calls: Vec<Vec<NewEvent>> = (0..40)
        .map(|number| {
            let event = event(number, "order.paid");
            match number % 4 {
                1 => vec![new(&event), new(&other(1_000))],
                3 => vec![new(&event), only(&event_for(number), webhook_id(99))],
                _ => vec![new(&event)],
            }
        })
        .collect();
    let answers = join_all(calls.iter().map(|call| store.append(call, at(1)))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number % 4 {
            1 => assert_eq!(
                answer.expect("a conflict is an answer, not an error"),
                [Appended::Stored, Appended::Conflict]
            ),
            3 => refused(answer, ErrorKind::NotFound, "an only webhook that does not exist"),
            _ => assert_eq!(answer.expect("a good call beside bad ones"), [Appended::Stored]),
        }
    }
    let kept = all_events(store, &EventQuery::default()).await;
    let kept: HashSet<_> = kept.iter().map(Event::id).collect();
    let expected: HashSet<_> =
        (0..40).filter(|number| number % 2 == 0).chain([1_000]).map(event_id).collect();
    assert_eq!(kept, expected, "each call is kept or dropped for itself");
    let worker = Worker::start(store, 1, at(2)).await;
    assert_eq!(worker.route(at(2)).await.leased.len(), 21, "and so are the marks");
}

fn event_for(number: u64) -> Event {
    event(2_000 + number, "order.paid")
}

/// Keeps payloads that a database's JSON type or a text column would change, up to 1 MiB.
pub(super) async fn payloads_are_kept_byte_for_byte(store: &dyn Storage) {
    registered(store, 1, &["*"]).await;
    let long = format!(r#"{{"text":"{}"}}"#, "ü".repeat(524_000));
    let objects = [
        r#"{"total":29.90,"rate":1e2,"zero":-0.0,"big":12345678901234567890}"#,
        "{\"z\" : 1 ,\t\"a\":\r\n [ ] , \"a\":2 }",
        r#"{"text":"Grüße 漢字 \u00fc \ud83d\ude00 🎁","nul":"\u0000","quote":"'\"\\"}"#,
        long.as_str(),
    ];
    let events: Vec<_> = (1..)
        .zip(objects)
        .map(|(number, object)| {
            event_with(event_id(number), "a.b", Account::default(), Mode::Live, object)
        })
        .collect();
    assert!(events[3].payload().len() > 1_048_000);
    publish(store, &events, start()).await;
    let mut listed = all_events(store, &EventQuery::default()).await;
    listed.sort_by_key(Event::id);
    let worker = Worker::start(store, 1, at(1)).await;
    let mut leased = worker.route(at(1)).await.leased;
    leased.sort_by_key(|leased| leased.event.id());
    assert_eq!((listed.len(), leased.len()), (4, 4));
    for ((event, listed), leased) in events.iter().zip(&listed).zip(&leased) {
        for (place, found) in [("listed", listed), ("leased", &leased.event)] {
            let same = found.payload() == event.payload();
            assert!(same, "{:?} is {place} with other bytes than were published", event.id());
            assert!(found == event, "{:?} is {place} with another column", event.id());
        }
    }
    for view in all_deliveries(store).await {
        let event = events.iter().find(|event| event.id() == view.delivery.event);
        assert!(Some(&view.event) == event, "a delivery is listed with another event");
    }
}

/// Keeps what events are for older versions, as one version, several or none, and leases and lists it.
pub(super) async fn renderings_are_kept_byte_for_byte(store: &dyn Storage) {
    const OLD: &str = "2025-06-01";
    let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
    let rendered = |number, texts: &[&str]| {
        let mut versions = Versions::new("2026-01-01").expect("a version");
        for (text, version) in texts.iter().zip([OLD, "v1_beta.2"]) {
            let text = raw(text);
            let render = move |_: &Event| VersionedData::of(&text);
            versions = versions.older(version, render).expect("a version");
        }
        let change = Change::of("a.b", &raw(r#"{"id":1}"#)).expect("a change");
        let change = change.api_version(versions.newest()).expect("a version");
        let event = change.into_event(event_id(number), start()).expect("an event");
        versions.render(event).expect("a rendering")
    };
    let long = format!(r#"{{"text":"{}"}}"#, "ü".repeat(524_000));
    let odd = r#"{"nul":"\u0000","quote":"'\"\\ \ud83d\ude00 🎁","at":"$1 ?1 %s {s}"}"#;
    let events = [
        rendered(1, &[]),
        rendered(2, &[r#"{"total":29.90,"zero":-0.0,"big":12345678901234567890}"#]),
        rendered(3, &[odd, "{\"z\" : 1 ,\t\"a\":\r\n [ ] , \"a\":2 }"]),
        rendered(4, &[&long]),
    ];
    assert_eq!(events[0].renderings(), None);
    let webhook = registered(store, 1, &["*"]).await;
    publish(store, &events[..2], start()).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let mut leased = worker.route(at(1)).await.leased;
    publish(store, &events[2..], at(2)).await;
    worker.route_waiting(at(3)).await;
    leased.extend(worker.claim(at(3)).await.leased);
    leased.sort_by_key(|leased| leased.event.id());
    let mut listed = all_events(store, &EventQuery::default()).await;
    listed.sort_by_key(Event::id);
    let mut views = all_deliveries(store).await;
    views.sort_by_key(|view| view.event.id());
    assert_eq!((leased.len(), listed.len(), views.len()), (4, 4, 4));
    let of_deliveries = views.iter().map(|view| &view.event);
    let found = leased.iter().map(|leased| &leased.event).chain(&listed).chain(of_deliveries);
    for (event, found) in events.iter().cycle().zip(found) {
        let same = found.rendered(Some(OLD)) == event.rendered(Some(OLD));
        assert!(same, "{:?} has other bytes for an older version than were published", event.id());
        assert!(found == event, "{:?} has another column", event.id());
    }
    // What is owed once more, and what is owed to one webhook alone.
    settle_all(store, &leased, at(4)).await;
    let owed = Owed { event: events[1].id(), webhook: webhook.id(), cause: cause(1) };
    store.enqueue(&[owed], at(5)).await.expect("enqueue");
    let again = worker.claim_one(at(5)).await.event;
    assert!(again == events[1], "it is delivered again with other bytes than were published");
    let test = rendered(5, &[odd]);
    append(store, &[only(&test, webhook.id())], at(6)).await;
    let alone = worker.claim_one(at(6)).await.event;
    assert!(alone == test, "it reaches one webhook alone with other bytes than were published");
}

/// Keeps the trace of an event, leases and lists it, and publishes the event again with another one.
pub(super) async fn a_trace_is_kept_with_its_event(store: &dyn Storage) {
    let trace = |span: u64| {
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span:016x}-01");
        TraceContext::parse(&text).expect("a trace")
    };
    let traced = |number, trace: Option<TraceContext>| {
        let object = serde_json::json!({ "id": "1" });
        let change = Change::of("order.paid", &object).expect("a change");
        let change = trace.into_iter().fold(change, Change::trace);
        change.into_event(event_id(number), start()).expect("an event")
    };
    let stated = trace(1).with_state("rojo=00f067aa0ba902b7,congo=t61").expect("a state");
    let events = [traced(1, None), traced(2, Some(trace(2))), traced(3, Some(stated))];
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    publish(store, &events, start()).await;
    let mut leased = worker.route(at(1)).await.leased;
    leased.sort_by_key(|leased| leased.event.id());
    let mut listed = all_events(store, &EventQuery::default()).await;
    listed.sort_by_key(Event::id);
    let found = leased.iter().map(|leased| &leased.event).chain(&listed);
    for (event, found) in events.iter().cycle().zip(found) {
        assert_eq!(found.trace(), event.trace(), "the trace is kept as it was given");
        assert!(found == event, "{:?} has another column", event.id());
    }
    let again = store.append(&[new(&traced(2, Some(trace(9))))], at(2)).await.expect("append");
    assert_eq!(again, [Appended::Duplicate], "a trace does not tell one publish from another");
    settle_all(store, &leased, at(3)).await;
    let owed = Owed { event: event_id(2), webhook: webhook.id(), cause: cause(1) };
    store.enqueue(&[owed], at(4)).await.expect("enqueue");
    let first = worker.claim_one(at(4)).await.event.trace();
    assert_eq!(first, Some(trace(2)), "the first trace stays, and goes with a redelivery");
    let test = traced(5, Some(trace(5)));
    store.append(&[only(&test, webhook.id())], at(5)).await.expect("append");
    assert!(worker.claim_one(at(5)).await.event == test, "it reaches one webhook alone");
}

/// Keeps an event whose account, type, id and time are unusual.
pub(super) async fn every_column_of_an_event_survives(store: &dyn Storage) {
    let payload = r#"{"id":"00000000-0000-0000-0000-000000000001","type":"A-1.b_2.C.d.e.f.g.h",
        "data":{"object":{},"previousAttributes":{"a":null}},"liveMode":false,
        "createdTime":"1969-07-20T20:17:40.123Z","apiVersion":"2020-12-17","unknown":[1]}"#;
    let odd = account("Größe 'n' \"co\" %_");
    let event = Event::parse(payload, odd, start()).expect("an event");
    publish(store, from_ref(&event), at(1)).await;
    let found = all_events(store, &EventQuery::default()).await;
    assert_eq!(found, from_ref(&event));
    assert_eq!(found[0].account(), event.account());
    assert_eq!(found[0].created(), event.created());
    assert_eq!(found[0].api_version(), Some("2020-12-17"));
}

/// Routes an hour after the publish and reads when the event was published.
pub(super) async fn a_delivery_knows_when_its_event_was_published(store: &dyn Storage) {
    registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(10)).await;
    let worker = Worker::start(store, 1, at(3_600)).await;
    worker.route_waiting(at(3_600)).await;
    let view = &all_deliveries(store).await[0];
    assert_eq!(view.delivery.published, at(10), "expiry counts from the publish");
    let waiting = State::Waiting { due: at(3_600) };
    assert_eq!(view.delivery.state, waiting, "it is born waiting, due when it was routed");
}

// --- for one webhook alone ---------------------------------------------------------------------

/// Publishes an event for one of two webhooks, which does not want its type.
pub(super) async fn an_event_for_one_webhook_reaches_it_alone(store: &dyn Storage) {
    let webhook = registered(store, 1, &["invoice.*"]).await;
    registered(store, 2, &["order.*"]).await;
    let event = event(1, "order.paid");
    assert_eq!(append(store, &[only(&event, webhook.id())], at(5)).await, [Appended::Stored]);
    let deliveries = all_deliveries(store).await;
    assert_eq!(deliveries.len(), 1, "one delivery is made at once");
    let expected = Delivery::owed(event.id(), webhook.id(), Cause::ROUTED, at(5), at(5));
    assert_eq!(deliveries[0].delivery, expected, "it is routed, waiting, due at the publish");
    let worker = Worker::start(store, 1, at(5)).await;
    let routed = worker.route(at(5)).await;
    let found = (routed.leased.len(), routed.waiting, routed.unmatched);
    assert_eq!(found, (0, 0, 0), "it has no mark");
    let leased = worker.claim_one(at(5)).await;
    assert_eq!(leased.delivery.id, expected.id, "its lane was lowered");
    assert_eq!(all_events(store, &EventQuery::default()).await, [event], "the event is listed");
}

/// Repeats such a publish, before and after it was delivered.
pub(super) async fn an_event_for_one_webhook_is_stored_once(store: &dyn Storage) {
    let webhook = registered(store, 1, &["invoice.*"]).await;
    let call = [only(&event(1, "order.paid"), webhook.id())];
    assert_eq!(append(store, &call, start()).await, [Appended::Stored]);
    assert_eq!(append(store, &call, at(1)).await, [Appended::Duplicate]);
    let worker = Worker::start(store, 1, at(2)).await;
    assert_eq!(worker.drain(at(2)).await.len(), 1);
    assert_eq!(append(store, &call, at(3)).await, [Appended::Duplicate]);
    worker.claims_nothing(at(4), "a duplicate makes no delivery").await;
    assert_eq!(all_deliveries(store).await.len(), 1);
}

/// Publishes for a webhook that is not there, of another account, of another mode, and deleted.
pub(super) async fn an_event_for_a_strangers_webhook_is_refused(store: &dyn Storage) {
    let of_account = hook_of(1, &["*"], |registration| registration.account(account("other")));
    let of_mode = hook_of(2, &["*"], |registration| registration.mode(Mode::Test));
    for webhook in [&of_account, &of_mode] {
        put(store, webhook, start()).await;
    }
    let deleted = registered(store, 3, &["*"]).await;
    store.delete(deleted.id(), start()).await.expect("delete");
    let strangers = [
        ("is not there", webhook_id(9)),
        ("is of another account", of_account.id()),
        ("is of another mode", of_mode.id()),
        ("was deleted", deleted.id()),
    ];
    for (why, webhook) in strangers {
        let call = [new(&event(1, "order.paid")), only(&event(2, "order.paid"), webhook)];
        refused(store.append(&call, at(1)).await, ErrorKind::NotFound, why);
        let events = all_events(store, &EventQuery::default()).await;
        assert_eq!(events, [], "the webhook {why}: nothing of the call is kept");
        assert_eq!(all_deliveries(store).await, [], "the webhook {why}: nothing is owed");
    }
    let worker = Worker::start(store, 1, at(2)).await;
    let routed = worker.route(at(2)).await;
    assert_eq!(routed.unmatched + routed.waiting + routed.leased.len(), 0, "no mark is left");
}

/// Publishes for a disabled webhook: the delivery waits until it is enabled.
pub(super) async fn an_event_for_a_disabled_webhook_waits(store: &dyn Storage) {
    let webhook = registered(store, 1, &["*"]).await;
    disabled(store, webhook.id(), at(1)).await;
    append(store, &[only(&event(1, "order.paid"), webhook.id())], at(2)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    worker.claims_nothing(at(3), "a disabled webhook gets nothing").await;
    enabled(store, webhook.id(), at(4)).await;
    worker.claim_one(at(4)).await;
}
