//! What is to be told and to whom: `outbox`, `delivery` and `attempt`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ChannelId, DeliveryId, EventId, IncidentId, SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Hex, Text, micros};
use super::failure::failure;
use crate::records::DEFAULT_WORKSPACE;
use crate::{AttemptRow, AttemptedDelivery, DeliveryRow, DeliveryState, Error, EventRow};

/// The tenant is the incident's, which was written before in the same commit.
const ADD_EVENTS: &str = concat!(
    "INSERT INTO outbox (id, workspace, incident, subject, transition, at, body, channels, dispatched) \
     SELECT id, COALESCE((SELECT workspace FROM incident WHERE incident.id = batch.incident), $2), \
     incident, subject, transition, at, body, channels, 0 FROM ",
    batch!(id text, incident text, subject text, transition bigint, at bigint, body text, channels text),
    " WHERE true ON CONFLICT (id) DO NOTHING"
);
const MARK_DISPATCHED: &str =
    concat!("UPDATE outbox SET dispatched = 1 WHERE id IN (SELECT id FROM ", batch!(id text), ")");
const EVENT: &str = "SELECT id, incident, subject, transition, at, body, channels FROM outbox WHERE id = $1";
const UNDISPATCHED: &str = "SELECT id, incident, subject, transition, at, body, channels FROM outbox \
    WHERE dispatched = 0 ORDER BY at, incident, transition";

/// What has been claimed or ended stays so when its creation is repeated.
const PUT_DELIVERIES: &str = concat!(
    "INSERT INTO delivery (id, workspace, event, channel, incident, subject, transition, state, attempts, \
     next_attempt_at, created_at, finished_at, body) \
     SELECT id, COALESCE((SELECT workspace FROM incident WHERE incident.id = batch.incident), $2), \
     event, channel, incident, subject, transition, state, attempts, next_attempt_at, created_at, finished_at, body \
     FROM ",
    batch!(id text, event text, channel text, incident text, subject text, transition bigint, state text,
        attempts bigint, next_attempt_at bigint, created_at bigint, finished_at bigint, body blob),
    " WHERE true ON CONFLICT (id) DO UPDATE SET event = excluded.event, channel = excluded.channel, \
     incident = excluded.incident, subject = excluded.subject, transition = excluded.transition, \
     state = excluded.state, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at, \
     created_at = excluded.created_at, finished_at = excluded.finished_at, body = excluded.body \
     WHERE excluded.state <> 'waiting' OR excluded.body IS NOT NULL"
);
const ADD_ATTEMPTS: &str = concat!(
    "INSERT INTO attempt (delivery, number, started_at, duration, status, detail, answer) \
     SELECT delivery, number, started_at, duration, status, detail, answer FROM ",
    batch!(delivery text, number bigint, started_at bigint, duration bigint, status bigint, detail text,
        answer blob),
    " WHERE true ON CONFLICT (delivery, number) DO NOTHING"
);

macro_rules! select_deliveries {
    ($rest:literal) => {
        concat!(
            "SELECT id, event, channel, incident, subject, transition, state, attempts, next_attempt_at, \
             created_at, finished_at, body FROM delivery ",
            $rest,
            " ORDER BY created_at, transition, id"
        )
    };
}
const UNFINISHED: &str = select_deliveries!("WHERE state = 'waiting'");
const OF_INCIDENT: &str = select_deliveries!("WHERE incident = $1");
const ATTEMPTS_OF_INCIDENT: &str = "SELECT delivery, number, started_at, duration, status, detail, answer \
    FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE incident = $1) ORDER BY delivery, number";

/// Adds the events that are not there yet.
pub(super) async fn add_events(connection: &mut AnyConnection, rows: &[EventRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| EventItem {
        id: Text(row.id),
        incident: Text(row.incident),
        subject: Text(row.subject),
        transition: row.transition,
        at: row.at,
        body: &row.body,
        channels: serde_json::to_string(&row.channels).expect("ids are text in JSON"),
    }));
    execute(connection, ADD_EVENTS, items, Some(DEFAULT_WORKSPACE)).await
}

pub(super) async fn mark_dispatched(connection: &mut AnyConnection, events: &[EventId]) -> Result<(), Error> {
    execute(connection, MARK_DISPATCHED, encode::ids(events), None).await
}

/// Creates deliveries, and replaces them unless the row is a fresh one.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[DeliveryRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| DeliveryItem {
        id: Text(row.id),
        event: Text(row.event),
        channel: Text(row.channel),
        incident: Text(row.incident),
        subject: Text(row.subject),
        transition: row.transition,
        state: row.state,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        created_at: row.created_at,
        finished_at: row.finished_at,
        body: row.body.as_deref().map(Hex),
    }));
    execute(connection, PUT_DELIVERIES, items, Some(DEFAULT_WORKSPACE)).await
}

/// Adds the attempts that are not there yet.
pub(super) async fn add_attempts(connection: &mut AnyConnection, rows: &[AttemptRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| AttemptItem {
        delivery: Text(row.delivery),
        number: row.number,
        started_at: row.started_at,
        duration: micros(row.duration),
        status: row.status,
        detail: &row.detail,
        answer: Hex(&row.answer),
    }));
    execute(connection, ADD_ATTEMPTS, items, None).await
}

/// Events without all their deliveries, oldest first.
pub(super) async fn undispatched(connection: &mut AnyConnection) -> Result<Vec<EventRow>, Error> {
    let rows = sqlx::query(UNDISPATCHED).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(event_row).collect()
}

/// Deliveries still to be made, oldest first.
pub(super) async fn unfinished(connection: &mut AnyConnection) -> Result<Vec<DeliveryRow>, Error> {
    let rows = sqlx::query(UNFINISHED).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(delivery_row).collect()
}

pub(super) async fn event(database: &Database, id: EventId) -> Result<Option<EventRow>, Error> {
    let row = sqlx::query(EVENT).bind(id.to_string()).fetch_optional(database.readers()).await;
    row.map_err(failure)?.as_ref().map(event_row).transpose()
}

pub(super) async fn of_incident(
    database: &Database,
    incident: IncidentId,
) -> Result<Vec<AttemptedDelivery>, Error> {
    let mut transaction = database.read().await?;
    let incident = incident.to_string();
    let deliveries = sqlx::query(OF_INCIDENT)
        .bind(incident.as_str())
        .fetch_all(&mut *transaction)
        .await
        .map_err(failure)?;
    let attempts = sqlx::query(ATTEMPTS_OF_INCIDENT)
        .bind(incident)
        .fetch_all(&mut *transaction)
        .await
        .map_err(failure)?;
    let mut attempts_of = BTreeMap::<DeliveryId, Vec<AttemptRow>>::new();
    for row in &attempts {
        let attempt = attempt_row(row)?;
        attempts_of.entry(attempt.delivery).or_default().push(attempt);
    }
    let with_attempts = |row| {
        let delivery: DeliveryRow = delivery_row(row)?;
        let attempts = attempts_of.remove(&delivery.id).unwrap_or_default();
        Ok((delivery, attempts))
    };
    deliveries.iter().map(with_attempts).collect()
}

async fn execute(
    connection: &mut AnyConnection,
    statement: &'static str,
    items: String,
    workspace: Option<&'static str>,
) -> Result<(), Error> {
    let mut query = sqlx::query(statement).bind(items);
    if let Some(workspace) = workspace {
        query = query.bind(workspace);
    }
    query.execute(connection).await.map(|_| ()).map_err(failure)
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

#[derive(Serialize)]
struct DeliveryItem<'a> {
    id: Text<DeliveryId>,
    event: Text<EventId>,
    channel: Text<ChannelId>,
    incident: Text<IncidentId>,
    subject: Text<SubjectId>,
    transition: u32,
    state: DeliveryState,
    attempts: u32,
    next_attempt_at: Timestamp,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    body: Option<Hex<'a>>,
}

#[derive(Serialize)]
struct AttemptItem<'a> {
    delivery: Text<DeliveryId>,
    number: u32,
    started_at: Timestamp,
    duration: i64,
    status: Option<u16>,
    detail: &'a str,
    answer: Hex<'a>,
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

fn delivery_row(row: &AnyRow) -> Result<DeliveryRow, Error> {
    Ok(DeliveryRow {
        id: decode::parsed(row, "id")?,
        event: decode::parsed(row, "event")?,
        channel: decode::parsed(row, "channel")?,
        incident: decode::parsed(row, "incident")?,
        subject: decode::subject(row, "subject")?,
        transition: decode::number(row, "transition")?,
        state: decode::word(row, "state")?,
        attempts: decode::number(row, "attempts")?,
        next_attempt_at: decode::instant(row, "next_attempt_at")?,
        body: decode::optional_blob(row, "body")?,
        created_at: decode::instant(row, "created_at")?,
        finished_at: decode::optional_instant(row, "finished_at")?,
    })
}

fn attempt_row(row: &AnyRow) -> Result<AttemptRow, Error> {
    Ok(AttemptRow {
        delivery: decode::parsed(row, "delivery")?,
        number: decode::number(row, "number")?,
        started_at: decode::instant(row, "started_at")?,
        duration: Duration::from_micros(decode::number(row, "duration")?),
        status: decode::optional_number(row, "status")?,
        detail: decode::text(row, "detail")?,
        answer: decode::blob(row, "answer")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    ADD_EVENTS,
    MARK_DISPATCHED,
    EVENT,
    UNDISPATCHED,
    PUT_DELIVERIES,
    ADD_ATTEMPTS,
    UNFINISHED,
    OF_INCIDENT,
    ATTEMPTS_OF_INCIDENT,
];
