//! Prometheus Alertmanager, in two directions: alerts pushed to one (`/api/v2/alerts`), and the payload of its webhook
//! receiver (version 4), for receivers that were written for it.
//!
//! An incident is one alert: the same labels from its opening to its end, which is `endsAt`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use model::Timestamp;
use serde_json::{Value, json};

use super::provider::{Attempt, Provider, Told, Unsendable};
use super::setting::{Setting, Settings, check};
use crate::notify::event::{EventFailure, EventSubject};
use crate::notify::send::{Outgoing, Request};
use crate::notify::{Event, Message};

/// An alert without an end is taken for resolved after five minutes (`resolve_timeout`) unless it is pushed again. Ours are
/// pushed when something happens, so they get an end that is far away.
const FAR: Duration = Duration::from_secs(365 * 86_400);
/// How the webhook form says that there is no end yet.
const NO_END: &str = "0001-01-01T00:00:00Z";
/// The longest label value or annotation, in characters.
const MAX_CHARS: usize = 4_000;
const MAX_LABELS: usize = 16;

/// Pushes to an Alertmanager.
#[derive(Debug)]
pub(super) struct Push;

/// Posts what an Alertmanager would post.
#[derive(Debug)]
pub(super) struct Webhook;

const USERNAME: Setting = Setting::optional("username", "for basic authentication", check::line);
const PASSWORD: Setting = Setting::optional("password", "for basic authentication", check::line).secret();
const TOKEN: Setting = Setting::optional(
    "token",
    "sent as `Authorization: Bearer`; instead of username and password",
    check::token,
)
.secret();
const LABELS: Setting =
    Setting::optional("labels", "labels of every alert, such as team=payments,site=eu", labels_check);

impl Provider for Push {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn about(&self) -> &'static str {
        "A Prometheus Alertmanager, as alerts pushed to its API v2"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required(
                    "url",
                    "Alertmanager's base URL, such as http://alertmanager:9093",
                    check::url,
                )
                .secret(),
                USERNAME,
                PASSWORD,
                TOKEN,
                LABELS,
            ]
        }
    }

    fn verify(&self, settings: &Settings) -> Result<(), (&'static str, &'static str)> {
        verify(settings)
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let Event { incident, .. } = told.event;
        let ends_at = incident.resolved_at.unwrap_or_else(|| incident.started_at.plus(FAR));
        json!([{
            "labels": labels(told.event, settings),
            "annotations": annotations(told.message),
            "startsAt": incident.started_at.to_string(),
            // Not before the start, which Alertmanager would refuse.
            "endsAt": ends_at.max(incident.started_at).to_string(),
        }])
        .to_string()
        .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        let url = settings.url("url")?.with_segments(&["api", "v2", "alerts"]);
        authorised(Request::post(url, attempt.body.clone()), settings).map(Outgoing::Http)
    }
}

impl Provider for Webhook {
    fn name(&self) -> &'static str {
        "alertmanager_webhook"
    }

    fn about(&self) -> &'static str {
        "A receiver of Prometheus Alertmanager's webhooks (version 4)"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required("url", "the receiver's URL", check::url).secret(),
                USERNAME,
                PASSWORD,
                TOKEN,
                LABELS,
                Setting::optional("receiver", "what the payload names as the receiver", check::line)
                    .or("vigilmon"),
            ]
        }
    }

    fn verify(&self, settings: &Settings) -> Result<(), (&'static str, &'static str)> {
        verify(settings)
    }

    fn body(&self, told: &Told<'_>, settings: &Settings) -> Vec<u8> {
        let Event { incident, .. } = told.event;
        let (labels, annotations) = (labels(told.event, settings), annotations(told.message));
        let status = if incident.resolved_at.is_some() { "resolved" } else { "firing" };
        let fingerprint: String =
            incident.id.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{{incident=\"{}\"}}", incident.id),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": settings.text("receiver"),
            "groupLabels": { "incident": incident.id.to_string() },
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": incident.started_at.to_string(),
                "endsAt": incident.resolved_at.map_or_else(|| NO_END.to_owned(), |at: Timestamp| at.to_string()),
                "generatorURL": "",
                "fingerprint": fingerprint,
            }],
        })
        .to_string()
        .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        authorised(Request::post(settings.url("url")?, attempt.body.clone()), settings).map(Outgoing::Http)
    }
}

/// What an incident is known by. Nothing in it changes while the incident lasts, but for a subject that is renamed.
fn labels(event: &Event, settings: &Settings) -> BTreeMap<String, String> {
    let (alert, severity) = match event.incident.failure {
        EventFailure::Down => ("MonitorDown", "critical"),
        EventFailure::Missed => ("HeartbeatMissed", "critical"),
        EventFailure::Failed { .. } => ("HeartbeatFailed", "critical"),
        EventFailure::NeverStarted => ("HeartbeatNeverStarted", "critical"),
        EventFailure::RanTooLong { .. } => ("HeartbeatRanTooLong", "critical"),
        EventFailure::Silent { .. } => ("HeartbeatSilent", "critical"),
        EventFailure::Quarantined => ("AgentQuarantined", "warning"),
        EventFailure::Uncovered => ("CoverageReduced", "warning"),
        EventFailure::Disabled => ("ChannelDisabled", "warning"),
    };
    let kind = match event.subject {
        EventSubject::Monitor { .. } => "monitor",
        EventSubject::Heartbeat { .. } => "heartbeat",
        EventSubject::Agent { .. } => "agent",
        EventSubject::Installation { .. } => "installation",
    };
    let mut labels = parsed(settings.text("labels")).unwrap_or_default();
    let ours = [
        ("alertname", alert.to_owned()),
        ("severity", severity.to_owned()),
        ("kind", kind.to_owned()),
        ("name", bounded(event.subject.name())),
        ("incident", event.incident.id.to_string()),
    ];
    labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    labels
}

fn annotations(message: &Message) -> Value {
    json!({ "summary": bounded(&message.title), "description": bounded(&message.details()) })
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

fn authorised(request: Request, settings: &Settings) -> Result<Request, Unsendable> {
    match (settings.get("token"), settings.get("username")) {
        (Some(token), _) => request.with_header(AUTHORIZATION, &format!("Bearer {token}")),
        (None, Some(username)) => {
            let credentials = format!("{username}:{}", settings.text("password"));
            request.with_header(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(credentials)))
        }
        (None, None) => Ok(request),
    }
}

fn verify(settings: &Settings) -> Result<(), (&'static str, &'static str)> {
    match (settings.get("token"), settings.get("username"), settings.get("password")) {
        (Some(_), Some(_), _) => Err(("token", "is given beside username: give one of them")),
        (_, None, Some(_)) => Err(("username", "is required where there is a password")),
        (_, Some(username), _) if username.contains(':') => Err(("username", "must not have a colon")),
        _ => Ok(()),
    }
}

fn labels_check(value: &str) -> Result<String, String> {
    parsed(value).map(|_| value.trim().to_owned())
}

/// Reads `name=value,name=value`.
fn parsed(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("must be name=value, separated by commas")?;
        let (name, value) = (name.trim(), value.trim());
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("has a name that is no label's: letters, digits and _ are allowed".to_owned());
        }
        if value.is_empty() || value.chars().count() > 200 || value.contains(char::is_control) {
            return Err(format!("has a value of {name} that is empty or longer than 200 characters"));
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    if labels.len() > MAX_LABELS {
        return Err(format!("must be at most {MAX_LABELS} labels"));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;
    use model::DeliveryId;

    const URL: (&str, &str) = ("url", "https://am.example/prefix");

    fn pushed(event: &Event) -> Value {
        let settings = samples::settings(&Push, &[URL, ("labels", "team=payments, site=eu")]).unwrap();
        let message = Message::render(event, event.occurred_at);
        let told =
            Told { id: DeliveryId::from_bytes([5; 16]), event, message: &message, at: event.occurred_at };
        serde_json::from_slice(&Push.body(&told, &settings)).unwrap()
    }

    #[test]
    fn an_incident_keeps_its_labels_from_the_opening_to_the_end() {
        for (opened, ended) in [
            (samples::down(), samples::recovered()),
            (samples::down(), samples::closed()),
            (samples::missed(), samples::heartbeat_recovered()),
        ] {
            let (opened, ended) = (&pushed(&opened)[0], &pushed(&ended)[0]);
            assert_eq!(opened["labels"], ended["labels"]);
            assert_eq!(opened["startsAt"], ended["startsAt"]);
            assert!(
                opened["endsAt"].as_str() > ended["endsAt"].as_str(),
                "it ends when it ended, not before"
            );
        }
        assert_eq!(pushed(&samples::down())[0]["labels"]["team"], "payments");
    }

    #[test]
    fn credentials_are_in_a_header_only() {
        for (given, sent) in [
            (&[URL, ("token", "hush")][..], "Bearer hush"),
            (&[URL, ("username", "me"), ("password", "hush hush")], "Basic bWU6aHVzaCBodXNo"),
        ] {
            let settings = samples::settings(&Push, given).unwrap();
            let attempt = Attempt {
                id: DeliveryId::from_bytes([5; 16]),
                at: samples::STARTED_AT,
                body: &"[]".into(),
                keys: &[],
            };
            let Outgoing::Http(request) = Push.outgoing(&attempt, &settings).unwrap() else {
                panic!("not HTTP")
            };
            assert_eq!(request.headers[AUTHORIZATION], sent);
            assert_eq!(request.url.request_target(), "/prefix/api/v2/alerts");
        }
    }

    #[test]
    fn contradictions_and_bad_labels_are_refused() {
        for (given, name) in [
            (("password", "p"), "username"),
            (("username", "a:b"), "username"),
            (("labels", "team"), "labels"),
            (("labels", "1team=a"), "labels"),
            (("labels", "team="), "labels"),
        ] {
            assert_eq!(samples::settings(&Push, &[URL, given]).unwrap_err()[0].name, name);
        }
    }
}
