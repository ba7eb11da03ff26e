//! What an agent can do and another cannot, and what a check needs of the agent that makes it.

use std::net::IpAddr;

use crate::address::is_public;
use crate::check::{Family, Route};
use crate::{Check, CheckSpec};

/// Something that not every agent can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// HTTP checks.
    Http,
    /// TCP checks.
    Tcp,
    /// TLS checks.
    Tls,
    /// DNS checks.
    Dns,
    /// Echo requests, which the agent's system has to allow.
    Icmp,
    /// Calls of gRPC servers.
    Grpc,
    /// WebSockets.
    WebSocket,
    /// Mail servers.
    Mail,
    /// A way to the public addresses of IPv6.
    Ipv6,
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities(u16);

impl Capability {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Http,
        Self::Tcp,
        Self::Tls,
        Self::Dns,
        Self::Icmp,
        Self::Grpc,
        Self::WebSocket,
        Self::Mail,
        Self::Ipv6,
    ];

    /// Its name in the protocols.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
            Self::Mail => "mail",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Reads a name. `None`: what it stands for is not known here.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == name)
    }

    /// What to say of an agent without it, after "the agent", with what helps.
    #[must_use]
    pub const fn lack(self) -> &'static str {
        match self {
            Self::Icmp => "may not send ICMP echo requests (net.ipv4.ping_group_range, or CAP_NET_RAW)",
            Self::Ipv6 => "has no IPv6 route to the target",
            _ => "does not know this kind of check: update it",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Capabilities {
    /// All there are.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// The known ones among the names that an agent gives. An agent that gives none is one of a version before there were
    /// any: it is taken to have them all, and says of each check whether it can.
    pub fn of_agent(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Self::all();
        }
        names.filter_map(|name| Capability::parse(name.as_ref())).collect()
    }

    /// Those that are in `self` and not in `had`.
    #[must_use]
    pub const fn without(self, had: Self) -> Self {
        Self(self.0 & !had.0)
    }

    /// Whether all of `needs` are there.
    #[must_use]
    pub const fn meet(self, needs: Self) -> bool {
        needs.without(self).0 == 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.0 & capability.bit() != 0)
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().fold(0, |bits, capability| bits | capability.bit()))
    }
}

impl CheckSpec {
    /// What an agent needs to make this check.
    #[must_use]
    pub fn needs(&self) -> Capabilities {
        self.check.needs(&self.options.route)
    }
}

impl Check {
    /// What an agent needs to make this check over a route.
    #[must_use]
    pub fn needs(&self, route: &Route) -> Capabilities {
        let kind = match self {
            Self::Http(_) => Capability::Http,
            Self::Tcp(_) => Capability::Tcp,
            Self::Tls(_) => Capability::Tls,
            Self::Dns(_) => Capability::Dns,
            Self::Icmp(_) => Capability::Icmp,
            Self::Grpc(_) => Capability::Grpc,
            Self::WebSocket(_) => Capability::WebSocket,
            Self::Mail(_) => Capability::Mail,
        };
        let ipv6 = needs_ipv6(self.host(), route).then_some(Capability::Ipv6);
        [kind].into_iter().chain(ipv6).collect()
    }
}

/// Whether a target is reached over public addresses of IPv6 alone. Private ones may be next to the agent.
fn needs_ipv6(host: &str, route: &Route) -> bool {
    let written = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    match route.connect_to.or(written) {
        Some(address) => address.is_ipv6() && is_public(address),
        None => route.family == Family::V6 && !host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{DEFAULT_INTERVAL, DEFAULT_TIMEOUT, Options};

    fn spec(target: &str, version: u32, connect_to: Option<&str>) -> CheckSpec {
        let route = Route {
            family: Family::from_version(version).unwrap(),
            connect_to: connect_to.map(|address| address.parse().unwrap()),
            server_name: None,
            client_certificate: None,
        };
        CheckSpec {
            check: Check::from_target(target).unwrap(),
            options: Options { route, ..Options::default() },
            interval: DEFAULT_INTERVAL,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    #[test]
    fn names_are_read_as_they_are_written_and_unknown_ones_passed_over() {
        let all = Capability::ALL.map(Capability::as_str);
        assert_eq!(Capabilities::of_agent(all), Capabilities::all());
        assert_eq!(
            Capabilities::of_agent(["icmp", "teleport"]).iter().collect::<Vec<_>>(),
            [Capability::Icmp]
        );
        assert_eq!(Capabilities::of_agent([""; 0]), Capabilities::all());
        assert_eq!(Capabilities::of_agent(["teleport"]), Capabilities::default());
    }

    #[test]
    fn a_check_needs_its_kind_and_public_addresses_of_ipv6_a_way_there() {
        use Capability::{Dns, Http, Icmp, Ipv6, Mail, WebSocket};
        let cases: [(&str, u32, Option<&str>, &[Capability]); 11] = [
            ("https://a.example", 0, None, &[Http]),
            ("https://a.example", 6, None, &[Http, Ipv6]),
            ("https://a.example", 4, None, &[Http]),
            ("icmp://[2606:4700::1111]", 0, None, &[Icmp, Ipv6]),
            ("icmp://[::1]", 0, None, &[Icmp]),
            ("icmp://[fd00::1]", 6, None, &[Icmp]),
            ("http://localhost", 6, None, &[Http]),
            ("wss://a.example", 6, Some("::1"), &[WebSocket]),
            ("wss://192.0.2.1", 0, Some("2606:4700::1111"), &[WebSocket, Ipv6]),
            ("dns://[2606:4700::1111]/a.example", 0, None, &[Dns, Ipv6]),
            ("smtp://a.example", 0, Some("192.0.2.1"), &[Mail]),
        ];
        for (target, version, connect_to, needs) in cases {
            let found: Vec<_> = spec(target, version, connect_to).needs().iter().collect();
            assert_eq!(found, needs, "{target} {version} {connect_to:?}");
        }
    }

    #[test]
    fn needs_are_met_by_whoever_has_all_of_them() {
        let needs = spec("icmp://a.example", 6, None).needs();
        let has = |names: &[&str]| Capabilities::of_agent(names);
        assert!(Capabilities::all().meet(needs) && has(&["ipv6", "icmp"]).meet(needs));
        assert!(!has(&["icmp", "http"]).meet(needs));
        assert_eq!(needs.without(has(&["icmp"])).iter().collect::<Vec<_>>(), [Capability::Ipv6]);
    }
}
