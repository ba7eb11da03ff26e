//! Sick probes, held against a small world: targets with outages of their own, one agent in each region, of which one
//! may lie. The machines of the monitors and of the agents are wired together as the coordinator does it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::Effect;
use engine::monitor::{self, Event, Judgement, Policy, Status, Thresholds};
use engine::probe::{self, Flip};
use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const INTERVAL: u64 = 60;

/// Millis from the start.
type Millis = u64;

/// Which monitors an agent lies about, and when.
#[derive(Clone, Debug)]
struct Lie {
    region: usize,
    monitors: BTreeSet<usize>,
    from: Millis,
    until: Millis,
}

/// A target is down.
#[derive(Clone, Debug)]
struct Outage {
    monitor: usize,
    from: Millis,
    until: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Check { monitor: usize, region: usize, attempt: u32 },
    Look,
}

struct World {
    regions: usize,
    monitors: usize,
    hosts: usize,
    lies: Vec<Lie>,
    outages: Vec<Outage>,
    policy: Policy,
    #[expect(clippy::vec_box, reason = "as the engine takes and returns them")]
    states: Vec<Box<monitor::State>>,
    /// When something is due for each monitor.
    due: Vec<Option<Timestamp>>,
    probes: Vec<probe::State>,
    agenda: BTreeSet<(Millis, u64, Doing)>,
    serial: u64,
    log: Vec<(Millis, String)>,
}

fn at(millis: Millis) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

fn region(index: usize) -> RegionId {
    RegionId::new(["ap", "eu", "sa", "us"][index]).unwrap()
}

fn agent(index: usize) -> AgentId {
    AgentId::from_bytes([index as u8 + 1; 16])
}

impl World {
    fn new(regions: usize, monitors: usize, hosts: usize) -> Self {
        let ids: Vec<RegionId> = (0..regions).map(region).collect();
        let policy = Policy {
            quorum: engine::quorum::Policy::default().over(&ids),
            regions: ids,
            interval: Duration::from_secs(INTERVAL),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        };
        let mut world = Self {
            regions,
            monitors,
            hosts,
            lies: vec![],
            outages: vec![],
            states: (0..monitors).map(|_| monitor::new(&policy, START)).collect(),
            due: vec![None; monitors],
            policy,
            probes: vec![probe::State::default(); regions],
            agenda: BTreeSet::new(),
            serial: 0,
            log: vec![],
        };
        for monitor in 0..monitors {
            for region_index in 0..regions {
                let live = Event::RegionLive { region: region(region_index), live: true };
                world.tell(monitor, &live, 0);
                // Phases as in `placement`: spread over the interval, regions interleaved.
                let phase = (monitor as u64 * 7_919
                    + region_index as u64 * INTERVAL * 1_000 / regions as u64)
                    % (INTERVAL * 1_000);
                world.plan(phase, Doing::Check { monitor, region: region_index, attempt: 0 });
            }
        }
        world.plan(0, Doing::Look);
        world
    }

    fn plan(&mut self, when: Millis, doing: Doing) {
        self.serial += 1;
        self.agenda.insert((when, self.serial, doing));
    }

    fn run(&mut self, until: Millis) {
        while let Some((now, _, doing)) = self.agenda.pop_first() {
            if now > until {
                return;
            }
            match doing {
                Doing::Check { monitor, region, attempt } => {
                    if attempt == 0 {
                        self.plan(now + INTERVAL * 1_000, Doing::Check { monitor, region, attempt });
                    }
                    self.check(monitor, region, attempt, now);
                }
                Doing::Look => {
                    self.plan(now + 1_000, Doing::Look);
                    for monitor in 0..self.monitors {
                        if self.due[monitor].is_some_and(|due| due <= at(now)) {
                            self.tell(monitor, &Event::DeadlineReached, now);
                        }
                    }
                    for index in 0..self.regions {
                        if probe::deadline(&self.probes[index]).is_some_and(|due| due <= at(now)) {
                            self.judge(index, probe::Event::DeadlineReached, now);
                        }
                    }
                }
            }
        }
    }

    fn check(&mut self, monitor: usize, region_index: usize, attempt: u32, now: Millis) {
        let is_down =
            self.outages.iter().any(|it| it.monitor == monitor && (it.from..it.until).contains(&now));
        let lies = self.lies.iter().any(|lie| {
            lie.region == region_index
                && lie.monitors.contains(&monitor)
                && (lie.from..lie.until).contains(&now)
        });
        let failed = is_down || lies;
        let result = CheckResult {
            monitor: MonitorId::from_bytes([monitor as u8; 16]),
            spec_revision: 1,
            region: region(region_index),
            slot: 0,
            attempt,
            round: 0,
            started_at: at(now),
            duration: Duration::from_millis(1),
            outcome: if failed {
                Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused"))
            } else {
                Outcome::Pass
            },
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        let (observer, observed) = (agent(region_index), result.clone());
        self.tell(monitor, &Event::Observed { agent: observer, result: Box::new(result) }, now);
        self.weigh(monitor, region_index, &observed, now);
    }

    /// As `Stage::weigh` does it.
    fn weigh(&mut self, monitor: usize, voter: usize, result: &CheckResult, now: Millis) {
        let state = &self.states[monitor];
        let mut found = monitor::contradictions(state, &self.policy, at(now));
        let judgement = monitor::judge(state, &self.policy, agent(voter), result, at(now));
        match judgement {
            Judgement::Contradicted(more) if !found.contains(&more) => found.push(more),
            Judgement::Agreed if !self.probes[voter].is_clean() => {
                let burden = self.burden(voter, now);
                self.judge(voter, probe::Event::Agreed { monitor: result.monitor, burden }, now);
            }
            _ => {}
        }
        for it in found {
            let flip = Flip {
                monitor: result.monitor,
                host: format!("host-{}", monitor % self.hosts),
                failed_at: it.failed_at,
                vote_at: it.vote_at,
                contradicted_by: it.contradicted_by,
            };
            let index = (0..self.regions).find(|index| agent(*index) == it.agent).unwrap();
            let burden = self.burden(index, now);
            self.judge(index, probe::Event::Contradicted { flip, burden }, now);
        }
    }

    fn burden(&self, index: usize, now: Millis) -> probe::Burden {
        let votes =
            self.states.iter().flat_map(|state| state.regions()).filter_map(|region| region.vote.as_ref());
        let own = votes.filter(|vote| vote.agent == agent(index));
        own.fold(probe::Burden::default(), |all, vote| all.and(vote.started_at, at(now)))
    }

    fn judge(&mut self, index: usize, event: probe::Event, now: Millis) {
        let transition = probe::apply(self.probes[index].clone(), event, at(now));
        self.probes[index] = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Quarantine { since } => {
                    self.log.push((now, format!("quarantine {}", region(index))));
                    let event =
                        Event::Quarantined { agent: agent(index), name: region(index).to_string(), since };
                    (0..self.monitors).for_each(|monitor| self.tell(monitor, &event, now));
                }
                Effect::Release => {
                    self.log.push((now, format!("release {}", region(index))));
                    let event = Event::Released { agent: agent(index) };
                    (0..self.monitors).for_each(|monitor| self.tell(monitor, &event, now));
                }
                _ => {}
            }
        }
        let deadline = probe::deadline(&self.probes[index]);
        assert!(deadline.is_none_or(|due| due > at(now)), "what is due at {now} stays due");
    }

    fn tell(&mut self, monitor: usize, event: &Event, now: Millis) {
        let state = self.states[monitor].clone();
        let transition = monitor::apply(state, &self.policy, event, at(now));
        self.due[monitor] = monitor::deadline(&transition.state, &self.policy);
        self.states[monitor] = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Verify { .. } => {
                    for region in 0..self.regions {
                        // Answers take their time, each region its own.
                        let first = now + 50 + 37 * region as u64;
                        self.plan(first, Doing::Check { monitor, region, attempt: 1 });
                        self.plan(first + 1_000, Doing::Check { monitor, region, attempt: 2 });
                    }
                }
                Effect::Open(_) => self.log.push((now, format!("open {monitor}"))),
                Effect::Resolve { .. } => self.log.push((now, format!("resolve {monitor}"))),
                _ => {}
            }
        }
    }

    fn logged(&self, word: &str) -> Vec<Millis> {
        self.log.iter().filter(|(_, text)| text.starts_with(word)).map(|(now, _)| *now).collect()
    }
}

const MINUTE: Millis = 60_000;

#[test]
fn a_lying_agent_is_quarantined_alone_opens_nothing_and_is_released_when_it_is_well_again() {
    for regions in [2, 3, 4] {
        let mut world = World::new(regions, 20, 6);
        let lie = Lie { region: 1, monitors: (0..20).collect(), from: 5 * MINUTE, until: 15 * MINUTE };
        world.lies.push(lie);
        world.run(30 * MINUTE);
        let (quarantined, released) = (world.logged("quarantine eu"), world.logged("release eu"));
        assert_eq!((quarantined.len(), released.len()), (1, 1), "{regions} regions: {:?}", world.log);
        assert!((5 * MINUTE..6 * MINUTE).contains(&quarantined[0]), "{:?}", world.log);
        assert!((16 * MINUTE..17 * MINUTE + 10_000).contains(&released[0]), "{:?}", world.log);
        assert_eq!(world.log.len(), 2, "{:?}", world.log);
        assert!(world.states.iter().all(|state| state.status() == Status::Up));
    }
}

#[test]
fn with_no_other_region_nothing_is_quarantined() {
    let mut world = World::new(1, 20, 6);
    world.lies.push(Lie { region: 0, monitors: (0..20).collect(), from: 5 * MINUTE, until: 15 * MINUTE });
    world.run(30 * MINUTE);
    assert!(world.logged("quarantine").is_empty());
    assert_eq!(world.logged("open").len(), 20);
}

#[test]
fn a_target_that_is_blocked_for_one_region_for_long_neither_counts_nor_keeps_it_in_quarantine() {
    let mut world = World::new(3, 40, 8);
    world.lies.push(Lie { region: 1, monitors: (30..40).collect(), from: 0, until: 60 * MINUTE });
    world.run(5 * MINUTE);
    world.log.clear();
    // Seven more within an hour, one by one: never five within a minute.
    for monitor in 0..7 {
        let from = (6 + 2 * monitor as u64) * MINUTE;
        world.lies.push(Lie { region: 1, monitors: [monitor].into(), from, until: 60 * MINUTE });
    }
    world.run(25 * MINUTE);
    assert_eq!(world.log, [], "at that pace it is the targets");
}

#[test]
fn a_real_incident_goes_on_while_an_agent_is_quarantined() {
    let mut world = World::new(3, 20, 6);
    world.outages.push(Outage { monitor: 3, from: 4 * MINUTE, until: 20 * MINUTE });
    world.lies.push(Lie { region: 0, monitors: (0..20).collect(), from: 6 * MINUTE, until: 10 * MINUTE });
    world.run(30 * MINUTE);
    assert_eq!(world.logged("quarantine ap").len(), 1, "{:?}", world.log);
    assert_eq!((world.logged("open").len(), world.logged("resolve").len()), (1, 1), "{:?}", world.log);
    assert!(world.logged("resolve")[0] > 20 * MINUTE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Outages of some seconds and more, many at once, that end for everybody at once: whoever sees them first or last is
    /// not sick.
    #[test]
    fn an_honest_agent_that_sees_real_outages_is_never_quarantined(
        regions in 1_usize..=4,
        outages in proptest::collection::vec((0_usize..16, 0_u64..900, 8_u64..400), 0..40),
        common in proptest::option::of((0_u64..900, 8_u64..400)),
    ) {
        let mut world = World::new(regions, 16, 5);
        let common = common.into_iter().flat_map(|(from, lasts)| (0..16).map(move |it| (it, from, lasts)));
        for (monitor, from, lasts) in outages.into_iter().chain(common) {
            let (from, until) = ((120 + from) * 1_000, (120 + from + lasts) * 1_000);
            world.outages.push(Outage { monitor, from, until });
        }
        world.run(30 * MINUTE);
        prop_assert_eq!(world.logged("quarantine"), Vec::<Millis>::new(), "{:?}", world.log);
    }

    /// Fewer than five monitors, fewer than three hosts, or less than 30 % of the monitors: it is the targets.
    #[test]
    fn below_any_threshold_nobody_is_quarantined(
        few in 0_usize..=4,
        which in 0_usize..3,
        from in 60_u64..600,
        lasts in 1_u64..600,
    ) {
        let (monitors, hosts, lied): (usize, usize, Vec<usize>) = match which {
            0 => (8, 8, (0..few).collect()),
            1 => (20, 4, (0..20).filter(|it| it % 4 < 2).collect()),
            _ => (40, 10, (0..11).collect()),
        };
        let mut world = World::new(3, monitors, hosts);
        let (from, until) = (from * 1_000, (from + lasts) * 1_000);
        world.lies.push(Lie { region: 2, monitors: lied.into_iter().collect(), from, until });
        world.run(25 * MINUTE);
        prop_assert_eq!(&world.log, &vec![]);
    }

    /// Above all of them it is the agent, and everybody else is believed. One more than 30 %, because the agent does not
    /// lie about a target that is really down.
    #[test]
    fn above_every_threshold_it_is_the_agent_and_only_it(
        liar in 0_usize..3,
        lied in 13_usize..=40,
        from in 120_u64..300,
        outage in proptest::option::of((0_usize..40, 100_u64..600, 90_u64..300)),
    ) {
        let mut world = World::new(3, 40, 10);
        let (from, until) = (from * 1_000, (from + 300) * 1_000);
        world.lies.push(Lie { region: liar, monitors: (0..lied).collect(), from, until });
        if let Some((monitor, begins, lasts)) = outage {
            let (from, until) = (begins * 1_000, (begins + lasts) * 1_000);
            world.outages.push(Outage { monitor, from, until });
        }
        world.run(30 * MINUTE);
        let quarantined: BTreeMap<&str, usize> =
            world.log.iter().filter(|(_, text)| text.starts_with("quarantine")).fold(
                BTreeMap::new(),
                |mut all, (_, text)| {
                    *all.entry(text.as_str()).or_default() += 1;
                    all
                },
            );
        let expected = format!("quarantine {}", region(liar));
        prop_assert_eq!(quarantined, BTreeMap::from([(expected.as_str(), 1)]), "{:?}", world.log);
        prop_assert_eq!(world.logged("release").len(), 1, "{:?}", world.log);
        let outages = usize::from(outage.is_some());
        prop_assert!(world.logged("open").len() <= outages, "{:?}", world.log);
        prop_assert!(world.states.iter().all(|state| state.status() == Status::Up), "{:?}", world.log);
    }

    /// A quarantine and a release neither open nor end anything by themselves, whatever state they meet.
    #[test]
    fn a_quarantine_neither_opens_nor_ends_an_incident(
        quorum in prop_oneof![
            Just("any"), Just("majority"), Just("all"), Just("at_least:2"), Just("1 of eu and 1 of other"),
        ],
        steps in proptest::collection::vec((0_usize..3, 0_u8..4, 0_u64..8_000), 1..60),
    ) {
        let regions: Vec<RegionId> = (0..3).map(region).collect();
        let quorum: engine::quorum::Policy = quorum.parse().unwrap();
        let mut world = World::new(3, 1, 1);
        world.policy.quorum = quorum.over(&regions);
        let (mut state, mut now) = (world.states[0].clone(), 0);
        for (index, what, wait) in steps {
            now += wait;
            while let Some(due) = monitor::deadline(&state, &world.policy).filter(|due| *due <= at(now)) {
                state = monitor::apply(state, &world.policy, &Event::DeadlineReached, due).state;
            }
            // What time alone brings, such as a vote that is too old at this very instant, is not the event's doing.
            state = monitor::apply(state, &world.policy, &Event::DeadlineReached, at(now)).state;
            let event = match what {
                0 => Event::Quarantined {
                    agent: agent(index),
                    name: "sick".to_owned(),
                    since: at(now.saturating_sub(5_000)),
                },
                1 => Event::Released { agent: agent(index) },
                _ => {
                    let outcome = if what == 2 {
                        Outcome::Pass
                    } else {
                        Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable"))
                    };
                    let result = CheckResult {
                        monitor: MonitorId::from_bytes([0; 16]),
                        spec_revision: 1,
                        region: region(index),
                        slot: 0,
                        attempt: 0,
                        round: 0,
                        started_at: at(now),
                        duration: Duration::from_millis(1),
                        outcome,
                        phases: Phases::default(),
                        http_status: None,
                        peer: None,
                        health: None,
                    };
                    Event::Observed { agent: agent(index), result: Box::new(result) }
                }
            };
            let transition = monitor::apply(state, &world.policy, &event, at(now));
            state = transition.state;
            if what < 2 {
                let decides = |effect: &Effect| {
                    matches!(effect, Effect::Open(_) | Effect::Resolve { .. } | Effect::Close { .. })
                };
                prop_assert!(!transition.effects.iter().any(decides), "{:?}", transition.effects);
            }
        }
    }
}

#[test]
fn canaries_that_fail_are_a_quarantine_unless_they_fail_everywhere() {
    use probe::Canaries::{Failing, FailingEverywhere, Well};
    let words = |says: &[(u64, probe::Canaries)], until: u64| {
        let mut state = probe::State::default();
        let mut log = vec![];
        for second in 0..until {
            let said =
                says.iter().find(|(at, _)| *at == second).map(|(_, said)| probe::Event::Canaries(*said));
            let due = probe::deadline(&state).is_some_and(|due| due <= at(second * 1_000));
            for event in said.into_iter().chain(due.then_some(probe::Event::DeadlineReached)) {
                let transition = probe::apply(state, event, at(second * 1_000));
                state = transition.state;
                for effect in transition.effects {
                    match effect {
                        Effect::Quarantine { .. } => log.push((second, "quarantine")),
                        Effect::Release => log.push((second, "release")),
                        _ => {}
                    }
                }
            }
        }
        log
    };
    assert_eq!(
        words(&[(5, Failing), (100, Failing), (200, Well)], 400),
        [(5, "quarantine"), (260, "release")]
    );
    assert_eq!(
        words(&[(5, Failing), (50, Well), (70, Failing), (90, Well)], 400).last(),
        Some(&(150, "release"))
    );
    assert_eq!(words(&[(5, FailingEverywhere), (9, Well)], 400), []);
    let resolved = words(&[(5, Failing), (20, FailingEverywhere)], 400);
    assert_eq!(resolved, [(5, "quarantine"), (80, "release")], "then it is the canaries");
}

/// What a monitor of these regions holds against whom after checks `(region, passed, millis)`.
fn contradicted(regions: usize, checks: &[(usize, bool, Millis)]) -> Vec<(AgentId, Vec<String>)> {
    let mut world = World::new(regions, 1, 1);
    world.agenda.clear();
    for &(region, passed, now) in checks {
        world.lies.clear();
        if !passed {
            world.lies.push(Lie { region, monitors: [0].into(), from: now, until: now + 1 });
        }
        world.check(0, region, 0, now);
        world.agenda.clear();
    }
    let now = at(checks.last().unwrap().2);
    let found = monitor::contradictions(&world.states[0], &world.policy, now);
    let by = |it: &monitor::Contradiction| it.contradicted_by.iter().map(ToString::to_string).collect();
    found.iter().map(|it| (it.agent, by(it))).collect()
}

#[test]
fn a_failure_is_contradicted_by_a_majority_of_the_others_that_looked_later() {
    let well = |from: Millis| (0..4).map(move |region| (region, true, from));
    let with = |more: &[(usize, bool, Millis)]| -> Vec<_> { well(0).chain(more.iter().copied()).collect() };
    let alone = |by: &[&str]| vec![(agent(0), by.iter().map(ToString::to_string).collect::<Vec<_>>())];
    let fails = (0, false, 10_000);
    assert_eq!(contradicted(4, &with(&[fails])), [], "they looked before");
    assert_eq!(contradicted(4, &with(&[fails, (1, true, 10_100)])), [], "one of three");
    let two = [fails, (1, true, 10_100), (2, true, 10_200)];
    assert_eq!(contradicted(4, &with(&two)), alone(&["eu", "sa"]));
    let again = [fails, (1, true, 10_100), (2, true, 10_200), (0, true, 11_000)];
    assert_eq!(contradicted(4, &with(&again)), [], "it has passed since");
    let confirmed = [fails, (3, false, 10_050), (1, true, 10_100), (2, true, 10_200), (3, true, 11_100)];
    assert_eq!(contradicted(4, &with(&confirmed)), [], "another region saw it too");
    assert_eq!(contradicted(2, &[(1, true, 0), fails, (1, true, 10_100)]), alone(&["eu"]), "the only other");
    assert_eq!(contradicted(1, &[fails]), []);
}
