//! The receivers, and what an attempt at each is told as.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use support::certificate::{self, Authority, Validity};
use support::task::Task;
use support::{Coordinator, Scratch};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A receiver.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) url: String,
    pub(super) ends: Ends,
    /// What the first attempt's words hold.
    pub(super) says: &'static str,
    _serving: Option<Task>,
}

/// How a delivery stands after its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Delivered,
    TriedAgain,
    GivenUp,
}

/// What a receiver does with a connection.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Reads the request and says this, and no more.
    Says(&'static str),
    /// The same, and closes.
    SaysAndCloses(&'static str),
    /// The same, and resets.
    SaysAndResets(&'static str),
    /// Begins like this and then repeats that, as fast as it is read.
    Repeats(&'static str, &'static str),
    /// The same, slowly.
    Drips(&'static str, &'static str),
    /// Says this without reading anything.
    Interrupts(&'static str),
    /// Resets without reading anything.
    Resets,
    /// Closes without reading anything.
    Closes,
    /// Nothing, ever.
    Hangs,
}

use Does::{Closes, Drips, Hangs, Interrupts, Repeats, Resets, Says, SaysAndCloses, SaysAndResets};
use Ends::{Delivered, GivenUp, TriedAgain};

const TIMEOUT: &str = "timeout after 15 s";
const OVER_HTTP: &[(&str, Does, Ends, &str)] = &[
    ("200", Says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Delivered, "200 OK"),
    ("204", Says("HTTP/1.1 204 No Content\r\n\r\n"), Delivered, "204 No Content"),
    (
        "500",
        Says("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nbusy"),
        TriedAgain,
        "500 Internal Server Error",
    ),
    ("404", Says("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"), TriedAgain, "404"),
    ("410", Says("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"), GivenUp, "410 Gone"),
    (
        "429 with a good Retry-After",
        Says("HTTP/1.1 429 Slow\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
        TriedAgain,
        "429",
    ),
    (
        "429 with a huge Retry-After",
        Says("HTTP/1.1 429 Slow\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n"),
        TriedAgain,
        "429",
    ),
    (
        "429 with garbage in Retry-After",
        Says("HTTP/1.1 429 Slow\r\nretry-after: next \u{fe}ll moon\r\ncontent-length: 0\r\n\r\n"),
        TriedAgain,
        "429",
    ),
    (
        "redirect to metadata",
        Says(
            "HTTP/1.1 301 Moved\r\nlocation: http://169.254.169.254/latest/hush\r\ncontent-length: 0\r\n\r\n",
        ),
        TriedAgain,
        "redirects are not followed",
    ),
    (
        "redirect to itself",
        Says("HTTP/1.1 307 Again\r\nlocation: /hush\r\ncontent-length: 0\r\n\r\n"),
        TriedAgain,
        "redirects are not followed",
    ),
    (
        "101",
        Says("HTTP/1.1 101 Switching Protocols\r\nupgrade: hush\r\nconnection: upgrade\r\n\r\n"),
        TriedAgain,
        "",
    ),
    ("HTTP/1.0", SaysAndCloses("HTTP/1.0 200 OK\r\n\r\nold"), Delivered, "200 OK"),
    ("HTTP/0.9", SaysAndCloses("<html>hello</html>"), TriedAgain, "broken answer"),
    ("HTTP/3.7", Says("HTTP/3.7 200 OK\r\n\r\n"), TriedAgain, "broken answer"),
    ("another protocol", Interrupts("SSH-2.0-OpenSSH_9.2\r\n"), TriedAgain, "broken answer"),
    ("silence after the request", Says(""), TriedAgain, TIMEOUT),
    ("silence before it", Hangs, TriedAgain, TIMEOUT),
    ("half a status line", Says("HTTP/1.1 2"), TriedAgain, TIMEOUT),
    ("half a header", Says("HTTP/1.1 200 OK\r\ncontent-le"), TriedAgain, TIMEOUT),
    (
        "headers without end",
        Repeats("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n"),
        TriedAgain,
        "broken answer",
    ),
    ("a header that drips", Drips("HTTP/1.1 200 OK\r\nx-drip: ", "x"), TriedAgain, TIMEOUT),
    (
        "interim answers without end",
        Repeats("", "HTTP/1.1 100 Continue\r\n\r\n"),
        TriedAgain,
        "the answer has no end",
    ),
    ("a body that drips", Drips("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n", "x"), Delivered, TIMEOUT),
    ("a body that never comes", Says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"), Delivered, TIMEOUT),
    (
        "500 and a body that drips",
        Drips("HTTP/1.1 500 No\r\ncontent-length: 9000\r\n\r\n", "x"),
        TriedAgain,
        TIMEOUT,
    ),
    (
        "ten gibibytes",
        Repeats("HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n", "0123456789abcdef0123456789abcdef"),
        Delivered,
        "200 OK",
    ),
    (
        "a bomb that says gzip",
        Repeats(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
            "10\r\n0000000000000000\r\n",
        ),
        Delivered,
        "200 OK",
    ),
    (
        "chunks that are none",
        Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhush\r\n"),
        Delivered,
        "200 OK (then ",
    ),
    (
        "a chunk of all memory",
        Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
        Delivered,
        "200 OK (then ",
    ),
    (
        "a length that lies",
        SaysAndCloses("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"),
        Delivered,
        "200 OK (then ",
    ),
    (
        "two lengths",
        Says("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        TriedAgain,
        "broken answer",
    ),
    (
        "more than it announced",
        Says("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabcdef"),
        Delivered,
        "200 OK",
    ),
    (
        "a second answer",
        Says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
        Delivered,
        "200 OK",
    ),
    ("a header of NULs", Says("HTTP/1.1 200 OK\r\nx: \0\0\r\n\r\n"), TriedAgain, "broken answer"),
    ("reset at once", Resets, TriedAgain, "connection"),
    ("reset after the request", SaysAndResets(""), TriedAgain, "connection"),
    ("reset in the header", SaysAndResets("HTTP/1.1 200 OK\r\nx-"), TriedAgain, ""),
    (
        "reset in the body",
        SaysAndResets("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        Delivered,
        "200 OK (then ",
    ),
    ("closed at once", Closes, TriedAgain, ""),
    ("closed after the request", SaysAndCloses(""), TriedAgain, ""),
    (
        "a server that talks first",
        Interrupts("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        TriedAgain,
        "",
    ),
];

/// Lets them all in.
pub(super) async fn all(scratch: &Scratch, coordinator: &Coordinator) -> Result<Vec<Case>> {
    let mut cases = vec![];
    for &(name, does, ends, says) in OVER_HTTP {
        let (port, serving) = serve(does, None).await?;
        let url = format!("http://127.0.0.1:{port}/hush");
        cases.push(Case { name, url, ends, says, _serving: Some(serving) });
    }
    let answer = Says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let authority = Authority::new()?;
    let expired = authority.issue(scratch, "expired", &["127.0.0.1"], Validity::Expired)?;
    let unknown = authority.issue(scratch, "unknown", &["127.0.0.1"], Validity::Current)?;
    let own = certificate::self_signed(scratch, "own", "127.0.0.1")?;
    for (name, files) in [
        ("a certificate that expired", &expired),
        ("a certificate of nobody we know", &unknown),
        ("a certificate of its own", &own),
    ] {
        let (port, serving) = serve(answer, Some(certificate::acceptor(files, 1)?)).await?;
        let url = format!("https://127.0.0.1:{port}/hush");
        let says = "TLS: invalid peer certificate";
        cases.push(Case { name, url, ends: TriedAgain, says, _serving: Some(serving) });
    }
    for (name, does, says) in [
        ("no TLS at all", Interrupts("HTTP/1.1 400 Bad Request\r\n\r\n"), "TLS: "),
        ("TLS that never answers", Hangs, TIMEOUT),
        ("TLS that is reset", Resets, "connection reset"),
    ] {
        let (port, serving) = serve(does, None).await?;
        let url = format!("https://127.0.0.1:{port}/hush");
        cases.push(Case { name, url, ends: TriedAgain, says, _serving: Some(serving) });
    }
    let own = coordinator.http_address().port();
    let agents = coordinator.agent_address().port();
    for (name, url, says) in [
        ("nobody listens", "http://127.0.0.1:9998/hush".to_owned(), "connection refused"),
        ("metadata", "http://169.254.169.254/hush".to_owned(), "not public"),
        ("a private address", "http://10.0.0.1/hush".to_owned(), "not public"),
        ("IPv6 loopback", "http://[::1]/hush".to_owned(), "not public"),
        ("metadata as mapped IPv4", "http://[::ffff:169.254.169.254]/hush".to_owned(), "not public"),
        ("metadata in one number", "http://2852039166/hush".to_owned(), "not public"),
        ("a mail server's port", "http://127.0.0.1:25/hush".to_owned(), "port 25"),
        ("the coordinator itself", format!("http://127.0.0.1:{own}/hush"), "where this coordinator listens"),
        (
            "the coordinator for agents",
            format!("https://127.0.0.1:{agents}/hush"),
            "where this coordinator listens",
        ),
        ("a name that is none", "http://no.such.invalid/hush".to_owned(), "name"),
    ] {
        cases.push(Case { name, url, ends: TriedAgain, says, _serving: None });
    }
    Ok(cases)
}

/// A server on a loopback port.
async fn serve(does: Does, tls: Option<TlsAcceptor>) -> Result<(u16, Task)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let tls = tls.map(Arc::new);
    let serving = Task::start(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            connections.spawn(async move {
                match tls {
                    None => behave(stream, does).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            talk(stream, does).await;
                        }
                    }
                }
            });
        }
    });
    Ok((port, serving))
}

async fn behave(stream: TcpStream, does: Does) {
    match does {
        Resets => reset(stream),
        SaysAndResets(text) => {
            let mut stream = stream;
            read_request(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            // Else the reset overtakes what was said.
            tokio::time::sleep(Duration::from_millis(200)).await;
            reset(stream);
        }
        _ => talk(stream, does).await,
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, does: Does) {
    match does {
        Says(text) => loop {
            // Each request over a connection that is kept gets the same.
            if !read_request(&mut stream).await || stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        },
        SaysAndCloses(text) => {
            read_request(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Repeats(text, more) => {
            read_request(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            let more = more.repeat(512);
            while stream.write_all(more.as_bytes()).await.is_ok() {}
        }
        Drips(text, more) => {
            read_request(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            while stream.write_all(more.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        Interrupts(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Hangs => std::future::pending().await,
        Closes | Resets | SaysAndResets(_) => {}
    }
}

/// Reads a request to its end; `false`: there is none.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut bytes = vec![];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return true;
            }
        }
        if !stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            return false;
        }
    }
}

/// Closes so that the other end sees a reset, not an end.
fn reset(stream: TcpStream) {
    drop(stream.set_zero_linger());
    drop(stream);
}
