//! Snapshots: each shard's states once a minute, a slice a second, so that a restart replays little.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Shard, SubjectId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{
    AgentSeen, CAPTURE_RETENTION, Commit, DELIVERY_RETENTION, JOURNAL_RETENTION, Position, SnapshotRow,
};

use super::input::State;
use super::stage::Published;

/// A sweep over the shards that changed takes about this long.
const SWEEP: Duration = Duration::from_secs(60);
/// The form of a snapshot's body.
const VERSION: u32 = 1;

/// One subject in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    id: SubjectId,
    state: String,
}

/// Where the sweep is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Shards that changed since the last sweep began.
    touched: BTreeSet<Shard>,
    /// Shards that this sweep has yet to write.
    waiting: Vec<Shard>,
    /// The position when this sweep began: once it ends, replay may begin there.
    began_at: Option<(Position, Timestamp)>,
    /// How many of `waiting` the commit under way writes, and whether it ends the sweep.
    slice: usize,
}

impl Sweep {
    /// A sweep that has these shards to write first.
    pub(super) fn over(touched: BTreeSet<Shard>) -> Self {
        Self { touched, ..Self::default() }
    }

    /// Notes that a shard's states changed.
    pub(super) fn touch(&mut self, shard: Shard) {
        self.touched.insert(shard);
    }

    /// Adds the next slice to a commit. The states are those published, which is as of `position`.
    pub(super) fn add_slice(
        &mut self,
        published: &Published,
        position: Position,
        now: Timestamp,
        commit: &mut Commit,
    ) {
        commit.trim_journal_before = Some(now.minus(JOURNAL_RETENTION));
        let began_at = match self.began_at {
            Some((began_at, _)) if !self.waiting.is_empty() => began_at,
            Some((_, at)) if now.since(at) < SWEEP => return,
            _ => {
                commit.trim_captures_before = Some(now.minus(CAPTURE_RETENTION));
                commit.trim_deliveries_before = Some(now.minus(DELIVERY_RETENTION));
                self.waiting = std::mem::take(&mut self.touched).into_iter().collect();
                self.began_at = Some((position, now));
                position
            }
        };
        self.slice = self.waiting.len().div_ceil(30).max(16).min(self.waiting.len());
        let slice: BTreeSet<Shard> =
            self.waiting[self.waiting.len() - self.slice..].iter().copied().collect();
        commit.snapshots = rows(published, position, &slice);
        if self.slice == self.waiting.len() {
            commit.replay_from = Some(began_at);
            commit.agents_seen = agents_seen(published, position);
        }
    }

    /// The slice is durable.
    pub(super) fn committed(&mut self, commit: &Commit) {
        if !commit.snapshots.is_empty() {
            self.waiting.truncate(self.waiting.len() - self.slice);
        }
    }
}

/// The snapshots of these shards.
fn rows(published: &Published, position: Position, shards: &BTreeSet<Shard>) -> Vec<SnapshotRow> {
    let mut entries: Vec<(Shard, Vec<Entry>)> = shards.iter().map(|&shard| (shard, vec![])).collect();
    for id in published.ids() {
        let place = entries.binary_search_by_key(&id.shard(), |(shard, _)| *shard);
        if let (Ok(place), Some(subject)) = (place, published.subjects.get(&id)) {
            entries[place].1.push(Entry { id, state: subject.state.to_json() });
        }
    }
    let row = |(shard, entries): (Shard, Vec<Entry>)| SnapshotRow {
        shard,
        position,
        version: VERSION,
        body: serde_json::to_vec(&entries).expect("entries have only text keys"),
    };
    entries.into_iter().map(row).collect()
}

/// Reads a snapshot. States that cannot be read are left out: their subjects start from their rows.
pub(super) fn read(row: &SnapshotRow) -> Vec<(SubjectId, State)> {
    if row.version != VERSION {
        return vec![];
    }
    let entries: Vec<Entry> = serde_json::from_slice(&row.body).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| Some((entry.id, State::from_json(entry.id, &entry.state)?)))
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "sorted before anything is done with them")]
fn agents_seen(published: &Published, position: Position) -> Vec<AgentSeen> {
    let mut agents: Vec<_> = published.seen.iter().collect();
    agents.sort_unstable_by_key(|(agent, _)| **agent);
    let row = |(agent, seen): (&model::AgentId, &super::stage::Seen)| AgentSeen {
        agent: *agent,
        epoch: seen.epoch,
        position,
        ranges: serde_json::to_string(seen.ranges.as_slice()).expect("numbers are JSON"),
    };
    agents.into_iter().map(row).collect()
}
