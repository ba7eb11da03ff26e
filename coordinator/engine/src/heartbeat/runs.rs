//! The runs of a job that are under way, each timed, also where they overlap.
//!
//! A start begins a run and the report of its end ends it, matched by the run's id. A job without ids has one run at a
//! time: it begins anew with each start. An end without id is that of the run without id; if there is none, of the only
//! run there is. Bounded: beyond [`MAX_RUNS`] the oldest is forgotten.

use std::time::Duration;

use model::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{PingKind, Status};
use crate::effect::{Effect, RunEnd, RunLoss, RunOutcome};

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

    /// Waits no longer for those runs; says whether there were any.
    pub(super) fn lose_runs(&mut self, why: RunLoss, concerns: impl Fn(&Run) -> bool) -> bool {
        let (lost, kept): (Vec<_>, Vec<_>) = self.state.runs.0.iter().copied().partition(|run| concerns(run));
        self.state.runs.0 = kept;
        for run in &lost {
            self.lost_run(*run, why);
        }
        !lost.is_empty()
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
            self.lost_run(replaced, RunLoss::Replaced);
        }
        self.state.runs.insert(Run { id, started_at: at, heard_at: at });
        if self.state.runs.0.len() > MAX_RUNS {
            let oldest = self.state.runs.0.remove(0);
            self.lost_run(oldest, RunLoss::Forgotten);
        }
    }

    fn hear_of_run(&mut self, id: Option<RunId>, at: Timestamp) {
        if let Some(place) = self.state.runs.position(id) {
            let run = &mut self.state.runs.0[place];
            run.heard_at = run.heard_at.max(at);
        }
    }

    fn lost_run(&mut self, run: Run, why: RunLoss) {
        self.effects.push(Effect::RunEnded(RunEnd {
            run: run.id,
            started_at: Some(run.started_at),
            ended_at: self.now,
            outcome: RunOutcome::Lost(why),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Policy, State, apply, new};
    use super::*;

    const POLICY: Policy = Policy { interval: Duration::from_secs(3_600), grace: Duration::from_secs(60) };

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
