//! A message as an Adaptive Card for Microsoft Teams, posted to the webhook of a workflow.
//!
//! What others worded stands in text runs, in which no markdown is read (adaptivecards.io, `TextRun`); a mention would
//! need an entity, and there is none. A workflow takes a card before it posts it: 202 means that it will try.

use serde_json::{Value, json};

use super::acknowledge;
use super::answered::{otherwise, words};
use super::escape::plain;
use super::fitted::fitted;
use super::provider::{Answer, Attempt, Provider, Told, Unsendable, Verdict};
use super::setting::{Setting, Settings, check};
use crate::notify::send::{Outgoing, Request};
use crate::notify::text::{ACKNOWLEDGE, Line, Severity};

/// The longest title, in characters: more than a card shows.
const MAX_TITLE_CHARS: usize = 256;
/// The longest value, in characters. With all lines it keeps a card far below Teams' 28 KB.
const MAX_VALUE_CHARS: usize = 1_000;

static SETTINGS: [Setting; 1] = [Setting::required(
    "url",
    "the URL of a workflow that begins with \"When a Teams webhook request is received\"",
    check::url,
)
.secret()];

/// Microsoft Teams.
#[derive(Debug)]
pub(super) struct Teams;

impl Provider for Teams {
    fn name(&self) -> &'static str {
        "teams"
    }

    fn about(&self) -> &'static str {
        "Microsoft Teams, through a workflow's webhook"
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn body(&self, told: &Told<'_>, _: &Settings) -> Vec<u8> {
        let message = told.message;
        let mut body = vec![title(&fitted(plain(&message.title), MAX_TITLE_CHARS), message.severity)];
        let (rest, link) = acknowledge::apart(message);
        body.extend(rest.lines.iter().map(line));
        body.push(date(&message.timestamp.to_string()));
        let mut card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
            "msteams": { "width": "Full" },
        });
        if let Some(url) = link {
            card["actions"] = json!([{ "type": "Action.OpenUrl", "title": ACKNOWLEDGE, "url": url }]);
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        })
        .to_string()
        .into_bytes()
    }

    fn outgoing(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Outgoing, Unsendable> {
        Ok(Outgoing::Http(Request::post(settings.url("url")?, attempt.body.clone())))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Option<Verdict> {
        // Connectors, which came before workflows, answer 200 and tell of trouble in the text.
        let text = String::from_utf8_lossy(answer.body);
        if answer.is_success() && text.contains("returned HTTP error") {
            return Some(Verdict::failed(text));
        }
        let told = answer.json();
        match (answer.status, words(&told, "/error/code").as_str()) {
            (_, "WorkflowNotFound") => {
                Some(Verdict::gone("the workflow was deleted: make a new one and set its URL"))
            }
            (_, "WorkflowTriggerIsNotEnabled") => Some(Verdict::failed("the workflow is turned off")),
            (401 | 403, _) => Some(Verdict::failed("the workflow does not take requests from \"Anyone\"")),
            _ => otherwise(answer, words(&told, "/error/message")),
        }
    }
}

fn title(text: &str, severity: Severity) -> Value {
    let color = match severity {
        Severity::Critical => "attention",
        Severity::Warning => "warning",
        Severity::Good => "good",
        Severity::Neutral => "default",
    };
    rich(&[json!({ "type": "TextRun", "text": text, "size": "large", "weight": "bolder", "color": color })])
}

fn line(line: &Line) -> Value {
    let value = fitted(plain(&line.value), MAX_VALUE_CHARS);
    let value = json!({ "type": "TextRun", "text": value });
    match line.label {
        "" => rich(&[value]),
        label => {
            rich(&[json!({ "type": "TextRun", "text": format!("{label}: "), "weight": "bolder" }), value])
        }
    }
}

/// Shown in each reader's own time zone.
fn date(at: &str) -> Value {
    // The two functions take no fraction of a second.
    let seconds = at.split_once('.').map_or_else(|| at.to_owned(), |(seconds, _)| format!("{seconds}Z"));
    let text = format!("{{{{DATE({seconds}, SHORT)}}}} {{{{TIME({seconds})}}}}");
    json!({ "type": "TextBlock", "text": text, "isSubtle": true, "spacing": "small", "wrap": true })
}

fn rich(inlines: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": inlines, "spacing": "small" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::trial;
    use crate::notify::samples;
    use crate::notify::send::Outcome;

    const SET: [(&str, &str); 1] = [("url", "https://prod.example/workflows/hush?sig=hush")];

    #[test]
    fn a_card_is_posted_and_stays_below_28_kilobytes() {
        let sent = trial::sent(&Teams, &SET, &samples::hostile());
        assert_eq!(sent.target, "/workflows/hush?sig=hush");
        assert!(sent.body.len() < 28 * 1_024, "{}", sent.body.len());
        assert_eq!(sent.json()["attachments"][0]["content"]["type"], "AdaptiveCard");
    }

    #[test]
    fn only_our_own_text_is_read_as_markdown() {
        let sent = trial::sent(&Teams, &SET, &samples::hostile());
        let blocks = sent.json()["attachments"][0]["content"]["body"].clone();
        let markdown: Vec<_> =
            blocks.as_array().unwrap().iter().filter(|block| block["type"] == "TextBlock").collect();
        assert_eq!(markdown.len(), 1);
        assert_eq!(
            markdown[0]["text"],
            "{{DATE(2026-11-22T03:04:05Z, SHORT)}} {{TIME(2026-11-22T03:04:05Z)}}"
        );
        assert!(!sent.text().contains("\"entities\""));
    }

    #[test]
    fn trouble_in_the_text_of_a_200_is_a_failure_and_a_deleted_workflow_is_gone() {
        let throttled =
            b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
        assert_eq!(trial::outcome(&Teams, 200, throttled), Outcome::Failed { retry_after: None });
        assert_eq!(trial::outcome(&Teams, 200, b"1"), Outcome::Delivered);
        assert_eq!(trial::outcome(&Teams, 202, b""), Outcome::Delivered);
        let deleted =
            br#"{"error":{"code":"WorkflowNotFound","message":"The workflow could not be found."}}"#;
        assert_eq!(trial::outcome(&Teams, 404, deleted), Outcome::Gone);
        assert_eq!(trial::outcome(&Teams, 404, b"nginx"), Outcome::Failed { retry_after: None });
    }
}
