//! A probe agent's session: the wire on one side, [`crate::fleet`], [`crate::ingest`] and the shards on the other. Wire
//! types end here.
//!
//! Who the agent is comes from its credential alone. Its epoch is issued here and stored before the Welcome: the same
//! process nonce continues the same epoch, another one gets the next. Nothing is acked before it is committed.

mod join;
mod outgoing;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Clock, Timestamp};
use proto::probe::convert::{
    duration_to_wire, result_from_wire, slow_from_wire, status_from_wire, timestamp_from_wire,
    timestamp_to_wire,
};
use proto::probe::token::Credential;
use proto::probe::v1;
use proto::probe::v1::agent_message::Message as FromAgent;
use proto::probe::v1::coordinator_message::Message as ToWire;
use proto::probe::v1::probe_service_server::ProbeService;
use store::{AgentRow, ConfigChange};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::fleet::{Fleet, Introduction, SILENCE, Session, Superseded};
use crate::ingest;
use crate::lifecycle::{Supervisor, Task};
use crate::settings::{Settings, find_agent};
use crate::shard::{self, Acked, Input};
use crate::view::Views;

/// The one protocol there is so far.
const PROTOCOL: u32 = 1;
/// How long an agent may take for its Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an agent sends its results, be there any or not.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Most results in one message.
pub const MAX_BATCH_RESULTS: u32 = 1_000;
/// Messages that may wait for their ack.
const MAX_UNACKED_BATCHES: u32 = 64;
/// Most capabilities that an agent may name, and the longest name of one.
const MAX_CAPABILITIES: usize = 64;
const MAX_CAPABILITY_CHARS: usize = 64;
/// Messages that may wait to be written to the wire.
const OUTGOING_CAPACITY: usize = 64;

/// The probe service.
#[derive(Clone)]
pub struct Service {
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    views: Arc<Views>,
    fleet: Arc<Fleet>,
    shards: shard::Handle,
    supervisor: Supervisor,
    /// Name of the agent inside this process, if there is one.
    embedded: Arc<[String]>,
    doorkeeper: join::Doorkeeper,
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<v1::CoordinatorMessage, Status>> + Send>>;

/// Whether a session was opened on a connection: travels with each of its requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Opened(Arc<AtomicBool>);

impl Opened {
    fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An agent whose credential and Hello were accepted.
struct Admitted {
    row: AgentRow,
    who: Introduction,
}

impl Service {
    /// A service over the coordinator's parts.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        views: Arc<Views>,
        fleet: Arc<Fleet>,
        shards: shard::Handle,
        supervisor: Supervisor,
        embedded: Vec<String>,
    ) -> Self {
        let (embedded, doorkeeper) = (embedded.into(), join::Doorkeeper::default());
        Self { clock, settings, views, fleet, shards, supervisor, embedded, doorkeeper }
    }

    /// The agent whose credential the request carries.
    fn authenticate(&self, request: &Request<Streaming<v1::AgentMessage>>) -> Result<AgentRow, Status> {
        // One answer for every reason: whether an agent exists is nobody's business.
        let refused = || {
            Status::unauthenticated("the agent's token is not known here: create an agent and use its token")
        };
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let credential = header.and_then(|text| Credential::from_bearer(text).ok()).ok_or_else(refused)?;
        let config = self.settings.present();
        let row = find_agent(&config, credential.agent).filter(|row| credential.matches(&row.secret_digest));
        row.cloned().ok_or_else(refused)
    }

    /// Accepts or refuses a Hello and issues the epoch.
    async fn admit(&self, row: AgentRow, hello: v1::Hello) -> Result<Admitted, Status> {
        if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
            return Err(Status::failed_precondition(format!(
                "this coordinator speaks protocol {PROTOCOL}, the agent {} to {}: update the older one",
                hello.protocol_min, hello.protocol_max
            )));
        }
        for (what, said, known) in
            [("name", &hello.agent_name, row.name.as_str()), ("region", &hello.region, row.region.as_str())]
        {
            if !said.is_empty() && said != known {
                return Err(Status::permission_denied(format!(
                    "the agent says its {what} is `{}`, its token says `{known}`",
                    model::result::clean(said, 80)
                )));
            }
        }
        let read = |field: &str, bytes: &[u8]| {
            <[u8; 16]>::try_from(bytes)
                .map_err(|_| Status::invalid_argument(format!("{field}: must be 16 bytes")))
        };
        let nonce = read("process_nonce", &hello.process_nonce)?;
        let numbering = match hello.spool_nonce.as_slice() {
            [] => nonce,
            bytes => read("spool_nonce", bytes)?,
        };
        if self.fleet.is_superseded(row.id, nonce) {
            return Err(superseded(Superseded));
        }
        let row = self.issue_epoch(row, numbering).await?;
        let who = Introduction {
            agent: row.id,
            process_nonce: nonce,
            name: row.name.clone(),
            region: row.region.clone(),
            epoch: row.epoch,
            version: model::result::clean(&hello.version, 64),
            capacity: hello.capacity,
            digest: hello.assignments_digest,
            dropped_results: hello.dropped_results,
            clock_offset_micros: self.clock_offset(hello.wall_time.as_ref()),
            capabilities: hello
                .capabilities
                .iter()
                .take(MAX_CAPABILITIES)
                .map(|name| model::result::clean(name, MAX_CAPABILITY_CHARS))
                .collect(),
            is_embedded: self.embedded.contains(&row.name),
        };
        Ok(Admitted { row, who })
    }

    /// The same epoch for a known numbering of results, the next one for another.
    async fn issue_epoch(&self, row: AgentRow, nonce: [u8; 16]) -> Result<AgentRow, Status> {
        if row.process_nonce == Some(nonce) {
            return Ok(row);
        }
        let id = row.id;
        let config = self
            .settings
            .change(|config| {
                let present = find_agent(config, id).unwrap_or(&row);
                let next =
                    AgentRow { epoch: present.epoch + 1, process_nonce: Some(nonce), ..present.clone() };
                Ok::<_, store::Error>(ConfigChange::PutAgent(next))
            })
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let row = find_agent(&config, id).ok_or_else(|| Status::unauthenticated("the agent was deleted"))?;
        if row.process_nonce != Some(nonce) {
            // Written, but not read back: the epoch is still another process's.
            return Err(Status::unavailable("the agent's epoch cannot be read: try again"));
        }
        Ok(row.clone())
    }

    /// How far an agent's wall clock is from ours. It says nothing about results, which are dated by their age.
    fn clock_offset(&self, theirs: Option<&prost_types::Timestamp>) -> Option<i64> {
        let theirs = timestamp_from_wire(Some(theirs?), "wall_time").ok()?;
        Some(theirs.as_micros().saturating_sub(self.clock.wall().as_micros()))
    }

    fn welcome(&self, admitted: &Admitted) -> v1::CoordinatorMessage {
        let limits = v1::Limits {
            max_batch_results: MAX_BATCH_RESULTS,
            max_unacked_batches: MAX_UNACKED_BATCHES,
            beat_interval: Some(duration_to_wire(BEAT_INTERVAL)),
            silence_timeout: Some(duration_to_wire(SILENCE)),
        };
        let everything = v1::Route {
            first_shard: 0,
            last_shard: u32::from(model::Shard::COUNT) - 1,
            address: String::new(),
            epoch: 1,
        };
        outgoing::wire(ToWire::Welcome(v1::Welcome {
            protocol: PROTOCOL,
            agent_id: admitted.row.id.as_bytes().to_vec(),
            agent_name: admitted.row.name.clone(),
            region: admitted.row.region.to_string(),
            agent_epoch: admitted.row.epoch,
            server_time: Some(timestamp_to_wire(self.clock.now())),
            limits: Some(limits),
            routes: Some(v1::Routes { revision: 1, routes: vec![everything] }),
        }))
    }
}

#[tonic::async_trait]
impl ProbeService for Service {
    type SessionStream = Outgoing;

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        join::join(self, request.into_inner()).await.map(Response::new)
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let row = self.authenticate(&request)?;
        let opened = request.extensions().get::<Opened>().cloned();
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(v1::AgentMessage { message: Some(FromAgent::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let admitted = self.admit(row, hello).await?;

        let (to_wire, from_session) = mpsc::channel(OUTGOING_CAPACITY);
        let welcome = self.welcome(&admitted);
        to_wire.try_send(Ok(welcome)).map_err(|_| Status::internal("a new channel has room"))?;
        let (to_agent, from_fleet) = mpsc::unbounded_channel();
        let session = self.fleet.join(admitted.who.clone(), to_agent).map_err(superseded)?;
        if let Some(opened) = opened {
            opened.mark();
        }
        let (acks, from_shards) = mpsc::unbounded_channel();

        let writer = outgoing::write(
            to_wire.clone(),
            from_fleet,
            from_shards,
            session.closed.clone(),
            self.supervisor.drain().clone(),
        );
        self.supervisor.spawn(Task::Connection, writer);
        let reader = Reader { service: self.clone(), who: admitted.who, session, acks, to_wire };
        self.supervisor.spawn(Task::Connection, reader.run(incoming));
        Ok(Response::new(Box::pin(ReceiverStream::new(from_session))))
    }
}

/// The older of two processes is told to stay away; the agent then asks again only slowly.
fn superseded(error: Superseded) -> Status {
    Status::permission_denied(error.to_string())
}

/// Reads an agent's messages until it falls silent, is replaced, or leaves.
struct Reader {
    service: Service,
    who: Introduction,
    session: Session,
    acks: mpsc::UnboundedSender<Acked>,
    to_wire: outgoing::Wire,
}

impl Reader {
    async fn run(self, mut incoming: Streaming<v1::AgentMessage>) {
        let drain = self.service.supervisor.drain().clone();
        let mut leave = std::pin::pin!(drained_for_long(&drain));
        let end = loop {
            let message = tokio::select! {
                () = self.session.closed.cancelled() => break None,
                () = &mut leave => break None,
                message = tokio::time::timeout(SILENCE, incoming.message()) => match message {
                    Ok(Ok(Some(message))) => message,
                    Ok(Ok(None)) => break None,
                    Ok(Err(status)) => {
                        debug!(agent.id = %self.who.agent, %status, "the stream broke");
                        break None;
                    }
                    Err(_) => break Some(Status::deadline_exceeded("nothing heard for 15 s")),
                },
            };
            self.service.fleet.heard(self.who.agent, self.session.number);
            tokio::select! {
                () = self.session.closed.cancelled() => break None,
                () = &mut leave => break None,
                () = self.keep_live() => {}
                taken = self.take(message) => if let Err(status) = taken {
                    break Some(status);
                },
            }
        };
        if let Some(status) = end {
            warn!(agent.id = %self.who.agent, %status, "session closed");
            drop(self.to_wire.try_send(Err(status)));
        }
        self.service.fleet.leave(self.who.agent, self.session.number);
    }

    /// Notes the agent as heard for as long as a message of its is being taken: that our shards are busy does not make it
    /// silent. Does not end.
    async fn keep_live(&self) {
        loop {
            tokio::time::sleep(BEAT_INTERVAL).await;
            self.service.fleet.heard(self.who.agent, self.session.number);
        }
    }

    async fn take(&self, message: v1::AgentMessage) -> Result<(), Status> {
        let received_at = self.service.clock.now();
        match message.message {
            Some(FromAgent::Results(results)) => self.take_results(results, received_at).await,
            Some(FromAgent::Slow(slow)) => {
                if let Ok(slow) = slow_from_wire(&slow, received_at) {
                    let (monitor, started_at) = (slow.monitor, slow.started_at);
                    let region = self.who.region.clone();
                    self.service.shards.tell(Input::Slow { monitor, region, started_at }).await;
                }
                Ok(())
            }
            Some(FromAgent::Checked(checked)) => {
                let result = checked.result.unwrap_or_default();
                match result_from_wire(result, 0, &self.who.region, received_at) {
                    Ok(received) => self.service.fleet.checked(self.who.agent, received.result),
                    Err(error) => {
                        debug!(agent.id = %self.who.agent, %error, "the answer to a single check is unfit");
                    }
                }
                Ok(())
            }
            Some(FromAgent::Status(status)) => {
                match status_from_wire(&status) {
                    Ok(status) => {
                        self.service.fleet.note_status(self.who.agent, self.session.number, status);
                    }
                    Err(error) => debug!(agent.id = %self.who.agent, %error, "a status that cannot be read"),
                }
                Ok(())
            }
            Some(FromAgent::Hello(_)) => Err(Status::invalid_argument("Hello comes once, at the beginning")),
            // A message of a later protocol: not ours to understand.
            None => Ok(()),
        }
    }

    async fn take_results(&self, results: v1::Results, received_at: Timestamp) -> Result<(), Status> {
        if results.results.len() > MAX_BATCH_RESULTS as usize {
            return Err(Status::invalid_argument(format!(
                "results: at most {MAX_BATCH_RESULTS} in one message"
            )));
        }
        let failing = match results.canaries() {
            v1::Canaries::Unspecified => None,
            v1::Canaries::Well => Some(false),
            v1::Canaries::Failing => Some(true),
        };
        self.service.fleet.note_canaries(self.who.agent, self.session.number, failing);
        if results.agent_epoch != self.who.epoch {
            info!(agent.id = %self.who.agent, "results of another epoch: ignored");
            return Ok(());
        }
        let batch = ingest::batch(
            results,
            self.who.agent,
            &self.who.region,
            received_at,
            &self.service.views,
            &self.acks,
        );
        match batch {
            Some(batch) => self.service.shards.results(batch).await,
            // An agent that hears nothing takes us for gone.
            None => drop(self.acks.send(Acked { agent_epoch: self.who.epoch, range: None, refused: 0 })),
        }
        Ok(())
    }
}

/// Leaves an agent a moment after the Drain message to receive the acks of what it sent before.
async fn drained_for_long(drain: &CancellationToken) {
    drain.cancelled().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[cfg(test)]
mod tests;
