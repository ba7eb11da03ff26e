//! A message in a Google Chat space, through its webhook; an incident's messages make one thread.

use serde_json::json;

use super::acknowledge;
use super::answered::{otherwise, words};
use super::escape::inert;
use super::fitted::fitted_bytes;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::ACKNOWLEDGE;

/// The longest text, in bytes: far below the 32,000 that a message may have.
const MAX_TEXT_BYTES: usize = 8_000;
/// The longest title of it.
const MAX_TITLE_BYTES: usize = 1_000;

static SETTINGS: [Setting; 1] = [Setting::required(
    "url",
    "the URL of a space's webhook, https://chat.googleapis.com/v1/spaces/…",
    check::url,
)
.secret()];

/// Google Chat.
#[derive(Debug)]
pub(super) struct GoogleChat;

impl Provider for GoogleChat {
    fn name(&self) -> &'static str {
        "google_chat"
    }

    fn about(&self) -> &'static str {
        "A Google Chat space's webhook"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        let mut text = format!("*{}*", fitted_bytes(inert(&told.message.title), MAX_TITLE_BYTES));
        let (rest, link) = acknowledge::apart(told.message);
        if !rest.lines.is_empty() {
            text.push('\n');
            text.push_str(&fitted_bytes(inert(&rest.details()), MAX_TEXT_BYTES));
        }
        if let Some(url) = link {
            text.push_str(&format!("\n<{url}|{ACKNOWLEDGE}>"));
        }
        json!({ "text": text, "thread": { "threadKey": told.event.incident.id.to_string() } })
            .to_string()
            .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let reply = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD";
        let url = settings.url("url")?.with_query(&[("messageReplyOption", reply)]);
        Ok(Outgoing::Http(Request::post(url, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let said = words(&told, "/error/message");
        match (answer.status, words(&told, "/error/status").as_str()) {
            (404, "NOT_FOUND") => Some(Verdict::gone("the space or its webhook was deleted: set a new URL")),
            (400, "INVALID_ARGUMENT") => Some(Verdict::refused(said)),
            _ => otherwise(answer, said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 1] =
        [("url", "https://chat.googleapis.com/v1/spaces/A/messages?key=hush&token=hush")];

    #[test]
    fn an_incident_is_one_thread() {
        let opened = trial::sent(&GoogleChat, &SET, &samples::down());
        assert_eq!(
            opened.target,
            "/v1/spaces/A/messages?key=hush&token=hush&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
        );
        let resolved = trial::sent(&GoogleChat, &SET, &samples::recovered());
        assert_eq!(opened.json()["thread"], resolved.json()["thread"]);
    }

    #[test]
    fn nobody_is_mentioned_nothing_is_a_disguised_link_and_the_limit_is_kept() {
        for sent in [trial::sent(&GoogleChat, &SET, &samples::hostile()), trial::longest(&GoogleChat, &SET)] {
            let text = sent.json()["text"].as_str().unwrap().to_owned();
            assert!(text.len() <= 32_000 && sent.body.len() <= 32_000);
            assert!(!text.contains("<!") && !text.contains("<@U") && !text.contains("|x>"), "{text}");
        }
    }

    #[test]
    fn a_deleted_space_is_gone() {
        let gone =
            br#"{"error":{"code":404,"message":"This Chat space does not exist.","status":"NOT_FOUND"}}"#;
        assert_eq!(trial::outcome(&GoogleChat, 404, gone), Outcome::Gone);
        assert_eq!(trial::outcome(&GoogleChat, 404, b"<html>"), Outcome::Failed { retry_after: None });
        assert_eq!(
            trial::outcome(&GoogleChat, 200, br#"{"name":"spaces/A/messages/B"}"#),
            Outcome::Delivered
        );
        assert_eq!(trial::outcome(&GoogleChat, 429, b""), Outcome::Failed { retry_after: None });
    }
}
