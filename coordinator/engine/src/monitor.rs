//! The monitor machine: regions vote, rounds verify, incidents open and resolve.
//!
//! ```text
//!  Pending ──first decision──▶ Up ⇄ Degraded ──round: down──▶ Down ──recovery rounds: up──▶ Up
//!                              │    (below quorum)            (an incident is open)
//!                              └──too few votes for 60 s──▶ Unknown ──next decision──▶
//!  any ──▶ Paused (remembers nothing it could not learn again)
//!  any ══▶ Maintenance ══▶ as before (an incident stays open, nothing is judged: `maintenance`)
//! ```
//!
//! In come results, what is known of regions, deadlines and commands; out go [`Effect`]s. A result only ever *votes*. Down is decided nowhere but in a round, in which
//! all regions have been asked since the first failure, and an incident ends nowhere but in rounds that follow it.
//! Silence decides nothing: what was failing when it was last heard is taken to fail still, until it passes.
//!
//! Status `Down` means that an incident is open, and the reverse. When the regions can no longer be heard, a monitor
//! that is down stays down and is marked unverified; any other becomes `Unknown`.
//!
//! `monitor/` holds the parts in the order in which an event passes them: `ballot`
//! (a result becomes a vote), `tally` (votes are counted), `round` (rounds start and end), `incident` (what a
//! decision causes), `coverage` (too few votes), `table` and `explain` (why, for people).

mod ballot;
mod contradiction;
mod coverage;
mod exclusion;
mod explain;
mod flapping;
mod incident;
mod maintenance;
mod parents;
mod round;
mod state;
mod table;
mod tally;
mod wellness;

use std::fmt;
use std::time::Duration;

use model::{AgentId, CheckResult, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::effect::{CloseReason, Effect, RoundReason, Transition};
use crate::quorum;

pub use contradiction::{Contradiction, Judgement, contradictions, judge};
pub use explain::{Explanation, explain};
pub use parents::{Standing, Trouble, standing};
pub use state::{RegionState, State};
pub use table::table;

use state::{Owed, Pursuit, Quiet};

/// A vote counts for `interval + timeout +` this long from its start.
pub const FRESHNESS_MARGIN: Duration = Duration::from_secs(10);
/// How long too few votes are borne before the status is `Unknown`, and how long nobody is judged absent after the
/// coordinator could not see.
pub const COVERAGE_PATIENCE: Duration = Duration::from_secs(60);
/// Two failing attempts that started at least this far apart are more than noise. A little less than the second that
/// an agent waits between them.
pub const CONFIRMATION_GAP: Duration = Duration::from_millis(900);
/// Pause between the second attempt of a round and the first.
pub const SECOND_ATTEMPT_AFTER: Duration = Duration::from_secs(1);
/// How long answers to a round may be on their way.
pub const ROUND_MARGIN: Duration = Duration::from_secs(5);
/// Recovery rounds start this far apart, whatever the interval.
pub const RECOVERY_PAUSE: Duration = Duration::from_secs(10);
/// The longest wait after a round that changed nothing.
pub const MAX_WAIT: Duration = Duration::from_secs(30);
/// For so long a round has answered what made a region ask; what the region finds later is news again. A little less
/// than the five minutes that often lie between two checks, so that at such intervals and longer ones every failing check
/// asks: the next region's may be long in coming. Where checks come more often the others are heard soon anyway, and a
/// region that fails for good costs a round in four minutes.
pub const REVIEW_LASTS: Duration = Duration::from_secs(240);

/// What a user decided about a monitor, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The assigned regions: sorted, without repetition, at least one.
    pub regions: Vec<RegionId>,
    /// Which of them must agree; applied to these regions.
    pub quorum: quorum::Quorum,
    /// Time between two scheduled checks from one region.
    pub interval: Duration,
    /// Time one attempt may take.
    pub timeout: Duration,
    /// How long the quorum must hold before an incident opens; zero for at once.
    pub confirmation_period: Duration,
    /// How many recovery rounds in a row must be good before an incident resolves; 0 counts as 1.
    pub recovery_checks: u32,
    /// How much more evidence a decision needs than is usual.
    pub thresholds: Thresholds,
    /// Whether it depends on other monitors.
    pub has_parents: bool,
    /// The version of target, interval, timeout and regions that results must have followed.
    pub spec_revision: u64,
}

/// How much evidence a region's vote needs, how long a recovery must last, and how slow is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Failing checks in a row that make a region's failure count and ask the others; 0 counts as 1.
    pub failures: u16,
    /// Passing checks in a row that end a region's failure; 0 counts as 1.
    pub passes: u16,
    /// How long a recovery must last before the incident resolves, from the start of the first good round.
    pub recovery_period: Duration,
    /// Checks that pass but take longer make the monitor degraded.
    pub latency_limit: Option<Duration>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { failures: 1, passes: 1, recovery_period: Duration::ZERO, latency_limit: None }
    }
}

impl Policy {
    /// How long a vote counts, from its start.
    #[must_use]
    pub fn freshness(&self) -> Duration {
        self.interval.saturating_add(self.timeout).saturating_add(FRESHNESS_MARGIN)
    }
}

/// What a monitor is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Nothing has been decided yet.
    Pending,
    /// It answers.
    Up,
    /// It answers but is not well: some regions fail below the quorum, or it says so itself.
    Degraded,
    /// It does not answer; an incident is open.
    Down,
    /// Too few regions can say.
    Unknown,
    /// Nobody asks.
    Paused,
    /// A window of maintenance is open: checks go on, nothing is judged.
    Maintenance,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the machine is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing.
    Steady,
    /// Finding out whether it is down.
    Verifying,
    /// Finding out whether it is up again.
    Recovering,
}

/// What can happen to a monitor.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An agent measured. Late, repeated and reordered results are welcome.
    Observed {
        /// The agent.
        agent: AgentId,
        /// What it found.
        result: Box<CheckResult>,
    },
    /// A scheduled check is still pending long after it usually ends.
    Slow {
        /// From where.
        region: RegionId,
        /// When it started.
        started_at: Timestamp,
    },
    /// A region can be asked from now on, or no longer. Regions start as not live.
    RegionLive {
        /// The region.
        region: RegionId,
        /// Whether an agent of it is connected.
        live: bool,
    },
    /// The instant that [`deadline`] named has come.
    DeadlineReached,
    /// The coordinator could neither see nor ask during this span. Comes before every other event that follows the
    /// span, deadlines included, because those would be judged as if it had seen. After a restart no region is live
    /// until its agents are back; [`fold`] tells that without judging anything.
    Blind {
        /// When it last could.
        from: Timestamp,
        /// Since when it can again.
        to: Timestamp,
    },
    /// The policy passed along is a new one.
    PolicyChanged {
        /// Whether target, interval, timeout or regions changed, so that earlier results say nothing any more.
        respec: bool,
    },
    /// How the monitors that this one depends on stand now.
    Parents(Standing),
    /// A monitor that depends on this one may be failing: this one is checked at once.
    Asked,
    /// An agent's votes do not count, from checks on that started at `since`.
    Quarantined {
        /// The agent.
        agent: AgentId,
        /// What people call it.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// An agent's votes count again.
    Released {
        /// The agent.
        agent: AgentId,
    },
    /// Checking stops until `Resumed`.
    Paused,
    /// Checking begins again, as for a new monitor.
    Resumed,
    /// A window of maintenance opened. Comes before a [`Blind`](Self::Blind) of the same instant.
    MaintenanceStarted {
        /// The planned start, which may lie in a time when nobody could look.
        at: Timestamp,
    },
    /// No window of maintenance is open any more. Comes after a [`Blind`](Self::Blind) of the same instant.
    MaintenanceEnded,
    /// The monitor is gone.
    Deleted,
}

/// The state of a monitor that begins at `now`.
#[must_use]
pub fn new(policy: &Policy, now: Timestamp) -> Box<State> {
    State::begin(policy, now)
}

/// Applies one event. Total and deterministic.
#[must_use]
pub fn apply(state: Box<State>, policy: &Policy, event: &Event, now: Timestamp) -> Transition<Box<State>> {
    let mut step = Step { state, policy, now, asking: None, effects: Vec::new() };
    step.note_lapsed_coverage();
    match event {
        Event::Observed { agent, result } => step.observe(*agent, result),
        Event::Slow { region, started_at } => step.slow(region, *started_at),
        Event::RegionLive { region, live } => step.region_live(region, *live),
        Event::DeadlineReached => {}
        Event::Blind { from, to } => step.blind(*from, *to),
        Event::PolicyChanged { respec } => step.policy_changed(*respec),
        Event::Parents(standing) => step.parents_stand(standing),
        Event::Asked => step.asked(),
        Event::Quarantined { agent, name, since } => step.quarantine(*agent, name, *since),
        Event::Released { agent } => step.release(*agent),
        Event::Paused => step.paused(),
        Event::Resumed => step.resumed(),
        Event::MaintenanceStarted { at } => step.maintenance_started(*at),
        Event::MaintenanceEnded => step.maintenance_ended(),
        Event::Deleted => step.deleted(),
    }
    step.settle();
    Transition { state: step.state, effects: step.effects }
}

/// The next instant at which [`Event::DeadlineReached`] would change something. After `apply(.., now)` it is later
/// than that `now` (I8).
#[must_use]
pub fn deadline(state: &State, policy: &Policy) -> Option<Timestamp> {
    if state.stands_still() {
        return None;
    }
    let pursuit = match &state.pursuit {
        Pursuit::Nothing => None,
        Pursuit::Held { until } => Some(*until),
        Pursuit::Round(round) => Some(round.ends_at(policy)),
        Pursuit::Confirming(confirmation) => Some(confirmation.due_at(policy)),
        Pursuit::AwaitingParents(awaited) => Some(awaited.until),
        Pursuit::RecoveryPause { until, .. } => Some(*until),
    };
    pursuit.into_iter().chain(coverage::deadline(state, policy)).min()
}

/// Replays one event after a restart: votes, streaks and what is known of regions, but no status, incident, round or
/// effect, which come from their own rows.
#[must_use]
pub fn fold(state: Box<State>, policy: &Policy, event: &Event, now: Timestamp) -> Box<State> {
    let mut step = Step { state, policy, now, asking: None, effects: Vec::new() };
    match event {
        Event::Observed { agent, result } => step.observe(*agent, result),
        Event::RegionLive { region, live } => step.region_live(region, *live),
        Event::PolicyChanged { respec } => {
            step.state.assign(policy);
            if *respec {
                step.state.forget_votes();
            }
        }
        Event::Paused | Event::Resumed => step.state.forget_votes(),
        Event::Parents(standing) => drop(step.state.set_parents(standing)),
        Event::Quarantined { agent, name, since } => step.state.exclude(*agent, name, *since),
        Event::Released { agent } => step.state.readmit(*agent),
        Event::Slow { .. }
        | Event::DeadlineReached
        | Event::Blind { .. }
        | Event::Asked
        | Event::MaintenanceStarted { .. }
        | Event::MaintenanceEnded
        | Event::Deleted => {}
    }
    step.state
}

/// One event on its way through the machine.
struct Step<'a> {
    state: Box<State>,
    policy: &'a Policy,
    now: Timestamp,
    /// Why the round that was started last was.
    asking: Option<RoundReason>,
    effects: Vec<Effect>,
}

impl Step<'_> {
    fn region_live(&mut self, region: &RegionId, live: bool) {
        if let Some(region) = self.state.region_mut(region) {
            region.live = live;
        }
    }

    /// Votes from before `to` neither open nor resolve, and nobody is judged absent before everybody could have been
    /// heard again. Statuses stay. What was in question is asked again at once.
    fn blind(&mut self, from: Timestamp, to: Timestamp) {
        if self.state.is_paused() {
            return;
        }
        let to = to.min(self.now);
        let in_question = self.state.is_down()
            || self.state.status == Status::Pending
            || !matches!(self.state.pursuit, Pursuit::Nothing)
            || self
                .state
                .regions
                .iter()
                .any(|region| region.vote.as_ref().is_some_and(|vote| vote.is_fail()));
        self.state.votes_valid_from = self.state.votes_valid_from.max(to);
        let patience = COVERAGE_PATIENCE.max(self.policy.freshness());
        self.state.not_absent_before = self.state.not_absent_before.max(to.plus(patience));
        self.state.unverified_since.get_or_insert_with(|| from.min(to));
        // The clock may have stood ahead before: a vote from the future would outlive every real one.
        for region in &mut self.state.regions {
            region.vote = region.vote.take().filter(|vote| vote.started_at <= self.now);
            region.failing_since = region.failing_since.filter(|since| *since <= self.now);
        }
        self.drop_pursuit();
        self.state.owed = in_question.then_some(Owed::Blind);
    }

    fn policy_changed(&mut self, respec: bool) {
        if self.state.is_paused() {
            self.state.assign(self.policy);
            return;
        }
        let reassigned = self.state.assign(self.policy);
        if respec {
            self.state.forget_votes();
            self.state.not_absent_before = self.now.plus(self.policy.timeout).plus(COVERAGE_PATIENCE);
        }
        if respec || reassigned {
            self.drop_pursuit();
            self.state.quiet = Quiet::since(self.now);
        }
        if self.state.is_down() {
            self.drop_pursuit();
            self.state.owed = Some(Owed::PolicyChanged);
            self.record(format!("policy changed to {}", self.policy.quorum.describe()));
        }
    }

    fn paused(&mut self) {
        if self.state.is_paused() {
            return;
        }
        self.close(CloseReason::Paused);
        self.state.forget_votes();
        self.drop_pursuit();
        self.change_status(Status::Paused, "paused".to_owned());
        self.state.unverified_since = None;
    }

    fn resumed(&mut self) {
        if !self.state.is_paused() {
            return;
        }
        self.state.forget_votes();
        self.state.not_absent_before = self.now.plus(self.policy.timeout).plus(COVERAGE_PATIENCE);
        self.state.quiet = Quiet::since(self.now);
        self.change_status(Status::Pending, "resumed".to_owned());
    }

    fn deleted(&mut self) {
        self.close(CloseReason::Deleted);
        self.state.forget_votes();
        self.drop_pursuit();
        // What is gone has no status that anybody is told of; this one keeps it silent.
        self.state.status = Status::Paused;
    }

    fn drop_pursuit(&mut self) {
        self.state.pursuit = Pursuit::Nothing;
        self.state.owed = None;
    }

    /// Does all that is due at `now`, until nothing is.
    fn settle(&mut self) {
        let stands_still = self.state.stands_still();
        if !stands_still {
            while self.advance() {}
            self.shelter();
        }
        // Nothing from here on changes what votes count.
        let tally = self.count().tally();
        self.note_coverage(tally);
        if !stands_still {
            self.weigh_status(tally);
            self.judge_coverage(tally);
        }
        // A round that was decided as soon as it started asks nobody.
        if let (Some(round), Some(why)) = (self.state.round(), self.asking.take()) {
            self.effects.push(Effect::Verify { round, why });
        }
    }
}
