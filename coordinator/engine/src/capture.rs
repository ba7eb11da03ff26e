//! How often what a check met is kept while an incident lasts: often at the beginning, when things change and people
//! look, rarely later.

use model::Timestamp;

const MINUTE_SECS: u64 = 60;
const HOUR_MINUTES: u64 = 60;

/// The period of an incident that began at `began` in which a failing check at `at` falls: minutes for an hour, then
/// hours. Of each period one capture is kept.
#[must_use]
pub fn period(began: Timestamp, at: Timestamp) -> u32 {
    let minutes = at.since(began).as_secs() / MINUTE_SECS;
    let period = match minutes.checked_sub(HOUR_MINUTES) {
        None => minutes,
        Some(later) => HOUR_MINUTES + later / HOUR_MINUTES,
    };
    u32::try_from(period).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_period_is_a_minute_in_the_first_hour_and_an_hour_after_it() {
        let began = Timestamp::from_secs(1_000);
        let after = |seconds| period(began, began.plus(Duration::from_secs(seconds)));
        assert_eq!([0, 59, 60, 3_599].map(after), [0, 0, 1, 59]);
        assert_eq!([3_600, 7_199, 7_200, 86_400].map(after), [60, 60, 61, 83]);
        assert_eq!(period(began, Timestamp::EPOCH), 0, "before it began");
    }
}
