//! Effects: the complete list of what a decision may cause.
//!
//! The engine only says; the shard that called it commits effects together with the new state. Incidents are named by
//! their number within their subject, from which the caller derives their id, so that a repeated commit cannot make a
//! second one.

use std::time::Duration;

use model::{RegionId, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::coverage::CoverageEvidence;
use crate::probe::ProbeEvidence;
use crate::vote::VoteTable;
use crate::{heartbeat, monitor};

/// What `apply` gives back.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition<S> {
    /// The state after the event.
    pub state: S,
    /// What the event caused, in the order in which it happened.
    pub effects: Vec<Effect>,
}

/// One thing that a decision causes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Ask all live assigned regions to check now, each with attempts 1 and 2. Sent at most once per round.
    Verify {
        /// The round's number within its monitor: never 0, higher than those of all rounds before.
        round: u32,
        /// What made it necessary.
        why: RoundReason,
    },
    /// Tell the monitor how those that it depends on stand, once they have been asked ([`monitor::Event::Asked`]).
    AskParents,
    /// A monitor's status changed.
    MonitorStatus {
        /// The status before.
        from: monitor::Status,
        /// The status now.
        to: monitor::Status,
        /// Why, for people.
        reason: String,
    },
    /// A heartbeat's status changed.
    HeartbeatStatus {
        /// The status before.
        from: heartbeat::Status,
        /// The status now.
        to: heartbeat::Status,
        /// Why, for people.
        reason: String,
    },
    /// An incident opens. The subject had none open.
    Open(Opening),
    /// The open incident ends because the subject recovered.
    Resolve {
        /// The incident.
        number: u32,
        /// When it ended.
        resolved_at: Timestamp,
        /// What showed the recovery.
        evidence: Evidence,
    },
    /// The open incident ends without recovery.
    Close {
        /// The incident.
        number: u32,
        /// When it ended.
        at: Timestamp,
        /// Why.
        reason: CloseReason,
    },
    /// An agent's votes do not count any more: every monitor is told.
    Quarantine {
        /// From checks that started here on.
        since: Timestamp,
    },
    /// An agent's votes count again.
    Release,
    /// A line for the timeline of the open incident.
    Record {
        /// The incident.
        number: u32,
        /// When it happened.
        at: Timestamp,
        /// What happened, for people.
        text: String,
    },
    /// Something operators should know of that is no incident of the subject.
    Notice {
        /// When it was noticed.
        at: Timestamp,
        /// What it is, for people.
        text: String,
    },
    /// A run of a heartbeat's job is over, or is taken for it.
    RunEnded(RunEnd),
}

/// How a run ended that had a start or an id, failed, or gave an exit code. Other successes are no more than pings.
///
/// A run that was taken for lost can end all the same: then this comes again with the same `run` and `started_at`, and
/// the later one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Its id, if the job gives ids.
    pub run: Option<RunId>,
    /// When it began, if it said so.
    pub started_at: Option<Timestamp>,
    /// When it ended, or when it was taken for lost.
    pub ended_at: Timestamp,
    /// What came of it.
    pub outcome: RunOutcome,
}

impl RunEnd {
    /// How long it took; `None` if that is not known, or was so long ([`heartbeat::MAX_TIMED`]) that start and end
    /// hardly belong together.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let is_known = !matches!(self.outcome, RunOutcome::Lost(_));
        let took = self.ended_at.since(self.started_at.filter(|_| is_known)?);
        (took < heartbeat::MAX_TIMED).then_some(took)
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunOutcome {
    /// It ended well.
    Succeeded {
        /// 0 if it sent an exit code.
        exit_code: Option<u8>,
    },
    /// It said that it failed.
    Failed {
        /// Its exit code, if it sent one; never 0.
        exit_code: Option<u8>,
    },
    /// It did not say how it ended.
    Lost(RunLoss),
}

/// Why a run that did not end is no longer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunLoss {
    /// It ran for longer than it may.
    TooLong,
    /// It did not say for too long that it lives.
    Silent,
    /// Another one began without an id, as it did itself.
    Replaced,
    /// It may have ended while nobody could hear.
    Unheard,
    /// Too many began after it ([`heartbeat::MAX_RUNS`]).
    Forgotten,
    /// The heartbeat was paused.
    Paused,
}

/// An incident at its opening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Its number within its subject, from 1.
    pub number: u32,
    /// When the outage began: the first failing check, or the missed expectation.
    pub started_at: Timestamp,
    /// When it was confirmed; never before `started_at`.
    pub opened_at: Timestamp,
    /// One line for people, such as `503 Service Unavailable from us-east, eu-west`.
    pub cause: String,
    /// What the decision rested on.
    pub evidence: Evidence,
}

/// What a decision about an incident rested on; kept with it for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Evidence {
    /// The votes of the regions.
    Votes(VoteTable),
    /// What the job sent, or did not.
    Heartbeat(HeartbeatEvidence),
    /// What speaks against a probe agent.
    Probe(ProbeEvidence),
    /// Which part of the fleet cannot be heard.
    Coverage(CoverageEvidence),
}

/// What a heartbeat's incident rested on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatEvidence {
    /// When a ping was due.
    pub expected_at: Timestamp,
    /// When the job last reported the end of a run, good or bad.
    pub last_ping_at: Option<Timestamp>,
    /// The interval at that time; `None`: the job runs by a calendar.
    pub interval: Option<Duration>,
    /// The schedule at that time, for people: `every 25 h`, `0 3 * * * (Europe/Berlin)`.
    #[serde(default)]
    pub schedule: String,
    /// The grace at that time.
    pub grace: Duration,
    /// What went wrong.
    pub kind: HeartbeatFailure,
}

/// How a heartbeat goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatFailure {
    /// No ping came in time.
    Missed,
    /// The job reported failure itself.
    Failed {
        /// Its exit code, if it sent one; never 0.
        exit_code: Option<u8>,
    },
    /// Not even a start came in time.
    NeverStarted,
    /// A run took longer than it may.
    RanTooLong {
        /// When it began.
        started_at: Timestamp,
        /// How long it may take.
        max_runtime: Duration,
    },
    /// A run no longer said that it lives.
    Silent {
        /// When it began.
        started_at: Timestamp,
        /// When it was last heard of.
        heard_at: Timestamp,
    },
}

/// How an incident ends without recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// Its subject was paused.
    Paused,
    /// Its subject was deleted.
    Deleted,
}

/// Why a round is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundReason {
    /// A region's check failed.
    Failed(RegionId),
    /// A region's check takes far longer than usual.
    Slow(RegionId),
    /// The confirmation period is over.
    Confirmation,
    /// A region's check of a monitor that is down passed.
    Passed(RegionId),
    /// The recovery must be seen again.
    Recovery,
    /// The coordinator could not see for a while.
    Blind,
    /// The policy changed while an incident was open.
    PolicyChanged,
    /// A window of maintenance ended.
    Maintenance,
    /// What it depends on is well again.
    Parents,
    /// A monitor that depends on it may be failing.
    Child,
    /// An agent whose votes the incident rested on is not believed any more.
    Quarantine,
}
