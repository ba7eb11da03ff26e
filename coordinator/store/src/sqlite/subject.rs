//! Monitors and heartbeats and their states: `subject` and `subject_state`.

use model::{SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::decode;
use super::dialect::batch;
use super::encode::{self, Text, bigint};
use super::failure::{failure, failure_or_duplicate};
use crate::{Error, StateRow, SubjectRow};

const PUT: &str = concat!(
    "INSERT INTO subject (id, workspace, kind, name, definition, revision, created_at, updated_at) \
     SELECT id, workspace, kind, name, definition, revision, created_at, updated_at FROM ",
    batch!(id text, workspace text, kind text, name text, definition text, revision bigint, created_at bigint,
        updated_at bigint),
    " WHERE true ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, name = excluded.name, \
     definition = excluded.definition, revision = excluded.revision, created_at = excluded.created_at, \
     updated_at = excluded.updated_at"
);
const DELETE: &str = concat!("DELETE FROM subject WHERE id IN (SELECT id FROM ", batch!(id text), ")");
const LIST: &str = "SELECT id, workspace, name, definition, revision, created_at, updated_at FROM subject";

const PUT_STATES: &str = concat!(
    "INSERT INTO subject_state (subject, position, state) SELECT subject, position, state FROM ",
    batch!(subject text, position bigint, state text),
    " WHERE true ON CONFLICT (subject) DO UPDATE SET position = excluded.position, state = excluded.state"
);
const DELETE_STATES: &str =
    concat!("DELETE FROM subject_state WHERE subject IN (SELECT id FROM ", batch!(id text), ")");
const LIST_STATES: &str = "SELECT subject, position, state FROM subject_state";

/// Creates or replaces.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[&SubjectRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| SubjectItem {
        id: Text(row.id),
        workspace: &row.workspace,
        kind: row.kind().as_str(),
        name: &row.name,
        definition: &row.definition,
        revision: bigint(row.revision),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }));
    sqlx::query(PUT)
        .bind(items)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || SubjectRow::taken(rows)))
}

/// Deletes subjects with their states.
pub(super) async fn delete(connection: &mut AnyConnection, subjects: &[SubjectId]) -> Result<(), Error> {
    let ids = encode::ids(subjects);
    sqlx::query(DELETE).bind(ids.as_str()).execute(&mut *connection).await.map_err(failure)?;
    sqlx::query(DELETE_STATES).bind(ids).execute(connection).await.map_err(failure)?;
    Ok(())
}

/// Creates or replaces states.
pub(super) async fn put_states(connection: &mut AnyConnection, rows: &[&StateRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| StateItem {
        subject: Text(row.subject),
        position: bigint(row.position),
        state: &row.state,
    }));
    sqlx::query(PUT_STATES).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Every subject, in order of ids.
pub(super) async fn list(connection: &mut AnyConnection) -> Result<Vec<SubjectRow>, Error> {
    let rows = sqlx::query(LIST).fetch_all(connection).await.map_err(failure)?;
    let mut subjects = rows.iter().map(subject_row).collect::<Result<Vec<_>, _>>()?;
    subjects.sort_unstable_by_key(|subject| subject.id);
    Ok(subjects)
}

/// Every state, in order of subjects.
pub(super) async fn list_states(connection: &mut AnyConnection) -> Result<Vec<StateRow>, Error> {
    let rows = sqlx::query(LIST_STATES).fetch_all(connection).await.map_err(failure)?;
    let mut states = rows.iter().map(state_row).collect::<Result<Vec<_>, _>>()?;
    states.sort_unstable_by_key(|state| state.subject);
    Ok(states)
}

#[derive(Serialize)]
struct SubjectItem<'a> {
    id: Text<SubjectId>,
    workspace: &'a str,
    kind: &'static str,
    name: &'a str,
    definition: &'a str,
    revision: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct StateItem<'a> {
    subject: Text<SubjectId>,
    position: i64,
    state: &'a str,
}

fn subject_row(row: &AnyRow) -> Result<SubjectRow, Error> {
    Ok(SubjectRow {
        id: decode::subject(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        definition: decode::text(row, "definition")?,
        revision: decode::number(row, "revision")?,
        created_at: decode::instant(row, "created_at")?,
        updated_at: decode::instant(row, "updated_at")?,
    })
}

fn state_row(row: &AnyRow) -> Result<StateRow, Error> {
    Ok(StateRow {
        subject: decode::subject(row, "subject")?,
        position: decode::number(row, "position")?,
        state: decode::text(row, "state")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PUT, DELETE, LIST, PUT_STATES, DELETE_STATES, LIST_STATES];
