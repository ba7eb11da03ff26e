//! From votes to what is thought of agents, and from the regions to what is thought of the fleet; from there to
//! operators' incidents, and to the monitors, which are told whose votes do not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::effect::Effect;
use engine::monitor::Judgement;
use engine::{coverage, monitor, probe};
use model::{AgentId, CheckResult, SubjectId, Timestamp};
use store::{IncidentState, TimelineRow};
use tracing::{info, warn};

use super::Stage;
use super::alert::Step;
use crate::incident::{Incident, RegionNames as _};
use crate::notify::event::{EventRegion, EventSubject};
use crate::shard::input::State;
use crate::shard::operations::{Operated, Operations, agent_of, whole};
use crate::shard::subject::{Happening, Policy, Subject};

impl Stage<'_> {
    /// Compares what an agent has just said of a monitor with what the others say. The monitor has heard it already.
    pub(in crate::shard) fn weigh(&mut self, agent: AgentId, result: &CheckResult) {
        let Some(subject) = self.get(SubjectId::Monitor(result.monitor)) else { return };
        let (State::Monitor(state), Policy::Monitor(policy)) = (&subject.state, &subject.policy) else {
            return;
        };
        let is_observed = self.operations().is_observed(agent);
        if !is_observed && !state.has_failing_votes() {
            return;
        }
        let mut contradictions = monitor::contradictions(state, policy, self.now);
        let mut agrees = false;
        if is_observed {
            match monitor::judge(state, policy, agent, result, self.now) {
                Judgement::Agreed => agrees = true,
                Judgement::Contradicted(found) if !contradictions.contains(&found) => {
                    contradictions.push(found);
                }
                Judgement::Contradicted(_) | Judgement::Open => {}
            }
        }
        if contradictions.is_empty() && !agrees {
            return;
        }
        let host = host(subject);
        for found in contradictions {
            let flip = probe::Flip {
                monitor: result.monitor,
                host: host.clone(),
                failed_at: found.failed_at,
                vote_at: found.vote_at,
                contradicted_by: found.contradicted_by,
            };
            let known = self.operations().agents.get(&found.agent);
            let heeds = match known {
                Some(known) => known.state.heeds(&flip, self.now),
                None => probe::State::default().heeds(&flip, self.now),
            };
            if heeds {
                let burden = self.burden_of(found.agent);
                self.judge_agent(found.agent, probe::Event::Contradicted { flip, burden });
            }
        }
        if agrees {
            let burden = self.burden_of(agent);
            self.judge_agent(agent, probe::Event::Agreed { monitor: result.monitor, burden });
        }
    }

    /// Looks after what time changes: agents that have behaved for long enough, regions that are gone for too long.
    pub(in crate::shard) fn look_after_fleet(&mut self) {
        let now = self.now;
        let is_due = |state: &probe::State| probe::deadline(state).is_some_and(|at| at <= now);
        let due = self.operations().agents.iter().filter(|(_, known)| is_due(&known.state));
        let due: Vec<AgentId> = due.map(|(agent, _)| *agent).collect();
        for agent in due {
            self.judge_agent(agent, probe::Event::DeadlineReached);
        }
        if self.operations().burdens.is_some() {
            self.operations_mut().burdens = None;
        }
        let picture = self.picture();
        self.judge_coverage(coverage::Event::Seen(picture));
    }

    /// Nothing could be heard in that span.
    pub(super) fn blind_fleet(&mut self, from: Timestamp, to: Timestamp, restarted: bool) {
        let observed = self.operations().agents.iter().filter(|(_, known)| !known.state.is_clean());
        let observed: Vec<AgentId> = observed.map(|(agent, _)| *agent).collect();
        for agent in observed {
            self.judge_agent(agent, probe::Event::Blind);
        }
        self.judge_coverage(coverage::Event::Blind { from, to, restarted });
    }

    /// Tells a monitor of all agents that are in quarantine.
    pub(super) fn tell_quarantines(&mut self, id: SubjectId) {
        for event in self.quarantines() {
            self.apply(id, Happening::Monitor(&event));
        }
    }

    /// What monitors are told of all agents that are in quarantine.
    pub(super) fn quarantines(&self) -> Vec<monitor::Event> {
        let event = |(agent, since)| {
            let (name, _) = agent_of(self.config, agent);
            monitor::Event::Quarantined { agent, name, since }
        };
        self.operations().quarantined().map(event).collect()
    }

    /// What is thought of agents and the fleet, as staged.
    fn operations(&self) -> &Operations {
        self.operations.as_ref().unwrap_or(&self.base.operations)
    }

    fn operations_mut(&mut self) -> &mut Operations {
        self.operations.get_or_insert_with(|| self.base.operations.clone())
    }

    /// What an agent's canaries say.
    pub(in crate::shard) fn hear_canaries(&mut self, agent: AgentId, canaries: probe::Canaries) {
        self.judge_agent(agent, probe::Event::Canaries(canaries));
    }

    fn judge_agent(&mut self, agent: AgentId, event: probe::Event) {
        let now = self.now;
        let known = Arc::make_mut(self.operations_mut().agents.entry(agent).or_default());
        let transition = probe::apply(std::mem::take(&mut known.state), event, now);
        known.state = transition.state;
        let subject = SubjectId::Agent(agent);
        for effect in transition.effects {
            match effect {
                Effect::Quarantine { since } => {
                    let (name, region) = agent_of(self.config, agent);
                    warn!(agent.id = %agent, agent.name = %name, %since, "agent quarantined: its votes do not count");
                    let event = monitor::Event::Quarantined { agent, name, since };
                    self.apply_to_all(Happening::Monitor(&event), |subject| {
                        region.as_ref().is_none_or(|region| subject.is_checked_from(region))
                    });
                }
                Effect::Release => {
                    info!(agent.id = %agent, "agent released: its votes count again");
                    let event = monitor::Event::Released { agent };
                    self.apply_to_all(Happening::Monitor(&event), |subject| {
                        matches!(subject.state, State::Monitor(_))
                    });
                }
                effect => self.settle_operation(subject, effect),
            }
        }
    }

    fn judge_coverage(&mut self, event: coverage::Event) {
        let now = self.now;
        let fresh = || Arc::new(Operated { state: coverage::new(now), incident: None });
        let before = self.operations().coverage.clone().unwrap_or_else(fresh);
        let transition = coverage::apply(before.state.clone(), event, now);
        if transition.state == before.state && self.operations().coverage.is_some() {
            return;
        }
        let after = Operated { state: transition.state, incident: before.incident.clone() };
        self.operations_mut().coverage = Some(Arc::new(after));
        for effect in transition.effects {
            self.settle_operation(whole(self.installation), effect);
        }
    }

    /// Effects on an operators' incident become rows.
    fn settle_operation(&mut self, subject: SubjectId, effect: Effect) {
        match effect {
            Effect::Open(opening) => {
                let name = self.event_subject(subject).name().to_owned();
                let incident = Incident::begin(self.installation, subject, name, &opening);
                self.tell_operators(subject, incident, true);
            }
            Effect::Resolve { resolved_at, evidence, .. } => {
                let Some(incident) = self.operated_incident(subject) else { return };
                let mut incident = Incident::clone(&incident);
                incident.state = IncidentState::Resolved;
                incident.resolved_at = Some(resolved_at);
                incident.body.closing = Some(evidence);
                self.tell_operators(subject, incident, false);
            }
            Effect::Record { at, text, .. } => {
                let Some(incident) = self.operated_incident(subject) else { return };
                let mut incident = Incident::clone(&incident);
                let ordinal = incident.next_line();
                self.commit.timeline.push(TimelineRow { incident: incident.id, ordinal, at, text });
                let incident = Arc::new(incident);
                self.put_incident(Arc::clone(&incident));
                self.set_operated_incident(subject, Some(incident));
            }
            // What only happens to monitors and heartbeats.
            _ => {}
        }
        self.stale_operations.insert(subject);
    }

    /// Decides who is told of an operators' incident as it stands, and puts it and the events among the rows.
    fn tell_operators(&mut self, subject: SubjectId, incident: Incident, stays_open: bool) {
        let concern = self.concern(&incident);
        let step = Step::of(&incident);
        let incident = self.tell_of(incident, concern, step);
        self.set_operated_incident(subject, stays_open.then_some(incident));
    }

    pub(super) fn event_subject(&self, subject: SubjectId) -> EventSubject {
        match subject {
            SubjectId::Agent(id) => {
                let (name, region) = agent_of(self.config, id);
                let region = region.map(|id| EventRegion { name: self.config.name(&id), id });
                EventSubject::Agent { id, name: format!("agent {name}"), region }
            }
            SubjectId::Installation(_) | SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => {
                EventSubject::Installation { id: self.installation, name: "coverage".to_owned() }
            }
        }
    }

    /// Every open incident of which only operators are told.
    pub(super) fn operated_incidents(&self) -> Vec<Arc<Incident>> {
        let operations = self.operations();
        let agents = operations.agents.values().filter_map(|known| known.incident.clone());
        agents.chain(operations.coverage.as_ref().and_then(|known| known.incident.clone())).collect()
    }

    pub(super) fn operated_incident(&self, subject: SubjectId) -> Option<Arc<Incident>> {
        match subject {
            SubjectId::Agent(agent) => self.operations().agents.get(&agent)?.incident.clone(),
            SubjectId::Installation(_) => self.operations().coverage.as_ref()?.incident.clone(),
            SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => None,
        }
    }

    pub(super) fn set_operated_incident(&mut self, subject: SubjectId, incident: Option<Arc<Incident>>) {
        let operations = self.operations_mut();
        match subject {
            SubjectId::Agent(agent) => {
                if let Some(known) = operations.agents.get_mut(&agent) {
                    Arc::make_mut(known).incident = incident;
                }
            }
            SubjectId::Installation(_) => {
                if let Some(known) = &mut operations.coverage {
                    Arc::make_mut(known).incident = incident;
                }
            }
            SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => {}
        }
    }

    /// Every monitor, in no order.
    #[expect(clippy::disallowed_methods, reason = "they are only counted")]
    fn monitors(&self) -> impl Iterator<Item = (&monitor::State, &monitor::Policy)> {
        let published = self.base.subjects.iter().filter(|(id, _)| !self.subjects.contains_key(id));
        let staged = self.subjects.values().flatten();
        published.map(|(_, subject)| subject).chain(staged).filter_map(|subject| {
            match (&subject.state, &subject.policy) {
                (State::Monitor(state), Policy::Monitor(policy)) => Some((state.as_ref(), policy.as_ref())),
                _ => None,
            }
        })
    }

    /// What an agent has to do. Counted at most once a second, for all agents.
    fn burden_of(&mut self, agent: AgentId) -> probe::Burden {
        let burdens = match &self.operations().burdens {
            Some(burdens) => Arc::clone(burdens),
            None => {
                let mut burdens: BTreeMap<AgentId, probe::Burden> = BTreeMap::new();
                for (state, _) in self.monitors() {
                    for vote in state.regions().filter_map(|region| region.vote.as_ref()) {
                        let burden = burdens.entry(vote.agent).or_default();
                        *burden = burden.and(vote.started_at, self.now);
                    }
                }
                let burdens = Arc::new(burdens);
                self.operations_mut().burdens = Some(Arc::clone(&burdens));
                burdens
            }
        };
        let at_least_this_one = probe::Burden { monitors: 1, checked: 1 };
        burdens.get(&agent).copied().unwrap_or(at_least_this_one)
    }

    /// What is seen of the fleet now.
    fn picture(&self) -> coverage::Picture {
        let live = self.live_regions();
        let mut picture = coverage::Picture::default();
        let checked = self.monitors().filter(|(state, _)| state.status() != monitor::Status::Paused);
        for (state, policy) in checked {
            let mut is_thinned = false;
            for region in policy.regions.iter().filter(|region| !live.contains(*region)) {
                is_thinned = true;
                if !picture.offline.contains(region) {
                    picture.offline.insert(region.clone());
                }
            }
            if state.is_undecidable() {
                picture.undecidable += 1;
            } else if is_thinned {
                picture.thinned += 1;
            }
        }
        picture
    }
}

fn host(subject: &Subject) -> String {
    let monitor = subject.definition.monitor();
    monitor.map(|(_, monitor)| monitor.spec.check.host().to_owned()).unwrap_or_default()
}
