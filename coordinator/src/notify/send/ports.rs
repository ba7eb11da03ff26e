//! Ports where something else than HTTP listens.
//!
//! A request that reaches a mail server or a cache is bytes that its sender chose in a protocol that nobody meant. The
//! list is that of browsers (WHATWG Fetch, "bad port") and four databases that are often left open inside a network.

use url::Url;

/// In rising order.
const REFUSED: [u16; 87] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3306, 3659, 4045, 4190, 5060, 5061, 5432, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080, 11211,
];

/// A port that no receiver of webhooks has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: port {0} belongs to another protocol than HTTP")]
pub(super) struct Refused(u16);

/// Refuses a URL whose port is on the list.
pub(super) fn check(url: &Url) -> Result<(), Refused> {
    match url.port_or_known_default() {
        Some(port) if REFUSED.binary_search(&port).is_ok() => Err(Refused(port)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_protocols_are_refused_and_those_of_http_are_not() {
        assert!(REFUSED.is_sorted());
        for (url, refused) in [
            ("http://a.example/", false),
            ("https://a.example/", false),
            ("https://a.example:8443/", false),
            ("http://a.example:25/", true),
            ("https://a.example:6379/", true),
        ] {
            assert_eq!(check(&Url::parse(url).unwrap()).is_err(), refused, "{url}");
        }
    }
}
