//! What decisions cause: statuses change, incidents open, resolve and close.
//!
//! I1 and I6 hold because `Down` is entered by [`Step::open`] alone and left by [`Step::resolve`] and
//! [`Step::close`] alone.

use model::Timestamp;

use super::state::{Pursuit, Quiet, Round};
use super::table::{cause, round_table};
use super::{Status, Step};
use crate::effect::{CloseReason, Effect, Evidence, Opening};
use crate::phrase;
use crate::quorum::{Decision, Tally};

impl Step<'_> {
    pub(super) fn open(&mut self, round: &Round, started_at: Timestamp) {
        let table = round_table(&self.state, self.policy, round, self.now);
        let cause = cause(self.count().failing_in(round));
        let cause = match self.note_opening() {
            Some(flapping) => format!("{cause}; {flapping}"),
            None => cause,
        };
        let arithmetic = table.arithmetic.clone();
        self.state.openings = self.state.openings.saturating_add(1);
        self.change_status(Status::Down, arithmetic.clone());
        self.state.quiet = Quiet::since(self.now);
        self.state.unverified_since = None;
        self.effects.push(Effect::Open(Opening {
            number: self.state.openings,
            started_at: started_at.min(self.now),
            opened_at: self.now,
            cause: cause.clone(),
            evidence: Evidence::Votes(table),
        }));
        self.record(format!("down: {cause}; {arithmetic}"));
    }

    pub(super) fn resolve(&mut self, round: &Round, streak: u32) {
        let Some(number) = self.state.open_incident() else { return };
        let table = round_table(&self.state, self.policy, round, self.now);
        let checks = if streak == 1 { "1 check".to_owned() } else { format!("{streak} checks in a row") };
        let reason = format!("up in {checks}; {}", table.arithmetic);
        self.record(reason.clone());
        self.effects.push(Effect::Resolve {
            number,
            resolved_at: self.now,
            evidence: Evidence::Votes(table),
        });
        let tally = self.count().tally();
        let status = if self.is_degraded(tally) { Status::Degraded } else { Status::Up };
        self.change_status(status, reason);
        if let Some(recent) = &mut self.state.recent {
            recent.is_flapping = false;
        }
        self.state.unverified_since = None;
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        if let Some(number) = self.state.open_incident() {
            self.effects.push(Effect::Close { number, at: self.now, reason });
        }
    }

    /// A line for the timeline of the open incident.
    pub(super) fn record(&mut self, text: String) {
        if let Some(number) = self.state.open_incident() {
            self.effects.push(Effect::Record { number, at: self.now, text });
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
            self.effects.push(Effect::MonitorStatus { from, to, reason });
        }
    }

    /// Lets the votes say what may be said without a round: that a monitor is up, and how well.
    pub(super) fn weigh_status(&mut self, tally: Tally) {
        let decision = self.policy.quorum.decide(tally);
        if self.state.is_down() {
            if !matches!(decision, Decision::Undecided(_)) {
                self.state.unverified_since = None;
            }
            return;
        }
        // While it is in question whether the monitor is down, it is not called anything else.
        let in_question = matches!(
            self.state.pursuit,
            Pursuit::Round(_) | Pursuit::Confirming(_) | Pursuit::AwaitingParents(_)
        );
        if in_question || decision != Decision::Up || self.is_put_down_to_parent() {
            return;
        }
        self.state.unverified_since = None;
        let status = if self.is_degraded(tally) { Status::Degraded } else { Status::Up };
        if status == self.state.status {
            return;
        }
        let reason = if status == Status::Degraded {
            self.degraded_because()
        } else {
            let passing = self.count().eligible().filter(|(_, vote)| vote.is_pass()).count();
            format!("{passing} of {} passing", phrase::regions(self.policy.regions.len()))
        };
        self.change_status(status, reason);
    }

    /// Whether it answers but is not well.
    fn is_degraded(&self, tally: Tally) -> bool {
        self.count().is_degraded(tally) || self.unwell_because().is_some()
    }

    fn degraded_because(&self) -> String {
        let failing: Vec<_> = self.count().eligible().filter(|(_, vote)| vote.is_confirmed_fail()).collect();
        if failing.is_empty() {
            return self
                .unwell_because()
                .unwrap_or_else(|| "a region has not passed often enough yet".to_owned());
        }
        let rows = failing.into_iter().map(|(region, vote)| (region, vote, Default::default()));
        format!("below the quorum: {}", cause(rows))
    }
}
