//! Brings a database to the present form, in one transaction.
//!
//! A migration that was released never changes: its checksum is kept with its number, and a database that was made by
//! another text of the same number is refused.

use std::collections::BTreeSet;

use model::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::AnyConnection;

use super::decode;
use super::encode::Hex;
use super::failure::failure;
use crate::Error;

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: u32,
    /// Its file.
    pub name: &'static str,
}

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// In order of numbers. A released one never changes; a new one is added at the end.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_initial.sql",
        sql: include_str!("../../migrations/sqlite/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "0002_maintenance.sql",
        sql: include_str!("../../migrations/sqlite/0002_maintenance.sql"),
    },
    Migration {
        version: 3,
        name: "0003_incident_member.sql",
        sql: include_str!("../../migrations/sqlite/0003_incident_member.sql"),
    },
    Migration {
        version: 4,
        name: "0004_incident_capture.sql",
        sql: include_str!("../../migrations/sqlite/0004_incident_capture.sql"),
    },
    Migration {
        version: 5,
        name: "0005_agent_join.sql",
        sql: include_str!("../../migrations/sqlite/0005_agent_join.sql"),
    },
    Migration {
        version: 6,
        name: "0006_heartbeat_run.sql",
        sql: include_str!("../../migrations/sqlite/0006_heartbeat_run.sql"),
    },
    Migration {
        version: 7,
        name: "0007_alerts.sql",
        sql: include_str!("../../migrations/sqlite/0007_alerts.sql"),
    },
    Migration {
        version: 8,
        name: "0008_delivery.sql",
        sql: include_str!("../../migrations/sqlite/0008_delivery.sql"),
    },
];

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migration \
    (version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)";
const LIST: &str = "SELECT version, name, checksum FROM schema_migration ORDER BY version";
const RECORD: &str =
    "INSERT INTO schema_migration (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";

/// Applies what is missing and says what that was. The caller begins and commits the transaction.
pub(super) async fn run(connection: &mut AnyConnection, now: Timestamp) -> Result<Vec<Applied>, Error> {
    sqlx::query(CREATE).execute(&mut *connection).await.map_err(failure)?;
    let rows = sqlx::query(LIST).fetch_all(&mut *connection).await.map_err(failure)?;
    let mut known = BTreeSet::new();
    for row in &rows {
        let version = decode::number(row, "version")?;
        compare(version, &decode::text(row, "name")?, &decode::text(row, "checksum")?)?;
        known.insert(version);
    }
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| !known.contains(&migration.version)) {
        sqlx::raw_sql(migration.sql).execute(&mut *connection).await.map_err(failure)?;
        sqlx::query(RECORD)
            .bind(i64::from(migration.version))
            .bind(migration.name)
            .bind(checksum(migration.sql))
            .bind(now.as_micros())
            .execute(&mut *connection)
            .await
            .map_err(failure)?;
        applied.push(Applied { version: migration.version, name: migration.name });
    }
    Ok(applied)
}

/// Whether what was applied under a number is what we know under it.
fn compare(version: u32, name: &str, found: &str) -> Result<(), Error> {
    match MIGRATIONS.iter().find(|migration| migration.version == version) {
        None => Err(Error::Corrupt(format!("migration {name} is of a newer version of Vigilmon"))),
        Some(known) if checksum(known.sql) != found => Err(Error::Corrupt(format!(
            "migration {name} was applied with another text than {} has",
            known.name
        ))),
        Some(_) => Ok(()),
    }
}

fn checksum(sql: &str) -> String {
    Hex(&Sha256::digest(sql)).to_string()
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[LIST, RECORD];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_migrations_never_change() {
        let found: Vec<_> = MIGRATIONS.iter().map(|known| (known.name, checksum(known.sql))).collect();
        assert_eq!(
            found,
            [
                ("0001_initial.sql", "be4c5469439580db138be80d3b59398e12c881640142b0e259f0474d0deb736d"),
                ("0002_maintenance.sql", "ea0ddcd6cd99db42c31f802ba66f553e9cd6329925ce789ba925cab6cf1cf0c2"),
                (
                    "0003_incident_member.sql",
                    "85fe6d7ebf2a187fabf884783e1b9d2475a72bc1cfcc48e7e3677af395a4ac9c"
                ),
                (
                    "0004_incident_capture.sql",
                    "ca44ee50c06c0e0b820f3d72b7266081c6834b06c5dbaadc92117afc2364a609"
                ),
                ("0005_agent_join.sql", "31dbe08ea7fb691e759111b4b38e98e2bf2779125685681abfb222cec63961a2"),
                (
                    "0006_heartbeat_run.sql",
                    "2df8c653b6e0f9e5116a9f657614c0dd7c085da339223fab6104b8cd7b802952"
                ),
                ("0007_alerts.sql", "f4539e100f7de709e00fca0bbad0ae7c60f76e4e0e85e774cf06088eafb20e00"),
                ("0008_delivery.sql", "40485968a4ff1033a7535a43f2619da078eca2f148eb1c8af581d6b14e9d05f3"),
            ]
            .map(|(name, checksum)| (name, checksum.to_owned()))
        );
    }

    #[test]
    fn migrations_are_applied_in_order_of_their_numbers() {
        assert!(MIGRATIONS.is_sorted_by(|one, next| one.version < next.version));
        for Migration { version, name, .. } in MIGRATIONS {
            assert!(name.starts_with(&format!("{version:04}_")), "{name}");
        }
    }

    #[test]
    fn a_changed_text_and_an_unknown_number_are_refused_by_name() {
        let changed = compare(1, "0001_initial.sql", "00").unwrap_err();
        assert!(matches!(&changed, Error::Corrupt(text) if text.contains("0001_initial.sql")), "{changed}");
        let newer = compare(9_999, "9999_future.sql", "00").unwrap_err();
        assert!(matches!(&newer, Error::Corrupt(text) if text.contains("9999_future.sql")), "{newer}");
    }
}
