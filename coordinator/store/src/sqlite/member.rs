//! What grouped incidents cover: `incident_member`.

use model::{IncidentId, SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Text};
use super::failure::failure;
use crate::{Error, MemberRow};

const PUT: &str = concat!(
    "INSERT INTO incident_member (incident, joined_at, subject, name, cause, left_at) \
     SELECT incident, joined_at, subject, name, cause, left_at FROM ",
    batch!(incident text, joined_at bigint, subject text, name text, cause text, left_at bigint),
    " WHERE true ON CONFLICT (incident, joined_at, subject) DO UPDATE SET name = excluded.name, \
     cause = excluded.cause, left_at = excluded.left_at"
);

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT incident, joined_at, subject, name, cause, left_at FROM incident_member ", $rest)
    };
}
const FIRST: &str = select!("WHERE incident = $1 ORDER BY joined_at, subject LIMIT $2");
const ALL_PRESENT: &str = select!("WHERE left_at IS NULL ORDER BY incident, joined_at, subject");
const COUNT: &str = "SELECT COUNT(*) AS total FROM incident_member WHERE incident = $1";

/// Adds members and replaces those that are known.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[MemberRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| MemberItem {
        incident: Text(row.incident),
        joined_at: row.joined_at,
        subject: Text(row.subject),
        name: &row.name,
        cause: &row.cause,
        left_at: row.left_at,
    }));
    sqlx::query(PUT).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Every member that has not left, by incident, those that joined first first.
pub(super) async fn all_present(connection: &mut AnyConnection) -> Result<Vec<MemberRow>, Error> {
    let rows = sqlx::query(ALL_PRESENT).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(member_row).collect()
}

/// See [`crate::Store::members`].
pub(super) async fn of_incident(
    database: &Database,
    incident: IncidentId,
    limit: u32,
) -> Result<(Vec<MemberRow>, u64), Error> {
    let mut transaction = database.read().await?;
    let incident = incident.to_string();
    let total =
        sqlx::query(COUNT).bind(incident.as_str()).fetch_one(&mut *transaction).await.map_err(failure)?;
    let rows = sqlx::query(FIRST)
        .bind(incident)
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failure)?;
    let members = rows.iter().map(member_row).collect::<Result<_, _>>()?;
    Ok((members, decode::number(&total, "total")?))
}

#[derive(Serialize)]
struct MemberItem<'a> {
    incident: Text<IncidentId>,
    joined_at: Timestamp,
    subject: Text<SubjectId>,
    name: &'a str,
    cause: &'a str,
    left_at: Option<Timestamp>,
}

fn member_row(row: &AnyRow) -> Result<MemberRow, Error> {
    Ok(MemberRow {
        incident: decode::parsed(row, "incident")?,
        subject: decode::subject(row, "subject")?,
        name: decode::text(row, "name")?,
        cause: decode::text(row, "cause")?,
        joined_at: decode::instant(row, "joined_at")?,
        left_at: decode::optional_instant(row, "left_at")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PUT, FIRST, ALL_PRESENT, COUNT];
