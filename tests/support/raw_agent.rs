//! A probe agent at the level of the protocol: it says whatever a test tells it to, and remembers every ack.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Buf, BufMut};
use hyper_util::rt::TokioIo;
use model::MonitorId;
use proto::probe::token::AgentToken;
use proto::probe::v1 as wire;
use proto::probe::v1::agent_message::Message as Say;
use proto::probe::v1::coordinator_message::Message as Hear;
use proto::probe::v1::probe_service_client::ProbeServiceClient;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::environment;

/// How long the coordinator may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Who connects: one process, with one nonce.
#[derive(Clone, Debug)]
pub struct RawAgent {
    token: AgentToken,
    coordinator: SocketAddr,
    nonce: [u8; 16],
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    /// What the coordinator answered to Hello.
    pub welcome: wire::Welcome,
    /// What it has to check, as last said in full.
    pub assigned: Vec<wire::Assignment>,
    /// All sequence numbers that were acked in this session.
    pub acked: BTreeSet<u64>,
    /// How many results were refused.
    pub refused: u32,
    say: mpsc::Sender<wire::AgentMessage>,
    hear: Streaming<wire::CoordinatorMessage>,
}

impl RawAgent {
    /// A new process with this token.
    ///
    /// # Errors
    /// When the token is none.
    pub fn new(token: &str, coordinator: SocketAddr) -> Result<Self> {
        Ok(Self { token: token.parse()?, coordinator, nonce: environment::random_bytes() })
    }

    /// Opens a session and waits for Welcome.
    ///
    /// # Errors
    /// When the coordinator is not there or refuses.
    pub async fn connect(&self) -> Result<Session> {
        self.connect_saying(self.hello()).await
    }

    /// The Hello of a well-behaved agent.
    #[must_use]
    pub fn hello(&self) -> wire::Hello {
        wire::Hello {
            protocol_min: 1,
            protocol_max: 1,
            process_nonce: self.nonce.to_vec(),
            version: "test".to_owned(),
            capabilities: vec!["http".to_owned(), "tcp".to_owned()],
            ..wire::Hello::default()
        }
    }

    /// Opens a session with a Hello of the test's choice.
    ///
    /// # Errors
    /// When the coordinator is not there or refuses.
    pub async fn connect_saying(&self, hello: wire::Hello) -> Result<Session> {
        tokio::time::timeout(LIMIT, self.open(hello)).await.context("no Welcome in time")?
    }

    /// Opens a session whose first message is these bytes, and waits for what follows.
    ///
    /// # Errors
    /// How the coordinator closes it.
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<()> {
        let mut client = Grpc::new(self.channel().await?);
        client.ready().await?;
        let mut request = Request::new(tokio_stream::once(bytes.to_vec()).chain(tokio_stream::pending()));
        request.metadata_mut().insert("authorization", self.token.credential().bearer().expose().parse()?);
        let path = PathAndQuery::from_static("/vigilmon.probe.v1.ProbeService/Session");
        let answering =
            async { client.streaming(request, path, Verbatim).await?.into_inner().message().await };
        tokio::time::timeout(LIMIT, answering).await.context("no answer in time")??;
        Ok(())
    }

    async fn channel(&self) -> Result<Channel> {
        let (coordinator, tls) =
            (self.coordinator, TlsConnector::from(Arc::new(pinned(self.token.fingerprint)?)));
        let channel = Endpoint::from_shared(format!("http://{coordinator}"))?
            .connect_with_connector(tower::service_fn(move |_| {
                let tls = tls.clone();
                async move {
                    let stream = TcpStream::connect(coordinator).await?;
                    stream.set_nodelay(true)?;
                    let name = ServerName::IpAddress(coordinator.ip().into());
                    Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
                }
            }))
            .await?;
        Ok(channel)
    }

    async fn open(&self, hello: wire::Hello) -> Result<Session> {
        let (say, said) = mpsc::channel(64);
        say.send(message(Say::Hello(hello))).await?;
        let mut request = Request::new(ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", self.token.credential().bearer().expose().parse()?);
        let mut client = ProbeServiceClient::new(self.channel().await?).max_decoding_message_size(16 << 20);
        let mut hear = client.session(request).await?.into_inner();
        match hear.message().await?.and_then(|it| it.message) {
            Some(Hear::Welcome(welcome)) => {
                Ok(Session { welcome, assigned: vec![], acked: BTreeSet::new(), refused: 0, say, hear })
            }
            other => bail!("instead of Welcome came {other:?}"),
        }
    }
}

impl Session {
    /// Sends a message.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn say(&self, what: Say) -> Result<()> {
        self.say.send(message(what)).await.map_err(|_| anyhow!("the session is over"))
    }

    /// Sends results under consecutive sequence numbers.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn report(&self, first_seq: u64, results: Vec<wire::Result>) -> Result<()> {
        let agent_epoch = self.welcome.agent_epoch;
        self.say(Say::Results(wire::Results { agent_epoch, first_seq, results, canaries: 0 })).await
    }

    /// Takes the next message and remembers what it promises.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn hear(&mut self) -> Result<Hear> {
        let heard = self.hear.message().await?.and_then(|it| it.message).context("the session is over")?;
        match &heard {
            Hear::Assignments(set) if set.full => self.assigned.clone_from(&set.assigned),
            Hear::Assignments(change) => self.change(change),
            Hear::Ack(ack) => {
                self.acked.extend(ack.ranges.iter().flat_map(|range| range.first..=range.last));
                self.refused += ack.refused;
            }
            Hear::Welcome(_) | Hear::VerifyNow(_) | Hear::Routes(_) | Hear::Drain(_) | Hear::CheckOnce(_) => {
            }
        }
        Ok(heard)
    }

    /// Listens until the condition holds.
    ///
    /// # Errors
    /// When the session ends before, or it takes too long.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<()> {
        let listening = async {
            while !holds(self) {
                self.hear().await?;
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, listening).await.with_context(|| format!("not in time: {what}"))?
    }

    /// Listens until all of these are acked.
    ///
    /// # Errors
    /// When the session ends before, or it takes too long.
    pub async fn until_acked(&mut self, seqs: std::ops::Range<u64>) -> Result<()> {
        self.until("acks", |session| seqs.clone().all(|seq| session.acked.contains(&seq))).await
    }

    fn change(&mut self, change: &wire::Assignments) {
        let gone = |id: &Vec<u8>| {
            change.removed_monitor_ids.contains(id) || change.assigned.iter().any(|it| it.monitor_id == *id)
        };
        self.assigned.retain(|it| !gone(&it.monitor_id));
        self.assigned.extend(change.assigned.iter().cloned());
    }
}

/// A passing result of a scheduled check, for one assignment and one slot.
#[must_use]
pub fn pass(assignment: &wire::Assignment, slot: i64) -> wire::Result {
    wire::Result {
        monitor_id: assignment.monitor_id.clone(),
        spec_revision: assignment.spec_revision,
        slot,
        age_us: 2_000,
        duration_us: 1_000,
        outcome: wire::Outcome::Pass.into(),
        http_status: 200,
        ..wire::Result::default()
    }
}

/// A failing one: 503.
#[must_use]
pub fn fail(assignment: &wire::Assignment, slot: i64) -> wire::Result {
    wire::Result {
        outcome: wire::Outcome::Fail.into(),
        failure_kind: wire::FailureKind::Status.into(),
        detail: "503 Service Unavailable".to_owned(),
        http_status: 503,
        ..pass(assignment, slot)
    }
}

/// The text form of a monitor's id on the wire.
///
/// # Errors
/// When it is none.
pub fn monitor_id(bytes: &[u8]) -> Result<String> {
    Ok(MonitorId::from_bytes(bytes.try_into()?).to_string())
}

fn message(what: Say) -> wire::AgentMessage {
    wire::AgentMessage { message: Some(what) }
}

/// TLS that trusts exactly one certificate.
fn pinned(fingerprint: [u8; 32]) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { fingerprint, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(leaf)[..] == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate than the token says".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Messages as bytes, whatever they mean.
#[derive(Clone, Copy, Debug)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Verbatim {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}
