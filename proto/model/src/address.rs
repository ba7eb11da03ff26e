//! Which addresses belong to the public Internet.
//!
//! Used wherever Vigilmon connects to an address that somebody else chose: webhook receivers, redirects, targets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Whether an address is reachable on the public Internet, by the IANA special-purpose registries.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4_is_public(v4),
        IpAddr::V6(v6) => v6_is_public(v6),
    }
}

fn v4_is_public(address: Ipv4Addr) -> bool {
    const SPECIAL: [(Ipv4Addr, u8); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    !SPECIAL
        .iter()
        .any(|&(network, prefix)| Cidr { network: IpAddr::V4(network), prefix }.contains(address.into()))
}

fn v6_is_public(address: Ipv6Addr) -> bool {
    // IPv4 inside IPv6 in its several forms is refused whole: a receiver with an IPv4 address has an A record.
    if address.to_ipv4_mapped().is_some() {
        return false;
    }
    const SPECIAL: [(Ipv6Addr, u8); 10] = [
        (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96),
        (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
        (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
        (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 48),
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
        (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 6),
    ];
    // fc00::/6 is all from fc to ff: unique local, link- and site-local, multicast.
    !SPECIAL
        .iter()
        .any(|&(network, prefix)| Cidr { network: IpAddr::V6(network), prefix }.contains(address.into()))
}

/// A range of addresses, such as `10.2.0.0/16`. A single address is a range of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether the range holds an address. An IPv4-mapped IPv6 address counts as the IPv4 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, address, bits) = match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u128::from(u32::from(network)), u128::from(u32::from(address)), 32)
            }
            (IpAddr::V6(network), _) => {
                let IpAddr::V6(address) = address else { return false };
                (u128::from(network), u128::from(address), 128)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => return false,
        };
        let shift = bits - u32::from(self.prefix);
        network.checked_shr(shift) == address.checked_shr(shift)
    }
}

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a range of addresses: use ADDRESS/PREFIX, such as 10.2.0.0/16")]
pub struct InvalidCidr(String);

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let error = || InvalidCidr(text.chars().take(80).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let network: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix.parse().ok().filter(|&prefix| prefix <= bits).ok_or_else(error)?,
        };
        Ok(Self { network, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn private_metadata_and_mapped_addresses_are_not_public() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::808:808",
            "2002:7f00:1::",
        ] {
            assert!(!public(address), "{address}");
        }
        for address in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let range: Cidr = "10.2.0.0/16".parse().unwrap();
        assert!(range.contains("10.2.255.1".parse().unwrap()));
        assert!(range.contains("::ffff:10.2.0.1".parse().unwrap()));
        assert!(!range.contains("10.3.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!("::1".parse::<Cidr>().unwrap().contains("::1".parse().unwrap()));
    }
}
