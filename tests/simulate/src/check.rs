//! One attempt: what the target does, what the way there does, and what the agent makes of it.

use std::time::Duration;

use engine::monitor::Event;
use model::{AgentId, CheckResult, Failure, FailureKind, Outcome, Phases, Timestamp};

use crate::fault::{Fault, Lie};
use crate::network::Agent;
use crate::random::Source;
use crate::target::Answer;
use crate::world::{Monitor, TIMEOUT, World};

/// What an attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What came of it.
    pub what: What,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the timelines")]
pub enum What {
    Pass,
    /// 503: definite.
    Wrong,
    Refused,
    Timeout,
    /// It could not be measured.
    Unable,
}

impl What {
    /// Whether it counts against the target.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Wrong | Self::Refused | Self::Timeout)
    }

    /// Whether a second attempt could say nothing else.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Pass | Self::Wrong)
    }
}

impl Finding {
    /// When it was known.
    #[must_use]
    pub fn ended_at(self) -> Timestamp {
        self.started_at.plus(self.duration)
    }
}

/// The randomness of the scheduled check of a slot.
#[must_use]
pub fn of_slot(monitor: &Monitor, agent: &Agent, slot: i64) -> Source {
    monitor.source.of(agent.number as u64).of(slot as u64)
}

/// The randomness of an attempt in a round.
#[must_use]
pub fn of_round(monitor: &Monitor, agent: &Agent, round: u32, attempt: u64) -> Source {
    monitor.source.of(1_000 + agent.number as u64).of(u64::from(round)).of(attempt)
}

/// Whether nothing happens to an attempt by itself: neither lost nor slow.
#[must_use]
pub fn is_ordinary(world: &World, source: Source) -> bool {
    source.unit() >= world.loss + world.tail
}

/// Makes an attempt; `None`: the agent's process dies before it ends.
#[must_use]
pub fn attempt(
    world: &World,
    monitor: &Monitor,
    rank: usize,
    agent: &Agent,
    started_at: Timestamp,
    source: Source,
) -> Option<Finding> {
    let place = &monitor.places[rank];
    // Nineteen of twenty take at most 1.57 times the usual.
    let usual = millis(place.latency.as_secs_f64() * (0.8 + 0.81 * source.of(1).unit()));
    let luck = source.unit();
    let truth = match monitor.target.answer(started_at) {
        Answer::Good => (What::Pass, usual),
        Answer::Slow => {
            (What::Pass, source.of(2).between(Duration::from_secs(2), Duration::from_millis(9_500)))
        }
        Answer::Wrong => (What::Wrong, usual),
        Answer::Refused => (What::Refused, usual),
        Answer::Nothing => (What::Timeout, TIMEOUT),
    };
    let lost = if source.of(3).chance(0.5) { (What::Timeout, TIMEOUT) } else { (What::Refused, usual) };
    let (mut what, mut duration) = if luck < world.loss {
        lost
    } else if luck < world.loss + world.tail && truth.0 == What::Pass {
        (truth.0, truth.1 + place.slow_after + source.of(4).between(Duration::ZERO, Duration::from_secs(3)))
    } else {
        truth
    };
    match agent.faults.at(started_at) {
        Some((_, Fault::Lossy(part))) if source.of(5).chance(*part) => (what, duration) = lost,
        Some((_, Fault::Lying(lie))) => {
            what = lied(*lie, what, source.of(6));
            duration = if what == What::Timeout { TIMEOUT } else { usual };
        }
        Some((_, Fault::SlowChecks)) => {
            duration += source.of(7).between(Duration::from_millis(500), Duration::from_secs(12));
        }
        Some((_, Fault::Unable)) => (what, duration) = (What::Unable, Duration::ZERO),
        _ => {}
    }
    if duration >= TIMEOUT {
        (what, duration) = (if what == What::Unable { what } else { What::Timeout }, TIMEOUT);
    }
    let finding = Finding { what, started_at, duration };
    let (process, ()) = agent.processes.at(started_at)?;
    (finding.ended_at() < process.to).then_some(finding)
}

fn lied(lie: Lie, truth: What, source: Source) -> What {
    let any = [What::Wrong, What::Refused, What::Timeout][source.below(3) as usize];
    match lie {
        Lie::AllDown => What::Wrong,
        Lie::AllWell => What::Pass,
        Lie::Random if source.of(0).chance(0.5) => What::Pass,
        Lie::Random => any,
        Lie::Contrary if truth == What::Pass => any,
        Lie::Contrary => What::Pass,
    }
}

/// The finding as the engine hears of it, dated as the coordinator dates it.
#[must_use]
pub fn observed(monitor: &Monitor, rank: usize, agent: usize, finding: Finding, dated: Timestamp) -> Event {
    let fail = |kind, detail| Outcome::Fail(Failure::new(kind, detail));
    let outcome = match finding.what {
        What::Pass => Outcome::Pass,
        What::Wrong => fail(FailureKind::Status, "503 Service Unavailable"),
        What::Refused => fail(FailureKind::Connect, "connection refused"),
        What::Timeout => fail(FailureKind::Timeout, "timeout after 10 s"),
        What::Unable => Outcome::Error("too many open files".to_owned()),
    };
    let result = CheckResult {
        monitor: monitor.id,
        spec_revision: monitor.policy.spec_revision,
        region: monitor.policy.regions[rank].clone(),
        slot: 0,
        attempt: 0,
        round: 0,
        started_at: dated,
        duration: finding.duration,
        outcome,
        phases: Phases::default(),
        http_status: None,
        peer: None,
        health: None,
    };
    Event::Observed { agent: AgentId::from_bytes([agent as u8; 16]), result: Box::new(result) }
}

fn millis(secs: f64) -> Duration {
    Duration::from_millis((secs * 1_000.0) as u64)
}
