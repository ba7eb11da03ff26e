//! A receiver of webhooks that answers 200 at once and remembers only when they came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use support::task::Task;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A running receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    arrivals: Arc<Mutex<Option<Arrivals>>>,
    _accepting: Task,
}

#[derive(Clone, Copy, Debug)]
struct Arrivals {
    count: usize,
    first: Instant,
    last: Instant,
}

impl Receiver {
    /// Starts one.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let arrivals = Arc::default();
        let accepting = Task::start(accept(listener, Arc::clone(&arrivals)));
        Ok(Self { address, arrivals, _accepting: accepting })
    }

    /// Where webhooks go.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many arrived, and when the last one did; `None`: none yet.
    pub(crate) fn last(&self) -> Option<(usize, Instant)> {
        let arrivals = (*self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some((arrivals.count, arrivals.last))
    }

    /// How many arrived, and the time from the first to the last; `None`: none yet.
    pub(crate) fn arrivals(&self) -> Option<(usize, Duration)> {
        let arrivals = (*self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some((arrivals.count, arrivals.last - arrivals.first))
    }
}

async fn accept(listener: TcpListener, arrivals: Arc<Mutex<Option<Arrivals>>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let arrivals = Arc::clone(&arrivals);
                // How a connection ends is the sender's business.
                connections.spawn(async move { drop(serve(stream, &arrivals).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, arrivals: &Mutex<Option<Arrivals>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let answer = service_fn(async |request: Request<Incoming>| {
        let now = Instant::now();
        // A body that breaks off is no delivery.
        if request.into_body().collect().await.is_ok() {
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let so_far = arrivals.get_or_insert(Arrivals { count: 0, first: now, last: now });
            (so_far.count, so_far.last) = (so_far.count + 1, now);
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await?;
    Ok(())
}
