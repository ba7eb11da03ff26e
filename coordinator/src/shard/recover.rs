//! After a restart: the last snapshots, newer state rows, then the journal after them.
//!
//! Replay folds votes, streaks and last pings only. Status, incidents and deadlines come from rows, which were written in
//! the very commits that changed them; so replay has no effects and can be repeated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::{heartbeat, monitor};
use model::{IncidentId, Shard, SubjectId, Timestamp};
use store::{DeliveryRow, EventRow, MemberRow, Position, Record, Store};
use tracing::{info, warn};

use super::input::State;
use super::kinship::{self, Kinship};
use super::operations::agent_of;
use super::seen::Ranges;
use super::snapshot;
use super::stage::{Published, Seen, name_key};
use super::subject::{Happening, Policy, Subject};
use crate::definition::Definition;
use crate::incident::Incident;

/// Journal rows read at a time.
const PAGE: u32 = 512;

/// What a coordinator starts with.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The states as of the last commit.
    pub(super) published: Published,
    /// The last commit's position.
    pub(super) position: Position,
    /// Shards whose states are newer than their snapshots and rows: the next sweep must write them.
    pub(super) replayed: BTreeSet<Shard>,
    /// Events that were committed but not fanned out.
    pub undispatched: Vec<EventRow>,
    /// Deliveries that are neither delivered nor given up.
    pub unfinished: Vec<DeliveryRow>,
}

/// Restores every subject.
///
/// # Errors
/// When the store cannot be read.
pub async fn recover(store: &dyn Store, now: Timestamp) -> Result<Recovered, store::Error> {
    let loaded = store.load().await?;
    let mut published = Published::default();
    for row in &loaded.subjects {
        match Definition::from_row(row) {
            Ok(definition) => {
                published.names.insert(name_key(&definition), row.id);
                published.put(row.id, Subject::new(Arc::new(definition), now));
            }
            Err(error) => warn!(%error, "left out until it is repaired"),
        }
    }
    let mut positions: HashMap<SubjectId, Position> = HashMap::new();
    let snapshots = loaded.snapshots.iter();
    let states = snapshots
        .flat_map(|row| snapshot::read(row).into_iter().map(|(id, state)| (id, row.position, Some(state))));
    let rows = loaded
        .states
        .iter()
        .map(|row| (row.subject, row.position, State::from_json(row.subject, &row.state)));
    for (id, position, state) in states.chain(rows) {
        let Some(subject) = published.subjects.get_mut(&id) else { continue };
        // Starting anew would count its incidents from 1 again and overwrite old ones.
        let state = state.ok_or_else(|| store::Error::Corrupt(format!("the state of {id}")))?;
        if positions.get(&id).is_none_or(|newest| position > *newest) {
            positions.insert(id, position);
            subject.state = state;
        }
    }
    restore_operations(&mut published, &loaded)?;
    for row in loaded.open_incidents.iter().filter(|row| !row.subject.is_operational()) {
        let incident = Incident::from_row(row)
            .ok_or_else(|| store::Error::Corrupt(format!("the incident {}", row.id)))?;
        if let Some(subject) = published.subjects.get_mut(&row.subject) {
            subject.incident = Some(Arc::new(incident));
        }
    }
    let mut ended_leads = BTreeMap::new();
    for row in &loaded.open_members {
        let lead_is_open = loaded.open_incidents.iter().any(|incident| incident.id == row.incident);
        if lead_is_open || ended_leads.contains_key(&row.incident) {
            continue;
        }
        let lead = store.incident(row.incident).await?.as_ref().and_then(Incident::from_row);
        if let Some(lead) = lead {
            ended_leads.insert(row.incident, Arc::new(lead));
        }
    }
    for row in loaded.owed_incidents.iter().filter(|row| !ended_leads.contains_key(&row.id)) {
        let owed = Incident::from_row(row)
            .ok_or_else(|| store::Error::Corrupt(format!("the incident {}", row.id)))?;
        published.owed.insert(row.id, Arc::new(owed));
    }
    for row in loaded.agents_seen {
        let ranges = serde_json::from_str(&row.ranges).ok().and_then(Ranges::new).unwrap_or_default();
        published.seen.insert(row.agent, Seen { epoch: row.epoch, ranges });
    }

    let mut position = loaded.replay_from;
    let mut records = 0_usize;
    let mut replayed = BTreeSet::new();
    loop {
        let page = store.journal_after(position, PAGE).await?;
        for row in &page {
            position = row.position;
            for record in store::journal::decode(&row.blob)? {
                records += 1;
                replayed.extend(replay(&mut published, &positions, row.position, row.at, record));
            }
        }
        if page.len() < PAGE as usize {
            break;
        }
    }
    published.forget_liveness(now);
    published.restore_kinship(loaded.open_members, ended_leads, now);
    if published.operations.quarantined().next().is_some() {
        published.tell_quarantines(&store.config().await?, now);
    }
    info!(subjects = published.subjects.len(), records, "states restored");
    Ok(Recovered {
        published,
        position: position.max(loaded.last_position),
        replayed,
        undispatched: loaded.undispatched,
        unfinished: loaded.unfinished,
    })
}

/// What is thought of agents and of the fleet.
fn restore_operations(published: &mut Published, loaded: &store::Loaded) -> Result<(), store::Error> {
    for row in loaded.states.iter().filter(|row| row.subject.is_operational()) {
        // Starting anew would count incidents from 1 again, as with any subject.
        if !published.operations.restore_state(row) {
            return Err(store::Error::Corrupt(format!("the state of {}", row.subject)));
        }
    }
    for row in loaded.open_incidents.iter().filter(|row| row.subject.is_operational()) {
        if !published.operations.restore_incident(row) {
            return Err(store::Error::Corrupt(format!("the incident {}", row.id)));
        }
    }
    Ok(())
}

/// Folds a record into its subject's state and returns the shard of that.
fn replay(
    published: &mut Published,
    positions: &HashMap<SubjectId, Position>,
    position: Position,
    at: Timestamp,
    record: Record,
) -> Option<Shard> {
    let mut fold = |id: SubjectId, happening: Happening<'_>, at: Timestamp| {
        let held = positions.get(&id).copied().unwrap_or(0);
        let subject = published.subjects.get_mut(&id).filter(|_| position > held)?;
        subject.fold(happening, at);
        Some(id.shard())
    };
    match record {
        Record::Result { agent, agent_epoch, seq, result, .. } => {
            let id = SubjectId::Monitor(result.monitor);
            let event = monitor::Event::Observed { agent, result };
            let shard = fold(id, Happening::Monitor(&event), at);
            published.see(agent, agent_epoch, seq);
            shard
        }
        Record::Refused { agent, agent_epoch, seq } | Record::LateResult { agent, agent_epoch, seq, .. } => {
            published.see(agent, agent_epoch, seq);
            None
        }
        Record::Ping { heartbeat, kind, at: pinged_at, .. } => {
            let event = heartbeat::Event::Pinged { kind, at: pinged_at, run: None };
            fold(SubjectId::Heartbeat(heartbeat), Happening::Heartbeat(&event), pinged_at)
        }
        Record::Heard(heard) => {
            let event = heartbeat::Event::Pinged { kind: heard.kind, at: heard.at, run: heard.run };
            let id = SubjectId::Heartbeat(heard.heartbeat);
            (!heard.is_ignored).then(|| fold(id, Happening::Heartbeat(&event), heard.at)).flatten()
        }
        Record::Told { .. } | Record::RegionLive { .. } | Record::Blind { .. } => None,
    }
}

impl Published {
    /// Who has to do with whom, and how parents stand: that is in no record.
    fn restore_kinship(
        &mut self,
        open_members: Vec<MemberRow>,
        ended_leads: BTreeMap<IncidentId, Arc<Incident>>,
        now: Timestamp,
    ) {
        let ids = self.ids();
        let subjects: Vec<&Subject> = ids.iter().filter_map(|id| self.subjects.get(id)).collect();
        self.kinship = Kinship::restore(&subjects, open_members, ended_leads);
        for id in ids {
            let Some(subject) = self.subjects.get(&id) else { continue };
            let parents =
                kinship::parents(&subject.definition).filter_map(|parent| self.subjects.get(&parent));
            let standing =
                parents.map(kinship::standing).fold(monitor::Standing::Well, monitor::Standing::worse);
            let event = monitor::Event::Parents(standing);
            if let Some(subject) = self.subjects.get_mut(&id) {
                subject.fold(Happening::Monitor(&event), now);
            }
        }
    }

    /// Whose votes do not count is in no monitor's state: every monitor is told again.
    fn tell_quarantines(&mut self, config: &store::Config, now: Timestamp) {
        let quarantined = self.operations.quarantined();
        let events: Vec<monitor::Event> = quarantined
            .map(|(agent, since)| {
                let (name, _) = agent_of(config, agent);
                monitor::Event::Quarantined { agent, name, since }
            })
            .collect();
        for id in self.ids() {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            for event in &events {
                subject.fold(Happening::Monitor(event), now);
            }
        }
    }

    /// Which regions are live is learnt anew: no round may wait for an agent that was there before.
    fn forget_liveness(&mut self, now: Timestamp) {
        for id in self.ids() {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            let Policy::Monitor(policy) = subject.policy.clone() else { continue };
            for region in &policy.regions {
                let event = monitor::Event::RegionLive { region: region.clone(), live: false };
                subject.fold(Happening::Monitor(&event), now);
            }
        }
    }

    fn see(&mut self, agent: model::AgentId, epoch: u64, seq: u64) {
        let seen = self.seen.entry(agent).or_default();
        if epoch > seen.epoch {
            *seen = Seen { epoch, ranges: Ranges::default() };
        }
        if epoch == seen.epoch {
            seen.ranges.insert(seq);
        }
    }
}
