//! Windows of maintenance: what the engine makes of a plan, and what the clock on the wall says.
//!
//! The coordinator of the simulation follows the engine's schedules; the oracle has its own arithmetic over the few
//! changes of the clock that the simulated months contain. Plans recur on a calendar that is moved, for half of the
//! monitors to March 2024 and for half to October, so that every month has a change in New York and one in Berlin.

use std::time::Duration;

use engine::maintenance::{Schedule, Window};
use model::Timestamp;

use crate::random::Source;
use crate::span::{Calendar, START, Span};

/// When a monitor is in maintenance.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// As the coordinator finds out.
    pub told: Calendar<()>,
    /// As it is planned.
    pub planned: Calendar<()>,
}

/// Plans that recur, each as the engine and as the oracle understand it.
#[derive(Debug)]
pub struct Plans(Vec<(Vec<Span>, Vec<Span>)>);

/// A zone's clock in 2024: seconds east of UTC at the beginning, and from which instants it is set otherwise.
struct Zone {
    name: &'static str,
    east_secs: i64,
    changes: [(i64, i64); 2],
}

const ZONES: [Zone; 2] = [
    Zone {
        name: "America/New_York",
        east_secs: -18_000,
        changes: [(1_710_054_000, -14_400), (1_730_613_600, -18_000)],
    },
    Zone {
        name: "Europe/Berlin",
        east_secs: 3_600,
        changes: [(1_711_846_800, 7_200), (1_729_990_800, 3_600)],
    },
];
/// What the moved calendars show at the start of the simulation: 8 March and 25 October 2024 at noon, UTC.
const BEGINNINGS: [i64; 2] = [1_709_899_200, 1_729_857_600];
/// Windows that recur.
const RECURRENCES: [Recurrence; 4] = [
    // Skipped in spring, shown twice in autumn.
    Recurrence { hour: 2, minute: 30, sundays_only: false, lasts: Duration::from_secs(3_600) },
    // Across the change.
    Recurrence { hour: 0, minute: 45, sundays_only: true, lasts: Duration::from_secs(3 * 3_600) },
    Recurrence { hour: 23, minute: 15, sundays_only: false, lasts: Duration::from_secs(45 * 60) },
    Recurrence { hour: 13, minute: 0, sundays_only: false, lasts: Duration::from_secs(5 * 60) },
];
const DAY: i64 = 86_400;
/// The first window begins no earlier than this after the start.
const FIRST_AFTER: Duration = Duration::from_secs(3_600);

/// At a time of day, every day or on Sundays.
struct Recurrence {
    hour: i64,
    minute: i64,
    sundays_only: bool,
    lasts: Duration,
}

impl Plans {
    /// All of them, up to the end of a world.
    #[must_use]
    pub fn new(end: Timestamp) -> Self {
        let mut plans = vec![];
        for beginning in BEGINNINGS {
            for zone in &ZONES {
                for recurrence in &RECURRENCES {
                    let moved = Moved { secs: beginning - START.as_secs(), end };
                    plans.push((moved.by_engine(recurrence, zone), moved.by_clock(recurrence, zone)));
                }
            }
        }
        Self(plans)
    }
}

impl Windows {
    /// The windows of one monitor: a plan that recurs, single ones, both, or none.
    #[must_use]
    pub fn new(plans: &Plans, end: Timestamp, source: Source) -> Self {
        let (mut told, mut planned) = (vec![], vec![]);
        let kinds = source.of(0).below(4);
        if kinds & 1 != 0 {
            let (by_engine, by_clock) = &plans.0[source.of(1).below(plans.0.len() as u64) as usize];
            told.extend(by_engine);
            planned.extend(by_clock);
        }
        if kinds & 2 != 0 {
            let mut from = START.plus(FIRST_AFTER);
            for number in 0.. {
                let source = source.of(2).of(number);
                from = from.plus(source.of(0).wait(Duration::from_secs(4 * 86_400)));
                if from >= end {
                    break;
                }
                let length =
                    source.of(1).log_between(Duration::from_secs(120), Duration::from_secs(6 * 3_600));
                let span = Span::starting(from, length);
                let once = Schedule::once(span.from, span.to).expect("it lasts between a minute and a month");
                told.extend(once.next_after(START).map(|window| Span { from: window.start, to: window.end }));
                planned.push(span);
                from = span.to;
            }
        }
        Self { told: Calendar::union(told), planned: Calendar::union(planned) }
    }
}

/// A calendar that is moved by so many seconds.
#[derive(Clone, Copy)]
struct Moved {
    secs: i64,
    end: Timestamp,
}

impl Moved {
    fn there(self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros() + self.secs * 1_000_000)
    }

    fn back(self, window: Window) -> Span {
        let back = |at: Timestamp| Timestamp::from_micros(at.as_micros() - self.secs * 1_000_000);
        Span { from: back(window.start), to: back(window.end) }
    }

    fn by_engine(self, recurrence: &Recurrence, zone: &Zone) -> Vec<Span> {
        let days = if recurrence.sundays_only { "0" } else { "*" };
        let cron = format!("{} {} * * {days}", recurrence.minute, recurrence.hour);
        let first = self.there(START.plus(FIRST_AFTER));
        let schedule = Schedule::recurring(&cron, zone.name, recurrence.lasts, first)
            .expect("the plans are made so that they can be");
        let windows = std::iter::successors(schedule.next_after(first), |last| schedule.next_after(last.end));
        windows.map(|window| self.back(window)).take_while(|span| span.from < self.end).collect()
    }

    fn by_clock(self, recurrence: &Recurrence, zone: &Zone) -> Vec<Span> {
        let first = self.there(START.plus(FIRST_AFTER)).as_secs();
        let days = first.div_euclid(DAY) - 1..self.there(self.end).as_secs().div_euclid(DAY) + 2;
        let is_meant = |day: &i64| !recurrence.sundays_only || (day + 4).rem_euclid(7) == 0;
        days.filter(is_meant)
            .map(|day| zone.first(day * DAY + recurrence.hour * 3_600 + recurrence.minute * 60))
            .filter(|secs| *secs > first)
            .map(|secs| {
                let start = Timestamp::from_secs(secs);
                self.back(Window { start, end: start.plus(recurrence.lasts) })
            })
            .filter(|span| span.from < self.end)
            .collect()
    }
}

impl Zone {
    fn east_at(&self, secs: i64) -> i64 {
        let reached = self.changes.iter().rev().find(|(at, _)| *at <= secs);
        reached.map_or(self.east_secs, |(_, east)| *east)
    }

    /// When the clock first shows this; if it never does, when it is set past it.
    fn first(&self, shown: i64) -> i64 {
        let easts = || self.changes.iter().map(|(_, east)| *east).chain([self.east_secs]);
        let instants = easts().map(|east| shown - east).filter(|secs| self.east_at(*secs) == shown - secs);
        instants.min().unwrap_or_else(|| {
            let skips = |at: &i64| at + self.east_at(at - 1) <= shown && shown < at + self.east_at(*at);
            self.changes.iter().map(|(at, _)| *at).find(skips).expect("what no clock shows is skipped")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_and_clock_agree_about_every_plan_and_every_plan_meets_a_change() {
        let plans = Plans::new(START.plus(Duration::from_secs(30 * 86_400)));
        for (by_engine, by_clock) in &plans.0 {
            assert_eq!(by_engine, by_clock);
            let pauses: Vec<_> =
                by_clock.windows(2).map(|pair| pair[1].from.since(pair[0].from).as_secs()).collect();
            let usual = pauses.iter().filter(|secs| *secs % 86_400 == 0).count();
            assert!(usual < pauses.len(), "no change in {pauses:?}");
        }
    }
}
