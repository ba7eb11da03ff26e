//! Targets that speak gRPC, well and badly.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, server};
use http::{HeaderMap, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use model::{Check, FailureKind, Outcome};
use rcgen::date_time_ymd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

use super::{AddressPolicy, Authority, Checker, Finding, HASTE, TIMEOUT, Target, fail};

/// `SERVING`, as a server frames it.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

/// What an answer consists of.
#[derive(Clone)]
struct Script {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    trailers: Vec<(&'static str, &'static str)>,
}

impl Script {
    fn new(body: &[u8], trailers: &[(&'static str, &'static str)]) -> Self {
        Self { status: 200, kind: "application/grpc", body: body.to_vec(), trailers: trailers.to_vec() }
    }

    fn play(self, mut call: SendResponse<Bytes>) {
        let head = Response::builder().status(self.status).header("content-type", self.kind);
        let mut answer = call.send_response(head.body(()).unwrap(), false).unwrap();
        let trailers =
            self.trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        answer.send_data(self.body.into(), false).unwrap();
        answer.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
    }
}

impl Target {
    /// Hands the first call of every connection to `serve`, and drives the connection to its end.
    async fn called(serve: impl Fn(SendResponse<Bytes>) + Clone + Send + Sync + 'static) -> Self {
        Self::new(move |stream| {
            let serve = serve.clone();
            async move {
                let mut connection = server::handshake(stream).await.unwrap();
                while let Some(Ok((_, call))) = connection.accept().await {
                    serve(call);
                }
            }
        })
        .await
    }

    async fn playing(script: Script) -> Self {
        Self::called(move |call| script.clone().play(call)).await
    }

    /// Takes a call, answers with `head`, and then with `more` again and again, whatever is said meanwhile.
    async fn flooding(head: Vec<u8>, more: Vec<u8>) -> Self {
        Self::new(move |mut stream| {
            let (head, more) = (head.clone(), more.clone());
            async move {
                take_call(&mut stream).await;
                let (mut reader, mut writer) = stream.split();
                let flood = async {
                    let _ = writer.write_all(&head).await;
                    while writer.write_all(&more).await.is_ok() {}
                };
                let mut heard = tokio::io::sink();
                let _ = tokio::join!(flood, tokio::io::copy(&mut reader, &mut heard));
            }
        })
        .await
    }

    fn grpc(&self, service: &str) -> Check {
        Check::from_target(&format!("grpc://{}/{service}", self.address)).unwrap()
    }

    async fn asked(&self, service: &str) -> Outcome {
        run(&self.grpc(service), TIMEOUT).await.outcome
    }
}

/// Reads the client's preface and frames up to the head of its call.
async fn take_call(stream: &mut (impl AsyncRead + Unpin)) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    let mut head = [0; 9];
    while head[3] != 1 {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// A gRPC server that is healthy as a whole, but not in all its services.
async fn serve_health(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("acme.v1.Orders", ServingStatus::NotServing).await;
    reporter.set_service_status("acme.v1.Stock", ServingStatus::Unknown).await;
    let routes = TowerToHyperService::new(Routes::new(service));
    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = http2.serve_connection(TokioIo::new(stream), routes).await;
}

async fn run(check: &Check, timeout: Duration) -> Finding {
    Checker::new(AddressPolicy::default(), None).unwrap().run(Some(check), timeout).await
}

fn broken(detail: &str) -> Outcome {
    fail(FailureKind::Protocol, detail)
}

fn status(detail: &str) -> Outcome {
    fail(FailureKind::Status, detail)
}

#[tokio::test]
async fn a_server_that_serves_passes_with_its_phases_timed_apart() {
    let target = Target::new(serve_health).await;
    let finding = run(&target.grpc(""), TIMEOUT).await;
    assert_eq!((finding.outcome, finding.http_status), (Outcome::Pass, Some(200)));
    assert_eq!(finding.peer, Some(target.address.ip()));
    let phases = finding.phases;
    assert!(phases.connect.is_some() && phases.first_byte.is_some() && phases.body.is_some());
    assert!(phases.dns.is_none() && phases.tls.is_none());

    let by_name = Check::from_target(&format!("grpc://localhost:{}", target.address.port())).unwrap();
    let finding = run(&by_name, TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.dns.is_some());
}

#[tokio::test]
async fn a_service_that_does_not_serve_is_named_with_its_status() {
    let target = Target::new(serve_health).await;
    assert_eq!(target.asked("acme.v1.Orders").await, status("acme.v1.Orders is NOT_SERVING"));
    assert_eq!(target.asked("acme.v1.Stock").await, status("acme.v1.Stock is UNKNOWN"));
    assert_eq!(target.asked("acme.v1.Nobody").await, status("unknown service acme.v1.Nobody"));
    let odd = |status| [&SERVING[..6], &[status]].concat();
    let ok = [("grpc-status", "0")];
    let target = Target::playing(Script::new(&odd(2), &ok)).await;
    assert_eq!(target.asked("").await, status("the server is NOT_SERVING"));
    let target = Target::playing(Script::new(&odd(3), &ok)).await;
    assert_eq!(target.asked("").await, status("the server is SERVICE_UNKNOWN"));
    let target = Target::playing(Script::new(&[], &[("grpc-status", "5")])).await;
    assert_eq!(target.asked("").await, status("the server has no status for itself as a whole"));
    let target = Target::playing(Script::new(&odd(9), &ok)).await;
    assert_eq!(target.asked("").await, status("the server has the unknown status 9"));
}

#[tokio::test]
async fn other_answers_are_told_by_their_code_and_what_the_server_says() {
    for (trailers, detail) in [
        (vec![("grpc-status", "12")], "the server has no grpc.health.v1.Health service"),
        (vec![("grpc-status", "14")], "UNAVAILABLE"),
        (
            vec![("grpc-status", "16"), ("grpc-message", "no%20token%0a%1b[31m")],
            "UNAUTHENTICATED: no token  [31m",
        ),
        (vec![("grpc-status", "8"), ("grpc-message", "%ff%zz")], "RESOURCE_EXHAUSTED: \u{fffd}%zz"),
        (vec![("grpc-status", "17")], "an unknown gRPC status"),
        (vec![("grpc-status", "x"), ("grpc-message", "eh")], "an unknown gRPC status: eh"),
        // The generated clients of tonic panic at this one.
        (vec![("grpc-status", "13"), ("grpc-status-details-bin", "!")], "INTERNAL"),
    ] {
        let target = Target::playing(Script::new(&[], &trailers)).await;
        assert_eq!(target.asked("a.B").await, status(detail), "{trailers:?}");
        let target = Target::called(move |mut call| {
            let mut head = Response::builder().header("content-type", "application/grpc+proto");
            for (name, value) in &trailers {
                head = head.header(*name, *value);
            }
            call.send_response(head.body(()).unwrap(), true).unwrap();
        });
        assert_eq!(target.await.asked("a.B").await, status(detail), "with its trailers in its head");
    }
}

#[tokio::test]
async fn a_web_server_is_no_grpc_server() {
    for (code, kind, expected) in [
        (404, "text/html", status("404 Not Found instead of a gRPC answer")),
        (599, "text/html", status("599 instead of a gRPC answer")),
        (200, "text/html", broken("the answer is not gRPC, but `text/html`")),
    ] {
        let script = Script { status: code, kind, ..Script::new(b"<html>", &[]) };
        let finding = run(&Target::playing(script).await.grpc(""), TIMEOUT).await;
        assert_eq!((finding.outcome, finding.http_status), (expected, Some(code)));
    }
    let http1 = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for answer in [http1, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"] {
        let target = Target::new(move |mut stream| async move {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read_to_end(&mut vec![]).await;
        });
        assert_eq!(target.await.asked("").await, broken("the answer is not HTTP/2"), "{answer}");
    }
}

#[tokio::test]
async fn a_message_that_is_none_is_told_as_such() {
    let ok = [("grpc-status", "0")];
    let unreadable = "the answer is not a HealthCheckResponse";
    for (body, trailers, detail) in [
        (&b""[..], &ok[..], unreadable),
        (&SERVING[..6], &ok, unreadable),
        (&[0, 0, 0, 0, 1, 0xff], &ok, unreadable),
        (&[0, 0xff, 0xff, 0xff, 0xff, 8, 1], &ok, unreadable),
        (&[1, 0, 0, 0, 2, 8, 1], &ok, "the answer is compressed, which was not asked for"),
        (SERVING, &[], "the answer has no gRPC status"),
        (&[0; 100_000], &ok, "the answer is too large"),
    ] {
        let target = Target::playing(Script::new(body, trailers)).await;
        assert_eq!(target.asked("").await, broken(detail), "{:?}", &body[..body.len().min(9)]);
    }
}

#[tokio::test]
async fn an_end_before_the_answer_is_told_as_it_came() {
    let target = Target::called(|mut call| call.send_reset(Reason::INTERNAL_ERROR)).await;
    assert_eq!(target.asked("").await, broken("the server broke off the call (INTERNAL_ERROR)"));

    let goaway = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]);
    for (last, detail) in [
        (goaway, "the server closed the connection (ENHANCE_YOUR_CALM)"),
        (vec![], "connection closed before the answer was complete"),
        (vec![0, 0], "connection closed before the answer was complete"),
    ] {
        let target = Target::new(move |mut stream| {
            let bytes = [settings(), last.clone()].concat();
            async move {
                take_call(&mut stream).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut vec![]).await;
            }
        });
        assert_eq!(target.await.asked("").await, broken(detail));
    }
    let reset = Target::new(|mut stream| async move {
        take_call(&mut stream).await;
        #[expect(deprecated, reason = "lingering for zero seconds does not block")]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(reset.await.asked("").await, fail(FailureKind::Connect, "connection reset"));
}

#[tokio::test]
async fn no_more_than_a_bounded_amount_is_taken() {
    let target = Target::flooding(vec![], frame(4, 0, 0, &[0xff; 6_000])).await;
    assert_eq!(target.asked("").await, broken("the answer is too large"), "settings");
    let target = Target::flooding(settings(), frame(6, 0, 0, &[7; 8]).repeat(500)).await;
    assert_eq!(target.asked("").await, broken("the answer is too large"), "pings");

    // A header field without an index, `x`, of 16,000 bytes.
    let field = [&[0, 1, b'x', 0x7f, 0x81, 0x7c][..], &[b'y'; 16_000]].concat();
    let head = [settings(), frame(1, 0, 1, &[0x88])].concat();
    let target = Target::flooding(head, frame(9, 0, 1, &field)).await;
    assert_eq!(target.asked("").await, broken("the server floods the connection"));
    let target = Target::called(|mut call| {
        let head = Response::builder().header("x", "y".repeat(100_000));
        call.send_response(head.body(()).unwrap(), true).unwrap();
    });
    assert_eq!(target.await.asked("").await, broken("the answer's header is malformed or too large"));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let silent = Target::new(|mut stream| async move {
        let _ = stream.read_to_end(&mut vec![]).await;
    });
    let target = silent.await;
    let finding = run(&target.grpc(""), HASTE).await;
    let detail = "timeout after 300 ms waiting for the answer of grpc.health.v1.Health";
    assert_eq!(finding.outcome, fail(FailureKind::Timeout, detail));
    assert!(finding.phases.connect.is_some(), "what was reached is kept");
}

#[tokio::test]
async fn denied_addresses_are_not_connected_to() {
    let target = Target::new(serve_health).await;
    let checker =
        Checker::new(AddressPolicy { deny_private: true, ..AddressPolicy::default() }, None).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let check = Check::from_target(&format!("grpc://{host}:{}", target.address.port())).unwrap();
        let Outcome::Error(why) = checker.run(Some(&check), TIMEOUT).await.outcome else { panic!("{host}") };
        assert!(why.contains("is not allowed"), "{why}");
    }
}

#[tokio::test]
async fn over_tls_http2_is_asked_for_and_the_certificate_is_judged() {
    let authority = Authority::new("ours");
    let target = authority
        .serving(
            |params| params.not_after = date_time_ymd(2100, 1, 1),
            |stream| async move {
                // A client that does not name HTTP/2 gets no answer.
                if stream.get_ref().1.alpn_protocol() == Some(&b"h2"[..]) {
                    serve_health(stream).await;
                }
            },
        )
        .await;
    let mut check = Check::from_target(&format!("grpcs://localhost:{}", target.address.port())).unwrap();
    let untrusted = run(&check, TIMEOUT).await.outcome;
    assert_eq!(untrusted, fail(FailureKind::Certificate, "certificate from an unknown authority"));
    let finding = authority.checker().run(Some(&check), TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.tls.is_some());
    if let Check::Grpc(grpc) = &mut check {
        grpc.certificate_days = u16::MAX;
    }
    let outcome = authority.checker().run(Some(&check), TIMEOUT).await.outcome;
    let Outcome::Fail(failure) = outcome else { panic!("it ends too soon") };
    assert_eq!(failure.kind, FailureKind::Certificate);
    assert!(failure.detail.starts_with("certificate expires in "), "{failure:?}");
}
