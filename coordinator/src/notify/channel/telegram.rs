//! A message as Telegram's HTML, through a bot (core.telegram.org/bots/api, `sendMessage`).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::acknowledge;
use super::answered::{otherwise, words};
use super::escape::html;
use super::fitted::fitted_utf16;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::ACKNOWLEDGE;

/// The longest message, counted as Telegram does: in UTF-16 code units, here before its entities are read.
const MAX_UNITS: usize = 4_096;
/// The longest title of them.
const MAX_TITLE_UNITS: usize = 1_024;

static SETTINGS: [Setting; 4] = [
    Setting::required("token", "the bot's token, from @BotFather", token).secret(),
    Setting::required("chat_id", "the chat's number (groups: -100…) or a public channel's @name", chat_id),
    Setting::optional("topic_id", "the number of a topic in a group with topics", |value| {
        check::number(value, 1..=i64::from(i32::MAX))
    }),
    Setting::optional("api_url", "a Bot API server of your own", check::url).or("https://api.telegram.org"),
];

/// Telegram.
#[derive(Debug)]
pub(super) struct Telegram;

impl Provider for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn about(&self) -> &'static str {
        "Telegram, through a bot"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let title = fitted_utf16(html(&told.message.title), MAX_TITLE_UNITS);
        let mut text = format!("<b>{title}</b>");
        let (rest, link) = acknowledge::apart(told.message);
        // Not a button: of one with a private address Telegram refuses the whole message.
        let link =
            link.map(|url| format!("\n<a href=\"{}\">{ACKNOWLEDGE}</a>", html(url).collect::<String>()));
        let link = link.unwrap_or_default();
        if !rest.lines.is_empty() {
            let room =
                MAX_UNITS.saturating_sub(text.encode_utf16().count() + 1 + link.encode_utf16().count());
            text.push('\n');
            text.push_str(&fitted_utf16(html(&rest.details()), room));
        }
        text.push_str(&link);
        let mut body = Map::new();
        body.insert("chat_id".to_owned(), settings.text("chat_id").into());
        if let Some(topic) = settings.get("topic_id").and_then(|topic| topic.parse::<i64>().ok()) {
            body.insert("message_thread_id".to_owned(), topic.into());
        }
        body.insert("text".to_owned(), text.into());
        body.insert("parse_mode".to_owned(), "HTML".into());
        body.insert("link_preview_options".to_owned(), json!({ "is_disabled": true }));
        Value::Object(body).to_string().into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let bot = format!("bot{}", settings.text("token"));
        let url = settings.url("api_url")?.with_segments(&[&bot, "sendMessage"]);
        Ok(Outgoing::Http(Request::post(url, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        if answer.is_success() {
            return (told["ok"] == false).then(|| Verdict::failed(words(&told, "/description")));
        }
        let said = words(&told, "/description");
        let parameters = &told["parameters"];
        if let Some(seconds) = parameters["retry_after"].as_u64() {
            return Some(Verdict::failed_until(Duration::from_secs(seconds), said));
        }
        if let Some(chat) = parameters["migrate_to_chat_id"].as_i64() {
            return Some(Verdict::failed(format!("the group became a supergroup: set chat_id={chat}")));
        }
        match answer.status {
            403 if ["blocked", "kicked", "deactivated"].iter().any(|word| said.contains(word)) => {
                Some(Verdict::gone(said))
            }
            401 | 404 => Some(Verdict::failed("the token is not valid (any more): set a new one")),
            _ => otherwise(answer, said),
        }
    }
}

/// `123456:ABC-DEF`.
fn token(value: &str) -> Result<String, String> {
    let value = value.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match value.split_once(':') {
        Some((id, key))
            if !id.is_empty()
                && id.bytes().all(|byte| byte.is_ascii_digit())
                && !key.is_empty()
                && key.bytes().all(allowed)
                && value.len() <= 100 =>
        {
            Ok(value.to_owned())
        }
        Some(_) | None => {
            Err("must be as @BotFather writes it: digits, a colon, letters and digits".to_owned())
        }
    }
}

fn chat_id(value: &str) -> Result<String, String> {
    let value = value.trim();
    let is_name = |name: &str| {
        (4..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if value.parse::<i64>().is_ok() || value.strip_prefix('@').is_some_and(is_name) {
        Ok(value.to_owned())
    } else {
        Err("must be a whole number, which may be negative, or @ and a public channel's name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 3] = [("token", "12345:hu-SH_1"), ("chat_id", "-1001"), ("topic_id", "7")];

    #[test]
    fn the_token_is_in_the_path_only() {
        let sent = trial::sent(&Telegram, &SET, &samples::down());
        assert_eq!(sent.url, "https://api.telegram.org/bot12345:hu-SH_1/sendMessage");
        assert!(!sent.text().contains("hu-SH"));
        assert_eq!(sent.json()["chat_id"], "-1001");
        assert_eq!(sent.json()["message_thread_id"], 7);
    }

    #[test]
    fn html_is_escaped_nobody_is_mentioned_and_the_limit_is_kept() {
        let sent = trial::sent(&Telegram, &SET, &samples::hostile());
        let text = sent.json()["text"].as_str().unwrap().to_owned();
        assert!(text.encode_utf16().count() <= MAX_UNITS);
        let without_ours = text.replacen("<b>", "", 1).replacen("</b>", "", 1);
        assert!(!without_ours.contains(['<', '>']) && text.contains("&lt;!channel&gt;"), "{text}");
        assert!(!text.contains("@everyone") && !text.contains("@here"), "{text}");
        assert!(
            trial::longest(&Telegram, &SET).json()["text"].as_str().unwrap().encode_utf16().count()
                <= MAX_UNITS
        );
    }

    #[test]
    fn answers_are_read_as_telegram_means_them() {
        let outcome = |status, body: &str| trial::outcome(&Telegram, status, body.as_bytes());
        assert_eq!(outcome(200, r#"{"ok":true,"result":{}}"#), Outcome::Delivered);
        assert_eq!(outcome(200, r#"{"ok":false,"description":"no"}"#), Outcome::Failed { retry_after: None });
        let throttled = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 34","parameters":{"retry_after":34}}"#;
        assert_eq!(outcome(429, throttled), Outcome::Failed { retry_after: Some(Duration::from_secs(34)) });
        let kicked = r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was kicked from the supergroup chat"}"#;
        assert_eq!(outcome(403, kicked), Outcome::Gone);
        let moved = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-100123}}"#;
        let answer = Answer { status: 400, body: moved.as_bytes() };
        let verdict = Telegram.verdict(&answer).unwrap();
        assert_eq!(verdict.detail, "the group became a supergroup: set chat_id=-100123");
    }

    #[test]
    fn tokens_and_chats_are_checked() {
        assert!(
            token(" 12345:hu-SH_1 ").is_ok() && chat_id("@my_channel").is_ok() && chat_id("-100123").is_ok()
        );
        for bad in ["12345", "x:hush", "1:hu/sh", "1:", ""] {
            assert!(token(bad).is_err_and(|problem| !problem.contains("hush")), "{bad}");
        }
        for bad in ["@a", "@a/b?c=1", "my channel", "1.5"] {
            assert!(chat_id(bad).is_err(), "{bad}");
        }
    }
}
