//! What the agent holds: from the coordinator's assignments to monitors and their places in the schedule.

use model::Timestamp;
use proto::probe::convert::{Assignment, assignment_from_wire, monitor_from_wire};
use proto::probe::v1;
use tracing::{info, warn};

use super::Agent;
use crate::monitor::Held;
use crate::reconcile::{Change, Desired, is_same, reconcile};
use crate::ward::{Key, Verdict};

impl Agent {
    /// Takes a full set of assignments, or changes to the set.
    pub(super) fn assign(&mut self, wire: v1::Assignments, now: Timestamp) {
        let mut assigned = Vec::with_capacity(wire.assigned.len());
        for (index, item) in wire.assigned.into_iter().enumerate() {
            match assignment_from_wire(item) {
                Ok(assignment) => assigned.push(assignment),
                Err(error) => warn!("ignoring an assignment: assigned[{index}].{error}"),
            }
        }
        let desired = if wire.full {
            Desired::Full(assigned)
        } else {
            let read = |id: &Vec<u8>| monitor_from_wire(id, "removed_monitor_ids").ok();
            Desired::Delta { assigned, removed: wire.removed_monitor_ids.iter().filter_map(read).collect() }
        };
        let changes = reconcile(&self.held, desired);
        let count = changes.len();
        for change in changes {
            self.apply(change, now);
        }
        self.has_assignments = true;
        info!(revision = wire.revision, changes = count, monitors = self.held.len(), "assignments changed");
        if !wire.digest.is_empty() && wire.digest != self.facts().assignments_digest {
            warn!(
                "the assignments held differ from what the coordinator meant: they are asked for again with the next session"
            );
        }
    }

    fn apply(&mut self, change: Change, now: Timestamp) {
        let (assignment, is_moved) = match change {
            Change::Stop(monitor) => {
                self.held.remove(&monitor);
                return self.schedule.remove(monitor);
            }
            Change::Start(assignment) => {
                self.held.insert(assignment.monitor, Held::new(assignment.clone()));
                (assignment, true)
            }
            Change::Update(assignment) => (assignment.clone(), self.update(assignment)),
        };
        let key = Key { monitor: assignment.monitor, spec_revision: assignment.spec_revision };
        self.ward.respecified(key);
        let Some(held) = self.held.get(&assignment.monitor) else { return };
        let (is_primary, grid) = (held.is_primary(), held.grid());
        let server_now = self.server(now);
        if !is_primary {
            self.schedule.remove(assignment.monitor);
        } else if is_moved {
            self.schedule.place(assignment.monitor, grid, server_now);
        }
        // Suspects are tried at once: now the least else is in flight.
        let is_tried = is_moved && is_primary && self.ward.verdict(key) == Verdict::Suspect;
        if assignment.check_now || is_tried {
            self.queue_scheduled(assignment.monitor, grid.slot(server_now), None, now);
        }
    }

    /// Takes on a new version of an assignment. Says whether the monitor has to be placed in the schedule anew.
    fn update(&mut self, assignment: Assignment) -> bool {
        let Some(held) = self.held.get_mut(&assignment.monitor) else { return false };
        let (old_grid, was_primary) = (held.grid(), held.is_primary());
        if is_same(&held.assignment, &assignment) {
            return false;
        }
        // What is queued or running follows the old version and holds nobody up.
        held.is_busy = false;
        held.is_overdue = false;
        held.update(assignment);
        !was_primary || held.grid() != old_grid
    }
}
