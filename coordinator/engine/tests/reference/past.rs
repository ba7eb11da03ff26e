//! What the history says: looked up by going through all of it, each time.

use std::time::Duration;

use engine::monitor::Event;
use model::{CheckResult, FailureKind, Outcome, Timestamp};

use super::{APART, Model, Question, Word};

/// How a region has fared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    pub(super) failing_since: Option<Timestamp>,
    /// How often that began or ended.
    turns: usize,
    /// Checks in a row that found the same.
    in_a_row: u32,
}

impl<'a> Model<'a> {
    pub(super) fn regions(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.policy.regions.len()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.told.status == Word::Paused
    }

    pub(super) fn is_down(&self) -> bool {
        self.told.status == Word::Down
    }

    pub(super) fn freshness(&self) -> Duration {
        self.policy.interval + self.policy.timeout + Duration::from_secs(10)
    }

    /// A region's results as they became votes: each started later than all that had arrived before.
    fn votes(&self, region: usize) -> Vec<&'a CheckResult> {
        let mut votes: Vec<&CheckResult> = vec![];
        if self.is_paused() {
            return votes;
        }
        for (at, event) in &self.past[self.void..] {
            if let Event::Observed { result, .. } = event
                && result.spec_revision == self.policy.spec_revision
                && result.region == self.policy.regions[region]
                && result.started_at <= *at
                && votes.last().is_none_or(|last| last.started_at < result.started_at)
            {
                votes.push(result);
            }
        }
        votes
    }

    pub(super) fn vote(&self, region: usize) -> Option<&'a CheckResult> {
        self.votes(region).last().copied()
    }

    /// How a region has fared: errors aside, it fails from a failing vote on until it has passed often enough in a row.
    pub(super) fn course(&self, region: usize) -> Course {
        let mut course = Course::default();
        let mut last = None;
        for vote in self.votes(region).into_iter().filter(|vote| is_pass(vote) || is_fail(vote)) {
            let passes = is_pass(vote);
            course.in_a_row = if last == Some(passes) { course.in_a_row + 1 } else { 1 };
            last = Some(passes);
            let enough = course.in_a_row >= self.policy.thresholds.passes.into();
            if passes && enough && course.failing_since.take().is_some() {
                course.turns += 1;
            } else if !passes && course.failing_since.is_none() {
                course.failing_since = Some(vote.started_at);
                course.turns += 1;
            }
        }
        course
    }

    /// Whether so many checks in a row failed that the failure counts.
    pub(super) fn fails_enough(&self, region: usize) -> bool {
        self.course(region).in_a_row >= self.policy.thresholds.failures.into()
    }

    /// How often the region has gone from passing, or from nothing, to failing and back.
    pub(super) fn turns(&self, region: usize) -> usize {
        self.course(region).turns
    }

    pub(super) fn failing_since(&self, region: usize) -> Option<Timestamp> {
        let since = self.course(region).failing_since?;
        let known = self.earlier.get(&region).filter(|(of, _)| *of == since);
        Some(known.map_or(since, |(_, at)| *at))
    }

    /// Whether a round has looked at the region's present streak, be it of passes or of failures.
    pub(super) fn is_reviewed(&self, region: usize) -> bool {
        self.reviewed.get(&region) == Some(&self.turns(region))
    }

    pub(super) fn is_live(&self, region: usize) -> bool {
        let news = self.past.iter().rev().find_map(|(_, event)| match event {
            Event::RegionLive { region: id, live } if *id == self.policy.regions[region] => Some(*live),
            _ => None,
        });
        news == Some(true)
    }

    /// Regions whose vote counts at an instant.
    pub(super) fn counting(&self, at: Timestamp) -> Vec<usize> {
        let counts = |region: &usize| {
            self.vote(*region).is_some_and(|vote| {
                self.is_live(*region)
                    && vote.started_at >= self.blind_until
                    && at < vote.started_at.plus(self.freshness())
                    && !matches!(vote.outcome, Outcome::Error(_))
            })
        };
        self.regions().filter(counts).collect()
    }

    /// Failing attempts of a region in the present round that no pass has taken back, oldest first.
    pub(super) fn attempts(&self, region: usize) -> Vec<Timestamp> {
        let Question::Asked { failing_from, since, before, .. } = &self.question else { return vec![] };
        let (mut standing, mut void) = before.get(&region).cloned().unwrap_or_default();
        for (at, event) in &self.past[*since..] {
            let Event::Observed { result, .. } = event else { continue };
            let started_at = result.started_at;
            let is_ours = result.spec_revision == self.policy.spec_revision;
            if !is_ours || result.region != self.policy.regions[region] || started_at > *at {
                continue;
            }
            if is_fail(result) && started_at >= *failing_from && Some(started_at) > void {
                standing.push(started_at);
            } else if is_pass(result) {
                void = void.max(Some(started_at));
                // A pass that arrives late takes back all but what failed last.
                let last = standing.iter().max().copied();
                if standing.iter().any(|at| *at <= started_at) {
                    standing.retain(|at| *at > started_at && Some(*at) == last);
                    if let Some(last) = standing.first() {
                        void = Some(last.minus(Duration::from_micros(1)));
                    }
                }
            }
        }
        standing.sort_unstable();
        standing
    }

    pub(super) fn is_certain(&self, attempts: &[Timestamp]) -> bool {
        attempts.first().zip(attempts.last()).is_some_and(|(first, last)| last.since(*first) >= APART)
    }

    /// Whether the region's vote is a failure beyond doubt, within the round.
    fn fails(&self, region: usize) -> bool {
        let Question::Asked { failing_from, .. } = &self.question else { return false };
        self.vote(region).is_some_and(|vote| {
            is_fail(vote)
                && vote.started_at >= *failing_from
                && (is_definite(vote) || self.is_certain(&self.attempts(region)))
                && self.fails_enough(region)
        })
    }

    pub(super) fn failing(&self) -> Vec<usize> {
        self.counting(self.now).into_iter().filter(|region| self.fails(*region)).collect()
    }

    /// Regions whose vote counts and is of this round.
    pub(super) fn heard(&self) -> Vec<usize> {
        let Question::Asked { failing_from, passing_from, .. } = &self.question else { return vec![] };
        let heard = |region: &usize| {
            self.vote(*region).is_some_and(|vote| {
                vote.started_at >= if is_pass(vote) { *passing_from } else { *failing_from }
            })
        };
        self.counting(self.now).into_iter().filter(heard).collect()
    }

    pub(super) fn has_answered(&self, region: usize) -> bool {
        let Question::Asked { passing_from, .. } = &self.question else { return false };
        self.fails(region)
            || self.vote(region).is_some_and(|vote| !is_fail(vote) && vote.started_at >= *passing_from)
    }

    pub(super) fn all_answered(&self) -> bool {
        self.regions().all(|region| !self.is_live(region) || self.has_answered(region))
    }

    /// Regions that may be failing, for all that is known: within the present round, or at all.
    pub(super) fn doubtful(&self, in_round: bool) -> Vec<usize> {
        let from = match &self.question {
            Question::Asked { passing_from, .. } if in_round => *passing_from,
            _ => Timestamp::MIN,
        };
        let counting = self.counting(self.now);
        let in_doubt = |region: &usize| {
            if !self.is_live(*region) {
                return self.failing_since(*region).is_some();
            }
            let passes = self.vote(*region).is_some_and(|vote| is_pass(vote) && vote.started_at >= from)
                && self.failing_since(*region).is_none();
            !(passes && counting.contains(region))
        };
        self.regions().filter(in_doubt).collect()
    }

    pub(super) fn says_up(&self) -> bool {
        let eligible = self.counting(self.now).len();
        let needed = self.quorum.needed(self.policy.regions.len(), eligible);
        eligible >= needed && self.doubtful(false).len() < needed
    }

    pub(super) fn is_short(&self, at: Timestamp) -> bool {
        let eligible = self.counting(at).len();
        eligible < self.quorum.needed(self.policy.regions.len(), eligible)
    }

    /// When votes that go stale will leave too few.
    pub(super) fn lapses_at(&self) -> Option<Timestamp> {
        let mut stale: Vec<_> = self
            .regions()
            .filter_map(|region| Some(self.vote(region)?.started_at.plus(self.freshness())))
            .collect();
        stale.sort_unstable();
        stale.into_iter().find(|at| self.is_short(*at))
    }

    pub(super) fn can_ask(&self) -> bool {
        let live = self.regions().filter(|region| self.is_live(*region)).count();
        live >= self.quorum.needed(self.policy.regions.len(), 0)
    }
}

pub(super) fn is_pass(result: &CheckResult) -> bool {
    result.outcome == Outcome::Pass
}

pub(super) fn is_fail(result: &CheckResult) -> bool {
    matches!(result.outcome, Outcome::Fail(_))
}

/// A wrong answer needs no second attempt.
fn is_definite(result: &CheckResult) -> bool {
    let wrong = [FailureKind::Certificate, FailureKind::Status, FailureKind::Body, FailureKind::Redirect];
    matches!(&result.outcome, Outcome::Fail(failure) if wrong.contains(&failure.kind))
}
