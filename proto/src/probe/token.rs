//! The agent's token: what an operator carries from `vigilctl agent create` to a new agent, once.
//!
//! Text form: `vat_` and base64url (without padding) of 80 bytes: the agent's id (16), a secret (32) and the SHA-256
//! fingerprint of the coordinator's certificate (32). The token never crosses the network: the agent shows only its
//! [`Credential`], and only to a peer whose certificate has that fingerprint. The coordinator stores the secret's
//! digest.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{AgentId, Secret};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Who an agent is, how it proves it, and whom it trusts. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentToken {
    /// The agent.
    pub agent: AgentId,
    /// What proves it.
    pub secret: Secret<[u8; 32]>,
    /// SHA-256 of the DER form of the coordinator's certificate.
    pub fingerprint: [u8; 32],
}

/// What an agent shows the coordinator with every session: id and secret. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Who the agent says it is.
    pub agent: AgentId,
    /// What proves it.
    pub secret: Secret<[u8; 32]>,
}

/// Why a text is not an agent's token. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an agent token: it must be `vat_` followed by 107 characters, as `vigilctl agent create` printed it"
)]
pub struct InvalidToken;

/// Why a text is not an agent's credential. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an agent credential: it must be `Bearer va_` followed by 64 characters")]
pub struct InvalidCredential;

const TOKEN_PREFIX: &str = "vat_";
const CREDENTIAL_PREFIX: &str = "va_";

impl AgentToken {
    /// The token's text. It is a secret: show it to the operator who asked for it, once, and to nobody else.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut bytes = [0; 80];
        bytes[..16].copy_from_slice(self.agent.as_bytes());
        bytes[16..48].copy_from_slice(self.secret.expose());
        bytes[48..].copy_from_slice(&self.fingerprint);
        TOKEN_PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the agent shows with every session.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential { agent: self.agent, secret: self.secret.clone() }
    }

    /// SHA-256 of the secret: what the coordinator stores.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.credential().digest()
    }
}

impl FromStr for AgentToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let bytes = decode::<80>(text.trim(), TOKEN_PREFIX).ok_or(InvalidToken)?;
        Ok(Self { agent: agent(&bytes), secret: secret(&bytes), fingerprint: part(&bytes, 48) })
    }
}

impl Credential {
    /// The value of the `authorization` metadata: `Bearer va_` and base64url (without padding) of id and secret.
    #[must_use]
    pub fn bearer(&self) -> Secret<String> {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(self.agent.as_bytes());
        bytes[16..].copy_from_slice(self.secret.expose());
        Secret::new(format!("Bearer {CREDENTIAL_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads the value of the `authorization` metadata.
    ///
    /// # Errors
    /// When it is anything else than what [`Credential::bearer`] makes.
    pub fn from_bearer(text: &str) -> Result<Self, InvalidCredential> {
        let (scheme, rest) = text.split_once(' ').ok_or(InvalidCredential)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(InvalidCredential);
        }
        let bytes = decode::<48>(rest.trim(), CREDENTIAL_PREFIX).ok_or(InvalidCredential)?;
        Ok(Self { agent: agent(&bytes), secret: secret(&bytes) })
    }

    /// SHA-256 of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret.expose()).into()
    }

    /// Whether the secret is the one with this digest; takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, digest: &[u8; 32]) -> bool {
        self.digest().ct_eq(digest).into()
    }
}

fn decode<const N: usize>(text: &str, prefix: &str) -> Option<[u8; N]> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?).ok()?;
    bytes.try_into().ok()
}

fn agent(bytes: &[u8]) -> AgentId {
    AgentId::from_bytes(part(bytes, 0))
}

fn secret(bytes: &[u8]) -> Secret<[u8; 32]> {
    Secret::new(part(bytes, 16))
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[from..from + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AgentToken {
        AgentToken {
            agent: AgentId::from_bytes([1; 16]),
            secret: Secret::new([0xab; 32]),
            fingerprint: [3; 32],
        }
    }

    #[test]
    fn a_token_survives_its_text() {
        let text = token().expose();
        assert_eq!((text.len(), &text[..4]), (111, "vat_"));
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!("  {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn anything_else_is_refused_without_repeating_it() {
        let text = token().expose();
        for bad in ["", "vat_", &text[4..], &text[..110], &format!("{text}A"), &text.replace('A', "+")] {
            assert_eq!(bad.parse::<AgentToken>(), Err(InvalidToken));
        }
        assert!(!InvalidToken.to_string().contains(&text[4..20]));
    }

    #[test]
    fn a_credential_proves_the_agent_and_nothing_else() {
        let credential = token().credential();
        let bearer = credential.bearer();
        assert!(bearer.expose().starts_with("Bearer va_"));
        let read = Credential::from_bearer(bearer.expose()).unwrap();
        assert_eq!(read, credential);
        assert!(read.matches(&token().digest()));
        assert!(!read.matches(&[0; 32]));
        for bad in ["", "Bearer", "Bearer va_x", "Basic dXNlcjpwdw==", &token().expose()] {
            assert_eq!(Credential::from_bearer(bad), Err(InvalidCredential));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?}", token(), token().credential());
        assert!(shown.contains("[redacted]") && !shown.contains("171"), "{shown}");
    }
}
