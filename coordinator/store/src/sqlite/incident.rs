//! Incidents and their lines: `incident` and `timeline`.

use model::{IncidentId, SubjectId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Text};
use super::failure::{failure, failure_or_duplicate};
use crate::{Error, IncidentQuery, IncidentRow, IncidentState, TimelineRow};

const PUT: &str = concat!(
    "INSERT INTO incident (id, subject, workspace, number, state, started_at, opened_at, resolved_at, \
     alert_due_at, body) \
     SELECT id, subject, workspace, number, state, started_at, opened_at, resolved_at, alert_due_at, body FROM ",
    batch!(id text, subject text, workspace text, number bigint, state text, started_at bigint, opened_at bigint,
        resolved_at bigint, alert_due_at bigint, body text),
    " WHERE true ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, workspace = excluded.workspace, \
     number = excluded.number, state = excluded.state, started_at = excluded.started_at, \
     opened_at = excluded.opened_at, resolved_at = excluded.resolved_at, \
     alert_due_at = excluded.alert_due_at, body = excluded.body"
);
const ADD_LINES: &str = concat!(
    "INSERT INTO timeline (incident, ordinal, at, text) SELECT incident, ordinal, at, text FROM ",
    batch!(incident text, ordinal bigint, at bigint, text text),
    " WHERE true ON CONFLICT (incident, ordinal) DO NOTHING"
);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, subject, workspace, number, state, started_at, opened_at, resolved_at, alert_due_at, body \
             FROM incident ",
            $rest
        )
    };
}
const ONE: &str = select!("WHERE id = $1");
const ALL_OPEN: &str = select!("WHERE state = 'open' ORDER BY opened_at, id");
const ALL_OWED: &str = select!("WHERE alert_due_at IS NOT NULL AND state <> 'open' ORDER BY opened_at, id");
const PAGE: &str =
    select!("WHERE opened_at >= $1 AND (opened_at, id) < ($2, $3) ORDER BY opened_at DESC, id DESC LIMIT $4");
const PAGE_OPEN: &str = select!(
    "WHERE state = 'open' AND opened_at >= $1 AND (opened_at, id) < ($2, $3) \
     ORDER BY opened_at DESC, id DESC LIMIT $4"
);
const PAGE_OF_SUBJECT: &str = select!(
    "WHERE subject = $5 AND opened_at >= $1 AND (opened_at, id) < ($2, $3) \
     ORDER BY opened_at DESC, id DESC LIMIT $4"
);
const PAGE_OPEN_OF_SUBJECT: &str = select!(
    "WHERE subject = $5 AND state = 'open' AND opened_at >= $1 AND (opened_at, id) < ($2, $3) \
     ORDER BY opened_at DESC, id DESC LIMIT $4"
);
const LINES: &str = "SELECT incident, ordinal, at, text FROM timeline WHERE incident = $1 ORDER BY ordinal";

/// Opens or changes incidents.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[IncidentRow]) -> Result<(), Error> {
    // An incident that ends makes room for the next of its subject in the same commit.
    let ended = rows.iter().filter(|row| row.state != IncidentState::Open);
    let open = rows.iter().filter(|row| row.state == IncidentState::Open);
    let items = encode::batch(ended.chain(open).map(|row| IncidentItem {
        id: Text(row.id),
        subject: Text(row.subject),
        workspace: &row.workspace,
        number: row.number,
        state: row.state,
        started_at: row.started_at,
        opened_at: row.opened_at,
        resolved_at: row.resolved_at,
        alert_due_at: row.alert_due_at,
        body: &row.body,
    }));
    sqlx::query(PUT)
        .bind(items)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || IncidentRow::taken(rows)))
}

/// Adds the lines that are not there yet.
pub(super) async fn add_lines(connection: &mut AnyConnection, rows: &[TimelineRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| LineItem {
        incident: Text(row.incident),
        ordinal: row.ordinal,
        at: row.at,
        text: &row.text,
    }));
    sqlx::query(ADD_LINES).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// Every open incident, oldest first.
pub(super) async fn all_open(connection: &mut AnyConnection) -> Result<Vec<IncidentRow>, Error> {
    let rows = sqlx::query(ALL_OPEN).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(incident_row).collect()
}

/// Every incident that is over, but not for those who were told of it; oldest first.
pub(super) async fn all_owed(connection: &mut AnyConnection) -> Result<Vec<IncidentRow>, Error> {
    let rows = sqlx::query(ALL_OWED).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(incident_row).collect()
}

pub(super) async fn list(database: &Database, query: &IncidentQuery) -> Result<Vec<IncidentRow>, Error> {
    let statement = match (query.subject.is_some(), query.open_only) {
        (false, false) => PAGE,
        (false, true) => PAGE_OPEN,
        (true, false) => PAGE_OF_SUBJECT,
        (true, true) => PAGE_OPEN_OF_SUBJECT,
    };
    let since = query.opened_since.map_or(i64::MIN, Timestamp::as_micros);
    // Before the first page stands what is later than everything.
    let (before, before_id) =
        query.after.map_or((i64::MAX, String::new()), |(at, id)| (at.as_micros(), id.to_string()));
    let mut page =
        sqlx::query(statement).bind(since).bind(before).bind(before_id).bind(i64::from(query.limit));
    if let Some(subject) = query.subject {
        page = page.bind(subject.to_string());
    }
    let rows = page.fetch_all(database.readers()).await.map_err(failure)?;
    rows.iter().map(incident_row).collect()
}

pub(super) async fn one(database: &Database, id: IncidentId) -> Result<Option<IncidentRow>, Error> {
    let row = sqlx::query(ONE).bind(id.to_string()).fetch_optional(database.readers()).await;
    row.map_err(failure)?.as_ref().map(incident_row).transpose()
}

pub(super) async fn timeline(database: &Database, incident: IncidentId) -> Result<Vec<TimelineRow>, Error> {
    let rows = sqlx::query(LINES).bind(incident.to_string()).fetch_all(database.readers()).await;
    rows.map_err(failure)?.iter().map(line_row).collect()
}

#[derive(Serialize)]
struct IncidentItem<'a> {
    id: Text<IncidentId>,
    subject: Text<SubjectId>,
    workspace: &'a str,
    number: u32,
    state: IncidentState,
    started_at: Timestamp,
    opened_at: Timestamp,
    resolved_at: Option<Timestamp>,
    alert_due_at: Option<Timestamp>,
    body: &'a str,
}

#[derive(Serialize)]
struct LineItem<'a> {
    incident: Text<IncidentId>,
    ordinal: u32,
    at: Timestamp,
    text: &'a str,
}

fn incident_row(row: &AnyRow) -> Result<IncidentRow, Error> {
    Ok(IncidentRow {
        id: decode::parsed(row, "id")?,
        subject: decode::subject(row, "subject")?,
        workspace: decode::text(row, "workspace")?,
        number: decode::number(row, "number")?,
        state: decode::word(row, "state")?,
        started_at: decode::instant(row, "started_at")?,
        opened_at: decode::instant(row, "opened_at")?,
        resolved_at: decode::optional_instant(row, "resolved_at")?,
        alert_due_at: decode::optional_instant(row, "alert_due_at")?,
        body: decode::text(row, "body")?,
    })
}

fn line_row(row: &AnyRow) -> Result<TimelineRow, Error> {
    Ok(TimelineRow {
        incident: decode::parsed(row, "incident")?,
        ordinal: decode::number(row, "ordinal")?,
        at: decode::instant(row, "at")?,
        text: decode::text(row, "text")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[PUT, ADD_LINES, ONE, ALL_OPEN, ALL_OWED, PAGE, PAGE_OPEN, PAGE_OF_SUBJECT, PAGE_OPEN_OF_SUBJECT, LINES];
