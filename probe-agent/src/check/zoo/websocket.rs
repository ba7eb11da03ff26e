//! Targets that speak WebSocket, well and badly.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::{Check, FailureKind, Outcome};
use rcgen::date_time_ymd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::{AddressPolicy, Authority, Checker, Finding, HASTE, TIMEOUT, Target, fail, request};

/// Enough for something to arrive before it ends, on a busy machine too.
const HURRY: Duration = Duration::from_secs(2);

impl Target {
    /// Upgrades every connection and hands it to `serve`.
    async fn upgraded<F>(
        serve: impl Fn(WebSocketStream<tokio::net::TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        Self::new(move |stream| {
            let serve = serve.clone();
            async move { serve(accept_async(stream).await.unwrap()).await }
        })
        .await
    }

    /// Upgrades every connection, then sends these bytes, which need not be frames, and closes.
    async fn framing(bytes: Vec<u8>) -> Self {
        Self::upgrading("Connection: upgrade, keep-alive\r\n", bytes).await
    }

    /// Answers with an upgrade that has these headers besides, then sends these bytes and closes.
    async fn upgrading(headers: &'static str, bytes: Vec<u8>) -> Self {
        Self::new(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let head = upgrade_to(&mut stream, headers).await;
                let _ = stream.write_all(&[head.as_bytes(), &bytes].concat()).await;
                let _ = stream.shutdown().await;
                // Until the other side closes: what it has sent unread would otherwise reset the connection.
                let _ = stream.read_to_end(&mut vec![]).await;
            }
        })
        .await
    }

    fn ws(&self) -> String {
        format!("ws://{}/chat", self.address)
    }
}

/// Takes the request for an upgrade. Returns the answer's head, which has `headers` besides.
async fn upgrade_to(stream: &mut (impl AsyncRead + Unpin), headers: &str) -> String {
    let request = request(stream).await;
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n";
    format!("{head}{headers}Sec-WebSocket-Accept: {accept}\r\n\r\n")
}

/// A frame of a server: first byte, length, payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(payload.len()).unwrap()], payload].concat()
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_close() {
            let _ = socket.send(message).await;
        }
    }
}

fn socket(url: &str, send: &str, expect: &[&str]) -> Check {
    let mut check = Check::from_target(url).unwrap();
    let Check::WebSocket(socket) = &mut check else { panic!("it is a WebSocket") };
    socket.send = send.to_owned();
    socket.expect = expect.iter().map(|&text| text.to_owned()).collect();
    check
}

async fn run(check: &Check, timeout: Duration) -> Finding {
    Checker::new(AddressPolicy::default(), None).unwrap().run(Some(check), timeout).await
}

async fn outcome(target: &Target, expect: &[&str]) -> Outcome {
    run(&socket(&target.ws(), "", expect), TIMEOUT).await.outcome
}

fn broken(detail: &str) -> Outcome {
    fail(FailureKind::Protocol, detail)
}

fn missed(detail: &str) -> Outcome {
    fail(FailureKind::Body, detail)
}

#[tokio::test]
async fn an_upgrade_alone_passes_with_its_phases_timed_apart() {
    let target = Target::upgraded(echo).await;
    let finding = run(&socket(&target.ws(), "", &[]), TIMEOUT).await;
    assert_eq!((finding.outcome, finding.http_status), (Outcome::Pass, Some(101)));
    assert_eq!(finding.peer, Some(target.address.ip()));
    let phases = finding.phases;
    assert!(phases.connect.is_some() && phases.first_byte.is_some());
    assert!(phases.dns.is_none() && phases.tls.is_none() && phases.body.is_none());
}

#[tokio::test]
async fn what_is_sent_comes_as_text_if_it_is_and_the_answer_is_searched() {
    let target = Target::upgraded(echo).await;
    let url = format!("ws://localhost:{}", target.address.port());
    for send in [r#"{"op":"ping"}\n"#, r"\x00\xff\xfe"] {
        let finding = run(&socket(&url, send, &[send]), TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{send}");
        assert!(finding.phases.dns.is_some() && finding.phases.body.is_some());
    }
    let (sent, mut messages) = mpsc::unbounded_channel();
    let target = Target::upgraded(move |mut socket| {
        let sent = sent.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                sent.send(message).unwrap();
            }
        }
    })
    .await;
    run(&socket(&target.ws(), r"a\tb", &[]), TIMEOUT).await;
    assert_eq!(messages.recv().await, Some(Message::text("a\tb")));
    assert_eq!(messages.recv().await, Some(Message::Close(None)), "it says that it goes");
    run(&socket(&target.ws(), r"\xff", &[]), TIMEOUT).await;
    assert_eq!(messages.recv().await, Some(Message::binary(vec![0xff])));
}

#[tokio::test]
async fn expectations_may_come_in_several_messages_but_each_in_one() {
    let target = Target::upgraded(|mut socket| async move {
        for text in ["welcome", "hel", "lo"] {
            let _ = socket.send(Message::text(text)).await;
        }
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    assert_eq!(outcome(&target, &["lo", "welcome", "hel"]).await, Outcome::Pass);
    let detail = "`hello` did not come, but `welcomehello`; connection closed without a code";
    assert_eq!(outcome(&target, &["hello"]).await, missed(detail));
}

#[tokio::test]
async fn pings_are_answered_while_waiting() {
    let target = Target::upgraded(|mut socket| async move {
        let _ = socket.send(Message::Ping(vec![7].into())).await;
        while let Some(Ok(message)) = socket.next().await {
            if message == Message::Pong(vec![7].into()) {
                let _ = socket.send(Message::text("alive")).await;
            }
        }
    })
    .await;
    assert_eq!(outcome(&target, &["alive"]).await, Outcome::Pass);
}

#[tokio::test]
async fn the_request_is_ours_with_the_users_headers_and_credentials() {
    let (sent, mut requests) = mpsc::unbounded_channel();
    let target = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move { sent.send(request(&mut stream).await).unwrap() }
    })
    .await;
    let mut check = socket(&target.ws().replace("ws://", "ws://user:p%40ss@"), "", &[]);
    if let Check::WebSocket(socket) = &mut check {
        socket.headers =
            [("X-Api-Key", "k1"), ("Sec-WebSocket-Key", "theirs"), ("Sec-WebSocket-Version", "8")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec();
    }
    run(&check, TIMEOUT).await;
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /chat HTTP/1.1\r\n"), "{request}");
    for line in [
        format!("host: {}", target.address),
        format!("user-agent: Vigilmon/{}", env!("CARGO_PKG_VERSION")),
        "x-api-key: k1".into(),
        "authorization: Basic dXNlcjpwQHNz".into(),
        "connection: Upgrade".into(),
        "upgrade: websocket".into(),
        "sec-websocket-version: 13".into(),
    ] {
        assert_eq!(request.lines().filter(|it| **it == line).count(), 1, "{line} in {request}");
    }
    assert!(!request.contains("theirs"), "{request}");
}

#[tokio::test]
async fn any_other_status_than_the_upgrade_is_told_and_no_redirect_is_followed() {
    for (head, detail, status) in [
        ("HTTP/1.1 404 Not Found", "404 Not Found instead of an upgrade", 404),
        ("HTTP/1.0 502 Bad Gateway", "502 Bad Gateway instead of an upgrade", 502),
        ("HTTP/1.1 200 OK", "200 OK instead of an upgrade", 200),
        ("HTTP/1.1 301 Moved Permanently\r\nlocation: /", "301 Moved Permanently instead of an upgrade", 301),
    ] {
        let target = Target::answering(format!("{head}\r\ncontent-length: 0\r\n\r\n")).await;
        let finding = run(&socket(&target.ws(), "", &[]), TIMEOUT).await;
        assert_eq!(finding.outcome, fail(FailureKind::Status, detail));
        assert_eq!(finding.http_status, Some(status));
    }
}

#[tokio::test]
async fn an_upgrade_that_browsers_refuse_is_refused() {
    let target = Target::upgrading("Connection: keep-alive\r\n", vec![]).await;
    assert_eq!(outcome(&target, &[]).await, broken("101 Switching Protocols, but not to a WebSocket"));
    let wrong = "Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n";
    let target = Target::upgrading(wrong, vec![]).await;
    assert_eq!(outcome(&target, &[]).await, broken("the upgrade has a wrong Sec-WebSocket-Accept header"));
    for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
        let headers: &'static str = format!("Connection: Upgrade\r\n{name}: x\r\n").leak();
        let detail = format!("the upgrade has a {name} header, which was not asked for");
        assert_eq!(outcome(&Target::upgrading(headers, vec![]).await, &[]).await, broken(&detail));
    }
}

#[tokio::test]
async fn a_protocol_that_was_asked_for_may_be_chosen() {
    let target = Target::upgrading("Connection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n", vec![]).await;
    let mut check = socket(&target.ws(), "", &[]);
    if let Check::WebSocket(socket) = &mut check {
        socket.headers = vec![("Sec-WebSocket-Protocol".into(), "mqtt".into())];
    }
    assert_eq!(run(&check, TIMEOUT).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn frames_that_come_with_the_upgrade_are_not_lost() {
    let target = Target::framing(frame(0x81, b"welcome")).await;
    assert_eq!(outcome(&target, &["welcome"]).await, Outcome::Pass);
}

#[tokio::test]
async fn how_the_server_closed_is_told() {
    let target = Target::upgraded(|mut socket| async move {
        let frame = CloseFrame { code: CloseCode::Error, reason: "no\u{7}database".into() };
        let _ = socket.close(Some(frame)).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let detail = "connection closed with code 1011 `no database` before `welcome` came";
    assert_eq!(outcome(&target, &["welcome"]).await, missed(detail));
    assert_eq!(outcome(&target, &[]).await, Outcome::Pass, "nothing was expected after the upgrade");
    for bytes in [vec![], vec![0x81], vec![0x81, 5, b'h']] {
        let target = Target::framing(bytes.clone()).await;
        let detail = "connection closed before `welcome` came";
        assert_eq!(outcome(&target, &["welcome"]).await, missed(detail), "{bytes:?}");
    }
}

#[tokio::test]
async fn what_is_no_frame_is_told_as_such() {
    for (bytes, detail) in [
        (b"HTTP/1.1 400 Bad Request\r\n".repeat(9), "not a WebSocket frame: Reserved bits are non-zero"),
        (frame(0x83, b""), "not a WebSocket frame: Encountered invalid opcode: 3"),
        (vec![0x81, 0x80, 0, 0, 0, 0], "not a WebSocket frame: Received a masked frame from server"),
        (frame(0x81, b"\xff\xfe"), "a text message is not UTF-8"),
    ] {
        let target = Target::framing(bytes).await;
        assert_eq!(outcome(&target, &["welcome"]).await, broken(detail));
    }
}

#[tokio::test]
async fn no_more_than_a_bounded_amount_is_taken() {
    let huge = [&[0x82, 127][..], &(2_u64 << 30).to_be_bytes()].concat();
    let target = Target::framing(huge).await;
    assert_eq!(outcome(&target, &["end"]).await, missed("a message is longer than 1 MiB"));

    let endless = |more: &'static [u8]| {
        Target::new(move |mut stream| async move {
            let head = upgrade_to(&mut stream, "Connection: Upgrade\r\n").await;
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(more).await.is_ok() {}
        })
    };
    let messages: &[u8] = frame(0x82, &[b'x'; 125]).repeat(100).leak();
    let target = endless(messages).await;
    assert_eq!(outcome(&target, &["end"]).await, missed("`end` did not come in the first 1 MiB"));
    let empty: &[u8] = frame(0x82, b"").repeat(1_000).leak();
    let many = "`end` did not come in the first 10000 messages";
    assert_eq!(outcome(&endless(empty).await, &["end"]).await, missed(many));
    // Nobody reads the answers: their number is bounded, too.
    let pings: &[u8] = frame(0x89, &[b'x'; 125]).repeat(100).leak();
    let Outcome::Fail(failure) = outcome(&endless(pings).await, &["end"]).await else {
        panic!("it must fail")
    };
    let told = [many, "the server sends pings and does not read the answers"];
    assert!(told.contains(&failure.detail.as_str()), "{failure:?}");

    let head = b"HTTP/1.1 101 Switching Protocols\r\nx-more: ";
    let target = Target::endless(head, &[b'y'; 4_096], Duration::ZERO).await;
    assert_eq!(outcome(&target, &[]).await, broken("the answer's header is too large"));
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_what_did_not_come_is_named() {
    let silent = Target::endless(b"", b"", Duration::from_secs(60)).await;
    let finding = run(&socket(&silent.ws(), "", &[]), HASTE).await;
    let detail = "timeout after 300 ms waiting for the answer to the upgrade";
    assert_eq!(finding.outcome, fail(FailureKind::Timeout, detail));

    let mute =
        Target::upgraded(|mut socket| async move { while let Some(Ok(_)) = socket.next().await {} }).await;
    let finding = run(&socket(&mute.ws(), "hello", &["welcome"]), HURRY).await;
    let detail = "timeout after 2 s waiting for `welcome`";
    assert_eq!(finding.outcome, fail(FailureKind::Timeout, detail));
    assert!(finding.phases.first_byte.is_some(), "what was reached is kept");
}

#[tokio::test]
async fn a_reset_garbage_and_half_an_answer_are_told_as_http_checks_tell_them() {
    let reset = Target::new(|mut stream| async move {
        request(&mut stream).await;
        #[expect(deprecated, reason = "lingering for zero seconds does not block")]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    assert_eq!(outcome(&reset, &[]).await, fail(FailureKind::Connect, "connection reset"));
    let garbage = Target::answering("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_eq!(outcome(&garbage, &[]).await, broken("the answer is not HTTP"));
    let half = Target::answering("HTTP/1.1 101 Switching Prot").await;
    assert_eq!(outcome(&half, &[]).await, broken("connection closed before the answer was complete"));
}

#[tokio::test]
async fn denied_addresses_are_not_connected_to() {
    let target = Target::upgraded(echo).await;
    let checker =
        Checker::new(AddressPolicy { deny_private: true, ..AddressPolicy::default() }, None).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let check = socket(&format!("ws://{host}:{}", target.address.port()), "", &[]);
        let Outcome::Error(why) = checker.run(Some(&check), TIMEOUT).await.outcome else { panic!("{host}") };
        assert!(why.contains("is not allowed"), "{why}");
    }
}

#[tokio::test]
async fn over_tls_the_certificate_is_judged_and_its_end_too() {
    let authority = Authority::new("ours");
    let target = authority
        .serving(
            |params| params.not_after = date_time_ymd(2100, 1, 1),
            |stream| async move {
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                echo(accept_async(stream).await.unwrap()).await;
            },
        )
        .await;
    let mut check = socket(&format!("wss://localhost:{}/", target.address.port()), "hello", &["hello"]);
    let untrusted = run(&check, TIMEOUT).await.outcome;
    assert_eq!(untrusted, fail(FailureKind::Certificate, "certificate from an unknown authority"));
    let finding = authority.checker().run(Some(&check), TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.tls.is_some());
    if let Check::WebSocket(socket) = &mut check {
        socket.certificate_days = u16::MAX;
    }
    let outcome = authority.checker().run(Some(&check), TIMEOUT).await.outcome;
    let Outcome::Fail(failure) = outcome else { panic!("it ends too soon") };
    assert_eq!(failure.kind, FailureKind::Certificate);
    assert!(failure.detail.starts_with("certificate expires in "), "{failure:?}");
}
