//! What was heard and how far it is folded: `journal`, `snapshot`, `agent_seen` and the start of replay in `meta`.

use model::{AgentId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Hex, Text, bigint};
use super::failure::{failure, failure_or_duplicate};
use super::lease::shard;
use crate::{AgentSeen, Error, JournalQuery, JournalRow, Position, SnapshotRow, TRIMMED_PER_COMMIT};

const APPEND: &str = "INSERT INTO journal (position, at, records) VALUES ($1, $2, $3)";
const AFTER: &str =
    "SELECT position, at, records FROM journal WHERE position > $1 ORDER BY position LIMIT $2";
/// Instants rise with positions as long as no clock is set back, so the last row before the instant ends the scan.
const PAGE: &str = "SELECT position, at, records FROM journal \
    WHERE position < $1 AND at >= $2 AND position > COALESCE(\
    (SELECT position FROM journal WHERE at < $2 ORDER BY at DESC, position DESC LIMIT 1), -1) \
    ORDER BY position DESC LIMIT $3";
const LAST: &str = "SELECT MAX(position) AS position FROM journal";
/// What replay needs stays, however old it is.
const TRIM: &str = "DELETE FROM journal WHERE position IN (SELECT position FROM journal \
    WHERE at < $1 AND position <= (SELECT replay_from FROM meta) ORDER BY at, position LIMIT $2)";

const REPLAY_FROM: &str = "SELECT replay_from FROM meta";
const SET_REPLAY_FROM: &str = "UPDATE meta SET replay_from = $1";

const PUT_SNAPSHOTS: &str = concat!(
    "INSERT INTO snapshot (shard, position, version, body) SELECT shard, position, version, body FROM ",
    batch!(shard bigint, position bigint, version bigint, body blob),
    " WHERE true ON CONFLICT (shard) DO UPDATE SET position = excluded.position, version = excluded.version, \
     body = excluded.body"
);
const LIST_SNAPSHOTS: &str = "SELECT shard, position, version, body FROM snapshot ORDER BY shard";

const PUT_AGENTS_SEEN: &str = concat!(
    "INSERT INTO agent_seen (agent, epoch, position, ranges) SELECT agent, epoch, position, ranges FROM ",
    batch!(agent text, epoch bigint, position bigint, ranges text),
    " WHERE true ON CONFLICT (agent, epoch) DO UPDATE SET position = excluded.position, ranges = excluded.ranges"
);
/// Only a newer process's numbers are ever asked for.
const FORGET_OLDER_EPOCHS: &str = "DELETE FROM agent_seen WHERE epoch < \
    (SELECT MAX(epoch) FROM agent_seen AS newest WHERE newest.agent = agent_seen.agent)";
const LIST_AGENTS_SEEN: &str = "SELECT agent, epoch, position, ranges FROM agent_seen ORDER BY agent, epoch";

/// Appends a commit's row.
pub(super) async fn append(connection: &mut AnyConnection, row: &JournalRow) -> Result<(), Error> {
    sqlx::query(APPEND)
        .bind(bigint(row.position))
        .bind(row.at.as_micros())
        .bind(row.blob.as_slice())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

/// Deletes a bounded number of rows that are older and not needed for replay.
pub(super) async fn trim(connection: &mut AnyConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query(TRIM)
        .bind(before.as_micros())
        .bind(i64::from(TRIMMED_PER_COMMIT))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(failure)
}

pub(super) async fn set_replay_from(connection: &mut AnyConnection, position: Position) -> Result<(), Error> {
    sqlx::query(SET_REPLAY_FROM).bind(bigint(position)).execute(connection).await.map(|_| ()).map_err(failure)
}

pub(super) async fn put_snapshots(connection: &mut AnyConnection, rows: &[SnapshotRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| SnapshotItem {
        shard: row.shard.number(),
        position: bigint(row.position),
        version: row.version,
        body: Hex(&row.body),
    }));
    sqlx::query(PUT_SNAPSHOTS).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Replaces what was seen of agents and keeps the newest epoch of each.
pub(super) async fn put_agents_seen(connection: &mut AnyConnection, rows: &[AgentSeen]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| SeenItem {
        agent: Text(row.agent),
        epoch: bigint(row.epoch),
        position: bigint(row.position),
        ranges: &row.ranges,
    }));
    sqlx::query(PUT_AGENTS_SEEN).bind(items).execute(&mut *connection).await.map_err(failure)?;
    sqlx::query(FORGET_OLDER_EPOCHS).execute(connection).await.map(|_| ()).map_err(failure)
}

pub(super) async fn after(
    database: &Database,
    after: Position,
    limit: u32,
) -> Result<Vec<JournalRow>, Error> {
    let rows = sqlx::query(AFTER)
        .bind(bigint(after))
        .bind(i64::from(limit))
        .fetch_all(database.readers())
        .await
        .map_err(failure)?;
    rows.iter().map(journal_row).collect()
}

pub(super) async fn page(database: &Database, query: JournalQuery) -> Result<Vec<JournalRow>, Error> {
    let rows = sqlx::query(PAGE)
        .bind(query.before.map_or(i64::MAX, bigint))
        .bind(query.not_before.as_micros())
        .bind(i64::from(query.limit))
        .fetch_all(database.readers())
        .await
        .map_err(failure)?;
    rows.iter().map(journal_row).collect()
}

/// Where replay begins and the greatest position in the journal.
pub(super) async fn ends(connection: &mut AnyConnection) -> Result<(Position, Position), Error> {
    let row = sqlx::query(REPLAY_FROM).fetch_one(&mut *connection).await.map_err(failure)?;
    let replay_from = decode::number(&row, "replay_from")?;
    let row = sqlx::query(LAST).fetch_one(connection).await.map_err(failure)?;
    let last: Option<Position> = decode::optional_number(&row, "position")?;
    Ok((replay_from, last.unwrap_or(0)))
}

/// Every snapshot, in order of shards.
pub(super) async fn list_snapshots(connection: &mut AnyConnection) -> Result<Vec<SnapshotRow>, Error> {
    let rows = sqlx::query(LIST_SNAPSHOTS).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(snapshot_row).collect()
}

/// The newest epoch of every agent, in order.
pub(super) async fn list_agents_seen(connection: &mut AnyConnection) -> Result<Vec<AgentSeen>, Error> {
    let rows = sqlx::query(LIST_AGENTS_SEEN).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(seen_row).collect()
}

#[derive(Serialize)]
struct SnapshotItem<'a> {
    shard: u16,
    position: i64,
    version: u32,
    body: Hex<'a>,
}

#[derive(Serialize)]
struct SeenItem<'a> {
    agent: Text<AgentId>,
    epoch: i64,
    position: i64,
    ranges: &'a str,
}

fn journal_row(row: &AnyRow) -> Result<JournalRow, Error> {
    Ok(JournalRow {
        position: decode::number(row, "position")?,
        at: decode::instant(row, "at")?,
        blob: decode::blob(row, "records")?,
    })
}

fn snapshot_row(row: &AnyRow) -> Result<SnapshotRow, Error> {
    Ok(SnapshotRow {
        shard: shard(row, "shard")?,
        position: decode::number(row, "position")?,
        version: decode::number(row, "version")?,
        body: decode::blob(row, "body")?,
    })
}

fn seen_row(row: &AnyRow) -> Result<AgentSeen, Error> {
    Ok(AgentSeen {
        agent: decode::parsed(row, "agent")?,
        epoch: decode::number(row, "epoch")?,
        position: decode::number(row, "position")?,
        ranges: decode::text(row, "ranges")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    APPEND,
    AFTER,
    PAGE,
    LAST,
    TRIM,
    REPLAY_FROM,
    SET_REPLAY_FROM,
    PUT_SNAPSHOTS,
    LIST_SNAPSHOTS,
    PUT_AGENTS_SEEN,
    FORGET_OLDER_EPOCHS,
    LIST_AGENTS_SEEN,
];
