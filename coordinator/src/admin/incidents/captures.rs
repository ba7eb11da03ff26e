//! What checks met while an incident lasted, as the wire has it.

use std::time::Duration;

use model::{Capture, CheckResult, MonitorId, PathHop, RegionId, Timestamp};
use proto::admin::v1 as wire;
use serde::{Deserialize, Serialize};
use store::{CapturePlace, CaptureRow, CaptureVerdict};
use tonic::Status;

use crate::admin::convert::span;
use crate::admin::monitors::answer;
use crate::admin::refusal::unreadable;
use crate::capture::Body;

/// A place in the list, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place(Timestamp, RegionId, bool, Option<u32>);

impl Place {
    pub(super) fn of(row: &CaptureRow) -> Self {
        Self(row.at, row.region.clone(), row.verdict == CaptureVerdict::Pass, row.period)
    }

    pub(super) fn into_place(self) -> CapturePlace {
        let Self(at, region, is_pass, period) = self;
        (at, region, if is_pass { CaptureVerdict::Pass } else { CaptureVerdict::Fail }, period)
    }
}

/// Each check once: where a region had only one, it is the first and the latest.
pub(super) fn distinct(mut rows: Vec<CaptureRow>) -> Vec<CaptureRow> {
    rows.dedup_by(|a, b| (a.at, &a.region, a.verdict) == (b.at, &b.region, b.verdict));
    rows
}

/// One check and what it met.
pub(super) fn render(row: &CaptureRow) -> Result<wire::IncidentCapture, Status> {
    let body: Body = serde_json::from_str(&row.body)
        .map_err(|_| unreadable(format!("a capture of {} from {}", row.incident, row.at)))?;
    // What a capture does not say stays empty.
    let check = CheckResult {
        monitor: MonitorId::from_bytes([0; 16]),
        spec_revision: 0,
        region: row.region.clone(),
        slot: 0,
        attempt: 0,
        round: 0,
        started_at: row.at,
        duration: body.duration,
        outcome: body.outcome,
        phases: body.phases,
        http_status: body.http_status,
        peer: body.peer,
        health: None,
    };
    let result = wire::Result { committed_at: None, ..answer::result(row.at, body.agent, 0, 0, &check) };
    Ok(wire::IncidentCapture { result: Some(result), capture: Some(capture(body.capture)) })
}

fn capture(capture: Capture) -> wire::Capture {
    let hop = |hop: &PathHop| wire::PathHop {
        distance: hop.distance.into(),
        address: hop.address.map(|address| address.to_string()).unwrap_or_default(),
        round_trip: hop.round_trip.and_then(|took: Duration| span(took)),
    };
    let request_id = capture.request_id().unwrap_or_default().to_owned();
    let body = capture.body.unwrap_or_default();
    wire::Capture {
        addresses: capture.addresses.iter().map(ToString::to_string).collect(),
        redirects: capture.redirects,
        tls: capture.tls.unwrap_or_default(),
        certificates: capture.certificates,
        status_line: capture.status_line.unwrap_or_default(),
        headers: capture.headers.into_iter().map(|(name, value)| wire::Header { name, value }).collect(),
        body: body.text,
        body_cut: body.is_cut,
        path: capture.path.iter().map(hop).collect(),
        request_id,
    }
}
