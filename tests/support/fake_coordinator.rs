//! A coordinator that decides nothing: it hands out assignments, acks every batch unless it is told to hold its acks,
//! and passes on what it hears, so that what is seen at the other end of the stream is the agent alone.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::{AgentId, Check, MonitorId, Secret};
use proto::probe::convert::{
    Assignment, Role, assignment_to_wire, assignments_digest, duration_to_wire, timestamp_to_wire,
};
use proto::probe::token::AgentToken;
use proto::probe::v1 as wire;
pub use proto::probe::v1::agent_message::Message as Heard;
use proto::probe::v1::coordinator_message::Message as Say;
use proto::probe::v1::probe_service_server::{ProbeService, ProbeServiceServer};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::environment;
use crate::task::Task;

const BEAT_INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);

/// A running one; it serves one agent.
#[derive(Debug)]
pub struct FakeCoordinator {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its agent is started with.
    pub token: String,
    desk: Arc<Desk>,
    _accepting: Task,
}

/// How it behaves.
#[derive(Debug)]
pub struct Manner {
    /// How often the agent reports.
    pub beat_interval: Duration,
    /// Whom everything that the agent says is passed on to.
    pub listener: Option<mpsc::UnboundedSender<Heard>>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { beat_interval: BEAT_INTERVAL, listener: None }
    }
}

/// What its sessions share.
#[derive(Debug)]
struct Desk {
    manner: Manner,
    assignments: Mutex<Vec<Assignment>>,
    holds_acks: AtomicBool,
    /// The way to the agent.
    say: Mutex<Option<Outbox>>,
    beats: AtomicU64,
    results: AtomicU64,
    failing: AtomicU64,
    /// The single results, once somebody wants them.
    written: Mutex<Option<Vec<Told>>>,
}

/// What a result says of its check.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Which of the assignments.
    pub index: usize,
    /// From the beginning of its slot to its start, in seconds.
    pub lateness: f64,
    /// When it ended, in seconds.
    pub ended_at: f64,
}

#[derive(Debug)]
struct Service {
    desk: Arc<Desk>,
    sessions: Mutex<Vec<Task>>,
}

type Outbox = mpsc::Sender<Result<wire::CoordinatorMessage, Status>>;

impl FakeCoordinator {
    /// Starts one whose agent checks these targets at an interval, evenly spread.
    ///
    /// # Errors
    /// When a target is none or no port is free.
    pub async fn start(targets: &[String], interval: Duration) -> Result<Self> {
        Self::start_with(assignments(targets, interval)?, Manner::default()).await
    }

    /// Starts one with these assignments and manners.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start_with(assignments: Vec<Assignment>, manner: Manner) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["vigilmon-coordinator".into()])?.self_signed(&key)?;
        let certificate = certificate.der().clone();
        let token = AgentToken {
            agent: AgentId::from_bytes(environment::random_bytes()),
            secret: Secret::new(environment::random_bytes()),
            fingerprint: Sha256::digest(&certificate).into(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            manner,
            assignments: Mutex::new(assignments),
            holds_acks: AtomicBool::new(false),
            say: Mutex::default(),
            beats: AtomicU64::new(0),
            results: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            written: Mutex::default(),
        });
        let service = Service { desk: Arc::clone(&desk), sessions: Mutex::default() };
        let routes = Routes::new(ProbeServiceServer::new(service)).prepare();
        let accepting = Task::start(accept(listener, TlsAcceptor::from(Arc::new(tls)), routes));
        Ok(Self { address, token: token.expose(), desk, _accepting: accepting })
    }

    /// Assigns something else from now on, also to the agent that is connected.
    ///
    /// # Errors
    /// When more waits for the agent than fits.
    pub fn assign(&self, assignments: Vec<Assignment>) -> Result<()> {
        self.assign_next(assignments);
        self.tell(Say::Assignments(self.desk.everything()))
    }

    /// Assigns something else to whoever connects next.
    pub fn assign_next(&self, assignments: Vec<Assignment>) {
        *self.desk.assignments.lock().unwrap_or_else(PoisonError::into_inner) = assignments;
    }

    /// Has the connected agent check something once. Its answer is [`Heard::Checked`].
    ///
    /// # Errors
    /// When no agent is connected, or more waits for it than fits.
    pub fn check_once(&self, assignment: &Assignment) -> Result<()> {
        self.tell(Say::CheckOnce(wire::CheckOnce { assignment: Some(assignment_to_wire(assignment)) }))
    }

    /// Acks nothing from now on, until [`FakeCoordinator::ack_again`].
    pub fn hold_acks(&self) {
        self.desk.holds_acks.store(true, Ordering::Release);
    }

    /// Acks what comes from now on.
    pub fn ack_again(&self) {
        self.desk.holds_acks.store(false, Ordering::Release);
    }

    fn tell(&self, what: Say) -> Result<()> {
        let say = self.desk.say.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(say.as_ref().context("no agent has connected")?.try_send(Ok(message(what)))?)
    }

    /// Messages that have arrived, with or without results.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.desk.beats.load(Ordering::Relaxed)
    }

    /// Results that have arrived.
    #[must_use]
    pub fn results(&self) -> u64 {
        self.desk.results.load(Ordering::Relaxed)
    }

    /// Those that were not passes.
    #[must_use]
    pub fn failing(&self) -> u64 {
        self.desk.failing.load(Ordering::Relaxed)
    }

    /// Writes down from now on what each result says.
    pub fn write_down(&self) {
        *self.desk.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What was written down.
    #[must_use]
    pub fn written(&self) -> Vec<Told> {
        let mut written = self.desk.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.take().unwrap_or_default()
    }
}

impl Told {
    /// Reads what was heard just now of one of these assignments, whose ids are their places from 1.
    fn of(result: &wire::Result, assignments: &[Assignment]) -> Option<Self> {
        let number = u128::from_be_bytes(result.monitor_id.as_slice().try_into().ok()?);
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let Assignment { interval, phase, .. } = assignments.get(index)?;
        let now = environment::now().as_micros() as f64 / 1e6;
        let started_at = now - result.age_us as f64 / 1e6;
        let slot_at = result.slot as f64 * interval.as_secs_f64() + phase.as_secs_f64();
        let ended_at = started_at + result.duration_us as f64 / 1e6;
        Some(Self { index, lateness: started_at - slot_at, ended_at })
    }
}

/// When in its interval the target with this index is checked: evenly spread.
#[must_use]
pub fn phase(index: usize, count: usize, interval: Duration) -> Duration {
    interval.mul_f64(index as f64 / count.max(1) as f64)
}

fn assignments(targets: &[String], interval: Duration) -> Result<Vec<Assignment>> {
    let mut assignments = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        assignments.push(Assignment {
            monitor: MonitorId::from_bytes((index as u128 + 1).to_be_bytes()),
            spec_revision: 1,
            check: Some(Check::from_target(target)?),
            options: model::check::Options::default(),
            interval,
            timeout: TIMEOUT,
            phase: phase(index, targets.len(), interval),
            role: Role::Primary,
            check_now: false,
        });
    }
    Ok(assignments)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, routes: Routes) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (tls, routes) = (tls.clone(), routes.clone());
                // How a connection ends is the agent's business.
                connections.spawn(async move { drop(serve(stream, tls, routes).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, routes: Routes) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(2 << 20)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await?;
    Ok(())
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<wire::CoordinatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl ProbeService for Service {
    type SessionStream = Outgoing;

    async fn join(
        &self,
        _request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        Err(Status::unimplemented("nobody joins here"))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::AgentMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let (say, said) = mpsc::channel(256);
        // The time in the welcome is what the agent's clock is set by: nothing may take any after it.
        let everything = Say::Assignments(self.desk.everything());
        let greetings = [Say::Welcome(welcome(self.desk.manner.beat_interval)), everything];
        for greeting in greetings {
            say.try_send(Ok(message(greeting))).map_err(|_| Status::internal("a new channel has room"))?;
        }
        *self.desk.say.lock().unwrap_or_else(PoisonError::into_inner) = Some(say.clone());
        let session = Task::start(listen(request.into_inner(), say, Arc::clone(&self.desk)));
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

impl Desk {
    fn everything(&self) -> wire::Assignments {
        let assignments = self.assignments.lock().unwrap_or_else(PoisonError::into_inner);
        wire::Assignments {
            revision: 1,
            full: true,
            assigned: assignments.iter().map(assignment_to_wire).collect(),
            removed_monitor_ids: vec![],
            digest: assignments_digest(assignments.iter().map(Assignment::placement)).to_vec(),
        }
    }
}

/// Passes on whatever comes, and acks it as soon as it has come.
async fn listen(mut heard: Streaming<wire::AgentMessage>, say: Outbox, desk: Arc<Desk>) {
    while let Ok(Some(heard)) = heard.message().await {
        let Some(heard) = heard.message else { continue };
        if let Some(listener) = &desk.manner.listener
            && listener.send(heard.clone()).is_err()
        {
            return;
        }
        let Heard::Results(results) = heard else { continue };
        let count = results.results.len() as u64;
        let failing =
            results.results.iter().filter(|result| result.outcome() != wire::Outcome::Pass).count() as u64;
        desk.beats.fetch_add(1, Ordering::Relaxed);
        desk.results.fetch_add(count, Ordering::Relaxed);
        desk.failing.fetch_add(failing, Ordering::Relaxed);
        if let Some(written) = &mut *desk.written.lock().unwrap_or_else(PoisonError::into_inner) {
            let assignments = desk.assignments.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend(results.results.iter().filter_map(|result| Told::of(result, &assignments)));
        }
        let range =
            wire::Range { first: results.first_seq, last: results.first_seq + count.saturating_sub(1) };
        // Acks of nothing show that somebody is there.
        let is_held = desk.holds_acks.load(Ordering::Acquire);
        let ranges = if count == 0 || is_held { vec![] } else { vec![range] };
        let ack = wire::Ack { agent_epoch: results.agent_epoch, ranges, refused: 0 };
        if say.send(Ok(message(Say::Ack(ack)))).await.is_err() {
            return;
        }
    }
}

fn welcome(beat_interval: Duration) -> wire::Welcome {
    wire::Welcome {
        protocol: 1,
        agent_id: vec![1; 16],
        agent_name: "bench".into(),
        region: "bench".into(),
        agent_epoch: 1,
        server_time: Some(timestamp_to_wire(environment::now())),
        limits: Some(wire::Limits {
            max_batch_results: 1_000,
            max_unacked_batches: 64,
            beat_interval: Some(duration_to_wire(beat_interval)),
            silence_timeout: Some(duration_to_wire(BEAT_INTERVAL * 3)),
        }),
        routes: None,
    }
}

fn message(what: Say) -> wire::CoordinatorMessage {
    wire::CoordinatorMessage { message: Some(what) }
}

/// As many URLs as wanted, each with a path of its own.
pub fn paths(count: usize, url: impl Fn(&str) -> String) -> Vec<String> {
    (0..count).map(|index| url(&format!("/m/{index}"))).collect()
}

/// An agent of a fake coordinator, which trusts the authorities in `ca_file` too.
///
/// # Errors
/// When it cannot be started.
pub fn agent(coordinator: &FakeCoordinator, ca_file: Option<&Path>) -> Result<crate::Agent> {
    crate::Agent::start(crate::agent::Settings {
        name: "bench".into(),
        token: coordinator.token.clone(),
        coordinator: coordinator.address,
        ca_file: ca_file.map(Path::to_owned),
        hosts: None,
        has_raw_sockets: false,
        canary: None,
    })
    .context("the agent")
}
