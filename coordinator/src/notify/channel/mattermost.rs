//! A message as an attachment to Mattermost's markdown, through an incoming webhook.
//!
//! Mattermost also reads what Slack does (`<!channel>`, `<url|text>`), and that before its markdown.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::acknowledge;
use super::answered::{otherwise, words};
use super::colour;
use super::escape::{markdown, plain};
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};

/// The longest title, in characters.
const MAX_TITLE_CHARS: usize = 512;
/// The longest text, in characters: half of the 16,383 that a post may have, for attachments count several times.
const MAX_TEXT_CHARS: usize = 8_000;

static SETTINGS: [Setting; 2] = [
    Setting::required("url", "the URL of an incoming webhook, https://HOST/hooks/…", check::url).secret(),
    Setting::optional(
        "channel",
        "another channel than the webhook's: its name as in URLs, or @user",
        check::token,
    ),
];

/// Mattermost.
#[derive(Debug)]
pub(super) struct Mattermost;

impl Provider for Mattermost {
    fn name(&self) -> &'static str {
        "mattermost"
    }

    fn about(&self) -> &'static str {
        "A Mattermost incoming webhook"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let (rest, link) = acknowledge::apart(told.message);
        let link = acknowledge::markdown_line(link);
        let mut body = json!({
            "attachments": [{
                "fallback": fitted(escaped(&told.message.title), MAX_TITLE_CHARS),
                "color": colour::hex(told.message.severity),
                "title": fitted(escaped(&told.message.title), MAX_TITLE_CHARS),
                "text": fitted(escaped(&rest.details()), MAX_TEXT_CHARS) + &link,
                "footer": fitted(plain(&told.message.timestamp.to_string()), MAX_TITLE_CHARS),
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
        let said = words(&told, "/message");
        match words(&told, "/id").as_str() {
            "web.incoming_webhook.invalid.app_error" => {
                Some(Verdict::gone("the webhook was deleted: make a new one and set its URL"))
            }
            "web.incoming_webhook.channel.app_error"
            | "api.post.create_post.can_not_post_to_deleted.error" => {
                Some(Verdict::failed(format!("the channel is not there: {said}")))
            }
            _ => otherwise(answer, said),
        }
    }
}

fn escaped(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    // No escape is known for @all and <!channel>.
    markdown(text, "\\*_~`|[]()#!>", "@<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 2] = [("url", "https://chat.example/hooks/hush"), ("channel", "ops")];

    #[test]
    fn markdown_and_slacks_markup_are_read_as_written() {
        for (text, sent) in [
            ("nightly_cleanup", "nightly_cleanup"),
            ("*b* ~s~", "\\*b\\* \\~s\\~"),
            ("[l](http://e.example)", "\\[l\\]\\(http://e.example\\)"),
            ("<!channel> @all", "<\u{200b}\\!channel\\> @\u{200b}all"),
        ] {
            assert_eq!(escaped(text).collect::<String>(), sent);
        }
    }

    #[test]
    fn mattermosts_limit_is_kept_and_nobody_is_mentioned() {
        for sent in [trial::sent(&Mattermost, &SET, &samples::hostile()), trial::longest(&Mattermost, &SET)] {
            let attachment = sent.json()["attachments"][0].clone();
            let chars = |field: &str| attachment[field].as_str().unwrap().chars().count();
            assert!(chars("title") + chars("text") + chars("fallback") + chars("footer") <= 16_383);
            assert!(!sent.text().contains("@everyone") && !sent.text().contains("<!channel"));
            assert_eq!(sent.json()["channel"], "ops");
        }
    }

    #[test]
    fn a_deleted_webhook_is_gone() {
        let deleted = br#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook.","status_code":400}"#;
        assert_eq!(trial::outcome(&Mattermost, 400, deleted), Outcome::Gone);
        assert_eq!(trial::outcome(&Mattermost, 200, b"ok"), Outcome::Delivered);
        assert_eq!(trial::outcome(&Mattermost, 404, b"nginx"), Outcome::Failed { retry_after: None });
    }
}
