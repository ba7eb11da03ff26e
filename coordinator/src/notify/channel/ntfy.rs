//! A push notification through ntfy, published as JSON (docs.ntfy.sh/publish).
//!
//! On a public server whoever knows a topic can read it and write to it, so the topic is kept as a secret.

use http::header::AUTHORIZATION;
use serde_json::json;

use super::acknowledge;
use super::answered::{otherwise, words};
use super::completed;
use super::escape::plain;
use super::fitted::{fitted, fitted_bytes};
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::{ACKNOWLEDGE, Severity};

/// The longest title, in characters: more than a phone shows.
const MAX_TITLE_CHARS: usize = 250;
/// The longest message that is not made into a file, in bytes.
const MAX_MESSAGE_BYTES: usize = 4_096;

static SETTINGS: [Setting; 3] = [
    Setting::required(
        "topic",
        "the topic, up to 64 letters, digits, _ and -; hard to guess on a public server",
        topic,
    )
    .secret(),
    Setting::optional("server", "the server", check::url).or("https://ntfy.sh"),
    Setting::optional("token", "an access token (tk_…), if the topic is protected", check::token).secret(),
];

/// ntfy.
#[derive(Debug)]
pub(super) struct Ntfy;

impl Provider for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn about(&self) -> &'static str {
        "ntfy, on ntfy.sh or a server of your own"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        // 1 to 5: 5 goes on ringing, 3 is the default, 2 makes no sound.
        let priority = match told.message.severity {
            Severity::Critical => 5,
            Severity::Warning => 4,
            Severity::Good => 3,
            Severity::Neutral => 2,
        };
        let (rest, link) = acknowledge::apart(told.message);
        // Without details the title has to do: of an empty message ntfy would say "triggered".
        let text = if rest.lines.is_empty() { rest.title.clone() } else { rest.details() };
        let mut body = json!({
            "title": fitted(plain(&rest.title), MAX_TITLE_CHARS),
            "message": fitted_bytes(plain(&text), MAX_MESSAGE_BYTES),
            "priority": priority,
        });
        if let Some(url) = link {
            body["actions"] = json!([{ "action": "view", "label": ACKNOWLEDGE, "url": url }]);
        }
        body.to_string().into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let body = completed::json(attempt.body, &[("topic", settings.text("topic"))])?;
        let request = Request::post(settings.url("server")?, body);
        Ok(Outgoing::Http(match settings.get("token") {
            Some(token) => request.with_header(AUTHORIZATION, &format!("Bearer {token}"))?,
            None => request,
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let words = words(&answer.json(), "/error");
        match answer.status {
            401 | 403 => Some(Verdict::failed(format!("the topic needs another token: {words}"))),
            413 if !words.is_empty() => Some(Verdict::refused(words)),
            _ => otherwise(answer, words),
        }
    }
}

fn topic(value: &str) -> Result<String, String> {
    let value = value.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&value.len()) && value.bytes().all(allowed) {
        Ok(value.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, _ or -".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 2] = [("topic", "hush-1"), ("token", "tk_hush")];

    #[test]
    fn a_message_is_published_as_json_with_its_priority() {
        let sent = trial::sent(&Ntfy, &SET, &samples::down());
        assert_eq!(sent.url, "https://ntfy.sh/");
        assert_eq!(sent.headers[AUTHORIZATION], "Bearer tk_hush");
        assert_eq!(sent.json()["topic"], "hush-1");
        let priority = |event| trial::sent(&Ntfy, &SET, &event).json()["priority"].clone();
        let events = [samples::down(), samples::uncovered(), samples::recovered(), samples::closed()];
        assert_eq!(events.map(priority), [5, 4, 3, 2].map(|number| json!(number)));
        assert!(!trial::sent(&Ntfy, &SET[..1], &samples::down()).headers.contains_key(AUTHORIZATION));
    }

    #[test]
    fn messages_stay_messages_and_do_not_become_files() {
        for sent in [trial::sent(&Ntfy, &SET, &samples::hostile()), trial::longest(&Ntfy, &SET)] {
            assert!(sent.json()["message"].as_str().unwrap().len() <= MAX_MESSAGE_BYTES);
            assert!(sent.json()["title"].as_str().unwrap().chars().count() <= MAX_TITLE_CHARS);
        }
    }

    #[test]
    fn answers_say_why() {
        let busy = br#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#;
        let verdict = Ntfy.verdict(&Answer { status: 429, body: busy }).unwrap();
        assert_eq!(verdict, Verdict::failed("limit reached: too many requests"));
        assert_eq!(trial::outcome(&Ntfy, 200, br#"{"id":"a","event":"message"}"#), Outcome::Delivered);
        assert_eq!(trial::outcome(&Ntfy, 413, br#"{"error":"message too large"}"#), Outcome::Refused);
        assert!(topic("a/b").is_err() && topic(&"a".repeat(65)).is_err() && topic("").is_err());
    }
}
