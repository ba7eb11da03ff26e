//! What follows from a decision: effects become rows of incidents, timelines and events, and rounds to be asked for.

use std::sync::Arc;

use engine::effect::Effect;
use model::{IncidentId, SubjectId, Timestamp};
use store::{IncidentState, TimelineRow};
use tracing::warn;

use super::Stage;
use super::alert::{Concern, Step};
use crate::definition::Definition;
use crate::incident::{Incident, about};

impl Stage<'_> {
    /// Turns effects into rows.
    pub(super) fn settle(&mut self, id: SubjectId, effects: Vec<Effect>) {
        let mut asks_parents = false;
        for effect in effects {
            match effect {
                // After everything else: what the parents say may change what this one does.
                Effect::AskParents => {
                    asks_parents = true;
                    continue;
                }
                Effect::Verify { round, .. } => {
                    if let SubjectId::Monitor(monitor) = id {
                        self.verifications.push((monitor, round));
                    }
                    continue;
                }
                Effect::MonitorStatus { .. } | Effect::HeartbeatStatus { .. } => {}
                // Of agents only: see `operations`.
                Effect::Quarantine { .. } | Effect::Release => continue,
                // The state that lost one is written with the next snapshot.
                Effect::RunEnded(end) => {
                    self.end_run(id, &end);
                    continue;
                }
                Effect::Notice { text, .. } => {
                    warn!(subject.id = %id, "{text}");
                }
                Effect::Open(opening) => {
                    let Some(Some(subject)) = self.subjects.get_mut(&id) else { continue };
                    let incident = Incident::open(self.installation, &subject.definition, &opening);
                    match id {
                        SubjectId::Monitor(_) => self.open_in_group(id, incident),
                        SubjectId::Heartbeat(_) | SubjectId::Agent(_) | SubjectId::Installation(_) => {
                            subject.incident = Some(Arc::new(incident));
                            self.announce(id);
                        }
                    }
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
        self.join_parent(id);
        if asks_parents {
            self.ask_parents(id);
        }
    }

    /// Ends the open incident and tells of it.
    fn end(&mut self, id: SubjectId, change: impl FnOnce(&mut Incident)) {
        let Some(Some(subject)) = self.subjects.get_mut(&id) else { return };
        let Some(mut incident) = subject.incident.take() else { return };
        let definition = Arc::clone(&subject.definition);
        change(Arc::make_mut(&mut incident));
        self.end_in_group(id, &incident, &definition);
    }

    /// Tells of the subject's open incident as it stands.
    pub(super) fn announce(&mut self, id: SubjectId) {
        let Some(subject) = self.get(id) else { return };
        let (definition, incident) = (Arc::clone(&subject.definition), subject.incident.clone());
        let Some(incident) = incident else { return };
        let told = self.tell(&definition, &incident);
        if let Some(subject) = self.copy(id) {
            subject.incident = Some(told);
        }
    }

    /// Decides who is told of an incident as it stands, and puts it and the events among the rows. Returns it as it stands
    /// then.
    pub(super) fn tell(&mut self, definition: &Arc<Definition>, incident: &Arc<Incident>) -> Arc<Incident> {
        let concern = Concern {
            about: about(definition),
            policy: self.book.policy_for(definition, self.now),
            members: self.members_of(incident.id),
        };
        let step = Step::of(incident);
        self.tell_of(Incident::clone(incident), concern, step)
    }

    pub(super) fn put_incident(&mut self, incident: Arc<Incident>) {
        self.incidents.insert(incident.id, incident);
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
