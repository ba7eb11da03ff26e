//! A message as an attachment for Rocket.Chat, through an incoming webhook.
//!
//! Whether a backslash escapes depends on the server's parser, so mentions and links are parted instead.

use serde_json::{Value, json};

use super::acknowledge;
use super::answered::{otherwise, words};
use super::colour;
use super::escape::inert;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};

/// The longest title, in characters.
const MAX_TITLE_CHARS: usize = 256;
/// The longest text, in characters: below the 5,000 that a server takes unless it is told otherwise.
const MAX_TEXT_CHARS: usize = 4_000;

static SETTINGS: [Setting; 2] = [
    Setting::required("url", "the URL of an incoming webhook, https://HOST/hooks/…/…", check::url).secret(),
    Setting::optional("channel", "another channel than the webhook's: #channel or @user", check::token),
];

/// Rocket.Chat.
#[derive(Debug)]
pub(super) struct RocketChat;

impl Provider for RocketChat {
    fn name(&self) -> &'static str {
        "rocketchat"
    }

    fn about(&self) -> &'static str {
        "A Rocket.Chat incoming webhook"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let (rest, link) = acknowledge::apart(told.message);
        let link = acknowledge::markdown_line(link);
        let mut body = json!({
            "text": fitted(inert(&told.message.title), MAX_TITLE_CHARS),
            "parseUrls": false,
            "attachments": [{
                "color": colour::hex(told.message.severity),
                "text": fitted(inert(&rest.details()), MAX_TEXT_CHARS) + &link,
                "ts": told.message.timestamp.to_string(),
            }],
        });
        if let Some(channel) = settings.get("channel") {
            body["channel"] = Value::from(channel);
        }
        body.to_string().into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        Ok(Outgoing::Http(Request::post(settings.url("url")?, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let said = words(&told, "/error");
        if said.starts_with("Invalid integration id or token") {
            return Some(Verdict::gone("the webhook was deleted: make a new one and set its URL"));
        }
        if answer.is_success() && told["success"] == false {
            return Some(Verdict::failed(said));
        }
        otherwise(answer, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 2] = [("url", "https://chat.example/hooks/1/hush"), ("channel", "#ops")];

    #[test]
    fn the_servers_limit_is_kept_and_nobody_is_mentioned() {
        for sent in [trial::sent(&RocketChat, &SET, &samples::hostile()), trial::longest(&RocketChat, &SET)] {
            let body = sent.json();
            let chars = |text: &Value| text.as_str().unwrap().chars().count();
            assert!(chars(&body["text"]) <= MAX_TITLE_CHARS);
            assert!(chars(&body["attachments"][0]["text"]) <= MAX_TEXT_CHARS);
            assert!(!sent.text().contains("@here") && !sent.text().contains("](http"));
            assert_eq!(body["channel"], "#ops");
        }
    }

    #[test]
    fn a_deleted_webhook_is_gone_and_false_is_no_success() {
        let outcome = |status, body: &str| trial::outcome(&RocketChat, status, body.as_bytes());
        assert_eq!(outcome(200, r#"{"success":true}"#), Outcome::Delivered);
        assert_eq!(outcome(200, r#"{"success":false,"error":"x"}"#), Outcome::Failed { retry_after: None });
        let deleted = r#"{"success":false,"error":"Invalid integration id or token provided."}"#;
        assert_eq!(outcome(404, deleted), Outcome::Gone);
        assert_eq!(outcome(404, "nginx"), Outcome::Failed { retry_after: None });
    }
}
