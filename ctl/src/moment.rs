//! Instants, as people give and read them.
//!
//! In: `1h` (ago) or RFC 3339 on the command line, protobuf's `Timestamp` from the wire. Out: "3 minutes ago" where the
//! age matters, a date and time in UTC where the order does.

use std::time::Duration;

use model::Timestamp;

use crate::duration;

/// An instant as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long before now.
    Ago(Duration),
    /// Exactly then.
    At(Timestamp),
}

/// Why a text is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use a span before now, such as 1h, or RFC 3339, such as 2026-11-22T03:04:05Z")]
pub(crate) struct InvalidMoment;

impl Moment {
    /// Reads an argument.
    ///
    /// # Errors
    /// When the text is neither a span nor RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidMoment> {
        let at = || Timestamp::parse_rfc3339(text).map(Self::At).ok_or(InvalidMoment);
        duration::parse(text).map(Self::Ago).or_else(|_| at())
    }

    /// The instant for the wire.
    pub(crate) fn to_wire(self, now: Timestamp) -> prost_types::Timestamp {
        let micros = match self {
            Self::Ago(span) => now.minus(span),
            Self::At(instant) => instant,
        }
        .as_micros();
        prost_types::Timestamp {
            seconds: micros.div_euclid(1_000_000),
            nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
        }
    }
}

/// An instant that lies ahead, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// So long after now.
    In(Duration),
    /// Exactly then.
    At(Timestamp),
}

/// Why a text is no such instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use RFC 3339, such as 2026-11-22T03:04:05+01:00, or a span from now, such as 2h")]
pub(crate) struct InvalidAhead;

impl Ahead {
    /// Reads an argument.
    ///
    /// # Errors
    /// When the text is neither a span nor RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidAhead> {
        let at = || Timestamp::parse_rfc3339(text).map(Self::At).ok_or(InvalidAhead);
        duration::parse(text).map(Self::In).or_else(|_| at())
    }

    /// The instant for the wire.
    pub(crate) fn to_wire(self, now: Timestamp) -> prost_types::Timestamp {
        match self {
            Self::In(span) => Moment::At(now.plus(span)),
            Self::At(instant) => Moment::At(instant),
        }
        .to_wire(now)
    }
}

/// The wire's instant as ours, to the microsecond.
pub(crate) fn from_wire(instant: &prost_types::Timestamp) -> Timestamp {
    let micros = i64::from(instant.nanos) / 1_000;
    Timestamp::from_micros(instant.seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// "3 minutes ago", "in 5 seconds"; nothing if there is no instant.
pub(crate) fn relative(instant: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(instant) = instant.map(from_wire) else { return String::new() };
    if instant > now {
        return format!("in {}", rounded(instant.since(now)));
    }
    format!("{} ago", rounded(now.since(instant)))
}

/// `2026-11-22 03:04:05`, UTC; nothing if there is no instant.
pub(crate) fn absolute(instant: Option<&prost_types::Timestamp>) -> String {
    let text = |instant: Timestamp| {
        instant.to_jiff().map_or_else(|| instant.to_string(), |instant| instant.strftime("%F %T").to_string())
    };
    instant.map(from_wire).map_or_else(String::new, text)
}

/// `2026-11-22 03:04:05 UTC (3 minutes ago)`; nothing if there is no instant.
pub(crate) fn both(instant: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    if instant.is_none() {
        return String::new();
    }
    format!("{} UTC ({})", absolute(instant), relative(instant, now))
}

/// One unit: seconds below 1 min, minutes below 1 h, hours below 48 h, then days; singular at 1.
pub(crate) fn rounded(span: Duration) -> String {
    let secs = span.as_secs();
    let (amount, unit) = match secs {
        0..60 => (secs, "second"),
        60..3_600 => (secs / 60, "minute"),
        3_600..172_800 => (secs / 3_600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    format!("{amount} {unit}{}", if amount == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        let now = Timestamp::from_secs(1_000_000);
        let at = |secs: i64| prost_types::Timestamp { seconds: 1_000_000 - secs, nanos: 0 };
        for (secs, text) in [
            (0, "0 seconds ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (172_799, "47 hours ago"),
            (172_800, "2 days ago"),
            (-90, "in 1 minute"),
        ] {
            assert_eq!(relative(Some(&at(secs)), now), text);
        }
        assert_eq!(relative(None, now), "");
    }

    #[test]
    fn arguments_are_spans_before_now_or_rfc_3339() {
        let now = Timestamp::from_secs(7_200);
        assert_eq!(Moment::parse("1h").unwrap().to_wire(now).seconds, 3_600);
        assert_eq!(Moment::parse("1970-01-01T00:00:01.5Z").unwrap().to_wire(now).nanos, 500_000_000);
        assert_eq!(Moment::parse("yesterday"), Err(InvalidMoment));
    }

    #[test]
    fn what_lies_ahead_is_a_span_after_now_or_rfc_3339() {
        let now = Timestamp::from_secs(7_200);
        assert_eq!(Ahead::parse("1h").unwrap().to_wire(now).seconds, 10_800);
        assert_eq!(Ahead::parse("1970-01-01T03:00:00+01:00").unwrap().to_wire(now).seconds, 7_200);
        assert_eq!(Ahead::parse("tomorrow"), Err(InvalidAhead));
    }

    #[test]
    fn instants_of_no_calendar_are_still_printed() {
        let far = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert!(!both(Some(&far), Timestamp::EPOCH).is_empty());
    }
}
