//! Coverage: what too few votes mean.
//!
//! Silence opens nothing and resolves nothing (I5). After a minute of it a monitor is `Unknown`; one that is down
//! stays so, marked as unverified.
//!
//! Too few are those that can say neither down nor up. Of a quorum by groups each clause needs its own, but a clause
//! that says up is enough: a region that passes in Europe proves that the target answers, whoever is silent elsewhere.
//! So such a monitor is `Up`, not `Unknown`, though it could not go down just then; once nothing says up any more, the
//! silent group makes it `Unknown`.

use model::Timestamp;
use model::result::UNSUPPORTED;

use super::state::State;
use super::tally::Count;
use super::{COVERAGE_PATIENCE, Policy, Status, Step};
use crate::phrase;
use crate::quorum::{Decision, Tally};
use crate::vote::Vote;

impl Step<'_> {
    /// Before the event: notes since when too few votes have counted if some went stale in the meantime.
    pub(super) fn note_lapsed_coverage(&mut self) {
        // As long as no vote has gone stale, none of those that were enough is missing.
        let stale_until = self.now.minus(self.policy.freshness());
        let stale = |vote: &Vote| vote.started_at <= stale_until;
        let any_is_stale = || self.state.regions.iter().filter_map(|region| region.vote.as_ref()).any(stale);
        if self.state.short_since.is_none() && any_is_stale() {
            self.state.short_since = lapses_at(&self.state, self.policy).filter(|at| *at <= self.now);
        }
    }

    /// After the event: notes whether too few votes count now.
    pub(super) fn note_coverage(&mut self, tally: Tally) {
        if self.policy.quorum.is_short(tally) {
            self.state.short_since.get_or_insert(self.now);
        } else {
            self.state.short_since = None;
        }
    }

    /// Draws the consequence once too few votes have counted for too long.
    pub(super) fn judge_coverage(&mut self, tally: Tally) {
        if self.state.short_since.is_none()
            || deadline(&self.state, self.policy).is_none_or(|at| at > self.now)
        {
            return;
        }
        let Decision::Undecided(why) = self.policy.quorum.decide(tally) else { return };
        let since = self.state.short_since.unwrap_or(self.now);
        let mut short =
            format!("{}, since {}", self.policy.quorum.reason(why), phrase::span(self.now.since(since)));
        if let Some(lack) = unsupported(&self.state) {
            short += &format!("; {lack}");
        }
        if self.state.is_down() {
            self.record(format!("unverified: {short}"));
        } else {
            self.change_status(Status::Unknown, short);
        }
        self.state.unverified_since.get_or_insert(since);
    }
}

/// What keeps all the regions that can be heard from making the check, in the words of the first.
fn unsupported(state: &State) -> Option<&str> {
    let mut said = state.regions.iter().filter(|region| region.live).map(|region| {
        let vote = region.vote.as_ref().filter(|vote| vote.is_error());
        vote.map(Vote::detail).filter(|detail| detail.starts_with(UNSUPPORTED))
    });
    let first = said.next()??;
    said.all(|said| said.is_some()).then_some(first)
}

/// When the present votes will have been too few for too long; `None` once that has been said.
pub(super) fn deadline(state: &State, policy: &Policy) -> Option<Timestamp> {
    let said = match state.status {
        Status::Paused | Status::Unknown | Status::Maintenance => true,
        Status::Down => state.unverified_since.is_some(),
        Status::Pending | Status::Up | Status::Degraded => false,
    };
    if said {
        return None;
    }
    let short_since = state.short_since.or_else(|| lapses_at(state, policy))?;
    Some(short_since.plus(COVERAGE_PATIENCE).max(state.not_absent_before))
}

/// When votes going stale will leave too few, if nothing else happens; `None` if they are too few without that. The
/// votes that go stale can only add to what is missing, so the first instant at which too few are left is the one.
fn lapses_at(state: &State, policy: &Policy) -> Option<Timestamp> {
    // Freshness is asked for at the beginning of time, so that only the other conditions are.
    let mut tally = Count::new(state, policy, Timestamp::MIN).tally();
    if policy.quorum.is_short(tally) {
        return None;
    }
    let started_at = |index: usize| Some(state.regions.get(index)?.vote.as_ref()?.started_at);
    loop {
        let oldest = tally.eligible.iter().filter_map(started_at).min()?;
        for index in tally.eligible.iter().filter(|index| started_at(*index) == Some(oldest)) {
            tally.lose(index);
        }
        if policy.quorum.is_short(tally) {
            return Some(oldest.plus(policy.freshness()));
        }
    }
}
