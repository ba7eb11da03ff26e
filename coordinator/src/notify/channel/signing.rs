//! Signatures by which a receiver knows that a delivery is ours: Standard Webhooks 1.0, symmetric (`v1`).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use standardwebhooks::Webhook;

use model::{DeliveryId, Random, Secret, Timestamp};

use super::WEBHOOK_ID;
use super::provider::Unsendable;

/// A symmetric signing secret as it is shared with a receiver: `whsec_` and the base64 of 24 to 64 bytes. Its
/// `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Secret<String>);

/// Why a text is not a signing secret. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "signing_secret: must be `whsec_` followed by the base64 of 24 to 64 bytes; leave it empty to get one made"
)]
pub struct InvalidSecret;

/// Every body made here is UTF-8.
const UNSIGNABLE: Unsendable = Unsendable("the stored body is not UTF-8 and cannot be signed");

impl SigningSecret {
    const PREFIX: &'static str = "whsec_";

    /// A new secret of 32 random bytes.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let key: [u8; 32] = model::random::bytes(random);
        Self(Secret::new(format!("{}{}", Self::PREFIX, STANDARD.encode(key))))
    }

    /// The text to share with the receiver.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for SigningSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        let key = text.strip_prefix(Self::PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        match key {
            Some(key) if (24..=64).contains(&key.len()) => Ok(Self(Secret::new(text.to_owned()))),
            Some(_) | None => Err(InvalidSecret),
        }
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

/// The header that says which delivery this is.
pub(super) fn identify(id: DeliveryId) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(WEBHOOK_ID), visible(&id.to_string()))])
}

/// The three headers of Standard Webhooks, with one signature for each secret.
pub(super) fn sign(
    id: DeliveryId,
    at: Timestamp,
    secrets: &[SigningSecret],
    body: &[u8],
) -> Result<HeaderMap, Unsendable> {
    let mut headers = identify(id);
    let (id, seconds) = (id.to_string(), at.as_secs());
    headers.insert(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    let signatures = secrets
        .iter()
        .map(|secret| {
            let key =
                Webhook::new(secret.expose()).expect("a signing secret is valid base64 by construction");
            key.sign(&id, seconds, body).map_err(|_| UNSIGNABLE)
        })
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
        let headers = sign(id(), now, std::slice::from_ref(&secret), BODY).unwrap();
        let receiver = Webhook::new(secret.expose()).unwrap();
        receiver.verify(BODY, &headers).unwrap();
        assert!(receiver.verify(b"{}", &headers).is_err());
    }

    #[test]
    fn while_a_secret_is_replaced_both_verify() {
        let (old, new) = (SigningSecret::generate(&SystemRandom), SigningSecret::generate(&SystemRandom));
        let now = SystemClock::start().wall();
        let headers = sign(id(), now, &[new.clone(), old.clone()], BODY).unwrap();
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
        let headers = sign(id(), Timestamp::from_secs(1_700_000_000), &[secret], BODY).unwrap();
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
        assert_eq!(sign(id(), Timestamp::EPOCH, &[secret], &[0xff]), Err(UNSIGNABLE));
    }

    fn id() -> DeliveryId {
        DeliveryId::from_bytes([5; 16])
    }
}
