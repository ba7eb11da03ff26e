//! The invariants of the monitor machine, held against whatever may happen: reordered, repeated and late results,
//! errors, regions that come and go, blindness, pauses, new policies.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use engine::effect::{Effect, Evidence};
use engine::monitor::{self, Event, Policy, State, Status};
use engine::quorum::{self, RegionSet};
use model::{AgentId, CheckResult, Failure, FailureKind, MonitorId, Outcome, Phases, RegionId, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Debug)]
enum Op {
    Wait { millis: u64 },
    Result { region: usize, what: What, age_ms: u64 },
    Slow { region: usize, age_ms: u64 },
    Live { region: usize, live: bool },
    Blind { millis: u64 },
    Quorum(quorum::Policy),
    Respec,
    Pause,
    Resume,
    Maintenance { on: bool },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Pass,
    Definite,
    Inconclusive,
    Error,
}

fn quorums() -> impl Strategy<Value = quorum::Policy> {
    prop_oneof![
        3 => prop_oneof![Just("any"), Just("majority"), Just("all"), Just("percent:60")].prop_map(str::to_owned),
        1 => (1_u8..=3).prop_map(|k| format!("at_least:{k}")),
        2 => prop_oneof![
            Just("1 of eu and 1 of other"),
            Just("2 of other and any of ap"),
            Just("all of ?u* and majority of *a*"),
            Just("50% of * and 1 of us"),
        ]
        .prop_map(str::to_owned),
    ]
    .prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn policies()(
        regions in 1_usize..=4,
        quorum in quorums(),
        interval in prop_oneof![Just(1_u64), Just(10), Just(60), Just(3_600)],
        confirmation in prop_oneof![3 => Just(0_u64), 1 => Just(5), 1 => Just(60)],
        recovery_checks in 0_u32..=3,
    ) -> Policy {
        let regions: Vec<_> = (0..regions).map(region).collect();
        Policy {
            quorum: quorum.over(&regions),
            regions,
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(interval.min(10)),
            confirmation_period: Duration::from_secs(confirmation),
            recovery_checks,
            thresholds: monitor::Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        }
    }
}

fn satisfiable(mut policy: Policy) -> Policy {
    if policy.quorum.policy().validate(&policy.regions).is_err() {
        policy.quorum = quorum::Policy::default().over(&policy.regions);
    }
    policy
}

fn whats() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Pass),
        3 => Just(What::Definite),
        3 => Just(What::Inconclusive),
        1 => Just(What::Error),
    ]
}

fn ages() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..2_000, 2 => 0_u64..12_000, 1 => 0_u64..200_000]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => prop_oneof![4 => 0_u64..2_000, 2 => 0_u64..20_000, 1 => 0_u64..200_000]
            .prop_map(|millis| Op::Wait { millis }),
        14 => (0_usize..4, whats(), ages()).prop_map(|(region, what, age_ms)| Op::Result { region, what, age_ms }),
        1 => (0_usize..4, ages()).prop_map(|(region, age_ms)| Op::Slow { region, age_ms }),
        2 => (0_usize..4, proptest::bool::weighted(0.7)).prop_map(|(region, live)| Op::Live { region, live }),
        1 => (0_u64..100_000).prop_map(|millis| Op::Blind { millis }),
        1 => quorums().prop_map(Op::Quorum),
        1 => prop_oneof![Just(Op::Respec), Just(Op::Pause), Just(Op::Resume), Just(Op::Resume)],
        1 => prop_oneof![Just(true), Just(false)].prop_map(|on| Op::Maintenance { on }),
    ];
    proptest::collection::vec(op, 0..80)
}

fn region(index: usize) -> RegionId {
    RegionId::new(["ap", "eu", "sa", "us"][index]).unwrap()
}

fn result(policy: &Policy, index: usize, what: What, started_at: Timestamp) -> CheckResult {
    let outcome = match what {
        What::Pass => Outcome::Pass,
        What::Definite => Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")),
        What::Inconclusive => Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused")),
        What::Error => Outcome::Error("too many open files".to_owned()),
    };
    CheckResult {
        monitor: MonitorId::from_bytes([1; 16]),
        spec_revision: policy.spec_revision,
        region: region(index),
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
    }
}

fn observed(policy: &Policy, index: usize, what: What, started_at: Timestamp) -> Event {
    let result = Box::new(result(policy, index, what, started_at));
    Event::Observed { agent: AgentId::from_bytes([2; 16]), result }
}

/// What a naive observer knows of one region: its newest conclusive result.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    started_at: Option<Timestamp>,
    conclusive: Option<What>,
}

/// A machine under observation: every step is checked against the invariants.
struct World {
    policy: Policy,
    state: Box<State>,
    now: Timestamp,
    open: Option<(u32, Timestamp, Timestamp)>,
    openings: u32,
    known: Vec<Known>,
    /// Since when the failing regions could have satisfied the quorum without a pass in between.
    quorum_since: Option<Timestamp>,
    passes_since_opening: usize,
    last_round: u32,
    /// The end of the last window of maintenance: checks that began before it open nothing.
    maintained_until: Timestamp,
}

impl World {
    fn new(policy: Policy) -> Self {
        let known = vec![Known::default(); policy.regions.len()];
        let state = monitor::new(&policy, START);
        Self {
            policy,
            state,
            now: START,
            open: None,
            openings: 0,
            known,
            quorum_since: None,
            passes_since_opening: 0,
            last_round: 0,
            maintained_until: Timestamp::EPOCH,
        }
    }

    fn live(mut self) -> Self {
        for region in self.policy.regions.clone() {
            self.apply(&Event::RegionLive { region, live: true });
        }
        self
    }

    fn run(&mut self, op: &Op) {
        let regions = self.policy.regions.len();
        match op {
            Op::Wait { millis } => self.wait(Duration::from_millis(*millis)),
            Op::Result { region, what, age_ms } => {
                self.observe(region % regions, *what, self.now.minus(Duration::from_millis(*age_ms)));
            }
            Op::Slow { region: index, age_ms } => {
                let started_at = self.now.minus(Duration::from_millis(*age_ms));
                self.apply(&Event::Slow { region: region(index % regions), started_at });
            }
            Op::Live { region: index, live } => {
                self.apply(&Event::RegionLive { region: region(index % regions), live: *live });
            }
            Op::Blind { millis } => {
                let from = self.now;
                self.now = from.plus(Duration::from_millis(*millis));
                let before = self.state.status();
                let effects = self.apply(&Event::Blind { from, to: self.now });
                assert_eq!(self.state.status(), before, "blindness decides nothing");
                let quiet = |effect: &Effect| matches!(effect, Effect::Verify { .. });
                assert!(effects.iter().all(quiet), "{effects:?}");
            }
            Op::Quorum(quorum) => {
                self.policy.quorum = quorum.over(&self.policy.regions);
                self.apply(&Event::PolicyChanged { respec: false });
            }
            Op::Respec => {
                self.policy.spec_revision += 1;
                self.known.fill(Known::default());
                self.quorum_since = None;
                self.apply(&Event::PolicyChanged { respec: true });
            }
            Op::Pause => {
                self.known.fill(Known::default());
                self.quorum_since = None;
                self.apply(&Event::Paused);
            }
            Op::Resume => {
                self.apply(&Event::Resumed);
            }
            Op::Maintenance { on: true } => {
                self.apply(&Event::MaintenanceStarted { at: self.now });
            }
            Op::Maintenance { on: false } => {
                if self.state.is_in_maintenance() {
                    self.maintained_until = self.now;
                    self.known.fill(Known::default());
                    self.quorum_since = None;
                }
                self.apply(&Event::MaintenanceEnded);
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now.plus(span);
        let mut fired = 0;
        while let Some(at) = monitor::deadline(&self.state, &self.policy).filter(|at| *at <= until) {
            self.now = at;
            let before = self.state.clone();
            let effects = self.apply(&Event::DeadlineReached);
            assert!(!effects.is_empty() || self.state != before, "I8: a deadline changed nothing");
            fired += 1;
            assert!(fired < 10_000, "I8: spinning");
        }
        self.now = until;
    }

    fn observe(&mut self, index: usize, what: What, started_at: Timestamp) -> Vec<Effect> {
        let known = &mut self.known[index];
        let judged = !matches!(self.state.status(), Status::Paused | Status::Maintenance)
            && started_at >= self.maintained_until;
        if judged && known.started_at.is_none_or(|at| at < started_at) {
            known.started_at = Some(started_at);
            if what != What::Error {
                known.conclusive = Some(what);
            }
        }
        if what == What::Pass {
            self.passes_since_opening += 1;
        }
        self.track_quorum();
        let event = observed(&self.policy, index, what, started_at);
        let effects = self.apply(&event);

        let again = monitor::apply(self.state.clone(), &self.policy, &event, self.now);
        assert_eq!(again.state, self.state, "I3: a repeated result changed the state");
        assert_eq!(again.effects, [], "I3: a repeated result had effects");
        effects
    }

    fn failing(&self) -> RegionSet {
        let fails = |known: &Known| known.conclusive.is_some_and(|what| what != What::Pass);
        (0..self.known.len()).filter(|index| fails(&self.known[*index])).collect()
    }

    fn everyone(&self) -> RegionSet {
        RegionSet::first(self.policy.regions.len())
    }

    /// Whether these failing regions could make the monitor down, if no other region can be heard.
    fn could_open(&self, failing: RegionSet) -> bool {
        self.policy.quorum.is_satisfied(failing, failing)
    }

    fn track_quorum(&mut self) {
        if self.could_open(self.failing()) {
            self.quorum_since.get_or_insert(self.now);
        } else {
            self.quorum_since = None;
        }
    }

    fn apply(&mut self, event: &Event) -> Vec<Effect> {
        self.track_quorum();
        let before = self.state.status();
        let transition = monitor::apply(self.state.clone(), &self.policy, event, self.now);
        self.state = transition.state;
        self.check_effects(before, &transition.effects);
        self.check_settled();
        transition.effects
    }

    fn check_effects(&mut self, mut status: Status, effects: &[Effect]) {
        for effect in effects {
            if self.state.status() == Status::Maintenance {
                let tells = matches!(effect, Effect::MonitorStatus { .. } | Effect::Record { .. });
                assert!(tells, "I10: {effect:?} in maintenance");
            }
            match effect {
                Effect::Open(opening) => {
                    assert!(opening.started_at >= self.maintained_until, "began in maintenance");
                    assert_eq!(self.open, None, "I1, I6: opened twice");
                    assert_eq!(opening.number, self.openings + 1);
                    assert!(opening.started_at <= opening.opened_at, "I7");
                    assert_eq!(opening.opened_at, self.now);
                    self.check_opening(&opening.evidence);
                    self.openings = opening.number;
                    self.open = Some((opening.number, opening.started_at, opening.opened_at));
                    self.passes_since_opening = 0;
                }
                Effect::Resolve { number, resolved_at, .. } => {
                    let (open, _, opened_at) = self.open.take().expect("I6: resolved what was not open");
                    assert_eq!(*number, open);
                    assert!(opened_at <= *resolved_at, "I7");
                    self.check_resolving();
                }
                Effect::Close { number, .. } => {
                    let (open, ..) = self.open.take().expect("I6: closed what was not open");
                    assert_eq!(*number, open);
                }
                Effect::Record { number, .. } => {
                    assert_eq!(
                        Some(*number),
                        self.open.map(|(number, ..)| number),
                        "recorded in no incident"
                    );
                }
                Effect::MonitorStatus { from, to, .. } => {
                    assert_eq!(*from, status);
                    assert_ne!(from, to);
                    status = *to;
                }
                Effect::AskParents => assert!(self.policy.has_parents),
                Effect::Verify { round, .. } => {
                    assert!(*round > self.last_round, "round {round} after {}", self.last_round);
                    self.last_round = *round;
                    assert_ne!(self.state.status(), Status::Paused, "I10");
                }
                Effect::HeartbeatStatus { .. }
                | Effect::Notice { .. }
                | Effect::Quarantine { .. }
                | Effect::Release
                | Effect::RunEnded(_) => {
                    panic!("not of a monitor: {effect:?}")
                }
            }
        }
        assert_eq!(status, self.state.status(), "every change of status is told");
        assert_eq!(self.state.open_incident(), self.open.map(|(number, ..)| number));
        match self.state.status() {
            Status::Maintenance => {}
            status => assert_eq!(status == Status::Down, self.open.is_some(), "I10 and down means open"),
        }
    }

    /// I2, I4, I5: enough regions' newest word is a failure, and has been for the confirmation period.
    fn check_opening(&self, evidence: &Evidence) {
        assert!(self.could_open(self.failing()), "I4: opened by too few regions");
        let since = self.quorum_since.expect("I2: no quorum");
        assert!(self.now.since(since) >= self.policy.confirmation_period, "I2: held too short");
        let Evidence::Votes(table) = evidence else { panic!("no votes") };
        let counted = |index: &usize| table.rows[*index].counted && !table.rows[*index].detail.is_empty();
        let counted: RegionSet = (0..table.rows.len()).filter(counted).collect();
        assert!(self.could_open(counted), "I4: {table:?}");
        for index in counted.iter() {
            let age = self.now.since(table.rows[index].started_at.unwrap());
            assert!(age < self.policy.freshness(), "I2: a stale vote opened");
        }
    }

    /// I5: silence resolves nothing, and neither do errors: fewer regions fail than would make it down.
    fn check_resolving(&self) {
        assert!(self.passes_since_opening > 0, "I5: resolved without a pass");
        let failing = self.failing();
        let is_down = self.policy.quorum.is_satisfied(failing, self.everyone());
        assert!(!is_down, "I5: resolved while {failing:?} fail");
    }

    fn check_settled(&self) {
        let deadline = monitor::deadline(&self.state, &self.policy);
        assert!(deadline.is_none_or(|at| at > self.now), "I8: {deadline:?} is not after {}", self.now);
        let again = monitor::apply(self.state.clone(), &self.policy, &Event::DeadlineReached, self.now);
        assert_eq!(again.state, self.state, "not settled");
        assert_eq!(again.effects, [], "not settled");
        let explanation = monitor::explain(&self.state, &self.policy, self.now);
        assert_eq!(explanation.table.rows.len(), self.policy.regions.len());
    }

    /// Lets the world be as `truth` says for a while: regions check on schedule and answer rounds at once.
    fn live_through(&mut self, truth: &[What], span: Duration) {
        let until = self.now.plus(span);
        let step = self.policy.interval.min(Duration::from_secs(5));
        while self.now < until {
            for (index, what) in truth.iter().enumerate() {
                self.observe(index, *what, self.now);
            }
            if self.state.round().is_some() {
                self.wait(Duration::from_secs(1));
                for (index, what) in truth.iter().enumerate() {
                    self.observe(index, *what, self.now);
                }
            }
            self.wait(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// I1–I8, I10: whatever happens.
    #[test]
    fn i1_to_i10_hold_whatever_happens(policy in policies(), live in any::<bool>(), ops in ops()) {
        let mut world = World::new(policy);
        if live {
            world = world.live();
        }
        for op in &ops {
            world.run(op);
        }
    }

    /// I3: once the world stands still, the status is what it is, whatever was heard before.
    #[test]
    fn i3_the_status_converges_to_the_truth(
        policy in policies(),
        ops in ops(),
        truth in proptest::collection::vec(
            prop_oneof![Just(What::Pass), Just(What::Definite), Just(What::Inconclusive)], 4),
    ) {
        let policy = satisfiable(policy);
        let quorum = policy.quorum.policy().clone();
        let mut world = World::new(policy).live();
        for op in &ops {
            world.run(op);
        }
        world.run(&Op::Resume);
        world.run(&Op::Maintenance { on: false });
        world.run(&Op::Quorum(quorum));
        let regions = world.policy.regions.len();
        for index in 0..regions {
            world.run(&Op::Live { region: index, live: true });
        }
        let truth = &truth[..regions];
        world.live_through(truth, Duration::from_secs(200));
        let failing: RegionSet = (0..regions).filter(|index| truth[*index] != What::Pass).collect();
        let expected = if failing.is_empty() {
            Status::Up
        } else if world.policy.quorum.is_satisfied(failing, world.everyone()) {
            Status::Down
        } else {
            Status::Degraded
        };
        if world.state.status() != expected {
            // What has been flapping must be up for ten minutes.
            world.live_through(truth, Duration::from_secs(640));
        }
        prop_assert_eq!(world.state.status(), expected, "{:?}", world.state);
        prop_assert_eq!(world.state.unverified_since(), None);
    }

    /// I4: regions that are no quorum of their own open nothing, whatever they report and however often, and whoever
    /// else falls silent.
    #[test]
    fn i4_regions_that_are_no_quorum_open_nothing(
        policy in policies(),
        liars in any::<[bool; 4]>(),
        ops in ops(),
    ) {
        let quorum = policy.quorum.policy().clone();
        let mut world = World::new(policy).live();
        let mut liars: RegionSet = (0..world.policy.regions.len()).filter(|index| liars[*index]).collect();
        while world.could_open(liars) {
            liars.remove(liars.iter().next().unwrap());
        }
        for op in &ops {
            match op {
                Op::Result { region, what, age_ms } => {
                    let honest = !liars.contains(region % world.policy.regions.len());
                    let what = if honest && *what != What::Error { What::Pass } else { *what };
                    world.run(&Op::Result { region: *region, what, age_ms: *age_ms });
                }
                Op::Quorum(_) => world.run(&Op::Quorum(quorum.clone())),
                op => world.run(op),
            }
            prop_assert_eq!(world.openings, 0);
        }
    }

    /// I4, the other way round: an outage that enough honest regions see opens and stays open, whatever the others
    /// report and however often.
    #[test]
    fn i4_regions_that_leave_enough_honest_ones_hide_nothing(
        policy in policies(),
        liars in any::<[bool; 4]>(),
        lies in proptest::collection::vec((0_usize..4, whats(), ages(), 0_u64..3_000), 0..40),
    ) {
        let mut world = World::new(satisfiable(policy)).live();
        let everyone = world.everyone();
        let mut liars: RegionSet = everyone.iter().filter(|index| liars[*index]).collect();
        while !world.policy.quorum.is_satisfied(everyone.without(liars), everyone) {
            liars.remove(liars.iter().next().unwrap());
        }
        let lie = |world: &mut World| {
            for (region, what, age_ms, millis) in &lies {
                for honest in everyone.without(liars).iter() {
                    world.observe(honest, What::Definite, world.now);
                }
                if liars.contains(*region) {
                    world.run(&Op::Result { region: *region, what: *what, age_ms: *age_ms });
                }
                world.wait(Duration::from_millis(*millis));
            }
        };
        lie(&mut world);
        let truth = |index| if liars.contains(index) { What::Pass } else { What::Definite };
        let truth: Vec<_> = everyone.iter().map(truth).collect();
        world.live_through(&truth, Duration::from_secs(200));
        let open = world.open;
        prop_assert!(open.is_some(), "{:?}", world.state);
        lie(&mut world);
        prop_assert_eq!(world.open, open);
    }

    /// I5: silence, errors and blindness neither open nor resolve.
    #[test]
    fn i5_silence_decides_nothing(policy in policies(), ops in ops(), down in any::<bool>()) {
        let mut world = World::new(satisfiable(policy)).live();
        let truth = vec![if down { What::Definite } else { What::Pass }; world.policy.regions.len()];
        world.live_through(&truth, Duration::from_secs(130));
        let (openings, open) = (world.openings, world.open);
        prop_assert_eq!(open.is_some(), down);
        for op in &ops {
            match op {
                Op::Result { region, age_ms, .. } => {
                    world.run(&Op::Result { region: *region, what: What::Error, age_ms: *age_ms });
                }
                Op::Pause | Op::Resume => {}
                op => world.run(op),
            }
            prop_assert_eq!((world.openings, world.open), (openings, open));
        }
    }

    /// I9: the state survives storage.
    #[test]
    fn i9_the_state_survives_a_round_trip(policy in policies(), ops in ops()) {
        let mut world = World::new(policy).live();
        for op in &ops {
            world.run(op);
        }
        let bytes = postcard::to_stdvec(&world.state).unwrap();
        prop_assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), *world.state);
    }

    /// Replaying results after a restart yields the same votes and no decision.
    #[test]
    fn folding_results_learns_votes_and_decides_nothing(
        policy in policies(),
        results in proptest::collection::vec((0_usize..4, whats(), 0_u64..30_000), 0..30),
    ) {
        let regions = policy.regions.len();
        let mut folded = monitor::new(&policy, START);
        let mut applied = folded.clone();
        let now = START.plus(Duration::from_secs(31));
        for (index, what, millis) in results {
            let event = observed(&policy, index % regions, what, START.plus(Duration::from_millis(millis)));
            folded = monitor::fold(folded, &policy, &event, now);
            applied = monitor::apply(applied, &policy, &event, now).state;
        }
        prop_assert_eq!(folded.status(), Status::Pending);
        prop_assert_eq!(folded.round(), None);
        let started = |state: &State| {
            state.regions().map(|region| region.vote.as_ref().map(|vote| vote.started_at)).collect::<Vec<_>>()
        };
        prop_assert_eq!(started(&folded), started(&applied));
    }

    /// I10: whatever is heard in a window of maintenance, afterwards the monitor is what it was, and its incident is the
    /// one from before.
    #[test]
    fn i10_maintenance_changes_no_status_and_no_incident(
        policy in policies(), before in ops(), during in ops(),
    ) {
        let mut world = World::new(policy).live();
        for op in &before {
            world.run(op);
        }
        world.run(&Op::Maintenance { on: false });
        world.wait(Duration::from_secs(1));
        let (status, openings, open) = (world.state.status(), world.openings, world.open);
        world.run(&Op::Maintenance { on: true });
        for op in during {
            match op {
                Op::Pause | Op::Resume | Op::Respec | Op::Maintenance { .. } => {}
                op => world.run(&op),
            }
            prop_assert_eq!((world.openings, world.open), (openings, open));
            prop_assert_eq!(monitor::deadline(&world.state, &world.policy), None);
        }
        // A check that starts at the very end of the window is one from after it.
        world.wait(Duration::from_millis(1));
        world.run(&Op::Maintenance { on: false });
        prop_assert_eq!((world.state.status(), world.openings, world.open), (status, openings, open));
    }
}
