//! What every kind of check can be asked besides its target: how to get there, and what must hold of what is found.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::Host;

use super::assertion::{Assertion, MAX_ASSERTIONS};
use super::{Check, InvalidCheck, invalid};

/// The same for every kind of check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How to get to the target.
    pub route: Route,
    /// All of them must hold.
    pub assertions: Vec<Assertion>,
    /// Whether a check passes exactly when it would have failed: for what must not be reachable.
    pub upside_down: bool,
}

/// How to get to a target, where its name is not all there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Which addresses are used of those that a name has.
    pub family: Family,
    /// Where to connect instead of where the target's name points; redirects to other hosts go where those point.
    pub connect_to: Option<IpAddr>,
    /// The name that is asked for in TLS (SNI) and that the certificate must be for, instead of the target's.
    pub server_name: Option<String>,
    /// The client certificate to show in TLS, by the name that the agent's configuration gives it; redirects to other
    /// hosts are not shown it.
    pub client_certificate: Option<String>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Whichever is reached first.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// The family of a version of the Internet Protocol: 4 or 6, 0 for any.
    #[must_use]
    pub const fn from_version(version: u32) -> Option<Self> {
        match version {
            0 => Some(Self::Any),
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// 4, 6 or 0.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::Any => 0,
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Whether an address is one of them.
    #[must_use]
    pub const fn includes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl Route {
    fn validate(&self, check: &Check) -> Result<(), InvalidCheck> {
        if *self == Self::default() {
            return Ok(());
        }
        if matches!(check, Check::Dns(dns) if dns.server.is_none()) {
            let field = if self.connect_to.is_some() { "connect_to" } else { "ip_version" };
            return Err(invalid(
                field,
                "name the server, as in dns://1.1.1.1/example.com: the system's own is asked",
            ));
        }
        if let Some(address) = self.connect_to.filter(|address| !self.family.includes(*address)) {
            return Err(invalid(
                "connect_to",
                format!("{address} is not of the IP version that is asked for"),
            ));
        }
        let written = check.host().trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if self.connect_to.is_none() && written.is_some_and(|address| !self.family.includes(address)) {
            return Err(invalid("ip_version", "the target is an address of the other version"));
        }
        if let Some(name) = &self.client_certificate {
            if !check.shows_certificate() {
                return Err(invalid("client_certificate", "is for targets that speak TLS only"));
            }
            if !is_certificate_name(name) {
                return Err(invalid("client_certificate", format!("must be {CERTIFICATE_NAMES}")));
            }
        }
        if let Some(name) = &self.server_name {
            if !check.shows_certificate() {
                return Err(invalid("server_name", "is for targets that speak TLS only"));
            }
            if !matches!(Host::parse(name), Ok(Host::Domain(_))) || name.len() > 253 {
                return Err(invalid("server_name", "must be a host name"));
            }
        }
        Ok(())
    }
}

/// What a client certificate may be called.
pub const CERTIFICATE_NAMES: &str = "a name of 1 to 64 letters, digits or -_.";

/// Whether it is one of [`CERTIFICATE_NAMES`].
#[must_use]
pub fn is_certificate_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(is_allowed)
}

impl Options {
    /// Whether an HTTP status other than 2xx may be right.
    #[must_use]
    pub fn judge_status(&self) -> bool {
        self.assertions.iter().any(Assertion::mentions_status)
    }

    /// Whether an answer's body has to be kept.
    #[must_use]
    pub fn read_body(&self) -> bool {
        self.assertions.iter().any(Assertion::reads_body)
    }

    /// Whether it must be known when a certificate ends.
    #[must_use]
    pub fn date_certificate(&self) -> bool {
        self.assertions.iter().any(Assertion::dates_certificate)
    }

    /// Checks that they can be asked of a check.
    ///
    /// # Errors
    /// Names what cannot be.
    pub fn validate(&self, check: &Check) -> Result<(), InvalidCheck> {
        if self.assertions.len() > MAX_ASSERTIONS {
            return Err(invalid("assertions", format!("at most {MAX_ASSERTIONS} are allowed")));
        }
        self.route.validate(check)?;
        self.assertions.iter().try_for_each(|assertion| assertion.validate(check))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_leads_nowhere_is_refused_by_name() {
        for (target, version, connect_to, server_name, refused) in [
            ("https://a.com", 4, Some("192.0.2.1"), Some("b.com"), None),
            ("https://a.com", 6, Some("192.0.2.1"), None, Some("connect_to")),
            ("https://192.0.2.1", 6, None, None, Some("ip_version")),
            ("https://[::1]", 6, None, None, None),
            ("https://192.0.2.1", 6, Some("::1"), None, None),
            ("http://a.com", 0, None, Some("b.com"), Some("server_name")),
            ("smtp://a.com", 0, None, Some("b.com"), None),
            ("tls://a.com", 0, None, Some("192.0.2.1"), Some("server_name")),
            ("dns://a.com", 4, None, None, Some("ip_version")),
            ("dns://ns.a.com/a.com", 4, Some("192.0.2.1"), None, None),
            ("icmp://a.com", 6, None, None, None),
        ] {
            let check = Check::from_target(target).unwrap();
            let route = Route {
                family: Family::from_version(version).unwrap(),
                connect_to: connect_to.map(|address| address.parse().unwrap()),
                server_name: server_name.map(str::to_owned),
                client_certificate: None,
            };
            let options = Options { route, ..Options::default() };
            assert_eq!(options.validate(&check).err().map(|error| error.field), refused, "{target}");
        }
        for (target, name, is_valid) in [
            ("https://a.com", "acme-1", true),
            ("imap://a.com", "acme-1", true),
            ("http://a.com", "acme-1", false),
            ("https://a.com", "acme 1", false),
            ("https://a.com", "", false),
        ] {
            let check = Check::from_target(target).unwrap();
            let route = Route { client_certificate: Some(name.to_owned()), ..Route::default() };
            let refused = Options { route, ..Options::default() }.validate(&check).err();
            assert_eq!(refused.map(|error| error.field), (!is_valid).then_some("client_certificate"));
        }
        for version in [0, 4, 6] {
            assert_eq!(Family::from_version(version).map(Family::version), Some(version));
        }
        assert_eq!(Family::from_version(5), None);
    }
}
