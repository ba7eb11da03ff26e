//! The heartbeat machine: a job pings, and is missed when it does not.
//!
//! ```text
//!  New ──first ping──▶ Up ⇄ Running ──expected──▶ Late ──grace over──▶ Missed ──ping──▶ Up
//!                      │                                               ▲  (an incident is open)
//!                      ├──a failing ping───────────────────────────────┘
//!                      └──blind when it could have pinged──▶ Unknown ──expected──▶ Late
//!  any ──▶ Paused
//!  any ══▶ Maintenance ══▶ as before: its clock stands still (`maintenance`)
//! ```
//!
//! In come pings, deadlines and commands; out go [effects](crate::Effect). Status `Missed` means that an incident is
//! open, and the reverse. A ping in time never gives `Missed` (H1); `Missed` comes exactly when the grace is over and
//! the coordinator was there to hear (H2); a late ping resolves once (H5).
//!
//! What is expected is the end of a run, by interval or calendar (`policy`). A job that says when it starts can be held to
//! more: to start in time, to end in time, to say that it lives (`runs`).
//!
//! The coordinator's own absence is excused only where a ping could have been lost in it, and not for ever: a job that
//! stopped is found within two intervals and the grace, however often the coordinator restarts (`excuse`).
//!
//! A maintenance window opens nothing: the time in it does not count, so that what is due comes due that much later.

mod excuse;
mod maintenance;
mod policy;
mod runs;
mod step;

use std::fmt;
use std::time::Duration;

use model::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::effect::{HeartbeatFailure, Transition};
use crate::maintenance::Standstill;
use crate::schedule::Schedule;

pub use policy::{DEFAULT_EARLY, MAX_DEFAULT_GRACE, MIN_DEFAULT_GRACE, Policy, RunLimits, default_grace};
use runs::Runs;
pub use runs::{MAX_RUNS, MAX_TIMED, Run};
use step::Step;

/// What a heartbeat is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It has never pinged, so nothing is expected of it.
    New,
    /// Its last ping was a good one and the next is not due.
    Up,
    /// It said that it started and has not said that it ended.
    Running,
    /// A ping is due; the grace is running.
    Late,
    /// It did not ping in time, or reported failure; an incident is open.
    Missed,
    /// It may have pinged while nobody could hear.
    Unknown,
    /// Nobody listens.
    Paused,
    /// A window of maintenance is open: pings are heard, nothing comes due.
    Maintenance,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PingKind {
    /// A run ended well.
    Success,
    /// A run began.
    Start,
    /// A run failed.
    Fail,
    /// A run ended with this exit code; 0 is success.
    Exit(u8),
    /// A run goes on; it changes nothing but that the run is known to live.
    Log,
}

/// What can happen to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The job pinged. Pings that arrive out of order say nothing once a later one has been heard.
    Pinged {
        /// What it said.
        kind: PingKind,
        /// When it was received.
        at: Timestamp,
        /// Of which run, if the job tells its runs apart.
        run: Option<RunId>,
    },
    /// The instant that [`deadline`] named has come.
    DeadlineReached,
    /// No ping could be heard during this span. Comes before every other event that follows the span, deadlines
    /// included.
    Blind {
        /// When pings were last heard.
        from: Timestamp,
        /// Since when they are again.
        to: Timestamp,
    },
    /// The policy passed along is a new one.
    PolicyChanged,
    /// Nothing is expected until `Resumed`.
    Paused,
    /// Pings are expected again, the first within one interval, if there ever was one.
    Resumed,
    /// A window of maintenance opened. Comes before a [`Blind`](Self::Blind) of the same instant.
    MaintenanceStarted {
        /// The planned start, which may lie in a time when nobody could look.
        at: Timestamp,
    },
    /// No window of maintenance is open any more. Comes after a [`Blind`](Self::Blind) of the same instant.
    MaintenanceEnded,
    /// The heartbeat is gone.
    Deleted,
}

/// The state of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Never `Maintenance`: what it is besides.
    status: Status,
    status_since: Timestamp,
    /// While a window is open its clock stands still.
    #[serde(default)]
    maintenance: Standstill,
    /// The number of the latest incident; it is open while the status is `Missed`.
    openings: u32,
    /// What opened it.
    failure: HeartbeatFailure,
    last_ping_at: Option<Timestamp>,
    #[serde(default)]
    runs: Runs,
    /// From when the interval runs.
    counted_from: Option<Timestamp>,
    /// Whether the end of that interval is still to be judged.
    is_expecting: bool,
    /// How many expectations in a row were put off for the coordinator's own absence.
    excuses: u8,
    /// By how much the judgement of the present one was: by a grace if nothing of the last could be heard, by up to an
    /// interval if some of it could. For a calendar, by how long maintenance lasted after it was due.
    #[serde(default)]
    put_off: Duration,
    /// Whether one was since the job was last heard.
    #[serde(default)]
    was_put_off: bool,
    /// `counted_from` is the end of a long absence and says nothing of the job's rhythm.
    #[serde(default)]
    is_adrift: bool,
}

/// The state of a heartbeat that begins at `now`.
#[must_use]
pub const fn new(now: Timestamp) -> State {
    State {
        status: Status::New,
        status_since: now,
        maintenance: Standstill::Never,
        openings: 0,
        failure: HeartbeatFailure::Missed,
        last_ping_at: None,
        runs: Runs::new(),
        counted_from: None,
        is_expecting: false,
        excuses: 0,
        put_off: Duration::ZERO,
        was_put_off: false,
        is_adrift: false,
    }
}

/// Applies one event. Total and deterministic.
#[must_use]
pub fn apply(state: State, policy: &Policy, event: &Event, now: Timestamp) -> Transition<State> {
    let mut step = Step::new(state, policy, now);
    match *event {
        Event::Pinged { kind, at, run } => step.pinged(kind, at, run),
        Event::DeadlineReached => {}
        Event::Blind { from, to } => step.blind(from, to),
        Event::PolicyChanged => step.policy_changed(),
        Event::Paused => step.paused(),
        Event::Resumed => step.resumed(),
        Event::MaintenanceStarted { at } => step.maintenance_started(at),
        Event::MaintenanceEnded => step.maintenance_ended(),
        Event::Deleted => step.deleted(),
    }
    step.settle();
    step.finish()
}

/// The next instant at which [`Event::DeadlineReached`] would change something. After `apply(.., now)` it is later
/// than that `now`.
#[must_use]
pub fn deadline(state: &State, policy: &Policy) -> Option<Timestamp> {
    if state.maintenance.is_on() || state.status == Status::Paused {
        return None;
    }
    [state.due_at(policy), state.run_limit(policy)].into_iter().flatten().min()
}

/// Replays one event after a restart: when the job was last heard, but no status, incident or effect, which come from
/// their own rows.
#[must_use]
pub fn fold(state: State, policy: &Policy, event: &Event, now: Timestamp) -> State {
    let mut step = Step::new(state, policy, now);
    if let Event::Pinged { kind, at, run } = *event {
        step.hear(kind, at, run);
    }
    step.finish().state
}

impl State {
    /// What the heartbeat is.
    #[must_use]
    pub const fn status(&self) -> Status {
        if self.maintenance.is_on() && !matches!(self.status, Status::Paused) {
            Status::Maintenance
        } else {
            self.status
        }
    }

    /// What the heartbeat is apart from maintenance.
    #[must_use]
    pub const fn underlying_status(&self) -> Status {
        self.status
    }

    /// Whether a window of maintenance is open for it, be it paused or not.
    #[must_use]
    pub const fn is_in_maintenance(&self) -> bool {
        self.maintenance.is_on()
    }

    /// Since when.
    #[must_use]
    pub const fn status_since(&self) -> Timestamp {
        self.status_since
    }

    /// The number of the open incident.
    #[must_use]
    pub const fn open_incident(&self) -> Option<u32> {
        match self.status {
            Status::Missed => Some(self.openings),
            _ => None,
        }
    }

    /// The number of the latest incident; 0 if there has been none.
    #[must_use]
    pub const fn incidents(&self) -> u32 {
        self.openings
    }

    /// When the job last reported the end of a run, good or bad.
    #[must_use]
    pub const fn last_ping_at(&self) -> Option<Timestamp> {
        self.last_ping_at
    }

    /// When the oldest run under way began.
    #[must_use]
    pub fn running_since(&self) -> Option<Timestamp> {
        self.runs().iter().find(|run| run.is_live()).map(|run| run.started_at)
    }

    /// The runs that have not said that they ended, in order of their start.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        self.runs.all()
    }

    /// When the next ping is due, or was due if it is overdue; `None` while nothing is expected. In maintenance it
    /// moves on with the time that passes.
    #[must_use]
    pub fn expected_at(&self, policy: &Policy) -> Option<Timestamp> {
        let from = self.counted_from?;
        match &policy.schedule {
            Schedule::Every(interval) => Some(policy.advance(from, self.put_off + *interval)),
            Schedule::Calendar(_) => Some(policy.expected_after(from)?.plus(self.put_off)),
        }
    }

    /// When the next ping must have come at the latest.
    fn missed_at(&self, policy: &Policy) -> Option<Timestamp> {
        let expected_at = self.expected_at(policy)?;
        let start_grace = policy.runs.start_grace.filter(|_| !self.has_started());
        Some(policy.advance(expected_at, start_grace.unwrap_or(policy.grace)))
    }

    /// When the status changes for a ping that does not come.
    fn due_at(&self, policy: &Policy) -> Option<Timestamp> {
        let is_bounded = policy.runs.bounds_runs() && self.running_since().is_some();
        if !self.is_expecting || is_bounded {
            return None;
        }
        match self.status {
            Status::Up | Status::Running | Status::Unknown => self.expected_at(policy),
            Status::Late | Status::Missed => self.missed_at(policy),
            Status::New | Status::Paused | Status::Maintenance => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_what_became_of_the_job() {
        let policy = Policy::every(Duration::from_secs(3_600), Duration::from_secs(60));
        let at = Timestamp::from_secs;
        let told = |state: &State| {
            (state.status(), state.status_since(), state.last_ping_at(), state.running_since())
        };
        let mut state = new(at(0));
        assert_eq!(told(&state), (Status::New, at(0), None, None));
        assert_eq!((state.incidents(), state.open_incident()), (0, None));
        let mut ping = |secs, kind| {
            let event = Event::Pinged { kind, at: at(secs), run: None };
            state = apply(state.clone(), &policy, &event, at(secs + 1)).state;
            state.clone()
        };
        assert_eq!(told(&ping(10, PingKind::Start)), (Status::Running, at(11), None, Some(at(10))));
        assert_eq!(told(&ping(20, PingKind::Success)), (Status::Up, at(21), Some(at(20)), None));
        let failed = ping(30, PingKind::Fail);
        assert_eq!(told(&failed), (Status::Missed, at(31), Some(at(30)), None));
        assert_eq!((failed.incidents(), failed.open_incident()), (1, Some(1)));
        let well = ping(40, PingKind::Exit(0));
        assert_eq!((well.incidents(), well.open_incident()), (1, None));
        assert_eq!(ping(50, PingKind::Exit(1)).incidents(), 2);
        assert_eq!(ping(60, PingKind::Start).running_since(), Some(at(60)));
        assert_eq!(ping(70, PingKind::Start).running_since(), Some(at(70)), "it began anew");
        assert_eq!(ping(65, PingKind::Start).running_since(), Some(at(70)), "heard late");
    }

    #[test]
    fn a_run_is_not_followed_through_a_pause() {
        let policy = Policy::every(Duration::from_secs(3_600), Duration::from_secs(60));
        let now = Timestamp::from_secs(10);
        let start = Event::Pinged { kind: PingKind::Start, at: now, run: None };
        let paused = apply(new(now), &policy, &Event::Paused, now).state;
        assert_eq!(apply(paused, &policy, &start, now).state.running_since(), None);
        let running = apply(new(now), &policy, &start, now).state;
        let paused = apply(running, &policy, &Event::Paused, now).state;
        assert_eq!((paused.running_since(), paused.expected_at(&policy)), (None, None), "nor one before it");
    }

    #[test]
    fn an_absence_excuses_no_ping_that_was_missed_before_it_even_if_nobody_looked_in_between() {
        let policy = Policy::every(Duration::from_secs(3_600), Duration::from_secs(300));
        let at = Timestamp::from_secs;
        let pinged = Event::Pinged { kind: PingKind::Success, at: at(0), run: None };
        let up = apply(new(at(0)), &policy, &pinged, at(0)).state;
        let after = |from, to| {
            apply(up.clone(), &policy, &Event::Blind { from: at(from), to: at(to) }, at(to)).state.status()
        };
        assert_eq!(after(3_901, 4_000), Status::Missed);
        assert_eq!(after(3_900, 4_000), Status::Unknown, "the end of the grace belongs to it");
    }
}
