//! The way to a target that cannot be reached: which routers answer, and where they stop.
//!
//! As `traceroute` does it over TCP: connections whose packets may live for one step, two, three …; the router that
//! drops one says so, and the system keeps what it said for whoever asked with `IP_RECVERR`. So it needs no privilege,
//! and goes through whatever lets the target's port through. Hosts without ports are sent echo requests instead.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use futures_util::future::join_all;
use model::PathHop;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// Steps that are looked at.
const MAX_DISTANCE: u8 = 24;
/// Steps that are looked at together: few enough not to look like an attack.
const TOGETHER: usize = 4;
/// How long a router may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Steps in a row without an answer after which nobody further away is asked.
const MAX_SILENT: usize = 8;
/// Room for one extended error and the address of who caused it.
const CONTROL_BYTES: usize = 256;
/// An echo request (RFC 792, RFC 4443 §4.1) is of no more than its header here.
const ECHO_V4: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
const ECHO_V6: [u8; 8] = [128, 0, 0, 0, 0, 0, 0, 1];

/// What is found at one distance.
struct Step {
    hop: PathHop,
    /// Whether there is nothing behind it: the target itself, or somebody who lets nothing through.
    is_last: bool,
}

/// Looks at the way to a target, the nearest step first; port 0: one without ports. Ends within a few seconds; empty if
/// nobody on the way says anything.
pub(crate) async fn trace(target: SocketAddr) -> Vec<PathHop> {
    let mut path: Vec<PathHop> = Vec::new();
    let distances: Vec<u8> = (1..=MAX_DISTANCE).collect();
    'way: for distances in distances.chunks(TOGETHER) {
        for step in join_all(distances.iter().map(|&distance| look(target, distance))).await {
            path.push(step.hop);
            if step.is_last {
                break 'way;
            }
        }
        if path.iter().rev().take_while(|hop| hop.address.is_none()).count() >= MAX_SILENT {
            break;
        }
    }
    // One step of silence at the end says as much as many.
    let told = path.iter().rposition(|hop| hop.address.is_some()).map_or(0, |last| last + 2);
    path.truncate(told);
    path
}

async fn look(target: SocketAddr, distance: u8) -> Step {
    let started = Instant::now();
    let answer = match timeout(PATIENCE, ask(target, distance)).await {
        Ok(Ok(answer)) => Some(answer),
        // Whatever keeps us from asking is no router's fault; the step is silent.
        Ok(Err(_)) | Err(_) => None,
    };
    let (address, is_last) = answer.unzip();
    let round_trip = address.map(|_| started.elapsed());
    Step { hop: PathHop { distance, address, round_trip }, is_last: is_last.unwrap_or(false) }
}

/// Who answers a packet that may live for so many steps, and whether the way ends there.
async fn ask(target: SocketAddr, distance: u8) -> io::Result<(IpAddr, bool)> {
    // Mostly not UDP, but the same to wait for.
    let socket = UdpSocket::from_std(StdUdpSocket::from(open(target, distance)?))?;
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        // This machine itself knows no way; no packet has left it.
        Err(error) => return Err(error.into()),
    }
    if target.port() == 0 {
        let request = if target.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
        socket::send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    }
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
    socket.async_io(interest, || answer(socket.as_raw_fd(), target)).await
}

/// What has come of a packet by now; nothing yet is [`io::ErrorKind::WouldBlock`].
fn answer(socket: RawFd, target: SocketAddr) -> io::Result<(IpAddr, bool)> {
    if let Some((router, is_expired)) = complaint(socket)? {
        return Ok((router, !is_expired));
    }
    let reached = match target.port() {
        0 => socket::recv(socket, &mut [0; 64], MsgFlags::empty()).map(|_| ()),
        _ => socket::getpeername::<SockaddrStorage>(socket).map(|_| ()),
    };
    match reached {
        Ok(()) => Ok((target.ip(), true)),
        Err(Errno::ENOTCONN) => match socket::recv(socket, &mut [0; 1], MsgFlags::empty()) {
            // Refused, by the target itself.
            Err(Errno::ECONNREFUSED) => Ok((target.ip(), true)),
            Err(error) => Err(error.into()),
            Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
        },
        Err(error) => Err(error.into()),
    }
}

fn open(target: SocketAddr, distance: u8) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, protocol) = match (target.port(), target.is_ipv4()) {
        (0, true) => (SockType::Datagram, SockProtocol::Icmp),
        (0, false) => (SockType::Datagram, SockProtocol::IcmpV6),
        _ => (SockType::Stream, SockProtocol::Tcp),
    };
    let socket = socket::socket(family, kind, flags, protocol)?;
    if target.is_ipv4() {
        socket::setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        socket::setsockopt(&socket, sockopt::Ipv4Ttl, &distance.into())?;
    } else {
        socket::setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        socket::setsockopt(&socket, sockopt::Ipv6Ttl, &distance.into())?;
    }
    Ok(socket)
}

/// What somebody on the way said of our packet: who, and whether it was that it had lived long enough.
fn complaint(socket: RawFd) -> io::Result<Option<(IpAddr, bool)>> {
    const EXPIRED_V4: u8 = 11;
    const EXPIRED_V6: u8 = 3;
    let (mut data, mut control) = ([0; 64], [0; CONTROL_BYTES]);
    let mut parts = [IoSliceMut::new(&mut data)];
    let flags = MsgFlags::MSG_ERRQUEUE;
    let message = match socket::recvmsg::<()>(socket, &mut parts, Some(&mut control), flags) {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4RecvErr(error, Some(who)) => {
                let router = Ipv4Addr::from(who.sin_addr.s_addr.to_ne_bytes());
                return Ok((!router.is_unspecified()).then_some((router.into(), error.ee_type == EXPIRED_V4)));
            }
            ControlMessageOwned::Ipv6RecvErr(error, Some(who)) => {
                let router = Ipv6Addr::from(who.sin6_addr.s6_addr);
                return Ok((!router.is_unspecified()).then_some((router.into(), error.ee_type == EXPIRED_V6)));
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_target_that_refuses_or_accepts_is_the_end_of_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        for target in [open, closed, "[::1]:1".parse().unwrap()] {
            let [hop] = trace(target).await[..] else { panic!("one step to {target}") };
            assert_eq!((hop.distance, hop.address), (1, Some(target.ip())), "{target}");
            assert!(hop.round_trip.is_some_and(|took| took < PATIENCE));
        }
    }

    #[tokio::test]
    async fn a_host_without_ports_is_asked_for_an_echo() {
        let path = trace("127.0.0.1:0".parse().unwrap()).await;
        if path.is_empty() {
            return println!("skipped: this process may not send echo requests");
        }
        assert_eq!(path[0].address, Some(Ipv4Addr::LOCALHOST.into()));
    }
}
