//! A proxy between HTTP checks and their targets, if the agent's operator wants one: CONNECT for https:// (RFC 9110
//! §9.3.6), requests in absolute form for http:// (RFC 9112 §3.2.2).
//!
//! What the proxy itself does wrong is nothing that we measured of the target. That it could not reach the target (502, 503,
//! 504) is. Names are resolved by the proxy, so that of them the address policy cannot be asked; of addresses it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use model::FailureKind;
use model::address::Cidr;
use model::check::{Family, HttpVersion};
use model::result::clean;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::{Host, Position, Url};

use super::dial::Dialer;
use super::http::{basic_credentials, path};
use super::{Stopped, Trace, add};

/// The longest answer to CONNECT.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// How much of what a proxy says is told.
const MAX_TOLD_CHARS: usize = 60;

/// A proxy and what goes past it.
#[derive(Clone)]
pub struct Proxy {
    url: Url,
    credentials: Option<HeaderValue>,
    exempt: Vec<Exempt>,
}

/// Why a proxy cannot be used. What is wrong is told without its URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http://[USER:PASSWORD@]HOST:PORT")]
pub struct InvalidProxy;

/// Targets to which checks go directly: `*`, a range of addresses, or a name with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// Every target.
    All,
    /// Targets that are written as an address of this range.
    Range(Cidr),
    /// This name and those that end with a dot and it.
    Name(String),
}

impl FromStr for Exempt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "*" => Ok(Self::All),
            text => match (text.parse(), Host::parse(text.trim_start_matches('.'))) {
                (Ok(range), _) => Ok(Self::Range(range)),
                (Err(_), Ok(Host::Domain(name))) => Ok(Self::Name(name.trim_end_matches('.').to_owned())),
                _ => Err("must be a host name, .SUFFIX, a range of addresses or *"),
            },
        }
    }
}

impl Exempt {
    fn includes(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Range(range), Host::Ipv4(address)) => range.contains((*address).into()),
            (Self::Range(range), Host::Ipv6(address)) => range.contains((*address).into()),
            (Self::Name(name), Host::Domain(host)) => {
                let rest = host.trim_end_matches('.').strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Range(_), Host::Domain(_)) | (Self::Name(_), _) => false,
        }
    }
}

impl Proxy {
    /// Reads a proxy's URL.
    ///
    /// # Errors
    /// When it is not `http://[USER:PASSWORD@]HOST:PORT`.
    pub fn new(url: &str, exempt: Vec<Exempt>) -> Result<Self, InvalidProxy> {
        let mut url = Url::parse(url.trim()).map_err(|_| InvalidProxy)?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "http" || !url.has_host() || !is_bare {
            return Err(InvalidProxy);
        }
        let credentials = basic_credentials(&url).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| InvalidProxy)?;
        Ok(Self { url, credentials, exempt })
    }

    /// Its URL without credentials.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether checks of a host go through it.
    pub(super) fn serves(&self, host: &Host<&str>) -> bool {
        !self.exempt.iter().any(|exempt| exempt.includes(host))
    }

    /// A connection to a target: a tunnel to it if `is_secret`, else to the proxy itself.
    pub(super) async fn reach(
        &self,
        dialer: &Dialer,
        host: Host<&str>,
        port: u16,
        is_secret: bool,
        trace: &mut Trace,
    ) -> Result<TcpStream, Stopped> {
        let route = trace.route_to(&host);
        if route.family != Family::Any {
            return Err(Stopped::unmeasured("unsupported: the IP version is this agent's proxy's choice"));
        }
        if route.connect_to.is_some() && !is_secret {
            return Err(Stopped::unmeasured(
                "unsupported: connect_to over http:// through this agent's proxy",
            ));
        }
        let named = match (route.connect_to, &host) {
            (Some(address), _) => Some(address),
            (None, Host::Ipv4(address)) => Some(IpAddr::from(*address)),
            (None, Host::Ipv6(address)) => Some(IpAddr::from(*address)),
            (None, Host::Domain(_)) => None,
        };
        if let Some(address) = named {
            dialer.admit(address)?;
        }
        let mut stream = self.dial(dialer, trace).await?;
        if is_secret {
            let place = named.map_or_else(|| host.to_string(), authority);
            let started = Instant::now();
            trace.awaited = Some("the proxy to connect".to_owned());
            self.tunnel(&mut stream, &format!("{place}:{port}")).await?;
            trace.awaited = None;
            add(&mut trace.phases.connect, started);
        }
        Ok(stream)
    }

    /// A connection to the proxy.
    async fn dial(&self, dialer: &Dialer, trace: &mut Trace) -> Result<TcpStream, Stopped> {
        let host = self.url.host().ok_or_else(|| Stopped::unmeasured("the proxy has no host"))?;
        let port = self.url.port_or_known_default().unwrap_or(80);
        trace.held_up = Some("the agent's proxy does not answer");
        let stream = dialer.dial_unasked(host, port, trace).await.map_err(|stopped| match stopped {
            Stopped::Failed(failure) => {
                Stopped::unmeasured(format_args!("the agent's proxy cannot be reached: {}", failure.detail))
            }
            unmeasured @ Stopped::Unmeasured(_) => unmeasured,
        })?;
        trace.held_up = None;
        // They are the proxy's, and nobody's business.
        trace.addresses = vec![];
        Ok(stream)
    }

    async fn tunnel(&self, stream: &mut TcpStream, place: &str) -> Result<(), Stopped> {
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(credentials) = &self.credentials {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(credentials.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let broke_off = |_| Stopped::unmeasured("the agent's proxy closed the connection");
        stream.write_all(&request).await.map_err(broke_off)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1_024];
            match stream.read(&mut piece).await.map_err(broke_off)? {
                0 => return Err(Stopped::unmeasured("the agent's proxy closed the connection")),
                count => head.extend_from_slice(&piece[..count]),
            }
            // A target over TLS is silent until it is spoken to.
            let is_more =
                head.windows(4).position(|end| end == b"\r\n\r\n").is_some_and(|at| at + 4 < head.len());
            if status(&head).is_some_and(|status| !status.is_success()) {
                break;
            }
            if head.len() > MAX_HEAD_BYTES || is_more {
                return Err(Stopped::unmeasured("the agent's proxy sent more than an answer to CONNECT"));
            }
        }
        match status(&head) {
            Some(status) if status.is_success() => Ok(()),
            Some(status) if is_of_target(status) => {
                let detail = format_args!("the proxy could not reach the target ({status})");
                Err(Stopped::failed(FailureKind::Connect, detail))
            }
            Some(status) => Err(refused(status)),
            None => {
                let said = clean(&String::from_utf8_lossy(&head), MAX_TOLD_CHARS);
                Err(Stopped::unmeasured(format_args!("the agent's proxy does not speak HTTP, but `{said}`")))
            }
        }
    }

    /// Makes a request one to a proxy, where there is no tunnel.
    pub(super) fn address<B>(
        &self,
        request: &mut Request<Full<B>>,
        url: &Url,
        version: HttpVersion,
    ) -> Result<(), Stopped>
    where
        B: bytes::Buf,
    {
        if version == HttpVersion::Http2 {
            return Err(Stopped::unmeasured("unsupported: HTTP/2 over http:// through this agent's proxy"));
        }
        let place = &url[Position::BeforeHost..Position::AfterPort];
        let whole = format!("http://{place}{}", path(url)?);
        *request.uri_mut() =
            whole.parse().map_err(|_| Stopped::unmeasured("the URL cannot be sent to a proxy"))?;
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
        Ok(())
    }
}

/// What came of a request in absolute form: where the connection broke, it is the proxy's.
pub(super) fn answered<T>(answer: Result<T, Stopped>, trace: &mut Trace) -> Result<T, Stopped> {
    match answer {
        Err(Stopped::Failed(failure))
            if matches!(failure.kind, FailureKind::Connect | FailureKind::Protocol) =>
        {
            Err(Stopped::unmeasured(format_args!("the agent's proxy: {}", failure.detail)))
        }
        Ok(_) if trace.http_status == Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED.as_u16()) => {
            Err(refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED))
        }
        other => other,
    }
}

/// An address as URLs have it.
fn authority(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Whether a proxy says of the target that it did not reach it. 503 is what many say of that.
fn is_of_target(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn refused(status: StatusCode) -> Stopped {
    Stopped::unmeasured(format_args!("the agent's proxy refuses: {status}"))
}

/// The status in an answer's first line, if it has come.
fn status(head: &[u8]) -> Option<StatusCode> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let code = line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(code).ok()
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.shown())
            .field("exempt", &self.exempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exempt_goes_past_the_proxy() {
        let exempt = ["internal.example", ".corp.example", "10.0.0.0/8", "fd00::/8"];
        let exempt = exempt.map(|text| text.parse().unwrap()).to_vec();
        let proxy = Proxy::new("http://proxy.example:3128", exempt).unwrap();
        for (host, is_served) in [
            ("internal.example", false),
            ("a.internal.example", false),
            ("INTERNAL.example.", false),
            ("notinternal.example", true),
            ("corp.example", false),
            ("b.corp.example", false),
            ("10.1.2.3", false),
            ("11.1.2.3", true),
            ("[fd00::1]", false),
            ("[::1]", true),
            ("example.com", true),
        ] {
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(proxy.serves(&url.host().unwrap()), is_served, "{host}");
        }
        let none = Proxy::new("http://proxy.example:3128", vec![Exempt::All]).unwrap();
        assert!(!none.serves(&Host::Domain("example.com")));
        for wrong in ["", "a b", "10.0.0.0/99", "http://x"] {
            assert!(wrong.parse::<Exempt>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_is_a_place_and_its_password_is_never_shown() {
        let proxy = Proxy::new("http://me:s3cret@proxy.example:3128/", vec![]).unwrap();
        assert_eq!(proxy.shown(), "http://proxy.example:3128");
        assert!(!format!("{proxy:?}").contains("s3cret"));
        for wrong in
            ["proxy:3128", "https://proxy:3128", "socks5://proxy", "http://proxy/path", "http://proxy?x", ""]
        {
            assert_eq!(Proxy::new(wrong, vec![]).unwrap_err(), InvalidProxy, "{wrong}");
        }
    }
}
