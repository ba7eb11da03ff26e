//! Alerts: who is told of an incident, when, and how often.
//!
//! In come the turns that an incident takes (it opens, others join it, somebody acknowledges it, it ends) and the
//! [`Policy`] that holds for it now; out go [`Effect`]s: which channels are told what, and lines for the timeline. A
//! [`State`] stands beside each incident that is told of by itself, from its opening until everybody who was told of
//! that has been told of the end. Nothing here knows what a message says or how it gets there.
//!
//! Who may hear is fixed at the opening: what a user adds to the policy later reaches the next incident, so that a rule
//! for everything does not wake everybody at once. What holds back is looked at again at every step:
//!
//! 1. *delay*: an incident that ends sooner is told to nobody, and neither is its end;
//! 2. *silence*, and *quiet hours*: what is still true when they end is told then, the rest never;
//! 3. *acknowledgement*: nobody is woken who has not been told yet, nobody is reminded, nothing escalates.
//!
//! Kept by properties in `tests/alert_properties.rs`: nobody hears of an end who did not hear of the opening, and
//! everybody who did hears of it once; in a silence nobody hears anything; after an acknowledgement nobody is woken; a
//! deadline is in the future.

mod evaluate;
mod options;
mod quiet;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ChannelId, Timestamp};
use serde::{Deserialize, Serialize};

pub use options::{
    Backoff, Escalation, InvalidOptions, MAX_CHANNELS, MAX_REPEATS, MAX_STEPS, Options, Policy, Reminders,
    Rule, Severity, Silenced, Step,
};
pub use quiet::{InvalidQuietHours, QuietHours, Weekday};

/// What was open before a span in which nothing could be heard may be over: it is asked again, and so long nobody is
/// told of it by a clock.
pub const AFTER_BLINDNESS: Duration = Duration::from_secs(30);

/// Who has been told of an incident, and who is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    severity: Severity,
    opened_at: Timestamp,
    /// Those who are to be told of the opening and have not been.
    waiting: BTreeSet<ChannelId>,
    /// Those who have been told of it, and not of the end.
    told: BTreeMap<ChannelId, Told>,
    /// The planned instant of the last step taken, of each rule that escalates.
    escalated: BTreeMap<String, Timestamp>,
    acknowledged: bool,
    ended: bool,
    /// What held back last, so that the timeline says it once.
    held: Option<String>,
    /// Nobody is told by a clock before.
    not_before: Option<Timestamp>,
    due_at: Option<Timestamp>,
}

/// When a channel was told of an open incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    at: Timestamp,
    /// When it was last told of its being open.
    last_at: Timestamp,
    reminders: u32,
}

/// What can happen to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Others joined it.
    Updated,
    /// Somebody takes care of it.
    Acknowledged,
    /// It is over, by recovery or otherwise.
    Ended,
    /// Time has passed, or a policy or silence has changed.
    Reviewed,
    /// Nothing could be heard until now.
    Blind,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell these channels. No two effects of one step name the same channel.
    Tell {
        /// Of what.
        news: News,
        /// Whom; sorted.
        channels: Vec<ChannelId>,
    },
    /// A line for the incident's timeline.
    Record(String),
}

/// What a channel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// It is open.
    Opened,
    /// Others joined it.
    Updated,
    /// It is still open.
    Reminder(
        /// The channel's how-manieth.
        u32,
    ),
    /// Nobody has acknowledged it.
    Escalated(
        /// The rule's how-manieth step.
        u32,
    ),
    /// Somebody takes care of it.
    Acknowledged,
    /// It is over.
    Ended,
}

/// What a step gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state after it.
    pub state: State,
    /// What is to be done, in this order.
    pub effects: Vec<Effect>,
}

/// An incident opens.
#[must_use]
pub fn open(severity: Severity, opened_at: Timestamp, policy: &Policy, now: Timestamp) -> Transition {
    let state = State {
        severity,
        opened_at,
        waiting: policy.channels(severity),
        told: BTreeMap::new(),
        escalated: BTreeMap::new(),
        acknowledged: false,
        ended: false,
        held: None,
        not_before: None,
        due_at: None,
    };
    let mut transition = evaluate::run(state, policy, now);
    if let (Some(at), true) = (transition.state.due_at, transition.state.is_delayed(policy)) {
        transition.effects.push(Effect::Record(format!("told to nobody before {at}: delay of the policy")));
    }
    transition
}

/// The state of an incident that opened before there were policies: these channels were told.
#[must_use]
pub fn told_before(severity: Severity, opened_at: Timestamp, channels: &[ChannelId]) -> State {
    let told = Told { at: opened_at, last_at: opened_at, reminders: 0 };
    State {
        severity,
        opened_at,
        waiting: BTreeSet::new(),
        told: channels.iter().map(|channel| (*channel, told)).collect(),
        escalated: BTreeMap::new(),
        acknowledged: false,
        ended: false,
        held: None,
        not_before: None,
        due_at: None,
    }
}

/// Something happens to an incident that is open, or whose end is not told yet.
#[must_use]
pub fn apply(mut state: State, policy: &Policy, event: Event, now: Timestamp) -> Transition {
    match event {
        Event::Acknowledged if state.ended || state.acknowledged => Transition { state, effects: vec![] },
        Event::Acknowledged => {
            state.acknowledged = true;
            state.waiting.clear();
            evaluate::acknowledge(state, policy, now)
        }
        Event::Ended => {
            state.ended = true;
            state.waiting.clear();
            evaluate::run(state, policy, now)
        }
        Event::Updated => evaluate::update(state, policy, now),
        Event::Reviewed => evaluate::run(state, policy, now),
        Event::Blind => {
            state.not_before = Some(now.plus(AFTER_BLINDNESS));
            evaluate::run(state, policy, now)
        }
    }
}

impl State {
    /// The next instant at which somebody may have to be told.
    #[must_use]
    pub const fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// Whether somebody takes care of it.
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Whether nobody has to be told anything any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended && self.told.is_empty()
    }

    /// Those who have been told of the opening, and not of the end.
    pub fn told(&self) -> impl Iterator<Item = ChannelId> {
        self.told.keys().copied()
    }

    fn is_delayed(&self, policy: &Policy) -> bool {
        let delay = |channel: &ChannelId| policy.options_for(*channel, self.severity).map(|it| it.delay);
        self.told.is_empty() && self.waiting.iter().filter_map(delay).any(|delay| !delay.is_zero())
    }
}
