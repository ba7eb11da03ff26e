//! An incident in PagerDuty: opened, kept up to date, acknowledged and resolved under one key (Events API v2).
//!
//! The routing key, which alone allows to page somebody, is not stored with the body.

use serde_json::{Map, Value, json};

use super::answered::words;
use super::completed;
use super::escape::plain;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::event::{EventKind, EventSubject};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::Severity;

/// The longest summary that PagerDuty takes, in characters.
const MAX_SUMMARY_CHARS: usize = 1_024;
/// The longest of the other fields, in characters. PagerDuty limits the whole event to 512 KB only.
const MAX_FIELD_CHARS: usize = 1_024;

static SETTINGS: [Setting; 2] = [
    Setting::required(
        "routing_key",
        "the Integration Key of an \"Events API V2\" integration, 32 characters",
        routing_key,
    )
    .secret(),
    Setting::optional("api_url", "https://events.eu.pagerduty.com for the EU region", check::url)
        .or("https://events.pagerduty.com"),
];

/// PagerDuty.
#[derive(Debug)]
pub(super) struct PagerDuty;

impl Provider for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn about(&self) -> &'static str {
        "PagerDuty, Events API v2: one alert for each incident"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        let incident = told.event.incident.id.to_string();
        let body = match told.event.kind {
            EventKind::Opened | EventKind::Updated | EventKind::Reminder | EventKind::Escalated => json!({
                "event_action": "trigger",
                "dedup_key": incident,
                "client": "Vigilmon",
                "payload": payload(told),
            }),
            EventKind::Acknowledged => json!({
                "event_action": "acknowledge",
                "dedup_key": incident,
            }),
            EventKind::Resolved | EventKind::Closed => json!({
                "event_action": "resolve",
                "dedup_key": incident,
            }),
        };
        body.to_string().into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let url = settings.url("api_url")?.with_segments(&["v2", "enqueue"]);
        let body = completed::json(attempt.body, &[("routing_key", settings.text("routing_key"))])?;
        Ok(Outgoing::Http(Request::post(url, body)))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let words = [words(&told, "/message"), words(&told, "/errors/0")].join(" ");
        match answer.status {
            // "Check that the JSON is valid", "Retry? No".
            400 if told.is_object() => Some(Verdict::refused(words)),
            429 => Some(Verdict::failed("too many events for this integration")),
            _ => None,
        }
    }
}

fn payload(told: &Told<'_>) -> Value {
    let severity = match told.message.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Good | Severity::Neutral => "info",
    };
    let source = match &told.event.subject {
        EventSubject::Monitor { url, .. } => url,
        EventSubject::Heartbeat { name, .. }
        | EventSubject::Agent { name, .. }
        | EventSubject::Installation { name, .. } => name,
    };
    let mut payload = Map::new();
    let mut put = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    put("summary", fitted(plain(&told.message.title), MAX_SUMMARY_CHARS).into());
    put("source", fitted(plain(source), MAX_FIELD_CHARS).into());
    put("severity", severity.into());
    put("timestamp", told.message.timestamp.to_string().into());
    if let Some(component) = told.event.failing_components.first() {
        put("component", fitted(plain(&component.name), MAX_FIELD_CHARS).into());
    }
    put("class", told.event.kind.as_str().into());
    put("custom_details", details(told));
    Value::Object(payload)
}

fn details(told: &Told<'_>) -> Value {
    let line = |label: &str, value: &str| (label.to_owned(), fitted(plain(value), MAX_FIELD_CHARS).into());
    let lines = &told.message.lines;
    let mut details: Map<String, Value> = if lines.iter().any(|said| said.label.is_empty()) {
        [line("Text", &told.message.details())].into_iter().collect()
    } else {
        lines.iter().map(|said| line(said.label, &said.value)).collect()
    };
    if let Some(votes) = &told.event.votes {
        details.extend([line("Votes", &votes.arithmetic)]);
    }
    Value::Object(details)
}

fn routing_key(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(value.to_owned())
    } else {
        Err("must be 32 letters and digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 1] = [("routing_key", "hushhushhushhushhushhushhushhush")];

    #[test]
    fn an_incident_is_opened_updated_acknowledged_and_resolved_under_one_key() {
        let sent = [
            samples::down(),
            samples::joined(),
            samples::escalated(),
            samples::acknowledged(),
            samples::recovered(),
            samples::closed(),
        ]
        .map(|event| trial::sent(&PagerDuty, &SET, &event).json());
        let actions = sent.each_ref().map(|body| body["event_action"].as_str().unwrap());
        assert_eq!(actions, ["trigger", "trigger", "trigger", "acknowledge", "resolve", "resolve"]);
        assert!(sent.iter().all(|body| body["dedup_key"] == sent[0]["dedup_key"]));
        assert!(sent[0]["dedup_key"].as_str().unwrap().len() <= 255);
        assert_eq!(sent[0]["routing_key"], SET[0].1);
    }

    #[test]
    fn the_routing_key_is_in_no_stored_body() {
        let sent = trial::sent(&PagerDuty, &SET, &samples::down());
        assert_eq!(sent.url, "https://events.pagerduty.com/v2/enqueue");
        assert!(!String::from_utf8(sent.stored).unwrap().contains("hush"));
    }

    #[test]
    fn pagerdutys_limits_are_kept() {
        for sent in [trial::sent(&PagerDuty, &SET, &samples::hostile()), trial::longest(&PagerDuty, &SET)] {
            let summary = sent.json()["payload"]["summary"].as_str().unwrap().chars().count();
            assert!(summary <= MAX_SUMMARY_CHARS && sent.body.len() < 512 * 1_024, "{summary}");
        }
    }

    #[test]
    fn an_invalid_event_is_not_tried_again() {
        let invalid = br#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect (should be 32 characters)"]}"#;
        assert_eq!(trial::outcome(&PagerDuty, 400, invalid), Outcome::Refused);
        assert_eq!(trial::outcome(&PagerDuty, 202, br#"{"status":"success"}"#), Outcome::Delivered);
        assert_eq!(trial::outcome(&PagerDuty, 429, b""), Outcome::Failed { retry_after: None });
    }
}
