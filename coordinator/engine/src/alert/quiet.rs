//! Quiet hours: times of day, in the wall time of a zone, in which what can wait waits.
//!
//! They begin on the days that are named and may reach into the next one. Where the clock skips their beginning or end,
//! it is the first instant after the gap; where it shows it twice, the first.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Quiet hours that follow one another without a gap are one, up to so many.
const MAX_MERGED: usize = 8;
const DAY_MINUTES: u16 = 24 * 60;
/// Text of a refused word that is repeated.
const MAX_REPEATED: usize = 40;

/// When it is quiet.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct QuietHours {
    /// On which they begin.
    days: BTreeSet<Weekday>,
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight, up to 24:00; not after `from`: on the next day.
    to: u16,
    zone: TimeZone,
    zone_name: String,
    /// Whether what is broken waits too.
    hold_critical: bool,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Plain {
    days: BTreeSet<Weekday>,
    from: String,
    to: String,
    zone: String,
    hold_critical: bool,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What is wrong with quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuietHours {
    /// A time of day.
    #[error("`{0}` is no time of day: give hours and minutes, such as 22:00")]
    Time(String),
    /// They begin when they end.
    #[error("must not begin when they end")]
    Empty,
    /// A weekday.
    #[error("`{0}` is no day of the week: give mon, tue, wed, thu, fri, sat or sun")]
    Day(String),
    /// The zone.
    #[error("`{0}` is no time zone: give a name of the IANA database, such as `Europe/Berlin` or `UTC`")]
    Zone(String),
}

impl QuietHours {
    /// Quiet hours from a time of day to another, beginning on these days; none named: every day.
    ///
    /// # Errors
    /// Says what cannot be read.
    pub fn new(
        days: &[Weekday],
        from: &str,
        to: &str,
        zone: &str,
        hold_critical: bool,
    ) -> Result<Self, InvalidQuietHours> {
        let from_minutes = minutes(from).filter(|from| *from < DAY_MINUTES);
        let from = from_minutes.ok_or_else(|| InvalidQuietHours::Time(cut(from)))?;
        let to = minutes(to).ok_or_else(|| InvalidQuietHours::Time(cut(to)))?;
        if from == to {
            return Err(InvalidQuietHours::Empty);
        }
        let found = TimeZoneDatabase::bundled().get(zone).ok().filter(|_| zone != "Etc/Unknown");
        let tz = found.ok_or_else(|| InvalidQuietHours::Zone(cut(zone)))?;
        let zone_name = tz.iana_name().unwrap_or(zone).to_owned();
        let days = if days.is_empty() { Weekday::ALL.into() } else { days.iter().copied().collect() };
        Ok(Self { days, from, to, zone: tz, zone_name, hold_critical })
    }

    /// The end of the quiet hours that `now` is in; `None`: it is not quiet.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut end = self.end_of(now)?;
        for _ in 0..MAX_MERGED {
            match self.end_of(end) {
                Some(later) => end = later,
                None => break,
            }
        }
        Some(end)
    }

    /// On which days they begin.
    pub fn days(&self) -> impl Iterator<Item = Weekday> {
        self.days.iter().copied()
    }

    /// When they begin: `22:00`.
    #[must_use]
    pub fn from(&self) -> String {
        clock(self.from)
    }

    /// When they end: `07:00`.
    #[must_use]
    pub fn to(&self) -> String {
        clock(self.to)
    }

    /// The zone's name in the IANA database.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Whether what is broken waits too.
    #[must_use]
    pub const fn holds_critical(&self) -> bool {
        self.hold_critical
    }

    /// The end of those that began today or yesterday and are not over.
    fn end_of(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_jiff()?.to_zoned(self.zone.clone()).date();
        let began = [today.yesterday().ok(), Some(today)].into_iter().flatten();
        began.filter(|day| self.days.contains(&Weekday::of(*day))).find_map(|day| {
            let end_day = if self.to <= self.from { day.tomorrow().ok()? } else { day };
            let (start, end) = (self.instant(day, self.from)?, self.instant(end_day, self.to)?);
            (start <= now && now < end).then_some(end)
        })
    }

    fn instant(&self, day: Date, minutes: u16) -> Option<Timestamp> {
        let (day, minutes) = if minutes == DAY_MINUTES { (day.tomorrow().ok()?, 0) } else { (day, minutes) };
        let time =
            Time::new(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0).ok()?;
        let zoned = day.to_datetime(time).to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    }
}

impl Weekday {
    /// All of them, Monday first.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// `mon`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }

    fn of(day: Date) -> Self {
        let index = day.weekday().to_monday_zero_offset();
        Self::ALL[usize::try_from(index).unwrap_or_default().min(6)]
    }
}

impl FromStr for Weekday {
    type Err = InvalidQuietHours;

    /// Reads `mon`, whatever its case.
    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let found = Self::ALL.into_iter().find(|day| day.as_str().eq_ignore_ascii_case(text.trim()));
        found.ok_or_else(|| InvalidQuietHours::Day(cut(text)))
    }
}

/// `22:00` as minutes since midnight; up to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let is_number = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !(is_number(hours) && minutes.len() == 2 && is_number(minutes)) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day <= DAY_MINUTES).then_some(of_day)
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

impl TryFrom<Plain> for QuietHours {
    type Error = InvalidQuietHours;

    fn try_from(plain: Plain) -> Result<Self, InvalidQuietHours> {
        let days: Vec<Weekday> = plain.days.into_iter().collect();
        Self::new(&days, &plain.from, &plain.to, &plain.zone, plain.hold_critical)
    }
}

impl From<QuietHours> for Plain {
    fn from(hours: QuietHours) -> Self {
        let (from, to) = (hours.from(), hours.to());
        Self { days: hours.days, from, to, zone: hours.zone_name, hold_critical: hours.hold_critical }
    }
}

impl PartialEq for QuietHours {
    fn eq(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.from, it.to, it.hold_critical);
        parts(self) == parts(other) && self.days == other.days && self.zone_name == other.zone_name
    }
}

impl Eq for QuietHours {}

impl fmt::Debug for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuietHours({} to {} in {}, on {:?})", self.from(), self.to(), self.zone_name, self.days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn nights(days: &[Weekday]) -> QuietHours {
        QuietHours::new(days, "22:00", "07:00", "Europe/Berlin", false).unwrap()
    }

    #[test]
    fn a_night_begins_on_its_day_and_ends_on_the_next_morning() {
        // Friday, in winter.
        let hours = nights(&[Weekday::Fri]);
        assert_eq!(hours.until(at("2026-11-20T20:59:59Z")), None);
        assert_eq!(hours.until(at("2026-11-20T21:00:00Z")), Some(at("2026-11-21T06:00:00Z")));
        assert_eq!(hours.until(at("2026-11-21T05:59:59Z")), Some(at("2026-11-21T06:00:00Z")));
        assert_eq!(hours.until(at("2026-11-21T06:00:00Z")), None);
        assert_eq!(hours.until(at("2026-11-21T22:00:00Z")), None, "Saturday is not named");
    }

    #[test]
    fn nights_are_an_hour_longer_or_shorter_when_the_clock_is_changed() {
        let hours = nights(&[]);
        // The clock goes from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October 2026.
        assert_eq!(hours.until(at("2026-03-28T21:00:00Z")), Some(at("2026-03-29T05:00:00Z")));
        assert_eq!(hours.until(at("2026-10-24T20:00:00Z")), Some(at("2026-10-25T06:00:00Z")));
        // What begins in the gap begins after it, and what ends in the hour shown twice ends the first time.
        let gap = QuietHours::new(&[], "02:30", "06:00", "Europe/Berlin", false).unwrap();
        assert_eq!(gap.until(at("2026-03-29T01:00:00Z")), None);
        assert_eq!(gap.until(at("2026-03-29T01:30:00Z")), Some(at("2026-03-29T04:00:00Z")));
        let fold = QuietHours::new(&[], "01:00", "02:30", "Europe/Berlin", false).unwrap();
        assert_eq!(fold.until(at("2026-10-25T00:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(fold.until(at("2026-10-25T01:00:00Z")), None);
    }

    #[test]
    fn whole_days_that_follow_one_another_are_one() {
        let weekend = QuietHours::new(&[Weekday::Sat, Weekday::Sun], "00:00", "24:00", "UTC", true).unwrap();
        assert_eq!(weekend.until(at("2026-11-21T10:00:00Z")), Some(at("2026-11-23T00:00:00Z")));
        assert_eq!(weekend.until(at("2026-11-23T00:00:00Z")), None);
    }

    #[test]
    fn they_are_stored_as_people_say_them_and_refused_with_what_is_allowed() {
        let hours = nights(&[Weekday::Mon]);
        let json = serde_json::to_string(&hours).unwrap();
        assert!(json.contains(r#""from":"22:00","to":"07:00","zone":"Europe/Berlin""#), "{json}");
        assert_eq!(serde_json::from_str::<QuietHours>(&json).unwrap(), hours);
        let said = |from: &str, to: &str, zone: &str| {
            QuietHours::new(&[], from, to, zone, false).unwrap_err().to_string()
        };
        for time in ["", "22", "22.00", "24:01", "22:60", "2 2:00", "122:00", "-1:00", "+1:00"] {
            assert!(said(time, "07:00", "UTC").contains("such as 22:00"), "{time}");
            assert!(said("07:00", time, "UTC").contains("such as 22:00"), "{time}");
        }
        assert!(said("24:00", "07:00", "UTC").contains("such as 22:00"));
        assert_eq!(said("07:00", "07:00", "UTC"), "must not begin when they end");
        assert!(said("22:00", "07:00", "Mars").contains("no time zone"));
        assert!("Funday".parse::<Weekday>().unwrap_err().to_string().contains("mon, tue"));
        assert_eq!("SUN".parse(), Ok(Weekday::Sun));
    }
}
