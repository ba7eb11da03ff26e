//! Maintenance: who is told when, and that neither a restart nor a failing store loses it.

use engine::heartbeat as job;
use engine::maintenance::{Schedule, Scope, Window};
use model::MaintenanceId;

use super::*;
use crate::maintenance::{Maintenance, Plan};

const PLAN: MaintenanceId = MaintenanceId::from_bytes([4; 16]);
const HOUR: Duration = Duration::from_secs(3_600);

/// A plan over everything.
fn plan(start: Timestamp) -> Maintenance {
    let scope = Scope { all: true, ..Scope::default() };
    let schedule = Schedule::Once(Window { start, end: start.plus(HOUR) });
    Maintenance {
        id: PLAN,
        name: "disks".into(),
        revision: 1,
        created_at: start,
        updated_at: start,
        plan: Plan { description: String::new(), scope, schedule, ended: None },
    }
}

impl World {
    async fn put(&self, change: ConfigChange) {
        self.settings.change(|_| Ok::<_, store::Error>(change)).await.unwrap();
    }

    async fn begin(&self) {
        self.put(ConfigChange::PutMaintenance(plan(now().minus(HOUR / 2)).to_row())).await;
    }

    async fn is_in_maintenance(&self) -> bool {
        match self.handle.inspect(SubjectId::Monitor(MONITOR)).await.unwrap().state {
            State::Monitor(state) => state.is_in_maintenance(),
            State::Heartbeat(_) => panic!("not a monitor"),
        }
    }
}

fn is(status: machine::Status) -> impl FnMut(&SubjectView) -> bool {
    move |view| matches!(view.status, Status::Monitor(shown, _) if shown == status)
}

fn is_job(status: job::Status) -> impl FnMut(&SubjectView) -> bool {
    move |view| matches!(view.status, Status::Heartbeat(shown, _) if shown == status)
}

#[tokio::test]
async fn an_outage_in_a_window_opens_after_it_once_though_the_process_was_killed_in_it() {
    let monitor_id = SubjectId::Monitor(MONITOR);
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    world.results(1, vec![result("eu", 200), result("us", 200)]).await;
    world.until("up", is(machine::Status::Up), monitor_id).await;
    world.begin().await;
    world.until("told", is(machine::Status::Maintenance), monitor_id).await;
    world.acked().await;
    world.results(3, vec![result("eu", 503), result("us", 503)]).await;
    world.acked().await;

    let mut world = start(world.kill().await).await;
    world.until("still told", is(machine::Status::Maintenance), monitor_id).await;
    world.results(5, vec![result("eu", 503), result("us", 503)]).await;
    world.acked().await;
    assert!(world.is_in_maintenance().await);
    assert_eq!(world.incidents().await, vec![], "opened in maintenance");
    assert!(world.rounds.try_recv().is_err(), "asked in maintenance");

    let ended_at = now();
    world.put(ConfigChange::DeleteMaintenance(PLAN)).await;
    world.until("told of the end", is(machine::Status::Up), monitor_id).await;
    world.fail_until_down(7).await;
    let incidents = world.incidents().await;
    assert_eq!(incidents.len(), 1);
    assert!(incidents[0].started_at >= ended_at, "began in maintenance");
    let records = world.store.journal_after(0, 100).await.unwrap();
    let records = records.iter().flat_map(|row| store::journal::decode(&row.blob).unwrap());
    let told = records.filter(|record| {
        matches!(record, Record::Told { what: Told::MaintenanceStarted { .. } | Told::MaintenanceEnded, .. })
    });
    assert_eq!(told.count(), 2, "a replay must know of it, and of nothing that was not");
}

#[tokio::test]
async fn an_open_incident_stays_the_same_through_a_window_and_a_restart() {
    let monitor_id = SubjectId::Monitor(MONITOR);
    let mut world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    world.results(1, vec![result("eu", 503), result("us", 503)]).await;
    world.until("down", is_down, monitor_id).await;
    let before = world.incidents().await;
    world.begin().await;
    world.until("told", is(machine::Status::Maintenance), monitor_id).await;
    assert_eq!(world.views.get(monitor_id).unwrap().incident, Some(before[0].id));
    let world = start(world.kill().await).await;
    world.until("still told", is(machine::Status::Maintenance), monitor_id).await;
    world.put(ConfigChange::DeleteMaintenance(PLAN)).await;
    world.until("down again", is_down, monitor_id).await;
    let after = world.incidents().await;
    assert_eq!((after.len(), after[0].id, after[0].state), (1, before[0].id, IncidentState::Open));
    let lines: Vec<String> =
        world.store.timeline(after[0].id).await.unwrap().into_iter().map(|line| line.text).collect();
    assert!(
        lines[1].starts_with("maintenance began") && lines[2].starts_with("maintenance ended"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn who_is_created_or_tagged_in_a_window_is_in_it_at_once() {
    let world = start(memory()).await;
    let mut tagged = plan(now().minus(HOUR / 2));
    tagged.plan.scope = Scope { tags: ["db".parse().unwrap()].into(), ..Scope::default() };
    world.put(ConfigChange::PutMaintenance(tagged.to_row())).await;
    let with_tags = |revision, tags: &[&str]| {
        let mut definition = monitor("a");
        let Kind::Monitor(part) = &mut definition.kind else { panic!("not a monitor") };
        Arc::make_mut(part).tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        definition.revision = revision;
        definition
    };
    world.handle.change(put(&with_tags(1, &["db"]))).await.unwrap();
    assert!(world.is_in_maintenance().await);
    for (revision, tags, covered) in [(2, &["web"][..], false), (3, &["web", "db"], true)] {
        let definition = Box::new(with_tags(revision, tags));
        let request = ChangeRequest::Put { definition, expected: Some(revision - 1) };
        world.handle.change(request).await.unwrap();
        assert_eq!(world.is_in_maintenance().await, covered, "{tags:?}");
    }
}

#[tokio::test]
async fn a_job_may_be_silent_in_a_window_and_its_first_ping_there_is_not_forgotten() {
    let job_id = SubjectId::Heartbeat(HEARTBEAT);
    let world = start(memory()).await;
    world.begin().await;
    world.handle.change(put(&heartbeat(Duration::from_secs(1), Duration::from_millis(200)))).await.unwrap();
    world.until("told", is_job(job::Status::Maintenance), job_id).await;
    world.ping(PingKind::Success).await.unwrap();
    // Longer than interval and grace.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.incidents().await, vec![]);

    let world = start(world.kill().await).await;
    world.until("still told", is_job(job::Status::Maintenance), job_id).await;
    world.put(ConfigChange::DeleteMaintenance(PLAN)).await;
    world.until("it pinged before", is_job(job::Status::Up), job_id).await;
    world.until("missed in the first period after it", is_job(job::Status::Missed), job_id).await;
    assert_eq!(world.incidents().await.len(), 1);
}

#[tokio::test]
async fn a_window_that_opens_while_nothing_can_be_committed_is_told_when_it_can() {
    let monitor_id = SubjectId::Monitor(MONITOR);
    let world = start(memory()).await;
    world.handle.change(put(&monitor("a"))).await.unwrap();
    let opens_at = now().plus(Duration::from_millis(300));
    world.put(ConfigChange::PutMaintenance(plan(opens_at).to_row())).await;
    world.faults.lasting(Fault::Unavailable);
    while now() < opens_at.plus(Duration::from_millis(200)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        !is(machine::Status::Maintenance)(&world.views.get(monitor_id).unwrap()),
        "told without a commit"
    );
    world.faults.clear();
    world.until("told", is(machine::Status::Maintenance), monitor_id).await;
    let stored = world.store.load().await.unwrap().states;
    assert!(stored.iter().any(|row| row.state.contains("Since")), "{stored:?}");
}
