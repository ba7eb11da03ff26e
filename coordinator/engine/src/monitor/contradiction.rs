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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases};

    use super::*;
    use crate::monitor::{Event, Thresholds, apply, new};

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    /// A monitor that is checked every hour from the first regions of [`NAMES`], all of which are live.
    struct World {
        policy: Policy,
        state: Box<State>,
        now: Timestamp,
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn region(name: &str) -> RegionId {
        name.parse().unwrap()
    }

    fn agent(name: &str) -> AgentId {
        AgentId::from_bytes([name.as_bytes()[0]; 16])
    }

    fn fail() -> Outcome {
        Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused"))
    }

    fn result(name: &str, outcome: Outcome, started_at: Timestamp) -> CheckResult {
        CheckResult {
            monitor: MonitorId::from_bytes([1; 16]),
            spec_revision: 1,
            region: region(name),
            slot: 0,
            attempt: 0,
            round: 0,
            started_at,
            duration: Duration::from_millis(1),
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        }
    }

    impl World {
        fn of(regions: usize) -> Self {
            let regions: Vec<_> = NAMES[..regions].iter().map(|name| region(name)).collect();
            let policy = Policy {
                quorum: "all".parse::<crate::quorum::Policy>().unwrap().over(&regions),
                regions,
                interval: Duration::from_secs(3_600),
                timeout: Duration::from_secs(10),
                confirmation_period: Duration::ZERO,
                recovery_checks: 1,
                thresholds: Thresholds::default(),
                has_parents: false,
                spec_revision: 1,
            };
            let mut world = Self { state: new(&policy, at(0)), policy, now: at(0) };
            for region in world.policy.regions.clone() {
                world.tell(0, &Event::RegionLive { region, live: true });
            }
            world
        }

        fn tell(&mut self, secs: i64, event: &Event) {
            self.now = at(secs);
            self.state = apply(self.state.clone(), &self.policy, event, self.now).state;
        }

        fn vote(&mut self, secs: i64, name: &str, outcome: Outcome) {
            let result = Box::new(result(name, outcome, at(secs)));
            self.tell(secs, &Event::Observed { agent: agent(name), result });
        }

        fn fails(mut self, secs: i64, name: &str) -> Self {
            self.vote(secs, name, fail());
            self
        }

        fn passes(mut self, secs: i64, names: &str) -> Self {
            names.split(' ').for_each(|name| self.vote(secs, name, Outcome::Pass));
            self
        }

        fn then(mut self, secs: i64, event: &Event) -> Self {
            self.tell(secs, event);
            self
        }

        /// Who is contradicted now, since when, with which vote and by whom.
        fn contradicted(&self) -> Vec<(AgentId, i64, i64, String)> {
            let secs = |instant: Timestamp| instant.as_secs() - at(0).as_secs();
            contradictions(&self.state, &self.policy, self.now)
                .into_iter()
                .map(|it| {
                    let by: Vec<_> = it.contradicted_by.iter().map(RegionId::as_str).collect();
                    (it.agent, secs(it.failed_at), secs(it.vote_at), by.join(" "))
                })
                .collect()
        }

        fn judge(&self, name: &str, outcome: Outcome) -> Judgement {
            let result = result(name, outcome, self.now);
            judge(&self.state, &self.policy, agent(name), &result, self.now)
        }
    }

    #[test]
    fn a_majority_of_the_others_is_the_only_one_or_at_least_two() {
        let least = |assigned: usize| (0..assigned).find(|passing| is_majority(*passing, assigned));
        let least = [1, 2, 3, 4, 5, 6, 7].map(least);
        assert_eq!(least, [None, Some(1), Some(2), Some(2), Some(3), Some(3), Some(4)]);
        assert!(!is_majority(0, 0), "nobody contradicts nobody");
    }

    #[test]
    fn a_failure_is_contradicted_by_those_who_passed_since_it_began() {
        let world = World::of(3).passes(1, "a b c").fails(100, "a");
        assert_eq!(world.contradicted(), [], "they passed before");
        let world = world.passes(100, "b c");
        assert_eq!(world.contradicted(), [], "at the very same time");
        let world = world.passes(101, "b");
        assert_eq!(world.contradicted(), [], "one of two others");
        let world = world.passes(102, "c");
        assert_eq!(world.contradicted(), [(agent("a"), 100, 100, "b c".to_owned())]);
        let world = world.fails(160, "a");
        assert_eq!(world.contradicted(), [(agent("a"), 100, 160, "b c".to_owned())], "the streak goes on");
        assert_eq!(world.passes(170, "a").contradicted(), []);
    }

    #[test]
    fn who_does_not_pass_or_is_not_believed_contradicts_nobody() {
        let world = || World::of(3).passes(1, "a b c").fails(100, "a").passes(101, "b");
        let errors = Outcome::Error("too many open files".to_owned());
        let mut world_with_error = world();
        world_with_error.vote(102, "c", errors);
        assert_eq!(world_with_error.contradicted(), []);
        let quarantine =
            |name: &str| Event::Quarantined { agent: agent(name), name: name.into(), since: at(90) };
        assert_eq!(world().then(101, &quarantine("c")).passes(102, "c").contradicted(), []);
        assert_eq!(world().then(101, &quarantine("a")).passes(102, "c").contradicted().len(), 1);
    }

    #[test]
    fn a_failing_vote_that_says_nothing_any_more_is_not_contradicted() {
        let world = || World::of(3).passes(1, "a b c").fails(100, "a").passes(102, "b c");
        assert_eq!(world().contradicted().len(), 1);
        let gone = Event::RegionLive { region: region("a"), live: false };
        assert_eq!(world().then(103, &gone).contradicted(), []);
        let blind = Event::Blind { from: at(103), to: at(104) };
        assert_eq!(world().then(104, &blind).passes(105, "b c").contradicted(), []);
        assert_eq!(world().then(104, &Event::Paused).contradicted(), []);
        let mut down = world();
        down.policy.quorum = "any".parse::<crate::quorum::Policy>().unwrap().over(&down.policy.regions);
        let down = down.fails(110, "a").fails(111, "a").passes(112, "b c");
        assert!(down.state.is_down());
        assert_eq!(down.contradicted(), []);
    }

    #[test]
    fn failures_at_the_same_time_confirm_each_other_for_as_long_as_they_last() {
        let both = || World::of(5).passes(1, "a b c d e").fails(100, "a").fails(101, "b");
        assert_eq!(both().passes(102, "c d e").contradicted(), [], "neither of them");
        let again = both().passes(102, "b c d e").fails(160, "a").passes(161, "b c d e");
        assert_eq!(again.contradicted(), [], "it is the last to see the end of an outage");
        let later = again.passes(200, "a").fails(300, "a").passes(301, "b c d e");
        assert_eq!(later.contradicted(), [(agent("a"), 300, 300, "b c d e".to_owned())], "another failure");
        let mut unsure = both();
        unsure.vote(102, "a", Outcome::Error("too many open files".to_owned()));
        let unsure = unsure.passes(103, "b").fails(104, "a").passes(105, "b c d e");
        assert_eq!(unsure.contradicted(), [], "what could not be measured parts no streak");
    }

    #[test]
    fn only_a_failure_that_is_live_fresh_and_believed_confirms_another() {
        let gone = Event::RegionLive { region: region("b"), live: false };
        let first = || World::of(5).passes(1, "a b c d e").fails(100, "b");
        let alone = [(agent("a"), 200, 200, "c d e".to_owned())];
        let world = first().then(101, &gone).fails(200, "a").passes(201, "c d e");
        assert_eq!(world.contradicted(), alone, "nobody can ask it");
        let mut world = first();
        world.policy.interval = Duration::from_secs(60);
        let world = world.fails(200, "a").passes(201, "c d e");
        assert!(world.contradicted().contains(&alone[0]), "100 s are too old: {:?}", world.contradicted());
        let quarantined = Event::Quarantined { agent: agent("b"), name: "b".into(), since: at(90) };
        let world = first().then(101, &quarantined).fails(200, "a").passes(201, "c d e");
        assert!(world.contradicted().contains(&alone[0]), "{:?}", world.contradicted());
    }

    #[test]
    fn a_result_is_agreed_with_contradicted_or_open() {
        let world = World::of(3).passes(1, "a b c").fails(100, "a");
        assert_eq!(world.judge("a", Outcome::Pass), Judgement::Agreed);
        assert_eq!(world.judge("a", Outcome::Error("no route".to_owned())), Judgement::Open);
        assert_eq!(world.judge("mars", fail()), Judgement::Open);
        assert_eq!(world.judge("a", fail()), Judgement::Open, "nobody has passed since");
        let mut contradicted = World::of(3).passes(1, "a b c").fails(100, "a").passes(101, "b c");
        let found = Contradiction {
            agent: agent("a"),
            failed_at: at(100),
            vote_at: at(100),
            contradicted_by: vec![region("b"), region("c")],
        };
        assert_eq!(contradicted.judge("a", fail()), Judgement::Contradicted(found));
        contradicted.tell(102, &Event::Paused);
        assert_eq!(contradicted.judge("a", fail()), Judgement::Open, "nobody asks");
        let confirmed = world.fails(101, "b").passes(102, "c");
        assert_eq!(confirmed.judge("a", fail()), Judgement::Agreed);
        let down = confirmed.fails(110, "c").fails(111, "a").fails(112, "b").fails(113, "c");
        assert!(down.state.is_down());
        assert_eq!(down.judge("a", fail()), Judgement::Agreed);
    }

    #[test]
    fn an_agent_whose_region_another_speaks_for_is_contradicted_by_what_the_others_say_at_all() {
        let world = World::of(3).passes(1, "a b c");
        let result = result("a", fail(), at(200));
        let judged = judge(&world.state, &world.policy, agent("z"), &result, at(201));
        let found = Contradiction {
            agent: agent("z"),
            failed_at: at(200),
            vote_at: at(200),
            contradicted_by: vec![region("b"), region("c")],
        };
        assert_eq!(judged, Judgement::Contradicted(found));
        let world = world.then(202, &Event::RegionLive { region: region("b"), live: false });
        let judged = judge(&world.state, &world.policy, agent("z"), &result, at(203));
        assert_eq!(judged, Judgement::Open, "only one other can be heard");
    }
}
