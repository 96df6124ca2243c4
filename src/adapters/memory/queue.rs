//! Work for dispatchers: route, claim, and signs of life.

use std::collections::{BTreeSet, HashMap};

use super::marks::Mark;
use super::state::{Dispatcher, State};
use crate::ground::account::Account;
use crate::ground::delivery::Delivery;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::id::{Cause, DeliveryId, WebhookId};
use crate::ground::lane::Readiness;
use crate::ground::policy::{CLAIM_FEW, ROUTE_FEW};
use crate::ground::time::{Timestamp, after, to_millis};
use crate::ports::storage::{Alive, Claimed, Heartbeat, Leased, Routed, Turn};

/// The permits of one call.
struct Permits<'a> {
    turn: &'a Turn,
    left: u32,
    given: HashMap<WebhookId, u32>,
}

impl<'a> Permits<'a> {
    fn new(turn: &'a Turn) -> Self {
        Self {
            turn,
            left: turn.total,
            given: HashMap::new(),
        }
    }

    /// Takes one for a delivery of `webhook`, if there is one.
    fn take(&mut self, webhook: WebhookId) -> bool {
        let given = self.given.entry(webhook).or_default();
        let free = self.left > 0 && *given < self.turn.room(webhook);
        if free {
            self.left -= 1;
            *given += 1;
        }
        free
    }
}

impl State {
    pub(super) fn route(&mut self, turn: &Turn, now: Timestamp) -> Result<Routed> {
        self.check_alive(turn, now)?;
        let mut routed = Routed::default();
        let mut permits = Permits::new(turn);
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
                self.route_one(&account, mark, &mut room, &mut permits, now, &mut routed);
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
        permits: &mut Permits<'_>,
        now: Timestamp,
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
            let mut delivery = Delivery::owed(event.id(), webhook, Cause::ROUTED, published, now);
            let hook = self.hooks.get(&webhook);
            if let Some(hook) = hook.filter(|_| !self.deliveries.contains_key(&delivery.id)) {
                if *room == 0 {
                    if let Some(last) = last {
                        self.marks.pause(account, last);
                    }
                    return;
                }
                *room -= 1;
                let failing_since = hook.lane.failing_since;
                let plain = hook.enabled().filter(|_| hook.lane.is_plain()).cloned();
                if let Some(webhook) = plain.filter(|_| permits.take(webhook)) {
                    delivery.lease(permits.turn.dispatcher, permits.turn.ticket);
                    routed.leased.push(Leased {
                        delivery: delivery.clone(),
                        event: event.clone(),
                        webhook,
                        failing_since,
                        probe: false,
                    });
                } else {
                    routed.waiting += 1;
                }
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
        self.check_alive(turn, now)?;
        self.reap(now);
        let mut permits = Permits::new(turn);
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
        while permits.left > 0 && !lanes.is_empty() {
            lanes.retain(|webhook| self.claim_few(*webhook, &mut permits, now, &mut leased));
        }
        Ok(Claimed {
            leased,
            next_due: self.ready.first().map(|(at, _)| *at),
        })
    }

    /// Leases a few deliveries of one lane. Says whether there may be more to lease.
    fn claim_few(
        &mut self,
        webhook: WebhookId,
        permits: &mut Permits<'_>,
        now: Timestamp,
        leased: &mut Vec<Leased>,
    ) -> bool {
        for _ in 0..CLAIM_FEW {
            let Some(hook) = self.hooks.get_mut(&webhook) else {
                return false;
            };
            let readiness = hook.lane.readiness(now);
            let (Some(arc), Some((_, id))) = (hook.enabled().cloned(), hook.waiting.first()) else {
                return false;
            };
            if readiness == Readiness::NotReady || !permits.take(webhook) {
                return false;
            }
            let (id, failing_since) = (*id, hook.lane.failing_since);
            let probe = readiness == Readiness::Probe;
            if probe {
                hook.lane.probe(after(now, permits.turn.probe));
            }
            self.change(id, |delivery| {
                delivery.lease(permits.turn.dispatcher, permits.turn.ticket);
            });
            if let Some(row) = self.deliveries.get(&id) {
                let (delivery, event) = (row.delivery.clone(), row.event.clone());
                leased.push(Leased {
                    delivery,
                    event,
                    webhook: arc,
                    failing_since,
                    probe,
                });
            }
            if probe {
                return false;
            }
        }
        true
    }

    /// Rule 6: leases are given to the living only, and not to calls that were given up.
    fn check_alive(&self, turn: &Turn, now: Timestamp) -> Result<()> {
        let alive = self
            .dispatchers
            .get(&turn.dispatcher)
            .is_some_and(|dispatcher| {
                dispatcher.alive_until > now && !dispatcher.abandoned.contains(&turn.ticket)
            });
        if alive {
            return Ok(());
        }
        let message = format!(
            "dispatcher {} is not alive, or gave this call up",
            turn.dispatcher
        );
        Err(Error::new(ErrorKind::NotAlive, message))
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
        let dispatcher = self
            .dispatchers
            .entry(heartbeat.dispatcher)
            .or_insert(Dispatcher {
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
