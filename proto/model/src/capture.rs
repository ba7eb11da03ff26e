//! What an attempt met on its way, kept for whoever wants to know why it failed.
//!
//! Only what a person needs at three in the morning, bounded, and without secrets of known forms: whoever makes a
//! [`Capture`] takes them out before it leaves the agent. Decisions never rest on it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::result::clean;

/// What was seen on the way to a target and in its answer. Everything is absent that was not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capture {
    /// The addresses that the target's name pointed to, in the order in which they were tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Each redirect that was followed, `302 https://example.com/login`, without query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<String>,
    /// What was agreed upon with the target's TLS, `TLSv1.3, TLS13_AES_128_GCM_SHA256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The chain that the target showed, the leaf first, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Protocol, code and reason phrase: `HTTP/1.1 503 Service Unavailable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_line: Option<String>,
    /// Headers of the final answer in the order of their arrival; values of those that carry secrets are `***`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The beginning of what the target said: of the answer's body, or of whatever came over the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Excerpt>,
    /// The routers on the way to the target, the nearest first; empty unless the connection failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathHop>,
}

/// The beginning of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// At most [`Capture::MAX_BODY_BYTES`] of it; what is not UTF-8 is replaced.
    pub text: String,
    /// Whether there was more.
    pub is_cut: bool,
}

/// One step of the way to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathHop {
    /// How many steps away, from 1.
    pub distance: u8,
    /// Who answered; `None`: nobody.
    pub address: Option<IpAddr>,
    /// How long the answer took.
    pub round_trip: Option<Duration>,
}

impl Capture {
    /// Most addresses that are kept.
    pub const MAX_ADDRESSES: usize = 8;
    /// Most redirects and certificates that are kept, of each.
    pub const MAX_LINES: usize = 20;
    /// The longest of such a line, in characters.
    pub const MAX_LINE_CHARS: usize = 256;
    /// Most headers that are kept.
    pub const MAX_HEADERS: usize = 32;
    /// The longest value of a header, in characters.
    pub const MAX_HEADER_CHARS: usize = 128;
    /// Most bytes of the body that are kept.
    pub const MAX_BODY_BYTES: usize = 1_024;
    /// Most steps of the way.
    pub const MAX_PATH: usize = 30;

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the target calls the request in its own logs, if one of the usual headers says so.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        const NAMES: [&str; 7] = [
            "x-request-id",
            "x-correlation-id",
            "x-amzn-requestid",
            "x-amzn-trace-id",
            "x-cloud-trace-context",
            "cf-ray",
            "traceresponse",
        ];
        let value = |name: &&str| self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        NAMES.iter().find_map(value).map(|(_, value)| value.as_str())
    }

    /// The same within its bounds and without control characters: what another machine says is not trusted.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let line = |text: &String| clean(text, Self::MAX_LINE_CHARS);
        self.addresses.truncate(Self::MAX_ADDRESSES);
        self.redirects = self.redirects.iter().take(Self::MAX_LINES).map(line).collect();
        self.tls = self.tls.as_ref().map(line);
        self.certificates = self.certificates.iter().take(Self::MAX_LINES).map(line).collect();
        self.status_line = self.status_line.as_ref().map(line);
        let header = |(name, value): &(String, String)| {
            (clean(name, Self::MAX_HEADER_CHARS), clean(value, Self::MAX_HEADER_CHARS))
        };
        self.headers = self.headers.iter().take(Self::MAX_HEADERS).map(header).collect();
        self.body = self.body.map(Excerpt::bounded);
        self.path.truncate(Self::MAX_PATH);
        self
    }
}

impl Excerpt {
    /// The beginning of what was said.
    ///
    /// `is_cut` says that `bytes` is not all of it.
    #[must_use]
    pub fn of(bytes: &[u8], is_cut: bool) -> Self {
        Self { text: String::from_utf8_lossy(bytes).into_owned(), is_cut }.bounded()
    }

    fn bounded(mut self) -> Self {
        let end = self.text.floor_char_boundary(Capture::MAX_BODY_BYTES);
        self.is_cut |= end < self.text.len();
        self.text.truncate(end);
        if self.text.contains(is_unprintable) {
            self.text = self.text.replace(is_unprintable, "\u{fffd}");
        }
        self
    }
}

/// Control characters but for those that lay a text out.
fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_between_characters_and_says_that_there_was_more() {
        let whole = Excerpt::of("{\r\n\t\"é\": 1}\0".as_bytes(), false);
        assert_eq!(whole, Excerpt { text: "{\u{fffd}\n\t\"é\": 1}\u{fffd}".into(), is_cut: false });
        let long = Excerpt::of("é".repeat(600).as_bytes(), false);
        assert_eq!((long.text.len(), long.is_cut), (1_024, true));
        assert!(Excerpt::of("é".repeat(511).as_bytes(), true).is_cut);
        assert_eq!(Excerpt::of(b"\xff\xfe", false).text, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_another_machine_sends_is_cut_to_size() {
        let line = "x\n".repeat(10_000);
        let hostile = Capture {
            addresses: vec![[127, 0, 0, 1].into(); 1_000],
            redirects: vec![line.clone(); 1_000],
            tls: Some(line.clone()),
            certificates: vec![line.clone(); 1_000],
            status_line: Some(line.clone()),
            headers: vec![(line.clone(), line.clone()); 1_000],
            body: Some(Excerpt { text: line, is_cut: false }),
            path: vec![PathHop { distance: 1, address: None, round_trip: None }; 1_000],
        };
        let bounded = hostile.bounded();
        assert!(serde_json::to_string(&bounded).unwrap().len() < 24 * 1_024);
        assert!(!bounded.headers[0].1.contains('\n'));
    }

    #[test]
    fn the_targets_own_name_for_the_request_is_found_whatever_header_has_it() {
        let mut capture = Capture::default();
        assert!(capture.is_empty() && capture.request_id().is_none());
        capture.headers = vec![("server".into(), "nginx".into()), ("X-Request-ID".into(), "7f3a".into())];
        assert_eq!(capture.request_id(), Some("7f3a"));
    }
}
