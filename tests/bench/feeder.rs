//! Agents that only report, at a steady pace or as fast as the acks let them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use proto::probe::v1::coordinator_message::Message as Hear;
use support::raw_agent::{RawAgent, Session, pass};
use support::task::Task;
use tokio::time::Instant;

/// Results in a batch.
pub(crate) const BATCH: usize = 100;
/// Batches that may wait for their acks.
const WINDOW: u64 = 64;
/// How soon a lost connection is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// How often results are sent at a steady pace.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// An agent that reports passes at a steady pace through every interruption; ends on drop.
#[derive(Debug)]
pub(crate) struct Feeder {
    heard: Arc<Mutex<Heard>>,
    _feeding: Task,
}

/// What the coordinator has said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// When the present session began.
    pub(crate) session_began: Option<Instant>,
    /// The first ack of the present session.
    pub(crate) first_ack: Option<Instant>,
    /// Results acked so far, in all sessions.
    pub(crate) acked: u64,
}

impl Feeder {
    /// Starts reporting `per_second` results.
    ///
    /// # Errors
    /// When the token is none.
    pub(crate) fn start(token: &str, coordinator: SocketAddr, per_second: usize) -> Result<Self> {
        let agent = RawAgent::new(token, coordinator)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        let feeding = Task::start(async move {
            let mut next = Next { seq: 1, slot: 0, place: 0 };
            loop {
                if let Ok(session) = agent.connect().await {
                    // A lost session is what this agent is for.
                    drop(feed(session, &shared, &mut next, per_second).await);
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        });
        Ok(Self { heard, _feeding: feeding })
    }

    /// What has been heard.
    pub(crate) fn heard(&self) -> Heard {
        *lock(&self.heard)
    }
}

/// What is sent next.
#[derive(Clone, Copy, Debug)]
struct Next {
    seq: u64,
    slot: i64,
    place: usize,
}

impl Next {
    /// Sends a batch of the assignments that follow in turn.
    async fn send(&mut self, session: &Session, count: usize) -> Result<()> {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count && !session.assigned.is_empty() {
            if self.place >= session.assigned.len() {
                (self.place, self.slot) = (0, self.slot + 1);
            }
            batch.push(pass(&session.assigned[self.place], self.slot));
            self.place += 1;
        }
        let first = self.seq;
        self.seq += batch.len() as u64;
        session.report(first, batch).await
    }
}

async fn feed(mut session: Session, heard: &Mutex<Heard>, next: &mut Next, per_second: usize) -> Result<()> {
    {
        let mut heard = lock(heard);
        (heard.session_began, heard.first_ack) = (Some(Instant::now()), None);
    }
    let mut beats = tokio::time::interval(BEAT_INTERVAL);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = session.hear() => {
                let acked = acked(&mut session, &message?);
                if acked > 0 {
                    let mut heard = lock(heard);
                    heard.first_ack.get_or_insert_with(Instant::now);
                    heard.acked += acked;
                }
            }
            _ = beats.tick() => {
                let mut left = per_second / 10;
                while left > 0 {
                    let count = left.min(500);
                    next.send(&session, count).await?;
                    left -= count;
                }
            }
        }
    }
}

/// Reports as fast as the window lets it for a span, then waits for the last acks. Returns how many were acked within
/// the span. Sequence numbers go on from `seq`.
///
/// # Errors
/// When the session ends.
pub(crate) async fn flood(session: &mut Session, seq: &mut u64, span: Duration) -> Result<u64> {
    let end = Instant::now() + span;
    let mut next = Next { seq: *seq, slot: i64::try_from(*seq)?, place: 0 };
    let (mut under_way, mut total) = (0, 0);
    while Instant::now() < end {
        while under_way + BATCH as u64 <= WINDOW * BATCH as u64 {
            next.send(session, BATCH).await?;
            under_way += BATCH as u64;
        }
        let message = session.hear().await?;
        let count = acked(session, &message);
        under_way -= count;
        total += count;
    }
    let within = total;
    while under_way > 0 {
        let message = session.hear().await?;
        under_way -= acked(session, &message);
    }
    *seq = next.seq;
    Ok(within)
}

/// How many results a message acks.
fn acked(session: &mut Session, message: &Hear) -> u64 {
    // Which they were is of no interest here, and there are millions.
    session.acked.clear();
    match message {
        Hear::Ack(ack) => ack.ranges.iter().map(|range| range.last - range.first + 1).sum(),
        Hear::Welcome(_)
        | Hear::Assignments(_)
        | Hear::VerifyNow(_)
        | Hear::Routes(_)
        | Hear::Drain(_)
        | Hear::CheckOnce(_) => 0,
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
