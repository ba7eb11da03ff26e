//! Golden files of every variant in every channel: what people read cannot change unseen.

use std::time::Duration;

use serde_json::Value;

use super::channel::{Kind, ReceiverUrl};
use super::event::EventSubject;
use super::{Event, Message, samples};

#[test]
fn plain_text_of_every_variant() {
    for (name, message) in messages() {
        golden(&format!("{name}.text"), &message.plain_text());
    }
}

#[test]
fn slack_body_of_every_variant() {
    bodies(|url| Kind::Slack { url });
}

#[test]
fn discord_body_of_every_variant() {
    bodies(|url| Kind::Discord { url });
}

#[test]
fn webhook_body_of_every_variant() {
    bodies(|url| Kind::Webhook { url, secrets: vec![] });
}

/// Laid out and with sorted keys, so that a difference can be read.
fn bodies(kind: impl Fn(ReceiverUrl) -> Kind) {
    let kind = kind(ReceiverUrl::parse("https://receiver.example/").unwrap());
    for ((name, message), (_, event)) in messages().into_iter().zip(samples::all()) {
        let body: Value = serde_json::from_slice(&kind.body(&event, &message)).unwrap();
        golden(&format!("{name}.{}", kind.name()), &serde_json::to_string_pretty(&body).unwrap());
    }
}

/// Every variant in words: outages 3 minutes after they started, heartbeats 2 hours after the ping was due.
fn messages() -> Vec<(&'static str, Message)> {
    let words = |event: &Event| {
        let age_secs = match event.subject {
            EventSubject::Monitor { .. } | EventSubject::Agent { .. } | EventSubject::Installation { .. } => {
                3 * 60
            }
            EventSubject::Heartbeat { .. } => 2 * 3_600,
        };
        Message::render(event, samples::STARTED_AT.plus(Duration::from_secs(age_secs)))
    };
    samples::all().into_iter().map(|(name, event)| (name, words(&event))).collect()
}

fn golden(name: &str, content: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, content));
}
