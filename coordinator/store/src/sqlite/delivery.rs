//! What is owed to whom, and what was tried: `delivery` and `attempt`.
//!
//! A delivery is written once and then changed field by field: rewriting a whole row would write its body and all its
//! indexes again at every step.

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
use crate::{
    AttemptRow, AttemptedDelivery, ChannelRecord, ClaimRow, DeliveryMark, DeliveryQuery, DeliveryRow,
    DeliveryState, Error, TRIMMED_DELIVERIES_PER_COMMIT,
};

/// The tenant is the incident's, which was written before in the same commit.
const ADD: &str = concat!(
    "INSERT INTO delivery (id, workspace, event, channel, incident, subject, transition, state, attempts, \
     replayed_after, next_attempt_at, first_attempt_at, created_at, finished_at, stands_in_for, reason, body) \
     SELECT id, COALESCE((SELECT workspace FROM incident WHERE incident.id = batch.incident), $2), \
     event, channel, incident, subject, transition, state, attempts, replayed_after, next_attempt_at, \
     first_attempt_at, created_at, finished_at, stands_in_for, reason, body FROM ",
    batch!(id text, event text, channel text, incident text, subject text, transition bigint, state text,
        attempts bigint, replayed_after bigint, next_attempt_at bigint, first_attempt_at bigint,
        created_at bigint, finished_at bigint, stands_in_for text, reason text, body blob),
    " WHERE true ON CONFLICT (id) DO NOTHING"
);
const CLAIM: &str = concat!(
    "UPDATE delivery SET body = batch.body FROM ",
    batch!(id text, body blob),
    " WHERE delivery.id = batch.id"
);
const MARK: &str = concat!(
    "UPDATE delivery SET state = batch.state, attempts = batch.attempts, \
     replayed_after = batch.replayed_after, next_attempt_at = batch.next_attempt_at, \
     first_attempt_at = batch.first_attempt_at, finished_at = batch.finished_at, reason = batch.reason FROM ",
    batch!(id text, state text, attempts bigint, replayed_after bigint, next_attempt_at bigint,
        first_attempt_at bigint, finished_at bigint, reason text),
    " WHERE delivery.id = batch.id"
);
const ADD_ATTEMPTS: &str = concat!(
    "INSERT INTO attempt (delivery, number, started_at, duration, status, detail, answer, timing) \
     SELECT delivery, number, started_at, duration, status, detail, answer, timing FROM ",
    batch!(delivery text, number bigint, started_at bigint, duration bigint, status bigint, detail text,
        answer blob, timing text),
    " WHERE true ON CONFLICT (delivery, number) DO NOTHING"
);
const TRIM_ATTEMPTS: &str = "DELETE FROM attempt WHERE delivery IN \
    (SELECT id FROM delivery WHERE created_at < $1 AND state <> 'waiting' ORDER BY created_at, id LIMIT $2)";
const TRIM: &str = "DELETE FROM delivery WHERE id IN \
    (SELECT id FROM delivery WHERE created_at < $1 AND state <> 'waiting' ORDER BY created_at, id LIMIT $2)";

macro_rules! columns {
    () => {
        "id, event, channel, incident, subject, transition, state, attempts, replayed_after, next_attempt_at, \
         first_attempt_at, created_at, finished_at, stands_in_for, reason"
    };
}
macro_rules! whole {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), ", body FROM delivery ", $rest)
    };
}
const UNFINISHED: &str = whole!("WHERE state = 'waiting' ORDER BY created_at, transition, id");
const OF_INCIDENT: &str = whole!("WHERE incident = $1 ORDER BY created_at, transition, id");
const ONE: &str = whole!("WHERE id = $1");
const ATTEMPTS_OF_INCIDENT: &str = "SELECT delivery, number, started_at, duration, status, detail, answer, \
    timing FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE incident = $1) ORDER BY delivery, number";
const ATTEMPTS: &str = "SELECT delivery, number, started_at, duration, status, detail, answer, timing \
    FROM attempt WHERE delivery = $1 ORDER BY number";

/// A page found by the index that the condition names; whatever else is asked for is looked for in what that finds.
macro_rules! page {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM delivery WHERE ",
            $condition,
            "created_at >= $1 AND (created_at, id) < ($2, $3) AND ($4 = '' OR channel = $4) \
             AND ($5 = '' OR incident = $5) AND ($6 = '' OR state = $6) \
             ORDER BY created_at DESC, id DESC LIMIT $7"
        )
    };
}
const PAGE: &str = page!("");
const PAGE_OF_CHANNEL: &str = page!("channel = $4 AND ");
const PAGE_OF_INCIDENT: &str = page!("incident = $5 AND ");
const PAGE_DEAD: &str = page!("state = 'dead' AND ");
const PAGE_WAITING: &str = page!("state = 'waiting' AND ");

const DELIVERED_AT: &str = "SELECT finished_at FROM delivery WHERE channel = $1 AND state = 'delivered' \
    ORDER BY created_at DESC, id DESC LIMIT 1";
const FAILING_SINCE: &str = "SELECT CAST(MIN(first_attempt_at) AS BIGINT) AS since FROM delivery \
    WHERE channel = $1 AND created_at >= $2 AND state IN ('waiting', 'dead')";

/// Creates the deliveries that are not there yet.
pub(super) async fn add(connection: &mut AnyConnection, rows: &[DeliveryRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| DeliveryItem {
        id: Text(row.id),
        event: Text(row.event),
        channel: Text(row.channel),
        incident: Text(row.incident),
        subject: Text(row.subject),
        transition: row.transition,
        state: row.state,
        attempts: row.attempts,
        replayed_after: row.replayed_after,
        next_attempt_at: row.next_attempt_at,
        first_attempt_at: row.first_attempt_at,
        created_at: row.created_at,
        finished_at: row.finished_at,
        stands_in_for: row.stands_in_for.map(Text),
        reason: &row.reason,
        body: row.body.as_deref().map(Hex),
    }));
    let added = sqlx::query(ADD).bind(items).bind(DEFAULT_WORKSPACE).execute(connection).await;
    added.map(|_| ()).map_err(failure)
}

/// Fixes bodies.
pub(super) async fn claim(connection: &mut AnyConnection, rows: &[ClaimRow]) -> Result<(), Error> {
    let items =
        encode::batch(rows.iter().map(|row| ClaimItem { id: Text(row.delivery), body: Hex(&row.body) }));
    sqlx::query(CLAIM).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Says how deliveries stand.
pub(super) async fn mark(connection: &mut AnyConnection, rows: &[DeliveryMark]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| MarkItem {
        id: Text(row.delivery),
        state: row.state,
        attempts: row.attempts,
        replayed_after: row.replayed_after,
        next_attempt_at: row.next_attempt_at,
        first_attempt_at: row.first_attempt_at,
        finished_at: row.finished_at,
        reason: &row.reason,
    }));
    sqlx::query(MARK).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
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
        timing: serde_json::to_string(&row.timing).expect("numbers are JSON"),
    }));
    sqlx::query(ADD_ATTEMPTS).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Commit::trim_deliveries_before`].
pub(super) async fn trim(connection: &mut AnyConnection, before: Timestamp) -> Result<(), Error> {
    for statement in [TRIM_ATTEMPTS, TRIM] {
        let trimmed = sqlx::query(statement)
            .bind(before.as_micros())
            .bind(i64::from(TRIMMED_DELIVERIES_PER_COMMIT))
            .execute(&mut *connection)
            .await;
        trimmed.map_err(failure)?;
    }
    Ok(())
}

/// Deliveries still to be made, oldest first.
pub(super) async fn unfinished(connection: &mut AnyConnection) -> Result<Vec<DeliveryRow>, Error> {
    let rows = sqlx::query(UNFINISHED).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(whole_row).collect()
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
        let delivery: DeliveryRow = whole_row(row)?;
        let attempts = attempts_of.remove(&delivery.id).unwrap_or_default();
        Ok((delivery, attempts))
    };
    deliveries.iter().map(with_attempts).collect()
}

/// See [`crate::Store::delivery`].
pub(super) async fn one(database: &Database, id: DeliveryId) -> Result<Option<AttemptedDelivery>, Error> {
    let mut transaction = database.read().await?;
    let id = id.to_string();
    let delivery = sqlx::query(ONE).bind(id.as_str()).fetch_optional(&mut *transaction).await;
    let Some(delivery) = delivery.map_err(failure)? else { return Ok(None) };
    let attempts = sqlx::query(ATTEMPTS).bind(id).fetch_all(&mut *transaction).await.map_err(failure)?;
    let attempts = attempts.iter().map(attempt_row).collect::<Result<_, _>>()?;
    Ok(Some((whole_row(&delivery)?, attempts)))
}

/// See [`crate::Store::list_deliveries`].
pub(super) async fn page(database: &Database, query: &DeliveryQuery) -> Result<Vec<DeliveryRow>, Error> {
    let statement = match (query.incident, query.channel, query.state) {
        (Some(_), _, _) => PAGE_OF_INCIDENT,
        (None, Some(_), _) => PAGE_OF_CHANNEL,
        (None, None, Some(DeliveryState::Dead)) => PAGE_DEAD,
        (None, None, Some(DeliveryState::Waiting)) => PAGE_WAITING,
        (None, None, _) => PAGE,
    };
    // Before the first page stands what is later than everything.
    let (before, before_id) =
        query.after.map_or((i64::MAX, String::new()), |(at, id)| (at.as_micros(), id.to_string()));
    let rows = sqlx::query(statement)
        .bind(query.created_since.map_or(i64::MIN, Timestamp::as_micros))
        .bind(before)
        .bind(before_id)
        .bind(query.channel.map_or_else(String::new, |id| id.to_string()))
        .bind(query.incident.map_or_else(String::new, |id| id.to_string()))
        .bind(query.state.map_or("", DeliveryState::as_str))
        .bind(i64::from(query.limit))
        .fetch_all(database.readers())
        .await
        .map_err(failure)?;
    rows.iter().map(|row| delivery_row(row, None)).collect()
}

/// See [`crate::Store::channel_record`].
pub(super) async fn channel_record(database: &Database, channel: ChannelId) -> Result<ChannelRecord, Error> {
    let mut transaction = database.read().await?;
    let channel = channel.to_string();
    let delivered = sqlx::query(DELIVERED_AT)
        .bind(channel.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failure)?;
    let delivered_at = match &delivered {
        Some(row) => decode::optional_instant(row, "finished_at")?,
        None => None,
    };
    let since = sqlx::query(FAILING_SINCE)
        .bind(channel)
        .bind(delivered_at.map_or(i64::MIN, Timestamp::as_micros))
        .fetch_one(&mut *transaction)
        .await
        .map_err(failure)?;
    Ok(ChannelRecord { delivered_at, failing_since: decode::optional_instant(&since, "since")? })
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
    replayed_after: u32,
    next_attempt_at: Timestamp,
    first_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    stands_in_for: Option<Text<DeliveryId>>,
    reason: &'a str,
    body: Option<Hex<'a>>,
}

#[derive(Serialize)]
struct ClaimItem<'a> {
    id: Text<DeliveryId>,
    body: Hex<'a>,
}

#[derive(Serialize)]
struct MarkItem<'a> {
    id: Text<DeliveryId>,
    state: DeliveryState,
    attempts: u32,
    replayed_after: u32,
    next_attempt_at: Timestamp,
    first_attempt_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    reason: &'a str,
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
    timing: String,
}

fn whole_row(row: &AnyRow) -> Result<DeliveryRow, Error> {
    delivery_row(row, decode::optional_blob(row, "body")?)
}

fn delivery_row(row: &AnyRow, body: Option<Vec<u8>>) -> Result<DeliveryRow, Error> {
    Ok(DeliveryRow {
        id: decode::parsed(row, "id")?,
        event: decode::parsed(row, "event")?,
        channel: decode::parsed(row, "channel")?,
        incident: decode::parsed(row, "incident")?,
        subject: decode::subject(row, "subject")?,
        transition: decode::number(row, "transition")?,
        state: decode::word(row, "state")?,
        attempts: decode::number(row, "attempts")?,
        replayed_after: decode::number(row, "replayed_after")?,
        next_attempt_at: decode::instant(row, "next_attempt_at")?,
        first_attempt_at: decode::optional_instant(row, "first_attempt_at")?,
        body,
        created_at: decode::instant(row, "created_at")?,
        finished_at: decode::optional_instant(row, "finished_at")?,
        stands_in_for: decode::optional_parsed(row, "stands_in_for")?,
        reason: decode::text(row, "reason")?,
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
        timing: decode::json(row, "timing")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    ADD,
    CLAIM,
    MARK,
    ADD_ATTEMPTS,
    TRIM_ATTEMPTS,
    TRIM,
    UNFINISHED,
    OF_INCIDENT,
    ONE,
    ATTEMPTS_OF_INCIDENT,
    ATTEMPTS,
    PAGE,
    PAGE_OF_CHANNEL,
    PAGE_OF_INCIDENT,
    PAGE_DEAD,
    PAGE_WAITING,
    DELIVERED_AT,
    FAILING_SINCE,
];
