//! What people read: an event in words, the same in every channel.
//!
//! A pure function of the event and the instant of rendering. Whatever users, targets or jobs chose the words of
//! (names, statuses, details) comes out as one line of bounded length without control characters; escaping for a
//! provider's markup is the channel's business.

use std::fmt;
use std::time::Duration;

use model::Timestamp;

use super::event::{ClosedReason, Event, EventComponent, EventFailure, EventKind, EventRegion, EventSubject};

/// The longest name that is shown, in characters.
pub const MAX_NAME_CHARS: usize = 120;
/// The longest value that is shown, in characters.
pub const MAX_VALUE_CHARS: usize = 500;
/// What stands before the link in the last line.
pub const ACKNOWLEDGE: &str = "Acknowledge";
/// Of a list, at most this many are named; the rest is counted.
const MAX_LISTED: usize = 8;

/// A notification in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The one line that says it all: `🔴 DOWN: yourdomain.com/health`.
    pub title: String,
    /// What follows, in order.
    pub lines: Vec<Line>,
    /// How bad it is.
    pub severity: Severity,
    /// The absolute instant behind the relative times: the start of an outage, or its end.
    pub timestamp: Timestamp,
    /// Where a person acknowledges it, for channels that show a link as a button; the last line says it too.
    pub acknowledge_url: Option<String>,
}

/// One line below the title: `Status: 503 Service Unavailable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What stands before the colon; empty where somebody's own words have none.
    pub label: &'static str,
    /// What stands after it.
    pub value: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            "" => f.write_str(&self.value),
            label => write!(f, "{label}: {}", self.value),
        }
    }
}

/// How bad the news is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something broke.
    Critical,
    /// We see less than we should; nothing is known to be broken.
    Warning,
    /// It works again.
    Good,
    /// It is no longer watched.
    Neutral,
}

impl Message {
    /// Puts an event into words; times ago are relative to `rendered_at`.
    #[must_use]
    pub fn render(event: &Event, rendered_at: Timestamp) -> Self {
        let mut message = match event.kind {
            EventKind::Opened | EventKind::Updated => opened(event, rendered_at),
            EventKind::Reminder => still_open(event, rendered_at),
            EventKind::Escalated => escalated(event, rendered_at),
            EventKind::Acknowledged => acknowledged(event),
            EventKind::Resolved => resolved(event),
            EventKind::Closed => closed(event),
        };
        if let Some(url) = &event.acknowledge_url {
            message.lines.push(line(ACKNOWLEDGE, url.clone()));
            message.acknowledge_url = Some(url.clone());
        }
        message
    }

    /// The lines below the title, one after the other.
    #[must_use]
    pub fn details(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    /// The same without the link, for channels that make one of their own.
    #[must_use]
    pub fn facts(&self) -> String {
        let facts = self.lines.iter().filter(|line| line.label != ACKNOWLEDGE);
        facts.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// The whole message without any markup, without a final line break.
    #[must_use]
    pub fn plain_text(&self) -> String {
        if self.lines.is_empty() { self.title.clone() } else { format!("{}\n{}", self.title, self.details()) }
    }
}

/// A span in the one unit that fits, rounded down: seconds below 1 minute, minutes below 1 hour, hours below 48
/// hours, then days.
#[must_use]
pub fn span(span: Duration) -> String {
    let (unit, name) = unit_of(span.as_secs());
    count(span.as_secs() / unit, name)
}

/// A period that somebody chose, never rounded: in the unit of [`span`] if it is a whole number of those, else in
/// the next smaller one that it is a whole number of.
#[must_use]
pub fn period(period: Duration) -> String {
    let secs = period.as_secs();
    let (largest, _) = unit_of(secs);
    let (unit, name) = UNITS
        .into_iter()
        .find(|&(unit, _)| unit <= largest && secs.is_multiple_of(unit))
        .unwrap_or((1, "second"));
    count(secs / unit, name)
}

fn opened(event: &Event, rendered_at: Timestamp) -> Message {
    let started_at = event.incident.started_at;
    let ago = |at: Timestamp| format!("{} ago", span(rendered_at.since(at)));
    let mut lines = Vec::new();
    let word = match event.incident.failure {
        EventFailure::Down => {
            lines.extend(status(event));
            lines.extend(failing(&event.failing_components));
            lines.extend(regions(&event.regions));
            lines.extend(listed(&event.members, Clone::clone).map(|value| line("Also down", value)));
            lines.push(line("Started", ago(started_at)));
            "DOWN"
        }
        EventFailure::Missed => {
            lines.extend(expected(&event.subject));
            lines.push(line("Last ping", event.last_ping_at.map_or_else(|| "never".to_owned(), ago)));
            "MISSED"
        }
        EventFailure::NeverStarted => {
            lines.push(line("Status", "not started".to_owned()));
            lines.extend(expected(&event.subject));
            lines.push(line("Last ping", event.last_ping_at.map_or_else(|| "never".to_owned(), ago)));
            "MISSED"
        }
        EventFailure::RanTooLong { started_at, max_runtime } => {
            lines.push(line("Status", format!("started {}, not finished", ago(started_at))));
            lines.push(line("Expected within", period(max_runtime)));
            "MISSED"
        }
        EventFailure::Silent { started_at, heard_at } => {
            lines.push(line("Status", format!("started {}, not finished", ago(started_at))));
            lines.push(line("Last sign of life", ago(heard_at)));
            "MISSED"
        }
        EventFailure::Failed { exit_code } => {
            lines.push(match exit_code {
                Some(code) => line("Exit code", code.to_string()),
                None => line("Status", "the job reported a failure".to_owned()),
            });
            lines.push(line("Reported", ago(started_at)));
            "FAILED"
        }
        EventFailure::Quarantined => return quarantined(event, ago(started_at)),
        EventFailure::Uncovered => return uncovered(event, ago(started_at)),
        EventFailure::Disabled => return disabled(event, ago(started_at)),
    };
    Message {
        title: format!("🔴 {word}: {}{}", called(&event.subject), and_more(&event.members)),
        lines,
        severity: Severity::Critical,
        timestamp: started_at,
        acknowledge_url: None,
    }
}

/// The words of the opening, as a reminder of it.
fn still_open(event: &Event, rendered_at: Timestamp) -> Message {
    let mut message = opened(event, rendered_at);
    let (sign, rest) = message.title.split_once(' ').unwrap_or(("", &message.title));
    message.title = format!("{sign} STILL {rest}");
    message.lines.extend(event.reminder.map(|number| line("Reminder", number.to_string())));
    message
}

/// The words of the opening, to those who hear of it because nobody has acknowledged it.
fn escalated(event: &Event, rendered_at: Timestamp) -> Message {
    let mut message = opened(event, rendered_at);
    let (sign, rest) = message.title.split_once(' ').unwrap_or(("", &message.title));
    message.title = format!("{sign} ESCALATED: {rest}");
    let since = span(event.occurred_at.since(event.incident.opened_at));
    message.lines.push(line("Unacknowledged for", since));
    message
}

fn acknowledged(event: &Event) -> Message {
    let acknowledged = event.incident.acknowledged.as_ref();
    let mut lines: Vec<Line> =
        acknowledged.map(|it| line("By", one_line(&it.by, MAX_NAME_CHARS))).into_iter().collect();
    let reason = acknowledged.map(|it| it.reason.as_str()).filter(|reason| !reason.is_empty());
    lines.extend(reason.map(|reason| line("Reason", one_line(reason, MAX_VALUE_CHARS))));
    Message {
        title: format!("👀 ACKNOWLEDGED: {}{}", called(&event.subject), and_more(&event.members)),
        lines,
        severity: Severity::Neutral,
        timestamp: event.occurred_at,
        acknowledge_url: None,
    }
}

fn quarantined(event: &Event, started: String) -> Message {
    let region = match &event.subject {
        EventSubject::Agent { region, .. } => region.as_ref(),
        EventSubject::Monitor { .. } | EventSubject::Heartbeat { .. } | EventSubject::Installation { .. } => {
            None
        }
    };
    let mut lines = vec![line("Reason", one_line(&event.incident.cause, MAX_VALUE_CHARS))];
    lines.extend(region.map(|region| line("Region", one_line(&region.name, MAX_NAME_CHARS))));
    lines.push(line("Effect", "its votes do not count until it agrees with the others".to_owned()));
    lines.push(line("Started", started));
    let title = format!("🟡 QUARANTINED: {}", called(&event.subject));
    Message {
        title,
        lines,
        severity: Severity::Warning,
        timestamp: event.incident.started_at,
        acknowledge_url: None,
    }
}

fn uncovered(event: &Event, started: String) -> Message {
    let title = match event.regions.as_slice() {
        [] => "monitors cannot be judged".to_owned(),
        [region] => format!("region {} is offline", one_line(&region.name, MAX_NAME_CHARS)),
        regions => format!("{} regions are offline", regions.len()),
    };
    // The cause names the regions by their ids, and then what that means.
    let cause = event.incident.cause.as_str();
    let effect = cause.split_once(": ").map_or(cause, |(_, effect)| effect);
    let mut lines = vec![];
    lines.extend(regions(&event.regions).filter(|_| event.regions.len() > 1));
    lines.push(line("Effect", one_line(effect, MAX_VALUE_CHARS)));
    lines.push(line("Started", started));
    Message {
        title: format!("🟡 COVERAGE: {title}"),
        lines,
        severity: Severity::Warning,
        timestamp: event.incident.started_at,
        acknowledge_url: None,
    }
}

fn disabled(event: &Event, started: String) -> Message {
    let lines = vec![
        line("Reason", one_line(&event.incident.cause, MAX_VALUE_CHARS)),
        line("Effect", "nothing is sent there until somebody enables it".to_owned()),
        line("Since", started),
    ];
    let title = format!("🟡 DISABLED: {}", called(&event.subject));
    Message {
        title,
        lines,
        severity: Severity::Warning,
        timestamp: event.incident.started_at,
        acknowledge_url: None,
    }
}

fn resolved(event: &Event) -> Message {
    let called = called(&event.subject);
    let (title, label) = match event.subject {
        EventSubject::Monitor { .. } => (format!("RECOVERED: {called} is back UP"), "Total downtime"),
        EventSubject::Heartbeat { .. } => (format!("RECOVERED: {called} is back"), "Total downtime"),
        EventSubject::Agent { .. } => (format!("RELEASED: {called} votes again"), "Quarantined for"),
        EventSubject::Installation { .. } => ("COVERAGE: every region is back".to_owned(), "Reduced for"),
    };
    Message {
        title: format!("✅ {title}"),
        lines: vec![line(label, downtime(event))],
        severity: Severity::Good,
        timestamp: event.occurred_at,
        acknowledge_url: None,
    }
}

fn closed(event: &Event) -> Message {
    let how = match event.incident.closed_reason {
        Some(ClosedReason::Paused) => "was paused",
        Some(ClosedReason::Deleted) => "was deleted",
        None => "is no longer watched",
    };
    Message {
        title: format!("⚪ CLOSED: {} {how}", called(&event.subject)),
        lines: vec![line("Down for", downtime(event))],
        severity: Severity::Neutral,
        timestamp: event.occurred_at,
        acknowledge_url: None,
    }
}

fn called(subject: &EventSubject) -> String {
    let name = one_line(subject.name(), MAX_NAME_CHARS);
    match subject {
        EventSubject::Monitor { .. } | EventSubject::Agent { .. } | EventSubject::Installation { .. } => name,
        EventSubject::Heartbeat { .. } => format!("{name} heartbeat"),
    }
}

/// ` and 2 more`.
fn and_more(members: &[String]) -> String {
    match members.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn status(event: &Event) -> Option<Line> {
    event.status.as_ref().map(|status| line("Status", one_line(status, MAX_VALUE_CHARS)))
}

fn failing(components: &[EventComponent]) -> Option<Line> {
    let one = |component: &EventComponent| match &component.detail {
        Some(detail) => format!("{} ({})", component.name, detail.trim()),
        None => component.name.clone(),
    };
    listed(components, one).map(|value| line("Failing", value))
}

fn regions(regions: &[EventRegion]) -> Option<Line> {
    listed(regions, |region| region.name.clone()).map(|value| line("Regions", value))
}

fn expected(subject: &EventSubject) -> Option<Line> {
    match subject {
        EventSubject::Heartbeat { calendar: Some(calendar), .. } => {
            Some(line("Expected", one_line(calendar, MAX_VALUE_CHARS)))
        }
        EventSubject::Heartbeat { interval, .. } => {
            interval.map(|interval| line("Expected every", period(interval)))
        }
        EventSubject::Monitor { .. } | EventSubject::Agent { .. } | EventSubject::Installation { .. } => None,
    }
}

fn downtime(event: &Event) -> String {
    let ended_at = event.incident.resolved_at.unwrap_or(event.occurred_at);
    span(ended_at.since(event.incident.started_at))
}

fn line(label: &'static str, value: String) -> Line {
    Line { label, value }
}

/// `a, b, c and 4 more`; `None` for an empty list.
fn listed<T>(items: &[T], name: impl Fn(&T) -> String) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let named: Vec<_> = items.iter().take(MAX_LISTED).map(name).collect();
    let list = one_line(&named.join(", "), MAX_VALUE_CHARS);
    Some(match items.len() - named.len() {
        0 => list,
        more => format!("{list} and {more} more"),
    })
}

const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];

fn unit_of(secs: u64) -> (u64, &'static str) {
    match secs {
        0..60 => UNITS[3],
        60..3_600 => UNITS[2],
        3_600..172_800 => UNITS[1],
        _ => UNITS[0],
    }
}

fn count(number: u64, unit: &str) -> String {
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}

/// `text` on one line: runs of white space and control characters become one space, marks that turn the direction
/// of reading go, and what is longer than `max_chars` ends in `…`.
pub(super) fn one_line(text: &str, max_chars: usize) -> String {
    let visible = text.chars().filter(|&c| !turns_reading(c));
    let spaced: String = visible.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().nth(max_chars).is_none() {
        return line;
    }
    line.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// Bidirectional controls and the byte order mark: unseen, they make a line read as another.
fn turns_reading(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn spans_change_their_unit_at_the_boundaries() {
        for (secs, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (61, "1 minute"),
            (2 * MINUTE - 1, "1 minute"),
            (2 * MINUTE, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "1 hour"),
            (2 * HOUR - 1, "1 hour"),
            (DAY, "24 hours"),
            (25 * HOUR, "25 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR - 1, "47 hours"),
            (48 * HOUR, "2 days"),
            (3 * DAY - 1, "2 days"),
            (400 * DAY, "400 days"),
        ] {
            assert_eq!(span(Duration::from_secs(secs)), text, "{secs} s");
        }
        assert_eq!(span(Duration::from_millis(59_999)), "59 seconds");
    }

    #[test]
    fn periods_are_never_rounded() {
        for (secs, text) in [
            (1, "1 second"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (90 * MINUTE, "90 minutes"),
            (DAY, "24 hours"),
            (25 * HOUR, "25 hours"),
            (7 * DAY, "7 days"),
            (50 * HOUR, "50 hours"),
        ] {
            assert_eq!(period(Duration::from_secs(secs)), text, "{secs} s");
        }
    }

    #[test]
    fn ago_is_relative_to_rendering_and_the_timestamp_is_not() {
        let event = samples::down();
        let early = Message::render(&event, event.incident.started_at.plus(Duration::from_secs(3)));
        let late = Message::render(&event, event.incident.started_at.plus(Duration::from_secs(DAY)));
        assert!(early.plain_text().ends_with("Started: 3 seconds ago"), "{}", early.plain_text());
        assert!(late.plain_text().ends_with("Started: 24 hours ago"), "{}", late.plain_text());
        assert_eq!(early.timestamp, late.timestamp);
        assert_eq!(early.timestamp, event.incident.started_at);
    }

    #[test]
    fn words_of_others_are_one_bounded_visible_line() {
        let hostile = samples::hostile();
        let message = Message::render(&hostile, hostile.occurred_at);
        assert_eq!(message.plain_text().lines().count(), 1 + message.lines.len());
        assert!(message.title.chars().count() < MAX_NAME_CHARS + 20);
        for line in &message.lines {
            assert!(line.value.chars().count() < MAX_VALUE_CHARS + 20, "{}", line.label);
            assert!(!line.value.chars().any(|c| c.is_control() || turns_reading(c)), "{}", line.label);
        }
        assert_eq!(one_line("  a\r\nb\u{2028}c\u{202e}\0d  ", 80), "a b c d");
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abcde…");
    }

    #[test]
    fn long_lists_are_counted_not_spelled_out() {
        let mut event = samples::down();
        event.regions = vec![event.regions[0].clone(); 20];
        let message = Message::render(&event, event.occurred_at);
        let regions = message.lines.iter().find(|line| line.label == "Regions").unwrap();
        assert!(regions.value.ends_with("US-East and 12 more"), "{}", regions.value);
    }
}
