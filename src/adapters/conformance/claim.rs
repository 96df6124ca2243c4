//! [`claim`](crate::ports::storage::DeliveryQueue::claim): what is due, in order, within the
//! permits; and when the next call is worth while.

use super::fixtures::*;

/// A webhook with deliveries that wait until these seconds, and the ids in that order.
async fn due_at(
    store: &dyn Storage,
    worker: &Worker<'_>,
    webhook: u64,
    seconds: &[u64],
) -> Vec<DeliveryId> {
    let name = format!("lane.number{webhook}");
    registered(store, webhook, &[&name]).await;
    let numbers = (webhook * 10_000..).zip(seconds);
    let events: Vec<_> = numbers.map(|(number, _)| event(number, &name)).collect();
    publish(store, &events, start()).await;
    let leased = worker.route(start()).await.leased;
    assert_eq!(leased.len(), seconds.len(), "what a plain webhook is owed is born leased");
    let mut found = Vec::new();
    for (event, second) in events.iter().zip(seconds) {
        let leased = leased.iter().find(|leased| leased.event == *event).expect("its lease");
        settle(store, failed(leased, at(*second), start()), start()).await;
        found.push(leased.delivery.id);
    }
    found
}

/// Claims before, at and after the due time.
pub(super) async fn nothing_is_claimed_before_its_due_time(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let due = due_at(store, &worker, 1, &[60]).await;
    let next_due = worker.claims_nothing(at(1), "it is due a minute later").await;
    assert_eq!(next_due, Some(at(60)));
    worker.claims_nothing(at_millis(59_999), "it is due a millisecond later").await;
    let leased = worker.claim_one(at(60)).await;
    assert_eq!((leased.delivery.id, leased.delivery.attempt), (due[0], 2));
    assert_eq!((leased.delivery.failures, leased.probe), (1, false));
    assert_eq!(leased.failing_since, Some(start()), "the claim sees the lane");
    assert_eq!(view(store, due[0]).await.delivery, leased.delivery, "as listed, so answered");
}

/// Claims one by one from a lane whose deliveries became due in another order than they were made.
pub(super) async fn a_lane_is_claimed_in_due_order(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let due = due_at(store, &worker, 1, &[30, 10, 40, 20]).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let leased = worker.claim_of(at(60), 1).await.leased;
        assert_eq!(leased.len(), 1, "one permit, and something is due");
        order.push(leased[0].delivery.id);
    }
    assert_eq!(order, [due[1], due[3], due[0], due[2]], "what has been due for longest goes first");
}

/// Claims one by one from lanes that became ready in another order than their ids.
pub(super) async fn the_lane_that_was_ready_first_goes_first(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let mut lanes = Vec::new();
    for (webhook, second) in [(1, 30), (2, 10), (3, 40), (4, 20)] {
        lanes.push(due_at(store, &worker, webhook, &[second]).await[0]);
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(worker.claim_of(at(60), 1).await.leased.iter().map(|l| l.delivery.id));
    }
    assert_eq!(order, [lanes[1], lanes[3], lanes[0], lanes[2]], "longest ready first");
}

/// Reads `next_due` while the deliveries of three lanes are claimed one after the other.
pub(super) async fn next_due_is_the_least_moment_that_is_left(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    assert_eq!(worker.claim(start()).await.next_due, None, "there is nothing");
    due_at(store, &worker, 1, &[50, 20]).await;
    due_at(store, &worker, 2, &[30]).await;
    due_at(store, &worker, 3, &[40, 90]).await;
    for (now, leases, next) in [
        (10, 0, Some(20)),
        (20, 1, Some(30)),
        (35, 1, Some(40)),
        (40, 1, Some(50)),
        (60, 1, Some(90)),
        (90, 1, None),
    ] {
        let claimed = worker.claim(at(now)).await;
        assert_eq!(claimed.leased.len(), leases, "what is due at second {now}");
        assert_eq!(claimed.next_due, next.map(at), "next_due as of second {now}");
    }
}

/// Reads `next_due` when permits ran out: the time that has passed already.
pub(super) async fn next_due_is_in_the_past_when_permits_ran_out(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    due_at(store, &worker, 1, &[10, 20, 70]).await;
    let claimed = worker.claim_of(at(60), 0).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (0, Some(at(10))));
    let claimed = worker.claim_of(at(60), 1).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (1, Some(at(20))));
    let claimed = worker.claim_of(at(60), 1).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (1, Some(at(70))));
}

/// Makes a delivery wait in each of the ways there are, and reads `next_due` after each.
pub(super) async fn whatever_makes_a_delivery_wait_lowers_next_due(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let next = async |now, how: &str, expected| {
        let found = worker.claim_of(now, 0).await.next_due;
        assert_eq!(found, expected, "next_due after {how}");
    };
    let due = due_at(store, &worker, 1, &[900]).await;
    next(at(1), "a settlement", Some(at(900))).await;
    let name = "lane.number1";
    publish(store, &[event(1, name)], at(2)).await;
    worker.route_waiting(at(3)).await;
    next(at(4), "a route without permits", Some(at(3))).await;
    let leased = worker.claim_one(at(5)).await;
    next(at(6), "a claim", Some(at(900))).await;
    settle(store, given_back(&leased, at(7)), at(7)).await;
    next(at(8), "a lease given back", Some(at(7))).await;
    let leased = worker.claim_one(at(9)).await;
    settle(store, failed(&leased, at(800), at(10)), at(10)).await;
    next(at(11), "a failure", Some(at(800))).await;
    let owed = Owed { event: event_id(1), webhook: webhook_id(1), cause: cause(1) };
    store.enqueue(&[owed], at(12)).await.expect("enqueue");
    next(at(13), "an enqueue", Some(at(12))).await;
    let turn = worker.turn(at(14));
    assert_eq!(worker.claim_in(&turn).await.leased.len(), 1);
    worker.heartbeat(at(15), at(900), &[turn.ticket]).await;
    next(at(16), "an abandoned call", Some(at(15))).await;
    let other = Worker::until(store, 2, at(16), at(20)).await;
    other.claim_one(at(17)).await;
    next(at(18), "a claim by another", Some(at(800))).await;
    next(at(21), "a reap", Some(at(21))).await;
    let third = Worker::start(store, 3, at(22)).await;
    third.claim_one(at(22)).await;
    third.end(at(23)).await;
    next(at(24), "the end of a dispatcher", Some(at(23))).await;
    let one = event(2, "a.b");
    let call = [only(&one, webhook_id(1))];
    worker.claim_one(at(25)).await;
    store.append(&call, at(26)).await.expect("append");
    next(at(27), "an event for this webhook alone", Some(at(26))).await;
    assert_eq!(view(store, due[0]).await.delivery.state, State::Waiting { due: at(900) });
}

/// Claims with few permits, room and busy webhooks, over several lanes.
pub(super) async fn leases_never_exceed_the_permits(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    for webhook in 1..=4 {
        due_at(store, &worker, webhook, &[10; 12]).await;
    }
    let mut busy: HashMap<WebhookId, u32> = HashMap::from([(webhook_id(1), 3), (webhook_id(2), 9)]);
    let mut leased = Vec::new();
    for _ in 0..40 {
        let turn = Turn { total: 5, each: 9, busy: busy.clone(), ..worker.turn(at(20)) };
        let claimed = worker.claim_in(&turn).await;
        if claimed.leased.is_empty() {
            break;
        }
        for leased in &claimed.leased {
            *busy.entry(leased.delivery.webhook).or_default() += 1;
        }
        leased.extend(claimed.leased);
    }
    let counts = by_webhook(&leased);
    let count = |number| counts.get(&webhook_id(number)).copied().unwrap_or_default();
    let found = [1, 2, 3, 4].map(count);
    assert_eq!(found, [6, 0, 9, 9], "each webhook is served up to its room and not beyond");
    ids(&leased);
}

/// A webhook without room must not use up what others could have.
pub(super) async fn a_lane_without_room_does_not_hold_up_the_others(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    for webhook in 1..=30 {
        due_at(store, &worker, webhook, &[10; 3]).await;
    }
    due_at(store, &worker, 31, &[20; 3]).await;
    let busy = (1..=30).map(|number| (webhook_id(number), 2)).collect();
    let turn = Turn { total: 3, each: 2, busy, ..worker.turn(at(30)) };
    let leased = worker.claim_in(&turn).await.leased;
    let counts = by_webhook(&leased);
    assert_eq!(counts.get(&webhook_id(31)), Some(&2), "the lane that has room is served");
}

/// Two thousand due deliveries of one webhook, and one each of twenty that became due later.
pub(super) async fn a_long_lane_does_not_starve_the_others(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 30_001..=32_000, start()).await;
    let mut others = Vec::new();
    for webhook in 2..=21 {
        others.extend(due_at(store, &worker, webhook, &[10]).await);
    }
    let mut leased = HashSet::new();
    for _ in 0..10 {
        let claimed = worker.claim_of(at(20), 100).await;
        assert_eq!(claimed.leased.len(), 100, "there is enough for every permit");
        leased.extend(ids(&claimed.leased));
    }
    let served = others.iter().filter(|id| leased.contains(id)).count();
    assert_eq!(served, 20, "a few from each lane before more from any");
    assert_eq!(leased.len(), 1_000, "nothing is leased twice");
}

/// Claims with two dispatchers in turns, and again what is leased.
pub(super) async fn what_is_leased_is_not_claimed_again(store: &dyn Storage) {
    let workers = [Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await];
    waiting_orders(store, &workers[0], 1, 1..=40, start()).await;
    let mut leased = Vec::new();
    for round in 0..20 {
        leased.extend(workers[round % 2].claim_of(at(1), 3).await.leased);
    }
    assert_eq!(ids(&leased).len(), 40, "each delivery is leased once");
    for view in all_deliveries(store).await {
        let held = leased.iter().find(|leased| leased.delivery.id == view.delivery.id);
        assert_eq!(Some(&view.delivery), held.map(|leased| &leased.delivery));
    }
}

/// Claims for a dispatcher that is unknown, one that has expired and one that has ended.
pub(super) async fn only_a_living_dispatcher_claims(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, [1], start()).await;
    let expired = Worker::until(store, 2, at(1), at(10)).await;
    let ended = Worker::start(store, 3, at(1)).await;
    ended.end(at(2)).await;
    for (why, worker) in [
        ("unknown", Worker::unknown(store, 9)),
        ("dead from its last moment on", expired),
        ("ended", ended),
    ] {
        let answer = store.claim(&worker.turn(at(10))).await;
        refused(answer, ErrorKind::NotAlive, &format!("claim for a dispatcher that is {why}"));
    }
    assert_eq!(worker.claim_one(at(10)).await.delivery.attempt, 1, "nothing was leased");
}

/// Disables a webhook with deliveries waiting, and enables it again.
pub(super) async fn a_disabled_webhooks_deliveries_wait(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=4, start()).await;
    disabled(store, webhook.id(), at(1)).await;
    let next_due = worker.claims_nothing(at(2), "a disabled webhook gets nothing").await;
    assert_eq!(next_due, None, "the lane of a disabled webhook is not due");
    let enabled = enabled(store, webhook.id(), at(10)).await;
    let probe = worker.claim_one(at(10)).await;
    assert!(probe.probe, "the first one after enabling is a probe");
    assert_eq!(probe.failing_since, None, "it starts with a clean record");
    is_webhook(&probe, &enabled);
    worker.claims_nothing(at(11), "the probe is still out").await;
    settle(store, delivered(&probe, at(12)), at(12)).await;
    let rest = worker.claim(at(12)).await.leased;
    assert_eq!(rest.len(), 3, "the probe opened the lane");
    assert!(rest.iter().all(|leased| !leased.probe));
}

/// Enables a webhook for which nothing waits: its lane is plain.
pub(super) async fn enabling_an_empty_lane_needs_no_probe(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let mut settlement = paused(&leased, at(600), at(1));
    settlement.transition.next = Next::Exhausted;
    settle(store, settlement, at(1)).await;
    disabled(store, leased.webhook.id(), at(2)).await;
    enabled(store, leased.webhook.id(), at(3)).await;
    publish(store, &[event(2, "order.number1")], at(4)).await;
    let routed = worker.route(at(4)).await;
    assert_eq!(routed.leased.len(), 1, "enabling ends the pause of an empty lane");
    assert_eq!(routed.leased[0].failing_since, None, "and its stretch of failure");
}

/// Leaves an event unrouted, a delivery waiting, leased, paused and disabled, and one in a lane that is
/// free and then held. A store that does not tell passes.
pub(super) async fn the_oldest_due_is_found_where_it_is_told(store: &dyn Storage) {
    let oldest = async |now| store.oldest_due(now).await.expect("oldest_due");
    assert_eq!(oldest(at(100)).await, None, "there is nothing to do");
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(10)).await;
    if oldest(at(20)).await.is_none() {
        return;
    }
    assert_eq!(oldest(at(20)).await, Some(at(10)), "an event is not routed since its publish");
    assert_eq!(oldest(at(9)).await, None, "it is not yet published");
    worker.route_waiting(at(20)).await;
    assert_eq!(oldest(at(30)).await, Some(at(20)), "a delivery waits since it was routed");
    let leased = worker.claim_one(at(30)).await;
    assert_eq!(oldest(at(31)).await, None, "it is being sent");
    settle(store, paused(&leased, at(600), at(32)), at(32)).await;
    assert_eq!(oldest(at(599)).await, None, "its lane is paused");
    assert_eq!(oldest(at(601)).await, Some(at(600)), "the pause is over");
    disabled(store, webhook.id(), at(602)).await;
    assert_eq!(oldest(at(700)).await, None, "its webhook is disabled");
    if !store.exclusive() {
        return;
    }
    let limited = |it: Registration| it.with(Edit::new().concurrency(Some(1)));
    put(store, &hook_of(2, &["a.b"], limited), at(700)).await;
    publish(store, &[event(2, "a.b")], at(800)).await;
    worker.route_waiting(at(800)).await;
    assert_eq!(oldest(at(801)).await, Some(at(800)), "its lane is free to be taken");
    let turn = Turn { holds: 1, ..worker.turn(at(802)) };
    let claimed = worker.claim_in(&turn).await;
    assert_eq!(
        (claimed.held.len(), claimed.leased.len()),
        (1, 0),
        "taken, and not yet leased from"
    );
    assert_eq!(oldest(at(803)).await, Some(at(800)), "its lane is held");
}

/// Lets webhooks of two accounts and modes fail at different times, and one of them recover, one be disabled
/// and one be deleted. A store that does not tell passes.
pub(super) async fn who_fails_is_found_where_it_is_told(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let other = |it: Registration| it.account(account("other"));
    let test = |it: Registration| it.mode(Mode::Test);
    for webhook in [hook_of(6, &["*"], other), hook_of(7, &["*"], test)] {
        put(store, &webhook, start()).await;
    }
    for number in 1..=5 {
        registered(store, number, &["order.*"]).await;
    }
    orders(store, [1], at(1)).await;
    let strangers = [
        event_of(2, "order.paid", account("other"), Mode::Live),
        event_of(3, "order.paid", Account::default(), Mode::Test),
    ];
    publish(store, &strangers, at(1)).await;
    let leased = worker.route(at(2)).await.leased;
    assert_eq!(leased.len(), 7);
    for leased in &leased {
        let number = (1..=7).find(|number| webhook_id(*number) == leased.delivery.webhook);
        let now = at(20 - number.expect("a webhook"));
        let settlement = match number {
            Some(5) => delivered(leased, now),
            _ => failed(leased, at(900), now),
        };
        settle(store, settlement, now).await;
    }
    let found = async |account: Option<&Account>, mode, limit| {
        store.failing(account, mode, limit).await.expect("failing")
    };
    let all = found(None, None, 10).await;
    if all.is_empty() {
        return;
    }
    let since = |number: u64| (webhook_id(number), at(20 - number));
    assert_eq!(all, [7, 6, 4, 3, 2, 1].map(since), "the longest first");
    assert_eq!(found(None, None, 2).await, [7, 6].map(since), "no more than are asked for");
    assert_eq!(found(Some(&account("other")), None, 9).await, [since(6)]);
    assert_eq!(found(Some(&Account::default()), Some(Mode::Live), 9).await.len(), 4);
    assert_eq!(found(None, Some(Mode::Test), 9).await, [since(7)]);
    assert_eq!(found(Some(&account("nobody")), None, 9).await, []);
    disabled(store, webhook_id(4), at(30)).await;
    store.delete(webhook_id(3), at(31)).await.expect("delete");
    let leased = worker.claim(at(901)).await.leased;
    let second = leased.iter().find(|leased| leased.delivery.webhook == webhook_id(2));
    settle(store, delivered(second.expect("a second try"), at(902)), at(902)).await;
    let left = found(Some(&Account::default()), Some(Mode::Live), 9).await;
    assert_eq!(left, [since(1)], "it neither recovered, nor was disabled, nor is it gone");
}
