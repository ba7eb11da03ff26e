//! Replay: which incidents a policy would have made of what was heard.
//!
//! In: a [`Tape`] of what was heard about a monitor, and any policy for it. Out: the incidents ([`Episode`]) that the
//! very machine which decides live ([`monitor::apply`]) makes of it, and how they differ from others ([`compare`]).
//!
//! A policy that decides otherwise also asks otherwise, and nobody can be asked in the past. So:
//!
//! * Every recorded result votes, whatever it was measured for: the schedule or a round of the time.
//! * A round that was really run near the instant at which the replay wants one answers it, and who stayed silent then
//!   stays silent.
//! * Where no round was run, a region answers what it found in its checks before and after, if those agree and are both
//!   within the time for which a vote counts; otherwise it does not answer. An incident that opens or ends by such a
//!   *borrowed* answer is marked [`Episode::is_approximate`].
//!
//! With the policy that was in force every round is one that was run, so the replay is what happened: the invariant that
//! the tests hold. Timers fire at their exact instant here and up to a few milliseconds later live.

mod compare;
mod tape;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{RegionId, Timestamp};

use crate::effect::{CloseReason, Effect, Evidence as Basis};
use crate::monitor::{self, Event, Policy, ROUND_MARGIN, SECOND_ATTEMPT_AFTER, Standing, State};
use crate::vote::VoteTable;

pub use compare::{Change, Difference, Ended, compare};
pub use tape::{Heard, Tape};

use tape::{Evidence, Sample, What};

/// How soon after a round is wanted the attempts of a real one must have started to be its answers.
const ASKED_WITHIN: Duration = SECOND_ATTEMPT_AFTER.saturating_add(ROUND_MARGIN);

/// One incident of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// When the outage began: the first failing check.
    pub started_at: Timestamp,
    /// When the incident opened.
    pub opened_at: Timestamp,
    /// When it ended; `None`: it was open at the end.
    pub ended_at: Option<Timestamp>,
    /// Why it ended without recovery, if it did.
    pub closed: Option<CloseReason>,
    /// One line for people.
    pub cause: String,
    /// The votes that opened it.
    pub opening: Option<VoteTable>,
    /// The votes that ended it.
    pub closing: Option<VoteTable>,
    /// It opened or ended by answers that were not given but inferred.
    pub is_approximate: bool,
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The incidents, oldest first.
    pub episodes: Vec<Episode>,
    /// How many rounds were wanted.
    pub rounds: usize,
    /// To how many of them at least one answer was inferred.
    pub inferred_rounds: usize,
}

/// Runs a policy over a tape, from `begin`, before which nothing is on it, to `end`.
#[must_use]
pub fn run(tape: &Tape, policy: &Policy, begin: Timestamp, end: Timestamp) -> Run {
    let mut player = Player::new(tape, policy, begin);
    let blind_spans: Vec<_> =
        tape.entries().filter_map(|entry| Some((entry.at, blind_from(&entry.what)?))).collect();
    let mut blind_spans = blind_spans.into_iter().peekable();
    for entry in tape.entries() {
        let at = entry.at.min(end);
        while blind_spans.next_if(|(blind_at, _)| *blind_at < entry.at).is_some() {}
        // What fell into a blind span is judged after it is known as one.
        let limit = blind_spans.peek().map_or(at, |(_, from)| at.min(*from));
        player.run_until(limit, at);
        if entry.at > end {
            break;
        }
        player.hear(&entry.what);
    }
    player.run_until(end, end);
    player.run
}

fn blind_from(what: &What) -> Option<Timestamp> {
    match what {
        What::Event(Event::Blind { from, .. }) | What::Restarted { from, .. } => Some(*from),
        What::Event(_) | What::Sample(_) => None,
    }
}

/// The machine with what stands in for the world around it.
struct Player<'a> {
    tape: &'a Tape,
    evidence: Evidence<'a>,
    policy: &'a Policy,
    state: Box<State>,
    now: Timestamp,
    /// Inferred answers on their way, by their arrival.
    pending: BTreeMap<(Timestamp, RegionId), (&'a Sample, Timestamp)>,
    /// The starts of the inferred attempts that may still count.
    inferred: BTreeSet<(RegionId, Timestamp)>,
    /// How the monitors that it depends on were last said to stand.
    parents: Standing,
    run: Run,
}

impl<'a> Player<'a> {
    fn new(tape: &'a Tape, policy: &'a Policy, begin: Timestamp) -> Self {
        let mut player = Self {
            tape,
            evidence: Evidence::of(tape, policy),
            policy,
            state: monitor::new(policy, begin),
            now: begin,
            pending: BTreeMap::new(),
            inferred: BTreeSet::new(),
            parents: Standing::Well,
            run: Run::default(),
        };
        for region in policy.regions.iter().filter(|region| tape.begins_live(region)) {
            player.apply(&Event::RegionLive { region: region.clone(), live: true });
        }
        if tape.begins_paused() {
            player.apply(&Event::Paused);
        }
        player
    }

    /// Lets time pass up to `to`: inferred answers arrive, and deadlines before `limit` are reached.
    fn run_until(&mut self, limit: Timestamp, to: Timestamp) {
        loop {
            let answer = self.pending.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= to);
            let deadline = monitor::deadline(&self.state, self.policy)
                .map(|at| at.max(self.now))
                .filter(|at| *at < limit);
            match (answer, deadline) {
                (Some(answer), deadline) if deadline.is_none_or(|deadline| answer <= deadline) => {
                    self.now = self.now.max(answer);
                    if let Some((_, (sample, started_at))) = self.pending.pop_first() {
                        self.observe(sample, started_at);
                    }
                }
                (_, Some(deadline)) => {
                    self.now = deadline;
                    self.apply(&Event::DeadlineReached);
                }
                (_, None) => break,
            }
        }
        self.now = self.now.max(to);
    }

    fn hear(&mut self, what: &What) {
        match what {
            What::Sample(sample) => self.observe(sample, sample.started_at),
            What::Event(event) => {
                if let Event::Parents(standing) = event {
                    self.parents = standing.clone();
                }
                self.apply(event);
            }
            What::Restarted { from, to } => {
                for region in &self.policy.regions {
                    let gone = Event::RegionLive { region: region.clone(), live: false };
                    self.state = monitor::fold(self.state.clone(), self.policy, &gone, self.now);
                }
                self.pending.clear();
                self.apply(&Event::Blind { from: *from, to: *to });
            }
        }
    }

    fn observe(&mut self, sample: &Sample, started_at: Timestamp) {
        let result = Box::new(self.tape.result(sample, started_at));
        self.apply(&Event::Observed { agent: sample.agent, result });
    }

    fn apply(&mut self, event: &Event) {
        let state = std::mem::replace(&mut self.state, monitor::new(self.policy, self.now));
        let transition = monitor::apply(state, self.policy, event, self.now);
        self.state = transition.state;
        for effect in transition.effects {
            self.settle(effect);
        }
    }

    fn settle(&mut self, effect: Effect) {
        match effect {
            Effect::Verify { .. } => self.answer(),
            Effect::AskParents => self.apply(&Event::Parents(self.parents.clone())),
            Effect::Open(opening) => {
                let table = votes(opening.evidence);
                self.run.episodes.push(Episode {
                    started_at: opening.started_at,
                    opened_at: opening.opened_at,
                    ended_at: None,
                    closed: None,
                    cause: opening.cause,
                    is_approximate: table.as_ref().is_some_and(|table| self.rests_on_inference(table)),
                    opening: table,
                    closing: None,
                });
            }
            Effect::Resolve { resolved_at, evidence, .. } => {
                let table = votes(evidence);
                let inferred = table.as_ref().is_some_and(|table| self.rests_on_inference(table));
                if let Some(episode) = self.run.episodes.last_mut() {
                    episode.ended_at = Some(resolved_at);
                    episode.closing = table;
                    episode.is_approximate |= inferred;
                }
            }
            Effect::Close { at, reason, .. } => {
                if let Some(episode) = self.run.episodes.last_mut() {
                    episode.ended_at = Some(at);
                    episode.closed = Some(reason);
                }
            }
            Effect::MonitorStatus { .. }
            | Effect::HeartbeatStatus { .. }
            | Effect::Quarantine { .. }
            | Effect::Release
            | Effect::RunEnded(_)
            | Effect::Record { .. }
            | Effect::Notice { .. } => {}
        }
    }

    /// Infers the answers to a round that starts now, unless one was really run.
    fn answer(&mut self) {
        self.run.rounds += 1;
        if self.evidence.was_asked(self.now, self.now.plus(ASKED_WITHIN)) {
            return;
        }
        let reach = self.policy.freshness();
        let oldest = self.now.minus(reach);
        self.inferred.retain(|(_, at)| *at >= oldest);
        let live: Vec<RegionId> =
            self.state.regions().filter(|region| region.live).map(|region| region.region.clone()).collect();
        let mut is_inferred = false;
        for region in live {
            let Some(sample) = self.evidence.at(&region, self.now, reach) else { continue };
            is_inferred = true;
            let attempts = if sample.is_pass() || sample.is_definite_fail() { 1 } else { 2 };
            for attempt in 0..attempts {
                // Not the very start of the round: a vote that started then may be its trigger.
                let started_at = self.now.plus(SECOND_ATTEMPT_AFTER * attempt + Duration::from_micros(1));
                let arrives_at = started_at.plus(sample.duration.min(self.policy.timeout));
                self.inferred.insert((region.clone(), started_at));
                self.pending.insert((arrives_at, region.clone()), (sample, started_at));
            }
        }
        self.run.inferred_rounds += usize::from(is_inferred);
    }

    fn rests_on_inference(&self, table: &VoteTable) -> bool {
        table.rows.iter().any(|row| {
            let started_at = row.started_at.filter(|_| row.counted);
            started_at.is_some_and(|at| self.inferred.contains(&(row.region.clone(), at)))
        })
    }
}

fn votes(evidence: Basis) -> Option<VoteTable> {
    match evidence {
        Basis::Votes(table) => Some(table),
        Basis::Heartbeat(_) | Basis::Probe(_) | Basis::Coverage(_) => None,
    }
}
