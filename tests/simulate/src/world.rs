//! One seed's world: its monitors and their targets, its agents and their faults. Everything that will happen is fixed
//! before the simulation begins, except what the coordinator makes of it.

use std::time::Duration;

use engine::{monitor, placement, quorum};
use model::{MonitorId, RegionId, Timestamp};

use crate::fault::{self, AGENTS_PER_REGION, REGIONS};
use crate::network::Network;
use crate::random::Source;
use crate::scenario::{Arranged, Scenario};
use crate::span::{Calendar, START};
use crate::target::{Target, Troubles};
use crate::windows::{Plans, Windows};

/// Time one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest interval.
const INTERVAL_SHORT: Duration = Duration::from_secs(30);

/// A world.
#[derive(Debug)]
pub struct World {
    /// When it ends.
    pub end: Timestamp,
    /// Its monitors.
    pub monitors: Vec<Monitor>,
    /// Whether agents may be set aside.
    pub quarantines: bool,
    /// Its agents.
    pub network: Network,
    /// Part of all attempts that are lost, whoever makes them.
    pub loss: f64,
    /// Part of all attempts that take long without failing.
    pub tail: f64,
}

/// A monitor and its target.
#[derive(Debug)]
pub struct Monitor {
    /// Its id.
    pub id: MonitorId,
    /// What its user decided.
    pub policy: monitor::Policy,
    /// Its regions, by number, in the policy's order.
    pub places: Vec<Place>,
    /// What it checks.
    pub target: Target,
    /// When nothing is judged.
    pub windows: Windows,
    /// The monitor that it depends on.
    pub parent: Option<usize>,
    /// The monitors that depend on it.
    pub children: Vec<usize>,
    /// Randomness of its checks.
    pub source: Source,
}

/// A monitor seen from one of its regions.
#[derive(Clone, Debug)]
pub struct Place {
    /// The region.
    pub region: usize,
    /// Which of the region's agents is primary while both are live.
    pub preferred: usize,
    /// When within the interval it is checked from here.
    pub phase: Duration,
    /// How long a check from here usually takes.
    pub latency: Duration,
    /// A check pending for longer is slow: `max(1 s, 3 × p95)`.
    pub slow_after: Duration,
}

impl World {
    /// The world of a scenario and a seed.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64, days: u32, monitors: usize) -> Self {
        let end = START.plus(Duration::from_secs(u64::from(days) * 86_400));
        let source = Source::new(seed);
        let coordinator =
            if scenario.coordinator { fault::of_coordinator(end, source.of(0)) } else { Calendar::default() };
        let network = Network::new(scenario.faults, coordinator, end, source.of(1));
        let quarantines = scenario.arranged == Arranged::Quarantine;
        let monitors = if quarantines { monitors.div_ceil(20).max(50) } else { monitors };
        let plans = (scenario.arranged == Arranged::Maintenance).then(|| Plans::new(end));
        let mut monitors: Vec<Monitor> = (0..monitors)
            .map(|number| Monitor::new(scenario, plans.as_ref(), number, end, source.of(2).of(number as u64)))
            .collect();
        for child in 0..monitors.len() {
            if let Some(parent) = monitors[child].parent {
                monitors[child].target.gateway = monitors[parent].target.troubles.clone();
                monitors[parent].children.push(child);
            }
        }
        Self { end, monitors, quarantines, network, loss: scenario.loss, tail: 0.000_5 }
    }
}

impl Monitor {
    fn new(
        scenario: &Scenario,
        plans: Option<&Plans>,
        number: usize,
        end: Timestamp,
        source: Source,
    ) -> Self {
        let is_short = scenario.arranged == Arranged::Quarantine;
        let interval = if is_short { INTERVAL_SHORT } else { interval(number) };
        let (regions, quorum) = scenario.policy(number);
        let parent = scenario.parent(number, source.of(13));
        let policy = monitor::Policy { has_parents: parent.is_some(), ..policy(regions, quorum, interval) };
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        // The seed moves the phases too.
        id[..8].copy_from_slice(&source.bits().to_be_bytes());
        let id = MonitorId::from_bytes(id);
        let places = (0..regions)
            .map(|rank| Place::new(id, rank, regions, interval, source.of(rank as u64)))
            .collect();
        // What strikes all targets at once is the same for all.
        let fate = match scenario.troubles {
            Troubles::Together | Troubles::Never => source.of(10),
            Troubles::Alone => source.of(11),
        };
        let mut target = Target::new(scenario.troubles, interval, end, fate);
        let windows = plans.map(|plans| Windows::new(plans, end, source.of(14))).unwrap_or_default();
        target.work_in(&windows.planned, interval, source.of(15));
        let source = source.of(12);
        Self { id, policy, places, target, windows, parent, children: vec![], source }
    }

    /// Its regions' ids.
    pub fn region_ids(&self) -> impl Iterator<Item = &RegionId> {
        self.policy.regions.iter()
    }
}

impl Place {
    fn new(id: MonitorId, region: usize, regions: usize, interval: Duration, source: Source) -> Self {
        let phase = placement::phase(id, region, regions, interval);
        let latency = source.of(0).log_between(Duration::from_millis(15), Duration::from_millis(400));
        Self {
            region,
            preferred: source.of(1).below(AGENTS_PER_REGION as u64) as usize,
            phase: Duration::from_millis(phase.as_millis() as u64),
            latency,
            // Nineteen of twenty checks take at most 1.57 times the usual: see `check`.
            slow_after: Duration::from_secs(1).max(latency * 471 / 100),
        }
    }
}

/// A tenth of all monitors is checked every 30 s, three tenths every hour, the others every 5 min.
#[must_use]
pub fn interval(number: usize) -> Duration {
    Duration::from_secs(match number % 10 {
        0 => 30,
        1..=6 => 300,
        _ => 3_600,
    })
}

/// The engine's policy: the one place where it is made.
#[must_use]
fn policy(regions: usize, quorum: &str, interval: Duration) -> monitor::Policy {
    let quorum: quorum::Policy = quorum.parse().expect("scenarios name policies that exist");
    let regions: Vec<_> =
        REGIONS[..regions].iter().map(|id| RegionId::new(id).expect("a valid id")).collect();
    monitor::Policy {
        quorum: quorum.over(&regions),
        regions,
        interval,
        timeout: TIMEOUT,
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: monitor::Thresholds::default(),
        has_parents: false,
        spec_revision: 1,
    }
}
