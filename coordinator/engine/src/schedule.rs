//! When a job is expected to run: every so often, or by the calendar.
//!
//! In comes what a person wrote (a span, crontab's five fields, or systemd's `OnCalendar`) and the name of a time zone;
//! out goes the next occurrence after an instant. A calendar may have several lines: it is all their occurrences.
//!
//! Around a change of the clock each notation does what its own scheduler does, so that nothing is expected that never
//! runs. Cron (as Debian's): fixed times, of which neither minute nor hour begins with `*`, come once: skipped ones
//! together, right after the gap, and those that are shown twice the first time; all others come whenever the clock shows
//! them. systemd's timers: a time that is skipped does not come that day; what is shown twice comes once, the first time.
//!
//! Time zones are those of the bundled database, so that they are the same on every machine and in an empty container.
//!
//! `schedule/` holds `cron`, `on_calendar` with its reader, `span` and `working_hours`.

mod cron;
mod on_calendar;
mod span;
mod working_hours;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use cron::CronLine;
use on_calendar::OnCalendar;
pub use working_hours::WorkingHours;

/// The most lines of a calendar.
pub const MAX_LINES: usize = 10;
/// The longest line, in bytes.
pub const MAX_LINE: usize = 200;
/// Text of a refused line or zone that is repeated.
const MAX_REPEATED: usize = 60;
/// The zone where none is named.
pub const DEFAULT_ZONE: &str = "UTC";

/// When a job is expected to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Schedule {
    /// At most so long after the last time.
    Every(Duration),
    /// At certain times of the day, week, month or year.
    Calendar(Arc<Calendar>),
}

/// Lines of cron or `OnCalendar`, and the time zone that their times are in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Calendar {
    lines: Vec<Line>,
    zone: Zone,
}

#[derive(Clone)]
enum Line {
    Cron(CronLine),
    OnCalendar(OnCalendar),
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Plain {
    lines: Vec<String>,
    zone: String,
}

/// A time zone and its name.
#[derive(Clone)]
pub(crate) struct Zone {
    pub(crate) rules: TimeZone,
    pub(crate) name: String,
}

/// Why a text is no schedule; says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// There is no line, or there are too many.
    #[error("give 1 to {MAX_LINES} lines")]
    Lines,
    /// A cron expression cannot be read.
    #[error(
        "`{line}` is no cron expression ({problem}): it takes five fields, minute hour day month weekday, such as \
         `0 3 * * *` for every day at three"
    )]
    Cron {
        /// What was given, cut.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An `OnCalendar` expression cannot be read.
    #[error(
        "`{line}` is no OnCalendar expression ({problem}): it is written as for systemd's timers, such as \
         `Mon..Fri *-*-* 03:00`, `daily` or `*-*~1 22:00`"
    )]
    OnCalendar {
        /// What was given, cut.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A line names no time that ever comes.
    #[error("`{0}` never comes")]
    Never(String),
    /// A time zone is unknown.
    #[error("`{0}` is no time zone: give a name of the IANA database, such as `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// Working hours cannot be read.
    #[error(
        "`{text}` are no working hours ({problem}): give days, hours and a time zone, such as \
         `mon-fri 08:00-18:00 Europe/Berlin`, several separated by `;`"
    )]
    WorkingHours {
        /// What was given, cut.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Crontab's five fields, or one of its nicknames.
    Cron,
    /// systemd's.
    OnCalendar,
}

/// Reads a schedule of which it is not said how it is written: a span (`25h`, or a number of seconds), crontab's five
/// fields, or `OnCalendar`; of the latter two one a line. That it comes is seen from `now`.
///
/// # Errors
/// When a line or the zone cannot be read, or a line never comes.
pub fn parse(text: &str, zone: &str, now: Timestamp) -> Result<Schedule, InvalidSchedule> {
    if let Some(every) = span::parse(text.trim()) {
        return Ok(Schedule::Every(every));
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_cron = |line: &&str| line.starts_with('@') || line.split_whitespace().count() == 5;
    let notation = if lines.first().is_some_and(is_cron) { Notation::Cron } else { Notation::OnCalendar };
    Calendar::new(notation, &lines, zone, now).map(|calendar| Schedule::Calendar(Arc::new(calendar)))
}

impl Schedule {
    /// How the calendar is written; `None`: it is none.
    #[must_use]
    pub fn calendar(&self) -> Option<&Calendar> {
        match self {
            Self::Every(_) => None,
            Self::Calendar(calendar) => Some(calendar),
        }
    }

    /// The longest time between two pings, if it is no calendar.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Calendar(_) => None,
        }
    }
}

/// `every 25 h`, `0 3 * * * (Europe/Berlin)`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {}", crate::phrase::span(*interval)),
            Self::Calendar(calendar) => calendar.fmt(f),
        }
    }
}

impl Calendar {
    /// Reads lines and zone. That each of them comes is seen from `now`.
    ///
    /// # Errors
    /// When a line or the zone cannot be read, or a line never comes.
    pub fn new(
        notation: Notation,
        lines: &[&str],
        zone: &str,
        now: Timestamp,
    ) -> Result<Self, InvalidSchedule> {
        if !(1..=MAX_LINES).contains(&lines.len()) {
            return Err(InvalidSchedule::Lines);
        }
        let zone = Zone::named(zone).ok_or_else(|| InvalidSchedule::Zone(cut(zone)))?;
        let lines: Vec<_> =
            lines.iter().map(|line| Line::new(notation, line)).collect::<Result<_, InvalidSchedule>>()?;
        if let Some(line) = lines.iter().find(|line| line.next_after(now, &zone).is_none()) {
            return Err(InvalidSchedule::Never(line.text().to_owned()));
        }
        Ok(Self { lines, zone })
    }

    /// The first occurrence after an instant. `None`: there is none any more.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.lines.iter().filter_map(|line| line.next_after(at, &self.zone)).min()
    }

    /// How it is written.
    #[must_use]
    pub fn notation(&self) -> Notation {
        match self.lines.first() {
            Some(Line::Cron(_)) => Notation::Cron,
            Some(Line::OnCalendar(_)) | None => Notation::OnCalendar,
        }
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(Line::text)
    }

    /// The name of its zone in the IANA database.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone.name
    }
}

impl Line {
    fn new(notation: Notation, text: &str) -> Result<Self, InvalidSchedule> {
        match notation {
            Notation::Cron => CronLine::read(text)
                .map(Self::Cron)
                .map_err(|problem| InvalidSchedule::Cron { line: cut(text), problem }),
            Notation::OnCalendar => OnCalendar::read(text)
                .map(Self::OnCalendar)
                .map_err(|problem| InvalidSchedule::OnCalendar { line: cut(text), problem }),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Cron(line) => line.text(),
            Self::OnCalendar(line) => line.text(),
        }
    }

    fn next_after(&self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Cron(line) => line.next_after(at, &zone.rules),
            Self::OnCalendar(line) => line.next_after(at, &zone.rules),
        }
    }
}

impl Zone {
    /// A zone of the IANA database by its name; `None` if it has none of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let rules = TimeZoneDatabase::bundled().get(name).ok().filter(|_| name != "Etc/Unknown")?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Some(Self { rules, name })
    }
}

pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

impl TryFrom<Plain> for Calendar {
    type Error = InvalidSchedule;

    /// Also one that has come for the last time since.
    fn try_from(plain: Plain) -> Result<Self, InvalidSchedule> {
        let zone = Zone::named(&plain.zone).ok_or_else(|| InvalidSchedule::Zone(cut(&plain.zone)))?;
        let read = |line: &String| {
            Line::new(Notation::Cron, line).or_else(|_| Line::new(Notation::OnCalendar, line))
        };
        let lines = plain.lines.iter().map(read).collect::<Result<_, InvalidSchedule>>()?;
        Ok(Self { lines, zone })
    }
}

impl From<Calendar> for Plain {
    fn from(calendar: Calendar) -> Self {
        Self { lines: calendar.lines().map(str::to_owned).collect(), zone: calendar.zone.name }
    }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.zone.name == other.zone.name && self.lines().eq(other.lines())
    }
}

impl Eq for Calendar {}

/// `0 3 * * * (Europe/Berlin)`; lines that name a zone themselves need none behind them.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.lines().collect();
        let lines = crate::phrase::list(&lines, "or");
        let names_zone = |line: &Line| matches!(line, Line::OnCalendar(line) if line.has_zone());
        if self.lines.iter().all(names_zone) {
            f.write_str(&lines)
        } else {
            write!(f, "{lines} ({})", self.zone.name)
        }
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn read(text: &str, zone: &str) -> Result<Schedule, InvalidSchedule> {
        parse(text, zone, at("2026-11-23T00:00:00Z"))
    }

    fn occurrences(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = read(text, zone).unwrap();
        let calendar = schedule.calendar().unwrap();
        let next = |at: &Timestamp| calendar.next_after(*at);
        std::iter::successors(next(&at(from)), next).take(count).map(|at| at.to_string()).collect()
    }

    #[test]
    fn spans_cron_and_on_calendar_are_told_apart() {
        let every = |secs| Ok(Schedule::Every(Duration::from_secs(secs)));
        assert_eq!(read("25h", "UTC"), every(90_000));
        assert_eq!(read(" 90000 ", "UTC"), every(90_000));
        assert_eq!(read("1d12h", "UTC"), every(129_600));
        let notation = |text: &str| read(text, "UTC").unwrap().calendar().unwrap().notation();
        assert_eq!(notation("0 3 * * *"), Notation::Cron);
        assert_eq!(notation("@daily"), Notation::Cron);
        for text in ["daily", "Mon..Fri *-*-* 08:00:00 Europe/Berlin", "03:00", "*-*~1"] {
            assert_eq!(notation(text), Notation::OnCalendar, "{text}");
        }
    }

    #[test]
    fn several_lines_are_all_their_occurrences() {
        assert_eq!(
            occurrences("0 3 * * *\n30 2 * * 1\n", "UTC", "2026-11-22T12:00:00Z", 3),
            ["2026-11-23T02:30:00Z", "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clock_skips_comes_after_the_gap_for_cron_and_not_at_all_for_timers() {
        let from = "2026-03-28T12:00:00Z";
        let cron = occurrences("30 2 * * *", "Europe/Berlin", from, 2);
        assert_eq!(cron, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let timer = occurrences("02:30", "Europe/Berlin", from, 2);
        assert_eq!(timer, ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_comes_once() {
        let from = "2026-10-24T12:00:00Z";
        for text in ["30 2 * * *", "02:30", "02:30 Europe/Berlin"] {
            let twice = occurrences(text, "Europe/Berlin", from, 2);
            assert_eq!(twice, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"], "{text}");
        }
    }

    #[test]
    fn listed_times_of_cron_are_fixed_and_those_that_begin_with_a_star_follow_the_clock() {
        let spring = "2026-03-29T00:10:00Z";
        let listed = occurrences("15,45 1,2,3 * * *", "Europe/Berlin", spring, 4);
        assert_eq!(listed[..3], ["2026-03-29T00:15:00Z", "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"]);
        assert_eq!(listed[3], "2026-03-29T01:15:00Z");
        let stepped = occurrences("*/30 2,3 * * *", "Europe/Berlin", spring, 2);
        assert_eq!(stepped, ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
        let autumn = "2026-10-25T00:20:00Z";
        let listed = occurrences("30 2,3 * * *", "Europe/Berlin", autumn, 2);
        assert_eq!(listed, ["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"]);
        for text in ["*/30 2 * * *", "30 * * * *"] {
            let twice = occurrences(text, "Europe/Berlin", autumn, 4);
            assert!(twice.contains(&"2026-10-25T00:30:00Z".to_owned()), "{text}: {twice:?}");
            assert!(twice.contains(&"2026-10-25T01:30:00Z".to_owned()), "{text}: {twice:?}");
        }
        assert_eq!(
            occurrences("@hourly", "Europe/Berlin", autumn, 2),
            ["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn a_day_that_a_zone_skips_ends_no_schedule() {
        // Apia had no 30 December 2011.
        let from = "2011-12-29T22:00:00Z";
        let next = |text| occurrences(text, "Pacific/Apia", from, 2);
        assert_eq!(next("0 3 * * *"), ["2011-12-30T10:00:00Z", "2011-12-30T13:00:00Z"]);
        assert_eq!(next("*/30 3 * * *"), ["2011-12-30T13:00:00Z", "2011-12-30T13:30:00Z"]);
        assert_eq!(next("03:00"), ["2011-12-30T13:00:00Z", "2011-12-31T13:00:00Z"]);
        // Seen from within years before.
        assert_eq!(
            occurrences("0 3 30 12 5", "Pacific/Apia", "2011-12-30T09:59:59Z", 1),
            ["2011-12-30T10:00:00Z"]
        );
    }

    #[test]
    fn what_never_comes_and_what_is_unknown_is_refused_saying_what_is_allowed() {
        let said = |text: &str, zone: &str| read(text, zone).unwrap_err().to_string();
        assert_eq!(said("0 2 30 2 *", "UTC"), "`0 2 30 2 *` never comes");
        assert_eq!(said("*-02-30", "UTC"), "`*-02-30` never comes");
        assert_eq!(said("2020-01-01", "UTC"), "`2020-01-01` never comes");
        assert!(said("daily", "Europe/Berln").contains("`Europe/Berln` is no time zone"));
        assert!(said("0 25 * * *", "UTC").starts_with("`0 25 * * *` is no cron expression ("));
        assert!(said("every day", "UTC").contains("such as `Mon..Fri *-*-* 03:00`"));
        assert!(said("", "UTC").contains("1 to 10 lines"));
        assert!(said(&"daily\n".repeat(11), "UTC").contains("1 to 10 lines"));
    }

    #[test]
    fn a_calendar_is_stored_as_it_was_written() {
        for (text, shown) in [
            ("0 3 * * *", "0 3 * * * (Europe/Berlin)"),
            ("daily\n12:30", "daily or 12:30 (Europe/Berlin)"),
            ("daily UTC", "daily UTC"),
        ] {
            let schedule = read(text, "Europe/Berlin").unwrap();
            assert_eq!(schedule.to_string(), shown);
            let stored = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&stored).unwrap(), schedule, "{stored}");
        }
        let every = Schedule::Every(Duration::from_secs(90_000));
        assert_eq!(every.to_string(), "every 25 h");
        let stored = serde_json::to_string(&Duration::from_secs(90_000)).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&stored).unwrap(), every, "as it was stored before");
    }
}
