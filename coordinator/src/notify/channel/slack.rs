//! A message as Slack's Block Kit, with the plain text that phones and screen readers show.
//!
//! Everything that others worded stands in `plain_text` objects, where no markup is read, and has Slack's three
//! control characters replaced, which is all that `<!channel>` or a disguised link would need
//! (docs.slack.dev/messaging/formatting-message-text). Servers that understand Slack's format may also read a bare
//! `@channel`: an unseen space keeps it from being one.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::answered::otherwise;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::Message;
use crate::notify::send::{Outgoing, Request};

/// The longest header that Slack takes, in characters.
const MAX_HEADER_CHARS: usize = 150;
/// The longest section text that Slack takes, in characters.
const MAX_SECTION_CHARS: usize = 3_000;

/// The kind.
#[derive(Debug)]
pub(super) struct Slack;

impl Provider for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn about(&self) -> &'static str {
        "A Slack incoming webhook, or what understands its format"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[Setting::required(
                "url",
                "the incoming webhook's URL, https://hooks.slack.com/services/…",
                check::url,
            )
            .secret()]
        }
    }

    fn body(&self, told: &Told<'_>, _settings: &Settings) -> Vec<u8> {
        body(told.message)
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        Ok(Outgoing::Http(Request::post(settings.url("url")?, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let word = String::from_utf8_lossy(answer.body);
        match word.trim() {
            "no_service" | "no_service_id" | "no_team" | "team_disabled" | "invalid_token" => {
                Some(Verdict::gone(format!("{word}: the webhook was removed, set the URL of a new one")))
            }
            "channel_is_archived" | "channel_not_found" => {
                Some(Verdict::gone(format!("{word}: set the URL of a webhook for another channel")))
            }
            "invalid_payload" | "no_text" => Some(Verdict::refused(word)),
            _ => otherwise(answer, word.into_owned()),
        }
    }
}

/// The JSON that an incoming webhook takes.
fn body(message: &Message) -> Vec<u8> {
    let mut blocks = vec![json!({
        "type": "header",
        "text": plain(&message.title, MAX_HEADER_CHARS),
    })];
    if !message.lines.is_empty() {
        blocks.push(json!({
            "type": "section",
            "text": plain(&message.facts(), MAX_SECTION_CHARS),
        }));
    }
    // In plain text it would be no link.
    if let Some(url) = &message.acknowledge_url {
        let link = fitted(escaped(url), MAX_SECTION_CHARS);
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": format!("<{link}|Acknowledge>") },
        }));
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{ "type": "mrkdwn", "text": date(message) }],
    }));
    json!({
        "text": fitted(escaped(&message.plain_text()), MAX_SECTION_CHARS),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
    .to_string()
    .into_bytes()
}

fn plain(text: &str, max_chars: usize) -> Value {
    json!({ "type": "plain_text", "text": fitted(escaped(text), max_chars), "emoji": false })
}

fn escaped(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.chars().map(|c| match c {
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '@' => "@\u{200b}".into(),
        other => other.to_string().into(),
    })
}

/// Shown in each reader's own time zone; in UTC where the client cannot.
fn date(message: &Message) -> String {
    let seconds = message.timestamp.as_secs();
    let utc = model::Timestamp::from_secs(seconds);
    format!("<!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{utc}>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    #[test]
    fn nothing_that_others_worded_becomes_a_mention_or_a_link() {
        let event = samples::hostile();
        let body = body(&Message::render(&event, event.occurred_at));
        let body = String::from_utf8(body).unwrap();
        assert_eq!(body.matches('<').count(), 1, "only the date is markup: {body}");
        assert!(body.contains("<!date^") && body.contains("&lt;!channel&gt;"));
        assert!(!body.contains("@everyone") && !body.contains("@here"));
    }

    #[test]
    fn a_removed_webhook_and_an_archived_channel_are_gone() {
        assert_eq!(trial::outcome(&Slack, 200, b"ok"), Outcome::Delivered);
        assert_eq!(trial::outcome(&Slack, 404, b"no_service"), Outcome::Gone);
        assert_eq!(trial::outcome(&Slack, 410, b"channel_is_archived"), Outcome::Gone);
        assert_eq!(trial::outcome(&Slack, 410, b"a word of next year"), Outcome::Gone);
        assert_eq!(trial::outcome(&Slack, 400, b"invalid_payload"), Outcome::Refused);
        assert_eq!(trial::outcome(&Slack, 403, b"action_prohibited"), Outcome::Failed { retry_after: None });
        assert_eq!(trial::outcome(&Slack, 404, b"nginx"), Outcome::Failed { retry_after: None });
    }

    #[test]
    fn slacks_limits_are_kept() {
        let event = samples::hostile();
        let body: Value = serde_json::from_slice(&body(&Message::render(&event, event.occurred_at))).unwrap();
        let chars = |text: &Value| text.as_str().unwrap().chars().count();
        assert!(chars(&body["blocks"][0]["text"]["text"]) <= MAX_HEADER_CHARS);
        assert!(chars(&body["blocks"][1]["text"]["text"]) <= MAX_SECTION_CHARS);
    }
}
