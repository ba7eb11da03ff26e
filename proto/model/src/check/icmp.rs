//! An echo request, known as ping.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::{InvalidCheck, Kind, authority, host_of, invalid, validate_host};

/// An ICMP check passes when the host answers one of a few echo requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpCheck {
    /// A host name or address.
    pub host: String,
}

impl IcmpCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        if url.port().is_some() {
            return Err(invalid("url", "an icmp:// target has no port: use icmp://HOST"));
        }
        Ok(Self { host: host_of(url)? })
    }
}

impl Kind for IcmpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        validate_host(&self.host)
    }

    fn target(&self) -> String {
        format!("icmp://{}", authority(&self.host, None))
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        format!("ping {}", self.host)
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots::default()
    }
}
