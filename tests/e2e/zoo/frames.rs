//! Servers of HTTP/2 and WebSocket that send frames as nobody should.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use proto::probe::v1::FailureKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::stage::{Stage, head};

/// Lets them in.
pub(super) async fn enter(stage: &mut Stage) -> Result<()> {
    health_services(stage).await?;
    sockets(stage).await
}

async fn health_services(stage: &mut Stage) -> Result<()> {
    let settings = frame(4, 0, 0, &[]);
    // `:status: 200`, and as literals `content-type: application/grpc` and `grpc-status: 0`.
    let answered = [&[0x88, 0x0f, 0x10, 16][..], b"application/grpc"].concat();
    let trailers = [&[0, 11][..], b"grpc-status", &[1], b"0"].concat();
    let serving = [
        settings.clone(),
        frame(1, 4, 1, &answered),
        frame(0, 0, 1, &[0, 0, 0, 0, 2, 8, 1]),
        frame(1, 5, 1, &trailers),
    ]
    .concat();
    let good = called(stage, serving, vec![]).await?;
    stage.target("good gRPC", &format!("grpc://{good}"))?;

    // A field without an index, `x`, of 16,000 bytes.
    let field = [&[0, 1, b'x', 0x7f, 0x81, 0x7c][..], &[b'y'; 16_000]].concat();
    // 4,000 bytes that go into the table, then 20,000 times the same from there.
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4_000]].concat();
    let bomb = [&[0x88][..], &entry, &[0xbe; 10_000]].concat();
    let large = "the answer is too large";
    let floods = "the server floods the connection";
    for (name, first, more, detail) in [
        ("flood of SETTINGS", vec![], frame(4, 0, 0, &[0xff; 6_000]), large),
        ("flood of empty SETTINGS", vec![], settings.repeat(1_000), large),
        ("flood of PING", settings.clone(), frame(6, 0, 0, &[7; 8]).repeat(500), large),
        ("flood of WINDOW_UPDATE", settings.clone(), frame(8, 0, 0, &[0, 0, 0, 1]).repeat(500), large),
        ("flood of PRIORITY", settings.clone(), frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(500), large),
        ("flood of unknown frames", settings.clone(), frame(0xee, 0, 0, &[1; 100]).repeat(100), large),
        (
            "flood of empty DATA",
            [&settings[..], &frame(1, 4, 1, &answered)].concat(),
            frame(0, 0, 1, &[]).repeat(1_000),
            floods,
        ),
        (
            "flood of CONTINUATION",
            [&settings[..], &frame(1, 0, 1, &[0x88])].concat(),
            frame(9, 0, 1, &field),
            floods,
        ),
        (
            "flood of RST_STREAM",
            settings.clone(),
            frame(3, 0, 1, &[0, 0, 0, 8]).repeat(500),
            "the server broke off the call (CANCEL)",
        ),
        (
            "GOAWAY",
            settings.clone(),
            frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]),
            "the server closed the connection (ENHANCE_YOUR_CALM)",
        ),
        ("HPACK bomb", [&settings[..], &frame(1, 4, 1, &bomb)].concat(), settings.clone(), floods),
        (
            "pushed streams",
            settings.clone(),
            frame(5, 4, 1, &[0, 0, 0, 2, 0x88]).repeat(100),
            "the answer is not HTTP/2",
        ),
        (
            "frame of 16 MiB",
            settings.clone(),
            [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], &[0; 60_000]].concat(),
            "the answer is not HTTP/2",
        ),
    ] {
        let server = called(stage, first, more).await?;
        stage.target(name, &format!("grpc://{server}"))?.fails(FailureKind::Protocol, detail);
    }
    let silent = called(stage, settings, vec![]).await?;
    stage
        .target("call without an answer", &format!("grpc://{silent}"))?
        .hangs(" waiting for the answer of grpc.health.v1.Health");
    let web = stage.answer(super::web::ok("")).await?;
    stage
        .target("web server for gRPC", &format!("grpc://{web}"))?
        .fails(FailureKind::Protocol, "the answer is not HTTP/2");
    Ok(())
}

async fn sockets(stage: &mut Stage) -> Result<()> {
    let short =
        |first: u8, payload: &[u8]| [&[first, u8::try_from(payload.len()).unwrap_or(125)], payload].concat();
    let good = upgraded(stage, short(0x81, b"welcome"), vec![]).await?;
    stage.target("good WebSocket", &format!("ws://{good}/"))?.expecting("welcome");
    let giant = [&[0x82, 127][..], &(1_u64 << 62).to_be_bytes()].concat();
    let too_long = "a message is longer than 1 MiB";
    for (name, first, more, kind, detail) in [
        ("frame of 4 EiB", giant, vec![b'x'; 60_000], FailureKind::Body, too_long),
        (
            "fragments without end",
            short(0x02, b"x"),
            short(0x00, &[b'x'; 125]).repeat(100),
            FailureKind::Body,
            too_long,
        ),
        (
            "messages without end",
            vec![],
            short(0x82, &[b'x'; 125]).repeat(100),
            FailureKind::Body,
            "`welcome` did not come in the first 1 MiB",
        ),
        (
            "empty messages without end",
            vec![],
            short(0x82, b"").repeat(1_000),
            FailureKind::Body,
            "`welcome` did not come in the first 10000 messages",
        ),
        (
            "text that is not UTF-8",
            short(0x81, b"\xff\xfe"),
            vec![],
            FailureKind::Protocol,
            "a text message is not UTF-8",
        ),
        (
            "HTTP after the upgrade",
            b"HTTP/1.1 400 Bad Request\r\n".repeat(9),
            vec![],
            FailureKind::Protocol,
            "not a WebSocket frame: Reserved bits are non-zero",
        ),
        (
            "masked frame",
            vec![0x81, 0x80, 0, 0, 0, 0],
            vec![],
            FailureKind::Protocol,
            "not a WebSocket frame: Received a masked frame from server",
        ),
        (
            "close",
            short(0x88, b"\x03\xf3no database"),
            vec![],
            FailureKind::Body,
            "connection closed with code 1011 `no database` before `welcome` came",
        ),
    ] {
        let server = upgraded(stage, first, more).await?;
        stage.target(name, &format!("ws://{server}/"))?.expecting("welcome").fails(kind, detail);
    }
    // Nobody reads the answers to the pings: either limit may come first.
    let pings = upgraded(stage, vec![], short(0x89, &[b'x'; 125]).repeat(100)).await?;
    let many = "`welcome` did not come in the first 10000 messages";
    let unread = "the server sends pings and does not read the answers";
    stage
        .target("flood of pings", &format!("ws://{pings}/"))?
        .expecting("welcome")
        .fails(FailureKind::Body, many)
        .or_fails(FailureKind::Protocol, unread);
    // A fragment of nothing is no message and no byte: only what is read is bounded.
    let nothing = upgraded(stage, short(0x02, b""), short(0x00, b"").repeat(1_000)).await?;
    stage
        .target("fragments of nothing", &format!("ws://{nothing}/"))?
        .expecting("welcome")
        .fails(FailureKind::Protocol, "the answer is too large");
    let mute = upgraded(stage, vec![], vec![]).await?;
    stage
        .target("silence after the upgrade", &format!("ws://{mute}/"))?
        .expecting("welcome")
        .hangs(" waiting for `welcome`");
    let web = stage.answer(super::web::ok("")).await?;
    stage
        .target("web server for WebSocket", &format!("ws://{web}/"))?
        .fails(FailureKind::Status, "200 OK instead of an upgrade");
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let wrong = stage.answer(wrong).await?;
    stage
        .target("upgrade for somebody else", &format!("ws://{wrong}/"))?
        .fails(FailureKind::Protocol, "the upgrade has a wrong Sec-WebSocket-Accept header");
    Ok(())
}

/// Takes a call, says `first`, then `more` again and again.
async fn called(stage: &mut Stage, first: Vec<u8>, more: Vec<u8>) -> Result<SocketAddr> {
    let words: Arc<(Vec<u8>, Vec<u8>)> = Arc::new((first, more));
    stage
        .serve(move |mut stream| {
            let words = Arc::clone(&words);
            async move {
                if take_call(&mut stream).await.is_ok() {
                    say(stream, &words.0, &words.1).await;
                }
            }
        })
        .await
}

/// Upgrades to a WebSocket, says `first`, then `more` again and again.
async fn upgraded(stage: &mut Stage, first: Vec<u8>, more: Vec<u8>) -> Result<SocketAddr> {
    let words: Arc<(Vec<u8>, Vec<u8>)> = Arc::new((first, more));
    stage
        .serve(move |mut stream| {
            let words = Arc::clone(&words);
            async move {
                let request = head(&mut stream).await;
                let upgrade = upgrade(&request);
                say(stream, &[upgrade.as_bytes(), &words.0].concat(), &words.1).await;
            }
        })
        .await
}

/// Says `first`, then `more` again and again, and takes in what is said meanwhile.
async fn say(stream: TcpStream, first: &[u8], more: &[u8]) {
    let (mut reader, mut writer) = stream.into_split();
    let saying = async {
        let _ = writer.write_all(first).await;
        while !more.is_empty() && writer.write_all(more).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let mut heard = tokio::io::sink();
    let _ = tokio::join!(saying, tokio::io::copy(&mut reader, &mut heard));
}

/// Reads a client's preface and frames up to the head of its call.
async fn take_call(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    let mut head = [0; 9];
    while head[3] != 1 {
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
    }
    Ok(())
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The answer to a request for an upgrade (RFC 6455 §4.2.2).
fn upgrade(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
