//! HTTP and HTTPS.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::text::{validate_expect, validate_send};
use super::{
    DEFAULT_REDIRECTS, InvalidCheck, Kind, MAX_REDIRECTS, invalid, invalid_scheme, validate_certificate_days,
    validate_url,
};
use crate::HealthPolicy;

/// An HTTP(S) check passes on a final 2xx answer (or the status asked for) after no more redirects than it may follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// Absolute `http:` or `https:` URL.
    pub url: Url,
    /// The method, `GET` unless said otherwise.
    pub method: Method,
    /// Further request headers, in order; each passed [`validate_header`].
    pub headers: Vec<(String, String)>,
    /// Statuses that pass; empty means any 2xx.
    pub expected_status: Vec<u16>,
    /// What a structured health report in the body means.
    #[serde(default)]
    pub health: HealthPolicy,
    /// The request's body, with [escapes](super::text); empty: none.
    #[serde(default)]
    pub send: String,
    /// What must be found in the answer's body, each of them, with [escapes](super::text).
    #[serde(default)]
    pub expect: Vec<String>,
    /// A certificate that ends within so many days fails; 0: one that is valid passes.
    #[serde(default)]
    pub certificate_days: u16,
    /// Redirects that are followed, at most [`MAX_REDIRECTS`](super::MAX_REDIRECTS); one more fails. 0: a redirect is
    /// the answer that is judged.
    #[serde(default = "default_redirects")]
    pub max_redirects: u8,
    /// The version that is spoken, and no other.
    #[serde(default)]
    pub version: HttpVersion,
    /// Whether compressed answers are asked for and unpacked.
    #[serde(default)]
    pub compressed: bool,
    /// Whether connections and TLS sessions are kept for the next check; HTTP/1.1 only.
    #[serde(default)]
    pub reuse_connection: bool,
}

/// The versions of HTTP that a check can speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1, which every server speaks.
    #[default]
    Http1,
    /// HTTP/2: agreed on in TLS, with prior knowledge over plain HTTP.
    Http2,
}

impl HttpVersion {
    /// Reads a version as people write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1.1" | "1" => Some(Self::Http1),
            "2" | "2.0" => Some(Self::Http2),
            _ => None,
        }
    }

    /// The version as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
        }
    }

    /// The version of a number: 1 or 2, 0 for the default.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 | 1 => Some(Self::Http1),
            2 => Some(Self::Http2),
            _ => None,
        }
    }

    /// 1 or 2.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Http1 => 1,
            Self::Http2 => 2,
        }
    }
}

const fn default_redirects() -> u8 {
    DEFAULT_REDIRECTS
}

/// The methods a check may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "RFC 9110 says what they mean")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether its requests have a body.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    /// Reads a method's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options]
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
    }
}

impl HttpCheck {
    /// A check of a URL in the usual way: a GET that wants a 2xx answer.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            method: Method::Get,
            headers: vec![],
            expected_status: vec![],
            health: HealthPolicy::default(),
            send: String::new(),
            expect: vec![],
            certificate_days: 0,
            max_redirects: DEFAULT_REDIRECTS,
            version: HttpVersion::default(),
            compressed: false,
            reuse_connection: false,
        }
    }
}

impl Kind for HttpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return invalid_scheme(self.url.scheme(), "use http:// or https://");
        }
        validate_url(&self.url)?;
        validate_headers(&self.headers)?;
        if let Some(status) = self.expected_status.iter().find(|status| !(100..=599).contains(*status)) {
            return Err(invalid(
                "expected_status",
                format!("{status} is not an HTTP status: use 100 to 599"),
            ));
        }
        if self.health.needs_report() && self.method == Method::Head {
            let policy = self.health.as_str();
            return Err(invalid(
                "health",
                format!("`{policy}` needs a body, and an answer to HEAD has none: use GET"),
            ));
        }
        if self.max_redirects > MAX_REDIRECTS {
            return Err(invalid("max_redirects", format!("must be 0 to {MAX_REDIRECTS}")));
        }
        if self.reuse_connection && self.version != HttpVersion::Http1 {
            return Err(invalid("reuse_connection", "is for HTTP/1.1 only: leave http_version empty"));
        }
        validate_send(&self.send)?;
        if !self.send.is_empty() && !self.method.has_body() {
            let problem = format!("a {} request has no body: use POST, PUT or PATCH", self.method.as_str());
            return Err(invalid("send", problem));
        }
        validate_expect(&self.expect)?;
        if !self.expect.is_empty() && self.method == Method::Head {
            return Err(invalid("expect", "needs a body, and an answer to HEAD has none: use GET"));
        }
        validate_certificate_days(self.certificate_days, self.url.scheme() == "https")
    }

    fn target(&self) -> String {
        self.url.to_string()
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn default_name(&self) -> String {
        without_scheme(&self.url)
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots {
            headers: Some(&mut self.headers),
            send: Some(&mut self.send),
            expect: Some(&mut self.expect),
            certificate_days: Some(&mut self.certificate_days),
        }
    }
}

/// A URL without its scheme, credentials, fragment and final slash.
pub(super) fn without_scheme(url: &Url) -> String {
    let mut url = url.clone();
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    debug_assert!(cleared.is_ok(), "the URL has an authority");
    url.set_fragment(None);
    let text = url.as_str();
    text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

pub(super) fn validate_headers(headers: &[(String, String)]) -> Result<(), InvalidCheck> {
    if headers.len() > 50 {
        return Err(invalid("headers", "at most 50 are allowed"));
    }
    headers.iter().try_for_each(|(name, value)| validate_header(name, value))
}

/// Refuses a header that could split the request, smuggle a second one, or fight with the client for framing.
///
/// # Errors
/// Says what is wrong with the name or the value, without repeating the value (it may be a secret).
pub fn validate_header(name: &str, value: &str) -> Result<(), InvalidCheck> {
    // RFC 9110 §5.6.2 `token`.
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
        return Err(invalid(
            "headers",
            "a name must be 1 to 256 letters, digits or -_.!#$%&'*+^`|~ and nothing else",
        ));
    }
    let framing = ["connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"];
    if framing.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(invalid("headers", format!("`{name}` is set by the client and cannot be given")));
    }
    if name.eq_ignore_ascii_case("host") && !is_authority(value) {
        return Err(invalid(
            "headers",
            "the value of `Host` must be a host name or address, with a port if it has one",
        ));
    }
    if value.len() > 8_192 || !value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err(invalid(
            "headers",
            format!(
                "the value of `{name}` must be at most 8,192 printable ASCII characters, without line breaks"
            ),
        ));
    }
    Ok(())
}

/// Whether it is what comes between `//` and `/`.
fn is_authority(value: &str) -> bool {
    let url = Url::parse(&format!("http://{value}/"));
    !value.contains(['/', '?', '#', '@', '\\', ' ', '\t']) && url.is_ok_and(|url| url.path() == "/")
}

#[cfg(test)]
mod tests {
    use super::super::Check;
    use super::*;

    #[test]
    fn headers_cannot_split_or_frame_a_request() {
        assert_eq!(validate_header("authorization", "Bearer x"), Ok(()));
        assert_eq!(validate_header("Host", "internal.example:8080"), Ok(()));
        for (name, value) in [
            ("x\r\nhost", "v"),
            ("x-a", "1\r\nGET / HTTP/1.1"),
            ("Host", "a/b"),
            ("Host", "a\r\nb"),
            ("Host", ""),
            ("Host", "user@a"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("", "v"),
            ("x", "\0"),
        ] {
            assert_eq!(validate_header(name, value).unwrap_err().field, "headers", "{name}");
        }
    }

    #[test]
    fn a_body_is_sent_and_expected_only_where_there_is_one() {
        let Ok(Check::Http(mut check)) = Check::from_target("http://a.example") else { panic!("it is HTTP") };
        for (method, field) in [
            (Method::Get, Some("send")),
            (Method::Head, Some("send")),
            (Method::Post, None),
            (Method::Put, None),
            (Method::Patch, None),
            (Method::Delete, Some("send")),
        ] {
            (check.method, check.send) = (method, "{}".to_owned());
            assert_eq!(check.validate().err().map(|error| error.field), field, "{method:?}");
        }
        (check.method, check.send, check.expect) = (Method::Head, String::new(), vec!["ok".to_owned()]);
        assert_eq!(check.validate().unwrap_err().field, "expect");
        check.method = Method::Get;
        assert_eq!(check.validate(), Ok(()));
    }

    #[test]
    fn a_health_report_cannot_be_expected_of_an_answer_without_a_body() {
        let Ok(Check::Http(mut check)) = Check::from_target("http://a.example") else { panic!("it is HTTP") };
        for (method, health, is_valid) in [
            (Method::Head, HealthPolicy::Read, true),
            (Method::Head, HealthPolicy::Expect, false),
            (Method::Head, HealthPolicy::Strict, false),
            (Method::Get, HealthPolicy::Strict, true),
        ] {
            (check.method, check.health) = (method, health);
            assert_eq!(check.validate().map_err(|error| error.field), is_valid.then_some(()).ok_or("health"));
        }
    }
}
