//! An alert in Opsgenie, or in Jira Service Management, which takes its place with the same API.
//!
//! An incident is one alert: created under its id as alias, acknowledged and closed under it. These are asked for at
//! different addresses, so the stored body keeps the alias and the rest of the request apart.

use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answered::{otherwise, words};
use super::escape::inert;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::event::EventKind;
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::Severity;

/// The longest message that Opsgenie takes, in characters.
const MAX_MESSAGE_CHARS: usize = 130;
/// The longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 15_000;
/// The longest note on closing, in characters.
const MAX_NOTE_CHARS: usize = 25_000;
/// The longest source and entity, in characters.
const MAX_FIELD_CHARS: usize = 100;

static SETTINGS: [Setting; 4] = [
    Setting::required("api_key", "the key of an API integration", check::token).secret(),
    Setting::optional(
        "api_url",
        "https://api.eu.opsgenie.com, or https://api.atlassian.com/jsm/ops/integration for Jira Service Management",
        check::url,
    )
    .or("https://api.opsgenie.com"),
    Setting::optional("priority", "of outages, P1 to P5; notices have P3", |value| {
        check::one_of(value, &["P1", "P2", "P3", "P4", "P5"])
    })
    .or("P1"),
    Setting::optional("team", "the name of the team that is told; by default, whom the integration names", check::line),
];

/// Opsgenie and Jira Service Management.
#[derive(Debug)]
pub(super) struct Opsgenie;

/// What is stored of a request.
#[derive(Deserialize, Serialize)]
struct Stored {
    /// What is done to the alert that there is; nothing if one is created.
    done: Option<Done>,
    /// What is sent.
    body: Value,
}

#[derive(Deserialize, Serialize)]
struct Done {
    alias: String,
    /// As it stands in the path.
    verb: Verb,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    Acknowledge,
    Close,
}

impl Provider for Opsgenie {
    fn name(&self) -> &'static str {
        "opsgenie"
    }

    fn about(&self) -> &'static str {
        "Opsgenie or Jira Service Management: one alert for each incident"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let alias = told.event.incident.id.to_string();
        let verb = match told.event.kind {
            EventKind::Opened | EventKind::Updated | EventKind::Reminder | EventKind::Escalated => None,
            EventKind::Acknowledged => Some(Verb::Acknowledge),
            EventKind::Resolved | EventKind::Closed => Some(Verb::Close),
        };
        let stored = match verb {
            None => Stored { done: None, body: alert(told, settings, &alias) },
            Some(verb) => {
                let note = fitted(inert(&told.message.plain_text()), MAX_NOTE_CHARS);
                let body = json!({ "source": "Vigilmon", "note": note });
                Stored { done: Some(Done { alias, verb }), body }
            }
        };
        serde_json::to_vec(&stored).expect("texts and JSON become JSON")
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let Stored { done, body } = serde_json::from_slice(attempt.body)
            .map_err(|_| Unsendable("the stored body is none of this kind of channel"))?;
        let alerts = settings.url("api_url")?.with_segments(&["v2", "alerts"]);
        let url = match done {
            None => alerts,
            Some(Done { alias, verb }) => {
                alerts.with_segments(&[&alias, verb.as_str()]).with_query(&[("identifierType", "alias")])
            }
        };
        let key = format!("GenieKey {}", settings.text("api_key"));
        let request = Request::post(url, body.to_string().into()).with_header(AUTHORIZATION, &key)?;
        Ok(Outgoing::Http(request))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        let words = words(&answer.json(), "/message");
        match answer.status {
            422 if !words.is_empty() => Some(Verdict::refused(words)),
            401 | 403 => Some(Verdict::failed(format!("the key may not do this: {words}"))),
            _ => otherwise(answer, words),
        }
    }
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Close => "close",
        }
    }
}

fn alert(told: &Told<'_>, settings: &Settings, alias: &str) -> Value {
    let priority = match told.message.severity {
        Severity::Critical => settings.text("priority"),
        Severity::Warning | Severity::Good | Severity::Neutral => "P3",
    };
    let mut alert = json!({
        "message": fitted(inert(&told.message.title), MAX_MESSAGE_CHARS),
        "alias": alias,
        "description": fitted(inert(&told.message.details()), MAX_DESCRIPTION_CHARS),
        "entity": fitted(inert(told.event.subject.name()), MAX_FIELD_CHARS),
        "source": "Vigilmon",
        "priority": priority,
        "details": { "incident": alias, "started_at": told.event.incident.started_at.to_string() },
    });
    if let Some(team) = settings.get("team") {
        alert["responders"] = json!([{ "type": "team", "name": team }]);
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 2] = [("api_key", "hush"), ("team", "SRE")];

    #[test]
    fn an_incident_is_one_alert_created_acknowledged_and_closed_by_its_alias() {
        let opened = trial::sent(&Opsgenie, &SET, &samples::down());
        assert_eq!(opened.url, "https://api.opsgenie.com/v2/alerts");
        assert_eq!(opened.headers[AUTHORIZATION], "GenieKey hush");
        let alias = opened.json()["alias"].as_str().unwrap().to_owned();
        assert_eq!(opened.json()["responders"][0]["name"], "SRE");
        for (event, verb) in [
            (samples::acknowledged(), "acknowledge"),
            (samples::recovered(), "close"),
            (samples::closed(), "close"),
        ] {
            let sent = trial::sent(&Opsgenie, &SET, &event);
            let url = format!("https://api.opsgenie.com/v2/alerts/{alias}/{verb}?identifierType=alias");
            assert_eq!(sent.url, url);
        }
    }

    #[test]
    fn jira_service_management_is_the_same_under_another_address() {
        let base = "https://api.atlassian.com/jsm/ops/integration";
        let sent = trial::sent(&Opsgenie, &[("api_key", "hush"), ("api_url", base)], &samples::down());
        assert_eq!(sent.url, format!("{base}/v2/alerts"));
        assert!(sent.json().get("responders").is_none());
    }

    #[test]
    fn opsgenies_limits_are_kept_and_tags_are_none() {
        for sent in [trial::sent(&Opsgenie, &SET, &samples::hostile()), trial::longest(&Opsgenie, &SET)] {
            let chars = |field: &str| sent.json()[field].as_str().unwrap().chars().count();
            assert!(chars("message") <= MAX_MESSAGE_CHARS && chars("description") <= MAX_DESCRIPTION_CHARS);
            assert!(chars("entity") <= MAX_FIELD_CHARS && chars("alias") <= 512);
            assert!(!sent.text().contains("<!") && !sent.text().contains("<@U"));
        }
    }

    #[test]
    fn what_opsgenie_cannot_use_is_not_tried_again() {
        assert_eq!(
            trial::outcome(&Opsgenie, 202, br#"{"result":"Request will be processed"}"#),
            Outcome::Delivered
        );
        assert_eq!(
            trial::outcome(&Opsgenie, 422, br#"{"message":"Request body is not processable"}"#),
            Outcome::Refused
        );
        assert_eq!(trial::outcome(&Opsgenie, 429, b"{}"), Outcome::Failed { retry_after: None });
        assert_eq!(trial::outcome(&Opsgenie, 403, b"{}"), Outcome::Failed { retry_after: None });
    }
}
