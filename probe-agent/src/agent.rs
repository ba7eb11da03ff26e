//! The agent's mind: what to check when, what to say when. Sans I/O.
//!
//! Comes in: what the coordinator says, what attempts found, the passing of time. Goes out: [`Agent::next_check`] (an
//! attempt to start), [`Agent::next_message`] (what to tell the coordinator) and [`Agent::next_wake`] (when to look
//! again). Instants are on the agent's own monotonic clock; the coordinator's clock is that plus an offset taken from
//! each `Welcome`, and only the schedule knows it. Without a connection everything goes on but the talking.

mod assign;
mod hand_over;
mod report;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Check, CheckResult, MonitorId, Outcome, RegionId, Timestamp};
use proto::probe::convert::{
    Slow, assignment_from_wire, assignments_digest, capture_to_wire, monitor_from_wire, result_to_wire,
    slow_to_wire,
};
use proto::probe::v1;
use proto::probe::v1::agent_message::Message as ToCoordinator;
use proto::probe::v1::coordinator_message::Message as FromCoordinator;
use tracing::{debug, warn};

use crate::canary::{self, Canaries};
use crate::check::Finding;
use crate::gate::{Class, Concurrency, Gate};
use crate::monitor::{Held, Job, Seen};
use crate::schedule::Schedule;
use crate::spool::{Done, Order, Spool, Window};
use crate::ward::{Key, Record, Verdict, Ward};
use report::Tally;
use telling::Telling;

/// How long news wait for company.
const COALESCE: Duration = Duration::from_millis(5);
/// When the second attempt of a round starts, after the first.
const SECOND_ATTEMPT_AFTER: Duration = Duration::from_secs(1);
/// Most checks at the same time that somebody waits for.
const MAX_SINGLE_CHECKS: usize = 100;
/// How often the agent says how it is: with the first beat after so long.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// A change of the coordinator's clock by more than this is a step; a smaller one is taken on silently.
const CLOCK_STEP_US: u64 = 1_000_000;

/// What a session has agreed upon.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) agent_epoch: u64,
    pub(crate) region: RegionId,
    pub(crate) server_time: Timestamp,
    pub(crate) window: Window,
    pub(crate) beat_interval: Duration,
}

/// What an agent says of itself when it opens a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The digest of what is held; empty before the first assignments.
    pub(crate) assignments_digest: Vec<u8>,
    pub(crate) dropped_results: u64,
}

/// The whole state of an agent.
#[derive(Debug)]
pub(crate) struct Agent {
    held: BTreeMap<MonitorId, Held>,
    has_assignments: bool,
    schedule: Schedule,
    gate: Gate<Job>,
    ward: Ward,
    /// Attempts under way, by number.
    running: BTreeMap<u64, Running>,
    next_number: u64,
    /// Monitors whose scheduled check runs in the process that this one took over from.
    elsewhere: BTreeSet<MonitorId>,
    /// Checks that somebody waits for, queued or under way.
    single_checks: usize,
    alarms: BTreeMap<(Timestamp, u64), Alarm>,
    spool: Spool,
    outbox: VecDeque<v1::AgentMessage>,
    /// The present session; `None` while cut off.
    terms: Option<Terms>,
    region: Option<RegionId>,
    /// The coordinator's clock minus ours, in microseconds.
    offset_us: i64,
    next_beat: Timestamp,
    flush_at: Option<Timestamp>,
    /// Results that were kept since something was said last.
    unsaid: usize,
    /// Whether more waits than the window let through.
    is_blocked: bool,
    told_missed: u64,
    /// What its canaries say.
    canaries: v1::Canaries,
    telling: Telling,
    /// Ways to targets that are to be looked at.
    paths: VecDeque<(MonitorId, SocketAddr)>,
    failing_canaries: Vec<String>,
    /// What was done since the last report.
    done: Tally,
    /// When the next report is due.
    next_report: Timestamp,
    /// Whether it is wanted now.
    wants_vitals: bool,
}

/// An attempt under way.
#[derive(Debug)]
struct Running {
    job: Job,
    started_at: Timestamp,
    /// When it counts as slow, for a scheduled check.
    slow_at: Option<Timestamp>,
}

/// What happens at an instant unless it is settled before.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    /// The attempt with this number is slow.
    Slow(u64),
    /// The second attempt of a round is due.
    SecondAttempt { monitor: MonitorId, spec_revision: u64, round: u32 },
}

/// What an attempt says of its monitor.
#[derive(Debug)]
struct Learnt {
    monitor: MonitorId,
    attempt: u32,
    round: u32,
    seen: Seen,
    /// Whether it passed or gave a definite wrong answer.
    is_settled: bool,
    /// Whether the monitor may be checked on schedule again.
    ends_slot: bool,
}

/// What follows from it.
#[derive(Debug)]
struct News {
    monitor: MonitorId,
    is_news: bool,
    is_routine: bool,
    is_urgent: bool,
    is_overdue: bool,
}

impl Learnt {
    fn of(job: &Job, finding: &Finding, ends_slot: bool) -> Self {
        let is_settled = finding.outcome.is_pass()
            || finding.outcome.failure().is_some_and(|failure| failure.kind.is_definite());
        let seen = Seen::of(finding);
        Self { monitor: job.monitor(), attempt: job.attempt, round: job.round, seen, is_settled, ends_slot }
    }
}

impl Agent {
    pub(crate) fn new(concurrency: Concurrency, spool: Spool) -> Self {
        Self {
            held: BTreeMap::new(),
            has_assignments: false,
            schedule: Schedule::default(),
            gate: Gate::new(concurrency),
            ward: Ward::default(),
            running: BTreeMap::new(),
            next_number: 1,
            elsewhere: BTreeSet::new(),
            single_checks: 0,
            alarms: BTreeMap::new(),
            spool,
            outbox: VecDeque::new(),
            terms: None,
            region: None,
            offset_us: 0,
            next_beat: Timestamp::EPOCH,
            flush_at: None,
            unsaid: 0,
            is_blocked: false,
            told_missed: 0,
            canaries: v1::Canaries::Unspecified,
            telling: Telling::new(),
            paths: VecDeque::new(),
            failing_canaries: Vec::new(),
            done: Tally::default(),
            next_report: Timestamp::EPOCH,
            wants_vitals: false,
        }
    }

    /// Watches these checks.
    pub(crate) fn watch(&mut self, ward: Ward) {
        self.ward = ward;
    }

    /// What is to be remembered of checks, if that has changed.
    pub(crate) fn ward_changes(&mut self) -> Option<Vec<Record>> {
        self.ward.changes()
    }

    /// What to say of itself in the next session.
    pub(crate) fn facts(&self) -> Facts {
        let digest =
            || assignments_digest(self.held.values().map(|held| held.assignment.placement())).to_vec();
        Facts {
            assignments_digest: if self.has_assignments { digest() } else { Vec::new() },
            dropped_results: self.spool.dropped(),
        }
    }

    /// Whether nothing is left to say or to be acknowledged.
    pub(crate) fn has_said_all(&self) -> bool {
        self.outbox.is_empty() && !self.spool.has_waiting() && !self.spool.has_under_way()
    }

    /// A session has begun.
    pub(crate) fn online(&mut self, terms: Terms, now: Timestamp) {
        let offset_us = terms.server_time.as_micros().saturating_sub(now.as_micros());
        let step = offset_us.abs_diff(std::mem::replace(&mut self.offset_us, offset_us));
        if step > CLOCK_STEP_US {
            self.schedule.replace_all(self.server(now));
        }
        self.spool.connected(terms.agent_epoch, offset_us);
        self.region = Some(terms.region.clone());
        self.terms = Some(terms);
        self.outbox.clear();
        self.is_blocked = false;
        self.flush_at = None;
        self.next_beat = now;
        self.next_report = now;
        self.done.since.get_or_insert(now);
    }

    /// The session has ended.
    pub(crate) fn offline(&mut self) {
        self.terms = None;
        self.outbox.clear();
        self.wants_vitals = false;
    }

    /// Takes what the canaries say; the coordinator hears of it at once.
    pub(crate) fn heed(&mut self, said: canary::Said, now: Timestamp) {
        self.canaries = match said.verdict {
            Canaries::Well => v1::Canaries::Well,
            Canaries::Failing => v1::Canaries::Failing,
        };
        self.failing_canaries = said.failing;
        self.next_beat = now;
        self.next_report = now;
    }

    /// Takes what the coordinator says.
    pub(crate) fn receive(&mut self, message: v1::CoordinatorMessage, now: Timestamp) {
        match message.message {
            Some(FromCoordinator::Assignments(assignments)) => self.assign(assignments, now),
            Some(FromCoordinator::Ack(ack)) => self.acked(&ack, now),
            Some(FromCoordinator::VerifyNow(verify)) => {
                for verification in &verify.verifications {
                    self.verify(verification, now);
                }
            }
            Some(FromCoordinator::CheckOnce(asked)) => self.check_once(asked, now),
            // One coordinator owns all shards; the session itself handles the others.
            Some(FromCoordinator::Routes(_) | FromCoordinator::Welcome(_) | FromCoordinator::Drain(_)) => {}
            None => debug!("ignoring a message of a kind that this version does not know"),
        }
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        while let Some(entry) = self.alarms.first_entry()
            && entry.key().0 <= now
        {
            let alarm = entry.remove();
            self.ring(alarm, now);
        }
        while let Some(due) = self.schedule.pop(self.server(now)) {
            self.queue_scheduled(due.monitor, due.slot, Some(self.local(due.due_at)), now);
        }
        if self.next_beat <= now {
            self.beat(now);
        } else if self.flush_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// When [`Agent::wake`] has something to do next.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let alarm = self.alarms.first_key_value().map(|(&(at, _), _)| at);
        let due = self.schedule.next_due().map(|due| self.local(due));
        let talk = self.terms.as_ref().map(|_| self.flush_at.unwrap_or(self.next_beat).min(self.next_beat));
        [alarm, due, talk, self.spool.next_write()].into_iter().flatten().min()
    }

    /// The next attempt to start, now.
    pub(crate) fn next_check(&mut self, now: Timestamp) -> Option<Job> {
        loop {
            let job = match self.ward.next(self.running.len()) {
                Some(job) => job,
                None if self.ward.is_closed() => return None,
                None => self.gate.next()?,
            };
            if job.is_single {
                self.note_start(&job, now);
                self.running.insert(job.number, Running { job: job.clone(), started_at: now, slow_at: None });
                return Some(job);
            }
            // What was changed while it waited is not worth checking any more.
            let held = self.held.get(&job.monitor());
            let Some(held) = held.filter(|held| Arc::ptr_eq(&held.assignment, &job.assignment)) else {
                if !self.ward.skipped(&job) {
                    self.gate.done(&job.host);
                }
                continue;
            };
            let slow_at = (job.attempt == 0).then(|| now.plus(held.latency.slow_after()));
            if let Some(at) = slow_at {
                self.alarms.insert((at, job.number), Alarm::Slow(job.number));
            } else if job.attempt == 1 {
                let (monitor, spec_revision) = (job.monitor(), job.assignment.spec_revision);
                let alarm = Alarm::SecondAttempt { monitor, spec_revision, round: job.round };
                self.alarms.insert((now.plus(SECOND_ATTEMPT_AFTER), job.number), alarm);
            }
            self.note_start(&job, now);
            self.running.insert(job.number, Running { job: job.clone(), started_at: now, slow_at });
            return Some(job);
        }
    }

    /// An attempt has ended.
    pub(crate) fn finished(&mut self, job: &Job, mut finding: Finding, now: Timestamp) {
        if !self.ward.ended(job) {
            self.gate.done(&job.host);
        }
        let Some(Running { started_at, slow_at, .. }) = self.running.remove(&job.number) else { return };
        if let Some(at) = slow_at {
            self.alarms.remove(&(at, job.number));
        }
        if job.is_single {
            self.single_checks = self.single_checks.saturating_sub(1);
            return self.answer(job, started_at, finding, now);
        }
        let monitor = job.monitor();
        // Of a monitor that is not held any more nobody wants to know.
        let Some(held) = self.held.get_mut(&monitor) else { return };
        if finding.outcome.is_pass() {
            held.latency.record(finding.duration);
        }
        let ends_slot = job.attempt == 0 && Arc::ptr_eq(&held.assignment, &job.assignment);
        self.choose_capture(job, &mut finding, now);
        let Some(news) = self.learn(&Learnt::of(job, &finding, ends_slot)) else { return };
        if news.is_news
            && let Outcome::Error(why) = &finding.outcome
        {
            warn!(monitor.id = %monitor, "cannot measure a monitor: {why}");
        }
        self.keep(job, started_at, finding, news.is_routine);
        self.follow(&news, now);
    }

    /// Takes in what an attempt says of its monitor, if that is still held.
    fn learn(&mut self, learnt: &Learnt) -> Option<News> {
        let held = self.held.get_mut(&learnt.monitor)?;
        if let Some((round, settled)) = &mut held.round
            && *round == learnt.round
            && learnt.attempt == 1
        {
            *settled = learnt.is_settled;
        }
        let seen = learnt.seen;
        let is_news = held.seen.replace(seen) != Some(seen);
        if learnt.ends_slot {
            held.is_busy = false;
        }
        let is_scheduled = learnt.attempt == 0;
        Some(News {
            monitor: learnt.monitor,
            is_news,
            is_routine: !is_news && is_scheduled && matches!(seen, Seen::Well | Seen::Unwell),
            is_urgent: is_news || !is_scheduled || seen == Seen::Failing,
            is_overdue: !held.is_busy && std::mem::take(&mut held.is_overdue),
        })
    }

    /// Does what news ask for, once the result is kept.
    fn follow(&mut self, news: &News, now: Timestamp) {
        self.unsaid += 1;
        if self.terms.as_ref().is_some_and(|terms| self.unsaid >= terms.window.max_results) {
            // A full batch gains nothing by waiting, and many of them in one beat would hold up the schedule.
            self.flush(now);
        } else if news.is_urgent {
            let at = now.plus(COALESCE);
            self.flush_at = Some(self.flush_at.map_or(at, |planned| planned.min(at)));
        }
        if news.is_overdue
            && let Some(held) = self.held.get(&news.monitor)
        {
            let slot = held.grid().slot(self.server(now));
            let planned_at = Some(self.local(held.grid().start(slot)));
            self.queue_scheduled(news.monitor, slot, planned_at, now);
        }
    }

    /// What to tell the coordinator next.
    pub(crate) fn next_message(&mut self) -> Option<v1::AgentMessage> {
        self.outbox.pop_front()
    }

    /// Says everything that waits, as far as the window lets it through.
    pub(crate) fn flush(&mut self, now: Timestamp) -> bool {
        (self.flush_at, self.unsaid) = (None, 0);
        let Some(terms) = &self.terms else { return false };
        let mut has_sent = false;
        while let Some(batch) = self.spool.next_batch(terms.window, now) {
            let results =
                v1::Results { agent_epoch: terms.agent_epoch, canaries: self.canaries.into(), ..batch };
            self.outbox.push_back(message(ToCoordinator::Results(results)));
            has_sent = true;
        }
        self.is_blocked = self.spool.has_waiting();
        has_sent
    }

    /// What is to be done with the spool's disk next.
    pub(crate) fn next_order(&mut self, now: Timestamp) -> Option<Order> {
        self.spool.next_order(now)
    }

    /// Takes what came of an order to the disk.
    pub(crate) fn stored(&mut self, done: Done, now: Timestamp) {
        if self.spool.heed(done) && self.is_blocked {
            self.flush(now);
        }
    }

    fn beat(&mut self, now: Timestamp) {
        let Some(terms) = &self.terms else {
            self.next_beat = now.plus(Duration::from_secs(5));
            return self.spool.prune(now);
        };
        let (agent_epoch, canaries) = (terms.agent_epoch, self.canaries.into());
        let empty = v1::Results { agent_epoch, canaries, ..v1::Results::default() };
        self.next_beat = now.plus(terms.beat_interval);
        if !self.flush(now) {
            self.outbox.push_back(message(ToCoordinator::Results(empty)));
        }
        if self.next_report <= now {
            self.next_report = now.plus(REPORT_INTERVAL);
            self.wants_vitals = true;
        }
        self.spool.prune(now);
        let missed = self.schedule.missed();
        if missed > self.told_missed {
            warn!(slots = missed - self.told_missed, "scheduled checks were skipped: the agent was held up");
            self.told_missed = missed;
        }
    }

    /// Queues a monitor's check of a slot, unless it was queued already; `planned_at` is when it should have started.
    fn queue_scheduled(
        &mut self,
        monitor: MonitorId,
        slot: i64,
        planned_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some(held) = self.held.get_mut(&monitor).filter(|held| held.is_primary()) else { return };
        let key = (held.assignment.spec_revision, slot);
        if held.last_slot == Some(key) {
            return;
        }
        if held.is_busy {
            held.is_overdue = true;
            return;
        }
        held.is_busy = true;
        held.last_slot = Some(key);
        self.queue(monitor, (slot, 0, 0), planned_at, now);
    }

    /// Answers for its region: a standby is asked only while its primary has no session.
    fn verify(&mut self, wire: &v1::Verification, now: Timestamp) {
        let Ok(monitor) = monitor_from_wire(&wire.monitor_id, "monitor_id") else { return };
        let server_now = self.server(now);
        let Some(held) = self.held.get_mut(&monitor) else {
            return debug!(monitor.id = %monitor, "not verifying what is not assigned");
        };
        let is_known = held.round.is_some_and(|(round, _)| round == wire.round);
        if is_known || held.assignment.spec_revision != wire.spec_revision || wire.round == 0 {
            return;
        }
        held.round = Some((wire.round, false));
        let slot = held.grid().slot(server_now);
        self.queue(monitor, (slot, 1, wire.round), None, now);
    }

    fn queue(
        &mut self,
        monitor: MonitorId,
        (slot, attempt, round): (i64, u32, u32),
        planned_at: Option<Timestamp>,
        queued_at: Timestamp,
    ) {
        let Some(held) = self.held.get(&monitor) else { return };
        let class = if attempt == 0 { Class::Scheduled } else { Class::Verification };
        let assignment = Arc::clone(&held.assignment);
        let number = self.next_number;
        self.next_number += 1;
        let key = Key { monitor, spec_revision: assignment.spec_revision };
        let verdict = self.ward.verdict(key);
        let job = Job {
            number,
            assignment,
            host: Arc::clone(&held.host),
            slot,
            attempt,
            round,
            is_single: false,
            is_close: attempt != 0 || held.seen == Some(Seen::Failing),
            is_set_aside: verdict == Verdict::Quarantined,
            queued_at,
            planned_at,
        };
        match verdict {
            Verdict::Suspect => self.ward.hold(job),
            Verdict::Free | Verdict::Quarantined => self.gate.offer(Arc::clone(&job.host), class, job),
        }
    }

    /// Makes a check that somebody waits for, besides whatever is assigned.
    fn check_once(&mut self, asked: v1::CheckOnce, now: Timestamp) {
        let assignment = match assignment_from_wire(asked.assignment.unwrap_or_default()) {
            Ok(assignment) => Arc::new(assignment),
            // Whoever asked stops waiting by themselves.
            Err(error) => return debug!("not making a check that cannot be read: {error}"),
        };
        let host: Arc<str> = assignment.check.as_ref().map_or("", Check::host).into();
        let number = self.next_number;
        self.next_number += 1;
        let job = Job {
            number,
            assignment,
            host: Arc::clone(&host),
            slot: 0,
            attempt: 0,
            round: 0,
            is_single: true,
            is_close: false,
            is_set_aside: false,
            queued_at: now,
            planned_at: None,
        };
        if self.single_checks >= MAX_SINGLE_CHECKS {
            let finding = Finding::unmeasured("the agent is busy with other single checks");
            return self.answer(&job, Timestamp::EPOCH, finding, Timestamp::EPOCH);
        }
        self.single_checks += 1;
        self.gate.offer(host, Class::Verification, job);
    }

    /// Says what a single check found, to whoever is connected now.
    fn answer(&mut self, job: &Job, started_at: Timestamp, finding: Finding, now: Timestamp) {
        let (Some(region), Some(_)) = (self.region.clone(), &self.terms) else { return };
        let result = result_to_wire(&result(job, region, started_at, finding));
        let age_us = u64::try_from(now.since(started_at).as_micros()).unwrap_or(u64::MAX);
        let checked = v1::Checked { result: Some(v1::Result { age_us, ..result }) };
        self.outbox.push_back(message(ToCoordinator::Checked(checked)));
    }

    fn ring(&mut self, alarm: Alarm, now: Timestamp) {
        match alarm {
            Alarm::Slow(number) => {
                let Some(Running { job, started_at, .. }) = self.running.get(&number) else { return };
                let slow = Slow {
                    monitor: job.monitor(),
                    spec_revision: job.assignment.spec_revision,
                    slot: job.slot,
                    started_at: *started_at,
                };
                if self.terms.is_some() {
                    self.outbox.push_back(message(ToCoordinator::Slow(slow_to_wire(&slow, now))));
                }
            }
            Alarm::SecondAttempt { monitor, spec_revision, round } => {
                let Some(held) = self.held.get(&monitor) else { return };
                if held.round == Some((round, false)) && held.assignment.spec_revision == spec_revision {
                    let slot = held.grid().slot(self.server(now));
                    self.queue(monitor, (slot, 2, round), None, now);
                }
            }
        }
    }

    fn acked(&mut self, ack: &v1::Ack, now: Timestamp) {
        if self.terms.as_ref().is_none_or(|terms| terms.agent_epoch != ack.agent_epoch) {
            return;
        }
        for range in &ack.ranges {
            self.spool.ack(range.first, range.last, now);
        }
        if ack.refused > 0 {
            debug!(refused = ack.refused, "the coordinator refused results");
        }
        if self.is_blocked {
            self.flush(now);
        }
    }

    fn keep(&mut self, job: &Job, started_at: Timestamp, mut finding: Finding, is_routine: bool) {
        // Assignments come after a Welcome, so the region is known; it does not cross the network anyway.
        let Some(region) = self.region.clone() else { return };
        let capture = finding.capture.take();
        let result = result_to_wire(&result(job, region, started_at, finding));
        let capture = capture.map(|capture| capture_to_wire(*capture));
        self.spool.push(&v1::Result { capture, ..result }, started_at, is_routine);
    }

    /// The coordinator's clock.
    fn server(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(now.as_micros().saturating_add(self.offset_us))
    }

    /// Our clock, at an instant of the coordinator's.
    fn local(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros().saturating_sub(self.offset_us))
    }
}

fn result(job: &Job, region: RegionId, started_at: Timestamp, finding: Finding) -> CheckResult {
    CheckResult {
        monitor: job.monitor(),
        spec_revision: job.assignment.spec_revision,
        region,
        slot: job.slot,
        attempt: job.attempt,
        round: job.round,
        started_at,
        duration: finding.duration,
        outcome: finding.outcome,
        phases: finding.phases,
        http_status: finding.http_status,
        peer: finding.peer,
        health: finding.health,
    }
}

fn message(message: ToCoordinator) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}
