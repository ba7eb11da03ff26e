//! What the coordinator thinks of its agents: who stands alone too often is in quarantine.
//!
//! The engine's machine of an agent, fed as the owner of the shards feeds it. Every monitor has a host of its own. Left out:
//! canaries, and that another agent of the region checks beside one in quarantine.

use std::collections::BTreeMap;

use engine::monitor::{self, Judgement, Policy, State};
use engine::{Effect, probe};
use model::{AgentId, CheckResult, Timestamp};

/// All agents' credit.
#[derive(Debug, Default)]
pub struct Credit {
    agents: BTreeMap<AgentId, probe::State>,
    /// Who has been in quarantine, since when it is not believed, and when that was decided.
    pub quarantines: Vec<Quarantine>,
}

/// An agent was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The agent's number.
    pub agent: usize,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it ended.
    pub released_at: Option<Timestamp>,
}

impl Credit {
    /// What follows for agents from a result that a monitor has just heard; `burden` says what an agent has to do.
    pub fn weigh(
        &mut self,
        (state, policy): (&State, &Policy),
        (agent, result): (AgentId, &CheckResult),
        burden: impl Fn(AgentId) -> probe::Burden,
        now: Timestamp,
    ) -> Vec<monitor::Event> {
        let is_observed = self.agents.get(&agent).is_some_and(|state| !state.is_clean());
        if !is_observed && !state.has_failing_votes() {
            return vec![];
        }
        let mut contradictions = monitor::contradictions(state, policy, now);
        let mut agrees = false;
        if is_observed {
            match monitor::judge(state, policy, agent, result, now) {
                Judgement::Agreed => agrees = true,
                Judgement::Contradicted(found) if !contradictions.contains(&found) => {
                    contradictions.push(found);
                }
                Judgement::Contradicted(_) | Judgement::Open => {}
            }
        }
        let mut told = vec![];
        for found in contradictions {
            let flip = probe::Flip {
                monitor: result.monitor,
                host: result.monitor.to_string(),
                failed_at: found.failed_at,
                vote_at: found.vote_at,
                contradicted_by: found.contradicted_by,
            };
            if self.agents.entry(found.agent).or_default().heeds(&flip, now) {
                let burden = burden(found.agent);
                told.extend(self.apply(found.agent, probe::Event::Contradicted { flip, burden }, now));
            }
        }
        if agrees {
            let event = probe::Event::Agreed { monitor: result.monitor, burden: burden(agent) };
            told.extend(self.apply(agent, event, now));
        }
        told
    }

    /// When an agent must be looked at next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.agents.values().filter_map(probe::deadline).min()
    }

    /// What time brings.
    pub fn look(&mut self, now: Timestamp) -> Vec<monitor::Event> {
        let is_due = |state: &probe::State| probe::deadline(state).is_some_and(|at| at <= now);
        let due: Vec<AgentId> =
            self.agents.iter().filter(|(_, state)| is_due(state)).map(|(agent, _)| *agent).collect();
        due.into_iter().flat_map(|agent| self.apply(agent, probe::Event::DeadlineReached, now)).collect()
    }

    fn apply(&mut self, agent: AgentId, event: probe::Event, now: Timestamp) -> Vec<monitor::Event> {
        let number = usize::from(agent.as_bytes()[0]);
        let state = self.agents.entry(agent).or_default();
        let transition = probe::apply(std::mem::take(state), event, now);
        *state = transition.state;
        let mut told = vec![];
        for effect in transition.effects {
            match effect {
                Effect::Quarantine { since } => {
                    self.quarantines.push(Quarantine { agent: number, decided_at: now, released_at: None });
                    told.push(monitor::Event::Quarantined { agent, name: format!("agent {number}"), since });
                }
                Effect::Release => {
                    let mine = self.quarantines.iter_mut().rfind(|known| known.agent == number);
                    if let Some(mine) = mine {
                        mine.released_at = Some(now);
                    }
                    told.push(monitor::Event::Released { agent });
                }
                _ => {}
            }
        }
        told
    }
}
