//! Maintenance: a window in which nothing is judged.
//!
//! Checks go on and their results stay history, but they start no round, change no status and count towards nothing. At
//! the end, votes from before it neither open nor resolve, as after a blindness, and streaks begin anew. Whatever was
//! down, in question or is failing is asked at once, so that an incident that the work brought about opens, from the end
//! of the window on, and one from before that is over resolves. Nothing is told twice: an open incident stays the same.

use model::Timestamp;

use super::state::Owed;
use super::{COVERAGE_PATIENCE, Status, Step};
use crate::maintenance::Standstill;
use crate::vote::Vote;

impl Step<'_> {
    pub(super) fn maintenance_started(&mut self, at: Timestamp) {
        if self.state.is_in_maintenance() {
            return;
        }
        let from = self.state.status();
        self.drop_pursuit();
        self.state.maintenance = Standstill::Since(at.min(self.now));
        self.record("maintenance began: nothing is decided until it ends".to_owned());
        self.tell_status(from, "maintenance began".to_owned());
    }

    pub(super) fn maintenance_ended(&mut self) {
        let Some(since) = self.state.maintenance.since() else { return };
        let from = self.state.status();
        self.state.maintenance = Standstill::Until(self.now);
        if self.state.is_paused() {
            return;
        }
        self.drop_pursuit();
        self.state.owed = self.is_in_question().then_some(Owed::Maintenance);
        self.state.votes_valid_from = self.state.votes_valid_from.max(self.now);
        let patience = COVERAGE_PATIENCE.max(self.policy.freshness());
        self.state.not_absent_before = self.state.not_absent_before.max(self.now.plus(patience));
        self.state.unverified_since.get_or_insert(since);
        for region in &mut self.state.regions {
            region.streak = 0;
            region.reviewed = false;
        }
        self.record("maintenance ended: all regions are asked again".to_owned());
        self.tell_status(from, "maintenance ended".to_owned());
    }

    /// Whether it is not simply up: what was so at the start of the window, or is now.
    fn is_in_question(&self) -> bool {
        let fails =
            self.state.regions.iter().any(|region| {
                region.failing_since.is_some() || region.vote.as_ref().is_some_and(Vote::is_fail)
            });
        fails || matches!(self.state.status, Status::Down | Status::Pending)
    }

    /// A region fails: a streak that began before the end of a window is not its beginning.
    pub(super) fn forget_streak_in_maintenance(&mut self, index: usize, started_at: Timestamp) {
        let maintenance = self.state.maintenance;
        let region = &mut self.state.regions[index];
        if !maintenance.ended_after(started_at) {
            region.failing_since = region.failing_since.filter(|since| !maintenance.ended_after(*since));
        }
    }
}
