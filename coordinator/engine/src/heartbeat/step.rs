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
                let is_quiet = matches!(self.state.status, Status::New | Status::Up | Status::Unknown);
                if is_quiet && self.state.running_since().is_some() {
                    self.change_status(Status::Running, "the job started".to_owned());
                }
            }
            PingKind::Log => {}
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
        let every = phrase::span(self.policy.interval);
        match self.state.status {
            Status::Missed => {
                let grace = phrase::span(self.policy.grace);
                self.record(format!("schedule changed to every {every}, grace {grace}"));
            }
            Status::Up | Status::Running | Status::Late | Status::Unknown => {
                let Some(expected_at) = self.state.expected_at(self.policy) else { return };
                // An edit alone must not alert: what would be missed by now gets a whole new interval.
                let clock = self.clock();
                if expected_at.plus(self.policy.grace) <= clock {
                    self.state.counted_from = Some(clock);
                    self.state.put_off = Duration::ZERO;
                }
                let is_due = self.state.expected_at(self.policy).is_some_and(|at| at <= clock);
                if self.state.status == Status::Late && !is_due {
                    let status = self.well();
                    self.change_status(status, format!("schedule changed to every {every}"));
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
        let within = phrase::span(self.policy.interval);
        self.change_status(Status::Unknown, format!("resumed; a ping is expected within {within}"));
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
            let Some(expected_at) = self.state.expected_at(self.policy) else { return };
            match self.state.status {
                Status::Late => self.missed(expected_at),
                Status::Missed => {
                    self.state.is_expecting = false;
                    self.record(format!("still no ping; one was expected at {expected_at}"));
                }
                _ => {
                    let grace = phrase::span(self.policy.grace);
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
            let expected_at = at.plus(self.policy.interval);
            let evidence = self.evidence(expected_at, self.state.failure);
            // A ping may have waited elsewhere while its deadline passed here (I7).
            self.effects.push(Effect::Resolve { number, resolved_at: at.max(opened_at), evidence });
        }
        let status = self.well();
        self.change_status(status, "the job pinged".to_owned());
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
        let every = phrase::span(self.policy.interval);
        let cause = match self.state.last_ping_at {
            Some(at) => {
                format!("expected every {every}, last ping {} ago", phrase::span(self.now.since(at)))
            }
            None => format!("expected every {every}"),
        };
        let evidence = self.evidence(expected_at, HeartbeatFailure::Missed);
        let started_at = self.state.maintenance.not_before_end(expected_at);
        self.open(started_at, HeartbeatFailure::Missed, cause, evidence);
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
            interval: self.policy.interval,
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
        self.lose_runs(RunLoss::Paused, |_| true);
        self.state.counted_from = None;
        self.state.is_expecting = false;
        self.state.excuses = 0;
        self.state.put_off = Duration::ZERO;
        self.state.was_put_off = false;
        self.state.is_adrift = false;
    }
}
