//! A coordinator that decides nothing: it hands out assignments and acks every batch, so that what is measured at the
//! other end of the stream is the agent alone.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
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
use proto::probe::v1::agent_message::Message as Heard;
use proto::probe::v1::coordinator_message::Message as Say;
use proto::probe::v1::probe_service_server::{ProbeService, ProbeServiceServer};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use support::environment;
use support::task::Task;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

const BEAT_INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);

/// A running one; it serves one agent.
#[derive(Debug)]
pub(crate) struct FakeCoordinator {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What its agent is started with.
    pub(crate) token: String,
    counts: Arc<Counts>,
    _accepting: Task,
}

/// What was heard.
#[derive(Debug, Default)]
struct Counts {
    beats: AtomicU64,
    results: AtomicU64,
    failing: AtomicU64,
    /// The single results, once somebody wants them.
    written: Mutex<Option<Vec<Told>>>,
}

/// What a result says of its check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Which of the targets.
    pub(crate) index: usize,
    /// From the beginning of its slot to its start, in seconds.
    pub(crate) lateness: f64,
    /// When it ended, in seconds.
    pub(crate) ended_at: f64,
}

#[derive(Debug)]
struct Service {
    interval: Duration,
    assignments: Vec<Assignment>,
    counts: Arc<Counts>,
    sessions: Mutex<Vec<Task>>,
}

impl FakeCoordinator {
    /// Starts one whose agent checks these targets at an interval, evenly spread.
    ///
    /// # Errors
    /// When a target is none or no port is free.
    pub(crate) async fn start(targets: &[String], interval: Duration) -> Result<Self> {
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
        let counts = Arc::new(Counts::default());
        let service = Service {
            interval,
            assignments: assignments(targets, interval)?,
            counts: Arc::clone(&counts),
            sessions: Mutex::default(),
        };
        let routes = Routes::new(ProbeServiceServer::new(service)).prepare();
        let accepting = Task::start(accept(listener, TlsAcceptor::from(Arc::new(tls)), routes));
        Ok(Self { address, token: token.expose(), counts, _accepting: accepting })
    }

    /// Messages that have arrived, with or without results.
    pub(crate) fn beats(&self) -> u64 {
        self.counts.beats.load(Ordering::Relaxed)
    }

    /// Results that have arrived.
    pub(crate) fn results(&self) -> u64 {
        self.counts.results.load(Ordering::Relaxed)
    }

    /// Those that were not passes.
    pub(crate) fn failing(&self) -> u64 {
        self.counts.failing.load(Ordering::Relaxed)
    }

    /// Writes down from now on what each result says.
    pub(crate) fn write_down(&self) {
        *self.counts.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What was written down.
    pub(crate) fn written(&self) -> Vec<Told> {
        let mut written = self.counts.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.take().unwrap_or_default()
    }
}

impl Told {
    /// Reads what was heard just now.
    fn of(result: &wire::Result, count: usize, interval: Duration) -> Option<Self> {
        let number = u128::from_be_bytes(result.monitor_id.as_slice().try_into().ok()?);
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let now = environment::now().as_micros() as f64 / 1e6;
        let started_at = now - result.age_us as f64 / 1e6;
        let slot_at =
            result.slot as f64 * interval.as_secs_f64() + phase(index, count, interval).as_secs_f64();
        let ended_at = started_at + result.duration_us as f64 / 1e6;
        Some(Self { index, lateness: started_at - slot_at, ended_at })
    }
}

/// When in its interval the target with this index is checked: evenly spread.
pub(crate) fn phase(index: usize, count: usize, interval: Duration) -> Duration {
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
        let everything = Say::Assignments(self.everything());
        let greetings = [Say::Welcome(welcome()), everything];
        for greeting in greetings {
            say.try_send(Ok(message(greeting))).map_err(|_| Status::internal("a new channel has room"))?;
        }
        let grid = (self.assignments.len(), self.interval);
        let session = Task::start(listen(request.into_inner(), say, Arc::clone(&self.counts), grid));
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

impl Service {
    fn everything(&self) -> wire::Assignments {
        wire::Assignments {
            revision: 1,
            full: true,
            assigned: self.assignments.iter().map(assignment_to_wire).collect(),
            removed_monitor_ids: vec![],
            digest: assignments_digest(self.assignments.iter().map(Assignment::placement)).to_vec(),
        }
    }
}

/// Acks whatever comes, as soon as it has come.
async fn listen(
    mut heard: Streaming<wire::AgentMessage>,
    say: mpsc::Sender<Result<wire::CoordinatorMessage, Status>>,
    counts: Arc<Counts>,
    (targets, interval): (usize, Duration),
) {
    while let Ok(Some(heard)) = heard.message().await {
        let Some(Heard::Results(results)) = heard.message else { continue };
        let count = results.results.len() as u64;
        let failing =
            results.results.iter().filter(|result| result.outcome() != wire::Outcome::Pass).count() as u64;
        counts.beats.fetch_add(1, Ordering::Relaxed);
        counts.results.fetch_add(count, Ordering::Relaxed);
        counts.failing.fetch_add(failing, Ordering::Relaxed);
        if let Some(written) = &mut *counts.written.lock().unwrap_or_else(PoisonError::into_inner) {
            written.extend(results.results.iter().filter_map(|result| Told::of(result, targets, interval)));
        }
        let range =
            wire::Range { first: results.first_seq, last: results.first_seq + count.saturating_sub(1) };
        let ranges = if count == 0 { vec![] } else { vec![range] };
        let ack = wire::Ack { agent_epoch: results.agent_epoch, ranges, refused: 0 };
        if say.send(Ok(message(Say::Ack(ack)))).await.is_err() {
            return;
        }
    }
}

fn welcome() -> wire::Welcome {
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
            beat_interval: Some(duration_to_wire(BEAT_INTERVAL)),
            silence_timeout: Some(duration_to_wire(BEAT_INTERVAL * 3)),
        }),
        routes: None,
    }
}

fn message(what: Say) -> wire::CoordinatorMessage {
    wire::CoordinatorMessage { message: Some(what) }
}

/// As many URLs as wanted, each with a path of its own.
pub(crate) fn paths(count: usize, url: impl Fn(&str) -> String) -> Vec<String> {
    (0..count).map(|index| url(&format!("/m/{index}"))).collect()
}

/// An agent of a fake coordinator, which trusts the authorities in `ca_file` too.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn agent(coordinator: &FakeCoordinator, ca_file: Option<&Path>) -> Result<support::Agent> {
    support::Agent::start(support::agent::Settings {
        name: "bench".into(),
        token: coordinator.token.clone(),
        coordinator: coordinator.address,
        ca_file: ca_file.map(Path::to_owned),
        hosts: None,
        canary: None,
        has_raw_sockets: false,
    })
    .context("the agent")
}
