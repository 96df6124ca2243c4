//! Calls that meet: rule 5's stranded delivery, several dispatchers, and callers that go away.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::{join, join_all};

use super::fixtures::*;

/// Polls a call a few times and drops it: it may or may not have happened, or happen yet.
fn drop_after<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

/// Lets a settlement that makes a delivery wait meet a claim that raises `next_due`, two hundred
/// times, in either order.
pub(super) async fn no_delivery_is_stranded_by_a_settle_and_a_claim(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, [1, 2], start()).await;
    let mut held = worker.claim_of(start(), 1).await.leased.remove(0);
    for round in 1..=200 {
        let now = at(round);
        // `held` becomes due before the claim's own delivery would be due again.
        let back = [failed(&held, now, now)];
        let (claim, write) = (worker.claim(now), store.settle(&back, now));
        let (claimed, answers) = if round % 2 == 0 {
            join(claim, write).await
        } else {
            let (answers, claimed) = join(write, claim).await;
            (claimed, answers)
        };
        assert_eq!(answers.expect("settle"), [APPLIED]);
        let mut leased = claimed.leased;
        if let Some(next) = claimed.next_due {
            assert!(next <= now, "the other one is due at {now}, not at {next}");
        }
        leased.extend(worker.claim(now).await.leased);
        assert_eq!(ids(&leased).len(), 2, "round {round}: a delivery is stranded in its lane");
        let other = leased.remove(0);
        let parked = failed(&other, at(round + 1), now);
        assert_eq!(settle(store, parked, now).await, APPLIED);
        held = leased.remove(0);
    }
}

/// Lets enqueues, routes and publishes for one webhook meet claims.
pub(super) async fn no_delivery_is_stranded_by_those_who_add(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let first = orders(store, [10_000], start()).await.remove(0);
    worker.route(start()).await;
    let mut leased = Vec::new();
    for round in 1..=50 {
        let now = at(round);
        let owed = [Owed { event: first.id(), webhook: webhook.id(), cause: cause(round) }];
        let call = [only(&event(round, "a.b"), webhook.id())];
        orders(store, [500 + round], now).await;
        let turn = worker.turn_of(now, 0);
        let adds = async {
            let add = join(store.enqueue(&owed, now), store.append(&call, now));
            let ((enqueued, appended), routed) = join(add, store.route(&turn)).await;
            enqueued.expect("enqueue");
            appended.expect("append");
            routed.expect("route");
        };
        let claims = join(worker.claim(now), worker.claim(now));
        let ((), (one, two)) = join(adds, claims).await;
        leased.extend(one.leased);
        leased.extend(two.leased);
        leased.extend(worker.claim(now).await.leased);
        let expected = usize::try_from(round * 3).expect("a small number");
        assert_eq!(ids(&leased).len(), expected, "round {round}: a delivery is stranded");
    }
}

/// Lets two dispatchers route the same marks at the same time.
pub(super) async fn two_dispatchers_route_each_event_once(store: &dyn Storage) {
    let workers = [Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await];
    for number in 1..=5 {
        registered(store, number, &["order.*", "*"]).await;
    }
    orders(store, 1..=60, at(1)).await;
    let mut leased = Vec::new();
    let mut waiting = 0;
    for _ in 0..200 {
        let turns: Vec<_> = (0..6)
            .map(|number| Turn { deliveries: 17, ..workers[number % 2].turn_of(at(2), 3) })
            .collect();
        let answers = join_all(turns.iter().map(|turn| store.route(turn))).await;
        let mut more = false;
        for (turn, answer) in turns.iter().zip(answers) {
            let routed = answer.expect("route");
            within(turn, &routed.leased);
            leased.extend(routed.leased);
            waiting += routed.waiting;
            more |= routed.more;
        }
        if !more {
            break;
        }
    }
    assert_eq!(ids(&leased).len() + waiting, 300, "each delivery is made once");
    let all = all_deliveries(store).await;
    assert_eq!(all.len(), 300, "sixty events for five webhooks");
    for view in all {
        let held = leased.iter().find(|leased| leased.delivery.id == view.delivery.id);
        let expected = held.map_or(StateKind::Waiting, |_| StateKind::Leased);
        assert_eq!(view.delivery.state.kind(), expected, "what was answered is what is kept");
    }
}

/// Lets three dispatchers claim, settle and give back at the same time until all is done.
pub(super) async fn several_dispatchers_share_the_work(store: &dyn Storage) {
    let mut workers = Vec::new();
    for number in 1..=3 {
        workers.push(Worker::start(store, number, start()).await);
    }
    for number in 1..=4 {
        registered(store, number, &["*"]).await;
    }
    orders(store, 1..=50, start()).await;
    workers[0].route_waiting(start()).await;
    let mut sent = HashMap::new();
    for round in 1..=400 {
        let now = at(round);
        let claims = workers.iter().map(|worker| worker.claim_of(now, 7));
        let leased: Vec<_> = join_all(claims).await.into_iter().map(|c| c.leased).collect();
        let all: Vec<_> = leased.iter().flatten().cloned().collect();
        ids(&all);
        if all.is_empty() {
            break;
        }
        let batches: Vec<Vec<_>> = leased
            .iter()
            .map(|leased| {
                let outcome = |(number, leased): (usize, &Leased)| match number % 3 {
                    0 if leased.delivery.attempt == 1 => given_back(leased, now),
                    1 if leased.delivery.attempt == 1 => failed(leased, now, now),
                    _ => delivered(leased, now),
                };
                leased.iter().enumerate().map(outcome).collect()
            })
            .collect();
        let answers = join_all(batches.iter().map(|batch| store.settle(batch, now))).await;
        for (batch, answer) in batches.iter().zip(answers) {
            assert_eq!(answer.expect("settle"), vec![APPLIED; batch.len()], "the leases hold");
            for settlement in batch {
                if settlement.transition.next == Next::Delivered {
                    *sent.entry(settlement.fence.delivery).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(sent.len(), 200, "everything is delivered");
    assert!(sent.values().all(|count| *count == 1), "nothing is delivered twice: {sent:?}");
    super::statistics::equals_the_record(store).await;
}

/// Lets a late settlement meet the claim that reaps its dispatcher: one of the two wins.
pub(super) async fn a_settle_and_a_reap_do_not_both_win(store: &dyn Storage) {
    let living = Worker::until(store, 1_000, start(), at(10_000_000)).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    for round in 1..=50 {
        let now = at(round * 100);
        let dying = Worker::until(store, round, now, at(round * 100 + 10)).await;
        let event = orders(store, [round], now).await.remove(0);
        let leased = dying.route(now).await.leased.remove(0);
        let late = at(round * 100 + 10);
        let last = [delivered(&leased, late)];
        let (claim, write) = (living.claim(late), store.settle(&last, late));
        let (claimed, answers) = if round % 2 == 0 {
            join(claim, write).await
        } else {
            let (answers, claimed) = join(write, claim).await;
            (claimed, answers)
        };
        let answer = answers.expect("settle")[0];
        match answer {
            Settled::Applied { .. } => assert!(claimed.leased.is_empty(), "it was settled first"),
            _ => assert_eq!(claimed.leased.len(), 1, "it was reaped first: {answer:?}"),
        }
        settle_all(store, &claimed.leased, late).await;
        let found = view(store, routed(&event, &webhook)).await;
        assert_eq!(found.delivery.state, State::Delivered { at: late });
        let tries = claimed.leased.len() + 1;
        assert_eq!(found.attempts.len(), tries, "every attempt is recorded");
    }
    super::statistics::equals_the_record(store).await;
}

/// Lets good and bad calls of every kind run at once: each gets its own answer.
pub(super) async fn calls_of_every_kind_meet_without_harm(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let stranger = Worker::unknown(store, 9);
    let webhook = registered(store, 1, &["order.*"]).await;
    put(store, &hook(2, &["a.b"]).disable(DisabledReason::Person), start()).await;
    let mut sent = 0;
    for round in 1..=30 {
        let now = at(round);
        let doomed = put(store, &hook(100 + round, &["a.b"]), now).await;
        let other = stored_webhook(store, webhook_id(2)).await.expect("it is there");
        let edit = other.edit(Edit::new().description(format!("{round}"))).expect("an edit");
        let stale = webhook.stored(now);
        let event = [new(&event(round, "order.paid"))];
        let refunded = event_of(1, "order.refunded", Account::default(), Mode::Live);
        let conflict = [new(&refunded)];
        if round == 1 {
            publish(store, &[event_of(1, "order.paid", Account::default(), Mode::Live)], now).await;
        }
        let owed = [Owed { event: event_id(1), webhook: webhook.id(), cause: cause(round) }];
        let missing = [Owed { event: event_id(999), webhook: webhook.id(), cause: cause(round) }];
        let dead = stranger.turn(now);
        let puts = join(store.put(&edit, now), store.put(&stale, now));
        let appends = join(store.append(&event, now), store.append(&conflict, now));
        let enqueues = join(store.enqueue(&owed, now), store.enqueue(&missing, now));
        let claims = join(worker.claim(now), store.claim(&dead));
        let deletes = join(store.delete(doomed.id(), now), store.delete(webhook_id(99), now));
        let beats = join(worker.beat(now, at(100_000)), store.settle(&[], now));
        let first = join(join(puts, appends), join(enqueues, claims));
        let (((puts, appends), (enqueues, claims)), (deletes, beats)) =
            join(first, join(deletes, beats)).await;
        assert_eq!(puts.0.expect("a good edit beside bad calls"), edit.stored(now));
        refused(puts.1, ErrorKind::Stale, "a stale edit beside good calls");
        let expected = if round == 1 { Appended::Duplicate } else { Appended::Stored };
        assert_eq!(appends.0.expect("a good publish beside bad calls"), [expected]);
        assert_eq!(appends.1.expect("an answer"), [Appended::Conflict]);
        assert!(matches!(enqueues.0.expect("enqueue")[0], Enqueued::Made(_)));
        assert_eq!(enqueues.1.expect("enqueue"), [Enqueued::NoEvent]);
        refused(claims.1, ErrorKind::NotAlive, "a stranger beside good calls");
        assert_eq!((deletes.0.expect("delete"), deletes.1.expect("delete")), (true, false));
        assert_eq!((beats.0, beats.1.expect("settle")), (Alive::Known, vec![]));
        let mut leased = claims.0.leased;
        leased.extend(worker.route(now).await.leased);
        leased.extend(worker.claim(now).await.leased);
        sent += ids(&leased).len();
        settle_all(store, &leased, now).await;
    }
    assert_eq!(sent, 60, "each round publishes one event and redelivers one");
    let done = vec![StateKind::Delivered];
    let query = DeliveryQuery { states: done, ..DeliveryQuery::default() };
    assert_eq!(deliveries_of(store, &query).await.len(), 60);
    super::statistics::equals_the_record(store).await;
}

/// Drops publishes after some polls and repeats them.
pub(super) async fn a_dropped_publish_can_be_repeated(store: &dyn Storage) {
    registered(store, 1, &["order.*"]).await;
    for number in 0..30 {
        let call = [new(&event(number, "order.paid")), new(&event(100 + number, "order.paid"))];
        drop_after(store.append(&call, start()), number as usize % 3);
        let answers = store.append(&call, at(1)).await.expect("append");
        assert_eq!(answers[0], answers[1], "it happened whole or not at all");
        assert_ne!(answers[0], Appended::Conflict);
    }
    let worker = Worker::start(store, 1, at(2)).await;
    assert_eq!(worker.route(at(2)).await.leased.len(), 60, "each event once");
}

/// Drops calls of every kind after some polls; what they leased is abandoned, and all is delivered.
pub(super) async fn a_dropped_call_strands_nothing(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let mut abandoned = Vec::new();
    for round in 0..30_u64 {
        let now = at(round);
        let polls = round as usize % 3;
        orders(store, [round], now).await;
        let turns = [worker.turn_of(now, 2), worker.turn_of(now, 2)];
        abandoned.extend(turns.iter().map(|turn| turn.ticket));
        drop_after(store.route(&turns[0]), polls);
        drop_after(store.claim(&turns[1]), polls);
        let owed = [Owed { event: event_id(round), webhook: webhook.id(), cause: cause(1) }];
        drop_after(store.enqueue(&owed, now), polls);
        worker.heartbeat(now, at(100_000), &abandoned).await;
        drop_after(
            store.heartbeat(&Heartbeat {
                dispatcher: worker.id,
                now,
                until: at(100_000),
                abandoned: abandoned.clone(),
            }),
            polls,
        );
        let leased = worker.claim(now).await.leased;
        for leased in &leased {
            let settlement = [delivered(leased, now)];
            drop_after(store.settle(&settlement, now), polls);
            let answer = store.settle(&settlement, now).await.expect("settle");
            assert_eq!(answer, [APPLIED], "a settlement can be repeated");
        }
    }
    let late = at(200);
    worker.route_waiting(late).await;
    worker.drain(late).await;
    let all = all_deliveries(store).await;
    for view in &all {
        assert_eq!(
            view.delivery.state.kind(),
            StateKind::Delivered,
            "{:?} is stuck",
            view.delivery
        );
        assert_eq!(view.attempts.len(), 1, "a repeated settlement is one attempt");
        assert_eq!(view.delivery.interruptions, 0, "an abandoned lease is not charged");
    }
    let routed = all.iter().filter(|view| view.delivery.cause == Cause::ROUTED).count();
    assert_eq!(routed, 30, "each event has reached the webhook once");
    super::statistics::equals_the_record(store).await;
}

/// Drops inserts, edits and deletes after some polls and repeats them.
pub(super) async fn a_dropped_edit_is_whole_or_nothing(store: &dyn Storage) {
    for number in 1..=30 {
        let polls = number as usize % 3;
        let first = hook(number, &["order.*"]);
        drop_after(store.put(&first, start()), polls);
        match store.put(&first, start()).await {
            Ok(stored) => assert_eq!(stored.version(), 1),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
        let stored = stored_webhook(store, first.id()).await.expect("it is stored by now");
        assert_eq!(stored, first.stored(start()));
        let off = stored.disable(DisabledReason::Person);
        drop_after(store.put(&off, at(1)), polls);
        match store.put(&off, at(1)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Stale),
        }
        let found = stored_webhook(store, first.id()).await;
        assert_eq!(found, Some(off.stored(at(1))), "it happened once");
        drop_after(store.delete(first.id(), at(2)), polls);
        store.delete(first.id(), at(2)).await.expect("delete");
        assert_eq!(stored_webhook(store, first.id()).await, None);
    }
    orders(store, [1], at(3)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    assert_eq!(worker.route(at(3)).await.unmatched, 1, "no filter is left behind");
}
