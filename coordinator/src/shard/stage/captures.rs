//! What checks met: to the incident of their monitor, or kept for the one that may open.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AgentId, Capture, CheckResult, IncidentId, MonitorId, RegionId, SubjectId, Timestamp};
use store::{CaptureRow, CaptureVerdict};

use super::Stage;
use crate::capture::Captured;
use crate::incident::Incident;

/// What the stage found out about captures.
#[derive(Debug, Default)]
pub(super) struct SettledCaptures {
    /// Of monitors without an incident.
    pub(super) waiting: Vec<Captured>,
    /// Monitors whose captures wait no more.
    pub(super) settled: Vec<MonitorId>,
}

impl Stage<'_> {
    /// Notes what a check met.
    pub(in crate::shard) fn note_capture(&mut self, agent: AgentId, result: &CheckResult, capture: &Capture) {
        self.captured.push(Captured::new(agent, result, capture));
    }

    /// Puts this turn's captures, and those that waited for incidents that opened in it, among the rows.
    pub(super) fn settle_captures(&mut self) -> SettledCaptures {
        let mut rows: BTreeMap<(IncidentId, RegionId, CaptureVerdict, Option<u32>), CaptureRow> =
            BTreeMap::new();
        let mut settled = SettledCaptures::default();
        let mut put = |captured: &Captured, incident: IncidentId, began: Timestamp| {
            for row in captured.to_rows(incident, began) {
                let key = (row.incident, row.region.clone(), row.verdict, row.period);
                match rows.get(&key) {
                    Some(known) if (known.at <= row.at) == row.period.is_some() => {}
                    _ => drop(rows.insert(key, row)),
                }
            }
        };
        // In this turn opened, changed or ended.
        let touched: BTreeMap<MonitorId, &Arc<Incident>> = self
            .incidents
            .values()
            .filter_map(|incident| match incident.subject {
                SubjectId::Monitor(monitor) => Some((monitor, incident)),
                SubjectId::Heartbeat(_) | SubjectId::Agent(_) | SubjectId::Installation(_) => None,
            })
            .collect();
        for (&monitor, incident) in &touched {
            let mut waited = self.base.captures.of(monitor).peekable();
            if waited.peek().is_some() {
                settled.settled.push(monitor);
            }
            // What was met long before belongs to nothing.
            for captured in waited.filter(|captured| captured.at >= incident.started_at) {
                put(captured, incident.id, incident.started_at);
            }
        }
        for captured in std::mem::take(&mut self.captured) {
            let open = self.get(SubjectId::Monitor(captured.monitor)).and_then(|it| it.incident.as_ref());
            match open.or_else(|| touched.get(&captured.monitor).copied()) {
                // An agent that was cut off tells what it met long before.
                Some(incident) if captured.at < incident.started_at => {}
                Some(incident) => put(&captured, incident.id, incident.started_at),
                None => settled.waiting.push(captured),
            }
        }
        self.commit.captures = rows.into_values().collect();
        settled
    }
}
