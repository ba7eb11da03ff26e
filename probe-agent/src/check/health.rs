//! Reads an answer's body as a structured health report: its bytes and its content type go in, a [`Reading`] comes out.
//!
//! Pure and total: whatever the bytes are, a body is a report, or it is not and the [`HealthPolicy`] of the check says
//! whether that is a failure. A target can make neither the agent fall over nor a check end in an error by what it
//! writes. What is read is bounded: the body by [`MAX_REPORT_BYTES`], the JSON reader's nesting at 128, components
//! within components by `report::MAX_NESTING`, and what is kept by `model::health`.

mod json;
mod report;
#[cfg(test)]
mod tests;

use http::HeaderValue;
use model::{Failure, FailureKind, HealthPolicy, HealthReport, HealthWord};

use json::Json;
use report::Stated;

/// Longer bodies are not read as reports.
const MAX_REPORT_BYTES: usize = 64 * 1024;

/// RFC 8259 §8.1: a reader may ignore it, and some .NET services write it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a body came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The report, if the body is one.
    pub(super) report: Option<HealthReport>,
    /// Why the body is not what the check asks for.
    pub(super) failure: Option<Failure>,
}

/// Takes a body as it arrives.
#[derive(Debug)]
pub(super) struct Reader {
    policy: HealthPolicy,
    media: Media,
    body: Body,
}

/// What the content type says the body is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Media {
    /// `application/json` and everything `+json`: `application/health+json`, `application/vnd.spring-boot.actuator.v3+json` …
    Json,
    /// `text/plain`.
    Text,
    /// Anything else, or nothing.
    Other,
}

#[derive(Debug)]
enum Body {
    /// All of it so far.
    Kept(Vec<u8>),
    /// More than is read.
    TooLong,
    /// Nobody asks, and it does not look like a report.
    Ignored,
}

/// Why a body is not a health report.
#[derive(Debug, PartialEq, thiserror::Error)]
enum NoReport {
    #[error("the body is empty")]
    Empty,
    #[error("the body is longer than {} KiB", MAX_REPORT_BYTES / 1024)]
    TooLong,
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("the body's JSON cannot be read: {0}")]
    NotJson(String),
    #[error("the body has no `status`")]
    NoStatus,
    #[error("its status `{0}` is not a word for health")]
    UnknownStatus(String),
}

impl Reader {
    pub(super) fn new(policy: HealthPolicy, content_type: Option<&HeaderValue>) -> Self {
        let body = if policy == HealthPolicy::Ignore { Body::Ignored } else { Body::Kept(Vec::new()) };
        Self { policy, media: content_type.map_or(Media::Other, Media::of), body }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Body::Kept(kept) = &mut self.body else { return };
        kept.extend_from_slice(bytes);
        if kept.len() > MAX_REPORT_BYTES {
            self.body = Body::TooLong;
            return;
        }
        let text = kept.strip_prefix(BYTE_ORDER_MARK).unwrap_or(kept).trim_ascii_start();
        let is_object = text.first().is_none_or(|&first| first == b'{' || first == BYTE_ORDER_MARK[0]);
        if !is_object && self.media != Media::Json && !self.policy.needs_report() {
            self.body = Body::Ignored;
        }
    }

    /// Whether the check fails without a report.
    pub(super) const fn is_needed(&self) -> bool {
        self.policy.needs_report()
    }

    /// Reads what has arrived, which is the whole body.
    pub(super) fn finish(self) -> Reading {
        let Self { policy, media, body } = self;
        let stated = match body {
            Body::Ignored => return Reading::default(),
            Body::TooLong => Err(NoReport::TooLong),
            Body::Kept(body) => parse(&body, media, policy),
        };
        match stated {
            Ok(Stated { report, detail }) => {
                let failure = policy.fails_on(report.status).then(|| unwell(&report, detail.as_deref()));
                Reading { report: Some(report), failure }
            }
            Err(why) => {
                let failure = format_args!("no health report: {why}");
                let failure = policy.needs_report().then(|| Failure::new(FailureKind::Body, failure));
                Reading { report: None, failure }
            }
        }
    }
}

impl Media {
    fn of(content_type: &HeaderValue) -> Self {
        let text = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
        match text.split(';').next().unwrap_or_default().trim() {
            "text/plain" => Self::Text,
            essence if essence == "application/json" || essence.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

fn parse(body: &[u8], media: Media, policy: HealthPolicy) -> Result<Stated, NoReport> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let text = str::from_utf8(body).map_err(|_| NoReport::NotUtf8)?.trim_ascii();
    if text.is_empty() {
        return Err(NoReport::Empty);
    }
    if media == Media::Text
        && policy.needs_report()
        && let Some(status) = HealthWord::parse_known(text)
    {
        // The default writer of ASP.NET Core health checks (`HealthCheckOptions.ResponseWriter`).
        return Ok(Stated { report: HealthReport::new(status, []), detail: None });
    }
    if !text.starts_with('{') {
        return Err(NoReport::NotAnObject);
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => report::read(&object),
        Ok(_) => Err(NoReport::NotAnObject),
        Err(error) => Err(NoReport::NotJson(error.to_string())),
    }
}

/// The failure of a service that says itself that it is not well. The components have their own line in messages; a
/// report that names none gets its explanation here.
fn unwell(report: &HealthReport, detail: Option<&str>) -> Failure {
    let status = report.status.as_str();
    match detail.filter(|_| report.failing().next().is_none()) {
        Some(detail) => {
            Failure::new(FailureKind::Body, format_args!("health report says {status}: {detail}"))
        }
        None => Failure::new(FailureKind::Body, format_args!("health report says {status}")),
    }
}
