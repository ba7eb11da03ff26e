//! Badges: `/badge/{id}.svg`, `.json` and `.shields`, small pictures of how one monitor or heartbeat is.
//!
//! Whoever knows the unguessable id sees the name and one word, and nothing else; whatever is no badge gets the very
//! `404` of an unknown heartbeat. As with Healthchecks there are two words, up and down, unless `?states=3` asks for
//! late and degraded too; what is neither (paused, new, in maintenance, unknown) is always said as it is.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use engine::{heartbeat, monitor};
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Uri};
use serde_json::json;
use url::form_urlencoded;

use super::Parts;
use crate::ping::not_found;
use crate::settings::Settings;
use crate::view::{Status, Views};

/// What the path of a badge begins with.
pub(crate) const PATH_PREFIX: &str = "/badge/";
/// A longer name is cut.
const MAX_LABEL_CHARS: usize = 60;

pub(super) fn router(parts: &Parts) -> Router {
    let badges = Badges { settings: Arc::clone(&parts.settings), views: Arc::clone(&parts.views) };
    Router::new().route(&format!("{PATH_PREFIX}{{*file}}"), get(show)).with_state(Arc::new(badges))
}

struct Badges {
    settings: Arc<Settings>,
    views: Arc<Views>,
}

/// What a badge says of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Up,
    Late,
    Degraded,
    Down,
    New,
    Paused,
    Maintenance,
    Unknown,
}

/// A badge as a picture.
#[derive(Template)]
#[template(path = "badge.svg")]
struct Picture<'a> {
    label: &'a str,
    message: &'a str,
    color: &'a str,
    width: usize,
    label_width: usize,
    label_middle: usize,
    message_width: usize,
    message_middle: usize,
}

async fn show(State(badges): State<Arc<Badges>>, uri: Uri, RawQuery(query): RawQuery) -> Response {
    let file = uri.path().strip_prefix(PATH_PREFIX).unwrap_or_default();
    let Some((id, form)) = file.split_once('.') else { return not_found() };
    let Some((name, word)) = badges.look(id) else { return not_found() };
    let word = if has_three_states(query.as_deref()) { word } else { word.of_two() };
    let label: String = name.chars().take(MAX_LABEL_CHARS).collect();
    match form {
        "svg" => answer(picture(&label, word), "image/svg+xml"),
        "json" => {
            let count = |is: bool| u8::from(is);
            let (grace, down) =
                (count(matches!(word, Word::Late | Word::Degraded)), count(word == Word::Down));
            let said = json!({ "status": word.text(), "total": 1, "grace": grace, "down": down });
            answer(said.to_string(), "application/json")
        }
        "shields" => {
            let color = word.shields_color();
            let said = json!({ "schemaVersion": 1, "label": label, "message": word.text(), "color": color });
            answer(said.to_string(), "application/json")
        }
        _ => not_found(),
    }
}

impl Badges {
    /// The name and word of the subject whose badge has that id.
    fn look(&self, id: &str) -> Option<(String, Word)> {
        let config = self.settings.present();
        let place = config.badges.binary_search_by(|row| row.id.as_str().cmp(id)).ok()?;
        let view = self.views.get(config.badges[place].subject)?;
        Some((view.definition.name.clone(), Word::of(view.status)))
    }
}

impl Word {
    const fn of(status: Status) -> Self {
        match status {
            Status::Monitor(status, _) => match status {
                monitor::Status::Pending => Self::New,
                monitor::Status::Up => Self::Up,
                monitor::Status::Degraded => Self::Degraded,
                monitor::Status::Down => Self::Down,
                monitor::Status::Unknown => Self::Unknown,
                monitor::Status::Paused => Self::Paused,
                monitor::Status::Maintenance => Self::Maintenance,
            },
            Status::Heartbeat(status, _) => match status {
                heartbeat::Status::New => Self::New,
                heartbeat::Status::Up | heartbeat::Status::Running => Self::Up,
                heartbeat::Status::Late => Self::Late,
                heartbeat::Status::Missed => Self::Down,
                heartbeat::Status::Unknown => Self::Unknown,
                heartbeat::Status::Paused => Self::Paused,
                heartbeat::Status::Maintenance => Self::Maintenance,
            },
        }
    }

    /// Without what lies between up and down.
    const fn of_two(self) -> Self {
        match self {
            Self::Late | Self::Degraded => Self::Up,
            other => other,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Late => "late",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::New => "new",
            Self::Paused => "paused",
            Self::Maintenance => "maintenance",
            Self::Unknown => "unknown",
        }
    }

    const fn color(self) -> &'static str {
        match self {
            Self::Up => "#2a7d3f",
            Self::Late | Self::Degraded => "#b35900",
            Self::Down => "#c62828",
            Self::Maintenance => "#1f6feb",
            Self::New | Self::Paused | Self::Unknown => "#767676",
        }
    }

    /// By the names that shields.io has for them.
    const fn shields_color(self) -> &'static str {
        match self {
            Self::Up => "success",
            Self::Late | Self::Degraded => "important",
            Self::Down => "critical",
            Self::Maintenance => "informational",
            Self::New | Self::Paused | Self::Unknown => "inactive",
        }
    }
}

fn has_three_states(query: Option<&str>) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "states" && value == "3")
}

fn picture(label: &str, word: Word) -> String {
    let message = word.text();
    let (label_width, message_width) = (width(label), width(message));
    Picture {
        label,
        message,
        color: word.color(),
        width: label_width + message_width,
        label_width,
        label_middle: label_width / 2,
        message_width,
        message_middle: label_width + message_width / 2,
    }
    .render()
    .expect("text can always be written into memory")
}

/// About as wide as a text is in the badge's font, and a margin. The picture makes the text fit exactly.
fn width(text: &str) -> usize {
    let of = |c: char| match c {
        'f' | 'i' | 'j' | 'l' | 'r' | 't' | 'I' | '.' | ',' | ':' | ';' | '!' | '|' | '\'' | ' ' | '-' => 4,
        'm' | 'w' | 'M' | 'W' | '@' => 10,
        c if c.is_ascii() => 7,
        _ => 11,
    };
    10 + text.chars().map(of).sum::<usize>()
}

fn answer(text: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        // Caches of others' pages keep pictures for hours unless they are told.
        (CACHE_CONTROL, "public, max-age=10"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use model::SubjectId;
    use store::records::DEFAULT_WORKSPACE;
    use store::{BadgeRow, ConfigChange};

    use super::*;
    use crate::web::stage::{NOW, Stage, ask, text};

    async fn put(stage: &Stage, id: &str, subject: SubjectId) {
        let row = BadgeRow { id: id.into(), workspace: DEFAULT_WORKSPACE.into(), subject, created_at: NOW };
        let change = |_: &_| Ok::<_, store::Error>(ConfigChange::PutBadge(row));
        stage.parts.settings.change(change).await.unwrap();
    }

    async fn said(app: &Router, path: &str) -> String {
        let response = ask(app, "GET", path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["cache-control"], "public, max-age=10");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        text(response).await
    }

    #[tokio::test]
    async fn a_badge_says_name_and_state_in_three_forms() {
        let stage = Stage::new().await;
        let late = stage.show_heartbeat(1, "nightly", heartbeat::Status::Late);
        let down = stage.show_monitor(2, "api", monitor::Status::Down);
        put(&stage, "zzz", SubjectId::Heartbeat(late)).await;
        put(&stage, "aaa", SubjectId::Monitor(down)).await;
        let app = stage.app();
        assert_eq!(said(&app, "/badge/zzz.json").await, r#"{"down":0,"grace":0,"status":"up","total":1}"#);
        let three = said(&app, "/badge/zzz.json?states=3").await;
        assert_eq!(three, r#"{"down":0,"grace":1,"status":"late","total":1}"#);
        assert_eq!(said(&app, "/badge/aaa.json").await, r#"{"down":1,"grace":0,"status":"down","total":1}"#);
        let shields = said(&app, "/badge/aaa.shields").await;
        assert_eq!(shields, r#"{"color":"critical","label":"api","message":"down","schemaVersion":1}"#);
        let picture = said(&app, "/badge/aaa.svg").await;
        assert!(picture.starts_with("<svg") && picture.contains("<title>api: down</title>"), "{picture}");
    }

    #[tokio::test]
    async fn a_name_is_text_in_every_form() {
        let stage = Stage::new().await;
        let job = stage.show_heartbeat(1, r#"</text><script>alert("1")</script>&"#, heartbeat::Status::Up);
        put(&stage, "a", SubjectId::Heartbeat(job)).await;
        let app = stage.app();
        let picture = said(&app, "/badge/a.svg").await;
        assert!(!picture.contains("<script") && picture.contains("&#60;script&#62;"), "{picture}");
        let json: serde_json::Value = serde_json::from_str(&said(&app, "/badge/a.shields").await).unwrap();
        assert_eq!(json["label"], r#"</text><script>alert("1")</script>&"#);
        let response = ask(&app, "GET", "/badge/a.svg").await;
        assert_eq!(response.headers()["content-type"], "image/svg+xml");
        assert_eq!(response.headers()["content-security-policy"], "default-src 'none'");
    }

    #[tokio::test]
    async fn whatever_is_no_badge_is_not_found_alike() {
        let stage = Stage::new().await;
        let job = stage.show_heartbeat(1, "job", heartbeat::Status::Up);
        put(&stage, "a", SubjectId::Heartbeat(job)).await;
        put(&stage, "gone", SubjectId::Heartbeat(model::HeartbeatId::from_bytes([9; 16]))).await;
        let app = stage.app();
        for file in ["b.svg", "a", "a.", "a.png", "a.svg.svg", "gone.svg", &format!("{job}.svg"), "a/x.svg"] {
            let response = ask(&app, "GET", &format!("/badge/{file}")).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{file}");
            assert_eq!(text(response).await, "not found");
        }
    }
}
