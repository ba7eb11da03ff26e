//! The runs of a job that are under way, each timed, also where they overlap.
//!
//! A start begins a run and the report of its end ends it, matched by the run's id. A job without ids has one run at a
//! time: it begins anew with each start. An end without id is that of the run without id; if there is none, of the only
//! run there is. Bounded: beyond [`MAX_RUNS`] the oldest is forgotten.
//!
//! A run that is overdue, by its length or its silence, is taken for lost and opens an incident. What began before the
//! coordinator was away is in doubt and held to nothing, until it is heard of again.

use std::time::Duration;

use model::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{PingKind, Policy, RunLimits, State, Status};
use crate::effect::{Effect, HeartbeatFailure, RunEnd, RunLoss, RunOutcome};
use crate::phrase;

/// So many runs of one job are followed at once.
pub const MAX_RUNS: usize = 32;
/// A start and an end that lie further apart hardly belong together.
pub const MAX_TIMED: Duration = Duration::from_secs(72 * 3_600);

/// A run that began and has not said that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id, if the job gives ids.
    pub id: Option<RunId>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last known to live.
    pub heard_at: Timestamp,
    /// How long it has not counted that it is under way: in maintenance, or before an edit.
    #[serde(default)]
    stood_still: Duration,
    /// The same of its silence.
    #[serde(default)]
    silence_excused: Duration,
    #[serde(default)]
    standing: Standing,
}

/// What is thought of a run that has not said that it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    /// It is under way.
    #[default]
    Live,
    /// It may have ended while nobody could hear.
    Doubtful,
    /// It is taken for lost. Its end is timed all the same, should it come.
    Lost,
}

impl Run {
    /// Whether it is under way, as far as can be told.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.standing, Standing::Live)
    }

    /// When it is overdue, and by what.
    fn limit(&self, limits: &RunLimits) -> Option<(Timestamp, RunLoss)> {
        let too_long = |max| (self.started_at.plus(self.stood_still).plus(max), RunLoss::TooLong);
        let silent = |every| (self.heard_at.plus(self.silence_excused).plus(every), RunLoss::Silent);
        let limits = [limits.max_runtime.map(too_long), limits.keep_alive.map(silent)];
        limits.into_iter().flatten().min_by_key(|(at, _)| *at).filter(|_| self.is_live())
    }
}

/// In order of their start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn all(&self) -> &[Run] {
        &self.0
    }

    fn position(&self, id: Option<RunId>) -> Option<usize> {
        self.0.iter().position(|run| run.id == id)
    }

    fn insert(&mut self, run: Run) {
        let place = self.0.partition_point(|other| other.started_at <= run.started_at);
        self.0.insert(place, run);
    }
}

impl State {
    /// When a run under way is overdue.
    pub(super) fn run_limit(&self, policy: &Policy) -> Option<Timestamp> {
        self.runs.0.iter().filter_map(|run| run.limit(&policy.runs)).map(|(at, _)| at).min()
    }

    /// Whether a run began since the job was last heard to have ended one.
    pub(super) fn has_started(&self) -> bool {
        let since = self.counted_from.unwrap_or(Timestamp::MIN);
        self.runs.0.iter().any(|run| run.standing != Standing::Lost && run.started_at >= since)
    }
}

impl Step<'_> {
    /// What a ping says of runs. `is_later`: than every report of an end so far.
    pub(super) fn follow_runs(&mut self, kind: PingKind, at: Timestamp, id: Option<RunId>, is_later: bool) {
        let outcome = match kind {
            PingKind::Start | PingKind::Log if self.state.status == Status::Paused => return,
            PingKind::Start if is_later => return self.start_run(id, at),
            PingKind::Start => return,
            PingKind::Log => return self.hear_of_run(id, at),
            PingKind::Success => RunOutcome::Succeeded { exit_code: None },
            PingKind::Exit(0) => RunOutcome::Succeeded { exit_code: Some(0) },
            PingKind::Fail => RunOutcome::Failed { exit_code: None },
            PingKind::Exit(code) => RunOutcome::Failed { exit_code: Some(code) },
        };
        let runs = &mut self.state.runs;
        // Of what began that long ago no end would be timed; a job that is killed never tells.
        let is_bounded = self.policy.runs.bounds_runs();
        runs.0.retain(|run| at.since(run.started_at) < MAX_TIMED || is_bounded && run.is_live());
        let only = (is_later && id.is_none() && runs.0.len() == 1).then_some(0);
        let ended = runs.position(id).or(only).filter(|place| runs.0[*place].started_at <= at);
        let ended = ended.map(|place| runs.0.remove(place));
        let tells = id.is_some() || outcome != RunOutcome::Succeeded { exit_code: None };
        if ended.is_some() || is_later && tells {
            self.effects.push(Effect::RunEnded(RunEnd {
                run: ended.map_or(id, |run| run.id),
                started_at: ended.map(|run| run.started_at),
                ended_at: at,
                outcome,
            }));
        }
    }

    /// The runs under way may have ended while nobody could hear until `to`. Says whether there were any.
    pub(super) fn doubt_runs(&mut self, to: Timestamp) -> bool {
        let mut doubted = vec![];
        for run in self.state.runs.0.iter_mut().filter(|run| run.is_live() && run.started_at <= to) {
            run.standing = Standing::Doubtful;
            doubted.push(*run);
        }
        doubted.iter().for_each(|run| self.lost_run(*run, RunLoss::Unheard, self.now));
        !doubted.is_empty()
    }

    /// Follows no run any more.
    pub(super) fn drop_runs(&mut self, why: RunLoss) {
        for run in std::mem::take(&mut self.state.runs.0) {
            if run.is_live() {
                self.lost_run(run, why, self.now);
            }
        }
    }

    /// Takes a run for lost that is overdue at `now`. Says whether there was one.
    pub(super) fn end_overdue_run(&mut self) -> bool {
        let limits = &self.policy.runs;
        let overdue = self.state.runs.0.iter_mut().find_map(|run| {
            let (at, why) = run.limit(limits).filter(|(at, _)| *at <= self.now)?;
            run.standing = Standing::Lost;
            Some((*run, at, why))
        });
        let Some((run, at, why)) = overdue else { return false };
        self.lost_run(run, why, at);
        let started_at = run.started_at;
        let began = format!("started {} ago", phrase::span(self.now.since(started_at)));
        let (kind, cause) = match (why, limits.max_runtime) {
            (RunLoss::TooLong, Some(max_runtime)) => {
                let may = phrase::span(max_runtime);
                let kind = HeartbeatFailure::RanTooLong { started_at, max_runtime };
                (kind, format!("{began}, not finished within {may}"))
            }
            _ => {
                let silence = phrase::span(self.now.since(run.heard_at));
                let kind = HeartbeatFailure::Silent { started_at, heard_at: run.heard_at };
                (kind, format!("{began}, no sign of life for {silence}"))
            }
        };
        self.run_failed(at, kind, cause);
        true
    }

    /// An edit alone must not alert: runs that would be overdue by now get a whole new allowance.
    pub(super) fn grant_runs(&mut self) {
        let limits = &self.policy.runs;
        for run in &mut self.state.runs.0 {
            if run.limit(limits).is_some_and(|(at, _)| at <= self.now) {
                run.stood_still = self.now.since(run.started_at);
                run.silence_excused = self.now.since(run.heard_at);
            }
        }
    }

    /// The time in a window of maintenance that began at `since` does not count.
    pub(super) fn shift_runs(&mut self, since: Timestamp) {
        for run in &mut self.state.runs.0 {
            run.stood_still += self.now.since(since.max(run.started_at));
            run.silence_excused += self.now.since(since.max(run.heard_at));
        }
    }

    fn start_run(&mut self, id: Option<RunId>, at: Timestamp) {
        if id.is_some() && self.state.runs.position(id).is_some() {
            // The start of a run that is under way says that it lives.
            return self.hear_of_run(id, at);
        }
        if let Some(place) = self.state.runs.position(None).filter(|_| id.is_none()) {
            if self.state.runs.0[place].started_at >= at {
                return;
            }
            let replaced = self.state.runs.0.remove(place);
            self.lost_run(replaced, RunLoss::Replaced, self.now);
        }
        self.state.runs.insert(Run {
            id,
            started_at: at,
            heard_at: at,
            stood_still: Duration::ZERO,
            silence_excused: Duration::ZERO,
            standing: Standing::Live,
        });
        if self.state.runs.0.len() > MAX_RUNS {
            let oldest = self.state.runs.0.remove(0);
            self.lost_run(oldest, RunLoss::Forgotten, self.now);
        }
    }

    fn hear_of_run(&mut self, id: Option<RunId>, at: Timestamp) {
        if let Some(place) = self.state.runs.position(id) {
            let run = &mut self.state.runs.0[place];
            if run.heard_at < at {
                run.heard_at = at;
                run.silence_excused = Duration::ZERO;
            }
            if run.standing == Standing::Doubtful {
                run.standing = Standing::Live;
            }
        }
    }

    fn lost_run(&mut self, run: Run, why: RunLoss, at: Timestamp) {
        self.effects.push(Effect::RunEnded(RunEnd {
            run: run.id,
            started_at: Some(run.started_at),
            ended_at: at,
            outcome: RunOutcome::Lost(why),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, apply, new};
    use super::*;

    const POLICY: Policy = Policy::every(Duration::from_secs(3_600), Duration::from_secs(60));

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn id(number: u8) -> Option<RunId> {
        Some(RunId::from_bytes([number; 16]))
    }

    /// Pings and returns the runs that this ended: id, start and outcome.
    fn ping(
        state: &mut State,
        secs: i64,
        kind: PingKind,
        run: Option<RunId>,
    ) -> Vec<(Option<RunId>, Option<Timestamp>, RunOutcome)> {
        let event = Event::Pinged { kind, at: at(secs), run };
        let transition = apply(state.clone(), &POLICY, &event, at(secs));
        *state = transition.state;
        let ends = transition.effects.into_iter().filter_map(|effect| match effect {
            Effect::RunEnded(end) => Some((end.run, end.started_at, end.outcome)),
            _ => None,
        });
        ends.collect()
    }

    const WELL: RunOutcome = RunOutcome::Succeeded { exit_code: None };

    #[test]
    fn runs_that_overlap_are_timed_each() {
        let mut state = new(at(0));
        assert_eq!(ping(&mut state, 1, PingKind::Start, id(1)), []);
        assert_eq!(ping(&mut state, 2, PingKind::Start, id(2)), []);
        assert_eq!(ping(&mut state, 3, PingKind::Start, None), []);
        assert_eq!(state.runs().len(), 3);
        assert_eq!(ping(&mut state, 4, PingKind::Success, id(2)), [(id(2), Some(at(2)), WELL)]);
        assert_eq!(state.status(), Status::Running, "others go on");
        assert_eq!(ping(&mut state, 5, PingKind::Success, None), [(None, Some(at(3)), WELL)]);
        let failed = RunOutcome::Failed { exit_code: Some(7) };
        assert_eq!(ping(&mut state, 6, PingKind::Exit(7), id(1)), [(id(1), Some(at(1)), failed)]);
        assert!(state.runs().is_empty());
    }

    #[test]
    fn an_end_heard_after_that_of_a_later_run_still_ends_its_run() {
        let mut state = new(at(0));
        ping(&mut state, 1, PingKind::Start, id(1));
        ping(&mut state, 2, PingKind::Start, id(2));
        ping(&mut state, 9, PingKind::Success, id(2));
        assert_eq!(ping(&mut state, 8, PingKind::Fail, id(1)).len(), 1);
        assert!(state.runs().is_empty());
        assert_eq!(state.incidents(), 0, "what was heard later says that all is well");
    }

    #[test]
    fn what_has_nothing_to_tell_is_no_run() {
        let mut state = new(at(0));
        assert_eq!(ping(&mut state, 1, PingKind::Success, None), []);
        let well = RunOutcome::Succeeded { exit_code: Some(0) };
        assert_eq!(ping(&mut state, 2, PingKind::Exit(0), None), [(None, None, well)]);
        assert_eq!(ping(&mut state, 3, PingKind::Success, id(1)), [(id(1), None, WELL)]);
        let failed = RunOutcome::Failed { exit_code: None };
        assert_eq!(ping(&mut state, 4, PingKind::Fail, None), [(None, None, failed)]);
        assert_eq!(ping(&mut state, 4, PingKind::Fail, None), [], "a repeated one");
    }

    #[test]
    fn a_start_says_nothing_of_the_last_ping_and_neither_does_a_log() {
        let mut state = new(at(0));
        ping(&mut state, 1, PingKind::Success, None);
        let before = state.expected_at(&POLICY);
        ping(&mut state, 2, PingKind::Start, id(1));
        ping(&mut state, 3, PingKind::Log, id(1));
        ping(&mut state, 4, PingKind::Log, id(9));
        assert_eq!((state.last_ping_at(), state.expected_at(&POLICY)), (Some(at(1)), before));
        let [run] = state.runs() else { panic!("{:?}", state.runs()) };
        assert_eq!((run.started_at, run.heard_at), (at(2), at(3)));
        ping(&mut state, 5, PingKind::Start, id(1));
        let [run] = state.runs() else { panic!("{:?}", state.runs()) };
        assert_eq!((run.started_at, run.heard_at), (at(2), at(5)), "it lives");
    }

    #[test]
    fn an_end_without_id_is_that_of_the_only_run() {
        let mut state = new(at(0));
        ping(&mut state, 1, PingKind::Start, id(1));
        assert_eq!(ping(&mut state, 2, PingKind::Success, None), [(id(1), Some(at(1)), WELL)]);
        ping(&mut state, 3, PingKind::Start, id(1));
        ping(&mut state, 3, PingKind::Start, id(2));
        assert_eq!(ping(&mut state, 4, PingKind::Success, None), [], "of which?");
        assert_eq!(state.runs().len(), 2);
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten_and_who_begins_anew_replaces() {
        let mut state = new(at(0));
        for number in 0..=MAX_RUNS as u8 {
            let lost = ping(&mut state, 1 + i64::from(number), PingKind::Start, id(number));
            assert_eq!(lost.len(), usize::from(usize::from(number) == MAX_RUNS), "{number}");
        }
        assert_eq!((state.runs().len(), state.runs()[0].id), (MAX_RUNS, id(1)));
        let mut state = new(at(0));
        ping(&mut state, 1, PingKind::Start, None);
        let lost = (None, Some(at(1)), RunOutcome::Lost(RunLoss::Replaced));
        assert_eq!(ping(&mut state, 2, PingKind::Start, None), [lost]);
        assert_eq!(state.running_since(), Some(at(2)));
    }

    #[test]
    fn a_duration_is_known_only_where_start_and_end_belong_together() {
        let end = |secs, outcome| {
            let run = RunEnd { run: None, started_at: Some(at(0)), ended_at: at(secs), outcome };
            run.duration()
        };
        let longest = MAX_TIMED.as_secs() as i64;
        assert_eq!(end(90, WELL), Some(Duration::from_secs(90)));
        assert_eq!(end(longest - 1, WELL), Some(MAX_TIMED - Duration::from_secs(1)));
        assert_eq!(end(longest, WELL), None);
        assert_eq!(end(90, RunOutcome::Lost(RunLoss::Silent)), None);
    }
}
