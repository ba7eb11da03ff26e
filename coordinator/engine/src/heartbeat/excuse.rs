//! What the coordinator's own absence excuses.
//!
//! A ping can have been lost only where one could have come: in the second half of the interval, in the grace, or at
//! the end of a run under way. Then nothing is known. Where one was likely to come, about its expectation, it may have
//! come up to the end of the absence, so the job is due again an interval after that. That is granted for one
//! expectation, however many absences lie about it; for the next only if nothing of its grace could be heard. Otherwise
//! a coordinator that restarts often would never find a job that stopped.

use std::time::Duration;

use model::Timestamp;

use super::Status;
use super::step::Step;
use crate::effect::RunLoss;
use crate::phrase;

impl Step<'_> {
    pub(super) fn blind(&mut self, from: Timestamp, to: Timestamp) {
        let to = to.min(self.now);
        let from = from.min(to);
        if self.state.status == Status::Paused {
            return;
        }
        let was_running = self.lose_runs(RunLoss::Unheard, |run| run.started_at <= to);
        // Time in a window of maintenance needs no excuse. What came before it may.
        let judged_until = self.state.maintenance.since().unwrap_or(to).min(to);
        let is_judged = from < judged_until || !self.state.is_in_maintenance();
        let could_have_pinged = self.state.is_expecting && is_judged && self.put_off(from, judged_until);
        if !(was_running || could_have_pinged) || self.state.status == Status::Missed {
            return;
        }
        if self.state.expected_at(self.policy).is_some_and(|at| at <= self.clock()) {
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

    /// Whether a ping could have been lost; if one was expected about then, it is put off where that may be excused.
    ///
    /// The job may have pinged up to `to` and pings again an interval after that, so an expectation that comes soon after
    /// `to` would be missed by a job that is well.
    fn put_off(&mut self, from: Timestamp, to: Timestamp) -> bool {
        let Some(counted_from) = self.state.counted_from else { return false };
        let rhythm = counted_from.plus(self.policy.interval);
        if from > self.missed_at(counted_from)
            || to < counted_from.plus(self.policy.interval / 2) && !self.state.is_adrift
        {
            return false;
        }
        if self.is_swallowed(from, to) {
            return true;
        }
        let is_about = from <= rhythm.plus(self.policy.grace) && self.pings_from(counted_from) <= to;
        let is_same = self.is_put_off_in_part();
        if is_about && (is_same || !self.state.was_put_off) {
            if !is_same {
                self.excused();
            }
            self.state.was_put_off = true;
            // By one interval at most, so that a job that stopped is found within two and the grace.
            let put_off = to.since(counted_from).min(self.policy.interval);
            self.state.put_off = self.state.put_off.max(put_off);
            self.is_swallowed(from, to);
        }
        true
    }

    /// Excuses a grace of which nothing could be heard. The rhythm goes on, unless the absence was so long that nothing
    /// is known of it any more: then all begins anew. Says whether there was such a grace.
    fn is_swallowed(&mut self, from: Timestamp, to: Timestamp) -> bool {
        let Some(counted_from) = self.state.counted_from else { return false };
        let interval = self.policy.interval;
        let missed_at = self.missed_at(counted_from);
        if from > missed_at.minus(self.policy.grace) || missed_at > to {
            return false;
        }
        self.excused();
        let unheard = counted_from.plus(if self.is_put_off_in_part() { interval * 2 } else { interval });
        // The ping may have come as late as the grace allows.
        self.state.put_off = self.policy.grace;
        if self.state.is_adrift || self.pings_from(unheard) <= to {
            self.state.counted_from = Some(to);
            self.state.put_off = Duration::ZERO;
            self.state.is_adrift = true;
            self.state.was_put_off = false;
        } else {
            self.state.counted_from = Some(unheard);
        }
        true
    }

    /// Whether the present expectation was put off though some of it could be heard: by more than a grace.
    fn is_put_off_in_part(&self) -> bool {
        self.state.put_off > self.policy.grace
    }

    fn missed_at(&self, counted_from: Timestamp) -> Timestamp {
        counted_from.plus(self.state.put_off).plus(self.policy.interval).plus(self.policy.grace)
    }

    /// From when on a job pings again that did so at `counted_from`: in its rhythm not before the last tenth of its
    /// interval (or as long before its end as the grace is).
    fn pings_from(&self, counted_from: Timestamp) -> Timestamp {
        if self.state.is_adrift {
            return counted_from;
        }
        let early = self.policy.grace.max(self.policy.interval / 10);
        counted_from.plus(self.policy.interval).minus(early).max(counted_from)
    }

    fn excused(&mut self) {
        self.state.excuses = self.state.excuses.saturating_add(1);
        if self.state.excuses == 2 {
            self.notice("two expected pings in a row could not be heard".to_owned());
        }
    }
}
