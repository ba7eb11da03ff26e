//! What one execution of a check found.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Position, Url};

use crate::{HealthReport, MonitorId, RegionId, Timestamp};

/// One finished attempt, dated by the coordinator's clock.
///
/// Its meaning is `(monitor, spec_revision, region, slot, attempt)`; attempt 0 is the scheduled check, others
/// belong to `round`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// What was checked.
    pub monitor: MonitorId,
    /// Which version of its specification was followed.
    pub spec_revision: u64,
    /// From where.
    pub region: RegionId,
    /// `floor((scheduled − phase) / interval)`, counted from the Unix epoch.
    pub slot: i64,
    /// 0 for the scheduled check; 1, 2 … within a round.
    pub attempt: u32,
    /// The round an attempt other than 0 answers; 0 otherwise.
    pub round: u32,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// Where the time went.
    pub phases: Phases,
    /// The final HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// The address that answered, if one did.
    pub peer: Option<IpAddr>,
    /// The structured health report in the body, if there was one.
    pub health: Option<Box<HealthReport>>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The target did what was asked.
    Pass,
    /// The target did not do what was asked.
    Fail(Failure),
    /// We could not measure. Never counts as a failure of the target; the text says why.
    Error(String),
}

/// Begins the text of an [`Outcome::Error`] of a check that the agent can never make as it is; what to do follows.
pub const UNSUPPORTED: &str = "unsupported: ";

/// How a target failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, on which decisions rest.
    pub kind: FailureKind,
    /// What a person reads after `Status:`: `503 Service Unavailable`, `timeout after 10 s`, `connection refused`.
    /// At most [`Failure::MAX_DETAIL_CHARS`] characters without control characters.
    pub detail: String,
}

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// The name did not resolve.
    Dns,
    /// The connection was refused, reset or unreachable.
    Connect,
    /// TLS broke off for a reason other than the certificate.
    Tls,
    /// The total time ran out.
    Timeout,
    /// The peer broke the protocol or closed in the middle of an answer.
    Protocol,
    /// The certificate is expired, for another name, or from an unknown authority.
    Certificate,
    /// The answer's status is not one that passes.
    Status,
    /// The answer's body is not what was asked for.
    Body,
    /// Too many redirects, or one that may not be followed.
    Redirect,
}

impl FailureKind {
    /// Every kind, in the order of their wire numbers.
    pub const ALL: [Self; 9] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Protocol,
        Self::Certificate,
        Self::Status,
        Self::Body,
        Self::Redirect,
    ];

    /// The kind in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Certificate => "certificate",
            Self::Status => "status",
            Self::Body => "body",
            Self::Redirect => "redirect",
        }
    }

    /// Whether the target gave a definite wrong answer. Such a failure counts at once; the others could be noise on
    /// the way and need a second attempt.
    #[must_use]
    pub const fn is_definite(self) -> bool {
        match self {
            Self::Certificate | Self::Status | Self::Body | Self::Redirect => true,
            Self::Dns | Self::Connect | Self::Tls | Self::Timeout | Self::Protocol => false,
        }
    }
}

impl Failure {
    /// The longest detail that is kept.
    pub const MAX_DETAIL_CHARS: usize = 256;

    /// A failure with its detail cut to size and cleared of control characters.
    #[must_use]
    pub fn new(kind: FailureKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: clean(&detail.to_string(), Self::MAX_DETAIL_CHARS) }
    }
}

/// `text` on one line, without control characters, of at most `max_chars` characters.
#[must_use]
pub fn clean(text: &str, max_chars: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max_chars * 4));
    for c in text.trim().chars().take(max_chars) {
        cleaned.push(if c.is_control() { ' ' } else { c });
    }
    cleaned
}

/// Where the time of an attempt went; `None` for a phase that was not reached or not needed. After redirects, the
/// sums over all hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Name resolution.
    pub dns: Option<Duration>,
    /// TCP handshake.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// From the request's first byte sent to the answer's first byte received.
    pub first_byte: Option<Duration>,
    /// From the answer's head to the end of what is read of its body.
    pub body: Option<Duration>,
}

/// One request of a check that was redirected: what it asked for and what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// What was asked for, without credentials, query and fragment, and cut to [`Hop::MAX_URL_CHARS`].
    pub url: String,
    /// The status that came; `None` if none did.
    pub status: Option<u16>,
    /// The address that was connected to; `None` if none was.
    pub peer: Option<IpAddr>,
    /// Where its time went.
    pub phases: Phases,
}

impl Hop {
    /// The longest URL that is kept.
    pub const MAX_URL_CHARS: usize = 300;

    /// A URL as it may be shown and kept: tokens stand in queries and fragments too.
    #[must_use]
    pub fn shown(url: &Url) -> String {
        clean(
            &format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPath]),
            Self::MAX_URL_CHARS,
        )
    }
}

impl Phases {
    /// What came to each phase since `earlier`, of which this is a later state.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let left = |now: Option<Duration>, then: Option<Duration>| {
            let left = now?.saturating_sub(then.unwrap_or_default());
            (then.is_none() || !left.is_zero()).then_some(left)
        };
        Self {
            dns: left(self.dns, earlier.dns),
            connect: left(self.connect, earlier.connect),
            tls: left(self.tls, earlier.tls),
            first_byte: left(self.first_byte, earlier.first_byte),
            body: left(self.body, earlier.body),
        }
    }
}

impl Outcome {
    /// The failure, if it is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Fail(failure) => Some(failure),
            Self::Pass | Self::Error(_) => None,
        }
    }

    /// Whether it is a pass.
    #[must_use]
    pub const fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_shows_neither_credentials_nor_tokens_and_is_of_bounded_length() {
        let url = Url::parse("https://user:secret@a.example:8443/path?token=secret#secret").unwrap();
        assert_eq!(Hop::shown(&url), "https://a.example:8443/path");
        let long = Url::parse(&format!("http://a.example/{}", "x".repeat(9_000))).unwrap();
        assert_eq!(Hop::shown(&long).chars().count(), Hop::MAX_URL_CHARS);
    }

    #[test]
    fn the_phases_of_a_hop_are_what_came_since_the_one_before() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let earlier = Phases { dns: millis(5), connect: millis(10), ..Phases::default() };
        let later = Phases { connect: millis(17), tls: millis(3), ..earlier };
        let expected = Phases { connect: millis(7), tls: millis(3), ..Phases::default() };
        assert_eq!(later.since(&earlier), expected);
    }

    #[test]
    fn details_are_one_short_line() {
        let failure = Failure::new(FailureKind::Protocol, format!("bad\r\nheader\0{}", "x".repeat(9_000)));
        assert_eq!(failure.detail.chars().count(), Failure::MAX_DETAIL_CHARS);
        assert!(failure.detail.starts_with("bad  header x"));
    }
}
