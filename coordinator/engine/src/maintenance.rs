//! Maintenance: planned times in which nothing is judged, and over what.
//!
//! A [`Schedule`] is one window or a recurring one; a [`Scope`] says which monitors and heartbeats it covers. In come
//! definitions and an instant; out go the window that is open at that instant and the next one. What a window does to a
//! subject is in its machine ([`crate::monitor::Event::MaintenanceStarted`] and its like).
//!
//! `maintenance/` holds `recurring` (cron, time zone, daylight saving time), `scope`, and `standstill`: what a machine
//! remembers of a window.

mod recurring;
mod scope;
mod standstill;

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::phrase;

pub use recurring::Recurring;
pub use scope::Scope;
pub(crate) use standstill::Standstill;

/// The shortest window.
pub const MIN_DURATION: Duration = Duration::from_secs(60);
/// The longest window.
pub const MAX_DURATION: Duration = Duration::from_secs(30 * 86_400);
/// Occurrences that may run into one another: a cron expression that names every minute of a day.
pub const MAX_MERGED: usize = 1_500;

/// A time in which nothing is judged: from `start`, up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first instant in it.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// When there is maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// In this one window.
    Once(Window),
    /// Again and again.
    Recurring(Box<Recurring>),
}

/// What is wrong with a schedule. The text says what is allowed; which field it is about, the variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The end of a single window.
    #[error("must be after the start")]
    EndBeforeStart,
    /// The length of a window.
    #[error("a window lasts from 1 minute to 30 days, not {}", phrase::span(*.0))]
    Duration(Duration),
    /// The cron expression cannot be read.
    #[error(
        "`{expression}` is no cron expression ({problem}): it takes five fields, minute hour day month weekday, \
         such as `0 2 * * 0` for Sundays at two"
    )]
    Cron {
        /// What was given, cut.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The cron expression names no date that exists.
    #[error("`{0}` never comes")]
    Never(String),
    /// The occurrences run into one another without end.
    #[error("with this duration one window begins before the last has ended, so that none ever ends: {0}")]
    Endless(String),
    /// The time zone is unknown.
    #[error("`{0}` is no time zone: give a name of the IANA database, such as `Europe/Berlin` or `UTC`")]
    Zone(String),
}

impl Window {
    /// Whether the instant lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }
}

impl Schedule {
    /// A single window.
    ///
    /// # Errors
    /// When it ends before it starts, or is too short or too long.
    pub fn once(start: Timestamp, end: Timestamp) -> Result<Self, InvalidSchedule> {
        if end <= start {
            return Err(InvalidSchedule::EndBeforeStart);
        }
        let window = Window { start, end };
        allow(window.duration())?;
        Ok(Self::Once(window))
    }

    /// A recurring window. That it ever comes, and ends, is seen from `now`.
    ///
    /// # Errors
    /// When expression or zone cannot be read, when a window is too short or too long, never comes or never ends.
    pub fn recurring(
        cron: &str,
        zone: &str,
        duration: Duration,
        now: Timestamp,
    ) -> Result<Self, InvalidSchedule> {
        allow(duration)?;
        let recurring = Recurring::new(cron, zone, duration)?;
        let first =
            recurring.next_after(now).ok_or_else(|| InvalidSchedule::Never(recurring.cron().into()))?;
        // One that cannot end is cut at the bound of what is merged, where the next begins at once.
        let follows = recurring.occurrence_after(first.end.minus(duration));
        if first.duration() > MAX_DURATION || follows.is_some_and(|next| next <= first.end) {
            return Err(InvalidSchedule::Endless(recurring.cron().into()));
        }
        Ok(Self::Recurring(Box::new(recurring)))
    }

    /// The window that is open at `now`. Occurrences that overlap or touch are one window.
    #[must_use]
    pub fn active_at(&self, now: Timestamp) -> Option<Window> {
        match self {
            Self::Once(window) => Some(*window).filter(|window| window.contains(now)),
            Self::Recurring(recurring) => recurring.active_at(now),
        }
    }

    /// The first window that starts after `now`, which is not part of one that is open then.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Window> {
        match self {
            Self::Once(window) => Some(*window).filter(|window| window.start > now),
            Self::Recurring(recurring) => recurring.next_after(now),
        }
    }
}

fn allow(duration: Duration) -> Result<(), InvalidSchedule> {
    if (MIN_DURATION..=MAX_DURATION).contains(&duration) {
        Ok(())
    } else {
        Err(InvalidSchedule::Duration(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_single_window_is_open_from_its_start_until_its_end() {
        let (start, end) = (at("2026-11-22T02:00:00Z"), at("2026-11-22T03:00:00Z"));
        let schedule = Schedule::once(start, end).unwrap();
        let window = Some(Window { start, end });
        let just_before = |instant: Timestamp| instant.minus(Duration::from_micros(1));
        assert_eq!(schedule.active_at(just_before(start)), None);
        assert_eq!(schedule.next_after(just_before(start)), window);
        assert_eq!(schedule.active_at(start), window);
        assert_eq!(schedule.next_after(start), None);
        assert_eq!(schedule.active_at(just_before(end)), window);
        assert_eq!(schedule.active_at(end), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        let now = at("2026-11-22T00:00:00Z");
        let recurring = |cron: &str, zone: &str, hours: u32| {
            Schedule::recurring(cron, zone, HOUR * hours, now).unwrap_err().to_string()
        };
        assert_eq!(Schedule::once(now, now), Err(InvalidSchedule::EndBeforeStart));
        let short = Schedule::once(now, now.plus(Duration::from_secs(59))).unwrap_err();
        assert_eq!(short.to_string(), "a window lasts from 1 minute to 30 days, not 59 s");
        assert!(Schedule::once(now, now.plus(MAX_DURATION)).is_ok());
        assert!(Schedule::once(now, now.plus(MAX_DURATION + Duration::from_secs(1))).is_err());
        for cron in ["", "0 2 * *", "0 0 2 * * 0", "0 25 * * *", "every sunday", "@reboot", "0 2 * * 8"] {
            let said = recurring(cron, "UTC", 1);
            assert!(said.contains("such as `0 2 * * 0`"), "{cron}: {said}");
        }
        let said = recurring("0 25 * * *", "UTC", 1);
        assert!(said.starts_with("`0 25 * * *` is no cron expression (number out of bounds): "), "{said}");
        let long = format!("0 2 * * {}", "1,".repeat(100));
        let said = recurring(&long, "UTC", 1);
        assert!(said.contains("(longer than 200 characters)") && said.len() < 250, "cut: {said}");
        assert_eq!(
            recurring("0 2 * * 0", "Europe/Berln", 1),
            "`Europe/Berln` is no time zone: give a name of the IANA database, such as `Europe/Berlin` or `UTC`"
        );
        assert_eq!(recurring("0 0 30 2 *", "UTC", 1), "`0 0 30 2 *` never comes");
        for (cron, hours) in [("0 * * * *", 1), ("0 0 * * *", 24), ("*/5 2 * * *", 24), ("* * * * *", 1)] {
            assert!(recurring(cron, "UTC", hours).contains("none ever ends"), "{cron}");
        }
        assert!(Schedule::recurring("* * * * 0", "UTC", MIN_DURATION, now).is_ok(), "a day of minutes");
        assert!(recurring("0 0 * 1 *", "UTC", 24).contains("none ever ends"), "31 days are too many");
        assert!(Schedule::recurring("0 0 * 4 *", "UTC", HOUR * 24, now).is_ok(), "30 days are not");
    }
}
