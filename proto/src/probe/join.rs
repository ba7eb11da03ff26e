//! The join token: what an operator carries from `vigilctl agent create --join` to a new agent's machine. It is good for
//! one agent, once, for a short while, and it says where the coordinator is and how to know it.
//!
//! Text form: `vjt_` and base64url (without padding) of the agent's id (16 bytes), a secret (32), the SHA-256
//! fingerprint of the coordinator's certificate (32), the coordinator's address for agents, and the first 4 bytes of the
//! SHA-256 of all that, so that a token that was cut while it was copied is not taken for another address. The
//! coordinator stores the secret's digest; the secret of the agent itself is made by the agent and never leaves it.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{AgentId, Secret};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

/// A way in for one agent. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The agent that may join.
    pub agent: AgentId,
    /// What proves that it may.
    pub secret: Secret<[u8; 32]>,
    /// SHA-256 of the DER form of the coordinator's certificate.
    pub fingerprint: [u8; 32],
    /// Where agents connect: `https://HOST:PORT`.
    pub address: Url,
}

/// Why a text is not a join token. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoinToken {
    /// It is a token of another kind.
    #[error("this is an agent's own token, not a join token: it goes into `vigilmon-agent run --token-file`")]
    AgentToken,
    /// It is none, or was damaged.
    #[error(
        "not a join token, or not all of it: it must be `vjt_` and what follows, as `vigilctl agent create … --join` \
         printed it"
    )]
    Unreadable,
}

/// Why an address is none where agents could connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be https://HOST:PORT without a path, at most 300 characters, such as https://vigilmon.example.com:8443"
)]
pub struct InvalidAddress;

const PREFIX: &str = "vjt_";
const ADDRESS_AT: usize = 80;
const CHECKSUM_BYTES: usize = 4;
const MAX_ADDRESS_BYTES: usize = 300;

/// Reads an address at which agents may connect.
///
/// # Errors
/// When it is anything else than `https://HOST:PORT`.
pub fn agent_address(text: &str) -> Result<Url, InvalidAddress> {
    let url = Url::parse(text).map_err(|_| InvalidAddress)?;
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    let fits = url.as_str().len() <= MAX_ADDRESS_BYTES;
    if url.scheme() == "https" && url.has_host() && is_bare && is_anonymous && fits {
        Ok(url)
    } else {
        Err(InvalidAddress)
    }
}

/// SHA-256 of a joining secret: what the coordinator stores.
#[must_use]
pub fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether a secret is the one with this digest; takes the same time whatever differs.
#[must_use]
pub fn matches(secret: &[u8], expected: &[u8; 32]) -> bool {
    digest(secret).ct_eq(expected).into()
}

impl JoinToken {
    /// The token's text. It is a secret: show it to the operator who asked for it, once, and to nobody else.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut bytes = Vec::with_capacity(ADDRESS_AT + MAX_ADDRESS_BYTES);
        bytes.extend_from_slice(self.agent.as_bytes());
        bytes.extend_from_slice(self.secret.expose());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(self.address.as_str().as_bytes());
        let checksum = digest(&bytes);
        bytes.extend_from_slice(&checksum[..CHECKSUM_BYTES]);
        PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;

    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let text = text.trim();
        if text.starts_with("vat_") {
            return Err(InvalidJoinToken::AgentToken);
        }
        read(text).ok_or(InvalidJoinToken::Unreadable)
    }
}

fn read(text: &str) -> Option<JoinToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let (bytes, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    let (agent, rest) = bytes.split_first_chunk::<16>()?;
    let (secret, rest) = rest.split_first_chunk::<32>()?;
    let (fingerprint, address) = rest.split_first_chunk::<32>()?;
    let address = agent_address(std::str::from_utf8(address).ok()?).ok()?;
    (digest(bytes)[..CHECKSUM_BYTES] == *checksum).then(|| JoinToken {
        agent: AgentId::from_bytes(*agent),
        secret: Secret::new(*secret),
        fingerprint: *fingerprint,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            agent: AgentId::from_bytes([1; 16]),
            secret: Secret::new([0xab; 32]),
            fingerprint: [3; 32],
            address: agent_address("https://vigilmon.example.com:8443").unwrap(),
        }
    }

    #[test]
    fn a_token_survives_its_text_and_shows_no_secret() {
        let text = token().expose();
        assert!(text.starts_with("vjt_"));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
        let shown = format!("{:?}", token());
        assert!(shown.contains("[redacted]") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn a_token_that_was_cut_anywhere_is_refused() {
        let text = token().expose();
        for end in 0..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(InvalidJoinToken::Unreadable), "{end}");
        }
        assert_eq!("vat_abc".parse::<JoinToken>(), Err(InvalidJoinToken::AgentToken));
    }

    #[test]
    fn an_address_is_a_bare_https_url() {
        for good in ["https://a", "https://a:8443/", "https://[::1]:1"] {
            assert!(agent_address(good).is_ok(), "{good}");
        }
        let long = format!("https://{}", "a".repeat(400));
        for bad in ["a:8443", "http://a", "https://a/x", "https://a?b", "https://u:p@a", "https://", &long] {
            assert_eq!(agent_address(bad), Err(InvalidAddress), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_digest() {
        assert!(matches(&[7; 32], &digest(&[7; 32])));
        assert!(!matches(&[8; 32], &digest(&[7; 32])) && !matches(&[], &digest(&[7; 32])));
    }
}
