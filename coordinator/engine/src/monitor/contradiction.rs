//! Who stands alone: failing regions that the others contradict.
//!
//! A failure is contradicted once a majority of the other regions (at least two, or the only other one) passed with a
//! check that started after the failing streak began, and nobody else failed in the meantime: whoever sees the
//! beginning of an outage, or the end of it last, is confirmed by somebody. What becomes of it is decided in
//! [`crate::probe`].

use model::{AgentId, CheckResult, RegionId, Timestamp};

use super::state::RegionState;
use super::tally::Count;
use super::{Policy, State, Step};

/// A region's failing vote that others contradict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Whose vote it is.
    pub agent: AgentId,
    /// When the first failing check of the streak started.
    pub failed_at: Timestamp,
    /// When the latest one did.
    pub vote_at: Timestamp,
    /// The regions that passed since.
    pub contradicted_by: Vec<RegionId>,
}

/// What the other regions make of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It passed, or another region fails too.
    Agreed,
    /// It failed, and the others do not.
    Contradicted(Contradiction),
    /// Nobody can say yet.
    Open,
}

/// The failing votes that others contradict now. Cheap while every region passes.
#[must_use]
pub fn contradictions(state: &State, policy: &Policy, now: Timestamp) -> Vec<Contradiction> {
    if state.is_down() || state.is_paused() {
        return vec![];
    }
    let count = Count::new(state, policy, now);
    let contradicted = |region: &RegionState| {
        let vote = region.vote.as_ref().filter(|vote| vote.is_fail())?;
        let failed_at = region.failing_since?;
        let stands = region.live && vote.started_at >= state.votes_valid_from && !region.corroborated;
        let contradicted_by = if stands { passing(&count, &region.region, failed_at) } else { vec![] };
        is_majority(contradicted_by.len(), state.regions.len()).then_some(Contradiction {
            agent: vote.agent,
            failed_at,
            vote_at: vote.started_at,
            contradicted_by,
        })
    };
    state.regions.iter().filter_map(contradicted).collect()
}

/// What the other regions make of a result that was just applied. Of an agent in quarantine whose region has another
/// agent's vote, a failure is contradicted by what the others say at all: its own streak is not followed.
#[must_use]
pub fn judge(
    state: &State,
    policy: &Policy,
    agent: AgentId,
    result: &CheckResult,
    now: Timestamp,
) -> Judgement {
    use model::Outcome;
    let region = state.regions.iter().find(|region| region.region == result.region);
    let Some(region) = region.filter(|_| !state.is_paused()) else { return Judgement::Open };
    match result.outcome {
        Outcome::Pass => return Judgement::Agreed,
        Outcome::Error(_) => return Judgement::Open,
        Outcome::Fail(_) if state.is_down() || region.corroborated => return Judgement::Agreed,
        Outcome::Fail(_) => {}
    }
    if region.vote.as_ref().is_some_and(|vote| vote.agent == agent) {
        let mine = |it: &Contradiction| it.agent == agent;
        let found = contradictions(state, policy, now).into_iter().find(mine);
        return found.map_or(Judgement::Open, Judgement::Contradicted);
    }
    let anytime = Timestamp::MIN;
    let contradicted_by = passing(&Count::new(state, policy, now), &result.region, anytime);
    if !is_majority(contradicted_by.len(), state.regions.len()) {
        return Judgement::Open;
    }
    let (failed_at, vote_at) = (result.started_at, result.started_at);
    Judgement::Contradicted(Contradiction { agent, failed_at, vote_at, contradicted_by })
}

/// The other regions whose vote counts, is believed and passed after that instant.
fn passing(count: &Count<'_>, but: &RegionId, since: Timestamp) -> Vec<RegionId> {
    let voted = count.eligible().filter(|(region, vote)| {
        region.region != *but && vote.is_pass() && vote.started_at > since && count.exclusion(vote).is_none()
    });
    voted.map(|(region, _)| region.region.clone()).collect()
}

/// Whether so many regions are a majority of the others: at least two, or the only other one.
fn is_majority(passing: usize, assigned: usize) -> bool {
    match assigned.saturating_sub(1) {
        0 => false,
        1 => passing == 1,
        others => passing >= 2 && passing * 2 > others,
    }
}

impl Step<'_> {
    /// Notes whose failures confirm each other, for as long as they last. Who is in quarantine confirms nobody.
    pub(super) fn corroborate(&mut self, index: usize) {
        let oldest = self.now.minus(self.policy.freshness());
        let fails = |state: &State, region: &RegionState| {
            region.live
                && region.vote.as_ref().is_some_and(|vote| {
                    vote.is_fail() && vote.started_at >= oldest && state.exclusion(vote).is_none()
                })
        };
        let state = &self.state;
        match &state.regions[index].vote {
            Some(vote) if vote.is_fail() => {}
            Some(vote) if vote.is_error() => return,
            _ => return self.state.regions[index].corroborated = false,
        }
        let failing: Vec<bool> = state.regions.iter().map(|region| fails(state, region)).collect();
        let others = (0..failing.len()).any(|other| other != index && failing[other]);
        let believed = failing[index];
        for (other, region) in self.state.regions.iter_mut().enumerate() {
            if other == index {
                region.corroborated |= others;
            } else if failing[other] {
                region.corroborated |= believed;
            }
        }
    }
}
