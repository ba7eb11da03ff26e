//! Instants.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant in UTC, in microseconds since the Unix epoch.
///
/// The same 64-bit number is stored in every database, so that order and equality are the same everywhere. An
/// `Option<Timestamp>` takes no more room than a `Timestamp`: there are millions of both in the states of monitors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timestamp(
    /// The microseconds with the sign bit turned over, which keeps their order; of all numbers only the lowest, 292
    /// thousand years ago, becomes zero.
    NonZeroU64,
);

const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// The Unix epoch; also "never" where an instant of the past is asked for.
    pub const EPOCH: Self = Self::from_micros(0);

    /// The earliest instant; calculations that would come to an earlier one come to this.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// An instant from microseconds since the Unix epoch; saturates at [`MIN`](Self::MIN).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        match NonZeroU64::new(micros.cast_unsigned() ^ SIGN) {
            Some(turned) => Self(turned),
            None => Self::MIN,
        }
    }

    /// An instant from seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.as_micros().div_euclid(1_000_000)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.as_micros().saturating_sub(earlier.as_micros()).max(0).unsigned_abs())
    }

    /// The instant `after` this one; saturates.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self::from_micros(
            self.as_micros().saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The instant `before` this one; saturates.
    #[must_use]
    pub fn minus(self, before: Duration) -> Self {
        Self::from_micros(
            self.as_micros().saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The instant as jiff knows it, for calendars and printing. `None` outside the years −9999 … 9999.
    #[must_use]
    pub fn to_jiff(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_microsecond(self.as_micros()).ok()
    }

    /// Reads RFC 3339 (`2026-11-22T03:04:05Z`).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Self::from_micros(instant.as_microsecond()))
    }
}

/// The Unix epoch.
impl Default for Timestamp {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl From<i64> for Timestamp {
    fn from(micros: i64) -> Self {
        Self::from_micros(micros)
    }
}

impl From<Timestamp> for i64 {
    fn from(instant: Timestamp) -> Self {
        instant.as_micros()
    }
}

/// RFC 3339 in UTC with as many fractional digits as are needed: `2026-11-22T03:04:05.25Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_jiff() {
            Some(instant) => instant.fmt(f),
            None => write!(f, "{}us", self.as_micros()),
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
    use serde::de::IntoDeserializer;

    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let late = Timestamp::from_micros(i64::MAX);
        assert_eq!(late.plus(Duration::from_secs(1)), late);
        assert_eq!(Timestamp::EPOCH.since(late), Duration::ZERO);
        assert_eq!(Timestamp::EPOCH.minus(Duration::MAX).minus(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::from_micros(i64::MIN), Timestamp::MIN);
    }

    #[test]
    fn keeps_every_number_but_the_lowest_and_their_order() {
        let numbers = [i64::MIN + 1, -1_000_000, -1, 0, 1, 1_700_000_000_250_000, i64::MAX];
        let instants = numbers.map(Timestamp::from_micros);
        assert_eq!(instants.map(Timestamp::as_micros), numbers);
        assert!(instants.is_sorted());
        assert_eq!(Timestamp::default().as_micros(), 0);
        let number: serde::de::value::I64Deserializer<serde::de::value::Error> = (-1_i64).into_deserializer();
        assert_eq!(Timestamp::deserialize(number), Ok(instants[2]));
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
    }

    #[test]
    fn prints_and_reads_rfc_3339() {
        let instant = Timestamp::from_micros(1_700_000_000_250_000);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.25Z");
        assert_eq!(Timestamp::parse_rfc3339("2023-11-14T22:13:20.25Z"), Some(instant));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
