//! Deliveries: claim, send, record the attempt, and again until the receiver has it or it is given up.
//!
//! The cast: an *event* is a fact about an incident; a *delivery* is that event owed to one channel, and its id is what the
//! receiver sees as `webhook-id`; an *attempt* is one exchange with the receiver. The outbox creates deliveries, this
//! stage alone changes them. A delivery is *claimed* by storing its rendered body: from then on every attempt, before and
//! after any crash, sends the same bytes.
//!
//! Order: deliveries of one incident to one channel are a *line*. They go one after the other, in the order of the
//! events; a given-up one counts as finished. Two that wait, neither ever attempted, become one: the later. Different
//! incidents and different channels never wait for each other: `places` sees to it that no receiver takes them all.
//!
//! Flow: a line that is due is admitted, claimed (`claim`), sent (`attempt`) and recorded (`record`). Claiming and
//! recording are commits, and the stage waits for none: each is a task of its own that tells what became of it (`News`),
//! and many are under way at once. Only within a line does one step wait for the other. Beside that, what fails for a
//! minute is told to another channel (`stand_in`), and a channel that fails for good is disabled (`disable`).

mod attempt;
mod claim;
mod disable;
mod known;
mod places;
mod record;
mod replay;
mod stand_in;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{ChannelId, Clock, DeliveryId, EventId, IncidentId, InstallationId, Random, Timestamp};
use store::{DeliveryRow, EventRow, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Supervisor, Task};
use crate::notify::send::Sender;
use crate::settings::Settings;
use crate::shard;
use crate::tenure::Tenure;
use crate::web::metrics::Metrics;
use attempt::Attempted;
use claim::Claimed;
use known::Known;
use places::Places;

pub use replay::{Replay, Replayed};

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
    parts: Arc<Parts>,
    installation: InstallationId,
    known: Known,
    lines: BTreeMap<Line, VecDeque<Waiting>>,
    /// When the first delivery of a line may be tried.
    ready: BinaryHeap<Reverse<(Timestamp, Line)>>,
    places: Places,
    /// When a line has been failing for long enough to be told elsewhere.
    stand_ins: BinaryHeap<Reverse<(Timestamp, Line)>>,
    /// Deliveries to other channels that are being made.
    standing_in: BTreeSet<DeliveryId>,
    /// Channels that are being looked at or disabled.
    suspects: BTreeSet<ChannelId>,
    /// Notices of disabled channels that were seen to.
    told_of: BTreeSet<EventId>,
    /// Tasks under way besides attempts.
    tasks: usize,
    news: (mpsc::UnboundedSender<News>, mpsc::UnboundedReceiver<News>),
    replays: (mpsc::UnboundedSender<Replay>, mpsc::UnboundedReceiver<Replay>),
}

/// A delivery that is not finished.
#[derive(Debug)]
struct Waiting {
    /// As it stands, but for its body.
    row: DeliveryRow,
    /// What it tells, until it is rendered.
    event: Option<Arc<EventRow>>,
    /// What is sent, once it is claimed.
    body: Option<Bytes>,
    /// It is being claimed: nothing goes before it, and it is not given up for a later one.
    is_taken: bool,
    /// It is told to another channel too.
    is_stood_in_for: bool,
}

impl Waiting {
    fn new(owed: Owed) -> Self {
        let Owed { mut row, event } = owed;
        let body = row.body.take().map(Bytes::from);
        Self { row, event, body, is_taken: false, is_stood_in_for: false }
    }

    /// Whether it is claimed, or about to be.
    const fn is_begun(&self) -> bool {
        self.is_taken || self.body.is_some()
    }
}

/// What became of a task.
enum News {
    /// A claim is committed, or needs to be tried again.
    Claimed(Vec<Claimed>),
    /// An attempt has ended.
    Attempted(Box<Attempted>),
    /// Attempts are recorded.
    Recorded(Vec<Line>),
    /// A delivery to another channel was made, or need not be, or could not be looked for now.
    StoodIn(stand_in::Made),
    /// A channel was looked at, and disabled if it had to be.
    LookedAt(ChannelId),
    /// Deliveries were read from the store to be delivered again.
    Found(replay::Found),
    /// There is nothing more to do.
    Answered,
    /// Nothing can be committed any more: shutting down.
    Ending,
}

impl Deliveries {
    /// A stage without deliveries.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            installation: parts.store.installation(),
            parts: Arc::new(parts),
            known: Known::default(),
            lines: BTreeMap::new(),
            ready: BinaryHeap::new(),
            places: Places::default(),
            stand_ins: BinaryHeap::new(),
            standing_in: BTreeSet::new(),
            suspects: BTreeSet::new(),
            told_of: BTreeSet::new(),
            tasks: 0,
            news: mpsc::unbounded_channel(),
            replays: mpsc::unbounded_channel(),
        }
    }

    /// The way to ask for deliveries to be made again.
    #[must_use]
    pub fn replays(&self) -> mpsc::UnboundedSender<Replay> {
        self.replays.0.clone()
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
        let (mut arrived, mut news) = (Vec::new(), Vec::new());
        let mut more = true;
        while !(drain.is_cancelled() && self.places.in_flight() + self.tasks == 0) {
            let draining = drain.is_cancelled();
            let pause = self.pause(draining);
            tokio::select! {
                count = owed.recv_many(&mut arrived, MAX_BATCH), if more && !draining => {
                    more = count > 0;
                    for delivery in arrived.drain(..) {
                        self.add(delivery);
                    }
                }
                _ = self.news.1.recv_many(&mut news, MAX_BATCH) => {
                    if !self.hear(std::mem::take(&mut news)) {
                        return;
                    }
                }
                Some(replay) = self.replays.1.recv(), if !draining => self.find(replay),
                () = tokio::time::sleep(pause) => {}
                () = drain.cancelled(), if !draining => {}
            }
            if !drain.is_cancelled() {
                self.proceed();
            }
        }
    }

    /// Starts whatever can be started now.
    fn proceed(&mut self) {
        let is_news = self.known.refresh(&self.parts.settings.present());
        if is_news {
            self.tell_of_disabled();
        }
        self.claim_due();
        self.send_claimed();
        self.stand_in_for_failing();
        self.parts.sender.close_idle();
    }

    /// Takes in what became of tasks. `false`: shutting down.
    fn hear(&mut self, news: Vec<News>) -> bool {
        let mut attempted = vec![];
        for news in news {
            if !matches!(news, News::Attempted(_)) {
                self.tasks -= 1;
            }
            match news {
                News::Claimed(claimed) => claimed.into_iter().for_each(|claimed| self.claimed(claimed)),
                News::Attempted(ended) => attempted.push(*ended),
                News::Recorded(lines) => lines.into_iter().for_each(|line| self.recorded(line)),
                News::StoodIn(made) => self.stood_in(made),
                News::LookedAt(channel) => drop(self.suspects.remove(&channel)),
                News::Found(found) => self.replay(found),
                News::Answered => {}
                News::Ending => return false,
            }
        }
        if !attempted.is_empty() {
            self.record(attempted);
        }
        true
    }

    /// Starts a task that tells what became of it.
    fn start(&mut self, task: impl Future<Output = News> + Send + 'static) {
        self.tasks += 1;
        let news = self.news.0.clone();
        let dropped = NewsOnDrop { news: Some(news) };
        self.parts.supervisor.spawn(Task::Attempt, async move { dropped.tell(task.await) });
    }

    /// How long until something is ready by itself and can be started.
    fn pause(&self, draining: bool) -> Duration {
        let now = self.parts.clock.now();
        if draining || !self.parts.tenure.holds(now) {
            return MAX_PAUSE;
        }
        let next = [self.ready.peek(), self.stand_ins.peek()];
        let next = next.into_iter().flatten().map(|Reverse((at, _))| *at).min();
        next.map_or(MAX_PAUSE, |at| at.since(now)).min(MAX_PAUSE)
    }

    fn add(&mut self, owed: Owed) {
        let line = (owed.row.channel, owed.row.incident);
        let waiting = self.lines.entry(line).or_default();
        if waiting.iter().any(|known| known.row.id == owed.row.id) {
            return;
        }
        // What is claimed stays first: it may be under way.
        let is_before = |known: &Waiting| known.is_begun() || known.row.transition < owed.row.transition;
        let place = waiting.partition_point(is_before);
        let at = owed.row.next_attempt_at;
        if owed.row.attempts > owed.row.replayed_after {
            self.places.is_failing(line.0);
        }
        waiting.insert(place, Waiting::new(owed));
        if waiting.len() == 1 {
            self.ready.push(Reverse((at, line)));
        }
        self.watch_for_stand_in(line);
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

    /// Lets lines that were parked be looked at again: behind what has been due for longer, or channels that hang would
    /// hand all places to themselves.
    fn wake(&mut self, lines: Vec<Line>) {
        let now = self.parts.clock.now();
        self.ready.extend(lines.into_iter().map(|line| Reverse((now, line))));
    }
}

/// Tells of a task's end even if it is dropped or panics: the stage counts them.
struct NewsOnDrop {
    news: Option<mpsc::UnboundedSender<News>>,
}

impl NewsOnDrop {
    fn tell(mut self, what: News) {
        if let Some(news) = self.news.take() {
            drop(news.send(what));
        }
    }
}

impl Drop for NewsOnDrop {
    fn drop(&mut self) {
        if let Some(news) = self.news.take() {
            drop(news.send(News::Ending));
        }
    }
}
