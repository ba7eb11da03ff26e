//! Everything else: an Apprise API server (github.com/caronc/apprise-api), which passes on to more than a hundred services.
//!
//! Either a configuration that the server keeps under a key is notified, or the services' URLs go with each request.

use serde_json::json;

use super::completed;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::Message;
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::Severity;

/// Apprise cuts titles and bodies for each service by itself; this only bounds the request.
const MAX_TITLE_CHARS: usize = 250;
const MAX_BODY_CHARS: usize = 8_000;
/// What the server answers where there is no configuration under the key.
const NO_CONTENT: u16 = 204;

/// The kind.
#[derive(Debug)]
pub(super) struct Apprise;

impl Provider for Apprise {
    fn name(&self) -> &'static str {
        "apprise"
    }

    fn about(&self) -> &'static str {
        "An Apprise API server, for services that have no kind of their own"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required(
                    "url",
                    "the server's base URL, such as http://apprise.internal:8000",
                    check::url,
                )
                .secret(),
                Setting::optional("key", "the key of a configuration that the server keeps", check::token)
                    .secret(),
                Setting::optional(
                    "services",
                    "Apprise URLs to notify, separated by commas; instead of key",
                    check::token,
                )
                .secret(),
                Setting::optional("tag", "only services of the configuration with this tag", check::line),
            ]
        }
    }

    fn verify(&self, settings: &Settings) -> Result<(), (&'static str, &'static str)> {
        match (settings.get("key"), settings.get("services")) {
            (None, None) => Err(("key", "is required, unless services are given")),
            (Some(_), Some(_)) => Err(("services", "is given beside key: give one of them")),
            (None, Some(_)) if settings.get("tag").is_some() => Err(("tag", "needs a key")),
            _ => Ok(()),
        }
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let mut body = body(told.message);
        if let Some(tag) = settings.get("tag") {
            body["tag"] = tag.into();
        }
        body.to_string().into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let base = settings.url("url")?;
        let request = match settings.get("services") {
            Some(services) => Request::post(
                base.with_segments(&["notify"]),
                completed::json(attempt.body, &[("urls", services)])?,
            ),
            None => {
                Request::post(base.with_segments(&["notify", settings.text("key")]), attempt.body.clone())
            }
        };
        Ok(Outgoing::Http(request))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        (answer.status == NO_CONTENT)
            .then(|| Verdict::failed("the server keeps no configuration under this key"))
    }
}

fn body(message: &Message) -> serde_json::Value {
    let chars = |text: &str| text.chars().map(|c| c.to_string().into()).collect::<Vec<_>>().into_iter();
    json!({
        "title": fitted(chars(&message.title), MAX_TITLE_CHARS),
        "body": fitted(chars(&message.details()), MAX_BODY_CHARS),
        "type": match message.severity {
            Severity::Critical => "failure",
            Severity::Warning => "warning",
            Severity::Good => "success",
            Severity::Neutral => "info",
        },
        "format": "text",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;
    use model::DeliveryId;

    #[test]
    fn a_key_or_services_are_needed_and_neither_is_stored_with_the_body() {
        let refused =
            |pairs: &[(&str, &str)]| samples::settings(&Apprise, pairs).unwrap_err()[0].name.clone();
        let url = ("url", "https://a.example/hub");
        assert_eq!(refused(&[url]), "key");
        assert_eq!(refused(&[url, ("key", "k"), ("services", "tgram://hush")]), "services");
        assert_eq!(refused(&[url, ("services", "tgram://hush"), ("tag", "ops")]), "tag");

        let settings = samples::settings(&Apprise, &[url, ("services", "tgram://hush")]).unwrap();
        let stored = body(&Message::render(&samples::down(), samples::down().occurred_at)).to_string();
        let attempt = Attempt {
            id: DeliveryId::from_bytes([5; 16]),
            at: samples::STARTED_AT,
            body: &stored.into(),
            keys: &[],
        };
        let Outgoing::Http(request) = Apprise.outgoing(&attempt, &settings).unwrap() else {
            panic!("not HTTP")
        };
        assert_eq!(request.url.request_target(), "/hub/notify");
        assert!(String::from_utf8_lossy(&request.body).contains(r#""urls":"tgram://hush""#));
    }

    #[test]
    fn a_key_without_configuration_is_a_failure_although_it_is_answered_204() {
        let verdict = |status| Apprise.verdict(&Answer { status, body: b"" });
        assert!(verdict(204).is_some_and(|verdict| verdict.detail.contains("no configuration")));
        assert_eq!((verdict(200), verdict(424)), (None, None));
    }
}
