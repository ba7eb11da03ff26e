//! What reaches the owner of the shards, and the handle by which it does.

use std::fmt;

use engine::probe::Canaries;
use engine::{heartbeat, monitor};
use model::{AgentId, Capture, CheckResult, EventId, IncidentId, MonitorId, RegionId, SubjectId, Timestamp};
use store::journal::HeardPing;
use store::{AttemptRow, ClaimRow, DeliveryMark, DeliveryRow, EventRow};
use tokio::sync::{mpsc, oneshot};

use crate::definition::Definition;

/// Items that may wait in each lane before the sender has to.
pub(crate) const LANE_CAPACITY: usize = 4_096;

/// One thing to decide on or to make durable.
#[derive(Debug)]
pub enum Input {
    /// A batch of an agent's results.
    Results(ResultBatch),
    /// A check that is taking long.
    Slow {
        /// Of which monitor.
        monitor: MonitorId,
        /// From where.
        region: RegionId,
        /// When it started.
        started_at: Timestamp,
    },
    /// A region's agents came or went.
    RegionLive {
        /// Which.
        region: RegionId,
        /// Whether one of them is there.
        live: bool,
    },
    /// What an agent's canaries say, in the light of those of the other regions.
    Canaries {
        /// Whose.
        agent: AgentId,
        /// What they say.
        say: Canaries,
    },
    /// A job's ping.
    Ping(Ping),
    /// A user's change to a subject.
    Change(Change),
    /// What the outbox and the deliveries want kept.
    Deliveries(DeliveryBatch),
    /// Somebody wants to see one subject whole.
    Inspect(SubjectId, oneshot::Sender<Option<Inspection>>),
    /// The coordinator could not have heard anything in that span.
    Blind {
        /// Since when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
}

impl Input {
    /// How much of a turn it takes: about as much as that many results.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Results(batch) => batch.items.len().max(1),
            Self::Ping(ping) => 1 + ping.heard.body.len() / 256,
            Self::Deliveries(batch) => {
                1 + batch.events.len()
                    + batch.deliveries.len()
                    + batch.claims.len()
                    + batch.marks.len()
                    + batch.dispatched.len()
                    + batch.attempts.len()
            }
            Self::Slow { .. }
            | Self::RegionLive { .. }
            | Self::Canaries { .. }
            | Self::Change(_)
            | Self::Inspect(..)
            | Self::Blind { .. } => 1,
        }
    }
}

/// Results of one message of an agent.
#[derive(Debug)]
pub struct ResultBatch {
    /// Who sent it.
    pub agent: AgentId,
    /// Which of its processes.
    pub agent_epoch: u64,
    /// When it arrived.
    pub received_at: Timestamp,
    /// What it holds, in rising order of sequence numbers.
    pub items: Vec<ResultItem>,
    /// Told after the commit.
    pub acks: mpsc::UnboundedSender<Acked>,
}

/// One result with its sequence number.
#[derive(Debug)]
pub struct ResultItem {
    /// The agent's sequence number.
    pub seq: u64,
    /// What it says; `None`: refused (unassigned, unknown, invalid), to be counted and acked.
    pub result: Option<CheckResult>,
    /// Of an earlier boot of the agent's machine: kept as history, never a vote.
    pub is_late: bool,
    /// What was met on the way, if the agent says so.
    pub capture: Option<Box<Capture>>,
}

/// Sequence numbers that are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Of which process of the agent.
    pub agent_epoch: u64,
    /// The first and the last of them; `None`: there was nothing to commit, the agent only said that it is there.
    pub range: Option<(u64, u64)>,
    /// How many of them were refused.
    pub refused: u32,
}

/// A ping and who waits for its commit.
#[derive(Debug)]
pub struct Ping {
    /// What was heard.
    pub heard: HeardPing,
    /// Told after the commit.
    pub reply: oneshot::Sender<Result<(), Unavailable>>,
}

/// A user's change and who waits for it.
#[derive(Debug)]
pub struct Change {
    /// What is to change.
    pub request: ChangeRequest,
    /// Told after the commit.
    pub reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// A change to a subject's definition.
#[derive(Clone, Debug)]
pub enum ChangeRequest {
    /// Creates (`expected` is `None`) or replaces (the revision it must have) a definition.
    Put {
        /// As it is to be.
        definition: Box<Definition>,
        /// The revision to be replaced.
        expected: Option<u64>,
    },
    /// Deletes a subject; an open incident is closed.
    Delete {
        /// Which.
        id: SubjectId,
        /// The revision it must have, if that matters.
        expected: Option<u64>,
    },
    /// Somebody takes care of an incident. Whoever was first stays.
    Acknowledge {
        /// Whose incident.
        subject: SubjectId,
        /// Which.
        incident: IncidentId,
        /// Who, in their own words.
        by: String,
        /// What they know of it; may be empty.
        reason: String,
    },
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such subject.
    #[error("not found")]
    NotFound,
    /// Another subject of the kind has the name.
    #[error("`{0}` already exists")]
    NameTaken(String),
    /// It depends on itself: the names of the monitors in the cycle.
    #[error("depends_on: {0}: a monitor cannot depend on itself")]
    DependsOnItself(String),
    /// A chain of dependencies is too long.
    #[error("depends_on: a monitor may depend on others at most 10 levels deep")]
    TooDeep,
    /// Other monitors depend on it: their names.
    #[error("{0} depend on it: change their depends_on first")]
    HasDependents(String),
    /// Somebody else changed it in between.
    #[error("it was changed in between: read it again and repeat the change")]
    Stale,
    /// The incident is over.
    #[error("the incident is over")]
    IncidentOver,
    /// Another incident tells of it.
    #[error("it is told of by another incident: acknowledge {0}")]
    ToldOfBy(IncidentId),
    /// The database cannot be written now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Nothing can be committed now, or too much is waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator cannot commit now; try again in a few seconds")]
pub struct Unavailable;

/// Rows of the outbox and the deliveries, and who waits for them.
#[derive(Debug, Default)]
pub struct DeliveryBatch {
    /// Events that no subject's change made.
    pub events: Vec<EventRow>,
    /// Created.
    pub deliveries: Vec<DeliveryRow>,
    /// Claimed.
    pub claims: Vec<ClaimRow>,
    /// Changed.
    pub marks: Vec<DeliveryMark>,
    /// Events whose deliveries are all made.
    pub dispatched: Vec<EventId>,
    /// Attempts made.
    pub attempts: Vec<AttemptRow>,
    /// Told after the commit.
    pub reply: Option<oneshot::Sender<()>>,
}

/// A subject as it is this moment.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its definition.
    pub definition: std::sync::Arc<Definition>,
    /// Its engine state.
    pub state: State,
    /// When it was looked at.
    pub now: Timestamp,
}

/// A subject's engine state.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// An active check's.
    Monitor(Box<monitor::State>),
    /// A passive one's.
    Heartbeat(heartbeat::State),
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    urgent: mpsc::Sender<Input>,
    plain: mpsc::Sender<Input>,
}

/// The other end of a [`Handle`].
pub struct Lanes {
    pub(super) urgent: mpsc::Receiver<Input>,
    pub(super) plain: mpsc::Receiver<Input>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A handle and what it leads to.
#[must_use]
pub fn lanes() -> (Handle, Lanes) {
    let (urgent, urgent_rx) = mpsc::channel(LANE_CAPACITY);
    let (plain, plain_rx) = mpsc::channel(LANE_CAPACITY);
    (Handle { urgent, plain }, Lanes { urgent: urgent_rx, plain: plain_rx })
}

impl Handle {
    /// Hands over a batch of results; waits while too much is queued, which is how an agent is slowed down. Batches with
    /// a failure go ahead of those without.
    pub async fn results(&self, batch: ResultBatch) {
        let failing = |item: &ResultItem| {
            item.result.as_ref().is_some_and(|result| !result.outcome.is_pass() || result.attempt > 0)
        };
        let lane = if batch.items.iter().any(failing) { &self.urgent } else { &self.plain };
        // A closed lane means shutdown: nothing is acked, so nothing is lost.
        drop(lane.send(Input::Results(batch)).await);
    }

    /// Commits a ping.
    ///
    /// # Errors
    /// [`Unavailable`] at once when too much is queued, or when nothing can be committed.
    pub async fn ping(&self, heard: HeardPing) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        let ping = Ping { heard, reply };
        self.urgent.try_send(Input::Ping(ping)).map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(Unavailable))
    }

    /// Makes a change.
    ///
    /// # Errors
    /// Says why it was not made; then nothing was.
    pub async fn change(&self, request: ChangeRequest) -> Result<(), ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.urgent.send(Input::Change(Change { request, reply })).await.map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(ChangeError::Unavailable(Unavailable)))
    }

    /// A subject as it is this moment; `None` if there is none.
    pub async fn inspect(&self, id: SubjectId) -> Option<Inspection> {
        let (reply, answer) = oneshot::channel();
        self.urgent.send(Input::Inspect(id, reply)).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Makes rows of the outbox and the deliveries durable. `false`: shutting down, they are not.
    pub async fn deliveries(&self, mut batch: DeliveryBatch) -> bool {
        let (reply, answer) = oneshot::channel();
        batch.reply = Some(reply);
        self.urgent.send(Input::Deliveries(batch)).await.is_ok() && answer.await.is_ok()
    }

    /// Passes on a fact that nobody waits for.
    pub async fn tell(&self, input: Input) {
        drop(self.urgent.send(input).await);
    }
}
