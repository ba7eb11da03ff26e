//! A push notification through Pushover (pushover.net/api).
//!
//! Outages have high priority, which breaks quiet hours. Emergency priority, which rings until somebody acknowledges,
//! is for those who ask for it.

use http::header::CONTENT_TYPE;

use super::acknowledge;
use super::answered::words;
use super::completed::{self, new_form};
use super::escape::plain;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::{ACKNOWLEDGE, Severity};

/// The longest title that Pushover takes, in characters.
const MAX_TITLE_CHARS: usize = 250;
/// The longest message that Pushover takes, in characters.
const MAX_MESSAGE_CHARS: usize = 1_024;
/// The longest URL that Pushover takes, in characters.
const MAX_URL_CHARS: usize = 512;

static SETTINGS: [Setting; 8] = [
    Setting::required("token", "the API token of an application, 30 characters", key).secret(),
    Setting::required("user", "the key of a user or a group, 30 characters", key).secret(),
    Setting::optional("device", "the device, or several with commas; by default all", device),
    Setting::optional("sound", "the name of a sound; by default the user's", check::token),
    Setting::optional("emergency", "true: outages ring until somebody acknowledges them", check::flag)
        .or("false"),
    Setting::optional("retry", "seconds between two rings of an emergency, 30 or more", |value| {
        check::number(value, 30..=10_800)
    })
    .or("60"),
    Setting::optional("expire", "seconds after which an emergency stops ringing, at most 10800", |value| {
        check::number(value, 30..=10_800)
    })
    .or("3600"),
    Setting::optional("api_url", "another server with the same API", check::url)
        .or("https://api.pushover.net"),
];

/// Pushover.
#[derive(Debug)]
pub(super) struct Pushover;

impl Provider for Pushover {
    fn name(&self) -> &'static str {
        "pushover"
    }

    fn about(&self) -> &'static str {
        "Pushover"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let is_emergency = told.message.severity == Severity::Critical && settings.is_on("emergency");
        let priority = match told.message.severity {
            Severity::Critical if is_emergency => "2",
            Severity::Critical => "1",
            Severity::Warning | Severity::Good => "0",
            Severity::Neutral => "-1",
        };
        let title = fitted(plain(&told.message.title), MAX_TITLE_CHARS);
        let (rest, link) = acknowledge::apart(told.message);
        // Without details the title has to do: Pushover wants a message.
        let text = if rest.lines.is_empty() { rest.title } else { rest.details() };
        let text = fitted(plain(&text), MAX_MESSAGE_CHARS);
        let timestamp = told.message.timestamp.as_secs().to_string();
        let mut fields =
            vec![("title", &*title), ("message", &*text), ("priority", priority), ("timestamp", &*timestamp)];
        if is_emergency {
            fields.extend([("retry", settings.text("retry")), ("expire", settings.text("expire"))]);
        }
        if let Some(url) = link.filter(|url| url.chars().count() <= MAX_URL_CHARS) {
            fields.extend([("url", url), ("url_title", ACKNOWLEDGE)]);
        }
        for name in ["device", "sound"] {
            fields.extend(settings.get(name).map(|value| (name, value)));
        }
        new_form(&fields)
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let url = settings.url("api_url")?.with_segments(&["1", "messages.json"]);
        let secrets = [("token", settings.text("token")), ("user", settings.text("user"))];
        let request = Request::post(url, completed::form(attempt.body, &secrets)?)
            .with_header(CONTENT_TYPE, "application/x-www-form-urlencoded")?;
        Ok(Outgoing::Http(request))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let told = answer.json();
        let words = words(&told, "/errors/0");
        match answer.status {
            200 if told["status"] == 1 => None,
            200 => Some(Verdict::failed(words)),
            429 => Some(Verdict::failed("the application's messages of this month are used up")),
            // "Your input was invalid … do not send it again."
            400..500 if told["status"] == 0 => Some(Verdict::refused(words)),
            _ => None,
        }
    }
}

fn key(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.len() == 30 && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(value.to_owned())
    } else {
        Err("must be 30 letters and digits".to_owned())
    }
}

fn device(value: &str) -> Result<String, String> {
    let value = value.trim();
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=25).contains(&name.len()) && name.bytes().all(allowed)
    };
    if value.split(',').all(is_name) {
        Ok(value.to_owned())
    } else {
        Err("must be names of 1 to 25 letters, digits, _ or -, with commas between them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 3] = [
        ("token", "hushhushhushhushhushhushhush30"),
        ("user", "hushhushhushhushhushhushhush31"),
        ("device", "phone,tablet"),
    ];

    #[test]
    fn an_outage_has_high_priority_and_rings_on_only_if_asked() {
        let sent = trial::sent(&Pushover, &SET, &samples::down());
        assert_eq!(sent.url, "https://api.pushover.net/1/messages.json");
        assert_eq!(sent.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        let form = sent.form();
        assert_eq!((&*form["priority"], &*form["token"], &*form["device"]), ("1", SET[0].1, "phone,tablet"));
        assert!(!form.contains_key("retry") && !String::from_utf8(sent.stored).unwrap().contains("hush"));

        let set = [SET[0], SET[1], ("emergency", "true"), ("retry", "30")];
        let form = trial::sent(&Pushover, &set, &samples::down()).form();
        assert_eq!((&*form["priority"], &*form["retry"], &*form["expire"]), ("2", "30", "3600"));
        assert_eq!(trial::sent(&Pushover, &set, &samples::recovered()).form()["priority"], "0");
    }

    #[test]
    fn pushovers_limits_are_kept() {
        for sent in [trial::sent(&Pushover, &SET, &samples::hostile()), trial::longest(&Pushover, &SET)] {
            let form = sent.form();
            assert!(form["message"].chars().count() <= MAX_MESSAGE_CHARS);
            assert!(form["title"].chars().count() <= MAX_TITLE_CHARS);
        }
    }

    #[test]
    fn status_1_is_success_and_invalid_input_is_not_sent_again() {
        let outcome = |status, body: &str| trial::outcome(&Pushover, status, body.as_bytes());
        assert_eq!(outcome(200, r#"{"status":1,"request":"a"}"#), Outcome::Delivered);
        assert_eq!(outcome(200, r#"{"status":0}"#), Outcome::Failed { retry_after: None });
        let invalid = r#"{"user":"invalid","errors":["user identifier is invalid"],"status":0}"#;
        assert_eq!(outcome(400, invalid), Outcome::Refused);
        assert_eq!(outcome(404, "nginx"), Outcome::Failed { retry_after: None });
        assert_eq!(outcome(429, "{}"), Outcome::Failed { retry_after: None });
        assert_eq!(outcome(503, ""), Outcome::Failed { retry_after: None });
    }

    #[test]
    fn devices_are_names() {
        assert!(device("a-b_1").is_ok());
        for bad in ["", "a,,b", "a b", &"x".repeat(26)] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}
