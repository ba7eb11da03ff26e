//! Planned maintenance: rows of the settings, and who is in a window at an instant.
//!
//! In come rows and the clock; out go [`Maintenance`], one plan, and [`Calendar`], all of them as of one instant. The
//! owner of the shards tells its subjects (`shard::maintenance`); the admin API and the status pages show it.

use engine::maintenance::{Schedule, Scope, Window};
use model::{MaintenanceId, Timestamp};
use serde::{Deserialize, Serialize};
use store::records::DEFAULT_WORKSPACE;
use store::{Config, MaintenanceRow};
use tracing::warn;

use crate::definition::Definition;

/// A plan with what all resources have.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Which.
    pub id: MaintenanceId,
    /// Unique.
    pub name: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What it is about.
    pub plan: Plan,
}

/// What for, over what and when; the stored part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Shown to the public.
    pub description: String,
    /// Which monitors and heartbeats.
    pub scope: Scope,
    /// When.
    pub schedule: Schedule,
    /// The rest of the last window that somebody ended by hand.
    #[serde(default)]
    pub ended: Option<Window>,
}

/// All plans as of an instant.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    entries: Vec<Entry>,
}

/// A plan with its windows.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The plan.
    pub maintenance: Maintenance,
    /// The window that is open.
    pub active: Option<Window>,
    /// The one after it.
    pub next: Option<Window>,
}

/// A stored plan that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {id} cannot be read: {problem}")]
pub struct Unreadable {
    id: MaintenanceId,
    problem: serde_json::Error,
}

impl Maintenance {
    /// Reads a stored plan.
    ///
    /// # Errors
    /// When the stored JSON is not one.
    pub fn from_row(row: &MaintenanceRow) -> Result<Self, Unreadable> {
        let plan =
            serde_json::from_str(&row.definition).map_err(|problem| Unreadable { id: row.id, problem })?;
        Ok(Self {
            id: row.id,
            name: row.name.clone(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
            plan,
        })
    }

    /// The plan as it is stored.
    #[must_use]
    pub fn to_row(&self) -> MaintenanceRow {
        MaintenanceRow {
            id: self.id,
            workspace: DEFAULT_WORKSPACE.into(),
            name: self.name.clone(),
            definition: serde_json::to_string(&self.plan).expect("plans have only text keys"),
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl Plan {
    /// The window that is open at `now`, unless somebody ended it.
    #[must_use]
    pub fn active_at(&self, now: Timestamp) -> Option<Window> {
        let is_over = self.ended.is_some_and(|ended| ended.contains(now));
        self.schedule.active_at(now).filter(|_| !is_over)
    }

    /// The first window that starts after `now`, which is not part of one that is open or was ended.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Window> {
        self.schedule.next_after(now)
    }
}

impl Calendar {
    /// The plans of a configuration. One that cannot be read is left out.
    #[must_use]
    pub fn at(config: &Config, now: Timestamp) -> Self {
        let entries = config.maintenances.iter().filter_map(|row| match Maintenance::from_row(row) {
            Ok(maintenance) => Some(Entry::at(maintenance, now)),
            Err(error) => {
                warn!(%error, "left out until it is repaired");
                None
            }
        });
        Self { entries: entries.collect() }
    }

    /// Every plan, by id.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The plans with an open window that covers a subject.
    pub fn covering(&self, definition: &Definition) -> impl Iterator<Item = (&Maintenance, Window)> {
        self.entries
            .iter()
            .filter_map(|entry| Some((&entry.maintenance, entry.active?)))
            .filter(|(maintenance, _)| maintenance.plan.scope.covers(definition.id, definition.tags()))
    }

    /// Since when a subject is in maintenance, if it is.
    #[must_use]
    pub fn since(&self, definition: &Definition) -> Option<Timestamp> {
        self.covering(definition).map(|(_, window)| window.start).min()
    }

    /// The next instant after `now` at which some window opens or ends.
    #[must_use]
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let instants = self
            .entries
            .iter()
            .flat_map(|entry| [entry.active.map(|window| window.end), entry.next.map(|window| window.start)]);
        instants.flatten().filter(|at| *at > now).min()
    }
}

impl Entry {
    fn at(maintenance: Maintenance, now: Timestamp) -> Self {
        let (active, next) = (maintenance.plan.active_at(now), maintenance.plan.next_after(now));
        Self { maintenance, active, next }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn nightly() -> Maintenance {
        let schedule = Schedule::recurring("0 2 * * *", "UTC", 2 * HOUR, Timestamp::EPOCH).unwrap();
        let scope = Scope { all: true, ..Scope::default() };
        Maintenance {
            id: MaintenanceId::from_bytes([1; 16]),
            name: "nightly".into(),
            revision: 1,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            plan: Plan { description: String::new(), scope, schedule, ended: None },
        }
    }

    #[test]
    fn a_window_that_was_ended_by_hand_is_over_and_the_next_one_is_not() {
        let mut maintenance = nightly();
        let noon = at("2026-05-01T02:30:00Z");
        let window = maintenance.plan.active_at(noon).unwrap();
        maintenance.plan.ended = Some(Window { start: noon, end: window.end });
        assert_eq!(maintenance.plan.active_at(noon), None);
        assert_eq!(maintenance.plan.active_at(window.end.minus(Duration::from_secs(1))), None);
        let next = maintenance.plan.next_after(noon).unwrap();
        assert_eq!(next.start, at("2026-05-02T02:00:00Z"));
        assert_eq!(maintenance.plan.active_at(next.start), Some(next));
        let read = Maintenance::from_row(&maintenance.to_row()).unwrap();
        assert_eq!(read, maintenance);
    }

    #[test]
    fn a_calendar_knows_when_it_is_outdated() {
        let config = Config { maintenances: vec![nightly().to_row()], ..Config::default() };
        let changes = |now: &str| Calendar::at(&config, at(now)).changes_at(at(now));
        assert_eq!(changes("2026-05-01T01:00:00Z"), Some(at("2026-05-01T02:00:00Z")));
        assert_eq!(changes("2026-05-01T02:00:00Z"), Some(at("2026-05-01T04:00:00Z")));
        assert_eq!(changes("2026-05-01T04:00:00Z"), Some(at("2026-05-02T02:00:00Z")));
    }

    #[test]
    fn a_plan_that_cannot_be_read_is_left_out() {
        let broken = MaintenanceRow { definition: "{}".into(), ..nightly().to_row() };
        let config = Config { maintenances: vec![broken, nightly().to_row()], ..Config::default() };
        assert_eq!(Calendar::at(&config, Timestamp::EPOCH).entries().count(), 1);
    }
}
