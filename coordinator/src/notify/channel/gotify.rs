//! A push notification through a Gotify server (gotify.net/api-docs, `POST /message`).

use http::HeaderName;
use serde_json::json;

use super::answered::{otherwise, words};
use super::escape::plain;
use super::fitted::{fitted, fitted_bytes};
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::Severity;

/// The longest title, in characters: more than a phone shows. Gotify itself names no limit.
const MAX_TITLE_CHARS: usize = 250;
/// The longest message, in bytes: what other push services take.
const MAX_MESSAGE_BYTES: usize = 4_096;

const KEY: HeaderName = HeaderName::from_static("x-gotify-key");

static SETTINGS: [Setting; 2] = [
    Setting::required("server", "the server's URL", check::url),
    Setting::required("token", "the token of an application", check::token).secret(),
];

/// Gotify.
#[derive(Debug)]
pub(super) struct Gotify;

impl Provider for Gotify {
    fn name(&self) -> &'static str {
        "gotify"
    }

    fn about(&self) -> &'static str {
        "A Gotify server"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        // The Android app rings from 8, makes a sound from 4 and is silent below.
        let priority = match told.message.severity {
            Severity::Critical => 8,
            Severity::Warning => 5,
            Severity::Good => 4,
            Severity::Neutral => 2,
        };
        // Without details the title has to do: Gotify wants a message.
        let message =
            if told.message.lines.is_empty() { told.message.title.clone() } else { told.message.details() };
        json!({
            "title": fitted(plain(&told.message.title), MAX_TITLE_CHARS),
            "message": fitted_bytes(plain(&message), MAX_MESSAGE_BYTES),
            "priority": priority,
            "extras": { "client::display": { "contentType": "text/plain" } },
        })
        .to_string()
        .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let url = settings.url("server")?.with_segments(&["message"]);
        let request = Request::post(url, attempt.body.clone()).with_header(KEY, settings.text("token"))?;
        Ok(Outgoing::Http(request))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let words = words(&answer.json(), "/errorDescription");
        match answer.status {
            401 | 403 => Some(Verdict::failed("the token is no application's (any more): set a new one")),
            400 if !words.is_empty() => Some(Verdict::refused(words)),
            _ => otherwise(answer, words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 2] = [("server", "https://push.example/gotify/"), ("token", "hush")];

    #[test]
    fn the_token_is_in_a_header_and_the_text_is_plain() {
        let sent = trial::sent(&Gotify, &SET, &samples::down());
        assert_eq!(sent.url, "https://push.example/gotify/message");
        assert_eq!(sent.headers[KEY], "hush");
        assert_eq!(sent.json()["extras"]["client::display"]["contentType"], "text/plain");
        assert_eq!(sent.json()["priority"], 8);
    }

    #[test]
    fn titles_and_messages_are_bounded() {
        for sent in [trial::sent(&Gotify, &SET, &samples::hostile()), trial::longest(&Gotify, &SET)] {
            assert!(sent.json()["message"].as_str().unwrap().len() <= MAX_MESSAGE_BYTES);
            assert!(sent.json()["title"].as_str().unwrap().chars().count() <= MAX_TITLE_CHARS);
        }
    }

    #[test]
    fn a_deleted_application_is_told_of() {
        assert_eq!(trial::outcome(&Gotify, 200, br#"{"id":25}"#), Outcome::Delivered);
        assert_eq!(trial::outcome(&Gotify, 401, b"{}"), Outcome::Failed { retry_after: None });
        assert_eq!(trial::outcome(&Gotify, 400, br#"{"errorDescription":"no"}"#), Outcome::Refused);
    }
}
