//! What one execution of a check does.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::HealthPolicy;

/// The shortest interval a monitor may have.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval a monitor may have.
pub const MAX_INTERVAL: Duration = Duration::from_secs(31 * 86_400);
/// How often a monitor is checked from each region unless its user says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How long one check may take unless its user says otherwise; never more than the interval.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest timeout a check may have.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest timeout a check may have.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// Redirects followed before a check fails.
pub const MAX_REDIRECTS: usize = 5;
/// Bytes of an answer's body that are read; the rest is not.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// What to check, how often and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// The kind of check with its parameters.
    pub check: Check,
    /// Time between two scheduled checks from one region.
    pub interval: Duration,
    /// Total time one attempt may take, body included.
    pub timeout: Duration,
}

/// A kind of check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// One HTTP or HTTPS exchange.
    Http(HttpCheck),
    /// One TCP connection.
    Tcp(TcpCheck),
}

/// An HTTP(S) check passes on a final 2xx answer (or the status asked for) after at most [`MAX_REDIRECTS`].
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

    /// Reads a method's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options]
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
    }
}

/// A TCP check passes when the connection is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCheck {
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

/// Why a check cannot be used, naming the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidCheck {
    /// The field as the admin API names it, such as `interval`.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}

fn invalid(field: &'static str, problem: impl Into<String>) -> InvalidCheck {
    InvalidCheck { field, problem: problem.into() }
}

impl CheckSpec {
    /// Checks intervals, timeouts and the check itself.
    ///
    /// # Errors
    /// Names the first field that cannot be used and what is allowed in it.
    pub fn validate(&self) -> Result<(), InvalidCheck> {
        if self.interval < MIN_INTERVAL || self.interval > MAX_INTERVAL {
            return Err(invalid("interval", "must be from 1 second to 31 days"));
        }
        if self.timeout < MIN_TIMEOUT || self.timeout > MAX_TIMEOUT {
            return Err(invalid("timeout", "must be from 100 ms to 2 minutes"));
        }
        if self.timeout > self.interval {
            return Err(invalid("timeout", "must not be longer than the interval"));
        }
        match &self.check {
            Check::Http(http) => http.validate(),
            Check::Tcp(tcp) => tcp.validate(),
        }
    }
}

impl Check {
    /// Reads a target as a user writes it: `https://host/path`, `http://…` or `tcp://host:port`.
    ///
    /// # Errors
    /// When there is no scheme or another one, no host, or (for TCP) no port.
    pub fn from_target(target: &str) -> Result<Self, InvalidCheck> {
        let allowed = "use http://, https:// or tcp://HOST:PORT";
        let url = Url::parse(target.trim()).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => invalid(
                "url",
                format!("has no scheme: write https://{} in full ({allowed})", shorten(target)),
            ),
            url::ParseError::EmptyHost => invalid("url", "has no host"),
            other => invalid("url", format!("cannot be read: {other}")),
        })?;
        match url.scheme() {
            "http" | "https" => {
                let check = HttpCheck {
                    url,
                    method: Method::Get,
                    headers: vec![],
                    expected_status: vec![],
                    health: HealthPolicy::default(),
                };
                check.validate()?;
                Ok(Self::Http(check))
            }
            "tcp" => {
                let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let port = url
                    .port()
                    .ok_or_else(|| invalid("url", "a tcp:// target needs a port, as in tcp://HOST:PORT"))?;
                let check = TcpCheck { host, port };
                check.validate()?;
                Ok(Self::Tcp(check))
            }
            // `localhost:8080/health` parses as the scheme `localhost`.
            other if url.cannot_be_a_base() => invalid_scheme(
                other,
                &format!("if it is a host, write http://{} ({allowed})", shorten(target)),
            ),
            other => invalid_scheme(other, allowed),
        }
    }

    /// The target as a user would write it.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Http(http) => http.url.to_string(),
            Self::Tcp(tcp) if tcp.host.contains(':') => format!("tcp://[{}]:{}", tcp.host, tcp.port),
            Self::Tcp(tcp) => format!("tcp://{}:{}", tcp.host, tcp.port),
        }
    }

    /// The host that is checked, without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Http(http) => http.url.host_str().unwrap_or_default(),
            Self::Tcp(tcp) => &tcp.host,
        }
    }

    /// A monitor's name where the user gave none: the URL without its scheme, credentials and final slash.
    #[must_use]
    pub fn default_name(&self) -> String {
        match self {
            Self::Http(http) => {
                let mut url = http.url.clone();
                let cleared = url.set_username("").and_then(|()| url.set_password(None));
                debug_assert!(cleared.is_ok(), "an http URL has an authority");
                url.set_fragment(None);
                let text = url.as_str();
                text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/').to_owned()
            }
            Self::Tcp(tcp) => format!("{}:{}", tcp.host, tcp.port),
        }
    }
}

fn invalid_scheme<T>(scheme: &str, allowed: &str) -> Result<T, InvalidCheck> {
    Err(invalid("url", format!("the scheme `{}:` cannot be checked: {allowed}", shorten(scheme))))
}

fn shorten(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(120).collect()
}

impl HttpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return invalid_scheme(self.url.scheme(), "use http:// or https://");
        }
        match self.url.host() {
            None => return Err(invalid("url", "has no host")),
            Some(Host::Domain(name)) if name.len() > 253 => {
                return Err(invalid("url", "the host name is longer than 253 characters"));
            }
            Some(_) => {}
        }
        if self.url.as_str().len() > 8_192 {
            return Err(invalid("url", "is longer than 8,192 characters"));
        }
        if self.headers.len() > 50 {
            return Err(invalid("headers", "at most 50 are allowed"));
        }
        for (name, value) in &self.headers {
            validate_header(name, value)?;
        }
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
        Ok(())
    }
}

impl TcpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if self.port == 0 {
            return Err(invalid("port", "must be 1 to 65535"));
        }
        if self.host.parse::<IpAddr>().is_err() && Host::parse(&self.host).is_err() {
            return Err(invalid("host", "is neither a host name nor an address"));
        }
        Ok(())
    }
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
    let framing = ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];
    if framing.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(invalid("headers", format!("`{name}` is set by the client and cannot be given")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_without_a_scheme_or_with_another_are_refused_by_field() {
        for (target, word) in [
            ("example.com/health", "no scheme"),
            ("localhost:8080/health", "http://localhost:8080/health"),
            ("file:///etc/passwd", "`file:`"),
            ("ftp://example.com", "`ftp:`"),
            ("http://", "no host"),
            ("tcp://example.com", "needs a port"),
            ("javascript:alert(1)", "cannot be checked"),
        ] {
            let error = Check::from_target(target).unwrap_err();
            assert_eq!(error.field, "url", "{target}");
            assert!(error.to_string().contains(word), "{target}: {error}");
        }
    }

    #[test]
    fn names_are_made_from_targets_without_secrets() {
        for (target, name) in [
            ("https://yourdomain.com/health", "yourdomain.com/health"),
            ("https://user:secret@yourdomain.com/", "yourdomain.com"),
            ("tcp://[::1]:5432", "::1:5432"),
            ("http://127.0.0.1:8000/health?x=1", "127.0.0.1:8000/health?x=1"),
        ] {
            assert_eq!(Check::from_target(target).unwrap().default_name(), name);
        }
    }

    #[test]
    fn headers_cannot_split_or_frame_a_request() {
        assert_eq!(validate_header("authorization", "Bearer x"), Ok(()));
        for (name, value) in [
            ("x\r\nhost", "v"),
            ("x-a", "1\r\nGET / HTTP/1.1"),
            ("Host", "internal"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("", "v"),
            ("x", "\0"),
        ] {
            assert_eq!(validate_header(name, value).unwrap_err().field, "headers", "{name}");
        }
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

    #[test]
    fn a_timeout_longer_than_the_interval_is_refused() {
        let check = Check::from_target("http://a.example").unwrap();
        let spec = |interval, timeout| CheckSpec {
            check: check.clone(),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
        };
        assert_eq!(spec(1_000, 1_000).validate(), Ok(()));
        assert_eq!(spec(1_000, 1_001).validate().unwrap_err().field, "timeout");
        assert_eq!(spec(999, 500).validate().unwrap_err().field, "interval");
        assert_eq!(spec(60_000, 99).validate().unwrap_err().field, "timeout");
    }
}
