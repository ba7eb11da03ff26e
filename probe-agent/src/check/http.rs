//! HTTP and HTTPS checks: one connection per hop, redirects followed by hand, the final answer judged.
//!
//! The connection is driven in the check's own task: when the check is dropped at its deadline, nothing of it lives on.

mod decode;
mod http2;
mod kept;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    LOCATION, USER_AGENT,
};
use http::response::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use model::check::{HttpVersion, MAX_BODY_BYTES, Method, text};
use model::result::clean;
use model::{Failure, FailureKind, HttpCheck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::{Position, Url};

use super::bounded::Bounded;
use super::capture::Beginning;
use super::dial;
use super::expect::Expected;
use super::health;
use super::tls::{self, Alpn};
use super::{Attempt, Network, Stopped, Trace, add, proxy};
use decode::Decoder;
pub(super) use kept::Pool;

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
        let Network { dialer, tls, .. } = network;
        let mut hop = Visit::first(self)?;
        for _ in 0..=self.max_redirects {
            let mut request = hop.request()?;
            // Boxed, here and below: the larger futures are for those who ask for them.
            if self.reuse_connection {
                let answer = Box::pin(kept::exchange(network, &hop.url, request, self, trace)).await?;
                if hop.turn(answer, trace)? == Turn::Over {
                    return trace.verdict();
                }
                continue;
            }
            let host = hop.url.host().ok_or_else(|| Stopped::unmeasured("the URL has no host"))?;
            let port = hop.url.port_or_known_default().unwrap_or(80);
            let proxy = network.proxy_of(&host);
            let is_secret = hop.url.scheme() == "https";
            let stream = match proxy {
                None => dialer.dial(host.clone(), port, trace).await?,
                Some(proxy) => {
                    if !is_secret {
                        proxy.address(&mut request, &hop.url, self.version)?;
                    }
                    Box::pin(proxy.reach(dialer, host.clone(), port, is_secret, trace)).await?
                }
            };
            let next = match (hop.url.scheme(), self.version) {
                ("https", HttpVersion::Http1) => {
                    // Apart, as plain checks would carry the kilobytes of a TLS connection with them.
                    let hop = async {
                        let stream = tls.handshake(host, stream, Alpn::Http1, trace).await?;
                        tls.outlasts(self.certificate_days, &stream, trace);
                        exchange(stream, request, self, trace).await
                    };
                    Box::pin(hop).await?
                }
                (scheme @ "https", HttpVersion::Http2) => {
                    let hop = async {
                        let stream = tls.handshake(host, stream, Alpn::Http2, trace).await?;
                        tls.outlasts(self.certificate_days, &stream, trace);
                        http2::verify(&stream)?;
                        http2::exchange(stream, scheme, request, self, trace).await
                    };
                    Box::pin(hop).await?
                }
                (_, HttpVersion::Http1) => {
                    let answer = exchange(stream, request, self, trace).await;
                    if proxy.is_some() { proxy::answered(answer, trace)? } else { answer? }
                }
                (scheme, HttpVersion::Http2) => {
                    Box::pin(http2::exchange(stream, scheme, request, self, trace)).await?
                }
            };
            if hop.turn(next, trace)? == Turn::Over {
                return trace.verdict();
            }
        }
        // The one too many was not asked for.
        trace.visited = None;
        Err(redirect_failure(format_args!("more than {} redirects", self.max_redirects)))
    }
}

/// One request of a check.
struct Visit {
    url: Url,
    method: Method,
    /// The user's headers; empty once a redirect has left the host they were meant for.
    headers: HeaderMap,
    /// Empty unless the method's requests have one.
    body: Bytes,
    /// The encodings of answers that can be read.
    encodings: HeaderValue,
}

impl Visit {
    fn first(check: &HttpCheck) -> Result<Self, Stopped> {
        let headers = user_headers(&check.headers, &check.url)?;
        let body = Bytes::from(text::to_bytes(&check.send).unwrap_or_default());
        let encodings =
            HeaderValue::from_static(if check.compressed { decode::ENCODINGS } else { "identity" });
        Ok(Self { url: check.url.clone(), method: check.method, headers, body, encodings })
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
        headers.insert(ACCEPT_ENCODING, self.encodings.clone());
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

    /// Does what an answer says: stays, or goes where it points and notes that.
    fn turn(&mut self, answer: Answer, trace: &mut Trace) -> Result<Turn, Stopped> {
        let Answer::Redirect { status, location } = answer else { return Ok(Turn::Over) };
        trace.leave(&self.url, status.as_u16());
        self.follow(status, &location)?;
        trace.enter(&self.url);
        Ok(Turn::On)
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

/// How it goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// With another request.
    On,
    /// It does not: the answer has been judged.
    Over,
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
    let mut headers = HeaderMap::with_capacity(pairs.len());
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

pub(super) fn basic_credentials(url: &Url) -> Option<HeaderValue> {
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
    if let Some(redirect) = redirect(&response, check) {
        return Ok(redirect);
    }
    let (head, body) = response.into_parts();
    let mut listener = Listener::new(&head, check, trace);
    trace.answer = Some(head);
    let started = Instant::now();
    let body = drive(&mut connection, listener.read(body, Kept::of(trace))).await;
    add(&mut trace.phases.body, started);
    listener.conclude(body, trace).map(|()| Answer::Final)
}

/// What hears the answer that is judged.
struct Listener {
    reader: health::Reader,
    expected: Expected,
    decoder: Decoder,
}

impl Listener {
    /// Judges an answer's head, and gets ready for its body.
    fn new(head: &Parts, check: &HttpCheck, trace: &mut Trace) -> Self {
        let status = head.status;
        trace.http_status = Some(status.as_u16());
        let is_judged = trace.is_status_judged && check.expected_status.is_empty();
        if !is_judged && !passes(status, &check.expected_status) {
            let text = status_text(status, &head.extensions);
            trace.wrong_answer = Some(Failure::new(FailureKind::Status, text));
        }
        Self {
            reader: health::Reader::new(check.health, head.headers.get(CONTENT_TYPE)),
            expected: Expected::new(&check.expect),
            decoder: Decoder::new(head.headers.get(CONTENT_ENCODING), check.compressed),
        }
    }

    /// Reads a body to its end or to [`MAX_BODY_BYTES`], packed or unpacked; the rest is left unread.
    async fn read<B: Pieces>(&mut self, mut body: B, mut kept: Kept<'_>) -> Result<(), B::Error> {
        let mut left_bytes = MAX_BODY_BYTES;
        while let Some(data) = body.piece().await {
            let data = data?;
            let is_more = self.hear(&data, &mut kept);
            left_bytes = left_bytes.saturating_sub(data.len());
            if left_bytes == 0 || !is_more {
                return Ok(());
            }
        }
        self.end(&mut kept);
        Ok(())
    }

    /// Takes a piece of the body. Returns whether more can be of use.
    fn hear(&mut self, data: &[u8], kept: &mut Kept<'_>) -> bool {
        let Self { reader, expected, decoder } = self;
        decoder.decode(data, |data| take(data, reader, expected, kept))
    }

    fn end(&mut self, kept: &mut Kept<'_>) {
        let Self { reader, expected, decoder } = self;
        decoder.finish(|data| take(data, reader, expected, kept));
    }

    /// Judges what was heard.
    fn conclude(self, body: Result<(), Stopped>, trace: &mut Trace) -> Result<(), Stopped> {
        match body {
            Ok(()) => {
                let Self { reader, expected, decoder } = self;
                let is_needed = reader.is_needed() || !expected.is_met() || trace.kept.is_some();
                let unreadable = decoder.problem(is_needed);
                let health::Reading { report, failure } = reader.finish();
                trace.health = report.map(Box::new);
                // A wrong status is the better answer to what went wrong.
                let wrong = trace.wrong_answer.take().or(unreadable).or(failure);
                trace.wrong_answer = wrong.or_else(|| expected.missing_from_body());
                Ok(())
            }
            Err(_) if trace.wrong_answer.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What is kept of a body besides what it comes to.
struct Kept<'a> {
    beginning: &'a mut Beginning,
    /// All of it, if somebody wants it.
    whole: Option<&'a mut Vec<u8>>,
}

impl<'a> Kept<'a> {
    fn of(trace: &'a mut Trace) -> Self {
        Self { beginning: &mut trace.beginning, whole: trace.kept.as_mut() }
    }
}

/// Hands what a body says to whoever wants it.
fn take(data: &[u8], reader: &mut health::Reader, expected: &mut Expected, kept: &mut Kept<'_>) {
    reader.push(data);
    kept.beginning.hear(data);
    if let Some(whole) = &mut kept.whole {
        whole.extend_from_slice(&data[..data.len().min(MAX_BODY_BYTES - whole.len())]);
    }
    if !expected.is_met() {
        expected.hear(data);
    }
}

/// An answer's body as it comes.
trait Pieces {
    type Error;

    /// The next piece; `None` after the last.
    async fn piece(&mut self) -> Option<Result<Bytes, Self::Error>>;
}

impl Pieces for Incoming {
    type Error = hyper::Error;

    async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.frame().await?.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers are of no interest.
                Ok(Err(_)) => {}
                Err(error) if is_too_much(&error) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Awaits `work` while moving the connection along, in this task.
pub(super) async fn drive<C, T>(
    connection: &mut Option<Pin<&mut C>>,
    work: impl Future<Output = Result<T, hyper::Error>>,
) -> Result<T, Stopped>
where
    C: Future<Output = Result<(), hyper::Error>> + ?Sized,
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

fn redirect<B>(response: &Response<B>, check: &HttpCheck) -> Option<Answer> {
    let status = response.status();
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || check.max_redirects == 0 || check.expected_status.contains(&status.as_u16()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    Some(Answer::Redirect { status, location: String::from_utf8_lossy(location.as_bytes()).into_owned() })
}

fn passes(status: StatusCode, expected: &[u16]) -> bool {
    if expected.is_empty() { status.is_success() } else { expected.contains(&status.as_u16()) }
}

/// Code and reason phrase: the registered one, so that a target cannot put words into our messages; the target's own
/// for a code that has none.
pub(super) fn status_text(status: StatusCode, extensions: &Extensions) -> String {
    let own = || extensions.get::<ReasonPhrase>().map(|phrase| String::from_utf8_lossy(phrase.as_bytes()));
    match status.canonical_reason().map(Into::into).or_else(own) {
        Some(reason) if !reason.trim().is_empty() => format!("{} {}", status.as_u16(), clean(&reason, 60)),
        _ => status.as_u16().to_string(),
    }
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
        io::ErrorKind::InvalidData if is_of_tls(error) => return tls::interrupted(error),
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
