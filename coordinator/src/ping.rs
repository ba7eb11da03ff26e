//! Heartbeat pings: a job's HTTP request becomes one committed fact.
//!
//! `/api/heartbeat/{token}`, and `/start`, `/fail` or an exit code of `0` to `255` after it, by HEAD, GET or POST. In
//! comes a request from anybody; out goes the ping to the owner of its shard, and `200 OK` only after the commit.
//! Whatever is not the address of a ping gets the one answer `404 not found`, so that nothing can be learnt by trying.
//! Who cannot be served now is told so with `503`; jobs retry.
//!
//! Paths hold tokens: they are never logged, and no span is opened here.

mod address;
mod answer;
mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use engine::heartbeat::PingKind;
use http::{Method, Version};
use model::Clock;
use store::journal::PingMethod;

use crate::shard;
use crate::view::Views;
use crate::web::metrics::{Metrics, PingAnswer};

pub(crate) use address::PATH_PREFIX;
pub use address::token_digest;
pub(crate) use answer::not_found;

/// How long a ping may wait for its commit.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// What takes pings.
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
pub struct Pings {
    pub clock: Arc<dyn Clock>,
    pub views: Arc<Views>,
    pub shards: shard::Handle,
    /// Whether commits succeed.
    pub healthy: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
}

/// The routes of heartbeat URLs.
pub fn router(pings: Arc<Pings>) -> Router {
    // One route for all forms: which are known is decided in one place, with one answer for those that are not.
    Router::new().route(&format!("{PATH_PREFIX}{{*rest}}"), any(take)).with_state(pings)
}

async fn take(State(pings): State<Arc<Pings>>, request: Request) -> Response {
    let Some(method) = ping_method(request.method()) else {
        return answer::method_not_allowed();
    };
    let outcome = match address::parse(request.uri().path()) {
        Some((digest, kind)) => pings.take(&digest, kind, method, request).await,
        None => Outcome::Unknown,
    };
    match outcome {
        Outcome::Committed { whole: true } => {
            pings.metrics.ping(PingAnswer::Committed);
            answer::ok()
        }
        Outcome::Committed { whole: false } => {
            pings.metrics.ping(PingAnswer::Committed);
            answer::ok_and_close()
        }
        Outcome::Unknown => {
            pings.metrics.ping(PingAnswer::Unknown);
            not_found()
        }
        Outcome::Unavailable => {
            pings.metrics.ping(PingAnswer::Unavailable);
            answer::unavailable()
        }
    }
}

/// What came of a request.
enum Outcome {
    /// The ping is durable.
    Committed {
        /// Otherwise some of its body was not read, and nothing else can come on its HTTP/1 connection.
        whole: bool,
    },
    /// There is no such heartbeat.
    Unknown,
    /// The ping is not durable, or not yet.
    Unavailable,
}

impl Pings {
    async fn take(&self, digest: &[u8; 32], kind: PingKind, method: PingMethod, request: Request) -> Outcome {
        // Before the token is looked up: while nothing can be committed, what is known of tokens may be old.
        if !self.healthy.load(Ordering::Acquire) {
            return Outcome::Unavailable;
        }
        let Some(heartbeat) = self.views.heartbeat_by_token(digest) else {
            return Outcome::Unknown;
        };
        let at = self.clock.now();
        let is_multiplexed = request.version() >= Version::HTTP_2;
        let body = body::keep_head(request.into_body()).await;
        let commit = self.shards.ping(heartbeat, kind, at, None, method, body.bytes);
        match tokio::time::timeout(COMMIT_PATIENCE, commit).await {
            Ok(Ok(())) => Outcome::Committed { whole: body.is_whole || is_multiplexed },
            Ok(Err(shard::Unavailable)) | Err(_) => Outcome::Unavailable,
        }
    }
}

fn ping_method(method: &Method) -> Option<PingMethod> {
    match *method {
        Method::HEAD => Some(PingMethod::Head),
        Method::GET => Some(PingMethod::Get),
        Method::POST => Some(PingMethod::Post),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
