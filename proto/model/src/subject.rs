//! What has a state, and the shard it lives in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgentId, HeartbeatId, InstallationId, MonitorId};

/// Something whose state the engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubjectId {
    /// An active check.
    Monitor(MonitorId),
    /// A passive check.
    Heartbeat(HeartbeatId),
    /// A probe agent: whether it is believed.
    Agent(AgentId),
    /// The whole installation: whether enough of its fleet can be heard.
    Installation(InstallationId),
}

impl SubjectId {
    /// The id's 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        match self {
            Self::Monitor(id) => id.as_bytes(),
            Self::Heartbeat(id) => id.as_bytes(),
            Self::Agent(id) => id.as_bytes(),
            Self::Installation(id) => id.as_bytes(),
        }
    }

    /// The shard that owns it, for ever.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard::of(crate::hash::hash(self.as_bytes()))
    }

    /// Reads the text of the id of a subject of any kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let monitor = text.parse().map(Self::Monitor);
        let heartbeat = monitor.or_else(|_| text.parse().map(Self::Heartbeat));
        let agent = heartbeat.or_else(|_| text.parse().map(Self::Agent));
        agent.or_else(|_| text.parse().map(Self::Installation)).ok()
    }

    /// Whether it is of no user's making and only operators hear of it: an agent, or the installation.
    #[must_use]
    pub const fn is_operational(&self) -> bool {
        matches!(self, Self::Agent(_) | Self::Installation(_))
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitor(id) => id.fmt(f),
            Self::Heartbeat(id) => id.fmt(f),
            Self::Agent(id) => id.fmt(f),
            Self::Installation(id) => id.fmt(f),
        }
    }
}

/// One of 1,024 parts of all subjects. The number of shards never changes; who owns one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(u16);

impl Shard {
    /// How many there are.
    pub const COUNT: u16 = 1_024;

    /// The shard of a subject with this hash: its top 10 bits.
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        Self((hash >> 54) as u16)
    }

    /// The shard with this number; `None` from 1,024 on.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number, 0 to 1,023.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Every shard, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_the_top_ten_bits() {
        assert_eq!(Shard::of(0).number(), 0);
        assert_eq!(Shard::of(u64::MAX).number(), 1_023);
        assert_eq!(SubjectId::Monitor(MonitorId::from_bytes([0; 16])).shard().number(), 0x3747 >> 6);
    }
}
