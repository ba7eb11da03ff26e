//! What operators are told of, and nobody else: agents that are not believed, and regions that cannot be heard.
//!
//! An agent is a subject of its own, and so is the installation: each has a state, and at most one open incident. They
//! have no definition: nobody made them to be watched, and nobody can pause them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::{coverage, probe};
use model::{AgentId, InstallationId, RegionId, SubjectId, Timestamp};
use store::{Config, IncidentRow, Position, StateRow};

use crate::incident::Incident;
use crate::settings::find_agent;
use crate::view::{FleetView, QuarantineView};

/// A state and the incident that is open because of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Operated<S> {
    pub(super) state: S,
    pub(super) incident: Option<Arc<Incident>>,
}

/// All of them. Cheap to clone: it is, in every turn that changes one.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations {
    /// Agents of which there is something to remember.
    pub(super) agents: BTreeMap<AgentId, Arc<Operated<probe::State>>>,
    /// `None` until somebody has looked.
    pub(super) coverage: Option<Arc<Operated<coverage::State>>>,
    /// What each agent has to do; counted again every second in which that matters.
    pub(super) burdens: Option<Arc<BTreeMap<AgentId, probe::Burden>>>,
}

impl Operations {
    /// Whether what an agent says next could change what is thought of it.
    pub(super) fn is_observed(&self, agent: AgentId) -> bool {
        self.agents.get(&agent).is_some_and(|known| !known.state.is_clean())
    }

    /// Agents in quarantine, and since when their votes do not count.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (AgentId, Timestamp)> {
        let since = |known: &Operated<probe::State>| known.state.quarantine().map(|it| it.since);
        self.agents.iter().filter_map(move |(agent, known)| Some((*agent, since(known)?)))
    }

    /// Takes back what was stored of a subject. `false`: it cannot be read, or is no such subject.
    pub(super) fn restore_state(&mut self, row: &StateRow) -> bool {
        match row.subject {
            SubjectId::Agent(agent) => {
                serde_json::from_str(&row.state).is_ok_and(|mut state: probe::State| {
                    state.forget_canaries();
                    self.agents.insert(agent, Arc::new(Operated { state, incident: None }));
                    true
                })
            }
            SubjectId::Installation(_) => serde_json::from_str(&row.state).is_ok_and(|state| {
                self.coverage = Some(Arc::new(Operated { state, incident: None }));
                true
            }),
            SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => false,
        }
    }

    /// Takes back an open incident. `false`: it cannot be read, or is of no such subject.
    pub(super) fn restore_incident(&mut self, row: &IncidentRow) -> bool {
        let Some(incident) = Incident::from_row(row).map(Arc::new) else { return false };
        match row.subject {
            SubjectId::Agent(agent) => {
                if let Some(known) = self.agents.get_mut(&agent) {
                    Arc::make_mut(known).incident = Some(incident);
                }
            }
            SubjectId::Installation(_) => {
                if let Some(known) = &mut self.coverage {
                    Arc::make_mut(known).incident = Some(incident);
                }
            }
            SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => return false,
        }
        true
    }

    /// The state of a subject as it is stored.
    pub(super) fn to_row(&self, subject: SubjectId, position: Position) -> Option<StateRow> {
        let state = match subject {
            SubjectId::Agent(agent) => serde_json::to_string(&self.agents.get(&agent)?.state),
            SubjectId::Installation(_) => serde_json::to_string(&self.coverage.as_ref()?.state),
            SubjectId::Monitor(_) | SubjectId::Heartbeat(_) => return None,
        };
        let state = state.expect("states have only text keys");
        Some(StateRow { subject, position, state })
    }

    /// What readers see of it.
    pub(super) fn view(&self) -> FleetView {
        let quarantine = |known: &Operated<probe::State>| {
            let quarantine = known.state.quarantine()?;
            Some(QuarantineView {
                since: quarantine.since,
                decided_at: quarantine.decided_at,
                reason: quarantine.reason.clone(),
                evidence: quarantine.evidence.clone(),
                incident: known.incident.as_ref().map(|incident| incident.id),
            })
        };
        let quarantines = self.agents.iter().filter_map(|(id, known)| Some((*id, quarantine(known)?)));
        let coverage = self.coverage.as_ref();
        FleetView {
            quarantines: quarantines.collect(),
            offline: coverage.map(|known| known.state.offline().clone()).unwrap_or_default(),
            coverage_incident: coverage.and_then(|known| known.incident.as_ref()).map(|incident| incident.id),
        }
    }
}

/// What an agent is called, and where it is.
pub(super) fn agent_of(config: &Config, id: AgentId) -> (String, Option<RegionId>) {
    match find_agent(config, id) {
        Some(row) => (row.name.clone(), Some(row.region.clone())),
        None => (id.to_string(), None),
    }
}

/// The agents that are in quarantine.
pub(super) fn agents(operations: &Operations) -> BTreeSet<AgentId> {
    operations.quarantined().map(|(agent, _)| agent).collect()
}

/// The installation as a subject.
pub(super) const fn whole(installation: InstallationId) -> SubjectId {
    SubjectId::Installation(installation)
}
