//! What pages know of incidents: a copy in memory, renewed from the store at most once a second, and only when somebody
//! looks. A crowd costs nothing, and when the store cannot be read the last copy stays, with its age.
//!
//! Past incidents never change, so a renewal reads only what is open and what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::effect::{Evidence, HeartbeatFailure};
use engine::vote::RowOutcome;
use model::{Clock, IncidentId, RegionId, SubjectId, Timestamp};
use store::{IncidentQuery, IncidentRow, IncidentState, Store};
use tokio::sync::Mutex;
use tracing::warn;

use crate::incident::Incident;

/// How far back pages look.
pub(super) const HISTORY: Duration = Duration::from_secs(90 * 86_400);
/// A copy is good for this long.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long a renewal may take when there is an older copy, and when there is none.
const PATIENCE: Duration = Duration::from_millis(500);
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// Incidents read at a time. The first copy holds this many past ones, so that it is there at once.
const BATCH: u32 = 1_000;
/// Incidents kept in memory.
const KEPT: usize = 5_000;
/// Incidents whose end is looked up one by one in one renewal.
const LOOKED_UP: usize = 64;
/// A renewal reads again what was opened this long before the last one: a commit may have been under way.
const OVERLAP: Duration = Duration::from_secs(60);

/// What the public may know of an incident. Nothing is added here that a stranger must not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicIncident {
    pub(super) id: IncidentId,
    pub(super) subject: SubjectId,
    pub(super) state: IncidentState,
    pub(super) what: What,
    pub(super) started_at: Timestamp,
    pub(super) opened_at: Timestamp,
    pub(super) resolved_at: Option<Timestamp>,
    /// Whose votes opened it.
    pub(super) regions: Vec<RegionId>,
    /// Names, without details, of the components that the target itself reported as failing.
    pub(super) failing: Vec<String>,
}

/// What an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A monitor is down.
    Down,
    /// A job did not ping.
    Missed,
    /// A job reported failure.
    Failed,
}

type Key = (Timestamp, IncidentId);
type ByOpening = BTreeMap<Key, Arc<PublicIncident>>;

/// The copy.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// By opening, oldest first.
    by_opening: ByOpening,
    /// When the store could be read last; `None`: never.
    pub(super) as_of: Option<Timestamp>,
    tried_at: Option<Timestamp>,
}

impl Picture {
    /// Newest opening first.
    pub(super) fn incidents(&self) -> impl Iterator<Item = &Arc<PublicIncident>> {
        self.by_opening.values().rev()
    }

    /// Whether the last attempt to read the store failed.
    pub(super) fn is_stale(&self) -> bool {
        self.as_of != self.tried_at
    }

    /// The same again, as the store could not be read now.
    pub(super) fn unrenewed(&self, now: Timestamp) -> Self {
        Self { by_opening: self.by_opening.clone(), as_of: self.as_of, tried_at: Some(now) }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.tried_at.is_some_and(|tried_at| now.since(tried_at) < RENEWAL)
    }
}

/// The cache.
pub(super) struct Incidents {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    healthy: Arc<AtomicBool>,
    present: ArcSwap<Picture>,
    renewing: Mutex<()>,
}

impl Incidents {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, healthy: Arc<AtomicBool>) -> Self {
        Self { store, clock, healthy, present: ArcSwap::default(), renewing: Mutex::new(()) }
    }

    /// The present copy, renewed if it is time. Whoever comes while another renews it gets the one before.
    pub(super) async fn picture(&self) -> Arc<Picture> {
        let now = self.clock.now();
        let present = self.present.load_full();
        if present.is_fresh(now) {
            return present;
        }
        let _renewing = match self.renewing.try_lock() {
            Ok(guard) => guard,
            Err(_) if present.as_of.is_some() => return present,
            Err(_) => self.renewing.lock().await,
        };
        let present = self.present.load_full();
        if present.is_fresh(now) {
            return present;
        }
        let next = Arc::new(self.renewed(&present, now).await);
        self.present.store(Arc::clone(&next));
        next
    }

    async fn renewed(&self, present: &Picture, now: Timestamp) -> Picture {
        // While nothing can be committed, what can be read is what was true before.
        if !self.healthy.load(Ordering::Acquire) && present.as_of.is_some() {
            return present.unrenewed(now);
        }
        let patience = if present.as_of.is_some() { PATIENCE } else { FIRST_PATIENCE };
        match tokio::time::timeout(patience, self.read(present, now)).await {
            Ok(Ok(by_opening)) => Picture { by_opening, as_of: Some(now), tried_at: Some(now) },
            Ok(Err(error)) => {
                warn!(%error, "cannot read incidents for status pages; showing the last ones");
                present.unrenewed(now)
            }
            Err(_) => {
                warn!("reading incidents for status pages takes too long; showing the last ones");
                present.unrenewed(now)
            }
        }
    }

    async fn read(&self, present: &Picture, now: Timestamp) -> Result<ByOpening, store::Error> {
        let oldest = now.minus(HISTORY);
        let since = present.as_of.map_or(oldest, |as_of| as_of.minus(OVERLAP));
        let open = IncidentQuery { open_only: true, limit: BATCH, ..IncidentQuery::default() };
        let new = IncidentQuery { opened_since: Some(since), limit: BATCH, ..IncidentQuery::default() };
        let mut rows = self.store.list_incidents(&new).await?;
        rows.extend(self.store.list_incidents(&open).await?);

        let mut by_opening = present.by_opening.clone();
        for (key, incident) in rows.iter().filter_map(PublicIncident::keyed) {
            by_opening.insert(key, incident);
        }
        for (key, incident) in self.ended(present, &rows).await? {
            by_opening.insert(key, incident);
        }
        by_opening
            .retain(|(opened_at, _), incident| *opened_at >= oldest || incident.state == IncidentState::Open);
        while by_opening.len() > KEPT {
            by_opening.pop_first();
        }
        Ok(by_opening)
    }

    /// Those that were open when last read and were not met again since; a bounded number, oldest first. The others'
    /// turn comes with the next renewals; pages show none as open whose subject says otherwise.
    async fn ended(
        &self,
        present: &Picture,
        read: &[IncidentRow],
    ) -> Result<Vec<(Key, Arc<PublicIncident>)>, store::Error> {
        let mut ended = vec![];
        let met: BTreeSet<IncidentId> = read.iter().map(|row| row.id).collect();
        let open = present.by_opening.values().filter(|incident| incident.state == IncidentState::Open);
        for incident in open.filter(|incident| !met.contains(&incident.id)).take(LOOKED_UP) {
            let row = self.store.incident(incident.id).await?;
            ended.extend(row.as_ref().and_then(PublicIncident::keyed));
        }
        Ok(ended)
    }
}

impl PublicIncident {
    /// What the public may know of a stored incident; `None` when its body cannot be read.
    pub(super) fn read(row: &IncidentRow) -> Option<Self> {
        let incident = Incident::from_row(row)?;
        let (what, regions) = match &incident.body.opening {
            Evidence::Votes(table) => {
                let counted = table.rows.iter().filter(|row| row.counted && row.outcome == RowOutcome::Fail);
                (What::Down, counted.map(|row| row.region.clone()).collect())
            }
            Evidence::Heartbeat(evidence) => match evidence.kind {
                HeartbeatFailure::Missed
                | HeartbeatFailure::NeverStarted
                | HeartbeatFailure::RanTooLong { .. }
                | HeartbeatFailure::Silent { .. } => (What::Missed, vec![]),
                HeartbeatFailure::Failed { .. } => (What::Failed, vec![]),
            },
            // Operators' business.
            Evidence::Probe(_) | Evidence::Coverage(_) => return None,
        };
        Some(Self {
            id: incident.id,
            subject: incident.subject,
            state: incident.state,
            what,
            started_at: incident.started_at,
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            regions,
            failing: incident.body.failing.into_iter().map(|component| component.name).collect(),
        })
    }

    fn keyed(row: &IncidentRow) -> Option<(Key, Arc<Self>)> {
        Some(((row.opened_at, row.id), Arc::new(Self::read(row)?)))
    }
}
