//! The health service that gRPC servers offer: `grpc.health.v1`.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::{
    InvalidCheck, Kind, authority, host_of, invalid, validate_certificate_days, validate_host, validate_port,
};

/// The longest name of a service.
const MAX_SERVICE_BYTES: usize = 255;

/// A gRPC check passes when `grpc.health.v1.Health/Check` says `SERVING` of a service, or of the server as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcCheck {
    /// Whether it is spoken over TLS.
    pub tls: bool,
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
    /// Such as `acme.v1.Orders`; empty: the server as a whole.
    pub service: String,
    /// A certificate that ends within so many days fails; 0: one that is valid passes.
    pub certificate_days: u16,
}

impl GrpcCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        let tls = url.scheme() == "grpcs";
        let port = url.port().or_else(|| tls.then_some(443)).ok_or_else(|| {
            invalid(
                "url",
                "a grpc:// target needs a port, as in grpc://HOST:PORT or grpc://HOST:PORT/SERVICE",
            )
        })?;
        let service = url.path().trim_matches('/').to_owned();
        Ok(Self { tls, host: host_of(url)?, port, service, certificate_days: 0 })
    }
}

impl Kind for GrpcCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        validate_host(&self.host)?;
        validate_port(self.port)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.service.len() > MAX_SERVICE_BYTES || !self.service.chars().all(is_allowed) {
            return Err(invalid("url", "a service is named by letters, digits, `.`, `_` and `-`"));
        }
        validate_certificate_days(self.certificate_days, self.tls)
    }

    fn target(&self) -> String {
        let scheme = if self.tls { "grpcs" } else { "grpc" };
        let slash = if self.service.is_empty() { "" } else { "/" };
        format!("{scheme}://{}{slash}{}", authority(&self.host, self.port), self.service)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        let place = authority(&self.host, self.port);
        if self.service.is_empty() {
            format!("gRPC at {place}")
        } else {
            format!("{} at {place}", self.service)
        }
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots { certificate_days: Some(&mut self.certificate_days), ..Slots::default() }
    }
}
