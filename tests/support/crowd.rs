//! An agent that has very many monitors and no targets: it reports each on its phase, answers whoever asks, and can be
//! told to report everything in one breath. It measures how long acks take.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use model::Timestamp;
use proto::probe::v1 as wire;
use proto::probe::v1::coordinator_message::Message as Hear;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::raw_agent::{RawAgent, Session, fail, monitor_id, pass};
use crate::task::Task;

/// How often results that became due are sent.
const BEAT_INTERVAL: Duration = Duration::from_millis(250);
/// A session in which nothing is said for longer is closed; an empty batch is enough.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const BATCH: usize = 500;

/// What the agent finds, from one order to the next.
#[derive(Clone, Debug, Default)]
struct Order {
    /// Whether everything fails, or everything passes.
    fails: bool,
    /// Reported as the last of all; the others come by id.
    last: String,
    /// One more than in the order before: every monitor is due now.
    turn: u32,
}

/// A reporting agent; gone when it is dropped.
#[derive(Debug)]
pub struct Reporter {
    orders: watch::Sender<Order>,
    acks: Arc<Mutex<Vec<Duration>>>,
    _running: Task,
}

impl Reporter {
    /// Starts one that says that everything passes.
    ///
    /// # Errors
    /// When the token is none.
    pub fn start(token: &str, coordinator: SocketAddr) -> Result<Self> {
        let agent = RawAgent::new(token, coordinator)?;
        let (orders, mut heeded) = watch::channel(Order::default());
        let acks = Arc::new(Mutex::new(vec![]));
        let noted = Arc::clone(&acks);
        let running = Task::start(async move {
            let mut seq = 1;
            loop {
                // A session that ended is begun again: whoever misses acks sees it in the figures.
                if let Ok(session) = agent.connect().await {
                    let mut turn = Turn::new(session, seq, Arc::clone(&noted));
                    drop(turn.serve(&mut heeded).await);
                    seq = turn.next_seq;
                }
                tokio::time::sleep(BEAT_INTERVAL).await;
            }
        });
        Ok(Self { orders, acks, _running: running })
    }

    /// From now on it finds everything failing, or passing, beginning with one result of every monitor at once, the
    /// monitor `last` at the end.
    pub fn find(&self, fails: bool, last: &str) {
        self.orders.send_modify(|order| {
            *order = Order { fails, last: last.to_owned(), turn: order.turn + 1 };
        });
    }

    /// How long each ack so far took, one for each result.
    #[must_use]
    pub fn acks(&self) -> Vec<Duration> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A session and what has been said in it.
struct Turn {
    session: Session,
    next_seq: u64,
    began: Instant,
    spoke_at: Instant,
    /// The last slot reported of each monitor.
    slots: BTreeMap<Vec<u8>, i64>,
    sent: BTreeMap<u64, Instant>,
    acks: Arc<Mutex<Vec<Duration>>>,
}

impl Turn {
    fn new(session: Session, next_seq: u64, acks: Arc<Mutex<Vec<Duration>>>) -> Self {
        let (began, slots, sent) = (Instant::now(), BTreeMap::new(), BTreeMap::new());
        Self { session, next_seq, began, spoke_at: began, slots, sent, acks }
    }

    async fn serve(&mut self, orders: &mut watch::Receiver<Order>) -> Result<()> {
        let server_time = self.session.welcome.server_time;
        let server_time = proto::probe::convert::timestamp_from_wire(server_time.as_ref(), "server_time")?;
        let mut beats = tokio::time::interval(BEAT_INTERVAL);
        loop {
            tokio::select! {
                heard = self.session.hear() => match heard? {
                    Hear::Ack(ack) => self.note(&ack),
                    Hear::VerifyNow(now) => {
                        let order = orders.borrow().clone();
                        self.verify(&now.verifications, &order).await?;
                    }
                    Hear::Assignments(_)
                    | Hear::Welcome(_)
                    | Hear::Routes(_)
                    | Hear::Drain(_)
                    | Hear::CheckOnce(_) => {}
                },
                _ = beats.tick() => {
                    let order = orders.borrow().clone();
                    self.report_due(server_time.plus(self.began.elapsed()), &order).await?;
                }
                Ok(()) = orders.changed() => {
                    let order = orders.borrow_and_update().clone();
                    self.report_all(&order).await?;
                }
            }
        }
    }

    /// What its phase says.
    async fn report_due(&mut self, now: Timestamp, order: &Order) -> Result<()> {
        let mut due = vec![];
        for assignment in &self.session.assigned {
            let interval = micros(assignment.interval.as_ref()).max(1);
            let slot = (now.as_micros() - micros(assignment.phase.as_ref())).div_euclid(interval);
            let reported = self.slots.entry(assignment.monitor_id.clone()).or_insert(slot - 1);
            if *reported < slot {
                *reported = slot;
                due.push(result(assignment, slot, order));
            }
        }
        if due.is_empty() && self.spoke_at.elapsed() >= HEARTBEAT_INTERVAL {
            self.spoke_at = Instant::now();
            return self.session.report(self.next_seq, vec![]).await;
        }
        self.send(due).await
    }

    /// The next slot of every monitor, before its time.
    async fn report_all(&mut self, order: &Order) -> Result<()> {
        let mut all = vec![];
        let mut last = vec![];
        for assignment in &self.session.assigned {
            let slot = self.slots.entry(assignment.monitor_id.clone()).or_default();
            *slot += 1;
            let is_last = monitor_id(&assignment.monitor_id)? == order.last;
            if is_last { &mut last } else { &mut all }.push(result(assignment, *slot, order));
        }
        all.append(&mut last);
        self.send(all).await
    }

    async fn verify(&mut self, wanted: &[wire::Verification], order: &Order) -> Result<()> {
        let rounds: BTreeMap<&[u8], u32> = wanted.iter().map(|it| (&it.monitor_id[..], it.round)).collect();
        let asked = self.session.assigned.iter().filter_map(|assignment| {
            let round = *rounds.get(&assignment.monitor_id[..])?;
            let slot = self.slots.get(&assignment.monitor_id).copied().unwrap_or_default();
            Some(wire::Result {
                attempt: 1,
                round,
                age_us: 0,
                duration_us: 0,
                ..result(assignment, slot, order)
            })
        });
        let answers = asked.collect();
        self.send(answers).await
    }

    async fn send(&mut self, mut results: Vec<wire::Result>) -> Result<()> {
        while !results.is_empty() {
            let rest = results.split_off(results.len().min(BATCH));
            let (first, now) = (self.next_seq, Instant::now());
            self.next_seq += results.len() as u64;
            self.spoke_at = now;
            self.sent.extend((first..self.next_seq).map(|seq| (seq, now)));
            self.session.report(first, results).await?;
            results = rest;
        }
        Ok(())
    }

    fn note(&mut self, ack: &wire::Ack) {
        let seqs = ack.ranges.iter().flat_map(|range| range.first..=range.last);
        let took = seqs.filter_map(|seq| self.sent.remove(&seq)).map(|sent| sent.elapsed());
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).extend(took);
    }
}

fn result(assignment: &wire::Assignment, slot: i64, order: &Order) -> wire::Result {
    if order.fails { fail(assignment, slot) } else { pass(assignment, slot) }
}

fn micros(span: Option<&prost_types::Duration>) -> i64 {
    span.map_or(0, |span| span.seconds * 1_000_000 + i64::from(span.nanos) / 1_000)
}
