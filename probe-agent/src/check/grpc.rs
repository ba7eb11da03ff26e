//! gRPC checks: one call of the health service that most servers have (`grpc.health.v1`), over a connection of its own.
//!
//! Connection and call are driven in the check's own task, and the answer is read here rather than by a gRPC client: it
//! comes from a stranger, and may be anything.

use std::pin::pin;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use model::check::GrpcCheck;
use model::{FailureKind, result};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::bounded::Bounded;
use super::http::{CLOSED, MAX_HEAD_BYTES, OUR_NAME, cut_off, percent_decoded};
use super::tls::Alpn;
use super::{Attempt, Network, Stopped, Trace, add, host};

/// The one method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The longest answer; a good one has seven bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Everything that is read, which is not only the answer: a server can send settings and pings without end.
const MAX_READ_BYTES: usize = 1 << 20;
/// How much of what a server says is told.
const MAX_TOLD_CHARS: usize = 160;
/// Flag and length before a message.
const PREFIX_BYTES: usize = 5;

/// The names of gRPC's status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Attempt for GrpcCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let Network { dialer, tls, .. } = network;
        let host = host(&self.host);
        let stream = dialer.dial(host.clone(), self.port, trace).await?;
        if self.tls {
            let stream = tls.handshake(host, stream, Alpn::Http2, trace).await?;
            tls.outlasts(self.certificate_days, &stream, trace);
            converse(self, stream, trace).await?;
        } else {
            converse(self, stream, trace).await?;
        }
        trace.verdict()
    }
}

/// Makes the call over a fresh connection and judges the answer.
async fn converse(
    check: &GrpcCheck,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    trace: &mut Trace,
) -> Result<(), Stopped> {
    let request = request(check)?;
    let mut http2 = Builder::new();
    http2.enable_push(false).max_header_list_size(MAX_HEAD_BYTES as u32);
    trace.awaited = Some("the answer of grpc.health.v1.Health".to_owned());
    let stream = Bounded::new(stream, MAX_READ_BYTES);
    let (sender, connection) = http2.handshake(stream).await.map_err(|error| broken(&error))?;
    let call = pin!(call(check, sender, request, trace));
    match select(pin!(connection), call).await {
        // What has come before the connection ended stands.
        Either::Left((_, call)) => call.await,
        Either::Right((verdict, _)) => verdict,
    }
}

fn request(check: &GrpcCheck) -> Result<Request<()>, Stopped> {
    let scheme = if check.tls { "https" } else { "http" };
    let place = format!("{scheme}://{}:{}{METHOD}", host(&check.host), check.port);
    Request::post(place)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, OUR_NAME)
        .body(())
        .map_err(|error| Stopped::unmeasured(format_args!("the request cannot be sent: {error}")))
}

async fn call(
    check: &GrpcCheck,
    sender: SendRequest<Bytes>,
    request: Request<()>,
    trace: &mut Trace,
) -> Result<(), Stopped> {
    let failed = |error| broken(&error);
    let question = framed(&HealthCheckRequest { service: check.service.clone() });
    let started = Instant::now();
    let mut sender = sender.ready().await.map_err(failed)?;
    let (answer, mut body) = sender.send_request(request, false).map_err(failed)?;
    body.send_data(question, true).map_err(failed)?;
    let answer = answer.await.map_err(failed)?;
    add(&mut trace.phases.first_byte, started);
    trace.http_status = Some(answer.status().as_u16());
    speaks_grpc(&answer)?;
    // An answer without a message has its trailers in its head.
    if let Some(code) = code(answer.headers()) {
        return judge(check, code, answer.headers(), &[]);
    }
    let started = Instant::now();
    let mut body = answer.into_body();
    let message = read(&mut body).await?;
    let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
    add(&mut trace.phases.body, started);
    let code = code(&trailers).ok_or_else(|| protocol("the answer has no gRPC status"))?;
    judge(check, code, &trailers, &message)
}

/// A message with its prefix: not compressed, its length.
fn framed(message: &HealthCheckRequest) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// Whether what answers is a gRPC server.
fn speaks_grpc(answer: &Response<RecvStream>) -> Result<(), Stopped> {
    let status = answer.status();
    if status != StatusCode::OK {
        let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        let detail = format_args!("{}{reason} instead of a gRPC answer", status.as_u16());
        return Err(Stopped::failed(FailureKind::Status, detail));
    }
    let kind = answer.headers().get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
    match kind {
        Some(kind) if kind.starts_with("application/grpc") => Ok(()),
        Some(kind) => {
            let kind = result::clean(&kind, MAX_TOLD_CHARS);
            Err(protocol(format_args!("the answer is not gRPC, but `{kind}`")))
        }
        None => Err(protocol("the answer is not gRPC")),
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, Stopped> {
    let mut message = vec![];
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| broken(&error))?;
        if message.len() + data.len() > MAX_ANSWER_BYTES {
            return Err(protocol("the answer is too large"));
        }
        message.extend_from_slice(&data);
        // Nothing is lost if the stream has ended meanwhile.
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(message)
}

/// The number of the call's status, if it has come.
fn code(trailers: &HeaderMap) -> Option<usize> {
    let text = trailers.get("grpc-status")?.to_str().ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX))
}

/// What the call's status and message mean.
fn judge(check: &GrpcCheck, code: usize, trailers: &HeaderMap, message: &[u8]) -> Result<(), Stopped> {
    let service = if check.service.is_empty() { "the server" } else { &check.service };
    let name = CODES.get(code).copied();
    let detail = match name {
        Some("OK") => match serving(message)? {
            Ok(ServingStatus::Serving) => return Ok(()),
            Ok(other) => format!("{service} is {}", other.as_str_name()),
            Err(number) => format!("{service} has the unknown status {number}"),
        },
        Some("NOT_FOUND") if check.service.is_empty() => {
            "the server has no status for itself as a whole".to_owned()
        }
        Some("NOT_FOUND") => format!("unknown service {service}"),
        Some("UNIMPLEMENTED") => "the server has no grpc.health.v1.Health service".to_owned(),
        _ => {
            let said = trailers.get("grpc-message").and_then(|said| said.to_str().ok()).unwrap_or_default();
            let said = String::from_utf8_lossy(&percent_decoded(said)).into_owned();
            let colon = if said.is_empty() { "" } else { ": " };
            let name = name.map_or_else(|| "an unknown gRPC status".to_owned(), str::to_owned);
            format!("{name}{colon}{}", result::clean(&said, MAX_TOLD_CHARS))
        }
    };
    Err(Stopped::failed(FailureKind::Status, detail))
}

/// The status in a message with its prefix; as a number if it has no name.
fn serving(mut message: &[u8]) -> Result<Result<ServingStatus, i32>, Stopped> {
    let unreadable = || protocol("the answer is not a HealthCheckResponse");
    if message.len() < PREFIX_BYTES {
        return Err(unreadable());
    }
    let (flag, length) = (message.get_u8(), message.get_u32());
    if flag != 0 {
        return Err(protocol("the answer is compressed, which was not asked for"));
    }
    if usize::try_from(length) != Ok(message.len()) {
        return Err(unreadable());
    }
    let answer = HealthCheckResponse::decode(message).map_err(|_| unreadable())?;
    Ok(ServingStatus::try_from(answer.status).map_err(|_| answer.status))
}

/// What an error in the middle of a call means.
pub(super) fn broken(error: &h2::Error) -> Stopped {
    if let Some(io) = error.get_io() {
        // Half a frame before the end has no kind of its own.
        return if io.kind() == std::io::ErrorKind::Other { protocol(CLOSED) } else { cut_off(io) };
    }
    let Some(reason) = error.reason() else { return protocol(CLOSED) };
    match reason {
        reason if error.is_remote() && error.is_reset() => {
            protocol(format_args!("the server broke off the call ({reason:?})"))
        }
        reason if error.is_remote() => {
            protocol(format_args!("the server closed the connection ({reason:?})"))
        }
        // What the library itself resets is one call, for its header.
        _ if error.is_reset() => protocol("the answer's header is malformed or too large"),
        Reason::ENHANCE_YOUR_CALM => protocol("the server floods the connection"),
        _ => protocol("the answer is not HTTP/2"),
    }
}

fn protocol(detail: impl std::fmt::Display) -> Stopped {
    Stopped::failed(FailureKind::Protocol, detail)
}
