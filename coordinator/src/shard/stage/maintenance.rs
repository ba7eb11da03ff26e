//! Tells subjects of maintenance what the calendar says, where they hold something else.

use std::sync::Arc;

use model::SubjectId;

use super::Stage;
use crate::maintenance::Calendar;
use crate::shard::subject::Happening;

impl Stage<'_> {
    /// The calendar by which subjects that a user changes are told.
    pub(in crate::shard) fn keep_calendar(&mut self, calendar: Arc<Calendar>) {
        self.calendar = calendar;
    }

    /// Tells every subject whose window has opened. Comes before blindness is told.
    pub(in crate::shard) fn enter_maintenance(&mut self) {
        for id in self.ids() {
            self.enter_maintenance_of(id);
        }
    }

    /// Tells every subject that is in no window any more. Comes after blindness is told.
    pub(in crate::shard) fn leave_maintenance(&mut self) {
        for id in self.ids() {
            self.leave_maintenance_of(id);
        }
    }

    /// Tells one subject, which is new or has other tags.
    pub(super) fn review_maintenance_of(&mut self, id: SubjectId) {
        self.enter_maintenance_of(id);
        self.leave_maintenance_of(id);
    }

    fn enter_maintenance_of(&mut self, id: SubjectId) {
        let Some(subject) = self.get(id).filter(|subject| !subject.is_in_maintenance()) else { return };
        if let Some(at) = self.calendar.since(&subject.definition) {
            self.apply(id, Happening::MaintenanceStarted { at });
        }
    }

    fn leave_maintenance_of(&mut self, id: SubjectId) {
        let Some(subject) = self.get(id).filter(|subject| subject.is_in_maintenance()) else { return };
        if self.calendar.since(&subject.definition).is_none() {
            self.apply(id, Happening::MaintenanceEnded);
        }
    }
}
