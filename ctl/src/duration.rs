//! Spans of time, as people write and read them: `500ms`, `90s`, `5m`, `1h30m`, `25h`, `1d`.
//!
//! What [`text`] prints, [`parse`] reads back as the same span. Both ends of the wire are here too: protobuf's
//! `Duration` may be negative (clock skew), what is typed may not.

use std::time::Duration;

/// Units from large to small, in nanoseconds. `us` and `ns` are read too; nobody needs them in help texts.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The longest span protobuf allows: 10,000 years of 365.25 days, in seconds.
const LONGEST_SECS: u64 = 315_576_000_000;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use numbers with the units d, h, m, s or ms, such as 90s, 5m, 1h30m or 25h")]
pub(crate) struct InvalidDuration;

/// Reads a span: numbers, each with its unit and possibly a decimal fraction.
///
/// # Errors
/// When a number or a unit is missing or unknown, or the span is longer than protobuf can say.
pub(crate) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(InvalidDuration);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(InvalidDuration)?;
        let (number, tail) = rest.split_at(unit_at);
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
        total = total.checked_add(scaled(number, *nanos)?).ok_or(InvalidDuration)?;
        rest = tail;
    }
    let secs = u64::try_from(total / 1_000_000_000).map_err(|_| InvalidDuration)?;
    let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| InvalidDuration)?;
    if secs > LONGEST_SECS { Err(InvalidDuration) } else { Ok(Duration::new(secs, nanos)) }
}

/// Prints a span exactly: whole days as days, all else as hours, minutes and seconds, and below a second in the unit
/// that leaves a whole part: `2d`, `25h`, `1h30m`, `1.5s`, `81.25ms`.
pub(crate) fn text(span: Duration) -> String {
    let nanos = span.as_nanos();
    let [day, hour, minute, second, ..] = UNITS.map(|(_, nanos)| nanos);
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos.is_multiple_of(day) {
        return format!("{}d", nanos / day);
    }
    if nanos < second {
        let (unit, size) = UNITS.into_iter().find(|(_, size)| nanos >= *size).unwrap_or(("ns", 1));
        return decimal(nanos, size) + unit;
    }
    let mut parts = String::new();
    for (amount, unit) in [(nanos / hour, "h"), (nanos % hour / minute, "m")] {
        if amount > 0 {
            parts += &format!("{amount}{unit}");
        }
    }
    match nanos % minute {
        0 => parts,
        rest => parts + &decimal(rest, second) + "s",
    }
}

/// [`text`] of protobuf's form, with a sign if it is negative.
pub(crate) fn wire_text(span: &prost_types::Duration) -> String {
    let nanos = i128::from(span.seconds) * 1_000_000_000 + i128::from(span.nanos);
    let magnitude = nanos.unsigned_abs();
    let secs = u64::try_from(magnitude / 1_000_000_000).unwrap_or(u64::MAX);
    let rest = u32::try_from(magnitude % 1_000_000_000).unwrap_or(0);
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}", text(Duration::new(secs, rest)))
}

/// A measured span for tables, cut to a tenth of a millisecond; nothing if there is none.
pub(crate) fn measured(span: Option<&prost_types::Duration>) -> String {
    span.map_or_else(String::new, |span| {
        let nanos = span.nanos - span.nanos % 100_000;
        wire_text(&prost_types::Duration { seconds: span.seconds, nanos })
    })
}

/// A setting for tables; nothing if there is none.
pub(crate) fn setting(span: Option<&prost_types::Duration>) -> String {
    span.map_or_else(String::new, wire_text)
}

/// The span as protobuf writes it.
pub(crate) fn to_wire(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: span.subsec_nanos().cast_signed(),
    }
}

/// `number`, which may have a fraction, times `nanos`.
fn scaled(number: &str, nanos: u128) -> Result<u128, InvalidDuration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || number.ends_with('.') {
        return Err(InvalidDuration);
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| InvalidDuration)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| InvalidDuration)?);
    digits.checked_mul(nanos).map(|product| product / scale).ok_or(InvalidDuration)
}

/// `amount / unit` with as many decimal places as it takes; `unit` is a power of ten.
fn decimal(amount: u128, unit: u128) -> String {
    let places = unit.ilog10() as usize;
    let fraction = format!("{:0places$}", amount % unit);
    match fraction.trim_end_matches('0') {
        "" => (amount / unit).to_string(),
        fraction => format!("{}.{fraction}", amount / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (typed, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("25h", 90_000_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse(typed), Ok(Duration::from_millis(millis)), "{typed}");
        }
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for typed in [
            "",
            " ",
            "5",
            "m",
            "5 m",
            "-5m",
            "5x",
            "1h30",
            "1..5s",
            "5.s",
            ".5s",
            "∞s",
            "99999999999999999999999d",
        ] {
            assert_eq!(parse(typed), Err(InvalidDuration), "{typed}");
        }
    }

    #[test]
    fn prints_in_the_words_it_reads() {
        for same in [
            "25h", "1d", "1h30m", "500ms", "5m", "1m30s", "10s", "1.5s", "81.25ms", "250us", "7ns", "0s",
            "366d",
        ] {
            assert_eq!(text(parse(same).unwrap()), same);
        }
        assert_eq!(text(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn negative_and_measured_spans() {
        let skew = prost_types::Duration { seconds: -1, nanos: -500_000_000 };
        assert_eq!(wire_text(&skew), "-1.5s");
        let took = prost_types::Duration { seconds: 0, nanos: 81_254_321 };
        assert_eq!(measured(Some(&took)), "81.2ms");
        assert_eq!(measured(None), "");
        let most = prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN };
        assert!(wire_text(&most).starts_with('-'));
    }
}
