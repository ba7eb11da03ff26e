//! Any receiver of Standard Webhooks (standardwebhooks.com): signed, with `{type, timestamp, data}` as the body.

use serde::Serialize;

use model::Timestamp;

use super::provider::{Attempt, Provider, Told, Unsendable};
use super::setting::{Setting, Settings, check};
use super::{custom_headers, signing};
use crate::notify::json_time::instant;
use crate::notify::send::{Outgoing, Request};
use crate::notify::{Event, Message};

const UNREADABLE: Unsendable = Unsendable("the channel's stored headers cannot be read");

/// The kind.
#[derive(Debug)]
pub(super) struct Webhook;

impl Provider for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn about(&self) -> &'static str {
        "Any receiver of Standard Webhooks (standardwebhooks.com), signed"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required("url", "the receiver's URL", check::url).secret(),
                Setting::optional(
                    "signature",
                    "hmac: receivers share a secret; ed25519: they know a public key; holds for the next secret that is made",
                    |value| check::one_of(value, &["hmac", "ed25519"]),
                )
                .or("hmac"),
                Setting::optional("headers", "headers to send as well, a line `Name: value` each", custom_headers::check)
                    .secret(),
            ]
        }
    }

    fn body(&self, told: &Told<'_>, _settings: &Settings) -> Vec<u8> {
        body(told.event, told.message)
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let mut request = Request::post(settings.url("url")?, attempt.body.clone());
        request.headers = custom_headers::parse(settings.text("headers")).map_err(|_| UNREADABLE)?;
        request.headers.extend(signing::sign(attempt.id, attempt.at, attempt.keys, attempt.body)?);
        Ok(Outgoing::Http(request))
    }
}

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
fn body(event: &Event, message: &Message) -> Vec<u8> {
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
