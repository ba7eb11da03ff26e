//! The agent as a running thing: one task that moves the mind ([`Agent`]), its attempts and its session along.
//!
//! Attempts run in this task too: a dropped attempt is gone, and a panic inside one is an attempt that could not
//! measure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::{Clock, Random, Timestamp};
use proto::probe::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::{Agent, Facts};
use crate::canary;
use crate::check::{Checker, Finding, Untrusted};
use crate::config::Config;
use crate::monitor::Job;
use crate::session::{Event, Session};
use crate::spool::{self, Done, Writer};
use crate::vitals;

/// The longest sleep: the machine may have been suspended, which timers do not notice and the clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
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
    let checker = Checker::new(config.addresses, config.extra_roots.as_deref())?;
    let directory = config.spool.as_deref();
    let opened =
        spool::open(directory, config.spool_bytes, config.token.agent, Arc::clone(&clock), &*random).await;
    let (spool, writer, stored) = opened.map_err(|why| Error::Spool {
        directory: directory.map(|path| path.display().to_string()).unwrap_or_default(),
        why: why.to_string(),
    })?;
    let spool_nonce = spool.nonce();
    let agent = Agent::new(config.concurrency, spool);
    let (facts, own_facts) = watch::channel(agent.facts());
    let (events, incoming) = mpsc::channel(EVENTS);
    let session = Session::new(
        &config.coordinator,
        &config.token,
        spool_nonce,
        own_facts,
        events,
        Arc::clone(&clock),
        random,
    );
    info!(coordinator = %config.coordinator, agent.id = %config.token.agent, "agent started");
    let (say, canaries) = watch::channel(None);
    let vitals = vitals::Reader::start(Arc::clone(&clock));
    let driver = Driver { agent, clock, vitals, facts, outbox: None, canaries, writer, stored };
    tokio::select! {
        never = Box::pin(session.run()) => match never {},
        never = Box::pin(canary::watch(&checker, &config.canaries, &say)) => match never {},
        () = Box::pin(driver.run(&checker, incoming, shutdown)) => {}
    }
    info!("agent stopped");
    Ok(())
}

struct Driver {
    agent: Agent,
    clock: Arc<dyn Clock>,
    vitals: vitals::Reader,
    facts: watch::Sender<Facts>,
    /// Where messages go; `None` while cut off.
    outbox: Option<mpsc::Sender<v1::AgentMessage>>,
    /// What the canaries say.
    canaries: watch::Receiver<Option<canary::Said>>,
    /// Does what the spool orders.
    writer: Writer,
    /// What came of it.
    stored: mpsc::UnboundedReceiver<Done>,
}

impl Driver {
    async fn run(
        mut self,
        checker: &Checker,
        mut events: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) {
        let mut attempts = FuturesUnordered::new();
        loop {
            let now = self.clock.now();
            self.agent.wake(now);
            if self.agent.wants_vitals() {
                self.agent.report(self.vitals.read(), now);
            }
            while let Some(job) = self.agent.next_check(now) {
                attempts.push(Box::pin(attempt(checker, job)));
            }
            self.speak();
            self.store(now);
            let pause = self.agent.next_wake().map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP));
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
                Some((job, finding)) = attempts.next() => self.agent.finished(&job, finding, self.clock.now()),
                () = sleep(pause) => {}
            }
        }
        // Attempts under way are given up; what is known is said.
        drop(attempts);
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
        self.writer.finish().await;
    }

    fn store(&mut self, now: Timestamp) {
        while let Some(order) = self.agent.next_order(now) {
            self.writer.submit(order);
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

async fn attempt(checker: &Checker, job: Job) -> (Job, Finding) {
    let assignment = &job.assignment;
    let run = checker.run_against(assignment.check.as_ref(), &assignment.options, assignment.timeout);
    let finding = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
        warn!(monitor.id = %job.monitor(), "a check broke off inside the agent");
        Finding::unmeasured("the check broke off inside the agent")
    });
    (job, finding)
}
