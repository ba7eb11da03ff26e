//! Vigilmon's own health, in the form that Vigilmon itself reads of others: `/health`, `/health/live`, `/health/ready`.
//!
//! What counts is whether pings and results can be made durable. Missing agents make it degraded, not unavailable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::Parts;
use crate::fleet::Fleet;
use crate::settings::Settings;

pub(super) fn router(parts: &Parts) -> Router {
    let health = Health {
        healthy: Arc::clone(&parts.healthy),
        fleet: Arc::clone(&parts.fleet),
        settings: Arc::clone(&parts.settings),
    };
    Router::new()
        .route("/health", get(report))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(Arc::new(health))
}

struct Health {
    healthy: Arc<AtomicBool>,
    fleet: Arc<Fleet>,
    settings: Arc<Settings>,
}

#[derive(Serialize)]
struct Report {
    status: &'static str,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    database: Check,
    agents: Check,
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    database: Check,
}

#[derive(Serialize)]
struct Check {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    const OK: Self = Self { status: "ok", detail: None };

    const fn is_ok(&self) -> bool {
        self.detail.is_none()
    }
}

async fn report(State(health): State<Arc<Health>>) -> Response {
    let checks = Checks { database: health.database(), agents: health.agents() };
    let code = code(&checks.database);
    let status = if checks.database.is_ok() && checks.agents.is_ok() { "ok" } else { "degraded" };
    answer(code, Report { status, checks })
}

async fn live() -> Response {
    answer(StatusCode::OK, Check::OK)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let database = health.database();
    let status = if database.is_ok() { "ready" } else { "not_ready" };
    answer(code(&database), Readiness { status, database })
}

impl Health {
    fn database(&self) -> Check {
        if self.healthy.load(Ordering::Acquire) {
            Check::OK
        } else {
            Check { status: "error", detail: Some("commits fail".into()) }
        }
    }

    /// Every region that was ever configured should have an agent.
    fn agents(&self) -> Check {
        let live = self.fleet.candidates();
        let config = self.settings.present();
        let used: BTreeSet<_> = config.agents.iter().map(|agent| &agent.region).collect();
        let missing: Vec<_> = used
            .into_iter()
            .filter(|region| !live.contains_key(*region))
            .map(|region| region.as_str())
            .collect();
        if !missing.is_empty() {
            let detail = format!("no agent connected in {}", missing.join(", "));
            return Check { status: "degraded", detail: Some(detail) };
        }
        if live.is_empty() {
            return Check { status: "degraded", detail: Some("no agent connected".into()) };
        }
        Check::OK
    }
}

const fn code(database: &Check) -> StatusCode {
    if database.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn answer(code: StatusCode, body: impl Serialize) -> Response {
    let mut response = (code, Json(body)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
