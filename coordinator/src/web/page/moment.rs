//! Instants on a page: for people in UTC to the minute, for machines in RFC 3339 to the second.

use std::fmt;

use model::Timestamp;

/// An instant ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment(Timestamp);

impl Moment {
    pub(super) const fn of(at: Timestamp) -> Self {
        Self(at)
    }

    /// For the `datetime` attribute: `2026-11-22T03:04:05Z`.
    pub(super) fn machine(&self) -> String {
        Timestamp::from_secs(self.0.as_secs()).to_string()
    }

    /// The time of day alone: `03:04 UTC`.
    pub(super) fn time_of_day(&self) -> String {
        self.formatted("%H:%M UTC")
    }

    fn formatted(&self, format: &str) -> String {
        self.0.to_jiff().map_or_else(|| self.0.to_string(), |instant| instant.strftime(format).to_string())
    }
}

/// `2026-11-22 03:04 UTC`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.formatted("%Y-%m-%d %H:%M UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc_and_never_fail() {
        let moment = Moment::of(Timestamp::from_micros(1_700_000_000_250_000));
        assert_eq!(moment.to_string(), "2023-11-14 22:13 UTC");
        assert_eq!(moment.machine(), "2023-11-14T22:13:20Z");
        assert_eq!(moment.time_of_day(), "22:13 UTC");
        assert_eq!(Moment::of(Timestamp::from_micros(i64::MAX)).to_string(), format!("{}us", i64::MAX));
    }
}
