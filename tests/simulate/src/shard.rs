//! The coordinator's side of the simulation: the owner of a shard, modelled thinly around the real engine.
//!
//! Inputs are applied as they come; what follows is durable at once, as after the commit of a turn. What a kill leaves
//! behind is what the store would hold: the last state row (written with every effect but a round's), the snapshot of
//! the last full minute, and the results since. What is left out of the shard: batching, and its memory of sequence
//! numbers, so that the engine meets every repeated result itself.

use std::collections::VecDeque;
use std::time::Duration;

use engine::budget::Budget;
use engine::monitor::{self, Event, State};
use engine::{Effect, probe};
use model::{MonitorId, Timestamp};

use crate::credit::{Credit, Quarantine};
use crate::recorder::Recorder;
use crate::simulation::Tiding;
use crate::span::START;
use crate::world::World;

/// All monitors of a world as the coordinator has them.
#[derive(Debug)]
pub struct Shard<'w> {
    world: &'w World,
    subjects: Vec<Subject>,
    budget: Budget,
    /// Regions that are live, as last told.
    live: Vec<bool>,
    /// Whether kills must be survived: if not, nothing is kept for them.
    is_durable: bool,
    rounds: u64,
    /// Where agents may be set aside.
    credit: Option<Credit>,
    /// What is still to be told to those that belong together.
    tidings: VecDeque<Tiding>,
    recorder: Option<Recorder>,
}

/// One monitor.
#[derive(Debug)]
struct Subject {
    /// `None` only while the engine has it.
    state: Option<Box<State>>,
    stored: Box<State>,
    stored_at: Timestamp,
    /// Results after `stored`.
    journal: Vec<(Timestamp, Event)>,
    incidents: Vec<Incident>,
}

/// An incident as the outside saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When it opened.
    pub opened_at: Timestamp,
    /// When the outage had begun, it said.
    pub started_at: Timestamp,
    /// When it resolved.
    pub resolved_at: Option<Timestamp>,
}

impl<'w> Shard<'w> {
    /// A shard of new monitors.
    #[must_use]
    pub fn new(world: &'w World, recorder: Option<Recorder>) -> Self {
        let subject = |monitor: &crate::world::Monitor| {
            let state = monitor::new(&monitor.policy, START);
            Subject {
                stored: state.clone(),
                state: Some(state),
                stored_at: START,
                journal: vec![],
                incidents: vec![],
            }
        };
        Self {
            world,
            subjects: world.monitors.iter().map(subject).collect(),
            budget: Budget::new(START),
            live: vec![false; crate::fault::REGIONS.len()],
            is_durable: world.network.coordinator.iter().next().is_some(),
            rounds: 0,
            credit: world.quarantines.then(Credit::default),
            tidings: VecDeque::new(),
            recorder,
        }
    }

    /// A monitor's state.
    #[must_use]
    pub fn state(&self, index: usize) -> &State {
        self.subjects[index].state.as_ref().expect("the engine gave it back")
    }

    /// When it must be looked at next.
    #[must_use]
    pub fn deadline(&self, index: usize) -> Option<Timestamp> {
        monitor::deadline(self.state(index), &self.world.monitors[index].policy)
    }

    /// Applies an event to a monitor.
    pub fn apply(&mut self, index: usize, event: &Event, now: Timestamp) {
        self.take_snapshot(index, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.record(index, event, now);
        }
        let monitor = &self.world.monitors[index];
        let subject = &mut self.subjects[index];
        let state = subject.state.take().expect("the engine gave it back");
        let stands = |state: &State| (!monitor.children.is_empty()).then(|| monitor::standing(state, ""));
        let stood = stands(&state);
        let transition = monitor::apply(state, &monitor.policy, event, now);
        self.tidings.extend(Tiding::of(index, &transition.effects, stood != stands(&transition.state)));
        subject.state = Some(transition.state);
        if self.is_durable && matches!(event, Event::Observed { .. }) {
            subject.journal.push((now, event.clone()));
        }
        let mut asks = None;
        let mut is_marked = false;
        for effect in &transition.effects {
            match effect {
                Effect::Verify { round, .. } => {
                    asks = Some(*round);
                    self.rounds += 1;
                    continue;
                }
                Effect::Open(opening) => subject.incidents.push(Incident {
                    opened_at: opening.opened_at,
                    started_at: opening.started_at,
                    resolved_at: None,
                }),
                Effect::Resolve { resolved_at, .. } => {
                    if let Some(incident) = subject.incidents.last_mut() {
                        incident.resolved_at = Some(*resolved_at);
                    }
                }
                _ => {}
            }
            is_marked = true;
        }
        if is_marked {
            self.store(index, now);
        }
        if let Some(round) = asks {
            self.request(index, round, now);
        }
        if let Event::Observed { agent, result } = event
            && let Some(credit) = &mut self.credit
        {
            let subjects = &self.subjects;
            let burden = |agent| {
                let states = subjects.iter().filter_map(|subject| subject.state.as_ref());
                let votes =
                    states.flat_map(|state| state.regions()).filter_map(|region| region.vote.as_ref());
                let own = votes.filter(|vote| vote.agent == agent);
                own.fold(probe::Burden::default(), |all, vote| all.and(vote.started_at, now))
            };
            let state = subjects[index].state.as_deref().expect("the engine gave it back");
            let heard = ((state, &self.world.monitors[index].policy), (*agent, &**result));
            let told = credit.weigh(heard.0, heard.1, burden, now);
            self.tidings.extend(told.into_iter().map(Tiding::Credit));
        }
    }

    /// When an agent's quarantine may end.
    #[must_use]
    pub fn credit_deadline(&self) -> Option<Timestamp> {
        self.credit.as_ref().and_then(Credit::deadline)
    }

    /// Looks after the agents' credit.
    pub fn look_after_credit(&mut self, now: Timestamp) {
        let told = self.credit.as_mut().map(|credit| credit.look(now)).unwrap_or_default();
        self.tidings.extend(told.into_iter().map(Tiding::Credit));
    }

    /// Who was set aside.
    #[must_use]
    pub fn quarantines(&self) -> Vec<Quarantine> {
        self.credit.as_ref().map(|credit| credit.quarantines.clone()).unwrap_or_default()
    }

    /// Takes a result of a monitor to which nothing has happened for a while: a newer vote of the same kind. Nothing is
    /// judged, because in between there were others like it.
    pub fn refresh(&mut self, index: usize, event: &Event, received_at: Timestamp, now: Timestamp) {
        self.take_snapshot(index, now);
        let policy = &self.world.monitors[index].policy;
        let subject = &mut self.subjects[index];
        let state = subject.state.take().expect("the engine gave it back");
        subject.state = Some(monitor::fold(state, policy, event, received_at));
        if self.is_durable {
            subject.journal.push((received_at, event.clone()));
        }
    }

    /// Tells the monitors of a region whether it can be asked. Rounds under way ask who comes.
    pub fn region_live(&mut self, region: usize, live: bool, now: Timestamp) {
        self.live[region] = live;
        for index in 0..self.subjects.len() {
            let monitor = &self.world.monitors[index];
            let Some(rank) = monitor.places.iter().position(|place| place.region == region) else { continue };
            let region = monitor.policy.regions[rank].clone();
            self.apply(index, &Event::RegionLive { region, live }, now);
            if live && let Some(round) = self.state(index).round() {
                self.request(index, round, now);
            }
        }
    }

    /// Tells all monitors of a span in which nothing could be seen.
    pub fn blind(&mut self, from: Timestamp, to: Timestamp) {
        for index in 0..self.subjects.len() {
            self.apply(index, &Event::Blind { from, to }, to);
        }
    }

    /// Starts again after a kill, with what was durable.
    pub fn restart(&mut self, now: Timestamp) {
        self.budget = Budget::new(now);
        self.live.fill(false);
        for index in 0..self.subjects.len() {
            self.restore(index);
            let policy = &self.world.monitors[index].policy;
            let subject = &mut self.subjects[index];
            let mut state = subject.stored.clone();
            for region in &policy.regions {
                let gone = Event::RegionLive { region: region.clone(), live: false };
                if let Some(recorder) = &mut self.recorder {
                    recorder.record(index, &gone, now);
                }
                state = monitor::fold(state, policy, &gone, now);
            }
            subject.state = Some(state);
        }
    }

    /// Loads everything again though the process lives on: its sessions are still there.
    pub fn reload(&mut self, from: Timestamp, now: Timestamp) {
        let live = self.live.clone();
        self.restart(now);
        self.blind(from, now);
        for (region, live) in live.into_iter().enumerate() {
            if live {
                self.region_live(region, true, now);
            }
        }
    }

    /// The rounds that may be asked for now, with the monitors' places.
    pub fn grants(&mut self, now: Timestamp) -> Vec<(usize, u32)> {
        let capacity = self.world.network.capacity(now);
        let subjects = &self.subjects;
        let still = |monitor: MonitorId, round| {
            let state = subjects[number(monitor)].state.as_ref();
            state.and_then(|state| state.round()) == Some(round)
        };
        let granted = self.budget.take(capacity, now, still);
        granted.into_iter().map(|(monitor, round)| (number(monitor), round)).collect()
    }

    /// When [`Shard::grants`] has something again.
    #[must_use]
    pub fn next_grant(&self, now: Timestamp) -> Option<Timestamp> {
        self.budget.next_at(self.world.network.capacity(now))
    }

    /// The next thing to be told to those that belong together.
    pub(crate) fn tiding(&mut self) -> Option<Tiding> {
        self.tidings.pop_front()
    }

    /// How many rounds there have been.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Whether a region can be asked.
    #[must_use]
    pub fn is_live(&self, region: usize) -> bool {
        self.live[region]
    }

    /// What came of every monitor, and what was recorded.
    #[must_use]
    pub fn into_incidents(self) -> (Vec<Vec<Incident>>, Option<Recorder>) {
        (self.subjects.into_iter().map(|subject| subject.incidents).collect(), self.recorder)
    }

    fn request(&mut self, index: usize, round: u32, now: Timestamp) {
        let monitor = &self.world.monitors[index];
        let asked = monitor.places.iter().filter(|place| self.live[place.region]).count();
        self.budget.request(monitor.id, round, asked as u32 * 2, now);
    }

    /// The snapshot of the last full minute, which nothing has changed since.
    fn take_snapshot(&mut self, index: usize, now: Timestamp) {
        const SWEEP: i64 = 60;
        if self.is_durable && now.as_secs() / SWEEP > self.subjects[index].stored_at.as_secs() / SWEEP {
            self.store(index, now);
        }
    }

    fn store(&mut self, index: usize, now: Timestamp) {
        if self.is_durable {
            let subject = &mut self.subjects[index];
            subject.stored = subject.state.clone().expect("the engine gave it back");
            subject.stored_at = now;
            subject.journal.clear();
        }
    }

    fn restore(&mut self, index: usize) {
        let policy = &self.world.monitors[index].policy;
        let subject = &mut self.subjects[index];
        for (at, event) in std::mem::take(&mut subject.journal) {
            subject.stored = monitor::fold(subject.stored.clone(), policy, &event, at);
        }
    }
}

/// A monitor's place among all, which its id ends with.
fn number(monitor: MonitorId) -> usize {
    let bytes = monitor.as_bytes();
    usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))
}

/// How long a commit takes, after which a round may be asked for.
pub const COMMIT: Duration = Duration::from_millis(5);
