//! The agents' side: scheduled checks, answers to rounds, and what is sent of them.

use std::time::Duration;

use model::Timestamp;

use super::{Occurrence, Simulation, dated, due_at};
use crate::check::{self, Finding};
use crate::network::Agent;
use crate::random::Source;
use crate::span::Span;

impl Simulation<'_> {
    /// An agent answers a round: two attempts, a second apart, unless the first settles it before.
    pub(super) fn answer(&mut self, monitor: usize, rank: usize, agent: usize, round: u32) {
        let world = self.world;
        let (subject, agent) = (&world.monitors[monitor], &world.network.agents[agent]);
        let known = &mut self.watched[monitor].rounds[agent.number];
        if *known == round || agent.processes.at(self.now).is_none() {
            return;
        }
        *known = round;
        let source = |attempt| check::of_round(subject, agent, round, attempt);
        let second_at = self.now.plus(Duration::from_secs(1));
        let first = check::attempt(world, subject, rank, agent, self.now, source(1));
        let is_settled = first.is_some_and(|first| first.what.is_settled() && first.ended_at() <= second_at);
        if let Some(first) = first {
            self.found(monitor, rank, agent, first, true, source(1));
        }
        if !is_settled && let Some(second) = check::attempt(world, subject, rank, agent, second_at, source(2))
        {
            self.found(monitor, rank, agent, second, true, source(2));
        }
    }

    pub(super) fn wake(&mut self, monitor: usize) {
        if self.watched[monitor].is_napping {
            self.end_nap(monitor);
        }
        if self.nap(monitor) {
            return;
        }
        let world = self.world;
        for rank in 0..world.monitors[monitor].places.len() {
            let subject = &world.monitors[monitor];
            let slot = self.watched[monitor].next_slots[rank];
            let due_at = due_at(subject, rank, slot);
            if due_at > self.now {
                continue;
            }
            self.watched[monitor].next_slots[rank] += 1;
            let place = &subject.places[rank];
            for agent in world.network.of_region(place.region) {
                let starts_at = due_at.plus(agent.lag);
                if agent.is_on_duty(place.preferred, starts_at) {
                    self.check(monitor, rank, agent, starts_at, slot);
                }
            }
        }
        self.wake_at_next_check(monitor);
    }

    pub(super) fn wake_at_next_check(&mut self, monitor: usize) {
        let subject = &self.world.monitors[monitor];
        let watched = &mut self.watched[monitor];
        watched.generation += 1;
        let next =
            watched.next_slots.iter().enumerate().map(|(rank, slot)| due_at(subject, rank, *slot)).min();
        let generation = watched.generation;
        if let Some(at) = next {
            self.push(at, Occurrence::Wake { monitor, generation });
        }
    }

    /// A scheduled check.
    pub(super) fn check(
        &mut self,
        monitor: usize,
        rank: usize,
        agent: &Agent,
        starts_at: Timestamp,
        slot: i64,
    ) {
        let world = self.world;
        let subject = &world.monitors[monitor];
        let source = check::of_slot(subject, agent, slot);
        let Some(finding) = check::attempt(world, subject, rank, agent, starts_at, source) else { return };
        let slow_after = subject.places[rank].slow_after;
        if finding.duration > slow_after {
            let told_at = starts_at.plus(slow_after);
            // Nobody is told of it later.
            if agent.sessions.at(told_at).is_some()
                && let Some(delivery) = world.network.delivery(agent, told_at, true, source.of(20))
                && delivery.at.since(told_at) < Duration::from_secs(15)
            {
                let dated = starts_at.plus(delivery.at.since(delivery.sent_at));
                self.push(delivery.at, Occurrence::Slow { monitor, rank, dated });
            }
        }
        let is_news = self.watched[monitor].seen[agent.number] != Some(finding.what);
        self.found(monitor, rank, agent, finding, is_news || finding.what.is_failure(), source);
    }

    /// An agent has found something and sends it.
    fn found(
        &mut self,
        monitor: usize,
        rank: usize,
        agent: &Agent,
        finding: Finding,
        urgent: bool,
        source: Source,
    ) {
        self.watched[monitor].seen[agent.number] = Some(finding.what);
        self.note_failure(monitor, agent, finding);
        let Some(delivery) = self.world.network.delivery(agent, finding.ended_at(), urgent, source.of(30))
        else {
            return;
        };
        self.messages += 1;
        let result = |at: Timestamp, dated| {
            (at, Occurrence::Result { monitor, rank, agent: agent.number, finding, dated })
        };
        // Dated by receipt minus the age at sending: by the true start plus the time on the way.
        let dated = dated(agent, finding, delivery.sent_at, delivery.at);
        let (at, occurrence) = result(delivery.at, dated);
        self.push(at, occurrence);
        if let Some(again) = delivery.again {
            let (at, occurrence) = result(again, dated);
            self.push(at, occurrence);
        }
    }

    /// Notes the first failing check of an outage that the coordinator could hear of.
    fn note_failure(&mut self, monitor: usize, agent: &Agent, finding: Finding) {
        let end = finding.ended_at();
        let subject = &self.world.monitors[monitor];
        if !finding.what.is_failure() || subject.target.troubles.at(finding.started_at).is_none() {
            return;
        }
        let whole = Span { from: finding.started_at, to: end.plus(Duration::from_secs(1)) };
        let heard = agent.faults.within(whole).next().is_none()
            && agent.sessions.at(finding.started_at).is_some_and(|(session, ())| end < session.to)
            && self.world.network.coordinator.within(whole).next().is_none();
        let trouble = subject.target.troubles.iter().position(|(span, _)| span.contains(finding.started_at));
        let window = subject.windows.planned.at(end).map(|(window, ())| *window);
        // What fails in maintenance is asked about at its end, if it fails then.
        let lasts = |window: Span| subject.target.troubles.at(window.to).is_some();
        if window.is_some_and(|window| !lasts(window)) {
            return;
        }
        let end = window.map_or(end, |window| window.to);
        if let (true, Some(trouble)) = (heard, trouble) {
            let first = &mut self.watched[monitor].first_failures[trouble];
            *first = Some(first.map_or(end, |first| first.min(end)));
        }
    }
}
