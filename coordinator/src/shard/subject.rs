//! One subject in memory: its definition, its state, its open incident; and the one way its state changes.

use std::borrow::Cow;
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
    /// A window of maintenance opened for it.
    MaintenanceStarted {
        /// The planned start.
        at: Timestamp,
    },
    /// No window of maintenance is open for it any more.
    MaintenanceEnded,
    /// The user deleted it.
    Deleted,
}

impl<'a> Happening<'a> {
    /// What it is to a monitor; `None`: nothing.
    fn to_monitor(self) -> Option<Cow<'a, monitor::Event>> {
        let event = match self {
            Self::Monitor(event) => return Some(Cow::Borrowed(event)),
            Self::Heartbeat(_) => return None,
            Self::DeadlineReached => monitor::Event::DeadlineReached,
            Self::Blind { from, to } => monitor::Event::Blind { from, to },
            Self::PolicyChanged { respec } => monitor::Event::PolicyChanged { respec },
            Self::Paused => monitor::Event::Paused,
            Self::Resumed => monitor::Event::Resumed,
            Self::MaintenanceStarted { at } => monitor::Event::MaintenanceStarted { at },
            Self::MaintenanceEnded => monitor::Event::MaintenanceEnded,
            Self::Deleted => monitor::Event::Deleted,
        };
        Some(Cow::Owned(event))
    }

    /// What it is to a heartbeat; `None`: nothing.
    fn to_heartbeat(self) -> Option<Cow<'a, heartbeat::Event>> {
        let event = match self {
            Self::Heartbeat(event) => return Some(Cow::Borrowed(event)),
            Self::Monitor(_) => return None,
            Self::DeadlineReached => heartbeat::Event::DeadlineReached,
            Self::Blind { from, to } => heartbeat::Event::Blind { from, to },
            Self::PolicyChanged { .. } => heartbeat::Event::PolicyChanged,
            Self::Paused => heartbeat::Event::Paused,
            Self::Resumed => heartbeat::Event::Resumed,
            Self::MaintenanceStarted { at } => heartbeat::Event::MaintenanceStarted { at },
            Self::MaintenanceEnded => heartbeat::Event::MaintenanceEnded,
            Self::Deleted => heartbeat::Event::Deleted,
        };
        Some(Cow::Owned(event))
    }
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
        // The engine takes the state itself: a copy for each result would be the dearest part of it.
        let vacant = State::Heartbeat(heartbeat::new(now));
        match (std::mem::replace(&mut self.state, vacant), &self.policy) {
            (State::Monitor(state), Policy::Monitor(policy)) => {
                let Some(event) = happening.to_monitor() else {
                    self.state = State::Monitor(state);
                    return vec![];
                };
                let transition = monitor::apply(state, policy, &event, now);
                self.state = State::Monitor(transition.state);
                transition.effects
            }
            (State::Heartbeat(state), Policy::Heartbeat(policy)) => {
                let Some(event) = happening.to_heartbeat() else {
                    self.state = State::Heartbeat(state);
                    return vec![];
                };
                let transition = heartbeat::apply(state, policy, &event, now);
                self.state = State::Heartbeat(transition.state);
                transition.effects
            }
            (mismatched, _) => {
                self.state = mismatched;
                vec![]
            }
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
        [self.verdict_due_at(), self.alert_due_at()].into_iter().flatten().min()
    }

    /// When somebody may have to be told of its open incident.
    #[must_use]
    pub fn alert_due_at(&self) -> Option<Timestamp> {
        self.incident.as_ref()?.body.alert.as_ref()?.due_at()
    }

    /// The next instant at which time alone decides something about it.
    #[must_use]
    pub fn verdict_due_at(&self) -> Option<Timestamp> {
        match (&self.state, &self.policy) {
            (State::Monitor(state), Policy::Monitor(policy)) => monitor::deadline(state, policy),
            (State::Heartbeat(state), Policy::Heartbeat(policy)) => heartbeat::deadline(state, policy),
            (State::Monitor(_), Policy::Heartbeat(_)) | (State::Heartbeat(_), Policy::Monitor(_)) => None,
        }
    }

    /// Whether it has been told that a window of maintenance is open.
    #[must_use]
    pub fn is_in_maintenance(&self) -> bool {
        match &self.state {
            State::Monitor(state) => state.is_in_maintenance(),
            State::Heartbeat(state) => state.is_in_maintenance(),
        }
    }

    /// What a heartbeat is apart from maintenance.
    pub(super) fn underlying_heartbeat(&self) -> Option<heartbeat::Status> {
        match &self.state {
            State::Heartbeat(state) => Some(state.underlying_status()),
            State::Monitor(_) => None,
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
            SubjectId::Agent(_) | SubjectId::Installation(_) => None,
        }
    }
}
