//! Maintenance: which subjects must be told that a window opened or that none is open any more.
//!
//! Windows follow from the settings and the clock alone, so nothing of them is journaled: whoever starts anew compares
//! what every subject holds with what the calendar says, before any deadline is judged, and tells those that differ.
//! Between two changes of the calendar nobody is looked at but subjects that a user changes.

use std::sync::Arc;

use model::Timestamp;
use store::{Config, MaintenanceRow};

use crate::maintenance::Calendar;

/// The calendar as the owner last looked at it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    calendar: Arc<Calendar>,
    rows: Vec<MaintenanceRow>,
    /// The configuration that `rows` is of.
    revision: Option<u64>,
    /// When the calendar is outdated.
    changes_at: Option<Timestamp>,
    /// Every subject holds what the calendar says, and that is committed.
    settled: bool,
}

impl Watch {
    /// The calendar as of `now`, and whether every subject must be compared with it.
    pub(super) fn look(&mut self, config: &Config, now: Timestamp) -> (Arc<Calendar>, bool) {
        let mut outdated = self.changes_at.is_some_and(|at| at <= now);
        if self.revision != Some(config.revision) {
            self.revision = Some(config.revision);
            if self.rows != config.maintenances {
                self.rows.clone_from(&config.maintenances);
                outdated = true;
            }
        }
        if outdated {
            self.calendar = Arc::new(Calendar::at(config, now));
            self.changes_at = self.calendar.changes_at(now);
            self.settled = false;
        }
        (Arc::clone(&self.calendar), !self.settled)
    }

    /// What was told is committed.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// The subjects were loaded again.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// The next instant at which a window opens or ends.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.changes_at
    }
}
