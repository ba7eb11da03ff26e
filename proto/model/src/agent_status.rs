//! How an agent itself is, in its own words: what it reports every half minute.

use std::time::Duration;

use crate::Timestamp;

/// One report. Its counts cover a period of its own; everything else is as it was at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentStatus {
    /// The agent's wall clock. Only compared; nothing is dated by it.
    pub wall: Timestamp,
    /// How long the process has been running.
    pub uptime: Duration,
    /// Its machine and what it takes of it.
    pub machine: Machine,
    /// What it did and could not do.
    pub work: Work,
    /// Results that the coordinator does not have yet.
    pub backlog: Backlog,
    /// Those of its own operator's canaries that fail, by name.
    pub failing_canaries: Vec<String>,
}

/// What the system says; `None` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Processes that ran or waited to run, averaged over a minute.
    pub load: Option<f64>,
    /// Processors that the agent may use.
    pub cores: u32,
    /// Resident bytes of the agent.
    pub memory_bytes: Option<u64>,
    /// Files and sockets that it has open.
    pub open_files: Option<u64>,
    /// How many it may have open.
    pub open_files_limit: Option<u64>,
}

/// The work of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How long the period was.
    pub period: Duration,
    /// Attempts of all kinds that were started in it.
    pub started: u64,
    /// Scheduled checks that were given up in it, because it was too late for them.
    pub skipped: u64,
    /// How late scheduled checks started; `None`: none did.
    pub lateness: Option<Lateness>,
    /// Attempts under way.
    pub running: u32,
    /// Attempts that wait for their turn, at a limit of the agent or of their host.
    pub queued: u32,
    /// The longest that an attempt waited for its turn, or is waiting.
    pub longest_wait: Duration,
}

/// How late checks started: start − planned instant. The percentiles are at most a fifth too high, never too low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Half of them were not later.
    pub p50: Duration,
    /// 99 % of them were not later.
    pub p99: Duration,
    /// None was later.
    pub max: Duration,
}

/// Results that wait for the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many are not acknowledged.
    pub results: u64,
    /// How long ago the oldest of them was begun, as far as that is known; of those on disk to within a segment.
    pub oldest_age: Option<Duration>,
    /// Bytes of the spool that cannot be had again without giving results up, to within a segment.
    pub bytes: u64,
    /// Bytes that the spool may take.
    pub capacity_bytes: u64,
    /// How many were given up without having been acknowledged, since the spool was made.
    pub dropped: u64,
}
