//! What a check met, on its way from a result to the rows of an incident.

use std::net::IpAddr;
use std::time::Duration;

use model::{AgentId, Capture, CheckResult, IncidentId, MonitorId, Outcome, Phases, RegionId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{CaptureRow, CaptureVerdict};

/// A check and what it met.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// Of which monitor.
    pub monitor: MonitorId,
    /// From where.
    pub region: RegionId,
    /// When it started.
    pub at: Timestamp,
    /// The rest, as it is stored.
    pub body: Body,
}

/// What is stored of a check besides when and from where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Who made it.
    pub agent: AgentId,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// Where the time went.
    pub phases: Phases,
    /// The final HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// The address that answered, if one did.
    pub peer: Option<IpAddr>,
    /// What was met on the way.
    pub capture: Capture,
}

impl Captured {
    /// A check by an agent, and what it met.
    #[must_use]
    pub fn new(agent: AgentId, result: &CheckResult, capture: &Capture) -> Self {
        Self {
            monitor: result.monitor,
            region: result.region.clone(),
            at: result.started_at,
            body: Body {
                agent,
                outcome: result.outcome.clone(),
                duration: result.duration,
                phases: result.phases,
                http_status: result.http_status,
                peer: result.peer,
                capture: capture.clone(),
            },
        }
    }

    /// The rows that it makes in an incident that began at `began`: as the first of its period, and as the latest. Passes
    /// have one period only.
    #[must_use]
    pub fn to_rows(&self, incident: IncidentId, began: Timestamp) -> [CaptureRow; 2] {
        let (verdict, period) = match self.body.outcome {
            Outcome::Pass => (CaptureVerdict::Pass, 0),
            Outcome::Fail(_) | Outcome::Error(_) => {
                (CaptureVerdict::Fail, engine::capture::period(began, self.at))
            }
        };
        let body = serde_json::to_string(&self.body).expect("bodies have only text keys");
        let row = |period, body| CaptureRow {
            incident,
            region: self.region.clone(),
            verdict,
            period,
            at: self.at,
            body,
        };
        [row(Some(period), body.clone()), row(None, body)]
    }
}
