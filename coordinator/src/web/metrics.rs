//! Metrics: counters that stages raise as things happen, and `/metrics`, which adds what the pictures and the fleet show
//! at the moment of scraping. In the OpenMetrics text format, which Prometheus reads. No label comes from a user but
//! the regions' ids.

mod exposition;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use model::Clock;

use super::Parts;
use crate::fleet::Fleet;
use crate::settings::Settings;
use crate::view::Views;

/// Counters since the start of the process. Raising one is an atomic addition.
#[derive(Debug, Default)]
pub struct Metrics {
    pings_committed: AtomicU64,
    pings_unknown: AtomicU64,
    pings_unavailable: AtomicU64,
    results_accepted: AtomicU64,
    results_refused: AtomicU64,
    commits_succeeded: AtomicU64,
    commits_failed: AtomicU64,
    deliveries_delivered: AtomicU64,
    deliveries_failed: AtomicU64,
    deliveries_dead: AtomicU64,
}

/// How a request to a heartbeat URL was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingAnswer {
    /// The ping is durable.
    Committed,
    /// It is the address of no heartbeat.
    Unknown,
    /// It could not be made durable in time.
    Unavailable,
}

/// What came of an attempt to deliver a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Delivered,
    /// It will be tried again.
    Failed,
    /// It was given up.
    Dead,
}

impl Metrics {
    /// Counts a request to a heartbeat URL.
    pub fn ping(&self, answer: PingAnswer) {
        add(
            match answer {
                PingAnswer::Committed => &self.pings_committed,
                PingAnswer::Unknown => &self.pings_unknown,
                PingAnswer::Unavailable => &self.pings_unavailable,
            },
            1,
        );
    }

    /// Counts committed results of agents: those taken, and those refused as unassigned, unknown or invalid.
    pub fn results(&self, accepted: u64, refused: u64) {
        add(&self.results_accepted, accepted);
        add(&self.results_refused, refused);
    }

    /// Counts a commit that succeeded.
    pub fn commit_succeeded(&self) {
        add(&self.commits_succeeded, 1);
    }

    /// Counts a commit that failed.
    pub fn commit_failed(&self) {
        add(&self.commits_failed, 1);
    }

    /// Counts an attempt to deliver a notification.
    pub fn delivery(&self, outcome: DeliveryOutcome) {
        add(
            match outcome {
                DeliveryOutcome::Delivered => &self.deliveries_delivered,
                DeliveryOutcome::Failed => &self.deliveries_failed,
                DeliveryOutcome::Dead => &self.deliveries_dead,
            },
            1,
        );
    }
}

/// Counts stand alone: nothing else is ordered by them.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// What a scrape reads.
#[derive(Clone)]
struct Sources {
    metrics: Arc<Metrics>,
    views: Arc<Views>,
    fleet: Arc<Fleet>,
    settings: Arc<Settings>,
    healthy: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
}

pub(super) fn router(parts: &Parts) -> Router {
    let sources = Sources {
        metrics: Arc::clone(&parts.metrics),
        views: Arc::clone(&parts.views),
        fleet: Arc::clone(&parts.fleet),
        settings: Arc::clone(&parts.settings),
        healthy: Arc::clone(&parts.healthy),
        clock: Arc::clone(&parts.clock),
    };
    Router::new().route("/metrics", get(scrape)).with_state(sources)
}

async fn scrape(State(sources): State<Sources>) -> Response {
    let mut response = Response::new(Body::from(exposition::render(&sources)));
    let headers = response.headers_mut();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
