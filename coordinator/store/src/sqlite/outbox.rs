//! What is to be told: `outbox`.

use model::{EventId, IncidentId, SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Text};
use super::failure::failure;
use crate::records::DEFAULT_WORKSPACE;
use crate::{Error, EventRow};

/// The tenant is the incident's, which was written before in the same commit.
const ADD: &str = concat!(
    "INSERT INTO outbox (id, workspace, incident, subject, transition, at, body, channels, dispatched) \
     SELECT id, COALESCE((SELECT workspace FROM incident WHERE incident.id = batch.incident), $2), \
     incident, subject, transition, at, body, channels, 0 FROM ",
    batch!(id text, incident text, subject text, transition bigint, at bigint, body text, channels text),
    " WHERE true ON CONFLICT (id) DO NOTHING"
);
const MARK_DISPATCHED: &str =
    concat!("UPDATE outbox SET dispatched = 1 WHERE id IN (SELECT id FROM ", batch!(id text), ")");
const ONE: &str = "SELECT id, incident, subject, transition, at, body, channels FROM outbox WHERE id = $1";
const UNDISPATCHED: &str = "SELECT id, incident, subject, transition, at, body, channels FROM outbox \
    WHERE dispatched = 0 ORDER BY at, incident, transition";

/// Adds the events that are not there yet.
pub(super) async fn add(connection: &mut AnyConnection, rows: &[EventRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| EventItem {
        id: Text(row.id),
        incident: Text(row.incident),
        subject: Text(row.subject),
        transition: row.transition,
        at: row.at,
        body: &row.body,
        channels: serde_json::to_string(&row.channels).expect("ids are text in JSON"),
    }));
    let added = sqlx::query(ADD).bind(items).bind(DEFAULT_WORKSPACE).execute(connection).await;
    added.map(|_| ()).map_err(failure)
}

pub(super) async fn mark_dispatched(connection: &mut AnyConnection, events: &[EventId]) -> Result<(), Error> {
    let marked = sqlx::query(MARK_DISPATCHED).bind(encode::ids(events)).execute(connection).await;
    marked.map(|_| ()).map_err(failure)
}

/// Events without all their deliveries, oldest first.
pub(super) async fn undispatched(connection: &mut AnyConnection) -> Result<Vec<EventRow>, Error> {
    let rows = sqlx::query(UNDISPATCHED).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(event_row).collect()
}

pub(super) async fn event(database: &Database, id: EventId) -> Result<Option<EventRow>, Error> {
    let row = sqlx::query(ONE).bind(id.to_string()).fetch_optional(database.readers()).await;
    row.map_err(failure)?.as_ref().map(event_row).transpose()
}

#[derive(Serialize)]
struct EventItem<'a> {
    id: Text<EventId>,
    incident: Text<IncidentId>,
    subject: Text<SubjectId>,
    transition: u32,
    at: Timestamp,
    body: &'a str,
    channels: String,
}

fn event_row(row: &AnyRow) -> Result<EventRow, Error> {
    Ok(EventRow {
        id: decode::parsed(row, "id")?,
        incident: decode::parsed(row, "incident")?,
        subject: decode::subject(row, "subject")?,
        transition: decode::number(row, "transition")?,
        at: decode::instant(row, "at")?,
        body: decode::text(row, "body")?,
        channels: decode::json(row, "channels")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[ADD, MARK_DISPATCHED, ONE, UNDISPATCHED];
