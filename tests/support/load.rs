//! An agent that only reports: on schedule, through every interruption, remembering each ack.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use model::Timestamp;
use proto::probe::v1 as wire;
use proto::probe::v1::coordinator_message::Message as Hear;
use tokio::time::Instant;

use crate::raw_agent::{self, RawAgent, Session};
use crate::task::Task;

/// How often results that became due are sent.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// How soon a lost connection is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A reporting agent; ends on drop.
#[derive(Debug)]
pub struct LoadAgent {
    memory: Arc<Mutex<Memory>>,
    _reporting: Task,
}

/// What the coordinator has promised.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Each acked result: monitor, agent epoch, sequence number.
    pub acked: BTreeSet<(String, u64, u64)>,
    /// When the last ack came.
    pub last_ack: Option<Instant>,
}

/// Results without an ack, with when their check started.
type Unacked = BTreeMap<u64, (wire::Result, Instant)>;

struct Reporter {
    memory: Arc<Mutex<Memory>>,
    failing: Arc<BTreeSet<String>>,
    unacked: Unacked,
    next_seq: u64,
    /// The last slot reported of each monitor.
    slots: BTreeMap<Vec<u8>, i64>,
}

impl LoadAgent {
    /// Starts reporting: 503 for the monitors in `failing`, 200 for all others.
    ///
    /// # Errors
    /// When the token is none.
    pub fn start(token: &str, coordinator: SocketAddr, failing: Arc<BTreeSet<String>>) -> Result<Self> {
        let agent = RawAgent::new(token, coordinator)?;
        let memory = Arc::new(Mutex::new(Memory::default()));
        let mut reporter = Reporter {
            memory: Arc::clone(&memory),
            failing,
            unacked: BTreeMap::new(),
            next_seq: 1,
            slots: BTreeMap::new(),
        };
        let reporting = Task::start(async move {
            loop {
                if let Ok(session) = agent.connect().await {
                    // A lost session is what this agent is for.
                    drop(reporter.serve(session).await);
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        });
        Ok(Self { memory, _reporting: reporting })
    }

    /// What it remembers.
    #[must_use]
    pub fn memory(&self) -> Memory {
        lock(&self.memory).clone()
    }

    /// When the last ack came.
    #[must_use]
    pub fn last_ack(&self) -> Option<Instant> {
        lock(&self.memory).last_ack
    }
}

impl Reporter {
    async fn serve(&mut self, mut session: Session) -> Result<()> {
        let began = Instant::now();
        let server_time =
            proto::probe::convert::timestamp_from_wire(session.welcome.server_time.as_ref(), "server_time")?;
        self.send(&session, 0).await?;
        let mut beats = tokio::time::interval(BEAT_INTERVAL);
        loop {
            tokio::select! {
                heard = session.hear() => match heard? {
                    Hear::Ack(ack) => self.remember(&ack)?,
                    Hear::VerifyNow(wanted) => self.verify(&session, wanted).await?,
                    Hear::Drain(_) => return Ok(()),
                    Hear::Welcome(_) | Hear::Assignments(_) | Hear::Routes(_) | Hear::CheckOnce(_) => {}
                },
                _ = beats.tick() => self.report(&session, server_time.plus(began.elapsed())).await?,
            }
        }
    }

    /// Reports what has become due.
    async fn report(&mut self, session: &Session, now: Timestamp) -> Result<()> {
        let from = self.next_seq;
        for assignment in &session.assigned {
            let interval = micros(assignment.interval.as_ref()).max(1);
            let slot = (now.as_micros() - micros(assignment.phase.as_ref())).div_euclid(interval);
            if self.slots.insert(assignment.monitor_id.clone(), slot) != Some(slot) {
                let result = self.result(assignment, slot)?;
                self.keep(result);
            }
        }
        self.send(session, from).await
    }

    async fn verify(&mut self, session: &Session, wanted: wire::VerifyNow) -> Result<()> {
        let from = self.next_seq;
        for verification in wanted.verifications {
            let assignment = session.assigned.iter().find(|it| it.monitor_id == verification.monitor_id);
            let Some(assignment) = assignment else { continue };
            let slot = self.slots.get(&assignment.monitor_id).copied().unwrap_or_default();
            let result = wire::Result {
                attempt: 1,
                round: verification.round,
                age_us: 0,
                duration_us: 0,
                ..self.result(assignment, slot)?
            };
            self.keep(result);
        }
        self.send(session, from).await
    }

    fn result(&self, assignment: &wire::Assignment, slot: i64) -> Result<wire::Result> {
        let fails = self.failing.contains(&raw_agent::monitor_id(&assignment.monitor_id)?);
        Ok(if fails { raw_agent::fail(assignment, slot) } else { raw_agent::pass(assignment, slot) })
    }

    fn keep(&mut self, result: wire::Result) {
        self.unacked.insert(self.next_seq, (result, Instant::now()));
        self.next_seq += 1;
    }

    /// Sends what is un-acked from `from` on, in batches without gaps.
    async fn send(&self, session: &Session, from: u64) -> Result<()> {
        let mut batch: Vec<wire::Result> = Vec::new();
        let mut first = from;
        for (&seq, (result, started)) in self.unacked.range(from..) {
            if seq != first + batch.len() as u64 || batch.len() == 500 {
                session.report(first, std::mem::take(&mut batch)).await?;
            }
            if batch.is_empty() {
                first = seq;
            }
            let age = u64::try_from(started.elapsed().as_micros())?;
            batch.push(wire::Result { age_us: result.age_us + age, ..result.clone() });
        }
        if !batch.is_empty() {
            session.report(first, batch).await?;
        }
        Ok(())
    }

    fn remember(&mut self, ack: &wire::Ack) -> Result<()> {
        let mut memory = lock(&self.memory);
        for seq in ack.ranges.iter().flat_map(|range| range.first..=range.last) {
            if let Some((result, _)) = self.unacked.remove(&seq) {
                let monitor = raw_agent::monitor_id(&result.monitor_id)?;
                memory.acked.insert((monitor, ack.agent_epoch, seq));
                memory.last_ack = Some(Instant::now());
            }
        }
        Ok(())
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(span: Option<&prost_types::Duration>) -> i64 {
    span.map_or(0, |span| span.seconds * 1_000_000 + i64::from(span.nanos) / 1_000)
}
