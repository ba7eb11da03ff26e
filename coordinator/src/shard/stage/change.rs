//! A user's change to a subject: names stay unique, revisions are compared, the engine hears of it.

use std::sync::Arc;

use model::{IncidentId, RegionId, SubjectId};

use super::{Stage, name_key};
use crate::definition::{Definition, Kind};
use crate::shard::input::{ChangeError, ChangeRequest};
use crate::shard::kinship;
use crate::shard::subject::{Happening, Subject};

impl Stage<'_> {
    /// Makes a user's change.
    ///
    /// # Errors
    /// Says why it cannot be made; then nothing is staged for it.
    pub(in crate::shard) fn change(&mut self, request: &ChangeRequest) -> Result<(), ChangeError> {
        match request {
            ChangeRequest::Put { definition, expected: None } => self.create(definition),
            ChangeRequest::Put { definition, expected: Some(revision) } => self.update(definition, *revision),
            ChangeRequest::Delete { id, expected } => self.delete(*id, *expected),
            ChangeRequest::Acknowledge { subject, incident, by, reason } => {
                self.acknowledge(*subject, *incident, by, reason)
            }
        }
    }

    fn create(&mut self, definition: &Definition) -> Result<(), ChangeError> {
        let name = name_key(definition);
        if self.name_owner(&name).is_some() {
            return Err(ChangeError::NameTaken(name.1));
        }
        self.check_dependencies(definition)?;
        self.names.insert(name, Some(definition.id));
        self.kinship_redefine(None, Some(definition));
        let definition = Arc::new(definition.clone());
        let mut subject = Subject::new(Arc::clone(&definition), self.now);
        for region in self.live_regions() {
            if subject.is_checked_from(&region) {
                let event = engine::monitor::Event::RegionLive { region, live: true };
                subject.apply(Happening::Monitor(&event), self.now);
            }
        }
        for event in self.quarantines() {
            subject.apply(Happening::Monitor(&event), self.now);
        }
        if definition.paused() {
            subject.apply(Happening::Paused, self.now);
        }
        self.subjects.insert(definition.id, Some(subject));
        self.commit.subjects.push(definition.to_row());
        self.mark(definition.id);
        self.review_maintenance_of(definition.id);
        self.tell_child(definition.id);
        Ok(())
    }

    fn update(&mut self, definition: &Definition, expected: u64) -> Result<(), ChangeError> {
        let id = definition.id;
        let before = Arc::clone(&self.get(id).ok_or(ChangeError::NotFound)?.definition);
        if before.revision != expected {
            return Err(ChangeError::Stale);
        }
        self.check_dependencies(definition)?;
        let (old_name, new_name) = (name_key(&before), name_key(definition));
        if old_name != new_name {
            if self.name_owner(&new_name).is_some() {
                return Err(ChangeError::NameTaken(new_name.1));
            }
            self.names.insert(old_name, None);
            self.names.insert(new_name, Some(id));
        }
        self.kinship_redefine(Some(&before), Some(definition));
        let definition = Arc::new(definition.clone());
        let Some(subject) = self.copy(id) else { return Err(ChangeError::NotFound) };
        subject.redefine(Arc::clone(&definition));
        self.commit.subjects.push(definition.to_row());
        let (was_paused, is_paused) = (before.paused(), definition.paused());
        let (respec, repolicy) = compare(&before, &definition);
        if repolicy {
            self.apply(id, Happening::PolicyChanged { respec });
            if respec {
                self.tell_live_regions(id);
            }
        }
        match (was_paused, is_paused) {
            (false, true) => self.apply(id, Happening::Paused),
            (true, false) => {
                self.apply(id, Happening::Resumed);
                self.tell_live_regions(id);
            }
            _ => {}
        }
        self.mark(id);
        self.review_maintenance_of(id);
        self.review_alert(id);
        self.tell_child(id);
        Ok(())
    }

    fn delete(&mut self, id: SubjectId, expected: Option<u64>) -> Result<(), ChangeError> {
        let definition = Arc::clone(&self.get(id).ok_or(ChangeError::NotFound)?.definition);
        if expected.is_some_and(|revision| revision != definition.revision) {
            return Err(ChangeError::Stale);
        }
        let dependents: Vec<String> = self
            .kinship()
            .children(id)
            .filter_map(|child| Some(self.get(child)?.definition.name.clone()))
            .take(3)
            .collect();
        if !dependents.is_empty() {
            return Err(ChangeError::HasDependents(dependents.join(", ")));
        }
        self.apply(id, Happening::Deleted);
        self.leave_incident(id);
        let ended: Option<IncidentId> =
            self.kinship().ended_leads.values().find(|lead| lead.subject == id).map(|lead| lead.id);
        if let Some(lead) = ended {
            self.hand_over(lead);
        }
        self.kinship_redefine(Some(&definition), None);
        self.names.insert(name_key(&definition), None);
        self.subjects.insert(id, None);
        self.stale_states.remove(&id);
        self.commit.deleted.push(id);
        self.visible.insert(id);
        Ok(())
    }

    /// Tells a monitor which of its regions have live agents.
    fn tell_live_regions(&mut self, id: SubjectId) {
        for region in self.live_regions() {
            if self.get(id).is_some_and(|subject| subject.is_checked_from(&region)) {
                let event = engine::monitor::Event::RegionLive { region, live: true };
                self.apply(id, Happening::Monitor(&event));
            }
        }
        self.tell_quarantines(id);
    }

    fn check_dependencies(&self, definition: &Definition) -> Result<(), ChangeError> {
        if kinship::parents(definition).next().is_none() {
            return Ok(());
        }
        let find = |id: SubjectId| self.get(id).map(|subject| &*subject.definition);
        kinship::check_dependencies(definition, self.kinship(), find)
    }

    fn kinship_redefine(&mut self, before: Option<&Definition>, after: Option<&Definition>) {
        let has_parents = |definition: &Definition| kinship::parents(definition).next().is_some();
        if before.is_some_and(has_parents) || after.is_some_and(has_parents) {
            self.kinship_mut().redefine(before, after);
        }
    }

    fn name_owner(&self, name: &(bool, String)) -> Option<SubjectId> {
        match self.names.get(name) {
            Some(staged) => *staged,
            None => self.base.names.get(name).copied(),
        }
    }

    pub(super) fn live_regions(&self) -> Vec<RegionId> {
        let mut live = self.base.live.clone();
        for (region, is_live) in &self.live {
            if *is_live {
                live.insert(region.clone());
            } else {
                live.remove(region);
            }
        }
        live.into_iter().collect()
    }
}

/// Whether the agents must do something else, and whether the engine must decide anew.
fn compare(before: &Definition, after: &Definition) -> (bool, bool) {
    match (&before.kind, &after.kind) {
        (Kind::Monitor(before), Kind::Monitor(after)) => {
            let respec = after.respecifies(before);
            let repolicy = respec
                || after.quorum != before.quorum
                || after.confirmation_period != before.confirmation_period
                || after.recovery_checks != before.recovery_checks
                || after.thresholds != before.thresholds
                || after.depends_on != before.depends_on;
            (respec, repolicy)
        }
        (Kind::Heartbeat(before), Kind::Heartbeat(after)) => (false, after.policy() != before.policy()),
        (Kind::Monitor(_), Kind::Heartbeat(_)) | (Kind::Heartbeat(_), Kind::Monitor(_)) => (true, true),
    }
}
