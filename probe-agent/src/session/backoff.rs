//! How long to wait before connecting again: full jitter, so that a thousand agents cut off at once do not return at
//! once.

use std::time::Duration;

use model::Random;

/// The first ceiling.
const FIRST: Duration = Duration::from_millis(500);
/// The highest ceiling.
const LAST: Duration = Duration::from_secs(30);
/// No pause is shorter: jitter may come out as nothing.
const LEAST: Duration = Duration::from_millis(50);
/// A session that lasted this long was healthy.
const HEALTHY: Duration = Duration::from_secs(10);

/// The growing ceiling of the pauses.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// The pause after a session that lasted this long.
    pub(super) fn after(&mut self, lasted: Duration, random: &dyn Random) -> Duration {
        if lasted >= HEALTHY {
            self.ceiling = FIRST;
        }
        let pause = self.ceiling.mul_f64(model::random::unit(random)).max(LEAST);
        self.ceiling = (self.ceiling * 2).min(LAST);
        pause
    }
}

/// The pause after a refusal, which only a person can change: 30 to 60 s.
pub(super) fn slow(random: &dyn Random) -> Duration {
    LAST + LAST.mul_f64(model::random::unit(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always the largest number below 1.
    struct Largest;

    impl Random for Largest {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0xff);
        }
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_start_over_after_a_healthy_session() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> =
            (0..9).map(|_| backoff.after(Duration::ZERO, &Largest).as_millis() as u64).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff.after(HEALTHY, &Largest), FIRST);
        assert_eq!(slow(&Largest).as_secs(), 60);
    }
}
