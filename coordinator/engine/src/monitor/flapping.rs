//! Flapping: a monitor that goes down again and again is told of less often.
//!
//! The third opening within an hour stays open until the monitor has been up for ten minutes without a break. The
//! incident says so; there is one message for what would have been many. Nagios and Better Stack hold flapping services
//! back in the same way, by a share of state changes; a count and a period are what a person can check by hand.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::Step;
use crate::phrase;

/// This many openings …
const OPENINGS: u32 = 3;
/// … within this time are flapping.
pub(super) const FLAPPING_WITHIN: Duration = Duration::from_secs(3_600);
/// How long a flapping monitor must be up before its incident resolves.
pub(super) const FLAPPING_RECOVERY: Duration = Duration::from_secs(600);

/// The latest openings, as far as they are needed to see flapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Openings {
    last: Option<Timestamp>,
    before_last: Option<Timestamp>,
    /// The open incident is held open for longer.
    pub(super) is_flapping: bool,
}

impl Openings {
    /// An incident opens.
    fn open(&mut self, now: Timestamp) {
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now < at.plus(FLAPPING_WITHIN));
        *self = Self {
            last: Some(now),
            before_last: self.last,
            is_flapping: recent(self.last) && recent(self.before_last),
        };
    }
}

impl Step<'_> {
    /// Takes note of an opening; what a person should know of it, if the monitor is flapping.
    pub(super) fn note_opening(&mut self) -> Option<String> {
        let recent = self.state.recent.get_or_insert_default();
        recent.open(self.now);
        recent.is_flapping.then(|| {
            format!(
                "flapping: down {OPENINGS} times within {}, so this stays open until it has been up for {}",
                phrase::span(FLAPPING_WITHIN),
                phrase::span(FLAPPING_RECOVERY)
            )
        })
    }

    /// How long a recovery must last.
    pub(super) fn recovery_period(&self) -> Duration {
        let asked = self.policy.thresholds.recovery_period;
        if self.state.recent.as_ref().is_some_and(|recent| recent.is_flapping) {
            asked.max(FLAPPING_RECOVERY)
        } else {
            asked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_openings_within_less_than_an_hour_are_flapping() {
        let flapping = |secs: [i64; 3]| {
            let mut openings = Openings::default();
            secs.map(|secs| {
                openings.open(Timestamp::from_secs(secs));
                openings.is_flapping
            })
        };
        assert_eq!(flapping([0, 1_800, 3_599]), [false, false, true]);
        assert_eq!(flapping([0, 1_800, 3_600]), [false, false, false], "the first was an hour ago");
        assert_eq!(flapping([0, 3_600, 3_700]), [false, false, false]);
    }
}
