//! Windows that begin whenever a cron expression says so, in the wall time of a zone.
//!
//! The expression has the five fields of crontab(5) with the extensions of the Open Cron Pattern Specification (OCPS
//! 1.4: `L`, `W`, `#`, `@daily`). Around daylight saving time it keeps what crontab users know from Vixie cron: a fixed
//! time of day comes exactly once a day, namely at the first instant after the gap where the clock skips it, and the
//! first time where the clock shows it twice; an expression with several times of day or a wildcard follows the wall
//! clock, so what is skipped does not come and what is repeated comes twice. A window's length is elapsed time, whatever
//! the clock does meanwhile.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InvalidSchedule, MAX_MERGED, Window};

/// The longest expression, in bytes.
const MAX_EXPRESSION: usize = 200;
/// Text of a refused expression or zone that is repeated.
const MAX_REPEATED: usize = 60;
/// No clock shows more than this twice when it is set back.
const LONGEST_FOLD: Duration = Duration::from_secs(3 * 3_600);

/// A cron expression, a time zone, and how long each window lasts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Recurring {
    cron: String,
    pattern: Cron,
    zone: TimeZone,
    zone_name: String,
    duration: Duration,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Plain {
    cron: String,
    zone: String,
    duration: Duration,
}

impl Recurring {
    /// Reads expression and zone.
    pub(super) fn new(cron: &str, zone: &str, duration: Duration) -> Result<Self, InvalidSchedule> {
        let refused = |problem: String| InvalidSchedule::Cron { expression: cut(cron), problem };
        if cron.len() > MAX_EXPRESSION {
            return Err(refused(format!("longer than {MAX_EXPRESSION} characters")));
        }
        let cron = cron.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_nickname = cron.starts_with('@') && !cron.contains(' ') && cron != "@reboot";
        if !is_nickname && cron.split(' ').count() != 5 {
            return Err(refused("not five fields".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(&cron).map_err(|error| refused(problem(&error.to_string())))?;
        let zone_name = zone;
        let zone = TimeZoneDatabase::bundled()
            .get(zone_name)
            .ok()
            .filter(|_| zone_name != "Etc/Unknown")
            .ok_or_else(|| InvalidSchedule::Zone(cut(zone_name)))?;
        let zone_name = zone.iana_name().unwrap_or(zone_name).to_owned();
        Ok(Self { cron, pattern, zone, zone_name, duration })
    }

    /// The expression.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// The zone's name in the IANA database.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// How long each occurrence lasts.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// What the zone's clock shows at an instant. `None` outside the years −9999 … 9999.
    #[must_use]
    pub fn wall_time(&self, at: Timestamp) -> Option<jiff::civil::DateTime> {
        self.local(at).map(|local| local.datetime())
    }

    pub(super) fn active_at(&self, now: Timestamp) -> Option<Window> {
        let last = self.occurrence_until(now).filter(|start| now < start.plus(self.duration))?;
        let mut start = last;
        for _ in 0..MAX_MERGED {
            let before = self.occurrence_until(start.minus(Duration::from_micros(1)));
            match before.filter(|before| start <= before.plus(self.duration)) {
                Some(before) => start = before,
                None => break,
            }
        }
        Some(Window { start, end: self.end_from(last) })
    }

    pub(super) fn next_after(&self, now: Timestamp) -> Option<Window> {
        let from = self.active_at(now).map_or(now, |window| window.end);
        let start = self.occurrence_after(from)?;
        Some(Window { start, end: self.end_from(start) })
    }

    /// The first start after an instant.
    pub(super) fn occurrence_after(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.pattern.find_next_occurrence(&self.local(at)?, false).ok()?;
        Some(Timestamp::from_micros(found.timestamp().as_microsecond()))
    }

    /// The last start up to and including an instant.
    ///
    /// Where a clock shows an hour twice, croner sees other occurrences backwards than forwards. What lies ahead is what
    /// was planned, so backwards it only says where to begin to look.
    fn occurrence_until(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.pattern.find_previous_occurrence(&self.local(at)?, true).ok()?;
        let mut cursor = Timestamp::from_micros(found.timestamp().as_microsecond()).minus(LONGEST_FOLD);
        let mut last = None;
        while let Some(next) = self.occurrence_after(cursor).filter(|next| cursor < *next && *next <= at) {
            (last, cursor) = (Some(next), next);
        }
        last
    }

    /// The end of the window that an occurrence begins, with those that begin before it is over.
    fn end_from(&self, start: Timestamp) -> Timestamp {
        let mut last = start;
        for _ in 0..MAX_MERGED {
            match self.occurrence_after(last).filter(|next| *next <= last.plus(self.duration)) {
                Some(next) => last = next,
                None => break,
            }
        }
        last.plus(self.duration)
    }

    fn local(&self, at: Timestamp) -> Option<Zoned> {
        Some(at.to_jiff()?.to_zoned(self.zone.clone()))
    }
}

/// What the parser says, as part of our sentence.
fn problem(said: &str) -> String {
    let said = said.rsplit_once(": ").map_or(said, |(_, rest)| rest).trim_end_matches('.');
    let mut chars = said.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

impl TryFrom<Plain> for Recurring {
    type Error = InvalidSchedule;

    fn try_from(plain: Plain) -> Result<Self, InvalidSchedule> {
        Self::new(&plain.cron, &plain.zone, plain.duration)
    }
}

impl From<Recurring> for Plain {
    fn from(recurring: Recurring) -> Self {
        Self { cron: recurring.cron, zone: recurring.zone_name, duration: recurring.duration }
    }
}

impl PartialEq for Recurring {
    fn eq(&self, other: &Self) -> bool {
        (&self.cron, &self.zone_name, self.duration) == (&other.cron, &other.zone_name, other.duration)
    }
}

impl Eq for Recurring {}

impl fmt::Debug for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recurring(`{}` in {}, for {:?})", self.cron, self.zone_name, self.duration)
    }
}
