//! What a process tells the one that takes over from it. Protobuf, because the two are of different versions: fields are
//! added, never changed.
//!
//! Instants are microseconds since the machine's boot, the one clock that both processes read alike.

use std::io;
use std::time::Duration;

use model::{Clock, Timestamp};
use prost::Message;
use proto::probe::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest message: the state of some hundred thousand monitors.
const MAX_BYTES: usize = 256 << 20;

/// Asks to take over.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Request {
    /// The agent that the asking process is.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) agent: Vec<u8>,
    /// Its version, for people.
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

/// Answers a [`Request`]: nothing is started any more, and the spool is free.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    /// The coordinator's clock minus the machine's boot time.
    #[prost(sint64, tag = "1")]
    pub(crate) server_minus_boot_us: i64,
    /// Empty before the first session.
    #[prost(string, tag = "2")]
    pub(crate) region: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) held: Vec<Held>,
    /// What waits for its turn.
    #[prost(message, repeated, tag = "4")]
    pub(crate) queued: Vec<Queued>,
}

/// A monitor and where it stands.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Held {
    #[prost(message, optional, tag = "1")]
    pub(crate) assignment: Option<v1::Assignment>,
    /// The slot that is due next; none for a standby.
    #[prost(sint64, optional, tag = "2")]
    pub(crate) next_slot: Option<i64>,
    /// The latest slot that was begun or is queued.
    #[prost(sint64, optional, tag = "3")]
    pub(crate) last_slot: Option<i64>,
    /// Whether its scheduled check runs in the process that goes; a [`Finished`] follows.
    #[prost(bool, tag = "4")]
    pub(crate) is_running: bool,
    /// Whether another slot came meanwhile.
    #[prost(bool, tag = "5")]
    pub(crate) is_overdue: bool,
    /// What the latest attempt saw; see [`Finished::seen`].
    #[prost(uint32, tag = "6")]
    pub(crate) seen: u32,
    /// The latest round; 0: none.
    #[prost(uint32, tag = "7")]
    pub(crate) round: u32,
    #[prost(bool, tag = "8")]
    pub(crate) is_round_settled: bool,
}

/// An attempt that was not begun.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Queued {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) monitor: Vec<u8>,
    #[prost(sint64, tag = "2")]
    pub(crate) slot: i64,
    #[prost(uint32, tag = "3")]
    pub(crate) attempt: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) round: u32,
    /// Not before this instant, if it is a second attempt.
    #[prost(sint64, optional, tag = "5")]
    pub(crate) due_us: Option<i64>,
}

/// An attempt that was under way has ended.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Finished {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<v1::Result>,
    #[prost(sint64, tag = "2")]
    pub(crate) started_us: i64,
    /// 0 nothing yet, 1 well, 2 unwell, 3 failing, 4 unmeasured.
    #[prost(uint32, tag = "3")]
    pub(crate) seen: u32,
    /// Whether it passed or gave a definite wrong answer.
    #[prost(bool, tag = "4")]
    pub(crate) is_settled: bool,
}

/// Nothing but that it came.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Nod {}

/// The machine's boot, on a process's clock.
pub(crate) fn boot(clock: &dyn Clock) -> Timestamp {
    clock.now().minus(uptime())
}

/// How long the machine has been running.
pub(crate) fn uptime() -> Duration {
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(uptime.tv_sec).unwrap_or_default(),
        u32::try_from(uptime.tv_nsec).unwrap_or_default(),
    )
}

/// Sends a message, its length before it.
pub(crate) async fn send(to: &mut (impl AsyncWriteExt + Unpin), message: &impl Message) -> io::Result<()> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(&bytes).await
}

/// Receives a message.
pub(crate) async fn receive<M: Message + Default>(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<M> {
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // Grown as it comes: a length alone takes no memory.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    M::decode(bytes.as_slice()).map_err(io::Error::other)
}
