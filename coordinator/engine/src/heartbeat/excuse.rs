//! What the coordinator's own absence excuses.
//!
//! A ping can have been lost only where one could have come: in the second half of the interval, in the grace, or at
//! the end of a run under way. Then nothing is known, and the job is due again at its first expectation after the
//! absence. That is granted once; again only if the second window, too, could not be heard at all. Otherwise a
//! coordinator that restarts often would never find a job that stopped.

use model::Timestamp;

use super::Status;
use super::step::Step;
use crate::phrase;

impl Step<'_> {
    pub(super) fn blind(&mut self, from: Timestamp, to: Timestamp) {
        let to = to.min(self.now);
        let from = from.min(to);
        if self.state.status == Status::Paused {
            return;
        }
        let was_running = self.state.running_since.is_some_and(|since| since <= to);
        if was_running {
            self.state.running_since = None;
        }
        let could_have_pinged = self.state.is_expecting && self.put_off(from, to);
        if !(was_running || could_have_pinged) || self.state.status == Status::Missed {
            return;
        }
        if self.state.expected_at(self.policy).is_some_and(|at| at <= self.now) {
            // Not excused: it stays due.
            return;
        }
        let span = phrase::span(to.since(from));
        let reason = format!("pings could not be heard for {span}");
        if self.state.counted_from.is_some() {
            self.change_status(Status::Unknown, reason);
        } else {
            // A first run that has not ended: nothing was ever expected.
            self.change_status(Status::New, reason);
        }
    }

    /// Whether a ping could have been lost; if one was due by then, it is put off where that may be excused.
    fn put_off(&mut self, from: Timestamp, to: Timestamp) -> bool {
        let Some(counted_from) = self.state.counted_from else { return false };
        let interval = self.policy.interval;
        let expected_at = counted_from.plus(interval);
        let missed_at = expected_at.plus(self.policy.grace);
        if from > missed_at || to < counted_from.plus(interval / 2) {
            return false;
        }
        let heard_nothing = from <= expected_at && missed_at <= to;
        if to >= expected_at && (self.state.excuses == 0 || heard_nothing) {
            let passed = to.since(counted_from).as_micros() / interval.as_micros().max(1);
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            self.state.counted_from = Some(counted_from.plus(interval.saturating_mul(passed)));
            self.state.excuses = self.state.excuses.saturating_add(1);
            if self.state.excuses == 2 {
                self.notice("two expected pings in a row could not be heard".to_owned());
            }
        }
        true
    }
}
