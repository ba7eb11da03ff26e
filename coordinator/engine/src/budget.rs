//! Budget: how many verifying checks the fleet is asked for per second.
//!
//! Rounds ask here before they reach agents. A mass failure must not become a storm of checks, so they share a token
//! bucket and are served oldest first: the first monitors are decided at once, the others as fast as the fleet can
//! bear. A round that waits longer than it lasts simply asks again and keeps its place.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{MonitorId, Timestamp};

/// Checks per second that rounds may always ask for, however small the fleet.
pub const MIN_RATE: u32 = 50;
/// The share of the fleet's capacity that rounds may use beyond that.
pub const SHARE: f64 = 0.05;

/// One check in the bucket's unit. A rate in checks per second is then the same number of units per microsecond,
/// and all arithmetic is exact.
const CHECK: i64 = 1_000_000;

/// The rounds that wait and what may be spent on them.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Units left; below zero after a round larger than what was left.
    level: i64,
    filled_at: Timestamp,
    queue: BTreeMap<(Timestamp, MonitorId), Request>,
    places: BTreeMap<MonitorId, Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    round: u32,
    checks: u32,
}

impl Budget {
    /// A full budget without requests.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            level: MIN_RATE as i64 * CHECK,
            filled_at: now,
            queue: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Asks for a round of `checks` checks (regions × 2) at `at`. A newer round of the same monitor takes the older
    /// one's place.
    pub fn request(&mut self, monitor: MonitorId, round: u32, checks: u32, at: Timestamp) {
        let place = *self.places.entry(monitor).or_insert(at);
        self.queue.insert((place, monitor), Request { round, checks });
    }

    /// Forgets the monitor's request, if it has one.
    pub fn withdraw(&mut self, monitor: MonitorId) {
        if let Some(place) = self.places.remove(&monitor) {
            self.queue.remove(&(place, monitor));
        }
    }

    /// The rounds that may start now, oldest first, given how many checks per second the fleet can do. Those for which
    /// `still` says that they are over cost nothing and delay nobody.
    pub fn take(
        &mut self,
        capacity_per_s: f64,
        now: Timestamp,
        still: impl Fn(MonitorId, u32) -> bool,
    ) -> Vec<(MonitorId, u32)> {
        self.fill(rate(capacity_per_s), now);
        let mut granted = Vec::new();
        while self.level > 0
            && let Some(((_, monitor), request)) = self.queue.pop_first()
        {
            self.places.remove(&monitor);
            if !still(monitor, request.round) {
                continue;
            }
            self.level = self.level.saturating_sub(i64::from(request.checks) * CHECK);
            granted.push((monitor, request.round));
        }
        granted
    }

    /// When [`take`](Self::take) will next grant something; `None` while nothing waits.
    #[must_use]
    pub fn next_at(&self, capacity_per_s: f64) -> Option<Timestamp> {
        if self.queue.is_empty() {
            return None;
        }
        let missing = u64::try_from(1_i64.saturating_sub(self.level)).unwrap_or(0);
        let micros = missing.div_ceil(u64::from(rate(capacity_per_s)));
        Some(self.filled_at.plus(Duration::from_micros(micros)))
    }

    /// How many rounds wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Adds what has run in since the last time; the bucket holds one second's worth.
    fn fill(&mut self, rate: u32, now: Timestamp) {
        let micros = i64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(i64::MAX);
        let gained = micros.saturating_mul(i64::from(rate));
        self.level = self.level.saturating_add(gained).min(i64::from(rate) * CHECK);
        self.filled_at = self.filled_at.max(now);
    }
}

/// Checks per second for rounds: 5 % of the fleet's capacity, at least 50.
fn rate(capacity_per_s: f64) -> u32 {
    // The cast saturates, and turns NaN into 0.
    ((capacity_per_s * SHARE) as u32).max(MIN_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn monitor(number: u16) -> MonitorId {
        let mut id = [0; 16];
        id[14..].copy_from_slice(&number.to_be_bytes());
        MonitorId::from_bytes(id)
    }

    const fn all(_: MonitorId, _: u32) -> bool {
        true
    }

    #[test]
    fn a_lone_round_is_served_at_once_even_if_it_is_large() {
        let mut budget = Budget::new(NOW);
        budget.request(monitor(1), 9, 500, NOW);
        assert_eq!(budget.next_at(0.0), Some(NOW));
        assert_eq!(budget.take(0.0, NOW, all), [(monitor(1), 9)]);
        assert_eq!(budget.next_at(0.0), None);
    }

    #[test]
    fn a_budget_that_is_spent_to_the_last_check_is_spent() {
        let mut budget = Budget::new(NOW);
        budget.request(monitor(1), 1, MIN_RATE, NOW);
        budget.request(monitor(2), 1, 1, NOW);
        assert_eq!(budget.take(0.0, NOW, all), [(monitor(1), 1)]);
        let next = budget.next_at(0.0).unwrap();
        assert!(next > NOW, "what is due now would be asked for again at once");
        assert_eq!(budget.take(0.0, next, all), [(monitor(2), 1)]);
    }

    #[test]
    fn a_storm_is_served_oldest_first_at_the_rate() {
        let mut budget = Budget::new(NOW);
        for number in (0..1_000).rev() {
            budget.request(monitor(number), 1, 6, NOW.plus(Duration::from_micros(number.into())));
        }
        let (mut now, mut served) = (NOW.plus(Duration::from_millis(1)), vec![]);
        let mut takes = 0;
        while budget.waiting() > 0 {
            let granted = budget.take(4_000.0, now, all);
            assert!(takes == 0 || !granted.is_empty(), "woken for nothing");
            served.extend(granted.into_iter().map(|(monitor, _)| monitor));
            takes += 1;
            now = budget.next_at(4_000.0).unwrap_or(now);
        }
        assert_eq!(served, (0..1_000).map(monitor).collect::<Vec<_>>());
        // 6,000 checks at 200 per second, less what the bucket held.
        let took = now.since(NOW).as_secs_f64();
        assert!((29.0..31.0).contains(&took), "{took}");
    }

    #[test]
    fn a_repeated_request_keeps_its_place_and_a_withdrawn_one_loses_it() {
        let mut budget = Budget::new(NOW);
        budget.request(monitor(9), 1, 60, NOW);
        assert_eq!(budget.take(0.0, NOW, all).len(), 1);
        for (number, secs) in [(1, 0), (2, 1), (3, 2)] {
            budget.request(monitor(number), 1, 1, NOW.plus(Duration::from_secs(secs)));
        }
        budget.request(monitor(1), 2, 1, NOW.plus(Duration::from_secs(3)));
        budget.withdraw(monitor(2));
        let later = NOW.plus(Duration::from_secs(4));
        assert_eq!(budget.take(0.0, later, all), [(monitor(1), 2), (monitor(3), 1)]);
    }

    #[test]
    fn rounds_that_are_over_cost_nothing_and_the_others_keep_their_places() {
        let mut budget = Budget::new(NOW);
        for number in 0..1_000 {
            budget.request(monitor(number), 1, 6, NOW.plus(Duration::from_micros(number.into())));
        }
        let now = NOW.plus(Duration::from_millis(1));
        let late = monitor(500);
        // 50 checks are in the bucket, and the round that exceeds them is served on credit.
        let served = budget.take(0.0, now, |monitor, round| round == 1 && monitor >= late);
        assert_eq!(served, (500..509).map(|number| (monitor(number), 1)).collect::<Vec<_>>());
        assert_eq!(budget.waiting(), 491);
        let next = budget.next_at(0.0).unwrap();
        assert_eq!(budget.take(0.0, next, all), [(monitor(509), 1)]);
    }
}
