//! A message in a Zulip channel, in a topic of its own for each incident (zulip.com/api/send-message).
//!
//! Zulip's markdown has no escapes, so mentions and links are parted instead.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use model::result::clean;

use super::acknowledge;
use super::answered::{otherwise, seconds, words};
use super::completed::new_form;
use super::escape::{inert, plain};
use super::fitted::{fitted, fitted_bytes};
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};

/// The longest topic that Zulip takes, in characters.
const MAX_TOPIC_CHARS: usize = 60;
/// The longest message: Zulip counts 10,000 characters, and once counted bytes.
const MAX_CONTENT_BYTES: usize = 10_000;
/// The longest title of it.
const MAX_TITLE_BYTES: usize = 1_000;

static SETTINGS: [Setting; 5] = [
    Setting::required("server", "the organization's URL, as in https://acme.zulipchat.com", check::url),
    Setting::required("email", "the bot's email address", email),
    Setting::required("api_key", "the bot's API key", check::token).secret(),
    Setting::required("channel", "the name of the channel (stream)", check::line),
    Setting::optional("topic", "one topic for everything; by default one for each incident", |value| {
        let topic = check::line(value)?;
        if topic.chars().count() <= MAX_TOPIC_CHARS {
            Ok(topic)
        } else {
            Err("must be at most 60 characters".into())
        }
    }),
];

/// Zulip.
#[derive(Debug)]
pub(super) struct Zulip;

impl Provider for Zulip {
    fn name(&self) -> &'static str {
        "zulip"
    }

    fn about(&self) -> &'static str {
        "A Zulip channel: one topic for each incident"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let title = fitted_bytes(inert(&told.message.title), MAX_TITLE_BYTES);
        let mut content = format!("**{title}**");
        let (rest, link) = acknowledge::apart(told.message);
        let link = acknowledge::markdown_line(link);
        if !told.message.lines.is_empty() {
            // Two spaces before a line's end would be a matter of taste; Zulip keeps line breaks as they are.
            content.push('\n');
            let room = MAX_CONTENT_BYTES.saturating_sub(content.len() + link.len());
            content.push_str(&fitted_bytes(inert(&rest.details()), room));
            content.push_str(&link);
        }
        let topic = settings.get("topic").map_or_else(|| topic(told), str::to_owned);
        new_form(&[
            ("type", "stream"),
            ("to", settings.text("channel")),
            ("topic", &topic),
            ("content", &content),
        ])
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let login = STANDARD.encode(format!("{}:{}", settings.text("email"), settings.text("api_key")));
        let url = settings.url("server")?.with_segments(&["api", "v1", "messages"]);
        let request = Request::post(url, attempt.body.clone())
            .with_header(AUTHORIZATION, &format!("Basic {login}"))?
            .with_header(CONTENT_TYPE, "application/x-www-form-urlencoded")?;
        Ok(Outgoing::Http(request))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let said = words(&told, "/msg");
        match words(&told, "/code").as_str() {
            "RATE_LIMIT_HIT" => Some(match seconds(&told["retry-after"]) {
                Some(wait) => Verdict::failed_until(wait, said),
                None => Verdict::failed(said),
            }),
            "USER_DEACTIVATED" | "REALM_DEACTIVATED" => Some(Verdict::gone(said)),
            _ if answer.is_success() && words(&told, "/result") != "success" => {
                Some(Verdict::failed("no success in the answer: is this a Zulip server?"))
            }
            _ => otherwise(answer, said),
        }
    }
}

/// `nightly_cleanup #7`: what it is about and the number of the incident, which no cut takes away.
fn topic(told: &Told<'_>) -> String {
    let number = format!(" #{}", told.event.incident.number);
    let name = clean(told.event.subject.name(), MAX_TOPIC_CHARS * 2);
    format!("{}{number}", fitted(plain(&name), MAX_TOPIC_CHARS - number.len()))
}

fn email(value: &str) -> Result<String, String> {
    let value = check::token(value)?;
    // A colon would end the name in the login.
    if value.contains('@') && !value.contains(':') {
        Ok(value)
    } else {
        Err("must be an email address".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 4] = [
        ("server", "https://acme.zulip.example"),
        ("email", "bot@acme.example"),
        ("api_key", "hush"),
        ("channel", "ops & alerts"),
    ];

    #[test]
    fn an_incident_has_one_topic_with_its_number() {
        let opened = trial::sent(&Zulip, &SET, &samples::down());
        assert_eq!(opened.target, "/api/v1/messages");
        assert_eq!(
            opened.headers[AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("bot@acme.example:hush"))
        );
        assert_eq!(opened.form()["to"], "ops & alerts");
        assert_eq!(opened.form()["topic"], "yourdomain.com/health #7");
        assert_eq!(
            trial::sent(&Zulip, &SET, &samples::recovered()).form()["topic"],
            "yourdomain.com/health #7"
        );
        let mut set = SET.to_vec();
        set.push(("topic", "alerts"));
        assert_eq!(trial::sent(&Zulip, &set, &samples::down()).form()["topic"], "alerts");
    }

    #[test]
    fn zulips_limits_are_kept_and_nobody_is_mentioned() {
        for sent in [trial::sent(&Zulip, &SET, &samples::hostile()), trial::longest(&Zulip, &SET)] {
            let form = sent.form();
            assert!(form["topic"].chars().count() <= MAX_TOPIC_CHARS && form["topic"].ends_with(" #7"));
            assert!(form["content"].len() <= MAX_CONTENT_BYTES);
            assert!(!form["content"].contains("@everyone") && !form["content"].contains("](http"));
        }
    }

    #[test]
    fn answers_are_read_as_zulip_means_them() {
        let outcome = |status, body: &str| trial::outcome(&Zulip, status, body.as_bytes());
        assert_eq!(outcome(200, r#"{"result":"success","id":1}"#), Outcome::Delivered);
        assert_eq!(outcome(200, "<html>"), Outcome::Failed { retry_after: None });
        let busy = r#"{"result":"error","code":"RATE_LIMIT_HIT","msg":"API usage exceeded rate limit","retry-after":28.5}"#;
        assert_eq!(outcome(429, busy), Outcome::Failed { retry_after: Some(Duration::from_millis(28_500)) });
        let no_channel =
            br#"{"result":"error","code":"STREAM_DOES_NOT_EXIST","msg":"Channel 'ops' does not exist"}"#;
        let verdict = Zulip.verdict(&Answer { status: 400, body: no_channel }).unwrap();
        assert_eq!(verdict, Verdict::failed("Channel 'ops' does not exist"));
    }
}
