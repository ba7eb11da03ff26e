//! What heartbeats' jobs did: `heartbeat_run`.

use model::{HeartbeatId, RunId, SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Hex, Text};
use super::failure::failure;
use crate::{Error, KEPT_RUNS, RunQuery, RunRow, TRIMMED_RUNS_PER_COMMIT};

const PUT: &str = concat!(
    "INSERT INTO heartbeat_run (heartbeat, at, run, ended_at, body, log) \
     SELECT heartbeat, at, run, ended_at, body, log FROM ",
    batch!(heartbeat text, at bigint, run text, ended_at bigint, body text, log blob),
    " WHERE true ON CONFLICT (heartbeat, at, run) DO UPDATE SET ended_at = excluded.ended_at, \
     body = excluded.body, log = CASE WHEN length(excluded.log) = 0 THEN heartbeat_run.log ELSE excluded.log END"
);
const DELETE: &str =
    concat!("DELETE FROM heartbeat_run WHERE heartbeat IN (SELECT id FROM ", batch!(id text), ")");
const PAGE: &str = "SELECT heartbeat, at, run, ended_at, body, log FROM heartbeat_run \
    WHERE heartbeat = $1 AND at >= $2 AND (at, run) < ($3, $4) AND ($5 = '' OR run = $5) \
    ORDER BY at DESC, run DESC LIMIT $6";
const TRIM_BEFORE: &str = "DELETE FROM heartbeat_run WHERE (heartbeat, at, run) IN \
    (SELECT heartbeat, at, run FROM heartbeat_run WHERE at < $1 ORDER BY at, heartbeat, run LIMIT $2)";
const TRIM_BEYOND: &str = concat!(
    "DELETE FROM heartbeat_run WHERE (heartbeat, at, run) IN (SELECT heartbeat, at, run FROM \
     (SELECT heartbeat, at, run, row_number() OVER (PARTITION BY heartbeat ORDER BY at DESC, run DESC) AS place \
     FROM heartbeat_run WHERE heartbeat IN (SELECT id FROM ",
    batch!(id text),
    ")) AS placed WHERE place > $2)"
);

/// Adds runs, or what became of them.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[&RunRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| RunItem {
        heartbeat: Text(row.heartbeat),
        at: row.at,
        run: run_to_text(row.run),
        ended_at: row.ended_at,
        body: &row.body,
        log: Hex(&row.log),
    }));
    sqlx::query(PUT).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Deletes the runs of subjects that are deleted.
pub(super) async fn delete(connection: &mut AnyConnection, subjects: &[SubjectId]) -> Result<(), Error> {
    sqlx::query(DELETE).bind(encode::ids(subjects)).execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Commit::trim_runs_before`].
pub(super) async fn trim_before(connection: &mut AnyConnection, before: Timestamp) -> Result<(), Error> {
    let trimmed = sqlx::query(TRIM_BEFORE).bind(before.as_micros()).bind(i64::from(TRIMMED_RUNS_PER_COMMIT));
    trimmed.execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Commit::trim_runs_of`].
pub(super) async fn trim_beyond(connection: &mut AnyConnection, of: &[HeartbeatId]) -> Result<(), Error> {
    let trimmed = sqlx::query(TRIM_BEYOND).bind(encode::ids(of)).bind(i64::from(KEPT_RUNS));
    trimmed.execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Store::runs`].
pub(super) async fn page(database: &Database, query: &RunQuery) -> Result<Vec<RunRow>, Error> {
    let (at, run) = match query.after {
        Some((at, run)) => (at.as_micros(), run_to_text(run)),
        None => (i64::MAX, String::new()),
    };
    let rows = sqlx::query(PAGE)
        .bind(query.heartbeat.to_string())
        .bind(query.since.as_micros())
        .bind(at)
        .bind(run)
        .bind(run_to_text(query.run))
        .bind(i64::from(query.limit))
        .fetch_all(database.readers())
        .await
        .map_err(failure)?;
    rows.iter().map(run_row).collect()
}

/// Nothing where the job gives no ids.
fn run_to_text(run: Option<RunId>) -> String {
    run.map(|run| run.to_string()).unwrap_or_default()
}

#[derive(Serialize)]
struct RunItem<'a> {
    heartbeat: Text<HeartbeatId>,
    at: Timestamp,
    run: String,
    ended_at: Option<Timestamp>,
    body: &'a str,
    log: Hex<'a>,
}

fn run_row(row: &AnyRow) -> Result<RunRow, Error> {
    let has_id = !decode::text(row, "run")?.is_empty();
    Ok(RunRow {
        heartbeat: decode::parsed(row, "heartbeat")?,
        at: decode::instant(row, "at")?,
        run: has_id.then(|| decode::parsed(row, "run")).transpose()?,
        ended_at: decode::optional_instant(row, "ended_at")?,
        body: decode::text(row, "body")?,
        log: decode::blob(row, "log")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PUT, DELETE, PAGE, TRIM_BEFORE, TRIM_BEYOND];
