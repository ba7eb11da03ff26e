//! `/ack/{token}`: the link in a message by which somebody says that they take care of an incident.
//!
//! Mail scanners and chat previews follow links, so looking changes nothing: a GET shows one button, and only the POST
//! behind it acknowledges. A token that is wrong, of another installation or too old gets the very `404` of a path that
//! is nowhere. What the page shows is what the message said that the link came with.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use model::{Clock, IncidentId};
use store::{IncidentState, Store};
use tracing::warn;

use super::Parts;
use super::answer::Rendered;
use super::assets::stylesheet_url;
use crate::acknowledge_link::AcknowledgeLinks;
use crate::incident::Incident;
use crate::ping;
use crate::shard::{self, ChangeError, ChangeRequest};

/// Who acknowledges when they do not say.
const BY_LINK: &str = "somebody with the link";
/// Bytes of a form that are read, and characters of each field that are kept.
const MAX_FORM_BYTES: usize = 4_096;
const MAX_FIELD_CHARS: usize = 200;

pub(super) fn router(parts: &Parts) -> Router {
    let door = Door {
        clock: Arc::clone(&parts.clock),
        store: Arc::clone(&parts.store),
        shards: parts.shards.clone(),
        links: Arc::clone(&parts.links),
    };
    Router::new().route("/ack/{token}", get(show).post(acknowledge)).with_state(Arc::new(door))
}

struct Door {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    shards: shard::Handle,
    links: Arc<AcknowledgeLinks>,
}

/// The page with its one button.
#[derive(Template)]
#[template(path = "acknowledge.html")]
struct Page {
    stylesheet: &'static str,
    subject: String,
    cause: String,
    started: String,
    state: Standing,
}

/// What can be said of the incident.
enum Standing {
    /// It waits for somebody.
    Open,
    /// Somebody takes care of it.
    Acknowledged { by: String, reason: String },
    /// There is nothing to take care of.
    Over,
}

async fn show(State(door): State<Arc<Door>>, token: Result<Path<String>, PathRejection>) -> Response {
    let Some(id) = door.incident(token) else { return ping::not_found() };
    door.page(id).await
}

async fn acknowledge(
    State(door): State<Arc<Door>>,
    token: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    let Some(id) = door.incident(token) else { return ping::not_found() };
    let form = to_bytes(body, MAX_FORM_BYTES).await.unwrap_or_default();
    let field = |name: &str| {
        let found = url::form_urlencoded::parse(&form).find(|(key, _)| key == name);
        let text = found.map(|(_, text)| text.into_owned()).unwrap_or_default();
        let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        spaced.trim().chars().take(MAX_FIELD_CHARS).collect::<String>()
    };
    let by = Some(field("by")).filter(|by| !by.is_empty()).unwrap_or_else(|| BY_LINK.to_owned());
    let Ok(Some(row)) = door.store.incident(id).await else { return unavailable() };
    let request =
        ChangeRequest::Acknowledge { subject: row.subject, incident: id, by, reason: field("reason") };
    match door.shards.change(request).await {
        Ok(()) | Err(ChangeError::IncidentOver) => door.page(id).await,
        Err(error) => {
            warn!(incident.id = %id, %error, "cannot acknowledge by link");
            unavailable()
        }
    }
}

impl Door {
    fn incident(&self, token: Result<Path<String>, PathRejection>) -> Option<IncidentId> {
        let Path(token) = token.ok()?;
        self.links.read(&token, self.clock.now())
    }

    async fn page(&self, id: IncidentId) -> Response {
        let row = match self.store.incident(id).await {
            Ok(Some(row)) => row,
            Ok(None) => return ping::not_found(),
            Err(_) => return unavailable(),
        };
        let Some(incident) = Incident::from_row(&row) else { return unavailable() };
        let state = match (incident.state, incident.body.acknowledged) {
            (IncidentState::Resolved | IncidentState::Closed, _) => Standing::Over,
            (IncidentState::Open, Some(it)) => Standing::Acknowledged { by: it.by, reason: it.reason },
            (IncidentState::Open, None) => Standing::Open,
        };
        let page = Page {
            stylesheet: stylesheet_url(),
            subject: incident.body.subject_name,
            cause: incident.body.cause,
            started: incident.started_at.to_string(),
            state,
        };
        Rendered::of(&page).form(StatusCode::OK)
    }
}

fn unavailable() -> Response {
    let mut response = Response::new(Body::from("try again in a few seconds\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use engine::heartbeat::PingKind;
    use http::Request;
    use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
    use model::Timestamp;
    use store::IncidentQuery;
    use store::journal::HeardPing;

    use super::*;
    use crate::web::stage::{NOW, Stage, ask, links, send, text};

    /// A job that has just failed, and the path of its incident's link.
    async fn failing_job() -> (Stage, String) {
        let mut stage = Stage::new().await;
        stage.start_owner().await;
        let job = stage.create_heartbeat().await;
        stage.parts.shards.ping(HeardPing::new(job, PingKind::Fail, NOW)).await.unwrap();
        let path = path(&incident(&stage).await, NOW);
        (stage, path)
    }

    async fn incident(stage: &Stage) -> Incident {
        let query = IncidentQuery { limit: 1, ..IncidentQuery::default() };
        Incident::from_row(&stage.store.list_incidents(&query).await.unwrap()[0]).unwrap()
    }

    fn path(incident: &Incident, now: Timestamp) -> String {
        let url = links().url(incident.id, now).unwrap();
        url.strip_prefix("https://status.example").unwrap().to_owned()
    }

    async fn post(stage: &Stage, path: &str, form: &'static str) -> Response {
        let request = Request::builder().method("POST").uri(path).body(Body::from(form)).unwrap();
        send(&stage.app(), request).await
    }

    #[tokio::test]
    async fn looking_changes_nothing_and_the_button_acknowledges_once() {
        let (stage, path) = failing_job().await;
        for method in ["GET", "HEAD", "GET"] {
            let page = ask(&stage.app(), method, &path).await;
            assert_eq!(page.status(), StatusCode::OK);
            assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
            assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("form-action 'self'"));
            let shown = text(page).await;
            assert!(method == "HEAD" || shown.contains("I take care of it"), "{shown}");
        }
        assert_eq!(incident(&stage).await.body.acknowledged, None);

        let page = post(&stage, &path, "by=%3Cb%3EAna%0A&reason=on+it").await;
        let shown = text(page).await;
        assert!(shown.contains("Acknowledged by &#60;b&#62;Ana: on it."), "{shown}");
        text(post(&stage, &path, "by=Ben").await).await;
        let acknowledged = incident(&stage).await.body.acknowledged.unwrap();
        assert_eq!((acknowledged.by.as_str(), acknowledged.reason.as_str()), ("<b>Ana", "on it"));
    }

    #[tokio::test]
    async fn nobody_has_to_say_who_they_are_and_what_is_over_is_over() {
        let (stage, path) = failing_job().await;
        assert_eq!(post(&stage, &path, "").await.status(), StatusCode::OK);
        assert_eq!(incident(&stage).await.body.acknowledged.unwrap().by, BY_LINK);
        let job = model::HeartbeatId::from_bytes([1; 16]);
        stage.clock.advance(Duration::from_secs(1));
        let success = HeardPing::new(job, PingKind::Success, NOW.plus(Duration::from_secs(1)));
        stage.parts.shards.ping(success).await.unwrap();
        for page in [ask(&stage.app(), "GET", &path).await, post(&stage, &path, "by=Ben").await] {
            let shown = text(page).await;
            assert!(shown.contains("It is over.") && !shown.contains("button"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_token_that_is_not_good_is_nowhere() {
        let (stage, path) = failing_job().await;
        let nowhere = ask(&stage.app(), "GET", "/nowhere").await;
        let nowhere = (nowhere.status(), nowhere.headers().clone(), text(nowhere).await);
        let old = self::path(&incident(&stage).await, Timestamp::EPOCH);
        let forged = format!("{}A", &path[..path.len() - 1]);
        for path in
            [forged.as_str(), old.as_str(), "/ack/x", "/ack/%ff", &format!("/ack/{}", "A".repeat(9_000))]
        {
            for method in ["GET", "POST"] {
                let answer = ask(&stage.app(), method, path).await;
                let answer = (answer.status(), answer.headers().clone(), text(answer).await);
                assert_eq!(answer, nowhere, "{method} {path}");
            }
        }
        assert_eq!(incident(&stage).await.body.acknowledged, None);
    }
}
