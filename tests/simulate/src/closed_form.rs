//! How many false incidents independent loss must cause, by arithmetic.
//!
//! Let every attempt be lost with probability *p* and, without being lost, take long with probability *q*; let a monitor
//! be checked from *n* regions, *c* times each in a month, and be down when *k* regions fail.
//!
//! * **A round begins** with every scheduled check that is lost or slow: *λ = n · c · (p + q)* rounds a month. (Once a
//!   round has looked at a failure, that failure asks for no other.)
//! * **In a round every region makes two attempts**, the second a second after the first unless that has passed. A
//!   region fails for certain only when its newest attempt failed and another did so at least 0.9 s before without a
//!   pass between them. The first region has its lost check besides, but a pass of either attempt is newer than that
//!   and takes it back. So each of the *n* regions fails with probability *p²*, independently.
//! * **An incident opens** when at least *k* of the *n* do: *P = Σᵢ₌ₖⁿ C(n, i) · p²ⁱ · (1 − p²)ⁿ⁻ⁱ*.
//!
//! The expectation is *λ · P* a month. At *p* = 0.5 %: with `any` of three regions 7.5 · 10⁻⁵ for each round; with the
//! majority of three 1.9 · 10⁻⁹. What is left out makes it smaller: lost checks while a round is under way begin none; a
//! monitor that is down cannot open again; and at short intervals a scheduled check that passes while two others still
//! hang is newer than they are and takes them back. So where several regions must fail at once, the measured ratio is
//! below 1.

use std::time::Duration;

/// A month.
pub const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A policy as the arithmetic sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// *n*.
    pub regions: usize,
    /// As users write it.
    pub text: &'static str,
    /// *k*, while all regions can be heard.
    pub needed: usize,
}

/// False incidents expected of one monitor in a span.
#[must_use]
pub fn expected(quorum: Quorum, loss: f64, tail: f64, interval: Duration, span: Duration) -> f64 {
    let checks = span.as_secs_f64() / interval.as_secs_f64();
    let rounds = quorum.regions as f64 * checks * (loss + tail);
    rounds * at_least(quorum.needed, quorum.regions, loss * loss)
}

/// The probability that at least `needed` of `trials` independent trials of this probability succeed.
fn at_least(needed: usize, trials: usize, probability: f64) -> f64 {
    (needed..=trials)
        .map(|hits| {
            let ways = (0..hits).fold(1.0, |ways, i| ways * (trials - i) as f64 / (i + 1) as f64);
            ways * probability.powi(hits as i32) * (1.0 - probability).powi((trials - hits) as i32)
        })
        .sum()
}

/// The probability that as many as `seen` come where `mean` are expected, or more (Poisson): whether a count that is too
/// high may be chance.
#[must_use]
pub fn chance_of(seen: u64, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut below = 0.0;
    for count in 0..seen {
        below += term;
        term *= mean / (count + 1) as f64;
    }
    (1.0 - below).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_is_that_of_the_text() {
        assert!((at_least(1, 3, 0.005 * 0.005) - 7.5e-5).abs() < 1e-8);
        assert!((at_least(2, 3, 0.005 * 0.005) - 1.875e-9).abs() < 1e-12);
        assert!((at_least(0, 3, 0.3) - 1.0).abs() < 1e-12);
        let any = Quorum { regions: 3, text: "any", needed: 1 };
        let month = expected(any, 0.005, 0.0, Duration::from_secs(300), MONTH);
        assert!((month - 8_640.0 * 3.0 * 0.005 * 7.5e-5).abs() < 1e-6, "{month}");
    }

    #[test]
    fn chance_is_that_of_poisson() {
        assert!((chance_of(1, 2.0) - (1.0 - (-2.0_f64).exp())).abs() < 1e-12);
        assert!(chance_of(40, 20.0) < 1e-4);
        assert!(chance_of(20, 20.0) > 0.4);
    }
}
