//! Heartbeats: jobs that ping, are late, stop and come back, and a coordinator that is not always there to hear.
//!
//! Each job pings a little before its interval is over, now and then late but within its grace, and sometimes stops for
//! long. While the coordinator is gone its pings are refused; the job tries again after 1, 2, 4, 8 and 16 s and then gives
//! up, as `curl --retry 5` does. The state that survives a kill is what the store would hold.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::Effect;
use engine::heartbeat::{self, Event, PingKind, Policy, State};
use model::Timestamp;

use crate::fault::{self, Absence};
use crate::random::Source;
use crate::span::{Calendar, START, Span};

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Time that jobs were watched, in seconds.
    pub job_secs: f64,
    /// Pings that were sent and those of them that nobody heard.
    pub pings: u64,
    /// Of these, given up.
    pub lost: u64,
    /// Incidents of jobs that had pinged in time, other than the following.
    pub false_incidents: u64,
    /// Incidents of jobs that had pinged in time, but twice in a row unheard, or once unheard and late both times. They
    /// cannot be told from jobs that stopped, which must be found by then.
    pub unheard_twice: u64,
    /// Times that a job stopped.
    pub stops: u64,
    /// Of these, found within two intervals and the grace.
    pub found: u64,
    /// From the last ping to the incident, in parts of interval plus grace.
    pub found_after: Vec<f64>,
    /// Seed, job and instant of what went wrong.
    pub violations: Vec<(u64, usize, Timestamp)>,
}

impl Figures {
    /// Adds another world's.
    pub fn add(&mut self, other: Self) {
        self.job_secs += other.job_secs;
        self.pings += other.pings;
        self.lost += other.lost;
        self.false_incidents += other.false_incidents;
        self.unheard_twice += other.unheard_twice;
        self.stops += other.stops;
        self.found += other.found;
        self.found_after.extend(other.found_after);
        self.violations.extend(other.violations);
    }
}

/// How long a job tries to be heard.
const RETRIES: Duration = Duration::from_secs(32);

/// One job's plan.
struct Job {
    interval: Duration,
    policy: Policy,
    /// What it sends, and when.
    pings: Vec<(Timestamp, PingKind)>,
    /// From its last ping to its first again.
    stops: Calendar<()>,
}

/// Lets the jobs of a seed run.
#[must_use]
pub fn run(seed: u64, days: u32, jobs: usize, is_absent: bool) -> Figures {
    let end = START.plus(Duration::from_secs(u64::from(days) * 86_400));
    let source = Source::new(seed).of(77);
    let absences = if is_absent { absences(end, source.of(0)) } else { Calendar::default() };
    // Nobody is there any more to say what is true at the end of an absence beyond the end.
    let end = absences.at(end).map_or(end, |(span, _)| span.from);
    let mut figures = Figures::default();
    for number in 0..jobs {
        let source = source.of(1).of(number as u64);
        let job = Job::new(number, end, source.of(0));
        let mut life = Life::new(&job, &absences, source.of(1));
        life.run(end);
        let incidents = std::mem::take(&mut life.incidents);
        figures.pings += life.pings;
        figures.lost += life.lost.len() as u64;
        figures.job_secs += end.since(START).as_secs_f64();
        figures.judge(&job, &absences, &incidents, &life.lost, end, (seed, number));
    }
    figures
}

/// The coordinator's absences as jobs notice them: agents are not part of this world.
fn absences(end: Timestamp, source: Source) -> Calendar<Absence> {
    let mut calendar = Calendar::default();
    for &(span, absence) in fault::of_coordinator(end, source).iter() {
        if absence != Absence::Isolated {
            calendar.push(span, absence);
        }
    }
    calendar
}

impl Job {
    fn new(number: usize, end: Timestamp, source: Source) -> Self {
        let interval = Duration::from_secs([60, 300, 3_600, 21_600, 90_000][number % 5]);
        let policy = Policy::every(interval, heartbeat::default_grace(interval));
        let sends_start = number.is_multiple_of(3);
        let mut pings = vec![];
        let mut stops = Calendar::default();
        let mut at = START.plus(source.of(0).between(Duration::from_secs(1), interval));
        for run in 0.. {
            let source = source.of(1).of(run);
            if at >= end {
                break;
            }
            if sends_start {
                pings.push((
                    at.minus(source.of(0).between(Duration::from_millis(100), interval / 5)),
                    PingKind::Start,
                ));
            }
            pings.push((at, PingKind::Success));
            // Once in two hundred runs, and once a week at least.
            let stop_chance = (interval.as_secs_f64() / (7.0 * 86_400.0)).max(0.002);
            let late = if source.of(1).chance(0.05) {
                policy.grace.mul_f64(0.8 * source.of(2).unit())
            } else {
                Duration::ZERO
            };
            let mut next = at.plus(interval.mul_f64(0.98) + late);
            if source.of(3).chance(stop_chance) {
                next = at.plus(interval * 5 + policy.grace + Duration::from_secs(5 * 3_600));
                stops.push(Span { from: at, to: next }, ());
            }
            at = Timestamp::from_micros(next.as_micros() / 1_000 * 1_000);
        }
        pings.sort_by_key(|(at, _)| *at);
        Self { interval, policy, pings, stops }
    }
}

/// A job's heartbeat in the coordinator.
struct Life<'a> {
    job: &'a Job,
    absences: &'a Calendar<Absence>,
    source: Source,
    state: State,
    stored: State,
    stored_at: Timestamp,
    journal: Vec<(Timestamp, Event)>,
    /// From opening to resolution.
    incidents: Vec<Span>,
    pings: u64,
    /// When those pings were sent that nobody heard.
    lost: BTreeSet<Timestamp>,
}

impl<'a> Life<'a> {
    fn new(job: &'a Job, absences: &'a Calendar<Absence>, source: Source) -> Self {
        let state = heartbeat::new(START);
        Self {
            job,
            absences,
            source,
            stored: state.clone(),
            state,
            stored_at: START,
            journal: vec![],
            incidents: vec![],
            pings: 0,
            lost: BTreeSet::new(),
        }
    }

    fn run(&mut self, end: Timestamp) {
        let mut heard: Vec<(Timestamp, PingKind)> = vec![];
        for (number, &(at, kind)) in (0..).zip(&self.job.pings) {
            self.pings += 1;
            match self.delivered(at, self.source.of(number)) {
                Some(at) => heard.push((at, kind)),
                None => drop(self.lost.insert(at)),
            }
        }
        heard.sort_by_key(|(at, _)| *at);
        let mut absences = self.absences.iter().copied().peekable();
        for (at, kind) in heard {
            while let Some((span, absence)) = absences.next_if(|(span, _)| span.to <= at) {
                self.miss(span, absence);
            }
            self.reach_deadlines(at);
            self.apply(Event::Pinged { kind, at, run: None }, at);
        }
        for (span, absence) in absences.filter(|(span, _)| span.to <= end) {
            self.miss(span, absence);
        }
        self.reach_deadlines(end);
    }

    /// When a ping is committed, if it is.
    fn delivered(&self, at: Timestamp, source: Source) -> Option<Timestamp> {
        const PATIENCE: Duration = Duration::from_secs(30);
        (0..6).find_map(|attempt| {
            let at = at
                .plus(Duration::from_secs((1 << attempt) - 1))
                .plus(source.between(Duration::ZERO, Duration::from_millis(300)));
            match self.absences.at(at) {
                None | Some((_, Absence::ClockStep | Absence::Isolated)) => Some(at),
                Some((span, Absence::Frozen)) if span.to.since(at) < PATIENCE => {
                    Some(span.to.plus(Duration::from_millis(2)))
                }
                Some(_) => None,
            }
        })
    }

    /// The coordinator was gone.
    fn miss(&mut self, span: Span, absence: Absence) {
        self.reach_deadlines(span.from);
        let source = self.source.of(span.from.as_micros() as u64);
        let alive_at = span.from.minus(source.between(Duration::ZERO, Duration::from_secs(1)));
        match absence {
            Absence::Killed | Absence::CannotCommit { forgets: true } => {
                let mut state = self.stored.clone();
                for (at, event) in std::mem::take(&mut self.journal) {
                    state = heartbeat::fold(state, &self.job.policy, &event, at);
                }
                self.state = state.clone();
                self.stored = state;
            }
            Absence::Frozen if span.length() <= Duration::from_secs(3) => return,
            Absence::Isolated => return,
            Absence::Frozen | Absence::CannotCommit { forgets: false } | Absence::ClockStep => {}
        }
        self.apply(Event::Blind { from: alive_at, to: span.to }, span.to);
        self.reach_deadlines(span.to);
    }

    fn reach_deadlines(&mut self, until: Timestamp) {
        while let Some(at) = heartbeat::deadline(&self.state, &self.job.policy).filter(|at| *at <= until) {
            self.apply(Event::DeadlineReached, at);
        }
    }

    fn apply(&mut self, event: Event, now: Timestamp) {
        // The snapshot of the last full minute.
        if now.as_secs() / 60 > self.stored_at.as_secs() / 60 {
            self.store(now);
        }
        if matches!(event, Event::Pinged { .. }) {
            self.journal.push((now, event));
        }
        let transition = heartbeat::apply(self.state.clone(), &self.job.policy, &event, now);
        for effect in &transition.effects {
            match effect {
                Effect::Open(_) => {
                    self.incidents.push(Span { from: now, to: Timestamp::from_micros(i64::MAX) });
                }
                Effect::Resolve { resolved_at, .. } => {
                    if let Some(incident) = self.incidents.last_mut() {
                        incident.to = *resolved_at;
                    }
                }
                _ => {}
            }
        }
        // An excuse is stored though it has no effects.
        let is_marked = !transition.effects.is_empty()
            || (matches!(event, Event::Blind { .. }) && transition.state != self.state);
        self.state = transition.state;
        if is_marked {
            self.store(now);
        }
    }

    fn store(&mut self, now: Timestamp) {
        self.stored = self.state.clone();
        self.stored_at = now;
        self.journal.clear();
    }
}

impl Figures {
    fn judge(
        &mut self,
        job: &Job,
        absences: &Calendar<Absence>,
        incidents: &[Span],
        lost: &BTreeSet<Timestamp>,
        end: Timestamp,
        (seed, number): (u64, usize),
    ) {
        let window = job.interval + job.policy.grace;
        for at in incidents.iter().map(|incident| incident.from) {
            let was_stopped = job.stops.at(at).is_some_and(|(stop, ())| at >= stop.from.plus(window));
            if was_stopped {
                continue;
            }
            let mut before =
                job.pings.iter().rev().filter(|(ping, kind)| *kind == PingKind::Success && *ping < at);
            let unheard_twice = before.clone().take(2).filter(|(ping, _)| lost.contains(ping)).count() == 2;
            let last_heard = before.find(|(ping, _)| !lost.contains(ping)).map(|(ping, _)| *ping);
            // A job that stopped would have to be found by now.
            let late_twice = last_heard.is_some_and(|last| at.plus(RETRIES) >= found_by(job, absences, last));
            if unheard_twice || late_twice {
                self.unheard_twice += 1;
            } else {
                self.false_incidents += 1;
                self.violations.push((seed, number, at));
            }
        }
        for (stop, ()) in job.stops.iter() {
            let due_at = found_by(job, absences, stop.from);
            // Who never was heard of is not missed.
            let was_heard = job
                .pings
                .iter()
                .any(|(ping, kind)| *kind == PingKind::Success && *ping <= stop.from && !lost.contains(ping));
            if !was_heard || due_at >= stop.to.min(end) {
                continue;
            }
            self.stops += 1;
            let told = incidents.iter().find(|incident| incident.from <= due_at && due_at < incident.to);
            match told {
                Some(incident) => {
                    self.found += 1;
                    let after = incident.from.since(stop.from);
                    // One that stopped before, whose few pings nobody heard, is still told of.
                    if !after.is_zero() {
                        self.found_after.push(after.as_secs_f64() / window.as_secs_f64());
                    }
                }
                None => self.violations.push((seed, number, due_at)),
            }
        }
    }
}

/// When a job that last pinged at `last` must be known to have stopped: two intervals and the grace later, however often
/// the coordinator was away; only after an absence in which a whole grace could not be heard that time begins anew.
fn found_by(job: &Job, absences: &Calendar<Absence>, last: Timestamp) -> Timestamp {
    // Its last ping may have been heard only when it was tried again.
    let grace = job.policy.grace;
    let twice = job.interval * 2 + grace;
    let mut by = last.plus(twice).plus(RETRIES);
    for (span, _) in absences.within(Span { from: last, to: Timestamp::from_micros(i64::MAX) }) {
        if span.from.minus(Duration::from_secs(1)) > by {
            break;
        }
        // The second during which the coordinator may have been gone already.
        if span.length() + Duration::from_secs(1) >= grace {
            by = by.max(span.to.plus(twice));
        }
        by = by.max(span.to.min(by.plus(span.length())));
    }
    by
}
