//! What checks met while incidents lasted: `incident_capture`.

use model::{IncidentId, RegionId, Timestamp};
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::decode;
use super::dialect::batch;
use super::encode::{self, Text};
use super::failure::failure;
use crate::{CaptureQuery, CaptureRow, CaptureVerdict, Error, TRIMMED_CAPTURES_PER_COMMIT};

const PUT: &str = concat!(
    "INSERT INTO incident_capture (incident, at, region, verdict, place, body) \
     SELECT incident, at, region, verdict, place, body FROM ",
    batch!(incident text, at bigint, region text, verdict text, place bigint, body text),
    " WHERE true ON CONFLICT (incident, region, verdict, place) DO UPDATE SET at = excluded.at, \
     body = excluded.body WHERE excluded.place < 0 AND excluded.at >= incident_capture.at"
);
const PAGE: &str = "SELECT incident, at, region, verdict, place, body FROM incident_capture \
    WHERE incident = $1 AND CASE WHEN $2 = 0 THEN place >= 0 ELSE place < 0 OR place = (SELECT MIN(first.place) FROM incident_capture first \
    WHERE first.incident = incident_capture.incident AND first.region = incident_capture.region \
    AND first.verdict = incident_capture.verdict AND first.place >= 0) END AND (at, region, verdict, place) > ($3, $4, $5, $6) \
    ORDER BY at, region, verdict, place LIMIT $7";
const TRIM: &str = "DELETE FROM incident_capture WHERE (incident, region, verdict, place) IN \
    (SELECT incident, region, verdict, place FROM incident_capture WHERE at < $1 \
    ORDER BY at, incident, region, verdict, place LIMIT $2)";

/// The latest of a region's captures has no period.
const LATEST: i64 = -1;

/// Adds captures; of those that are there only the latest are replaced.
pub(super) async fn put(connection: &mut AnyConnection, rows: &[CaptureRow]) -> Result<(), Error> {
    let items = encode::batch(rows.iter().map(|row| CaptureItem {
        incident: Text(row.incident),
        at: row.at,
        region: &row.region,
        verdict: row.verdict.as_str(),
        place: place_to_number(row.period),
        body: &row.body,
    }));
    sqlx::query(PUT).bind(items).execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Commit::trim_captures_before`].
pub(super) async fn trim(connection: &mut AnyConnection, before: Timestamp) -> Result<(), Error> {
    let trimmed = sqlx::query(TRIM).bind(before.as_micros()).bind(i64::from(TRIMMED_CAPTURES_PER_COMMIT));
    trimmed.execute(connection).await.map(|_| ()).map_err(failure)
}

/// See [`crate::Store::captures`].
pub(super) async fn page(database: &Database, query: &CaptureQuery) -> Result<Vec<CaptureRow>, Error> {
    let mut transaction = database.read().await?;
    let (at, region, verdict, place) = match &query.after {
        Some((at, region, verdict, period)) => {
            (at.as_micros(), region.as_str(), verdict.as_str(), place_to_number(*period))
        }
        None => (i64::MIN, "", "", i64::MIN),
    };
    let rows = sqlx::query(PAGE)
        .bind(query.incident.to_string())
        .bind(i64::from(query.ends_only))
        .bind(at)
        .bind(region)
        .bind(verdict)
        .bind(place)
        .bind(i64::from(query.limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failure)?;
    rows.iter().map(capture_row).collect()
}

fn place_to_number(period: Option<u32>) -> i64 {
    period.map_or(LATEST, i64::from)
}

#[derive(Serialize)]
struct CaptureItem<'a> {
    incident: Text<IncidentId>,
    at: Timestamp,
    region: &'a RegionId,
    verdict: &'static str,
    place: i64,
    body: &'a str,
}

fn capture_row(row: &AnyRow) -> Result<CaptureRow, Error> {
    let verdict = decode::text(row, "verdict")?;
    Ok(CaptureRow {
        incident: decode::parsed(row, "incident")?,
        region: decode::parsed(row, "region")?,
        verdict: CaptureVerdict::parse(&verdict)
            .ok_or_else(|| Error::Corrupt(format!("verdict of a capture: {verdict}")))?,
        period: decode::natural(row, "place")?,
        at: decode::instant(row, "at")?,
        body: decode::text(row, "body")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PUT, PAGE, TRIM];
