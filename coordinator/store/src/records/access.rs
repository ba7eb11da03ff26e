//! Rows of what lets the world in without an API key: ping keys and badges.

use model::{KeyId, SubjectId, Timestamp};

/// A key by which heartbeats are pinged by their slugs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingKeyRow {
    /// Which.
    pub id: KeyId,
    /// The tenant.
    pub workspace: String,
    /// What it is for; unique.
    pub name: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// When it was created.
    pub created_at: Timestamp,
}

/// An address under which the world may see how a monitor or heartbeat is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadgeRow {
    /// Unguessable; part of the badge's URL.
    pub id: String,
    /// The tenant.
    pub workspace: String,
    /// Of what; there is one for each at most.
    pub subject: SubjectId,
    /// When it was created.
    pub created_at: Timestamp,
}
