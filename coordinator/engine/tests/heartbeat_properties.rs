//! The invariants of the heartbeat machine, held against whatever may happen.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use engine::effect::Effect;
use engine::heartbeat::{self, Event, PingKind, Policy, RunLimits, State, Status};
use engine::schedule::{self, Schedule};
use model::{RunId, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Copy, Debug)]
enum Op {
    Wait { secs: u64 },
    Ping { kind: PingKind, run: Option<RunId>, age_secs: u64 },
    Blind { secs: u64 },
    Interval { secs: u64 },
    Pause,
    Resume,
    Maintenance { on: bool },
}

fn kinds() -> impl Strategy<Value = PingKind> {
    prop_oneof![
        4 => Just(PingKind::Success),
        2 => Just(PingKind::Start),
        1 => Just(PingKind::Fail),
        1 => any::<u8>().prop_map(PingKind::Exit),
        1 => Just(PingKind::Log),
    ]
}

fn runs() -> impl Strategy<Value = Option<RunId>> {
    prop_oneof![Just(None), (0_u8..4).prop_map(|number| Some(RunId::from_bytes([number; 16])))]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => prop_oneof![0_u64..100, 0_u64..5_000].prop_map(|secs| Op::Wait { secs }),
        6 => (kinds(), runs(), prop_oneof![4 => Just(0_u64), 1 => 0_u64..1_000])
            .prop_map(|(kind, run, age_secs)| Op::Ping { kind, run, age_secs }),
        2 => prop_oneof![0_u64..10, 0_u64..3_000].prop_map(|secs| Op::Blind { secs }),
        1 => (1_u64..4_000).prop_map(|secs| Op::Interval { secs }),
        1 => prop_oneof![Just(Op::Pause), Just(Op::Resume)],
        2 => any::<bool>().prop_map(|on| Op::Maintenance { on }),
    ];
    proptest::collection::vec(op, 0..60)
}

prop_compose! {
    fn policies()(interval in 1_u64..4_000, grace in 0_u64..400) -> Policy {
        Policy::every(Duration::from_secs(interval), Duration::from_secs(grace))
    }
}

fn interval(policy: &Policy) -> Duration {
    policy.schedule.interval().unwrap()
}

const CALENDARS: [&str; 7] =
    ["0 3 * * *", "*/5 * * * *", "* * * * *", "30 2 * * 1", "Mon..Fri 08:00", "*:0/10", "*-*~1 23:30\n04:00"];

/// Calendars and limits of all kinds.
fn jobs() -> impl Strategy<Value = Policy> {
    let limit = || proptest::option::weighted(0.3, (1_u64..8_000).prop_map(Duration::from_secs));
    let early = proptest::option::of((0_u64..4_000).prop_map(Duration::from_secs));
    let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe"];
    let line = (0..CALENDARS.len(), 0..zones.len());
    (policies(), proptest::option::weighted(0.7, line), early, limit(), limit(), limit()).prop_map(
        move |(policy, line, early, start_grace, max_runtime, keep_alive)| Policy {
            schedule: match line {
                Some((line, zone)) => schedule::parse(CALENDARS[line], zones[zone], START).unwrap(),
                None => policy.schedule.clone(),
            },
            early,
            runs: RunLimits { start_grace, max_runtime, keep_alive },
            ..policy
        },
    )
}

struct World {
    policy: Policy,
    state: State,
    now: Timestamp,
    open: Option<(u32, Timestamp)>,
    openings: u32,
    /// The end of the last window of maintenance.
    maintained_until: Timestamp,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: heartbeat::new(START),
            now: START,
            open: None,
            openings: 0,
            maintained_until: Timestamp::EPOCH,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Wait { secs } => self.wait(Duration::from_secs(secs)),
            Op::Ping { kind, run, age_secs } => {
                self.ping_of_run(kind, run, self.now.minus(Duration::from_secs(age_secs)));
            }
            Op::Blind { secs } => {
                let from = self.now;
                self.now = from.plus(Duration::from_secs(secs));
                self.apply(&Event::Blind { from, to: self.now });
            }
            Op::Interval { secs } => {
                self.policy.schedule = Schedule::Every(Duration::from_secs(secs));
                let effects = self.apply(&Event::PolicyChanged);
                let opened = effects.iter().any(|effect| matches!(effect, Effect::Open(_)));
                assert!(!opened, "an edit alone alerted");
            }
            Op::Pause => drop(self.apply(&Event::Paused)),
            Op::Resume => drop(self.apply(&Event::Resumed)),
            Op::Maintenance { on: true } => drop(self.apply(&Event::MaintenanceStarted { at: self.now })),
            Op::Maintenance { on: false } => {
                if self.state.is_in_maintenance() {
                    self.maintained_until = self.now;
                }
                drop(self.apply(&Event::MaintenanceEnded));
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now.plus(span);
        while let Some(at) = heartbeat::deadline(&self.state, &self.policy).filter(|at| *at <= until) {
            self.now = at;
            let before = self.state.clone();
            self.apply(&Event::DeadlineReached);
            assert_ne!(self.state, before, "I8: a deadline changed nothing");
        }
        self.now = until;
    }

    fn ping(&mut self, kind: PingKind, at: Timestamp) -> Vec<Effect> {
        self.ping_of_run(kind, None, at)
    }

    fn ping_of_run(&mut self, kind: PingKind, run: Option<RunId>, at: Timestamp) -> Vec<Effect> {
        let event = Event::Pinged { kind, at, run };
        let effects = self.apply(&event);
        let again = heartbeat::apply(self.state.clone(), &self.policy, &event, self.now);
        assert_eq!((again.state, again.effects), (self.state.clone(), vec![]), "I3: a repeated ping");
        effects
    }

    fn apply(&mut self, event: &Event) -> Vec<Effect> {
        let before = self.state.clone();
        let transition = heartbeat::apply(before.clone(), &self.policy, event, self.now);
        self.state = transition.state;
        let mut status = before.status();
        for effect in &transition.effects {
            match effect {
                Effect::Open(opening) => {
                    assert!(!self.state.is_in_maintenance(), "I10");
                    assert!(opening.started_at >= self.maintained_until, "began in maintenance");
                    assert_eq!(self.open, None, "I1, I6");
                    assert_eq!(opening.number, self.openings + 1);
                    assert!(opening.started_at <= opening.opened_at, "I7");
                    let is_unbounded = self.policy.runs == RunLimits::default();
                    if !matches!(event, Event::Pinged { .. }) && is_unbounded {
                        let expected_at = self.state.expected_at(&self.policy).unwrap();
                        assert!(self.now >= expected_at.plus(self.policy.grace), "H2: missed too early");
                    }
                    self.openings = opening.number;
                    self.open = Some((opening.number, opening.opened_at));
                }
                Effect::Resolve { number, resolved_at, .. } => {
                    let (open, opened_at) = self.open.take().expect("I6");
                    assert_eq!(*number, open);
                    assert!(opened_at <= *resolved_at && *resolved_at <= self.now, "I7");
                }
                Effect::Close { number, .. } => assert_eq!(*number, self.open.take().expect("I6").0),
                Effect::Record { number, .. } => assert_eq!(Some(*number), self.open.map(|open| open.0)),
                Effect::HeartbeatStatus { from, to, .. } => {
                    assert_eq!(*from, status);
                    assert_ne!(from, to);
                    status = *to;
                }
                Effect::Notice { .. } | Effect::Quarantine { .. } | Effect::Release | Effect::RunEnded(_) => {
                }
                Effect::Verify { .. } | Effect::AskParents | Effect::MonitorStatus { .. } => {
                    panic!("not of a heartbeat: {effect:?}")
                }
            }
        }
        assert_eq!(status, self.state.status(), "every change of status is told");
        assert_eq!(self.state.open_incident(), self.open.map(|open| open.0));
        let deadline = heartbeat::deadline(&self.state, &self.policy);
        assert!(deadline.is_none_or(|at| at > self.now), "I8");
        transition.effects
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// I1, I3, I6, I7, I8, H2: whatever happens.
    #[test]
    fn invariants_hold_whatever_happens(policy in policies(), ops in ops()) {
        let mut world = World::new(policy);
        for op in ops {
            world.run(op);
        }
        let bytes = postcard::to_stdvec(&world.state).unwrap();
        prop_assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), world.state);
    }

    /// The same of calendars, and of what is expected of runs.
    #[test]
    fn invariants_hold_for_jobs_of_all_kinds(policy in jobs(), ops in ops()) {
        let mut world = World::new(policy);
        for op in ops {
            world.run(op);
        }
        let bytes = postcard::to_stdvec(&world.state).unwrap();
        prop_assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), world.state);
    }

    /// H1 for calendars: a job that pings once for each occurrence, as early as it may and as late as its grace, is never
    /// missed.
    #[test]
    fn h1_a_job_in_time_for_its_calendar_is_never_missed(
        line in 0..CALENDARS.len(),
        grace in 1_u64..50,
        offsets in proptest::collection::vec(-1.0_f64..1.0, 1..60),
    ) {
        let schedule = schedule::parse(CALENDARS[line], "Europe/Berlin", START).unwrap();
        let grace = Duration::from_secs(grace);
        let policy = Policy { schedule, ..Policy::every(Duration::ZERO, grace) };
        let calendar = policy.schedule.calendar().unwrap().clone();
        let mut world = World::new(policy);
        let mut occurrence = calendar.next_after(START).unwrap();
        world.now = occurrence;
        world.ping(PingKind::Success, occurrence);
        for offset in offsets {
            let next = calendar.next_after(occurrence).unwrap();
            let early = heartbeat::DEFAULT_EARLY.min(next.since(occurrence) / 11);
            let at = if offset < 0.0 { next.minus(early.mul_f64(-offset)) } else { next.plus(grace.mul_f64(offset)) };
            world.wait(at.since(world.now));
            world.ping(PingKind::Success, world.now);
            prop_assert_eq!(world.openings, 0, "{:?} for {:?}", at, next);
            occurrence = next;
        }
    }

    /// H2 for calendars: a job that stops is missed exactly when the grace of its next occurrence is over.
    #[test]
    fn h2_a_job_that_stops_is_missed_when_the_grace_of_its_occurrence_is_over(
        line in 0..CALENDARS.len(), grace in 0_u64..4_000, after in 0_u64..1_000_000,
    ) {
        let schedule = schedule::parse(CALENDARS[line], "America/New_York", START).unwrap();
        let grace = Duration::from_secs(grace);
        let policy = Policy { schedule, early: Some(Duration::ZERO), ..Policy::every(Duration::ZERO, grace) };
        let mut world = World::new(policy.clone());
        world.now = START.plus(Duration::from_secs(after));
        world.ping(PingKind::Success, world.now);
        let missed_at = policy.schedule.calendar().unwrap().next_after(world.now).unwrap().plus(grace);
        world.wait(missed_at.since(world.now) - Duration::from_micros(1));
        prop_assert_eq!(world.open, None);
        world.wait(Duration::from_micros(1));
        prop_assert_eq!(world.open, Some((1, missed_at)));
    }

    /// Show 5: absence never alerts for a calendar, wherever it lies, and a job that stopped is found at the second
    /// occurrence that could be heard at the latest.
    #[test]
    fn absence_misses_no_occurrence_and_hides_no_job_that_stopped(
        line in 0..CALENDARS.len(), at in 0_u64..200_000, secs in 10_u64..21_600, stops in any::<bool>(),
    ) {
        let schedule = schedule::parse(CALENDARS[line], "Europe/Berlin", START).unwrap();
        let grace = Duration::from_secs(20);
        let policy = Policy { schedule, ..Policy::every(Duration::ZERO, grace) };
        let calendar = policy.schedule.calendar().unwrap().clone();
        let mut world = World::new(policy);
        let mut occurrence = calendar.next_after(START).unwrap();
        world.now = occurrence;
        world.ping(PingKind::Success, occurrence);
        let from = occurrence.plus(Duration::from_secs(at));
        let to = from.plus(Duration::from_secs(secs));
        let mut is_blind = false;
        let ends_at = (0..3).fold(to.plus(grace), |at, _| calendar.next_after(at).unwrap()).plus(grace);
        // Each run pings 10 s after its occurrence, also into the absence, where nobody hears it.
        while occurrence < ends_at {
            occurrence = calendar.next_after(occurrence).unwrap();
            let pings_at = occurrence.plus(Duration::from_secs(10));
            if pings_at >= from && !is_blind {
                world.wait(from.since(world.now));
                world.run(Op::Blind { secs });
                is_blind = true;
            }
            let is_heard = if stops { pings_at < from } else { !(from..to).contains(&pings_at) };
            if is_heard {
                world.wait(pings_at.since(world.now));
                world.ping(PingKind::Success, world.now);
                prop_assert_eq!(world.openings, 0, "a job that is well was missed");
            }
        }
        world.wait(ends_at.since(world.now));
        prop_assert_eq!(world.openings, u32::from(stops), "two occurrences after the absence");
    }

    /// H1: a job that pings within interval and grace is never missed.
    #[test]
    fn h1_a_job_in_time_is_never_missed(
        policy in policies(),
        gaps in proptest::collection::vec((0.0_f64..1.0, any::<bool>()), 1..40),
    ) {
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        for (share, starts) in gaps {
            let longest = interval(&policy) + policy.grace;
            let gap = longest.mul_f64(share).max(Duration::from_micros(1));
            if starts {
                world.wait(gap / 2);
                world.ping(PingKind::Start, world.now);
                world.wait(gap - gap / 2);
            } else {
                world.wait(gap);
            }
            world.ping(PingKind::Success, world.now);
            prop_assert_eq!(world.openings, 0);
        }
    }

    /// H2: a job that stops is missed exactly when its grace is over.
    #[test]
    fn h2_a_job_that_stops_is_missed_when_its_grace_is_over(policy in policies()) {
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        let missed_after = interval(&policy) + policy.grace;
        world.wait(missed_after - Duration::from_micros(1));
        prop_assert_eq!(world.open, None);
        world.wait(Duration::from_micros(1));
        prop_assert_eq!(world.open, Some((1, START.plus(missed_after))));
    }

    /// H5: a late ping resolves once.
    #[test]
    fn h5_a_late_ping_resolves_once(policy in policies(), pings in 1_usize..5) {
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        world.wait(interval(&policy) * 2 + policy.grace);
        let mut resolved = 0;
        for _ in 0..pings {
            let effects = world.ping(PingKind::Success, world.now);
            resolved += effects.iter().filter(|effect| matches!(effect, Effect::Resolve { .. })).count();
            world.wait(Duration::from_micros(1));
        }
        prop_assert_eq!(resolved, 1);
        prop_assert_eq!(world.state.status(), Status::Up);
    }

    /// A job that stopped is found within two intervals and the grace, however often the coordinator restarts, as long
    /// as no absence swallows a whole window.
    #[test]
    fn a_stopped_job_is_found_within_two_intervals_and_the_grace(
        interval in 60_u64..4_000,
        restarts in proptest::collection::vec((0_u64..600, 0_u64..5), 0..200),
    ) {
        let interval = Duration::from_secs(interval);
        let policy = Policy::every(interval, heartbeat::default_grace(interval));
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        let found_by = START.plus(interval * 2 + policy.grace);
        for (up, down) in restarts {
            world.wait(Duration::from_secs(up));
            world.run(Op::Blind { secs: down });
        }
        world.wait(interval * 3);
        let (_, opened_at) = world.open.unwrap();
        // One restart may lie across the very instant.
        prop_assert!(opened_at <= found_by.plus(Duration::from_secs(5)), "{opened_at:?} {found_by:?}");
    }

    /// Absence alone never alerts: a job that pings whenever somebody listens and it is due is never missed.
    #[test]
    fn blindness_opens_nothing_by_itself(policy in policies(), at in 0.0_f64..2.0, secs in 0_u64..10_000) {
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        let from = interval(&policy).mul_f64(at).min(interval(&policy) + policy.grace - Duration::from_micros(1));
        world.wait(from);
        world.run(Op::Blind { secs });
        prop_assert_eq!(world.openings, 0);
    }

    /// What is expected when maintenance begins is due later by exactly as long as it lasts, and what was heard in it as
    /// much later as it lasted from then on.
    #[test]
    fn maintenance_moves_deadlines_by_its_length(
        policy in policies(), at in 0.0_f64..1.0, secs in 0_u64..1_000_000, ping_at in 0.0_f64..2.0,
    ) {
        let mut world = World::new(policy.clone());
        world.ping(PingKind::Success, START);
        world.wait((interval(&policy) + policy.grace - Duration::from_micros(1)).mul_f64(at));
        let began_at = world.now;
        let missed_at = |world: &World| world.state.expected_at(&policy).unwrap().plus(policy.grace);
        let missed_before = missed_at(&world);
        world.run(Op::Maintenance { on: true });
        let length = Duration::from_secs(secs);
        if ping_at < 1.0 {
            world.wait(length.mul_f64(ping_at));
            world.ping(PingKind::Success, world.now);
            world.wait(began_at.plus(length).since(world.now));
        } else {
            world.wait(length);
        }
        prop_assert_eq!(heartbeat::deadline(&world.state, &policy), None);
        world.run(Op::Maintenance { on: false });
        let expected = if ping_at < 1.0 && world.state.last_ping_at() > Some(START) {
            world.now.plus(interval(&policy) + policy.grace)
        } else {
            missed_before.plus(length)
        };
        prop_assert_eq!(missed_at(&world), expected);
        prop_assert_eq!(world.openings, 0);
        world.wait(expected.since(world.now) - Duration::from_micros(1));
        prop_assert_eq!(world.openings, 0);
        world.wait(Duration::from_micros(1));
        prop_assert_eq!(world.openings, 1);
    }
}
