//! How long a monitor's checks usually take, in 66 bytes.

use std::time::Duration;

/// The shortest time after which a pending check is slow.
const LEAST: Duration = Duration::from_secs(1);
/// With fewer samples the estimate says nothing.
const ENOUGH: usize = 5;
const RING: usize = 32;
/// Two milliseconds a unit: 65,535 of them are the longest timeout and a bit.
const UNIT_MS: u128 = 2;

/// The durations of the latest passing checks.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    ring: [u16; RING],
    next: u8,
    count: u8,
}

impl Default for Latency {
    fn default() -> Self {
        Self { ring: [0; RING], next: 0, count: 0 }
    }
}

impl Latency {
    /// Takes note of a passing check.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.ring[usize::from(self.next)] =
            u16::try_from(duration.as_millis().div_ceil(UNIT_MS)).unwrap_or(u16::MAX);
        self.next = (self.next + 1) % RING as u8;
        self.count = (self.count + 1).min(RING as u8);
    }

    /// When a pending check is slow: `max(1 s, 3 × p95)`.
    pub(crate) fn slow_after(&self) -> Duration {
        let count = usize::from(self.count);
        if count < ENOUGH {
            return LEAST;
        }
        let mut sorted = self.ring;
        let sorted = &mut sorted[..count];
        // Nearly always, and then there is nothing to sort.
        if sorted.iter().all(|&units| slow(units) <= LEAST) {
            return LEAST;
        }
        sorted.sort_unstable();
        // Nearest rank: the smallest value that at least 95 % do not exceed.
        let p95 = sorted[(count * 95).div_ceil(100) - 1];
        LEAST.max(slow(p95))
    }
}

/// What is slow where a check usually takes so many units.
const fn slow(units: u16) -> Duration {
    Duration::from_millis(3 * UNIT_MS as u64 * units as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_three_times_the_usual_but_never_below_a_second() {
        let mut latency = Latency::default();
        for _ in 0..4 {
            latency.record(Duration::from_secs(9));
        }
        assert_eq!(latency.slow_after(), LEAST);
        latency.record(Duration::from_secs(9));
        assert_eq!(latency.slow_after(), Duration::from_secs(27));
        for _ in 0..RING {
            latency.record(Duration::from_millis(40));
        }
        assert_eq!(latency.slow_after(), LEAST);
    }

    #[test]
    fn one_outlier_in_twenty_does_not_count() {
        let mut latency = Latency::default();
        for n in 0..20 {
            latency.record(Duration::from_millis(if n == 7 { 60_000 } else { 500 }));
        }
        assert_eq!(latency.slow_after(), Duration::from_millis(1_500));
    }
}
