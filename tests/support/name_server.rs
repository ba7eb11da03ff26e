//! A scripted name server. It writes DNS by hand, because most of what it is for is not allowed.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::task::Task;

/// The type of an IPv4 address.
pub const A: u16 = 1;
/// The type of an alias.
pub const CNAME: u16 = 5;

/// A running name server.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    _udp: Task,
    _tcp: Task,
}

/// A question, as far as an answer repeats it.
#[derive(Clone, Debug)]
pub struct Question {
    /// The question's number.
    pub id: u16,
    /// The name in lower case, without its last dot.
    pub name: String,
    /// The type of record.
    pub record: u16,
    /// Name, type and class on the wire.
    pub asked: Vec<u8>,
}

impl NameServer {
    /// Answers each question with datagrams; over TCP with the first of them.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Question) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("UDP at {address}"))?;
        let listener = TcpListener::bind(address).await?;
        let answer = Arc::new(answer);
        let udp = Task::start(serve_udp(socket, Arc::clone(&answer)));
        Ok(Self { address, _udp: udp, _tcp: Task::start(serve_tcp(listener, answer)) })
    }

    /// The same at a place of its own.
    ///
    /// # Errors
    /// When none is free.
    pub async fn start(answer: fn(&Question) -> Vec<Vec<u8>>) -> Result<Self> {
        // The same port for TCP may be taken by somebody else.
        for _ in 0..100 {
            let address = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?;
            if let Ok(server) = Self::start_at(address, answer).await {
                return Ok(server);
            }
        }
        bail!("no port is free for both UDP and TCP")
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Question {
    fn read(bytes: &[u8]) -> Option<Self> {
        let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
        let (mut at, mut labels) = (12, vec![]);
        while let length @ 1.. = usize::from(*bytes.get(at)?) {
            labels.push(String::from_utf8_lossy(bytes.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
            at += 1 + length;
        }
        let asked = bytes.get(12..at + 5)?.to_vec();
        let record = u16::from_be_bytes([*bytes.get(at + 1)?, *bytes.get(at + 2)?]);
        Some(Self { id, name: labels.join("."), record, asked })
    }

    /// An answer up to its records, of which so many are announced.
    #[must_use]
    pub fn header(&self, id: u16, flags: u16, answers: u16) -> Vec<u8> {
        let words = [id, flags, 1, answers, 0, 0].map(u16::to_be_bytes);
        [words.concat(), self.asked.clone()].concat()
    }

    /// An answer with records of the name that was asked for: their types and data.
    #[must_use]
    pub fn answer(&self, records: &[(u16, &[u8])]) -> Vec<u8> {
        self.answer_to(self.id, records)
    }

    /// The same under another number.
    #[must_use]
    pub fn answer_to(&self, id: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let mut answer = self.header(id, 0x8180, count);
        for (record, data) in records {
            answer.extend([0xc0, 12]);
            answer.extend(record.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
            answer.extend(*data);
        }
        answer
    }

    /// An answer without records, with a response code.
    #[must_use]
    pub fn refusal(&self, code: u16) -> Vec<u8> {
        self.header(self.id, 0x8180 | code, 0)
    }

    /// An answer that is said to be longer.
    #[must_use]
    pub fn truncated(&self) -> Vec<u8> {
        self.header(self.id, 0x8380, 0)
    }
}

/// A name on the wire.
#[must_use]
pub fn wire_name(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap_or_default()], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

async fn serve_udp(socket: UdpSocket, answer: Arc<impl Fn(&Question) -> Vec<Vec<u8>> + Send + Sync>) {
    let mut buffer = [0; 4_096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        for datagram in Question::read(&buffer[..length]).iter().flat_map(|question| answer(question)) {
            // Whether anybody listens is the peer's business.
            let _ = socket.send_to(&datagram, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, answer: Arc<impl Fn(&Question) -> Vec<Vec<u8>> + Send + Sync>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else { continue };
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            continue;
        }
        let whole = Question::read(&question).and_then(|question| answer(&question).into_iter().next());
        let whole = whole.unwrap_or_default();
        let length = u16::try_from(whole.len()).unwrap_or_default().to_be_bytes();
        let _ = stream.write_all(&[&length[..], &whole].concat()).await;
    }
}
