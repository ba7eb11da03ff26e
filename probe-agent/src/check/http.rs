//! HTTP and HTTPS checks: one connection per hop, redirects followed by hand, the final answer judged.
//!
//! The connection is driven in the check's own task: when the check is dropped at its deadline, nothing of it lives on.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION,
    USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use model::check::{MAX_BODY_BYTES, MAX_REDIRECTS, Method, text};
use model::result::clean;
use model::{Failure, FailureKind, HttpCheck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::{Position, Url};

use super::bounded::Bounded;
use super::dial;
use super::expect::Expected;
use super::health;
use super::tls::Alpn;
use super::{Attempt, Network, Stopped, Trace, add};

/// What an answer's head may take; more is a broken or hostile server.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Everything that is read over a connection, which is not only the answer: a server can send interim answers, chunks of
/// one byte and trailers without end.
const MAX_READ_BYTES: usize = 2 * MAX_BODY_BYTES;
/// What we call ourselves.
pub(super) const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("Vigilmon/", env!("CARGO_PKG_VERSION")));

impl Attempt for HttpCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let Network { dialer, tls } = network;
        let mut hop = Hop::first(self)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = hop.request()?;
            let host = hop.url.host().ok_or_else(|| Stopped::unmeasured("the URL has no host"))?;
            let port = hop.url.port_or_known_default().unwrap_or(80);
            let stream = dialer.dial(host.clone(), port, trace).await?;
            let next = if hop.url.scheme() == "https" {
                let stream = tls.handshake(host, stream, Alpn::Http1, trace).await?;
                tls.outlasts(self.certificate_days, trace);
                exchange(stream, request, self, trace).await?
            } else {
                exchange(stream, request, self, trace).await?
            };
            match next {
                Answer::Final => return trace.verdict(),
                Answer::Redirect { status, location } => hop.follow(status, &location)?,
            }
        }
        Err(redirect_failure(format_args!("more than {MAX_REDIRECTS} redirects")))
    }
}

/// One request of a check.
struct Hop {
    url: Url,
    method: Method,
    /// The user's headers; empty once a redirect has left the host they were meant for.
    headers: HeaderMap,
    /// Empty unless the method's requests have one.
    body: Bytes,
}

impl Hop {
    fn first(check: &HttpCheck) -> Result<Self, Stopped> {
        let headers = user_headers(&check.headers, &check.url)?;
        let body = Bytes::from(text::to_bytes(&check.send).unwrap_or_default());
        Ok(Self { url: check.url.clone(), method: check.method, headers, body })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Stopped> {
        let unusable =
            |error: http::Error| Stopped::unmeasured(format_args!("the request cannot be sent: {error}"));
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(path(&self.url)?)
            .header(HOST, &self.url[Position::BeforeHost..Position::AfterPort])
            .body(Full::new(self.body.clone()))
            .map_err(unusable)?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, OUR_NAME);
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, media_type(&self.body));
        }
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for name in self.headers.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self.method.has_body() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        Ok(request)
    }

    /// Goes where a redirect points.
    fn follow(&mut self, status: StatusCode, location: &str) -> Result<(), Stopped> {
        let unreadable = |_| redirect_failure("redirect to something that is not a URL");
        let mut next = self.url.join(location.trim()).map_err(unreadable)?;
        if !matches!(next.scheme(), "http" | "https") || !next.has_host() {
            let scheme = clean(next.scheme(), 40);
            return Err(redirect_failure(format_args!("redirect to `{scheme}:`, which is not followed")));
        }
        // Nobody but the user gives us credentials.
        let cleared = next.set_username("").and_then(|()| next.set_password(None));
        debug_assert!(cleared.is_ok(), "an http URL has an authority");
        if !keeps_secrets(&self.url, &next) {
            self.headers.clear();
        }
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::Head,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::Post,
            _ => false,
        };
        if becomes_get {
            self.method = Method::Get;
            self.body = Bytes::new();
        } else if !self.body.is_empty() && !keeps_secrets(&self.url, &next) {
            return Err(redirect_failure(
                "redirect of a request with a body to another host, which is not followed",
            ));
        }
        self.url = next;
        Ok(())
    }
}

/// What a body is unless the user says so.
fn media_type(body: &[u8]) -> HeaderValue {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    HeaderValue::from_static(if is_json { "application/json" } else { "text/plain; charset=utf-8" })
}

/// Whether headers meant for one URL may go to another: the same host and port over no weaker a scheme, or the same
/// host upgraded from plain HTTP to HTTPS on their default ports.
fn keeps_secrets(from: &Url, to: &Url) -> bool {
    let is_upgrade = from.scheme() == "http" && to.scheme() == "https";
    let same_port = from.port_or_known_default() == to.port_or_known_default();
    let default_ports = from.port().is_none() && to.port().is_none();
    from.host() == to.host() && ((from.scheme() == to.scheme() && same_port) || (is_upgrade && default_ports))
}

/// The headers that a user wants sent, and the credentials in the URL as one of them.
pub(super) fn user_headers(pairs: &[(String, String)], url: &Url) -> Result<HeaderMap, Stopped> {
    let mut headers = HeaderMap::with_capacity(pairs.len() + 1);
    for (name, value) in pairs {
        let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = pair.ok_or_else(|| Stopped::unmeasured("a request header cannot be sent"))?;
        headers.append(name, value);
    }
    if let Some(value) = basic_credentials(url) {
        headers.entry(AUTHORIZATION).or_insert(value);
    }
    Ok(headers)
}

fn basic_credentials(url: &Url) -> Option<HeaderValue> {
    use base64::Engine as _;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = percent_decoded(url.username());
    pair.push(b':');
    pair.extend(percent_decoded(url.password().unwrap_or_default()));
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    HeaderValue::from_str(&text).ok()
}

/// The bytes that a text with `%HH` in it stands for.
pub(super) fn percent_decoded(written: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => text::hex(*high).zip(text::hex(*low)),
            _ => None,
        };
        decoded.push(escaped.map_or(*first, |(high, low)| high * 16 + low));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

/// Path and query as the request line carries them. A URL may hold a few characters there that HTTP does not allow.
pub(super) fn path(url: &Url) -> Result<Uri, Stopped> {
    let text = &url[Position::BeforePath..Position::AfterQuery];
    text.parse().or_else(|_| {
        let escape = |c: char| match c {
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' => format!("%{:02X}", u32::from(c)),
            _ => c.to_string(),
        };
        let escaped: String = text.chars().map(escape).collect();
        escaped.parse().map_err(|_| Stopped::unmeasured("the URL's path cannot be sent"))
    })
}

fn redirect_failure(detail: impl std::fmt::Display) -> Stopped {
    Stopped::failed(FailureKind::Redirect, detail)
}

/// What a hop led to.
enum Answer {
    /// The answer to judge; it has been judged.
    Final,
    /// Somewhere else.
    Redirect { status: StatusCode, location: String },
}

/// Sends a request over a fresh connection and takes the answer. A wrong answer goes into the trace at once, so that
/// it stands even if the rest of the body never comes.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<Full<Bytes>>,
    check: &HttpCheck,
    trace: &mut Trace,
) -> Result<Answer, Stopped> {
    let started = Instant::now();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(Bounded::new(stream, MAX_READ_BYTES)))
        .await
        .map_err(|error| broken(&error))?;
    let mut connection = Some(pin!(connection));
    let response = drive(&mut connection, sender.send_request(request)).await?;
    add(&mut trace.phases.first_byte, started);

    let status = response.status();
    if let Some(location) = redirect(&response, &check.expected_status) {
        return Ok(Answer::Redirect { status, location });
    }
    trace.http_status = Some(status.as_u16());
    let is_judged = trace.is_status_judged && check.expected_status.is_empty();
    if !is_judged && !passes(status, &check.expected_status) {
        trace.wrong_answer = Some(Failure::new(FailureKind::Status, status_text(&response)));
    }
    if let Some(headers) = &mut trace.headers {
        headers.clone_from(response.headers());
    }
    let mut reader = health::Reader::new(check.health, response.headers().get(CONTENT_TYPE));
    let started = Instant::now();
    let mut expected = Expected::new(&check.expect);
    let kept = trace.kept.as_mut();
    let body = drive(&mut connection, read(response.into_body(), &mut reader, &mut expected, kept)).await;
    add(&mut trace.phases.body, started);
    match body {
        Ok(()) => {
            let health::Reading { report, failure } = reader.finish();
            trace.health = report.map(Box::new);
            // A wrong status is the better answer to what went wrong.
            trace.wrong_answer =
                trace.wrong_answer.take().or(failure).or_else(|| expected.missing_from_body());
        }
        Err(_) if trace.wrong_answer.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok(Answer::Final)
}

/// Awaits `work` while moving the connection along, in this task.
pub(super) async fn drive<C, T>(
    connection: &mut Option<Pin<&mut C>>,
    work: impl Future<Output = Result<T, hyper::Error>>,
) -> Result<T, Stopped>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut work = pin!(work);
    let mut ended_with = None;
    let done = poll_fn(|cx| {
        if let Some(driver) = connection
            && let Poll::Ready(end) = driver.as_mut().poll(cx)
        {
            *connection = None;
            ended_with = end.err();
        }
        work.as_mut().poll(cx)
    });
    done.await.map_err(|error| match &ended_with {
        // The request was dropped because the connection ended: that end is the cause.
        Some(cause) if error.is_canceled() => broken(cause),
        _ => broken(&error),
    })
}

fn redirect(response: &Response<Incoming>, expected: &[u16]) -> Option<String> {
    let status = response.status();
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || expected.contains(&status.as_u16()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn passes(status: StatusCode, expected: &[u16]) -> bool {
    if expected.is_empty() { status.is_success() } else { expected.contains(&status.as_u16()) }
}

/// Code and reason phrase: the registered one, so that a target cannot put words into our messages; the target's own
/// for a code that has none.
pub(super) fn status_text(response: &Response<Incoming>) -> String {
    let status = response.status();
    let own = || {
        response.extensions().get::<ReasonPhrase>().map(|phrase| String::from_utf8_lossy(phrase.as_bytes()))
    };
    match status.canonical_reason().map(Into::into).or_else(own) {
        Some(reason) if !reason.trim().is_empty() => format!("{} {}", status.as_u16(), clean(&reason, 60)),
        _ => status.as_u16().to_string(),
    }
}

/// Reads a body to its end, to [`MAX_BODY_BYTES`], or as far as [`MAX_READ_BYTES`] hold it; the rest is left unread.
async fn read(
    mut body: Incoming,
    reader: &mut health::Reader,
    expected: &mut Expected,
    mut kept: Option<&mut Vec<u8>>,
) -> Result<(), hyper::Error> {
    let mut read_bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Err(error) if is_too_much(&error) => break,
            frame => frame?,
        };
        let Ok(data) = frame.into_data() else { continue };
        read_bytes += data.len();
        reader.push(&data);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&data[..data.len().min(MAX_BODY_BYTES - kept.len())]);
        }
        if !expected.is_met() {
            expected.hear(&data);
        }
        if read_bytes >= MAX_BODY_BYTES {
            break;
        }
    }
    Ok(())
}

/// What an error in the middle of an exchange means.
pub(super) fn broken(error: &hyper::Error) -> Stopped {
    let io = cause(error);
    let detail = if error.is_parse_too_large() {
        "the answer's header is too large"
    } else if error.is_parse() {
        "the answer is not HTTP"
    } else if let Some(io) = io {
        return cut_off(io);
    } else {
        CLOSED
    };
    Stopped::failed(FailureKind::Protocol, detail)
}

/// Whether a connection was read as far as may be.
fn is_too_much(error: &hyper::Error) -> bool {
    cause(error).is_some_and(|error| error.kind() == io::ErrorKind::QuotaExceeded)
}

fn cause(error: &hyper::Error) -> Option<&io::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// What an error of the connection in the middle of an exchange means.
pub(super) fn cut_off(error: &io::Error) -> Stopped {
    let detail = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => CLOSED,
        io::ErrorKind::InvalidData if is_of_tls(error) => "the answer is broken TLS",
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => "the answer's framing is wrong",
        io::ErrorKind::QuotaExceeded => "the answer is too large",
        _ => return dial::refusal(error),
    };
    Stopped::failed(FailureKind::Protocol, detail)
}

fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// What it means that the other side ends early.
pub(super) const CLOSED: &str = "connection closed before the answer was complete";
