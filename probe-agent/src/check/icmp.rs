//! ICMP checks: up to three echo requests, one of which must be answered; or a series of which so many must be.
//!
//! Through a datagram socket where `net.ipv4.ping_group_range` lets the agent have one, else through a raw socket,
//! which takes CAP_NET_RAW. The former has the system choose the identifier and hears only what belongs to it; so a
//! reply is known by its random payload instead. By hand: `surge-ping` reads in a task of its own and tells replies
//! apart by their numbers alone.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use model::{Capability, FailureKind, IcmpCheck, SystemRandom, random};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, interval, sleep_until};

use super::{Attempt, Network, Stopped, Trace, dial, host};

/// How many requests are sent unless one is answered before.
const MAX_REQUESTS: usize = 3;
/// How long one waits for the answer to the last.
const PAUSE: Duration = Duration::from_millis(300);
/// How long before its deadline a series ends, so that it can be told what was lost.
const CLOSING: Duration = Duration::from_millis(100);
const MIN_IPV4_HEADER_BYTES: usize = 20;
const HEADER_BYTES: usize = 8;
const PAYLOAD_BYTES: usize = 16;

impl Attempt for IcmpCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        // First of all: whatever else is wrong, this agent would not see it put right.
        if !is_allowed() {
            return Err(Stopped::unsupported(Capability::Icmp));
        }
        trace.addresses = network.dialer.locate(host(&self.host), 0, trace).await?;
        let (echo, peer) = Echo::open(&trace.addresses)?;
        trace.peer = Some(peer);
        let Some(series) = self.series else {
            trace.awaited = Some("an echo reply".to_owned());
            trace.phases.first_byte = Some(echo.round_trip().await?);
            return Ok(());
        };
        let replies = echo.series(series.count, trace.timeout).await?;
        let statistics = replies.statistics(series.count);
        let lost = statistics.lost();
        trace.phases.first_byte = statistics.times.map(|times| times.mean);
        trace.echo = Some(statistics);
        if series.allows(lost) {
            return Ok(());
        }
        Err(Stopped::failed(FailureKind::Timeout, format_args!("{lost} of {} lost", series.count)))
    }
}

/// What came of a series of echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoStatistics {
    /// Requests that were sent.
    pub sent: u8,
    /// Requests that were answered in time.
    pub answered: u8,
    /// How long they took; `None` if none was.
    pub times: Option<RoundTrips>,
}

/// Times from a request to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrips {
    /// The shortest.
    pub min: Duration,
    /// Their mean.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
}

impl EchoStatistics {
    /// Requests that were not answered in time.
    #[must_use]
    pub const fn lost(&self) -> u8 {
        self.sent.saturating_sub(self.answered)
    }
}

/// How long each request of a series took to be answered.
#[derive(Debug, Default)]
struct Replies(Vec<Option<Duration>>);

impl Replies {
    fn statistics(&self, sent: u8) -> EchoStatistics {
        let took = || self.0.iter().copied().flatten();
        let answered = u8::try_from(took().count()).unwrap_or(u8::MAX);
        let times = took().min().zip(took().max()).map(|(min, max)| {
            let mean = took().sum::<Duration>() / u32::from(answered.max(1));
            RoundTrips { min, mean, max }
        });
        EchoStatistics { sent, answered, times }
    }
}

/// A way to one host.
struct Echo {
    /// Not UDP, but the same to send and receive with.
    socket: UdpSocket,
    form: Form,
    payload: [u8; PAYLOAD_BYTES],
}

/// What is sent and received over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    V4,
    /// With IPv4's header before what is received.
    RawV4,
    V6,
}

/// Who may have a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Unprivileged,
    Raw,
}

impl Echo {
    /// A way to the first of a host's addresses that there is a route to.
    fn open(addresses: &[SocketAddr]) -> Result<(Self, IpAddr), Stopped> {
        let mut errors = Vec::new();
        for address in addresses {
            let unprivileged = Self::to(address.ip(), Access::Unprivileged);
            let echo = match unprivileged {
                Err(error) if is_forbidden(&error) => Self::to(address.ip(), Access::Raw),
                other => other,
            };
            match echo {
                Ok(echo) => return Ok((echo, address.ip())),
                Err(error) => errors.push((address.ip(), error)),
            }
        }
        if errors.iter().any(|(_, error)| is_forbidden(error)) {
            return Err(Stopped::unsupported(Capability::Icmp));
        }
        Err(dial::connect_failure(&errors))
    }

    fn to(address: IpAddr, access: Access) -> io::Result<Self> {
        let socket = socket(address.is_ipv6(), access)?;
        // Without it only some of the errors that come back are told.
        match address {
            IpAddr::V4(_) => socket::setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            IpAddr::V6(_) => socket::setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        let socket = StdUdpSocket::from(socket);
        socket.connect(SocketAddr::new(address, 0))?;
        let form = match (address, access) {
            (IpAddr::V4(_), Access::Unprivileged) => Form::V4,
            (IpAddr::V4(_), Access::Raw) => Form::RawV4,
            (IpAddr::V6(_), _) => Form::V6,
        };
        Ok(Self::over(UdpSocket::from_std(socket)?, form))
    }

    fn over(socket: UdpSocket, form: Form) -> Self {
        Self { socket, form, payload: random::bytes(&SystemRandom) }
    }

    /// Sends requests until one is answered, and tells how long that one took.
    async fn round_trip(&self) -> Result<Duration, Stopped> {
        let mut sent: Vec<Instant> = Vec::with_capacity(MAX_REQUESTS);
        let mut pauses = interval(PAUSE);
        let mut buffer = [0; 256];
        loop {
            tokio::select! {
                biased;
                received = self.receive(&mut buffer) => match received {
                    Ok(length) => {
                        let answered = self.answered(&buffer[..length]).and_then(|number| sent.get(number));
                        if let Some(sent) = answered {
                            return Ok(sent.elapsed());
                        }
                    }
                    Err(error) => problem(&error).map_or(Ok(()), Err)?,
                },
                _ = pauses.tick(), if sent.len() < MAX_REQUESTS => {
                    let request = self.request(sent.len());
                    sent.push(Instant::now());
                    self.socket.send(&request).await.map_err(|error| dial::refusal(&error))?;
                }
            }
        }
    }

    /// Sends as many requests, spaced so that they take no more than half the time, and waits for their answers until
    /// shortly before its end.
    async fn series(&self, count: u8, timeout: Duration) -> Result<Replies, Stopped> {
        let count = usize::from(count);
        let end = Instant::now() + timeout.saturating_sub((timeout / 10).min(CLOSING));
        let mut sent: Vec<Instant> = Vec::with_capacity(count);
        let mut replies = Replies(vec![None; count]);
        let mut pauses =
            interval(PAUSE.min(timeout / 2 / u32::from(u16::try_from(count).unwrap_or(1).max(1))));
        let mut buffer = [0; 256];
        while replies.0.iter().any(Option::is_none) {
            tokio::select! {
                biased;
                received = self.receive(&mut buffer) => match received {
                    Ok(length) => {
                        let number = self.answered(&buffer[..length]);
                        let answered = number.and_then(|number| sent.get(number).zip(replies.0.get_mut(number)));
                        if let Some((sent, took)) = answered {
                            took.get_or_insert_with(|| sent.elapsed());
                        }
                    }
                    // What comes back of one is one that is lost; what comes back of all tells why.
                    Err(error) => match problem(&error) {
                        Some(problem) if replies.0.iter().all(Option::is_none) => return Err(problem),
                        _ => {}
                    },
                },
                _ = pauses.tick(), if sent.len() < count => {
                    let request = self.request(sent.len());
                    sent.push(Instant::now());
                    // A full queue on this machine is a loss too.
                    let _ = self.socket.send(&request).await;
                }
                () = sleep_until(end) => break,
            }
        }
        Ok(replies)
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // An error that came back wakes nobody who waits for data only.
        let interest = Interest::READABLE | Interest::ERROR;
        let socket = self.socket.as_raw_fd();
        let receive = || socket::recv(socket, buffer, MsgFlags::empty()).map_err(io::Error::from);
        self.socket.async_io(interest, receive).await
    }

    /// The request of a number (RFC 792, RFC 4443 §4.1).
    fn request(&self, number: usize) -> [u8; HEADER_BYTES + PAYLOAD_BYTES] {
        let mut bytes = [0; HEADER_BYTES + PAYLOAD_BYTES];
        bytes[0] = if self.form == Form::V6 { 128 } else { 8 };
        // Any identifier will do, see above.
        bytes[4..6].copy_from_slice(&self.payload[..2]);
        bytes[7] = u8::try_from(number).unwrap_or(u8::MAX);
        bytes[HEADER_BYTES..].copy_from_slice(&self.payload);
        // The system does it for the other forms.
        if self.form == Form::RawV4 {
            let sum = checksum(&bytes);
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// The number of the request that is answered by what was received, if one of ours is.
    fn answered(&self, received: &[u8]) -> Option<usize> {
        let message = match self.form {
            Form::RawV4 => {
                let header = usize::from(received.first()? & 0xf) * 4;
                received.get(header.max(MIN_IPV4_HEADER_BYTES)..)?
            }
            Form::V4 | Form::V6 => received,
        };
        let (header, payload) = message.split_at_checked(HEADER_BYTES)?;
        let reply = if self.form == Form::V6 { 129 } else { 0 };
        let is_ours = header[..2] == [reply, 0] && payload == self.payload && header[6] == 0;
        is_ours.then_some(usize::from(header[7]))
    }
}

/// Whether the system lets this process send echo requests, over either version of the Internet Protocol.
pub(super) fn is_allowed() -> bool {
    let open = |is_v6, access| socket(is_v6, access).is_ok();
    [Access::Unprivileged, Access::Raw].into_iter().any(|access| open(false, access) || open(true, access))
}

fn socket(is_v6: bool, access: Access) -> nix::Result<OwnedFd> {
    let (family, protocol) = if is_v6 {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    } else {
        (AddressFamily::Inet, SockProtocol::Icmp)
    };
    let kind = if access == Access::Raw { SockType::Raw } else { SockType::Datagram };
    socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    // One more carry is all that there can be.
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// Whether a socket is refused because of who the agent is.
fn is_forbidden(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::ACCESS, Errno::PERM, Errno::PROTONOSUPPORT].contains(&errno))
}

/// What an error that came back from the way means; `None` if nothing.
fn problem(error: &io::Error) -> Option<Stopped> {
    let detail = match Errno::from_io_error(error) {
        // A router knows a better way, which the system will take.
        Some(Errno::REMOTEIO) => return None,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => "no route to host".to_owned(),
        Some(Errno::ACCESS) => "echo requests are prohibited on the way".to_owned(),
        _ => format!("echo request refused: {error}"),
    };
    Some(Stopped::failed(FailureKind::Connect, detail))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::{Check, Failure, Outcome};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use crate::check::{AddressPolicy, Checker, Finding};

    /// Long enough for everything on the loopback interface, on a busy machine too.
    const TIMEOUT: Duration = Duration::from_secs(20);

    async fn check(host: &str) -> Finding {
        let check = Check::from_target(&format!("icmp://{host}")).unwrap();
        Checker::new(AddressPolicy::default(), None).unwrap().run(Some(&check), TIMEOUT).await
    }

    /// A way to a host that answers each request with what `answer` makes of it and of how many there have been before.
    async fn scripted(
        form: Form,
        answer: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static,
    ) -> (Echo, JoinSet<()>) {
        let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(host.local_addr().unwrap()).await.unwrap();
        host.connect(socket.local_addr().unwrap()).await.unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut buffer = [0; 256];
            for before in 0.. {
                let length = host.recv(&mut buffer).await.unwrap();
                for bytes in answer(&buffer[..length], before) {
                    host.send(&bytes).await.unwrap();
                }
            }
        });
        (Echo::over(socket, form), running)
    }

    /// The reply to a request of IPv4.
    fn reply(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = 0;
        // As the system does on datagram sockets.
        reply[4..6].copy_from_slice(&[9, 9]);
        reply
    }

    #[tokio::test]
    async fn a_host_that_answers_passes_and_its_round_trip_is_timed() {
        for (host, address) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("127.9.9.9", "127.9.9.9")] {
            let finding = check(host).await;
            if let Outcome::Error(why) = &finding.outcome {
                println!("skipped: {host}: {why}");
                continue;
            }
            assert_eq!(finding.outcome, Outcome::Pass, "{host}");
            assert_eq!(finding.peer, Some(address.parse().unwrap()));
            assert!(finding.phases.first_byte.is_some_and(|took| took <= finding.duration));
        }
    }

    #[tokio::test]
    async fn a_host_is_found_by_its_name() {
        let finding = check("localhost").await;
        match &finding.outcome {
            Outcome::Error(why) => println!("skipped: {why}"),
            outcome => assert_eq!(*outcome, Outcome::Pass),
        }
        assert!(finding.phases.dns.is_some());
    }

    #[tokio::test]
    async fn either_kind_of_socket_will_do() {
        for address in ["127.0.0.1", "::1"] {
            for access in [Access::Unprivileged, Access::Raw] {
                match Echo::to(address.parse().unwrap(), access) {
                    Ok(echo) => {
                        timeout(TIMEOUT, echo.round_trip()).await.unwrap().unwrap();
                    }
                    Err(error) => println!("skipped: {access:?} to {address}: {error}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_lost_is_sent_again_twice_and_no_more() {
        for lost in [1, 2] {
            let (echo, _host) = scripted(
                Form::V4,
                move |request, before| if before < lost { vec![] } else { vec![reply(request)] },
            )
            .await;
            timeout(TIMEOUT, echo.round_trip()).await.unwrap().unwrap();
        }
        let numbers = std::sync::Arc::new(Mutex::new(vec![]));
        let seen = std::sync::Arc::clone(&numbers);
        let (echo, _host) = scripted(Form::V4, move |request, _| {
            seen.lock().unwrap().push(request[7]);
            vec![]
        })
        .await;
        assert!(timeout(Duration::from_secs(3), echo.round_trip()).await.is_err());
        assert_eq!(*numbers.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_series_counts_what_is_lost_and_times_the_rest() {
        let (echo, _host) = scripted(Form::V4, |request, before| match before {
            1 | 3 => vec![],
            // Twice the same one is one.
            _ => vec![reply(request); 2],
        })
        .await;
        let replies = echo.series(5, Duration::from_secs(2)).await.unwrap();
        let statistics = replies.statistics(5);
        assert_eq!((statistics.sent, statistics.answered, statistics.lost()), (5, 3, 2));
        let times = statistics.times.unwrap();
        assert!(times.min <= times.mean && times.mean <= times.max, "{times:?}");
    }

    #[tokio::test]
    async fn a_series_ends_with_its_last_answer() {
        let (echo, _host) = scripted(Form::V4, |request, _| vec![reply(request)]).await;
        let started = Instant::now();
        let replies = echo.series(3, TIMEOUT).await.unwrap();
        assert_eq!(replies.statistics(3).answered, 3);
        assert!(started.elapsed() < TIMEOUT / 2, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn of_a_series_the_share_that_was_lost_decides() {
        let check = |query: &str| Check::from_target(&format!("icmp://127.0.0.1?{query}")).unwrap();
        let checker = Checker::new(AddressPolicy::default(), None).unwrap();
        let finding = checker.run(Some(&check("count=3&loss=0")), TIMEOUT).await;
        if let Outcome::Error(why) = &finding.outcome {
            println!("skipped: {why}");
            return;
        }
        assert_eq!(finding.outcome, Outcome::Pass);
        let echo = finding.echo.unwrap();
        assert_eq!((echo.sent, echo.answered), (3, 3));
        assert_eq!(finding.phases.first_byte, echo.times.map(|times| times.mean));
    }

    #[tokio::test]
    async fn the_reply_to_an_earlier_request_passes_too() {
        let first = Mutex::new(vec![]);
        let (echo, _host) = scripted(Form::V4, move |request, before| {
            let mut first = first.lock().unwrap();
            if before == 0 {
                *first = request.to_vec();
                return vec![];
            }
            vec![reply(&first)]
        })
        .await;
        let took = timeout(TIMEOUT, echo.round_trip()).await.unwrap().unwrap();
        // The pauses are counted from before the first request, so a little less than one may be left.
        assert!(took >= PAUSE / 2, "{took:?} counts from the first request");
    }

    #[tokio::test]
    async fn what_is_no_reply_to_our_request_is_passed_over() {
        type Spoil = fn(&mut Vec<u8>);
        const SPOILS: [Spoil; 6] = [
            Vec::clear,
            |bytes| bytes.truncate(HEADER_BYTES),
            |bytes| bytes[0] = 3,
            |bytes| bytes[HEADER_BYTES] ^= 1,
            |bytes| bytes[7] = 77,
            |bytes| bytes.extend([0; 1_000]),
        ];
        let (echo, _host) = scripted(Form::V4, |request, before| {
            let spoilt = SPOILS.iter().map(|spoil| {
                let mut bytes = reply(request);
                spoil(&mut bytes);
                bytes
            });
            spoilt.chain((before == 1).then(|| reply(request))).collect()
        })
        .await;
        let started = Instant::now();
        timeout(TIMEOUT, echo.round_trip()).await.unwrap().unwrap();
        assert!(started.elapsed() >= PAUSE / 2, "the first request is not answered");
    }

    #[tokio::test]
    async fn the_forms_differ_in_numbers_header_and_checksum() {
        let mut requests = vec![];
        for form in [Form::V4, Form::RawV4, Form::V6] {
            let (echo, _host) = scripted(form, |_, _| vec![]).await;
            let request = echo.request(1);
            let mut answer = request.to_vec();
            answer[0] = if form == Form::V6 { 129 } else { 0 };
            if form == Form::RawV4 {
                assert_eq!(checksum(&request), 0, "a sum over itself and what it covers");
                assert_eq!(echo.answered(&answer), None, "without IPv4's header");
                answer.splice(..0, [&[0x46][..], &[0; 23]].concat());
            }
            assert_eq!(echo.answered(&answer), Some(1), "{form:?}");
            assert_eq!(echo.answered(&answer[..answer.len() - 1]), None);
            requests.push(request);
        }
        assert_eq!(requests.iter().map(|request| request[0]).collect::<Vec<_>>(), [8, 8, 128]);
        assert!(requests[0][8..] != requests[1][8..], "every way has a payload of its own");
    }

    #[tokio::test]
    async fn an_error_that_comes_back_ends_the_check_at_once() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(closed).await.unwrap();
        let end = timeout(TIMEOUT, Echo::over(socket, Form::V4).round_trip()).await.unwrap();
        let Err(Stopped::Failed(Failure { kind: FailureKind::Connect, .. })) = end else { panic!("{end:?}") };
    }

    #[test]
    fn errors_that_come_back_are_told_in_words_unless_they_mean_nothing() {
        let told = |errno: Errno| problem(&errno.into());
        let failed = |detail: &str| Some(Stopped::failed(FailureKind::Connect, detail));
        assert_eq!(told(Errno::HOSTUNREACH), failed("no route to host"));
        assert_eq!(told(Errno::NETUNREACH), failed("no route to host"));
        assert_eq!(told(Errno::ACCESS), failed("echo requests are prohibited on the way"));
        assert_eq!(told(Errno::REMOTEIO), None);
        assert!(matches!(told(Errno::PROTO), Some(Stopped::Failed(_))));
    }

    #[tokio::test]
    async fn denied_hosts_are_not_asked() {
        let denied = |address| {
            Outcome::Error(format!("address {address} is not allowed by this agent's configuration"))
        };
        assert_eq!(check("169.254.169.254").await.outcome, denied("169.254.169.254"));
        let policy = AddressPolicy { deny_private: true, ..AddressPolicy::default() };
        let checker = Checker::new(policy, None).unwrap();
        let by_address = checker.run(Some(&Check::from_target("icmp://127.0.0.1").unwrap()), TIMEOUT).await;
        assert_eq!(by_address.outcome, denied("127.0.0.1"));
        let by_name = checker.run(Some(&Check::from_target("icmp://localhost").unwrap()), TIMEOUT).await;
        assert!(matches!(&by_name.outcome, Outcome::Error(why) if why.contains("is not allowed")));
    }
}
