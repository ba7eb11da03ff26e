//! What one execution of a check does.

pub mod assertion;
pub mod dns;
mod extras;
mod grpc;
mod http;
mod icmp;
mod mail;
mod options;
mod tcp;
pub mod text;
mod tls;
mod websocket;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

pub use assertion::Assertion;
pub use dns::{DnsCheck, NameServer, RecordType};
pub use extras::Extras;
pub use grpc::GrpcCheck;
pub use http::{HttpCheck, HttpVersion, Method, validate_header};
pub use icmp::{IcmpCheck, MAX_ECHO_REQUESTS, Series};
pub use mail::{MailCheck, MailProtocol};
pub use options::{CERTIFICATE_NAMES, Family, Options, Route, is_certificate_name};
pub use tcp::TcpCheck;
pub use tls::TlsCheck;
pub use websocket::WebSocketCheck;

use extras::Slots;

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
/// Redirects that a check follows unless its user says otherwise.
pub const DEFAULT_REDIRECTS: u8 = 5;
/// The most redirects that a check can be asked to follow.
pub const MAX_REDIRECTS: u8 = 20;
/// Bytes of an answer's body that are read; the rest is not.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// The longest time that a certificate can be asked to last.
pub const MAX_CERTIFICATE_DAYS: u16 = 3_650;
/// The targets that there are, for people who wrote another.
pub const TARGETS: &str = "https://, http://, tcp://HOST:PORT, tls://, dns://, icmp://, grpc://HOST:PORT, grpcs://, \
                           wss://, ws://, smtp://, imap://, pop3:// or the last three with an s for TLS";

/// What to check, how often and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// The kind of check with its parameters.
    pub check: Check,
    /// How to get to the target, and what must hold of what is found.
    #[serde(default)]
    pub options: Options,
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
    /// One TLS handshake.
    Tls(TlsCheck),
    /// One question to a name server.
    Dns(DnsCheck),
    /// A few echo requests.
    Icmp(IcmpCheck),
    /// One call of a gRPC server's health service.
    Grpc(GrpcCheck),
    /// One WebSocket.
    WebSocket(WebSocketCheck),
    /// One mail server's greeting.
    Mail(MailCheck),
}

/// What every kind of check knows of itself.
trait Kind {
    /// Names the first field that cannot be used and what is allowed in it.
    fn validate(&self) -> Result<(), InvalidCheck>;
    /// The target as a user would write it.
    fn target(&self) -> String;
    /// The host that is checked, without its port.
    fn host(&self) -> &str;
    /// A name for a monitor, without secrets.
    fn default_name(&self) -> String;
    /// Where it keeps what is asked besides the target.
    fn slots(&mut self) -> Slots<'_>;
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
        self.check.validate()?;
        self.options.validate(&self.check)
    }
}

impl Check {
    /// Reads a target as a user writes it, such as `https://host/path` or `tcp://host:port`: one of [`TARGETS`].
    ///
    /// # Errors
    /// When there is no scheme or another one, no host, or no port where one is needed.
    pub fn from_target(target: &str) -> Result<Self, InvalidCheck> {
        let url = Url::parse(target.trim()).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => invalid(
                "url",
                format!("has no scheme: write https://{} in full, or use {TARGETS}", shorten(target)),
            ),
            url::ParseError::EmptyHost => invalid("url", "has no host"),
            other => invalid("url", format!("cannot be read: {other}")),
        })?;
        let check = match url.scheme() {
            "http" | "https" => Self::Http(HttpCheck::new(url)),
            "tcp" => Self::Tcp(TcpCheck::from_url(&url)?),
            "tls" => Self::Tls(TlsCheck::from_url(&url)?),
            "dns" => Self::Dns(DnsCheck::from_url(&url)?),
            "icmp" => Self::Icmp(IcmpCheck::from_url(&url)?),
            "grpc" | "grpcs" => Self::Grpc(GrpcCheck::from_url(&url)?),
            "ws" | "wss" => Self::WebSocket(WebSocketCheck::from_url(url)),
            "smtp" | "smtps" | "imap" | "imaps" | "pop3" | "pop3s" => Self::Mail(MailCheck::from_url(&url)?),
            // `localhost:8080/health` parses as the scheme `localhost`.
            other if url.cannot_be_a_base() => {
                let advice = format!("if it is a host, write http://{}; else use {TARGETS}", shorten(target));
                return invalid_scheme(other, &advice);
            }
            other => return invalid_scheme(other, &format!("use {TARGETS}")),
        };
        check.validate()?;
        Ok(check)
    }

    /// Checks everything but how often and how long.
    ///
    /// # Errors
    /// Names the first field that cannot be used and what is allowed in it.
    pub fn validate(&self) -> Result<(), InvalidCheck> {
        self.kind().validate()
    }

    /// The target as a user would write it.
    #[must_use]
    pub fn target(&self) -> String {
        self.kind().target()
    }

    /// The host that is checked, without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.kind().host()
    }

    /// A monitor's name where the user gave none, such as the URL without its scheme, credentials and final slash.
    #[must_use]
    pub fn default_name(&self) -> String {
        self.kind().default_name()
    }

    /// Whether there is a certificate to see.
    fn shows_certificate(&self) -> bool {
        let mut asked = self.clone();
        let extras = Extras { certificate_days: 1, ..asked.extras() };
        asked.set_extras(extras).is_empty() && asked.validate().is_ok()
    }

    fn kind_mut(&mut self) -> &mut dyn Kind {
        match self {
            Self::Http(check) => check,
            Self::Tcp(check) => check,
            Self::Tls(check) => check,
            Self::Dns(check) => check,
            Self::Icmp(check) => check,
            Self::Grpc(check) => check,
            Self::WebSocket(check) => check,
            Self::Mail(check) => check,
        }
    }

    fn kind(&self) -> &dyn Kind {
        match self {
            Self::Http(check) => check,
            Self::Tcp(check) => check,
            Self::Tls(check) => check,
            Self::Dns(check) => check,
            Self::Icmp(check) => check,
            Self::Grpc(check) => check,
            Self::WebSocket(check) => check,
            Self::Mail(check) => check,
        }
    }
}

fn invalid_scheme<T>(scheme: &str, allowed: &str) -> Result<T, InvalidCheck> {
    Err(invalid("url", format!("the scheme `{}:` cannot be checked: {allowed}", shorten(scheme))))
}

fn shorten(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The host of a URL that is nothing but a place: whatever else it says would be passed over in silence.
fn host_of(url: &Url) -> Result<String, InvalidCheck> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("url", "credentials are for http:// and https:// only"));
    }
    let (takes_path, takes_query) = match url.scheme() {
        "dns" => (true, true),
        "icmp" => (false, true),
        "grpc" | "grpcs" => (true, false),
        _ => (false, false),
    };
    let has_path = !matches!(url.path(), "" | "/");
    if (has_path && !takes_path) || (url.query().is_some() && !takes_query) || url.fragment().is_some() {
        return Err(invalid("url", format!("a {}:// target ends with its host and port", url.scheme())));
    }
    match url.host_str().unwrap_or_default().trim_matches(['[', ']']) {
        "" => Err(invalid("url", "has no host")),
        host => Ok(host.to_owned()),
    }
}

/// A host and port as URLs have them.
fn authority(host: &str, port: impl Into<Option<u16>>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    port.into().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

fn validate_url(url: &Url) -> Result<(), InvalidCheck> {
    match url.host() {
        None => return Err(invalid("url", "has no host")),
        Some(Host::Domain(name)) if name.len() > 253 => {
            return Err(invalid("url", "the host name is longer than 253 characters"));
        }
        Some(_) => {}
    }
    if url.as_str().len() > 8_192 {
        return Err(invalid("url", "is longer than 8,192 characters"));
    }
    Ok(())
}

fn validate_host(host: &str) -> Result<(), InvalidCheck> {
    if host.len() > 253 {
        return Err(invalid("host", "the host name is longer than 253 characters"));
    }
    if host.parse::<IpAddr>().is_err() && Host::parse(host).is_err() {
        return Err(invalid("host", "is neither a host name nor an address"));
    }
    Ok(())
}

fn validate_port(port: u16) -> Result<(), InvalidCheck> {
    if port == 0 { Err(invalid("port", "must be 1 to 65535")) } else { Ok(()) }
}

fn validate_certificate_days(days: u16, has_certificate: bool) -> Result<(), InvalidCheck> {
    const FIELD: &str = "certificate_days";
    if days > MAX_CERTIFICATE_DAYS {
        return Err(invalid(FIELD, format!("must be at most {MAX_CERTIFICATE_DAYS}")));
    }
    if days > 0 && !has_certificate {
        return Err(invalid(FIELD, "needs a target with a certificate: this one does not speak TLS"));
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
            ("icmp://", "no host"),
            ("tcp://example.com", "needs a port"),
            ("grpc://example.com", "needs a port"),
            ("icmp://example.com:80", "no port"),
            ("tls://example.com/path", "ends with its host and port"),
            ("imap://user:secret@example.com", "credentials"),
            ("dns://example.com?type=ANY", "one of A, AAAA"),
            ("dns://example.com?class=IN", "`type`"),
            ("icmp://example.com?count=0", "1 to 20"),
            ("icmp://example.com?count=21", "1 to 20"),
            ("icmp://example.com?count=5&loss=100", "0 to 99"),
            ("icmp://example.com?loss=20", "needs count"),
            ("icmp://example.com?size=9", "`count` and `loss`"),
            ("dns:", "name to ask about"),
            ("dns://1.1.1.1/a..b", "name to ask about"),
            ("grpc://example.com:1/a b", "letters"),
            ("javascript:alert(1)", "cannot be checked"),
        ] {
            let error = Check::from_target(target).unwrap_err();
            assert_eq!(error.field, "url", "{target}");
            assert!(
                error.to_string().contains(word) && !error.to_string().contains("secret"),
                "{target}: {error}"
            );
        }
    }

    #[test]
    fn targets_are_written_as_they_are_read_and_named_without_secrets() {
        for (target, written, name) in [
            ("https://yourdomain.com/health", "https://yourdomain.com/health", "yourdomain.com/health"),
            ("https://user:secret@a.com/", "https://user:secret@a.com/", "a.com"),
            (
                "http://127.0.0.1:8000/health?x=1",
                "http://127.0.0.1:8000/health?x=1",
                "127.0.0.1:8000/health?x=1",
            ),
            ("tcp://[::1]:5432", "tcp://[::1]:5432", "::1:5432"),
            ("tls://a.com", "tls://a.com:443", "certificate of a.com:443"),
            ("icmp://[2001:db8::1]", "icmp://[2001:db8::1]", "ping 2001:db8::1"),
            ("icmp://a.com?count=5", "icmp://a.com?count=5", "ping a.com"),
            ("icmp://a.com?loss=20%&count=5", "icmp://a.com?count=5&loss=20", "ping a.com"),
            ("dns://a.com", "dns:a.com?type=A", "A of a.com"),
            ("dns:A.com.?TYPE=mx", "dns:a.com?type=MX", "MX of a.com"),
            (
                "dns://[::1]:5353/_sip._tcp.a.com?type=SRV",
                "dns://[::1]:5353/_sip._tcp.a.com?type=SRV",
                "SRV of _sip._tcp.a.com at ::1",
            ),
            (
                "dns://1.1.1.1/1.0.0.127?type=PTR",
                "dns://1.1.1.1:53/1.0.0.127?type=PTR",
                "PTR of 1.0.0.127 at 1.1.1.1",
            ),
            ("grpc://a.com:50051", "grpc://a.com:50051", "gRPC at a.com:50051"),
            (
                "grpcs://a.com/acme.v1.Orders",
                "grpcs://a.com:443/acme.v1.Orders",
                "acme.v1.Orders at a.com:443",
            ),
            ("wss://a.com/chat", "wss://a.com/chat", "WebSocket at a.com/chat"),
            ("smtp://a.com", "smtp://a.com:25", "SMTP at a.com:25"),
            ("imaps://a.com", "imaps://a.com:993", "IMAPS at a.com:993"),
            ("pop3s://a.com:1", "pop3s://a.com:1", "POP3S at a.com:1"),
        ] {
            let check = Check::from_target(target).unwrap();
            assert_eq!((check.target().as_str(), check.default_name().as_str()), (written, name));
            assert_eq!(Check::from_target(written), Ok(check), "{written}");
        }
    }

    #[test]
    fn a_certificate_can_only_be_asked_of_what_has_one() {
        for (target, has_certificate) in [
            ("https://a.com", true),
            ("http://a.com", false),
            ("grpc://a.com:1", false),
            ("wss://a.com", true),
        ] {
            let mut check = Check::from_target(target).unwrap();
            match &mut check {
                Check::Http(http) => http.certificate_days = 14,
                Check::Grpc(grpc) => grpc.certificate_days = 14,
                Check::WebSocket(socket) => socket.certificate_days = 14,
                _ => {}
            }
            let field = check.validate().map_err(|error| error.field);
            assert_eq!(field, has_certificate.then_some(()).ok_or("certificate_days"), "{target}");
        }
    }

    #[test]
    fn what_dns_is_expected_to_say_is_a_code_or_records() {
        let Ok(Check::Dns(mut check)) = Check::from_target("dns://a.com?type=MX") else {
            panic!("it is DNS")
        };
        assert_eq!(check.expected(), ("NOERROR", vec![]));
        check.expect = vec!["10 mx.a.com".into()];
        assert_eq!((check.expected(), check.validate()), (("NOERROR", vec!["10 mx.a.com"]), Ok(())));
        check.expect = vec!["nxdomain".into()];
        assert_eq!((check.expected(), check.validate()), (("NXDOMAIN", vec![]), Ok(())));
        check.expect.push("10 mx.a.com".into());
        assert_eq!(check.validate().unwrap_err().field, "expect");
    }

    #[test]
    fn a_timeout_longer_than_the_interval_is_refused() {
        let check = Check::from_target("http://a.example").unwrap();
        let spec = |interval, timeout| CheckSpec {
            check: check.clone(),
            options: Options::default(),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
        };
        assert_eq!(spec(1_000, 1_000).validate(), Ok(()));
        assert_eq!(spec(1_000, 1_001).validate().unwrap_err().field, "timeout");
        assert_eq!(spec(999, 500).validate().unwrap_err().field, "interval");
        assert_eq!(spec(60_000, 99).validate().unwrap_err().field, "timeout");
    }
}
