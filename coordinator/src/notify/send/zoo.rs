//! Receivers that behave badly, each on a loopback port, and what an attempt makes of them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use model::{Clock, SystemClock};

use super::*;

/// Long enough for a loopback exchange on a busy machine, short enough to wait for.
const DEADLINE: Duration = Duration::from_secs(1);
/// What an attempt may take beyond its deadline.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_good_answer_is_delivered_and_the_request_is_what_it_should_be() {
    let mut seen = String::new();
    let attempted = attempt("/in?key=hush", async |mut stream| {
        seen = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        pending::<()>().await;
    })
    .await;
    assert_eq!(attempted.outcome, Outcome::Delivered);
    assert_eq!((attempted.status, attempted.detail.as_str()), (Some(200), "200 OK"));
    assert_eq!(attempted.answer, b"ok");
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /in?key=hush HTTP/1.1\r\n"), "{head}");
    for header in ["host: 127.0.0.1:", "webhook-id: dlv_1", "user-agent: Vigilmon/", "content-length: 9"] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    assert!(!head.contains("accept-encoding"), "{head}");
    assert_eq!(body, r#"{"a":"b"}"#);
}

#[tokio::test]
async fn an_answer_without_content_or_reason_is_delivered() {
    assert_eq!(answered("HTTP/1.1 204\r\n\r\n").await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_server_error_fails_with_its_words_kept() {
    let attempted = answered("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nbusy").await;
    assert_eq!(attempted.outcome, failed());
    assert_eq!((attempted.status, attempted.detail.as_str()), (Some(500), "500 Internal Server Error"));
    assert_eq!(attempted.answer, b"busy");
}

#[tokio::test]
async fn too_many_requests_tells_when_to_come_back() {
    let attempted = answered("HTTP/1.1 429 Slow Down\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(attempted.outcome, Outcome::Failed { retry_after: Some(Duration::from_secs(7)) });
    let attempted =
        answered("HTTP/1.1 429 Slow Down\r\nretry-after: later\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(attempted.outcome, failed());
}

#[tokio::test]
async fn gone_is_gone() {
    let attempted = answered("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((attempted.outcome, attempted.status), (Outcome::Gone, Some(410)));
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_not_followed() {
    let attempted = answered(
        "HTTP/1.1 301 Moved\r\nlocation: http://169.254.169.254/latest/hush\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), Some(301)));
    assert_eq!(attempted.detail, "301 Moved Permanently: redirects are not followed, use the final URL");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        pending::<()>().await;
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert_eq!(attempted.detail, "timeout after 1 s");
}

#[tokio::test]
async fn a_receiver_that_never_reads_ends_at_the_deadline() {
    let body = Bytes::from(vec![b' '; 32 << 20]);
    let attempted = attempt_with("http", "/", body, None, async |_stream| pending::<()>().await).await;
    assert_eq!(attempted.detail, "timeout after 1 s");
}

#[tokio::test]
async fn headers_that_never_end_are_given_up_on() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: of the same, again and again\r\n").await.is_ok() {}
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert!(attempted.detail.starts_with("broken answer"), "{}", attempted.detail);
}

#[tokio::test]
async fn a_header_that_drips_ends_at_the_deadline() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-drip: ").await;
        drip(&mut stream).await;
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert_eq!(attempted.detail, "timeout after 1 s");
}

#[tokio::test]
async fn interim_answers_without_end_are_given_up_on() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
    })
    .await;
    assert_eq!((attempted.outcome, attempted.detail.as_str()), (failed(), "the answer has no end"));
}

#[tokio::test]
async fn a_body_that_is_announced_and_never_comes_ends_at_the_deadline() {
    let attempted = answered("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
    assert_eq!(attempted.outcome, Outcome::Delivered);
    assert_eq!(attempted.detail, "200 OK (then timeout after 1 s)");
}

#[tokio::test]
async fn chunks_that_break_off_leave_the_status_standing() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    assert_eq!((attempted.outcome, attempted.answer.as_slice()), (Outcome::Delivered, &b"ok"[..]));
    assert!(attempted.detail.starts_with("200 OK (then "), "{}", attempted.detail);
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline_and_the_status_stands() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        drip(&mut stream).await;
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (Outcome::Delivered, Some(200)));
    assert_eq!(attempted.detail, "200 OK (then timeout after 1 s)");
    assert!((1..150).contains(&attempted.answer.len()));
}

#[tokio::test]
async fn of_a_body_of_ten_gibibytes_little_is_read_and_less_kept() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let attempted = attempt("/", async move |mut stream| {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n").await;
        let chunk = [b'x'; 4_096];
        while stream.write_all(&chunk).await.is_ok() {
            count.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!((attempted.outcome, attempted.detail.as_str()), (Outcome::Delivered, "200 OK"));
    assert_eq!(attempted.answer.len(), MAX_KEPT_BYTES);
    // What the kernel buffers between the two ends counts as written, too.
    assert!(written.load(Ordering::SeqCst) < 16 << 20);
}

#[tokio::test]
async fn compressed_answers_are_kept_as_they_came() {
    let attempted =
        answered("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f...").await;
    assert_eq!((attempted.outcome, attempted.answer.as_slice()), (Outcome::Delivered, &b"\x1f..."[..]));
}

#[tokio::test]
async fn a_reset_instead_of_an_answer_fails() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        reset(stream);
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert_eq!(attempted.detail, "connection reset");
}

#[tokio::test]
async fn a_close_instead_of_an_answer_fails() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
    })
    .await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert!(attempted.detail.starts_with("broken answer: connection closed"), "{}", attempted.detail);
}

#[tokio::test]
async fn http_1_0_is_understood() {
    let attempted = attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil close").await.unwrap();
    })
    .await;
    assert_eq!((attempted.outcome, attempted.answer.as_slice()), (Outcome::Delivered, &b"until close"[..]));
}

#[tokio::test]
async fn garbage_fails() {
    for garbage in ["SSH-2.0-OpenSSH_9.7\r\n", "\0\0\0\0\0\0\0\0", "HTTP/1.1 9999 Huge\r\n\r\n", "<html>"] {
        let attempted = attempt("/", async |mut stream| {
            read_request(&mut stream).await;
            stream.write_all(garbage.as_bytes()).await.unwrap();
        })
        .await;
        assert_eq!((attempted.outcome, attempted.status), (failed(), None), "{garbage:?}");
        assert!(attempted.detail.starts_with("broken answer"), "{}", attempted.detail);
    }
}

#[tokio::test]
async fn a_switch_of_protocols_fails() {
    let attempted =
        answered("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    assert_eq!(attempted.outcome, failed());
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = ReceiverUrl::parse(&format!("http://127.0.0.1:{port}/hush")).unwrap();
    let attempted = sender(&["127.0.0.0/8"], None).send(&request(&url, Bytes::new())).await;
    assert_eq!((attempted.outcome, attempted.detail.as_str()), (failed(), "connection refused"));
}

#[tokio::test]
async fn private_receivers_are_refused_by_default_by_address_and_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        let url = ReceiverUrl::parse(&format!("http://{host}:{port}/hush")).unwrap();
        let attempted = sender(&[], None).send(&request(&url, Bytes::new())).await;
        assert_eq!((attempted.outcome, attempted.status), (failed(), None), "{host}");
        assert!(attempted.detail.contains("--allow-receiver"), "{}", attempted.detail);
        assert!(!attempted.detail.contains("hush"), "{}", attempted.detail);
    }
    assert!(listener.accept().now_or_never().is_none(), "somebody connected");
}

#[tokio::test]
async fn a_certificate_from_nobody_is_refused_until_it_is_trusted() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let serve = async |stream: TcpStream| {
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        pending::<()>().await;
    };
    let attempted = attempt_with("https", "/", Bytes::new(), None, serve).await;
    assert_eq!((attempted.outcome, attempted.status), (failed(), None));
    assert!(attempted.detail.starts_with("TLS: invalid peer certificate"), "{}", attempted.detail);
    let attempted = attempt_with("https", "/", Bytes::new(), Some(&own.cert.pem()), serve).await;
    assert_eq!(attempted.outcome, Outcome::Delivered, "{}", attempted.detail);
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_tls_fails() {
    let attempted = attempt_with("https", "/", Bytes::new(), None, async |mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        pending::<()>().await;
    })
    .await;
    assert!(attempted.detail.starts_with("TLS: "), "{}", attempted.detail);
}

/// An attempt at a receiver that reads the request and answers with `answer`, leaving the connection open.
async fn answered(answer: &str) -> Attempted {
    attempt("/", async |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        pending::<()>().await;
    })
    .await
}

async fn attempt(path: &str, receiver: impl AsyncFnOnce(TcpStream)) -> Attempted {
    attempt_with("http", path, Bytes::from_static(br#"{"a":"b"}"#), None, receiver).await
}

/// An attempt at a receiver on a loopback port, which lives in the same task for as long as the attempt does.
async fn attempt_with(
    scheme: &str,
    path: &str,
    body: Bytes,
    extra_ca: Option<&str>,
    receiver: impl AsyncFnOnce(TcpStream),
) -> Attempted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = ReceiverUrl::parse(&format!("{scheme}://127.0.0.1:{port}{path}")).unwrap();
    let (sender, request) = (sender(&["127.0.0.0/8"], extra_ca), request(&url, body));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        receiver(stream).await;
        pending::<()>().await;
    };
    let attempted = tokio::select! {
        attempted = sender.send(&request) => attempted,
        () = serve => unreachable!("the receiver stays"),
    };
    assert!(attempted.duration < DEADLINE + SLACK, "took {:?}", attempted.duration);
    assert!(!attempted.detail.contains("hush"), "{}", attempted.detail);
    attempted
}

fn sender(allow: &[&str], extra_ca: Option<&str>) -> Sender {
    let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    Sender::new(clock, Limits { deadline: DEADLINE, allow, own: vec![] }, extra_ca.map(str::as_bytes))
        .unwrap()
}

fn request(url: &ReceiverUrl, body: Bytes) -> Outgoing {
    let request = Request::post(url.clone(), body);
    Outgoing::Http(request.with_header(HeaderName::from_static("webhook-id"), "dlv_1").unwrap())
}

fn failed() -> Outcome {
    Outcome::Failed { retry_after: None }
}

/// Reads a request with a content length to its end.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text.into_owned();
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return String::from_utf8_lossy(&request).into_owned();
        }
    }
}

async fn drip(stream: &mut TcpStream) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while stream.write_all(b"x").await.is_ok() {
        tick.tick().await;
    }
}

/// Closes so that the other end sees a reset, not an end.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}
