//! WebSocket checks: an upgrade (RFC 6455), a message, and what the server's messages hold. Redirects are not followed,
//! as browsers do not.
//!
//! The upgrade is asked for as an HTTP check asks, so that a server that answers otherwise is told in the same words;
//! tungstenite has the framing after it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::check::{MAX_BODY_BYTES, WebSocketCheck, text};
use model::{FailureKind, result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use url::Position;

use super::bounded::Bounded;
use super::expect::Expected;
use super::http::{MAX_HEAD_BYTES, OUR_NAME, broken, cut_off, drive, path, status_text, user_headers};
use super::tls::Alpn;
use super::{Attempt, Network, Stopped, Trace, add};

/// Everything that is read: as much as may be searched, and as much again for the head, the frames around the messages
/// and control frames.
const MAX_READ_BYTES: usize = 2 * MAX_BODY_BYTES;
/// Messages that are taken, pings among them: without a word in them they cost next to no bytes.
const MAX_MESSAGES: usize = 10_000;
/// What is read and written at once; the largest message that is sent fits in.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long a server that reads nothing can hold up our farewell.
const FAREWELL: Duration = Duration::from_millis(100);
/// How much of a server's reason for closing is told.
const MAX_REASON_CHARS: usize = 60;

impl Attempt for WebSocketCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let Network { dialer, tls, .. } = network;
        let host = self.url.host().ok_or_else(|| Stopped::unmeasured("the URL has no host"))?;
        let port = self.url.port_or_known_default().unwrap_or(80);
        let stream = dialer.dial(host.clone(), port, trace).await?;
        if self.url.scheme() == "wss" {
            let stream = tls.handshake(host, stream, Alpn::Http1, trace).await?;
            tls.outlasts(self.certificate_days, &stream, trace);
            talk(self, stream, trace).await?;
        } else {
            talk(self, stream, trace).await?;
        }
        trace.verdict()
    }
}

async fn talk(
    check: &WebSocketCheck,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    trace: &mut Trace,
) -> Result<(), Stopped> {
    let mut socket = upgrade(check, Bounded::new(stream, MAX_READ_BYTES), trace).await?;
    let mut expected = Expected::new(&check.expect);
    let started = Instant::now();
    if !check.send.is_empty() {
        let sent = socket.send(message(&check.send)).await;
        sent.map_err(|error| interrupted(&error, &expected))?;
    }
    if !expected.is_met() {
        listen(&mut socket, &mut expected, trace).await?;
        add(&mut trace.phases.body, started);
    }
    // The check has passed; a server that does not hear it does not change that.
    let _ = timeout(FAREWELL, socket.close(None)).await;
    Ok(())
}

/// Turns a connection into a WebSocket.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    check: &WebSocketCheck,
    stream: S,
    trace: &mut Trace,
) -> Result<WebSocketStream<S>, Stopped> {
    let key = generate_key();
    let request = request(check, &key)?;
    let offers_protocols = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    trace.awaited = Some("the answer to the upgrade".to_owned());
    let started = Instant::now();
    let (mut sender, mut connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let mut driven = Some(Pin::new(&mut connection));
    let answer = drive(&mut driven, sender.send_request(request)).await?;
    add(&mut trace.phases.first_byte, started);
    trace.awaited = None;
    trace.http_status = Some(answer.status().as_u16());
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, _) = answer.into_parts();
        let status = status_text(head.status, &head.extensions);
        trace.answer = Some(head);
        return Err(Stopped::failed(FailureKind::Status, format_args!("{status} instead of an upgrade")));
    }
    verify(answer.headers(), &key, offers_protocols)?;
    // The connection gives the stream back once HTTP has ended on it.
    if let Some(driven) = driven {
        driven.await.map_err(|error| broken(&error))?;
    }
    let rest = connection.into_parts();
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MAX_BODY_BYTES))
        .max_frame_size(Some(MAX_BODY_BYTES));
    let (stream, read) = (rest.io.into_inner(), rest.read_buf.to_vec());
    Ok(WebSocketStream::from_partially_read(stream, read, Role::Client, Some(config)).await)
}

fn request(check: &WebSocketCheck, key: &str) -> Result<Request<Empty<Bytes>>, Stopped> {
    let unusable =
        |error: http::Error| Stopped::unmeasured(format_args!("the request cannot be sent: {error}"));
    let mut request = Request::builder()
        .uri(path(&check.url)?)
        .header(HOST, &check.url[Position::BeforeHost..Position::AfterPort])
        .header(SEC_WEBSOCKET_KEY, key)
        .body(Empty::new())
        .map_err(unusable)?;
    let headers = request.headers_mut();
    let mut users = user_headers(&check.headers, &check.url)?;
    users.entry(USER_AGENT).or_insert(OUR_NAME);
    for ours in [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_EXTENSIONS] {
        users.remove(ours);
    }
    headers.extend(users);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Ok(request)
}

/// Refuses what every browser refuses (RFC 6455 §4.1).
fn verify(answer: &HeaderMap, key: &str, offers_protocols: bool) -> Result<(), Stopped> {
    let says = |name, word: &str| {
        let values = answer.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    let accepted = answer.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    let problem = if !says(UPGRADE, "websocket") || !says(CONNECTION, "upgrade") {
        "101 Switching Protocols, but not to a WebSocket"
    } else if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        "the upgrade has a wrong Sec-WebSocket-Accept header"
    } else if answer.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        "the upgrade has a Sec-WebSocket-Extensions header, which was not asked for"
    } else if answer.contains_key(SEC_WEBSOCKET_PROTOCOL) && !offers_protocols {
        "the upgrade has a Sec-WebSocket-Protocol header, which was not asked for"
    } else {
        return Ok(());
    };
    Err(Stopped::failed(FailureKind::Protocol, problem))
}

/// What the user wrote: text where it is text.
fn message(send: &str) -> Message {
    let bytes = text::to_bytes(send).unwrap_or_default();
    String::from_utf8(bytes).map_or_else(|error| Message::binary(error.into_bytes()), Message::text)
}

/// Takes messages until all that is expected was in them. Pings are answered on the way.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    expected: &mut Expected,
    trace: &mut Trace,
) -> Result<(), Stopped> {
    for _ in 0..MAX_MESSAGES {
        trace.awaited = expected.awaited();
        if expected.is_met() {
            return Ok(());
        }
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                let message = message.into_data();
                trace.beginning.hear(&message);
                expected.hear_apart(&message);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => return Err(expected.disappointed_by(&closing(frame))),
            Some(Err(error)) => return Err(interrupted(&error, expected)),
            None => return Err(expected.disappointed()),
        }
        if expected.is_full() && !expected.is_met() {
            return Err(expected.disappointed());
        }
    }
    let missing = expected.awaited().unwrap_or_default();
    let detail = format_args!("{missing} did not come in the first {MAX_MESSAGES} messages");
    Err(Stopped::failed(FailureKind::Body, detail))
}

/// How the server closed.
fn closing(frame: Option<CloseFrame>) -> String {
    let Some(CloseFrame { code, reason }) = frame else { return "closed without a code".to_owned() };
    let reason = result::clean(&reason, MAX_REASON_CHARS);
    if reason.is_empty() {
        format!("closed with code {code}")
    } else {
        format!("closed with code {code} `{reason}`")
    }
}

/// What an error of an established WebSocket means.
fn interrupted(error: &SocketError, expected: &Expected) -> Stopped {
    match error {
        SocketError::Io(error) => cut_off(error),
        SocketError::ConnectionClosed
        | SocketError::AlreadyClosed
        | SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => expected.disappointed(),
        SocketError::Capacity(_) => {
            let detail = format_args!("a message is longer than {} MiB", MAX_BODY_BYTES >> 20);
            Stopped::failed(FailureKind::Body, detail)
        }
        SocketError::Protocol(error) => {
            Stopped::failed(FailureKind::Protocol, format_args!("not a WebSocket frame: {error}"))
        }
        SocketError::Utf8(_) => Stopped::failed(FailureKind::Protocol, "a text message is not UTF-8"),
        SocketError::WriteBufferFull(_) => {
            Stopped::failed(FailureKind::Protocol, "the server sends pings and does not read the answers")
        }
        other => Stopped::failed(FailureKind::Protocol, other),
    }
}
