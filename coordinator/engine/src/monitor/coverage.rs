//! Coverage: what too few votes mean.
//!
//! Silence opens nothing and resolves nothing (I5). After a minute of it a monitor is `Unknown`; one that is down
//! stays so, marked as unverified.

use model::Timestamp;

use super::state::State;
use super::tally::Count;
use super::{COVERAGE_PATIENCE, Policy, Status, Step};
use crate::phrase;

impl Step<'_> {
    /// Before the event: notes since when too few votes have counted if some went stale in the meantime.
    pub(super) fn note_lapsed_coverage(&mut self) {
        if self.state.short_since.is_none() {
            self.state.short_since = lapses_at(&self.state, self.policy).filter(|at| *at <= self.now);
        }
    }

    /// After the event: notes whether too few votes count now.
    pub(super) fn note_coverage(&mut self) {
        if self.count().eligible().count() >= self.policy.coverage() {
            self.state.short_since = None;
        } else {
            self.state.short_since.get_or_insert(self.now);
        }
    }

    /// Draws the consequence once too few votes have counted for too long.
    pub(super) fn judge_coverage(&mut self) {
        self.note_coverage();
        if deadline(&self.state, self.policy).is_none_or(|at| at > self.now) {
            return;
        }
        let since = self.state.short_since.unwrap_or(self.now);
        let short = format!(
            "votes of {} count, {} needed, since {}",
            phrase::regions(self.count().eligible().count()),
            self.policy.coverage(),
            phrase::span(self.now.since(since))
        );
        if self.state.is_down() {
            self.record(format!("unverified: {short}"));
        } else {
            self.change_status(Status::Unknown, short);
        }
        self.state.unverified_since.get_or_insert(since);
    }
}

/// When the present votes will have been too few for too long; `None` once that has been said.
pub(super) fn deadline(state: &State, policy: &Policy) -> Option<Timestamp> {
    let said = match state.status {
        Status::Paused | Status::Unknown => true,
        Status::Down => state.unverified_since.is_some(),
        Status::Pending | Status::Up | Status::Degraded => false,
    };
    if said {
        return None;
    }
    let short_since = state.short_since.or_else(|| lapses_at(state, policy))?;
    Some(short_since.plus(COVERAGE_PATIENCE).max(state.not_absent_before))
}

/// When votes going stale will leave too few, if nothing else happens; `None` if they are too few without that.
fn lapses_at(state: &State, policy: &Policy) -> Option<Timestamp> {
    // Freshness is asked for at the beginning of time, so that only the other conditions are.
    let count = Count::new(state, policy, Timestamp::from_micros(i64::MIN));
    let mut stale_at: Vec<_> =
        count.eligible().map(|(_, vote)| vote.started_at.plus(policy.freshness())).collect();
    stale_at.sort_unstable();
    let spare = stale_at.len().checked_sub(policy.coverage())?;
    stale_at.get(spare).copied()
}
