//! Instants.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant in UTC, in microseconds since the Unix epoch.
///
/// The same 64-bit number is stored in every database, so that order and equality are the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch; also "never" where an instant of the past is asked for.
    pub const EPOCH: Self = Self(0);

    /// An instant from microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// An instant from seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// The instant `after` this one; saturates.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant `before` this one; saturates.
    #[must_use]
    pub fn minus(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant as jiff knows it, for calendars and printing. `None` outside the years −9999 … 9999.
    #[must_use]
    pub fn to_jiff(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_microsecond(self.0).ok()
    }

    /// Reads RFC 3339 (`2026-11-22T03:04:05Z`).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Self(instant.as_microsecond()))
    }
}

/// RFC 3339 in UTC with as many fractional digits as are needed: `2026-11-22T03:04:05.25Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_jiff() {
            Some(instant) => instant.fmt(f),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let late = Timestamp::from_micros(i64::MAX);
        assert_eq!(late.plus(Duration::from_secs(1)), late);
        assert_eq!(Timestamp::EPOCH.since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(i64::MIN).minus(Duration::MAX).as_micros(), i64::MIN);
    }

    #[test]
    fn prints_and_reads_rfc_3339() {
        let instant = Timestamp::from_micros(1_700_000_000_250_000);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.25Z");
        assert_eq!(Timestamp::parse_rfc3339("2023-11-14T22:13:20.25Z"), Some(instant));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
