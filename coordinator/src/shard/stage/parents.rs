//! Parents and children: how a monitor stands is told to those that depend on it.
//!
//! A child that cannot work because of its parent joins the parent's incident as a member; nobody is told of it. The
//! engine decides (`engine::monitor`, its `parents`); here it is only carried from one to the other.

use engine::monitor::{Event, Standing, Status};
use model::{IncidentId, SubjectId};
use store::MemberRow;

use super::Stage;
use crate::shard::input::State;
use crate::shard::kinship;
use crate::shard::subject::Happening;

impl Stage<'_> {
    /// Asks the monitors that this one depends on to be checked, and tells it how they stand.
    pub(super) fn ask_parents(&mut self, child: SubjectId) {
        let Some(parents) = self.parents_of(child) else { return };
        for parent in parents {
            self.apply(parent, Happening::Monitor(&Event::Asked));
        }
        self.tell_child(child);
    }

    /// Tells a monitor how those that it depends on stand, and lets it join what is wrong with them.
    pub(super) fn tell_child(&mut self, child: SubjectId) {
        let Some(parents) = self.parents_of(child) else { return };
        let stand = parents.iter().filter_map(|parent| self.get(*parent)).map(kinship::standing);
        let standing = stand.fold(Standing::Well, Standing::worse);
        self.apply(child, Happening::Monitor(&Event::Parents(standing)));
        self.join_parent(child);
    }

    /// How a monitor stands has changed: those that depend on it hear of it.
    pub(super) fn tell_children(&mut self, parent: SubjectId) {
        let children: Vec<SubjectId> = self.kinship().children(parent).collect();
        for child in children {
            self.tell_child(child);
        }
    }

    /// Makes a monitor whose failure is put down to a parent a member of that one's incident; one for which that is no
    /// longer so leaves.
    pub(super) fn join_parent(&mut self, child: SubjectId) {
        let Some(subject) = self.get(child) else { return };
        let State::Monitor(state) = &subject.state else { return };
        let is_member = self.kinship().members.contains_key(&child);
        if state.status() != Status::Unknown {
            if is_member && state.status() != Status::Down {
                self.leave_incident(child);
            }
            return;
        }
        let (false, Some(cause)) = (is_member, state.put_down_to()) else { return };
        let name = subject.definition.name.clone();
        let Some(incident) = self.incident_of_parent(child) else { return };
        let cause = format!("depends on {cause}");
        let row = MemberRow { incident, subject: child, name, cause, joined_at: self.now, left_at: None };
        self.commit.members.push(row.clone());
        self.kinship_mut().members.insert(child, row);
    }

    /// A member is well again, or has an incident of its own.
    pub(super) fn leave_incident(&mut self, member: SubjectId) {
        // Most are none, and to change who has to do with whom is to copy it.
        if !self.kinship().members.contains_key(&member) {
            return;
        }
        if let Some(row) = self.kinship_mut().members.remove(&member) {
            let row = MemberRow { left_at: Some(self.now), ..row };
            // One that joins and leaves in the same turn is one row. Of many that leave at once no other is looked for.
            if row.joined_at == self.now {
                self.commit.members.retain(|staged| {
                    (staged.incident, staged.subject, staged.joined_at)
                        != (row.incident, row.subject, row.joined_at)
                });
            }
            self.commit.members.push(row);
        }
    }

    /// The incident that a failing parent has, leads to, or is a member of.
    fn incident_of_parent(&self, child: SubjectId) -> Option<IncidentId> {
        self.parents_of(child)?.into_iter().find_map(|parent| {
            let incident = self.get(parent).and_then(|subject| subject.incident.as_ref());
            incident
                .map(|incident| incident.body.lead.unwrap_or(incident.id))
                .or_else(|| self.kinship().members.get(&parent).map(|row| row.incident))
        })
    }

    /// The monitors that one depends on; `None` if there are none.
    fn parents_of(&self, child: SubjectId) -> Option<Vec<SubjectId>> {
        let parents: Vec<SubjectId> = kinship::parents(&self.get(child)?.definition).collect();
        (!parents.is_empty()).then_some(parents)
    }
}
