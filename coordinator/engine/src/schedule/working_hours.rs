//! Working hours: the times of a week that count.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InvalidSchedule, Zone, cut};

/// The least that a week must have, so that a span of working hours is never spread over years.
const MIN_A_WEEK: Duration = Duration::from_secs(4 * 3_600);
/// The longest text.
const MAX_TEXT: usize = 300;
const MIDNIGHT: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Spans of the week in a time zone, such as `mon-fri 08:00-18:00 Europe/Berlin`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkingHours {
    text: String,
    /// Of each weekday, Monday first: from and to in minutes of the day, in order and apart from each other.
    week: [Vec<(u16, u16)>; 7],
    zone: Zone,
}

impl WorkingHours {
    /// Reads spans separated by `;` and, at the end, the name of a zone.
    ///
    /// # Errors
    /// When they cannot be read, overlap, or have less than four hours a week.
    pub fn read(text: &str) -> Result<Self, InvalidSchedule> {
        let refused = |problem: String| InvalidSchedule::WorkingHours { text: cut(text), problem };
        if text.len() > MAX_TEXT {
            return Err(refused(format!("longer than {MAX_TEXT} characters")));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (spans, zone) =
            text.rsplit_once(' ').ok_or_else(|| refused("no time zone at the end".to_owned()))?;
        let zone = Zone::named(zone).ok_or_else(|| InvalidSchedule::Zone(cut(zone)))?;
        let mut week: [Vec<(u16, u16)>; 7] = Default::default();
        for span in spans.split(';').map(str::trim) {
            let (days, hours) =
                span.split_once(' ').ok_or_else(|| refused(format!("`{span}` has no days and hours")))?;
            let hours = hours_of(hours).ok_or_else(|| refused(format!("`{hours}` are no hours")))?;
            for day in days_of(days).ok_or_else(|| refused(format!("`{days}` are no days")))? {
                week[day].push(hours);
            }
        }
        for day in &mut week {
            day.sort_unstable();
            if day.windows(2).any(|pair| pair[1].0 < pair[0].1) {
                return Err(refused("hours of a day overlap".to_owned()));
            }
        }
        let read = Self { text, week, zone };
        if read.a_week() < MIN_A_WEEK {
            return Err(refused("less than 4 hours a week".to_owned()));
        }
        Ok(read)
    }

    /// How much of a week counts.
    #[must_use]
    pub fn a_week(&self) -> Duration {
        let minutes: u64 = self.week.iter().flatten().map(|(from, to)| u64::from(to - from)).sum();
        Duration::from_secs(60 * minutes)
    }

    /// The instant at which so much time that counts has passed since `from`.
    #[must_use]
    pub fn advance(&self, from: Timestamp, span: Duration) -> Timestamp {
        let mut left = span;
        let mut reached = from;
        for (start, end) in self.from(from) {
            let start = start.max(from);
            let length = end.since(start);
            reached = start.plus(left.min(length));
            // A span that ends with the day's work is over then, not when the next begins.
            if left <= length {
                return reached;
            }
            left -= length;
        }
        reached.plus(left)
    }

    /// How much time that counts lies between two instants.
    #[must_use]
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Duration {
        let spans = self.from(from).take_while(|(start, _)| *start < to);
        spans.map(|(start, end)| end.min(to).since(start.max(from))).sum()
    }

    /// The spans that count, from the first that ends after an instant.
    fn from(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let first = at.to_jiff().map(|instant| self.zone.rules.to_datetime(instant).date());
        let days = std::iter::successors(first, |day| day.tomorrow().ok());
        let spans = days.flat_map(move |day| {
            let hours = &self.week[usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0)];
            hours.iter().filter_map(move |(from, to)| {
                Some((instant(day, *from, &self.zone.rules)?, instant(day, *to, &self.zone.rules)?))
            })
        });
        spans.filter(move |(start, end)| start < end && *end > at)
    }
}

/// When a clock in the zone shows that minute of the day; where it skips it, right after the gap.
fn instant(day: Date, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    let local: DateTime = if minute == MIDNIGHT {
        day.tomorrow().ok()?.to_datetime(Time::midnight())
    } else {
        day.at(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0)
    };
    let instant = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// `mon`, `mon-fri`, `sat,sun`, `daily`.
fn days_of(text: &str) -> Option<Vec<usize>> {
    let lower = text.to_ascii_lowercase();
    let day = |name: &str| WEEKDAYS.iter().position(|day| *day == name);
    let mut days = vec![];
    if lower == "daily" {
        return Some((0..7).collect());
    }
    for part in lower.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // Also over the end of the week.
        days.extend((0..7).map(|step| (first + step) % 7).take((last + 7 - first) % 7 + 1));
    }
    Some(days)
}

/// `08:00-18:00`, `00:00-24:00`.
fn hours_of(text: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| -> Option<u16> {
        let (hours, minutes) = text.split_once(':')?;
        let is_plain = |text: &str| text.len() <= 2 && text.bytes().all(|c| c.is_ascii_digit());
        let (hours, minutes): (u16, u16) = (
            hours.parse().ok().filter(|_| is_plain(hours))?,
            minutes.parse().ok().filter(|_| is_plain(minutes))?,
        );
        let minute = hours * 60 + minutes;
        (minutes < 60 && minute <= MIDNIGHT).then_some(minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < to).then_some((from, to))
}

impl TryFrom<String> for WorkingHours {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Self, InvalidSchedule> {
        Self::read(&text)
    }
}

impl From<WorkingHours> for String {
    fn from(hours: WorkingHours) -> Self {
        hours.text
    }
}

impl fmt::Display for WorkingHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for WorkingHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkingHours({self})")
    }
}

impl PartialEq for WorkingHours {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for WorkingHours {}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn time_outside_does_not_count() {
        let hours = WorkingHours::read("mon-fri 08:00-18:00 Europe/Berlin").unwrap();
        // 2026-11-20 is a Friday; Berlin is an hour ahead of UTC.
        for (from, span, to) in [
            ("2026-11-20T08:00:00Z", 2, "2026-11-20T10:00:00Z"),
            ("2026-11-20T16:00:00Z", 1, "2026-11-20T17:00:00Z"),
            ("2026-11-20T16:00:00Z", 2, "2026-11-23T08:00:00Z"),
            ("2026-11-21T12:00:00Z", 1, "2026-11-23T08:00:00Z"),
            ("2026-11-20T07:00:00Z", 50, "2026-11-26T17:00:00Z"),
        ] {
            assert_eq!(hours.advance(at(from), HOUR * span), at(to), "{from} {span}");
            assert_eq!(hours.between(at(from), at(to)), HOUR * span, "{from} {span}");
        }
        assert_eq!(hours.between(at("2026-11-20T17:00:00Z"), at("2026-11-23T07:00:00Z")), Duration::ZERO);
    }

    #[test]
    fn a_working_day_is_as_long_as_the_clock_makes_it() {
        let hours = WorkingHours::read("daily 00:00-24:00 Europe/Berlin").unwrap();
        let start = at("2026-03-28T12:00:00Z");
        assert_eq!(hours.advance(start, HOUR * 24), at("2026-03-29T12:00:00Z"), "all time counts");
        let night = WorkingHours::read("sun 00:00-06:00 Europe/Berlin").unwrap();
        assert_eq!(night.between(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z")), HOUR * 5);
        assert_eq!(night.between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z")), HOUR * 7);
    }

    #[test]
    fn hours_are_read_and_what_is_wrong_is_said() {
        let a_week = |text: &str| WorkingHours::read(text).unwrap().a_week();
        assert_eq!(a_week("mon-fri 08:00-18:00 UTC"), HOUR * 50);
        assert_eq!(a_week("Mon,Wed 8:00-12:00; fri-sun 00:00-24:00 Asia/Tokyo"), HOUR * 80);
        assert_eq!(a_week("sat-mon 10:00-12:00 UTC"), HOUR * 6, "over the end of the week");
        for (text, problem) in [
            ("mon-fri 08:00-18:00", "is no time zone"),
            ("mon-fri UTC", "has no days and hours"),
            ("mon-fri 18:00-08:00 UTC", "are no hours"),
            ("mon-fri 08:00-24:01 UTC", "are no hours"),
            ("mon-fry 08:00-18:00 UTC", "are no days"),
            ("mon 08:00-12:00; mon 11:00-18:00 UTC", "overlap"),
            ("mon 08:00-09:00 UTC", "less than 4 hours a week"),
            ("", "no time zone"),
        ] {
            let said = WorkingHours::read(text).unwrap_err().to_string();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
