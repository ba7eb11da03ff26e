//! The owner of the shards: one task that holds every subject's state, decides, and commits.
//!
//! Inputs come in through two lanes ([`Handle`]): pings, failures and changes before plain results. A *turn* takes what
//! waits, applies it to staged copies (`stage`), commits the rows that follow in one transaction, and only then
//! publishes the copies, acks, replies, asks for rounds and wakes the outbox. There is no timer: a commit starts as soon
//! as the last one ended. When a commit fails the stage is dropped and the inputs are kept for the next turn; pings and
//! changes are told at once that nothing was committed.
//!
//! Before any deadline a turn looks for a gap in which nothing could have been heard (see `Owner::blind_span`).

mod alert;
mod captures;
mod deadlines;
mod failure;
mod input;
mod kinship;
mod maintenance;
mod operations;
mod policies;
mod recover;
mod runs;
mod seen;
mod snapshot;
mod stage;
mod subject;
mod take;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::budget::Budget;
use model::{AgentId, Capabilities, Clock, EventId, MonitorId, RegionId, SubjectId, Timestamp};
use store::{EventRow, Lease, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

#[cfg(test)]
pub(crate) use input::LANE_CAPACITY;
pub use input::{
    Acked, Change, ChangeError, ChangeRequest, DeliveryBatch, Handle, Input, Inspection, Lanes, Ping,
    ResultBatch, ResultItem, State, Unavailable, lanes,
};
pub use recover::{Recovered, recover};
pub use subject::{Happening, Subject};

use crate::acknowledge_link::AcknowledgeLinks;
use crate::settings::Settings;
use crate::tenure::Tenure;
use crate::view::Views;
use crate::web::metrics::Metrics;
use deadlines::Deadlines;
use runs::RunTrim;
use snapshot::Sweep;
use stage::{Changes, Published, Stage};
use take::{Outcome, take};

/// Most inputs in one commit.
const MAX_TURN: usize = 4_096;
/// `alive_at` is refreshed and bookkeeping done this often.
const BEAT: Duration = Duration::from_secs(1);
/// A longer gap between two turns means that nothing could be heard in it.
const LONGEST_GAP: Duration = Duration::from_secs(3);
/// A bigger difference between the wall clock and ours means that the wall clock was set.
const LARGEST_STEP_MICROS: i64 = 2_000_000;
/// While draining, the end comes when nothing has arrived for so long: sessions and requests are ending too.
const QUIET: Duration = Duration::from_millis(800);
/// Waits between commits that fail.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Asks agents for the checks of a round.
pub trait AskRegions: Send + Sync {
    /// Asks an agent of each of these regions to check a monitor now, one that can do what it needs if there is one.
    fn verify(
        &self,
        monitor: MonitorId,
        needs: Capabilities,
        spec_revision: u64,
        round: u32,
        regions: &[RegionId],
    );

    /// Checks per second that all connected agents together can run.
    fn capacity(&self) -> f64;

    /// These agents' votes do not count: others of their regions are to check what they check.
    fn set_aside(&self, agents: BTreeSet<AgentId>);
}

/// The owner and all it holds.
pub struct Owner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    views: Arc<Views>,
    fleet: Arc<dyn AskRegions>,
    outbox: mpsc::UnboundedSender<EventRow>,
    lanes: Lanes,
    healthy: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    lease: Lease,
    tenure: Arc<Tenure>,
    published: Published,
    position: store::Position,
    deadlines: Deadlines,
    maintenance: maintenance::Watch,
    alerts: alert::Watch,
    links: Arc<AcknowledgeLinks>,
    budget: Budget,
    sweep: Sweep,
    run_trim: RunTrim,
    /// Inputs of turns whose commit failed, in their order.
    held: VecDeque<Input>,
    /// The last commit's fate is unknown: nothing may be decided on what is in memory.
    must_reload: bool,
    /// Events that the outbox has and has not dispatched yet.
    in_outbox: BTreeSet<EventId>,
    /// Subjects whose picture is old in a way that can wait.
    unpublished: BTreeSet<SubjectId>,
    /// The end of the last turn that succeeded.
    alive_at: Timestamp,
    /// Nothing could be committed since `alive_at`.
    failing: bool,
    /// This process has committed something.
    has_committed: bool,
    /// The wall clock minus ours, as last seen.
    wall_offset_micros: i64,
    retry_after: Duration,
}

/// What the owner needs from outside.
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<Settings>,
    pub views: Arc<Views>,
    pub fleet: Arc<dyn AskRegions>,
    pub outbox: mpsc::UnboundedSender<EventRow>,
    pub lanes: Lanes,
    /// Whether commits succeed; read by `/health` and by whoever takes pings.
    pub healthy: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
    pub lease: Lease,
    /// Renewed with every commit.
    pub tenure: Arc<Tenure>,
    pub links: Arc<AcknowledgeLinks>,
    pub recovered: Recovered,
}

/// What came of a turn.
enum Turn {
    Committed,
    Failed,
    Fenced,
}

impl Owner {
    /// An owner of recovered states. The first turn treats the time since the last process as blind.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let now = parts.clock.now();
        let mut deadlines = Deadlines::default();
        let mut published = parts.recovered.published;
        let ids = published.ids();
        for &id in &ids {
            deadlines.schedule(&mut published, id);
        }
        let views =
            ids.iter().filter_map(|id| Some((*id, Some(Arc::new(published.subjects.get(id)?.view())))));
        parts.views.publish(views.collect());
        show_operations(&published, &parts.views, parts.fleet.as_ref());
        Self {
            alive_at: parts.lease.previous_alive_at.unwrap_or(now).min(now),
            wall_offset_micros: wall_offset(parts.clock.as_ref()),
            store: parts.store,
            clock: parts.clock,
            settings: parts.settings,
            views: parts.views,
            fleet: parts.fleet,
            outbox: parts.outbox,
            lanes: parts.lanes,
            healthy: parts.healthy,
            metrics: parts.metrics,
            lease: parts.lease,
            tenure: parts.tenure,
            published,
            position: parts.recovered.position,
            deadlines,
            maintenance: maintenance::Watch::default(),
            alerts: alert::Watch::default(),
            links: parts.links,
            budget: Budget::new(now),
            sweep: Sweep::over(parts.recovered.replayed),
            run_trim: RunTrim::default(),
            held: VecDeque::new(),
            must_reload: false,
            in_outbox: parts.recovered.undispatched.iter().map(|event| event.id).collect(),
            unpublished: BTreeSet::new(),
            failing: true,
            has_committed: false,
            retry_after: RETRY_MIN,
        }
    }

    /// Works until told to drain and nothing is left to commit, or until the lease is lost.
    pub async fn run(mut self, drain: CancellationToken) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(MAX_TURN);
        let mut settings = self.settings.watch();
        // Set once told to drain: when to end unless something more arrives.
        let mut end: Option<tokio::time::Instant> = None;
        loop {
            let mut beat = false;
            let pause = self.pause();
            let draining = drain.is_cancelled();
            if draining && end.is_none() {
                end = Some(tokio::time::Instant::now() + QUIET);
            }
            tokio::select! {
                biased;
                () = drain.cancelled(), if !draining => {}
                () = until(end) => return self.last_turn().await,
                _ = beats.tick() => beat = true,
                // A window may have been planned, or ended by hand.
                Ok(()) = settings.changed() => {}
                Some(input) = self.lanes.urgent.recv() => inputs.push(input),
                Some(input) = self.lanes.plain.recv(), if self.held.is_empty() && !self.failing => inputs.push(input),
                () = std::future::ready(()), if !self.held.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if draining && !inputs.is_empty() {
                end = Some(tokio::time::Instant::now() + QUIET);
            }
            self.take_waiting(&mut inputs);
            match self.turn(&mut inputs, beat).await {
                Turn::Committed => self.retry_after = RETRY_MIN,
                Turn::Failed => {
                    tokio::time::sleep(self.retry_after).await;
                    self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
                }
                Turn::Fenced => return,
            }
        }
    }

    /// Commits what the last beat would have.
    async fn last_turn(mut self) {
        match self.turn(&mut vec![], true).await {
            Turn::Committed => info!("everything is committed"),
            Turn::Failed | Turn::Fenced => {
                warn!(
                    held = self.held.len(),
                    "ending without a last commit: what was not acked will be sent again"
                );
            }
        }
    }

    /// Fills up a turn: what was held before, then what waits, the urgent lane first. A turn is bounded by the items in
    /// its inputs, so that no pile of batches makes one endless commit.
    fn take_waiting(&mut self, inputs: &mut Vec<Input>) {
        let mut held = vec![];
        let mut weight = 0;
        while weight < MAX_TURN {
            let Some(input) = self.held.pop_front() else { break };
            weight += input.weight();
            held.push(input);
        }
        inputs.splice(..0, held);
        let mut weight: usize = inputs.iter().map(Input::weight).sum();
        while weight < 2 * MAX_TURN {
            let next = self.lanes.urgent.try_recv();
            // While commits fail, plain results stay in their lane: the agents' own buffers are bigger.
            let may_take_plain = self.held.is_empty() && !self.failing;
            let next = if may_take_plain { next.or_else(|_| self.lanes.plain.try_recv()) } else { next };
            match next {
                Ok(input) => {
                    weight += input.weight();
                    inputs.push(input);
                }
                Err(_) => return,
            }
        }
    }

    /// How long nothing has to happen by itself.
    fn pause(&self) -> Duration {
        let now = self.clock.now();
        let until = |at: Option<Timestamp>| at.map_or(BEAT, |at| at.since(now));
        let pause = until(self.deadlines.next()).min(until(self.budget.next_at(self.fleet.capacity())));
        pause.min(until(self.maintenance.next())).min(BEAT)
    }

    /// Takes inputs through decision, commit and publication.
    async fn turn(&mut self, inputs: &mut Vec<Input>, beat: bool) -> Turn {
        if self.must_reload && !self.reload().await {
            self.hold(inputs);
            return Turn::Failed;
        }
        let now = self.clock.now();
        let blind = self.blind_span(now);
        let due = self.deadlines.take_due(&mut self.published, now);

        let config = self.settings.present();
        let mut stage = Stage::new(&self.published, self.store.installation(), &config, now);
        let (calendar, is_news) = self.maintenance.look(&config, now);
        stage.keep_calendar(calendar);
        let (book, is_newly_written) = self.alerts.look(&config);
        stage.keep_alerts(book, Arc::clone(&self.links));
        if is_news {
            stage.enter_maintenance();
        }
        if let Some((from, to)) = blind {
            stage.blind(from, to, !self.has_committed);
        }
        if is_news {
            stage.leave_maintenance();
        }
        if is_newly_written {
            stage.review_alerts();
        }
        let outcomes: Vec<Outcome> = inputs.iter().map(|input| take(input, &mut stage)).collect();
        for &(_, id) in &due {
            if stage.get(id).and_then(Subject::verdict_due_at).is_some_and(|deadline| deadline <= now) {
                stage.apply(id, Happening::DeadlineReached);
            }
            if stage.get(id).and_then(Subject::alert_due_at).is_some_and(|deadline| deadline <= now) {
                stage.review_alert(id);
            }
        }
        if beat {
            stage.tell_of_joined();
            stage.tell_what_is_due();
            stage.look_after_fleet();
            self.sweep.add_slice(&self.published, self.position, now, stage.rows());
            self.run_trim.add_slice(now, stage.rows());
        }

        let durable = stage.is_durable() || beat || blind.is_some();
        let position = self.position + 1;
        let (mut commit, changes) = stage.finish(position);
        commit.coordinator.clone_from(&self.lease.coordinator);
        commit.generation = self.lease.generation;
        commit.epochs = self.touched_epochs(&commit);
        let committed = if durable { self.store.commit(&commit).await } else { Ok(()) };
        match committed {
            Ok(()) => {
                if commit.journal.is_some() {
                    self.position = position;
                }
                if durable {
                    self.has_committed = true;
                    self.tenure.renewed(now);
                    self.metrics.commit_succeeded();
                }
                self.sweep.committed(&commit);
                self.run_trim.committed(&commit);
                self.maintenance.settle();
                self.alerts.settle();
                for event in &commit.dispatched {
                    self.in_outbox.remove(event);
                }
                self.publish(changes, &due, beat);
                for (input, outcome) in inputs.drain(..).zip(outcomes) {
                    self.answer(input, outcome);
                }
                self.alive_at = now;
                if self.failing {
                    self.failing = false;
                    self.healthy.store(true, Ordering::Release);
                    info!("commits succeed");
                }
                if let Some((from, to)) = blind {
                    info!(%from, %to, "nothing could be heard in this span: what it touches is unverified");
                }
                Turn::Committed
            }
            Err(error) => {
                self.deadlines.put_back(&mut self.published, &due);
                self.fail(inputs, &error)
            }
        }
    }

    /// The span in which nothing could be heard, if there is one that ends now: since the last process of this
    /// coordinator, since commits fail, a freeze of the machine, or a step of the wall clock.
    fn blind_span(&mut self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let offset = wall_offset(self.clock.as_ref());
        let stepped = (offset - self.wall_offset_micros).abs() > LARGEST_STEP_MICROS;
        if stepped {
            warn!("the wall clock was set; durations go on undisturbed");
            self.wall_offset_micros = offset;
        }
        let gap = now.since(self.alive_at) > LONGEST_GAP;
        (self.failing || gap || stepped).then_some((self.alive_at, now))
    }

    /// The epochs of the shards that a commit writes to.
    fn touched_epochs(&self, commit: &store::Commit) -> Vec<(model::Shard, u64)> {
        let subjects = commit.states.iter().map(|row| row.subject);
        let subjects = subjects.chain(commit.subjects.iter().map(|row| row.id));
        let subjects = subjects.chain(commit.incidents.iter().map(|row| row.subject));
        let subjects = subjects.chain(commit.deliveries.iter().map(|row| row.subject));
        let subjects = subjects.chain(commit.runs.iter().map(|row| SubjectId::Heartbeat(row.heartbeat)));
        let subjects = subjects.chain(commit.deleted.iter().copied());
        let shards: BTreeSet<model::Shard> = subjects.map(|subject| subject.shard()).collect();
        // `epochs` holds every shard in order, so a shard's number is its place.
        shards
            .into_iter()
            .filter_map(|shard| self.lease.epochs.get(usize::from(shard.number())).copied())
            .collect()
    }

    /// Makes what was committed visible and lets it have its consequences.
    fn publish(&mut self, mut changes: Changes, due: &[(Timestamp, SubjectId)], beat: bool) {
        let visible = std::mem::take(&mut changes.visible);
        let events = std::mem::take(&mut changes.events);
        let verifications = std::mem::take(&mut changes.verifications);
        let has_operated = changes.operations.is_some();
        let changed = changes.publish(&mut self.published);
        if has_operated {
            show_operations(&self.published, &self.views, self.fleet.as_ref());
        }
        for &id in changed.iter().chain(due.iter().map(|(_, id)| id)) {
            self.deadlines.schedule(&mut self.published, id);
            self.sweep.touch(id.shard());
        }
        self.unpublished.extend(changed);
        if beat {
            let all = std::mem::take(&mut self.unpublished);
            self.show(all);
        } else if !visible.is_empty() {
            for id in &visible {
                self.unpublished.remove(id);
            }
            self.show(visible);
        }
        for event in events {
            self.in_outbox.insert(event.id);
            // The outbox ends only when everything does; the row is in the database.
            drop(self.outbox.send(event));
        }
        self.ask(verifications);
    }

    fn show(&self, ids: BTreeSet<SubjectId>) {
        let view = |id| (id, self.published.subjects.get(&id).map(|subject| Arc::new(subject.view())));
        self.views.publish(ids.into_iter().map(view).collect());
    }

    /// Queues rounds and asks for those that the budget allows.
    fn ask(&mut self, verifications: Vec<(MonitorId, u32)>) {
        let now = self.clock.now();
        for (monitor, round) in verifications {
            let regions =
                round_regions(&self.published, monitor, round).map_or(0, |(.., regions)| regions.len());
            let checks = u32::try_from(regions * 2).unwrap_or(u32::MAX);
            self.budget.request(monitor, round, checks, now);
        }
        if !self.tenure.holds(now) {
            // A commit that took longer than the tenure. What is queued is asked for after the next one.
            return;
        }
        let published = &self.published;
        let still = |monitor, round| round_regions(published, monitor, round).is_some();
        for (monitor, round) in self.budget.take(self.fleet.capacity(), now, still) {
            if let Some((needs, spec_revision, regions)) = round_regions(&self.published, monitor, round) {
                debug!(monitor.id = %monitor, round, "asking {} regions to check now", regions.len());
                self.fleet.verify(monitor, needs, spec_revision, round, &regions);
            }
        }
    }

    /// Answers whoever waits for an input that is committed.
    fn answer(&self, input: Input, outcome: Outcome) {
        match (input, outcome) {
            (Input::Results(batch), Outcome::Acked(acked)) => {
                let refused = u64::from(acked.refused);
                self.metrics.results(batch.items.len() as u64 - refused, refused);
                let _ = batch.acks.send(acked);
            }
            (Input::Change(change), Outcome::Changed(result)) => drop(change.reply.send(result)),
            (Input::Ping(ping), _) => {
                // Whoever waited may have hung up.
                let _ = ping.reply.send(Ok(()));
            }
            (Input::Deliveries(DeliveryBatch { reply: Some(reply), .. }), _) => drop(reply.send(())),
            (Input::Inspect(id, reply), _) => drop(reply.send(self.inspect(id))),
            _ => {}
        }
    }

    fn inspect(&self, id: SubjectId) -> Option<Inspection> {
        let subject = self.published.subjects.get(&id)?;
        Some(Inspection {
            definition: Arc::clone(&subject.definition),
            state: subject.state.clone(),
            now: self.clock.now(),
        })
    }
}

/// Lets readers see what is thought of the fleet, and the fleet act on it.
fn show_operations(published: &Published, views: &Views, fleet: &dyn AskRegions) {
    views.publish_fleet(published.operations.view());
    fleet.set_aside(operations::agents(&published.operations));
}

/// Waits until an instant; for ever if there is none.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn wall_offset(clock: &dyn Clock) -> i64 {
    clock.wall().as_micros() - clock.now().as_micros()
}

/// Whom a round asks, if it is still going on.
fn round_regions(
    published: &Published,
    monitor: MonitorId,
    round: u32,
) -> Option<(Capabilities, u64, Vec<RegionId>)> {
    let subject = published.subjects.get(&SubjectId::Monitor(monitor))?;
    let (State::Monitor(state), subject::Policy::Monitor(policy)) = (&subject.state, &subject.policy) else {
        return None;
    };
    (state.round() == Some(round)).then(|| {
        let live = policy.regions.iter().filter(|region| published.live.contains(*region));
        let needs = subject.definition.monitor().map(|(_, monitor)| monitor.spec.needs());
        (needs.unwrap_or_default(), policy.spec_revision, live.cloned().collect())
    })
}
