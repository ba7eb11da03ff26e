//! What an operator should look at, of what an agent says of itself. Nothing is decided by it: whether an agent is
//! believed is `probe`'s question.

use std::fmt;
use std::time::Duration;

use model::AgentStatus;

use crate::phrase;

/// A clock further off than this is not kept by anybody. Results are right all the same: they are dated here.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(5);
/// Later than this at the 99th percentile, an agent has more to do than it can.
pub const MAX_LATENESS: Duration = Duration::from_secs(5);
/// A spool that waiting results fill to more than this many percent is about to drop some.
pub const MAX_SPOOL_PERCENT: u64 = 80;
/// An agent that has more than this many percent of its files open is about to be refused sockets.
pub const MAX_OPEN_FILES_PERCENT: u64 = 90;

/// Something that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// The wall clock is off.
    Clock {
        /// The agent's minus ours, in microseconds.
        offset_micros: i64,
    },
    /// Checks start late.
    Lateness {
        /// The 99th percentile.
        p99: Duration,
        /// Checks that wait for their turn.
        queued: u32,
    },
    /// Waiting results fill the spool.
    Spool {
        /// How far.
        percent: u64,
        /// How many wait.
        results: u64,
    },
    /// Results were given up a short while ago.
    Drops {
        /// How many in all, since the spool was made.
        total: u64,
    },
    /// Files are running out.
    Files {
        /// How many are open.
        open: u64,
        /// How many may be.
        limit: u64,
    },
}

/// What is not as it should be; `has_dropped` says whether results were given up lately.
#[must_use]
pub fn ailments(status: &AgentStatus, clock_offset_micros: Option<i64>, has_dropped: bool) -> Vec<Ailment> {
    let AgentStatus { machine, work, backlog, .. } = status;
    let clock = clock_offset_micros
        .filter(|offset| u128::from(offset.unsigned_abs()) > MAX_CLOCK_OFFSET.as_micros())
        .map(|offset_micros| Ailment::Clock { offset_micros });
    let lateness = work
        .lateness
        .filter(|lateness| lateness.p99 > MAX_LATENESS)
        .map(|lateness| Ailment::Lateness { p99: lateness.p99, queued: work.queued });
    let percent = percent(backlog.bytes, backlog.capacity_bytes);
    let spool = (percent > MAX_SPOOL_PERCENT).then_some(Ailment::Spool { percent, results: backlog.results });
    let drops = has_dropped.then_some(Ailment::Drops { total: backlog.dropped });
    let files = machine.open_files.zip(machine.open_files_limit).and_then(|(open, limit)| {
        (self::percent(open, limit) > MAX_OPEN_FILES_PERCENT).then_some(Ailment::Files { open, limit })
    });
    [clock, lateness, spool, drops, files].into_iter().flatten().collect()
}

/// Of nothing, nothing is used.
fn percent(used: u64, of: u64) -> u64 {
    let percent = (u128::from(used) * 100).checked_div(u128::from(of)).unwrap_or_default();
    u64::try_from(percent).unwrap_or(u64::MAX)
}

impl Ailment {
    /// The kind in a word: `clock`, `lateness`, `spool`, `drops`, `files`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Clock { .. } => "clock",
            Self::Lateness { .. } => "lateness",
            Self::Spool { .. } => "spool",
            Self::Drops { .. } => "drops",
            Self::Files { .. } => "files",
        }
    }
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Clock { offset_micros } => {
                let off = phrase::span(Duration::from_micros(offset_micros.unsigned_abs()));
                let direction = if offset_micros > 0 { "ahead" } else { "behind" };
                write!(
                    f,
                    "its clock is {off} {direction}: let NTP keep it; results are dated here all the same"
                )
            }
            Self::Lateness { p99, queued } => {
                let late = phrase::span(p99);
                write!(
                    f,
                    "1 % of its checks start {late} late or later, and {queued} wait for their turn: "
                )?;
                f.write_str("add an agent to its region, or raise its concurrency")
            }
            Self::Spool { percent, results } => {
                write!(f, "its spool is {percent} % full of {results} results that wait to be sent")
            }
            Self::Drops { total } => {
                write!(f, "it has given up results that its spool could not hold, {total} in all")
            }
            Self::Files { open, limit } => {
                write!(f, "it has {open} of {limit} files open: raise the limit (LimitNOFILE)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use model::agent_status::{Backlog, Lateness, Machine, Work};

    use super::*;

    fn status() -> AgentStatus {
        AgentStatus {
            wall: Timestamp::EPOCH,
            uptime: Duration::ZERO,
            machine: Machine::default(),
            work: Work::default(),
            backlog: Backlog::default(),
            failing_canaries: vec![],
        }
    }

    fn late(p99: Duration) -> AgentStatus {
        let lateness = Some(Lateness { p99, ..Lateness::default() });
        AgentStatus { work: Work { lateness, queued: 7, ..Work::default() }, ..status() }
    }

    fn full(bytes: u64, capacity_bytes: u64) -> AgentStatus {
        AgentStatus { backlog: Backlog { bytes, capacity_bytes, ..Backlog::default() }, ..status() }
    }

    fn opened(open: u64, limit: u64) -> AgentStatus {
        let machine = Machine { open_files: Some(open), open_files_limit: Some(limit), ..Machine::default() };
        AgentStatus { machine, ..status() }
    }

    #[test]
    fn an_agent_is_well_up_to_each_limit_and_not_beyond() {
        let five = Duration::from_secs(5);
        let kinds = |status: &AgentStatus, offset: Option<i64>, dropped| {
            ailments(status, offset, dropped).iter().map(Ailment::kind).collect::<Vec<_>>()
        };
        for (status, offset, dropped, expected) in [
            (status(), None, false, None),
            (status(), Some(5_000_000), false, None),
            (status(), Some(5_000_001), false, Some("clock")),
            (status(), Some(-5_000_001), false, Some("clock")),
            (status(), Some(i64::MIN), false, Some("clock")),
            (late(five), None, false, None),
            (late(five + Duration::from_micros(1)), None, false, Some("lateness")),
            (full(80, 100), None, false, None),
            (full(81, 100), None, false, Some("spool")),
            (full(5, 0), None, false, None),
            (full(u64::MAX, 1), None, false, Some("spool")),
            (status(), None, true, Some("drops")),
            (opened(90, 100), None, false, None),
            (opened(91, 100), None, false, Some("files")),
            (opened(5, u64::MAX), None, false, None),
        ] {
            assert_eq!(kinds(&status, offset, dropped), Vec::from_iter(expected), "{status:?} {offset:?}");
        }
    }

    #[test]
    fn each_says_what_to_do_or_what_it_means() {
        let text = |status: &AgentStatus, offset, dropped| ailments(status, offset, dropped)[0].to_string();
        assert_eq!(
            text(&status(), Some(-42_000_000), false),
            "its clock is 42 s behind: let NTP keep it; results are dated here all the same"
        );
        assert_eq!(
            text(&late(Duration::from_secs(8)), None, false),
            "1 % of its checks start 8 s late or later, and 7 wait for their turn: add an agent to its region, or raise its \
             concurrency"
        );
        assert_eq!(
            text(&full(91, 100), None, false),
            "its spool is 91 % full of 0 results that wait to be sent"
        );
        assert_eq!(
            text(&opened(1_000, 1_024), None, false),
            "it has 1000 of 1024 files open: raise the limit (LimitNOFILE)"
        );
    }
}
