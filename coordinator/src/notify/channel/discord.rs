//! A message as one Discord embed.
//!
//! Embeds notify nobody whatever they say; `allowed_mentions` says so again, and markdown and mentions that others
//! worded are escaped, so that they are read as they were written.

use std::borrow::Cow;

use serde_json::json;

use super::acknowledge;
use super::answered::{otherwise, seconds, words};
use super::colour;
use super::escape::markdown;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::Message;
use crate::notify::send::{Outgoing, Request};

/// The longest embed title that Discord takes, in characters.
const MAX_TITLE_CHARS: usize = 256;
/// The longest embed description that Discord takes, in characters.
const MAX_DESCRIPTION_CHARS: usize = 4_096;

// Discord's own codes, in the body of an error.
const UNKNOWN_WEBHOOK: u64 = 10_015;
const INVALID_WEBHOOK_TOKEN: u64 = 50_027;
const INVALID_FORM_BODY: u64 = 50_035;

/// The kind.
#[derive(Debug)]
pub(super) struct Discord;

impl Provider for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn about(&self) -> &'static str {
        "A Discord webhook"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[Setting::required("url", "the webhook's URL, https://discord.com/api/webhooks/…", check::url)
                .secret()]
        }
    }

    fn body(&self, told: &Told<'_>, _settings: &Settings) -> Vec<u8> {
        body(told.message)
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        // Otherwise Discord answers before it knows whether it keeps the message.
        let url = settings.url("url")?.with_query(&[("wait", "true")]);
        Ok(Outgoing::Http(Request::post(url, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let said = words(&told, "/message");
        if let Some(wait) = seconds(&told["retry_after"]) {
            return Some(Verdict::failed_until(wait, said));
        }
        match told["code"].as_u64() {
            Some(UNKNOWN_WEBHOOK | INVALID_WEBHOOK_TOKEN) => {
                Some(Verdict::gone("the webhook was deleted: make a new one and set its URL"))
            }
            Some(INVALID_FORM_BODY) => Some(Verdict::refused(said)),
            _ => otherwise(answer, said),
        }
    }
}

/// The JSON that a Discord webhook takes.
fn body(message: &Message) -> Vec<u8> {
    let (rest, link) = acknowledge::apart(message);
    let link = acknowledge::markdown_line(link);
    let room = MAX_DESCRIPTION_CHARS - link.chars().count().min(MAX_DESCRIPTION_CHARS);
    let description = fitted(escaped(&rest.details()), room) + &link;
    json!({
        "embeds": [{
            "title": fitted(escaped(&message.title), MAX_TITLE_CHARS),
            "description": description,
            "color": colour::rgb(message.severity),
            "timestamp": message.timestamp.to_string(),
        }],
        "allowed_mentions": { "parse": [] },
    })
    .to_string()
    .into_bytes()
}

fn escaped(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    markdown(text, "\\*_~`|[<", "@")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use serde_json::Value;

    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    #[test]
    fn markdown_and_mentions_are_read_as_written() {
        for (text, sent) in [
            ("nightly_cleanup", "nightly_cleanup"),
            ("_i_ a__b", "\\_i\\_ a\\_\\_b"),
            ("*b* ~~s~~ `c` ||p||", "\\*b\\* \\~\\~s\\~\\~ \\`c\\` \\|\\|p\\|\\|"),
            ("[l](http://e.example)", "\\[l](http://e.example)"),
            ("@everyone <@1>", "@\u{200b}everyone \\<@\u{200b}1>"),
            ("\\*", "\\\\\\*"),
        ] {
            assert_eq!(escaped(text).collect::<String>(), sent);
        }
    }

    #[test]
    fn a_deleted_webhook_is_gone_and_discord_says_when_to_come_back() {
        let outcome = |status, body: &str| trial::outcome(&Discord, status, body.as_bytes());
        assert_eq!(outcome(204, ""), Outcome::Delivered);
        assert_eq!(outcome(404, r#"{"message":"Unknown Webhook","code":10015}"#), Outcome::Gone);
        assert_eq!(outcome(404, "nginx"), Outcome::Failed { retry_after: None });
        let busy = r#"{"message":"You are being rate limited.","retry_after":0.65,"global":false}"#;
        assert_eq!(outcome(429, busy), Outcome::Failed { retry_after: Some(Duration::from_millis(650)) });
        assert_eq!(outcome(400, r#"{"message":"Invalid Form Body","code":50035}"#), Outcome::Refused);
    }

    #[test]
    fn the_answer_waits_until_the_message_is_kept() {
        let set = [("url", "https://discord.com/api/webhooks/1/hush?thread_id=7")];
        let sent = trial::sent(&Discord, &set, &samples::down());
        assert_eq!(sent.target, "/api/webhooks/1/hush?thread_id=7&wait=true");
    }

    #[test]
    fn discords_limits_are_kept_and_nobody_is_mentioned() {
        let event = samples::hostile();
        let body: Value = serde_json::from_slice(&body(&Message::render(&event, event.occurred_at))).unwrap();
        let chars = |text: &Value| text.as_str().unwrap().chars().count();
        assert!(chars(&body["embeds"][0]["title"]) <= MAX_TITLE_CHARS);
        assert!(chars(&body["embeds"][0]["description"]) <= MAX_DESCRIPTION_CHARS);
        assert_eq!(body["allowed_mentions"]["parse"], json!([]));
        assert!(body.get("content").is_none());
        assert!(!body.to_string().contains("@everyone"));
    }
}
