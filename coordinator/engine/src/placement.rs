//! Placement: which agent of a region checks a monitor, and when within the interval.
//!
//! Weighted rendezvous hashing: every pair of monitor and agent has a score, the best is primary, the second standby.
//! Losing an agent moves only that agent's monitors; nothing is stored and every coordinator comes to the same
//! answer, because scores are compared in whole numbers only.

use std::cmp::Ordering;
use std::time::Duration;

use model::{AgentId, Capabilities, MonitorId, Timestamp, hash};

/// An agent that could check a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The agent.
    pub agent: AgentId,
    /// Its share relative to the others; an agent of weight 0 gets nothing.
    pub weight: u32,
    /// What it can do.
    pub able: Capabilities,
}

/// Who checks a monitor from one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Checks on schedule.
    pub primary: Option<AgentId>,
    /// Takes over when the primary falls silent.
    pub standby: Option<AgentId>,
}

/// Those of one region's candidates that can make a check which needs all of this; all of them if none can: one of them then
/// says what it lacks.
#[must_use]
pub fn able(candidates: &[Candidate], needs: Capabilities) -> Vec<Candidate> {
    let able: Vec<Candidate> =
        candidates.iter().filter(|candidate| candidate.able.meet(needs)).copied().collect();
    if able.is_empty() { candidates.to_vec() } else { able }
}

/// Chooses among the candidates of one region.
#[must_use]
pub fn place(monitor: MonitorId, candidates: &[Candidate]) -> Placement {
    let (mut best, mut second): (Option<Score>, Option<Score>) = (None, None);
    for candidate in candidates.iter().filter(|candidate| candidate.weight > 0) {
        let score = Score::of(monitor, *candidate);
        if best.is_none_or(|best| score.beats(best)) {
            second = best;
            best = Some(score);
        } else if second.is_none_or(|second| score.beats(second)) {
            second = Some(score);
        }
    }
    Placement { primary: best.map(|score| score.agent), standby: second.map(|score| score.agent) }
}

/// When within the interval the region of this `rank` among `regions` checks: `(hash(m) + rank · I / n) mod I`, so
/// that monitors spread over the interval and the regions of one monitor interleave.
#[must_use]
pub fn phase(monitor: MonitorId, rank: usize, regions: usize, interval: Duration) -> Duration {
    let interval = micros(interval);
    let offset = rank as u128 * u128::from(interval) / regions.max(1) as u128;
    let phase = (u128::from(monitor.hash()) + offset) % u128::from(interval);
    Duration::from_micros(u64::try_from(phase).expect("a remainder is smaller than its divisor"))
}

/// The first scheduled check strictly after `now`.
#[must_use]
pub fn next_check_at(phase: Duration, interval: Duration, now: Timestamp) -> Timestamp {
    let start = (i128::from(slot(phase, interval, now)) + 1) * i128::from(micros(interval)) + shift(phase);
    Timestamp::from_micros(i64::try_from(start).unwrap_or(i64::MAX))
}

/// The slot in which an instant lies: `floor((t − phase) / interval)`, counted from the Unix epoch.
#[must_use]
pub fn slot(phase: Duration, interval: Duration, at: Timestamp) -> i64 {
    let slot = (i128::from(at.as_micros()) - shift(phase)).div_euclid(i128::from(micros(interval)));
    i64::try_from(slot).unwrap_or(i64::MIN)
}

/// Microseconds of an interval, at least one.
fn micros(interval: Duration) -> u64 {
    u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn shift(phase: Duration) -> i128 {
    i128::from(u64::try_from(phase.as_micros()).unwrap_or(u64::MAX))
}

/// A candidate's claim to a monitor: `weight / −log(hash)`, kept as a fraction.
#[derive(Clone, Copy)]
struct Score {
    agent: AgentId,
    weight: u32,
    cost: u64,
}

impl Score {
    fn of(monitor: MonitorId, candidate: Candidate) -> Self {
        let hash = hash::hash_pair(monitor.as_bytes(), candidate.agent.as_bytes());
        Self { agent: candidate.agent, weight: candidate.weight, cost: minus_log2(hash) }
    }

    fn beats(self, other: Self) -> bool {
        let mine = u128::from(self.weight) * u128::from(other.cost);
        let theirs = u128::from(other.weight) * u128::from(self.cost);
        match mine.cmp(&theirs) {
            Ordering::Equal => self.agent < other.agent,
            order => order == Ordering::Greater,
        }
    }
}

/// `−log2((hash + 1) / 2^64)` with 32 fractional bits, at least 1. In whole numbers, because the last digit of a
/// floating-point logarithm may differ between machines that must agree.
fn minus_log2(hash: u64) -> u64 {
    const FRACTION_BITS: u32 = 32;
    let value = u128::from(hash) + 1;
    let exponent = value.ilog2();
    // The mantissa in 1.0 .. 2.0 with 63 fractional bits; squaring it yields one bit of the logarithm at a time.
    let mut mantissa = (value << 63) >> exponent;
    let mut log = u64::from(exponent);
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        log <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    ((64 << FRACTION_BITS) - log).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn monitor(number: u64) -> MonitorId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        MonitorId::from_bytes(id)
    }

    fn candidate(number: u8, weight: u32) -> Candidate {
        Candidate { agent: AgentId::from_bytes([number; 16]), weight, able: Capabilities::all() }
    }

    /// How many of `monitors` each candidate is primary for, in the candidates' order.
    fn shares(candidates: &[Candidate], monitors: u64) -> Vec<usize> {
        let primaries: Vec<_> = (0..monitors).map(|m| place(monitor(m), candidates).primary).collect();
        candidates
            .iter()
            .map(|c| primaries.iter().filter(|primary| **primary == Some(c.agent)).count())
            .collect()
    }

    #[test]
    fn the_logarithm_is_right() {
        for hash in [0, 1, 12_345, u64::from(u32::MAX), u64::MAX / 3, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let exact = 64.0 - (hash as f64 + 1.0).log2();
            let found = minus_log2(hash) as f64 / f64::from(2.0_f32.powi(32));
            assert!((exact - found).abs() < 1e-6, "{hash}: {exact} {found}");
        }
    }

    #[test]
    fn shares_follow_weights() {
        let shares = shares(&[candidate(1, 1), candidate(2, 1), candidate(3, 2), candidate(4, 0)], 4_000);
        for (share, expected) in shares.iter().zip([1_000_usize, 1_000, 2_000, 0]) {
            assert!(share.abs_diff(expected) < 120, "{shares:?}");
        }
    }

    #[test]
    fn a_region_without_agents_has_nobody_and_with_one_agent_no_standby() {
        assert_eq!(place(monitor(1), &[]), Placement::default());
        let alone = place(monitor(1), &[candidate(1, 1)]);
        assert_eq!((alone.primary.is_some(), alone.standby), (true, None));
        let unwilling = [candidate(1, 1), candidate(2, 0)];
        assert_eq!(place(monitor(1), &unwilling), alone, "an agent of weight 0 does not stand by either");
    }

    #[test]
    fn who_cannot_make_a_check_is_a_candidate_only_where_nobody_can() {
        let can = |names: &[&str]| Capabilities::of_agent(names);
        let candidate = |number, able| Candidate { able, ..candidate(number, 1) };
        let region =
            [candidate(1, can(&["http"])), candidate(2, can(&["http", "icmp"])), candidate(3, can(&["tcp"]))];
        let chosen = |needs: &[&str]| {
            let chosen = able(&region, can(needs));
            chosen.iter().map(|candidate| candidate.agent.as_bytes()[0]).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["http"]), [1, 2]);
        assert_eq!(chosen(&["icmp", "http"]), [2]);
        assert_eq!(chosen(&["icmp", "tcp"]), [1, 2, 3], "one of them says what it lacks");
        assert_eq!(able(&[], can(&["http"])), []);
    }

    #[test]
    fn of_equal_claims_the_one_of_the_smaller_id_is_the_better() {
        let score = |agent: u8, weight, cost| Score { agent: AgentId::from_bytes([agent; 16]), weight, cost };
        for (first, second) in [(score(1, 1, 5), score(2, 1, 5)), (score(1, 2, 10), score(2, 1, 5))] {
            assert!(first.beats(second) && !second.beats(first) && !first.beats(first));
        }
    }

    #[test]
    fn the_regions_of_a_monitor_interleave() {
        let interval = Duration::from_secs(60);
        let first = phase(monitor(7), 0, 3, interval);
        assert_eq!(u128::from(monitor(7).hash()) % interval.as_micros(), first.as_micros());
        let second = phase(monitor(7), 1, 3, interval).as_micros();
        assert_eq!(second, (first.as_micros() + 20_000_000) % interval.as_micros(), "a third of it later");
        let mut phases: Vec<_> = (0..3).map(|rank| phase(monitor(7), rank, 3, interval)).collect();
        phases.sort();
        assert_eq!(phases[1] - phases[0], Duration::from_secs(20));
        assert_eq!(phases[2] - phases[1], Duration::from_secs(20));
    }

    #[test]
    fn the_next_check_opens_the_next_slot() {
        let (phase, interval) = (Duration::from_secs(7), Duration::from_secs(60));
        let next = |secs| next_check_at(phase, interval, Timestamp::from_secs(secs)).as_secs();
        assert_eq!([next(0), next(6), next(7), next(66), next(-54)], [7, 7, 67, 67, -53]);
        assert_eq!(slot(phase, interval, Timestamp::from_secs(6)), -1);
        assert_eq!(slot(phase, interval, Timestamp::from_secs(7)), 0);
        assert_eq!(slot(phase, interval, Timestamp::from_secs(67)), 1);
    }

    proptest! {
        /// P1, P2: the order of candidates does not matter, and removing one moves only what it had: to its standby.
        #[test]
        fn p2_removal_moves_only_the_removed_agents_monitors(
            weights in proptest::collection::vec(1_u32..5, 2..8),
            removed in any::<prop::sample::Index>(),
            number in any::<u64>(),
        ) {
            let all: Vec<_> = weights.iter().zip(1..).map(|(&weight, n)| candidate(n, weight)).collect();
            let before = place(monitor(number), &all);
            let reversed: Vec<_> = all.iter().rev().copied().collect();
            prop_assert_eq!(place(monitor(number), &reversed), before);

            let removed = all[removed.index(all.len())].agent;
            let rest: Vec<_> = all.iter().copied().filter(|c| c.agent != removed).collect();
            let after = place(monitor(number), &rest);
            if before.primary == Some(removed) {
                prop_assert_eq!(after.primary, before.standby);
            } else {
                prop_assert_eq!(after.primary, before.primary);
                if before.standby != Some(removed) {
                    prop_assert_eq!(after.standby, before.standby);
                }
            }
        }

        /// Whatever is asked, a phase lies within its interval and the next check within one interval from now.
        #[test]
        fn phases_and_checks_stay_within_the_interval(
            number in any::<u64>(),
            rank in 0_usize..300,
            regions in 0_usize..300,
            interval in 1_u64..100_000_000_000,
            now in any::<i32>(),
        ) {
            let interval = Duration::from_micros(interval);
            let phase = phase(monitor(number), rank, regions, interval);
            prop_assert!(phase < interval);
            let now = Timestamp::from_secs(now.into());
            let next = next_check_at(phase, interval, now);
            prop_assert!(next > now && next.since(now) <= interval);
            prop_assert_eq!(slot(phase, interval, next), slot(phase, interval, now) + 1);
        }
    }
}
