//! Connections that are kept between the checks of those who want it so: one idle one for each place and way to it, for
//! 90 s at most, and none for longer than ten minutes, so that names, certificates and balancers are seen again.
//!
//! Nobody watches an idle connection: it is looked at when it is next wanted, and let go by whatever check comes after its
//! time. A connection that turns out to be closed before the first byte of an answer is replaced by a new one, once.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONNECTION;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::check::Route;
use model::{HttpCheck, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use url::{Host, Url};

use super::super::proxy::{self, Proxy};
use super::super::tls::Alpn;
use super::super::{Network, Stopped, Trace, add};
use super::{Answer, Kept, Listener, MAX_HEAD_BYTES, MAX_READ_BYTES, broken, drive, redirect};

/// How long a connection may wait for its next check.
const MAX_IDLE: Duration = Duration::from_secs(90);
/// How long a connection may be used.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Idle connections at the same time; the one that has waited longest gives way.
const MAX_KEPT: usize = 256;
/// No connection is kept.
const NONE: u64 = u64::MAX;

/// The idle connections of all checks.
#[derive(Debug)]
pub(in crate::check) struct Pool {
    idle: Mutex<BTreeMap<Place, Link>>,
    /// From when times are counted.
    origin: Instant,
    /// When the first of them has waited too long, in milliseconds since the origin.
    first_end: AtomicU64,
}

/// Where a connection leads, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    is_secret: bool,
    host: String,
    port: u16,
    route: Route,
}

/// Moves a connection along.
type Driver = dyn Future<Output = Result<(), hyper::Error>> + Send;

/// A connection and what is known of it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<Driver>>,
    /// Whether the connection has come to its end.
    is_ended: bool,
    /// How many bytes came since the last request.
    heard_bytes: Arc<AtomicUsize>,
    peer: Option<IpAddr>,
    is_proxied: bool,
    certificate_ends: Option<Timestamp>,
    opened_at: Instant,
    idle_since: Instant,
}

/// What came of a request over a connection.
enum Spoken {
    Answer(Result<Answer, Stopped>),
    /// The connection ended before the first byte of an answer.
    Unheard(Stopped),
}

/// One exchange, over a connection that was kept if there is one.
pub(super) async fn exchange(
    network: &Network,
    url: &Url,
    mut request: Request<Full<Bytes>>,
    check: &HttpCheck,
    trace: &mut Trace,
) -> Result<Answer, Stopped> {
    let host = url.host().ok_or_else(|| Stopped::unmeasured("the URL has no host"))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let proxy = network.proxy_of(&host);
    let place = Place {
        is_secret: url.scheme() == "https",
        host: host.to_string(),
        port,
        route: trace.route_to(&host),
    };
    request.headers_mut().remove(CONNECTION);
    let is_open = !place.is_secret;
    if let Some(proxy) = proxy.filter(|_| is_open) {
        proxy.address(&mut request, url, check.version)?;
    }
    let kept = network.kept.take(&place).filter(|link| link.is_proxied == proxy.is_some());
    // What must not be done twice is not asked for over a connection that may have ended (RFC 9110 §9.2.2).
    if let Some(mut link) = kept.filter(|_| request.method().is_idempotent())
        && link.is_usable(network).await
    {
        let wrong_answer = trace.wrong_answer.clone();
        trace.peer = link.peer;
        trace.certificate_ends = link.certificate_ends;
        network.tls.judge_end(check.certificate_days, trace);
        match link.speak(request.clone(), check, trace).await {
            Spoken::Answer(answer) => {
                network.kept.put(place, link).await;
                return if proxy.is_some() && is_open { proxy::answered(answer, trace) } else { answer };
            }
            // Its end may have been on the way when we asked.
            Spoken::Unheard(_) => trace.wrong_answer = wrong_answer,
        }
    }
    let mut link = open(network, &place, host, proxy, check, trace).await?;
    let answer = match link.speak(request, check, trace).await {
        Spoken::Answer(answer) => answer,
        Spoken::Unheard(stopped) => Err(stopped),
    };
    network.kept.put(place, link).await;
    if proxy.is_some() && is_open { proxy::answered(answer, trace) } else { answer }
}

async fn open(
    network: &Network,
    place: &Place,
    host: Host<&str>,
    proxy: Option<&Proxy>,
    check: &HttpCheck,
    trace: &mut Trace,
) -> Result<Link, Stopped> {
    let Network { dialer, tls, .. } = network;
    let stream = match proxy {
        None => dialer.dial(host.clone(), place.port, trace).await?,
        Some(proxy) => proxy.reach(dialer, host.clone(), place.port, place.is_secret, trace).await?,
    };
    let mut link = if place.is_secret {
        (trace.resumes, trace.dates_certificate) = (true, true);
        let stream = tls.handshake(host, stream, Alpn::Http1, trace).await?;
        tls.outlasts(check.certificate_days, &stream, trace);
        Link::over(stream).await?
    } else {
        Link::over(stream).await?
    };
    (link.peer, link.is_proxied) = (trace.peer, proxy.is_some());
    link.certificate_ends = trace.certificate_ends.filter(|_| place.is_secret);
    Ok(link)
}

impl Link {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Stopped> {
        let heard_bytes = Arc::new(AtomicUsize::new(0));
        let stream = TokioIo::new(Heard { stream, heard_bytes: Arc::clone(&heard_bytes) });
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(stream)
            .await
            .map_err(|error| broken(&error))?;
        let now = Instant::now();
        Ok(Self {
            sender,
            connection: Box::pin(connection),
            is_ended: false,
            heard_bytes,
            peer: None,
            is_proxied: false,
            certificate_ends: None,
            opened_at: now,
            idle_since: now,
        })
    }

    /// Whether it may be used: the policy is asked anew, and a certificate that has ended is to be seen.
    async fn is_usable(&mut self, network: &Network) -> bool {
        let is_admitted = self.is_proxied || self.peer.is_some_and(|peer| network.dialer.admit(peer).is_ok());
        let is_valid = self.certificate_ends.is_none_or(|ends| !network.tls.has_passed(ends));
        is_admitted && is_valid && self.is_free().await
    }

    async fn speak(&mut self, request: Request<Full<Bytes>>, check: &HttpCheck, trace: &mut Trace) -> Spoken {
        self.heard_bytes.store(0, Ordering::Relaxed);
        let mut connection = Some(self.connection.as_mut());
        let started = Instant::now();
        let response = match drive(&mut connection, self.sender.send_request(request)).await {
            Ok(response) => response,
            Err(stopped) => {
                self.is_ended = true;
                let is_heard = self.heard_bytes.load(Ordering::Relaxed) > 0;
                return if is_heard { Spoken::Answer(Err(stopped)) } else { Spoken::Unheard(stopped) };
            }
        };
        add(&mut trace.phases.first_byte, started);
        let answer = match redirect(&response, check) {
            Some(redirect) => Ok(redirect),
            None => {
                let (head, body) = response.into_parts();
                let mut listener = Listener::new(&head, check, trace);
                trace.answer = Some(head);
                let started = Instant::now();
                let body = listener.read(body, Kept::of(trace));
                let body = drive(&mut connection, body).await;
                add(&mut trace.phases.body, started);
                listener.conclude(body, trace).map(|()| Answer::Final)
            }
        };
        self.is_ended = connection.is_none();
        Spoken::Answer(answer)
    }

    /// Whether another request can go over it: it is open, and all of the last answer was read.
    async fn is_free(&mut self) -> bool {
        if !self.is_ended {
            let connection = &mut self.connection;
            let poll = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx).is_ready()));
            self.is_ended = poll.await;
        }
        !self.is_ended && self.sender.is_ready()
    }

    fn end(&self) -> Instant {
        (self.idle_since + MAX_IDLE).min(self.opened_at + MAX_AGE)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Pool {
    pub(in crate::check) fn new() -> Self {
        Self { idle: Mutex::default(), origin: Instant::now(), first_end: AtomicU64::new(NONE) }
    }

    /// Lets go of what has waited too long; one comparison where nothing has.
    pub(in crate::check) fn sweep(&self, now: Instant) {
        if self.millis(now) >= self.first_end.load(Ordering::Relaxed) {
            let mut idle = self.lock();
            idle.retain(|_, link| now < link.end());
            self.note(&idle);
        }
    }

    #[cfg(test)]
    pub(in crate::check) fn len(&self) -> usize {
        self.lock().len()
    }

    fn take(&self, place: &Place) -> Option<Link> {
        self.sweep(Instant::now());
        self.lock().remove(place)
    }

    async fn put(&self, place: Place, mut link: Link) {
        if !link.is_free().await {
            return;
        }
        link.idle_since = Instant::now();
        let mut idle = self.lock();
        idle.insert(place, link);
        if idle.len() > MAX_KEPT {
            let longest = idle.iter().min_by_key(|(_, link)| link.idle_since).map(|(place, _)| place.clone());
            idle.remove(&longest.expect("there is more than one"));
        }
        self.note(&idle);
    }

    fn note(&self, idle: &BTreeMap<Place, Link>) {
        let first = idle.values().map(Link::end).min();
        self.first_end.store(first.map_or(NONE, |end| self.millis(end)), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from((at - self.origin).as_millis()).unwrap_or(NONE)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that counts what comes, and over which no answer may be longer than [`MAX_READ_BYTES`].
struct Heard<S> {
    stream: S,
    heard_bytes: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = buffer.filled().len() - before;
        if self.heard_bytes.fetch_add(count, Ordering::Relaxed) + count > MAX_READ_BYTES {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
