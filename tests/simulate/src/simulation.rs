//! The event loop: scheduled checks, rounds, messages, deadlines, faults, in the order of their instants.
//!
//! **Naps.** While a monitor is up and nothing is the matter with it, its agents or its target, its checks pass one like
//! the other. Which of them will be lost or slow is known beforehand ([`crate::random`]), so the monitor sleeps until the
//! first that is, and then takes each region's newest pass as if it had taken all. [`Pace::EveryCheck`] runs every check
//! instead; a test holds that both come to the same incidents.

mod arranged;
mod checks;
mod naps;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use engine::monitor::Event;
use engine::placement;
use model::Timestamp;

use crate::check::{self, Finding, What};
use crate::credit::Quarantine;
use crate::fault::{AGENTS_PER_REGION, Absence, REGIONS};
use crate::network::{Agent, News};
use crate::recorder::Recorder;
use crate::shard::{COMMIT, Incident, Shard};
use crate::span::START;
use crate::world::{Monitor, World};

pub(crate) use arranged::Tiding;

/// Whether checks in which nothing happens are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Only where something might be the matter.
    Naps,
    /// All of them.
    EveryCheck,
}

/// What came of a world.
#[derive(Debug)]
pub struct Outcome {
    /// Every monitor's.
    pub stories: Vec<Story>,
    /// What was recorded of one of them.
    pub recorder: Option<Recorder>,
    /// Events that were handled.
    pub events: u64,
    /// Rounds of questions that were asked.
    pub rounds: u64,
    /// Agents that were set aside.
    pub quarantines: Vec<Quarantine>,
}

/// What came of one monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Its incidents.
    pub incidents: Vec<Incident>,
    /// For each trouble of its target, when the first failing check ended that the coordinator could hear of.
    pub first_failures: Vec<Option<Timestamp>>,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Occurrence {
    /// The coordinator goes.
    Gone,
    /// The coordinator is back.
    Back,
    /// The fleet has something to tell.
    News(usize),
    /// Scheduled checks of a monitor are due, or its nap is over.
    Wake { monitor: usize, generation: u32 },
    /// A result arrives, its check dated by the coordinator.
    Result { monitor: usize, rank: usize, agent: usize, finding: Finding, dated: Timestamp },
    /// A pending check is told of.
    Slow { monitor: usize, rank: usize, dated: Timestamp },
    /// A round's question reaches an agent.
    Asked { monitor: usize, rank: usize, agent: usize, round: u32 },
    /// A monitor's deadline is reached.
    Deadline { monitor: usize },
    /// An agent's quarantine may end.
    Credit,
    /// A window of maintenance opens or ends.
    Window { monitor: usize },
    /// The budget may have something to give.
    Grant,
}

/// What the agents and the loop know of a monitor.
#[derive(Clone, Debug)]
struct Watched {
    generation: u32,
    is_napping: bool,
    /// By rank.
    next_slots: Vec<i64>,
    /// The newest finding of every agent, to tell news from routine.
    seen: [Option<What>; REGIONS.len() * AGENTS_PER_REGION],
    /// The newest round that every agent was asked for.
    rounds: [u32; REGIONS.len() * AGENTS_PER_REGION],
    /// The deadline that the queue holds for it.
    scheduled: Option<Timestamp>,
    /// Not before this can it nap.
    restless_until: Timestamp,
    first_failures: Vec<Option<Timestamp>>,
}

struct Simulation<'w> {
    world: &'w World,
    shard: Shard<'w>,
    watched: Vec<Watched>,
    pace: Pace,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    occurrences: Vec<Occurrence>,
    free: Vec<u32>,
    numbered: u64,
    now: Timestamp,
    granting_at: Option<Timestamp>,
    crediting_at: Option<Timestamp>,
    messages: u64,
    events: u64,
}

/// Lets a world happen.
#[must_use]
pub fn run(world: &World, pace: Pace, recorder: Option<Recorder>) -> Outcome {
    let mut simulation = Simulation::new(world, pace, recorder);
    simulation.run();
    let (events, rounds) = (simulation.events, simulation.shard.rounds());
    let quarantines = simulation.shard.quarantines();
    let (incidents, recorder) = simulation.shard.into_incidents();
    let stories = simulation
        .watched
        .into_iter()
        .zip(incidents)
        .map(|(watched, incidents)| Story { incidents, first_failures: watched.first_failures })
        .collect();
    Outcome { stories, recorder, events, rounds, quarantines }
}

impl<'w> Simulation<'w> {
    fn new(world: &'w World, pace: Pace, recorder: Option<Recorder>) -> Self {
        let watched = world
            .monitors
            .iter()
            .map(|monitor| Watched {
                generation: 0,
                is_napping: false,
                next_slots: (0..monitor.places.len()).map(|rank| slot(monitor, rank, START) + 1).collect(),
                seen: [None; REGIONS.len() * AGENTS_PER_REGION],
                rounds: [0; REGIONS.len() * AGENTS_PER_REGION],
                scheduled: None,
                restless_until: START,
                first_failures: vec![None; monitor.target.troubles.iter().count()],
            })
            .collect();
        let mut simulation = Self {
            world,
            shard: Shard::new(world, recorder),
            watched,
            pace,
            queue: BinaryHeap::new(),
            occurrences: Vec::new(),
            free: Vec::new(),
            numbered: 0,
            now: START,
            granting_at: None,
            crediting_at: None,
            messages: 0,
            events: 0,
        };
        // First, so that at one instant blindness is told before all else.
        for (span, _) in world.network.coordinator.iter() {
            simulation.push(span.from, Occurrence::Gone);
            simulation.push(span.to, Occurrence::Back);
        }
        for (number, (at, _)) in world.network.news.iter().enumerate() {
            simulation.push(*at, Occurrence::News(number));
        }
        for (monitor, subject) in world.monitors.iter().enumerate() {
            for (span, ()) in subject.windows.told.iter() {
                simulation.push(span.from, Occurrence::Window { monitor });
                simulation.push(span.to, Occurrence::Window { monitor });
            }
        }
        for monitor in 0..world.monitors.len() {
            simulation.schedule(monitor);
            // A new monitor is checked at once everywhere.
            for rank in 0..world.monitors[monitor].places.len() {
                let at = START.plus(Duration::from_secs(1));
                let agent = &world.network.of_region(world.monitors[monitor].places[rank].region)[0];
                let slot = simulation.watched[monitor].next_slots[rank] - 1;
                simulation.check(monitor, rank, agent, at.plus(agent.lag), slot);
            }
            simulation.wake_at_next_check(monitor);
        }
        simulation
    }

    fn push(&mut self, at: Timestamp, occurrence: Occurrence) {
        let place = match self.free.pop() {
            Some(place) => {
                self.occurrences[place as usize] = occurrence;
                place
            }
            None => {
                self.occurrences.push(occurrence);
                (self.occurrences.len() - 1) as u32
            }
        };
        // What was pushed first happens first.
        self.queue.push(Reverse((at, self.numbered << 24 | u64::from(place))));
        self.numbered += 1;
    }

    fn run(&mut self) {
        while let Some(Reverse((at, key))) = self.queue.pop() {
            if at >= self.world.end {
                return;
            }
            let place = (key & 0xff_ffff) as u32;
            let occurrence = self.occurrences[place as usize];
            self.free.push(place);
            self.now = at;
            self.events += 1;
            self.happen(occurrence);
        }
    }

    fn happen(&mut self, occurrence: Occurrence) {
        let now = self.now;
        match occurrence {
            Occurrence::Wake { monitor, generation } => {
                if self.watched[monitor].generation == generation {
                    self.wake(monitor);
                }
                return;
            }
            Occurrence::Asked { monitor, rank, agent, round } => {
                return self.answer(monitor, rank, agent, round);
            }
            Occurrence::Gone => return,
            Occurrence::Back => return self.back(),
            _ => {}
        }
        // The rest happens in the coordinator, if it is there.
        match self.world.network.coordinator.at(now) {
            Some((_, Absence::Killed)) => return,
            Some((span, Absence::Frozen | Absence::CannotCommit { .. })) => {
                // A slow check reports its own end.
                if !matches!(occurrence, Occurrence::Slow { .. }) {
                    self.push(span.to, occurrence);
                }
                return;
            }
            _ => {}
        }
        match occurrence {
            Occurrence::Result { monitor, rank, agent, finding, dated } => {
                let event = check::observed(&self.world.monitors[monitor], rank, agent, finding, dated);
                self.apply(monitor, &event);
            }
            Occurrence::Slow { monitor, rank, dated } => {
                let region = self.world.monitors[monitor].policy.regions[rank].clone();
                self.apply(monitor, &Event::Slow { region, started_at: dated });
            }
            Occurrence::Deadline { monitor } => self.deadline(monitor),
            Occurrence::Credit => {
                self.shard.look_after_credit(now);
                self.carry();
                self.grant();
            }
            Occurrence::Window { monitor } => {
                self.review_window(monitor);
                self.grant();
            }
            Occurrence::Grant => {
                if self.granting_at == Some(now) {
                    self.granting_at = None;
                }
                self.grant();
            }
            Occurrence::News(number) => match self.world.network.news[number].1 {
                News::Region { region, live } => {
                    self.wake_all();
                    self.shard.region_live(region, live, now);
                    self.after_all();
                }
                News::Silence(from) => self.blind(from),
            },
            Occurrence::Gone | Occurrence::Back | Occurrence::Wake { .. } | Occurrence::Asked { .. } => {}
        }
    }

    fn apply(&mut self, monitor: usize, event: &Event) {
        self.shard.apply(monitor, event, self.now);
        self.schedule(monitor);
        self.carry();
        self.grant();
    }

    fn deadline(&mut self, monitor: usize) {
        let watched = &mut self.watched[monitor];
        if watched.scheduled != Some(self.now) {
            // It was moved, or deferred by an absence and told with it.
            if watched.scheduled.is_none_or(|at| at > self.now) {
                return;
            }
        }
        watched.scheduled = None;
        if watched.is_napping {
            return;
        }
        if self.shard.deadline(monitor).is_some_and(|at| at <= self.now) {
            self.shard.apply(monitor, &Event::DeadlineReached, self.now);
        }
        self.schedule(monitor);
        self.carry();
        self.grant();
    }

    /// Makes sure that a monitor comes up no later than its deadline.
    fn schedule(&mut self, monitor: usize) {
        let Some(deadline) = self.shard.deadline(monitor) else { return };
        let scheduled = &mut self.watched[monitor].scheduled;
        if scheduled.is_none_or(|scheduled| deadline < scheduled) {
            *scheduled = Some(deadline);
            self.push(deadline.max(self.now), Occurrence::Deadline { monitor });
        }
    }

    fn back(&mut self) {
        let now = self.now;
        let before = now.minus(Duration::from_millis(1));
        let Some(&(span, absence)) = self.world.network.coordinator.at(before) else { return };
        // `alive_at` is refreshed with every turn, at least once a second.
        let source = self.world.network.source().of(span.from.as_micros() as u64);
        let alive_at = span.from.minus(source.between(Duration::ZERO, Duration::from_secs(1)));
        match absence {
            Absence::Killed => {
                self.wake_all();
                self.shard.restart(now);
                self.forget_deadlines();
                self.blind(alive_at);
            }
            Absence::Frozen if span.length() <= Duration::from_secs(3) => {}
            Absence::Frozen | Absence::CannotCommit { forgets: false } | Absence::ClockStep => {
                self.blind(alive_at);
            }
            Absence::CannotCommit { forgets: true } => {
                self.wake_all();
                self.each(Self::enter_window);
                self.shard.reload(alive_at, now);
                self.each(Self::leave_window);
                self.forget_deadlines();
                self.after_all();
            }
            Absence::Isolated => {}
        }
    }

    fn blind(&mut self, from: Timestamp) {
        self.wake_all();
        self.each(Self::enter_window);
        self.shard.blind(from, self.now);
        self.each(Self::leave_window);
        self.after_all();
    }

    fn each(&mut self, act: impl Fn(&mut Self, usize)) {
        (0..self.watched.len()).for_each(|monitor| act(self, monitor));
    }

    fn forget_deadlines(&mut self) {
        for watched in &mut self.watched {
            watched.scheduled = None;
        }
    }

    /// After all monitors heard of something.
    fn after_all(&mut self) {
        self.carry();
        for monitor in 0..self.watched.len() {
            self.schedule(monitor);
        }
        self.grant();
    }

    /// Asks for the rounds that the budget allows.
    fn grant(&mut self) {
        let now = self.now;
        let Some(at) = self.shard.next_grant(now) else { return };
        if at > now {
            if self.granting_at.is_none_or(|planned| at < planned || planned < now) {
                self.granting_at = Some(at);
                self.push(at, Occurrence::Grant);
            }
            return;
        }
        for (monitor, round) in self.shard.grants(now) {
            self.ask(monitor, round);
        }
        self.grant_later();
    }

    fn grant_later(&mut self) {
        if let Some(at) = self.shard.next_grant(self.now)
            && self.granting_at.is_none_or(|planned| at < planned || planned <= self.now)
        {
            let at = at.max(self.now.plus(Duration::from_millis(1)));
            self.granting_at = Some(at);
            self.push(at, Occurrence::Grant);
        }
    }

    /// Asks an agent of every live region: the first that is live, unless its connection is known to be closed.
    fn ask(&mut self, monitor: usize, round: u32) {
        let at = self.now.plus(COMMIT);
        let world = self.world;
        for (rank, place) in world.monitors[monitor].places.iter().enumerate() {
            if !self.shard.is_live(place.region) {
                continue;
            }
            let agents = world.network.of_region(place.region);
            let order = [place.preferred, 1 - place.preferred];
            // Of a dead process the connection is closed; of one that is cut off nobody knows yet.
            let asked = order
                .into_iter()
                .map(|number| &agents[number])
                .find(|agent| agent.live.at(at).is_some() && agent.processes.at(at).is_some());
            let Some(agent) = asked else { continue };
            self.messages += 1;
            let source =
                world.network.source().of(u64::from(round)).of(monitor as u64).of(agent.number as u64);
            if let Some(at) = world.network.request(agent, at, source) {
                self.push(at, Occurrence::Asked { monitor, rank, agent: agent.number, round });
            }
        }
    }
}

fn slot(monitor: &Monitor, rank: usize, at: Timestamp) -> i64 {
    placement::slot(monitor.places[rank].phase, monitor.policy.interval, at)
}

fn due_at(monitor: &Monitor, rank: usize, slot: i64) -> Timestamp {
    let interval = monitor.policy.interval.as_micros() as i64;
    Timestamp::from_micros(slot * interval + monitor.places[rank].phase.as_micros() as i64)
}

/// When the coordinator takes a check to have started.
fn dated(agent: &Agent, finding: Finding, sent_at: Timestamp, at: Timestamp) -> Timestamp {
    let honest = finding.started_at.plus(at.since(sent_at));
    let skew = match agent.faults.at(finding.started_at) {
        Some((_, crate::fault::Fault::Skewed(secs))) => *secs,
        _ => 0,
    };
    Timestamp::from_micros(honest.as_micros() + skew * 1_000_000).min(at)
}
