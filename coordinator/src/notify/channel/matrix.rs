//! A message in a Matrix room (spec.matrix.org, client-server API).
//!
//! It is put under the delivery's id as transaction id, so that a message that was sent twice is there once.
//! `m.mentions` is empty: nobody is mentioned, whatever the text says. Encrypted rooms show it as not encrypted.

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde_json::json;

use super::acknowledge;
use super::answered::words;
use super::escape::{html, plain};
use super::fitted::fitted_bytes;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::ACKNOWLEDGE;

/// The longest of the two texts, in bytes: together far below the 65,536 of an event.
const MAX_TEXT_BYTES: usize = 16_384;
/// The longest title of them.
const MAX_TITLE_BYTES: usize = 2_048;

static SETTINGS: [Setting; 3] = [
    Setting::required("server", "the URL of the homeserver, as in https://matrix.example", check::url),
    Setting::required("room_id", "the room's internal id: !abc:matrix.example", room_id),
    Setting::required("token", "the access token of a user who is in the room", check::token).secret(),
];

/// Matrix.
#[derive(Debug)]
pub(super) struct Matrix;

impl Provider for Matrix {
    fn name(&self) -> &'static str {
        "matrix"
    }

    fn about(&self) -> &'static str {
        "A Matrix room"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        let title = fitted_bytes(html(&told.message.title), MAX_TITLE_BYTES);
        let mut formatted = format!("<strong>{title}</strong>");
        let (rest, link) = acknowledge::apart(told.message);
        for line in &rest.lines {
            formatted.push_str("<br/>");
            formatted.push_str(&fitted_bytes(html(&line.to_string()), MAX_TEXT_BYTES / 8));
        }
        if let Some(url) = link {
            let url: String = html(url).collect();
            formatted.push_str(&format!("<br/><a href=\"{url}\">{ACKNOWLEDGE}</a>"));
        }
        json!({
            // Not m.notice: by default that notifies nobody.
            "msgtype": "m.text",
            "body": fitted_bytes(plain(&told.message.plain_text()), MAX_TEXT_BYTES),
            "format": "org.matrix.custom.html",
            "formatted_body": formatted,
            "m.mentions": {},
        })
        .to_string()
        .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let transaction = attempt.id.to_string();
        let path = [
            "_matrix",
            "client",
            "v3",
            "rooms",
            settings.text("room_id"),
            "send",
            "m.room.message",
            &transaction,
        ];
        let token = format!("Bearer {}", settings.text("token"));
        let url = settings.url("server")?.with_segments(&path);
        Ok(Outgoing::Http(Request::put(url, attempt.body.clone()).with_header(AUTHORIZATION, &token)?))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let said = words(&told, "/error");
        match words(&told, "/errcode").as_str() {
            "M_LIMIT_EXCEEDED" => Some(match told["retry_after_ms"].as_u64() {
                Some(ms) => Verdict::failed_until(Duration::from_millis(ms), said),
                None => Verdict::failed(said),
            }),
            "M_UNKNOWN_TOKEN" => Some(Verdict::failed("the token is not valid (any more): set a new one")),
            "M_FORBIDDEN" => Some(Verdict::failed(format!("invite the user to the room: {said}"))),
            "M_USER_DEACTIVATED" => Some(Verdict::gone("the user was deactivated")),
            "M_TOO_LARGE" | "M_BAD_JSON" => Some(Verdict::refused(said)),
            _ if answer.is_success() && words(&told, "/event_id").is_empty() => {
                Some(Verdict::failed("no event id in the answer: is this a homeserver?"))
            }
            _ => None,
        }
    }
}

fn room_id(value: &str) -> Result<String, String> {
    let value = value.trim();
    let is_fit = value.strip_prefix('!').is_some_and(|rest| {
        !rest.is_empty() && !rest.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/')
    });
    if is_fit && value.len() <= 255 {
        Ok(value.to_owned())
    } else {
        Err("must be a room's internal id, which begins with ! (an alias with # is none)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 3] =
        [("server", "https://matrix.example"), ("room_id", "!abc:matrix.example"), ("token", "hush")];

    #[test]
    fn a_message_is_put_under_the_deliverys_id() {
        let sent = trial::sent(&Matrix, &SET, &samples::down());
        assert_eq!(sent.method, http::Method::PUT);
        let path = format!(
            "/_matrix/client/v3/rooms/!abc:matrix.example/send/m.room.message/{}",
            trial::DELIVERY_ID
        );
        assert_eq!(sent.target, path);
        assert_eq!(sent.headers[AUTHORIZATION], "Bearer hush");
    }

    #[test]
    fn html_is_escaped_nobody_is_mentioned_and_the_event_is_small_enough() {
        let sent = trial::sent(&Matrix, &SET, &samples::hostile());
        let body = sent.json();
        assert_eq!(body["m.mentions"], json!({}));
        let formatted = body["formatted_body"].as_str().unwrap();
        let without_ours = formatted.replace("<br/>", "").replace("<strong>", "").replace("</strong>", "");
        assert!(!without_ours.contains(['<', '>']), "{formatted}");
        for sent in [sent, trial::longest(&Matrix, &SET)] {
            assert!(sent.body.len() < 60_000, "{}", sent.body.len());
        }
    }

    #[test]
    fn answers_are_read_by_their_code() {
        let outcome = |status, body: &str| trial::outcome(&Matrix, status, body.as_bytes());
        assert_eq!(outcome(200, r#"{"event_id":"$a"}"#), Outcome::Delivered);
        assert_eq!(outcome(200, "<html>"), Outcome::Failed { retry_after: None });
        let busy = r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":2000}"#;
        assert_eq!(outcome(429, busy), Outcome::Failed { retry_after: Some(Duration::from_secs(2)) });
        assert_eq!(outcome(403, r#"{"errcode":"M_FORBIDDEN"}"#), Outcome::Failed { retry_after: None });
        assert_eq!(outcome(413, r#"{"errcode":"M_TOO_LARGE"}"#), Outcome::Refused);
    }

    #[test]
    fn rooms_are_ids() {
        assert!(room_id("!abc:matrix.example").is_ok() && room_id("!hydra1234").is_ok());
        for bad in ["#alias:matrix.example", "!", "!a/b:c", "!a b:c"] {
            assert!(room_id(bad).is_err(), "{bad}");
        }
    }
}
