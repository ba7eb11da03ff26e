//! The rows: what is kept, in the words of the domain. Bodies are JSON, so that a field can be added without a
//! migration and a person can read them.

mod access;
mod run;

use std::time::Duration;

use model::{
    AgentId, ChannelId, DeliveryId, EventId, IncidentId, KeyId, MaintenanceId, PageId, PolicyId, RegionId,
    Secret, Shard, SilenceId, SubjectId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::Position;

pub use access::{BadgeRow, PingKeyRow};
pub use run::{RunPlace, RunQuery, RunRow};

/// The workspace that everything belongs to until there are more.
pub const DEFAULT_WORKSPACE: &str = "default";

/// A monitor's or heartbeat's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectRow {
    /// Which.
    pub id: SubjectId,
    /// The tenant.
    pub workspace: String,
    /// Unique within workspace and kind.
    pub name: String,
    /// The definition, as JSON.
    pub definition: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The kinds of subject. Only monitors and heartbeats have rows of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectKind {
    /// An active check.
    Monitor,
    /// A passive one.
    Heartbeat,
    /// A probe agent.
    Agent,
    /// The installation.
    Installation,
}

impl SubjectKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Heartbeat => "heartbeat",
            Self::Agent => "agent",
            Self::Installation => "installation",
        }
    }
}

impl SubjectRow {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> SubjectKind {
        match self.id {
            SubjectId::Monitor(_) => SubjectKind::Monitor,
            SubjectId::Heartbeat(_) => SubjectKind::Heartbeat,
            SubjectId::Agent(_) => SubjectKind::Agent,
            SubjectId::Installation(_) => SubjectKind::Installation,
        }
    }
}

/// A subject's engine state at a position of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// Whose.
    pub subject: SubjectId,
    /// The commit that wrote it: records up to here are in it.
    pub position: Position,
    /// The state, as JSON.
    pub state: String,
}

/// The states of a shard's subjects at a position of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Which shard.
    pub shard: Shard,
    /// Records up to here are in it.
    pub position: Position,
    /// The form of the body.
    pub version: u32,
    /// The states, encoded by the coordinator.
    pub body: Vec<u8>,
}

/// Which sequence numbers of an agent epoch have been committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSeen {
    /// Which agent.
    pub agent: AgentId,
    /// Which of its processes.
    pub epoch: u64,
    /// Records up to here are in it.
    pub position: Position,
    /// Inclusive ranges in rising order, as JSON: `[[1,20],[22,30]]`.
    pub ranges: String,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRow {
    /// Derived; see [`IncidentId::derive`].
    pub id: IncidentId,
    /// Whose.
    pub subject: SubjectId,
    /// The tenant.
    pub workspace: String,
    /// The subject's how-manieth.
    pub number: u32,
    /// Open or how it ended.
    pub state: IncidentState,
    /// First failing vote, or the instant a ping was due.
    pub started_at: Timestamp,
    /// When it was confirmed.
    pub opened_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// When somebody may next have to be told of it, also of one that is over.
    pub alert_due_at: Option<Timestamp>,
    /// Name, cause, evidence and the like, as JSON.
    pub body: String,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Going on.
    Open,
    /// Over: the subject recovered.
    Resolved,
    /// Ended without recovery: paused or deleted.
    Closed,
}

/// Which incidents to list, newest opening first.
#[derive(Clone, Debug, Default)]
pub struct IncidentQuery {
    /// Only of this subject.
    pub subject: Option<SubjectId>,
    /// Only open ones.
    pub open_only: bool,
    /// Only those opened at or after this instant.
    pub opened_since: Option<Timestamp>,
    /// Only those after this one in the listing: `(opened_at, id)` of the last one seen.
    pub after: Option<(Timestamp, IncidentId)>,
    /// At most this many.
    pub limit: u32,
}

/// A line of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// Whose.
    pub incident: IncidentId,
    /// Its place, from 0; unique within the incident.
    pub ordinal: u32,
    /// When.
    pub at: Timestamp,
    /// What, for people.
    pub text: String,
}

/// A subject covered by a grouped incident: it failed with others, and one incident tells of them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The incident that covers it.
    pub incident: IncidentId,
    /// Which subject.
    pub subject: SubjectId,
    /// The subject's name when it joined.
    pub name: String,
    /// Why it failed, in one line.
    pub cause: String,
    /// When it joined. With incident and subject the key: who recovers and fails again joins again.
    pub joined_at: Timestamp,
    /// When it recovered, or was paused or deleted.
    pub left_at: Option<Timestamp>,
}

/// What a check met on its way while an incident lasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRow {
    /// Whose.
    pub incident: IncidentId,
    /// Where the check was made from.
    pub region: RegionId,
    /// What came of the check.
    pub verdict: CaptureVerdict,
    /// Of which period of the incident it is the first, whose row stays as it was first written; `None`: it is the
    /// latest, which the next one replaces. With incident, region and verdict the key.
    pub period: Option<u32>,
    /// When the check was made.
    pub at: Timestamp,
    /// What was met, as JSON.
    pub body: String,
}

/// What came of a check that a capture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaptureVerdict {
    /// The target did not do what was asked.
    Fail,
    /// It did.
    Pass,
}

impl CaptureVerdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Pass => "pass",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Fail, Self::Pass].into_iter().find(|verdict| verdict.as_str() == word)
    }
}

/// A place in a list of captures: when, from where, what came of it and the period.
pub type CapturePlace = (Timestamp, RegionId, CaptureVerdict, Option<u32>);

/// Which captures of an incident to list, oldest first.
#[derive(Clone, Debug)]
pub struct CaptureQuery {
    /// Whose.
    pub incident: IncidentId,
    /// The first and the latest of each region and verdict; otherwise the first of each period.
    pub ends_only: bool,
    /// Only those after this one in the listing.
    pub after: Option<CapturePlace>,
    /// At most this many.
    pub limit: u32,
}

/// A public event waiting in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Derived; see [`EventId::derive`].
    pub id: EventId,
    /// The incident it tells of.
    pub incident: IncidentId,
    /// The incident's subject, whose shard's owner delivers it.
    pub subject: SubjectId,
    /// The incident's how-manieth event, from 0: their order.
    pub transition: u32,
    /// When it happened.
    pub at: Timestamp,
    /// The event, as JSON.
    pub body: String,
    /// The channels that are to hear of it, as of the event.
    pub channels: Vec<ChannelId>,
}

/// An event owed to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Derived; see [`DeliveryId::derive`]. The `webhook-id`.
    pub id: DeliveryId,
    /// What is to be told.
    pub event: EventId,
    /// To whom.
    pub channel: ChannelId,
    /// The event's incident.
    pub incident: IncidentId,
    /// The incident's subject.
    pub subject: SubjectId,
    /// The event's place among its incident's.
    pub transition: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// Of those, how many had been made when somebody last asked for it to be delivered again: the schedule of
    /// retries counts from there.
    pub replayed_after: u32,
    /// When to try (again).
    pub next_attempt_at: Timestamp,
    /// When the first attempt began.
    pub first_attempt_at: Option<Timestamp>,
    /// The rendered body, from the first claim on; every attempt sends these bytes.
    pub body: Option<Vec<u8>>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// The delivery to another channel that failed, so that this one was made in its place.
    pub stands_in_for: Option<DeliveryId>,
    /// Why it ended without being delivered, for people; empty: the attempts say it.
    pub reason: String,
}

impl DeliveryRow {
    /// An event that is owed to a channel from now on.
    #[must_use]
    pub const fn owed(id: DeliveryId, event: &EventRow, channel: ChannelId, now: Timestamp) -> Self {
        Self {
            id,
            event: event.id,
            channel,
            incident: event.incident,
            subject: event.subject,
            transition: event.transition,
            state: DeliveryState::Waiting,
            attempts: 0,
            replayed_after: 0,
            next_attempt_at: now,
            first_attempt_at: None,
            body: None,
            created_at: now,
            finished_at: None,
            stands_in_for: None,
            reason: String::new(),
        }
    }

    /// Where it stands now, to be written over where it stood.
    #[must_use]
    pub fn mark(&self) -> DeliveryMark {
        DeliveryMark {
            delivery: self.id,
            state: self.state,
            attempts: self.attempts,
            replayed_after: self.replayed_after,
            next_attempt_at: self.next_attempt_at,
            first_attempt_at: self.first_attempt_at,
            finished_at: self.finished_at,
            reason: self.reason.clone(),
        }
    }
}

/// A delivery is about to be attempted for the first time: its body is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// Which.
    pub delivery: DeliveryId,
    /// What every attempt sends.
    pub body: Vec<u8>,
}

/// What changes of a delivery: the fields of [`DeliveryRow`] of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented where a delivery is")]
pub struct DeliveryMark {
    pub delivery: DeliveryId,
    pub state: DeliveryState,
    pub attempts: u32,
    pub replayed_after: u32,
    pub next_attempt_at: Timestamp,
    pub first_attempt_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub reason: String,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Not finished.
    Waiting,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up.
    Dead,
    /// Told by a later event of the same incident; never sent itself.
    Coalesced,
}

impl DeliveryState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Coalesced => "coalesced",
        }
    }
}

/// A place in the list of deliveries: when created, and which.
pub type DeliveryPlace = (Timestamp, DeliveryId);

/// Which deliveries to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// Only to this channel.
    pub channel: Option<ChannelId>,
    /// Only of this incident.
    pub incident: Option<IncidentId>,
    /// Only those that stand so.
    pub state: Option<DeliveryState>,
    /// Only those created at or after this instant.
    pub created_since: Option<Timestamp>,
    /// Only those after this one in the listing.
    pub after: Option<DeliveryPlace>,
    /// At most this many.
    pub limit: u32,
}

/// How a channel's receiver has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelRecord {
    /// When something was last delivered there.
    pub delivered_at: Option<Timestamp>,
    /// When the oldest delivery was first attempted that was created since then and has not been delivered.
    pub failing_since: Option<Timestamp>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// What came of it, for people.
    pub detail: String,
    /// The first bytes of the answer.
    pub answer: Vec<u8>,
    /// Where the time went.
    pub timing: AttemptTiming,
}

/// How long each step of an attempt took, in microseconds; `None`: it did not come to that, or there was no such step.
/// Over a connection that was kept open there is nothing to resolve and to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptTiming {
    /// Looking up the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_us: Option<u64>,
    /// Connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// The handshake of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_us: Option<u64>,
    /// From the request to the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_us: Option<u64>,
}

/// A delivery with its attempts, oldest first.
pub type AttemptedDelivery = (DeliveryRow, Vec<AttemptRow>);

/// Everything that belongs to no subject. Small: it is held in memory whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Rises with every change.
    pub revision: u64,
    /// By id.
    pub regions: Vec<RegionRow>,
    /// By id.
    pub agents: Vec<AgentRow>,
    /// By id.
    pub channels: Vec<ChannelRow>,
    /// By id.
    pub pages: Vec<PageRow>,
    /// By id.
    pub maintenances: Vec<MaintenanceRow>,
    /// By id.
    pub policies: Vec<PolicyRow>,
    /// By id.
    pub silences: Vec<SilenceRow>,
    /// By id.
    pub keys: Vec<KeyRow>,
    /// By id.
    pub ping_keys: Vec<PingKeyRow>,
    /// By id.
    pub badges: Vec<BadgeRow>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRow {
    /// Such as `us-east`.
    pub id: RegionId,
    /// Such as `US-East`.
    pub display_name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A probe agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Which.
    pub id: AgentId,
    /// Unique.
    pub name: String,
    /// Where it is.
    pub region: RegionId,
    /// SHA-256 of its credential.
    pub secret_digest: [u8; 32],
    /// The epoch last issued; 0 before the first session.
    pub epoch: u64,
    /// The nonce that epoch was issued for: of a spool, or of a process without one.
    pub process_nonce: Option<[u8; 16]>,
    /// When it was created.
    pub created_at: Timestamp,
    /// How it joins, or did; `None`: its credential was made here.
    pub join: Option<JoinRow>,
}

/// How an agent joins: with a token that is good once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRow {
    /// SHA-256 of the token's secret.
    pub digest: [u8; 32],
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was used. Until then nobody has the agent's credential.
    pub joined_at: Option<Timestamp>,
}

/// A place where notifications go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRow {
    /// Which.
    pub id: ChannelId,
    /// The tenant.
    pub workspace: String,
    /// Unique.
    pub name: String,
    /// Kind, URL and secrets, as JSON.
    pub settings: Secret<String>,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Which.
    pub id: PageId,
    /// The tenant.
    pub workspace: String,
    /// Its heading; unique.
    pub name: String,
    /// The last part of its URL; unique.
    pub slug: String,
    /// What is on it, in order.
    pub components: Vec<SubjectId>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Planned maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceRow {
    /// Which.
    pub id: MaintenanceId,
    /// The tenant.
    pub workspace: String,
    /// Unique.
    pub name: String,
    /// What for, over what and when, as JSON.
    pub definition: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A rule about who is told of incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// Which.
    pub id: PolicyId,
    /// The tenant.
    pub workspace: String,
    /// Unique.
    pub name: String,
    /// Of what, who and how, as JSON.
    pub definition: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A time in which nobody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceRow {
    /// Which.
    pub id: SilenceId,
    /// The tenant.
    pub workspace: String,
    /// Of what and why, as JSON.
    pub definition: String,
    /// When it was created, which is when it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Which.
    pub id: KeyId,
    /// The tenant.
    pub workspace: String,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// When it was created.
    pub created_at: Timestamp,
}

/// One change to [`Config`]. `Put…` inserts or replaces by id; a name or slug that another row has is
/// [`crate::Error::Duplicate`].
#[derive(Clone, Debug)]
pub enum ConfigChange {
    /// A region.
    PutRegion(RegionRow),
    /// An agent, and its region if that is new.
    PutAgent(AgentRow),
    /// A channel.
    PutChannel(ChannelRow),
    /// Deletes a channel.
    DeleteChannel(ChannelId),
    /// A status page.
    PutPage(PageRow),
    /// Planned maintenance.
    PutMaintenance(MaintenanceRow),
    /// Deletes planned maintenance.
    DeleteMaintenance(MaintenanceId),
    /// A rule about who is told.
    PutPolicy(PolicyRow),
    /// Deletes such a rule.
    DeletePolicy(PolicyId),
    /// A silence. Those that were over when it was made go.
    PutSilence(SilenceRow),
    /// Ends a silence.
    DeleteSilence(SilenceId),
    /// An API key.
    PutKey(KeyRow),
    /// A ping key.
    PutPingKey(PingKeyRow),
    /// Deletes a ping key.
    DeletePingKey(KeyId),
    /// A badge; instead of the one that its subject has.
    PutBadge(BadgeRow),
    /// Deletes the badge of a subject.
    DeleteBadge(SubjectId),
}
