use engine::monitor::{Phase, Status as MonitorStatus};
use engine::quorum;
use model::{Check, CheckSpec, SubjectId, TestClock, Timestamp};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::*;
use crate::definition::{Definition, Kind};
use crate::fleet::{Introduction, SILENCE};
use crate::lifecycle::{Supervisor, Task};
use crate::view::Status;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

struct Stage {
    clock: Arc<TestClock>,
    views: Arc<Views>,
    fleet: Arc<Fleet>,
}

impl Stage {
    /// The stage under test runs, on a clock that the test drives.
    fn start() -> Self {
        let clock = Arc::new(TestClock::at(NOW));
        let (views, fleet) = (Arc::new(Views::default()), Arc::new(Fleet::new(Arc::clone(&clock) as _)));
        let supervisor = Supervisor::new();
        let run = run(Arc::clone(&views), Arc::clone(&fleet), supervisor.drain().clone());
        supervisor.spawn(Task::Assign, run);
        Self { clock, views, fleet }
    }

    fn join(&self) -> (Session, UnboundedReceiver<ToAgent>) {
        let who = Introduction {
            agent: agent(),
            name: "probe-1".into(),
            region: region(),
            process_nonce: [1; 16],
            epoch: 1,
            version: "0.1.0".into(),
            capacity: 0,
            digest: vec![],
            dropped_results: 0,
            clock_offset_micros: None,
            capabilities: [].into_iter().collect(),
            is_embedded: false,
        };
        let (outgoing, received) = mpsc::unbounded_channel();
        (self.fleet.join(who, outgoing).unwrap(), received)
    }

    fn show(&self, definition: &Arc<Definition>, status: MonitorStatus) {
        let view = SubjectView {
            definition: Arc::clone(definition),
            status: Status::Monitor(status, Phase::Steady),
            status_since: NOW,
            incident: None,
            unverified_since: None,
        };
        self.views.publish(vec![(definition.id, Some(Arc::new(view)))]);
    }
}

fn agent() -> AgentId {
    AgentId::from_bytes([1; 16])
}

fn region() -> RegionId {
    "us-east".parse().unwrap()
}

fn definition(number: u8) -> Arc<Definition> {
    let spec = CheckSpec {
        check: Check::from_target("https://a.example/").unwrap(),
        options: Options::default(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
    };
    let monitor = MonitorDefinition {
        spec,
        regions: vec![region()],
        quorum: quorum::Policy::default(),
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: engine::monitor::Thresholds::default(),
        depends_on: vec![],
        channels: vec![],
        alert: engine::alert::Options::default(),
        tags: vec![],
        paused: false,
        spec_revision: 1,
    };
    Arc::new(Definition {
        id: SubjectId::Monitor(MonitorId::from_bytes([number; 16])),
        name: format!("monitor {number}"),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
        kind: Kind::Monitor(Arc::new(monitor)),
    })
}

/// A message as (whether it is the whole set, how many are assigned, how many removed).
async fn next(received: &mut UnboundedReceiver<ToAgent>) -> (bool, usize, usize) {
    match received.recv().await {
        Some(ToAgent::Assignments { full, assigned, removed, .. }) => (full, assigned.len(), removed.len()),
        other => panic!("not assignments: {other:?}"),
    }
}

/// Long enough for several rounds of the stage.
async fn several_rounds() {
    tokio::time::sleep(SAFETY_INTERVAL * 5).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_sent_its_set_once_and_then_what_changes() {
    let stage = Stage::start();
    let monitor = definition(1);
    stage.show(&monitor, MonitorStatus::Pending);
    let (_session, mut received) = stage.join();
    assert_eq!(next(&mut received).await, (true, 1, 0));
    stage.show(&definition(2), MonitorStatus::Pending);
    assert_eq!(next(&mut received).await, (false, 1, 0));
    stage.views.publish(vec![(monitor.id, None)]);
    assert_eq!(next(&mut received).await, (false, 0, 1));
    several_rounds().await;
    assert!(received.try_recv().is_err());
    assert_eq!(stage.fleet.member(agent()).unwrap().assigned, Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_monitors_is_equipped_too() {
    let stage = Stage::start();
    let (_session, mut received) = stage.join();
    assert_eq!(next(&mut received).await, (true, 0, 0));
    several_rounds().await;
    assert_eq!(stage.fleet.member(agent()).unwrap().assigned, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_connected_agent_that_was_not_heard_for_a_moment_keeps_its_set() {
    let stage = Stage::start();
    stage.show(&definition(1), MonitorStatus::Pending);
    let (session, mut received) = stage.join();
    assert_eq!(next(&mut received).await, (true, 1, 0));
    stage.clock.advance(SILENCE);
    several_rounds().await;
    assert!(received.try_recv().is_err());
    stage.fleet.heard(agent(), session.number);
    several_rounds().await;
    assert!(received.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_sent_the_whole_set() {
    let stage = Stage::start();
    stage.show(&definition(1), MonitorStatus::Pending);
    let (_session, mut received) = stage.join();
    assert_eq!(next(&mut received).await, (true, 1, 0));
    let (_session, mut received) = stage.join();
    assert_eq!(next(&mut received).await, (true, 1, 0));
}

#[test]
fn only_what_concerns_agents_makes_the_sets_be_computed_anew() {
    let views = Views::default();
    let mut changes = views.watch_definitions();
    let mut is_told = |definition: &Arc<Definition>, status| {
        let view = SubjectView {
            definition: Arc::clone(definition),
            status: Status::Monitor(status, Phase::Steady),
            status_since: NOW,
            incident: None,
            unverified_since: None,
        };
        views.publish(vec![(definition.id, Some(Arc::new(view)))]);
        let told = changes.has_changed().unwrap();
        changes.mark_unchanged();
        told
    };
    let before = definition(1);
    assert!(is_told(&before, MonitorStatus::Pending), "created");
    assert!(is_told(&before, MonitorStatus::Up), "has its first verdict");
    assert!(!is_told(&before, MonitorStatus::Down));
    assert!(is_told(&definition(1), MonitorStatus::Down), "redefined");
}

#[test]
fn an_agent_that_is_not_believed_goes_on_checking_and_another_of_its_region_votes() {
    let views: Vec<Arc<SubjectView>> = (1..=40)
        .map(|number| {
            let definition = definition(number);
            let status = Status::Monitor(MonitorStatus::Up, Phase::Steady);
            let (status_since, incident) = (NOW, None);
            Arc::new(SubjectView { definition, status, status_since, incident, unverified_since: None })
        })
        .collect();
    let agents = [1, 2].map(|number| Candidate {
        agent: AgentId::from_bytes([number; 16]),
        weight: 1,
        able: Capabilities::all(),
    });
    let candidates = Candidates::from([(region(), agents.to_vec())]);
    let [sick, well] = agents.map(|candidate| candidate.agent);
    let primaries = |sets: &BTreeMap<AgentId, Arc<Desired>>, agent: AgentId| {
        let of = |(id, wanted): (&MonitorId, &Wanted)| (wanted.role == Role::Primary).then_some(*id);
        sets[&agent].iter().filter_map(of).collect::<BTreeSet<_>>()
    };
    let before = desired_sets(&views, &candidates, &BTreeSet::new());
    assert!(primaries(&before, sick).len() > 5);
    let after = desired_sets(&views, &candidates, &BTreeSet::from([sick]));
    assert_eq!(primaries(&after, sick), primaries(&before, sick));
    assert_eq!(primaries(&after, well).len(), 40);
    let only = Candidates::from([(region(), vec![agents[0]])]);
    let alone = desired_sets(&views, &only, &BTreeSet::from([sick]));
    assert_eq!(primaries(&alone, sick).len(), 40, "nobody else is there");
}

#[test]
fn who_cannot_make_a_check_has_it_only_where_nobody_can() {
    let Kind::Monitor(http) = definition(1).kind.clone() else { panic!("a monitor") };
    let spec = CheckSpec { check: Check::from_target("icmp://a.example").unwrap(), ..http.spec.clone() };
    let ping = Arc::new(MonitorDefinition { spec, ..MonitorDefinition::clone(&http) });
    let views: Vec<Arc<SubjectView>> = (1..=40)
        .map(|number| {
            let definition = definition(number);
            let kind =
                if number % 2 == 0 { Kind::Monitor(Arc::clone(&ping)) } else { definition.kind.clone() };
            let definition = Arc::new(Definition { kind, ..Definition::clone(&definition) });
            let status = Status::Monitor(MonitorStatus::Up, Phase::Steady);
            let (status_since, incident) = (NOW, None);
            Arc::new(SubjectView { definition, status, status_since, incident, unverified_since: None })
        })
        .collect();
    let candidate = |number, able: &[&str]| Candidate {
        agent: AgentId::from_bytes([number; 16]),
        weight: 1,
        able: Capabilities::of_agent(able),
    };
    let pings = |candidates: &[Candidate]| {
        let candidates = Candidates::from([(region(), candidates.to_vec())]);
        let sets = desired_sets(&views, &candidates, &BTreeSet::new());
        let is_ping = |wanted: &&Wanted| matches!(wanted.definition.spec.check, Check::Icmp(_));
        sets.into_iter()
            .map(|(agent, set)| (agent.as_bytes()[0], set.values().filter(is_ping).count()))
            .collect::<Vec<_>>()
    };
    assert_eq!(pings(&[candidate(1, &["http"]), candidate(2, &["http", "icmp"])]), [(1, 0), (2, 20)]);
    assert_eq!(pings(&[candidate(1, &["http"])]), [(1, 20)], "to say what it lacks");
}
