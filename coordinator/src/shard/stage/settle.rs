//! What follows from a decision: effects become rows of incidents, timelines and events, and rounds to be asked for.

use std::sync::Arc;

use engine::effect::Effect;
use model::{IncidentId, SubjectId, Timestamp};
use store::{EventRow, IncidentState, TimelineRow};
use tracing::warn;

use super::Stage;
use crate::incident::Incident;

impl Stage<'_> {
    /// Turns effects into rows.
    pub(super) fn settle(&mut self, id: SubjectId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Verify { round, .. } => {
                    if let SubjectId::Monitor(monitor) = id {
                        self.verifications.push((monitor, round));
                    }
                    continue;
                }
                Effect::MonitorStatus { .. } | Effect::HeartbeatStatus { .. } => {}
                Effect::Notice { text, .. } => {
                    warn!(subject.id = %id, "{text}");
                }
                Effect::Open(opening) => {
                    let Some(Some(subject)) = self.subjects.get_mut(&id) else { continue };
                    let incident = Incident::open(self.installation, &subject.definition, &opening);
                    subject.incident = Some(Arc::new(incident));
                    self.announce(id);
                }
                Effect::Resolve { resolved_at, evidence, .. } => {
                    self.end(id, |incident| {
                        incident.state = IncidentState::Resolved;
                        incident.resolved_at = Some(resolved_at);
                        incident.body.closing = Some(evidence);
                    });
                }
                Effect::Close { at, reason, .. } => {
                    self.end(id, |incident| {
                        incident.state = IncidentState::Closed;
                        incident.resolved_at = Some(at);
                        incident.body.closed_reason = Some(reason);
                    });
                }
                Effect::Record { number, at, text } => self.write_line(id, number, at, text),
            }
            self.mark(id);
        }
    }

    /// Ends the open incident and tells of it.
    fn end(&mut self, id: SubjectId, change: impl FnOnce(&mut Incident)) {
        let Some(Some(subject)) = self.subjects.get_mut(&id) else { return };
        let Some(incident) = &mut subject.incident else { return };
        change(Arc::make_mut(incident));
        self.announce(id);
        if let Some(Some(subject)) = self.subjects.get_mut(&id) {
            subject.incident = None;
        }
    }

    /// Puts the incident as it stands, and the event that tells of it, among the rows.
    fn announce(&mut self, id: SubjectId) {
        let Some(Some(subject)) = self.subjects.get_mut(&id) else { return };
        let Some(incident) = &mut subject.incident else { return };
        let transition = incident.body.events;
        let event = Arc::make_mut(incident).next_event(&subject.definition, self.config, self.now);
        self.commit.events.push(EventRow {
            id: event.id,
            incident: incident.id,
            subject: id,
            transition,
            at: self.now,
            body: String::from_utf8(event.encode()).expect("JSON is UTF-8"),
            channels: subject.definition.channels().to_vec(),
        });
        self.incidents.insert(incident.id, Arc::clone(incident));
    }

    /// Adds a line to the timeline of the subject's incident, be it open or just ended in this stage.
    fn write_line(&mut self, id: SubjectId, number: u32, at: Timestamp, text: String) {
        let incident_id = IncidentId::derive(self.installation, id.as_bytes(), number);
        let Some(Some(subject)) = self.subjects.get_mut(&id) else { return };
        let line = |incident: &mut Arc<Incident>| {
            let ordinal = Arc::make_mut(incident).next_line();
            (Arc::clone(incident), TimelineRow { incident: incident_id, ordinal, at, text })
        };
        let (incident, row) = match (&mut subject.incident, self.incidents.get_mut(&incident_id)) {
            (Some(open), _) if open.id == incident_id => line(open),
            (_, Some(ended)) => line(ended),
            _ => return,
        };
        self.incidents.insert(incident_id, incident);
        self.commit.timeline.push(row);
    }
}
