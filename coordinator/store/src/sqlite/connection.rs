//! The connections to one database file: a single writer and a few readers.
//!
//! The writer is taken out of its slot for the length of a transaction and put back only when it is known to stand
//! outside of one. Whatever else happens to it (an error that cannot be undone, a caller that goes away in the middle)
//! it is dropped, which makes SQLite roll back, and the next transaction connects anew.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Row};
use tokio::sync::{Mutex, MutexGuard};

use super::dialect::{BEGIN_WRITE, COMMIT, ROLLBACK};
use super::failure::{failure, failure_of_commit};
use super::{OpenOptions, Synchronous};
use crate::Error;

/// Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode with a writer and a checkpointer.
const OLDEST_VERSION: [u32; 3] = [3, 51, 3];
const READERS: u32 = 4;
/// How long a caller waits for one of the readers.
const READER_TIMEOUT: Duration = Duration::from_secs(5);

/// Every connection's settings. WAL is a property of the file; the others are the connection's. Never `mmap_size`: an
/// I/O error would become a signal.
macro_rules! settings {
    ($synchronous:literal) => {
        concat!(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = ",
            $synchronous,
            "; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 2000; \
             PRAGMA journal_size_limit = 67108864",
        )
    };
}
const SETTINGS_FULL: &str = settings!("FULL");
const SETTINGS_OFF: &str = settings!("OFF");
const READER_SETTINGS: &str = "PRAGMA query_only = ON";
const VERSION: &str = "SELECT sqlite_version() AS version";
const JOURNAL_MODE: &str = "PRAGMA journal_mode";

/// The connections to one file.
pub(super) struct Database {
    options: AnyConnectOptions,
    synchronous: Synchronous,
    readers: AnyPool,
    writer: Mutex<Option<AnyConnection>>,
}

impl Database {
    /// Creates the file if there is none, readable by its owner only, and looks at what it is.
    pub(super) async fn open(options: &OpenOptions) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        create_private(&options.path).await?;
        let connect: AnyConnectOptions = url_of(&options.path)?.parse().map_err(failure)?;
        let connect = connect.disable_statement_logging();
        let synchronous = options.synchronous;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(READER_TIMEOUT)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    configure(connection, synchronous).await?;
                    execute(connection, READER_SETTINGS).await
                })
            })
            .connect_lazy_with(connect.clone());
        let database = Self { options: connect, synchronous, readers, writer: Mutex::new(None) };
        let mut connection = database.connect().await?;
        examine(&mut connection).await?;
        *database.writer.lock().await = Some(connection);
        Ok(database)
    }

    /// Begins the one transaction that may write at a time.
    pub(super) async fn write(&self) -> Result<WriteTransaction<'_>, Error> {
        let mut slot = self.writer.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        execute(&mut connection, BEGIN_WRITE).await.map_err(failure)?;
        Ok(WriteTransaction { slot, connection })
    }

    /// Begins a transaction that sees one state of the database however long it reads.
    pub(super) async fn read(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, Error> {
        self.readers.begin().await.map_err(failure)
    }

    /// Where single statements read.
    pub(super) const fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Closes every connection; the last one folds the log into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    /// The writer between transactions.
    #[cfg(test)]
    pub(super) async fn writer(&self) -> MutexGuard<'_, Option<AnyConnection>> {
        self.writer.lock().await
    }

    async fn connect(&self) -> Result<AnyConnection, Error> {
        let mut connection = self.options.connect().await.map_err(failure)?;
        configure(&mut connection, self.synchronous).await.map_err(failure)?;
        Ok(connection)
    }
}

/// A transaction on the writer. Dropped without [`WriteTransaction::commit`] it leaves no trace.
pub(super) struct WriteTransaction<'a> {
    slot: MutexGuard<'a, Option<AnyConnection>>,
    connection: AnyConnection,
}

impl WriteTransaction<'_> {
    /// Where the transaction's statements go.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Makes it durable.
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        match execute(&mut self.connection, COMMIT).await {
            Ok(()) => {
                *self.slot = Some(self.connection);
                Ok(())
            }
            Err(error) => Err(failure_of_commit(&error, self.undo().await)),
        }
    }

    /// Undoes it and keeps the connection if that succeeds.
    pub(super) async fn rollback(self) {
        self.undo().await;
    }

    async fn undo(mut self) -> bool {
        let undone = execute(&mut self.connection, ROLLBACK).await.is_ok();
        if undone {
            *self.slot = Some(self.connection);
        }
        undone
    }
}

async fn execute(connection: &mut AnyConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(|_| ())
}

async fn configure(connection: &mut AnyConnection, synchronous: Synchronous) -> Result<(), sqlx::Error> {
    let settings = match synchronous {
        Synchronous::Full => SETTINGS_FULL,
        Synchronous::Off => SETTINGS_OFF,
    };
    sqlx::raw_sql(settings).execute(connection).await.map(|_| ())
}

/// Refuses a library that is too old and a file system without what WAL needs.
async fn examine(connection: &mut AnyConnection) -> Result<(), Error> {
    let row = sqlx::query(VERSION).fetch_one(&mut *connection).await.map_err(failure)?;
    let version: String = row.try_get("version").map_err(failure)?;
    if !is_recent_enough(&version) {
        let [major, minor, patch] = OLDEST_VERSION;
        return Err(Error::Unavailable(format!("sqlite {version} is older than {major}.{minor}.{patch}")));
    }
    let row: AnyRow = sqlx::query(JOURNAL_MODE).fetch_one(connection).await.map_err(failure)?;
    let mode: String = row.try_get(0).map_err(failure)?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(Error::Unavailable(format!("journal mode is {mode}, not wal: is the directory on a network?")))
    }
}

fn is_recent_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = [0; 3].map(|_: u32| parts.next().unwrap_or(0));
    found >= OLDEST_VERSION
}

async fn create_private(path: &Path) -> Result<(), Error> {
    tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .await
        .map(|_| ())
        .map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))
}

/// The path as a URL of sqlx, which decodes percent signs and splits at `?`.
fn url_of(path: &Path) -> Result<String, Error> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::Unavailable(format!("the path {} is not UTF-8", path.display())))?;
    let mut url = String::from("sqlite://");
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(url + "?mode=rw")
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[BEGIN_WRITE, COMMIT, ROLLBACK, READER_SETTINGS, VERSION, JOURNAL_MODE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, recent) in
            [("3.51.3", true), ("3.100.0", true), ("4.0.0", true), ("3.51.2", false), ("3.9.9", false)]
        {
            assert_eq!(is_recent_enough(version), recent, "{version}");
        }
    }

    #[test]
    fn odd_characters_of_a_path_stay_in_the_path() {
        assert_eq!(url_of(Path::new("/a b/%?#.db")).unwrap(), "sqlite:///a%20b/%25%3F%23.db?mode=rw");
    }
}
