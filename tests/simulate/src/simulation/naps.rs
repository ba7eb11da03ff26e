//! Naps: a monitor to which nothing happens sleeps until something may.
//!
//! Exact, because it is known beforehand which checks will be lost or slow, when agents, targets and the coordinator will
//! be in trouble, and because the machine of a monitor that is up keeps nothing of a pass but the newest.

use std::time::Duration;

use engine::monitor::{Phase, Status};
use model::Timestamp;

use super::{Occurrence, Pace, Simulation, dated, due_at, slot};
use crate::check::{self, What};
use crate::network::Agent;
use crate::span::Span;
use crate::world::{Monitor, World};

impl Simulation<'_> {
    /// Lets a monitor to which nothing happens sleep until something may. Says whether it does.
    pub(super) fn nap(&mut self, monitor: usize) -> bool {
        if self.pace == Pace::EveryCheck || self.now < self.watched[monitor].restless_until {
            return false;
        }
        let world = self.world;
        let subject = &world.monitors[monitor];
        let Some(calm_until) = self.calm_until(monitor) else { return false };
        if !self.is_at_rest(monitor) {
            return false;
        }
        let mut until = calm_until;
        for rank in 0..subject.places.len() {
            let Some(agent) = on_duty(world, subject, rank, self.now) else { return false };
            if self.watched[monitor].seen[agent.number] != Some(What::Pass) {
                return false;
            }
            let mut slot = self.watched[monitor].next_slots[rank];
            loop {
                let due_at = due_at(subject, rank, slot);
                if due_at >= until {
                    break;
                }
                if !check::is_ordinary(world, check::of_slot(subject, agent, slot)) {
                    until = due_at;
                    break;
                }
                slot += 1;
            }
        }
        if until < self.now.plus(subject.policy.interval) {
            return false;
        }
        let watched = &mut self.watched[monitor];
        watched.is_napping = true;
        watched.generation += 1;
        let generation = watched.generation;
        self.push(until, Occurrence::Wake { monitor, generation });
        true
    }

    /// Until when nothing happens to a monitor's agents and target; `None`: something does.
    fn calm_until(&mut self, monitor: usize) -> Option<Timestamp> {
        const MARGIN: Duration = Duration::from_secs(30);
        let now = self.now;
        let world = self.world;
        let subject = &world.monitors[monitor];
        let mut until = world.end;
        let mut restless = None;
        let near = Span { from: now.minus(MARGIN), to: now.plus(MARGIN) };
        for troubles in subject.target.concerns() {
            if let Some((span, _)) = troubles.within(near).last() {
                restless = restless.max(Some(span.to.plus(MARGIN)));
            }
            if let Some((next, _)) = troubles.next(now) {
                until = until.min(next.from.minus(MARGIN));
            }
        }
        for place in &subject.places {
            let disturbed = &world.network.disturbed[place.region];
            if let Some((span, ())) = disturbed.at(now) {
                restless = restless.max(Some(span.to));
            }
            if let Some((next, ())) = disturbed.next(now) {
                until = until.min(next.from);
            }
        }
        match restless {
            Some(end) => {
                self.watched[monitor].restless_until = end;
                None
            }
            None => Some(until),
        }
    }

    /// Whether every region has just passed and nothing is open.
    fn is_at_rest(&self, monitor: usize) -> bool {
        let policy = &self.world.monitors[monitor].policy;
        let state = self.shard.state(monitor);
        let recent = self.now.minus(policy.interval + Duration::from_secs(15));
        state.status() == Status::Up
            && state.phase() == Phase::Steady
            && state.unverified_since().is_none()
            && state.regions().all(|region| {
                region.live
                    && region.vote.as_ref().is_some_and(|vote| vote.is_pass() && vote.started_at >= recent)
            })
    }

    /// Takes each region's newest pass; what is still on its way arrives later.
    pub(super) fn end_nap(&mut self, monitor: usize) {
        self.watched[monitor].is_napping = false;
        let (world, now) = (self.world, self.now);
        let subject = &world.monitors[monitor];
        for rank in 0..subject.places.len() {
            let Some(agent) = on_duty(world, subject, rank, now) else { continue };
            let first = self.watched[monitor].next_slots[rank];
            let mut next = first.max(slot(subject, rank, now));
            if due_at(subject, rank, next) < now {
                next += 1;
            }
            self.watched[monitor].next_slots[rank] = next;
            for slot in (first..next).rev() {
                let source = check::of_slot(subject, agent, slot);
                let starts_at = due_at(subject, rank, slot).plus(agent.lag);
                let Some(finding) = check::attempt(world, subject, rank, agent, starts_at, source) else {
                    continue;
                };
                let Some(delivery) = world.network.delivery(agent, finding.ended_at(), false, source.of(30))
                else {
                    continue;
                };
                let dated = dated(agent, finding, delivery.sent_at, delivery.at);
                if delivery.at <= now {
                    let event = check::observed(subject, rank, agent.number, finding, dated);
                    self.shard.refresh(monitor, &event, delivery.at, now);
                    break;
                }
                let agent = agent.number;
                self.push(delivery.at, Occurrence::Result { monitor, rank, agent, finding, dated });
            }
        }
        self.schedule(monitor);
    }

    /// Ends all naps: something happens that concerns everybody.
    pub(super) fn wake_all(&mut self) {
        for monitor in 0..self.watched.len() {
            if self.watched[monitor].is_napping {
                self.end_nap(monitor);
                self.wake_at_next_check(monitor);
            }
        }
    }
}

/// The agent that checks on schedule.
fn on_duty<'w>(world: &'w World, monitor: &Monitor, rank: usize, at: Timestamp) -> Option<&'w Agent> {
    let place = &monitor.places[rank];
    world.network.of_region(place.region).iter().find(|agent| agent.is_on_duty(place.preferred, at))
}
