//! One question and its answer, over UDP or TCP.
//!
//! What does not carry the question's number and the question itself is nobody's answer: anybody can send such
//! datagrams, so they are passed over.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use model::{SystemRandom, random};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, interval_at};

/// What we can take in one datagram, for the servers to know: what passes every network unbroken.
const MAX_PAYLOAD_BYTES: u16 = 1_232;
/// What is read of a datagram; not all servers keep to the above.
const BUFFER_BYTES: usize = 4_096;
/// After how long a question is asked again, and after how long nothing but strays is given up on.
const PATIENCE: Duration = Duration::from_secs(1);
/// Datagrams that are no answer before it is given up on.
const MAX_STRAYS: usize = 100;

/// A question as it is sent.
#[derive(Debug)]
pub(super) struct Question {
    id: u16,
    query: Query,
    bytes: Vec<u8>,
}

/// What a server says over UDP.
#[derive(Debug)]
pub(super) enum Reply {
    /// All of its answer.
    Whole(Message),
    /// That its answer is too long.
    Truncated,
}

/// What a datagram is.
enum Heard {
    Reply(Reply),
    /// A reply to the question that cannot be read.
    Garbage,
    /// Something else.
    Stray,
}

impl Question {
    /// A question with a number that nobody can guess.
    pub(super) fn new(name: Name, record: RecordType) -> Result<Self, hickory_proto::ProtoError> {
        let id = u16::from_be_bytes(random::bytes(&SystemRandom));
        let query = Query::query(name, record);
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_PAYLOAD_BYTES);
        message.set_edns(edns);
        Ok(Self { id, query, bytes: message.to_vec()? })
    }

    fn hear(&self, bytes: &[u8]) -> Heard {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(Header { metadata, counts }) = Header::read(&mut decoder) else { return Heard::Stray };
        if metadata.id != self.id || metadata.message_type != MessageType::Response {
            return Heard::Stray;
        }
        let asked = Message::read_queries(&mut decoder, counts.queries.into());
        match asked.as_deref() {
            Ok([query]) if *query == self.query => {}
            // A server that did not understand the question may not repeat it.
            Ok([]) if !matches!(metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) => {}
            Ok(_) => return Heard::Stray,
            Err(_) => return Heard::Garbage,
        }
        if metadata.truncation {
            return Heard::Reply(Reply::Truncated);
        }
        Message::from_vec(bytes).map_or(Heard::Garbage, |answer| Heard::Reply(Reply::Whole(answer)))
    }
}

/// Asks over UDP, once more when nothing is heard. `InvalidData`: what was heard is no answer.
pub(super) async fn over_udp(server: SocketAddr, question: &Question) -> io::Result<Reply> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The system draws the port at random, and keeps from a connected socket what others send.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question.bytes).await?;
    let mut is_repeated = false;
    let mut strays = 0;
    let mut ticks = interval_at(Instant::now() + PATIENCE, PATIENCE);
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        tokio::select! {
            received = socket.recv(&mut buffer) => match question.hear(&buffer[..received?]) {
                Heard::Reply(reply) => return Ok(reply),
                Heard::Garbage => return Err(not_dns()),
                Heard::Stray if strays == MAX_STRAYS => return Err(not_dns()),
                Heard::Stray => strays += 1,
            },
            _ = ticks.tick() => {
                if !is_repeated {
                    is_repeated = true;
                    socket.send(&question.bytes).await?;
                } else if strays > 0 {
                    return Err(not_dns());
                }
            }
        }
    }
}

/// Asks over TCP. `InvalidData`: what was heard is no answer.
pub(super) async fn over_tcp(server: SocketAddr, question: &Question) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &question.bytes[..]].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    match question.hear(&answer) {
        Heard::Reply(Reply::Whole(answer)) => Ok(answer),
        Heard::Reply(Reply::Truncated) | Heard::Garbage | Heard::Stray => Err(not_dns()),
    }
}

fn not_dns() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
