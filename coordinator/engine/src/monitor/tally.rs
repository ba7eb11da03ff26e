//! Votes are counted, here and nowhere else.

use std::time::Duration;

use model::Timestamp;

use super::Policy;
use super::state::{RegionState, Round, Seen, State};
use crate::quorum::{Decision, Tally};
use crate::vote::Vote;

/// The votes of a monitor, looked at from one instant.
#[derive(Clone, Copy)]
pub(super) struct Count<'a> {
    state: &'a State,
    policy: &'a Policy,
    now: Timestamp,
}

/// Why a region's vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abstention {
    NoVote,
    Offline,
    BeforeBlindness,
    Stale(Duration),
    Error,
}

impl<'a> Count<'a> {
    pub(super) const fn new(state: &'a State, policy: &'a Policy, now: Timestamp) -> Self {
        Self { state, policy, now }
    }

    /// The region's vote if it counts: live, fresh, not from before a blindness, and not an abstention of its own.
    pub(super) fn vote(&self, region: &'a RegionState) -> Result<&'a Vote, Abstention> {
        let vote = region.vote.as_ref().ok_or(Abstention::NoVote)?;
        if !region.live {
            Err(Abstention::Offline)
        } else if vote.started_at < self.state.votes_valid_from {
            Err(Abstention::BeforeBlindness)
        } else if self.now >= vote.started_at.plus(self.policy.freshness()) {
            Err(Abstention::Stale(self.now.since(vote.started_at)))
        } else if vote.is_error() {
            Err(Abstention::Error)
        } else {
            Ok(vote)
        }
    }

    /// Regions and their votes that count.
    pub(super) fn eligible(&self) -> impl Iterator<Item = (&'a RegionState, &'a Vote)> {
        let count = *self;
        self.state.regions.iter().filter_map(move |region| Some((region, count.vote(region).ok()?)))
    }

    /// What the votes say outside of rounds. Never reason enough to open or resolve anything.
    pub(super) fn decision(&self) -> Decision {
        self.policy.quorum.decide(self.tally())
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            assigned: self.policy.regions.len(),
            eligible: self.eligible().count(),
            failing: self.eligible().filter(|(_, vote)| vote.is_confirmed_fail()).count(),
            doubtful: self.doubtful_in(None),
        }
    }

    /// What the votes within the round's window say.
    pub(super) fn round_decision(&self, round: &Round) -> Decision {
        let assigned = self.policy.regions.len();
        let failing = self.failing_in(round).count();
        if failing >= self.policy.quorum.needed(assigned, self.eligible().count()) {
            return Decision::Down;
        }
        let window = round.window;
        let eligible = self.eligible().filter(|(_, vote)| {
            vote.started_at >= if vote.is_pass() { window.passing_from } else { window.failing_from }
        });
        let tally = Tally {
            assigned,
            eligible: eligible.count(),
            // Already found too few. What is eligible within the window is fewer than what is eligible at all, so
            // `all` must not be asked again with the smaller number.
            failing: 0,
            doubtful: self.doubtful_in(Some(round)),
        };
        self.policy.quorum.decide(tally)
    }

    /// Regions that fail for certain within the round's window, with what was seen of them.
    pub(super) fn failing_in(
        &self,
        round: &'a Round,
    ) -> impl Iterator<Item = (&'a RegionState, &'a Vote, Seen)> {
        let count = *self;
        self.state.regions.iter().zip(&round.seen).filter_map(move |(region, seen)| {
            let vote = count.vote(region).ok()?;
            fails_in(round, vote, seen).then_some((region, vote, *seen))
        })
    }

    /// Whether the region has nothing more to say in this round.
    pub(super) fn has_answered(&self, round: &Round, region: &RegionState, seen: &Seen) -> bool {
        region.vote.as_ref().is_some_and(|vote| {
            fails_in(round, vote, seen) || (!vote.is_fail() && vote.started_at >= round.window.passing_from)
        })
    }

    /// Whether enough regions can be asked to decide anything.
    pub(super) fn can_ask(&self) -> bool {
        self.state.regions.iter().filter(|region| region.live).count() >= self.policy.coverage()
    }

    /// Whether it answers but is not well.
    pub(super) fn is_degraded(&self) -> bool {
        self.eligible().any(|(_, vote)| vote.is_confirmed_fail() || vote.is_unwell())
    }

    /// Regions that may be failing: live ones without a pass that counts (within the round's window, if one is given),
    /// and those gone silent while failing, since silence must not end an incident (I5).
    pub(super) fn doubtful_in(&self, round: Option<&Round>) -> usize {
        let passes = |vote: &Vote| {
            vote.is_pass() && round.is_none_or(|round| vote.started_at >= round.window.passing_from)
        };
        let in_doubt = |region: &&RegionState| {
            if region.live { !self.vote(region).is_ok_and(passes) } else { region.failing_since.is_some() }
        };
        self.state.regions.iter().filter(in_doubt).count()
    }
}

/// Whether the vote is a failure for certain within the round's window.
fn fails_in(round: &Round, vote: &Vote, seen: &Seen) -> bool {
    vote.is_fail()
        && vote.started_at >= round.window.failing_from
        && (vote.is_definite_fail() || seen.is_confirmed())
}
