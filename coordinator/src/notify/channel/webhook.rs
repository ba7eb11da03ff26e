//! The body of a generic webhook, as Standard Webhooks recommends: `{type, timestamp, data}`.

use serde::Serialize;

use model::Timestamp;

use crate::notify::json_time::instant;
use crate::notify::{Event, Message};

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(with = "instant")]
    timestamp: Timestamp,
    data: Data<'a>,
}

/// The event whole, and what Slack and Discord would show of it, for receivers that only pass text on.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    event: &'a Event,
    title: &'a str,
    text: String,
}

/// The JSON that a receiver of Standard Webhooks takes.
pub(super) fn body(event: &Event, message: &Message) -> Vec<u8> {
    let payload = Payload {
        kind: event.kind.as_str(),
        timestamp: event.occurred_at,
        data: Data { event, title: &message.title, text: message.plain_text() },
    };
    serde_json::to_vec(&payload).expect("an event has no map with other keys than text and no failing field")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    #[test]
    fn the_data_are_the_event_and_the_words() {
        for (name, event) in samples::all() {
            let message = Message::render(&event, event.occurred_at);
            let body: serde_json::Value = serde_json::from_slice(&body(&event, &message)).unwrap();
            assert_eq!(body["type"], event.kind.as_str(), "{name}");
            assert_eq!(body["timestamp"], event.occurred_at.to_string(), "{name}");
            assert_eq!(body["data"]["text"], message.plain_text(), "{name}");
            assert_eq!(Event::decode(body["data"].to_string().as_bytes()).unwrap(), event, "{name}");
        }
    }
}
