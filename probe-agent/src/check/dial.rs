//! From a host name to a TCP connection: resolve, ask the policy, connect.
//!
//! If the policy denies any address of a name, it denies the name: otherwise a name with one good and one forbidden
//! address could be retried until it reaches the latter.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use model::{Capability, FailureKind};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use url::Host;

use super::{AddressPolicy, Stopped, Trace, add};

/// Lookups at the same time. The system's resolver blocks a thread for each, also after its check has timed out.
const MAX_LOOKUPS: usize = 48;
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 6;
/// Addresses of a name that are looked at, of either family.
const MAX_RESOLVED: usize = 64;
/// How long an address may try alone before the next one joins (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Opens connections to where the policy allows.
#[derive(Debug)]
pub(super) struct Dialer {
    policy: AddressPolicy,
    lookups: Arc<Semaphore>,
}

impl Dialer {
    pub(super) fn new(policy: AddressPolicy) -> Self {
        Self { policy, lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// Connects to a host, timing resolution and connection.
    pub(super) async fn dial(
        &self,
        host: Host<&str>,
        port: u16,
        trace: &mut Trace,
    ) -> Result<TcpStream, Stopped> {
        let addresses = self.locate(host, port, trace).await?;
        reach(addresses, trace).await
    }

    /// Connects to a host about which the policy is not asked: what the operator names goes without saying.
    pub(super) async fn dial_unasked(
        &self,
        host: Host<&str>,
        port: u16,
        trace: &mut Trace,
    ) -> Result<TcpStream, Stopped> {
        let mut addresses = match host {
            Host::Ipv4(address) => vec![SocketAddr::new(address.into(), port)],
            Host::Ipv6(address) => vec![SocketAddr::new(address.into(), port)],
            Host::Domain(name) => self.resolve(name, port, trace).await?,
        };
        addresses.truncate(MAX_ADDRESSES);
        reach(addresses, trace).await
    }

    /// Asks the policy about an address.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(), Stopped> {
        self.policy.admit(address).map_err(Stopped::unmeasured)
    }

    /// The addresses of a host, all of which the policy admits; timing resolution.
    pub(super) async fn locate(
        &self,
        host: Host<&str>,
        port: u16,
        trace: &mut Trace,
    ) -> Result<Vec<SocketAddr>, Stopped> {
        let route = trace.route_to(&host);
        let addresses = match (route.connect_to, host) {
            (Some(address), _) => vec![SocketAddr::new(address, port)],
            (None, Host::Ipv4(address)) => vec![SocketAddr::new(address.into(), port)],
            (None, Host::Ipv6(address)) => vec![SocketAddr::new(address.into(), port)],
            (None, Host::Domain(name)) => self.resolve(name, port, trace).await?,
        };
        for address in &addresses {
            self.admit(address.ip())?;
        }
        let used: Vec<_> = addresses
            .into_iter()
            .filter(|address| route.family.includes(address.ip()))
            .take(MAX_ADDRESSES)
            .collect();
        if used.is_empty() {
            let version = route.family.version();
            return Err(Stopped::failed(FailureKind::Dns, format_args!("name has no IPv{version} address")));
        }
        Ok(used)
    }

    async fn resolve(&self, name: &str, port: u16, trace: &mut Trace) -> Result<Vec<SocketAddr>, Stopped> {
        trace.held_up = Some("the agent's name resolution is overloaded");
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        trace.held_up = None;
        let started = Instant::now();
        let target = (name.to_owned(), port);
        // The permit goes with the blocked thread: it is free again when the thread is.
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            target.to_socket_addrs().map(|addresses| addresses.take(MAX_RESOLVED).collect::<Vec<_>>())
        });
        match lookup.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                add(&mut trace.phases.dns, started);
                Ok(addresses)
            }
            Ok(Ok(_)) => Err(unknown_name()),
            Ok(Err(error)) => Err(lookup_failure(&error)),
            Err(_) => Err(Stopped::unmeasured("the lookup broke off inside the agent")),
        }
    }
}

/// Whether there is a route to public addresses of IPv6, by the example of a root name server. Connecting a datagram
/// socket sends nothing.
pub(super) fn has_ipv6_route() -> bool {
    const ROOT_SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((ROOT_SERVER, 53)).is_ok())
}

fn unknown_name() -> Stopped {
    Stopped::failed(FailureKind::Dns, "name does not resolve")
}

fn lookup_failure(error: &io::Error) -> Stopped {
    if is_own_fault(error) {
        return Stopped::unmeasured(format_args!("the agent could not look up the name: {error}"));
    }
    // The standard library has no kind for EAI_* codes, only the system's words.
    let text = error.to_string();
    match text.rsplit_once("lookup address information: ") {
        Some((_, reason)) if reason.starts_with("Temporary failure") => {
            Stopped::failed(FailureKind::Dns, "name resolution failed for now")
        }
        _ => unknown_name(),
    }
}

/// Connects to one of a host's addresses, timing it.
async fn reach(addresses: Vec<SocketAddr>, trace: &mut Trace) -> Result<TcpStream, Stopped> {
    trace.addresses = addresses;
    let started = Instant::now();
    let connected = connect(&trace.addresses).await;
    if let [only] = trace.addresses[..] {
        trace.peer = Some(only.ip());
    }
    let (stream, peer) = connected?;
    add(&mut trace.phases.connect, started);
    trace.peer = Some(peer);
    // The request is one write; without this its last packet could wait for an acknowledgement.
    stream.set_nodelay(true).map_err(|error| refusal(&error))?;
    Ok(stream)
}

/// The first connection that is accepted. Addresses are tried in the resolver's order, each with a head start.
async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, IpAddr), Stopped> {
    // The usual case needs no race.
    if let [only] = addresses {
        let connected = TcpStream::connect(only).await;
        return connected
            .map(|stream| (stream, only.ip()))
            .map_err(|error| connect_failure(&[(only.ip(), error)]));
    }
    let attempt = |address: SocketAddr| async move { (address.ip(), TcpStream::connect(address).await) };
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        running.extend(waiting.next().map(attempt));
        tokio::select! {
            Some((address, ended)) = running.next() => match ended {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => errors.push((address, error)),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
            else => return Err(connect_failure(&errors)),
        }
    }
}

/// What to say of a host none of whose addresses could be reached: what the target did comes before what we could
/// not do.
pub(super) fn connect_failure(errors: &[(IpAddr, io::Error)]) -> Stopped {
    // Without IPv6 in the system there are no such sockets.
    let unreachable = |error: &io::Error| {
        matches!(Errno::from_io_error(error), Some(Errno::NETUNREACH | Errno::AFNOSUPPORT))
    };
    let telling = errors.iter().find(|(_, error)| !is_own_fault(error) && !unreachable(error));
    let own = || errors.iter().find(|(_, error)| is_own_fault(error));
    match telling.or_else(own).or_else(|| errors.first()) {
        Some((_, error)) if unreachable(error) && errors.iter().all(|(address, _)| address.is_ipv6()) => {
            Stopped::unsupported(Capability::Ipv6)
        }
        Some((_, error)) => refusal(error),
        None => unknown_name(),
    }
}

/// What an error of a connection means, before anything was said over it.
pub(super) fn refusal(error: &io::Error) -> Stopped {
    if is_own_fault(error) {
        return Stopped::unmeasured(format_args!("the agent could not open a connection: {error}"));
    }
    let detail = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "connection reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to host",
        io::ErrorKind::TimedOut => "connection timed out",
        _ => return Stopped::failed(FailureKind::Connect, format_args!("connection failed: {error}")),
    };
    Stopped::failed(FailureKind::Connect, detail)
}

/// Whether an error says something of this machine and nothing of the target.
fn is_own_fault(error: &io::Error) -> bool {
    const OURS: [Errno; 8] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::AFNOSUPPORT,
        Errno::ACCESS,
        Errno::PERM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: Errno) -> io::Error {
        errno.into()
    }

    fn failed(detail: &str) -> Stopped {
        Stopped::failed(FailureKind::Connect, detail)
    }

    #[test]
    fn our_own_faults_are_not_the_targets() {
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT] {
            assert!(matches!(refusal(&error(errno)), Stopped::Unmeasured(_)), "{errno:?}");
        }
        assert_eq!(refusal(&error(Errno::CONNREFUSED)), failed("connection refused"));
        assert_eq!(refusal(&error(Errno::HOSTUNREACH)), failed("no route to host"));
    }

    #[test]
    fn of_several_addresses_the_targets_answer_is_told() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mixed = [(v6, error(Errno::NETUNREACH)), (v4, error(Errno::CONNREFUSED))];
        assert_eq!(connect_failure(&mixed), failed("connection refused"));
        let only_v6 = [(v6, error(Errno::NETUNREACH))];
        assert!(matches!(connect_failure(&only_v6), Stopped::Unmeasured(_)));
        assert_eq!(connect_failure(&[(v4, error(Errno::NETUNREACH))]), failed("no route to host"));
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        let (_, peer) = connect(&[closed, open]).await.unwrap();
        assert_eq!(peer, open.ip());
    }
}
