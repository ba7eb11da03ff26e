//! A scripted HTTP site: the target of checks, or the receiver of notifications.
//!
//! It speaks HTTP/1.1 by hand, because most of what it is for is not allowed. Every request is recorded with the
//! instant its first byte arrived.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::environment;
use crate::task::Task;

/// What the site does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status with an empty body.
    Status(u16),
    /// A status with a JSON body.
    Json(u16, String),
    /// 200 and 503 in turn.
    Alternating,
    /// 302 to another URL.
    Redirect(String),
    /// Nothing, ever.
    Silence,
    /// Header lines without end.
    EndlessHeaders,
    /// A body of which one byte a second comes.
    Drip,
    /// A body of so many bytes, as fast as they are read.
    Huge(u64),
    /// 1 KiB that a decompressor would turn into 1 MiB, a thousand times over.
    GzipBomb,
    /// The connection's end instead of an answer.
    Hangup,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// All of it.
    pub body: Vec<u8>,
    /// When the first byte came, by the wall clock.
    pub arrived_at: Timestamp,
}

impl Request {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A running site.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    script: Arc<Script>,
    listening: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Script {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
}

impl Site {
    /// Starts one that answers every request alike.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(answer: Answer) -> Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer).await
    }

    /// The same at an address of one's choice.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn start_at(address: SocketAddr, answer: Answer) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let script = Arc::new(Script { answer: Mutex::new(answer), requests: Mutex::default() });
        let listening = Mutex::new(Some(Task::start(accept(listener, Arc::clone(&script)))));
        Ok(Self { address, script, listening })
    }

    /// A URL of it; `path` begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers differently from the next request on.
    pub fn answer(&self, answer: Answer) {
        *self.script.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Refuses connections from now on.
    pub async fn refuse(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = listening {
            task.stop().await;
        }
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// When the port has been taken meanwhile.
    pub fn accept_again(&self) -> Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let task = Task::start(accept(socket.listen(128)?, Arc::clone(&self.script)));
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    /// What has arrived so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.script.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let script = Arc::clone(&script);
                // How a connection ends is the peer's business.
                connections.spawn(async move { drop(serve(stream, &script).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, script: &Script) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let request = read(&mut stream).await?;
        let count = {
            let mut requests = script.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request);
            requests.len()
        };
        let answer = match &*script.answer.lock().unwrap_or_else(PoisonError::into_inner) {
            Answer::Alternating => Answer::Status(if count.is_multiple_of(2) { 503 } else { 200 }),
            other => other.clone(),
        };
        write(&mut stream, &answer).await?;
    }
}

async fn read(stream: &mut TcpStream) -> Result<Request> {
    let mut bytes = Vec::new();
    let mut arrived_at = None;
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the peer closed the connection");
        }
        arrived_at.get_or_insert_with(environment::now);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |text| text.parse())?;
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the peer closed the connection inside a body");
        }
    }
    let body = bytes[head..head + length].to_vec();
    Ok(Request { method, path, headers, body, arrived_at: arrived_at.context("a request has bytes")? })
}

async fn write(stream: &mut TcpStream, answer: &Answer) -> Result<()> {
    match answer {
        Answer::Status(status) => body(stream, *status, "text/plain", "").await?,
        Answer::Json(status, text) => body(stream, *status, "application/json", text).await?,
        Answer::Redirect(to) => {
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        Answer::Silence => std::future::pending().await,
        Answer::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"x-more: and more\r\n").await?;
            }
        }
        Answer::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3600\r\n\r\n").await?;
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            for _ in 0..3_600 {
                ticks.tick().await;
                stream.write_all(b".").await?;
            }
        }
        Answer::Huge(length) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let chunk = vec![b'.'; 64 << 10];
            let mut left = *length;
            while left > 0 {
                let now = left.min(chunk.len() as u64);
                stream.write_all(&chunk[..usize::try_from(now)?]).await?;
                left -= now;
            }
        }
        Answer::GzipBomb => {
            let member = gzipped_mebibyte()?;
            let length = member.len() * 1_000;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..1_000 {
                stream.write_all(&member).await?;
            }
        }
        Answer::Hangup => bail!("hanging up"),
        Answer::Alternating => bail!("it is one of two by now"),
    }
    Ok(())
}

async fn body(stream: &mut TcpStream, status: u16, kind: &str, text: &str) -> Result<()> {
    let reason = match status {
        200 => "OK",
        503 => "Service Unavailable",
        _ => "Whatever",
    };
    let length = text.len();
    let head =
        format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{text}").as_bytes()).await?;
    Ok(())
}

/// One mebibyte of zeros as a gzip member; members may follow each other.
fn gzipped_mebibyte() -> Result<Vec<u8>> {
    let zeros = "A".repeat(1355);
    Ok(STANDARD.decode(format!("H4sIAAAAAAACA+3BMQEAAADCoPVPbQhfo{zeros}PgMc6jinAAAQAA=="))?)
}
