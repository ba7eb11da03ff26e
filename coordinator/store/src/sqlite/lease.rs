//! Who may write: `meta`, `coordinator` and `shard`.

use std::time::Duration;

use model::{InstallationId, Shard, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::{batch, database_clock};
use super::encode::{self, bigint, micros};
use super::failure::failure;
use crate::{Commit, Error, Lease};

const INSTALL: &str = "INSERT INTO meta (id, installation, config_revision, replay_from, created_at) \
    VALUES (1, $1, 0, 0, $2) ON CONFLICT (id) DO NOTHING";
const INSTALLATION: &str = "SELECT installation FROM meta";

/// `alive_at` stays: a process that dies before its first commit must not hide how long nobody was there.
const CLAIM: &str = concat!(
    "INSERT INTO coordinator (id, generation, claimed_at, alive_at, expires_at) VALUES ($1, 1, $2, NULL, ",
    database_clock!(),
    " + $3) ON CONFLICT (id) DO UPDATE SET generation = coordinator.generation + 1, \
     claimed_at = excluded.claimed_at, expires_at = excluded.expires_at RETURNING generation, alive_at"
);
const TAKE_SHARDS: &str =
    "UPDATE shard SET owner = $1, generation = $2, epoch = epoch + 1 RETURNING id, epoch";

const RENEW: &str = concat!(
    "UPDATE coordinator SET alive_at = $3, expires_at = ",
    database_clock!(),
    " + $4 WHERE id = $1 AND generation = $2"
);
const LOST_SHARDS: &str = concat!(
    "SELECT batch.id FROM ",
    batch!(id bigint, epoch bigint),
    " JOIN shard ON shard.id = batch.id WHERE shard.epoch <> batch.epoch ORDER BY batch.id"
);

/// The installation's id; `fresh` becomes it if there is none.
pub(super) async fn installation(
    connection: &mut AnyConnection,
    fresh: InstallationId,
    now: Timestamp,
) -> Result<InstallationId, Error> {
    sqlx::query(INSTALL)
        .bind(fresh.to_string())
        .bind(now.as_micros())
        .execute(&mut *connection)
        .await
        .map_err(failure)?;
    let row = sqlx::query(INSTALLATION).fetch_one(connection).await.map_err(failure)?;
    decode::parsed(&row, "installation")
}

/// Takes everything; see [`crate::Store::claim`].
pub(super) async fn claim(
    database: &Database,
    coordinator: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Lease, Error> {
    let mut transaction = database.write().await?;
    let row = sqlx::query(CLAIM)
        .bind(coordinator)
        .bind(now.as_micros())
        .bind(micros(ttl))
        .fetch_one(transaction.connection())
        .await
        .map_err(failure)?;
    let generation: u64 = decode::number(&row, "generation")?;
    let shards = sqlx::query(TAKE_SHARDS)
        .bind(coordinator)
        .bind(bigint(generation))
        .fetch_all(transaction.connection())
        .await
        .map_err(failure)?;
    let mut epochs = Vec::with_capacity(shards.len());
    for row in &shards {
        epochs.push((shard(row, "id")?, decode::number(row, "epoch")?));
    }
    epochs.sort_unstable();
    transaction.commit().await?;
    Ok(Lease {
        coordinator: coordinator.to_owned(),
        generation,
        epochs,
        previous_alive_at: decode::optional_instant(&row, "alive_at")?,
        ttl,
    })
}

/// Renews the lease of a commit, or says why it may not write.
pub(super) async fn fence(
    connection: &mut AnyConnection,
    commit: &Commit,
    ttl: Duration,
) -> Result<(), Error> {
    let renewed = sqlx::query(RENEW)
        .bind(commit.coordinator.as_str())
        .bind(bigint(commit.generation))
        .bind(commit.now.as_micros())
        .bind(micros(ttl))
        .execute(&mut *connection)
        .await
        .map_err(failure)?;
    if renewed.rows_affected() == 0 {
        return Err(Error::Fenced);
    }
    if commit.epochs.is_empty() {
        return Ok(());
    }
    let held = encode::batch(
        commit.epochs.iter().map(|&(shard, epoch)| HeldItem { id: shard.number(), epoch: bigint(epoch) }),
    );
    let lost = sqlx::query(LOST_SHARDS).bind(held).fetch_all(connection).await.map_err(failure)?;
    if lost.is_empty() {
        return Ok(());
    }
    Err(Error::ShardsLost(lost.iter().map(|row| shard(row, "id")).collect::<Result<_, _>>()?))
}

/// The number of a shard.
pub(super) fn shard(row: &AnyRow, column: &str) -> Result<Shard, Error> {
    let number = decode::number(row, column)?;
    Shard::new(number).ok_or_else(|| Error::Corrupt(format!("`{column}`: there is no shard {number}")))
}

#[derive(Serialize)]
struct HeldItem {
    id: u16,
    epoch: i64,
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[INSTALL, INSTALLATION, CLAIM, TAKE_SHARDS, RENEW, LOST_SHARDS];
