//! A channel on trial: what one of its kind would send of an event, and what it makes of an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use model::DeliveryId;
use serde_json::Value;
use url::form_urlencoded;

use super::provider::{Answer, Attempt, Provider, Told, Verdict};
use super::setting::Settings;
use crate::notify::send::{Outcome, Outgoing};
use crate::notify::text::Line;
use crate::notify::{Event, Message, samples};

/// The delivery of all trials.
pub(super) const DELIVERY_ID: DeliveryId = DeliveryId::from_bytes([5; 16]);

/// A request as it would leave.
pub(super) struct Sent {
    pub method: Method,
    pub url: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What was stored of the body.
    pub stored: Vec<u8>,
}

impl Sent {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

/// What is sent of an event 3 minutes after its outage started.
pub(super) fn sent(provider: &'static dyn Provider, set: &[(&str, &str)], event: &Event) -> Sent {
    let message = Message::render(event, samples::STARTED_AT.plus(Duration::from_secs(180)));
    sent_as(provider, set, event, &message)
}

/// What is sent of a message that is longer than any provider takes, in characters of 4 bytes.
pub(super) fn longest(provider: &'static dyn Provider, set: &[(&str, &str)]) -> Sent {
    let long = |bytes: usize| "🔴".repeat(bytes / 4);
    let event = samples::hostile();
    let mut message = Message::render(&event, event.occurred_at);
    message.acknowledge_url = None;
    message.title = long(50_000);
    message.lines = (0..10).map(|_| Line { label: "Status", value: long(50_000) }).collect();
    sent_as(provider, set, &event, &message)
}

/// What becomes of a delivery that was answered so.
pub(super) fn outcome(provider: &'static dyn Provider, status: u16, body: &[u8]) -> Outcome {
    match provider.verdict(&Answer { status, body }) {
        Some(Verdict { outcome, .. }) => outcome,
        None if (200..300).contains(&status) => Outcome::Delivered,
        None if status == 410 => Outcome::Gone,
        None => Outcome::Failed { retry_after: None },
    }
}

fn sent_as(provider: &'static dyn Provider, set: &[(&str, &str)], event: &Event, message: &Message) -> Sent {
    let given = set.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let settings = Settings::new(provider).changed(&given).unwrap();
    let told = Told { id: DELIVERY_ID, event, message, at: event.occurred_at };
    let stored = provider.body(&told, &settings);
    let body = Bytes::from(stored.clone());
    let attempt = Attempt { id: DELIVERY_ID, at: event.occurred_at, body: &body, keys: &[] };
    let Outgoing::Http(request) = provider.outgoing(&attempt, &settings).unwrap() else {
        panic!("{} is no HTTP", provider.name())
    };
    Sent {
        method: request.method,
        url: request.url.expose().to_string(),
        target: request.url.request_target().to_owned(),
        headers: request.headers,
        body: request.body,
        stored,
    }
}
