//! A question to a name server.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::text::validate_list;
use super::{InvalidCheck, Kind, authority, host_of, invalid, validate_host, validate_port};

const DEFAULT_PORT: u16 = 53;
/// RFC 1035 §2.3.4, as text.
const MAX_NAME_BYTES: usize = 253;

/// A DNS check passes when the answer has the expected response code (`NOERROR` unless said otherwise) and every record
/// that is expected; without any, when it has a record of that type at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsCheck {
    /// Who is asked; `None`: the name servers of the agent's system.
    pub server: Option<NameServer>,
    /// What is asked about. For [`RecordType::Ptr`] also an address.
    pub name: String,
    /// Which records are asked for.
    pub record: RecordType,
    /// Records that must be in the answer, as zone files write their data (`10 mail.example.com`), in any case and
    /// without the last dot; of TXT records a part. Or one of [`RESPONSE_CODES`].
    pub expect: Vec<String>,
}

/// A name server's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServer {
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

/// The types of records that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the registry of DNS parameters says what they mean")]
pub enum RecordType {
    A,
    Aaaa,
    Cname,
    Mx,
    Ns,
    Txt,
    Srv,
    Caa,
    Soa,
    Ptr,
}

/// The response codes that can be expected, by their names (RFC 1035 §4.1.1).
pub const RESPONSE_CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

impl RecordType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::A,
        Self::Aaaa,
        Self::Cname,
        Self::Mx,
        Self::Ns,
        Self::Txt,
        Self::Srv,
        Self::Caa,
        Self::Soa,
        Self::Ptr,
    ];

    /// Its name in zone files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Txt => "TXT",
            Self::Srv => "SRV",
            Self::Caa => "CAA",
            Self::Soa => "SOA",
            Self::Ptr => "PTR",
        }
    }

    /// Reads a type's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|record| record.as_str().eq_ignore_ascii_case(text))
    }
}

impl DnsCheck {
    /// Reads `dns://SERVER/NAME?type=TYPE` (RFC 4501); without a server, `dns:NAME?type=TYPE` or `dns://NAME`.
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        let path = url.path().trim_matches('/');
        let (server, name) = match (url.host_str(), path) {
            (None | Some(""), name) => (None, name.to_owned()),
            // The RFC would have asked a server about nothing; nobody means that.
            (Some(_), "") => (None, host_of(url)?),
            (Some(_), name) => {
                let port = url.port().unwrap_or(DEFAULT_PORT);
                (Some(NameServer { host: host_of(url)?, port }), name.to_owned())
            }
        };
        let mut record = RecordType::A;
        for (key, value) in url.query_pairs() {
            if !key.eq_ignore_ascii_case("type") {
                return Err(invalid("url", "a dns: target has no parameter but `type`, as in ?type=MX"));
            }
            record = RecordType::parse(&value).ok_or_else(|| {
                let all = RecordType::ALL.map(RecordType::as_str).join(", ");
                invalid("url", format!("the type of record must be one of {all}"))
            })?;
        }
        Ok(Self { server, name: name.trim_end_matches('.').to_ascii_lowercase(), record, expect: vec![] })
    }

    /// The response code that is expected, and the records.
    #[must_use]
    pub fn expected(&self) -> (&'static str, Vec<&str>) {
        let mut code = RESPONSE_CODES[0];
        let mut records = vec![];
        for text in &self.expect {
            match RESPONSE_CODES.into_iter().find(|code| code.eq_ignore_ascii_case(text)) {
                Some(known) => code = known,
                None => records.push(text.as_str()),
            }
        }
        (code, records)
    }
}

impl Kind for DnsCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if let Some(server) = &self.server {
            validate_host(&server.host)?;
            validate_port(server.port)?;
        }
        let is_label = |label: &str| {
            let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_' || c == b'*';
            (1..=63).contains(&label.len()) && label.bytes().all(allowed)
        };
        let is_address = self.record == RecordType::Ptr && self.name.parse::<std::net::IpAddr>().is_ok();
        let is_name = self.name.len() <= MAX_NAME_BYTES && self.name.split('.').all(is_label);
        if !is_address && !is_name {
            return Err(invalid(
                "url",
                "must hold a name to ask about, as in dns://SERVER/NAME or dns://NAME",
            ));
        }
        validate_list(&self.expect)?;
        let (code, records) = self.expected();
        if code != RESPONSE_CODES[0] && !records.is_empty() {
            return Err(invalid(
                "expect",
                format!("an answer of {code} has no records: expect one or the other"),
            ));
        }
        Ok(())
    }

    fn target(&self) -> String {
        let server = self.server.as_ref();
        let server = server.map(|server| format!("//{}/", authority(&server.host, server.port)));
        format!("dns:{}{}?type={}", server.unwrap_or_default(), self.name, self.record.as_str())
    }

    fn host(&self) -> &str {
        self.server.as_ref().map_or(&self.name, |server| &server.host)
    }

    fn default_name(&self) -> String {
        let of = format!("{} of {}", self.record.as_str(), self.name);
        match &self.server {
            Some(server) => format!("{of} at {}", server.host),
            None => of,
        }
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots { expect: Some(&mut self.expect), ..Slots::default() }
    }
}
