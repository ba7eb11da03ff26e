//! Texts that users write: words of theirs with fields of the event in them, as in `{{subject.name}} is in trouble`.
//!
//! Fields are put in as they are and nothing is evaluated: there are no conditions, loops, filters or includes. What comes
//! out is a title and lines like those we write, in which each channel escapes whatever its markup would read; so neither
//! a field nor a text of a user's can become markup, a mention or another field of the JSON.

use model::{Timestamp, result};

use super::event::{Event, EventSubject};
use super::text::{self, Line, MAX_VALUE_CHARS, Message};

/// The longest text that a user may write, in characters.
const MAX_TEMPLATE_CHARS: usize = 2_000;
/// The longest title that comes of one.
const MAX_TITLE_CHARS: usize = 250;
/// Lines that come of one.
const MAX_LINES: usize = 40;

/// A text that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(usize),
}

/// What a field says of a message and its event.
type Value = fn(&Message, &Event) -> String;

/// Every field there is.
const FIELDS: [(&str, Value); 16] = [
    ("title", |message, _| message.title.clone()),
    ("text", |message, _| message.details()),
    ("event.type", |_, event| event.kind.as_str().to_owned()),
    ("subject.name", |_, event| event.subject.name().to_owned()),
    ("subject.kind", |_, event| kind(&event.subject).to_owned()),
    ("monitor.name", |_, event| event.subject.name().to_owned()),
    ("monitor.url", |_, event| url(&event.subject).to_owned()),
    ("heartbeat.name", |_, event| event.subject.name().to_owned()),
    ("incident.id", |_, event| event.incident.id.to_string()),
    ("incident.number", |_, event| event.incident.number.to_string()),
    ("incident.cause", |_, event| event.incident.cause.clone()),
    ("incident.started_at", |_, event| event.incident.started_at.to_string()),
    ("incident.resolved_at", |_, event| {
        event.incident.resolved_at.map(|at: Timestamp| at.to_string()).unwrap_or_default()
    }),
    ("incident.duration", |_, event| {
        let until = event.incident.resolved_at.unwrap_or(event.occurred_at);
        text::span(until.since(event.incident.started_at))
    }),
    ("status", |_, event| event.status.clone().unwrap_or_default()),
    ("regions", |_, event| {
        let names: Vec<_> = event.regions.iter().map(|region| region.name.as_str()).collect();
        names.join(", ")
    }),
];

impl Template {
    /// Reads a text. `{{` begins a field and `}}` ends it; single braces are text.
    ///
    /// # Errors
    /// Says what cannot be read, and which fields there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = || FIELDS.map(|(name, _)| name).join(", ");
        if text.chars().count() > MAX_TEMPLATE_CHARS {
            return Err(format!("must be at most {MAX_TEMPLATE_CHARS} characters"));
        }
        let mut pieces = vec![];
        let mut rest = text.trim();
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or("has a {{ without its }}")?;
            let name = name.trim();
            let Some(field) = FIELDS.iter().position(|(field, _)| *field == name) else {
                let name = result::clean(name, 40);
                return Err(format!("has no field `{name}`: these are: {}", known()));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Field(field));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    fn filled(&self, message: &Message, event: &Event) -> String {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(field) => FIELDS[*field].1(message, event),
        };
        self.pieces.iter().map(fill).collect()
    }
}

/// A message with a title and a text of the user's own, where there are such.
#[must_use]
pub fn applied(
    message: &Message,
    event: &Event,
    title: Option<&Template>,
    text: Option<&Template>,
) -> Message {
    let own_title = title.map(|title| text::one_line(&title.filled(message, event), MAX_TITLE_CHARS));
    let own_lines = text.map(|text| {
        let filled = text.filled(message, event);
        let line = |line: &str| Line { label: "", value: text::one_line(line, MAX_VALUE_CHARS) };
        filled.lines().take(MAX_LINES).map(line).collect()
    });
    Message {
        title: own_title.filter(|title| !title.is_empty()).unwrap_or_else(|| message.title.clone()),
        lines: own_lines.unwrap_or_else(|| message.lines.clone()),
        ..message.clone()
    }
}

const fn kind(subject: &EventSubject) -> &'static str {
    match subject {
        EventSubject::Monitor { .. } => "monitor",
        EventSubject::Heartbeat { .. } => "heartbeat",
        EventSubject::Agent { .. } => "agent",
        EventSubject::Installation { .. } => "installation",
    }
}

/// Empty for what has none.
fn url(subject: &EventSubject) -> &str {
    match subject {
        EventSubject::Monitor { url, .. } => url,
        EventSubject::Heartbeat { .. } | EventSubject::Agent { .. } | EventSubject::Installation { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    fn written(title: &str, text: &str, event: &Event) -> Message {
        let message = Message::render(event, event.occurred_at);
        let (title, text) = (Template::parse(title).unwrap(), Template::parse(text).unwrap());
        applied(&message, event, Some(&title), Some(&text))
    }

    #[test]
    fn fields_are_put_in_and_everything_else_stays_as_it_was_written() {
        let event = samples::recovered();
        let message = written(
            "{{ subject.name }}: {{incident.duration}} {x} }}",
            "#{{incident.number}} of {{subject.kind}}\nwas {{status}}\n\n{{regions}}.",
            &event,
        );
        assert_eq!(message.title, "yourdomain.com/health: 8 minutes {x} }}");
        assert_eq!(message.details(), "#7 of monitor\nwas 503 Service Unavailable\n\n.");
        let same = written("{{title}}", "{{text}}", &event);
        let plain = Message::render(&event, event.occurred_at);
        assert_eq!(same.plain_text(), plain.plain_text());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_fields_there_are() {
        let problem = Template::parse("{{subject.nmae}}").unwrap_err();
        assert!(problem.contains("`subject.nmae`") && problem.contains("subject.name, "), "{problem}");
        for bad in ["{{title", "{{}}", "{{ a {{title}}", "{{title|upper}}", "{{#if title}}", "{{include x}}"]
        {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&"x".repeat(MAX_TEMPLATE_CHARS + 1)).is_err());
    }

    #[test]
    fn a_field_that_reads_like_a_field_is_text() {
        let mut event = samples::down();
        event.incident.cause = "{{incident.id}}\r\nInjected: header".to_owned();
        let message = written("{{incident.cause}}", "{{incident.cause}}", &event);
        assert_eq!(message.title, "{{incident.id}} Injected: header");
        assert_eq!(message.details(), "{{incident.id}}\nInjected: header");
    }

    #[test]
    fn what_comes_out_is_bounded_one_visible_line_after_another() {
        let hostile = samples::hostile();
        let fields = FIELDS.map(|(name, _)| format!("{{{{{name}}}}}")).join(" ");
        let message = written(&fields, &fields.replace(' ', "\n").repeat(5), &hostile);
        assert!(message.title.chars().count() <= MAX_TITLE_CHARS && message.lines.len() <= MAX_LINES);
        for line in &message.lines {
            assert!(line.value.chars().count() <= MAX_VALUE_CHARS && !line.value.contains(char::is_control));
        }
        assert!(!written("{{status}}", "x", &samples::missed()).title.is_empty(), "never without a title");
    }
}
