//! Pages as HTTP answers: with the headers that keep a browser from doing anything but showing them.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

/// Nothing is loaded but our own stylesheet and icons that are part of the page; nothing is run, sent or framed.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
                              form-action 'none'; frame-ancestors 'none'";

/// The same for a page with a form that is sent back to us.
const FORM_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
                           form-action 'self'; frame-ancestors 'none'";

/// A page ready to be sent, many times.
#[derive(Debug)]
pub(super) struct Rendered {
    html: Bytes,
    etag: HeaderValue,
}

impl Rendered {
    pub(super) fn of(page: &impl Template) -> Self {
        let html = Bytes::from(page.render().expect("texts and numbers can always be written into memory"));
        let etag =
            HeaderValue::try_from(etag(&html)).expect("hexadecimal digits in quotes are a header value");
        Self { html, etag }
    }

    /// The page for a moment in any cache; nothing, if the browser has this very one.
    pub(super) fn conditional(&self, request: &HeaderMap) -> Response {
        let has_it = request.get(IF_NONE_MATCH).is_some_and(|etag| etag == self.etag);
        let mut response = if has_it {
            self.answer(StatusCode::NOT_MODIFIED, Bytes::new())
        } else {
            self.plain(StatusCode::OK)
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=5"));
        response
    }

    /// The page for this one request.
    pub(super) fn plain(&self, status: StatusCode) -> Response {
        self.answer(status, self.html.clone())
    }

    /// The page, with a form, for this one request.
    pub(super) fn form(&self, status: StatusCode) -> Response {
        let mut response = self.plain(status);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(FORM_POLICY));
        response
    }

    fn answer(&self, status: StatusCode, body: Bytes) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Leads to another page of ours.
pub(super) fn see_other(path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Slugs are letters, digits and dashes; whatever else were in one, it does not lead away from here.
    if let Ok(location) = HeaderValue::try_from(path) {
        headers.insert(LOCATION, location);
    }
    response
}

/// A strong entity tag: 8 bytes of SHA-256 over the content.
pub(super) fn etag(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
