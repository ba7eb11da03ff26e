//! Windows that begin whenever a cron expression says so, in the wall time of a zone.
//!
//! The expression has the five fields of crontab(5) with the extensions of the Open Cron Pattern Specification (OCPS
//! 1.4: `L`, `W`, `#`, `@daily`). Around daylight saving time it keeps what crontab users know from Vixie cron: fixed
//! times of day come exactly once a day, namely at the first instant after the gap where the clock skips them, and the
//! first time where the clock shows them twice; an expression whose minutes or hours begin with `*` follows the wall
//! clock, so what is skipped does not come and what is repeated comes twice. A window's length is elapsed time, whatever
//! the clock does meanwhile.

use std::fmt;
use std::time::Duration;

use jiff::Zoned;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InvalidSchedule, MAX_MERGED, Window};
use crate::schedule::{CronLine, Zone, cut};

/// A cron expression, a time zone, and how long each window lasts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Recurring {
    cron: CronLine,
    zone: Zone,
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
        let refused = |problem| InvalidSchedule::Cron { expression: cut(cron), problem };
        let cron = CronLine::read(cron).map_err(refused)?;
        let zone = Zone::named(zone).ok_or_else(|| InvalidSchedule::Zone(cut(zone)))?;
        Ok(Self { cron, zone, duration })
    }

    /// The expression.
    #[must_use]
    pub fn cron(&self) -> &str {
        self.cron.text()
    }

    /// The zone's name in the IANA database.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone.name
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
        self.cron.next_after(at, &self.zone.rules)
    }

    /// The last start up to and including an instant.
    fn occurrence_until(&self, at: Timestamp) -> Option<Timestamp> {
        let mut cursor = self.cron.before_last(at, &self.zone.rules)?;
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
        Some(at.to_jiff()?.to_zoned(self.zone.rules.clone()))
    }
}

impl TryFrom<Plain> for Recurring {
    type Error = InvalidSchedule;

    fn try_from(plain: Plain) -> Result<Self, InvalidSchedule> {
        Self::new(&plain.cron, &plain.zone, plain.duration)
    }
}

impl From<Recurring> for Plain {
    fn from(recurring: Recurring) -> Self {
        Self { cron: recurring.cron().to_owned(), zone: recurring.zone.name, duration: recurring.duration }
    }
}

impl PartialEq for Recurring {
    fn eq(&self, other: &Self) -> bool {
        (self.cron(), self.zone(), self.duration) == (other.cron(), other.zone(), other.duration)
    }
}

impl Eq for Recurring {}

impl fmt::Debug for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recurring(`{}` in {}, for {:?})", self.cron(), self.zone(), self.duration)
    }
}
