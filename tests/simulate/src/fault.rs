//! Faults of agents and of the coordinator: which there are, and when they strike.
//!
//! Fewer than *k* regions are ever faulty at once. Two chains of faults make sure of it: one strikes regions 0 to 2, the
//! other 3 and 4, each one region at a time. So of three regions with a majority of two at most one is faulty, of five
//! with a majority of three at most two.

use std::time::Duration;

use model::Timestamp;

use crate::random::Source;
use crate::span::{Calendar, START, Span};

/// The regions of every world.
pub const REGIONS: [&str; 5] = ["ap-south", "eu-west", "sa-east", "us-east", "us-west"];
/// Agents per region: a primary and its standby, or the reverse, for each monitor.
pub const AGENTS_PER_REGION: usize = 2;
/// The regions that each chain of faults strikes.
const CHAINS: [&[u64]; 2] = [&[0, 1, 2], &[3, 4]];
/// Rest between two faults of a chain: the regions are not faulty at once, though what the first left behind is there.
const REST: Duration = Duration::from_secs(60);

/// A class of faults that a scenario may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The process is killed and another starts later; what was not acked is lost.
    Dead,
    /// Its link is cut: both ways, or one. It goes on checking, and sends what it found when the cut heals.
    Cut,
    /// Its way to the targets loses attempts, up to all of them.
    Lossy,
    /// It reports what it likes.
    Lying,
    /// Its checks take seconds, some end in a timeout; or it cannot measure at all; or its link takes seconds.
    Slow,
    /// It dates its results wrong by up to half a minute.
    Skewed,
    /// Its link duplicates messages and delivers them late and out of order.
    Jumbled,
}

/// All classes.
pub const ALL: &[Class] =
    &[Class::Dead, Class::Cut, Class::Lossy, Class::Lying, Class::Slow, Class::Skewed, Class::Jumbled];

/// A fault of one agent.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the classes say what they mean")]
pub enum Fault {
    Dead,
    /// Both ways.
    Cut,
    /// The coordinator does not hear it.
    CutUp,
    /// It does not hear the coordinator.
    CutDown,
    /// Attempts are lost with this probability.
    Lossy(f64),
    Lying(Lie),
    SlowChecks,
    Unable,
    SlowLink,
    /// Seconds added to the true start.
    Skewed(i64),
    Jumbled,
}

/// What a lying agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Everything is down.
    AllDown,
    /// Everything is well.
    AllWell,
    /// Now this, now that.
    Random,
    /// The contrary of the truth.
    Contrary,
}

/// Why the coordinator is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Killed; started again at the end.
    Killed,
    /// Stopped, or its machine suspended; it goes on at the end.
    Frozen,
    /// It hears, but no commit succeeds; with `forgets`, the last one may have, and everything is loaded again.
    CannotCommit {
        /// Whether the fate of the last commit is unknown.
        forgets: bool,
    },
    /// All its agents are cut off at once.
    Isolated,
    /// Its wall clock is set.
    ClockStep,
}

/// When each agent is faulty and how.
#[must_use]
pub fn of_agents(classes: &[Class], end: Timestamp, source: Source) -> Vec<Calendar<Fault>> {
    let mut calendars = vec![Calendar::default(); REGIONS.len() * AGENTS_PER_REGION];
    for (chain, regions) in (0..).zip(CHAINS) {
        let source = source.of(chain);
        let mut from = START.plus(Duration::from_secs(600));
        for number in 0.. {
            if classes.is_empty() {
                break;
            }
            let source = source.of(number);
            from = from.plus(source.of(0).wait(Duration::from_secs(20 * 3_600)));
            if from >= end {
                break;
            }
            let length = source.of(1).log_between(Duration::from_secs(2), Duration::from_secs(3 * 3_600));
            let span = Span::starting(from, length);
            let class = classes[source.of(2).below(classes.len() as u64) as usize];
            let region = regions[source.of(3).below(regions.len() as u64) as usize] as usize;
            let fault = fault(class, source.of(4));
            let alone = source.of(5).chance(0.3).then(|| source.of(6).below(2) as usize);
            for agent in 0..AGENTS_PER_REGION {
                if alone.is_none_or(|alone| alone == agent) {
                    calendars[region * AGENTS_PER_REGION + agent].push(span, fault);
                }
            }
            from = span.to.plus(REST);
        }
    }
    calendars
}

fn fault(class: Class, source: Source) -> Fault {
    let pick = source.of(0).below(4);
    match class {
        Class::Dead => Fault::Dead,
        Class::Cut => [Fault::Cut, Fault::Cut, Fault::CutUp, Fault::CutDown][pick as usize],
        Class::Lossy if pick == 0 => Fault::Lossy(1.0),
        Class::Lossy => Fault::Lossy(source.of(1).unit() * 0.8),
        Class::Lying => Fault::Lying([Lie::AllDown, Lie::AllWell, Lie::Random, Lie::Contrary][pick as usize]),
        Class::Slow => [Fault::SlowChecks, Fault::SlowChecks, Fault::Unable, Fault::SlowLink][pick as usize],
        Class::Skewed => Fault::Skewed(source.of(1).below(61) as i64 - 30),
        Class::Jumbled => Fault::Jumbled,
    }
}

/// When the coordinator is absent: every eight hours on average, for a second to two hours; now and then several times in
/// a row.
#[must_use]
pub fn of_coordinator(end: Timestamp, source: Source) -> Calendar<Absence> {
    let mut calendar = Calendar::default();
    let mut from = START.plus(Duration::from_secs(900));
    for number in 0.. {
        let source = source.of(number);
        let pause =
            if source.of(0).chance(0.25) { Duration::from_secs(45) } else { Duration::from_secs(8 * 3_600) };
        from = from.plus(source.of(1).wait(pause)).plus(Duration::from_secs(5));
        if from >= end {
            return calendar;
        }
        let absence = match source.of(2).below(8) {
            0..=2 => Absence::Killed,
            3 => Absence::Frozen,
            4 => Absence::CannotCommit { forgets: false },
            5 => Absence::CannotCommit { forgets: true },
            6 => Absence::Isolated,
            _ => Absence::ClockStep,
        };
        let length = match absence {
            Absence::ClockStep => Duration::from_millis(1),
            Absence::Isolated => {
                source.of(3).log_between(Duration::from_secs(30), Duration::from_secs(7_200))
            }
            _ => source.of(3).log_between(Duration::from_secs(1), Duration::from_secs(7_200)),
        };
        let span = Span::starting(from, length);
        calendar.push(span, absence);
        from = span.to;
    }
    calendar
}

impl Absence {
    /// Whether nothing can be decided meanwhile.
    #[must_use]
    pub const fn is_blind(self) -> bool {
        !matches!(self, Self::ClockStep)
    }
}
