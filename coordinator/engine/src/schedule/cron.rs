//! One line of cron.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use model::Timestamp;

use super::MAX_LINE;

/// Crontab's five fields, or one of its nicknames such as `@daily`.
#[derive(Clone)]
pub(crate) struct CronLine {
    text: Box<str>,
    pattern: Box<Cron>,
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
        Ok(Self { text: text.into(), pattern: Box::new(pattern) })
    }

    /// The line, with single spaces.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What evaluates it.
    pub(crate) fn pattern(&self) -> &Cron {
        &self.pattern
    }

    /// The first occurrence after an instant.
    pub(crate) fn next_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = at.to_jiff()?.to_zoned(zone.clone());
        let found = self.pattern.find_next_occurrence(&local, false).ok()?;
        Some(Timestamp::from_micros(found.timestamp().as_microsecond()))
    }
}

/// What the parser says, as part of our sentence.
fn problem(said: &str) -> String {
    let said = said.rsplit_once(": ").map_or(said, |(_, rest)| rest).trim_end_matches('.');
    let mut chars = said.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
