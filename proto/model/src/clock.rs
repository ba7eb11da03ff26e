//! Where "now" comes from.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::Timestamp;

/// A source of time. Everything that needs "now" takes one of these or a [`Timestamp`].
pub trait Clock: Send + Sync {
    /// The present instant. Never runs backwards within a process.
    fn now(&self) -> Timestamp;

    /// What the machine's wall clock says. It may step; compare it with [`Clock::now`] to see whether it did.
    fn wall(&self) -> Timestamp;
}

/// The wall time at start, carried forward by `CLOCK_BOOTTIME`.
///
/// Boot time goes on while the machine is suspended and ignores every step of the wall clock, so durations
/// measured with it are true and deadlines cannot be moved by whoever sets the date.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time minus boot time at start, in microseconds.
    offset_micros: i64,
}

impl SystemClock {
    /// Starts a clock at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        Self { offset_micros: wall_micros() - boottime_micros() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.offset_micros.saturating_add(boottime_micros()))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(wall_micros())
    }
}

fn boottime_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

fn wall_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// A clock that tests move by hand.
#[derive(Debug)]
pub struct TestClock {
    now_micros: AtomicI64,
    wall_shift_micros: AtomicI64,
}

impl TestClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now_micros: AtomicI64::new(now.as_micros()), wall_shift_micros: AtomicI64::new(0) }
    }

    /// Lets `span` pass.
    pub fn advance(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        self.now_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Steps the wall clock by `micros` without letting time pass.
    pub fn step_wall(&self, micros: i64) {
        self.wall_shift_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_micros.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(
            self.now_micros.load(Ordering::SeqCst) + self.wall_shift_micros.load(Ordering::SeqCst),
        )
    }
}
