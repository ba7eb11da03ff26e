//! Status pages: `/status/{slug}`, and `/`, which leads to the first of them.
//!
//! A page is made from the pictures of its subjects, the configuration and the cached incidents ([`content`]), put into
//! words and tones ([`tone`]) and drawn by a template; the result is good for a second, so that a crowd during an
//! outage costs one drawing a second. No page waits for a decision or a commit.

mod content;
mod moment;
mod planned;
mod tone;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use model::{Clock, PageId, Timestamp};

use super::Parts;
use super::answer::{Rendered, see_other};
use super::assets::stylesheet_url;
use super::incidents::Incidents;
use crate::settings::Settings;
use crate::view::Views;
use content::Content;

/// A drawn page is good for this long.
const RENEWAL: Duration = Duration::from_secs(1);

pub(super) fn router(parts: &Parts) -> Router {
    let pages = Pages {
        clock: Arc::clone(&parts.clock),
        settings: Arc::clone(&parts.settings),
        views: Arc::clone(&parts.views),
        healthy: Arc::clone(&parts.healthy),
        incidents: Incidents::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.healthy),
        ),
        drawn: Mutex::default(),
    };
    Router::new().route("/", get(entrance)).route("/status/{slug}", get(page)).with_state(Arc::new(pages))
}

struct Pages {
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    views: Arc<Views>,
    healthy: Arc<AtomicBool>,
    incidents: Incidents,
    drawn: Mutex<BTreeMap<PageId, Drawn>>,
}

/// A page as it was drawn last.
struct Drawn {
    at: Timestamp,
    /// Of the configuration it was drawn from.
    revision: u64,
    page: Arc<Rendered>,
}

/// A page with its content.
#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    stylesheet: &'static str,
    content: Content,
}

/// What stands where there is no page.
#[derive(Template)]
#[template(path = "absent.html")]
struct AbsentPage {
    stylesheet: &'static str,
}

/// What stands at `/` before the first page is made.
#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage {
    stylesheet: &'static str,
}

async fn page(
    State(pages): State<Arc<Pages>>,
    slug: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let page = match slug {
        Ok(Path(slug)) => pages.draw(&slug).await,
        // Not even text, so the slug of no page.
        Err(_) => None,
    };
    match page {
        Some(page) => page.conditional(&headers),
        None => Rendered::of(&AbsentPage { stylesheet: stylesheet_url() }).plain(StatusCode::NOT_FOUND),
    }
}

async fn entrance(State(pages): State<Arc<Pages>>) -> Response {
    let config = pages.settings.present();
    // Pages stand by id, and ids rise: the first is the oldest.
    match config.pages.first() {
        Some(first) => see_other(&format!("/status/{}", first.slug)),
        None => Rendered::of(&WelcomePage { stylesheet: stylesheet_url() }).plain(StatusCode::OK),
    }
}

impl Pages {
    /// The page at a slug, drawn within the last second.
    async fn draw(&self, slug: &str) -> Option<Arc<Rendered>> {
        let config = self.settings.present();
        let row = config.pages.iter().find(|page| page.slug == slug)?;
        let now = self.clock.now();
        if let Some(drawn) = self.drawn_within_a_second(row.id, config.revision, now) {
            return Some(drawn);
        }
        let picture = self.incidents.picture().await;
        let is_healthy = self.healthy.load(Ordering::Acquire);
        let content = Content::gather(row, &config, &self.views, &picture, is_healthy, now);
        let page = Arc::new(Rendered::of(&StatusPage { stylesheet: stylesheet_url(), content }));
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.retain(|id, _| config.pages.iter().any(|page| page.id == *id));
        drawn.insert(row.id, Drawn { at: now, revision: config.revision, page: Arc::clone(&page) });
        Some(page)
    }

    fn drawn_within_a_second(&self, id: PageId, revision: u64, now: Timestamp) -> Option<Arc<Rendered>> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let last = drawn.get(&id)?;
        (last.revision == revision && now.since(last.at) < RENEWAL).then(|| Arc::clone(&last.page))
    }
}

#[cfg(test)]
mod tests;
