//! The engine against a second, naive implementation of the same rules: after every event of an arbitrary history both
//! must tell the same status and the same incidents.
#![expect(clippy::unwrap_used, reason = "test code")]

mod reference;

use std::time::Duration;

use engine::Effect;
use engine::monitor::{self, Event, Policy, State, Status};
use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId, Timestamp};
use proptest::prelude::*;
use reference::{InForce, Outage, Quorum, Told, Word, replay};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Debug)]
enum Op {
    Wait {
        millis: u64,
    },
    Result {
        region: usize,
        what: What,
        age_ms: u64,
    },
    /// Every region answers at once, as it does when all are asked.
    Everywhere {
        what: What,
        again_ms: u64,
    },
    Slow {
        region: usize,
        age_ms: u64,
    },
    Live {
        region: usize,
        live: bool,
    },
    Blind {
        millis: u64,
    },
    Pause,
    Resume,
    /// The user asks for another quorum.
    Decide(Quorum),
    /// The user asks for another target.
    Respec,
    /// A result of what was checked before.
    Old {
        region: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Pass,
    Definite,
    Inconclusive,
    Error,
}

fn whats() -> impl Strategy<Value = What> {
    prop_oneof![4 => Just(What::Pass), 3 => Just(What::Definite), 4 => Just(What::Inconclusive), 1 => Just(What::Error)]
}

fn waits() -> impl Strategy<Value = u64> {
    // Round numbers, so that what happens at the very instant of a deadline happens often.
    prop_oneof![
        4 => 0_u64..3_000,
        3 => (0_u64..40).prop_map(|secs| secs * 1_000),
        1 => (0_u64..200).prop_map(|secs| secs * 1_000),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => waits().prop_map(|millis| Op::Wait { millis }),
        8 => (0_usize..4, whats(), prop_oneof![3 => Just(0_u64), 3 => 0_u64..2_500, 2 => waits()])
            .prop_map(|(region, what, age_ms)| Op::Result { region, what, age_ms }),
        5 => (whats(), prop_oneof![Just(0_u64), Just(1_000), 0_u64..1_500])
            .prop_map(|(what, again_ms)| Op::Everywhere { what, again_ms }),
        1 => (0_usize..4, 0_u64..15_000).prop_map(|(region, age_ms)| Op::Slow { region, age_ms }),
        2 => (0_usize..4, proptest::bool::weighted(0.7)).prop_map(|(region, live)| Op::Live { region, live }),
        1 => waits().prop_map(|millis| Op::Blind { millis }),
    ];
    let by_user = prop_oneof![
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => quorums().prop_map(Op::Decide),
        1 => Just(Op::Respec),
        1 => (0_usize..4).prop_map(|region| Op::Old { region }),
    ];
    proptest::collection::vec(prop_oneof![15 => op, 1 => by_user], 0..40)
}

fn quorums() -> impl Strategy<Value = Quorum> {
    prop_oneof![
        1 => Just(Quorum::Any),
        3 => Just(Quorum::Majority),
        1 => Just(Quorum::All),
        1 => (1_usize..=3).prop_map(Quorum::AtLeast),
    ]
}

fn over(quorum: Quorum, regions: &[RegionId]) -> engine::quorum::Quorum {
    let text = match quorum {
        Quorum::Any => "any".to_owned(),
        Quorum::Majority => "majority".to_owned(),
        Quorum::All => "all".to_owned(),
        Quorum::AtLeast(k) => format!("at_least:{k}"),
    };
    text.parse::<engine::quorum::Policy>().unwrap().over(regions)
}

prop_compose! {
    fn policies()(
        regions in 1_usize..=4,
        quorum in quorums(),
        confirmation_secs in prop_oneof![2 => Just(0_u64), 1 => Just(5), 1 => Just(30)],
        failures in prop_oneof![3 => Just(1_u16), 1 => 0_u16..=3],
        passes in prop_oneof![3 => Just(1_u16), 1 => 0_u16..=3],
        recovery_secs in prop_oneof![3 => Just(0_u64), 1 => Just(40)],
        interval in prop_oneof![Just(10_u64), Just(60)],
        recovery_checks in 0_u32..=3,
    ) -> (Policy, Quorum) {
        let ids = ["ap", "eu", "sa", "us"];
        let regions: Vec<_> = ids[..regions].iter().map(|id| RegionId::new(id).unwrap()).collect();
        let policy = Policy {
            quorum: over(quorum, &regions),
            regions,
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::from_secs(confirmation_secs),
            recovery_checks,
            thresholds: monitor::Thresholds {
                failures,
                passes,
                recovery_period: Duration::from_secs(recovery_secs),
                latency_limit: None,
            },
            has_parents: false,
            spec_revision: 1,
        };
        (policy, quorum)
    }
}

/// The engine and the history that it was told.
struct Both {
    policy: Policy,
    policies: Vec<InForce>,
    state: Box<State>,
    now: Timestamp,
    history: Vec<(Timestamp, Event)>,
    incidents: Vec<Outage>,
}

impl Both {
    fn new(policy: Policy, quorum: Quorum) -> Self {
        let state = monitor::new(&policy, START);
        let policies = vec![InForce { from: 0, policy: policy.clone(), quorum }];
        let mut both = Self { policy, policies, state, now: START, history: vec![], incidents: vec![] };
        for region in both.policy.regions.clone() {
            both.tell(Event::RegionLive { region, live: true });
        }
        both
    }

    fn run(&mut self, op: &Op) {
        let regions = self.policy.regions.len();
        let before = |millis: &u64| Duration::from_millis(*millis);
        match op {
            Op::Wait { millis } => self.wait(before(millis)),
            Op::Result { region, what, age_ms } => {
                self.observe(region % regions, *what, self.now.minus(before(age_ms)));
            }
            Op::Everywhere { what, again_ms } => {
                for _ in 0..2 {
                    for region in 0..regions {
                        self.observe(region, *what, self.now);
                    }
                    self.wait(before(again_ms));
                }
            }
            Op::Slow { region, age_ms } => {
                let region = self.policy.regions[region % regions].clone();
                self.tell(Event::Slow { region, started_at: self.now.minus(before(age_ms)) });
            }
            Op::Live { region, live } => {
                let region = self.policy.regions[region % regions].clone();
                self.tell(Event::RegionLive { region, live: *live });
            }
            Op::Blind { millis } => {
                let from = self.now;
                self.now = from.plus(before(millis));
                self.tell(Event::Blind { from, to: self.now });
            }
            Op::Pause => self.tell(Event::Paused),
            Op::Resume => self.tell(Event::Resumed),
            Op::Decide(quorum) => {
                self.policy.quorum = over(*quorum, &self.policy.regions);
                self.change_policy(*quorum, false);
            }
            Op::Respec => {
                self.policy.spec_revision += 1;
                self.change_policy(self.policies.last().unwrap().quorum, true);
            }
            Op::Old { region } => {
                self.policy.spec_revision -= 1;
                let event = self.observed(region % regions, What::Definite, self.now);
                self.policy.spec_revision += 1;
                self.tell(event);
            }
        }
    }

    fn change_policy(&mut self, quorum: Quorum, respec: bool) {
        self.policies.push(InForce { from: self.history.len(), policy: self.policy.clone(), quorum });
        self.tell(Event::PolicyChanged { respec });
    }

    /// Lets time pass, deadlines included. At the end somebody looks though no deadline says so.
    fn wait(&mut self, span: Duration) {
        let until = self.now.plus(span);
        while let Some(at) = monitor::deadline(&self.state, &self.policy).filter(|at| *at <= until) {
            self.now = at;
            self.tell(Event::DeadlineReached);
        }
        self.now = until;
        self.tell(Event::DeadlineReached);
    }

    fn observe(&mut self, region: usize, what: What, started_at: Timestamp) {
        let event = self.observed(region, what, started_at);
        self.tell(event);
    }

    fn observed(&self, region: usize, what: What, started_at: Timestamp) -> Event {
        let outcome = match what {
            What::Pass => Outcome::Pass,
            What::Definite => Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")),
            What::Inconclusive => Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused")),
            What::Error => Outcome::Error("too many open files".to_owned()),
        };
        let result = CheckResult {
            monitor: MonitorId::from_bytes([1; 16]),
            spec_revision: self.policy.spec_revision,
            region: self.policy.regions[region].clone(),
            slot: 0,
            attempt: 0,
            round: 0,
            started_at,
            duration: Duration::from_millis(100),
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        Event::Observed { agent: AgentId::from_bytes([2; 16]), result: Box::new(result) }
    }

    fn tell(&mut self, event: Event) {
        let transition = monitor::apply(self.state.clone(), &self.policy, &event, self.now);
        self.state = transition.state;
        self.history.push((self.now, event));
        for effect in transition.effects {
            match effect {
                Effect::Open(opening) => self.incidents.push(Outage {
                    started_at: opening.started_at,
                    opened_at: opening.opened_at,
                    resolved_at: None,
                }),
                Effect::Resolve { resolved_at, .. } | Effect::Close { at: resolved_at, .. } => {
                    self.incidents.last_mut().unwrap().resolved_at = Some(resolved_at);
                }
                _ => {}
            }
        }
    }

    fn told(&self) -> Told {
        let status = match self.state.status() {
            Status::Pending => Word::Pending,
            Status::Up | Status::Degraded => Word::Answers,
            Status::Down => Word::Down,
            Status::Unknown => Word::Unknown,
            Status::Paused => Word::Paused,
            Status::Maintenance => panic!("not generated"),
        };
        Told { status, is_asking: self.state.round().is_some(), incidents: self.incidents.clone() }
    }
}

proptest! {
    /// Status, rounds and incidents are what the whole history says, after every event.
    #[test]
    fn the_engine_tells_what_the_whole_history_says((policy, quorum) in policies(), ops in ops()) {
        let mut both = Both::new(policy, quorum);
        for op in &ops {
            both.run(op);
            let expected = replay(&both.policies, START, &both.history);
            prop_assert_eq!(both.told(), expected, "after {:?} at {}", op, both.now);
        }
    }
}

/// The histories above are worth something only if much happens in them.
#[test]
fn arbitrary_histories_open_and_resolve_incidents() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut opened, mut resolved, mut unknown, mut paused) = (0, 0, 0, 0);
    for _ in 0..300 {
        let ((policy, quorum), ops) = (policies(), ops()).new_tree(&mut runner).unwrap().current();
        let mut both = Both::new(policy, quorum);
        for op in &ops {
            both.run(op);
            unknown += usize::from(both.state.status() == Status::Unknown);
            paused += usize::from(both.state.status() == Status::Paused);
        }
        opened += both.incidents.len();
        resolved += both.incidents.iter().filter(|incident| incident.resolved_at.is_some()).count();
    }
    let enough = opened > 100 && resolved > 20 && unknown > 20 && paused > 20;
    assert!(enough, "{opened} {resolved} {unknown} {paused}");
}
