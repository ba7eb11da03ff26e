//! Typed ids: a prefix that says what it names, and 16 bytes.
//!
//! Ids made here are UUIDv7 (RFC 9562), so they sort by creation time. Incident ids are the exception: they are
//! derived (UUIDv8), so that a repeated commit or a restored backup cannot mint a second one.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::random::{self, Random};
use crate::{Timestamp, hash};

/// Why a text is not an id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {kind} id: it must be `{prefix}_` followed by 32 hexadecimal digits")]
pub struct InvalidId {
    kind: &'static str,
    prefix: &'static str,
    found: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What its text begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id (UUIDv7) from an instant and randomness.
            #[must_use]
            pub fn new(now: Timestamp, random: &dyn Random) -> Self {
                let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
                let tail = random::bytes(random);
                Self(*uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid().as_bytes())
            }

            /// The id with exactly these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The hash that places it; see [`hash::hash`].
            #[must_use]
            pub fn hash(&self) -> u64 {
                hash::hash(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), Uuid::from_bytes(self.0).simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(|uuid| Self(*uuid.as_bytes()))
                    .ok_or_else(|| InvalidId {
                        kind: $kind,
                        prefix: $prefix,
                        found: text.chars().take(80).collect(),
                    })
            }
        }

        /// Text where people read it, 16 bytes elsewhere.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    )+ };
}

ids! {
    /// An active check that a user configured.
    MonitorId, "mon", "monitor";
    /// A passive check: a job that pings.
    HeartbeatId, "hb", "heartbeat";
    /// One outage of one subject. Derived: see [`IncidentId::derive`].
    IncidentId, "inc", "incident";
    /// One probe agent.
    AgentId, "agt", "agent";
    /// A place where notifications go.
    ChannelId, "chn", "channel";
    /// A public status page.
    PageId, "page", "status page";
    /// A planned time in which nothing is judged.
    MaintenanceId, "mnt", "maintenance";
    /// A rule about who is told of incidents.
    PolicyId, "pol", "policy";
    /// A time in which nobody is told.
    SilenceId, "sil", "silence";
    /// An API key.
    KeyId, "key", "API key";
    /// An event owed to a channel.
    DeliveryId, "dlv", "delivery";
    /// A public, versioned fact.
    EventId, "evt", "event";
    /// One installation of Vigilmon: one database.
    InstallationId, "ins", "installation";
}

impl IncidentId {
    /// The id of the `opening`-th incident of a subject: UUIDv8 over SHA-256 of (installation, subject, opening).
    #[must_use]
    pub fn derive(installation: InstallationId, subject: &[u8; 16], opening: u32) -> Self {
        Self(derived(&[installation.as_bytes(), subject, &opening.to_be_bytes()]))
    }
}

impl EventId {
    /// The id of an incident's `transition`-th event, so that a repeated commit repeats it too.
    #[must_use]
    pub fn derive(incident: IncidentId, transition: u32) -> Self {
        Self(derived(&[incident.as_bytes(), &transition.to_be_bytes()]))
    }
}

impl DeliveryId {
    /// The id of the one delivery of an event to a channel. It is also the `webhook-id` that receivers see.
    #[must_use]
    pub fn derive(installation: InstallationId, event: EventId, channel: ChannelId) -> Self {
        Self(derived(&[installation.as_bytes(), event.as_bytes(), channel.as_bytes()]))
    }
}

/// UUIDv8 over the first 16 bytes of SHA-256 of the parts, all of fixed length.
fn derived(parts: &[&[u8]]) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize()[..16]);
    *uuid::Builder::from_custom_bytes(first).into_uuid().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn text_names_its_kind_and_survives_a_round_trip() {
        let id = MonitorId::new(Timestamp::from_secs(1_700_000_000), &SystemRandom);
        let text = id.to_string();
        assert!(text.starts_with("mon_018bcfe5"), "{text}");
        assert_eq!(text.parse(), Ok(id));
        let error = text.parse::<HeartbeatId>().unwrap_err();
        assert!(error.to_string().contains("must be `hb_`"), "{error}");
    }

    #[test]
    fn ids_of_later_instants_sort_later() {
        let earlier = MonitorId::new(Timestamp::from_secs(1), &SystemRandom);
        let later = MonitorId::new(Timestamp::from_secs(2), &SystemRandom);
        assert!(earlier < later);
    }

    #[test]
    fn derived_ids_are_pinned() {
        let installation = InstallationId::from_bytes([1; 16]);
        let incident = IncidentId::derive(installation, &[2; 16], 3);
        assert_eq!(incident, IncidentId::derive(installation, &[2; 16], 3));
        assert_ne!(incident, IncidentId::derive(installation, &[2; 16], 4));
        let uuid = Uuid::from_bytes(*incident.as_bytes());
        assert_eq!(uuid.get_version_num(), 8);
    }

    #[test]
    fn hostile_text_is_cut_in_the_message() {
        let error = "x".repeat(10_000).parse::<MonitorId>().unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
