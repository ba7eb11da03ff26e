//! A TLS handshake.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::{
    InvalidCheck, Kind, authority, host_of, validate_certificate_days, validate_host, validate_port,
};

const DEFAULT_PORT: u16 = 443;

/// A TLS check passes when the handshake succeeds and the certificate is valid for the host and for long enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCheck {
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
    /// A certificate that ends within so many days fails; 0: one that is valid passes.
    pub certificate_days: u16,
}

impl TlsCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        let port = url.port().unwrap_or(DEFAULT_PORT);
        Ok(Self { host: host_of(url)?, port, certificate_days: 0 })
    }
}

impl Kind for TlsCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        validate_host(&self.host)?;
        validate_port(self.port)?;
        validate_certificate_days(self.certificate_days, true)
    }

    fn target(&self) -> String {
        format!("tls://{}", authority(&self.host, self.port))
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        format!("certificate of {}", authority(&self.host, self.port))
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots { certificate_days: Some(&mut self.certificate_days), ..Slots::default() }
    }
}
