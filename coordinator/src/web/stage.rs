//! A coordinator without agents for tests of what the HTTP port shows: a store in memory whose writes can be made to
//! fail, a clock that stands, and, where a test wants pings, the real owner of the shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use engine::effect::{CloseReason, Evidence, HeartbeatEvidence, HeartbeatFailure};
use engine::vote::{RowOutcome, VoteRow, VoteTable};
use engine::{heartbeat, monitor, quorum};
use http::Request;
use http_body_util::BodyExt as _;
use model::{
    AgentId, Check, CheckSpec, Clock as _, Component, HealthWord, HeartbeatId, IncidentId, InstallationId,
    MonitorId, PageId, RegionId, SubjectId, SystemRandom, TestClock, Timestamp,
};
use store::faulty::{Faults, Faulty};
use store::memory::Memory;
use store::records::DEFAULT_WORKSPACE;
use store::{Commit, ConfigChange, IncidentState, PageRow, Store};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::Parts;
use super::metrics::Metrics;
use crate::acknowledge_link::AcknowledgeLinks;
use crate::definition::{Definition, HeartbeatDefinition, Kind, MonitorDefinition};
use crate::fleet::Fleet;
use crate::incident::{Body as IncidentBody, Incident};
use crate::lifecycle::{Supervisor, Task};
use crate::ping::{Options, token_digest};
use crate::settings::Settings;
use crate::shard::{self, Lanes, Owner};
use crate::tenure::Tenure;
use crate::view::{Status, SubjectView, Views};

/// 2026-11-22 03:04:05 UTC.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_316_645);
/// The token of every heartbeat on the stage.
pub(crate) const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODw";
/// What must never be seen outside.
pub(crate) const SECRETS: [&str; 8] = [
    "internal.example",
    "hunter2",
    "Bearer",
    "s3cr3t",
    "10.1.2.3",
    "stack trace",
    "could not connect",
    "agt_",
];
const INSTALLATION: InstallationId = InstallationId::from_bytes([7; 16]);

pub(crate) struct Stage {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) faults: Faults,
    pub(crate) parts: Parts,
    pub(crate) supervisor: Supervisor,
    lanes: Option<Lanes>,
    lease: store::Lease,
    pub(crate) tenure: Arc<Tenure>,
}

/// Acknowledgement links of this installation.
pub(crate) fn links() -> AcknowledgeLinks {
    AcknowledgeLinks::new([7; 32], Some("https://status.example/".parse().unwrap()))
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let faults = Faults::default();
        let store: Arc<dyn Store> = Arc::new(Faulty::new(Memory::new(INSTALLATION), faults.clone()));
        let clock = Arc::new(TestClock::at(NOW));
        let lease = store.claim("main", NOW).await.unwrap();
        let tenure = Arc::new(Tenure::claimed(lease.ttl, NOW));
        let settings = Settings::load(Arc::clone(&store), clock.clone()).await.unwrap();
        let (shards, lanes) = shard::lanes();
        let parts = Parts {
            clock: clock.clone(),
            random: Arc::new(SystemRandom),
            store: Arc::clone(&store),
            settings: Arc::new(settings),
            views: Arc::new(Views::default()),
            fleet: Arc::new(Fleet::new(clock.clone())),
            shards,
            healthy: Arc::new(AtomicBool::new(true)),
            metrics: Arc::new(Metrics::default()),
            links: Arc::new(links()),
        };
        Self { clock, store, faults, parts, supervisor: Supervisor::new(), lanes: Some(lanes), lease, tenure }
    }

    pub(crate) fn app(&self) -> Router {
        super::router(self.parts.clone())
    }

    /// Lets the real owner take what comes through the lanes.
    pub(crate) async fn start_owner(&mut self) {
        let (outbox, _) = mpsc::unbounded_channel();
        let owner = Owner::new(shard::Parts {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            settings: Arc::clone(&self.parts.settings),
            views: Arc::clone(&self.parts.views),
            fleet: self.parts.fleet.clone(),
            outbox,
            lanes: self.lanes.take().unwrap(),
            healthy: Arc::clone(&self.parts.healthy),
            metrics: Arc::clone(&self.parts.metrics),
            lease: self.lease.clone(),
            tenure: Arc::clone(&self.tenure),
            links: Arc::new(links()),
            recovered: shard::recover(self.store.as_ref(), NOW).await.unwrap(),
        });
        self.supervisor.spawn(Task::Shards, owner.run(self.supervisor.drain().clone()));
    }

    /// Creates a heartbeat as a user would; its token is [`TOKEN`].
    pub(crate) async fn create_heartbeat(&self) -> HeartbeatId {
        self.create_heartbeat_with(Options::default()).await
    }

    /// Creates one whose pings are read in this way.
    pub(crate) async fn create_heartbeat_with(&self, pings: Options) -> HeartbeatId {
        let id = HeartbeatId::from_bytes([1; 16]);
        let mut definition = Box::new(heartbeat_definition(id, "nightly_cleanup"));
        if let Kind::Heartbeat(heartbeat) = &mut definition.kind {
            Arc::make_mut(heartbeat).pings = pings;
        }
        let request = shard::ChangeRequest::Put { definition, expected: None };
        self.parts.shards.change(request).await.unwrap();
        id
    }

    /// Shows a monitor of this name and status since ten minutes.
    pub(crate) fn show_monitor(&self, number: u8, name: &str, status: monitor::Status) -> MonitorId {
        let id = MonitorId::from_bytes([number; 16]);
        let definition = monitor_definition(id, name);
        self.show(definition, Status::Monitor(status, monitor::Phase::Steady), None);
        id
    }

    /// Shows a heartbeat of this name and status since ten minutes.
    pub(crate) fn show_heartbeat(&self, number: u8, name: &str, status: heartbeat::Status) -> HeartbeatId {
        let id = HeartbeatId::from_bytes([number; 16]);
        self.show(heartbeat_definition(id, name), Status::Heartbeat(status, None), None);
        id
    }

    fn show(&self, definition: Definition, status: Status, incident: Option<IncidentId>) {
        let view = SubjectView {
            status,
            status_since: NOW.minus(Duration::from_secs(600)),
            incident,
            unverified_since: None,
            definition: Arc::new(definition),
        };
        self.parts.views.publish(vec![(view.definition.id, Some(Arc::new(view)))]);
    }

    /// Changes what is shown of a subject.
    pub(crate) fn alter(&self, id: SubjectId, change: impl FnOnce(&mut SubjectView)) {
        let mut view = SubjectView::clone(&self.parts.views.get(id).unwrap());
        change(&mut view);
        self.parts.views.publish(vec![(id, Some(Arc::new(view)))]);
    }

    /// Opens an incident of a subject that is shown, `ago` before now, full of what must not be seen.
    pub(crate) async fn open_incident(&self, subject: SubjectId, number: u32, ago: Duration) -> Incident {
        let at = self.clock.now().minus(ago);
        let (opening, failing) = match subject {
            SubjectId::Monitor(_) => (Evidence::Votes(votes(at)), vec![failing()]),
            SubjectId::Heartbeat(_) | SubjectId::Agent(_) | SubjectId::Installation(_) => {
                (missed(at), vec![])
            }
        };
        let incident = Incident {
            id: IncidentId::derive(INSTALLATION, subject.as_bytes(), number),
            subject,
            number,
            state: IncidentState::Open,
            started_at: at,
            opened_at: at,
            resolved_at: None,
            body: IncidentBody {
                subject_name: "as it was called".into(),
                cause: "stack trace from 10.1.2.3".into(),
                opening,
                closing: None,
                closed_reason: None,
                failing,
                events: 0,
                lines: 0,
                told_at: None,
                members_told: 0,
                group_ended_at: None,
                lead: None,
                alert: None,
                acknowledged: None,
                about: None,
            },
        };
        self.write(&incident).await;
        self.alter(subject, |view| view.incident = Some(incident.id));
        incident
    }

    /// Ends an incident now.
    pub(crate) async fn end_incident(&self, mut incident: Incident, closed: Option<CloseReason>) {
        incident.state = if closed.is_some() { IncidentState::Closed } else { IncidentState::Resolved };
        incident.resolved_at = Some(self.clock.now());
        incident.body.closed_reason = closed;
        self.write(&incident).await;
        self.alter(incident.subject, |view| view.incident = None);
    }

    async fn write(&self, incident: &Incident) {
        let commit = Commit {
            coordinator: self.lease.coordinator.clone(),
            generation: self.lease.generation,
            now: self.clock.now(),
            incidents: vec![incident.to_row()],
            ..Commit::default()
        };
        self.store.commit(&commit).await.unwrap();
    }

    /// Publishes a page at `/status/acme`.
    pub(crate) async fn create_page(&self, name: &str, components: Vec<SubjectId>) {
        let page = PageRow {
            id: PageId::from_bytes([3; 16]),
            workspace: DEFAULT_WORKSPACE.into(),
            name: name.into(),
            slug: "acme".into(),
            components,
            created_at: NOW,
        };
        self.parts.settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutPage(page))).await.unwrap();
    }

    pub(crate) fn set_healthy(&self, healthy: Healthy) {
        self.parts.healthy.store(healthy == Healthy::Yes, Ordering::Release);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Healthy {
    Yes,
    No,
}

/// Sends a request without a body.
pub(crate) async fn ask(app: &Router, method: &str, path: &str) -> Response {
    send(app, Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Response {
    app.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn heartbeat_definition(id: HeartbeatId, name: &str) -> Definition {
    Definition {
        id: SubjectId::Heartbeat(id),
        name: name.into(),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
        kind: Kind::Heartbeat(Arc::new(HeartbeatDefinition {
            schedule: engine::schedule::Schedule::Every(Duration::from_secs(90_000)),
            grace: Duration::from_secs(60),
            timing: crate::definition::Timing::default(),
            channels: vec![],
            alert: engine::alert::Options::default(),
            tags: vec![],
            paused: false,
            token_digest: token_digest(TOKEN),
            pings: Options::default(),
        })),
    }
}

/// A monitor whose target and headers are secrets.
fn monitor_definition(id: MonitorId, name: &str) -> Definition {
    let mut check = Check::from_target("https://admin:hunter2@internal.example/health?key=s3cr3t").unwrap();
    if let Check::Http(http) = &mut check {
        http.headers.push(("authorization".into(), "Bearer s3cr3t".into()));
    }
    Definition {
        id: SubjectId::Monitor(id),
        name: name.into(),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
        kind: Kind::Monitor(Arc::new(MonitorDefinition {
            spec: CheckSpec {
                check,
                options: model::check::Options::default(),
                interval: Duration::from_secs(60),
                timeout: Duration::from_secs(10),
            },
            regions: vec![region("eu-west"), region("us-east")],
            quorum: quorum::Policy::default(),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: monitor::Thresholds::default(),
            depends_on: vec![],
            channels: vec![],
            alert: engine::alert::Options::default(),
            tags: vec![],
            paused: false,
            spec_revision: 1,
        })),
    }
}

fn missed(at: Timestamp) -> Evidence {
    Evidence::Heartbeat(HeartbeatEvidence {
        expected_at: at,
        last_ping_at: None,
        interval: Some(Duration::from_secs(90_000)),
        schedule: "every 25 h".into(),
        grace: Duration::from_secs(60),
        kind: HeartbeatFailure::Missed,
    })
}

fn votes(at: Timestamp) -> VoteTable {
    let row = |name: &str, outcome| VoteRow {
        region: region(name),
        agent: Some(AgentId::from_bytes([9; 16])),
        outcome,
        kind: None,
        detail: "stack trace from 10.1.2.3".into(),
        started_at: Some(at),
        duration: None,
        counted: true,
        reason: "confirmed failure".into(),
        failing: vec![failing()],
    };
    VoteTable {
        at,
        policy: "majority: 2 of 3 regions".into(),
        arithmetic: "2 of 3 regions failing, 2 needed".into(),
        rows: vec![
            row("ap-south", RowOutcome::Pass),
            row("eu-west", RowOutcome::Fail),
            row("us-east", RowOutcome::Fail),
        ],
    }
}

fn failing() -> Component {
    Component {
        name: "database".into(),
        status: HealthWord::Unhealthy,
        detail: Some("could not connect to 10.1.2.3".into()),
    }
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}
