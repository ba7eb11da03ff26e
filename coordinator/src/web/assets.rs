//! The stylesheet, part of the binary. Its URL changes with its bytes, so that browsers keep it for ever.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};

use super::answer::etag;

const STYLESHEET: &str = include_str!("../../assets/status.css");
const STYLESHEET_PATH: &str = "/assets/status.css";

static STYLESHEET_ETAG: LazyLock<String> = LazyLock::new(|| etag(STYLESHEET.as_bytes()));
static STYLESHEET_URL: LazyLock<String> =
    LazyLock::new(|| format!("{STYLESHEET_PATH}?v={}", STYLESHEET_ETAG.trim_matches('"')));

/// Where pages find the stylesheet of this very binary.
pub(super) fn stylesheet_url() -> &'static str {
    &STYLESHEET_URL
}

pub(super) fn router() -> Router {
    Router::new().route(STYLESHEET_PATH, get(stylesheet))
}

async fn stylesheet() -> Response {
    let mut response = Response::new(Body::from(STYLESHEET));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(ETAG, HeaderValue::from_static(&STYLESHEET_ETAG));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
