//! The contract in SQLite: one file, one writer, durable before it answers.
//!
//! `connection` owns the file and its transactions, `migration` its form; `commit` is the hot path and calls, table by
//! table, `lease`, `journal`, `subject`, `incident`, `member`, `capture`, `run`, `outbox` and `delivery`, which each hold the statements of their tables both
//! ways; `config` holds what belongs to no subject. `dialect` is all that another database would say differently.

mod alert;
mod capture;
mod commit;
mod config;
mod connection;
mod decode;
mod delivery;
mod dialect;
mod encode;
mod failure;
mod incident;
mod journal;
mod lease;
mod load;
mod member;
mod migration;
mod outbox;
mod run;
mod subject;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::{ChannelId, DeliveryId, EventId, IncidentId, InstallationId, Random, Timestamp};

use self::connection::Database;
pub use self::migration::Applied;
use crate::{
    AttemptedDelivery, CaptureQuery, CaptureRow, ChannelRecord, Commit, Config, ConfigChange,
    DEFAULT_LEASE_TTL, DeliveryQuery, DeliveryRow, Error, EventRow, IncidentQuery, IncidentRow, JournalQuery,
    JournalRow, Lease, Loaded, MemberRow, Position, RunQuery, RunRow, Store, TimelineRow,
};

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The database file. Its directory must exist, be local, and be locked by the caller.
    pub path: PathBuf,
    /// Whether a commit waits for the disk.
    pub synchronous: Synchronous,
    /// How long a lease lives without renewal.
    pub lease_ttl: Duration,
}

impl OpenOptions {
    /// A durable database at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), synchronous: Synchronous::Full, lease_ttl: DEFAULT_LEASE_TTL }
    }
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// It does: what was committed survives a loss of power.
    #[default]
    Full,
    /// It does not. For measuring and for showing that tests of durability notice.
    Off,
}

/// A store in a SQLite file.
pub struct Sqlite {
    database: Database,
    installation: InstallationId,
    lease_ttl: Duration,
}

impl Sqlite {
    /// Opens a database, creating it or bringing it to the present form first. A new one gets an installation id made
    /// of `now` and `random`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be used or the linked SQLite is older than 3.51.3,
    /// [`Error::Corrupt`] when it is not a database, or one of a newer Vigilmon.
    pub async fn open(options: &OpenOptions, now: Timestamp, random: &dyn Random) -> Result<Self, Error> {
        let database = Database::open(options).await?;
        let fresh = InstallationId::new(now, random);
        let mut transaction = database.write().await?;
        for applied in migration::run(transaction.connection(), now).await? {
            tracing::info!(migration.name = applied.name, "database migrated");
        }
        let installation = lease::installation(transaction.connection(), fresh, now).await?;
        transaction.commit().await?;
        Ok(Self { database, installation, lease_ttl: options.lease_ttl })
    }

    /// Closes the database and folds its log into the file. Later calls fail or connect anew.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("installation", &self.installation).finish_non_exhaustive()
    }
}

/// Brings a database to the present form, creating it if there is none, and says which migrations that took.
///
/// # Errors
/// As [`Sqlite::open`].
pub async fn migrate(options: &OpenOptions, now: Timestamp) -> Result<Vec<Applied>, Error> {
    let database = Database::open(options).await?;
    let mut transaction = database.write().await?;
    let applied = migration::run(transaction.connection(), now).await?;
    transaction.commit().await?;
    database.close().await;
    Ok(applied)
}

impl Store for Sqlite {
    fn installation(&self) -> InstallationId {
        self.installation
    }

    fn claim<'a>(&'a self, coordinator: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Lease, Error>> {
        lease::claim(&self.database, coordinator, now, self.lease_ttl).boxed()
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<(), Error>> {
        commit::commit(&self.database, commit, self.lease_ttl).boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, Error>> {
        load::load(&self.database).boxed()
    }

    fn journal_after(&self, after: Position, limit: u32) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        journal::after(&self.database, after, limit).boxed()
    }

    fn journal_page(&self, query: JournalQuery) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        journal::page(&self.database, query).boxed()
    }

    fn list_incidents<'a>(
        &'a self,
        query: &'a IncidentQuery,
    ) -> BoxFuture<'a, Result<Vec<IncidentRow>, Error>> {
        incident::list(&self.database, query).boxed()
    }

    fn incident(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<IncidentRow>, Error>> {
        incident::one(&self.database, id).boxed()
    }

    fn timeline(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<TimelineRow>, Error>> {
        incident::timeline(&self.database, incident).boxed()
    }

    fn members(
        &self,
        incident: IncidentId,
        limit: u32,
    ) -> BoxFuture<'_, Result<(Vec<MemberRow>, u64), Error>> {
        member::of_incident(&self.database, incident, limit).boxed()
    }

    fn captures<'a>(&'a self, query: &'a CaptureQuery) -> BoxFuture<'a, Result<Vec<CaptureRow>, Error>> {
        capture::page(&self.database, query).boxed()
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        async move { run::page(&self.database, &query).await }.boxed()
    }

    fn deliveries(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<AttemptedDelivery>, Error>> {
        delivery::of_incident(&self.database, incident).boxed()
    }

    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<AttemptedDelivery>, Error>> {
        delivery::one(&self.database, id).boxed()
    }

    fn list_deliveries<'a>(
        &'a self,
        query: &'a DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRow>, Error>> {
        delivery::page(&self.database, query).boxed()
    }

    fn channel_record(&self, channel: ChannelId) -> BoxFuture<'_, Result<ChannelRecord, Error>> {
        delivery::channel_record(&self.database, channel).boxed()
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRow>, Error>> {
        outbox::event(&self.database, id).boxed()
    }

    fn config(&self) -> BoxFuture<'_, Result<Config, Error>> {
        config::load(&self.database).boxed()
    }

    fn config_revision(&self) -> BoxFuture<'_, Result<u64, Error>> {
        config::revision(&self.database).boxed()
    }

    fn change_config<'a>(
        &'a self,
        change: &'a ConfigChange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        config::change(&self.database, change, now).boxed()
    }
}

#[cfg(test)]
mod tests;
