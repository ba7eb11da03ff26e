//! What is remembered of a monitor between two events: at most 0.5 KB for three regions.

use std::time::Duration;

use model::{RegionId, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::exclusion::Exclusions;
use super::flapping::Openings;
use super::parents::Standing;
use super::wellness::{Components, Latency};
use super::{
    COVERAGE_PATIENCE, MAX_WAIT, Phase, Policy, REVIEW_LASTS, ROUND_MARGIN, SECOND_ATTEMPT_AFTER, Status,
};
use crate::maintenance::Standstill;
use crate::quorum::RegionSet;
use crate::vote::Vote;

/// The state of a monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Never `Maintenance`: what it is besides.
    pub(super) status: Status,
    pub(super) status_since: Timestamp,
    /// The number of the latest incident; it is open while the status is `Down`.
    pub(super) openings: u32,
    /// The number of the latest round: they rise, also across restarts, but are not consecutive.
    pub(super) rounds: u32,
    pub(super) pursuit: Pursuit,
    /// A round that must be run as soon as enough regions are live to decide it.
    pub(super) owed: Option<Owed>,
    pub(super) quiet: Quiet,
    /// When the last round ended; at the epoch before the first.
    #[serde(default)]
    pub(super) reviewed_at: Timestamp,
    /// Votes that started earlier do not count: the coordinator was blind since.
    pub(super) votes_valid_from: Timestamp,
    /// Too few votes mean nothing before this.
    pub(super) not_absent_before: Timestamp,
    /// Since when too few votes count, if that is so now.
    pub(super) short_since: Option<Timestamp>,
    pub(super) unverified_since: Option<Timestamp>,
    #[serde(default)]
    pub(super) maintenance: Standstill,
    /// None if there has been no incident lately.
    #[serde(default)]
    pub(super) recent: Option<Box<Openings>>,
    /// How the monitors that it depends on stand, unless they are all well.
    #[serde(default)]
    pub(super) parents: Option<Box<Standing>>,
    /// What its health reports name as failing, if anything.
    #[serde(default)]
    pub(super) components: Option<Box<Components>>,
    /// Agents in quarantine, if any. Told again after a restart.
    #[serde(skip)]
    pub(super) excluded: Option<Box<Exclusions>>,
    /// In the order of the policy's regions.
    pub(super) regions: Regions,
}

/// Those of most monitors fit beside the rest: of a million monitors each is out of every cache's reach when its result
/// comes, and a second place to fetch would cost as much as all there is to decide.
type Regions = SmallVec<[RegionState; 3]>;

/// What is known of one assigned region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionState {
    /// The region.
    pub region: RegionId,
    /// Whether an agent of it is connected.
    pub live: bool,
    /// The last round has looked at its present streak, so that the streak asks for no other for a while.
    pub(super) reviewed: bool,
    /// Another region failed during its present streak.
    #[serde(default)]
    pub(super) corroborated: bool,
    /// Checks in a row with the same verdict up to the present vote, those aside that could not measure.
    #[serde(default)]
    pub(super) streak: u16,
    /// That verdict.
    #[serde(default)]
    pub(super) streak_passes: bool,
    #[serde(default)]
    pub(super) latency: Latency,
    /// The start of its first failing check since it last passed, as often in a row as it must.
    pub(super) failing_since: Option<Timestamp>,
    /// Its newest vote.
    pub vote: Option<Vote>,
}

/// What the machine is in the middle of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Pursuit {
    Nothing,
    /// A round waits until the pause after the last one is over.
    Held {
        until: Timestamp,
    },
    Round(Box<Round>),
    /// A round said down; another will have to, once the confirmation period is over.
    Confirming(Confirmation),
    /// A round said down; whether a monitor that this one depends on is the cause is being found out.
    AwaitingParents(Box<AwaitedParents>),
    /// Between two recovery rounds.
    RecoveryPause {
        streak: u32,
        /// When the first of the good rounds started.
        since: Timestamp,
        until: Timestamp,
    },
}

/// A quorum that may be the parents' fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AwaitedParents {
    /// The round in which it was reached.
    pub(super) round: Box<Round>,
    /// When the outage began.
    pub(super) started_at: Timestamp,
    /// The parents' answer is waited for no longer.
    pub(super) until: Timestamp,
    /// They have said how they stand since the round began.
    pub(super) answered: bool,
}

/// Why a round is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Owed {
    Blind,
    PolicyChanged,
    /// A window of maintenance ended.
    Maintenance,
    /// What it depends on is well again, so that a failure is its own.
    Parents,
    /// A monitor that depends on it may be failing.
    Child,
    Quarantine,
}

/// A quorum that must hold for the confirmation period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Confirmation {
    /// When it was first reached.
    pub(super) since: Timestamp,
    /// When the outage began.
    pub(super) started_at: Timestamp,
}

impl Confirmation {
    pub(super) fn due_at(&self, policy: &Policy) -> Timestamp {
        self.since.plus(policy.confirmation_period)
    }
}

/// A question put to all regions at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) purpose: Purpose,
    pub(super) asked_at: Timestamp,
    /// The region for whose sake it was asked, if there was one.
    #[serde(default)]
    pub(super) asker: Option<usize>,
    pub(super) window: Window,
    /// What has been seen within the window, in the order of the regions.
    pub(super) seen: Vec<Seen>,
}

impl Round {
    /// When the last answer must have arrived.
    pub(super) fn ends_at(&self, policy: &Policy) -> Timestamp {
        self.asked_at.plus(SECOND_ATTEMPT_AFTER).plus(policy.timeout).plus(ROUND_MARGIN)
    }
}

/// What a round decides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Whether the monitor is down.
    Verify,
    /// Whether it still is at the end of the confirmation period.
    Confirm(Confirmation),
    /// Whether it is up again; `streak` rounds before this one said so, the first of which started at `since`.
    Recover { streak: u32, since: Option<Timestamp> },
}

/// Which checks count in a round, by their start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// Failing checks from here on: a little before the trigger, because it may have hung for its whole timeout.
    pub(super) failing_from: Timestamp,
    /// Passing checks from here on: only what answers the question refutes a failure.
    pub(super) passing_from: Timestamp,
}

/// A region's failing attempts within a round's window since its last pass, by their starts: attempts may arrive in
/// any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// Failing attempts that started up to here say nothing, because the target passed since.
    pub(super) passed: Option<Timestamp>,
}

/// The pause after rounds that changed nothing: 1, 2, 4 … 30 s, and none after a while without such rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quiet {
    /// For the sake of the regions that are held back, no round starts before this.
    pub(super) until: Timestamp,
    idle_rounds: u8,
    /// The regions that these rounds refuted. What another finds is not put off for their noise.
    #[serde(default)]
    held: RegionSet,
}

impl Quiet {
    pub(super) const fn since(now: Timestamp) -> Self {
        Self { until: now, idle_rounds: 0, held: RegionSet::EMPTY }
    }

    /// A round ended at `now`, changed nothing and refuted these regions.
    pub(super) fn extend(&mut self, refuted: RegionSet, now: Timestamp) {
        let wait = Duration::from_secs(1 << self.idle_rounds.min(5)).min(MAX_WAIT);
        let held = if now < self.until { self.held.or(refuted) } else { refuted };
        *self = Self { until: now.plus(wait), idle_rounds: self.idle_rounds.saturating_add(1).min(5), held };
    }

    /// When a region may start a round, if not now.
    pub(super) fn holds_back(&self, region: usize, now: Timestamp) -> Option<Timestamp> {
        (now < self.until && self.held.contains(region)).then_some(self.until)
    }

    /// A round is wanted at `now`. If one and a half intervals went by without, some region had a clean check in
    /// between, and the next pause is the shortest again.
    pub(super) fn wanted(&mut self, interval: Duration, now: Timestamp) {
        if now >= self.until.plus(interval.saturating_add(interval / 2)) {
            *self = Self::since(now);
        }
    }
}

impl State {
    pub(super) fn begin(policy: &Policy, now: Timestamp) -> Box<Self> {
        let mut state = Box::new(Self {
            status: Status::Pending,
            status_since: now,
            openings: 0,
            rounds: 0,
            pursuit: Pursuit::Nothing,
            owed: None,
            quiet: Quiet::since(now),
            reviewed_at: Timestamp::default(),
            votes_valid_from: Timestamp::MIN,
            not_absent_before: now.plus(policy.timeout).plus(COVERAGE_PATIENCE),
            short_since: Some(now),
            unverified_since: None,
            maintenance: Standstill::Never,
            recent: None,
            parents: None,
            components: None,
            excluded: None,
            regions: Regions::new(),
        });
        state.assign(policy);
        state
    }

    /// What the monitor is.
    #[must_use]
    pub const fn status(&self) -> Status {
        if self.maintenance.is_on() && !self.is_paused() { Status::Maintenance } else { self.status }
    }

    /// Whether a window of maintenance is open for it, be it paused or not.
    #[must_use]
    pub const fn is_in_maintenance(&self) -> bool {
        self.maintenance.is_on()
    }

    /// Since when.
    #[must_use]
    pub const fn status_since(&self) -> Timestamp {
        self.status_since
    }

    /// What the machine is in the middle of.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match (&self.pursuit, self.status) {
            (Pursuit::Nothing, _) | (Pursuit::Held { .. }, Status::Down) => Phase::Steady,
            (Pursuit::Round(_) | Pursuit::RecoveryPause { .. }, Status::Down) => Phase::Recovering,
            _ => Phase::Verifying,
        }
    }

    /// The number of the open incident.
    #[must_use]
    pub const fn open_incident(&self) -> Option<u32> {
        if self.is_down() { Some(self.openings) } else { None }
    }

    /// The number of the latest incident; 0 if there has been none.
    #[must_use]
    pub const fn incidents(&self) -> u32 {
        self.openings
    }

    /// The number of the round that is under way.
    #[must_use]
    pub fn round(&self) -> Option<u32> {
        match &self.pursuit {
            Pursuit::Round(round) => Some(round.number),
            _ => None,
        }
    }

    /// The assigned regions, in the order of their ids.
    pub fn regions(&self) -> impl Iterator<Item = &RegionState> {
        self.regions.iter()
    }

    /// Whether some region's newest vote is a failure.
    #[must_use]
    pub fn has_failing_votes(&self) -> bool {
        self.regions.iter().any(|region| region.vote.as_ref().is_some_and(Vote::is_fail))
    }

    /// Whether it cannot be judged: too few votes count, and have for a while.
    #[must_use]
    pub const fn is_undecidable(&self) -> bool {
        // What is unknown because of a monitor that it depends on has votes enough.
        let is_said =
            matches!(self.status, Status::Unknown) || (self.is_down() && self.unverified_since.is_some());
        is_said && self.short_since.is_some()
    }

    /// Since when the status rests on nothing that was seen: the coordinator was blind, or too few regions could be
    /// heard, and nothing has been decided since.
    #[must_use]
    pub const fn unverified_since(&self) -> Option<Timestamp> {
        self.unverified_since
    }

    /// How the monitors that it depends on stand.
    pub(super) fn parents(&self) -> &Standing {
        self.parents.as_deref().unwrap_or(&Standing::Well)
    }

    /// Takes note of how they stand; returns how they did before.
    pub(super) fn set_parents(&mut self, standing: &Standing) -> Standing {
        let news = (*standing != Standing::Well).then(|| Box::new(standing.clone()));
        std::mem::replace(&mut self.parents, news).map_or(Standing::Well, |before| *before)
    }

    /// The parent to which a failure is put down, with what is wrong with it, while the status is `Unknown` for that.
    #[must_use]
    pub fn put_down_to(&self) -> Option<String> {
        let fails = self.regions.iter().any(|region| region.vote.as_ref().is_some_and(Vote::is_fail));
        (self.status == Status::Unknown && fails)
            .then(|| self.parents().to_string())
            .filter(|text| !text.is_empty())
    }

    pub(super) const fn is_down(&self) -> bool {
        matches!(self.status, Status::Down)
    }

    pub(super) const fn is_paused(&self) -> bool {
        matches!(self.status, Status::Paused)
    }

    /// Whether nothing is judged.
    pub(super) const fn stands_still(&self) -> bool {
        self.is_paused() || self.is_in_maintenance()
    }

    /// Whether a region's vote is reason enough to ask: no round has looked at its streak, or so long before that the
    /// answers may have changed.
    pub(super) fn is_news(&self, region: &RegionState, vote: &Vote) -> bool {
        !region.reviewed || vote.started_at >= self.reviewed_at.plus(REVIEW_LASTS)
    }

    pub(super) fn region_mut(&mut self, region: &RegionId) -> Option<&mut RegionState> {
        self.regions.iter_mut().find(|state| state.region == *region)
    }

    /// Takes over the policy's regions: drops those no longer assigned, adds new ones as not live. Says whether that
    /// changed anything.
    pub(super) fn assign(&mut self, policy: &Policy) -> bool {
        if self.regions.iter().map(|state| &state.region).eq(&policy.regions) {
            return false;
        }
        let mut before = std::mem::take(&mut self.regions);
        self.regions = policy
            .regions
            .iter()
            .map(|region| match before.iter().position(|state| state.region == *region) {
                Some(index) => before.swap_remove(index),
                None => RegionState::new(region.clone()),
            })
            .collect();
        true
    }

    pub(super) fn forget_votes(&mut self) {
        self.components = None;
        for region in &mut self.regions {
            region.forget_vote();
        }
    }
}

impl RegionState {
    pub(super) fn forget_vote(&mut self) {
        *self = Self { live: self.live, ..Self::new(self.region.clone()) };
    }

    fn new(region: RegionId) -> Self {
        Self {
            region,
            live: false,
            reviewed: false,
            corroborated: false,
            streak: 0,
            streak_passes: false,
            latency: Latency::default(),
            failing_since: None,
            vote: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases};

    use super::*;
    use crate::monitor::{Event, apply};

    #[test]
    fn a_monitor_of_three_regions_takes_at_most_half_a_kilobyte() {
        // With what the allocator adds and the pointer to it.
        let size = (size_of::<State>() + 8).next_multiple_of(16) + size_of::<Box<State>>();
        assert!(size <= 512, "{size}: {} of it regions", size_of::<Regions>());
        assert!(Regions::new().inline_size() >= 3);
    }

    #[test]
    fn a_pause_that_ends_as_a_round_ends_holds_nobody_back_any_more() {
        let (mut first, mut second) = (RegionSet::EMPTY, RegionSet::EMPTY);
        first.insert(0);
        second.insert(1);
        let begun = Timestamp::from_secs(100);
        let mut quiet = Quiet::since(begun);
        quiet.extend(first, begun);
        let end = quiet.holds_back(0, begun).unwrap();
        let mut still = quiet;
        still.extend(second, end.minus(Duration::from_micros(1)));
        assert!(still.holds_back(0, end).is_some() && still.holds_back(1, end).is_some());
        quiet.extend(second, end);
        assert_eq!(quiet.holds_back(0, end), None);
        assert!(quiet.holds_back(1, end).is_some());
    }

    /// A monitor of one region that is live and has voted so, at the Unix epoch.
    fn after(events: &[Event]) -> (Policy, Box<State>) {
        let regions: Vec<RegionId> = vec!["eu".parse().unwrap()];
        let policy = Policy {
            quorum: crate::quorum::Policy::default().over(&regions),
            regions,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: crate::monitor::Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        };
        let mut state = State::begin(&policy, Timestamp::EPOCH);
        for event in [live(true)].iter().chain(events) {
            state = apply(state, &policy, event, Timestamp::EPOCH).state;
        }
        (policy, state)
    }

    fn live(live: bool) -> Event {
        Event::RegionLive { region: "eu".parse().unwrap(), live }
    }

    fn voted(outcome: Outcome) -> Event {
        let result = CheckResult {
            monitor: MonitorId::from_bytes([1; 16]),
            spec_revision: 1,
            region: "eu".parse().unwrap(),
            slot: 0,
            attempt: 0,
            round: 0,
            started_at: Timestamp::EPOCH,
            duration: Duration::from_millis(1),
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        Event::Observed { agent: AgentId::from_bytes([2; 16]), result: Box::new(result) }
    }

    fn failed() -> Event {
        voted(Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")))
    }

    #[test]
    fn the_number_of_incidents_outlives_them() {
        let (_, up) = after(&[voted(Outcome::Pass)]);
        assert_eq!((up.incidents(), up.open_incident(), up.has_failing_votes()), (0, None, false));
        let (policy, mut state) = after(&[failed()]);
        assert_eq!((state.incidents(), state.open_incident(), state.has_failing_votes()), (1, Some(1), true));
        for event in [Event::Paused, Event::Resumed, failed()] {
            state = apply(state, &policy, &event, Timestamp::EPOCH).state;
        }
        assert_eq!((state.incidents(), state.open_incident()), (2, Some(2)));
        let closed = apply(state, &policy, &Event::Paused, Timestamp::EPOCH).state;
        assert_eq!((closed.incidents(), closed.open_incident()), (2, None));
    }

    #[test]
    fn a_status_is_told_with_its_beginning() {
        let (policy, up) = after(&[voted(Outcome::Pass)]);
        let paused = apply(up, &policy, &Event::Paused, Timestamp::from_secs(7)).state;
        assert_eq!((paused.status(), paused.status_since()), (Status::Paused, Timestamp::from_secs(7)));
    }

    #[test]
    fn what_is_known_of_a_region_outlives_a_change_of_the_others() {
        let (policy, state) = after(&[voted(Outcome::Pass)]);
        let regions: Vec<RegionId> = vec!["ap".parse().unwrap(), "eu".parse().unwrap()];
        let wider = Policy { quorum: policy.quorum.policy().over(&regions), regions, ..policy.clone() };
        let changed = Event::PolicyChanged { respec: false };
        let state = apply(state, &wider, &changed, Timestamp::EPOCH).state;
        let known: Vec<_> =
            state.regions().map(|it| (it.region.as_str(), it.live, it.vote.is_some())).collect();
        assert_eq!(known, [("ap", false, false), ("eu", true, true)]);
        let state = apply(state, &policy, &changed, Timestamp::EPOCH).state;
        let known: Vec<_> =
            state.regions().map(|it| (it.region.as_str(), it.live, it.vote.is_some())).collect();
        assert_eq!(known, [("eu", true, true)]);
    }

    #[test]
    fn a_round_verifies_a_failure_or_looks_for_recovery() {
        let later = Timestamp::from_secs(10);
        let (policy, up) = after(&[voted(Outcome::Pass)]);
        let asked = apply(up, &policy, &Event::Asked, later).state;
        assert_eq!((asked.phase(), asked.round().is_some()), (Phase::Verifying, true));
        let (policy, down) = after(&[failed()]);
        assert_eq!((down.phase(), down.round()), (Phase::Steady, None));
        let reviewed = apply(down, &policy, &Event::PolicyChanged { respec: false }, later).state;
        assert_eq!((reviewed.phase(), reviewed.round().is_some()), (Phase::Recovering, true));
    }

    #[test]
    fn undecidable_is_what_too_few_votes_leave_unknown_or_unverified() {
        let unheard = |events: &[Event]| {
            let (policy, state) = after(events);
            let gone = apply(state, &policy, &live(false), Timestamp::EPOCH).state;
            assert!(!gone.is_undecidable(), "at first that is borne");
            apply(gone, &policy, &Event::DeadlineReached, Timestamp::from_secs(70)).state
        };
        let unknown = unheard(&[voted(Outcome::Pass)]);
        assert_eq!((unknown.status(), unknown.is_undecidable()), (Status::Unknown, true));
        let down = unheard(&[failed()]);
        assert_eq!((down.status(), down.is_undecidable()), (Status::Down, true));
        let (_, up) = after(&[voted(Outcome::Pass)]);
        assert!(!up.is_undecidable());
        let (_, down) = after(&[failed()]);
        assert!(!down.is_undecidable());
    }

    #[test]
    fn what_is_unknown_is_put_down_to_a_parent_only_if_it_fails() {
        let parent = Standing::Failing { name: "db".into(), trouble: crate::monitor::Trouble::Down };
        let (_, child) = after(&[voted(Outcome::Pass), Event::Parents(parent.clone())]);
        assert_eq!(child.put_down_to(), None, "it is well");
        let (_, child) = after(&[voted(Outcome::Pass), Event::Parents(parent.clone()), failed()]);
        assert_eq!(child.put_down_to(), None, "that was no news");
        let (policy, child) = after(&[Event::Parents(parent.clone()), failed()]);
        assert_eq!(child.put_down_to().as_deref(), Some("db, which is down"));
        assert!(!child.is_undecidable(), "it has votes enough");
        let well = apply(child, &policy, &Event::Parents(Standing::Well), Timestamp::EPOCH).state;
        assert_eq!(well.put_down_to(), None);
        let (policy, silent) = after(&[Event::Parents(parent.clone()), voted(Outcome::Pass), live(false)]);
        let silent = apply(silent, &policy, &Event::DeadlineReached, Timestamp::from_secs(70)).state;
        assert_eq!((silent.status(), silent.put_down_to()), (Status::Unknown, None), "it is silent");
        let (_, down) = after(&[failed(), Event::Parents(parent)]);
        assert_eq!((down.status(), down.put_down_to()), (Status::Down, None));
    }

    #[test]
    fn pauses_double_to_thirty_seconds_and_end_after_a_clean_interval() {
        let mut now = Timestamp::from_secs(0);
        let interval = Duration::from_secs(10);
        let mut quiet = Quiet::since(now);
        let pauses = [1, 2, 4, 8, 16, 30, 30].map(|expected| {
            quiet.extend(RegionSet::EMPTY, now);
            let pause = quiet.until.since(now).as_secs();
            now = quiet.until;
            quiet.wanted(interval, now);
            (expected, pause)
        });
        assert!(pauses.iter().all(|(expected, pause)| expected == pause), "{pauses:?}");
        now = now.plus(Duration::from_secs(15));
        quiet.wanted(interval, now);
        quiet.extend(RegionSet::EMPTY, now);
        assert_eq!(quiet.until.since(now).as_secs(), 1);
    }
}
