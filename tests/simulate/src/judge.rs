//! The oracle: it knows the truth and compares what the coordinator said.
//!
//! * An incident is **false** when its target has not failed for longer than evidence may be on its way.
//! * A recovery is false when the target is away all the time before and after it.
//! * An outage **must be found** when at least two intervals of it lie outside the coordinator's absences, windows of
//!   maintenance, and the time in which the monitor's parent is away or said to be.
//! * In a window of maintenance **nothing opens**, and what opens after it rests on checks from after it. A child whose own
//!   target is well has no incident, whatever its parent does.
//! * **Detection** counts from the end of the first failing check that an honest agent with a session reported, and only
//!   where the coordinator was there from a minute before until the incident opened.
//! * **Reset** counts from the target's return to the resolution.

use std::time::Duration;

use model::Timestamp;

use crate::closed_form;
use crate::credit::Quarantine;
use crate::fault::{Fault, Lie};
use crate::scenario::{Fleet, Scenario};
use crate::shard::Incident;
use crate::simulation::{Outcome, Story};
use crate::span::{Calendar, START, Span};
use crate::target::LAST_EVIDENCE;
use crate::world::{Monitor, World};

/// The intervals whose detection is told apart.
pub const INTERVALS: [u64; 3] = [30, 300, 3_600];
/// Who lies for so long is set aside.
const DESERVES: Duration = Duration::from_secs(300);
/// And so long after that no more.
const STILL_SET_ASIDE: Duration = Duration::from_secs(600);
/// Who has been away for so long is away for all.
const SETTLED: Duration = Duration::from_secs(2);
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
    /// Of the outages, those that began in a window of maintenance and lasted for two intervals after it.
    pub outlasting: u64,
    /// Windows of maintenance.
    pub windows: u64,
    /// Times that a monitor whose target was well could not reach it for two intervals, because its parent was away.
    pub behind: u64,
    /// Times that an agent was set aside; of these, of agents that were not faulty; faults that called for it, and were found.
    pub quarantines: Quarantines,
    /// Incidents of monitors whose target was well, while the parent came or went.
    pub unclear: u64,
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

/// Agents that were set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarantines {
    /// How often.
    pub decided: u64,
    /// Of these, agents that had not been faulty within a minute.
    pub of_honest: u64,
    /// Of these, not released ten minutes after the fault.
    pub unended: u64,
    /// Faults that make everything look down for five minutes and more.
    pub deserved: u64,
    /// Of these, agents that were set aside.
    pub found: u64,
}

impl Quarantines {
    const fn add(&mut self, other: Self) {
        self.decided += other.decided;
        self.of_honest += other.of_honest;
        self.unended += other.unended;
        self.deserved += other.deserved;
        self.found += other.found;
    }
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
        self.outlasting += other.outlasting;
        self.windows += other.windows;
        self.behind += other.behind;
        self.unclear += other.unclear;
        self.quarantines.add(other.quarantines);
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
    figures.quarantines = quarantines(world, &outcome.quarantines);
    for (number, (monitor, story)) in world.monitors.iter().zip(&outcome.stories).enumerate() {
        let arranged = arranged(monitor, &outcome.stories);
        let hidden = hidden(world, &arranged);
        let arranged = Calendar::union(arranged);
        figures.windows += monitor.windows.planned.iter().count() as u64;
        figures.behind += behind(monitor);
        let mut judge =
            Judge { world, monitor, story, hidden, arranged, number, seed, figures: &mut figures };
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
    /// When its target's outages need not be found.
    hidden: Calendar<()>,
    /// Of this, what users have arranged.
    arranged: Calendar<()>,
    number: usize,
    seed: u64,
    figures: &'a mut Figures,
}

impl Judge<'_> {
    fn incidents(&mut self) {
        for incident in &self.story.incidents {
            let windows = &self.monitor.windows.planned;
            let in_window = windows.at(incident.opened_at).is_some();
            let before = Span { from: incident.opened_at.minus(LAST_EVIDENCE), to: incident.opened_at };
            let since = windows.within(before).last().map_or(START, |(window, ())| window.to);
            let has_reason = self.monitor.target.failed_lately(incident.opened_at, since);
            if !has_reason && !in_window && self.is_unclear(incident) {
                self.figures.unclear += 1;
            } else if in_window || !has_reason {
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

    /// Whether the gateway came or went while it was being found out, so that regions had reason to differ about it.
    fn is_unclear(&self, incident: &Incident) -> bool {
        let gateway = &self.monitor.target.gateway;
        let from = incident.started_at.minus(LAST_EVIDENCE);
        let lately = Span { from, to: incident.opened_at };
        let is_steady =
            |span: &Span| span.from.plus(SETTLED) <= incident.started_at && span.contains(incident.opened_at);
        let whole =
            gateway.at(incident.opened_at).filter(|(span, trouble)| trouble.is_outage() && is_steady(span));
        whole.is_none() && gateway.within(lately).next().is_some()
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
            let hidden: Duration = self.hidden.within(span).map(|(hidden, ())| hidden.overlap(span)).sum();
            if span.length().saturating_sub(hidden) >= self.monitor.policy.interval * 2 {
                self.figures.outages += 1;
                self.figures.outlasting += u64::from(self.monitor.windows.planned.at(span.from).is_some());
                match incident {
                    Some(_) => self.figures.found += 1,
                    None => self.wrong(span.to, Wrong::Missed),
                }
            }
            let Some(incident) = incident else { continue };
            let is_arranged = |span| self.arranged.within(span).next().is_some();
            if let Some(resolved_at) = incident.resolved_at.filter(|at| *at >= span.to)
                && !is_arranged(Span { from: span.to, to: resolved_at })
            {
                self.figures.reset.push(millis(resolved_at.since(span.to)));
            }
            let Some(first_failure) = first_failure else { continue };
            let there = Span { from: first_failure.minus(RETURN), to: incident.opened_at };
            let since = Span { from: first_failure, to: incident.opened_at };
            if self.world.network.coordinator.within(there).next().is_some() || is_arranged(since) {
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

/// When a monitor's outages need not be found: the coordinator is absent, or users have arranged it so.
fn hidden(world: &World, arranged: &[Span]) -> Calendar<()> {
    let absences = world.network.coordinator.iter().filter(|(_, absence)| absence.is_blind());
    let absences = absences.map(|(absence, _)| Span { from: absence.from, to: absence.to.plus(RETURN) });
    Calendar::union(absences.chain(arranged.iter().copied()).collect())
}

/// When users have arranged that a monitor's own outages are not told.
fn arranged(monitor: &Monitor, stories: &[Story]) -> Vec<Span> {
    let windows = monitor.windows.planned.iter().map(|(window, ())| *window);
    let away = monitor.target.gateway.iter().map(|(span, _)| *span);
    let said = monitor.parent.iter().flat_map(|parent| &stories[*parent].incidents).map(|incident| Span {
        from: incident.opened_at,
        to: incident.resolved_at.unwrap_or(Timestamp::from_micros(i64::MAX)),
    });
    windows.chain(away).chain(said).collect()
}

/// Compares who was set aside with who deserved it.
fn quarantines(world: &World, decided: &[Quarantine]) -> Quarantines {
    let mut figures = Quarantines { decided: decided.len() as u64, ..Quarantines::default() };
    if !world.quarantines {
        return figures;
    }
    for quarantine in decided {
        let lately = Span { from: quarantine.decided_at.minus(RETURN), to: quarantine.decided_at };
        let is_faulty = world.network.agents[quarantine.agent].faults.within(lately).next().is_some();
        figures.of_honest += u64::from(!is_faulty);
        figures.unended += u64::from(
            quarantine.released_at.is_none_or(|at| {
                let before =
                    world.network.agents[quarantine.agent].faults.within(Span { from: lately.from, to: at });
                before.last().is_some_and(|(fault, _)| at.since(fault.to) > STILL_SET_ASIDE)
            }) && quarantine.decided_at.plus(Duration::from_secs(4 * 3_600)) < world.end,
        );
    }
    for agent in &world.network.agents {
        let always = |fault: &Fault| matches!(fault, Fault::Lying(Lie::AllDown | Lie::Contrary));
        for (span, _) in
            agent.faults.iter().filter(|(span, fault)| always(fault) && span.length() >= DESERVES)
        {
            let decided = decided.iter().filter(|quarantine| quarantine.agent == agent.number);
            let mine =
                |it: &Quarantine| it.decided_at < span.to && it.released_at.is_none_or(|at| at > span.from);
            figures.deserved += 1;
            figures.found += u64::from(decided.copied().any(|it| mine(&it)));
        }
    }
    figures
}

/// How often a monitor's target was well but could not be reached for two intervals.
fn behind(monitor: &Monitor) -> u64 {
    let is_long = |span: &Span| span.length() >= monitor.policy.interval * 2;
    let is_well = |span: &Span| monitor.target.troubles.within(*span).next().is_none();
    let away = monitor.target.gateway.iter().filter(|(_, trouble)| trouble.is_outage());
    away.filter(|(span, _)| is_long(span) && is_well(span)).count() as u64
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
