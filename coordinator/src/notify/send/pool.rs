//! Connections that are kept open between attempts at one receiver.
//!
//! A connection is kept when an exchange over it came to its proper end, for [`MAX_IDLE`] at most and until it is
//! [`MAX_AGE`] old, so that names and certificates are looked at again. Nobody watches it meanwhile: when it is wanted it
//! is looked at, and one that the receiver has closed is dropped. No task belongs to it, so nothing outlives the pool.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::{Position, Url};

use super::dial::Stream;

/// Bytes that may come in answer to one request, whatever they are: interim answers without end, or chunks of one byte,
/// are read by HTTP's reader as fast as they come and leave nobody else a turn.
const MAX_HEARD_BYTES: usize = 256 * 1024;
/// How long a connection waits to be used again.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How old a connection may be when it is used again.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Connections that wait, in all.
const MAX_KEPT: usize = 256;
/// Connections that wait, of one receiver.
const MAX_KEPT_OF_ONE: usize = 32;

/// An open connection to a receiver.
pub(super) struct Connection {
    pub(super) requests: http1::SendRequest<Full<Bytes>>,
    /// Moves bytes while it is polled.
    pub(super) driver: Pin<Box<http1::Connection<TokioIo<Watched>, Full<Bytes>>>>,
    /// Bytes that have come since the last request.
    heard: Arc<AtomicUsize>,
    peer: SocketAddr,
    opened_at: Timestamp,
}

impl Connection {
    /// Prepares for requests over a stream.
    ///
    /// # Errors
    /// When HTTP cannot begin.
    pub(super) async fn begin(
        stream: Box<dyn Stream>,
        peer: SocketAddr,
        opened_at: Timestamp,
        max_head_bytes: usize,
    ) -> Result<Self, hyper::Error> {
        let heard = Arc::new(AtomicUsize::new(0));
        let watched = Watched { stream, heard: Arc::clone(&heard) };
        let (requests, driver) =
            http1::Builder::new().max_buf_size(max_head_bytes).handshake(TokioIo::new(watched)).await?;
        Ok(Self { requests, driver: Box::pin(driver), heard, peer, opened_at })
    }

    /// Forgets what was heard before a request.
    pub(super) fn listen(&self) {
        self.heard.store(0, Ordering::Relaxed);
    }

    /// Whether a byte has come since then.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed) > 0
    }

    /// Whether the other end still takes requests, as far as can be seen from here.
    pub(super) async fn is_open(&mut self) -> bool {
        let is_over = std::future::poll_fn(|cx| Poll::Ready(self.driver.as_mut().poll(cx).is_ready())).await;
        !is_over && self.requests.is_ready()
    }
}

/// A stream that counts what comes, and ends when it is too much.
pub(super) struct Watched {
    stream: Box<dyn Stream>,
    heard: Arc<AtomicUsize>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.heard.load(Ordering::Relaxed) >= MAX_HEARD_BYTES {
            return Poll::Ready(Err(std::io::Error::other("the answer has no end")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.heard.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections that wait to be used again.
#[derive(Default)]
pub(super) struct Pool {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By scheme, host and port; the one that has waited longest first.
    of_origin: BTreeMap<String, Vec<(Timestamp, Connection)>>,
    count: usize,
    swept_at: Option<Timestamp>,
}

impl Pool {
    /// A connection to the origin of a URL that is still open. `allows` is asked about its other end again.
    pub(super) async fn take(
        &self,
        url: &Url,
        now: Timestamp,
        allows: impl Fn(IpAddr) -> bool,
    ) -> Option<Connection> {
        let origin = origin(url);
        loop {
            let taken = self.kept().take(origin, now);
            let mut connection = taken?;
            if allows(connection.peer.ip()) && connection.is_open().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection if it can be used again and there is room.
    pub(super) async fn keep(&self, url: &Url, mut connection: Connection, now: Timestamp) {
        if now.since(connection.opened_at) < MAX_AGE && connection.is_open().await {
            self.kept().keep(origin(url), connection, now);
        }
    }

    /// Closes what has waited for too long. Cheap if it was done within the last second.
    pub(super) fn close_idle(&self, now: Timestamp) {
        self.kept().sweep(now);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, origin: &str, now: Timestamp) -> Option<Connection> {
        let waiting = self.of_origin.get_mut(origin)?;
        // The last one kept is the likeliest to be open.
        let (since, connection) = waiting.pop()?;
        self.count -= 1;
        if is_fresh(since, &connection, now) {
            return Some(connection);
        }
        // Then the others are older still.
        self.count -= waiting.len();
        self.of_origin.remove(origin);
        None
    }

    fn keep(&mut self, origin: &str, connection: Connection, now: Timestamp) {
        self.sweep(now);
        if self.count >= MAX_KEPT {
            return;
        }
        let waiting = match self.of_origin.get_mut(origin) {
            Some(waiting) => waiting,
            None => self.of_origin.entry(origin.to_owned()).or_default(),
        };
        if waiting.len() < MAX_KEPT_OF_ONE {
            waiting.push((now, connection));
            self.count += 1;
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.swept_at.is_some_and(|at| now.since(at) < Duration::from_secs(1)) {
            return;
        }
        self.swept_at = Some(now);
        self.of_origin.retain(|_, waiting| {
            waiting.retain(|(since, connection)| is_fresh(*since, connection, now));
            !waiting.is_empty()
        });
        self.count = self.of_origin.values().map(Vec::len).sum();
    }
}

fn is_fresh(since: Timestamp, connection: &Connection, now: Timestamp) -> bool {
    now.since(since) < MAX_IDLE && now.since(connection.opened_at) < MAX_AGE
}

fn origin(url: &Url) -> &str {
    &url[..Position::AfterPort]
}
