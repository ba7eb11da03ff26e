//! The owner against a store that fails on order: what is acked is kept, what is not is tried again, nothing happens twice.

mod alert;
mod kinship;
mod maintenance;
mod operations;

use std::sync::LazyLock;
use std::time::Duration;

use engine::heartbeat::PingKind;
use engine::{monitor as machine, quorum};
use model::{
    AgentId, Capture, Check, CheckResult, CheckSpec, Failure, FailureKind, HeartbeatId, IncidentId,
    InstallationId, MonitorId, Outcome, Phases, SystemClock, SystemRandom,
};
use store::faulty::{Fault, Faults, Faulty};
use store::journal::{HeardPing, Told};
use store::memory::Memory;
use store::{
    CaptureQuery, CaptureRow, CaptureVerdict, ConfigChange, IncidentQuery, IncidentState, Record, RegionRow,
};
use tokio::task::JoinHandle;

use super::*;
use crate::acknowledge_link::AcknowledgeLinks;
use crate::definition::{Definition, HeartbeatDefinition, Kind, MonitorDefinition};
use crate::ping::Options;
use crate::tenure::Tenure;
use crate::view::{Status, SubjectView};

/// One clock for the tests and the owners: two would differ by what passes between their starts' two readings.
static CLOCK: LazyLock<Arc<SystemClock>> = LazyLock::new(|| Arc::new(SystemClock::start()));

fn now() -> Timestamp {
    CLOCK.now()
}

const REGIONS: [&str; 2] = ["eu", "us"];

/// An owner over a faulty store, as a coordinator process has it.
struct World {
    store: Memory,
    settings: Arc<Settings>,
    faults: Faults,
    handle: Handle,
    views: Arc<Views>,
    healthy: Arc<AtomicBool>,
    acks: (mpsc::UnboundedSender<Acked>, mpsc::UnboundedReceiver<Acked>),
    rounds: mpsc::UnboundedReceiver<u32>,
    stop: CancellationToken,
    owner: JoinHandle<()>,
    _events: mpsc::UnboundedReceiver<EventRow>,
}

/// Passes on which rounds are asked for.
struct Rounds(mpsc::UnboundedSender<u32>);

impl AskRegions for Rounds {
    fn verify(&self, _: MonitorId, _: Capabilities, _: u64, round: u32, regions: &[RegionId]) {
        if regions.len() == REGIONS.len() {
            let _ = self.0.send(round);
        }
    }

    fn capacity(&self) -> f64 {
        1_000.0
    }

    fn set_aside(&self, _: BTreeSet<AgentId>) {}
}

#[expect(clippy::disallowed_methods, reason = "a test supervises its own tasks")]
async fn start(store: Memory) -> World {
    let clock: Arc<dyn Clock> = CLOCK.clone();
    let faults = Faults::default();
    let faulty: Arc<dyn Store> = Arc::new(Faulty::new(store.clone(), faults.clone()));
    let lease = faulty.claim("main", clock.now()).await.unwrap();
    let settings = Arc::new(Settings::load(Arc::clone(&faulty), Arc::clone(&clock)).await.unwrap());
    for region in REGIONS {
        let row =
            RegionRow { id: region.parse().unwrap(), display_name: region.into(), created_at: clock.now() };
        settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutRegion(row))).await.unwrap();
    }
    let recovered = recover(faulty.as_ref(), clock.now()).await.unwrap();
    let (handle, lanes) = lanes();
    let (outbox, events) = mpsc::unbounded_channel();
    let (asked, rounds) = mpsc::unbounded_channel();
    let (views, healthy) = (Arc::new(Views::default()), Arc::new(AtomicBool::new(true)));
    let owner = Owner::new(Parts {
        store: faulty,
        clock,
        settings: Arc::clone(&settings),
        views: Arc::clone(&views),
        fleet: Arc::new(Rounds(asked)),
        outbox,
        lanes,
        healthy: Arc::clone(&healthy),
        metrics: Arc::default(),
        tenure: Arc::new(Tenure::claimed(lease.ttl, now())),
        lease,
        links: Arc::new(AcknowledgeLinks::new([7; 32], None)),
        recovered,
    });
    let stop = CancellationToken::new();
    let owner = tokio::spawn(owner.run(stop.clone()));
    for region in REGIONS {
        handle.tell(Input::RegionLive { region: region.parse().unwrap(), live: true }).await;
    }
    World {
        store,
        settings,
        faults,
        handle,
        views,
        healthy,
        acks: mpsc::unbounded_channel(),
        rounds,
        stop,
        owner,
        _events: events,
    }
}

impl World {
    /// Ends this process as `kill -9` would: nothing more is written.
    async fn kill(self) -> Memory {
        self.owner.abort();
        drop(self.owner.await);
        self.store
    }

    async fn results(&mut self, first_seq: u64, results: Vec<CheckResult>) {
        self.capturing(first_seq, results.into_iter().map(|result| (result, None)).collect()).await;
    }

    async fn capturing(&mut self, first_seq: u64, results: Vec<(CheckResult, Option<Box<Capture>>)>) {
        let items = (first_seq..).zip(results);
        let items = items
            .map(|(seq, (result, capture))| ResultItem { seq, result: Some(result), is_late: false, capture })
            .collect();
        self.handle
            .results(ResultBatch {
                agent: AgentId::from_bytes([7; 16]),
                agent_epoch: 1,
                received_at: now(),
                items,
                acks: self.acks.0.clone(),
            })
            .await;
    }

    /// Answers rounds with a failure from every region until the monitor is down.
    async fn fail_until_down(&mut self, first_seq: u64) {
        let mut changes = self.views.watch();
        let mut seq = first_seq;
        let limit = tokio::time::sleep(Duration::from_secs(5));
        tokio::pin!(limit);
        while !self.views.get(SubjectId::Monitor(MONITOR)).is_some_and(|view| is_down(&view)) {
            tokio::select! {
                () = &mut limit => panic!("never down: {:#?}", self.handle.inspect(SubjectId::Monitor(MONITOR)).await),
                changed = changes.changed() => changed.unwrap(),
                Some(round) = self.rounds.recv() => {
                    let answer = |region: &&str| CheckResult { attempt: 1, round, ..result(region, 503) };
                    self.results(seq, REGIONS.iter().map(answer).collect()).await;
                    seq += 2;
                }
            }
        }
    }

    async fn acked(&mut self) -> Acked {
        tokio::time::timeout(Duration::from_secs(5), self.acks.1.recv()).await.unwrap().unwrap()
    }

    async fn ping(&self, kind: PingKind) -> Result<(), Unavailable> {
        let at = now();
        self.handle.ping(HeardPing::new(HEARTBEAT, kind, at)).await
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&SubjectView) -> bool, id: SubjectId) {
        let mut changes = self.views.watch();
        let all = async {
            while !self.views.get(id).is_some_and(|view| holds(&view)) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all)
            .await
            .unwrap_or_else(|_| panic!("never came true: {what}"));
    }

    async fn incidents(&self) -> Vec<store::IncidentRow> {
        self.store.list_incidents(&IncidentQuery { limit: 100, ..IncidentQuery::default() }).await.unwrap()
    }
}

const MONITOR: MonitorId = MonitorId::from_bytes([1; 16]);
const HEARTBEAT: HeartbeatId = HeartbeatId::from_bytes([2; 16]);

fn monitor(name: &str) -> Definition {
    let created_at = now();
    let definition = MonitorDefinition {
        spec: CheckSpec {
            check: Check::from_target("http://a.example/").unwrap(),
            options: model::check::Options::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(1),
        },
        regions: REGIONS.iter().map(|region| region.parse().unwrap()).collect(),
        quorum: quorum::Policy::default(),
        confirmation_period: Duration::ZERO,
        recovery_checks: 1,
        thresholds: engine::monitor::Thresholds::default(),
        depends_on: vec![],
        channels: vec![],
        alert: engine::alert::Options::default(),
        tags: vec![],
        paused: false,
        spec_revision: 1,
    };
    let kind = Kind::Monitor(Arc::new(definition));
    Definition {
        id: SubjectId::Monitor(MONITOR),
        name: name.into(),
        revision: 1,
        created_at,
        updated_at: created_at,
        kind,
    }
}

fn heartbeat(interval: Duration, grace: Duration) -> Definition {
    let created_at = now();
    let definition = HeartbeatDefinition {
        schedule: engine::schedule::Schedule::Every(interval),
        grace,
        timing: crate::definition::Timing::default(),
        channels: vec![],
        alert: engine::alert::Options::default(),
        tags: vec![],
        paused: false,
        token_digest: [3; 32],
        pings: Options::default(),
    };
    let kind = Kind::Heartbeat(Arc::new(definition));
    Definition {
        id: SubjectId::Heartbeat(HEARTBEAT),
        name: "job".into(),
        revision: 1,
        created_at,
        updated_at: created_at,
        kind,
    }
}

fn put(definition: &Definition) -> ChangeRequest {
    ChangeRequest::Put { definition: Box::new(definition.clone()), expected: None }
}

fn result(region: &str, status: u16) -> CheckResult {
    let failure = Failure::new(FailureKind::Status, format!("{status} {region}"));
    CheckResult {
        monitor: MONITOR,
        spec_revision: 1,
        region: region.parse().unwrap(),
        slot: 0,
        attempt: 0,
        round: 0,
        started_at: now(),
        duration: Duration::from_millis(1),
        outcome: if status == 200 { Outcome::Pass } else { Outcome::Fail(failure) },
        phases: Phases::default(),
        http_status: Some(status),
        peer: None,
        health: None,
    }
}

fn is_down(view: &SubjectView) -> bool {
    matches!(view.status, Status::Monitor(machine::Status::Down, _))
}

fn memory() -> Memory {
    Memory::new(InstallationId::new(now(), &SystemRandom))
}

#[tokio::test]
async fn results_are_acked_only_after_a_commit_and_survive_failed_ones() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    world.faults.lasting(Fault::Unavailable);
    world.results(1, vec![result("eu", 503), result("us", 503)]).await;
    assert_eq!(world.ping(PingKind::Success).await, Err(Unavailable), "a turn has failed");
    assert!(world.acks.1.try_recv().is_err(), "acked without a commit");
    assert!(!world.healthy.load(Ordering::Acquire));
    world.faults.clear();
    assert_eq!(world.acked().await, Acked { agent_epoch: 1, range: Some((1, 2)), refused: 0 });
    // They are from a time in which nothing could be decided, so the regions are asked again.
    world.fail_until_down(3).await;
    assert!(world.healthy.load(Ordering::Acquire));
}

#[tokio::test]
async fn what_checks_met_is_kept_with_the_incident_that_they_open_and_end() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    let met = |text: &str| Some(Box::new(Capture { status_line: Some(text.into()), ..Capture::default() }));
    world.capturing(1, vec![(result("eu", 503), met("first"))]).await;
    world.acked().await;
    let nobody =
        CaptureQuery { incident: IncidentId::from_bytes([0; 16]), ends_only: true, after: None, limit: 9 };
    assert_eq!(world.store.captures(&nobody).await.unwrap(), [], "there is no incident yet");
    let again = CheckResult { started_at: now(), ..result("eu", 503) };
    world.capturing(2, vec![(again, met("second")), (result("us", 503), met("other"))]).await;
    world.until("down", is_down, SubjectId::Monitor(MONITOR)).await;

    let incident = world.incidents().await[0].clone();
    let query = CaptureQuery { incident: incident.id, ..nobody };
    let listed = async |world: &World| {
        let rows = world.store.captures(&query).await.unwrap();
        let told = |row: &CaptureRow| {
            let body: crate::capture::Body = serde_json::from_str(&row.body).unwrap();
            (row.region.to_string(), row.verdict, row.period, body.capture.status_line.unwrap())
        };
        rows.iter().map(told).collect::<BTreeSet<_>>()
    };
    let row =
        |region: &str, verdict, period, text: &str| (region.to_owned(), verdict, period, text.to_owned());
    let (fail, pass) = (CaptureVerdict::Fail, CaptureVerdict::Pass);
    let mut expected = BTreeSet::from([
        row("eu", fail, Some(0), "first"),
        row("eu", fail, None, "second"),
        row("us", fail, Some(0), "other"),
        row("us", fail, None, "other"),
    ]);
    assert_eq!(listed(&world).await, expected);

    let well = |region, round| {
        let attempt = u32::from(round > 0);
        (CheckResult { started_at: now(), attempt, round, ..result(region, 200) }, met("well"))
    };
    world.capturing(4, vec![well("eu", 0), well("us", 0)]).await;
    let mut seq = 6;
    while world.views.get(SubjectId::Monitor(MONITOR)).is_some_and(|view| is_down(&view)) {
        let round = tokio::time::timeout(Duration::from_secs(5), world.rounds.recv()).await;
        let Ok(Some(round)) = round else { continue };
        world.capturing(seq, vec![well("eu", round), well("us", round)]).await;
        seq += 2;
        while world.acked().await.range != Some((seq - 2, seq - 1)) {}
    }
    for region in ["eu", "us"] {
        expected.extend([row(region, pass, Some(0), "well"), row(region, pass, None, "well")]);
    }
    assert_eq!(listed(&world).await, expected, "what ends it belongs to it");
}

#[tokio::test]
async fn a_repeated_batch_is_acked_again_and_counted_once() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    let batch = vec![result("eu", 200), result("us", 200)];
    world.results(5, batch.clone()).await;
    world.acked().await;
    world.results(5, batch).await;
    assert_eq!(world.acked().await.range, Some((5, 6)));
    let rows = world.store.journal_after(0, 100).await.unwrap();
    let records = rows.iter().flat_map(|row| store::journal::decode(&row.blob).unwrap());
    assert_eq!(records.filter(|record| matches!(record, Record::Result { .. })).count(), 2);
}

#[tokio::test]
async fn after_an_unknown_fate_there_is_one_incident_whether_or_not_the_commit_took_place() {
    for fault in [Fault::UnknownAfterCommit, Fault::UnknownWithoutCommit] {
        let mut world = start(memory()).await;
        world.handle.change(put(&monitor("a"))).await.unwrap();
        world.results(1, vec![result("eu", 200), result("us", 200)]).await;
        world.acked().await;
        world.faults.once(fault);
        world.results(3, vec![result("eu", 503), result("us", 503)]).await;
        assert_eq!(world.acked().await.range, Some((3, 4)), "{fault:?}");
        world.fail_until_down(5).await;
        assert_eq!(world.incidents().await.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_everything_acked_to_the_next() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    world.handle.change(put(&heartbeat(Duration::from_secs(3_600), Duration::from_secs(60)))).await.unwrap();
    world.results(1, vec![result("eu", 503), result("us", 503)]).await;
    world.acked().await;
    world.until("down", is_down, SubjectId::Monitor(MONITOR)).await;
    world.ping(PingKind::Success).await.unwrap();
    let before = world.incidents().await;

    let world = start(world.kill().await).await;
    world.until("down", is_down, SubjectId::Monitor(MONITOR)).await;
    let inspection = world.handle.inspect(SubjectId::Heartbeat(HEARTBEAT)).await.unwrap();
    let State::Heartbeat(state) = inspection.state else { panic!("not a heartbeat") };
    assert!(state.last_ping_at().is_some(), "the last ping was forgotten");
    assert_eq!(world.incidents().await, before);
    assert_eq!(before[0].state, IncidentState::Open);

    let mut world = world;
    world.results(3, vec![result("eu", 200), result("us", 200)]).await;
    world.acked().await;
    let up = |view: &SubjectView| matches!(view.status, Status::Monitor(machine::Status::Up, _));
    world.until("up again", up, SubjectId::Monitor(MONITOR)).await;
    let after = world.incidents().await;
    assert_eq!((after.len(), after[0].id, after[0].state), (1, before[0].id, IncidentState::Resolved));
}

#[tokio::test]
async fn a_late_result_is_no_vote_not_even_after_a_restart() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    let items = vec![ResultItem { seq: 1, result: Some(result("eu", 503)), is_late: true, capture: None }];
    let agent = AgentId::from_bytes([7; 16]);
    let acks = world.acks.0.clone();
    let batch = ResultBatch { agent, agent_epoch: 1, received_at: now(), items, acks };
    world.handle.results(batch).await;
    assert_eq!(world.acked().await.range, Some((1, 1)));
    let votes = async |world: &World| {
        let inspection = world.handle.inspect(SubjectId::Monitor(MONITOR)).await.unwrap();
        let State::Monitor(state) = inspection.state else { panic!("not a monitor") };
        state.regions().filter(|region| region.vote.is_some()).count()
    };
    assert_eq!(votes(&world).await, 0);
    let world = start(world.kill().await).await;
    assert_eq!(votes(&world).await, 0);
}

#[tokio::test]
async fn what_a_monitor_was_told_is_on_record() {
    let world = start(memory()).await;
    let mut definition = monitor("a");
    world.handle.change(put(&definition)).await.unwrap();
    let region: RegionId = "eu".parse().unwrap();
    let slow = Input::Slow { monitor: MONITOR, region: region.clone(), started_at: now() };
    world.handle.tell(slow).await;
    world.handle.tell(Input::RegionLive { region, live: false }).await;
    world.handle.tell(Input::Blind { from: now(), to: now() }).await;
    let Kind::Monitor(before) = &definition.kind else { panic!("not a monitor") };
    definition.kind =
        Kind::Monitor(Arc::new(MonitorDefinition { paused: true, ..MonitorDefinition::clone(before) }));
    definition.revision = 2;
    let pause = ChangeRequest::Put { definition: Box::new(definition), expected: Some(1) };
    world.handle.change(pause).await.unwrap();
    let rows = world.store.journal_after(0, 100).await.unwrap();
    let records: Vec<Record> =
        rows.iter().flat_map(|row| store::journal::decode(&row.blob).unwrap()).collect();
    let place = |wanted: &dyn Fn(&Record) -> bool| records.iter().position(wanted);
    let told = |wanted: fn(&Told) -> bool| {
        place(&|record| matches!(record, Record::Told { monitor: MONITOR, what } if wanted(what)))
    };
    let places = [
        place(&|record| matches!(record, Record::Blind { restarted: true, .. })),
        place(&|record| matches!(record, Record::RegionLive { live: true, .. })),
        told(|what| matches!(what, Told::Slow { .. })),
        place(&|record| matches!(record, Record::RegionLive { live: false, .. })),
        place(&|record| matches!(record, Record::Blind { restarted: false, .. })),
        told(|what| matches!(what, Told::Paused)),
    ];
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} of {records:#?}");
}

#[tokio::test]
async fn two_restarts_in_a_row_do_not_make_a_status_unknown() {
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    // As long ago as a minute and a half before the next process: nobody could have looked since.
    let old = |region| CheckResult {
        started_at: result(region, 200).started_at.minus(Duration::from_secs(60)),
        ..result(region, 200)
    };
    world.results(1, vec![old("eu"), old("us")]).await;
    world.acked().await;
    let up = |view: &SubjectView| matches!(view.status, Status::Monitor(machine::Status::Up, _));
    world.until("up", up, SubjectId::Monitor(MONITOR)).await;
    let world = start(world.kill().await).await;
    let world = start(world.kill().await).await;
    let inspection = world.handle.inspect(SubjectId::Monitor(MONITOR)).await.unwrap();
    let State::Monitor(state) = inspection.state else { panic!("not a monitor") };
    assert_eq!(state.status(), machine::Status::Up);
}

#[tokio::test]
async fn what_was_only_replayed_is_still_there_after_the_next_sweep_and_restart() {
    let world = start(memory()).await;
    world.handle.change(put(&heartbeat(Duration::from_secs(3_600), Duration::from_secs(60)))).await.unwrap();
    // The first ping changes the status and so writes a row; the second is in the journal alone.
    world.ping(PingKind::Success).await.unwrap();
    let second = now();
    world.ping(PingKind::Success).await.unwrap();
    let pinged = world.store.load().await.unwrap().last_position;

    let world = start(world.kill().await).await;
    let swept = async {
        while world.store.load().await.unwrap().replay_from < pinged {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), swept)
        .await
        .expect("the first sweep ends within a few beats");

    let world = start(world.kill().await).await;
    let inspection = world.handle.inspect(SubjectId::Heartbeat(HEARTBEAT)).await.unwrap();
    let State::Heartbeat(state) = inspection.state else { panic!("not a heartbeat") };
    assert!(state.last_ping_at() >= Some(second), "an answered ping was forgotten");
}

#[tokio::test]
async fn pings_that_could_not_be_committed_do_not_become_an_alert() {
    let world = start(memory()).await;
    world.handle.change(put(&heartbeat(Duration::from_secs(1), Duration::from_millis(200)))).await.unwrap();
    world.ping(PingKind::Success).await.unwrap();
    world.faults.lasting(Fault::Unavailable);
    // Longer than interval and grace: with the store away, nothing may be decided on that.
    let away = tokio::time::sleep(Duration::from_millis(1_500));
    tokio::pin!(away);
    while tokio::time::timeout(Duration::from_millis(50), &mut away).await.is_err() {
        assert_eq!(world.ping(PingKind::Success).await, Err(Unavailable));
    }
    world.faults.clear();
    let pinged = async {
        while world.ping(PingKind::Success).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), pinged).await.unwrap();
    assert_eq!(world.incidents().await, vec![]);
}

#[tokio::test]
async fn changes_name_what_stands_in_their_way_and_then_nothing_is_changed() {
    let world = start(memory()).await;
    let first = monitor("a");
    world.handle.change(put(&first)).await.unwrap();
    let mut second = monitor("a");
    second.id = SubjectId::Monitor(MonitorId::from_bytes([9; 16]));
    assert_eq!(world.handle.change(put(&second)).await, Err(ChangeError::NameTaken("a".into())));
    let stale = ChangeRequest::Put { definition: Box::new(first.clone()), expected: Some(0) };
    assert_eq!(world.handle.change(stale).await, Err(ChangeError::Stale));
    let missing = ChangeRequest::Delete { id: second.id, expected: None };
    assert_eq!(world.handle.change(missing).await, Err(ChangeError::NotFound));
    world.faults.once(Fault::Unavailable);
    let delete = ChangeRequest::Delete { id: first.id, expected: Some(1) };
    assert_eq!(world.handle.change(delete.clone()).await, Err(ChangeError::Unavailable(Unavailable)));
    assert!(world.handle.inspect(first.id).await.is_some(), "deleted without a commit");
    world.handle.change(delete).await.unwrap();
    assert!(world.handle.inspect(first.id).await.is_none());
    assert!(world.views.get(first.id).is_none());
    world.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), world.owner).await.unwrap().unwrap();
}
