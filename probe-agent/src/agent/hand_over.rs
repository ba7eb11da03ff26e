//! From one process's mind to the next one's: what is held and where each monitor stands. What runs goes on where it
//! runs; its results come as they end.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{MonitorId, RegionId, Timestamp};
use proto::probe::convert::{assignment_from_wire, assignment_to_wire, monitor_from_wire, result_to_wire};
use tracing::debug;

use super::{Agent, Alarm, Learnt, Running, result};
use crate::check::Finding;
use crate::gate::Concurrency;
use crate::monitor::{Held, Job, Seen};
use crate::spool::Spool;
use crate::take_over::wire;
use crate::ward::Ward;

impl Agent {
    /// Whether everything that waits will be on the disk, and no suspect is being tried.
    pub(crate) fn can_hand_over(&self) -> bool {
        !self.spool.is_broken() && !self.ward.is_closed()
    }

    /// Whether suspects are being tried, so that nothing else may be in flight.
    pub(crate) fn is_trying(&self) -> bool {
        self.ward.is_closed()
    }

    /// What names the numbering of its results.
    pub(crate) const fn numbering(&self) -> [u8; 16] {
        self.spool.nonce()
    }

    /// All that a successor has to know; `boot` is the machine's boot on our clock. Nothing changes here.
    pub(crate) fn hand_over(&self, boot: Timestamp) -> wire::State {
        let slots = self.schedule.next_slots();
        let scheduled = self.running.values().filter(|it| it.job.attempt == 0 && !it.job.is_single);
        let running: BTreeSet<MonitorId> = scheduled.map(|it| it.job.monitor()).collect();
        let held = self.held.values().map(|held| wire::Held {
            assignment: Some(assignment_to_wire(&held.assignment)),
            next_slot: slots.get(&held.assignment.monitor).copied(),
            last_slot: held
                .last_slot
                .filter(|(revision, _)| *revision == held.assignment.spec_revision)
                .map(|(_, slot)| slot),
            is_running: held.is_busy && running.contains(&held.assignment.monitor),
            is_overdue: held.is_overdue,
            seen: Seen::to_number(held.seen),
            round: held.round.map_or(0, |(round, _)| round),
            is_round_settled: held.round.is_some_and(|(_, is_settled)| is_settled),
        });
        let is_current = |job: &&Job| {
            let held = self.held.get(&job.monitor());
            !job.is_single && held.is_some_and(|held| Arc::ptr_eq(&held.assignment, &job.assignment))
        };
        let mut waiting: Vec<&Job> = self.gate.jobs().into_iter().filter(is_current).collect();
        waiting.sort_by_key(|job| job.number);
        let queued = waiting.into_iter().map(|job| wire::Queued {
            monitor: job.monitor().as_bytes().to_vec(),
            slot: job.slot,
            attempt: job.attempt,
            round: job.round,
            due_us: None,
        });
        let second_attempts = self.alarms.iter().filter_map(|((at, _), alarm)| match alarm {
            Alarm::SecondAttempt { monitor, spec_revision, round }
                if self.held.get(monitor).is_some_and(|it| it.assignment.spec_revision == *spec_revision) =>
            {
                Some(wire::Queued {
                    monitor: monitor.as_bytes().to_vec(),
                    slot: 0,
                    attempt: 2,
                    round: *round,
                    due_us: Some(micros_between(boot, *at)),
                })
            }
            Alarm::SecondAttempt { .. } | Alarm::Slow(_) => None,
        });
        wire::State {
            server_minus_boot_us: self.offset_us.saturating_add(boot.as_micros()),
            region: self.region.as_ref().map(ToString::to_string).unwrap_or_default(),
            held: held.collect(),
            queued: queued.chain(second_attempts).collect(),
        }
    }

    /// A mind that goes on where another stopped. It asks for the full set of assignments nevertheless: there may be
    /// something in it that the process before did not understand.
    pub(crate) fn take_over(
        concurrency: Concurrency,
        spool: Spool,
        ward: Ward,
        state: wire::State,
        boot: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut agent = Self::new(concurrency, spool);
        agent.watch(ward);
        agent.offset_us = state.server_minus_boot_us.saturating_sub(boot.as_micros());
        agent.region = RegionId::new(&state.region).ok();
        for held in state.held {
            agent.adopt(held);
        }
        for queued in state.queued {
            agent.adopt_queued(&queued, boot, now);
        }
        agent
    }

    /// Takes what an attempt in the process before has found.
    pub(crate) fn heard(&mut self, finished: wire::Finished, boot: Timestamp, now: Timestamp) {
        let Some(result) = finished.result else { return };
        let Ok(monitor) = monitor_from_wire(&result.monitor_id, "monitor_id") else { return };
        let is_scheduled = result.attempt == 0;
        if is_scheduled {
            self.elsewhere.remove(&monitor);
        }
        // What a later version has seen and this one has no word for.
        let seen = Seen::from_number(finished.seen).unwrap_or(Seen::Unmeasured);
        let revision = self.held.get(&monitor).map(|held| held.assignment.spec_revision);
        let learnt = Learnt {
            monitor,
            attempt: result.attempt,
            round: result.round,
            seen,
            is_settled: finished.is_settled,
            ends_slot: is_scheduled && revision == Some(result.spec_revision),
        };
        if let Some(news) = self.learn(&learnt) {
            self.spool.push(&result, plus_micros(boot, finished.started_us), news.is_routine);
            self.follow(&news, now);
        }
    }

    /// The process before has ended: what it has not told it will never tell.
    pub(crate) fn is_alone(&mut self, now: Timestamp) {
        for monitor in std::mem::take(&mut self.elsewhere) {
            debug!(monitor.id = %monitor, "the process before ended without the result of a check");
            let Some(held) = self.held.get_mut(&monitor) else { continue };
            held.is_busy = false;
            if std::mem::take(&mut held.is_overdue) {
                let grid = held.grid();
                let slot = grid.slot(self.server(now));
                self.queue_scheduled(monitor, slot, Some(self.local(grid.start(slot))), now);
            }
        }
    }

    /// What an attempt found, for the successor; of a single check nobody wants to know any more.
    pub(crate) fn conclude(
        &mut self,
        job: &Job,
        finding: Finding,
        boot: Timestamp,
    ) -> Option<wire::Finished> {
        let Running { started_at, .. } = self.running.remove(&job.number)?;
        let region = self.region.clone().filter(|_| !job.is_single)?;
        let learnt = Learnt::of(job, &finding, false);
        Some(wire::Finished {
            result: Some(result_to_wire(&result(job, region, started_at, finding))),
            started_us: micros_between(boot, started_at),
            seen: Seen::to_number(Some(learnt.seen)),
            is_settled: learnt.is_settled,
        })
    }

    /// Goes on with another opening of the spool, after a successor that did not come to be.
    pub(crate) fn resume(&mut self, spool: Spool) {
        self.spool = spool;
    }

    fn adopt(&mut self, wire: wire::Held) {
        // What the process before could not read is not started by this one either, until it comes from the coordinator.
        let Ok(assignment) = assignment_from_wire(wire.assignment.unwrap_or_default()) else { return };
        if assignment.check.is_none() {
            return;
        }
        let monitor = assignment.monitor;
        let mut held = Held::new(assignment);
        held.last_slot = wire.last_slot.map(|slot| (held.assignment.spec_revision, slot));
        (held.is_busy, held.is_overdue) = (wire.is_running, wire.is_overdue);
        held.seen = Seen::from_number(wire.seen);
        held.round = (wire.round != 0).then_some((wire.round, wire.is_round_settled));
        if wire.is_running {
            self.elsewhere.insert(monitor);
        }
        if let Some(slot) = wire.next_slot.filter(|_| held.is_primary()) {
            self.schedule.resume(monitor, held.grid(), slot);
        }
        self.held.insert(monitor, held);
    }

    fn adopt_queued(&mut self, wire: &wire::Queued, boot: Timestamp, now: Timestamp) {
        let Ok(monitor) = monitor_from_wire(&wire.monitor, "monitor") else { return };
        let Some(held) = self.held.get_mut(&monitor) else { return };
        let spec_revision = held.assignment.spec_revision;
        if let Some(due) = wire.due_us.map(|due| plus_micros(boot, due)) {
            let number = self.next_number;
            self.next_number += 1;
            let alarm = Alarm::SecondAttempt { monitor, spec_revision, round: wire.round };
            self.alarms.insert((due.max(now), number), alarm);
        } else {
            held.is_busy |= wire.attempt == 0;
            let start = held.grid().start(wire.slot);
            let planned_at = (wire.attempt == 0).then(|| self.local(start));
            self.queue(monitor, (wire.slot, wire.attempt, wire.round), planned_at, now);
        }
    }
}

fn micros_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_micros().saturating_sub(earlier.as_micros())
}

fn plus_micros(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(micros))
}
