//! [`Statistics`](crate::ports::statistics::Statistics): what is counted equals a recount of what is
//! on record. A store that keeps none passes.

use std::collections::BTreeMap;

use super::fixtures::*;
use crate::ground::failure::FailureKind;
use crate::ground::statistics::{
    AttemptClass, End, Hour, StatisticsQuery, StatisticsReport, Tally, counted,
};
use crate::ports::statistics::Statistics;

/// The statistics of the store, if it has some.
fn kept(store: &dyn Storage) -> Option<&dyn Statistics> {
    store.statistics()
}

/// Everything within a year from half a year before the beginning.
fn always() -> StatisticsQuery {
    let half = Duration::from_secs(180 * 86_400);
    let (from, to) = (crate::ground::time::before(start(), half), at(180 * 86_400));
    StatisticsQuery::new(from, to).expect("less than a year")
}

async fn report(statistics: &dyn Statistics, query: &StatisticsQuery) -> StatisticsReport {
    let counts = statistics.counts(query).await.expect("counts");
    let mut seen = HashSet::new();
    for one in &counts {
        assert!(seen.insert((one.hour, one.measure)), "{one:?} comes twice");
        assert!(one.count > 0, "{one:?} counts nothing");
        assert!(query.hours().contains(&one.hour), "{one:?} is of an hour that is not wanted");
    }
    StatisticsReport::of(counts.into_iter().map(|one| (one.hour, one.measure, one.count)))
}

/// What the record says: each attempt in the hour of its start, each end in its own.
fn recount<'v>(views: impl IntoIterator<Item = &'v DeliveryView>) -> BTreeMap<Hour, Tally> {
    let mut hours: BTreeMap<Hour, Tally> = BTreeMap::new();
    for view in views {
        let attempts = view.attempts.iter().map(|attempt| (Some(attempt), None));
        let end = std::iter::once((None, Some(&view.delivery.state)));
        for (hour, measure) in attempts.chain(end).flat_map(|(one, end)| counted(one, end)) {
            hours.entry(hour).or_default().add(measure, 1);
        }
    }
    hours
}

/// Compares what is counted with the record, of which nothing may have been removed.
pub(super) async fn equals_the_record(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let views = all_deliveries(store).await;
    let found = report(statistics, &always()).await;
    let found: BTreeMap<_, _> = found.hours.into_iter().map(|it| (it.hour, it.tally)).collect();
    assert_eq!(found, recount(&views), "the counts are those of the record");
    let webhooks: HashSet<_> = views.iter().map(|view| view.delivery.webhook).collect();
    for webhook in webhooks {
        let own = views.iter().filter(|view| view.delivery.webhook == webhook);
        let found = report(statistics, &always().webhook(webhook)).await;
        let found: BTreeMap<_, _> = found.hours.into_iter().map(|it| (it.hour, it.tally)).collect();
        assert_eq!(found, recount(own), "the counts of {webhook} are those of its record");
    }
}

/// Asks an empty store, and one in which nothing was tried yet.
pub(super) async fn what_has_not_happened_is_not_counted(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    assert_eq!(report(statistics, &always()).await, StatisticsReport::default());
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, at(1)).await;
    assert_eq!(settle(store, given_back(&leased, at(2)), at(2)).await, APPLIED);
    assert_eq!(report(statistics, &always()).await, StatisticsReport::default());
    assert_eq!(statistics.forget(Hour::of(at(0)), 10).await.expect("forget"), 0);
}

/// Fails, delivers and exhausts deliveries within one hour and across two.
pub(super) async fn attempts_and_ends_are_counted_in_their_hours(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    let first = leased_order(store, &worker, 1, at(1)).await;
    settle(store, failed(&first, at(3_700), at(2)), at(2)).await;
    let second = leased_order(store, &worker, 2, at(3)).await;
    // It began in the first hour and ended in the second.
    let mut slow = delivered(&second, at(3_601));
    if let Some(attempt) = &mut slow.attempt {
        attempt.started = at(3_590);
        attempt.latency = Duration::from_secs(11);
    }
    settle(store, slow, at(3_601)).await;
    let again = worker.claim_one(at(3_700)).await;
    settle(store, exhausted(&again, at(3_701)), at(3_701)).await;
    let found = report(statistics, &always()).await;
    let hours: Vec<_> = found.hours.iter().map(|it| it.hour).collect();
    assert_eq!(hours, [Hour::of(at(0)), Hour::of(at(3_600))]);
    let (one, two) = (&found.hours[0].tally, &found.hours[1].tally);
    assert_eq!((one.attempts(), one.attempts_of(AttemptClass::Succeeded)), (2, 1));
    assert_eq!(one.ended(), 0, "nothing ended in the first hour");
    assert_eq!((two.attempts(), two.attempts_of(AttemptClass::Failed)), (1, 1));
    assert_eq!((two.ended_as(End::Delivered), two.ended_as(End::Exhausted)), (1, 1));
    let p99 = one.latency(99.0).expect("answers").as_secs_f64();
    assert!((p99 / 11.0 - 1.0).abs() < 0.1, "{p99} s for 11 s");
    equals_the_record(store).await;
}

/// Settles in one call with itself, and again in another.
pub(super) async fn a_repetition_is_counted_once(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    let one = leased_order(store, &worker, 1, at(1)).await;
    let two = leased_order(store, &worker, 2, at(1)).await;
    let both = [delivered(&one, at(2)), failed(&two, at(60), at(2)), delivered(&one, at(2))];
    for _ in 0..3 {
        store.settle(&both, at(2)).await.expect("settle");
    }
    let total = report(statistics, &always()).await.total;
    assert_eq!((total.attempts(), total.ended()), (2, 1));
    equals_the_record(store).await;
}

/// Settles what was reaped, twice in one call and again, before and after the next attempt.
pub(super) async fn a_late_attempt_is_counted_once(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let dead = Worker::until(store, 1, start(), at(10)).await;
    let one = leased_order(store, &dead, 1, at(1)).await;
    let late = delivered(&one, at(2));
    let worker = Worker::start(store, 2, at(11)).await;
    let again = worker.claim_one(at(11)).await;
    for _ in 0..2 {
        let answers = store.settle(&[late.clone(), late.clone()], at(12)).await.expect("settle");
        assert_eq!(answers, [Settled::Lost; 2]);
    }
    let total = report(statistics, &always()).await.total;
    assert_eq!((total.attempts(), total.ended()), (1, 0), "the attempt was made, and is lost");
    // A late one beside one that holds.
    let both = [late.clone(), delivered(&again, at(13)), late];
    store.settle(&both, at(13)).await.expect("settle");
    let total = report(statistics, &always()).await.total;
    assert_eq!((total.attempts(), total.ended_as(End::Delivered)), (2, 1));
    equals_the_record(store).await;
}

/// Expires and cancels what waits, and ends what a deleted webhook had in flight.
pub(super) async fn whatever_ends_a_delivery_is_counted(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=3, at(1)).await;
    let leaves = registered(store, 2, &["a.b"]).await;
    publish(store, &[event(4, "a.b"), event(5, "a.b")], at(50)).await;
    worker.route_waiting(at(50)).await;
    let leased = worker.claim_of(at(51), 1).await.leased;
    store.delete(leaves.id(), at(52)).await.expect("delete");
    store.delete(webhook_id(1), at(52)).await.expect("delete");
    assert_eq!(settle(store, failed(&leased[0], at(90), at(53)), at(53)).await, Settled::Gone);
    let old = Sweep { expire_before: at(2), limit: 1, ..sweep(at(60)) };
    sweep_all(store, &old).await;
    let total = report(statistics, &always()).await.total;
    let ends = End::ALL.map(|end| total.ended_as(end));
    let all = all_deliveries(store).await;
    let of = |kind| all.iter().filter(|it| it.delivery.state.kind() == kind).count() as u64;
    let kinds =
        [StateKind::Delivered, StateKind::Exhausted, StateKind::Expired, StateKind::Cancelled];
    assert_eq!(ends, kinds.map(of));
    assert!(ends[2] > 0 && ends[3] > 0, "some expired and some were cancelled: {ends:?}");
    assert_eq!(total.attempts(), 1);
    equals_the_record(store).await;
}

/// Counts for two webhooks of each of two accounts and modes, and asks for each part.
pub(super) async fn counts_are_found_by_what_is_asked(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    let mut number = 0;
    for name in ["one", "two"] {
        for mode in [Mode::Live, Mode::Test] {
            for _ in 0..2 {
                number += 1;
                let of = |it: Registration| it.account(account(name)).mode(mode);
                put(store, &hook_of(number, &["order.*"], of), start()).await;
            }
            let event = event_of(number, "order.paid", account(name), mode);
            publish(store, &[event], at(number * 3_600)).await;
            settle_all(store, &worker.route(at(number * 3_600)).await.leased, at(number * 3_600))
                .await;
        }
    }
    let count = async |query: StatisticsQuery| report(statistics, &query).await.total.attempts();
    assert_eq!(count(always()).await, 8);
    assert_eq!(count(always().account(account("one"))).await, 4);
    assert_eq!(count(always().mode(Mode::Test)).await, 4);
    assert_eq!(count(always().account(account("two")).mode(Mode::Live)).await, 2);
    assert_eq!(count(always().webhook(webhook_id(3))).await, 1);
    let own = always().webhook(webhook_id(3)).account(account("one")).mode(Mode::Test);
    assert_eq!(count(own).await, 1);
    assert_eq!(count(always().webhook(webhook_id(3)).account(account("two"))).await, 0);
    assert_eq!(count(always().webhook(webhook_id(3)).mode(Mode::Live)).await, 0);
    assert_eq!(count(always().webhook(webhook_id(99))).await, 0);
    assert_eq!(count(always().account(account("three"))).await, 0);
    let between =
        |from: u64, to: u64| StatisticsQuery::new(at(from * 3_600), at(to * 3_600)).expect("hours");
    assert_eq!(count(between(2, 4)).await, 2, "the hour at the end is not wanted");
    assert_eq!(count(between(2, 5)).await, 4);
    assert_eq!(count(between(4, 6).account(account("two"))).await, 0);
}

/// Deletes the webhook, prunes its record and sweeps on, and asks again.
pub(super) async fn counts_outlive_what_they_tell_of(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, at(1)).await;
    settle(store, delivered(&leased, at(2)), at(2)).await;
    store.delete(leased.webhook.id(), at(3)).await.expect("delete");
    let before = report(statistics, &always()).await;
    assert_eq!(before.total.ended_as(End::Delivered), 1);
    let all = Sweep { prune_before: at(9_000), ..sweep(at(9_999)) };
    sweep_all(store, &all).await;
    for _ in 0..3 {
        store.sweep(&all).await.expect("sweep");
    }
    assert_eq!(all_deliveries(store).await, []);
    for query in
        [always(), always().webhook(leased.webhook.id()), always().account(Account::default())]
    {
        assert_eq!(report(statistics, &query).await, before);
    }
}

/// Forgets three hours of five, a few numbers at a time.
pub(super) async fn old_hours_are_forgotten_step_by_step(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let worker = Worker::start(store, 1, start()).await;
    for hour in 0..5 {
        for number in 1..=3 {
            let leased = leased_order(store, &worker, hour * 10 + number, at(hour * 3_600)).await;
            settle(store, delivered(&leased, at(hour * 3_600)), at(hour * 3_600)).await;
        }
    }
    let mut gone = 0;
    for _ in 0..100 {
        let some = statistics.forget(Hour::of(at(3 * 3_600)), 2).await.expect("forget");
        assert!(some <= 2, "{some} in one step of 2");
        gone += some;
        if some == 0 {
            break;
        }
    }
    assert_eq!(gone, 9, "three webhooks in three hours");
    let left = report(statistics, &always()).await;
    assert_eq!(
        left.hours.iter().map(|it| it.hour).collect::<Vec<_>>(),
        [3, 4].map(|it| Hour::of(at(it * 3_600)))
    );
    assert_eq!(left.total.attempts(), 6);
}

/// Walks at random through settlements of every kind, repetitions, late ones, reaps, deletions and
/// sweeps, over several hours, and recounts again and again.
pub(super) async fn counts_are_those_of_the_record(store: &dyn Storage) {
    if kept(store).is_none() {
        return;
    }
    let mut random = 7_u64;
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for number in 1..=4 {
        let ordered = number == 4 && store.exclusive();
        let of = |it: Registration| {
            if ordered { it.with(Edit::new().ordering(Ordering::PerObject)) } else { it }
        };
        put(store, &hook_of(number, &["order.*"], of), start()).await;
    }
    // A dispatcher lives for ten steps; what it had leased is reaped, and settled too late.
    let life = |step: u64| (at(step * 100), at(step * 100 + 1_000));
    let (mut events, mut late) = (0, Vec::new());
    let mut worker = Worker::until(store, 1, life(1).0, life(1).1).await;
    for step in 1..=160_u64 {
        let now = at(step * 100);
        if step % 10 == 1 && step > 1 {
            worker = Worker::until(store, step, life(step).0, life(step).1).await;
        }
        match draw(10) {
            0 => {
                let step =
                    Sweep { expire_before: at((step * 100).saturating_sub(6_000)), ..sweep(now) };
                sweep_all(store, &step).await;
            }
            _ if step == 100 || step == 130 => {
                store.delete(webhook_id(step / 50), now).await.expect("delete");
            }
            _ => {
                events += 2;
                orders(store, [events - 1, events], now).await;
            }
        }
        let mut leased = worker.route_all(|| worker.turn_of(now, 3)).await.leased;
        let turn = Turn { holds: 4, ..worker.turn_of(now, 4) };
        leased.extend(worker.claim_in(&turn).await.leased);
        let mut settlements = Vec::new();
        for one in &leased {
            let mut settlement = match draw(9) {
                0 => exhausted(one, now),
                1 => given_back(one, now),
                2..5 => failed(one, at(step * 100 + draw(3_000)), now),
                _ => delivered(one, now),
            };
            if let Some(attempt) = &mut settlement.attempt {
                attempt.latency = Duration::from_millis(draw(40) * draw(90) * 10);
                attempt.started = crate::ground::time::before(now, attempt.latency);
                if draw(4) == 0 && settlement.transition.next != Next::Delivered {
                    let kinds = FailureKind::ALL;
                    let kind = usize::try_from(draw(kinds.len() as u64)).expect("a place");
                    attempt.outcome = Outcome::Unanswered(kinds[kind]);
                }
            }
            match draw(8) {
                0 => late.push(settlement),
                1 => settlements.extend([settlement.clone(), settlement]),
                _ => settlements.push(settlement),
            }
        }
        if draw(3) == 0 && !late.is_empty() {
            let place = usize::try_from(draw(late.len() as u64)).expect("a place");
            settlements.push(late[place].clone());
        }
        store.settle(&settlements, now).await.expect("settle");
        if step % 40 == 0 {
            equals_the_record(store).await;
        }
    }
    equals_the_record(store).await;
}

/// Settles for the same webhook from two dispatchers at the same time.
pub(super) async fn concurrent_settlements_are_each_counted(store: &dyn Storage) {
    let Some(statistics) = kept(store) else { return };
    let workers = [Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await];
    registered(store, 1, &["order.*"]).await;
    for round in 0..20 {
        let now = at(round + 1);
        orders(store, round * 8 + 1..=round * 8 + 8, now).await;
        let mut leased = workers[0].route_all(|| workers[0].turn_of(now, 4)).await.leased;
        leased.extend(workers[1].claim(now).await.leased);
        assert_eq!(leased.len(), 8);
        let settlements: Vec<_> = leased.iter().map(|leased| delivered(leased, now)).collect();
        let (first, second) = settlements.split_at(4);
        let both = futures_util::future::join(store.settle(first, now), store.settle(second, now));
        let (one, two) = both.await;
        one.expect("settle");
        two.expect("settle");
    }
    assert_eq!(report(statistics, &always()).await.total.ended_as(End::Delivered), 160);
    equals_the_record(store).await;
}
