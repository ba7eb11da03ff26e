//! The contract in memory: for simulations and tests, where every run must be the same and nothing may wait.
//!
//! A commit is checked whole before anything of it is applied, so it needs no undoing. Clones share their rows: a
//! "restarted" coordinator under test opens a clone of what the last one left.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::{
    AgentId, ChannelId, DeliveryId, EventId, HeartbeatId, IncidentId, InstallationId, KeyId, MaintenanceId,
    PageId, PolicyId, RegionId, Shard, SilenceId, SubjectId, Timestamp,
};

use crate::{
    AgentRow, AgentSeen, AttemptRow, AttemptedDelivery, BadgeRow, CaptureQuery, CaptureRow, CaptureVerdict,
    ChannelRecord, ChannelRow, Commit, Config, ConfigChange, DEFAULT_LEASE_TTL, DeliveryMark, DeliveryQuery,
    DeliveryRow, DeliveryState, Error, EventRow, IncidentQuery, IncidentRow, IncidentState, JournalQuery,
    JournalRow, KEPT_RUNS, KeyRow, Lease, Loaded, MaintenanceRow, MemberRow, PageRow, PingKeyRow, PolicyRow,
    Position, RegionRow, RunPlace, RunQuery, RunRow, SilenceRow, SnapshotRow, StateRow, Store, SubjectRow,
    TRIMMED_CAPTURES_PER_COMMIT, TRIMMED_DELIVERIES_PER_COMMIT, TRIMMED_PER_COMMIT, TRIMMED_RUNS_PER_COMMIT,
    TimelineRow,
};

/// A store that lives as long as its last clone.
#[derive(Clone, Debug)]
pub struct Memory {
    installation: InstallationId,
    rows: Arc<Mutex<Rows>>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self { installation, rows: Arc::default() }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Whoever panicked did so before or after a commit was applied, never within.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type CaptureKey = (IncidentId, RegionId, CaptureVerdict, Option<u32>);

#[derive(Debug, Default)]
struct Rows {
    coordinators: BTreeMap<String, Coordinator>,
    /// Every claim takes every shard, so that they share one epoch.
    epoch: u64,
    journal: BTreeMap<Position, JournalRow>,
    replay_from: Position,
    snapshots: BTreeMap<Shard, SnapshotRow>,
    /// The newest epoch of each.
    agents_seen: BTreeMap<AgentId, AgentSeen>,
    subjects: BTreeMap<SubjectId, SubjectRow>,
    states: BTreeMap<SubjectId, StateRow>,
    incidents: BTreeMap<IncidentId, IncidentRow>,
    /// The open incident of each subject that has one.
    open: BTreeMap<SubjectId, IncidentId>,
    timeline: BTreeMap<(IncidentId, u32), TimelineRow>,
    members: BTreeMap<(IncidentId, Timestamp, SubjectId), MemberRow>,
    captures: BTreeMap<CaptureKey, CaptureRow>,
    runs: BTreeMap<(HeartbeatId, RunPlace), RunRow>,
    events: BTreeMap<EventId, EventRow>,
    undispatched: BTreeSet<EventId>,
    deliveries: BTreeMap<DeliveryId, DeliveryRow>,
    attempts: BTreeMap<(DeliveryId, u32), AttemptRow>,
    config_revision: u64,
    regions: BTreeMap<RegionId, RegionRow>,
    agents: BTreeMap<AgentId, AgentRow>,
    channels: BTreeMap<ChannelId, ChannelRow>,
    pages: BTreeMap<PageId, PageRow>,
    maintenances: BTreeMap<MaintenanceId, MaintenanceRow>,
    policies: BTreeMap<PolicyId, PolicyRow>,
    silences: BTreeMap<SilenceId, SilenceRow>,
    keys: BTreeMap<KeyId, KeyRow>,
    ping_keys: BTreeMap<KeyId, PingKeyRow>,
    badges: BTreeMap<String, BadgeRow>,
}

#[derive(Debug, Default)]
struct Coordinator {
    generation: u64,
    alive_at: Option<Timestamp>,
}

impl Store for Memory {
    fn installation(&self) -> InstallationId {
        self.installation
    }

    fn claim<'a>(&'a self, coordinator: &'a str, _now: Timestamp) -> BoxFuture<'a, Result<Lease, Error>> {
        ready(Ok(self.rows().claim(coordinator))).boxed()
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<(), Error>> {
        // Within the future, so that a commit that nobody awaits does nothing, as elsewhere.
        async { self.rows().commit(commit) }.boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, Error>> {
        ready(Ok(self.rows().load())).boxed()
    }

    fn journal_after(&self, after: Position, limit: u32) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        let rows = self.rows();
        let later = rows.journal.range(after.saturating_add(1)..).map(|(_, row)| row.clone());
        ready(Ok(later.take(limit as usize).collect())).boxed()
    }

    fn journal_page(&self, query: JournalQuery) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        let rows = self.rows();
        let earlier = rows.journal.range(..query.before.unwrap_or(Position::MAX)).rev().map(|(_, row)| row);
        let page = earlier.filter(|row| row.at >= query.not_before).take(query.limit as usize).cloned();
        ready(Ok(page.collect())).boxed()
    }

    fn list_incidents<'a>(
        &'a self,
        query: &'a IncidentQuery,
    ) -> BoxFuture<'a, Result<Vec<IncidentRow>, Error>> {
        ready(Ok(self.rows().list_incidents(query))).boxed()
    }

    fn incident(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<IncidentRow>, Error>> {
        ready(Ok(self.rows().incidents.get(&id).cloned())).boxed()
    }

    fn timeline(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<TimelineRow>, Error>> {
        let rows = self.rows();
        let lines = rows.timeline.range((incident, 0)..=(incident, u32::MAX));
        ready(Ok(lines.map(|(_, line)| line.clone()).collect())).boxed()
    }

    fn members(
        &self,
        incident: IncidentId,
        limit: u32,
    ) -> BoxFuture<'_, Result<(Vec<MemberRow>, u64), Error>> {
        let rows = self.rows();
        let members = rows.members(|row| row.incident == incident);
        let total = members.len() as u64;
        ready(Ok((members.into_iter().take(limit as usize).cloned().collect(), total))).boxed()
    }

    fn captures<'a>(&'a self, query: &'a CaptureQuery) -> BoxFuture<'a, Result<Vec<CaptureRow>, Error>> {
        ready(Ok(self.rows().captures(query))).boxed()
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        ready(Ok(self.rows().runs(&query))).boxed()
    }

    fn deliveries(&self, incident: IncidentId) -> BoxFuture<'_, Result<Vec<AttemptedDelivery>, Error>> {
        let rows = self.rows();
        let deliveries = rows.deliveries(|row| row.incident == incident).into_iter();
        let with_attempts = deliveries.map(|delivery| (delivery.clone(), rows.attempts(delivery.id)));
        ready(Ok(with_attempts.collect())).boxed()
    }

    fn delivery(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<AttemptedDelivery>, Error>> {
        let rows = self.rows();
        let delivery = rows.deliveries.get(&id).cloned();
        ready(Ok(delivery.map(|delivery| (delivery, rows.attempts(id))))).boxed()
    }

    fn list_deliveries<'a>(
        &'a self,
        query: &'a DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRow>, Error>> {
        ready(Ok(self.rows().list_deliveries(query))).boxed()
    }

    fn channel_record(&self, channel: ChannelId) -> BoxFuture<'_, Result<ChannelRecord, Error>> {
        ready(Ok(self.rows().channel_record(channel))).boxed()
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRow>, Error>> {
        ready(Ok(self.rows().events.get(&id).cloned())).boxed()
    }

    fn config(&self) -> BoxFuture<'_, Result<Config, Error>> {
        ready(Ok(self.rows().config())).boxed()
    }

    fn config_revision(&self) -> BoxFuture<'_, Result<u64, Error>> {
        ready(Ok(self.rows().config_revision)).boxed()
    }

    fn change_config<'a>(
        &'a self,
        change: &'a ConfigChange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        async move { self.rows().change_config(change, now) }.boxed()
    }
}

impl Rows {
    fn claim(&mut self, id: &str) -> Lease {
        let coordinator = self.coordinators.entry(id.to_owned()).or_default();
        coordinator.generation += 1;
        self.epoch += 1;
        Lease {
            coordinator: id.to_owned(),
            generation: coordinator.generation,
            epochs: Shard::all().map(|shard| (shard, self.epoch)).collect(),
            previous_alive_at: coordinator.alive_at,
            ttl: DEFAULT_LEASE_TTL,
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), Error> {
        self.check_lease(commit)?;
        if let Some(row) = commit.journal.as_ref().filter(|row| self.journal.contains_key(&row.position)) {
            return Err(Error::Duplicate(row.taken()));
        }
        let subjects = self.subjects_after(commit)?;
        let open = self.open_after(commit)?;

        // From here on nothing can fail.
        if let Some(coordinator) = self.coordinators.get_mut(&commit.coordinator) {
            coordinator.alive_at = Some(commit.now);
        }
        self.journal.extend(commit.journal.iter().map(|row| (row.position, row.clone())));
        if let Some(subjects) = subjects {
            self.subjects = subjects;
        }
        if let Some(open) = open {
            self.open = open;
        }
        self.write_states(commit);
        self.incidents.extend(commit.incidents.iter().map(|row| (row.id, row.clone())));
        for row in &commit.timeline {
            self.timeline.entry((row.incident, row.ordinal)).or_insert_with(|| row.clone());
        }
        let members =
            commit.members.iter().map(|row| ((row.incident, row.joined_at, row.subject), row.clone()));
        self.members.extend(members);
        for row in &commit.captures {
            let key = (row.incident, row.region.clone(), row.verdict, row.period);
            if row.period.is_none() {
                if self.captures.get(&key).is_none_or(|known| known.at <= row.at) {
                    self.captures.insert(key, row.clone());
                }
            } else {
                self.captures.entry(key).or_insert_with(|| row.clone());
            }
        }
        self.write_runs(commit);
        for row in &commit.events {
            self.events.entry(row.id).or_insert_with(|| {
                self.undispatched.insert(row.id);
                row.clone()
            });
        }
        for row in &commit.deliveries {
            self.deliveries.entry(row.id).or_insert_with(|| row.clone());
        }
        for claim in &commit.claims {
            if let Some(row) = self.deliveries.get_mut(&claim.delivery) {
                row.body = Some(claim.body.clone());
            }
        }
        for mark in &commit.marks {
            self.mark_delivery(mark);
        }
        for event in &commit.dispatched {
            self.undispatched.remove(event);
        }
        for row in &commit.attempts {
            self.attempts.entry((row.delivery, row.number)).or_insert_with(|| row.clone());
        }
        self.snapshots.extend(commit.snapshots.iter().map(|row| (row.shard, row.clone())));
        for row in &commit.agents_seen {
            if self.agents_seen.get(&row.agent).is_none_or(|known| known.epoch <= row.epoch) {
                self.agents_seen.insert(row.agent, row.clone());
            }
        }
        self.replay_from = commit.replay_from.unwrap_or(self.replay_from);
        if let Some(before) = commit.trim_journal_before {
            self.trim(before);
        }
        if let Some(before) = commit.trim_captures_before {
            self.trim_captures(before);
        }
        if let Some(before) = commit.trim_runs_before {
            self.trim_runs_before(before);
        }
        for heartbeat in &commit.trim_runs_of {
            self.trim_runs_of(*heartbeat);
        }
        if let Some(before) = commit.trim_deliveries_before {
            self.trim_deliveries(before);
        }
        Ok(())
    }

    fn mark_delivery(&mut self, mark: &DeliveryMark) {
        let Some(row) = self.deliveries.get_mut(&mark.delivery) else { return };
        row.state = mark.state;
        row.attempts = mark.attempts;
        row.replayed_after = mark.replayed_after;
        row.next_attempt_at = mark.next_attempt_at;
        row.first_attempt_at = mark.first_attempt_at;
        row.finished_at = mark.finished_at;
        row.reason.clone_from(&mark.reason);
    }

    fn check_lease(&self, commit: &Commit) -> Result<(), Error> {
        let generation = self.coordinators.get(&commit.coordinator).map(|coordinator| coordinator.generation);
        if generation != Some(commit.generation) {
            return Err(Error::Fenced);
        }
        let mut lost: Vec<Shard> =
            commit.epochs.iter().filter(|(_, epoch)| *epoch != self.epoch).map(|(shard, _)| *shard).collect();
        lost.sort_unstable();
        if lost.is_empty() { Ok(()) } else { Err(Error::ShardsLost(lost)) }
    }

    /// The subjects as the commit leaves them; `None` if it leaves them alone.
    fn subjects_after(&self, commit: &Commit) -> Result<Option<BTreeMap<SubjectId, SubjectRow>>, Error> {
        if commit.subjects.is_empty() && commit.deleted.is_empty() {
            return Ok(None);
        }
        let mut subjects = self.subjects.clone();
        subjects.retain(|id, _| !commit.deleted.contains(id));
        let written: Vec<_> =
            commit.subjects.iter().filter(|row| !commit.deleted.contains(&row.id)).collect();
        for row in &written {
            let same_name = |other: &SubjectRow| {
                other.id != row.id
                    && (&other.workspace, other.kind(), &other.name)
                        == (&row.workspace, row.kind(), &row.name)
            };
            if subjects.values().any(same_name) {
                return Err(Error::Duplicate(SubjectRow::taken(&written)));
            }
            subjects.insert(row.id, SubjectRow::clone(row));
        }
        Ok(Some(subjects))
    }

    /// The open incidents as the commit leaves them; `None` if it leaves them alone.
    fn open_after(&self, commit: &Commit) -> Result<Option<BTreeMap<SubjectId, IncidentId>>, Error> {
        if commit.incidents.is_empty() {
            return Ok(None);
        }
        let mut open = self.open.clone();
        for row in &commit.incidents {
            open.retain(|_, id| *id != row.id);
        }
        for row in commit.incidents.iter().filter(|row| row.state == IncidentState::Open) {
            if open.insert(row.subject, row.id).is_some_and(|other| other != row.id) {
                return Err(Error::Duplicate(IncidentRow::taken(&commit.incidents)));
            }
        }
        Ok(Some(open))
    }

    fn write_states(&mut self, commit: &Commit) {
        for id in &commit.deleted {
            self.states.remove(id);
        }
        let kept = commit.states.iter().filter(|row| !commit.deleted.contains(&row.subject));
        self.states.extend(kept.map(|row| (row.subject, row.clone())));
    }

    fn trim(&mut self, before: Timestamp) {
        let folded = self.journal.range(..=self.replay_from).map(|(_, row)| row);
        let mut old: Vec<_> =
            folded.filter(|row| row.at < before).map(|row| (row.at, row.position)).collect();
        old.sort_unstable();
        for (_, position) in old.into_iter().take(TRIMMED_PER_COMMIT as usize) {
            self.journal.remove(&position);
        }
    }

    fn load(&self) -> Loaded {
        let mut open_incidents: Vec<_> =
            self.open.values().filter_map(|id| self.incidents.get(id)).cloned().collect();
        open_incidents.sort_by_key(|row| (row.opened_at, row.id));
        let is_owed = |row: &&IncidentRow| row.alert_due_at.is_some() && row.state != IncidentState::Open;
        let mut owed_incidents: Vec<_> = self.incidents.values().filter(is_owed).cloned().collect();
        owed_incidents.sort_by_key(|row| (row.opened_at, row.id));
        let mut undispatched: Vec<_> =
            self.undispatched.iter().filter_map(|id| self.events.get(id)).cloned().collect();
        undispatched.sort_by_key(|row| (row.at, row.incident, row.transition));
        let unfinished = self.deliveries(|row| row.state == DeliveryState::Waiting);
        let mut loaded = Loaded {
            subjects: self.subjects.values().cloned().collect(),
            states: self.states.values().cloned().collect(),
            snapshots: self.snapshots.values().cloned().collect(),
            agents_seen: self.agents_seen.values().cloned().collect(),
            open_incidents,
            owed_incidents,
            open_members: self.members(|row| row.left_at.is_none()).into_iter().cloned().collect(),
            undispatched,
            unfinished: unfinished.into_iter().cloned().collect(),
            replay_from: self.replay_from,
            last_position: self.journal.last_key_value().map_or(0, |(position, _)| *position),
        };
        loaded.count_folded_positions();
        loaded
    }

    /// Members of a kind, by incident, in order of joining; among equals by the text of the subject's id.
    fn captures(&self, query: &CaptureQuery) -> Vec<CaptureRow> {
        let place = |row: &CaptureRow| (row.at, row.region.clone(), row.verdict, row.period);
        let wanted = |row: &&CaptureRow| {
            row.incident == query.incident
                && match row.period {
                    None => query.ends_only,
                    Some(period) => !query.ends_only || self.is_first(row, period),
                }
                && query.after.as_ref().is_none_or(|after| place(row) > *after)
        };
        let mut rows: Vec<_> = self.captures.values().filter(wanted).cloned().collect();
        rows.sort_by_cached_key(place);
        rows.truncate(query.limit as usize);
        rows
    }

    /// Whether a region had no capture of that verdict in an earlier period.
    fn is_first(&self, row: &CaptureRow, period: u32) -> bool {
        let key = |period| (row.incident, row.region.clone(), row.verdict, Some(period));
        self.captures.range(key(0)..key(period)).next().is_none()
    }

    fn trim_captures(&mut self, before: Timestamp) {
        let old = self.captures.iter().filter(|(_, row)| row.at < before);
        let mut old: Vec<_> = old.map(|(key, row)| (row.at, key.clone())).collect();
        old.sort_unstable();
        for (_, key) in old.iter().take(TRIMMED_CAPTURES_PER_COMMIT as usize) {
            self.captures.remove(key);
        }
    }

    /// Those of a heartbeat, newest first.
    fn runs(&self, query: &RunQuery) -> Vec<RunRow> {
        let wanted = |row: &&RunRow| {
            row.heartbeat == query.heartbeat
                && row.at >= query.since
                && query.after.is_none_or(|after| row.place() < after)
                && query.run.is_none_or(|run| row.run == Some(run))
        };
        self.runs.values().rev().filter(wanted).take(query.limit as usize).cloned().collect()
    }

    fn write_runs(&mut self, commit: &Commit) {
        let is_deleted = |heartbeat| commit.deleted.contains(&SubjectId::Heartbeat(heartbeat));
        self.runs.retain(|(heartbeat, _), _| !is_deleted(*heartbeat));
        for row in commit.runs.iter().filter(|row| !is_deleted(row.heartbeat)) {
            let mut row = row.clone();
            let known = self.runs.remove(&(row.heartbeat, row.place()));
            if let Some(known) = known.filter(|_| row.log.is_empty()) {
                row.log = known.log;
            }
            self.runs.insert((row.heartbeat, row.place()), row);
        }
    }

    fn trim_runs_before(&mut self, before: Timestamp) {
        let old = self.runs.values().filter(|row| row.at < before);
        let mut old: Vec<_> = old.map(|row| (row.at, row.heartbeat, row.run)).collect();
        old.sort_unstable();
        for (at, heartbeat, run) in old.into_iter().take(TRIMMED_RUNS_PER_COMMIT as usize) {
            self.runs.remove(&(heartbeat, (at, run)));
        }
    }

    fn trim_runs_of(&mut self, heartbeat: HeartbeatId) {
        let places = self.runs.keys().filter(|(of, _)| *of == heartbeat).copied();
        let mut places: Vec<_> = places.collect();
        let beyond = places.len().saturating_sub(KEPT_RUNS as usize);
        for place in places.drain(..beyond) {
            self.runs.remove(&place);
        }
    }

    fn trim_deliveries(&mut self, before: Timestamp) {
        let is_old = |row: &&DeliveryRow| row.created_at < before && row.state != DeliveryState::Waiting;
        let mut old: Vec<_> =
            self.deliveries.values().filter(is_old).map(|row| (row.created_at, row.id)).collect();
        old.sort_unstable();
        for (_, id) in old.iter().take(TRIMMED_DELIVERIES_PER_COMMIT as usize) {
            self.deliveries.remove(id);
            self.attempts.retain(|(delivery, _), _| delivery != id);
        }
    }

    fn attempts(&self, delivery: DeliveryId) -> Vec<AttemptRow> {
        let attempts = self.attempts.range((delivery, 0)..=(delivery, u32::MAX));
        attempts.map(|(_, attempt)| attempt.clone()).collect()
    }

    fn list_deliveries(&self, query: &DeliveryQuery) -> Vec<DeliveryRow> {
        let wanted = |row: &&DeliveryRow| {
            query.channel.is_none_or(|channel| row.channel == channel)
                && query.incident.is_none_or(|incident| row.incident == incident)
                && query.state.is_none_or(|state| row.state == state)
                && query.created_since.is_none_or(|since| row.created_at >= since)
                && query.after.is_none_or(|after| (row.created_at, row.id) < after)
        };
        let mut rows: Vec<_> = self.deliveries.values().filter(wanted).collect();
        rows.sort_by_key(|row| Reverse((row.created_at, row.id)));
        let without_body = |row: &DeliveryRow| DeliveryRow { body: None, ..row.clone() };
        rows.into_iter().take(query.limit as usize).map(without_body).collect()
    }

    fn channel_record(&self, channel: ChannelId) -> ChannelRecord {
        let rows = || self.deliveries.values().filter(|row| row.channel == channel);
        let delivered = rows().filter(|row| row.state == DeliveryState::Delivered);
        let delivered_at =
            delivered.max_by_key(|row| (row.created_at, row.id)).and_then(|row| row.finished_at);
        let since = |row: &&DeliveryRow| {
            matches!(row.state, DeliveryState::Waiting | DeliveryState::Dead)
                && delivered_at.is_none_or(|at| row.created_at >= at)
        };
        ChannelRecord {
            delivered_at,
            failing_since: rows().filter(since).filter_map(|row| row.first_attempt_at).min(),
        }
    }

    fn members(&self, wanted: impl Fn(&MemberRow) -> bool) -> Vec<&MemberRow> {
        let mut members: Vec<_> = self.members.values().filter(|row| wanted(row)).collect();
        members.sort_by_cached_key(|row| (row.incident, row.joined_at, row.subject.to_string()));
        members
    }

    /// Deliveries of a kind, oldest first.
    fn deliveries(&self, wanted: impl Fn(&DeliveryRow) -> bool) -> Vec<&DeliveryRow> {
        let mut deliveries: Vec<_> = self.deliveries.values().filter(|row| wanted(row)).collect();
        deliveries.sort_by_key(|row| (row.created_at, row.transition, row.id));
        deliveries
    }

    fn list_incidents(&self, query: &IncidentQuery) -> Vec<IncidentRow> {
        let wanted = |row: &&IncidentRow| {
            query.subject.is_none_or(|subject| row.subject == subject)
                && (!query.open_only || row.state == IncidentState::Open)
                && query.opened_since.is_none_or(|since| row.opened_at >= since)
                && query.after.is_none_or(|after| (row.opened_at, row.id) < after)
        };
        let mut incidents: Vec<_> = self.incidents.values().filter(wanted).collect();
        incidents.sort_by_key(|row| Reverse((row.opened_at, row.id)));
        incidents.into_iter().take(query.limit as usize).cloned().collect()
    }

    fn config(&self) -> Config {
        Config {
            revision: self.config_revision,
            regions: self.regions.values().cloned().collect(),
            agents: self.agents.values().cloned().collect(),
            channels: self.channels.values().cloned().collect(),
            pages: self.pages.values().cloned().collect(),
            maintenances: self.maintenances.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
            silences: self.silences.values().cloned().collect(),
            keys: self.keys.values().cloned().collect(),
            ping_keys: self.ping_keys.values().cloned().collect(),
            badges: self.badges.values().cloned().collect(),
        }
    }

    fn change_config(&mut self, change: &ConfigChange, now: Timestamp) -> Result<u64, Error> {
        match change {
            ConfigChange::PutRegion(row) => {
                self.regions.insert(row.id.clone(), row.clone());
            }
            ConfigChange::PutAgent(row) => self.put_agent(row, now)?,
            ConfigChange::PutChannel(row) => {
                let same_name = |other: &ChannelRow| {
                    other.id != row.id && (&other.workspace, &other.name) == (&row.workspace, &row.name)
                };
                if self.channels.values().any(same_name) {
                    return Err(Error::Duplicate(row.taken()));
                }
                self.channels.insert(row.id, row.clone());
            }
            ConfigChange::DeleteChannel(id) => {
                self.channels.remove(id);
            }
            ConfigChange::PutPage(row) => self.put_page(row)?,
            ConfigChange::PutMaintenance(row) => {
                let same_name = |other: &MaintenanceRow| {
                    other.id != row.id && (&other.workspace, &other.name) == (&row.workspace, &row.name)
                };
                if self.maintenances.values().any(same_name) {
                    return Err(Error::Duplicate(row.taken()));
                }
                self.maintenances.insert(row.id, row.clone());
            }
            ConfigChange::DeleteMaintenance(id) => {
                self.maintenances.remove(id);
            }
            ConfigChange::PutPolicy(row) => {
                let same_name = |other: &PolicyRow| {
                    other.id != row.id && (&other.workspace, &other.name) == (&row.workspace, &row.name)
                };
                if self.policies.values().any(same_name) {
                    return Err(Error::Duplicate(row.taken()));
                }
                self.policies.insert(row.id, row.clone());
            }
            ConfigChange::DeletePolicy(id) => {
                self.policies.remove(id);
            }
            ConfigChange::PutSilence(row) => {
                self.silences.retain(|_, other| other.expires_at > row.created_at);
                self.silences.insert(row.id, row.clone());
            }
            ConfigChange::DeleteSilence(id) => {
                self.silences.remove(id);
            }
            ConfigChange::PutKey(row) => {
                self.keys.insert(row.id, row.clone());
            }
            ConfigChange::PutPingKey(row) => {
                let same_name = |other: &PingKeyRow| {
                    other.id != row.id && (&other.workspace, &other.name) == (&row.workspace, &row.name)
                };
                if self.ping_keys.values().any(same_name) {
                    return Err(Error::Duplicate(row.taken()));
                }
                self.ping_keys.insert(row.id, row.clone());
            }
            ConfigChange::DeletePingKey(id) => {
                self.ping_keys.remove(id);
            }
            ConfigChange::PutBadge(row) => {
                self.badges.retain(|_, other| other.subject != row.subject);
                self.badges.insert(row.id.clone(), row.clone());
            }
            ConfigChange::DeleteBadge(subject) => {
                self.badges.retain(|_, row| row.subject != *subject);
            }
        }
        self.config_revision += 1;
        Ok(self.config_revision)
    }

    fn put_agent(&mut self, row: &AgentRow, now: Timestamp) -> Result<(), Error> {
        if self.agents.values().any(|other| other.id != row.id && other.name == row.name) {
            return Err(Error::Duplicate(row.taken()));
        }
        self.regions.entry(row.region.clone()).or_insert_with(|| RegionRow {
            id: row.region.clone(),
            display_name: row.region.default_display_name(),
            created_at: now,
        });
        self.agents.insert(row.id, row.clone());
        Ok(())
    }

    fn put_page(&mut self, row: &PageRow) -> Result<(), Error> {
        let mut others = self.pages.values().filter(|other| other.id != row.id);
        if others.clone().any(|other| other.slug == row.slug) {
            return Err(Error::Duplicate(row.taken_slug()));
        }
        if others.any(|other| (&other.workspace, &other.name) == (&row.workspace, &row.name)) {
            return Err(Error::Duplicate(row.taken_name()));
        }
        self.pages.insert(row.id, row.clone());
        Ok(())
    }
}
