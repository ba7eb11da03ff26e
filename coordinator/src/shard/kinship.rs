//! Who has to do with whom: monitors that depend on others, and monitors that fail together.
//!
//! Kept beside the subjects and staged like them. What of it must survive a restart is in rows (open incidents with
//! their leader, members that have not left), from which [`Kinship::restore`] makes it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::effect::Evidence;
use engine::group::{Failure, Groups, Sight};
use engine::monitor::{self, Standing};
use engine::vote::RowOutcome;
use model::{FailureKind, IncidentId, RegionId, SubjectId};
use store::MemberRow;

use super::input::{ChangeError, State};
use super::subject::Subject;
use crate::definition::Definition;
use crate::incident::Incident;

/// Monitors may depend on monitors that depend on others, so many levels deep.
const MAX_DEPTH: usize = 10;

/// What subjects have to do with each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinship {
    /// The monitors that depend on each.
    children: BTreeMap<SubjectId, BTreeSet<SubjectId>>,
    /// Incidents that are one to those who are told.
    pub(super) groups: Groups,
    /// Leaders that are well again before the rest of their group.
    pub(super) ended_leads: BTreeMap<IncidentId, Arc<Incident>>,
    /// Those whose failure is part of another's incident: failing with it, or put down to it.
    pub(super) members: BTreeMap<SubjectId, MemberRow>,
}

impl Kinship {
    /// The monitors that depend on this one.
    pub(super) fn children(&self, parent: SubjectId) -> impl Iterator<Item = SubjectId> {
        self.children.get(&parent).into_iter().flatten().copied()
    }

    /// How many levels are below a monitor, at most `limit`.
    fn below(&self, parent: SubjectId, limit: usize) -> usize {
        let mut level: BTreeSet<SubjectId> = self.children(parent).collect();
        let mut depth = 0;
        while !level.is_empty() && depth < limit {
            depth += 1;
            level = level.into_iter().flat_map(|id| self.children(id)).collect();
        }
        depth
    }

    /// A definition was created, changed or deleted.
    pub(super) fn redefine(&mut self, before: Option<&Definition>, after: Option<&Definition>) {
        if let Some(before) = before {
            for parent in parents(before) {
                if let Some(children) = self.children.get_mut(&parent) {
                    children.remove(&before.id);
                    if children.is_empty() {
                        self.children.remove(&parent);
                    }
                }
            }
        }
        if let Some(after) = after {
            for parent in parents(after) {
                self.children.entry(parent).or_default().insert(after.id);
            }
        }
    }

    /// What is known after a restart: `subjects` with their open incidents, members that have not left, and leaders
    /// whose incident is over though their group is not.
    pub(super) fn restore(
        subjects: &[&Subject],
        open_members: Vec<MemberRow>,
        ended_leads: BTreeMap<IncidentId, Arc<Incident>>,
    ) -> Self {
        let mut kinship = Self { ended_leads, ..Self::default() };
        for subject in subjects {
            kinship.redefine(None, Some(&subject.definition));
            let lead = subject.incident.as_ref().filter(|incident| incident.body.lead.is_none());
            if let (Some(lead), Some((_, definition))) = (lead, subject.definition.monitor()) {
                let failure = failure(
                    lead,
                    definition.spec.check.host(),
                    &told(lead, &subject.definition),
                    Sight::default(),
                );
                kinship.groups.lead(lead.id, subject.id(), &failure, lead.opened_at);
            }
        }
        for (id, lead) in &kinship.ended_leads {
            kinship.groups.lead(*id, lead.subject, &failure(lead, "", &[], Sight::default()), lead.opened_at);
        }
        // Those put down to a parent are members too, but have no incident and are in no group.
        let failing: BTreeSet<(IncidentId, SubjectId)> = subjects
            .iter()
            .filter_map(|subject| Some((subject.incident.as_ref()?.body.lead?, subject.id())))
            .collect();
        for row in open_members {
            if failing.contains(&(row.incident, row.subject)) {
                kinship.groups.join(row.incident, row.subject, row.joined_at);
            }
            kinship.members.insert(row.subject, row);
        }
        for lead in kinship.ended_leads.values() {
            kinship.groups.leave(lead.subject);
        }
        kinship
    }
}

/// Who was told of an incident that leads a group.
fn told(lead: &Incident, definition: &Definition) -> Vec<model::ChannelId> {
    match &lead.body.alert {
        Some(alert) => alert.told().collect(),
        None => definition.channels().to_vec(),
    }
}

/// What an incident has in common with others.
pub(super) fn failure(
    incident: &Incident,
    host: &str,
    channels: &[model::ChannelId],
    sight: Sight,
) -> Failure {
    Failure {
        host: host.to_owned(),
        symptom: symptom(incident),
        components: incident.body.failing.iter().map(|component| component.name.clone()).collect(),
        regions: failing_regions(incident),
        sight,
        channels: channels.to_vec(),
        started_at: incident.started_at,
    }
}

/// How an incident's first failing vote fails: the class of failure, of a wrong status which one.
fn symptom(incident: &Incident) -> String {
    let Evidence::Votes(table) = &incident.body.opening else { return String::new() };
    let failing = table.rows.iter().find(|row| row.counted && row.outcome == RowOutcome::Fail);
    match failing.and_then(|row| Some((row.kind?, row))) {
        Some((FailureKind::Status, row)) => row.detail.clone(),
        Some((kind, _)) => format!("{kind:?}"),
        None => String::new(),
    }
}

/// The regions whose failing votes opened an incident, sorted.
pub(super) fn failing_regions(incident: &Incident) -> Vec<RegionId> {
    let Evidence::Votes(table) = &incident.body.opening else { return vec![] };
    let failing = table.rows.iter().filter(|row| row.counted && row.outcome == RowOutcome::Fail);
    failing.map(|row| row.region.clone()).collect()
}

/// How a subject stands to those that depend on it.
pub(super) fn standing(subject: &Subject) -> Standing {
    match &subject.state {
        State::Monitor(state) => monitor::standing(state, &subject.definition.name),
        State::Heartbeat(_) => Standing::Well,
    }
}

/// The monitors that a definition depends on.
pub(super) fn parents(definition: &Definition) -> impl Iterator<Item = SubjectId> {
    let parents = definition.monitor().map(|(_, monitor)| monitor.depends_on.clone());
    parents.into_iter().flatten().map(SubjectId::Monitor)
}

/// Checks that a definition does not depend on itself, however indirectly, and that no chain through it is too long.
///
/// # Errors
/// Names the cycle, or says that a chain is too long.
pub(super) fn check_dependencies<'a>(
    definition: &'a Definition,
    kinship: &Kinship,
    find: impl Fn(SubjectId) -> Option<&'a Definition>,
) -> Result<(), ChangeError> {
    let above = Chains { find, heights: BTreeMap::new() }.above(definition, &mut vec![])?;
    let below = kinship.below(definition.id, MAX_DEPTH);
    if above + below > MAX_DEPTH { Err(ChangeError::TooDeep) } else { Ok(()) }
}

/// Walks up chains of dependencies, each monitor once.
struct Chains<F> {
    find: F,
    /// How many levels are above each monitor whose chains are known to end.
    heights: BTreeMap<SubjectId, usize>,
}

impl<'a, F: Fn(SubjectId) -> Option<&'a Definition>> Chains<F> {
    /// How many levels are above a monitor; `path` leads from the first one down to it.
    fn above(
        &mut self,
        definition: &'a Definition,
        path: &mut Vec<&'a Definition>,
    ) -> Result<usize, ChangeError> {
        if let Some(height) = self.heights.get(&definition.id) {
            return Ok(*height);
        }
        if let Some(start) = path.iter().position(|known| known.id == definition.id) {
            let cycle = path[start..].iter().chain([&definition]);
            let names: Vec<&str> = cycle.map(|known| known.name.as_str()).collect();
            return Err(ChangeError::DependsOnItself(names.join(" → ")));
        }
        // Deeper than that none was ever saved, so what is there now makes it too deep.
        if path.len() > MAX_DEPTH {
            return Err(ChangeError::TooDeep);
        }
        path.push(definition);
        let mut height = 0;
        for parent in parents(definition) {
            if let Some(parent) = (self.find)(parent) {
                height = height.max(1 + self.above(parent, path)?);
            }
        }
        path.pop();
        self.heights.insert(definition.id, height);
        Ok(height)
    }
}
