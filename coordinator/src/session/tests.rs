use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use model::{AgentId, InstallationId, MonitorId, RegionId, Secret, TestClock};
use proto::probe::token::AgentToken;
use proto::probe::v1::probe_service_client::ProbeServiceClient;
use proto::probe::v1::probe_service_server::ProbeServiceServer;
use store::Store;
use store::memory::Memory;
use tonic::Code;
use tonic::transport::Endpoint;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The service with one agent registered, on a clock that the test drives; nobody takes from the shards' lanes.
struct Stage {
    clock: Arc<TestClock>,
    service: Service,
    token: AgentToken,
    _lanes: shard::Lanes,
}

const JOIN_SECRET: [u8; 32] = [6; 32];

type Connected = (mpsc::Sender<v1::AgentMessage>, Streaming<v1::CoordinatorMessage>);

impl Stage {
    async fn new() -> Self {
        let token = AgentToken {
            agent: AgentId::from_bytes([1; 16]),
            secret: Secret::new([2; 32]),
            fingerprint: [3; 32],
        };
        let clock = Arc::new(TestClock::at(NOW));
        let store: Arc<dyn Store> = Arc::new(Memory::new(InstallationId::from_bytes([9; 16])));
        let settings = Arc::new(Settings::load(store, Arc::clone(&clock) as _).await.unwrap());
        let row = AgentRow {
            id: token.agent,
            name: "probe-1".into(),
            region: region(),
            secret_digest: token.digest(),
            epoch: 0,
            process_nonce: None,
            created_at: NOW,
            join: None,
        };
        settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutAgent(row))).await.unwrap();
        let fleet = Arc::new(Fleet::new(Arc::clone(&clock) as _));
        let (shards, lanes) = shard::lanes();
        let service = Service::new(
            Arc::clone(&clock) as _,
            settings,
            Arc::default(),
            fleet,
            shards,
            Supervisor::new(),
            vec![],
        );
        Self { clock, service, token, _lanes: lanes }
    }

    /// A process of the agent connects; its session, after the Welcome.
    async fn connect(&self, nonce: u8) -> Result<Connected, Status> {
        self.connect_with(nonce, &[]).await
    }

    /// A connection of a stranger.
    async fn dial(&self) -> ProbeServiceClient<tonic::transport::Channel> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let routes = tonic::service::Routes::new(ProbeServiceServer::new(self.service.clone())).prepare();
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(routes));
        self.service.supervisor.spawn(Task::Connection, async { drop(connection.await) });
        let mut near = Some(TokioIo::new(near));
        let connector = tower::service_fn(move |_| {
            let near = near.take().ok_or_else(|| std::io::Error::other("connects once"));
            async { near }
        });
        let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap();
        ProbeServiceClient::new(channel)
    }

    /// The same with a spool.
    async fn connect_with(&self, nonce: u8, spool: &[u8]) -> Result<Connected, Status> {
        let (outbox, messages) = mpsc::channel(8);
        let hello = v1::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            process_nonce: vec![nonce; 16],
            spool_nonce: spool.to_vec(),
            ..v1::Hello::default()
        };
        outbox.try_send(message(FromAgent::Hello(hello))).unwrap();
        let mut request = Request::new(ReceiverStream::new(messages));
        let bearer = self.token.credential().bearer();
        request.metadata_mut().insert("authorization", bearer.expose().parse().unwrap());
        let mut incoming = self.dial().await.session(request).await?.into_inner();
        assert!(matches!(next(&mut incoming).await?, ToWire::Welcome(_)));
        Ok((outbox, incoming))
    }

    /// Registers that the agent may join with [`JOIN_SECRET`] for 15 minutes.
    async fn may_join(&self) {
        let id = self.token.agent;
        let admit = |config: &store::Config| {
            let row = find_agent(config, id).expect("it is registered").clone();
            let digest = proto::probe::join::digest(&JOIN_SECRET);
            let expires_at = NOW.plus(Duration::from_secs(900));
            let join = Some(store::JoinRow { digest, expires_at, joined_at: None });
            Ok::<_, store::Error>(ConfigChange::PutAgent(AgentRow { secret_digest: [0; 32], join, ..row }))
        };
        self.service.settings.change(admit).await.unwrap();
    }

    async fn join(&self, secret: [u8; 32], digest: [u8; 32]) -> Result<v1::JoinResponse, Status> {
        let request = v1::JoinRequest {
            agent_id: self.token.agent.as_bytes().to_vec(),
            join_secret: secret.to_vec(),
            secret_digest: digest.to_vec(),
        };
        Ok(self.dial().await.join(request).await?.into_inner())
    }

    fn heard_at(&self) -> Timestamp {
        self.service.fleet.member(self.token.agent).unwrap().heard_at
    }
}

async fn next(incoming: &mut Streaming<v1::CoordinatorMessage>) -> Result<ToWire, Status> {
    Ok(incoming.message().await?.and_then(|message| message.message).expect("a message"))
}

fn region() -> RegionId {
    "us-east".parse().unwrap()
}

fn message(message: FromAgent) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

#[tokio::test(start_paused = true)]
async fn every_message_of_an_agent_is_heard() {
    let stage = Stage::new().await;
    let (outbox, mut incoming) = stage.connect(1).await.unwrap();
    for _ in 0..8 {
        stage.clock.advance(BEAT_INTERVAL);
        let beat = v1::Results { agent_epoch: 1, ..v1::Results::default() };
        outbox.send(message(FromAgent::Results(beat))).await.unwrap();
        assert!(matches!(next(&mut incoming).await.unwrap(), ToWire::Ack(_)));
        assert_eq!(stage.heard_at(), stage.clock.now());
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_not_silent_because_our_shards_are_busy() {
    let stage = Stage::new().await;
    let (outbox, _incoming) = stage.connect(1).await.unwrap();
    let monitor = MonitorId::from_bytes([5; 16]);
    let fill = async {
        loop {
            let input = Input::Slow { monitor, region: region(), started_at: NOW };
            stage.service.shards.tell(input).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), fill).await.expect_err("the lane is full now");
    let slow = v1::Slow { monitor_id: vec![5; 16], ..v1::Slow::default() };
    outbox.send(message(FromAgent::Slow(slow))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    stage.clock.advance(SILENCE);
    tokio::time::sleep(BEAT_INTERVAL).await;
    assert_eq!(stage.heard_at(), stage.clock.now());
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_processes_is_told_why_and_not_let_in_again() {
    let stage = Stage::new().await;
    let (_outbox, mut older) = stage.connect(1).await.unwrap();
    let (_newer_outbox, _newer) = stage.connect(2).await.unwrap();
    assert_eq!(next(&mut older).await.unwrap_err().code(), Code::Aborted);
    let refused = stage.connect(1).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), "a newer process with this agent's token is connected");
    assert_eq!(stage.service.fleet.member(stage.token.agent).unwrap().who.process_nonce, [2; 16]);
}

#[tokio::test(start_paused = true)]
async fn a_spool_keeps_its_epoch_whatever_process_has_it_and_copies_of_it_do_not_take_turns() {
    let stage = Stage::new().await;
    let epoch = || stage.service.fleet.member(stage.token.agent).unwrap().who.epoch;
    let (_outbox, mut older) = stage.connect_with(1, &[7; 16]).await.unwrap();
    let first = epoch();
    let (_newer_outbox, _newer) = stage.connect_with(2, &[7; 16]).await.unwrap();
    assert_eq!(epoch(), first);
    assert_eq!(next(&mut older).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(stage.connect_with(1, &[7; 16]).await.unwrap_err().code(), Code::PermissionDenied);
    let (_other_outbox, _other) = stage.connect_with(3, &[8; 16]).await.unwrap();
    assert_eq!(epoch(), first + 1);
    assert_eq!(stage.connect_with(4, &[9; 3]).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn an_agent_joins_once_with_a_secret_of_its_own() {
    let stage = Stage::new().await;
    stage.may_join().await;
    assert_eq!(stage.connect(1).await.unwrap_err().code(), Code::Unauthenticated, "it has not joined yet");
    assert_eq!(stage.join([7; 32], stage.token.digest()).await.unwrap_err().code(), Code::Unauthenticated);

    let welcome = stage.join(JOIN_SECRET, stage.token.digest()).await.unwrap();
    assert_eq!((welcome.agent_name.as_str(), welcome.region.as_str()), ("probe-1", "us-east"));
    let _session = stage.connect(1).await.unwrap();
    stage.clock.advance(Duration::from_secs(10_000));
    let repeated = stage.join(JOIN_SECRET, stage.token.digest()).await;
    assert_eq!(repeated.unwrap(), welcome, "the first answer may have been lost");
    let another = stage.join(JOIN_SECRET, [9; 32]).await.unwrap_err();
    assert_eq!(another.code(), Code::AlreadyExists);
    assert!(another.message().contains("was used before"), "{}", another.message());
}

#[tokio::test(start_paused = true)]
async fn a_join_token_that_has_expired_says_so() {
    let stage = Stage::new().await;
    let unknown = stage.join(JOIN_SECRET, [9; 32]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated, "of this agent nobody asked for one");
    stage.may_join().await;
    stage.clock.advance(Duration::from_secs(900 + 120));
    let late = stage.join(JOIN_SECRET, [9; 32]).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(late.message().contains("expired 2 min ago"), "{}", late.message());
}

#[tokio::test(start_paused = true)]
async fn strangers_are_answered_slowly_and_not_all_of_them() {
    let stage = Stage::new().await;
    stage.may_join().await;
    let guesses = (0..20).map(|guess| stage.join([guess; 32], [9; 32]));
    let answers = futures_util::future::join_all(guesses).await;
    let code = |answer: &Result<_, Status>| answer.as_ref().err().map(Status::code);
    let count = |code_or_none| answers.iter().filter(|answer| code(answer) == code_or_none).count();
    assert_eq!(count(None), 1, "one of twenty is right");
    assert_eq!(count(Some(Code::Unauthenticated)), 16);
    assert_eq!(count(Some(Code::ResourceExhausted)), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_says_of_itself_is_kept_and_what_cannot_be_read_passed_over() {
    let stage = Stage::new().await;
    let (outbox, mut incoming) = stage.connect(1).await.unwrap();
    let wire = v1::AgentStatus {
        wall_time: Some(timestamp_to_wire(stage.clock.wall().plus(Duration::from_secs(9)))),
        uptime: Some(duration_to_wire(Duration::from_secs(60))),
        work: Some(v1::AgentWork {
            period: Some(duration_to_wire(Duration::from_secs(30))),
            longest_wait: Some(duration_to_wire(Duration::ZERO)),
            ..v1::AgentWork::default()
        }),
        backlog: Some(v1::AgentBacklog { results: 3, ..v1::AgentBacklog::default() }),
        ..v1::AgentStatus::default()
    };
    for status in [wire.clone(), v1::AgentStatus { work: None, ..wire }] {
        outbox.send(message(FromAgent::Status(status))).await.unwrap();
    }
    let beat = v1::Results { agent_epoch: 1, ..v1::Results::default() };
    outbox.send(message(FromAgent::Results(beat))).await.unwrap();
    assert!(matches!(next(&mut incoming).await.unwrap(), ToWire::Ack(_)), "the session goes on");
    let report = stage.service.fleet.member(stage.token.agent).unwrap().report;
    assert_eq!(
        report.said.as_ref().map(|(at, said)| (*at, said.backlog.results)),
        Some((stage.clock.now(), 3))
    );
    assert_eq!(report.clock_offset_micros(), Some(9_000_000));
    assert_eq!(report.ailments.len(), 1);
}
