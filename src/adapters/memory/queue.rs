//! Work for dispatchers: route, claim, and signs of life.

use std::collections::BTreeSet;

use super::marks::Mark;
use super::state::{Dispatcher, State};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::Delivery;
use crate::ground::error::Result;
use crate::ground::id::{Cause, DeliveryId, WebhookId};
use crate::ground::policy::{CLAIM_FEW, CLAIM_LOOKS, ROUTE_FEW};
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
                let key = hook.is_ordered().then(|| event.order_key());
                turn.route(&mut delivery, &event, webhook, &mut hook.lane, routed);
                self.add(delivery, number, key);
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
        let mut claimed = Claimed::default();
        self.hold(&turn, &mut claimed);
        let own = self.held_ready(&turn);
        // Each plain lane that is ready gives at least one, so as many lanes as permits are enough.
        let plain = self.ready.iter().filter(|(_, webhook)| turn.room(*webhook) > 0);
        let plain = plain.take(usize::try_from(turn.total).unwrap_or(usize::MAX)).copied();
        let mut lanes: Vec<(Timestamp, WebhookId)> =
            plain.chain(own).filter(|(at, _)| *at <= now).collect();
        lanes.sort_unstable();
        while turn.total > 0 && !lanes.is_empty() {
            lanes.retain(|(_, webhook)| self.claim_few(*webhook, &mut turn, &mut claimed.leased));
        }
        let others = [self.ready.first(), self.free.first()].into_iter().flatten().copied();
        claimed.next_due = others.chain(self.held_ready(&turn)).map(|(at, _)| at).min();
        Ok(claimed)
    }

    /// Rule 8: gives lanes back, tells what became of the others, and takes free ones.
    fn hold(&mut self, turn: &Turn, claimed: &mut Claimed) {
        let own = self.held.get(&turn.dispatcher).cloned().unwrap_or_default();
        for id in &own {
            let Some(held) = turn.held.get(id) else {
                self.with_hook(*id, |hook| hook.lane.release());
                continue;
            };
            let webhook = self.hooks.get(id).and_then(|hook| hook.webhook.clone());
            claimed.held.extend(webhook.filter(|webhook| webhook.version() != held.version));
        }
        claimed.lost = turn.held.keys().filter(|id| !own.contains(*id)).copied().collect();
        claimed.lost.sort_unstable();
        let leases = self.dispatchers.values().flat_map(|dispatcher| &dispatcher.leases);
        let leases = leases.filter_map(|(_, id)| self.deliveries.get(id));
        let leased: BTreeSet<WebhookId> = leases.map(|row| row.delivery.webhook).collect();
        let is_over = |id: &WebhookId| {
            let hook = self.hooks.get(id);
            hook.is_some_and(|hook| hook.lane.held_until.is_none()) || !leased.contains(id)
        };
        let free = self.free.iter().take_while(|(at, _)| *at <= turn.now);
        let free = free.map(|(_, webhook)| *webhook).filter(is_over);
        let free: Vec<WebhookId> = free.take(turn.holds).collect();
        for id in free {
            let webhook = self.with_hook(id, |hook| {
                hook.lane.take(turn.dispatcher, turn.now);
                hook.webhook.clone()
            });
            claimed.held.extend(webhook.flatten());
        }
    }

    /// The lanes that this turn's dispatcher holds and from which more may be leased, with the
    /// moment from which on.
    fn held_ready(&self, turn: &Turn) -> Vec<(Timestamp, WebhookId)> {
        let own = self.held.get(&turn.dispatcher).into_iter().flatten();
        let ready = own.filter_map(|id| {
            let hook = self.hooks.get(id)?;
            let version = hook.enabled()?.version();
            let at = hook.lane.ready_at()?;
            (turn.held_room(*id, version) > 0).then_some((at, *id))
        });
        ready.collect()
    }

    /// The earliest publish that is not routed, or moment at which a lane was ready.
    pub(super) fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        let free = [self.ready.first(), self.free.first()].into_iter().flatten().map(|(at, _)| *at);
        let held = self.held.values().flatten().filter_map(|id| {
            let hook = self.hooks.get(id)?;
            hook.enabled().and(hook.lane.ready_at())
        });
        let marked = self.marks.firsts().filter_map(|number| self.events.get(&number));
        let marked = marked.map(|kept| kept.published);
        free.chain(held).chain(marked).filter(|at| *at <= now).min()
    }

    pub(super) fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Vec<(WebhookId, Timestamp)> {
        let failing = self.hooks.values().filter_map(|hook| {
            let webhook = hook.enabled()?;
            let meant = account.is_none_or(|account| webhook.account() == account)
                && mode.is_none_or(|mode| webhook.mode() == mode);
            Some((hook.lane.failing_since.filter(|_| meant)?, webhook.id()))
        });
        let mut failing: Vec<_> = failing.collect();
        failing.sort_unstable();
        failing.into_iter().take(limit).map(|(since, id)| (id, since)).collect()
    }

    /// The first delivery in a lane that stands behind no other of its key. Those before it are
    /// taken out of the lane.
    fn first(&mut self, webhook: WebhookId) -> Option<DeliveryId> {
        for _ in 0..CLAIM_LOOKS {
            let hook = self.hooks.get(&webhook)?;
            let (_, id) = *hook.waiting.first()?;
            let key = self.deliveries.get(&id)?.key.filter(|_| hook.is_ordered());
            if key.is_none_or(|key| hook.first(key) == Some(id)) {
                return Some(id);
            }
            self.park(id);
        }
        None
    }

    /// Leases a few deliveries of one lane. Says whether there may be more to lease.
    fn claim_few(&mut self, webhook: WebhookId, turn: &mut Turn, leased: &mut Vec<Leased>) -> bool {
        for _ in 0..CLAIM_FEW {
            let first = self.first(webhook);
            let Some(row) = first.and_then(|id| self.deliveries.get(&id)) else {
                return false;
            };
            let Some(hook) = self.hooks.get_mut(&webhook) else {
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
        let ends = self.dispatchers.iter().filter(|(_, dispatcher)| dead(dispatcher));
        let ends: Vec<_> = ends.map(|(id, dispatcher)| (*id, dispatcher.alive_until)).collect();
        for (id, ended) in ends {
            self.dispatchers.remove(&id);
            for webhook in self.held.get(&id).cloned().unwrap_or_default() {
                self.with_hook(webhook, |hook| hook.lane.bereave(ended));
            }
        }
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
        let mut leased = BTreeSet::new();
        for id in back {
            self.change(id, |delivery| {
                leased.insert(delivery.webhook);
                delivery.abandon(now);
            });
        }
        if ends {
            self.dispatchers.remove(&heartbeat.dispatcher);
            for id in self.held.get(&heartbeat.dispatcher).cloned().unwrap_or_default() {
                let leased = leased.contains(&id);
                self.with_hook(id, |hook| heartbeat.frees_lane(&mut hook.lane, leased));
            }
        }
        if known { Alive::Known } else { Alive::New }
    }
}
