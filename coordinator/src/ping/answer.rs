//! The answers to pings: each always the same bytes.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

/// Seconds after which a ping that could not be committed is best repeated.
const RETRY_AFTER_SECS: &str = "5";

/// The ping is durable.
pub(super) fn ok() -> Response {
    plain(StatusCode::OK, "OK")
}

/// The ping is durable; the rest of its body is not wanted.
pub(super) fn ok_and_close() -> Response {
    with(plain(StatusCode::OK, "OK"), CONNECTION, "close")
}

/// There is nothing here, whatever was asked for.
pub(crate) fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "not found")
}

/// The ping is not durable: try again.
pub(super) fn unavailable() -> Response {
    with(plain(StatusCode::SERVICE_UNAVAILABLE, "try again later"), RETRY_AFTER, RETRY_AFTER_SECS)
}

/// Pings have three methods. Said of every path alike, so it tells nothing of any.
pub(super) fn method_not_allowed() -> Response {
    with(plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"), ALLOW, "GET, HEAD, POST")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let response = with(response, CONTENT_TYPE, "text/plain; charset=utf-8");
    with(response, CACHE_CONTROL, "no-store")
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
