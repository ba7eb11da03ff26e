//! When scheduled checks are due. Pure: instants go in, all on the coordinator's clock.
//!
//! A monitor's slots lie on a fixed grid, `phase + n · interval` from the Unix epoch, so nothing drifts. After a stall
//! only the newest slot can still be run, and only while it is less than a tenth of its interval (at least 1 s) late:
//! what is later waits for its next slot, so that a stall is not followed by a burst. Slots that were not run are
//! counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use model::{MonitorId, Timestamp};

/// How late a slot may always be, however short the interval.
const LEAST_TOLERANCE_US: i64 = 1_000_000;

/// A monitor's grid of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    interval_us: i64,
    phase_us: i64,
}

/// A slot that is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) monitor: MonitorId,
    /// `floor((now − phase) / interval)`.
    pub(crate) slot: i64,
    /// When the slot began.
    pub(crate) due_at: Timestamp,
}

/// The due times of all monitors.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// What is due next; entries of a past generation are dead.
    heap: BinaryHeap<Reverse<Entry>>,
    live: BTreeMap<MonitorId, (u64, Grid)>,
    generation: u64,
    missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    due_at: Timestamp,
    generation: u64,
    slot: i64,
    monitor: MonitorId,
}

impl Grid {
    /// The grid of an interval and a phase.
    pub(crate) fn new(interval: Duration, phase: Duration) -> Self {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self { interval_us: micros(interval).max(1), phase_us: micros(phase) }
    }

    /// The slot in which an instant lies.
    pub(crate) fn slot(self, at: Timestamp) -> i64 {
        at.as_micros().saturating_sub(self.phase_us).div_euclid(self.interval_us)
    }

    /// When a slot begins.
    pub(crate) fn start(self, slot: i64) -> Timestamp {
        Timestamp::from_micros(slot.saturating_mul(self.interval_us).saturating_add(self.phase_us))
    }

    fn is_too_late(self, lateness: Duration) -> bool {
        let tolerance = (self.interval_us / 10).max(LEAST_TOLERANCE_US);
        lateness.as_micros() > u128::from(tolerance.unsigned_abs())
    }
}

impl Schedule {
    /// Places a monitor, from its next slot on. What it had before is replaced.
    pub(crate) fn place(&mut self, monitor: MonitorId, grid: Grid, now: Timestamp) {
        self.generation += 1;
        self.live.insert(monitor, (self.generation, grid));
        self.push(monitor, self.generation, grid, grid.slot(now).saturating_add(1));
        self.compact();
    }

    /// Places a monitor whose slots before `slot` are somebody else's. That one may have begun already.
    pub(crate) fn resume(&mut self, monitor: MonitorId, grid: Grid, slot: i64) {
        self.generation += 1;
        self.live.insert(monitor, (self.generation, grid));
        self.push(monitor, self.generation, grid, slot);
    }

    /// The slot of each monitor that is due next.
    pub(crate) fn next_slots(&self) -> BTreeMap<MonitorId, i64> {
        let is_live = |entry: &&Entry| {
            self.live.get(&entry.monitor).is_some_and(|(generation, _)| *generation == entry.generation)
        };
        let entries = self.heap.iter().map(|Reverse(entry)| entry).filter(is_live);
        entries.map(|entry| (entry.monitor, entry.slot)).collect()
    }

    /// Takes a monitor out.
    pub(crate) fn remove(&mut self, monitor: MonitorId) {
        self.live.remove(&monitor);
        self.compact();
    }

    /// Places every monitor anew, after the clock has been stepped.
    pub(crate) fn replace_all(&mut self, now: Timestamp) {
        self.heap.clear();
        let live = std::mem::take(&mut self.live);
        for (monitor, (_, grid)) in live {
            self.place(monitor, grid, now);
        }
    }

    /// When [`Schedule::pop`] has something to say next; may be early, never late.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.due_at)
    }

    /// The next slot that is due and can still be run.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        while self.next_due()? <= now {
            let Reverse(entry) = self.heap.pop()?;
            let Some(&(generation, grid)) = self.live.get(&entry.monitor) else { continue };
            if generation != entry.generation {
                continue;
            }
            let slot = grid.slot(now);
            let due_at = grid.start(slot);
            self.push(entry.monitor, generation, grid, slot.saturating_add(1));
            self.missed += slot.abs_diff(entry.slot);
            if !grid.is_too_late(now.since(due_at)) {
                return Some(Due { monitor: entry.monitor, slot, due_at });
            }
            self.missed += 1;
        }
        None
    }

    /// Slots that passed without being run, since the beginning.
    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }

    fn push(&mut self, monitor: MonitorId, generation: u64, grid: Grid, slot: i64) {
        self.heap.push(Reverse(Entry { due_at: grid.start(slot), generation, slot, monitor }));
    }

    /// Keeps dead entries from piling up while monitors are changed again and again.
    fn compact(&mut self) {
        if self.heap.len() > 2 * self.live.len() + 64 {
            let live = &self.live;
            self.heap.retain(|Reverse(entry)| {
                live.get(&entry.monitor).is_some_and(|(generation, _)| *generation == entry.generation)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn monitor(n: u8) -> MonitorId {
        MonitorId::from_bytes([n; 16])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn grid(interval_ms: u64, phase_ms: u64) -> Grid {
        Grid::new(Duration::from_millis(interval_ms), Duration::from_millis(phase_ms))
    }

    fn slots(schedule: &mut Schedule, now: Timestamp) -> Vec<i64> {
        std::iter::from_fn(|| schedule.pop(now)).map(|due| due.slot).collect()
    }

    #[test]
    fn checks_come_on_their_grid_and_do_not_drift() {
        let mut schedule = Schedule::default();
        schedule.place(monitor(1), grid(10_000, 3_000), at(0));
        assert_eq!(schedule.next_due(), Some(at(3_000)));
        assert_eq!(schedule.pop(at(2_999)), None);
        for n in 0..1_000 {
            // Always popped a little late: the next due time is not.
            let due = schedule.pop(at(3_000 + n * 10_000 + 7)).unwrap();
            assert_eq!((due.slot, due.due_at), (n, at(3_000 + n * 10_000)));
            assert_eq!(schedule.next_due(), Some(at(3_000 + (n + 1) * 10_000)));
        }
        assert_eq!(schedule.missed(), 0);
    }

    #[test]
    fn after_a_stall_only_fresh_slots_run_and_the_others_are_counted() {
        let mut schedule = Schedule::default();
        for n in 0..100 {
            schedule.place(monitor(n), grid(60_000, u64::from(n) * 600), at(0));
        }
        // Ten minutes of nothing: of 100 monitors, ten slots each, those due in the last tenth of an interval run.
        let now = at(600_000);
        let due = slots(&mut schedule, now);
        assert_eq!(due.len(), 11);
        assert_eq!(schedule.missed(), 1_000 - 11);
        assert!(schedule.next_due().unwrap() > now);
    }

    #[test]
    fn a_check_with_a_long_interval_is_run_late_rather_than_tomorrow() {
        let mut schedule = Schedule::default();
        schedule.place(monitor(1), grid(86_400_000, 0), at(1));
        assert_eq!(slots(&mut schedule, at(86_400_000 + 3_600_000)), [1]);
    }

    #[test]
    fn whoever_resumes_runs_each_slot_that_the_other_did_not() {
        let mut schedule = Schedule::default();
        schedule.place(monitor(1), grid(1_000, 0), at(0));
        schedule.place(monitor(2), grid(1_000, 500), at(0));
        schedule.remove(monitor(2));
        assert_eq!(slots(&mut schedule, at(3_000)), [3]);
        let left = schedule.next_slots();
        assert_eq!(left, [(monitor(1), 4)].into());
        let mut successor = Schedule::default();
        successor.resume(monitor(1), grid(1_000, 0), left[&monitor(1)]);
        assert!(slots(&mut successor, at(3_999)).is_empty());
        assert_eq!(slots(&mut successor, at(4_700)), [4], "it began while nobody looked");
        assert_eq!(slots(&mut successor, at(5_000)), [5]);
        assert_eq!(successor.missed(), 0);
    }

    #[test]
    fn what_is_removed_or_replaced_is_not_due_any_more() {
        let mut schedule = Schedule::default();
        schedule.place(monitor(1), grid(1_000, 0), at(0));
        schedule.place(monitor(1), grid(5_000, 0), at(0));
        schedule.place(monitor(2), grid(1_000, 0), at(0));
        schedule.remove(monitor(2));
        assert_eq!(schedule.pop(at(4_999)), None);
        assert_eq!(slots(&mut schedule, at(5_000)), [1]);
        for _ in 0..10_000 {
            schedule.place(monitor(1), grid(5_000, 0), at(0));
        }
        assert!(schedule.heap.len() < 100, "{}", schedule.heap.len());
    }

    #[test]
    fn a_step_of_the_clock_neither_bursts_nor_stops() {
        let mut schedule = Schedule::default();
        schedule.place(monitor(1), grid(1_000, 250), at(10_000_000));
        schedule.replace_all(at(500));
        assert_eq!(schedule.next_due(), Some(at(1_250)));
    }

    proptest! {
        #[test]
        fn every_slot_is_run_or_missed_exactly_once(
            (interval, phase) in (1_000..100_000_u64, 0..1_000_u64),
            steps in proptest::collection::vec(0..50_000_i64, 1..60),
        ) {
            let mut schedule = Schedule::default();
            let grid = grid(interval, phase);
            schedule.place(monitor(1), grid, at(0));
            let first = grid.slot(at(0));
            let (mut now, mut run, mut last) = (0, 0, first);
            for step in steps {
                now += step;
                for slot in slots(&mut schedule, at(now)) {
                    prop_assert!(slot > last);
                    last = slot;
                    run += 1;
                }
            }
            let passed = grid.slot(at(now)) - first;
            prop_assert_eq!(run + schedule.missed(), passed.unsigned_abs());
        }
    }
}
