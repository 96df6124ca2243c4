//! Rule 6: leases belong to dispatchers, and go back when these die, end, or never learned of them.

use super::fixtures::*;

/// Three signs of life.
pub(super) async fn a_dispatcher_is_new_once(store: &dyn Storage) {
    let worker = Worker::unknown(store, 1);
    assert_eq!(worker.beat(at(1), at(20)).await, Alive::New, "its first sign of life");
    assert_eq!(worker.beat(at(2), at(30)).await, Alive::Known);
    assert_eq!(worker.beat(at(29), at(60)).await, Alive::Known);
    let other = Worker::unknown(store, 2);
    assert_eq!(other.beat(at(29), at(60)).await, Alive::New, "each dispatcher for itself");
}

/// Renews a lease and claims with another dispatcher long after the first `until`.
pub(super) async fn a_living_dispatchers_leases_hold(store: &dyn Storage) {
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    for second in [9, 18, 27] {
        worker.beat(at(second), at(second + 10)).await;
        other.claims_nothing(at_millis(second * 1_000 + 9_999), "its holder lives").await;
    }
    let found = view(store, leased.delivery.id).await.delivery;
    assert_eq!(found, leased.delivery, "nothing has changed");
    assert_eq!(settle(store, delivered(&leased, at(30)), at(30)).await, APPLIED);
}

/// Lets a dispatcher die with three leases, of which one is settled before anybody looks.
pub(super) async fn a_dead_dispatchers_leases_go_back(store: &dyn Storage) {
    let dying = Worker::until(store, 1, start(), at(10)).await;
    waiting_orders(store, &dying, 1, 1..=4, start()).await;
    let leased = dying.claim_of(at(1), 3).await.leased;
    settle(store, delivered(&leased[0], at(2)), at(2)).await;
    let other = Worker::start(store, 2, start()).await;
    let claimed = other.claim(at_millis(9_999)).await.leased;
    assert_eq!(claimed.len(), 1, "until its last moment it lives");
    let claimed = other.claim(at(10)).await.leased;
    assert_eq!(ids(&claimed).len(), 2, "claim first reaps, then leases");
    for found in &claimed {
        let before = leased.iter().find(|leased| leased.delivery.id == found.delivery.id);
        let mut expected = before.expect("one of the dead one's leases").delivery.clone();
        expected.reap(at(10));
        assert_eq!((expected.interruptions, expected.lapsed), (1, true));
        let State::Leased { dispatcher, ticket } = found.delivery.state else {
            panic!("{:?} was answered as leased", found.delivery);
        };
        expected.lease(dispatcher, ticket);
        assert_eq!(found.delivery, expected, "as Delivery::reap and Delivery::lease say");
        assert_eq!(found.delivery.attempt, 2);
    }
    assert_eq!(
        view(store, leased[0].delivery.id).await.delivery.state.kind(),
        StateKind::Delivered
    );
}

/// Claims without a permit: the dead one's leases go back all the same.
pub(super) async fn a_claim_reaps_also_without_permits(store: &dyn Storage) {
    let dying = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &dying, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    let claimed = other.claim_of(at(50), 0).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (0, Some(at(50))));
    let mut expected = leased.delivery.clone();
    expected.reap(at(50));
    assert_eq!(view(store, leased.delivery.id).await.delivery, expected, "as Delivery::reap says");
}

/// Lets one delivery kill five dispatchers.
pub(super) async fn interruptions_are_counted(store: &dyn Storage) {
    let first = Worker::until(store, 1, start(), at(10)).await;
    leased_order(store, &first, 1, start()).await;
    for number in 2..=5 {
        let now = at((number - 1) * 10);
        let next = Worker::until(store, number, now, at(number * 10)).await;
        let leased = next.claim_one(now).await;
        let expected = u32::try_from(number).expect("a small number");
        assert_eq!(leased.delivery.interruptions, expected - 1, "one for each holder's death");
        assert_eq!((leased.delivery.attempt, leased.delivery.failures), (expected, 0));
        assert!(leased.delivery.lapsed);
    }
}

/// Reaps what a disabled webhook and a deleted one had in flight.
pub(super) async fn a_reaped_lease_waits_behind_its_webhooks_state(store: &dyn Storage) {
    let dying = Worker::until(store, 1, start(), at(10)).await;
    let off = leased_order(store, &dying, 1, start()).await;
    let away = leased_order(store, &dying, 2, start()).await;
    disabled(store, off.webhook.id(), at(1)).await;
    store.delete(away.webhook.id(), at(1)).await.expect("delete");
    let other = Worker::start(store, 2, start()).await;
    let next_due = other.claims_nothing(at(10), "disabled and deleted webhooks get nothing").await;
    assert_eq!(next_due, None, "nor are their lanes due");
    let state = view(store, off.delivery.id).await.delivery.state;
    assert_eq!(state, State::Waiting { due: at(10) }, "what was leased goes back");
    assert_eq!(sweep_all(store, &sweep(at(11))).await.cancelled, 1, "the deleted webhook's");
    let state = view(store, away.delivery.id).await.delivery.state;
    assert_eq!(state, State::Cancelled { at: at(11) });
    enabled(store, off.webhook.id(), at(12)).await;
    assert!(other.claim_one(at(12)).await.probe);
}

/// Comes back after its time: either nobody has looked, or everything has gone back.
pub(super) async fn a_late_sign_of_life_tells_what_became_of_the_leases(store: &dyn Storage) {
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let expected = match worker.beat(at(20), at(60)).await {
        Alive::Known => APPLIED,
        Alive::New => Settled::Lost,
    };
    let answer = settle(store, delivered(&leased, at(21)), at(21)).await;
    assert_eq!(answer, expected, "`Known` means that its leases hold, `New` that they do not");
    let reaped = Worker::until(store, 2, at(30), at(40)).await;
    let leased = leased_order(store, &reaped, 2, at(30)).await;
    worker.claim_of(at(50), 0).await;
    assert_eq!(reaped.beat(at(51), at(90)).await, Alive::New, "it was given up");
    assert_eq!(settle(store, delivered(&leased, at(52)), at(52)).await, Settled::Lost);
}

/// Ends a dispatcher that has two leases.
pub(super) async fn a_dispatcher_that_ends_gives_back(store: &dyn Storage) {
    let ending = Worker::start(store, 1, start()).await;
    let leased = [
        leased_order(store, &ending, 1, start()).await,
        leased_order(store, &ending, 2, start()).await,
    ];
    settle(store, delivered(&leased[1], at(1)), at(1)).await;
    ending.end(at(5)).await;
    let mut expected = leased[0].delivery.clone();
    expected.abandon(at(5));
    let found = view(store, leased[0].delivery.id).await.delivery;
    assert_eq!(found, expected, "as Delivery::abandon says: uncharged");
    let late = settle(store, delivered(&leased[0], at(6)), at(6)).await;
    assert_eq!(late, Settled::Lost, "the lease went back");
    let other = Worker::start(store, 2, at(7)).await;
    let again = other.claim_one(at(7)).await.delivery;
    assert_eq!((again.attempt, again.interruptions, again.lapsed), (2, 0, false));
    assert_eq!(ending.beat(at(8), at(60)).await, Alive::New, "it was forgotten");
}

/// Ends a dispatcher of which nobody has heard.
pub(super) async fn an_end_makes_no_dispatcher_known(store: &dyn Storage) {
    for until in [at(5), at(1)] {
        let worker = Worker::unknown(store, 1);
        worker.beat(at(5), until).await;
        let answer = store.claim(&worker.turn(at(5))).await;
        refused(answer, ErrorKind::NotAlive, "it has ended");
        let answer = store.claim(&worker.turn(at(2))).await;
        refused(answer, ErrorKind::NotAlive, "it has ended, whatever the time");
    }
}

/// Abandons one of three calls.
pub(super) async fn abandoned_leases_go_back_uncharged(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    waiting_orders(store, &worker, 1, 1..=9, start()).await;
    let turns = [worker.turn_of(at(1), 3), worker.turn_of(at(1), 3), other.turn_of(at(1), 3)];
    let mut leased = Vec::new();
    for (worker, turn) in [&worker, &worker, &other].into_iter().zip(&turns) {
        leased.push(worker.claim_in(turn).await.leased);
    }
    // The other dispatcher may have used the same number; that is another call.
    settle(store, delivered(&leased[0][2], at(2)), at(2)).await;
    let alive = worker.heartbeat(at(3), at(500), &[turns[0].ticket, 777]).await;
    assert_eq!(alive, Alive::Known, "abandoning ends nothing else");
    for back in &leased[0][..2] {
        let mut expected = back.delivery.clone();
        expected.abandon(at(3));
        let found = view(store, back.delivery.id).await.delivery;
        assert_eq!(found, expected, "as Delivery::abandon says: uncharged");
        assert_eq!(settle(store, delivered(back, at(4)), at(4)).await, Settled::Lost);
    }
    let ended = view(store, leased[0][2].delivery.id).await.delivery;
    assert_eq!(ended.state, State::Delivered { at: at(2) }, "what was settled stays so");
    for held in leased[1].iter().chain(&leased[2]) {
        let found = view(store, held.delivery.id).await.delivery;
        assert_eq!(found, held.delivery, "other calls and other dispatchers keep theirs");
    }
    let again = other.claim(at(5)).await.leased;
    let expected: std::collections::BTreeSet<_> =
        leased[0][..2].iter().map(|leased| leased.delivery.id).collect();
    assert_eq!(ids(&again), expected);
    for leased in again {
        let delivery = leased.delivery;
        assert_eq!((delivery.attempt, delivery.interruptions, delivery.lapsed), (2, 0, false));
    }
}

/// Lets a call come after it was abandoned.
pub(super) async fn an_abandoned_call_that_still_comes_leases_nothing(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let (claim, route) = (worker.turn(at(1)), worker.turn(at(1)));
    worker.heartbeat(at(2), at(500), &[claim.ticket, route.ticket]).await;
    refused(store.claim(&claim).await, ErrorKind::NotAlive, "claim with an abandoned ticket");
    registered(store, 2, &["a.b"]).await;
    publish(store, &[event(50, "a.b")], at(3)).await;
    let answer = store.route(&route).await;
    refused(answer, ErrorKind::NotAlive, "route with an abandoned ticket");
    worker.beat(at(4), at(500)).await;
    let late = Turn { now: at(5), ..claim };
    refused(store.claim(&late).await, ErrorKind::NotAlive, "a later sign of life changes nothing");
    assert_eq!(worker.route(at(6)).await.leased.len(), 1, "the next call is another one");
    assert_eq!(worker.claim(at(6)).await.leased.len(), 3);
}

/// Abandons a call that was born leased by a route.
pub(super) async fn an_abandoned_route_gives_back(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, 1..=4, start()).await;
    let turn = worker.turn(at(1));
    let leased = store.route(&turn).await.expect("route").leased;
    assert_eq!(leased.len(), 4);
    worker.heartbeat(at(2), at(500), &[turn.ticket]).await;
    let again = worker.claim(at(2)).await;
    assert_eq!(ids(&again.leased), ids(&leased), "all of them wait in their lane");
    assert!(again.leased.iter().all(|leased| leased.delivery.webhook == webhook.id()));
}
