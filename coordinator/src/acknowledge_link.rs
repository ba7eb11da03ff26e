//! Links by which whoever got a message acknowledges its incident.
//!
//! A token is the incident's id, an instant until which it is good, and an HMAC-SHA256 over both under a key of the
//! installation, which lives in the data directory. It opens one thing: to say that somebody takes care of that
//! incident. Nothing of it is stored, and nothing of it is logged.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use model::{IncidentId, Random, Secret, Timestamp, random};
use sha2::Sha256;
use url::Url;

use crate::data_dir::DataDir;

/// The file of the key.
pub const KEY_FILE: &str = "link.key";
/// The path before the token.
pub const PATH: &str = "/ack/";
/// How long a link is good.
const VALIDITY: Duration = Duration::from_secs(31 * 86_400);
/// Bytes of the signature that a token has.
const TAG_BYTES: usize = 16;
const PAYLOAD_BYTES: usize = 16 + 8;

/// Makes and reads tokens.
pub struct AcknowledgeLinks {
    key: Secret<[u8; 32]>,
    /// `None`: nobody outside could follow a link.
    public_url: Option<Url>,
}

impl fmt::Debug for AcknowledgeLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcknowledgeLinks").finish_non_exhaustive()
    }
}

impl AcknowledgeLinks {
    /// Links under a key.
    #[must_use]
    pub const fn new(key: [u8; 32], public_url: Option<Url>) -> Self {
        Self { key: Secret::new(key), public_url }
    }

    /// Links under the key of a data directory, which is made if there is none.
    ///
    /// # Errors
    /// When the key cannot be read or written.
    pub fn open(data: &DataDir, public_url: Option<Url>, random: &dyn Random) -> std::io::Result<Self> {
        if let Some(text) = data.read_secret(KEY_FILE)? {
            let bytes = URL_SAFE_NO_PAD.decode(text.expose().trim()).ok();
            let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
                let problem = format!("{KEY_FILE} is not a key: remove it, and a new one will be made");
                std::io::Error::new(std::io::ErrorKind::InvalidData, problem)
            })?;
            return Ok(Self::new(key, public_url));
        }
        let key: [u8; 32] = random::bytes(random);
        data.write_secret(KEY_FILE, &Secret::new(URL_SAFE_NO_PAD.encode(key)))?;
        Ok(Self::new(key, public_url))
    }

    /// Where an incident is acknowledged; `None` without a public URL.
    #[must_use]
    pub fn url(&self, incident: IncidentId, now: Timestamp) -> Option<String> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        Some(format!("{base}{PATH}{}", self.token(incident, now.plus(VALIDITY))))
    }

    /// The incident that a token is for, if it is one of ours and still good.
    #[must_use]
    pub fn read(&self, token: &str, now: Timestamp) -> Option<IncidentId> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        if bytes.len() != PAYLOAD_BYTES + TAG_BYTES {
            return None;
        }
        let (payload, tag) = bytes.split_at(PAYLOAD_BYTES);
        // In constant time.
        self.mac(payload).verify_truncated_left(tag).ok()?;
        let (id, until) = payload.split_at(16);
        let until = i64::from_be_bytes(until.try_into().ok()?);
        (now.as_secs() < until).then(|| id.try_into().ok().map(IncidentId::from_bytes)).flatten()
    }

    fn token(&self, incident: IncidentId, until: Timestamp) -> String {
        let mut bytes = Vec::with_capacity(PAYLOAD_BYTES + TAG_BYTES);
        bytes.extend_from_slice(incident.as_bytes());
        bytes.extend_from_slice(&until.as_secs().to_be_bytes());
        let tag = self.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("any length is a key");
        mac.update(payload);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_392_000);
    const INCIDENT: IncidentId = IncidentId::from_bytes([3; 16]);

    fn links(key: u8) -> AcknowledgeLinks {
        AcknowledgeLinks::new([key; 32], Some(Url::parse("https://status.example/base/").unwrap()))
    }

    #[test]
    fn a_link_is_good_for_its_incident_until_it_expires() {
        let url = links(1).url(INCIDENT, NOW).unwrap();
        let token = url.strip_prefix("https://status.example/base/ack/").unwrap();
        assert_eq!(token.len(), 54);
        assert_eq!(links(1).read(token, NOW), Some(INCIDENT));
        let last = NOW.plus(VALIDITY - Duration::from_secs(1));
        assert_eq!(links(1).read(token, last), Some(INCIDENT));
        assert_eq!(links(1).read(token, NOW.plus(VALIDITY)), None);
        assert_eq!(links(2).read(token, NOW), None, "another installation's");
        assert_eq!(AcknowledgeLinks::new([1; 32], None).url(INCIDENT, NOW), None);
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed() {
        let token = links(1).token(INCIDENT, NOW.plus(VALIDITY));
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(links(1).read(&URL_SAFE_NO_PAD.encode(forged), NOW), None, "bit {bit}");
        }
        for other in ["", "x", &token[1..], &format!("{token}A"), "../..", &"A".repeat(10_000)] {
            assert_eq!(links(1).read(other, NOW), None);
        }
        assert!(!format!("{:?}", links(1)).contains("1, 1"));
    }
}
