//! What a user decided about a heartbeat, and what follows from it for the instants at which something is due.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::{Calendar, Schedule, WorkingHours};

/// The shortest default grace.
pub const MIN_DEFAULT_GRACE: Duration = Duration::from_secs(1);
/// The longest default grace, also that of a calendar.
pub const MAX_DEFAULT_GRACE: Duration = Duration::from_secs(5 * 60);
/// A ping may be so early where nobody said how early, and at most a tenth of the time between two occurrences.
pub const DEFAULT_EARLY: Duration = Duration::from_secs(60);

/// What a user decided about a heartbeat, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// When the end of a run is expected.
    pub schedule: Schedule,
    /// How long a ping may be late.
    pub grace: Duration,
    /// How early a ping may be and still count for the occurrence that follows, if that is nearer than the one before.
    /// Of calendars only. `None`: [`DEFAULT_EARLY`].
    pub early: Option<Duration>,
    /// The time that counts for interval and grace. Of intervals only. `None`: all.
    pub working_hours: Option<Arc<WorkingHours>>,
    /// What is expected of its runs.
    pub runs: RunLimits,
}

/// What is expected of a job that says when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// How long after its expectation the job must have been heard, by a start or an end. `None`: only its end counts.
    pub start_grace: Option<Duration>,
    /// How long a run may take. While one is under way within it, no end is overdue.
    pub max_runtime: Option<Duration>,
    /// At least so often a run must say that it lives. While it does, no end is overdue.
    pub keep_alive: Option<Duration>,
}

impl RunLimits {
    /// Whether a run that hangs is found by what it does itself.
    #[must_use]
    pub const fn bounds_runs(&self) -> bool {
        self.max_runtime.is_some() || self.keep_alive.is_some()
    }
}

/// The grace of a heartbeat whose user gave none: 10 % of the interval, from 1 s to 5 min.
#[must_use]
pub fn default_grace(interval: Duration) -> Duration {
    (interval / 10).clamp(MIN_DEFAULT_GRACE, MAX_DEFAULT_GRACE)
}

impl Policy {
    /// A ping every so often, and nothing else.
    #[must_use]
    pub const fn every(interval: Duration, grace: Duration) -> Self {
        let runs = RunLimits { start_grace: None, max_runtime: None, keep_alive: None };
        Self { schedule: Schedule::Every(interval), grace, early: None, working_hours: None, runs }
    }

    /// When the next ping is expected of a job that was heard at an instant and never again. `None`: never, its calendar
    /// has ended.
    #[must_use]
    pub fn expected_after(&self, heard_at: Timestamp) -> Option<Timestamp> {
        match &self.schedule {
            Schedule::Every(interval) => Some(self.advance(heard_at, *interval)),
            Schedule::Calendar(calendar) => {
                let next = calendar.next_after(heard_at)?;
                if self.is_early(calendar, heard_at, next) { calendar.next_after(next) } else { Some(next) }
            }
        }
    }

    /// The instant at which so much time that counts has passed since `from`.
    pub(super) fn advance(&self, from: Timestamp, span: Duration) -> Timestamp {
        match &self.working_hours {
            Some(hours) => hours.advance(from, span),
            None => from.plus(span),
        }
    }

    /// How much time that counts lies between two instants.
    pub(super) fn between(&self, from: Timestamp, to: Timestamp) -> Duration {
        match &self.working_hours {
            Some(hours) => hours.between(from, to),
            None => to.since(from),
        }
    }

    /// From when on a ping counts for an occurrence, if no other is nearer.
    pub(super) fn early(&self) -> Duration {
        self.early.unwrap_or(DEFAULT_EARLY)
    }

    /// Whether a ping counts for the occurrence that follows it.
    fn is_early(&self, calendar: &Calendar, at: Timestamp, next: Timestamp) -> bool {
        let ahead = next.since(at);
        // Who chose how early may come as near to the one before as to this one.
        let apart = if self.early.is_some() { ahead } else { ahead * 9 };
        let just_before = at.minus(apart).minus(Duration::from_micros(1));
        ahead <= self.early() && calendar.next_after(just_before) == Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn policy(schedule: &str, early: Option<u64>) -> Policy {
        let schedule = schedule::parse(schedule, "UTC", at("2026-11-23T00:00:00Z")).unwrap();
        let early = early.map(Duration::from_secs);
        Policy { schedule, early, ..Policy::every(Duration::ZERO, Duration::from_secs(300)) }
    }

    #[test]
    fn a_ping_a_little_early_counts_for_the_occurrence_that_follows() {
        let expected = |policy: &Policy, heard: &str| policy.expected_after(at(heard)).unwrap();
        let daily = policy("51 22 * * *", None);
        let (today, tomorrow) = (at("2026-11-23T22:51:00Z"), at("2026-11-24T22:51:00Z"));
        assert_eq!(expected(&daily, "2026-11-23T22:49:59Z"), today);
        assert_eq!(expected(&daily, "2026-11-23T22:50:00Z"), tomorrow);
        assert_eq!(expected(&daily, "2026-11-23T22:51:00Z"), tomorrow);
        let punctual = policy("51 22 * * *", Some(0));
        assert_eq!(expected(&punctual, "2026-11-23T22:50:59.999999Z"), today);
        let generous = policy("51 22 * * *", Some(3_600));
        assert_eq!(expected(&generous, "2026-11-23T21:51:00Z"), tomorrow);
    }

    #[test]
    fn a_late_ping_does_not_count_for_the_next_occurrence() {
        let expected = |policy: &Policy, heard: &str| policy.expected_after(at(heard)).unwrap();
        let minutely = policy("* * * * *", None);
        assert_eq!(expected(&minutely, "2026-11-23T12:00:54Z"), at("2026-11-23T12:01:00Z"), "54 s late");
        assert_eq!(expected(&minutely, "2026-11-23T12:00:55Z"), at("2026-11-23T12:02:00Z"), "5 s early");
        let chosen = policy("* * * * *", Some(59));
        assert_eq!(expected(&chosen, "2026-11-23T12:00:30Z"), at("2026-11-23T12:01:00Z"));
        assert_eq!(expected(&chosen, "2026-11-23T12:00:31Z"), at("2026-11-23T12:02:00Z"));
    }

    #[test]
    fn the_default_grace_is_a_tenth_of_the_interval_within_bounds() {
        let grace = [5, 60, 3_600, 86_400].map(|secs| default_grace(Duration::from_secs(secs)).as_secs());
        assert_eq!(grace, [1, 6, 300, 300]);
    }
}
