//! The agent as a running thing: one task that moves the mind ([`Agent`]), its attempts and its session along.
//!
//! Attempts run in this task too: a dropped attempt is gone, and a panic inside one is an attempt that could not
//! measure.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::{Clock, Random, Timestamp};
use proto::probe::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::{Agent, Facts};
use crate::canary;
use crate::check::{Checker, Finding, Untrusted};
use crate::config::Config;
use crate::monitor::Job;
use crate::path;
use crate::place::{Place, Settled};
use crate::session::{Event, Session};
use crate::spool::{Done, Writer};
use crate::take_over::wire::boot;
use crate::take_over::{self as door, Heard, Successor};
use crate::vitals;
use crate::ward::{self, QUARANTINED};

/// The longest sleep: the machine may have been suspended, which timers do not notice and the clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Ways to targets that are looked at together.
const MAX_PATHS: usize = 4;
/// Time to say what is left when stopping.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages of the coordinator that may wait for the agent; then the coordinator waits.
const EVENTS: usize = 16;

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of further authorities cannot be used.
    #[error("ca_file: {0}")]
    CaFile(#[from] Untrusted),
    /// The directory of the spool cannot be used.
    #[error("spool: {directory}: {why}")]
    Spool {
        /// The directory.
        directory: String,
        /// Why not.
        why: String,
    },
    /// Another process runs on the spool and did not let this one take over.
    #[error("cannot take over from the process that runs: {0}; it goes on, see its log")]
    TakeOver(io::Error),
}

/// Runs an agent until `shutdown`. It goes on checking while the coordinator is out of reach, and tries for ever to
/// reach it.
///
/// # Errors
/// When the configuration cannot be used; never because of the coordinator or a target.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    for warning in &config.targets.warnings {
        warn!("{warning}");
    }
    let checker = Checker::of(config.targets)?;
    // Whatever can go wrong here went wrong before the process that runs, if there is one, was disturbed.
    let place = Place {
        directory: config.spool,
        bytes: config.spool_bytes,
        agent: config.token.agent,
        takes_over: config.takes_over,
        watches: config.sets_aside,
        forgets: config.forgets_quarantine,
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
    };
    let Settled { agent, writer, stored, flight, door, predecessor } =
        place.settle(config.concurrency, &shutdown).await?;
    let (facts, own_facts) = watch::channel(agent.facts());
    let (events, incoming) = mpsc::channel(EVENTS);
    let mut session = Session::new(
        &config.coordinator,
        &config.token,
        agent.numbering(),
        own_facts,
        events,
        Arc::clone(&clock),
        random,
    );
    info!(coordinator = %config.coordinator, agent.id = %config.token.agent, "agent started");
    let (say, canaries) = watch::channel(None);
    let (talk, mut may_talk) = watch::channel(true);
    let talking = async {
        loop {
            tokio::select! {
                never = session.run() => match never {},
                _ = may_talk.wait_for(|may| !may) => {}
            }
            // Fails only when the driver has ended, and then this future is dropped.
            let _ = may_talk.wait_for(|may| *may).await;
        }
    };
    let (successors, asking) = mpsc::channel(1);
    let (hear, heard) = mpsc::channel(EVENTS);
    let is_alone = predecessor.is_none();
    let vitals = vitals::Reader::start(Arc::clone(&clock));
    let driver = Driver {
        is_alone,
        agent,
        clock,
        vitals,
        facts,
        outbox: None,
        canaries,
        writer: Some(writer),
        flight,
        stored,
        place,
        talk,
        asking,
        heard,
    };
    tokio::select! {
        never = Box::pin(talking) => match never {},
        never = Box::pin(canary::watch(&checker, &config.canaries, &say)) => match never {},
        never = Box::pin(door::serve(door, successors)) => match never {},
        never = Box::pin(door::listen(predecessor, hear)) => match never {},
        ended = Box::pin(driver.run(&checker, incoming, shutdown)) => ended?,
    }
    info!("agent stopped");
    Ok(())
}

struct Driver {
    agent: Agent,
    /// Whether there may be a session.
    talk: watch::Sender<bool>,
    /// Processes that want to take over.
    asking: mpsc::Receiver<Successor>,
    /// The process that this one took over from.
    heard: mpsc::Receiver<Heard>,
    /// Whether it has ended, or there was none.
    is_alone: bool,
    place: Place,
    clock: Arc<dyn Clock>,
    vitals: vitals::Reader,
    facts: watch::Sender<Facts>,
    /// Where messages go; `None` while cut off.
    outbox: Option<mpsc::Sender<v1::AgentMessage>>,
    /// What the canaries say.
    canaries: watch::Receiver<Option<canary::Said>>,
    /// Does what the spool orders; `None` once it is somebody else's.
    writer: Option<Writer>,
    /// Where what is in flight is noted.
    flight: Option<ward::Files>,
    /// What came of it.
    stored: mpsc::UnboundedReceiver<Done>,
}

impl Driver {
    async fn run(
        mut self,
        checker: &Checker,
        mut events: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let mut attempts = FuturesUnordered::new();
        let mut paths = FuturesUnordered::new();
        let mut timer = pin!(sleep(LONGEST_SLEEP));
        loop {
            let now = self.clock.now();
            self.agent.wake(now);
            if self.agent.wants_vitals() {
                self.agent.report(self.vitals.read(), now);
            }
            while let Some(job) = self.agent.next_check(now) {
                if let Some(flight) = self.flight.as_mut().filter(|_| !job.is_set_aside) {
                    flight.started(&job);
                }
                attempts.push(Box::pin(attempt(checker, job)));
            }
            while paths.len() < MAX_PATHS
                && !self.agent.is_trying()
                && let Some((monitor, target)) = self.agent.next_path()
            {
                paths.push(Box::pin(async move { (monitor, path::trace(target).await) }));
            }
            self.speak();
            self.store(now);
            if let Some(records) = self.agent.ward_changes()
                && let Some(flight) = &mut self.flight
            {
                flight.remember(&records);
            }
            let pause = self.agent.next_wake().map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP));
            // It may ring early, and is moved only where it would ring late: each move is work for the runtime.
            let at = Instant::now() + pause;
            if timer.is_elapsed() || at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(event) = events.recv() => self.hear(event),
                Ok(()) = self.canaries.changed() => {
                    let said = self.canaries.borrow_and_update().clone();
                    if let Some(said) = said {
                        self.agent.heed(said, self.clock.now());
                    }
                }
                Some(done) = self.stored.recv() => self.agent.stored(done, self.clock.now()),
                Some(heard) = self.heard.recv() => {
                    let now = self.clock.now();
                    match heard {
                        Heard::Finished(finished) => self.agent.heard(*finished, boot(&*self.clock), now),
                        Heard::Gone => {
                            self.is_alone = true;
                            self.agent.is_alone(now);
                        }
                    }
                }
                Some(successor) = self.asking.recv() => {
                    if let Some(mut successor) = self.give_way(successor, &mut attempts, &mut events).await {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = self.tell_the_rest(&mut successor, &mut attempts) => {}
                        }
                        return Ok(());
                    }
                }
                Some((job, finding)) = attempts.next() => {
                    self.take(&job, finding);
                    // What else has ended by now: a turn for each would cost as much as its bookkeeping.
                    while let Some(Some((job, finding))) = attempts.next().now_or_never() {
                        self.take(&job, finding);
                    }
                }
                Some((monitor, path)) = paths.next() => self.agent.looked_at(monitor, path),
                () = &mut timer => {}
            }
        }
        // Attempts under way are given up; what is known is said.
        drop(attempts);
        self.flight.take().into_iter().for_each(ward::Files::close);
        self.agent.flush(self.clock.now());
        self.speak();
        let farewell = async {
            while self.outbox.is_some() && !self.agent.has_said_all() {
                let Some(event) = events.recv().await else { break };
                self.hear(event);
                self.speak();
            }
        };
        // Without an answer in time the next process says what is left.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        // Whatever waits for company has waited.
        self.store(self.clock.now().plus(LONGEST_SLEEP));
        if let Some(writer) = self.writer.take() {
            writer.finish().await;
        }
        Ok(())
    }

    /// Lets another process take over. `None`: it did not, and this one goes on, whatever became of the spool. Attempts go
    /// on in either case.
    async fn give_way(
        &mut self,
        mut successor: Successor,
        attempts: &mut Attempts<impl Future<Output = Ended>>,
        events: &mut mpsc::Receiver<Event>,
    ) -> Option<Successor> {
        if !self.is_alone || !self.agent.can_hand_over() {
            warn!(
                "another process wants to take over and cannot yet: the one before has not ended, or the spool fails"
            );
            return None;
        }
        info!(version = successor.version, "another process takes over");
        self.talk.send_replace(false);
        self.agent.offline();
        self.outbox = None;
        let state = self.agent.hand_over(boot(&*self.clock));
        self.store(self.clock.now().plus(LONGEST_SLEEP));
        let writer = self.writer.take();
        let handing = async {
            if let Some(writer) = writer
                && !writer.finish().await
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
            successor.hand_over(&state).await
        };
        let mut ended = vec![];
        let handed = meanwhile(handing, attempts, &mut ended).await;
        while events.try_recv().is_ok() {}
        let why = match handed {
            Ok(()) => {
                self.flight.take().into_iter().for_each(ward::Files::close);
                for (job, finding) in ended {
                    self.tell(&mut successor, &job, finding).await;
                }
                return Some(successor);
            }
            Err(why) => why,
        };
        warn!("the other process did not take over, this one goes on: {why}");
        // It may have the spool until it hears that nobody talks to it any more.
        drop(successor);
        let (spool, writer, stored) = meanwhile(self.place.open_again(), attempts, &mut ended).await;
        self.agent.resume(spool);
        (self.writer, self.stored) = (Some(writer), stored);
        for (job, finding) in ended {
            self.take(&job, finding);
        }
        self.facts.send_replace(self.agent.facts());
        self.talk.send_replace(true);
        None
    }

    /// Lets what is under way end, for the process that took over.
    async fn tell_the_rest(
        &mut self,
        successor: &mut Successor,
        attempts: &mut Attempts<impl Future<Output = Ended>>,
    ) {
        while let Some((job, finding)) = attempts.next().await {
            self.tell(successor, &job, finding).await;
        }
    }

    async fn tell(&mut self, successor: &mut Successor, job: &Job, finding: Finding) {
        let Some(finished) = self.agent.conclude(job, finding, boot(&*self.clock)) else { return };
        if let Err(why) = successor.tell(&finished).await {
            warn!(monitor.id = %job.monitor(), "a result is lost, the process that took over has ended: {why}");
        }
    }

    /// Takes what an attempt found.
    fn take(&mut self, job: &Job, finding: Finding) {
        if let Some(flight) = &mut self.flight {
            flight.ended(job);
        }
        self.agent.finished(job, finding, self.clock.now());
    }

    fn store(&mut self, now: Timestamp) {
        let Some(writer) = &mut self.writer else { return };
        while let Some(order) = self.agent.next_order(now) {
            writer.submit(order);
        }
    }

    fn hear(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Online { terms, outbox } => {
                self.agent.online(terms, now);
                self.outbox = Some(outbox);
            }
            Event::Received(message) => {
                let changes_facts =
                    matches!(message.message, Some(v1::coordinator_message::Message::Assignments(_)));
                self.agent.receive(*message, now);
                if changes_facts {
                    self.facts.send_replace(self.agent.facts());
                }
            }
            Event::Offline => {
                self.agent.offline();
                self.outbox = None;
                self.facts.send_replace(self.agent.facts());
            }
        }
    }

    fn speak(&mut self) {
        let Some(outbox) = &self.outbox else { return };
        while outbox.capacity() > 0
            && let Some(message) = self.agent.next_message()
        {
            if outbox.try_send(message).is_err() {
                // The session is over; its end comes as an event, and with it everything unacknowledged waits again.
                return;
            }
        }
    }
}

/// Attempts under way, and what comes of each.
type Attempts<A> = FuturesUnordered<Pin<Box<A>>>;
type Ended = (Job, Finding);

/// Does something while attempts go on.
async fn meanwhile<T>(
    something: impl Future<Output = T>,
    attempts: &mut Attempts<impl Future<Output = Ended>>,
    ended: &mut Vec<Ended>,
) -> T {
    let mut something = pin!(something);
    loop {
        tokio::select! {
            biased;
            done = &mut something => return done,
            Some(attempt) = attempts.next() => ended.push(attempt),
        }
    }
}

async fn attempt(checker: &Checker, job: Job) -> (Job, Finding) {
    let assignment = &job.assignment;
    if job.is_set_aside {
        return (job, Finding::unmeasured(QUARANTINED));
    }
    let (check, options, timeout) = (assignment.check.as_ref(), &assignment.options, assignment.timeout);
    let run = async {
        if job.is_close {
            checker.examine(check, options, timeout).await
        } else {
            checker.run_against(check, options, timeout).await
        }
    };
    let finding = contained(run).await;
    (job, finding)
}

/// Runs an attempt. One that panics could not measure, and brings nothing else down.
fn contained(run: impl Future<Output = Finding>) -> impl Future<Output = Finding> {
    let broken = |panic: Box<dyn Any + Send>| {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = model::result::clean(said.unwrap_or("it panicked"), 200);
        Finding::unmeasured(&format!("the check failed inside the agent: {why}"))
    };
    // Not `async`, which would hold the attempt twice.
    AssertUnwindSafe(run).catch_unwind().map(move |ended| ended.unwrap_or_else(broken))
}

#[cfg(test)]
mod tests {
    use model::Outcome;

    use super::*;

    #[tokio::test]
    async fn a_check_that_panics_could_not_measure_and_says_why() {
        let finding = contained(async { panic!("no such {}", "thing") }).await;
        assert_eq!(
            finding.outcome,
            Outcome::Error("the check failed inside the agent: no such thing".into())
        );
    }
}
