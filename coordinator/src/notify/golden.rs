//! Golden files of every variant in every channel: what people read cannot change unseen.

use std::time::Duration;

use model::{DeliveryId, Timestamp};
use serde_json::Value;
use url::form_urlencoded;

use super::channel::provider;
use super::event::EventSubject;
use super::{Event, Message, samples};

#[test]
fn plain_text_of_every_variant() {
    for (name, message) in messages() {
        golden(&format!("{name}.text"), &message.plain_text());
    }
}

#[test]
fn body_of_every_variant_for_every_kind() {
    for &provider in provider::ALL {
        let channel = samples::channel(provider.name());
        for (name, event) in samples::all() {
            let body = channel.body(DeliveryId::from_bytes([5; 16]), &event, rendered_at(&event));
            golden(&format!("{name}.{}", provider.name()), &laid_out(&body));
        }
    }
}

/// JSON laid out and with sorted keys, and forms field by field, so that a difference can be read; everything else as it is.
fn laid_out(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
        Err(_) => form(body).unwrap_or_else(|| String::from_utf8(body.to_vec()).unwrap()),
    }
}

fn form(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| !text.contains([' ', '\n']))?;
    let fields = form_urlencoded::parse(text.as_bytes()).map(|(name, value)| format!("{name} = {value}"));
    Some(fields.collect::<Vec<_>>().join("\n"))
}

/// Every variant in words.
fn messages() -> Vec<(&'static str, Message)> {
    let words = |event: &Event| Message::render(event, rendered_at(event));
    samples::all().into_iter().map(|(name, event)| (name, words(&event))).collect()
}

/// Outages 3 minutes after they started, heartbeats 2 hours after the ping was due.
fn rendered_at(event: &Event) -> Timestamp {
    let age_secs = match event.subject {
        EventSubject::Monitor { .. } | EventSubject::Agent { .. } | EventSubject::Installation { .. } => {
            3 * 60
        }
        EventSubject::Heartbeat { .. } => 2 * 3_600,
    };
    samples::STARTED_AT.plus(Duration::from_secs(age_secs))
}

fn golden(name: &str, content: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, content));
}
