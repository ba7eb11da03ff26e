//! Randomness by name instead of by order.
//!
//! Every random fact of the world (was this attempt lost, how long did that message take) is a hash of the seed and of
//! what it is about. So the facts do not depend on the order in which they are asked for: checks in which nothing
//! happens need not be run to know that nothing happens in them, and one monitor is replayed alone as it was among all.

use std::time::Duration;

/// The increment of SplitMix64, 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A place in the tree of random facts. Its children are named by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u64);

impl Source {
    /// The root of a seed's tree.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ GOLDEN))
    }

    /// The child with this name.
    #[must_use]
    pub const fn of(self, name: u64) -> Self {
        Self(mix(self.0.wrapping_add(GOLDEN.wrapping_mul(name.wrapping_add(1)))))
    }

    /// The fact itself: 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A number from 0 to 1, 1 excluded.
    #[must_use]
    pub const fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability is so.
    #[must_use]
    pub fn chance(self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number below `end`, which is at least 1.
    #[must_use]
    pub const fn below(self, end: u64) -> u64 {
        ((self.0 as u128 * end as u128) >> 64) as u64
    }

    /// A span in whole milliseconds, each as likely as any other.
    #[must_use]
    pub fn between(self, shortest: Duration, longest: Duration) -> Duration {
        let width = millis(longest).saturating_sub(millis(shortest));
        Duration::from_millis(millis(shortest) + self.below(width + 1))
    }

    /// A span in whole milliseconds, each order of magnitude as likely as any other.
    #[must_use]
    pub fn log_between(self, shortest: Duration, longest: Duration) -> Duration {
        let (low, high) = (shortest.as_secs_f64().ln(), longest.as_secs_f64().ln());
        whole_millis((low + (high - low) * self.unit()).exp())
    }

    /// A span in whole milliseconds until something that happens once in `mean` on average.
    #[must_use]
    pub fn wait(self, mean: Duration) -> Duration {
        whole_millis(-mean.as_secs_f64() * (1.0 - self.unit()).ln())
    }
}

/// The finaliser of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014),
/// with the constants of Stafford's variant 13.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Instants of the simulation are whole milliseconds, so that a timeline printed as text is the timeline.
fn whole_millis(secs: f64) -> Duration {
    Duration::from_millis((secs * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_have_the_probability_they_are_asked_for() {
        let root = Source::new(7).of(1);
        let hits = (0..200_000).filter(|&name| root.of(name).chance(0.005)).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        let low = (0..10_000).filter(|&name| root.of(name).below(10) < 3).count();
        assert!((2_850..3_150).contains(&low), "{low}");
    }

    #[test]
    fn seeds_and_names_are_worlds_apart() {
        assert_eq!(Source::new(1).of(2), Source::new(1).of(2));
        assert_ne!(Source::new(1).of(2), Source::new(2).of(1));
        assert_ne!(Source::new(1).of(2).of(3), Source::new(1).of(3).of(2));
    }
}
