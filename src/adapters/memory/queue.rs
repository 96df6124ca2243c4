//! Work for dispatchers: route, claim, and signs of life.

use std::collections::BTreeSet;

use super::marks::Mark;
use super::state::{Dispatcher, State};
use crate::ground::account::Account;
use crate::ground::delivery::Delivery;
use crate::ground::error::Result;
use crate::ground::id::{Cause, DeliveryId, WebhookId};
use crate::ground::policy::{CLAIM_FEW, ROUTE_FEW};
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Alive, Claimed, Heartbeat, Leased, Routed, Turn};

impl State {
    pub(super) fn route(&mut self, turn: &Turn, now: Timestamp) -> Result<Routed> {
        let mut turn = Turn { now, ..turn.clone() };
        self.check_alive(&turn)?;
        let mut routed = Routed::default();
        let (mut marks, mut room) = (turn.marks, turn.deliveries);
        while marks > 0
            && room > 0
            && let Some(account) = self.marks.next_account()
        {
            for _ in 0..ROUTE_FEW.min(marks) {
                let Some(mark) = self.marks.first(&account).filter(|_| room > 0) else {
                    break;
                };
                marks -= 1;
                self.route_one(&account, mark, &mut room, &mut turn, &mut routed);
            }
        }
        routed.more = !self.marks.is_empty();
        Ok(routed)
    }

    /// Routes the first mark of `account`, as far as there is room for deliveries.
    fn route_one(
        &mut self,
        account: &Account,
        mark: Mark,
        room: &mut usize,
        turn: &mut Turn,
        routed: &mut Routed,
    ) {
        let number = mark.number;
        let Some(kept) = self.events.get(&number) else {
            return self.marks.done(account);
        };
        let (event, published) = (kept.event.clone(), kept.published);
        let webhooks = self.spans.wanting(&event, number, mark.cursor);
        if webhooks.is_empty() && mark.cursor.is_none() {
            routed.unmatched += 1;
        }
        let mut last = mark.cursor;
        for webhook in webhooks {
            let now = turn.now;
            let mut delivery = Delivery::owed(event.id(), webhook, Cause::ROUTED, published, now);
            let made = self.deliveries.contains_key(&delivery.id);
            if let Some(hook) = self.hooks.get_mut(&webhook).filter(|_| !made) {
                if *room == 0 {
                    if let Some(last) = last {
                        self.marks.pause(account, last);
                    }
                    return;
                }
                *room -= 1;
                let webhook = hook.webhook.clone();
                turn.route(&mut delivery, &event, webhook, &mut hook.lane, routed);
                self.add(delivery, number);
            }
            last = Some(webhook);
        }
        self.marks.done(account);
        if let Some(kept) = self.events.get_mut(&number) {
            kept.marked = false;
        }
    }

    pub(super) fn claim(&mut self, turn: &Turn, now: Timestamp) -> Result<Claimed> {
        let mut turn = Turn { now, ..turn.clone() };
        self.check_alive(&turn)?;
        self.reap(now);
        let mut leased = Vec::new();
        // Each lane that is ready gives at least one, so as many lanes as permits are enough.
        let mut lanes: Vec<WebhookId> = self
            .ready
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, webhook)| *webhook)
            .filter(|webhook| turn.room(*webhook) > 0)
            .take(usize::try_from(turn.total).unwrap_or(usize::MAX))
            .collect();
        while turn.total > 0 && !lanes.is_empty() {
            lanes.retain(|webhook| self.claim_few(*webhook, &mut turn, &mut leased));
        }
        let next_due = self.ready.first().map(|(at, _)| *at);
        Ok(Claimed { leased, next_due, ..Claimed::default() })
    }

    /// Leases a few deliveries of one lane. Says whether there may be more to lease.
    fn claim_few(&mut self, webhook: WebhookId, turn: &mut Turn, leased: &mut Vec<Leased>) -> bool {
        for _ in 0..CLAIM_FEW {
            let Some(hook) = self.hooks.get_mut(&webhook) else {
                return false;
            };
            let first = hook.waiting.first().and_then(|(_, id)| self.deliveries.get(id));
            let Some(row) = first else {
                return false;
            };
            let (mut delivery, arc) = (row.delivery.clone(), hook.webhook.clone());
            let lease = turn.claim(&mut delivery, &row.event, arc, &mut hook.lane);
            let Some(lease) = lease else {
                return false;
            };
            self.change(delivery.id, |stored| *stored = delivery);
            let probe = lease.probe;
            leased.push(lease);
            if probe {
                return false;
            }
        }
        true
    }

    /// Rule 6: leases are given to the living only, and not to calls that were given up.
    fn check_alive(&self, turn: &Turn) -> Result<()> {
        let found = self.dispatchers.get(&turn.dispatcher);
        turn.check(found.map(|found| (found.alive_until, found.abandoned.contains(&turn.ticket))))
    }

    /// Forgets the dispatchers that gave no sign of life in time. What they had leased goes back.
    fn reap(&mut self, now: Timestamp) {
        let dead = |dispatcher: &Dispatcher| dispatcher.alive_until <= now;
        let leases: Vec<DeliveryId> = self
            .dispatchers
            .values()
            .filter(|dispatcher| dead(dispatcher))
            .flat_map(|dispatcher| dispatcher.leases.iter().map(|(_, id)| *id))
            .collect();
        self.dispatchers.retain(|_, dispatcher| !dead(dispatcher));
        for id in leases {
            self.change(id, |delivery| delivery.reap(now));
        }
    }

    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Timestamp) -> Alive {
        let until = to_millis(heartbeat.until);
        let known = self.dispatchers.contains_key(&heartbeat.dispatcher);
        let dispatcher = self.dispatchers.entry(heartbeat.dispatcher).or_insert(Dispatcher {
            alive_until: until,
            abandoned: BTreeSet::new(),
            leases: BTreeSet::new(),
        });
        // A call that comes late does not shorten what a later one has promised.
        dispatcher.alive_until = dispatcher.alive_until.max(until);
        dispatcher.abandoned.extend(&heartbeat.abandoned);
        let ends = until <= now;
        let back: Vec<DeliveryId> = dispatcher
            .leases
            .iter()
            .filter(|(ticket, _)| ends || dispatcher.abandoned.contains(ticket))
            .map(|(_, id)| *id)
            .collect();
        for id in back {
            self.change(id, |delivery| delivery.abandon(now));
        }
        if ends {
            self.dispatchers.remove(&heartbeat.dispatcher);
        }
        if known { Alive::Known } else { Alive::New }
    }
}
