//! Votes are counted, here and nowhere else.

use std::time::Duration;

use model::Timestamp;

use super::exclusion::Excluded;
use super::state::{RegionState, Round, Seen, State};
use super::{Policy, Thresholds};
use crate::quorum::{Decision, RegionSet, Tally};
use crate::vote::Vote;

/// The votes of a monitor, looked at from one instant.
#[derive(Clone, Copy)]
pub(super) struct Count<'a> {
    state: &'a State,
    policy: &'a Policy,
    now: Timestamp,
    /// Votes that started up to here are stale.
    stale_until: Timestamp,
}

/// Why a region's vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abstention {
    NoVote,
    Offline,
    BeforeBlindness,
    InMaintenance,
    Stale(Duration),
    Error,
    Quarantine,
}

impl<'a> Count<'a> {
    pub(super) fn new(state: &'a State, policy: &'a Policy, now: Timestamp) -> Self {
        Self { state, policy, now, stale_until: now.minus(policy.freshness()) }
    }

    /// How much evidence the votes need.
    pub(super) const fn thresholds(&self) -> Thresholds {
        self.policy.thresholds
    }

    /// The region's vote if it counts: live, fresh, not from before a blindness, and not an abstention of its own.
    pub(super) fn vote(&self, region: &'a RegionState) -> Result<&'a Vote, Abstention> {
        let vote = region.vote.as_ref().ok_or(Abstention::NoVote)?;
        if !region.live {
            Err(Abstention::Offline)
        } else if self.state.maintenance.ended_after(vote.started_at) {
            Err(Abstention::InMaintenance)
        } else if vote.started_at < self.state.votes_valid_from {
            Err(Abstention::BeforeBlindness)
        } else if vote.started_at <= self.stale_until {
            Err(Abstention::Stale(self.now.since(vote.started_at)))
        } else if vote.is_error() {
            Err(Abstention::Error)
        } else if self.sets_aside(vote) {
            Err(Abstention::Quarantine)
        } else {
            Ok(vote)
        }
    }

    /// The quarantine that a vote falls into.
    pub(super) fn exclusion(&self, vote: &Vote) -> Option<&'a Excluded> {
        self.state.exclusion(vote)
    }

    /// Whether a vote does not count because its agent is in quarantine. It does where one region alone decides.
    pub(super) fn sets_aside(&self, vote: &Vote) -> bool {
        self.exclusion(vote).is_some() && !self.policy.quorum.policy().is_any()
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
        let mut tally = Tally::default();
        for (index, region) in self.state.regions.iter().enumerate() {
            let vote = self.vote(region).ok();
            if let Some(vote) = vote {
                tally.eligible.insert(index);
                if vote.is_confirmed_fail() {
                    tally.failing.insert(index);
                }
            }
            if !self.is_set_aside(region) && is_in_doubt(region, vote, None) {
                tally.doubtful.insert(index);
            }
        }
        tally
    }

    /// What the votes within the round's window say.
    pub(super) fn round_decision(&self, round: &Round) -> Decision {
        let quorum = &self.policy.quorum;
        let tally = self.tally_in(round);
        if quorum.is_satisfied(tally.failing, self.voting()) {
            return Decision::Down;
        }
        // Already found too few. What is eligible within the window is fewer than what is eligible at all, so `all`
        // must not be asked again with the smaller number.
        quorum.decide(Tally { failing: RegionSet::EMPTY, ..tally })
    }

    /// The votes within the round's window.
    pub(super) fn tally_in(&self, round: &Round) -> Tally {
        let window = round.window;
        let mut tally = Tally::default();
        for (index, (region, seen)) in self.state.regions.iter().zip(&round.seen).enumerate() {
            let vote = self.vote(region).ok();
            if let Some(vote) = vote {
                let from = if vote.is_pass() { window.passing_from } else { window.failing_from };
                if vote.started_at >= from {
                    tally.eligible.insert(index);
                }
                if self.fails_in(round, region, vote, seen) {
                    tally.failing.insert(index);
                }
            }
            if !self.is_set_aside(region) && is_in_doubt(region, vote, Some(round)) {
                tally.doubtful.insert(index);
            }
        }
        tally
    }

    /// The regions whose vote counts.
    pub(super) fn voting(&self) -> RegionSet {
        self.regions(|region| self.vote(region).is_ok())
    }

    /// The regions of which something holds.
    pub(super) fn regions(&self, holds: impl Fn(&'a RegionState) -> bool) -> RegionSet {
        let indexed = self.state.regions.iter().enumerate();
        indexed.filter(|(_, region)| holds(region)).map(|(index, _)| index).collect()
    }

    /// Regions that fail for certain within the round's window, with what was seen of them.
    pub(super) fn failing_in(
        &self,
        round: &'a Round,
    ) -> impl Iterator<Item = (&'a RegionState, &'a Vote, Seen)> {
        let count = *self;
        self.state.regions.iter().zip(&round.seen).filter_map(move |(region, seen)| {
            let vote = count.vote(region).ok()?;
            self.fails_in(round, region, vote, seen).then_some((region, vote, *seen))
        })
    }

    /// Whether the region has nothing more to say in this round.
    pub(super) fn has_answered(&self, round: &Round, region: &RegionState, seen: &Seen) -> bool {
        region.vote.as_ref().is_some_and(|vote| {
            self.fails_in(round, region, vote, seen)
                || (!vote.is_fail() && vote.started_at >= round.window.passing_from)
        })
    }

    /// Whether a round could change what the monitor is. To open an incident takes every clause of the quorum: while
    /// one of them lacks regions, what fails waits for them, and asks as soon as they are live. One clause is enough
    /// to see a monitor that is down up again, so its recovery waits for no other.
    pub(super) fn can_ask(&self) -> bool {
        let live = self.regions(|region| region.live);
        let quorum = &self.policy.quorum;
        if self.state.is_down() { quorum.can_say_up(live) } else { quorum.can_say_down(live) }
    }

    /// Whether some region says that it does not answer, or has not passed often enough to take that back.
    pub(super) fn is_degraded(&self, tally: Tally) -> bool {
        // Such a region is in doubt.
        !tally.doubtful.is_empty()
            && self
                .eligible()
                .any(|(region, vote)| vote.is_confirmed_fail() || (vote.is_pass() && !region.passes()))
    }

    /// Whether the vote is a failure for certain within the round's window.
    fn fails_in(&self, round: &Round, region: &RegionState, vote: &Vote, seen: &Seen) -> bool {
        vote.is_fail()
            && vote.started_at >= round.window.failing_from
            && (vote.is_definite_fail() || seen.is_confirmed())
            && region.streak >= self.policy.thresholds.failures
    }
}

/// Whether a region may be failing: a live one without a pass that counts (within the round's window, if one is given),
/// or one gone silent while failing, since silence must not end an incident (I5).
fn is_in_doubt(region: &RegionState, vote: Option<&Vote>, round: Option<&Round>) -> bool {
    if !region.live {
        return region.failing_since.is_some();
    }
    let in_window = |vote: &Vote| round.is_none_or(|round| vote.started_at >= round.window.passing_from);
    !(region.passes() && vote.is_some_and(in_window))
}
