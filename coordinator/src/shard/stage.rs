//! The staged copy: inputs are applied to copies, what follows is gathered as rows, and only a commit publishes both.
//! When the commit fails the whole stage is dropped and nothing has happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::effect::Effect;
use model::{AgentId, IncidentId, InstallationId, MonitorId, RegionId, SubjectId, Timestamp};
use store::{Commit, Config, EventRow, IncidentState, Record, StateRow, SubjectKind, TimelineRow};
use tracing::warn;

use super::input::{ChangeError, ChangeRequest, State};
use super::seen::Ranges;
use super::subject::{Happening, Subject};
use crate::definition::{Definition, Kind};
use crate::incident::Incident;

/// What is known of an agent's sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The newest epoch heard of.
    pub(super) epoch: u64,
    /// Its numbers.
    pub(super) ranges: Ranges,
}

/// The published states: what was true after the last commit.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Every subject.
    pub(super) subjects: HashMap<SubjectId, Subject>,
    /// Who has which name.
    pub(super) names: HashMap<(bool, String), SubjectId>,
    /// What was seen of agents.
    pub(super) seen: HashMap<AgentId, Seen>,
    /// Regions with a live agent.
    pub(super) live: BTreeSet<RegionId>,
}

impl Published {
    /// Every subject's id, sorted.
    #[expect(clippy::disallowed_methods, reason = "sorted before anything is done with them")]
    #[must_use]
    pub(super) fn ids(&self) -> Vec<SubjectId> {
        let mut ids: Vec<SubjectId> = self.subjects.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// Copies of what this turn touches, and everything that is to become durable with it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    base: &'a Published,
    installation: InstallationId,
    config: &'a Config,
    now: Timestamp,
    /// `None`: deleted.
    subjects: HashMap<SubjectId, Option<Subject>>,
    names: HashMap<(bool, String), Option<SubjectId>>,
    seen: HashMap<AgentId, Seen>,
    live: BTreeMap<RegionId, bool>,
    stale_states: BTreeSet<SubjectId>,
    visible: BTreeSet<SubjectId>,
    incidents: BTreeMap<IncidentId, Arc<Incident>>,
    records: Vec<Record>,
    verifications: Vec<(MonitorId, u32)>,
    commit: Commit,
}

/// A stage whose commit succeeded, ready to be published.
#[derive(Debug)]
pub(super) struct Changes {
    subjects: HashMap<SubjectId, Option<Subject>>,
    names: HashMap<(bool, String), Option<SubjectId>>,
    seen: HashMap<AgentId, Seen>,
    live: BTreeMap<RegionId, bool>,
    /// Subjects whose picture must be renewed at once.
    pub(super) visible: BTreeSet<SubjectId>,
    /// Rounds to be asked for.
    pub(super) verifications: Vec<(MonitorId, u32)>,
    /// Events for the outbox.
    pub(super) events: Vec<EventRow>,
}

impl<'a> Stage<'a> {
    /// An empty stage over what is published.
    #[must_use]
    pub(super) fn new(
        base: &'a Published,
        installation: InstallationId,
        config: &'a Config,
        now: Timestamp,
    ) -> Self {
        Self {
            base,
            installation,
            config,
            now,
            subjects: HashMap::new(),
            names: HashMap::new(),
            seen: HashMap::new(),
            live: BTreeMap::new(),
            stale_states: BTreeSet::new(),
            visible: BTreeSet::new(),
            incidents: BTreeMap::new(),
            records: vec![],
            verifications: vec![],
            commit: Commit::default(),
        }
    }

    /// The rows gathered so far; whoever has rows that no decision makes adds them here.
    pub(super) fn rows(&mut self) -> &mut Commit {
        &mut self.commit
    }

    /// A subject as staged.
    #[must_use]
    pub(super) fn get(&self, id: SubjectId) -> Option<&Subject> {
        match self.subjects.get(&id) {
            Some(staged) => staged.as_ref(),
            None => self.base.subjects.get(&id),
        }
    }

    /// Notes that a sequence number of an agent is being committed. `false`: it was committed before, or belongs to an
    /// older process.
    pub(super) fn see(&mut self, agent: AgentId, epoch: u64, seq: u64) -> bool {
        let seen =
            self.seen.entry(agent).or_insert_with(|| self.base.seen.get(&agent).cloned().unwrap_or_default());
        if epoch > seen.epoch {
            *seen = Seen { epoch, ranges: Ranges::default() };
        }
        epoch == seen.epoch && seen.ranges.insert(seq)
    }

    /// Adds a record to the journal row of this commit.
    pub(super) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Applies what happened to one subject. An unknown subject changes nothing.
    pub(super) fn apply(&mut self, id: SubjectId, happening: Happening<'_>) {
        let now = self.now;
        let Some(subject) = self.copy(id) else { return };
        let excusable = match (&happening, &subject.state) {
            (Happening::Blind { .. }, State::Heartbeat(state)) => Some(state.clone()),
            _ => None,
        };
        let effects = subject.apply(happening, now);
        // An excuse that changes no status is in no record either: replay could not restore it.
        let excused = excusable.is_some_and(|before| subject.state != State::Heartbeat(before));
        if !effects.is_empty() {
            self.settle(id, effects);
        }
        if excused {
            self.mark(id);
        }
    }

    /// Applies what happened to every subject for which `concerns` holds.
    pub(super) fn apply_to_all(&mut self, happening: Happening<'_>, concerns: impl Fn(&Subject) -> bool) {
        // Order shows in the order of events and timelines, so it must not depend on the map's.
        for id in self.ids() {
            if self.get(id).is_some_and(&concerns) {
                self.apply(id, happening);
            }
        }
    }

    /// A region's agents came or went.
    pub(super) fn region_live(&mut self, region: &RegionId, live: bool) {
        self.live.insert(region.clone(), live);
        let event = engine::monitor::Event::RegionLive { region: region.clone(), live };
        for id in self.ids() {
            if !self.get(id).is_some_and(|subject| subject.is_checked_from(region)) {
                continue;
            }
            self.apply(id, Happening::Monitor(&event));
            // An agent that comes in the middle of a round is asked too.
            if let (true, SubjectId::Monitor(monitor), Some(subject)) = (live, id, self.get(id))
                && let State::Monitor(state) = &subject.state
                && let Some(round) = state.round()
            {
                self.verifications.push((monitor, round));
            }
        }
    }

    /// Makes a user's change.
    ///
    /// # Errors
    /// Says why it cannot be made; then nothing is staged for it.
    pub(super) fn change(&mut self, request: &ChangeRequest) -> Result<(), ChangeError> {
        match request {
            ChangeRequest::Put { definition, expected: None } => self.create(definition),
            ChangeRequest::Put { definition, expected: Some(revision) } => self.update(definition, *revision),
            ChangeRequest::Delete { id, expected } => self.delete(*id, *expected),
        }
    }

    fn create(&mut self, definition: &Definition) -> Result<(), ChangeError> {
        let name = name_key(definition);
        if self.name_owner(&name).is_some() {
            return Err(ChangeError::NameTaken(name.1));
        }
        self.names.insert(name, Some(definition.id));
        let definition = Arc::new(definition.clone());
        let mut subject = Subject::new(Arc::clone(&definition), self.now);
        for region in self.live_regions() {
            if subject.is_checked_from(&region) {
                let event = engine::monitor::Event::RegionLive { region, live: true };
                subject.apply(Happening::Monitor(&event), self.now);
            }
        }
        if definition.paused() {
            subject.apply(Happening::Paused, self.now);
        }
        self.subjects.insert(definition.id, Some(subject));
        self.commit.subjects.push(definition.to_row());
        self.mark(definition.id);
        Ok(())
    }

    fn update(&mut self, definition: &Definition, expected: u64) -> Result<(), ChangeError> {
        let id = definition.id;
        let before = Arc::clone(&self.get(id).ok_or(ChangeError::NotFound)?.definition);
        if before.revision != expected {
            return Err(ChangeError::Stale);
        }
        let (old_name, new_name) = (name_key(&before), name_key(definition));
        if old_name != new_name {
            if self.name_owner(&new_name).is_some() {
                return Err(ChangeError::NameTaken(new_name.1));
            }
            self.names.insert(old_name, None);
            self.names.insert(new_name, Some(id));
        }
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
        Ok(())
    }

    fn delete(&mut self, id: SubjectId, expected: Option<u64>) -> Result<(), ChangeError> {
        let definition = Arc::clone(&self.get(id).ok_or(ChangeError::NotFound)?.definition);
        if expected.is_some_and(|revision| revision != definition.revision) {
            return Err(ChangeError::Stale);
        }
        self.apply(id, Happening::Deleted);
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
    }

    /// Whether a commit is needed at all. Rounds and liveness alone need none: they are learnt again after a restart.
    #[must_use]
    pub(super) fn is_durable(&self) -> bool {
        let commit = &self.commit;
        !(self.records.is_empty()
            && self.stale_states.is_empty()
            && self.incidents.is_empty()
            && commit.subjects.is_empty()
            && commit.deleted.is_empty()
            && commit.deliveries.is_empty()
            && commit.dispatched.is_empty()
            && commit.attempts.is_empty()
            && commit.snapshots.is_empty()
            && commit.agents_seen.is_empty())
    }

    /// Everything to be committed at `position`, and what to publish afterwards.
    #[must_use]
    pub(super) fn finish(mut self, position: store::Position) -> (Commit, Changes) {
        for &id in &self.stale_states {
            if let Some(subject) = self.get(id) {
                let row = StateRow { subject: id, position, state: subject.state.to_json() };
                self.commit.states.push(row);
            }
        }
        for incident in self.incidents.values() {
            self.commit.incidents.push(incident.to_row());
        }
        // A commit with states always has a journal row, so that positions never go back after a restart.
        if !self.records.is_empty() || !self.commit.states.is_empty() {
            self.commit.journal = Some(store::JournalRow {
                position,
                at: self.now,
                blob: store::journal::encode(&self.records),
            });
        }
        self.commit.now = self.now;
        let changes = Changes {
            events: self.commit.events.clone(),
            subjects: self.subjects,
            names: self.names,
            seen: self.seen,
            live: self.live,
            visible: self.visible,
            verifications: self.verifications,
        };
        (self.commit, changes)
    }

    /// Turns effects into rows.
    fn settle(&mut self, id: SubjectId, effects: Vec<Effect>) {
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

    /// The copy of a subject that this turn changes.
    fn copy(&mut self, id: SubjectId) -> Option<&mut Subject> {
        if !self.subjects.contains_key(&id) {
            let subject = self.base.subjects.get(&id)?.clone();
            self.subjects.insert(id, Some(subject));
        }
        self.subjects.get_mut(&id)?.as_mut()
    }

    fn mark(&mut self, id: SubjectId) {
        self.stale_states.insert(id);
        self.visible.insert(id);
    }

    fn name_owner(&self, name: &(bool, String)) -> Option<SubjectId> {
        match self.names.get(name) {
            Some(staged) => *staged,
            None => self.base.names.get(name).copied(),
        }
    }

    fn live_regions(&self) -> Vec<RegionId> {
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

    #[expect(clippy::disallowed_methods, reason = "sorted before anything is done with them")]
    fn ids(&self) -> Vec<SubjectId> {
        let mut ids: Vec<SubjectId> =
            self.base.subjects.keys().chain(self.subjects.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

impl Changes {
    /// Makes the staged copies the published states. Returns the subjects that changed, sorted.
    pub(super) fn publish(self, published: &mut Published) -> Vec<SubjectId> {
        let mut changed = Vec::with_capacity(self.subjects.len());
        for (id, subject) in self.subjects {
            match subject {
                Some(subject) => published.subjects.insert(id, subject),
                None => published.subjects.remove(&id),
            };
            changed.push(id);
        }
        for (name, owner) in self.names {
            match owner {
                Some(owner) => published.names.insert(name, owner),
                None => published.names.remove(&name),
            };
        }
        published.seen.extend(self.seen);
        for (region, live) in self.live {
            if live {
                published.live.insert(region);
            } else {
                published.live.remove(&region);
            }
        }
        changed.sort_unstable();
        changed
    }
}

/// Names are unique among monitors and among heartbeats.
#[must_use]
pub(super) fn name_key(definition: &Definition) -> (bool, String) {
    (definition.to_kind() == SubjectKind::Monitor, definition.name.clone())
}

/// Whether the agents must do something else, and whether the engine must decide anew.
fn compare(before: &Definition, after: &Definition) -> (bool, bool) {
    match (&before.kind, &after.kind) {
        (Kind::Monitor(before), Kind::Monitor(after)) => {
            let respec = after.respecifies(before);
            let repolicy = respec
                || after.quorum != before.quorum
                || after.confirmation_period != before.confirmation_period
                || after.recovery_checks != before.recovery_checks;
            (respec, repolicy)
        }
        (Kind::Heartbeat(before), Kind::Heartbeat(after)) => {
            (false, after.interval != before.interval || after.grace != before.grace)
        }
        (Kind::Monitor(_), Kind::Heartbeat(_)) | (Kind::Heartbeat(_), Kind::Monitor(_)) => (true, true),
    }
}
