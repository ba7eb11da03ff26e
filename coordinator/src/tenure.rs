//! How long this coordinator may act on what it owns without asking.
//!
//! The lease in the database ends [`Lease::ttl`](store::Lease::ttl) after its last renewal *arrived*; whoever claims it
//! then acts at once. This side therefore stops [`MARGIN`] earlier, counted on its own monotonic clock from *before* the
//! renewal was sent. What goes through a commit is fenced anyway; this is for what leaves without one: another attempt
//! at a delivery, a round asked of agents.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::Timestamp;

/// Between the end of the tenure and that of the lease: what was started may still be under way.
pub const MARGIN: Duration = Duration::from_secs(3);

/// The right to act, shared by the owner that renews it and the stages that need it.
#[derive(Debug)]
pub struct Tenure {
    length: Duration,
    until_micros: AtomicI64,
}

impl Tenure {
    /// The tenure of a lease that lives for `ttl` after each renewal; the claim was sent at `claimed_at`.
    #[must_use]
    pub fn claimed(ttl: Duration, claimed_at: Timestamp) -> Self {
        let tenure = Self { length: ttl.saturating_sub(MARGIN), until_micros: AtomicI64::new(i64::MIN) };
        tenure.renewed(claimed_at);
        tenure
    }

    /// A renewal that was sent at `sent_at` has succeeded.
    pub fn renewed(&self, sent_at: Timestamp) {
        self.until_micros.fetch_max(sent_at.plus(self.length).as_micros(), Ordering::AcqRel);
    }

    /// Whether this coordinator may act at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now.as_micros() < self.until_micros.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn it_ends_three_seconds_before_the_lease_counted_from_before_the_renewal_was_sent() {
        let tenure = Tenure::claimed(Duration::from_secs(10), START);
        assert!(tenure.holds(Timestamp::from_micros(after(7).as_micros() - 1)));
        assert!(!tenure.holds(after(7)));
        tenure.renewed(after(5));
        assert!(tenure.holds(after(11)));
        assert!(!tenure.holds(after(12)));
    }

    #[test]
    fn an_older_renewal_that_answers_late_shortens_nothing() {
        let tenure = Tenure::claimed(Duration::from_secs(10), after(5));
        tenure.renewed(START);
        assert!(tenure.holds(after(11)));
    }

    #[test]
    fn a_lease_shorter_than_the_margin_lets_nothing_leave() {
        assert!(!Tenure::claimed(Duration::from_secs(2), START).holds(START));
    }
}
