//! The keys that deliveries are verified with, as people have them: `whsec_…` (HMAC) and `whpk_…` (ed25519).

use std::convert::Infallible;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use model::Secret;
use ring::hmac;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::exit::Failure;

/// The options that give keys.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The channel's signing secret, several while it is being changed; rather in the variable, which others cannot read
    #[arg(
        long = "secret",
        env = "VIGILMON_WEBHOOK_SECRET",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = secret,
        value_name = "whsec_…"
    )]
    secrets: Vec<Secret<String>>,
    /// The channel's public key, for signatures of version v1a; several are allowed
    #[arg(long = "public-key", value_delimiter = ',', value_name = "whpk_…")]
    public_keys: Vec<String>,
}

/// One key, ready to verify with.
pub(super) enum Verifier {
    /// For `v1`.
    Hmac(hmac::Key),
    /// For `v1a`.
    Ed25519(UnparsedPublicKey<[u8; 32]>),
}

impl Verifier {
    /// The version of the signatures it is for.
    pub(super) const fn version(&self) -> &'static str {
        match self {
            Self::Hmac(_) => "v1",
            Self::Ed25519(_) => "v1a",
        }
    }

    /// Whether it made this signature.
    pub(super) fn verifies(&self, content: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, content, signature).is_ok(),
            Self::Ed25519(key) => key.verify(content, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.version())
    }
}

impl Keys {
    /// The keys, secrets first.
    ///
    /// # Errors
    /// Usage, without repeating it, when one is none.
    pub(super) fn verifiers(&self) -> Result<Vec<Verifier>, Failure> {
        let secrets = self.secrets.iter().filter(|secret| !secret.expose().is_empty()).map(|secret| {
            let text = secret.expose().trim();
            let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok();
            let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
                Failure::usage("--secret: must be `whsec_` and base64, as `channel create` printed it")
            })?;
            Ok(Verifier::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &key)))
        });
        let public_keys = self.public_keys.iter().map(|text| {
            let key = text.trim().strip_prefix("whpk_").and_then(|key| STANDARD.decode(key).ok());
            let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or_else(|| {
                Failure::usage(
                    "--public-key: must be `whpk_` and 32 bytes in base64; `whsk_` is the private one",
                )
            })?;
            Ok(Verifier::Ed25519(UnparsedPublicKey::new(&ED25519, key)))
        });
        secrets.chain(public_keys).collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers may fail")]
fn secret(text: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
impl Keys {
    /// Keys as typed.
    pub(super) fn typed(secrets: &[&str], public_keys: &[&str]) -> Self {
        Self {
            secrets: secrets.iter().map(|text| Secret::new((*text).to_owned())).collect(),
            public_keys: public_keys.iter().map(|text| (*text).to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_none_are_refused_without_repeating_them() {
        for keys in [
            Keys::typed(&["whsec_not*base64"], &[]),
            Keys::typed(&["whsec_"], &[]),
            Keys::typed(&[], &["whsk_c2VjcmV0"]),
            Keys::typed(&[], &["whpk_c2VjcmV0"]),
        ] {
            let failure = keys.verifiers().unwrap_err().to_string();
            assert!(!failure.contains("c2VjcmV0") && !failure.contains("not*"), "{failure}");
        }
        assert!(Keys::typed(&[""], &[]).verifiers().unwrap().is_empty());
    }
}
