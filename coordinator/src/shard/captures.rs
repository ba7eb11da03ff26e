//! Captures of monitors that have no incident: they belong to the one that may open.
//!
//! Only in memory. Whoever loses them with the process sees what the checks after it met.

use std::collections::{BTreeMap, VecDeque};

use model::MonitorId;

use crate::capture::Captured;

/// How many wait at most; then the oldest go.
const MAX_WAITING: usize = 2_000;

/// Captures that wait, by monitor, oldest first.
#[derive(Debug, Default)]
pub(super) struct Captures {
    waiting: BTreeMap<MonitorId, VecDeque<(u64, Captured)>>,
    /// Their numbers, in order, and of which monitor they are; some may be gone.
    order: VecDeque<(u64, MonitorId)>,
    next_number: u64,
}

impl Captures {
    /// Has one wait.
    pub(super) fn add(&mut self, captured: Captured) {
        let number = self.next_number;
        self.next_number += 1;
        self.order.push_back((number, captured.monitor));
        self.waiting.entry(captured.monitor).or_default().push_back((number, captured));
        while self.order.len() > MAX_WAITING
            && let Some((oldest, monitor)) = self.order.pop_front()
        {
            let Some(waiting) = self.waiting.get_mut(&monitor) else { continue };
            waiting.pop_front_if(|(number, _)| *number == oldest);
            if waiting.is_empty() {
                self.waiting.remove(&monitor);
            }
        }
    }

    /// Those of a monitor.
    pub(super) fn of(&self, monitor: MonitorId) -> impl Iterator<Item = &Captured> {
        self.waiting.get(&monitor).into_iter().flatten().map(|(_, captured)| captured)
    }

    /// Those of a monitor have found their incident, or the monitor is gone.
    pub(super) fn forget(&mut self, monitor: MonitorId) {
        self.waiting.remove(&monitor);
    }
}

#[cfg(test)]
mod tests {
    use model::{AgentId, Capture, Outcome, Phases, Timestamp};

    use super::*;
    use crate::capture::Body;

    fn captured(monitor: u8, second: i64) -> Captured {
        let body = Body {
            agent: AgentId::from_bytes([1; 16]),
            outcome: Outcome::Pass,
            duration: std::time::Duration::ZERO,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            capture: Capture::default(),
        };
        let at = Timestamp::from_secs(second);
        Captured { monitor: MonitorId::from_bytes([monitor; 16]), region: "eu".parse().unwrap(), at, body }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_nobody_elses() {
        let mut captures = Captures::default();
        let (first, second) = (MonitorId::from_bytes([1; 16]), MonitorId::from_bytes([2; 16]));
        captures.add(captured(1, 0));
        captures.forget(first);
        captures.add(captured(1, 1));
        for at in 2..=MAX_WAITING as i64 {
            captures.add(captured(2, at));
        }
        assert_eq!(captures.of(first).count(), 1, "the number of the forgotten one went");
        captures.add(captured(2, 5_000));
        assert_eq!(captures.of(first).count(), 0);
        assert_eq!(captures.of(second).count(), MAX_WAITING);
        assert_eq!((captures.waiting.len(), captures.order.len()), (1, MAX_WAITING));
    }
}
