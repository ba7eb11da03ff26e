//! The exchange of an HTTP check over HTTP/2 (RFC 9113). By `h2` itself, whose connection is a plain future that ends with
//! the check; everything that is read of it is bounded beneath.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use model::check::MAX_BODY_BYTES;
use model::{FailureKind, HttpCheck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::super::bounded::Bounded;
use super::super::grpc::broken;
use super::super::{Stopped, Trace, add};
use super::{Answer, Kept, Listener, MAX_HEAD_BYTES, Pieces, redirect};

/// Everything that is read: what may be of a body, and as much again for heads, frames and what a server sends besides.
const MAX_READ_BYTES: usize = 2 * MAX_BODY_BYTES;

/// Whether HTTP/2 was agreed on: a server may pass over what it was offered.
pub(super) fn verify<S>(stream: &TlsStream<S>) -> Result<(), Stopped> {
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return Ok(());
    }
    Err(Stopped::failed(FailureKind::Protocol, "the target does not speak HTTP/2"))
}

/// Sends a request over a fresh connection and takes the answer.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scheme: &str,
    request: Request<Full<Bytes>>,
    check: &HttpCheck,
    trace: &mut Trace,
) -> Result<Answer, Stopped> {
    let (request, body) = adapted(request, scheme).await?;
    let mut http2 = Builder::new();
    http2.enable_push(false).max_header_list_size(MAX_HEAD_BYTES as u32);
    let started = Instant::now();
    let stream = Bounded::new(stream, MAX_READ_BYTES);
    let (sender, connection) = http2.handshake::<_, Bytes>(stream).await.map_err(|error| broken(&error))?;
    let call = pin!(call(sender, request, body, started, check, trace));
    match select(pin!(connection), call).await {
        // What has come before the connection ended stands.
        Either::Left((_, call)) => call.await,
        Either::Right((answer, _)) => answer,
    }
}

/// A request as HTTP/2 has it: with the authority in its URI, and nothing of the connection in its headers.
async fn adapted(request: Request<Full<Bytes>>, scheme: &str) -> Result<(Request<()>, Bytes), Stopped> {
    let (mut head, body) = request.into_parts();
    let unusable = || Stopped::unmeasured("the request cannot be sent over HTTP/2");
    let authority = head.headers.remove(HOST).ok_or_else(unusable)?;
    let path = head.uri.path_and_query().cloned().ok_or_else(unusable)?;
    let uri = Uri::builder().scheme(scheme).authority(authority.as_bytes()).path_and_query(path);
    head.uri = uri.build().map_err(|_| unusable())?;
    head.headers.remove(CONNECTION);
    let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
    if body.is_empty() {
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok((Request::from_parts(head, ()), body))
}

async fn call(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    started: Instant,
    check: &HttpCheck,
    trace: &mut Trace,
) -> Result<Answer, Stopped> {
    let failed = |error| broken(&error);
    let mut sender = sender.ready().await.map_err(failed)?;
    let (response, mut sending) = sender.send_request(request, body.is_empty()).map_err(failed)?;
    if !body.is_empty() {
        sending.send_data(body, true).map_err(failed)?;
    }
    let response = response.await.map_err(failed)?;
    add(&mut trace.phases.first_byte, started);
    if let Some(redirect) = redirect(&response, check) {
        return Ok(redirect);
    }
    let (head, body) = response.into_parts();
    let mut listener = Listener::new(&head, check, trace);
    trace.answer = Some(head);
    let started = Instant::now();
    let body = listener.read(body, Kept::of(trace)).await;
    add(&mut trace.phases.body, started);
    listener.conclude(body.map_err(failed), trace).map(|()| Answer::Final)
}

impl Pieces for RecvStream {
    type Error = h2::Error;

    async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = self.data().await?;
        if let Ok(data) = &data {
            // Nothing is lost if the stream has ended meanwhile.
            let _ = self.flow_control().release_capacity(data.len());
        }
        Some(data)
    }
}
