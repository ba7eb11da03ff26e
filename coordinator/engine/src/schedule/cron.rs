//! One line of cron, and when it comes next.
//!
//! The library finds local times; what a change of the clock does to them is decided here, as Debian's cron does it.
//! Times of which neither minute nor hour begins with `*` are fixed: each comes once, a skipped one right after the gap,
//! one that is shown twice the first time. All others come whenever the clock shows them.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::ToSpan as _;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use model::Timestamp;

use super::MAX_LINE;

/// No clock shows more than this twice when it is set back.
const LONGEST_FOLD: Duration = Duration::from_secs(3 * 3_600);

/// Crontab's five fields, or one of its nicknames such as `@daily`.
#[derive(Clone)]
pub(crate) struct CronLine {
    text: Box<str>,
    pattern: Box<Cron>,
    /// Whether it comes whenever the clock shows its times.
    follows_clock: bool,
}

impl CronLine {
    /// Reads a line, or says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LINE {
            return Err(format!("longer than {MAX_LINE} characters"));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_nickname = text.starts_with('@') && !text.contains(' ') && text != "@reboot";
        if !is_nickname && text.split(' ').count() != 5 {
            return Err("not five fields".to_owned());
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(&text).map_err(|error| problem(&error.to_string()))?;
        let follows_clock = text == "@hourly" || text.split(' ').take(2).any(|field| field.starts_with('*'));
        Ok(Self { text: text.into(), pattern: Box::new(pattern), follows_clock })
    }

    /// The line, with single spaces.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The first occurrence after an instant.
    pub(crate) fn next_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let found =
            if self.follows_clock { self.shown_after(at, zone)? } else { self.fixed_after(at, zone)? };
        Some(Timestamp::from_micros(found.as_microsecond()))
    }

    /// An instant before the last occurrence up to `at`, and not long before it: from where to look forwards.
    pub(crate) fn before_last(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let at = at.to_jiff()?;
        let local = self.pattern.find_previous_occurrence(&zone.to_datetime(at), true).ok()?;
        let found = zone.to_ambiguous_timestamp(local).earlier().ok()?.min(at);
        Some(Timestamp::from_micros(found.as_microsecond()).minus(LONGEST_FOLD))
    }

    /// Fixed times: those that the clock skips are taken for the end of the gap.
    fn fixed_after(&self, at: Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let at = at.to_jiff()?;
        let mut local = zone.to_datetime(at);
        loop {
            local = self.next_local(local)?;
            let shown = zone.to_ambiguous_timestamp(local);
            let instant = match shown.offset() {
                // The new offset puts it before the change, by at most the length of the gap.
                AmbiguousOffset::Gap { .. } => zone.following(shown.earlier().ok()?).next()?.timestamp(),
                _ => shown.earlier().ok()?,
            };
            if instant > at {
                return Some(instant);
            }
        }
    }

    /// Whatever the clock shows, however often: from one change of it to the next.
    fn shown_after(&self, at: Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let at = at.to_jiff()?;
        let mut changes = zone.following(at);
        let mut from = zone.to_datetime(at);
        let mut local = self.next_local(from)?;
        let mut offset = zone.to_offset(at);
        loop {
            let instant = offset.to_timestamp(local).ok()?;
            let Some(change) = changes.next().filter(|change| change.timestamp() <= instant) else {
                return Some(instant);
            };
            offset = change.offset();
            let shown = offset.to_datetime(change.timestamp()).checked_sub(1.second()).ok()?;
            // Nothing comes between `from` and `local`.
            if shown < from || local <= shown {
                (from, local) = (shown, self.next_local(shown)?);
            }
        }
    }

    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&from, false).ok()
    }
}

/// What the parser says, as part of our sentence.
fn problem(said: &str) -> String {
    let said = said.rsplit_once(": ").map_or(said, |(_, rest)| rest).trim_end_matches('.');
    let mut chars = said.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
