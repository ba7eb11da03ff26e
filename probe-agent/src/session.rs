//! The connection to the coordinator: Connecting → Handshaking → Streaming → Backoff, for ever.
//!
//! Goes in: what the agent knows of itself ([`Facts`], for `Hello`) and, once streaming, its messages. Comes out:
//! [`Event`]s. Whatever the coordinator does, the agent goes on trying; it never exits because of it.

mod backoff;
pub(crate) mod dial;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Random, RegionId};
use proto::probe::convert::{Invalid, duration_from_wire, timestamp_from_wire, timestamp_to_wire};
use proto::probe::token::AgentToken;
use proto::probe::v1;
use proto::probe::v1::agent_message::Message as ToCoordinator;
use proto::probe::v1::coordinator_message::Message as FromCoordinator;
use proto::probe::v1::probe_service_client::ProbeServiceClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};
use tracing::{debug, error, info, warn};
use url::Url;

use crate::agent::{Facts, Terms};
use crate::check::capabilities;
use crate::spool::Window;
use backoff::Backoff;
use dial::{Dial, Unreachable};

/// The protocol this version speaks.
pub(crate) const PROTOCOL: u32 = 1;
/// Time for the coordinator's answer to `Hello`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message that is read: a full set of some hundred thousand assignments.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// However long a coordinator asks us to stay away, it is not longer.
const MAX_DRAIN: Duration = Duration::from_secs(300);
/// Messages that may wait for the network.
const OUTBOX: usize = 64;

/// What happens to the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session has begun; the agent's messages go into `outbox`.
    Online { terms: Terms, outbox: mpsc::Sender<v1::AgentMessage> },
    /// The coordinator said something.
    Received(Box<v1::CoordinatorMessage>),
    /// The session has ended.
    Offline,
}

/// Keeps a session with one coordinator.
pub(crate) struct Session {
    dial: Dial,
    bearer: MetadataValue<tonic::metadata::Ascii>,
    process_nonce: [u8; 16],
    spool_nonce: [u8; 16],
    facts: watch::Receiver<Facts>,
    events: mpsc::Sender<Event>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// How a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the coordinator refuses this agent: {0}")]
    Refused(String),
    #[error("the coordinator said something that cannot be used: {0}")]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    Broken(String),
    #[error("nothing heard for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the coordinator is going away: {reason}")]
    Drained { reason: String, reconnect_after: Duration },
    #[error("the agent is stopping")]
    Stopping,
}

impl Session {
    /// A session that will be kept with `coordinator`, proving with `token` who we are; `spool_nonce` names the
    /// numbering of our results.
    pub(crate) fn new(
        coordinator: &Url,
        token: &AgentToken,
        spool_nonce: [u8; 16],
        facts: watch::Receiver<Facts>,
        events: mpsc::Sender<Event>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let bearer = bearer(token);
        let process_nonce = model::random::bytes(&*random);
        Self {
            dial: Dial::new(coordinator, token.fingerprint),
            bearer,
            process_nonce,
            spool_nonce,
            facts,
            events,
            clock,
            random,
        }
    }

    /// Connects, streams and connects again, for ever.
    pub(crate) async fn run(&mut self) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let end = self.once().await;
            // Fails only when the agent is gone, and then this future is dropped.
            let _ = self.events.send(Event::Offline).await;
            let pause = match &end {
                Ended::Drained { reconnect_after, .. } => {
                    info!("{end}");
                    *reconnect_after + backoff.after(Duration::MAX, &*self.random)
                }
                Ended::Refused(_) | Ended::Unreachable(Unreachable::WrongCertificate) => {
                    error!("{end}; trying again slowly, and checking goes on");
                    backoff::slow(&*self.random)
                }
                Ended::Stopping => std::future::pending().await,
                other => {
                    warn!("cut off from the coordinator: {other}; checking goes on");
                    backoff.after(started.elapsed(), &*self.random)
                }
            };
            debug!(pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "connecting again");
            sleep(pause).await;
        }
    }

    /// One session, from the connection to its end.
    async fn once(&mut self) -> Ended {
        let Err(end) = self.stream().await;
        end
    }

    async fn stream(&mut self) -> Result<Infallible, Ended> {
        let channel = self.dial.connect().await?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        outbox.try_send(self.hello()).expect("the channel is new and holds more than one");
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("authorization", self.bearer.clone());
        let mut client = ProbeServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let late = |_| Ended::Silent(HANDSHAKE_TIMEOUT);
        let response = timeout(HANDSHAKE_TIMEOUT, client.session(request)).await.map_err(late)??;
        let mut inbound = response.into_inner();
        let first = timeout(HANDSHAKE_TIMEOUT, next(&mut inbound)).await.map_err(late)??;
        let Some(FromCoordinator::Welcome(welcome)) = first.message else {
            return Err(Invalid::new("message", "the first must be Welcome").into());
        };
        let terms = terms(&welcome)?;
        let silence = silence_timeout(&welcome)?;
        info!(agent = welcome.agent_name, region = %terms.region, epoch = terms.agent_epoch, "connected to the coordinator");

        self.tell(Event::Online { terms, outbox }).await?;
        loop {
            let message =
                timeout(silence, next(&mut inbound)).await.map_err(|_| Ended::Silent(silence))??;
            if let Some(FromCoordinator::Drain(drain)) = message.message {
                let after = drain.reconnect_after.as_ref();
                let reconnect_after = duration_from_wire(after, "reconnect_after").unwrap_or_default();
                let reason = model::result::clean(&drain.reason, 200);
                return Err(Ended::Drained { reason, reconnect_after: reconnect_after.min(MAX_DRAIN) });
            }
            self.tell(Event::Received(Box::new(message))).await?;
        }
    }

    fn hello(&self) -> v1::AgentMessage {
        let facts = self.facts.borrow();
        let hello = v1::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            process_nonce: self.process_nonce.to_vec(),
            spool_nonce: self.spool_nonce.to_vec(),
            agent_name: String::new(),
            region: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: capabilities().iter().map(|capability| capability.as_str().to_owned()).collect(),
            capacity: 0,
            assignments_digest: facts.assignments_digest.clone(),
            dropped_results: facts.dropped_results,
            wall_time: Some(timestamp_to_wire(self.clock.wall())),
        };
        v1::AgentMessage { message: Some(ToCoordinator::Hello(hello)) }
    }

    async fn tell(&self, event: Event) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended::Stopping)
    }
}

/// What proves, on every request, who the agent is.
pub(crate) fn bearer(token: &AgentToken) -> MetadataValue<tonic::metadata::Ascii> {
    let bearer = token.credential().bearer();
    let mut bearer: MetadataValue<_> = bearer.expose().parse().expect("base64url is printable ASCII");
    bearer.set_sensitive(true);
    bearer
}

async fn next(inbound: &mut Streaming<v1::CoordinatorMessage>) -> Result<v1::CoordinatorMessage, Ended> {
    inbound.message().await?.ok_or_else(|| Ended::Broken("the coordinator closed the session".to_owned()))
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        let reason = model::result::clean(status.message(), 200);
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused(reason),
            code => Self::Broken(format!("{} ({reason})", code.description())),
        }
    }
}

fn terms(welcome: &v1::Welcome) -> Result<Terms, Invalid> {
    let limits = welcome.limits.unwrap_or_default();
    let or_default = |given: u32, default: usize| match usize::try_from(given) {
        Ok(0) | Err(_) => default,
        Ok(given) => given,
    };
    if welcome.protocol != PROTOCOL {
        return Err(Invalid::new("welcome.protocol", format!("must be {PROTOCOL}")));
    }
    Ok(Terms {
        agent_epoch: welcome.agent_epoch,
        region: RegionId::new(&welcome.region)
            .map_err(|error| Invalid::new("welcome.region", error.to_string()))?,
        server_time: timestamp_from_wire(welcome.server_time.as_ref(), "welcome.server_time")?,
        window: Window {
            max_results: or_default(limits.max_batch_results, 500).min(10_000),
            max_batches: or_default(limits.max_unacked_batches, 8).min(OUTBOX / 2),
        },
        beat_interval: span(limits.beat_interval.as_ref(), "welcome.limits.beat_interval", 5)?,
    })
}

fn silence_timeout(welcome: &v1::Welcome) -> Result<Duration, Invalid> {
    let limits = welcome.limits.unwrap_or_default();
    span(limits.silence_timeout.as_ref(), "welcome.limits.silence_timeout", 15)
}

/// A span of the limits, or its default; between 50 ms and 10 min.
fn span(wire: Option<&prost_types::Duration>, field: &str, default_secs: u64) -> Result<Duration, Invalid> {
    let default = Duration::from_secs(default_secs);
    let span = wire.map_or(Ok(default), |wire| duration_from_wire(Some(wire), field))?;
    if span.is_zero() {
        return Ok(default);
    }
    Ok(span.clamp(Duration::from_millis(50), Duration::from_secs(600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> v1::Welcome {
        v1::Welcome {
            protocol: 1,
            region: "us-east".into(),
            server_time: Some(prost_types::Timestamp { seconds: 5, nanos: 0 }),
            ..v1::Welcome::default()
        }
    }

    #[test]
    fn limits_that_are_not_given_have_defaults_and_wild_ones_are_bounded() {
        let terms_of = |limits| terms(&v1::Welcome { limits, ..welcome() }).unwrap();
        let default = terms_of(None);
        assert_eq!(default.window, Window { max_results: 500, max_batches: 8 });
        assert_eq!(default.beat_interval, Duration::from_secs(5));
        let wild = terms_of(Some(v1::Limits {
            max_batch_results: u32::MAX,
            max_unacked_batches: u32::MAX,
            beat_interval: Some(prost_types::Duration { seconds: 1 << 40, nanos: 0 }),
            silence_timeout: None,
        }));
        assert_eq!(wild.window, Window { max_results: 10_000, max_batches: OUTBOX / 2 });
        assert_eq!(wild.beat_interval, Duration::from_secs(600));
    }

    #[test]
    fn a_welcome_that_cannot_be_used_is_refused_by_field() {
        for (welcome, field) in [
            (v1::Welcome { protocol: 2, ..welcome() }, "welcome.protocol"),
            (v1::Welcome { region: "US East".into(), ..welcome() }, "welcome.region"),
            (v1::Welcome { server_time: None, ..welcome() }, "welcome.server_time"),
        ] {
            assert_eq!(terms(&welcome).unwrap_err().field, field);
        }
    }

    #[test]
    fn refusals_are_told_apart_from_broken_connections() {
        assert!(matches!(Ended::from(Status::unauthenticated("who?")), Ended::Refused(_)));
        assert!(matches!(Ended::from(Status::permission_denied("no")), Ended::Refused(_)));
        assert!(matches!(Ended::from(Status::unavailable("later")), Ended::Broken(_)));
    }
}
