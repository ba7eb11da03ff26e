//! Agents that are not believed: their votes do not count, from the first of the failures that others contradict.
//!
//! Set aside, a vote is neither for nor against: its region is not eligible and not in doubt. Where one region alone
//! decides (`any`, `at_least:1`) the user has asked for exactly that, so such votes keep counting and are marked. An
//! incident never ends by this (I1): it is undecided, and all regions are asked again.

use std::fmt;

use model::{AgentId, Timestamp};

use super::state::{Owed, RegionState};
use super::tally::Count;
use super::{State, Step};
use crate::vote::Vote;

/// An agent in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excluded {
    pub(super) agent: AgentId,
    /// What people call it.
    pub(super) name: Box<str>,
    /// Its checks count no more from here on.
    pub(super) since: Timestamp,
}

/// The agents in quarantine; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exclusions {
    agents: Vec<Excluded>,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {} quarantined since {}", self.name, self.since)
    }
}

impl Step<'_> {
    pub(super) fn quarantine(&mut self, agent: AgentId, name: &str, since: Timestamp) {
        let was_set_aside = self.has_set_aside(agent);
        self.state.exclude(agent, name, since);
        if !was_set_aside && !self.has_set_aside(agent) {
            return;
        }
        self.ask_anew();
        self.record(format!(
            "agent {name} is quarantined: its votes since {since} do not count; all regions are asked again"
        ));
    }

    pub(super) fn release(&mut self, agent: AgentId) {
        let counts_again = self.has_set_aside(agent);
        self.state.readmit(agent);
        if counts_again {
            self.ask_anew();
        }
    }

    /// Whether a vote of the agent is there that does not count.
    fn has_set_aside(&self, agent: AgentId) -> bool {
        let count = self.count();
        let by_agent = |region: &&RegionState| region.vote.as_ref().is_some_and(|vote| vote.agent == agent);
        self.state.regions.iter().filter(by_agent).any(|region| count.is_set_aside(region))
    }

    /// Whose votes count has changed. If something is failing, what comes of that is found out by a new round, never by
    /// counting the old votes anew: a quarantine alone neither opens nor ends an incident.
    fn ask_anew(&mut self) {
        let count = self.count();
        let fails = |region: &RegionState| {
            !count.is_set_aside(region) && region.vote.as_ref().is_some_and(Vote::is_fail)
        };
        if !self.state.is_paused() && (self.state.is_down() || self.state.regions.iter().any(fails)) {
            self.drop_pursuit();
            self.state.owed = Some(Owed::Quarantine);
        }
    }
}

impl State {
    pub(super) fn exclude(&mut self, agent: AgentId, name: &str, since: Timestamp) {
        self.readmit(agent);
        let excluded = Excluded { agent, name: name.into(), since };
        self.excluded.get_or_insert_default().agents.push(excluded);
    }

    pub(super) fn readmit(&mut self, agent: AgentId) {
        if let Some(excluded) = &mut self.excluded {
            excluded.agents.retain(|known| known.agent != agent);
            if excluded.agents.is_empty() {
                self.excluded = None;
            }
        }
    }

    /// The quarantine that a vote falls into.
    pub(super) fn exclusion(&self, vote: &Vote) -> Option<&Excluded> {
        let mut excluded = self.excluded.iter().flat_map(|excluded| &excluded.agents);
        excluded.find(|known| known.agent == vote.agent && known.since <= vote.started_at)
    }

    /// A vote of one agent does not keep a better one from counting: of an agent in quarantine nothing is heard once
    /// another agent of its region has voted, and the other's first vote begins anew. Whether the agent may vote.
    pub(super) fn make_way(&mut self, index: usize, agent: AgentId) -> bool {
        let Some(by) = self.regions[index].vote.as_ref().map(|vote| vote.agent).filter(|by| *by != agent)
        else {
            return true;
        };
        match (self.is_excluded(by), self.is_excluded(agent)) {
            (false, true) => return false,
            (true, false) => self.regions[index].forget_vote(),
            (false, false) | (true, true) => {}
        }
        true
    }

    /// Whether an agent is in quarantine.
    fn is_excluded(&self, agent: AgentId) -> bool {
        self.excluded.iter().flat_map(|excluded| &excluded.agents).any(|known| known.agent == agent)
    }
}

impl Count<'_> {
    /// Whether the region's vote does not count because its agent is in quarantine.
    pub(super) fn is_set_aside(&self, region: &RegionState) -> bool {
        region.vote.as_ref().is_some_and(|vote| self.sets_aside(vote))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases};

    use super::*;
    use crate::monitor::{Event, Policy, Thresholds, apply, new};

    const SICK: AgentId = AgentId::from_bytes([1; 16]);
    const WELL: AgentId = AgentId::from_bytes([2; 16]);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    /// Which agent speaks for the only region after these agents failed, one a second, and since when it fails.
    fn speaker(quarantined: &[AgentId], failing: &[AgentId], released: &[AgentId]) -> (AgentId, i64, u16) {
        let regions: Vec<model::RegionId> = vec!["eu".parse().unwrap()];
        let policy = Policy {
            quorum: crate::quorum::Policy::default().over(&regions),
            regions,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        };
        let mut state = new(&policy, at(0));
        for &agent in quarantined {
            let event = Event::Quarantined { agent, name: "sick".to_owned(), since: at(0) };
            state = apply(state, &policy, &event, at(0)).state;
        }
        for &agent in released {
            state = apply(state, &policy, &Event::Released { agent }, at(0)).state;
        }
        for (second, &agent) in (1..).zip(failing) {
            let result = CheckResult {
                monitor: MonitorId::from_bytes([1; 16]),
                spec_revision: 1,
                region: "eu".parse().unwrap(),
                slot: 0,
                attempt: 0,
                round: 0,
                started_at: at(second),
                duration: Duration::from_millis(1),
                outcome: Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused")),
                phases: Phases::default(),
                http_status: None,
                peer: None,
                health: None,
            };
            let event = Event::Observed { agent, result: Box::new(result) };
            state = apply(state, &policy, &event, at(second)).state;
        }
        let region = &state.regions[0];
        let since = region.failing_since.unwrap().as_secs() - at(0).as_secs();
        (region.vote.as_ref().unwrap().agent, since, region.streak)
    }

    #[test]
    fn of_an_agent_in_quarantine_nothing_is_heard_once_another_of_its_region_has_voted() {
        assert_eq!(speaker(&[SICK], &[SICK, SICK], &[]), (SICK, 1, 2), "as long as there is no better one");
        assert_eq!(speaker(&[SICK], &[SICK, SICK, WELL], &[]), (WELL, 3, 1), "its streak begins anew");
        assert_eq!(speaker(&[SICK], &[WELL, SICK, SICK], &[]), (WELL, 1, 1));
        assert_eq!(speaker(&[SICK], &[SICK, WELL, SICK, WELL], &[]), (WELL, 2, 2));
    }

    #[test]
    fn agents_that_are_believed_alike_take_turns() {
        assert_eq!(speaker(&[], &[SICK, WELL, SICK], &[]), (SICK, 1, 3));
        assert_eq!(speaker(&[SICK, WELL], &[SICK, WELL, SICK], &[]), (SICK, 1, 3));
        assert_eq!(speaker(&[SICK], &[WELL, SICK], &[SICK]), (SICK, 1, 2), "it is released");
        assert_eq!(speaker(&[SICK, WELL], &[SICK, WELL], &[WELL]), (WELL, 2, 1), "one of them is");
    }
}
