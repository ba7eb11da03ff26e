//! A WebSocket, with something said and heard over it if asked for.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::http::{validate_headers, without_scheme};
use super::text::{validate_expect, validate_send};
use super::{InvalidCheck, Kind, invalid_scheme, validate_certificate_days, validate_url};

/// A WebSocket check passes when the server agrees to the upgrade and its messages hold everything that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocketCheck {
    /// Absolute `ws:` or `wss:` URL.
    pub url: Url,
    /// Further request headers, in order; each passed [`validate_header`](super::validate_header).
    pub headers: Vec<(String, String)>,
    /// The text message that is sent once connected, with [escapes](super::text); empty: none.
    pub send: String,
    /// What must be found in the messages that come, each of them, with [escapes](super::text).
    pub expect: Vec<String>,
    /// A certificate that ends within so many days fails; 0: one that is valid passes.
    pub certificate_days: u16,
}

impl WebSocketCheck {
    pub(super) fn from_url(url: Url) -> Self {
        Self { url, headers: vec![], send: String::new(), expect: vec![], certificate_days: 0 }
    }
}

impl Kind for WebSocketCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if !matches!(self.url.scheme(), "ws" | "wss") {
            return invalid_scheme(self.url.scheme(), "use ws:// or wss://");
        }
        validate_url(&self.url)?;
        validate_headers(&self.headers)?;
        validate_send(&self.send)?;
        validate_expect(&self.expect)?;
        validate_certificate_days(self.certificate_days, self.url.scheme() == "wss")
    }

    fn target(&self) -> String {
        self.url.to_string()
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn default_name(&self) -> String {
        format!("WebSocket at {}", without_scheme(&self.url))
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots {
            headers: Some(&mut self.headers),
            send: Some(&mut self.send),
            expect: Some(&mut self.expect),
            certificate_days: Some(&mut self.certificate_days),
        }
    }
}
