//! Openings and endings of incidents that are one to those who are told (`engine::group`).
//!
//! The leader's incident is announced when it opens and when the last of its group is well again; those of the others
//! are not, but stand on every page. If others joined, one more message names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::alert;
use engine::group::{Left, Sight};
use model::{ChannelId, IncidentId, SubjectId, Timestamp};
use store::{IncidentState, MemberRow, TimelineRow};

use super::Stage;
use super::alert::Step;
use crate::definition::Definition;
use crate::incident::Incident;
use crate::shard::kinship;

/// Those who joined a group are named this long after the last message about it at the earliest: first, and then.
const FIRST_UPDATE_AFTER: Duration = Duration::from_secs(60);
const NEXT_UPDATE_AFTER: Duration = Duration::from_secs(300);
/// A leader's timeline names so many that joined.
const NAMED_IN_TIMELINE: usize = 20;

impl Stage<'_> {
    /// A monitor's incident opened: it joins a group, or leads one and is told of.
    pub(super) fn open_in_group(&mut self, id: SubjectId, mut incident: Incident) {
        let Some(subject) = self.get(id) else { return };
        let definition = Arc::clone(&subject.definition);
        let host = definition.monitor().map(|(_, monitor)| monitor.spec.check.host().to_owned());
        let regions = kinship::failing_regions(&incident);
        let sight = regions.iter().filter_map(|region| self.sight(region)).fold(Sight::default(), Sight::and);
        let host = host.unwrap_or_default();
        // Whoever is told of nothing now (a delay, a silence) speaks for nobody else, and nobody speaks for them.
        let policy = self.book.policy_for(&definition, self.now);
        let opened = alert::open(incident.severity(), incident.opened_at, &policy, self.now);
        let told: Vec<ChannelId> = opened.state.told().collect();
        let is_held = told.len() < policy.channels(incident.severity()).len();
        let failure = kinship::failure(&incident, &host, &told, sight);
        // It may have been put down to a parent until now.
        self.leave_incident(id);
        let found = self.kinship().groups.find(&failure, self.now).filter(|_| !is_held);
        let Some((lead, common)) = found else {
            let now = self.now;
            self.kinship_mut().groups.lead(incident.id, id, &failure, now);
            incident.body.told_at = Some(now);
            self.hold(id, incident);
            self.announce(id);
            return;
        };
        incident.body.lead = Some(lead);
        let line = format!("part of another incident, {lead}: {common}");
        let name = definition.name.clone();
        let cause = incident.body.cause.clone();
        let own = incident.id;
        self.hold(id, incident);
        self.put_open_incident(id);
        let row = MemberRow { incident: lead, subject: id, name, cause, joined_at: self.now, left_at: None };
        self.commit.members.push(row.clone());
        let now = self.now;
        let kinship = self.kinship_mut();
        kinship.groups.join(lead, id, now);
        kinship.members.insert(id, row);
        let joined = kinship.groups.failing(lead).count();
        self.add_line(id, own, line);
        if joined <= NAMED_IN_TIMELINE
            && let Some(leader) = self.leader(lead)
        {
            self.add_line(leader, lead, format!("{} fails too, {common}", definition.name));
        }
    }

    /// An incident that has just ended leaves its group, and what is now to be told is.
    pub(super) fn end_in_group(
        &mut self,
        id: SubjectId,
        ended: &Arc<Incident>,
        definition: &Arc<Definition>,
    ) {
        let left = self.kinship_mut().groups.leave(id);
        let is_lead = ended.body.lead.is_none();
        self.leave_incident(id);
        match left {
            Left::Alone | Left::Last(_) if is_lead => drop(self.tell(definition, ended)),
            Left::Before(lead) if is_lead && ended.state == IncidentState::Closed => {
                self.tell(definition, ended);
                self.hand_over(lead);
            }
            Left::Before(lead) if is_lead => {
                self.kinship_mut().ended_leads.insert(lead, Arc::clone(ended));
                self.put_incident(Arc::clone(ended));
            }
            Left::Last(lead) => {
                self.put_incident(Arc::clone(ended));
                self.end_group(lead);
            }
            Left::Alone | Left::Before(_) => self.put_incident(Arc::clone(ended)),
        }
    }

    /// The last of a group whose leader has long been well is well too.
    fn end_group(&mut self, lead: IncidentId) {
        let Some(mut incident) = self.kinship_mut().ended_leads.remove(&lead) else { return };
        Arc::make_mut(&mut incident).body.group_ended_at = Some(self.now);
        match self.get(incident.subject).map(|subject| Arc::clone(&subject.definition)) {
            Some(definition) => drop(self.tell(&definition, &incident)),
            None => self.put_incident(incident),
        }
    }

    /// The leader of a group is no longer watched: the rest goes on under the one that failed first, which is told of.
    pub(super) fn hand_over(&mut self, lead: IncidentId) {
        if let Some(ended) = self.kinship_mut().ended_leads.remove(&lead)
            && ended.body.alert.is_some()
        {
            let concern = self.concern(&ended);
            self.tell_of(Incident::clone(&ended), concern, Step::Happened(alert::Event::Ended));
        }
        let failing: Vec<SubjectId> = self.kinship().groups.failing(lead).collect();
        let since = |id: &SubjectId| Some((self.get(*id)?.incident.as_ref()?.opened_at, *id));
        let Some((_, heir)) = failing.iter().filter_map(since).min() else { return };
        let Some(heir_incident) = self.get(heir).and_then(|subject| subject.incident.as_ref()) else {
            return;
        };
        let heir_incident = heir_incident.id;
        let (joined, now) = (u32::try_from(failing.len() - 1).unwrap_or(u32::MAX), self.now);
        for member in failing {
            let is_heir = member == heir;
            let Some(subject) = self.copy(member) else { continue };
            let Some(incident) = &mut subject.incident else { continue };
            let body = &mut Arc::make_mut(incident).body;
            body.lead = (!is_heir).then_some(heir_incident);
            if is_heir {
                (body.members_told, body.told_at) = (joined, Some(now));
            }
            self.put_open_incident(member);
            if let Some(row) = self.kinship().members.get(&member).cloned() {
                self.leave_incident(member);
                if !is_heir {
                    let row = MemberRow { incident: heir_incident, joined_at: self.now, ..row };
                    self.commit.members.push(row.clone());
                    self.kinship_mut().members.insert(member, row);
                }
            }
        }
        self.kinship_mut().groups.inherit(lead, heir_incident, heir);
        self.announce(heir);
    }

    /// Tells of groups that others have joined since they were last told of, when that is due.
    pub(in crate::shard) fn tell_of_joined(&mut self) {
        let now = self.now;
        let leads: BTreeSet<IncidentId> = self.kinship().members.values().map(|row| row.incident).collect();
        for lead in leads {
            let Some(leader) = self.leader(lead) else { continue };
            let joined = self.kinship().groups.failing(lead).count().saturating_sub(1);
            let joined = u32::try_from(joined).unwrap_or(u32::MAX);
            let Some(incident) = self.copy(leader).and_then(|subject| subject.incident.as_mut()) else {
                continue;
            };
            let wait = if incident.body.members_told == 0 { FIRST_UPDATE_AFTER } else { NEXT_UPDATE_AFTER };
            let due = incident.body.told_at.is_none_or(|at| now >= at.plus(wait));
            if incident.id != lead || joined <= incident.body.members_told || !due {
                continue;
            }
            let body = &mut Arc::make_mut(incident).body;
            (body.members_told, body.told_at) = (joined, Some(now));
            self.announce(leader);
        }
    }

    /// The names of those who failed together with a leader and are not well yet, in the order in which they joined.
    pub(super) fn members_of(&self, lead: IncidentId) -> Vec<String> {
        let kinship = self.kinship();
        let failing = kinship.groups.failing(lead).filter_map(|id| kinship.members.get(&id));
        let mut rows: Vec<&MemberRow> = failing.filter(|row| row.incident == lead).collect();
        rows.sort_by_key(|row| (row.joined_at, row.subject));
        rows.into_iter().map(|row| row.name.clone()).collect()
    }

    /// The subject whose open incident leads a group.
    fn leader(&self, lead: IncidentId) -> Option<SubjectId> {
        let failing = self.kinship().groups.failing(lead);
        failing.into_iter().find(|id| {
            self.get(*id).and_then(|subject| subject.incident.as_ref()).is_some_and(|open| open.id == lead)
        })
    }

    fn hold(&mut self, id: SubjectId, incident: Incident) {
        if let Some(subject) = self.copy(id) {
            subject.incident = Some(Arc::new(incident));
        }
    }

    fn put_open_incident(&mut self, id: SubjectId) {
        if let Some(incident) = self.get(id).and_then(|subject| subject.incident.clone()) {
            self.put_incident(incident);
        }
    }

    /// Adds a line to the timeline of a subject's open incident.
    fn add_line(&mut self, id: SubjectId, incident: IncidentId, text: String) {
        let at: Timestamp = self.now;
        let Some(open) = self.copy(id).and_then(|subject| subject.incident.as_mut()) else { return };
        if open.id != incident {
            return;
        }
        let ordinal = Arc::make_mut(open).next_line();
        let open = Arc::clone(open);
        self.commit.timeline.push(TimelineRow { incident, ordinal, at, text });
        self.put_incident(open);
    }
}
