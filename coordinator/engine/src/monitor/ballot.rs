//! A result becomes a vote.
//!
//! The newest start wins, whatever the order of arrival: an older arrival never replaces a vote (I3). While a round
//! runs, older arrivals within its window still count as attempts of it, because a refused second attempt ends before
//! a first one that hangs.

use std::time::Duration;

use model::{AgentId, CheckResult, Outcome, Timestamp};

use super::state::{Owed, Pursuit, RegionState, Seen};
use super::{CONFIRMATION_GAP, Step, Thresholds};
use crate::vote::{Verdict, Vote};

impl Step<'_> {
    /// Takes a result; one that followed another specification, comes from elsewhere or from the future says nothing.
    pub(super) fn observe(&mut self, agent: AgentId, result: &CheckResult) {
        let started_at = result.started_at;
        if self.state.is_paused()
            || result.spec_revision != self.policy.spec_revision
            || started_at > self.now
        {
            return;
        }
        let Some(index) = self.state.regions.iter().position(|state| state.region == result.region) else {
            return;
        };
        if !self.state.make_way(index, agent) {
            return;
        }
        self.attempt(index, &result.outcome, started_at);
        let region = &self.state.regions[index];
        if region.vote.as_ref().is_none_or(|vote| vote.started_at < started_at) {
            if matches!(result.outcome, Outcome::Fail(_)) {
                self.forget_streak_in_maintenance(index, started_at);
            }
            let region = &mut self.state.regions[index];
            region.cast(Vote::new(agent, result), self.policy.thresholds);
            self.corroborate(index);
            if !self.state.is_in_maintenance() {
                self.note_wellness(index);
            }
            self.ask_about_unheard_failure(&result.outcome, started_at);
        }
        self.confirm(index);
    }

    /// A failure from a time in which nothing could be heard decides nothing, but it is reason enough to ask.
    fn ask_about_unheard_failure(&mut self, outcome: &Outcome, started_at: Timestamp) {
        let unheard = started_at < self.state.votes_valid_from && matches!(outcome, Outcome::Fail(_));
        let recent = self.now < started_at.plus(self.policy.freshness());
        let idle = matches!(self.state.pursuit, Pursuit::Nothing | Pursuit::Held { .. });
        if unheard && recent && idle && !self.state.is_down() {
            let in_maintenance = self.state.maintenance.ended_after(started_at);
            self.state.owed = Some(if in_maintenance { Owed::Maintenance } else { Owed::Blind });
        }
    }

    /// Counts an attempt towards the running round.
    fn attempt(&mut self, index: usize, outcome: &Outcome, started_at: Timestamp) {
        let Pursuit::Round(round) = &mut self.state.pursuit else { return };
        let Some(seen) = round.seen.get_mut(index) else { return };
        match outcome {
            Outcome::Pass => seen.pass(started_at),
            Outcome::Fail(_) if started_at >= round.window.failing_from => seen.fail(started_at),
            Outcome::Fail(_) | Outcome::Error(_) => {}
        }
    }

    /// Marks a failing vote as confirmed once the round has seen two attempts of its streak.
    fn confirm(&mut self, index: usize) {
        let Pursuit::Round(round) = &self.state.pursuit else { return };
        let Some(seen) = round.seen.get(index).filter(|seen| seen.is_confirmed()) else { return };
        let enough = self.policy.thresholds.failures;
        let region = &mut self.state.regions[index];
        if let Some(Vote { verdict: Verdict::Fail { confirmed, .. }, .. }) = &mut region.vote {
            *confirmed = *confirmed || region.streak >= enough;
            region.failing_since = region.failing_since.min(seen.first).or(seen.first);
        }
    }
}

impl RegionState {
    fn cast(&mut self, mut vote: Vote, thresholds: Thresholds) {
        if !vote.is_error() {
            let same = self.streak_passes == vote.is_pass();
            self.streak = if same { self.streak.saturating_add(1) } else { 1 };
            self.streak_passes = vote.is_pass();
        }
        match &mut vote.verdict {
            Verdict::Pass => {
                if self.streak >= thresholds.passes && self.failing_since.take().is_some() {
                    self.reviewed = false;
                }
            }
            Verdict::Fail { confirmed, .. } => {
                match self.failing_since {
                    None => {
                        self.failing_since = Some(vote.started_at);
                        self.reviewed = false;
                    }
                    Some(since) => {
                        *confirmed = *confirmed || vote.started_at.since(since) >= CONFIRMATION_GAP;
                    }
                }
                *confirmed = *confirmed && self.streak >= thresholds.failures;
            }
            Verdict::Error(_) => {}
        }
        self.vote = Some(vote);
    }

    /// Whether its newest check passed, as often in a row as it must after a failure.
    pub(super) fn passes(&self) -> bool {
        self.failing_since.is_none() && self.vote.as_ref().is_some_and(Vote::is_pass)
    }
}

impl Seen {
    fn pass(&mut self, at: Timestamp) {
        self.passed = self.passed.max(Some(at));
        if self.last <= Some(at) {
            (self.first, self.last) = (None, None);
        } else if self.first <= Some(at) {
            // What lay between the pass and the last failure is not kept, so it may not be heard again either.
            self.first = self.last;
            self.passed = self.last.map(|last| last.minus(Duration::from_micros(1)));
        }
    }

    fn fail(&mut self, at: Timestamp) {
        if self.passed.is_none_or(|passed| passed < at) {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = self.last.max(Some(at));
        }
    }

    /// Whether two failing attempts were far enough apart to be more than noise.
    pub(super) fn is_confirmed(&self) -> bool {
        self.first.zip(self.last).is_some_and(|(first, last)| last.since(first) >= CONFIRMATION_GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_count_by_their_start_in_whatever_order_they_arrive() {
        let at = Timestamp::from_secs;
        let mut seen = Seen::default();
        seen.fail(at(11));
        assert!(!seen.is_confirmed());
        seen.fail(at(10));
        assert!(seen.is_confirmed());
        seen.pass(at(10));
        assert!(!seen.is_confirmed(), "a pass between two failures parts them");
        seen.fail(at(9));
        assert!(!seen.is_confirmed(), "what failed before a pass is over");
        seen.pass(at(11));
        seen.fail(at(11));
        assert_eq!(seen, Seen { first: None, last: None, passed: Some(at(11)) }, "it passed, too");
    }
}
