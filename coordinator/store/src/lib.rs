//! Persistence: one contract, several forms.
//!
//! The coordinator keeps every subject's state in memory and decides there; this crate makes what was decided durable
//! and gives it back after a restart. The hot path is one call, [`Store::commit`]: a whole batch, one transaction, a
//! handful of statements however many items there are. Everything else is loading, paging and rare changes.
//!
//! To add a kind of row: a struct in [`records`], a field in [`Commit`] or a [`ConfigChange`], one statement over the
//! whole batch in `sqlite/`, the same in `memory`, and a case in the conformance suite, which every form must pass.
//!
//! Three conventions hold everywhere: a lookup of what may be absent returns `Option`; instants are arguments, never
//! read here (the one exception is the lease, which is judged by the database's own clock); an [`Error`] says what the
//! caller can do, not what the driver said.

#[cfg(test)]
mod conformance;
mod duplicate;
pub mod faulty;
pub mod journal;
pub mod memory;
pub mod records;
pub mod sqlite;

use futures_util::future::BoxFuture;
use model::{
    ChannelId, DeliveryId, EventId, HeartbeatId, IncidentId, InstallationId, Shard, SubjectId, Timestamp,
};

pub use journal::{JournalRow, Position, Record};
pub use records::{
    AgentRow, AgentSeen, AttemptRow, AttemptTiming, AttemptedDelivery, BadgeRow, CapturePlace, CaptureQuery,
    CaptureRow, CaptureVerdict, ChannelRecord, ChannelRow, ClaimRow, Config, ConfigChange, DeliveryMark,
    DeliveryPlace, DeliveryQuery, DeliveryRow, DeliveryState, EventRow, IncidentQuery, IncidentRow,
    IncidentState, JoinRow, KeyRow, MaintenanceRow, MemberRow, PageRow, PingKeyRow, PolicyRow, RegionRow,
    RunPlace, RunQuery, RunRow, SilenceRow, SnapshotRow, StateRow, SubjectKind, SubjectRow, TimelineRow,
};

/// How long a lease lives without renewal unless configured otherwise.
pub const DEFAULT_LEASE_TTL: std::time::Duration = std::time::Duration::from_secs(10);
/// How long journal rows are kept.
pub const JOURNAL_RETENTION: std::time::Duration = std::time::Duration::from_secs(48 * 3_600);
/// Journal rows that one commit deletes at most.
pub const TRIMMED_PER_COMMIT: u32 = 4_096;
/// How long captures are kept.
pub const CAPTURE_RETENTION: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);
/// Captures that one commit deletes at most.
pub const TRIMMED_CAPTURES_PER_COMMIT: u32 = 512;
/// How long runs are kept.
pub const RUN_RETENTION: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);
/// How many runs of a heartbeat are kept.
pub const KEPT_RUNS: u32 = 200;
/// Old runs that one commit deletes at most.
pub const TRIMMED_RUNS_PER_COMMIT: u32 = 512;
/// How long finished deliveries and their attempts are kept.
pub const DELIVERY_RETENTION: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);
/// Deliveries that one commit deletes at most.
pub const TRIMMED_DELIVERIES_PER_COMMIT: u32 = 256;

/// What one coordinator may write: its lease, as of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The coordinator's id; `main` where there is only one.
    pub coordinator: String,
    /// Rises with every claim under this id; a commit of an older generation is refused.
    pub generation: u64,
    /// Every shard held, with its epoch, in order of shards.
    pub epochs: Vec<(Shard, u64)>,
    /// The instant of the last commit under this id; `None` before the first one ever. A claim alone leaves it, so that
    /// a process that dies between claim and commit hides no gap.
    pub previous_alive_at: Option<Timestamp>,
    /// How long it lives after a renewal, by the database's clock.
    pub ttl: std::time::Duration,
}

/// Everything one transaction writes. Empty vectors cost nothing. No two rows of a vector have the same key.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The coordinator whose lease must hold.
    pub coordinator: String,
    /// The generation its lease must have.
    pub generation: u64,
    /// Shards written to with the epochs they must have; others are not looked at.
    pub epochs: Vec<(Shard, u64)>,
    /// The present instant; becomes the coordinator's `alive_at`.
    pub now: Timestamp,
    /// Journal row to append, with the position the caller chose: always greater than every earlier one.
    pub journal: Option<JournalRow>,
    /// Monitors and heartbeats created or changed.
    pub subjects: Vec<SubjectRow>,
    /// Monitors and heartbeats deleted, with their state and their runs. Their incidents stay. Deletion is final: rows of the same
    /// subject in `subjects` and `states` are left out, and its name is free for another in this very commit.
    pub deleted: Vec<SubjectId>,
    /// Full states of subjects whose status (or anything else that replay cannot restore) changed.
    pub states: Vec<StateRow>,
    /// Incidents opened or changed.
    pub incidents: Vec<IncidentRow>,
    /// Lines added to incidents; a line that exists stays as it is.
    pub timeline: Vec<TimelineRow>,
    /// Members that grouped incidents gained or lost.
    pub members: Vec<MemberRow>,
    /// What checks met while incidents lasted; one of a period that exists stays as it is.
    pub captures: Vec<CaptureRow>,
    /// Runs of heartbeats' jobs, and what became of them; replaced but for a log that the new row lacks.
    pub runs: Vec<RunRow>,
    /// Events for the outbox; one that exists stays as it is.
    pub events: Vec<EventRow>,
    /// Deliveries created; one that exists stays as it is, so that an event that is fanned out again undoes nothing.
    pub deliveries: Vec<DeliveryRow>,
    /// Deliveries whose bodies are fixed from now on.
    pub claims: Vec<ClaimRow>,
    /// Deliveries that stand otherwise from now on.
    pub marks: Vec<DeliveryMark>,
    /// Events whose deliveries are all in `deliveries` of this or an earlier commit.
    pub dispatched: Vec<EventId>,
    /// Attempts made.
    pub attempts: Vec<AttemptRow>,
    /// Shard snapshots, replacing earlier ones.
    pub snapshots: Vec<SnapshotRow>,
    /// What has been seen of agents' sequence numbers, replacing earlier rows and those of the agent's older epochs: only
    /// the newest epoch of an agent is kept.
    pub agents_seen: Vec<AgentSeen>,
    /// With the last slice of a sweep of snapshots: replay may begin after this position from now on.
    pub replay_from: Option<Position>,
    /// Journal rows committed before this instant may go, unless replay needs them; at most [`TRIMMED_PER_COMMIT`] go
    /// with each commit that says so, oldest first.
    pub trim_journal_before: Option<Timestamp>,
    /// Captures of checks made before this instant may go; at most [`TRIMMED_CAPTURES_PER_COMMIT`] go with each commit
    /// that says so, oldest first.
    pub trim_captures_before: Option<Timestamp>,
    /// Runs from before this instant may go; at most [`TRIMMED_RUNS_PER_COMMIT`] go with each commit that says so, oldest
    /// first.
    pub trim_runs_before: Option<Timestamp>,
    /// Of these heartbeats only the newest [`KEPT_RUNS`] runs are kept.
    pub trim_runs_of: Vec<HeartbeatId>,
    /// Finished deliveries created before this instant may go, with their attempts; at most
    /// [`TRIMMED_DELIVERIES_PER_COMMIT`] go with each commit that says so, oldest first.
    pub trim_deliveries_before: Option<Timestamp>,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds this coordinator's lease. Stop.
    #[error("the lease of this coordinator is held by a newer process")]
    Fenced,
    /// These shards have another epoch. Drop them, commit the rest.
    #[error("{} shards are owned by another coordinator", .0.len())]
    ShardsLost(Vec<Shard>),
    /// A name is taken. Nothing was written.
    #[error("{0} already exists")]
    Duplicate(String),
    /// Nothing was written. Try again later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It is not known whether the commit took place. Load again before deciding anything.
    #[error("the fate of a commit is unknown: {0}")]
    FateUnknown(String),
    /// What is stored cannot be read. A person must look.
    #[error("the database holds something that cannot be read: {0}")]
    Corrupt(String),
}

/// What a coordinator loads at start or takeover, besides the journal.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Every monitor and heartbeat.
    pub subjects: Vec<SubjectRow>,
    /// The last written state of each.
    pub states: Vec<StateRow>,
    /// The last snapshot of each shard that has one.
    pub snapshots: Vec<SnapshotRow>,
    /// What had been seen of agents' sequence numbers.
    pub agents_seen: Vec<AgentSeen>,
    /// Every open incident.
    pub open_incidents: Vec<IncidentRow>,
    /// Every incident that is over, but of whose end somebody has yet to be told.
    pub owed_incidents: Vec<IncidentRow>,
    /// Every member of a grouped incident that has not left it.
    pub open_members: Vec<MemberRow>,
    /// Events whose deliveries are not all made.
    pub undispatched: Vec<EventRow>,
    /// Deliveries that are neither delivered nor dead.
    pub unfinished: Vec<DeliveryRow>,
    /// Replay begins after this position.
    pub replay_from: Position,
    /// The greatest position that was ever used; the next one is greater.
    pub last_position: Position,
}

impl Loaded {
    /// Raises `last_position` to what was folded into states, snapshots and the start of replay: a journal that was
    /// trimmed to nothing must not give a position out twice.
    fn count_folded_positions(&mut self) {
        let folded = self.states.iter().map(|row| row.position);
        let folded = folded.chain(self.snapshots.iter().map(|row| row.position));
        let folded = folded.chain(self.agents_seen.iter().map(|row| row.position));
        self.last_position = folded.fold(self.last_position.max(self.replay_from), Position::max);
    }
}

/// Which journal rows to read, newest first.
#[derive(Clone, Copy, Debug)]
pub struct JournalQuery {
    /// Only rows before this position; `None`: from the newest.
    pub before: Option<Position>,
    /// Only rows committed at or after this instant.
    pub not_before: Timestamp,
    /// At most this many.
    pub limit: u32,
}

/// The contract. Every method is one transaction.
pub trait Store: Send + Sync {
    /// The installation's id, made when the database was.
    fn installation(&self) -> InstallationId;

    /// Takes the lease of `coordinator` and every shard, at once: the caller holds the data directory's lock or restarts
    /// under its own id. Generation and epochs rise by one.
    fn claim<'a>(&'a self, coordinator: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Lease, Error>>;

    /// Writes a batch: all of it or nothing.
    ///
    /// Refreshes the lease and `alive_at` and refuses ([`Error::Fenced`], [`Error::ShardsLost`]) when the generation or
    /// an epoch is not what the commit says.
    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<(), Error>>;

    /// Everything but the journal.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Error>>;

    /// Journal rows after a position, oldest first, at most `limit`.
    fn journal_after(&self, after: Position, limit: u32) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>>;

    /// Journal rows for people, newest first.
    fn journal_page(&self, query: JournalQuery) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>>;

    /// Incidents, newest opening first.
    fn list_incidents<'a>(
        &'a self,
        query: &'a IncidentQuery,
    ) -> BoxFuture<'a, Result<Vec<IncidentRow>, Error>>;

    /// One incident.
    fn incident(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<IncidentRow>, Error>>;

    /// An incident's lines, oldest first.
    fn timeline(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<TimelineRow>, Error>>;

    /// The first `limit` members of a grouped incident, in order of joining, and how many it has had in all.
    fn members(
        &self,
        incident: IncidentId,
        limit: u32,
    ) -> BoxFuture<'_, Result<(Vec<MemberRow>, u64), Error>>;

    /// What checks met while an incident lasted, oldest first.
    fn captures<'a>(&'a self, query: &'a CaptureQuery) -> BoxFuture<'a, Result<Vec<CaptureRow>, Error>>;

    /// Runs of a heartbeat's job, newest first.
    fn runs(&self, query: RunQuery) -> BoxFuture<'_, Result<Vec<RunRow>, Error>>;

    /// Deliveries of an incident with their attempts, oldest first.
    fn deliveries(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<AttemptedDelivery>, Error>>;

    /// One delivery with its attempts.
    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<AttemptedDelivery>, Error>>;

    /// Deliveries without their bodies, newest first.
    fn list_deliveries<'a>(
        &'a self,
        query: &'a DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRow>, Error>>;

    /// How a channel's receiver has been doing.
    fn channel_record(&self, channel: ChannelId) -> BoxFuture<'_, Result<ChannelRecord, Error>>;

    /// One event of the outbox, dispatched or not: what a waiting delivery is rendered from after a restart.
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRow>, Error>>;

    /// Everything that belongs to no subject, with its revision.
    fn config(&self) -> BoxFuture<'_, Result<Config, Error>>;

    /// The present revision of [`Store::config`], cheap enough to poll.
    fn config_revision(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// Changes one thing that belongs to no subject and raises the revision, which is returned.
    fn change_config<'a>(
        &'a self,
        change: &'a ConfigChange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<u64, Error>>;
}
