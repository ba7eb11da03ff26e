//! The agent against a coordinator that the test plays: over TLS, on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as it must be")]

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use model::result::UNSUPPORTED;
use model::{AgentId, Check, MonitorId, Secret, SystemClock, SystemRandom};
use probe_agent::Config;
use proto::probe::convert::{Assignment, Role, assignment_to_wire};
use proto::probe::token::{AgentToken, Credential};
use proto::probe::v1;
use proto::probe::v1::agent_message::Message as FromAgent;
use proto::probe::v1::coordinator_message::Message as ToAgent;
use proto::probe::v1::probe_service_server::{ProbeService, ProbeServiceServer};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use url::Url;

/// Nothing here takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A coordinator and an agent that is told of it. Everything ends when dropped.
struct World {
    sessions: mpsc::UnboundedReceiver<Conversation>,
    handshakes: mpsc::UnboundedReceiver<bool>,
    shutdown: CancellationToken,
    token: AgentToken,
    tasks: JoinSet<()>,
}

/// One session, from the coordinator's side.
struct Conversation {
    bearer: String,
    inbound: Streaming<v1::AgentMessage>,
    outbound: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>,
}

impl World {
    async fn new() -> Self {
        Self::with(|token| token).await
    }

    /// With a token that may differ from the right one.
    async fn with(change: fn(AgentToken) -> AgentToken) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
        let token = AgentToken {
            agent: AgentId::from_bytes([5; 16]),
            secret: Secret::new([6; 32]),
            fingerprint: Sha256::digest(certificate.der()).into(),
        };
        let mut tls =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();

        let (accepted, connections) = mpsc::unbounded_channel();
        let (shaken, handshakes) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let secured = acceptor.accept(stream).await;
                let _ = shaken.send(secured.is_ok());
                if let Ok(stream) = secured {
                    let _ = accepted.send(Ok::<_, io::Error>(Secured(stream)));
                }
            }
        });
        let (opened, sessions) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(ProbeServiceServer::new(Fake { opened }))
                .serve_with_incoming(UnboundedReceiverStream::new(connections))
                .await
                .unwrap();
        });

        let shutdown = CancellationToken::new();
        let config = Config::new(Url::parse(&format!("https://{address}")).unwrap(), change(token.clone()));
        let stop = shutdown.clone();
        tasks.spawn(async move {
            let clock = Arc::new(SystemClock::start());
            probe_agent::run(config, clock, Arc::new(SystemRandom), stop).await.unwrap();
        });
        Self { sessions, handshakes, shutdown, token, tasks }
    }

    /// The agent's next session, welcomed.
    async fn session(&mut self) -> (Conversation, v1::Hello) {
        let mut conversation = timeout(PATIENCE, self.sessions.recv()).await.unwrap().unwrap();
        let FromAgent::Hello(hello) = conversation.hear().await.unwrap() else { panic!("Hello comes first") };
        conversation
            .say(ToAgent::Welcome(v1::Welcome {
                protocol: 1,
                agent_id: vec![5; 16],
                agent_name: "tester".into(),
                region: "us-east".into(),
                agent_epoch: 3,
                server_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
                limits: Some(v1::Limits {
                    beat_interval: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
                    ..v1::Limits::default()
                }),
                routes: None,
            }))
            .await;
        (conversation, hello)
    }
}

impl Conversation {
    /// What the agent says next; `None` when it has closed.
    async fn hear(&mut self) -> Option<FromAgent> {
        timeout(PATIENCE, self.inbound.message())
            .await
            .unwrap()
            .ok()
            .flatten()
            .and_then(|message| message.message)
    }

    /// The next batch that is not empty.
    async fn results(&mut self) -> v1::Results {
        loop {
            match self.hear().await.expect("the session goes on") {
                FromAgent::Results(results) if !results.results.is_empty() => return results,
                _ => {}
            }
        }
    }

    async fn say(&self, message: ToAgent) {
        self.outbound.send(Ok(v1::CoordinatorMessage { message: Some(message) })).await.unwrap();
    }

    async fn assign(&self, assignment: &Assignment) {
        let assigned = vec![assignment_to_wire(assignment)];
        let digest = proto::probe::convert::assignments_digest([assignment.placement()]).to_vec();
        self.say(ToAgent::Assignments(v1::Assignments {
            revision: 1,
            full: true,
            assigned,
            removed_monitor_ids: vec![],
            digest,
        }))
        .await;
    }

    async fn ack(&self, results: &v1::Results) {
        let last = results.first_seq + results.results.len() as u64 - 1;
        let ranges = vec![v1::Range { first: results.first_seq, last }];
        self.say(ToAgent::Ack(v1::Ack { agent_epoch: results.agent_epoch, ranges, refused: 0 })).await;
    }

    async fn verify(&self, round: u32) {
        let verifications = vec![v1::Verification { monitor_id: vec![1; 16], spec_revision: 1, round }];
        self.say(ToAgent::VerifyNow(v1::VerifyNow { verifications })).await;
    }
}

struct Fake {
    opened: mpsc::UnboundedSender<Conversation>,
}

#[tonic::async_trait]
impl ProbeService for Fake {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn join(&self, _request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("nobody joins here"))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let bearer = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        let (outbound, stream) = mpsc::channel(16);
        self.opened.send(Conversation { bearer, inbound: request.into_inner(), outbound }).unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn assignment(target: &str) -> Assignment {
    Assignment {
        monitor: MonitorId::from_bytes([1; 16]),
        spec_revision: 1,
        check: Some(Check::from_target(target).unwrap()),
        options: model::check::Options::default(),
        interval: Duration::from_secs(3_600),
        timeout: Duration::from_secs(1),
        phase: Duration::ZERO,
        role: Role::Primary,
        check_now: true,
    }
}

async fn closed_port() -> String {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    format!("http://{address}/health")
}

/// A target that answers every request with 200.
async fn open_port(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    url
}

#[tokio::test]
async fn results_are_sent_until_they_are_acknowledged_also_over_a_cut() {
    let mut world = World::new().await;
    let (mut session, hello) = world.session().await;
    let credential = Credential::from_bearer(&session.bearer).unwrap();
    assert_eq!(credential.agent, world.token.agent);
    assert!(credential.matches(&world.token.digest()));
    assert_eq!((hello.process_nonce.len(), hello.assignments_digest.len()), (16, 0));
    let able = probe_agent::check::capabilities().iter().map(|capability| capability.as_str().to_owned());
    assert_eq!((hello.protocol_min, &hello.capabilities), (1, &able.collect::<Vec<_>>()));
    for kind in ["http", "tcp", "tls", "dns", "grpc", "websocket", "mail"] {
        assert!(hello.capabilities.iter().any(|able| able == kind), "{kind}");
    }

    let assignment = assignment(&closed_port().await);
    session.assign(&assignment).await;
    let sent = session.results().await;
    assert_eq!((sent.agent_epoch, sent.first_seq, sent.results.len()), (3, 1, 1));
    assert_eq!(sent.results[0].detail, "connection refused");
    assert_eq!(sent.results[0].outcome(), v1::Outcome::Fail);
    drop(session);

    let (mut session, again) = world.session().await;
    assert_eq!(again.process_nonce, hello.process_nonce);
    let digest = proto::probe::convert::assignments_digest([assignment.placement()]);
    assert_eq!(again.assignments_digest, digest);
    let repeated = session.results().await;
    assert_eq!((repeated.first_seq, repeated.results.len()), (1, 1));
    assert!(repeated.results[0].age_us > sent.results[0].age_us);
    session.ack(&repeated).await;
    // The next news are the next result, and the first is not among them.
    session.verify(1).await;
    assert_eq!(session.results().await.first_seq, 2);
}

#[tokio::test]
async fn a_verification_of_a_failing_target_takes_two_attempts_a_second_apart() {
    let mut world = World::new().await;
    let (mut session, _) = world.session().await;
    session.assign(&assignment(&closed_port().await)).await;
    let scheduled = session.results().await;
    session.ack(&scheduled).await;
    session.verify(4).await;
    let first = session.results().await;
    session.ack(&first).await;
    let second = session.results().await;
    let described = [&first, &second].map(|batch| (batch.results[0].attempt, batch.results[0].round));
    assert_eq!(described, [(1, 4), (2, 4)]);
}

#[tokio::test]
async fn a_verification_of_a_healthy_target_takes_one_attempt() {
    let mut world = World::new().await;
    let target = open_port(&mut world.tasks).await;
    let (mut session, _) = world.session().await;
    session.assign(&assignment(&target)).await;
    let mut attempts = BTreeSet::new();
    for round in 0..=2 {
        if round > 0 {
            session.verify(round).await;
        }
        let batch = session_results(&mut session, &mut attempts).await;
        session.ack(&batch).await;
    }
    assert_eq!(attempts, BTreeSet::from([(0, 0), (1, 1), (1, 2)]));
}

async fn session_results(session: &mut Conversation, attempts: &mut BTreeSet<(u32, u32)>) -> v1::Results {
    let batch = session.results().await;
    attempts.extend(batch.results.iter().map(|result| (result.attempt, result.round)));
    assert!(batch.results.iter().all(|result| result.outcome() == v1::Outcome::Pass));
    batch
}

#[tokio::test]
async fn an_unknown_kind_of_check_is_answered_with_an_error() {
    let mut world = World::new().await;
    let (mut session, _) = world.session().await;
    session.assign(&Assignment { check: None, ..assignment("http://a.example") }).await;
    let batch = session.results().await;
    assert_eq!(batch.results[0].outcome(), v1::Outcome::Error);
    assert!(batch.results[0].detail.starts_with(UNSUPPORTED), "{batch:?}");
}

#[tokio::test]
async fn an_agent_says_how_it_is_once_it_is_connected() {
    let mut world = World::new().await;
    let (mut session, _) = world.session().await;
    let status = loop {
        if let FromAgent::Status(status) = session.hear().await.unwrap() {
            break status;
        }
    };
    let status = proto::probe::convert::status_from_wire(&status).unwrap();
    assert!(status.machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{status:?}");
    assert!(status.machine.open_files > Some(3), "{status:?}");
    assert_eq!((status.backlog.results, status.backlog.dropped, status.work.started), (0, 0, 0));
}

#[tokio::test]
async fn a_coordinator_with_another_certificate_learns_nothing() {
    let mut world = World::with(|token| AgentToken { fingerprint: [0; 32], ..token }).await;
    let accepted = timeout(PATIENCE, world.handshakes.recv()).await.unwrap().unwrap();
    assert!(!accepted, "the agent breaks off the handshake");
    assert!(world.sessions.try_recv().is_err());
}

#[tokio::test]
async fn a_drained_agent_comes_back_after_the_delay() {
    let mut world = World::new().await;
    let (session, _) = world.session().await;
    let reconnect_after = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    session.say(ToAgent::Drain(v1::Drain { reason: "upgrade".into(), reconnect_after })).await;
    world.session().await;
}

#[tokio::test]
async fn an_agent_that_stops_waits_for_its_last_results_to_be_acknowledged_and_closes() {
    let mut world = World::new().await;
    let (mut session, _) = world.session().await;
    session.assign(&assignment(&closed_port().await)).await;
    let batch = session.results().await;
    world.shutdown.cancel();
    session.ack(&batch).await;
    while session.hear().await.is_some() {}
}

/// A TLS stream that tonic's server takes.
struct Secured(TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
