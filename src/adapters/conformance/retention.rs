//! What may be taken away, and how much there is.

use super::fixtures::*;
use crate::ports::storage::{Expunge, Expunged, Expunging};

fn whole(what: Expunging) -> Expunge {
    Expunge { what, place: None, limit: 100 }
}

/// Expunges an event that was delivered and one that waits, and looks at all that is left of them.
pub(super) async fn an_expunged_event_keeps_its_record(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let (sent, waits, other) =
        (event(1, "order.paid"), event(2, "order.paid"), event(3, "order.paid"));
    publish(store, &[sent.clone(), waits.clone(), other.clone()], start()).await;
    worker.route_waiting(start()).await;
    let leased = worker.claim_of(at(1), 1).await.leased.remove(0);
    assert_eq!(leased.event, sent);
    let mut settlement = delivered(&leased, at(2));
    if let Some(attempt) = &mut settlement.attempt {
        attempt.response = b"thank you, Ada".to_vec();
    }
    settle(store, settlement, at(2)).await;
    for (id, events, answers) in
        [(sent.id(), 1, 1), (waits.id(), 1, 0), (sent.id(), 0, 0), (event_id(9), 0, 0)]
    {
        let done = store.expunge(&whole(Expunging::Event(id))).await.expect("expunge");
        assert_eq!(done, Expunged { events, answers, next: None }, "{id}");
    }
    let kept = all_events(store, &EventQuery::default()).await;
    assert_eq!(kept, [other, waits.expunged(), sent.expunged()], "all but the payload stays");
    let view = view(store, routed(&sent, &webhook)).await;
    assert_eq!(view.delivery.state, State::Delivered { at: at(2) }, "that it was sent stays");
    assert_eq!(view.attempts.len(), 1);
    assert!(view.attempts[0].response.is_empty(), "what was answered may repeat it");
    assert!(view.event.is_expunged());
    let left = worker.claim(at(3)).await.leased;
    let expunged = left.iter().find(|leased| leased.event.id() == waits.id());
    assert!(expunged.is_some_and(|leased| leased.event.is_expunged()), "who leases it sees it");
    let again = store.append(&[new(&sent)], at(4)).await.expect("append");
    assert_eq!(again, [Appended::Duplicate], "a late repetition of the publish is known");
}

/// Expunges an account in steps of two, while another event is published.
pub(super) async fn an_account_is_expunged_in_steps(store: &dyn Storage) {
    let of = |number, name| event_of(number, "order.paid", account(name), Mode::Live);
    let test = event_of(4, "order.paid", account("a"), Mode::Test);
    let old = [of(1, "a"), of(2, "b"), of(3, "a"), test, of(5, "a")];
    publish(store, &old, start()).await;
    let what = Expunging::Account(account("a"));
    let (mut place, mut steps) = (None, Vec::new());
    for _ in 0..9 {
        let expunge = Expunge { what: what.clone(), place, limit: 2 };
        let done = store.expunge(&expunge).await.expect("expunge");
        if steps.is_empty() {
            publish(store, &[of(6, "a")], start()).await;
        }
        steps.push(done.events);
        place = done.next;
        if place.is_none() {
            break;
        }
    }
    assert_eq!(steps.iter().sum::<usize>(), 4, "each once: {steps:?}");
    assert!(steps.iter().all(|step| *step <= 2), "in bounded steps: {steps:?}");
    let kept = all_events(store, &EventQuery::default()).await;
    let whole: Vec<_> = kept.iter().filter(|event| !event.is_expunged()).map(Event::id).collect();
    assert_eq!(whole, [6, 2].map(event_id), "another account's, and what came later");
}

/// Counts before and after routing, while deliveries are leased, and after they end.
pub(super) async fn the_backlog_is_what_waits_and_what_is_to_be_routed(store: &dyn Storage) {
    let count = async |of: Option<&Account>, most| store.backlog(of, most).await.expect("backlog");
    let worker = Worker::start(store, 1, start()).await;
    let (a, b) = (account("a"), account("b"));
    for (number, of) in [(1, &a), (2, &a), (3, &b)] {
        let hook = hook_of(number, &["*"], |registration| registration.account(of.clone()));
        put(store, &hook, start()).await;
    }
    let of =
        |number, account: &Account| event_of(number, "order.paid", account.clone(), Mode::Live);
    publish(store, &[of(1, &a), of(2, &a), of(3, &b)], start()).await;
    assert_eq!(count(None, 9).await, 3, "three events are to be routed");
    assert_eq!((count(Some(&a), 9).await, count(Some(&b), 9).await), (2, 1));
    worker.route_waiting(start()).await;
    assert_eq!(count(None, 9).await, 5, "five deliveries wait");
    assert_eq!((count(Some(&a), 9).await, count(Some(&b), 9).await), (4, 1));
    assert_eq!((count(None, 2).await, count(Some(&a), 3).await), (2, 3), "it counts no further");
    assert_eq!(count(Some(&account("c")), 9).await, 0);
    let leased = worker.claim(at(1)).await.leased;
    assert_eq!(count(None, 9).await, 0, "what is being sent does not wait");
    settle(store, failed(&leased[0], at(9), at(2)), at(2)).await;
    settle(store, delivered(&leased[1], at(2)), at(2)).await;
    assert_eq!(count(None, 9).await, 1, "one is to be tried again");
}
