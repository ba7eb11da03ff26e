//! The answers to pings: each always the same bytes, which are Healthchecks' and, to pushes, Uptime Kuma's.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderName, HeaderValue, StatusCode};
use model::{Random, random};

use super::body::KEPT_BYTES;

/// Clients learn from it how much of their output is worth sending.
const BODY_LIMIT: HeaderName = HeaderName::from_static("ping-body-limit");
/// After so many seconds, and up to twice as many, a ping that could not be committed is best repeated: those who were
/// turned away together are not to come back together.
const RETRY_AFTER_SECS: u64 = 3;

/// In whose words is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Healthchecks', which are ours.
    Plain,
    /// Uptime Kuma's.
    Push,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The ping is durable.
    Committed,
    /// It is, and so is the heartbeat that was made for it.
    Created,
    /// There is no such heartbeat.
    Unknown,
    /// The heartbeat is known, but not what the path reports.
    InvalidUrl,
    /// The heartbeat is known, but the run's id is no UUID.
    InvalidRun,
    /// Several heartbeats have that slug.
    AmbiguousSlug,
    /// The push tells no time.
    InvalidPush(String),
    /// The ping is not durable, or not yet.
    Unavailable,
}

/// The answer to an outcome.
pub(super) fn answer(outcome: &Outcome, voice: Voice, random: &dyn Random) -> Response {
    let (status, plain, push) = match outcome {
        Outcome::Committed => (StatusCode::OK, "OK", None),
        Outcome::Created => (StatusCode::CREATED, "Created", None),
        Outcome::Unknown if voice == Voice::Plain => return not_found(),
        Outcome::Unknown => (StatusCode::NOT_FOUND, "", Some("Monitor not found or not active.")),
        Outcome::InvalidUrl => (StatusCode::BAD_REQUEST, "invalid url format", None),
        Outcome::InvalidRun => (StatusCode::BAD_REQUEST, "invalid uuid format", None),
        Outcome::AmbiguousSlug => (StatusCode::CONFLICT, "ambiguous slug", None),
        Outcome::InvalidPush(problem) => (StatusCode::BAD_REQUEST, "", Some(problem.as_str())),
        Outcome::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "try again later", Some("try again later")),
    };
    let mut response = match voice {
        Voice::Plain => plain_text(status, plain),
        Voice::Push => json(status, push),
    };
    let headers = response.headers_mut();
    if status.is_success() {
        headers.insert(BODY_LIMIT, HeaderValue::from(KEPT_BYTES));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if *outcome == Outcome::Unavailable {
        let jitter = u64::from(random::bytes::<1>(random)[0]) % (RETRY_AFTER_SECS + 1);
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS + jitter));
    }
    response
}

/// There is nothing here, whatever was asked for.
pub(crate) fn not_found() -> Response {
    plain_text(StatusCode::NOT_FOUND, "not found")
}

/// Pings have three methods. Said of every path alike, so it tells nothing of any.
pub(super) fn method_not_allowed() -> Response {
    with(plain_text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"), ALLOW, "GET, HEAD, POST")
}

/// The same answer; the rest of the request's body is not wanted.
pub(super) fn and_close(response: Response) -> Response {
    with(response, CONNECTION, "close")
}

fn plain_text(status: StatusCode, text: &'static str) -> Response {
    let response = with(Response::new(Body::from(text)), CONTENT_TYPE, "text/plain; charset=utf-8");
    finish(response, status)
}

fn json(status: StatusCode, problem: Option<&str>) -> Response {
    let body = match problem {
        None => serde_json::json!({ "ok": true }),
        Some(problem) => serde_json::json!({ "ok": false, "msg": problem }),
    };
    let response = Response::new(Body::from(body.to_string()));
    finish(with(response, CONTENT_TYPE, "application/json; charset=utf-8"), status)
}

fn finish(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    with(response, CACHE_CONTROL, "no-store")
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
