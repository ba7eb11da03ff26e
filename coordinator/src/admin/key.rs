//! API keys: `vk_` and base64url (without padding) of 32 random bytes. Only a key's digest is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Random, Secret, random};
use sha2::{Digest, Sha256};

const PREFIX: &str = "vk_";

/// A new key and what to store of it.
#[must_use]
pub fn generate(random: &dyn Random) -> (Secret<String>, [u8; 32]) {
    let bytes: [u8; 32] = random::bytes(random);
    let key = PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(bytes);
    let digest = digest(&key);
    (Secret::new(key), digest)
}

/// SHA-256 of a key's text. Keys are too random to be guessed from it, so it needs no salt and no stretching.
#[must_use]
pub fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use model::SystemRandom;

    use super::*;

    #[test]
    fn a_key_says_what_it_is_and_only_its_digest_can_be_shown() {
        let (key, stored) = generate(&SystemRandom);
        assert_eq!((key.expose().len(), &key.expose()[..3]), (46, "vk_"));
        assert_eq!(digest(key.expose()), stored);
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_ne!(generate(&SystemRandom).1, stored);
    }
}
