//! The services over a real owner of the shards and a store in memory, for tests.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{
    AgentId, CheckResult, InstallationId, MonitorId, Outcome, Phases, RegionId, SystemRandom, TestClock,
    Timestamp,
};
use prost_types::FieldMask;
use proto::admin::v1 as wire;
use proto::admin::v1::channels_server::Channels;
use proto::admin::v1::fleet_server::Fleet as _;
use proto::admin::v1::heartbeats_server::Heartbeats;
use proto::admin::v1::monitors_server::Monitors;
use store::Store;
use store::faulty::{Faults, Faulty};
use store::memory::Memory;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use url::Url;

use super::Admin;
use crate::acknowledge_link::AcknowledgeLinks;
use crate::delivery::Replay;
use crate::fleet::Fleet;
use crate::lifecycle::{Supervisor, Task};
use crate::notify::Sender;
use crate::notify::send::Limits;
use crate::settings::Settings;
use crate::shard::{self, Owner, ResultBatch, ResultItem};
use crate::tenure::Tenure;
use crate::view::Views;

/// A coordinator without a network. Ends with the test's runtime.
pub(super) struct Bench {
    pub(super) admin: Admin,
    pub(super) clock: Arc<TestClock>,
    /// Makes writes fail.
    pub(super) faults: Faults,
    /// Where requests to deliver again arrive.
    pub(super) asked: mpsc::UnboundedReceiver<Replay>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_secs(1_700_000_000)));
        let faults = Faults::default();
        let memory = Memory::new(InstallationId::from_bytes([9; 16]));
        let store: Arc<dyn Store> = Arc::new(Faulty::new(memory, faults.clone()));
        let lease = store.claim("main", clock_now(&clock)).await.unwrap();
        let settings = Arc::new(Settings::load(Arc::clone(&store), Arc::clone(&clock) as _).await.unwrap());
        let recovered = shard::recover(store.as_ref(), clock_now(&clock)).await.unwrap();
        let (shards, lanes) = shard::lanes();
        let (redeliver, asked) = mpsc::unbounded_channel();
        let admin = Admin {
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SystemRandom),
            store: Arc::clone(&store),
            settings: Arc::clone(&settings),
            views: Arc::new(Views::default()),
            fleet: Arc::new(Fleet::new(Arc::clone(&clock) as _)),
            shards,
            sender: Arc::new(Sender::new(Arc::clone(&clock) as _, Limits::default(), None).unwrap()),
            redeliver,
            replays: Arc::new(Semaphore::new(1)),
            healthy: Arc::new(AtomicBool::new(true)),
            public_url: Url::parse("https://status.example.com/").unwrap(),
            agent_fingerprint: [7; 32],
            agent_address: Url::parse("https://agents.example.com:8443").unwrap(),
        };
        let supervisor = Supervisor::new();
        let owner = Owner::new(shard::Parts {
            store,
            clock: Arc::clone(&clock) as _,
            settings,
            views: Arc::clone(&admin.views),
            fleet: Arc::clone(&admin.fleet) as _,
            outbox: mpsc::unbounded_channel().0,
            lanes,
            healthy: Arc::clone(&admin.healthy),
            metrics: Arc::default(),
            tenure: Arc::new(Tenure::claimed(lease.ttl, clock_now(&clock))),
            lease,
            links: Arc::new(AcknowledgeLinks::new([7; 32], None)),
            recovered,
        });
        supervisor.spawn(Task::Shards, owner.run(supervisor.drain().clone()));
        Self { admin, clock, faults, asked }
    }

    /// As [`Bench::start`], with these regions.
    pub(super) async fn with_regions(regions: &[&str]) -> Self {
        let bench = Self::start().await;
        for id in regions {
            let region = wire::Region { id: (*id).into(), ..wire::Region::default() };
            let request = wire::CreateRegionRequest { region: Some(region) };
            said(bench.admin.create_region(Request::new(request)).await);
        }
        bench
    }

    pub(super) async fn create(&self, monitor: wire::Monitor) -> Result<wire::Monitor, Status> {
        let request = wire::CreateMonitorRequest { monitor: Some(monitor) };
        self.admin.create_monitor(Request::new(request)).await.map(Response::into_inner)
    }

    pub(super) async fn update(
        &self,
        monitor: wire::Monitor,
        paths: &[&str],
    ) -> Result<wire::Monitor, Status> {
        let request = wire::UpdateMonitorRequest { monitor: Some(monitor), update_mask: mask(paths) };
        self.admin.update_monitor(Request::new(request)).await.map(Response::into_inner)
    }

    pub(super) async fn heartbeat(&self, name: &str) -> wire::Heartbeat {
        let interval = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let heartbeat = wire::Heartbeat { name: name.into(), interval, ..wire::Heartbeat::default() };
        let request = wire::CreateHeartbeatRequest { heartbeat: Some(heartbeat) };
        said(self.admin.create_heartbeat(Request::new(request)).await)
    }

    pub(super) async fn channel(&self, name: &str) -> wire::Channel {
        let channel = wire::Channel {
            name: name.into(),
            kind: wire::ChannelKind::Slack.into(),
            url: "https://hooks.example/services/hush".into(),
            ..wire::Channel::default()
        };
        let request = wire::CreateChannelRequest { channel: Some(channel) };
        said(self.admin.create_channel(Request::new(request)).await)
    }

    /// Commits results of a monitor from a region, one per slot, a second apart, the last one now.
    pub(super) async fn results(
        &self,
        monitor: &wire::Monitor,
        region: &str,
        seqs: std::ops::RangeInclusive<u64>,
    ) {
        let now = clock_now(&self.clock);
        let id: MonitorId = monitor.id.parse().unwrap();
        let last = *seqs.end();
        let item = |seq: u64| ResultItem {
            seq,
            is_late: false,
            capture: None,
            result: Some(CheckResult {
                monitor: id,
                spec_revision: monitor.spec_revision,
                region: RegionId::new(region).unwrap(),
                slot: i64::try_from(seq).unwrap(),
                attempt: 0,
                round: 0,
                started_at: now.minus(Duration::from_secs(last - seq)),
                duration: Duration::from_millis(20),
                outcome: Outcome::Pass,
                phases: Phases::default(),
                http_status: Some(200),
                peer: None,
                health: None,
            }),
        };
        let (acks, mut acked) = mpsc::unbounded_channel();
        let items = seqs.map(item).collect();
        let batch = ResultBatch {
            agent: AgentId::from_bytes([1; 16]),
            agent_epoch: 1,
            received_at: now,
            items,
            acks,
        };
        self.admin.shards.results(batch).await;
        acked.recv().await.unwrap();
    }
}

/// A monitor of this URL.
pub(super) fn monitor(url: &str) -> wire::Monitor {
    wire::Monitor { url: url.into(), ..wire::Monitor::default() }
}

pub(super) fn secs(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub(super) fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// What a service answered.
pub(super) fn said<T>(answer: Result<Response<T>, Status>) -> T {
    answer.unwrap().into_inner()
}

/// The code and the fields that a refusal names.
pub(super) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, Vec<String>) {
    let status = answer.unwrap_err();
    let violations =
        status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    (status.code(), violations.into_iter().map(|it| it.field).collect())
}

fn clock_now(clock: &TestClock) -> Timestamp {
    model::Clock::now(clock)
}
