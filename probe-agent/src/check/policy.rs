//! Where this agent may connect. The policy is the agent's *local* configuration: neither a user nor the coordinator
//! can widen it. It is asked for every address of a name, for literal addresses and for every redirect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::address::{Cidr, is_public};

/// The addresses that hand cloud credentials to whoever asks from inside a machine: the metadata services of AWS,
/// Azure, Google and others (169.254.169.254), of AWS and Google over IPv6, of Alibaba Cloud, and the credential
/// endpoints of ECS and EKS.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Which addresses may be connected to. By default all but the cloud metadata services: watching private targets is
/// what an agent on a private network is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Ranges that are allowed whatever else is denied.
    pub allow: Vec<Cidr>,
    /// Whether everything that is not on the public Internet is denied.
    pub deny_private: bool,
}

/// An address that the policy denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {0} is not allowed by this agent's configuration")]
pub struct Denied(pub IpAddr);

impl AddressPolicy {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// Names the address if not.
    pub fn admit(&self, address: IpAddr) -> Result<(), Denied> {
        let actual = unwrapped(address);
        let is_named = self.allow.iter().any(|range| range.contains(actual));
        let is_denied = METADATA.contains(&actual) || (self.deny_private && !is_public(actual));
        if is_denied && !is_named { Err(Denied(address)) } else { Ok(()) }
    }
}

/// The IPv4 address inside a mapped (`::ffff:0:0/96`) or translated (`64:ff9b::/96`, RFC 6052) IPv6 address.
fn unwrapped(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(policy: &AddressPolicy, address: &str) -> bool {
        policy.admit(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn metadata_services_are_denied_in_every_disguise_unless_named() {
        let policy = AddressPolicy::default();
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "169.254.170.2",
        ] {
            assert!(!admits(&policy, address), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "::1", "1.1.1.1", "169.254.1.1"] {
            assert!(admits(&policy, address), "{address}");
        }
        let named = AddressPolicy { allow: vec!["169.254.169.254".parse().unwrap()], ..policy };
        assert!(admits(&named, "169.254.169.254"));
        assert!(!admits(&named, "fd00:ec2::254"));
    }

    #[test]
    fn private_targets_can_be_denied_but_for_named_ranges() {
        let allow = vec!["10.2.0.0/16".parse().unwrap()];
        let policy = AddressPolicy { allow, deny_private: true };
        assert!(admits(&policy, "10.2.3.4") && admits(&policy, "8.8.8.8"));
        for address in ["10.3.0.1", "127.0.0.1", "::1", "fe80::1", "0.0.0.0"] {
            assert!(!admits(&policy, address), "{address}");
        }
    }
}
