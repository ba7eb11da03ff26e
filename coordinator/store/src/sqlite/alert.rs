//! Who is told and when nobody is: `policy` and `silence`, parts of the configuration.

use model::{PolicyId, SilenceId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::decode;
use super::encode::bigint;
use super::failure::{failure, failure_or_duplicate};
use crate::{Error, PolicyRow, SilenceRow};

const POLICIES: &str =
    "SELECT id, workspace, name, definition, revision, created_at, updated_at FROM policy ORDER BY id";
const SILENCES: &str = "SELECT id, workspace, definition, created_at, expires_at FROM silence ORDER BY id";
const PUT_POLICY: &str = "INSERT INTO policy (id, workspace, name, definition, revision, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, \
    name = excluded.name, definition = excluded.definition, revision = excluded.revision, \
    created_at = excluded.created_at, updated_at = excluded.updated_at";
const DELETE_POLICY: &str = "DELETE FROM policy WHERE id = $1";
const DELETE_EXPIRED: &str = "DELETE FROM silence WHERE expires_at <= $1";
const PUT_SILENCE: &str = "INSERT INTO silence (id, workspace, definition, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, \
    definition = excluded.definition, created_at = excluded.created_at, expires_at = excluded.expires_at";
const DELETE_SILENCE: &str = "DELETE FROM silence WHERE id = $1";

pub(super) async fn policies(connection: &mut AnyConnection) -> Result<Vec<PolicyRow>, Error> {
    let rows = sqlx::query(POLICIES).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(policy_row).collect()
}

pub(super) async fn silences(connection: &mut AnyConnection) -> Result<Vec<SilenceRow>, Error> {
    let rows = sqlx::query(SILENCES).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(silence_row).collect()
}

pub(super) async fn put_policy(connection: &mut AnyConnection, row: &PolicyRow) -> Result<(), Error> {
    sqlx::query(PUT_POLICY)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.definition.as_str())
        .bind(bigint(row.revision))
        .bind(row.created_at.as_micros())
        .bind(row.updated_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

pub(super) async fn delete_policy(connection: &mut AnyConnection, id: PolicyId) -> Result<(), Error> {
    let done = sqlx::query(DELETE_POLICY).bind(id.to_string()).execute(connection).await;
    done.map(|_| ()).map_err(failure)
}

/// Puts a silence and clears away those that were over when it was made.
pub(super) async fn put_silence(connection: &mut AnyConnection, row: &SilenceRow) -> Result<(), Error> {
    let cleared =
        sqlx::query(DELETE_EXPIRED).bind(row.created_at.as_micros()).execute(&mut *connection).await;
    cleared.map_err(failure)?;
    let put = sqlx::query(PUT_SILENCE)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.definition.as_str())
        .bind(row.created_at.as_micros())
        .bind(row.expires_at.as_micros())
        .execute(connection)
        .await;
    put.map(|_| ()).map_err(failure)
}

pub(super) async fn delete_silence(connection: &mut AnyConnection, id: SilenceId) -> Result<(), Error> {
    let done = sqlx::query(DELETE_SILENCE).bind(id.to_string()).execute(connection).await;
    done.map(|_| ()).map_err(failure)
}

fn policy_row(row: &AnyRow) -> Result<PolicyRow, Error> {
    Ok(PolicyRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        definition: decode::text(row, "definition")?,
        revision: decode::number(row, "revision")?,
        created_at: decode::instant(row, "created_at")?,
        updated_at: decode::instant(row, "updated_at")?,
    })
}

fn silence_row(row: &AnyRow) -> Result<SilenceRow, Error> {
    Ok(SilenceRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        definition: decode::text(row, "definition")?,
        created_at: decode::instant(row, "created_at")?,
        expires_at: decode::instant(row, "expires_at")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[POLICIES, SILENCES, PUT_POLICY, DELETE_POLICY, DELETE_EXPIRED, PUT_SILENCE, DELETE_SILENCE];
