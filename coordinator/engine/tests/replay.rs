//! Replays against a world that was really played: agents check a target that is up and down by plan, the machine
//! decides and asks, and everything it hears is put on a tape.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use engine::effect::{Effect, Evidence};
use engine::monitor::{self, Event, Policy, State, Thresholds};
use engine::quorum;
use engine::replay::{Change, Ended, Episode, Heard, Run, Tape, compare, run};
use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const MONITOR: MonitorId = MonitorId::from_bytes([1; 16]);
const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// What a region sees of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sight {
    Answers,
    Refuses,
    Status503,
    Hangs,
}

/// What happens, by its instant; of two at one instant, by their order.
#[derive(Clone, Debug)]
enum Plan {
    Scheduled(usize),
    Arrives { agent: AgentId, result: Box<CheckResult> },
    Second { region: usize, round: u32 },
    Heard(Heard),
}

/// A world being played.
struct World {
    policy: Policy,
    state: Box<State>,
    /// When each region's sight changes.
    sights: [BTreeMap<Timestamp, Sight>; 3],
    live: [bool; 3],
    agenda: BTreeMap<(Timestamp, usize), Plan>,
    number: usize,
    /// No check is scheduled after this.
    end: Timestamp,
    tape: Vec<(Timestamp, Heard)>,
    episodes: Vec<Episode>,
}

impl World {
    fn new(policy: Policy, end: u64) -> Self {
        let mut world = Self {
            state: monitor::new(&policy, START),
            sights: std::array::from_fn(|_| BTreeMap::from([(START, Sight::Answers)])),
            live: [false; 3],
            agenda: BTreeMap::new(),
            number: 0,
            end: at(end),
            tape: vec![],
            episodes: vec![],
            policy,
        };
        for region in 0..3 {
            world.plan(START, Plan::Heard(Heard::RegionLive { region: id(region), live: true }));
            // As the placement does: regions interleave.
            let phase = world.policy.interval * u32::try_from(region).unwrap() / 3;
            world.plan(START.plus(phase), Plan::Scheduled(region));
        }
        world
    }

    /// From this second on a region sees the target so.
    fn sees(mut self, region: usize, second: u64, sight: Sight) -> Self {
        self.sights[region].insert(at(second), sight);
        self
    }

    fn hears(mut self, second: u64, heard: Heard) -> Self {
        self.plan(at(second), Plan::Heard(heard));
        self
    }

    fn plan(&mut self, at: Timestamp, plan: Plan) {
        self.number += 1;
        self.agenda.insert((at, self.number), plan);
    }

    /// Plays to the end and returns the tape and what really happened.
    fn play(mut self) -> (Tape, Vec<Episode>) {
        loop {
            let deadline = monitor::deadline(&self.state, &self.policy);
            let next = self.agenda.first_key_value().map(|((at, _), plan)| (*at, plan));
            // Deadlines that fall into a blind span are judged after it is known.
            let deadline = deadline.filter(|deadline| {
                let held = self.agenda.values().any(|plan| {
                    matches!(plan, Plan::Heard(Heard::Blind { from, to, .. }) if (*from..=*to).contains(deadline))
                });
                *deadline <= self.end && !held && next.is_none_or(|(at, _)| *deadline < at)
            });
            if let Some(deadline) = deadline {
                self.apply(&Event::DeadlineReached, deadline);
                continue;
            }
            let Some(((now, _), plan)) = self.agenda.pop_first() else { break };
            self.happen(plan, now);
        }
        let mut tape = Tape::of(MONITOR);
        for (at, heard) in self.tape.into_iter().rev() {
            tape.prepend(at, heard);
        }
        (tape, self.episodes)
    }

    fn happen(&mut self, plan: Plan, now: Timestamp) {
        match plan {
            Plan::Scheduled(region) => {
                if now > self.end {
                    return;
                }
                self.check(region, 0, 0, now);
                self.plan(now.plus(self.policy.interval), Plan::Scheduled(region));
            }
            Plan::Second { region, round } => self.check(region, 2, round, now),
            Plan::Arrives { agent, result } => {
                self.tape.push((now, Heard::Result { agent, result: result.clone() }));
                self.apply(&Event::Observed { agent, result }, now);
            }
            Plan::Heard(heard) => {
                self.tape.push((now, heard.clone()));
                self.hear(heard, now);
            }
        }
    }

    fn hear(&mut self, heard: Heard, now: Timestamp) {
        let event = match heard {
            Heard::RegionLive { region, live } => {
                let index = REGIONS.iter().position(|id| *id == region.as_str()).unwrap();
                self.live[index] = live;
                Event::RegionLive { region, live }
            }
            Heard::Blind { from, to, restarted } => {
                for region in (0..3).filter(|_| restarted) {
                    self.live[region] = false;
                    let gone = Event::RegionLive { region: id(region), live: false };
                    self.state = monitor::fold(self.state.clone(), &self.policy, &gone, now);
                }
                Event::Blind { from, to }
            }
            Heard::Slow { region, started_at } => Event::Slow { region, started_at },
            Heard::Paused => Event::Paused,
            Heard::Resumed => Event::Resumed,
            other => panic!("not played: {other:?}"),
        };
        self.apply(&event, now);
    }

    /// A check that starts now, and the second attempt of a round if it must be.
    fn check(&mut self, region: usize, attempt: u32, round: u32, now: Timestamp) {
        let sight = *self.sights[region].range(..=now).next_back().unwrap().1;
        let fail = |kind, text: &str| Outcome::Fail(Failure::new(kind, text));
        let (outcome, millis) = match sight {
            Sight::Answers => (Outcome::Pass, 80),
            Sight::Refuses => (fail(FailureKind::Connect, "connection refused"), 2),
            Sight::Status503 => (fail(FailureKind::Status, "503 Service Unavailable"), 90),
            Sight::Hangs => (fail(FailureKind::Timeout, "timeout"), self.policy.timeout.as_millis() as u64),
        };
        if attempt == 1 && matches!(sight, Sight::Refuses | Sight::Hangs) {
            self.plan(now.plus(Duration::from_secs(1)), Plan::Second { region, round });
        }
        let result = CheckResult {
            monitor: MONITOR,
            spec_revision: 1,
            region: id(region),
            slot: 0,
            attempt,
            round,
            started_at: now,
            duration: Duration::from_millis(millis),
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        let agent = AgentId::from_bytes([u8::try_from(region).unwrap(); 16]);
        // A little for the way.
        let arrives_at = now.plus(Duration::from_millis(millis + 3 + region as u64));
        self.plan(arrives_at, Plan::Arrives { agent, result: Box::new(result) });
    }

    fn apply(&mut self, event: &Event, now: Timestamp) {
        let transition = monitor::apply(self.state.clone(), &self.policy, event, now);
        self.state = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Verify { round, .. } if now <= self.end => {
                    let live = self.live;
                    for region in (0..3).filter(|region| live[*region]) {
                        // The question travels too.
                        self.check(region, 1, round, now.plus(Duration::from_millis(2)));
                    }
                }
                Effect::Open(opening) => self.episodes.push(Episode {
                    started_at: opening.started_at,
                    opened_at: opening.opened_at,
                    ended_at: None,
                    closed: None,
                    cause: opening.cause,
                    opening: table(opening.evidence),
                    closing: None,
                    is_approximate: false,
                }),
                Effect::Resolve { resolved_at, evidence, .. } => {
                    let episode = self.episodes.last_mut().unwrap();
                    episode.ended_at = Some(resolved_at);
                    episode.closing = table(evidence);
                }
                Effect::Close { at, reason, .. } => {
                    let episode = self.episodes.last_mut().unwrap();
                    (episode.ended_at, episode.closed) = (Some(at), Some(reason));
                }
                _ => {}
            }
        }
    }
}

fn table(evidence: Evidence) -> Option<engine::vote::VoteTable> {
    match evidence {
        Evidence::Votes(table) => Some(table),
        _ => None,
    }
}

fn at(second: u64) -> Timestamp {
    START.plus(Duration::from_secs(second))
}

fn id(region: usize) -> RegionId {
    RegionId::new(REGIONS[region]).unwrap()
}

fn policy(quorum: &str) -> Policy {
    let regions: Vec<RegionId> = (0..3).map(id).collect();
    let quorum: quorum::Policy = quorum.parse().unwrap();
    Policy {
        quorum: quorum.over(&regions),
        regions,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: Thresholds::default(),
        has_parents: false,
        spec_revision: 1,
    }
}

/// One region cannot reach the target from 300 s to 900 s.
fn one_region_fails(quorum: &str) -> World {
    World::new(policy(quorum), 1_800).sees(1, 300, Sight::Refuses).sees(1, 900, Sight::Answers)
}

/// Two regions get errors from 300 s to 900 s.
fn two_regions_fail(quorum: &str) -> World {
    let world = World::new(policy(quorum), 1_800).sees(0, 300, Sight::Status503).sees(0, 900, Sight::Answers);
    world.sees(2, 300, Sight::Status503).sees(2, 900, Sight::Answers)
}

fn changes(first: &[Episode], second: &[Episode]) -> Vec<(Change, i64, Ended)> {
    let differences = compare(first, second, START, Duration::from_secs(1));
    differences.iter().map(|it| (it.change, it.opened_by / 1_000_000, it.ended)).collect()
}

fn replay(tape: &Tape, policy: &Policy) -> Run {
    run(tape, policy, START, at(1_800))
}

#[test]
fn the_policy_that_was_in_force_makes_what_happened_of_it() {
    for quorum in ["any", "majority", "all"] {
        for (name, world) in [("one", one_region_fails(quorum)), ("two", two_regions_fail(quorum))] {
            let (tape, real) = world.play();
            let replayed = replay(&tape, &policy(quorum));
            assert_eq!(replayed.episodes, real, "{quorum}, {name}");
            assert_eq!(replayed.inferred_rounds, 0, "{quorum}, {name}");
        }
    }
}

#[test]
fn any_adds_what_one_region_alone_saw_and_ends_it_when_that_region_passes_again() {
    let (tape, real) = one_region_fails("majority").play();
    assert_eq!(real, []);
    let replayed = replay(&tape, &policy("any"));
    assert_eq!(changes(&real, &replayed.episodes), [(Change::Added, 0, Ended::By(0))]);
    let [episode] = &replayed.episodes[..] else { panic!("{replayed:?}") };
    assert_eq!(episode.cause, "connection refused from eu");
    // Its checks start at 320 s, 380 s …; the round after the first failing one finds it refused twice.
    assert_eq!(episode.started_at, at(320));
    assert!(episode.opened_at < at(330), "{}", episode.opened_at);
    // It passes at 920 s; the recovery rounds after that were never run.
    let ended_at = episode.ended_at.unwrap();
    assert!((at(920)..at(1_060)).contains(&ended_at), "{ended_at}");
    assert!(episode.is_approximate && replayed.inferred_rounds > 0, "{replayed:?}");
}

#[test]
fn all_removes_what_one_region_did_not_see() {
    let (tape, real) = two_regions_fail("majority").play();
    let replayed = replay(&tape, &policy("all"));
    assert_eq!((real.len(), replayed.episodes.len()), (1, 0));
    assert_eq!(changes(&real, &replayed.episodes), [(Change::Removed, 0, Ended::By(0))]);
}

#[test]
fn a_confirmation_period_opens_later_and_drops_what_is_shorter() {
    let short = two_regions_fail("majority").sees(0, 1_200, Sight::Status503).sees(0, 1_230, Sight::Answers);
    let short = short.sees(2, 1_200, Sight::Status503).sees(2, 1_230, Sight::Answers);
    let (tape, real) = short.play();
    assert_eq!(real.len(), 2);
    let patient = Policy { confirmation_period: Duration::from_secs(120), ..policy("majority") };
    let replayed = replay(&tape, &patient);
    let found = changes(&real, &replayed.episodes);
    let [(Change::Later, by, Ended::By(0)), (Change::Removed, ..)] = found[..] else { panic!("{found:?}") };
    assert!((120..130).contains(&by), "{by}");
}

#[test]
fn more_recovery_checks_end_later() {
    let (tape, real) = two_regions_fail("majority").play();
    let careful = Policy { recovery_checks: 6, ..policy("majority") };
    let found = changes(&real, &replay(&tape, &careful).episodes);
    let [(Change::Later, 0, Ended::By(by))] = found[..] else { panic!("{found:?}") };
    // Four more rounds, 10 s apart.
    assert!((39_000_000..45_000_000).contains(&by), "{by}");
}

#[test]
fn where_checks_before_and_after_disagree_nothing_is_inferred() {
    let (tape, _) = one_region_fails("majority").play();
    let replayed = replay(&tape, &policy("any"));
    let [episode] = &replayed.episodes[..] else { panic!("{replayed:?}") };
    // The last failing check starts at 860 s, the first good one at 920 s: in between nobody knows.
    assert!(episode.ended_at.unwrap() > at(920));
}

#[test]
fn restarts_pauses_and_regions_that_go_are_replayed_as_they_were() {
    let world = two_regions_fail("majority")
        .hears(400, Heard::Blind { from: at(370), to: at(400), restarted: true })
        .hears(403, Heard::RegionLive { region: id(0), live: true })
        .hears(405, Heard::RegionLive { region: id(1), live: true })
        .hears(406, Heard::RegionLive { region: id(2), live: true })
        .hears(500, Heard::Paused)
        .hears(600, Heard::Resumed)
        .hears(700, Heard::RegionLive { region: id(1), live: false })
        .hears(950, Heard::Blind { from: at(940), to: at(950), restarted: false });
    let (tape, real) = world.play();
    assert!(real.len() >= 2 && real[0].closed.is_some(), "{real:?}");
    assert_eq!(replay(&tape, &policy("majority")).episodes, real);
}

#[test]
fn what_falls_due_in_a_blind_span_is_not_judged_before_that_is_known() {
    let patient = Policy { confirmation_period: Duration::from_secs(60), ..policy("majority") };
    let world =
        World::new(patient.clone(), 1_800).sees(0, 300, Sight::Status503).sees(1, 300, Sight::Status503);
    // The quorum is reached at 300 s and would be confirmed at 360 s.
    let blind = Heard::Blind { from: at(350), to: at(380), restarted: false };
    let (tape, real) = world.hears(380, blind).play();
    assert!(real[0].opened_at >= at(440), "{}", real[0].opened_at);
    assert_eq!(replay(&tape, &patient).episodes, real);
}

#[test]
fn an_outage_that_lasts_to_the_end_is_open_in_both() {
    let world = World::new(policy("majority"), 1_800).sees(0, 900, Sight::Hangs).sees(1, 900, Sight::Hangs);
    let (tape, real) = world.play();
    let replayed = replay(&tape, &policy("majority"));
    assert_eq!(changes(&real, &replayed.episodes), [(Change::Same, 0, Ended::By(0))]);
    assert_eq!(replayed.episodes[0].ended_at, None);
}

#[test]
fn what_was_heard_after_the_end_is_not_replayed() {
    let (tape, real) = two_regions_fail("majority").play();
    let opened_at = real[0].opened_at;
    let opened = |end| run(&tape, &policy("majority"), START, end).episodes.len();
    assert_eq!(opened(opened_at), 1, "what is heard at the very end is part of it");
    assert_eq!(opened(opened_at.minus(Duration::from_micros(1))), 0);
}

/// A scheduled check of a region that was heard when it had ended.
fn checked(region: usize, start_ms: u64, millis: u64, sight: Sight) -> (Timestamp, Heard) {
    let started_at = START.plus(Duration::from_millis(start_ms));
    let fail = |kind, text: &str| Outcome::Fail(Failure::new(kind, text));
    let outcome = match sight {
        Sight::Answers => Outcome::Pass,
        Sight::Refuses => fail(FailureKind::Connect, "connection refused"),
        Sight::Status503 => fail(FailureKind::Status, "503 Service Unavailable"),
        Sight::Hangs => fail(FailureKind::Timeout, "timeout"),
    };
    let result = CheckResult {
        monitor: MONITOR,
        spec_revision: 1,
        region: id(region),
        slot: 0,
        attempt: 0,
        round: 0,
        started_at,
        duration: Duration::from_millis(millis),
        outcome,
        phases: Phases::default(),
        http_status: None,
        peer: None,
        health: None,
    };
    let agent = AgentId::from_bytes([u8::try_from(region).unwrap(); 16]);
    (started_at.plus(Duration::from_millis(millis)), Heard::Result { agent, result: Box::new(result) })
}

/// A tape of checks that no round was run for.
fn unasked(mut heard: Vec<(Timestamp, Heard)>) -> Tape {
    heard.sort_by_key(|(at, _)| *at);
    let mut tape = Tape::of(MONITOR);
    for (at, heard) in heard.into_iter().rev() {
        tape.prepend(at, heard);
    }
    tape
}

#[test]
fn what_is_heard_at_the_instant_at_which_something_is_due_counts_first() {
    use Sight::{Answers, Status503};
    let patient = Policy { confirmation_period: Duration::from_secs(60), ..policy("any") };
    let tape = unasked(vec![checked(1, 100_000, 0, Status503), checked(1, 160_000, 0, Answers)]);
    let replayed = run(&tape, &patient, START, at(300));
    assert_eq!(replayed, Run::default(), "the pass came in time");
}

#[test]
fn a_deadline_does_not_wait_for_answers_that_come_later() {
    use Sight::{Answers, Status503};
    let patient = Policy { confirmation_period: Duration::from_secs(5), ..policy("majority") };
    let tape = unasked(vec![
        checked(0, 0, 9_000, Answers),
        checked(0, 60_000, 9_000, Answers),
        checked(0, 120_000, 9_000, Answers),
        checked(1, 20_000, 0, Answers),
        checked(1, 80_000, 0, Status503),
        checked(1, 140_000, 0, Status503),
        checked(2, 40_000, 0, Answers),
        checked(2, 100_000, 0, Status503),
        checked(2, 160_000, 0, Status503),
    ]);
    let replayed = run(&tape, &patient, START, at(150));
    let [episode] = &replayed.episodes[..] else { panic!("{replayed:?}") };
    assert!((at(105)..at(106)).contains(&episode.opened_at), "{}", episode.opened_at);
    assert!(episode.is_approximate && replayed.inferred_rounds <= replayed.rounds, "{replayed:?}");
}

#[test]
fn an_answer_that_needs_no_second_attempt_is_inferred_once() {
    use Sight::{Answers, Refuses};
    let tape = unasked(vec![
        checked(0, 60_000, 0, Answers),
        checked(0, 120_000, 0, Answers),
        checked(1, 20_000, 0, Answers),
        checked(1, 80_000, 1, Refuses),
        checked(1, 140_000, 1, Refuses),
        checked(2, 40_000, 0, Answers),
        checked(2, 95_000, 0, Answers),
        checked(2, 100_000, 1, Refuses),
        checked(2, 160_000, 1, Refuses),
    ]);
    let replayed = run(&tape, &policy("majority"), START, at(150));
    let [episode] = &replayed.episodes[..] else { panic!("{replayed:?}") };
    let table = episode.opening.as_ref().unwrap();
    let asked_at = table.rows[0].started_at.unwrap().as_micros() - START.as_micros();
    let failed_at = table.rows[1].started_at.unwrap().as_micros() - START.as_micros();
    assert!(failed_at - asked_at == 1_000_000, "{table:?}");
}

#[test]
fn an_answer_that_was_inferred_for_an_earlier_round_is_still_inferred() {
    use Sight::{Answers, Status503};
    let slow = (at(100), Heard::Slow { region: id(0), started_at: at(99) });
    let tape = unasked(vec![
        checked(0, 60_000, 0, Answers),
        checked(0, 107_000, 0, Answers),
        checked(0, 108_500, 0, Status503),
        checked(1, 40_000, 0, Answers),
        checked(1, 98_100, 0, Status503),
        checked(1, 102_000, 10_000, Status503),
        checked(1, 161_000, 0, Answers),
        checked(2, 40_000, 0, Answers),
        checked(2, 100_500, 0, Answers),
        checked(2, 108_200, 0, Status503),
        slow,
    ]);
    let replayed = run(&tape, &policy("all"), START, at(109));
    let [episode] = &replayed.episodes[..] else { panic!("{replayed:?}") };
    assert_eq!(episode.started_at, at(100).plus(Duration::from_micros(1)), "{episode:?}");
    assert!(episode.is_approximate, "eu was never asked at that time");
}

fn sights() -> impl Strategy<Value = Sight> {
    prop_oneof![
        3 => Just(Sight::Answers),
        1 => Just(Sight::Refuses),
        1 => Just(Sight::Status503),
        1 => Just(Sight::Hangs),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let quorums = prop_oneof![Just("any"), Just("majority"), Just("all"), Just("at_least:3")];
    let intervals = prop_oneof![Just(10_u64), Just(30), Just(60), Just(300)];
    (quorums, intervals, prop_oneof![3 => Just(0_u64), 1 => 1_u64..100], 0_u32..5).prop_map(
        |(quorum, interval, confirmation, recovery_checks)| Policy {
            interval: Duration::from_secs(interval),
            confirmation_period: Duration::from_secs(confirmation),
            recovery_checks,
            ..policy(quorum)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happened_the_policy_in_force_reproduces_it(
        policy in policies(),
        changes in proptest::collection::vec((0_usize..3, 0_u64..1_500, sights()), 0..12),
        slow in proptest::collection::vec((0_usize..3, 1_u64..1_500), 0..3),
        restart in proptest::option::of(100_u64..1_400),
    ) {
        let mut world = World::new(policy.clone(), 1_800);
        for (region, second, sight) in changes {
            world = world.sees(region, second, sight);
        }
        for (region, second) in slow {
            world = world.hears(second, Heard::Slow { region: id(region), started_at: at(second - 1) });
        }
        if let Some(second) = restart {
            world = world.hears(second, Heard::Blind { from: at(second - 9), to: at(second), restarted: true });
            for region in 0..3 {
                world = world.hears(second + 1, Heard::RegionLive { region: id(region), live: true });
            }
        }
        let (tape, real) = world.play();
        // What was asked near the end was answered after it.
        let end = at(1_700);
        let until = |episodes: &[Episode]| -> Vec<_> {
            let early = episodes.iter().filter(|episode| episode.opened_at <= end);
            early.map(|it| (it.started_at, it.opened_at, it.ended_at.filter(|at| *at <= end), it.cause.clone())).collect()
        };
        let replayed = run(&tape, &policy, START, at(1_800));
        prop_assert_eq!(until(&replayed.episodes), until(&real));
    }
}
