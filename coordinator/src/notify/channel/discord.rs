//! A message as one Discord embed.
//!
//! Embeds notify nobody whatever they say; `allowed_mentions` says so again, and markdown and mentions that others
//! worded are escaped, so that they are read as they were written.

use std::borrow::Cow;

use serde_json::json;

use super::fitted::fitted;
use super::provider::{Attempt, Provider, Told, Unsendable};
use super::setting::{Setting, Settings, check};
use crate::notify::Message;
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::Severity;

/// The longest embed title that Discord takes, in characters.
const MAX_TITLE_CHARS: usize = 256;
/// The longest embed description that Discord takes, in characters.
const MAX_DESCRIPTION_CHARS: usize = 4_096;

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
        Ok(Outgoing::Http(Request::post(settings.url("url")?, attempt.body.clone())))
    }
}

/// The JSON that a Discord webhook takes.
fn body(message: &Message) -> Vec<u8> {
    json!({
        "embeds": [{
            "title": fitted(escaped(&message.title), MAX_TITLE_CHARS),
            "description": fitted(escaped(&message.details()), MAX_DESCRIPTION_CHARS),
            "color": colour(message.severity),
            "timestamp": message.timestamp.to_string(),
        }],
        "allowed_mentions": { "parse": [] },
    })
    .to_string()
    .into_bytes()
}

/// 24-bit RGB.
const fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 0xd9_2d_20,
        Severity::Warning => 0xf7_90_09,
        Severity::Good => 0x17_b2_6a,
        Severity::Neutral => 0x98_a2_b3,
    }
}

fn escaped(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let chars: Vec<char> = text.chars().collect();
    let mut pieces = Vec::with_capacity(chars.len());
    for (index, &c) in chars.iter().enumerate() {
        let in_word = |at: Option<usize>| {
            at.and_then(|at| chars.get(at)).is_some_and(|neighbour| neighbour.is_alphanumeric())
        };
        pieces.push(match c {
            // Within a word it is no markup, and `nightly_cleanup` stays readable where escapes are shown.
            '_' if in_word(index.checked_sub(1)) && in_word(Some(index + 1)) => "_".into(),
            '\\' | '*' | '_' | '~' | '`' | '|' | '[' | '<' => format!("\\{c}").into(),
            // A mention does not survive an unseen space; a backslash would not stop it.
            '@' => "@\u{200b}".into(),
            other => other.to_string().into(),
        });
    }
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    use crate::notify::samples;

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
