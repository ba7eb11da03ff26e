//! One attempt at a delivery: an HTTP exchange, or a mail handed over, with a receiver that somebody else chose.
//!
//! In comes a request with its stored body; out comes what the receiver made of it. The receiver is not trusted:
//! its addresses are filtered when connecting (`dial`), one deadline covers everything from the name's look-up to
//! the answer's last byte, little of the answer is read and less kept, redirects are not followed, nothing is
//! decompressed, and no proxy is asked for from the environment. An attempt runs in its caller's task and leaves
//! nothing behind when it is dropped, and at its proper end no more than an open connection (`pool`).

mod dial;
mod pool;
mod ports;
mod retry_after;
mod smtp;
mod tls;
#[cfg(test)]
mod zoo;

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use url::Position;

use model::address::Cidr;
use model::{Clock, result};
use store::AttemptTiming;

use super::channel::ReceiverUrl;
use super::channel::provider::Unsendable;
use dial::{DialError, Dialer};
use pool::{Connection, Pool};

pub use smtp::{Encryption, Mail};
pub use tls::InvalidCa;

/// Bytes of an answer's body after which reading stops.
pub const MAX_READ_BYTES: usize = 64 * 1024;
/// Bytes of an answer's body that are kept.
pub const MAX_KEPT_BYTES: usize = 2 * 1024;
/// Bytes that an answer's status line and headers may take.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The longest detail that is kept, in characters.
pub(super) const MAX_DETAIL_CHARS: usize = 256;

/// How attempts are made.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All the time that one attempt may take, the answer's body included.
    pub deadline: Duration,
    /// Ranges that may be connected to although they are not public (`--allow-receiver`).
    pub allow: Vec<Cidr>,
    /// Where this coordinator itself listens: never connected to, by whatever name or address.
    pub own: Vec<SocketAddr>,
}

impl Default for Limits {
    /// 15 seconds, and public addresses only.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(15), allow: Vec::new(), own: Vec::new() }
    }
}

/// Sends deliveries. Cheap to share behind an `Arc`.
pub struct Sender {
    clock: Arc<dyn Clock>,
    deadline: Duration,
    dialer: Dialer,
    pool: Pool,
}

/// What one attempt sends.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// A request.
    Http(Request),
    /// A mail.
    Mail(Mail),
}

/// A request over HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// POST, or PUT where a provider wants it.
    pub method: Method,
    /// Where to.
    pub url: ReceiverUrl,
    /// Headers besides those that HTTP itself needs.
    pub headers: HeaderMap,
    /// The body as it is sent.
    pub body: Bytes,
}

impl Request {
    /// A POST without headers of its own; JSON unless a content type is set.
    #[must_use]
    pub fn post(url: ReceiverUrl, body: Bytes) -> Self {
        Self { method: Method::POST, url, headers: HeaderMap::new(), body }
    }

    /// As [`Request::post`], with PUT.
    #[must_use]
    pub fn put(url: ReceiverUrl, body: Bytes) -> Self {
        Self { method: Method::PUT, ..Self::post(url, body) }
    }

    /// The same with a header. Its value is not shown in debugging output.
    ///
    /// # Errors
    /// When the value cannot stand in a header.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self, Unsendable> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Unsendable("a setting of the channel cannot stand in a header"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// What it means for the delivery.
    pub outcome: Outcome,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// For people: `200 OK`, `timeout after 15 s`, `connection refused`. One line; no part of the URL but its host.
    pub detail: String,
    /// The first [`MAX_KEPT_BYTES`] of the answer's body, as they came.
    pub answer: Vec<u8>,
    /// How long it took.
    pub duration: Duration,
    /// Where the time went.
    pub timing: AttemptTiming,
}

/// What an attempt means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered 2xx: it has the delivery, whatever became of the rest of its answer.
    Delivered,
    /// The receiver does not have it, or we cannot know.
    Failed {
        /// How long the receiver asked us to wait, unclamped.
        retry_after: Option<Duration>,
    },
    /// The receiver will never take this message; others it may.
    Refused,
    /// The receiver answered 410, or what means the same: it wants no more, now or later.
    Gone,
}

impl Attempted {
    /// An attempt that failed on our side.
    #[must_use]
    pub fn unsent(detail: String) -> Self {
        Self {
            outcome: Outcome::Failed { retry_after: None },
            status: None,
            detail,
            answer: vec![],
            duration: Duration::ZERO,
            timing: AttemptTiming::default(),
        }
    }
}

impl Sender {
    /// Makes a sender. `extra_ca` is the PEM text of authorities to trust besides the public ones.
    ///
    /// # Errors
    /// When `extra_ca` holds no certificate or a broken one.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits, extra_ca: Option<&[u8]>) -> Result<Self, InvalidCa> {
        let dialer = Dialer::new(limits.allow, limits.own, tls::client_config(extra_ca)?);
        Ok(Self { clock, deadline: limits.deadline, dialer, pool: Pool::default() })
    }

    /// Makes one attempt. Whatever the receiver does, it ends within the deadline.
    pub async fn send(&self, outgoing: &Outgoing) -> Attempted {
        match outgoing {
            Outgoing::Http(request) => self.request(request).await,
            Outgoing::Mail(mail) => self.mail(mail).await,
        }
    }

    async fn mail(&self, mail: &Mail) -> Attempted {
        let started_at = self.clock.now();
        let handed = match tokio::time::timeout(self.deadline, smtp::submit(&self.dialer, mail)).await {
            Ok(handed) => handed.unwrap_or_else(smtp::Problem::handed),
            Err(_) => smtp::Handed {
                outcome: Outcome::Failed { retry_after: None },
                reply: None,
                detail: Problem::Timeout(self.deadline).to_string(),
            },
        };
        let mut answer =
            handed.reply.as_ref().map(|reply| reply.text.clone().into_bytes()).unwrap_or_default();
        answer.truncate(MAX_KEPT_BYTES);
        Attempted {
            outcome: handed.outcome,
            status: handed.reply.map(|reply| reply.code),
            detail: result::clean(&handed.detail, MAX_DETAIL_CHARS),
            answer,
            duration: self.clock.now().since(started_at),
            timing: AttemptTiming::default(),
        }
    }

    async fn request(&self, request: &Request) -> Attempted {
        let started_at = self.clock.now();
        let mut received = Received::default();
        let exchange = self.exchange(request, &mut received);
        let ended = match tokio::time::timeout(self.deadline, exchange).await {
            Ok(ended) => ended,
            Err(_) => Err(Problem::Timeout(self.deadline)),
        };
        let (outcome, detail) = judge(&received, ended.err());
        Attempted {
            outcome,
            status: received.status.map(|status| status.as_u16()),
            detail: result::clean(&detail, MAX_DETAIL_CHARS),
            answer: received.answer,
            duration: self.clock.now().since(started_at),
            timing: received.timing,
        }
    }

    /// Closes connections that have been open in vain for too long. To be called every second or so.
    pub fn close_idle(&self) {
        self.pool.close_idle(self.clock.now());
    }

    async fn exchange(&self, request: &Request, received: &mut Received) -> Result<(), Problem> {
        let url = request.url.expose();
        ports::check(url)?;
        let allows = |address| self.dialer.allows(address);
        if let Some(mut connection) = self.pool.take(url, self.clock.now(), allows).await {
            match self.talk(&mut connection, request, received).await {
                // The receiver closed it while nobody was looking, perhaps as we wrote: that says nothing of it.
                Err(Problem::Answer(_)) if !connection.has_heard() => {}
                ended => return self.end(url, connection, ended).await,
            }
        }
        let (stream, peer) = self.dialer.connect(url, self.clock.as_ref(), &mut received.timing).await?;
        let mut connection = Connection::begin(stream, peer, self.clock.now(), MAX_HEAD_BYTES).await?;
        let ended = self.talk(&mut connection, request, received).await;
        self.end(url, connection, ended).await
    }

    /// Sends the request and reads as much of the answer as anyone may want.
    async fn talk(
        &self,
        connection: &mut Connection,
        request: &Request,
        received: &mut Received,
    ) -> Result<Rest, Problem> {
        let message = message(request)?;
        connection.listen();
        let Connection { requests, driver, .. } = connection;
        let asked_at = self.clock.now();
        let exchange = async {
            let response = requests.send_request(message).await?;
            received.timing.answer_us = Some(dial::micros(self.clock.now().since(asked_at)));
            received.status = Some(response.status());
            let wall = self.clock.wall();
            received.retry_after =
                response.headers().get(RETRY_AFTER).and_then(|value| retry_after::parse(value, wall));
            let mut body = response.into_body();
            let mut read = 0;
            while read < MAX_READ_BYTES {
                let Some(frame) = body.frame().await else { return Ok(Rest::Nothing) };
                let frame = frame?;
                let Some(data) = frame.data_ref() else { continue };
                read += data.len();
                let room = MAX_KEPT_BYTES - received.answer.len();
                received.answer.extend_from_slice(&data[..data.len().min(room)]);
            }
            Ok(Rest::Unread)
        };
        // The connection has to be driven while the exchange waits for it. When it ends first, what it has read is still
        // there to be taken.
        let mut exchange = pin!(exchange);
        tokio::select! {
            biased;
            ended = &mut exchange => ended,
            _ = driver.as_mut() => exchange.await.map(|_| Rest::Closed),
        }
    }

    async fn end(
        &self,
        url: &url::Url,
        connection: Connection,
        ended: Result<Rest, Problem>,
    ) -> Result<(), Problem> {
        if let Rest::Nothing = ended? {
            self.pool.keep(url, connection, self.clock.now()).await;
        }
        Ok(())
    }
}

/// What is left of an exchange whose answer has come.
enum Rest {
    /// Nothing: the connection can be used again.
    Nothing,
    /// Some of the answer, which nobody will read.
    Unread,
    /// The other end has closed the connection.
    Closed,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What has arrived so far. Filled step by step, so that it outlives an exchange that is cut off.
#[derive(Debug, Default)]
struct Received {
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    answer: Vec<u8>,
    timing: AttemptTiming,
}

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Port(#[from] ports::Refused),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("{}", broken_answer(.0))]
    Answer(#[from] hyper::Error),
    #[error("timeout after {}", in_seconds(*.0))]
    Timeout(Duration),
}

fn message(request: &Request) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let url = request.url.expose();
    let mut message = http::Request::builder()
        .method(request.method.clone())
        .uri(request.url.request_target())
        .body(Full::new(request.body.clone()))?;
    let headers = message.headers_mut();
    headers.extend(request.headers.clone());
    headers.insert(HOST, HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Vigilmon/", env!("CARGO_PKG_VERSION"))));
    Ok(message)
}

/// The status decides; without one, the problem does.
fn judge(received: &Received, problem: Option<Problem>) -> (Outcome, String) {
    let failed = Outcome::Failed { retry_after: received.retry_after };
    let Some(status) = received.status else {
        let detail = problem.map_or_else(|| "no answer".to_owned(), |problem| problem.to_string());
        return (failed, detail);
    };
    let mut detail = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let outcome = match status {
        StatusCode::GONE => Outcome::Gone,
        status if status.is_success() => Outcome::Delivered,
        _ => failed,
    };
    if status.is_redirection() {
        detail.push_str(": redirects are not followed, use the final URL");
    } else if let Some(problem) = problem {
        detail.push_str(&format!(" (then {problem})"));
    }
    (outcome, detail)
}

fn broken_answer(error: &hyper::Error) -> String {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match io {
        // Ours, and no error of the system.
        Some(io) if io.kind() == std::io::ErrorKind::Other => io.to_string(),
        Some(io) => io.kind().to_string(),
        None => format!("broken answer: {error}"),
    }
}

fn in_seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}
