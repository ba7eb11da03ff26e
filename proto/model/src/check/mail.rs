//! A mail server's greeting, and TLS where it offers it: SMTP, IMAP and POP3.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::text::validate_list;
use super::{
    InvalidCheck, Kind, authority, host_of, invalid_scheme, validate_certificate_days, validate_host,
    validate_port,
};

/// A mail check passes when the server greets, names its capabilities with all that is expected among them, and, where
/// it offers STARTTLS, upgrades with a valid certificate. Nothing is logged in to and no mail is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailCheck {
    /// What the server speaks.
    pub protocol: MailProtocol,
    /// Whether it speaks TLS from the first byte (RFC 8314).
    pub tls: bool,
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
    /// Capabilities that must be offered before an upgrade, such as `STARTTLS`, in any case.
    pub expect: Vec<String>,
    /// A certificate that ends within so many days fails; 0: one that is valid passes.
    pub certificate_days: u16,
}

/// The protocols of mail servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailProtocol {
    /// RFC 5321.
    Smtp,
    /// RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
}

impl MailProtocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Smtp, Self::Imap, Self::Pop3];

    /// Its name as a URL's scheme; with an `s` after it the one over TLS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        }
    }

    /// Reads [`as_str`](Self::as_str).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }

    const fn default_port(self, tls: bool) -> u16 {
        match (self, tls) {
            (Self::Smtp, false) => 25,
            (Self::Smtp, true) => 465,
            (Self::Imap, false) => 143,
            (Self::Imap, true) => 993,
            (Self::Pop3, false) => 110,
            (Self::Pop3, true) => 995,
        }
    }
}

impl MailCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        let plain = MailProtocol::parse(url.scheme()).map(|protocol| (protocol, false));
        let over_tls = || Some((MailProtocol::parse(url.scheme().strip_suffix('s')?)?, true));
        let Some((protocol, tls)) = plain.or_else(over_tls) else {
            return invalid_scheme(url.scheme(), "use smtp, smtps, imap, imaps, pop3 or pop3s");
        };
        let port = url.port().unwrap_or_else(|| protocol.default_port(tls));
        Ok(Self { protocol, tls, host: host_of(url)?, port, expect: vec![], certificate_days: 0 })
    }
}

impl Kind for MailCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        validate_host(&self.host)?;
        validate_port(self.port)?;
        validate_list(&self.expect)?;
        // A server without TLS has the upgrade.
        validate_certificate_days(self.certificate_days, true)
    }

    fn target(&self) -> String {
        let s = if self.tls { "s" } else { "" };
        format!("{}{s}://{}", self.protocol.as_str(), authority(&self.host, self.port))
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        let s = if self.tls { "S" } else { "" };
        let protocol = self.protocol.as_str().to_ascii_uppercase();
        format!("{protocol}{s} at {}", authority(&self.host, self.port))
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots {
            expect: Some(&mut self.expect),
            certificate_days: Some(&mut self.certificate_days),
            ..Slots::default()
        }
    }
}
