//! Maintenance: the heartbeat's clock stands still.
//!
//! Nothing comes due in a window, and afterwards everything that was expected is due that much later: the time in the
//! window does not count. Where a calendar says when, what it names in the window does not count. Pings are heard all the same. One that reports success ends an open incident at once, because
//! it is certain; one that reports failure opens none, neither then nor at the end. An incident from before stays open
//! until the job pings.

use model::Timestamp;

use super::Status;
use super::step::Step;
use crate::maintenance::Standstill;
use crate::schedule::Schedule;

impl Step<'_> {
    pub(super) fn maintenance_started(&mut self, at: Timestamp) {
        if self.state.is_in_maintenance() {
            return;
        }
        let from = self.state.status();
        self.state.maintenance = Standstill::Since(at.min(self.now));
        self.record("maintenance began: nothing is expected until it ends".to_owned());
        self.tell_status(from, "maintenance began".to_owned());
    }

    pub(super) fn maintenance_ended(&mut self) {
        if !self.state.is_in_maintenance() {
            return;
        }
        let from = self.state.status();
        let stood_for = self.now.since(self.clock());
        match self.policy.schedule {
            Schedule::Every(_) => {
                self.state.counted_from = self.state.counted_from.map(|from| from.plus(stood_for));
            }
            Schedule::Calendar(_) => {
                let expected_at = self.state.expected_at(self.policy);
                if expected_at.is_some_and(|at| at <= self.clock()) {
                    self.state.put_off += stood_for;
                } else if expected_at.is_some_and(|at| at <= self.now) {
                    // What the calendar named in the window does not count.
                    self.state.counted_from = Some(self.now);
                }
            }
        }
        if let Some(since) = self.state.maintenance.since() {
            self.shift_runs(since);
        }
        self.state.maintenance = Standstill::Until(self.now);
        self.record("maintenance ended".to_owned());
        self.tell_status(from, "maintenance ended".to_owned());
    }

    /// The instant up to which time counts for what is expected: `now`, or where maintenance stopped it.
    pub(super) fn clock(&self) -> Timestamp {
        match self.state.maintenance.since() {
            // What was heard in the window counts from then, which is where its clock stands.
            Some(since) => self.state.counted_from.map_or(since, |from| since.max(from)).min(self.now),
            None => self.now,
        }
    }

    /// The job failed while nothing is judged. Whether it is well, its next ping will say.
    pub(super) fn failed_in_maintenance(&mut self) {
        let failed = "the job reported failure during maintenance".to_owned();
        if self.state.status == Status::Missed {
            self.record(failed);
        } else {
            self.change_status(Status::Unknown, failed);
        }
    }
}
