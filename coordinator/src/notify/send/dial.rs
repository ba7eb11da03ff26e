//! Connections to addresses that somebody else chose: look up, filter, dial exactly those.
//!
//! The filter stands between the look-up and the connection, so a name cannot pass with one address and be dialled
//! at another. A literal address in a URL takes the same way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use model::Clock;
use model::address::{Cidr, is_public};
use store::AttemptTiming;

/// Of a name's addresses, at most this many are tried.
const MAX_ADDRESSES: usize = 8;
/// How long an address is tried before the next one is tried too (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to receivers.
pub(super) struct Dialer {
    allow: Vec<Cidr>,
    own: Vec<SocketAddr>,
    https: TlsConnector,
    /// The same without a protocol to agree on: mail servers refuse a client that offers HTTP.
    smtp: TlsConnector,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the URL has no host or no port")]
    NoHost,
    #[error("name does not resolve")]
    Resolve(#[source] io::Error),
    #[error("name has no address")]
    NoAddress,
    // Does not say which address: whoever may add a channel need not learn the names of our network.
    #[error(
        "refused: the receiver has an address that is not public; the server's --allow-receiver can allow it"
    )]
    NotPublic,
    #[error("refused: that is where this coordinator listens")]
    Own,
    #[error("{}", .0.kind())]
    Connect(#[source] io::Error),
    #[error("TLS: {}", tls_cause(.0))]
    Tls(#[source] io::Error),
}

/// What an exchange runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Dialer {
    pub(super) fn new(allow: Vec<Cidr>, own: Vec<SocketAddr>, tls: rustls::ClientConfig) -> Self {
        let mut smtp = tls.clone();
        smtp.alpn_protocols.clear();
        let (https, smtp) = (TlsConnector::from(Arc::new(tls)), TlsConnector::from(Arc::new(smtp)));
        Self { allow, own, https, smtp }
    }

    /// Connects to a URL's host, with TLS for `https:`, and says to which address.
    pub(super) async fn connect(
        &self,
        url: &Url,
        clock: &dyn Clock,
        timing: &mut AttemptTiming,
    ) -> Result<(Box<dyn Stream>, SocketAddr), DialError> {
        let host = url.host().ok_or(DialError::NoHost)?;
        let port = url.port_or_known_default().ok_or(DialError::NoHost)?;
        let began_at = clock.now();
        let addresses = self.permitted(resolve(&host, port).await?)?;
        let resolved_at = clock.now();
        timing.resolve_us = Some(micros(resolved_at.since(began_at)));
        let (tcp, peer) = self.reach(&addresses).await?;
        let connected_at = clock.now();
        timing.connect_us = Some(micros(connected_at.since(resolved_at)));
        if url.scheme() != "https" {
            return Ok((Box::new(tcp), peer));
        }
        let tls = secured(&self.https, &host, tcp).await?;
        timing.tls_us = Some(micros(clock.now().since(connected_at)));
        Ok((Box::new(tls), peer))
    }

    /// Connects to a host.
    pub(super) async fn tcp(&self, host: &Host<&str>, port: u16) -> Result<TcpStream, DialError> {
        let addresses = self.permitted(resolve(host, port).await?)?;
        self.reach(&addresses).await.map(|(tcp, _)| tcp)
    }

    /// Connects to one of these addresses, and to nothing else.
    async fn reach(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
        let tcp = dial(addresses).await.map_err(DialError::Connect)?;
        let peer = tcp.peer_addr().map_err(DialError::Connect)?;
        if !addresses.contains(&peer) {
            return Err(DialError::NotPublic);
        }
        if self.is_own(peer, tcp.local_addr().map_err(DialError::Connect)?) {
            return Err(DialError::Own);
        }
        // One small request: waiting to fill a segment would only delay it. Without it, all still works.
        let _ = tcp.set_nodelay(true);
        Ok((tcp, peer))
    }

    /// Whether the other end is this process: at one of its ports, on this host. A connection within a host has one
    /// address at both ends, or both are of the loopback network.
    fn is_own(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        let (there, here) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let is_within_host = there == here || there.is_loopback();
        let covers = |own: &SocketAddr| {
            let address = own.ip().to_canonical();
            own.port() == peer.port() && (address.is_unspecified() || address == there)
        };
        is_within_host && self.own.iter().any(covers)
    }

    /// TLS over a connection to a mail server, whose certificate has to be valid for this host.
    pub(super) async fn smtp_tls(
        &self,
        host: &Host<&str>,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        secured(&self.smtp, host, tcp).await
    }

    /// The addresses if every one of them may be connected to. One that may not makes all suspect: a name that has
    /// both is either a mistake or an attempt to get through by chance.
    fn permitted(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, DialError> {
        if addresses.is_empty() {
            return Err(DialError::NoAddress);
        }
        if !addresses.iter().all(|address| self.allows(address.ip())) {
            return Err(DialError::NotPublic);
        }
        Ok(addresses.into_iter().take(MAX_ADDRESSES).collect())
    }

    /// Whether an address may be connected to.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow.iter().any(|range| range.contains(address))
    }
}

/// A span as it is recorded.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

async fn resolve(host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    match host {
        Host::Ipv4(address) => Ok(vec![((*address), port).into()]),
        Host::Ipv6(address) => Ok(vec![((*address), port).into()]),
        Host::Domain(name) => {
            Ok(tokio::net::lookup_host((*name, port)).await.map_err(DialError::Resolve)?.collect())
        }
    }
}

/// The first address that accepts, each one tried a moment after the one before.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let tries = addresses.iter().zip(0..).map(|(&address, rank)| {
        Box::pin(async move {
            tokio::time::sleep(STAGGER * rank).await;
            TcpStream::connect(address).await
        })
    });
    select_ok(tries).await.map(|(stream, _losers)| stream)
}

async fn secured(
    connector: &TlsConnector,
    host: &Host<&str>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, DialError> {
    connector.connect(server_name(host)?, tcp).await.map_err(DialError::Tls)
}

fn server_name(host: &Host<&str>) -> Result<ServerName<'static>, DialError> {
    match host {
        Host::Ipv4(address) => Ok(ServerName::IpAddress(IpAddr::V4(*address).into())),
        Host::Ipv6(address) => Ok(ServerName::IpAddress(IpAddr::V6(*address).into())),
        Host::Domain(name) => ServerName::try_from((*name).to_owned())
            .map_err(|_| DialError::Tls(io::Error::other("the host name cannot be in a certificate"))),
    }
}

fn tls_cause(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    cause.map_or_else(|| error.kind().to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::send::tls;

    fn dialer(allow: &[&str]) -> Dialer {
        let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
        Dialer::new(allow, vec![], tls::client_config(None).unwrap())
    }

    fn addresses(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 443)).collect()
    }

    #[test]
    fn one_private_address_among_public_ones_refuses_all() {
        let dialer = dialer(&[]);
        assert!(dialer.permitted(addresses(&["1.1.1.1", "2606:4700::1111"])).is_ok());
        for mixed in
            [["1.1.1.1", "10.0.0.1"], ["169.254.169.254", "1.1.1.1"], ["1.1.1.1", "::ffff:127.0.0.1"]]
        {
            let refused = dialer.permitted(addresses(&mixed));
            assert!(matches!(refused, Err(DialError::NotPublic)), "{mixed:?}");
        }
        assert!(matches!(dialer.permitted(vec![]), Err(DialError::NoAddress)));
    }

    #[test]
    fn allowed_ranges_open_exactly_themselves() {
        let dialer = dialer(&["10.2.0.0/16"]);
        assert!(dialer.permitted(addresses(&["10.2.3.4", "1.1.1.1"])).is_ok());
        assert!(dialer.permitted(addresses(&["10.3.0.1"])).is_err());
    }

    #[tokio::test]
    async fn every_spelling_of_a_literal_loopback_address_is_refused() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "https://169.254.169.254/",
        ] {
            let clock = model::SystemClock::start();
            let url = Url::parse(url).unwrap();
            let refused = dialer(&[]).connect(&url, &clock, &mut AttemptTiming::default()).await;
            assert!(matches!(refused, Err(DialError::NotPublic)), "{url}");
        }
    }
}
