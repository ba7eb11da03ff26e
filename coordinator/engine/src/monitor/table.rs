//! The vote table: how every region voted, which votes counted, and why.

use model::Timestamp;

use super::Policy;
use super::state::{Purpose, Pursuit, RegionState, Round, Seen, State};
use super::tally::{Abstention, Count};
use crate::phrase;
use crate::quorum::{RegionSet, Tally};
use crate::vote::{RowOutcome, Verdict, Vote, VoteRow, VoteTable};

/// The votes as they stand; while a round is under way, as they stand in it.
#[must_use]
pub fn table(state: &State, policy: &Policy, now: Timestamp) -> VoteTable {
    match &state.pursuit {
        Pursuit::Round(round) => round_table(state, policy, round, now),
        _ => build(state, policy, None, now),
    }
}

/// The votes as they stand in a round.
pub(super) fn round_table(state: &State, policy: &Policy, round: &Round, now: Timestamp) -> VoteTable {
    build(state, policy, Some(round), now)
}

/// One line for people: `503 Service Unavailable from us-east, eu-west; timeout after 10 s from ap-south`, in the
/// order in which regions saw it first.
pub(super) fn cause<'a>(failing: impl Iterator<Item = (&'a RegionState, &'a Vote, Seen)>) -> String {
    let mut failing: Vec<_> = failing.collect();
    failing
        .sort_by_key(|(region, vote, seen)| (seen.first.unwrap_or(vote.started_at), region.region.clone()));
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (region, vote, _) in failing {
        let region = region.region.as_str();
        match groups.iter_mut().find(|(detail, _)| *detail == vote.detail()) {
            Some((_, regions)) => regions.push(region),
            None => groups.push((vote.detail(), vec![region])),
        }
    }
    let groups = groups.iter().map(|(detail, regions)| format!("{detail} from {}", regions.join(", ")));
    groups.collect::<Vec<_>>().join("; ")
}

fn build(state: &State, policy: &Policy, round: Option<&Round>, now: Timestamp) -> VoteTable {
    let count = Count::new(state, policy, now);
    let voters = policy.quorum.voters();
    let rows: Vec<_> = state
        .regions
        .iter()
        .enumerate()
        .map(|(index, region)| {
            let round = round.and_then(|round| Some((round, round.seen.get(index)?)));
            row(&count, region, round, voters.contains(index))
        })
        .collect();
    let counted = |outcome| -> RegionSet {
        let counted = |row: &VoteRow| row.counted && row.outcome == outcome;
        rows.iter().enumerate().filter(|(_, row)| counted(row)).map(|(index, _)| index).collect()
    };
    let quorum = &policy.quorum;
    let voting = count.voting();
    let arithmetic = match round {
        Some(round) if matches!(round.purpose, Purpose::Recover { .. }) => {
            let tally = Tally { eligible: voting, ..count.tally_in(round) };
            quorum.passing_sum(counted(RowOutcome::Pass), tally)
        }
        _ => quorum.failing_sum(counted(RowOutcome::Fail), voting),
    };
    VoteTable { at: now, policy: quorum.describe(), arithmetic, rows }
}

fn row(count: &Count<'_>, region: &RegionState, round: Option<(&Round, &Seen)>, is_voter: bool) -> VoteRow {
    let vote = region.vote.as_ref();
    let (counted, reason) = match count.vote(region) {
        Ok(vote) if is_voter => standing(count, region, vote, round),
        Ok(vote) => {
            let (_, reason) = standing(count, region, vote, round);
            (false, format!("{reason}; no clause of the quorum names the region"))
        }
        Err(Abstention::NoVote) if region.live => (false, "no result yet".to_owned()),
        Err(Abstention::Offline) if region.failing_since.is_some() => {
            (false, "region offline; failing when last heard".to_owned())
        }
        Err(Abstention::NoVote | Abstention::Offline) => (false, "region offline".to_owned()),
        Err(Abstention::InMaintenance) => (false, "from before the end of the maintenance".to_owned()),
        Err(Abstention::BeforeBlindness) => {
            (false, "from before the coordinator could not see for a while".to_owned())
        }
        Err(Abstention::Stale(age)) => (false, format!("stale: {} old", phrase::span(age))),
        Err(Abstention::Error) => (false, "agent could not measure".to_owned()),
        Err(Abstention::Quarantine) => (false, String::new()),
    };
    // Also where such a vote counts: it is marked.
    let quarantine = vote.and_then(|vote| count.exclusion(vote)).map(ToString::to_string);
    let reason = [Some(reason).filter(|reason| !reason.is_empty()), quarantine];
    let reason = reason.into_iter().flatten().collect::<Vec<_>>().join("; ");
    VoteRow {
        region: region.region.clone(),
        agent: vote.map(|vote| vote.agent),
        outcome: vote.map_or(RowOutcome::None, |vote| match vote.verdict {
            Verdict::Pass => RowOutcome::Pass,
            Verdict::Fail { .. } => RowOutcome::Fail,
            Verdict::Error(_) => RowOutcome::Error,
        }),
        kind: vote.and_then(|vote| match vote.verdict {
            Verdict::Fail { kind, .. } => Some(kind),
            Verdict::Pass | Verdict::Error(_) => None,
        }),
        detail: vote.map(|vote| vote.detail().to_owned()).unwrap_or_default(),
        started_at: vote.map(|vote| vote.started_at),
        duration: vote.map(Vote::duration),
        counted,
        reason,
        failing: vote.map(Vote::failing_components).unwrap_or_default(),
    }
}

/// Whether an eligible vote counts, and why.
fn standing(
    count: &Count<'_>,
    region: &RegionState,
    vote: &Vote,
    round: Option<(&Round, &Seen)>,
) -> (bool, String) {
    let enough = if vote.is_pass() { count.thresholds().passes } else { count.thresholds().failures };
    if region.streak < enough && (vote.is_fail() || region.failing_since.is_some()) {
        let verb = if vote.is_pass() { "passed" } else { "failed" };
        return (false, format!("{verb} {} of {enough} times in a row", region.streak));
    }
    let (counted, reason) = match (vote.is_pass(), round) {
        (true, Some((round, _))) if vote.started_at < round.window.passing_from => {
            (false, "passed before this round")
        }
        (true, _) if vote.is_unwell() => (true, "passed, but reports itself as not well"),
        (true, _) => (true, "passed"),
        (false, Some((round, _))) if vote.started_at < round.window.failing_from => {
            (false, "failed before this round")
        }
        (false, Some((_, seen))) if seen.is_confirmed() => (true, "failed twice"),
        (false, None) if vote.is_confirmed_fail() => (true, "confirmed failure"),
        (false, Some(_)) if vote.is_definite_fail() => (true, "definite wrong answer"),
        (false, _) => (false, "not confirmed yet: one attempt failed"),
    };
    (counted, reason.to_owned())
}
