//! A TCP connection, with something said and heard over it if asked for.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::text::{validate_expect, validate_send};
use super::{InvalidCheck, Kind, authority, host_of, invalid, validate_host, validate_port};

/// A TCP check passes when the connection is accepted and what comes holds everything that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCheck {
    /// A host name or address.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
    /// What is sent once connected, with [escapes](super::text); may be empty.
    #[serde(default)]
    pub send: String,
    /// What must be found in what comes, each of them, with [escapes](super::text).
    #[serde(default)]
    pub expect: Vec<String>,
}

impl TcpCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        let port = url
            .port()
            .ok_or_else(|| invalid("url", "a tcp:// target needs a port, as in tcp://HOST:PORT"))?;
        Ok(Self { host: host_of(url)?, port, send: String::new(), expect: vec![] })
    }
}

impl Kind for TcpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        validate_host(&self.host)?;
        validate_port(self.port)?;
        validate_send(&self.send)?;
        validate_expect(&self.expect)
    }

    fn target(&self) -> String {
        format!("tcp://{}", authority(&self.host, self.port))
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots { send: Some(&mut self.send), expect: Some(&mut self.expect), ..Slots::default() }
    }
}
