//! What only SQLite can get wrong; the behaviour that every form shares is in `conformance`.

use std::os::unix::fs::PermissionsExt;

use model::SystemRandom;
use sqlx::{AnyConnection, Executor, Row, SqlSafeStr};

use super::*;
use crate::conformance::directory::TestDirectory;
use crate::conformance::sample;

async fn open(directory: &TestDirectory) -> Result<Sqlite, Error> {
    Sqlite::open(&OpenOptions::new(directory.file()), sample::at(0), &SystemRandom).await
}

async fn pragma(connection: &mut AnyConnection, statement: &'static str) -> String {
    let row = sqlx::query(statement).fetch_one(connection).await.unwrap();
    row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string())).unwrap()
}

/// Runs statements on the writer, outside of what the store does.
async fn on_writer(store: &Sqlite, statements: &'static str) {
    let mut transaction = store.database.write().await.unwrap();
    sqlx::raw_sql(statements).execute(transaction.connection()).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn every_statement_prepares() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let mut transaction = store.database.write().await.unwrap();
    let all = [
        alert::STATEMENTS,
        capture::STATEMENTS,
        config::STATEMENTS,
        connection::STATEMENTS,
        delivery::STATEMENTS,
        incident::STATEMENTS,
        journal::STATEMENTS,
        lease::STATEMENTS,
        member::STATEMENTS,
        migration::STATEMENTS,
        run::STATEMENTS,
        outbox::STATEMENTS,
        subject::STATEMENTS,
    ];
    for statement in all.concat() {
        let prepared = transaction.connection().prepare(statement.into_sql_str()).await;
        assert!(prepared.is_ok(), "{statement}: {:?}", prepared.err());
    }
}

#[tokio::test]
async fn what_is_committed_is_durable_and_nothing_is_mapped() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let mut transaction = store.database.write().await.unwrap();
    let mut reader = store.database.read().await.unwrap();
    for connection in [transaction.connection(), &mut *reader] {
        assert_eq!(pragma(connection, "PRAGMA journal_mode").await, "wal");
        assert_eq!(pragma(connection, "PRAGMA synchronous").await, "2");
        assert_eq!(pragma(connection, "PRAGMA temp_store").await, "2");
        assert_eq!(pragma(connection, "PRAGMA mmap_size").await, "0");
        assert_eq!(pragma(connection, "PRAGMA busy_timeout").await, "5000");
    }
    assert_eq!(pragma(&mut reader, "PRAGMA query_only").await, "1");
}

#[tokio::test]
async fn durability_can_be_switched_off_for_tests() {
    let directory = TestDirectory::new();
    let options = OpenOptions { synchronous: Synchronous::Off, ..OpenOptions::new(directory.file()) };
    let store = Sqlite::open(&options, sample::at(0), &SystemRandom).await.unwrap();
    let mut transaction = store.database.write().await.unwrap();
    assert_eq!(pragma(transaction.connection(), "PRAGMA synchronous").await, "0");
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    store.claim("main", sample::at(0)).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 3, "database, log and its index: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn a_database_opened_again_is_the_same_installation_with_the_same_rows() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let installation = store.installation();
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    store.commit(&sample::journal_commit(&lease, 1)).await.unwrap();
    store.close().await;
    drop(store);

    let store = open(&directory).await.unwrap();
    assert_eq!(store.installation(), installation);
    assert_eq!(store.journal_after(0, 10).await.unwrap(), [sample::journal(1)]);
    assert_eq!(store.claim("main", sample::at(9)).await.unwrap().generation, 2);
}

#[tokio::test]
async fn migrating_says_what_was_applied_and_then_has_nothing_to_do() {
    let directory = TestDirectory::new();
    let options = OpenOptions::new(directory.file());
    let applied = migrate(&options, sample::at(0)).await.unwrap();
    let expected = [
        Applied { version: 1, name: "0001_initial.sql" },
        Applied { version: 2, name: "0002_maintenance.sql" },
        Applied { version: 3, name: "0003_incident_member.sql" },
        Applied { version: 4, name: "0004_incident_capture.sql" },
        Applied { version: 5, name: "0005_agent_join.sql" },
        Applied { version: 6, name: "0006_heartbeat_run.sql" },
        Applied { version: 7, name: "0007_alerts.sql" },
        Applied { version: 8, name: "0008_delivery.sql" },
    ];
    assert_eq!(applied, expected);
    assert_eq!(migrate(&options, sample::at(1)).await.unwrap(), []);
    open(&directory).await.unwrap();
}

#[tokio::test]
async fn a_database_made_by_another_text_of_a_migration_is_refused_by_the_files_name() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    on_writer(&store, "UPDATE schema_migration SET checksum = 'other' WHERE version = 1").await;
    let refused = open(&directory).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(text) if text.contains("0001_initial.sql")), "{refused}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    on_writer(&store, "INSERT INTO schema_migration VALUES (99, '0099_future.sql', '', 0)").await;
    let refused = open(&directory).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(text) if text.contains("0099_future.sql")), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = TestDirectory::new();
    let text = "something else entirely, longer than a header".repeat(50);
    std::fs::write(directory.file(), &text).unwrap();
    let refused = open(&directory).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused:?}");
    assert_eq!(std::fs::read_to_string(directory.file()).unwrap(), text);
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let directory = TestDirectory::new();
    let path = directory.path().join("missing").join("vigilmon.db");
    let refused = Sqlite::open(&OpenOptions::new(path), sample::at(0), &SystemRandom).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(text) if text.contains("missing")), "{refused:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_heals_when_there_is_space() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    on_writer(&store, "PRAGMA max_page_count = 1").await;
    let mut large = sample::journal_commit(&lease, 1);
    large.journal.as_mut().unwrap().blob = vec![7; 1 << 20];
    let refused = store.commit(&large).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(store.load().await.unwrap().last_position, 0);
    // A full disk makes SQLite roll back by itself, so that the writer was replaced by one without the limit.
    store.commit(&large).await.unwrap();
    assert_eq!(store.load().await.unwrap().last_position, 1);
}

#[tokio::test]
async fn another_process_lock_refuses_commits_and_heals_when_it_is_gone() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let other = open(&directory).await.unwrap();
    let lock = other.database.write().await.unwrap();
    // The pragma goes to the connection that the next commit uses, so that it does not wait its five seconds.
    let mut slot = store.database.writer().await;
    sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(slot.as_mut().unwrap()).await.unwrap();
    drop(slot);
    let refused = store.commit(&sample::journal_commit(&lease, 1)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(store.journal_after(0, 9).await.unwrap(), [], "reading goes on");
    lock.rollback().await;
    store.commit(&sample::journal_commit(&lease, 1)).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_any_more_leaves_the_writer_usable() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    for steps in 1..40 {
        let commit = sample::journal_commit(&lease, steps);
        let mut abandoned = store.commit(&commit);
        for _ in 0..steps {
            if (&mut abandoned).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    store.commit(&sample::journal_commit(&lease, 100)).await.unwrap();
    let mut expected = store.load().await.unwrap().last_position;
    assert_eq!(expected, 100);
    // Whatever was committed is whole.
    for row in store.journal_after(0, 1_000).await.unwrap().iter().rev() {
        assert!(row.position <= expected);
        assert_eq!(*row, sample::journal(row.position));
        expected = row.position;
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_reported_with_its_column() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    on_writer(&store, "INSERT INTO subject_state VALUES ('mon_short', 1, '{}')").await;
    let refused = store.load().await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(text) if text.contains("`subject`")), "{refused:?}");
}

#[tokio::test]
async fn the_tenant_of_events_and_deliveries_is_their_incidents() {
    let directory = TestDirectory::new();
    let store = open(&directory).await.unwrap();
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let mut incident = sample::incident(1, sample::monitor(1), crate::IncidentState::Open);
    incident.workspace = "acme".into();
    let event = sample::event(&incident, 0);
    let commit = Commit {
        incidents: vec![incident],
        deliveries: vec![sample::delivery(&event, sample::channel_id(1))],
        events: vec![event],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    let mut reader = store.database.read().await.unwrap();
    assert_eq!(pragma(&mut reader, "SELECT workspace FROM outbox").await, "acme");
    assert_eq!(pragma(&mut reader, "SELECT workspace FROM delivery").await, "acme");
}
