//! The oracle: it knows the truth and compares what the coordinator said.
//!
//! * An incident is **false** when its target has not failed for longer than evidence may be on its way.
//! * A recovery is false when the target is away all the time before and after it.
//! * An outage **must be found** when at least two intervals of it lie outside the coordinator's absences.
//! * **Detection** counts from the end of the first failing check that an honest agent with a session reported, and only
//!   where the coordinator was there from a minute before until the incident opened.
//! * **Reset** counts from the target's return to the resolution.

use std::time::Duration;

use model::Timestamp;

use crate::closed_form;
use crate::fault::Absence;
use crate::scenario::{Fleet, Scenario};
use crate::simulation::{Outcome, Story};
use crate::span::{Calendar, START, Span};
use crate::target::LAST_EVIDENCE;
use crate::world::{Monitor, World};

/// The intervals whose detection is told apart.
pub const INTERVALS: [u64; 3] = [30, 300, 3_600];
/// Agents need so long after an absence to be back.
const RETURN: Duration = Duration::from_secs(60);

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Time that monitors were watched, in seconds.
    pub monitor_secs: f64,
    /// Outages of at least two intervals.
    pub outages: u64,
    /// Of these, found.
    pub found: u64,
    /// Incidents that had no reason, and how many the closed form expects.
    pub false_incidents: u64,
    /// Expected by arithmetic; 0 where none are.
    pub expected: f64,
    /// Resolutions while the target was away.
    pub false_recoveries: u64,
    /// Detection by interval, in milliseconds.
    pub detection: [Vec<u32>; 3],
    /// Detection while a region of the monitor was faulty, in milliseconds.
    pub amid_faults: Vec<u32>,
    /// Reset, in milliseconds.
    pub reset: Vec<u32>,
    /// What went wrong, to be looked at.
    pub violations: Vec<Violation>,
    /// Events handled.
    pub events: u64,
    /// Rounds of questions.
    pub rounds: u64,
    /// Scheduled checks.
    pub checks: f64,
}

/// One thing that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In the world of this seed.
    pub seed: u64,
    /// To this monitor.
    pub monitor: usize,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Wrong,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An incident without reason.
    FalseIncident,
    /// A resolution without reason.
    FalseRecovery,
    /// An outage without incident.
    Missed,
    /// Detected later than timeout + 2 s.
    Late,
}

impl Figures {
    /// Adds another world's.
    pub fn add(&mut self, other: Self) {
        self.monitor_secs += other.monitor_secs;
        self.outages += other.outages;
        self.found += other.found;
        self.false_incidents += other.false_incidents;
        self.expected += other.expected;
        self.false_recoveries += other.false_recoveries;
        for (mine, theirs) in self.detection.iter_mut().zip(other.detection) {
            mine.extend(theirs);
        }
        self.amid_faults.extend(other.amid_faults);
        self.reset.extend(other.reset);
        self.violations.extend(other.violations);
        self.events += other.events;
        self.rounds += other.rounds;
        self.checks += other.checks;
    }
}

/// Judges what came of a world.
#[must_use]
pub fn judge(scenario: &Scenario, world: &World, outcome: &Outcome, seed: u64) -> Figures {
    let mut figures = Figures { events: outcome.events, rounds: outcome.rounds, ..Figures::default() };
    for (number, (monitor, story)) in world.monitors.iter().zip(&outcome.stories).enumerate() {
        let mut judge = Judge { world, monitor, story, number, seed, figures: &mut figures };
        judge.incidents();
        judge.outages();
        let secs = world.end.since(START).as_secs_f64();
        figures.monitor_secs += secs;
        figures.checks += secs / monitor.policy.interval.as_secs_f64() * monitor.places.len() as f64;
        if let Fleet::Same(quorum) = scenario.fleet
            && scenario.loss > 0.0
        {
            let span = world.end.since(START);
            figures.expected +=
                closed_form::expected(quorum, world.loss, world.tail, monitor.policy.interval, span);
        }
    }
    figures
}

struct Judge<'a> {
    world: &'a World,
    monitor: &'a Monitor,
    story: &'a Story,
    number: usize,
    seed: u64,
    figures: &'a mut Figures,
}

impl Judge<'_> {
    fn incidents(&mut self) {
        for incident in &self.story.incidents {
            if !self.monitor.target.failed_lately(incident.opened_at) {
                self.figures.false_incidents += 1;
                self.wrong(incident.opened_at, Wrong::FalseIncident);
            }
            let Some(resolved_at) = incident.resolved_at else { continue };
            // A target that has just gone was still there when it was looked at.
            let away = self
                .monitor
                .target
                .troubles
                .at(resolved_at)
                .filter(|(span, trouble)| trouble.is_outage() && span.contains(incident.opened_at));
            if away.is_some() {
                self.figures.false_recoveries += 1;
                self.wrong(resolved_at, Wrong::FalseRecovery);
            }
        }
    }

    fn outages(&mut self) {
        let troubles: Vec<_> = self.monitor.target.troubles.iter().copied().collect();
        for ((span, trouble), first_failure) in troubles.into_iter().zip(self.story.first_failures.clone()) {
            if !trouble.is_outage() || span.to.plus(LAST_EVIDENCE) >= self.world.end {
                continue;
            }
            let until = span.to.plus(LAST_EVIDENCE);
            let open_before = self.story.incidents.iter().any(|incident| {
                incident.opened_at < span.from && incident.resolved_at.is_none_or(|at| at >= span.from)
            });
            if open_before {
                continue;
            }
            let incident = self
                .story
                .incidents
                .iter()
                .find(|incident| span.from <= incident.opened_at && incident.opened_at <= until);
            if seen(&self.world.network.coordinator, span) >= self.monitor.policy.interval * 2 {
                self.figures.outages += 1;
                match incident {
                    Some(_) => self.figures.found += 1,
                    None => self.wrong(span.to, Wrong::Missed),
                }
            }
            let Some(incident) = incident else { continue };
            if let Some(resolved_at) = incident.resolved_at.filter(|at| *at >= span.to) {
                self.figures.reset.push(millis(resolved_at.since(span.to)));
            }
            let Some(first_failure) = first_failure else { continue };
            let there = Span { from: first_failure.minus(RETURN), to: incident.opened_at };
            if self.world.network.coordinator.within(there).next().is_some() {
                continue;
            }
            let took = incident.opened_at.since(first_failure);
            let class = INTERVALS.iter().position(|secs| *secs == self.monitor.policy.interval.as_secs());
            self.figures.detection[class.unwrap_or(0)].push(millis(took));
            if self.is_amid_faults(there) {
                self.figures.amid_faults.push(millis(took));
            }
            if took > self.monitor.policy.timeout + Duration::from_secs(2) {
                self.wrong(incident.opened_at, Wrong::Late);
            }
        }
    }

    /// Whether one of the monitor's regions was faulty in a span.
    fn is_amid_faults(&self, span: Span) -> bool {
        let agents = |region| self.world.network.of_region(region).iter();
        let regions = self.monitor.places.iter().map(|place| place.region);
        regions.flat_map(agents).any(|agent| agent.faults.within(span).next().is_some())
    }

    fn wrong(&mut self, at: Timestamp, what: Wrong) {
        self.figures.violations.push(Violation { seed: self.seed, monitor: self.number, at, what });
    }
}

/// How much of a span the coordinator could see.
fn seen(coordinator: &Calendar<Absence>, span: Span) -> Duration {
    let hidden: Duration = coordinator
        .within(span)
        .filter(|(_, absence)| absence.is_blind())
        .map(|(absence, _)| Span { from: absence.from, to: absence.to.plus(RETURN) }.overlap(span))
        .sum();
    span.length().saturating_sub(hidden)
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
