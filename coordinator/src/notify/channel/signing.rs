//! Signatures by which a receiver knows that a delivery is ours: Standard Webhooks 1.0, symmetric (`v1`, HMAC-SHA256) and
//! with a key pair (`v1a`, ed25519).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use standardwebhooks::Webhook;

use model::{DeliveryId, Random, Secret, Timestamp};

use super::WEBHOOK_ID;
use super::provider::Unsendable;

/// How long a secret that was replaced still signs beside the new one.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Keys that sign at once; the oldest go first.
const MAX_KEYS: usize = 4;

/// A signing secret: `whsec_` and the base64 of 24 to 64 bytes, which the receiver shares, or `whsk_` and the base64 of an
/// ed25519 key (its 32 bytes of seed, then the 32 of its public half), of which the receiver knows the public half. Its
/// `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Secret<String>);

/// A signing secret of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredKey")]
pub struct SigningKey {
    /// What signs.
    pub secret: SigningSecret,
    /// It no longer signs from then on; `None` for the newest.
    pub until: Option<Timestamp>,
}

/// A key as it is stored, now and before keys had an end.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredKey {
    Secret(SigningSecret),
    Key { secret: SigningSecret, until: Option<Timestamp> },
}

impl From<StoredKey> for SigningKey {
    fn from(stored: StoredKey) -> Self {
        match stored {
            StoredKey::Secret(secret) => Self { secret, until: None },
            StoredKey::Key { secret, until } => Self { secret, until },
        }
    }
}

/// Why a text is not a signing secret. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "signing_secret: must be `whsec_` followed by the base64 of 24 to 64 bytes, or `whsk_` followed by the base64 of an \
     ed25519 key of 64 bytes; leave it empty to get one made"
)]
pub struct InvalidSecret;

/// Every body made here is UTF-8.
const UNSIGNABLE: Unsendable = Unsendable("the stored body is not UTF-8 and cannot be signed");

impl SigningSecret {
    const SYMMETRIC: &'static str = "whsec_";
    const PRIVATE: &'static str = "whsk_";
    const PUBLIC: &'static str = "whpk_";

    /// A new secret of 32 random bytes, to share with the receiver.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let key: [u8; 32] = model::random::bytes(random);
        Self(Secret::new(format!("{}{}", Self::SYMMETRIC, STANDARD.encode(key))))
    }

    /// A new ed25519 key.
    #[must_use]
    pub fn generate_pair(random: &dyn Random) -> Self {
        let seed: [u8; 32] = model::random::bytes(random);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes");
        let key = [&seed[..], pair.public_key().as_ref()].concat();
        Self(Secret::new(format!("{}{}", Self::PRIVATE, STANDARD.encode(key))))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the receiver of a key pair's signatures verifies with: `whpk_…`; `None` for a shared secret.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        let pair = self.pair()?;
        Some(format!("{}{}", Self::PUBLIC, STANDARD.encode(pair.public_key())))
    }

    fn pair(&self) -> Option<Ed25519KeyPair> {
        let key = STANDARD.decode(self.expose().strip_prefix(Self::PRIVATE)?).ok()?;
        let (seed, public) = key.split_at_checked(32)?;
        Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
    }

    fn signature(&self, id: &str, seconds: i64, body: &[u8]) -> Result<String, Unsendable> {
        if let Some(pair) = self.pair() {
            let body = std::str::from_utf8(body).map_err(|_| UNSIGNABLE)?;
            let signature = pair.sign(format!("{id}.{seconds}.{body}").as_bytes());
            return Ok(format!("v1a,{}", STANDARD.encode(signature)));
        }
        let key = Webhook::new(self.expose()).expect("a signing secret is valid base64 by construction");
        key.sign(id, seconds, body).map_err(|_| UNSIGNABLE)
    }
}

impl FromStr for SigningSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let secret = Self(Secret::new(text.trim().to_owned()));
        let shared = secret.expose().strip_prefix(Self::SYMMETRIC).and_then(|key| STANDARD.decode(key).ok());
        let is_valid = match shared {
            Some(key) => (24..=64).contains(&key.len()),
            None => secret.pair().is_some(),
        };
        if is_valid { Ok(secret) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Puts a new secret before the present ones. Those sign for another [`OVERLAP`], because receivers verify with them until
/// they know the new one; without `overlap` they end at once.
pub fn rotate(keys: &mut Vec<SigningKey>, secret: SigningSecret, now: Timestamp, overlap: bool) {
    keys.retain(|key| overlap && key.secret != secret && key.until.is_none_or(|until| until > now));
    for key in keys.iter_mut() {
        key.until = Some(key.until.unwrap_or_else(|| now.plus(OVERLAP)));
    }
    keys.insert(0, SigningKey { secret, until: None });
    keys.truncate(MAX_KEYS);
}

/// The header that says which delivery this is.
pub(super) fn identify(id: DeliveryId) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(WEBHOOK_ID), visible(&id.to_string()))])
}

/// The three headers of Standard Webhooks, with one signature for each key that has not ended.
pub(super) fn sign(
    id: DeliveryId,
    at: Timestamp,
    keys: &[SigningKey],
    body: &[u8],
) -> Result<HeaderMap, Unsendable> {
    let mut headers = identify(id);
    let (id, seconds) = (id.to_string(), at.as_secs());
    headers.insert(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    let signatures = keys
        .iter()
        .filter(|key| key.until.is_none_or(|until| until > at))
        .map(|key| key.secret.signature(&id, seconds, body))
        .collect::<Result<Vec<_>, _>>()?;
    if !signatures.is_empty() {
        headers.insert(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, visible(&signatures.join(" ")));
    }
    Ok(headers)
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and base64 are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Clock, SystemClock, SystemRandom};

    const BODY: &[u8] = r#"{"text":"🔴 DOWN"}"#.as_bytes();

    #[test]
    fn an_independent_receiver_verifies_our_signature() {
        let secret = SigningSecret::generate(&SystemRandom);
        let now = SystemClock::start().wall();
        let headers = sign(id(), now, &[key(&secret)], BODY).unwrap();
        let receiver = Webhook::new(secret.expose()).unwrap();
        receiver.verify(BODY, &headers).unwrap();
        assert!(receiver.verify(b"{}", &headers).is_err());
    }

    #[test]
    fn while_a_secret_is_replaced_both_verify() {
        let (old, new) = (SigningSecret::generate(&SystemRandom), SigningSecret::generate(&SystemRandom));
        let now = SystemClock::start().wall();
        let headers = sign(id(), now, &[key(&new), key(&old)], BODY).unwrap();
        for secret in [old, new] {
            Webhook::new(secret.expose()).unwrap().verify(BODY, &headers).unwrap();
        }
        let stranger = SigningSecret::generate(&SystemRandom);
        assert!(Webhook::new(stranger.expose()).unwrap().verify(BODY, &headers).is_err());
    }

    /// The expected value comes from `openssl dgst -sha256 -hmac`.
    #[test]
    fn the_signature_is_pinned() {
        let secret: SigningSecret = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB".parse().unwrap();
        let headers = sign(id(), Timestamp::from_secs(1_700_000_000), &[key(&secret)], BODY).unwrap();
        assert_eq!(headers["webhook-id"], "dlv_05050505050505050505050505050505");
        assert_eq!(headers["webhook-timestamp"], "1700000000");
        assert_eq!(headers["webhook-signature"], "v1,FZ3ZkJvyTBZV/9KZeGyKB6zmFxPH2gaFzCaYgI/kx+U=");
    }

    #[test]
    fn secrets_are_checked_and_never_repeated() {
        assert_eq!(SigningSecret::generate(&SystemRandom).expose().len(), "whsec_".len() + 44);
        for bad in [
            "",
            "hush",
            "whsec_",
            "whsec_aHVzaA==",
            "whsec_not base64",
            "whsk_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB",
        ] {
            let error = bad.parse::<SigningSecret>().unwrap_err().to_string();
            assert!(error.starts_with("signing_secret: "), "{error}");
            assert!(bad.is_empty() || !error.contains("aHVzaA") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_body_that_is_not_text_is_refused() {
        let secret = SigningSecret::generate(&SystemRandom);
        assert_eq!(sign(id(), Timestamp::EPOCH, &[key(&secret)], &[0xff]), Err(UNSIGNABLE));
    }

    #[test]
    fn a_replaced_secret_signs_for_a_day_unless_it_is_dropped() {
        let (old, new) =
            (SigningSecret::generate(&SystemRandom), SigningSecret::generate_pair(&SystemRandom));
        let now = Timestamp::from_secs(1_700_000_000);
        let mut keys = vec![key(&old)];
        rotate(&mut keys, new.clone(), now, true);
        let signatures = |keys: &[SigningKey], after: Duration| {
            let headers = sign(id(), now.plus(after), keys, BODY).unwrap();
            headers["webhook-signature"].to_str().unwrap().split(' ').count()
        };
        assert_eq!(signatures(&keys, OVERLAP - Duration::from_secs(1)), 2);
        assert_eq!(signatures(&keys, OVERLAP), 1);
        // Another change does not make the oldest live longer.
        rotate(&mut keys, SigningSecret::generate(&SystemRandom), now.plus(OVERLAP / 2), true);
        assert_eq!(keys[2].until, Some(now.plus(OVERLAP)));
        rotate(&mut keys, new, now, false);
        assert_eq!((keys.len(), keys[0].until), (1, None));
        let stored = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<Vec<SigningKey>>(&stored).unwrap(), keys);
        for _ in 0..9 {
            rotate(&mut keys, SigningSecret::generate(&SystemRandom), now, true);
        }
        assert_eq!(keys.len(), MAX_KEYS);
    }

    #[test]
    fn a_pair_s_signature_verifies_with_the_public_key() {
        let secret = SigningSecret::generate_pair(&SystemRandom);
        assert_eq!(secret.expose().parse::<SigningSecret>().unwrap(), secret);
        let public = secret.public_key().unwrap();
        let public = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        let headers = sign(id(), Timestamp::from_secs(1_700_000_000), &[key(&secret)], BODY).unwrap();
        let signature = headers["webhook-signature"].to_str().unwrap().strip_prefix("v1a,").unwrap();
        let signed = format!("{}.1700000000.{}", id(), std::str::from_utf8(BODY).unwrap());
        let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        let signature = STANDARD.decode(signature).unwrap();
        verifier.verify(signed.as_bytes(), &signature).unwrap();
        assert!(verifier.verify(b"other", &signature).is_err());
        assert_eq!(SigningSecret::generate(&SystemRandom).public_key(), None);
    }

    fn key(secret: &SigningSecret) -> SigningKey {
        SigningKey { secret: secret.clone(), until: None }
    }

    fn id() -> DeliveryId {
        DeliveryId::from_bytes([5; 16])
    }
}
