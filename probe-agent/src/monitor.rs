//! What the agent keeps of one assigned monitor.

use std::borrow::Borrow;
use std::sync::Arc;

use model::{Check, MonitorId, Outcome, PathHop, Timestamp};
use proto::probe::convert::{Assignment, Role};

use crate::check::Finding;
use crate::latency::Latency;
use crate::schedule::Grid;

/// An assigned monitor: its assignment and the little that is remembered of its past.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) assignment: Arc<Assignment>,
    /// The target's host, by which concurrency is limited.
    pub(crate) host: Arc<str>,
    pub(crate) latency: Latency,
    /// What the latest attempt saw.
    pub(crate) seen: Option<Seen>,
    /// The latest slot for which a scheduled check was queued, and under which revision.
    pub(crate) last_slot: Option<(u64, i64)>,
    /// Whether a scheduled check is queued or running.
    pub(crate) is_busy: bool,
    /// Whether a slot came while one before was queued or running.
    pub(crate) is_overdue: bool,
    /// The latest round, and whether its first attempt has settled it.
    pub(crate) round: Option<(u32, bool)>,
    /// When a capture was told last.
    pub(crate) told_at: Option<Timestamp>,
    /// The way to the target, as last looked at since it failed.
    pub(crate) path: Option<Vec<PathHop>>,
    /// When it was looked at last.
    pub(crate) path_at: Option<Timestamp>,
}

/// What an attempt saw, as far as a change of it is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A pass.
    Well,
    /// A pass whose health report says that something is wrong.
    Unwell,
    /// A failure.
    Failing,
    /// Nothing: it could not be measured.
    Unmeasured,
}

impl Held {
    pub(crate) fn new(assignment: Assignment) -> Self {
        Self {
            host: host(&assignment),
            assignment: Arc::new(assignment),
            latency: Latency::default(),
            seen: None,
            last_slot: None,
            is_busy: false,
            is_overdue: false,
            round: None,
            told_at: None,
            path: None,
            path_at: None,
        }
    }

    /// Takes on a new version of the assignment.
    pub(crate) fn update(&mut self, assignment: Assignment) {
        self.host = host(&assignment);
        self.assignment = Arc::new(assignment);
    }

    pub(crate) fn grid(&self) -> Grid {
        Grid::new(self.assignment.interval, self.assignment.phase)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.assignment.role == Role::Primary
    }
}

impl Borrow<Assignment> for Held {
    fn borrow(&self) -> &Assignment {
        &self.assignment
    }
}

impl Seen {
    pub(crate) fn of(finding: &Finding) -> Self {
        match &finding.outcome {
            Outcome::Pass if finding.health.as_ref().is_some_and(|health| health.status.is_bad()) => {
                Self::Unwell
            }
            Outcome::Pass => Self::Well,
            Outcome::Fail(_) => Self::Failing,
            Outcome::Error(_) => Self::Unmeasured,
        }
    }

    /// What the latest attempt saw, as a number that stays the same in every version.
    pub(crate) const fn to_number(seen: Option<Self>) -> u32 {
        match seen {
            None => 0,
            Some(Self::Well) => 1,
            Some(Self::Unwell) => 2,
            Some(Self::Failing) => 3,
            Some(Self::Unmeasured) => 4,
        }
    }

    /// The other way round; nothing for a number of a later version.
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Well),
            2 => Some(Self::Unwell),
            3 => Some(Self::Failing),
            4 => Some(Self::Unmeasured),
            _ => None,
        }
    }
}

fn host(assignment: &Assignment) -> Arc<str> {
    assignment.check.as_ref().map_or("", Check::host).into()
}

/// One attempt that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Distinguishes attempts that are under way.
    pub(crate) number: u64,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) host: Arc<str>,
    pub(crate) slot: i64,
    /// 0 for the scheduled check; 1 and 2 within `round`.
    pub(crate) attempt: u32,
    pub(crate) round: u32,
    /// Somebody waits for this one check; the monitor is no monitor but their request.
    pub(crate) is_single: bool,
    /// What is met on the way is told of a pass too.
    pub(crate) is_close: bool,
    /// It is not to be run: it has brought the agent down.
    pub(crate) is_set_aside: bool,
    /// When it was queued.
    pub(crate) queued_at: Timestamp,
    /// When it should have started, for a check that follows the schedule.
    pub(crate) planned_at: Option<Timestamp>,
}

impl Job {
    pub(crate) fn monitor(&self) -> MonitorId {
        self.assignment.monitor
    }
}
