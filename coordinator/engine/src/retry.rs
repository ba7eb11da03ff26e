//! Retry: when a delivery is tried again, and when it is given up.
//!
//! Called once per finished attempt. The answer is stored as the delivery's next instant, never as a position in a
//! schedule, so that a change of schedule touches only attempts not yet planned (D1–D3).

use std::time::Duration;

use model::Timestamp;

/// Pause before each attempt, the first included: 15 attempts over a little more than three days.
pub const SCHEDULE: [Duration; 15] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(2 * 60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// How far a pause may stray from the schedule, as a share of it, so that what failed together does not come back
/// together.
pub const JITTER: f64 = 0.2;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// It did not, this time.
    Failed {
        /// What its `Retry-After` asked for, if it sent one.
        retry_after: Option<Duration>,
    },
    /// The receiver wants no more of these (410).
    Gone,
}

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is delivered.
    Done,
    /// The next attempt, then.
    At(Timestamp),
    /// Nothing: it is given up, visible and replayable.
    DeadLetter,
}

/// What comes after the `attempt`-th attempt (counted from 1), which ended `now` as `outcome` says. `jitter` is a
/// random number from 0 to 1.
///
/// A `Retry-After` is honoured between one and two times the schedule's pause, and is never cut short by jitter.
#[must_use]
pub fn next(attempt: u32, outcome: Outcome, now: Timestamp, jitter: f64) -> Next {
    let retry_after = match outcome {
        Outcome::Delivered => return Next::Done,
        Outcome::Gone => return Next::DeadLetter,
        Outcome::Failed { retry_after } => retry_after,
    };
    let made = usize::try_from(attempt.max(1)).unwrap_or(usize::MAX);
    let Some(&pause) = SCHEDULE.get(made) else { return Next::DeadLetter };
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
    let pause = match retry_after {
        None => pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter),
        Some(asked) => asked.clamp(pause, pause * 2).mul_f64(1.0 + JITTER * jitter),
    };
    Next::At(now.plus(pause))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn a_delivery_that_always_fails_is_tried_fifteen_times_over_three_days() {
        let (mut attempt, mut now) = (1, NOW);
        while let Next::At(at) = next(attempt, Outcome::Failed { retry_after: None }, now, 0.5) {
            (attempt, now) = (attempt + 1, at);
        }
        assert_eq!(attempt, 15);
        assert_eq!(now.since(NOW), SCHEDULE.iter().sum());
    }

    #[test]
    fn pauses_grow_from_seconds_to_a_day() {
        let minutes = SCHEDULE.map(|pause| pause.as_secs_f64() / 60.0);
        let (first, later) = minutes.split_at(4);
        assert_eq!(first, [0.0, 5.0 / 60.0, 0.25, 0.75]);
        assert_eq!(later, [2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 840.0, 1_200.0, 1_440.0]);
    }

    #[test]
    fn a_pause_strays_a_fifth_of_it_to_either_side() {
        let pause = |jitter| {
            let Next::At(at) = next(8, Outcome::Failed { retry_after: None }, NOW, jitter) else {
                panic!("given up")
            };
            at.since(NOW).as_secs()
        };
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(pause), [48 * 60, 54 * 60, 60 * 60, 72 * 60]);
        assert_eq!([-3.0, f64::NAN, 7.0].map(pause), [48 * 60, 60 * 60, 72 * 60], "whatever it is given");
    }

    #[test]
    fn retry_after_is_honoured_between_one_and_two_times_the_schedule() {
        let after = |secs, jitter| {
            let outcome = Outcome::Failed { retry_after: Some(Duration::from_secs(secs)) };
            let Next::At(at) = next(2, outcome, NOW, jitter) else { panic!("given up") };
            at.since(NOW).as_secs()
        };
        assert_eq!([1, 20, 86_400].map(|secs| after(secs, 0.0)), [15, 20, 30]);
        assert_eq!([1, 20, 86_400].map(|secs| after(secs, 1.0)), [18, 24, 36], "never cut short by jitter");
    }

    proptest! {
        /// D3: what has ended stays ended, whatever the number of the attempt and however it is asked.
        #[test]
        fn d3_ends_are_final(attempt in any::<u32>(), asked in any::<u32>(), jitter in -1.0..2.0_f64) {
            prop_assert_eq!(next(attempt, Outcome::Delivered, NOW, jitter), Next::Done);
            prop_assert_eq!(next(attempt, Outcome::Gone, NOW, jitter), Next::DeadLetter);
            let late = attempt.max(SCHEDULE.len() as u32);
            let failed = Outcome::Failed { retry_after: Some(Duration::from_secs(asked.into())) };
            prop_assert_eq!(next(late, failed, NOW, jitter), Next::DeadLetter);
        }
    }

    #[test]
    fn a_receiver_that_is_gone_is_not_asked_again() {
        assert_eq!(next(1, Outcome::Gone, NOW, 0.5), Next::DeadLetter);
        assert_eq!(next(1, Outcome::Delivered, NOW, 0.5), Next::Done);
    }

    proptest! {
        /// D1, D2: the next attempt is strictly later and within the schedule's bounds, whatever comes in.
        #[test]
        fn d2_the_next_attempt_is_strictly_later_and_bounded(
            attempt in any::<u32>(),
            retry_after in proptest::option::of(any::<u32>()),
            jitter in prop_oneof![0.0..=1.0, any::<f64>()],
        ) {
            let retry_after = retry_after.map(|secs| Duration::from_secs(secs.into()));
            match next(attempt, Outcome::Failed { retry_after }, NOW, jitter) {
                Next::At(at) => {
                    let pause = SCHEDULE[attempt.max(1) as usize];
                    prop_assert!(at > NOW);
                    prop_assert!(at.since(NOW) >= pause.mul_f64(0.799));
                    prop_assert!(at.since(NOW) <= pause.mul_f64(2.401));
                }
                Next::DeadLetter => prop_assert!(attempt >= 15),
                Next::Done => prop_assert!(false, "a failure is not a delivery"),
            }
        }
    }
}
