//! The HTTP listener: connections of people, jobs and admin clients, HTTP/1 and HTTP/2 (without TLS) on one port.
//!
//! In comes a bound listener and the whole application; out go its answers. Whoever connects has limits on time,
//! headers and streams, and all together a limit on connections; no error of `accept` ends the loop. On *drain* nobody
//! new is let in, what was asked is answered, and idle connections close.

mod linger;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::lifecycle::{Supervisor, Task};
use linger::Lingering;

/// Connections at one time; the next waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 20_000;
/// How long a connection may take to its first request, and a request's headers to arrive. Idle HTTP/1 connections
/// close after it too.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// Headers of one request, in number and in bytes.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Requests at one time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// An HTTP/2 peer that is silent this long is asked whether it is there, and given as long again to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Pause after `accept` failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How long a connection may go on after the drain began: a little more than a ping waits for its commit.
const DRAIN_PATIENCE: Duration = Duration::from_secs(12);

/// Serves until the drain. Connections are tasks of the supervisor.
pub async fn serve(listener: TcpListener, app: Router, supervisor: Supervisor) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let drain = supervisor.drain().clone();
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, app.clone(), supervisor.clone(), place);
                supervisor.spawn(Task::Connection, connection);
            }
            Err(error) if is_of_one_connection(&error) => {
                debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again in {ACCEPT_PAUSE:?}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection from its acceptance to its end.
async fn connection(stream: TcpStream, app: Router, supervisor: Supervisor, _place: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "the connection ended at once");
        return;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let app = app.clone();
            async move { Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        })
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Lingering::new(stream)), service));
    let mut first_request_due = pin!(tokio::time::sleep(HEADER_PATIENCE));
    let mut is_due = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = supervisor.drain().cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN_PATIENCE, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    Err(_) => return,
                }
            }
            // hyper's own limit begins only when it knows which protocol is spoken.
            () = first_request_due.as_mut(), if !is_due => {
                is_due = true;
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_INTERVAL);
    builder
}

#[cfg(test)]
mod tests;
