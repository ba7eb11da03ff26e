//! Why a monitor is what it is, and what would change it.

use model::Timestamp;

use super::state::{Purpose, Pursuit, State};
use super::tally::Count;
use super::{Phase, Policy, Status, deadline, table};
use crate::phrase;
use crate::quorum::Decision;
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
        status: state.status(),
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
    if let Some(since) = state.maintenance.since() {
        let passed = phrase::span(now.since(since));
        return format!("in maintenance for {passed}: nothing is decided until it ends");
    }
    let votes = match Count::new(state, policy, now).decision() {
        Decision::Up => "the votes say up".to_owned(),
        Decision::Down => "the votes say down".to_owned(),
        Decision::Undecided(why) => format!("the votes decide nothing: {}", policy.quorum.reason(why)),
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
        Pursuit::AwaitingParents(awaited) => {
            let rest = phrase::span(awaited.until.since(now));
            format!("; for {rest} at most it waits for what the monitors that it depends on say")
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
    if state.is_in_maintenance() {
        return vec!["the end of the maintenance".to_owned()];
    }
    let count = Count::new(state, policy, now);
    let tally = count.tally();
    let outlook = policy.quorum.outlook(tally, &policy.regions);
    let mut changes: Vec<_> =
        outlook.missing.into_iter().map(|regions| format!("results from {regions}")).collect();
    if state.is_down() {
        let (times, checks) = match policy.recovery_checks {
            0 | 1 => (String::new(), "the next check".to_owned()),
            n => (format!(", {n} times in a row"), format!("{n} checks in a row")),
        };
        match outlook.up_if {
            Some(passes) => changes.push(format!("resolved if {passes}{times}")),
            None if count.decision() == Decision::Up => {
                changes.push(format!("resolved by staying up in {checks}"));
            }
            None => {}
        }
        return changes;
    }
    if let Some(parent) = state.put_down_to() {
        changes.push(format!("what becomes of {parent}"));
        return changes;
    }
    changes.push(match outlook.down_if {
        Some(failures) => format!("down if {failures}"),
        None => "down if one round sees the same failures".to_owned(),
    });
    if let Some(passes) = outlook.up_if {
        changes.push(format!("up if {passes}"));
    } else if state.status == Status::Degraded && !tally.failing.is_empty() {
        let failing: Vec<_> = tally.failing.iter().filter_map(|index| policy.regions.get(index)).collect();
        let pass = if failing.len() == 1 { "passes" } else { "pass" };
        changes.push(format!("well again if {} {pass}", phrase::list(&failing, "and")));
    }
    changes
}
