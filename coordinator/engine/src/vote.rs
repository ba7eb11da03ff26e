//! Votes: the newest word of a region, and the table of all of them that an incident keeps.

use std::time::Duration;

use model::{AgentId, CheckResult, Component, FailureKind, HealthReport, Outcome, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

/// A region's vote: its result whose check *started* last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The agent that checked.
    pub agent: AgentId,
    /// What it found.
    pub verdict: Verdict,
    /// When the check started, by the coordinator's clock.
    pub started_at: Timestamp,
    /// How long it took, in microseconds; an hour and more as one of 71 minutes. There are millions of votes.
    duration_micros: u32,
    /// What the target said of itself, if it did.
    pub health: Option<Box<HealthReport>>,
}

/// What a vote says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The target did what was asked.
    Pass,
    /// The target did not do what was asked.
    Fail {
        /// The class of failure.
        kind: FailureKind,
        /// What a person reads: `503 Service Unavailable`.
        detail: Box<str>,
        /// Whether it is beyond noise: a definite wrong answer, or two failing attempts far enough apart.
        confirmed: bool,
    },
    /// The agent could not measure; the vote abstains.
    Error(Box<str>),
}

/// How every region voted at one instant, which votes counted, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoteTable {
    /// The instant.
    pub at: Timestamp,
    /// The quorum in words: `majority: 2 of 3 regions`.
    pub policy: String,
    /// The count in words: `2 of 3 regions failing, 2 needed`.
    pub arithmetic: String,
    /// One row per assigned region, in the order of their ids.
    pub rows: Vec<VoteRow>,
}

/// One region's vote in a [`VoteTable`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoteRow {
    /// The region.
    pub region: RegionId,
    /// The agent that checked; `None` without a vote.
    pub agent: Option<AgentId>,
    /// What it found.
    pub outcome: RowOutcome,
    /// The class of failure.
    #[serde(default)]
    pub kind: Option<FailureKind>,
    /// What a person reads of a failure or an error; empty otherwise.
    pub detail: String,
    /// When the check started.
    pub started_at: Option<Timestamp>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// Whether the vote counted.
    pub counted: bool,
    /// Why it counted or not: `confirmed failure`, `stale: 95 s old`, `region offline` …
    pub reason: String,
    /// The components that the target's own health report names as failing.
    pub failing: Vec<Component>,
}

/// What a region found, in a [`VoteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowOutcome {
    /// The check passed.
    Pass,
    /// The check failed.
    Fail,
    /// The agent could not measure.
    Error,
    /// The region has not voted.
    None,
}

impl Vote {
    /// The vote that a result makes; a failure is confirmed if its kind is definite.
    #[must_use]
    pub fn new(agent: AgentId, result: &CheckResult) -> Self {
        let verdict = match &result.outcome {
            Outcome::Pass => Verdict::Pass,
            Outcome::Fail(failure) => Verdict::Fail {
                kind: failure.kind,
                detail: failure.detail.as_str().into(),
                confirmed: failure.kind.is_definite(),
            },
            Outcome::Error(text) => Verdict::Error(text.as_str().into()),
        };
        Self {
            agent,
            verdict,
            started_at: result.started_at,
            duration_micros: u32::try_from(result.duration.as_micros()).unwrap_or(u32::MAX),
            health: result.health.clone(),
        }
    }

    /// How long the check took.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_micros as u64)
    }

    /// Whether it says that the target is well enough to answer.
    #[must_use]
    pub const fn is_pass(&self) -> bool {
        matches!(self.verdict, Verdict::Pass)
    }

    /// Whether it says that the target failed.
    #[must_use]
    pub const fn is_fail(&self) -> bool {
        matches!(self.verdict, Verdict::Fail { .. })
    }

    /// Whether it abstains.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.verdict, Verdict::Error(_))
    }

    /// Whether it is a failure beyond noise.
    #[must_use]
    pub const fn is_confirmed_fail(&self) -> bool {
        matches!(self.verdict, Verdict::Fail { confirmed: true, .. })
    }

    /// Whether it is a definite wrong answer, which needs no second attempt.
    #[must_use]
    pub const fn is_definite_fail(&self) -> bool {
        matches!(&self.verdict, Verdict::Fail { kind, .. } if kind.is_definite())
    }

    /// Whether the target passed but reports itself as not well.
    #[must_use]
    pub fn is_unwell(&self) -> bool {
        self.is_pass() && self.health.as_ref().is_some_and(|report| report.status.is_bad())
    }

    /// What a person reads of a failure or an error; empty for a pass.
    #[must_use]
    pub fn detail(&self) -> &str {
        match &self.verdict {
            Verdict::Pass => "",
            Verdict::Fail { detail, .. } => detail,
            Verdict::Error(text) => text,
        }
    }

    /// The components its health report names as failing.
    #[must_use]
    pub fn failing_components(&self) -> Vec<Component> {
        self.health.iter().flat_map(|report| report.failing()).cloned().collect()
    }
}
