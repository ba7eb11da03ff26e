//! The one hash: it places subjects in shards, spreads phases and ranks agents. It can never change.

use sha2::{Digest, Sha256};

/// The first 8 bytes of SHA-256 over an id's 16 bytes, big-endian.
#[must_use]
pub fn hash(id: &[u8; 16]) -> u64 {
    first_eight(&Sha256::digest(id))
}

/// As [`hash`], over the 16 bytes of two ids one after the other; ranks one thing for another.
#[must_use]
pub fn hash_pair(first: &[u8; 16], second: &[u8; 16]) -> u64 {
    first_eight(&Sha256::new().chain_update(first).chain_update(second).finalize())
}

fn first_eight(digest: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values, made with `printf '…' | xxd -r -p | sha256sum`: a stored shard number depends on them.
    #[test]
    fn is_pinned_for_ever() {
        assert_eq!(hash(&[0; 16]), 0x374708fff7719dd5);
        assert_eq!(hash_pair(&[0; 16], &[0; 16]), 0x66687aadf862bd77);
    }
}
