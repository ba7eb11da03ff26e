//! How late checks started, in a histogram of fixed size: whatever happens between two reports, it costs the same.
//!
//! A bucket is a quarter of a power of two microseconds, so a percentile, which is told as the upper end of its bucket,
//! is at most a fifth too high.

use std::time::Duration;

use model::agent_status::Lateness;

/// Buckets for each power of two.
const PARTS: u32 = 4;
/// Up to 2^36 µs, 19 hours; what is later is as that.
const POWERS: u32 = 36;
const BUCKETS: usize = (PARTS * (POWERS + 1)) as usize;

/// The latenesses since the last report.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [u32; BUCKETS],
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Takes note of a check that started so late.
    pub(crate) fn record(&mut self, lateness: Duration) {
        let bucket = &mut self.buckets[bucket(lateness)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.max = self.max.max(lateness);
    }

    /// What was noted since the last time; `None` if nothing was.
    pub(crate) fn take(&mut self) -> Option<Lateness> {
        let Self { buckets, count, max } = std::mem::take(self);
        let percentile = |percent: u64| {
            // Nearest rank: the smallest value that at least so many per cent do not exceed.
            let rank = (count * percent).div_ceil(100);
            let mut below = 0;
            let found = buckets.iter().position(|&bucket| {
                below += u64::from(bucket);
                below >= rank
            });
            found.map_or(max, end).min(max)
        };
        (count > 0).then(|| Lateness { p50: percentile(50), p99: percentile(99), max })
    }
}

/// Four buckets of one microsecond each, then four for each power of two from 4 µs on.
fn bucket(lateness: Duration) -> usize {
    let micros = u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX);
    if micros < u64::from(PARTS) {
        return usize::try_from(micros).unwrap_or_default();
    }
    let power = micros.ilog2();
    // The two bits after the highest one.
    let part = (micros >> (power - 2)) & u64::from(PARTS - 1);
    let bucket = u64::from((power - 1) * PARTS) + part;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The longest lateness in a bucket.
fn end(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let parts = u64::from(PARTS);
    if bucket < parts {
        return Duration::from_micros(bucket);
    }
    let (power, part) = (bucket / parts + 1, bucket % parts);
    Duration::from_micros(((parts + part + 1) << (power - 2)) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_noted_says_nothing_and_a_report_begins_anew() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.take(), None);
        histogram.record(Duration::from_millis(3));
        let only = Duration::from_millis(3);
        assert_eq!(histogram.take(), Some(Lateness { p50: only, p99: only, max: only }));
        assert_eq!(histogram.take(), None);
    }

    #[test]
    fn one_in_a_hundred_is_not_in_the_99th_percentile_and_two_are() {
        for (late, shows) in [(1, false), (2, true)] {
            let mut histogram = Histogram::default();
            (0..100 - late).for_each(|_| histogram.record(Duration::from_micros(800)));
            (0..late).for_each(|_| histogram.record(Duration::from_secs(7)));
            let told = histogram.take().unwrap();
            assert_eq!(told.p99 > Duration::from_secs(6), shows, "{told:?}");
            assert!(told.p50 < Duration::from_millis(1) && told.max == Duration::from_secs(7), "{told:?}");
        }
    }

    #[test]
    fn the_longest_lateness_of_all_has_a_place() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.take().unwrap().max, Duration::MAX);
    }

    proptest! {
        #[test]
        fn percentiles_are_never_too_low_and_at_most_a_fifth_too_high(
            mut latenesses in proptest::collection::vec(0_u64..100_000_000_000, 1..200),
        ) {
            let mut histogram = Histogram::default();
            latenesses.iter().for_each(|&micros| histogram.record(Duration::from_micros(micros)));
            let told = histogram.take().unwrap();
            latenesses.sort_unstable();
            let exact = |percent: usize| latenesses[(latenesses.len() * percent).div_ceil(100) - 1];
            for (told, exact) in [(told.p50, exact(50)), (told.p99, exact(99))] {
                let told = u64::try_from(told.as_micros()).unwrap();
                // Beyond the last bucket the greatest is told.
                prop_assert!(told >= exact.min(1 << 37) && (told <= exact + exact / 4 || exact >= 1 << 36), "{told} {exact}");
            }
            prop_assert_eq!(told.max, Duration::from_micros(*latenesses.last().unwrap()));
        }
    }
}
