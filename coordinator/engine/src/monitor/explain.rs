//! Why a monitor is what it is, and what would change it.

use model::Timestamp;

use super::state::{Purpose, Pursuit, State};
use super::tally::Count;
use super::{Phase, Policy, Status, deadline, table};
use crate::phrase;
use crate::quorum::{Decision, Why};
use crate::vote::VoteTable;

/// An answer to "why?".
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What the monitor is.
    pub status: Status,
    /// What the machine is in the middle of.
    pub phase: Phase,
    /// How every region votes.
    pub table: VoteTable,
    /// What the votes come to, in one sentence.
    pub decision: String,
    /// What would change the status, one sentence each.
    pub would_change: Vec<String>,
    /// When something will be decided even if nothing happens.
    pub next_decision_at: Option<Timestamp>,
}

/// Explains the state as of `now`.
#[must_use]
pub fn explain(state: &State, policy: &Policy, now: Timestamp) -> Explanation {
    Explanation {
        status: state.status,
        phase: state.phase(),
        table: table(state, policy, now),
        decision: decision(state, policy, now),
        would_change: would_change(state, policy, now),
        next_decision_at: deadline(state, policy),
    }
}

fn decision(state: &State, policy: &Policy, now: Timestamp) -> String {
    if state.is_paused() {
        return "paused: nobody checks".to_owned();
    }
    let votes = match Count::new(state, policy, now).decision() {
        Decision::Up => "the votes say up".to_owned(),
        Decision::Down => "the votes say down".to_owned(),
        Decision::Undecided(why) => format!("the votes decide nothing: {why}"),
    };
    let pursuit = match &state.pursuit {
        Pursuit::Nothing => match &state.owed {
            Some(_) => "; all regions are asked as soon as enough are connected".to_owned(),
            None => String::new(),
        },
        Pursuit::Held { until } => format!("; the next round starts in {}", phrase::span(until.since(now))),
        Pursuit::Round(round) => {
            let purpose = match round.purpose {
                Purpose::Verify => "verifies a failure",
                Purpose::Confirm(_) => "confirms the failure",
                Purpose::Recover { .. } => "looks for recovery",
            };
            format!("; a round {purpose} since {}", phrase::span(now.since(round.asked_at)))
        }
        Pursuit::Confirming(confirmation) => {
            let rest = confirmation.due_at(policy).since(now);
            format!("; the quorum must hold for another {}", phrase::span(rest))
        }
        Pursuit::RecoveryPause { streak, .. } => {
            format!("; up in {streak} of {} checks in a row", policy.recovery_checks)
        }
    };
    votes + &pursuit
}

fn would_change(state: &State, policy: &Policy, now: Timestamp) -> Vec<String> {
    if state.is_paused() {
        return vec!["resuming it".to_owned()];
    }
    let count = Count::new(state, policy, now);
    let tally = count.tally();
    let needed = policy.quorum.needed(tally.assigned, tally.eligible);
    let mut changes = Vec::new();
    if let Decision::Undecided(Why::TooFewVotes { eligible, needed }) = count.decision() {
        let missing = needed.saturating_sub(eligible);
        changes.push(format!("results from {}", phrase::more_regions(missing)));
    }
    if state.is_down() {
        let passes = (tally.doubtful + 1).saturating_sub(needed);
        let checks = policy.recovery_checks.max(1);
        changes.push(match passes {
            0 => format!("staying up in {checks} checks in a row resolves the incident"),
            _ => format!(
                "{} passing, {checks} times in a row, resolves the incident",
                phrase::more_regions(passes)
            ),
        });
    } else {
        changes.push(match needed.saturating_sub(tally.failing) {
            0 => "the same failures in one round open an incident".to_owned(),
            missing => format!("{} failing opens an incident", phrase::more_regions(missing)),
        });
        if tally.failing > 0 && state.status == Status::Degraded {
            changes.push(format!("{} passing again makes it up", phrase::regions(tally.failing)));
        }
    }
    changes
}
