//! Web servers: what can be wrong before, in and after an answer of HTTP.

use std::time::Duration;

use anyhow::Result;
use model::HealthPolicy;
use proto::probe::v1::FailureKind;
use support::{Answer, Site};
use tokio::io::AsyncWriteExt;

use super::stage::{Stage, head, part, reset, silence};

const CLOSED: &str = "connection closed before the answer was complete";
const NOT_HTTP: &str = "the answer is not HTTP";
const LARGE_HEAD: &str = "the answer's header is too large";
const MISFRAMED: &str = "the answer's framing is wrong";
/// Between the bytes of what drips.
const DRIP: Duration = Duration::from_secs(1);
/// Between bytes that come one by one, but not slowly.
const TRICKLE: Duration = Duration::from_millis(5);

/// Lets them in.
pub(super) async fn enter(stage: &mut Stage) -> Result<()> {
    good(stage).await?;
    breaking_off(stage).await?;
    never_ending(stage).await?;
    malformed(stage).await?;
    odd(stage).await
}

async fn good(stage: &mut Stage) -> Result<()> {
    let good = stage.answer(ok("fine")).await?;
    stage.target("good HTTP", &format!("http://{good}/"))?;
    stage.target("good HTTP by name", &format!("http://well.zoo.test:{}/", good.port()))?;
    let report = stage.answer(json(r#"{"status":"ok"}"#)).await?;
    stage.target("good report", &format!("http://{report}/"))?;
    Ok(())
}

async fn breaking_off(stage: &mut Stage) -> Result<()> {
    let whole = ok("0123456789");
    for (name, until) in [
        ("RST after accept", 0),
        ("RST in the status line", 12),
        ("RST in the header", 30),
        ("RST in the body", whole.len() - 5),
    ] {
        let sent = whole[..until].to_owned();
        let server = stage
            .serve(move |mut stream| {
                let sent = sent.clone();
                async move {
                    if !sent.is_empty() {
                        head(&mut stream).await;
                        let _ = stream.write_all(sent.as_bytes()).await;
                        // Else the reset overtakes what was said.
                        tokio::time::sleep(DRIP / 5).await;
                    }
                    reset(stream);
                }
            })
            .await?;
        stage.target(name, &format!("http://{server}/"))?.fails(FailureKind::Connect, "connection reset");
    }
    let server = stage
        .serve(|mut stream| async move {
            head(&mut stream).await;
            reset(stream);
        })
        .await?;
    stage
        .target("RST after the request", &format!("http://{server}/"))?
        .fails(FailureKind::Connect, "connection reset");
    for (name, answer) in [
        ("end after the request", String::new()),
        ("end in the status line", "HTTP/1.1 200".to_owned()),
        ("end in the header", "HTTP/1.1 200 OK\r\nx: y".to_owned()),
        ("end in the body", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned()),
        ("end in a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab".to_owned()),
        ("a body of 16 EiB", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551613\r\n\r\nx".to_owned()),
    ] {
        let server = stage.answer(answer).await?;
        stage.target(name, &format!("http://{server}/"))?.fails(FailureKind::Protocol, CLOSED);
    }
    Ok(())
}

async fn never_ending(stage: &mut Stage) -> Result<()> {
    let silent = stage.serve(silence).await?;
    stage.target("silence", &format!("http://{silent}/"))?.hangs("");
    for (name, head) in [
        ("header that drips", "HTTP/1.1 200 OK\r\nx: "),
        ("body that drips", "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"),
        ("body without an end", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let server = stage.endless(head, "y", DRIP).await?;
        stage.target(name, &format!("http://{server}/"))?.hangs("");
    }
    let server =
        stage.endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n", TRICKLE).await?;
    stage.target("chunks of one byte", &format!("http://{server}/"))?.hangs("");

    let server = stage.endless("HTTP/1.1 200 OK\r\nx-more: ", "y".repeat(4_096), Duration::ZERO).await?;
    stage
        .target("header without an end", &format!("http://{server}/"))?
        .fails(FailureKind::Protocol, LARGE_HEAD);
    let server = stage.endless("HTTP/1.1 200 OK\r\n", "a: b\r\n".repeat(1_000), Duration::ZERO).await?;
    stage
        .target("headers without end", &format!("http://{server}/"))?
        .fails(FailureKind::Protocol, LARGE_HEAD);
    let server = stage.endless("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000), Duration::ZERO).await?;
    stage
        .target("flood of 100 Continue", &format!("http://{server}/"))?
        .fails(FailureKind::Protocol, "the answer is too large");

    let huge = Site::start(Answer::Huge(1 << 30)).await?;
    stage.target("1 GiB", &huge.url("/"))?;
    let wanted = "`the end` is not in the first 1 MiB of the body";
    stage
        .target("1 GiB to be searched", &huge.url("/"))?
        .expecting("the end")
        .fails(FailureKind::Body, wanted);
    let bomb = Site::start(Answer::GzipBomb).await?;
    stage.target("gzip bomb", &bomb.url("/"))?;
    let unasked = "the body is encoded as `gzip`, which was not asked for";
    stage
        .target("gzip bomb as a report", &bomb.url("/"))?
        .health(HealthPolicy::Expect)
        .fails(FailureKind::Body, unasked);
    stage.sites.extend([huge, bomb]);
    Ok(())
}

async fn malformed(stage: &mut Stage) -> Result<()> {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let extensions = chunked(&format!("1;{}", "x".repeat(100_000)));
    let trailers = chunked(&format!("0\r\n{}", "a: b\r\n".repeat(20_000)));
    for (name, answer, detail) in [
        ("HTTP/0.9", "<html>hello</html>\r\n".to_owned(), NOT_HTTP),
        ("SSH", "SSH-2.0-OpenSSH_9.2\r\n".to_owned(), NOT_HTTP),
        ("HTTP/2 unasked", "\0\0\0\u{4}\0\0\0\0\0".to_owned(), NOT_HTTP),
        ("status of five digits", "HTTP/1.1 20000 OK\r\n\r\n".to_owned(), NOT_HTTP),
        ("NUL in a header", "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n".to_owned(), NOT_HTTP),
        ("header on two lines", "HTTP/1.1 200 OK\r\nx: a\r\n b: c\r\n\r\n".to_owned(), NOT_HTTP),
        ("blank before a colon", "HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello".to_owned(), NOT_HTTP),
        ("negative length", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(), NOT_HTTP),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
            NOT_HTTP,
        ),
        ("header of 1 MiB", format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)), LARGE_HEAD),
        ("chunk size that is none", chunked("zz\r\nab"), MISFRAMED),
        ("chunk size of 17 digits", chunked("ffffffffffffffffff\r\nab"), MISFRAMED),
        ("chunk longer than said", chunked("1\r\nabc\r\n"), MISFRAMED),
        ("chunk extensions without end", extensions, MISFRAMED),
        ("trailers without end", trailers, MISFRAMED),
    ] {
        let server = stage.answer(answer).await?;
        stage.target(name, &format!("http://{server}/"))?.fails(FailureKind::Protocol, detail);
    }
    Ok(())
}

async fn odd(stage: &mut Stage) -> Result<()> {
    for (name, answer) in [
        ("204 with a body", &b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"[..]),
        ("invalid UTF-8 everywhere", b"HTTP/1.1 200 \xff\xfe\r\nx: \xff\r\n\r\n\xff\xfe\xfd"),
        (
            "1xx before the answer",
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "two answers",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "chunk of many extensions",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=b;c=d\r\nx\r\n0\r\n\r\n",
        ),
    ] {
        let server = stage.answer(answer).await?;
        stage.target(name, &format!("http://{server}/"))?;
    }
    for (name, line, detail) in [
        ("304 unasked", "304 Not Modified", "304 Not Modified"),
        ("101 unasked", "101 Switching Protocols", "101 Switching Protocols"),
        ("a status of its own", "999 A\u{1b}[31mB", "999 A [31mB"),
        ("words put into our messages", "500 All Is Well", "500 Internal Server Error"),
    ] {
        let server =
            stage.answer(format!("HTTP/1.1 {line}\r\nupgrade: x\r\ncontent-length: 0\r\n\r\n")).await?;
        let target = stage.target(name, &format!("http://{server}/"))?.fails(FailureKind::Status, detail);
        if line.contains('\u{1b}') {
            // HTTP allows no such byte in a reason, and a reader need not take it.
            target.or_fails(FailureKind::Protocol, NOT_HTTP);
        }
    }
    // Whoever is answered before it asks may notice, or not.
    let early = stage
        .serve(|mut stream| async move {
            let _ = stream.write_all(ok("").as_bytes()).await;
            part(stream).await;
        })
        .await?;
    stage
        .target("answer before the request", &format!("http://{early}/"))?
        .or_fails(FailureKind::Protocol, NOT_HTTP)
        .or_fails(FailureKind::Protocol, CLOSED);
    let lingering = stage
        .serve(|mut stream| async move {
            head(&mut stream).await;
            let _ = stream.write_all(ok("fine").as_bytes()).await;
            // Whatever the other side does.
            std::future::pending::<()>().await;
        })
        .await?;
    stage.target("end that never comes after a whole answer", &format!("http://{lingering}/"))?;
    Ok(())
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(super) fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
