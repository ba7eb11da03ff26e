//! The machine of one probe agent: whether its votes are to be believed.
//!
//! In come contradictions (a failing check of the agent, while a majority of other regions passed the same monitor
//! later; see [`crate::monitor::contradictions`]), votes that nobody contradicts, and what the agent's own canaries say.
//! Out go [`Effect::Quarantine`] and [`Effect::Release`], each with an incident for operators that opens or resolves.
//!
//! One region that sees a target fail alone is a fact about the target. Many targets at once are a fact about the
//! agent: so *flips* are counted, which are failures that began within the last minute, one for each monitor. What has
//! failed from there for long (a target that blocks the region) is none. With no other region there is no
//! contradiction, and nothing is quarantined.
//!
//! Released is who was heard for a minute and hardly contradicted in it. A failing vote that others contradict counts
//! as a contradiction until the agent votes on that monitor again: a sick agent with long intervals is not released in
//! between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{MonitorId, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Evidence, Opening, Transition};
use crate::phrase;

/// Flips count together when they began within this span.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So many monitors must have flipped.
pub const MIN_FLIPS: usize = 5;
/// On so many hosts: one sick host with many monitors is no sick agent.
pub const MIN_HOSTS: usize = 3;
/// And so large a share of all monitors that the agent votes on, in percent.
pub const MIN_SHARE_PERCENT: u64 = 30;
/// For so long an agent must be heard and not be contradicted before it is believed again.
pub const QUIET: Duration = Duration::from_secs(60);
/// A contradicted vote is forgotten after this even if the agent does not vote again.
pub const MEMORY: Duration = Duration::from_secs(300);
/// So large a share of an agent's monitors may be contradicted in the quiet minute, in percent: of thousands of
/// monitors some always are, and below twenty none may be.
pub const NOISE_PERCENT: u64 = 5;
/// Flips that are kept as evidence.
pub const MAX_EVIDENCE: usize = 20;

/// A failing check that other regions contradict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// Of which monitor.
    pub monitor: MonitorId,
    /// Its target's host.
    pub host: String,
    /// When the first failing check of the streak started.
    pub failed_at: Timestamp,
    /// When the latest one did.
    pub vote_at: Timestamp,
    /// The regions that passed in the meantime.
    pub contradicted_by: Vec<RegionId>,
}

/// What can happen to an agent's credit.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One of its votes is contradicted.
    Contradicted {
        /// The vote.
        flip: Flip,
        /// Monitors that it votes on.
        monitors: u32,
    },
    /// It voted, and nobody contradicts that.
    Agreed {
        /// On which monitor.
        monitor: MonitorId,
        /// Monitors that it votes on.
        monitors: u32,
    },
    /// What its canaries say.
    Canaries(Canaries),
    /// Nothing could be heard for a while: the quiet minute begins anew.
    Blind,
    /// The instant that [`deadline`] named has come.
    DeadlineReached,
}

/// What an agent's canaries say: targets of its own that are known to be well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Canaries {
    /// It has none, or they are well.
    #[default]
    Well,
    /// They fail, while those of some other live region are well.
    Failing,
    /// They fail from every live region: it is the canaries.
    FailingEverywhere,
}

/// What is remembered of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The number of the latest quarantine.
    openings: u32,
    canaries: Canaries,
    /// While it is believed: what flipped within the last minute.
    flips: BTreeMap<MonitorId, Flip>,
    quarantine: Option<Box<Quarantine>>,
}

/// An agent's votes do not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Votes on checks from here on do not count: when the first of the flips began.
    pub since: Timestamp,
    /// When that was decided.
    pub decided_at: Timestamp,
    /// Why, in one line for people.
    pub reason: String,
    /// The first of the flips behind it.
    pub evidence: Vec<Flip>,
    /// When the agent cast the votes that are contradicted now.
    contradicted: BTreeMap<MonitorId, Timestamp>,
    /// Since when it has been heard and hardly contradicted.
    quiet_since: Option<Timestamp>,
}

/// What an agent's quarantine, or the end of it, rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEvidence {
    /// Flips behind it, at most [`MAX_EVIDENCE`]; none at the end.
    pub flips: Vec<Flip>,
    /// How many monitors flipped.
    pub flipped: u32,
    /// Of how many that the agent votes on; 0: it is the canaries that fail.
    pub monitors: u32,
}

impl State {
    /// Why the agent is not believed, if it is not.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Quarantine> {
        self.quarantine.as_deref()
    }

    /// The number of the open incident.
    #[must_use]
    pub fn open_incident(&self) -> Option<u32> {
        self.quarantine.as_ref().map(|_| self.openings)
    }

    /// Forgets what its canaries said: after a restart they are heard again.
    pub const fn forget_canaries(&mut self) {
        self.canaries = Canaries::Well;
    }

    /// Whether there is anything that a vote could change.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.quarantine.is_none() && self.flips.is_empty()
    }

    /// Whether a contradiction would change anything: an old streak does not, nor one from before a quarantine.
    #[must_use]
    pub fn heeds(&self, flip: &Flip, now: Timestamp) -> bool {
        match &self.quarantine {
            Some(quarantine) => {
                flip.failed_at >= quarantine.since
                    && quarantine.contradicted.get(&flip.monitor) != Some(&flip.vote_at)
            }
            None => {
                flip.failed_at.plus(WINDOW) > now
                    && self.flips.get(&flip.monitor).is_none_or(|known| known.failed_at != flip.failed_at)
            }
        }
    }
}

/// Applies one event. Total and deterministic.
#[must_use]
pub fn apply(state: State, event: Event, now: Timestamp) -> Transition<State> {
    let mut step = Step { state, now, effects: Vec::new() };
    match event {
        Event::Contradicted { flip, monitors } => step.contradicted(flip, monitors),
        Event::Agreed { monitor, monitors } => step.agreed(monitor, monitors),
        Event::Canaries(canaries) => step.canaries(canaries),
        Event::Blind => step.blind(),
        Event::DeadlineReached => {}
    }
    step.settle();
    Transition { state: step.state, effects: step.effects }
}

/// The next instant at which [`Event::DeadlineReached`] would change something.
#[must_use]
pub fn deadline(state: &State) -> Option<Timestamp> {
    match &state.quarantine {
        Some(quarantine) => quarantine.quiet_since.map(|since| since.plus(QUIET)),
        None => state.flips.values().map(|flip| flip.failed_at.plus(WINDOW)).min(),
    }
}

struct Step {
    state: State,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Step {
    fn contradicted(&mut self, flip: Flip, monitors: u32) {
        if !self.state.heeds(&flip, self.now) {
            return;
        }
        match &mut self.state.quarantine {
            Some(quarantine) => {
                quarantine.contradicted.insert(flip.monitor, flip.vote_at);
                quarantine.weigh(monitors, self.now);
            }
            None => {
                self.state.flips.insert(flip.monitor, flip);
                self.prune();
                self.judge(monitors);
            }
        }
    }

    fn agreed(&mut self, monitor: MonitorId, monitors: u32) {
        if let Some(quarantine) = &mut self.state.quarantine {
            quarantine.contradicted.remove(&monitor);
            if self.state.canaries != Canaries::Failing {
                quarantine.quiet_since.get_or_insert(self.now);
            }
            quarantine.weigh(monitors, self.now);
        }
    }

    fn canaries(&mut self, canaries: Canaries) {
        self.state.canaries = canaries;
        match (&mut self.state.quarantine, canaries) {
            (None, Canaries::Failing) => {
                self.open(self.now, "its own canaries fail", vec![], 0, 0);
            }
            (Some(quarantine), Canaries::Failing) => quarantine.quiet_since = None,
            (Some(quarantine), Canaries::Well | Canaries::FailingEverywhere) => {
                // Whose canaries are well is heard by that.
                if quarantine.contradicted.is_empty() {
                    quarantine.quiet_since.get_or_insert(self.now);
                }
            }
            (None, Canaries::Well | Canaries::FailingEverywhere) => {}
        }
    }

    fn blind(&mut self) {
        self.state.flips.clear();
        if let Some(quarantine) = &mut self.state.quarantine {
            quarantine.quiet_since = None;
        }
    }

    /// While the agent is believed: are there too many flips?
    fn judge(&mut self, monitors: u32) {
        let flips = &self.state.flips;
        let hosts: BTreeSet<&str> = flips.values().map(|flip| flip.host.as_str()).collect();
        let share = flips.len() as u64 * 100 >= u64::from(monitors) * MIN_SHARE_PERCENT;
        if flips.len() < MIN_FLIPS || hosts.len() < MIN_HOSTS || !share {
            return;
        }
        let (flipped, hosts) = (flips.len(), hosts.len());
        let mut flips: Vec<Flip> = std::mem::take(&mut self.state.flips).into_values().collect();
        flips.sort_by_key(|flip| (flip.failed_at, flip.monitor));
        let since = flips.first().map_or(self.now, |flip| flip.failed_at);
        let reason = format!(
            "{flipped} contradicted failures on {hosts} hosts in {}",
            phrase::span(self.now.since(since).max(Duration::from_secs(1)))
        );
        self.open(since, &reason, flips, u32::try_from(flipped).unwrap_or(u32::MAX), monitors);
    }

    fn open(&mut self, since: Timestamp, reason: &str, mut flips: Vec<Flip>, flipped: u32, monitors: u32) {
        let contradicted = flips.iter().map(|flip| (flip.monitor, flip.vote_at)).collect();
        flips.truncate(MAX_EVIDENCE);
        self.state.flips.clear();
        self.state.openings = self.state.openings.saturating_add(1);
        self.state.quarantine = Some(Box::new(Quarantine {
            since,
            decided_at: self.now,
            reason: reason.to_owned(),
            evidence: flips.clone(),
            contradicted,
            quiet_since: None,
        }));
        self.effects.push(Effect::Quarantine { since });
        self.effects.push(Effect::Open(Opening {
            number: self.state.openings,
            started_at: since,
            opened_at: self.now,
            cause: reason.to_owned(),
            evidence: Evidence::Probe(ProbeEvidence { flips, flipped, monitors }),
        }));
        self.record(format!("quarantined: {reason}; its votes do not count"));
    }

    /// Does what is due.
    fn settle(&mut self) {
        self.prune();
        let Some(quarantine) = &self.state.quarantine else { return };
        if quarantine.quiet_since.is_none_or(|since| self.now < since.plus(QUIET)) {
            return;
        }
        self.record(format!("released: heard for {} and not contradicted", phrase::span(QUIET)));
        self.state.quarantine = None;
        self.effects.push(Effect::Release);
        self.effects.push(Effect::Resolve {
            number: self.state.openings,
            resolved_at: self.now,
            evidence: Evidence::Probe(ProbeEvidence { flips: vec![], flipped: 0, monitors: 0 }),
        });
    }

    fn prune(&mut self) {
        let now = self.now;
        self.state.flips.retain(|_, flip| flip.failed_at.plus(WINDOW) > now);
    }

    fn record(&mut self, text: String) {
        self.effects.push(Effect::Record { number: self.state.openings, at: self.now, text });
    }
}

impl Quarantine {
    /// More contradictions than noise end the quiet; fewer let it begin again, with the agent's next vote.
    fn weigh(&mut self, monitors: u32, now: Timestamp) {
        let oldest = now.minus(MEMORY);
        self.contradicted.retain(|_, vote_at| *vote_at > oldest);
        if self.contradicted.len() as u64 * 100 > u64::from(monitors) * NOISE_PERCENT {
            self.quiet_since = None;
        }
    }
}
