//! The staged copy: inputs are applied to copies, what follows is gathered as rows, and only a commit publishes both.
//! When the commit fails the whole stage is dropped and nothing has happened.

mod alert;
mod captures;
mod change;
mod group;
mod maintenance;
mod operations;
mod parents;
mod remember;
mod runs;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::group::Sight;
use model::{
    AgentId, CheckResult, IncidentId, InstallationId, MonitorId, Outcome, RegionId, SubjectId, Timestamp,
};
use store::{Commit, Config, EventRow, Record, RunRow, StateRow, SubjectKind};

use captures::SettledCaptures;
use runs::RunKey;

pub(super) use alert::Owed;

use super::captures::Captures;
use super::input::State;
use super::kinship::{self, Kinship};
use super::operations::Operations;
use super::policies::Policies;
use super::seen::Ranges;
use super::subject::{Happening, Policy, Subject};
use crate::acknowledge_link::AcknowledgeLinks;
use crate::alert::Book;
use crate::capture::Captured;
use crate::definition::Definition;
use crate::incident::Incident;
use crate::maintenance::Calendar;

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
    policies: Policies,
    /// Who has which name.
    pub(super) names: HashMap<(bool, String), SubjectId>,
    /// What was seen of agents.
    pub(super) seen: HashMap<AgentId, Seen>,
    /// Regions with a live agent.
    pub(super) live: BTreeSet<RegionId>,
    /// Who has to do with whom.
    pub(super) kinship: Kinship,
    /// What operators are told of.
    pub(super) operations: Operations,
    /// What was seen from each region lately.
    pub(super) sights: BTreeMap<RegionId, Sight>,
    /// What checks met of monitors that have no incident.
    pub(super) captures: Captures,
    /// Incidents that are over, but not for all who were told of them.
    pub(super) owed: Owed,
}

impl Published {
    /// Takes a subject in, or what it is now.
    pub(super) fn put(&mut self, id: SubjectId, mut subject: Subject) {
        let before = self.subjects.get(&id).map(|before| &before.policy);
        if let Policy::Monitor(policy) = &mut subject.policy
            && !matches!(before, Some(Policy::Monitor(before)) if Arc::ptr_eq(before, policy))
        {
            *policy = self.policies.share(Arc::clone(policy));
        }
        self.subjects.insert(id, subject);
    }

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
    /// `None`: as published.
    kinship: Option<Kinship>,
    /// `None`: as published.
    operations: Option<Operations>,
    stale_operations: BTreeSet<SubjectId>,
    sights: BTreeMap<RegionId, Sight>,
    stale_states: BTreeSet<SubjectId>,
    visible: BTreeSet<SubjectId>,
    incidents: BTreeMap<IncidentId, Arc<Incident>>,
    records: Vec<Record>,
    verifications: Vec<(MonitorId, u32)>,
    calendar: Arc<Calendar>,
    book: Arc<Book>,
    links: Option<Arc<AcknowledgeLinks>>,
    /// `None`: as published.
    owed: Option<Owed>,
    /// What the checks of this turn met.
    captured: Vec<Captured>,
    /// Runs of jobs that have something to tell.
    runs: BTreeMap<RunKey, RunRow>,
    /// The one that the ping just applied ended.
    ended_run: Option<RunKey>,
    commit: Commit,
}

/// A stage whose commit succeeded, ready to be published.
#[derive(Debug)]
pub(super) struct Changes {
    subjects: HashMap<SubjectId, Option<Subject>>,
    names: HashMap<(bool, String), Option<SubjectId>>,
    seen: HashMap<AgentId, Seen>,
    live: BTreeMap<RegionId, bool>,
    kinship: Option<Kinship>,
    /// `None`: as published.
    pub(super) operations: Option<Operations>,
    sights: BTreeMap<RegionId, Sight>,
    captured: SettledCaptures,
    owed: Option<Owed>,
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
            kinship: None,
            operations: None,
            stale_operations: BTreeSet::new(),
            sights: BTreeMap::new(),
            stale_states: BTreeSet::new(),
            visible: BTreeSet::new(),
            incidents: BTreeMap::new(),
            records: vec![],
            verifications: vec![],
            calendar: Arc::default(),
            book: Arc::default(),
            links: None,
            owed: None,
            captured: vec![],
            runs: BTreeMap::new(),
            ended_run: None,
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
        if self.get(id).is_some() {
            self.remember(id, &happening);
        }
        let children = self.kinship().children(id).next().is_some();
        let Some(subject) = self.copy(id) else { return };
        let stood = children.then(|| kinship::standing(subject));
        let excusable = match (&happening, &subject.state) {
            (Happening::Blind { .. }, State::Heartbeat(state)) => Some(state.clone()),
            _ => None,
        };
        let underlying = subject.underlying_heartbeat();
        let effects = subject.apply(happening, now);
        // In maintenance a job's pings change what is not shown.
        let changed = subject.underlying_heartbeat() != underlying;
        // An excuse that changes no status is in no record either: replay could not restore it.
        let stands = children.then(|| kinship::standing(subject));
        let excused = excusable.is_some_and(|before| subject.state != State::Heartbeat(before));
        if !effects.is_empty() {
            self.settle(id, effects);
        }
        if excused || changed {
            self.mark(id);
        }
        if stood != stands {
            self.tell_children(id);
        }
    }

    /// Who has to do with whom, as staged.
    pub(super) fn kinship(&self) -> &Kinship {
        self.kinship.as_ref().unwrap_or(&self.base.kinship)
    }

    fn kinship_mut(&mut self) -> &mut Kinship {
        self.kinship.get_or_insert_with(|| self.base.kinship.clone())
    }

    /// Notes what a check says of the region that it was made from.
    pub(super) fn note_sight(&mut self, result: &CheckResult) {
        let id = SubjectId::Monitor(result.monitor);
        let passes = match result.outcome {
            Outcome::Pass => true,
            Outcome::Fail(_) if self.get(id).is_some_and(|subject| subject.incident.is_none()) => false,
            Outcome::Fail(_) | Outcome::Error(_) => return,
        };
        let base = self.base.sights.get(&result.region);
        let sight = match self.sights.get_mut(&result.region) {
            Some(sight) => sight,
            None => {
                self.sights.entry(result.region.clone()).or_insert_with(|| base.cloned().unwrap_or_default())
            }
        };
        if passes {
            sight.pass(result.started_at);
        } else {
            sight.fail(id);
        }
    }

    /// What was seen from a region lately.
    fn sight(&self, region: &RegionId) -> Option<&Sight> {
        self.sights.get(region).or_else(|| self.base.sights.get(region))
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
        self.remember_region(region, live);
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

    /// Whether a commit is needed at all. Rounds and liveness alone need none: they are learnt again after a restart.
    #[must_use]
    pub(super) fn is_durable(&self) -> bool {
        let commit = &self.commit;
        !(self.records.is_empty()
            && self.stale_states.is_empty()
            && self.stale_operations.is_empty()
            && self.incidents.is_empty()
            && self.runs.is_empty()
            && commit.subjects.is_empty()
            && commit.deleted.is_empty()
            && commit.events.is_empty()
            && commit.deliveries.is_empty()
            && commit.claims.is_empty()
            && commit.marks.is_empty()
            && commit.dispatched.is_empty()
            && commit.attempts.is_empty()
            && commit.snapshots.is_empty()
            && commit.agents_seen.is_empty()
            && commit.members.is_empty())
    }

    /// Everything to be committed at `position`, and what to publish afterwards.
    #[must_use]
    pub(super) fn finish(mut self, position: store::Position) -> (Commit, Changes) {
        let captured = self.settle_captures();
        for &id in &self.stale_states {
            if let Some(subject) = self.get(id) {
                let row = StateRow { subject: id, position, state: subject.state.to_json() };
                self.commit.states.push(row);
            }
        }
        let operations = self.operations.as_ref().unwrap_or(&self.base.operations);
        let rows = self.stale_operations.iter().filter_map(|id| operations.to_row(*id, position));
        self.commit.states.extend(rows);
        self.commit.runs = std::mem::take(&mut self.runs).into_values().collect();
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
            kinship: self.kinship,
            operations: self.operations,
            sights: self.sights,
            captured,
            owed: self.owed,
            visible: self.visible,
            verifications: self.verifications,
        };
        (self.commit, changes)
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
                Some(subject) => published.put(id, subject),
                None => drop(published.subjects.remove(&id)),
            }
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
        if let Some(kinship) = self.kinship {
            published.kinship = kinship;
        }
        if let Some(operations) = self.operations {
            published.operations = operations;
        }
        if let Some(owed) = self.owed {
            published.owed = owed;
        }
        published.sights.extend(self.sights);
        for monitor in self.captured.settled {
            published.captures.forget(monitor);
        }
        for captured in self.captured.waiting {
            published.captures.add(captured);
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
