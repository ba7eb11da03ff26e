//! What the coordinator's own absence excuses.
//!
//! For an interval: a ping can have been lost only where one could have come: in the second half of the interval, in the grace, or at
//! the end of a run under way. Then nothing is known. Where one was likely to come, about its expectation, it may have
//! come up to the end of the absence, so the job is due again an interval after that. That is granted for one
//! expectation, however many absences lie about it; for the next only if nothing of its grace could be heard. Otherwise
//! a coordinator that restarts often would never find a job that stopped.
//!
//! For a calendar: a ping can have been lost from as early as it may come until its grace is over, or at the end of a run
//! under way. Then the next occurrence after the absence is expected. That too is granted for one occurrence, and for the
//! next only if nothing of its grace could be heard.

use std::time::Duration;

use model::Timestamp;

use super::Status;
use super::step::Step;
use crate::phrase;
use crate::schedule::Schedule;

impl Step<'_> {
    pub(super) fn blind(&mut self, from: Timestamp, to: Timestamp) {
        let to = to.min(self.now);
        let from = from.min(to);
        if self.state.status == Status::Paused {
            return;
        }
        let was_running = self.doubt_runs(to);
        // Time in a window of maintenance needs no excuse. What came before it may.
        let judged_until = self.state.maintenance.since().unwrap_or(to).min(to);
        let is_judged = from < judged_until || !self.state.is_in_maintenance();
        let could_have_pinged = self.state.is_expecting
            && is_judged
            && match self.policy.schedule {
                Schedule::Every(interval) => self.put_off(interval, from, judged_until),
                Schedule::Calendar(_) => self.skip(from, judged_until),
            };
        if was_running && self.policy.runs.bounds_runs() {
            self.excuse_end(judged_until);
        }
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

    /// The end of a run that was overdue only by the calendar may have been lost: the next one is expected.
    fn excuse_end(&mut self, to: Timestamp) {
        if self.state.expected_at(self.policy).is_some_and(|at| at <= to) {
            self.excused();
            self.state.counted_from = Some(to);
            self.state.put_off = Duration::ZERO;
        }
    }

    /// Whether a ping could have been lost that a calendar names: from as early as it may come until its grace is over.
    /// Then the next one is expected instead.
    ///
    /// As with intervals, that is granted once if some of the grace could be heard.
    fn skip(&mut self, from: Timestamp, to: Timestamp) -> bool {
        let Some(expected_at) = self.state.expected_at(self.policy) else { return false };
        let missed_at = self.policy.advance(expected_at, self.policy.grace);
        if from > missed_at || to < expected_at.minus(self.policy.early()) {
            return false;
        }
        let is_swallowed = from <= expected_at && missed_at <= to;
        if is_swallowed || !self.state.was_put_off {
            self.excused();
            self.state.was_put_off = !is_swallowed;
            self.state.counted_from = Some(to.max(expected_at));
            self.state.put_off = Duration::ZERO;
        }
        true
    }

    /// Whether a ping could have been lost; if one was expected about then, it is put off where that may be excused.
    ///
    /// The job may have pinged up to `to` and pings again an interval after that, so an expectation that comes soon after
    /// `to` would be missed by a job that is well.
    fn put_off(&mut self, interval: Duration, from: Timestamp, to: Timestamp) -> bool {
        let Some(counted_from) = self.state.counted_from else { return false };
        let policy = self.policy;
        let rhythm = policy.advance(counted_from, interval);
        if from > self.missed_at(interval, counted_from)
            || to < policy.advance(counted_from, interval / 2) && !self.state.is_adrift
        {
            return false;
        }
        if self.is_swallowed(interval, from, to) {
            return true;
        }
        let is_about =
            from <= policy.advance(rhythm, policy.grace) && self.pings_from(interval, counted_from) <= to;
        let is_same = self.is_put_off_in_part();
        if is_about && (is_same || !self.state.was_put_off) {
            if !is_same {
                self.excused();
            }
            self.state.was_put_off = true;
            // By one interval at most, so that a job that stopped is found within two and the grace.
            let put_off = policy.between(counted_from, to).min(interval);
            self.state.put_off = self.state.put_off.max(put_off);
            self.is_swallowed(interval, from, to);
        }
        true
    }

    /// Excuses a grace of which nothing could be heard. The rhythm goes on, unless the absence was so long that nothing
    /// is known of it any more: then all begins anew. Says whether there was such a grace.
    fn is_swallowed(&mut self, interval: Duration, from: Timestamp, to: Timestamp) -> bool {
        let Some(counted_from) = self.state.counted_from else { return false };
        let due_at = self.policy.advance(counted_from, self.state.put_off + interval);
        if from > due_at || self.missed_at(interval, counted_from) > to {
            return false;
        }
        self.excused();
        let unheard = if self.is_put_off_in_part() { interval * 2 } else { interval };
        let unheard = self.policy.advance(counted_from, unheard);
        // The ping may have come as late as the grace allows.
        self.state.put_off = self.policy.grace;
        if self.state.is_adrift || self.pings_from(interval, unheard) <= to {
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

    fn missed_at(&self, interval: Duration, counted_from: Timestamp) -> Timestamp {
        self.policy.advance(counted_from, self.state.put_off + interval + self.policy.grace)
    }

    /// From when on a job pings again that did so at `counted_from`: in its rhythm not before the last tenth of its
    /// interval (or as long before its end as the grace is).
    fn pings_from(&self, interval: Duration, counted_from: Timestamp) -> Timestamp {
        if self.state.is_adrift {
            return counted_from;
        }
        let early = self.policy.grace.max(interval / 10);
        self.policy.advance(counted_from, interval.saturating_sub(early))
    }

    fn excused(&mut self) {
        self.state.excuses = self.state.excuses.saturating_add(1);
        if self.state.excuses == 2 {
            self.notice("two expected pings in a row could not be heard".to_owned());
        }
    }
}
