//! Deliveries: claim, send, record the attempt, and again until the receiver has it or it is given up.
//!
//! The cast: an *event* is a fact about an incident; a *delivery* is that event owed to one channel, and its id is what the
//! receiver sees as `webhook-id`; an *attempt* is one HTTP request. The outbox creates deliveries, this stage alone changes
//! them. A delivery is *claimed* by storing its rendered body: from then on every attempt, before and after any crash,
//! sends the same bytes.
//!
//! Order: deliveries of one incident to one channel go one after the other, in the order of the events; a given-up one
//! counts as finished. Two that wait, neither ever attempted, become one: the later. Different incidents and different
//! channels never wait for each other: `places` sees to it that no receiver takes them all.

mod places;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::retry;
use futures_util::FutureExt;
use model::{ChannelId, Clock, DeliveryId, IncidentId, Random, Timestamp, random};
use store::{AttemptRow, Config, DeliveryRow, DeliveryState, EventRow, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::lifecycle::{Supervisor, Task};
use crate::notify::send::{Attempted, Outcome, Sender};
use crate::notify::{Channel, Event};
use crate::settings::{Settings, find_channel};
use crate::shard::{self, DeliveryBatch};
use crate::tenure::Tenure;
use crate::web::metrics::{DeliveryOutcome, Metrics};
use places::Places;

/// Deliveries claimed, or attempts recorded, in one commit.
const MAX_BATCH: usize = 512;
/// The longest pause, so that a clock that is set or that froze is noticed.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A delivery handed over by the outbox, or found unfinished after a restart.
#[derive(Clone, Debug)]
pub struct Owed {
    /// As stored.
    pub row: DeliveryRow,
    /// What it tells; loaded when it is needed and not there.
    pub event: Option<Arc<EventRow>>,
}

/// What this stage needs.
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub settings: Arc<Settings>,
    pub shards: shard::Handle,
    pub sender: Arc<Sender>,
    pub metrics: Arc<Metrics>,
    pub supervisor: Supervisor,
    /// No attempt starts without it.
    pub tenure: Arc<Tenure>,
}

/// One incident's deliveries to one channel, which follow each other.
type Line = (ChannelId, IncidentId);

/// The stage and its deliveries.
pub struct Deliveries {
    parts: Parts,
    lines: BTreeMap<Line, VecDeque<Owed>>,
    /// When the first delivery of a line may be tried.
    ready: BinaryHeap<Reverse<(Timestamp, Line)>>,
    /// One for each attempt under way.
    places: Places,
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
}

/// An attempt that has ended.
struct Done {
    line: Line,
    delivery: DeliveryId,
    started_at: Timestamp,
    attempted: Attempted,
}

/// A claimed delivery with all that its attempt needs.
struct Claimed {
    line: Line,
    delivery: DeliveryId,
    channel: Channel,
    body: Bytes,
}

impl Deliveries {
    /// A stage without deliveries.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            lines: BTreeMap::new(),
            ready: BinaryHeap::new(),
            places: Places::default(),
            done: mpsc::unbounded_channel(),
        }
    }

    /// Works until told to drain; then finishes the attempts under way and starts no more. `finished` is cancelled at
    /// the end: nothing more comes from here.
    pub async fn run(
        mut self,
        mut owed: mpsc::UnboundedReceiver<Owed>,
        drain: CancellationToken,
        finished: CancellationToken,
    ) {
        let _finished = finished.drop_guard();
        let (mut arrived, mut ended) = (Vec::new(), Vec::new());
        let mut more = true;
        while !(drain.is_cancelled() && self.places.taken() == 0) {
            let pause = self.pause(drain.is_cancelled());
            tokio::select! {
                count = owed.recv_many(&mut arrived, MAX_BATCH), if more && !drain.is_cancelled() => {
                    more = count > 0;
                    for delivery in arrived.drain(..) {
                        self.add(delivery);
                    }
                }
                _ = self.done.1.recv_many(&mut ended, MAX_BATCH) => {
                    let ended = std::mem::take(&mut ended);
                    if !self.record(ended).await {
                        return;
                    }
                }
                () = tokio::time::sleep(pause) => {}
                () = drain.cancelled(), if !drain.is_cancelled() => {}
            }
            if !drain.is_cancelled() && !self.start_due().await {
                return;
            }
        }
    }

    /// How long until something is ready by itself and can be started.
    fn pause(&self, draining: bool) -> Duration {
        let now = self.parts.clock.now();
        if draining || self.places.all_taken() || !self.parts.tenure.holds(now) {
            return MAX_PAUSE;
        }
        self.ready.peek().map_or(MAX_PAUSE, |Reverse((at, _))| at.since(now)).min(MAX_PAUSE)
    }

    fn add(&mut self, owed: Owed) {
        let line = (owed.row.channel, owed.row.incident);
        let waiting = self.lines.entry(line).or_default();
        if waiting.iter().any(|known| known.row.id == owed.row.id) {
            return;
        }
        // What is claimed stays first: it may be under way.
        let is_before = |known: &Owed| known.row.body.is_some() || known.row.transition < owed.row.transition;
        let place = waiting.partition_point(is_before);
        let at = owed.row.next_attempt_at;
        if owed.row.attempts > 0 {
            self.places.attempt_ended(line.0, false);
        }
        waiting.insert(place, owed);
        if waiting.len() == 1 {
            self.ready.push(Reverse((at, line)));
        }
    }

    /// Claims what is due and starts its attempts. `false`: shutting down.
    async fn start_due(&mut self) -> bool {
        loop {
            let due = self.take_due();
            if due.is_empty() {
                return true;
            }
            let config = self.parts.settings.present();
            let (mut batch, mut claimed) = (DeliveryBatch::default(), vec![]);
            for line in due {
                claimed.extend(self.claim(line, &config, &mut batch).await);
            }
            if !(batch.deliveries.is_empty() || self.parts.shards.deliveries(batch).await) {
                return false;
            }
            for delivery in claimed {
                self.attempt(delivery);
            }
        }
    }

    /// Lines whose first delivery may be tried now, as many as there are places for.
    fn take_due(&mut self) -> Vec<Line> {
        let now = self.parts.clock.now();
        let mut due = vec![];
        while due.len() < MAX_BATCH && !self.places.all_taken() && self.parts.tenure.holds(now) {
            let Some(&Reverse((at, line))) = self.ready.peek() else { break };
            if at > now {
                break;
            }
            self.ready.pop();
            if self.places.take(line) {
                due.push(line);
            }
        }
        due
    }

    /// Gives a channel's place back and lets those have it that waited for it.
    fn release(&mut self, channel: ChannelId) {
        // Behind what has been due for longer, or channels that hang would hand all places to themselves.
        let now = self.parts.clock.now();
        let woken = self.places.give_back(channel).into_iter();
        self.ready.extend(woken.map(|line| Reverse((now, line))));
    }

    /// Claims the first delivery of a line: coalesces it with later ones, renders it, and puts the rows in the batch.
    async fn claim(&mut self, line: Line, config: &Config, batch: &mut DeliveryBatch) -> Option<Claimed> {
        let now = self.parts.clock.now();
        let waiting = self.lines.get_mut(&line)?;
        while waiting.len() > 1 && waiting.iter().take(2).all(|owed| owed.row.body.is_none()) {
            if let Some(mut earlier) = waiting.pop_front() {
                earlier.row.state = DeliveryState::Coalesced;
                earlier.row.finished_at = Some(now);
                batch.deliveries.push(earlier.row);
            }
        }
        let owed = waiting.front_mut()?;
        let channel: Option<Channel> =
            find_channel(config, line.0).and_then(|row| serde_json::from_str(row.settings.expose()).ok());
        let Some(channel) = channel else {
            self.places.forget(line.0);
            self.give_up(line, "the channel was deleted", batch);
            return None;
        };
        if owed.row.body.is_none() {
            match render(&self.parts, owed, &channel).await {
                Rendered::Body(body) => {
                    owed.row.body = Some(body);
                    batch.deliveries.push(owed.row.clone());
                }
                Rendered::Later => {
                    owed.row.next_attempt_at = now.plus(Duration::from_secs(1));
                    self.ready.push(Reverse((owed.row.next_attempt_at, line)));
                    self.release(line.0);
                    return None;
                }
                Rendered::Never => {
                    self.give_up(line, "its event cannot be read", batch);
                    return None;
                }
            }
        }
        let body = owed.row.body.clone()?;
        Some(Claimed { line, delivery: owed.row.id, channel, body: Bytes::from(body) })
    }

    /// Ends the first delivery of a line without an attempt.
    fn give_up(&mut self, line: Line, why: &str, batch: &mut DeliveryBatch) {
        let now = self.parts.clock.now();
        if let Some(mut owed) = self.lines.get_mut(&line).and_then(VecDeque::pop_front) {
            warn!(delivery.id = %owed.row.id, "delivery given up: {why}");
            owed.row.state = DeliveryState::Dead;
            owed.row.finished_at = Some(now);
            batch.deliveries.push(owed.row);
        }
        self.next_in(line);
        self.release(line.0);
    }

    /// Makes the next delivery of a line ready, if there is one.
    fn next_in(&mut self, line: Line) {
        match self.lines.get(&line).and_then(VecDeque::front) {
            Some(next) => self.ready.push(Reverse((next.row.next_attempt_at, line))),
            None => {
                self.lines.remove(&line);
            }
        }
    }

    /// Starts an attempt.
    fn attempt(&self, claimed: Claimed) {
        let (sender, clock, done) =
            (Arc::clone(&self.parts.sender), Arc::clone(&self.parts.clock), self.done.0.clone());
        self.parts.supervisor.spawn(Task::Attempt, async move {
            let started_at = clock.now();
            // A panic must not keep the place. What it leaves behind belongs to this one attempt.
            let making = async {
                let Claimed { channel, delivery, body, .. } = &claimed;
                channel.attempt(&sender, *delivery, clock.wall(), body).await
            };
            let made = AssertUnwindSafe(making).catch_unwind().await;
            let attempted = made.unwrap_or_else(|_| Attempted::unsent("internal error".to_owned()));
            let ended = Done { line: claimed.line, delivery: claimed.delivery, started_at, attempted };
            drop(done.send(ended));
        });
    }

    /// Records attempts that have ended and decides what comes next. `false`: shutting down.
    async fn record(&mut self, ended: Vec<Done>) -> bool {
        let now = self.parts.clock.now();
        let mut batch = DeliveryBatch::default();
        let mut lines = vec![];
        for done in ended {
            let front = self.lines.get_mut(&done.line).and_then(VecDeque::front_mut);
            let Some(owed) = front.filter(|owed| owed.row.id == done.delivery) else {
                self.release(done.line.0);
                continue;
            };
            owed.row.attempts += 1;
            self.places.attempt_ended(done.line.0, done.attempted.outcome == Outcome::Delivered);
            let outcome = match done.attempted.outcome {
                Outcome::Delivered => retry::Outcome::Delivered,
                Outcome::Failed { retry_after } => retry::Outcome::Failed { retry_after },
                Outcome::Refused | Outcome::Gone => retry::Outcome::Gone,
            };
            let jitter = random::unit(self.parts.random.as_ref());
            match retry::next(owed.row.attempts, outcome, now, jitter) {
                retry::Next::Done => {
                    (owed.row.state, owed.row.finished_at) = (DeliveryState::Delivered, Some(now));
                }
                retry::Next::DeadLetter => {
                    (owed.row.state, owed.row.finished_at) = (DeliveryState::Dead, Some(now));
                }
                retry::Next::At(at) => owed.row.next_attempt_at = at,
            }
            self.parts.metrics.delivery(match owed.row.state {
                DeliveryState::Delivered => DeliveryOutcome::Delivered,
                DeliveryState::Dead => DeliveryOutcome::Dead,
                DeliveryState::Waiting | DeliveryState::Coalesced => DeliveryOutcome::Failed,
            });
            log(&owed.row, &done.attempted);
            batch.deliveries.push(owed.row.clone());
            batch.attempts.push(AttemptRow {
                delivery: done.delivery,
                number: owed.row.attempts,
                started_at: done.started_at,
                duration: done.attempted.duration,
                status: done.attempted.status,
                detail: done.attempted.detail,
                answer: done.attempted.answer,
            });
            lines.push(done.line);
        }
        if !(batch.deliveries.is_empty() || self.parts.shards.deliveries(batch).await) {
            return false;
        }
        for line in lines {
            if let Some(waiting) = self.lines.get_mut(&line)
                && waiting.front().is_some_and(|owed| owed.row.finished_at.is_some())
            {
                waiting.pop_front();
            }
            self.next_in(line);
            self.release(line.0);
        }
        true
    }
}

fn log(row: &DeliveryRow, attempted: &Attempted) {
    let (delivery, channel) = (row.id, row.channel);
    let (attempts, detail) = (row.attempts, &attempted.detail);
    match row.state {
        DeliveryState::Delivered => {
            info!(delivery.id = %delivery, channel.id = %channel, attempts, "delivered");
        }
        DeliveryState::Dead => {
            warn!(delivery.id = %delivery, channel.id = %channel, attempts, detail, "delivery given up");
        }
        DeliveryState::Waiting | DeliveryState::Coalesced => {
            info!(delivery.id = %delivery, channel.id = %channel, attempts, detail, "attempt failed; will try again");
        }
    }
}

/// What came of rendering a delivery.
enum Rendered {
    Body(Vec<u8>),
    /// The event could not be loaded now.
    Later,
    /// There is no such event, or it cannot be read.
    Never,
}

async fn render(parts: &Parts, owed: &mut Owed, channel: &Channel) -> Rendered {
    if owed.event.is_none() {
        match parts.store.event(owed.row.event).await {
            Ok(event) => owed.event = event.map(Arc::new),
            Err(_) => return Rendered::Later,
        }
    }
    let event = owed.event.as_ref().map(|row| Event::decode(row.body.as_bytes()));
    let Some(Ok(event)) = event else { return Rendered::Never };
    Rendered::Body(channel.body(owed.row.id, &event, parts.clock.now()))
}
