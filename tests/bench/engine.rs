//! The engine: a million monitors in three regions, evaluated in one thread.
//!
//! States, policies, votes and reasons are the real ones, and so is every result's way through [`monitor::apply`]. What
//! the coordinator does around it (decoding, journal, commit) is measured in `fleet`. As there, equal policies are one and
//! the names of the regions are shared; every monitor has been edited a few times, so that there are some policies all the
//! same. Rounds are answered and deadlines kept, so that incidents open and resolve as they would; what came of a mix is
//! counted and checked.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use engine::Effect;
use engine::monitor::{self, Event, Policy, State, Status, Thresholds};
use engine::quorum::Policy as QuorumPolicy;
use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId, Timestamp};
use tokio::time::Instant;

use crate::report::{Budget, Report, Row, figure, percentile};
use crate::usage;

const MONITORS: usize = 1_000_000;
const REGIONS: [&str; 3] = ["ap-south", "eu-west", "us-east"];
/// How often a monitor was edited, at most.
const EDITIONS: u64 = 20;
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_TAKES: Duration = Duration::from_millis(40);
/// Between the two attempts of a round.
const SECOND_ATTEMPT: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Results between two looks at the clock.
const STRETCH: usize = 1_000;
/// Results that an agent reports at once.
const BATCH: usize = 100;
/// A full period over the first 2²⁰ numbers (Hull and Dobell).
const SHUFFLE: fn(usize) -> usize = |index| (index * 1_664_525 + 1_013_904_223) & 0xF_FFFF;

/// Measures all of it.
///
/// # Errors
/// When the engine does not decide what it must.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.part("engine")?;
    let resident = || usage::resident_kb(std::process::id());
    let empty = resident()?;
    let policies = policies()?;
    let mut fleet = Fleet::begin(policies);
    fleet.run(Outage::None, Order::Memory);
    let full = resident()?;
    ensure!(fleet.are(Status::Up) == MONITORS, "not every monitor is up after its first votes");
    let each = |kb: u64| (kb << 10) as f64 / MONITORS as f64;
    report.add(
        Row::new(
            "Engine state of a monitor × 3 regions, each with its vote",
            each(full.saturating_sub(empty)),
            "B",
        )
        .beside(format!(
            "RSS + {} MB for 1,000,000 and their {EDITIONS} policies; by the sizes {} B",
            full.saturating_sub(empty) >> 10,
            size_of::<Monitor>() + chunk(size_of::<State>()),
        ))
        .budget(Budget::AtMost(512.0)),
    );

    let mut normal = Vec::new();
    for order in [Order::Memory, Order::Random, Order::RandomBatches] {
        let ran = [Outage::None, Outage::OneRegion].map(|outage| fleet.run(outage, order));
        ensure!(fleet.are(Status::Degraded) == MONITORS / 100, "not every hundredth monitor is degraded");
        normal.push((ran, ran.map(|ran| ran.rate()).into_iter().fold(f64::INFINITY, f64::min)));
    }
    let told =
        |[pass, fail]: [Ran; 2]| format!("all pass {}; 1 % fail in one region {}", pass.told(), fail.told());
    let [in_memory, random, batches] = normal.as_slice() else { anyhow::bail!("there are three orders") };
    report.add(
        Row::new("Engine in one thread, the worse of two normal mixes", in_memory.1, "results/s")
            .beside(format!("{}; of the thread's time on a processor", told(in_memory.0)))
            .budget(Budget::AtLeast(2_000_000.0)),
    );
    report.add(
        Row::new("Engine in one thread, the same in random order, in batches", batches.1, "results/s")
            .beside(format!(
                "the monitors of {BATCH} results are looked at before the first is applied; {}; applied one by one {}/s; \
                 only moving states and looking at their votes {}/s",
                told(batches.0),
                figure(random.1),
                figure(fleet.touch()),
            ))
            .budget(Budget::AtLeast(2_000_000.0)),
    );

    let down = fleet.run(Outage::Everywhere, Order::Random);
    ensure!(fleet.are(Status::Down) == MONITORS / 10, "not every tenth monitor is down");
    let up = fleet.run(Outage::None, Order::Random);
    ensure!(fleet.are(Status::Up) == MONITORS, "not every monitor is up again");
    report.add(
        Row::new("Engine in one thread, 10 % fail everywhere, in random order", down.rate(), "results/s")
            .beside(format!("{}; the recovery {}", down.told(), up.told())),
    );
    Ok(())
}

/// What is wrong with the targets.
#[derive(Clone, Copy, Debug)]
enum Outage {
    None,
    /// Every hundredth, as seen from the first region.
    OneRegion,
    /// Every tenth.
    Everywhere,
}

impl Outage {
    const fn strikes(self, monitor: usize, region: usize) -> bool {
        match self {
            Self::None => false,
            Self::OneRegion => region == 0 && monitor.is_multiple_of(100),
            Self::Everywhere => monitor.is_multiple_of(10),
        }
    }
}

/// In which order the results of a region come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As the monitors lie in memory.
    Memory,
    /// Each where no cache expects it.
    Random,
    /// The same, but the monitors of a batch are looked at before the first of its results is applied.
    RandomBatches,
}

/// What the results of a slot took and what came of them.
#[derive(Clone, Copy, Debug, Default)]
struct Ran {
    results: u64,
    /// On the processor: other work on the machine does not count.
    took: Duration,
    p50_ns: f64,
    p99_ns: f64,
    rounds: u64,
    opened: u64,
    resolved: u64,
    statuses: u64,
    others: u64,
}

impl Ran {
    fn rate(&self) -> f64 {
        self.results as f64 / self.took.as_secs_f64()
    }

    fn told(&self) -> String {
        format!(
            "{}/s (p50 {:.0} ns, p99 {:.0} ns; {} rounds, {} opened, {} resolved, {} changes of status)",
            figure(self.rate()),
            self.p50_ns,
            self.p99_ns,
            self.rounds,
            self.opened,
            self.resolved,
            self.statuses
        )
    }

    const fn effects(&self) -> u64 {
        self.rounds + self.opened + self.resolved + self.statuses + self.others
    }

    /// Counts effects; whether a round was asked for.
    fn count(&mut self, effects: &[Effect]) -> bool {
        let before = self.rounds;
        for effect in effects {
            match effect {
                Effect::Verify { .. } => self.rounds += 1,
                Effect::Open(_) => self.opened += 1,
                Effect::Resolve { .. } => self.resolved += 1,
                Effect::MonitorStatus { .. } => self.statuses += 1,
                _ => self.others += 1,
            }
        }
        self.rounds > before
    }
}

/// The monitors, as the owner of their shards holds them, and what their agents say.
struct Fleet {
    monitors: Vec<Monitor>,
    agents: [Agent; REGIONS.len()],
    slot: u32,
    ran: Ran,
}

struct Monitor {
    policy: Arc<Policy>,
    /// Taken while an event is applied.
    state: Option<Box<State>>,
}

/// What an agent says, over and over.
struct Agent {
    pass: Event,
    fail: Event,
}

impl Agent {
    fn new(index: usize) -> Self {
        let says = |outcome| Event::Observed {
            agent: AgentId::from_bytes([u8::try_from(index).unwrap_or_default(); 16]),
            result: Box::new(CheckResult {
                monitor: MonitorId::from_bytes([0; 16]),
                spec_revision: 1,
                region: REGIONS[index].parse().expect("these are regions"),
                slot: 0,
                attempt: 0,
                round: 0,
                started_at: START,
                duration: CHECK_TAKES,
                outcome,
                phases: Phases::default(),
                http_status: None,
                peer: None,
                health: None,
            }),
        };
        let refused = Failure::new(FailureKind::Connect, "connection refused");
        Self { pass: says(Outcome::Pass), fail: says(Outcome::Fail(refused)) }
    }

    /// What it says of a check that followed this revision.
    fn says(&mut self, fails: bool, spec_revision: u64, at: Timestamp) -> &Event {
        let said = if fails { &mut self.fail } else { &mut self.pass };
        if let Event::Observed { result, .. } = said {
            result.started_at = at;
            result.spec_revision = spec_revision;
        }
        said
    }
}

impl Fleet {
    fn begin(policies: Vec<Arc<Policy>>) -> Self {
        let begin = |policy: Arc<Policy>| Monitor { state: Some(monitor::new(&policy, START)), policy };
        let monitors = policies.into_iter().map(begin).collect();
        let mut fleet =
            Self { monitors, agents: std::array::from_fn(Agent::new), slot: 0, ran: Ran::default() };
        for region in REGIONS {
            let live = Event::RegionLive { region: region.parse().expect("these are regions"), live: true };
            for monitor in 0..MONITORS {
                fleet.apply(monitor, &live, START);
            }
        }
        fleet
    }

    /// One scheduled check of every monitor, region after region.
    fn run(&mut self, outage: Outage, order: Order) -> Ran {
        self.slot += 1;
        self.ran = Ran::default();
        let mut stretches = Vec::with_capacity(REGIONS.len() * MONITORS / STRETCH);
        let pause = INTERVAL / 3;
        let cpu = usage::thread_cpu();
        let (mut batch, mut last) = ([0; BATCH], 0);
        for region in 0..REGIONS.len() {
            let started_at =
                START.plus(INTERVAL * self.slot + pause * u32::try_from(region).unwrap_or_default());
            for _ in 0..MONITORS / STRETCH {
                let (began, before) = (Instant::now(), self.ran.results);
                for _ in 0..STRETCH / BATCH {
                    for place in &mut batch {
                        last = next(last, order != Order::Memory);
                        *place = last;
                    }
                    if order == Order::RandomBatches {
                        batch.iter().for_each(|monitor| self.monitors[*monitor].look());
                    }
                    for monitor in batch {
                        self.check(monitor, region, outage, started_at, started_at.plus(pause));
                    }
                }
                stretches.push(began.elapsed().as_nanos() as f64 / (self.ran.results - before) as f64);
            }
        }
        self.ran.took = usage::thread_cpu().saturating_sub(cpu);
        (self.ran.p50_ns, self.ran.p99_ns) =
            (percentile(&mut stretches, 0.5), percentile(&mut stretches, 0.99));
        self.ran
    }

    /// A scheduled check and all that follows from it until the next one.
    fn check(
        &mut self,
        monitor: usize,
        region: usize,
        outage: Outage,
        started_at: Timestamp,
        until: Timestamp,
    ) {
        let mut now = started_at.plus(CHECK_TAKES);
        let effects = self.ran.effects();
        let mut asked = self.observe(monitor, region, outage, started_at);
        if effects == self.ran.effects() {
            return;
        }
        loop {
            if asked {
                asked = false;
                for started_at in [now, now.plus(SECOND_ATTEMPT)] {
                    for region in 0..REGIONS.len() {
                        asked |= self.observe(monitor, region, outage, started_at);
                    }
                    now = started_at.plus(CHECK_TAKES);
                }
                continue;
            }
            let Monitor { policy, state } = &self.monitors[monitor];
            let deadline = state.as_ref().and_then(|state| monitor::deadline(state, policy));
            let Some(at) = deadline.filter(|at| *at < until) else { return };
            now = at.max(now);
            asked = self.apply(monitor, &Event::DeadlineReached, now);
        }
    }

    fn observe(&mut self, monitor: usize, region: usize, outage: Outage, started_at: Timestamp) -> bool {
        self.ran.results += 1;
        let fails = outage.strikes(monitor, region);
        let said = self.agents[region].says(fails, self.monitors[monitor].policy.spec_revision, started_at);
        let now = started_at.plus(CHECK_TAKES);
        self.monitors[monitor].apply(said, now, &mut self.ran)
    }

    fn apply(&mut self, monitor: usize, event: &Event, now: Timestamp) -> bool {
        self.monitors[monitor].apply(event, now, &mut self.ran)
    }

    fn are(&self, status: Status) -> usize {
        self.monitors
            .iter()
            .flat_map(|monitor| &monitor.state)
            .filter(|state| state.status() == status)
            .count()
    }

    /// The least that evaluating a result can cost: per second, how many states can be moved out and back in random
    /// order with a look at their votes.
    fn touch(&mut self) -> f64 {
        let cpu = usage::thread_cpu();
        let mut place = 0;
        for _ in 0..MONITORS {
            let state = self.monitors[place].state.take();
            self.monitors[place].state = state;
            self.monitors[place].look();
            place = next(place, true);
        }
        MONITORS as f64 / usage::thread_cpu().saturating_sub(cpu).as_secs_f64()
    }
}

impl Monitor {
    /// Applies an event as the owner of a shard does; whether a round is asked for.
    fn apply(&mut self, event: &Event, now: Timestamp, ran: &mut Ran) -> bool {
        let Some(state) = self.state.take() else { return false };
        let transition = monitor::apply(state, &self.policy, event, now);
        self.state = Some(transition.state);
        ran.count(&transition.effects)
    }

    /// Brings it into the caches.
    fn look(&self) {
        let Some(state) = &self.state else { return };
        let votes = state.regions().filter(|region| region.live).flat_map(|region| &region.vote);
        black_box((state.status_since(), state.round(), votes.map(|vote| vote.started_at).max()));
    }
}

/// The monitor after this one, in a circle over all.
fn next(place: usize, shuffled: bool) -> usize {
    if !shuffled {
        return (place + 1) % MONITORS;
    }
    let mut place = SHUFFLE(place);
    while place >= MONITORS {
        place = SHUFFLE(place);
    }
    place
}

/// Each monitor's policy, as the coordinator holds them.
fn policies() -> Result<Vec<Arc<Policy>>> {
    let regions: Vec<RegionId> = REGIONS.iter().map(|region| region.parse()).collect::<Result<_, _>>()?;
    let quorum = QuorumPolicy::default();
    let policy = |edition| Policy {
        quorum: quorum.over(&regions),
        regions: regions.clone(),
        interval: INTERVAL,
        timeout: TIMEOUT,
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: Thresholds::default(),
        has_parents: false,
        spec_revision: edition,
    };
    let policies: Vec<_> = (1..=EDITIONS).map(|edition| Arc::new(policy(edition))).collect();
    Ok(policies.iter().cycle().take(MONITORS).map(Arc::clone).collect())
}

/// What the allocator takes for so many bytes on 64 bits: 8 of its own, rounded up to 16.
const fn chunk(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16)
}
