//! One event on its way through the machine.

use std::time::Duration;

use model::{RunId, Timestamp};

use super::{PingKind, Policy, State, Status, deadline};
use crate::effect::{
    CloseReason, Effect, Evidence, HeartbeatEvidence, HeartbeatFailure, Opening, RunLoss, Transition,
};
use crate::phrase;

pub(super) struct Step<'a> {
    pub(super) state: State,
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
}

impl<'a> Step<'a> {
    pub(super) const fn new(state: State, policy: &'a Policy, now: Timestamp) -> Self {
        Self { state, policy, now, effects: Vec::new() }
    }

    pub(super) fn finish(self) -> Transition<State> {
        Transition { state: self.state, effects: self.effects }
    }

    pub(super) fn pinged(&mut self, kind: PingKind, at: Timestamp, run: Option<RunId>) {
        let was_expected_at = self.state.expected_at(self.policy);
        if !self.hear(kind, at, run) || self.state.status == Status::Paused {
            return;
        }
        let at = at.min(self.now);
        match kind {
            PingKind::Start => {
                // Where runs are bounded, one under way is not late: its own limits hold.
                let is_late = self.state.status == Status::Late && self.policy.runs.bounds_runs();
                self.runs_now(is_late, "the job started");
            }
            PingKind::Log => self.runs_now(false, "the job says that it is running"),
            PingKind::Success | PingKind::Exit(0) => self.succeeded(at),
            PingKind::Fail | PingKind::Exit(_) if self.state.maintenance.excuses(at) => {
                self.failed_in_maintenance();
            }
            PingKind::Fail => self.failed(at, None, was_expected_at),
            PingKind::Exit(code) => self.failed(at, Some(code), was_expected_at),
        }
    }

    /// Remembers a ping; says whether it was news.
    pub(super) fn hear(&mut self, kind: PingKind, at: Timestamp, run: Option<RunId>) -> bool {
        let at = at.min(self.now);
        let is_later = self.state.last_ping_at.is_none_or(|last| last < at);
        self.follow_runs(kind, at, run, is_later);
        if matches!(kind, PingKind::Start | PingKind::Log) || !is_later {
            return is_later;
        }
        let state = &mut self.state;
        state.last_ping_at = Some(at);
        if state.status != Status::Paused {
            state.counted_from = Some(at);
            state.is_expecting = true;
            state.excuses = 0;
            state.put_off = Duration::ZERO;
            state.was_put_off = false;
            state.is_adrift = false;
        }
        true
    }

    pub(super) fn policy_changed(&mut self) {
        let changed = format!("schedule changed to {}", self.policy.schedule);
        self.grant_runs();
        match self.state.status {
            Status::Missed => {
                let grace = phrase::span(self.policy.grace);
                self.record(format!("{changed}, grace {grace}"));
            }
            Status::Up | Status::Running | Status::Late | Status::Unknown => {
                let Some(missed_at) = self.state.missed_at(self.policy) else { return };
                // An edit alone must not alert: what would be missed by now is expected anew.
                let clock = self.clock();
                if missed_at <= clock {
                    self.state.counted_from = Some(clock);
                    self.state.put_off = Duration::ZERO;
                }
                let is_due = self.state.expected_at(self.policy).is_some_and(|at| at <= clock);
                if self.state.status == Status::Late && !is_due {
                    let status = self.well();
                    self.change_status(status, changed);
                }
            }
            Status::New | Status::Paused | Status::Maintenance => {}
        }
    }

    pub(super) fn paused(&mut self) {
        if self.state.status == Status::Paused {
            return;
        }
        self.close(CloseReason::Paused);
        self.expect_nothing();
        self.change_status(Status::Paused, "paused".to_owned());
    }

    pub(super) fn resumed(&mut self) {
        if self.state.status != Status::Paused {
            return;
        }
        if self.state.last_ping_at.is_none() {
            self.change_status(Status::New, "resumed".to_owned());
            return;
        }
        self.state.counted_from = Some(self.now);
        self.state.is_expecting = true;
        let reason = match (self.policy.schedule.interval(), self.state.expected_at(self.policy)) {
            (Some(interval), _) => format!("resumed; a ping is expected within {}", phrase::span(interval)),
            (None, Some(at)) => format!("resumed; a ping is expected at {at}"),
            (None, None) => "resumed; no ping is expected any more".to_owned(),
        };
        self.change_status(Status::Unknown, reason);
    }

    pub(super) fn deleted(&mut self) {
        self.close(CloseReason::Deleted);
        self.expect_nothing();
        // What is gone has no status that anybody is told of; this one keeps it silent.
        self.state.status = Status::Paused;
    }

    /// Does all that is due at `now`, until nothing is.
    pub(super) fn settle(&mut self) {
        while deadline(&self.state, self.policy).is_some_and(|at| at <= self.now) {
            if self.end_overdue_run() {
                continue;
            }
            let Some(expected_at) = self.state.expected_at(self.policy) else { return };
            match self.state.status {
                Status::Late => self.missed(expected_at),
                Status::Missed => {
                    self.state.is_expecting = false;
                    self.record(format!("still no ping; one was expected at {expected_at}"));
                }
                _ => {
                    let grace = self.state.missed_at(self.policy).unwrap_or(expected_at).since(expected_at);
                    let grace = phrase::span(grace);
                    self.change_status(Status::Late, format!("a ping is due; {grace} of grace"));
                }
            }
        }
    }

    pub(super) fn change_status(&mut self, to: Status, reason: String) {
        let from = self.state.status();
        self.state.status = to;
        self.tell_status(from, reason);
    }

    /// Tells that the status is no longer `from`, if that is so.
    pub(super) fn tell_status(&mut self, from: Status, reason: String) {
        let to = self.state.status();
        if from != to {
            self.state.status_since = self.now;
            self.effects.push(Effect::HeartbeatStatus { from, to, reason });
        }
    }

    pub(super) fn notice(&mut self, text: String) {
        self.effects.push(Effect::Notice { at: self.now, text });
    }

    fn succeeded(&mut self, at: Timestamp) {
        if let Some(number) = self.state.open_incident() {
            let opened_at = self.state.status_since;
            self.record("the job pinged".to_owned());
            let expected_at = self.policy.expected_after(at).unwrap_or(at);
            let evidence = self.evidence(expected_at, self.state.failure);
            // A ping may have waited elsewhere while its deadline passed here (I7).
            self.effects.push(Effect::Resolve { number, resolved_at: at.max(opened_at), evidence });
        }
        let status = self.well();
        self.change_status(status, "the job pinged".to_owned());
    }

    /// The job has a run under way, and nothing else is to be said of it.
    fn runs_now(&mut self, is_late: bool, reason: &str) {
        let is_quiet = matches!(self.state.status, Status::New | Status::Up | Status::Unknown);
        if (is_quiet || is_late) && self.state.running_since().is_some() {
            self.change_status(Status::Running, reason.to_owned());
        }
    }

    /// What a job is that nothing is wrong with.
    fn well(&self) -> Status {
        if self.state.running_since().is_some() { Status::Running } else { Status::Up }
    }

    fn failed(&mut self, at: Timestamp, exit_code: Option<u8>, was_expected_at: Option<Timestamp>) {
        let cause = match exit_code {
            Some(code) => format!("the job ended with exit code {code}"),
            None => "the job reported failure".to_owned(),
        };
        if self.state.status == Status::Missed {
            self.record(cause);
        } else {
            let kind = HeartbeatFailure::Failed { exit_code };
            let evidence = self.evidence(was_expected_at.unwrap_or(at), kind);
            self.open(at, kind, cause, evidence);
        }
    }

    fn missed(&mut self, expected_at: Timestamp) {
        self.state.is_expecting = false;
        let start_grace = self.policy.runs.start_grace.filter(|_| !self.state.has_started());
        let kind = match start_grace {
            Some(_) => HeartbeatFailure::NeverStarted,
            None => HeartbeatFailure::Missed,
        };
        let expected = format!("expected {}", self.policy.schedule);
        let last = self.state.last_ping_at.map(|at| phrase::span(self.now.since(at)));
        let cause = match (start_grace, last) {
            (Some(grace), _) => format!("{expected}, not started within {}", phrase::span(grace)),
            (None, Some(last)) => format!("{expected}, last ping {last} ago"),
            (None, None) => expected,
        };
        let evidence = self.evidence(expected_at, kind);
        let started_at = self.state.maintenance.not_before_end(expected_at);
        self.open(started_at, kind, cause, evidence);
    }

    /// A run did not do what is expected of it since `at`.
    pub(super) fn run_failed(&mut self, at: Timestamp, kind: HeartbeatFailure, cause: String) {
        if self.state.status == Status::Missed {
            self.record(cause);
            return;
        }
        if self.state.missed_at(self.policy).is_some_and(|missed_at| missed_at <= self.now) {
            // This run was what is expected.
            self.state.is_expecting = false;
        }
        let evidence = self.evidence(self.state.expected_at(self.policy).unwrap_or(at), kind);
        self.open(self.state.maintenance.not_before_end(at), kind, cause, evidence);
    }

    fn open(&mut self, started_at: Timestamp, failure: HeartbeatFailure, cause: String, evidence: Evidence) {
        self.state.openings = self.state.openings.saturating_add(1);
        self.state.failure = failure;
        self.change_status(Status::Missed, cause.clone());
        self.effects.push(Effect::Open(Opening {
            number: self.state.openings,
            started_at,
            opened_at: self.now,
            cause: cause.clone(),
            evidence,
        }));
        self.record(cause);
    }

    fn evidence(&self, expected_at: Timestamp, kind: HeartbeatFailure) -> Evidence {
        Evidence::Heartbeat(HeartbeatEvidence {
            expected_at,
            last_ping_at: self.state.last_ping_at,
            interval: self.policy.schedule.interval(),
            schedule: self.policy.schedule.to_string(),
            grace: self.policy.grace,
            kind,
        })
    }

    fn close(&mut self, reason: CloseReason) {
        if let Some(number) = self.state.open_incident() {
            self.effects.push(Effect::Close { number, at: self.now, reason });
        }
    }

    pub(super) fn record(&mut self, text: String) {
        if let Some(number) = self.state.open_incident() {
            self.effects.push(Effect::Record { number, at: self.now, text });
        }
    }

    fn expect_nothing(&mut self) {
        self.drop_runs(RunLoss::Paused);
        self.state.counted_from = None;
        self.state.is_expecting = false;
        self.state.excuses = 0;
        self.state.put_off = Duration::ZERO;
        self.state.was_put_off = false;
        self.state.is_adrift = false;
    }
}
