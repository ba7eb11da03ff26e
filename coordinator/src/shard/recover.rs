//! After a restart: the last snapshots, newer state rows, then the journal after them.
//!
//! Replay folds votes, streaks and last pings only. Status, incidents and deadlines come from rows, which were written in
//! the very commits that changed them; so replay has no effects and can be repeated.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use engine::{heartbeat, monitor};
use model::{Shard, SubjectId, Timestamp};
use store::{DeliveryRow, EventRow, Position, Record, Store};
use tracing::{info, warn};

use super::input::State;
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
                published.subjects.insert(row.id, Subject::new(Arc::new(definition), now));
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
    for row in &loaded.open_incidents {
        let incident = Incident::from_row(row)
            .ok_or_else(|| store::Error::Corrupt(format!("the incident {}", row.id)))?;
        if let Some(subject) = published.subjects.get_mut(&row.subject) {
            subject.incident = Some(Arc::new(incident));
        }
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
    info!(subjects = published.subjects.len(), records, "states restored");
    Ok(Recovered {
        published,
        position: position.max(loaded.last_position),
        replayed,
        undispatched: loaded.undispatched,
        unfinished: loaded.unfinished,
    })
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
        Record::Refused { agent, agent_epoch, seq } => {
            published.see(agent, agent_epoch, seq);
            None
        }
        Record::Ping { heartbeat, kind, at: pinged_at, .. } => {
            let event = heartbeat::Event::Pinged { kind, at: pinged_at };
            fold(SubjectId::Heartbeat(heartbeat), Happening::Heartbeat(&event), pinged_at)
        }
    }
}

impl Published {
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
