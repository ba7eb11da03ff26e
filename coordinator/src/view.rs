//! What `web` and `admin` read: an immutable picture of every subject, replaced after each commit that changed it.
//!
//! Readers lock nothing and never wait for a decision. The picture of a shard is copied when something in it changes; a
//! shard holds a thousandth of all subjects, so that is cheap.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use engine::probe::Flip;
use engine::{heartbeat, monitor};
use model::{AgentId, HeartbeatId, IncidentId, RegionId, Shard, SubjectId, Timestamp};
use tokio::sync::watch;

use crate::definition::Definition;

/// One subject as it was after the last commit that changed it.
#[derive(Clone, Debug)]
pub struct SubjectView {
    /// Its definition.
    pub definition: Arc<Definition>,
    /// How it is.
    pub status: Status,
    /// Since when.
    pub status_since: Timestamp,
    /// Its open incident.
    pub incident: Option<IncidentId>,
    /// Set while our own downtime leaves the status unverified.
    pub unverified_since: Option<Timestamp>,
}

/// The status of either kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// An active check's, with the phase inside it.
    Monitor(monitor::Status, monitor::Phase),
    /// A passive one's, with the last ping.
    Heartbeat(heartbeat::Status, Option<Timestamp>),
}

/// What operators may see of the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetView {
    /// Agents whose votes do not count.
    pub quarantines: BTreeMap<AgentId, QuarantineView>,
    /// Regions that check something and cannot be heard, and since when.
    pub offline: BTreeMap<RegionId, Timestamp>,
    /// The open incident because of them.
    pub coverage_incident: Option<IncidentId>,
}

/// Why an agent is not believed.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantineView {
    /// Its votes do not count from here on.
    pub since: Timestamp,
    /// When that was decided.
    pub decided_at: Timestamp,
    /// Why, in one line.
    pub reason: String,
    /// The first of the contradicted failures.
    pub evidence: Vec<Flip>,
    /// The incident of it.
    pub incident: Option<IncidentId>,
}

type ShardView = BTreeMap<SubjectId, Arc<SubjectView>>;

/// A subject with its new picture; `None`: deleted.
pub type Changed = (SubjectId, Option<Arc<SubjectView>>);

/// All pictures. Shared.
#[derive(Debug)]
pub struct Views {
    shards: Vec<ArcSwap<ShardView>>,
    fleet: ArcSwap<FleetView>,
    tokens: RwLock<HashMap<[u8; 32], HeartbeatId>>,
    slugs: RwLock<BTreeMap<String, BTreeSet<HeartbeatId>>>,
    changes: watch::Sender<u64>,
    definitions: watch::Sender<u64>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            shards: Shard::all().map(|_| ArcSwap::default()).collect(),
            fleet: ArcSwap::default(),
            tokens: RwLock::default(),
            slugs: RwLock::default(),
            changes: watch::Sender::new(0),
            definitions: watch::Sender::new(0),
        }
    }
}

impl Views {
    /// One subject.
    #[must_use]
    pub fn get(&self, id: SubjectId) -> Option<Arc<SubjectView>> {
        self.shards[usize::from(id.shard().number())].load().get(&id).cloned()
    }

    /// Every subject, by shard and id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<SubjectView>> {
        self.shards.iter().flat_map(|shard| shard.load().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> Arc<FleetView> {
        self.fleet.load_full()
    }

    /// Replaces the picture of the fleet.
    pub fn publish_fleet(&self, view: FleetView) {
        if **self.fleet.load() != view {
            self.fleet.store(Arc::new(view));
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The heartbeat whose token has this SHA-256.
    #[must_use]
    pub fn heartbeat_by_token(&self, digest: &[u8; 32]) -> Option<HeartbeatId> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(digest).copied()
    }

    /// The heartbeats of this slug.
    #[must_use]
    pub fn heartbeats_by_slug(&self, slug: &str) -> Vec<HeartbeatId> {
        let slugs = self.slugs.read().unwrap_or_else(PoisonError::into_inner);
        slugs.get(slug).into_iter().flatten().copied().collect()
    }

    /// How many heartbeats there are.
    #[must_use]
    pub fn heartbeats(&self) -> usize {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Changes whenever a definition or a status does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes whenever a subject comes or goes, its definition changes, or it begins or ceases to wait for its first
    /// verdict: what agents check depends on nothing else.
    #[must_use]
    pub fn watch_definitions(&self) -> watch::Receiver<u64> {
        self.definitions.subscribe()
    }

    /// Replaces the pictures of these subjects.
    pub fn publish(&self, changed: Vec<Changed>) {
        let mut by_shard: BTreeMap<Shard, Vec<Changed>> = BTreeMap::new();
        for (id, view) in changed {
            self.publish_addresses(id, view.as_deref());
            by_shard.entry(id.shard()).or_default().push((id, view));
        }
        if by_shard.is_empty() {
            return;
        }
        let mut redefined = false;
        for (shard, changed) in by_shard {
            let slot = &self.shards[usize::from(shard.number())];
            let mut views = ShardView::clone(&slot.load());
            for (id, view) in changed {
                let before = match view.clone() {
                    Some(view) => views.insert(id, view),
                    None => views.remove(&id),
                };
                redefined |= is_redefined(before.as_deref(), view.as_deref());
            }
            slot.store(Arc::new(views));
        }
        self.changes.send_modify(|count| *count += 1);
        if redefined {
            self.definitions.send_modify(|count| *count += 1);
        }
    }

    /// Keeps by what a heartbeat is found.
    fn publish_addresses(&self, id: SubjectId, view: Option<&SubjectView>) {
        let SubjectId::Heartbeat(heartbeat) = id else { return };
        let shown = self.get(id);
        let (before, after) =
            (shown.as_ref().map(|view| &view.definition), view.map(|view| &view.definition));
        if before.map(Arc::as_ptr) == after.map(Arc::as_ptr) {
            return;
        }
        let digest = |definition: &Arc<Definition>| definition.heartbeat().map(|(_, it)| it.token_digest);
        let (old, new) = (before.and_then(digest), after.and_then(digest));
        if old != new {
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(old) = old {
                tokens.remove(&old);
            }
            if let Some(new) = new {
                tokens.insert(new, heartbeat);
            }
        }
        let (old, new) = (before.and_then(|it| it.slug()), after.and_then(|it| it.slug()));
        if old != new {
            let mut slugs = self.slugs.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(old) = old
                && let Some(others) = slugs.get_mut(&*old)
            {
                others.remove(&heartbeat);
                if others.is_empty() {
                    slugs.remove(&*old);
                }
            }
            if let Some(new) = new {
                slugs.entry(new.into_owned()).or_default().insert(heartbeat);
            }
        }
    }
}

/// Whether agents may have to check something else than before.
fn is_redefined(before: Option<&SubjectView>, after: Option<&SubjectView>) -> bool {
    match (before, after) {
        (None, None) => false,
        (Some(before), Some(after)) => {
            !Arc::ptr_eq(&before.definition, &after.definition)
                || before.status.is_pending() != after.status.is_pending()
        }
        _ => true,
    }
}

impl Status {
    /// Whether it is a monitor that waits for its first verdict.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Monitor(monitor::Status::Pending, _))
    }
}
