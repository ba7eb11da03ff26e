//! One subject in memory: its definition, its state, its open incident; and the one way its state changes.

use std::sync::Arc;

use engine::effect::Effect;
use engine::{heartbeat, monitor};
use model::{RegionId, SubjectId, Timestamp};

use super::input::State;
use crate::definition::{Definition, Kind};
use crate::incident::Incident;
use crate::view::{Status, SubjectView};

/// A subject as the owner of its shard holds it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its definition.
    pub definition: Arc<Definition>,
    /// The part of it on which the engine decides.
    pub policy: Policy,
    /// Its state.
    pub state: State,
    /// Its open incident.
    pub incident: Option<Arc<Incident>>,
    /// The deadline that the heap of deadlines holds for it.
    pub scheduled: Option<Timestamp>,
}

/// The policy of either kind.
#[derive(Clone, Debug)]
pub enum Policy {
    /// An active check's.
    Monitor(Arc<monitor::Policy>),
    /// A passive one's.
    Heartbeat(heartbeat::Policy),
}

/// What can happen to a subject of either kind.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// To a monitor only.
    Monitor(&'a monitor::Event),
    /// To a heartbeat only.
    Heartbeat(&'a heartbeat::Event),
    /// Its deadline is reached.
    DeadlineReached,
    /// We could not have heard anything in that span.
    Blind {
        /// Since when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// The user changed it.
    PolicyChanged {
        /// What the agents do changes with it.
        respec: bool,
    },
    /// The user paused it.
    Paused,
    /// The user resumed it.
    Resumed,
    /// The user deleted it.
    Deleted,
}

impl Subject {
    /// A subject that has just been created.
    #[must_use]
    pub fn new(definition: Arc<Definition>, now: Timestamp) -> Self {
        let policy = Policy::of(&definition);
        let state = match &policy {
            Policy::Monitor(policy) => State::Monitor(monitor::new(policy, now)),
            Policy::Heartbeat(_) => State::Heartbeat(heartbeat::new(now)),
        };
        Self { definition, policy, state, incident: None, scheduled: None }
    }

    /// Replaces the definition and the policy made from it.
    pub fn redefine(&mut self, definition: Arc<Definition>) {
        self.policy = Policy::of(&definition);
        self.definition = definition;
    }

    /// Applies what happened and returns what follows from it. What can only happen to the other kind changes nothing.
    pub fn apply(&mut self, happening: Happening<'_>, now: Timestamp) -> Vec<Effect> {
        match (&mut self.state, &self.policy) {
            (State::Monitor(state), Policy::Monitor(policy)) => {
                let own;
                let event = match happening {
                    Happening::Monitor(event) => event,
                    Happening::Heartbeat(_) => return vec![],
                    Happening::DeadlineReached => &monitor::Event::DeadlineReached,
                    Happening::Blind { from, to } => {
                        own = monitor::Event::Blind { from, to };
                        &own
                    }
                    Happening::PolicyChanged { respec } => {
                        own = monitor::Event::PolicyChanged { respec };
                        &own
                    }
                    Happening::Paused => &monitor::Event::Paused,
                    Happening::Resumed => &monitor::Event::Resumed,
                    Happening::Deleted => &monitor::Event::Deleted,
                };
                let transition = monitor::apply(state.clone(), policy, event, now);
                *state = transition.state;
                transition.effects
            }
            (State::Heartbeat(state), Policy::Heartbeat(policy)) => {
                let own;
                let event = match happening {
                    Happening::Heartbeat(event) => event,
                    Happening::Monitor(_) => return vec![],
                    Happening::DeadlineReached => &heartbeat::Event::DeadlineReached,
                    Happening::Blind { from, to } => {
                        own = heartbeat::Event::Blind { from, to };
                        &own
                    }
                    Happening::PolicyChanged { .. } => &heartbeat::Event::PolicyChanged,
                    Happening::Paused => &heartbeat::Event::Paused,
                    Happening::Resumed => &heartbeat::Event::Resumed,
                    Happening::Deleted => &heartbeat::Event::Deleted,
                };
                let transition = heartbeat::apply(state.clone(), policy, event, now);
                *state = transition.state;
                transition.effects
            }
            (State::Monitor(_), Policy::Heartbeat(_)) | (State::Heartbeat(_), Policy::Monitor(_)) => vec![],
        }
    }

    /// Replays what happened before a restart: no effects, no decisions.
    pub fn fold(&mut self, happening: Happening<'_>, at: Timestamp) {
        match (&mut self.state, &self.policy, happening) {
            (State::Monitor(state), Policy::Monitor(policy), Happening::Monitor(event)) => {
                *state = monitor::fold(state.clone(), policy, event, at);
            }
            (State::Heartbeat(state), Policy::Heartbeat(policy), Happening::Heartbeat(event)) => {
                *state = heartbeat::fold(state.clone(), policy, event, at);
            }
            _ => {}
        }
    }

    /// The next instant at which it must be looked at.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match (&self.state, &self.policy) {
            (State::Monitor(state), Policy::Monitor(policy)) => monitor::deadline(state, policy),
            (State::Heartbeat(state), Policy::Heartbeat(policy)) => heartbeat::deadline(state, policy),
            (State::Monitor(_), Policy::Heartbeat(_)) | (State::Heartbeat(_), Policy::Monitor(_)) => None,
        }
    }

    /// Whether a region's agents check it.
    #[must_use]
    pub fn is_checked_from(&self, region: &RegionId) -> bool {
        matches!(&self.policy, Policy::Monitor(policy) if policy.regions.binary_search(region).is_ok())
    }

    /// The picture that readers get.
    #[must_use]
    pub fn view(&self) -> SubjectView {
        let (status, status_since, unverified_since) = match &self.state {
            State::Monitor(state) => (
                Status::Monitor(state.status(), state.phase()),
                state.status_since(),
                state.unverified_since(),
            ),
            State::Heartbeat(state) => (
                Status::Heartbeat(state.status(), state.last_ping_at()),
                state.status_since(),
                (state.status() == heartbeat::Status::Unknown).then(|| state.status_since()),
            ),
        };
        SubjectView {
            definition: Arc::clone(&self.definition),
            status,
            status_since,
            incident: self.incident.as_ref().map(|incident| incident.id),
            unverified_since,
        }
    }

    /// The subject's id.
    #[must_use]
    pub fn id(&self) -> SubjectId {
        self.definition.id
    }
}

impl Policy {
    fn of(definition: &Definition) -> Self {
        match &definition.kind {
            Kind::Monitor(monitor) => Self::Monitor(Arc::new(monitor.policy())),
            Kind::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat.policy()),
        }
    }
}

impl State {
    /// The state as it is stored in a row of its own.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Monitor(state) => serde_json::to_string(state),
            Self::Heartbeat(state) => serde_json::to_string(state),
        }
        .expect("states have only text keys")
    }

    /// Reads a stored state of that subject; `None` when it cannot be read.
    #[must_use]
    pub fn from_json(subject: SubjectId, text: &str) -> Option<Self> {
        match subject {
            SubjectId::Monitor(_) => serde_json::from_str(text).ok().map(Self::Monitor),
            SubjectId::Heartbeat(_) => serde_json::from_str(text).ok().map(Self::Heartbeat),
        }
    }
}
