//! TLS to a target: one shared configuration, one handshake per check, and what its failures mean; and the check that
//! asks for nothing else.

mod details;
mod identity;
mod weak;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Failure, FailureKind, Timestamp, TlsCheck};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError,
    HandshakeKind, InvalidMessage, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::{Attempt, Network, Stopped, Trace, add, dial, host};
use details::Witness;
pub use identity::{ClientCertificate, Unusable};

const DAY_SECS: u64 = 86_400;
/// Sessions that are kept to be taken up again.
const MAX_SESSIONS: usize = 256;
/// After which a certificate is to be seen again, as after a kept connection's end.
const MAX_SESSION_AGE: Duration = Duration::from_secs(600);

/// Why a file of further authorities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The file holds no certificate.
    #[error("holds no PEM certificate")]
    Empty,
    /// A certificate cannot be read or used.
    #[error("certificate {number} cannot be used: {problem}")]
    Certificate {
        /// Which one in the file, from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// The TLS side of all checks.
pub(super) struct Tls {
    connector: TlsConnector,
    verifier: Arc<Verifier>,
    /// The same, and takes up sessions of earlier handshakes.
    resuming: Mutex<Sessions>,
    /// The same with a client certificate, by its name.
    identities: BTreeMap<String, TlsConnector>,
}

/// Sessions that can be taken up. A server hands a session on from connection to connection, with the certificate that
/// was shown when it began; so all of them are forgotten together.
struct Sessions {
    connector: TlsConnector,
    begun_at: Instant,
}

impl Sessions {
    fn new(config: &ClientConfig) -> Self {
        let mut config = config.clone();
        config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
        Self { connector: TlsConnector::from(Arc::new(config)), begun_at: Instant::now() }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the public authorities and what `extra_roots` (PEM) holds.
    pub(super) fn new(extra_roots: Option<&[u8]>) -> Result<Self, Untrusted> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Verifier::new(extra_roots, &provider)?);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier))
            .with_no_client_auth();
        // Every check is a stranger's first visit: a resumed session would neither see nor time the certificate.
        config.resumption = Resumption::disabled();
        let resuming = Mutex::new(Sessions::new(&config));
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, verifier, resuming, identities: BTreeMap::new() })
    }

    /// What takes up sessions that are not too old.
    fn resuming(&self) -> TlsConnector {
        let mut sessions = self.resuming.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.begun_at.elapsed() >= MAX_SESSION_AGE {
            *sessions = Sessions::new(self.connector.config());
        }
        sessions.connector.clone()
    }

    /// Shows a client certificate where a check asks for it by its name.
    pub(super) fn add_identity(&mut self, certificate: &ClientCertificate) {
        let mut config = ClientConfig::clone(self.connector.config());
        config.client_auth_cert_resolver = certificate.resolver();
        self.identities.insert(certificate.name().to_owned(), TlsConnector::from(Arc::new(config)));
    }

    /// Whether there is a client certificate of that name.
    pub(super) fn has_identity(&self, name: &str) -> bool {
        self.identities.contains_key(name)
    }

    /// Shakes hands over a connection, timing it.
    pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: Host<&str>,
        stream: S,
        alpn: Alpn,
        trace: &mut Trace,
    ) -> Result<TlsStream<S>, Stopped> {
        // Whatever host was asked before, its certificate was another one.
        trace.certificate_ends = None;
        let route = trace.route_to(&host);
        let host = route.server_name.as_deref().map_or(host, Host::Domain);
        let name = match host {
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| Stopped::unmeasured("the host name cannot be used with TLS"))?,
        };
        let identity = route.client_certificate.and_then(|name| self.identities.get(&name));
        // A session belongs to the certificate that was shown in it.
        let resuming = trace.resumes.then(|| self.resuming());
        let connector = identity.or(resuming.as_ref()).unwrap_or(&self.connector);
        if trace.is_detailed {
            return self.handshake_watched(connector, name, stream, alpn, trace).await;
        }
        let started = Instant::now();
        let connecting = connector.with_alpn(alpn.protocols()).connect(name, stream);
        let stream = connecting.await.map_err(|error| failure(&error))?;
        add(&mut trace.phases.tls, started);
        if trace.dates_certificate {
            trace.certificate_ends = end(&stream);
        }
        let is_resumed = trace.resumes && stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        if is_resumed && trace.certificate_ends.is_some_and(|ends| self.has_passed(ends)) {
            // Nobody else looks at a certificate that was shown earlier.
            return Err(Stopped::failed(
                FailureKind::Certificate,
                certificate_problem(&CertificateError::Expired),
            ));
        }
        Ok(stream)
    }

    /// A handshake of which all is noted.
    async fn handshake_watched<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connector: &TlsConnector,
        name: ServerName<'static>,
        stream: S,
        alpn: Alpn,
        trace: &mut Trace,
    ) -> Result<TlsStream<S>, Stopped> {
        let verifier = Arc::<Verifier>::clone(&self.verifier);
        let (witness, connector) = Witness::new(connector.config(), verifier);
        let started = Instant::now();
        let connected = connector.with_alpn(alpn.protocols()).connect(name, stream).await;
        let connection = connected.as_ref().ok().map(|stream| stream.get_ref().1);
        let told = trace.handshake.insert(Box::new(witness.tell(connection)));
        trace.certificate_ends = told.chain.first().map(|leaf| leaf.not_after);
        let stream = connected.map_err(|error| failure(&error))?;
        add(&mut trace.phases.tls, started);
        Ok(stream)
    }

    /// Whole days until the certificate that was shown ends.
    pub(super) fn days_left(&self, trace: &Trace) -> Option<i32> {
        let left = trace.certificate_ends?.since(self.now()).as_secs() / DAY_SECS;
        Some(i32::try_from(left).unwrap_or(i32::MAX))
    }

    /// Whether an instant is over.
    pub(super) fn has_passed(&self, instant: Timestamp) -> bool {
        instant < self.now()
    }

    fn now(&self) -> Timestamp {
        let now = self.connector.config().time_provider.current_time();
        Timestamp::from_secs(now.and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX))
    }

    /// Notes a certificate that ends within so many days as a wrong answer. 0: none does.
    pub(super) fn outlasts<S>(&self, days: u16, stream: &TlsStream<S>, trace: &mut Trace) {
        if days == 0 {
            return;
        }
        trace.certificate_ends = trace.certificate_ends.or_else(|| end(stream));
        self.judge_end(days, trace);
    }

    /// As [`outlasts`](Self::outlasts), of a certificate whose end is known.
    pub(super) fn judge_end(&self, days: u16, trace: &mut Trace) {
        let Some(ends) = trace.certificate_ends.filter(|_| days > 0) else { return };
        let left = ends.since(self.now());
        if left < Duration::from_secs(u64::from(days) * DAY_SECS) && trace.wrong_answer.is_none() {
            let detail = match left.as_secs() / DAY_SECS {
                0 => "certificate expires within a day".to_owned(),
                1 => "certificate expires in 1 day".to_owned(),
                days => format!("certificate expires in {days} days"),
            };
            trace.wrong_answer = Some(Failure::new(FailureKind::Certificate, detail));
        }
    }
}

/// What is to be spoken over TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpn {
    /// Whatever belongs to the port.
    Unsaid,
    Http1,
    Http2,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Unsaid => vec![],
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
        }
    }
}

impl Attempt for TlsCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let Network { dialer, tls, .. } = network;
        let stream = dialer.dial(host(&self.host), self.port, trace).await?;
        let stream = tls.handshake(host(&self.host), stream, Alpn::Unsaid, trace).await?;
        tls.outlasts(self.certificate_days, &stream, trace);
        trace.verdict()
    }
}

/// The end of the validity of the certificate that was shown.
fn end<S>(stream: &TlsStream<S>) -> Option<Timestamp> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    Some(Timestamp::from_secs(certificate.validity().not_after.timestamp()))
}

/// What an error of a handshake means.
fn failure(error: &io::Error) -> Stopped {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match (cause, error.kind()) {
        (Some(TlsError::InvalidCertificate(problem)), _) => {
            Stopped::failed(FailureKind::Certificate, certificate_problem(problem))
        }
        (Some(TlsError::NoCertificatesPresented), _) => {
            Stopped::failed(FailureKind::Certificate, "no certificate presented")
        }
        (Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)), _) => Stopped::failed(
            FailureKind::Tls,
            "the target does not speak the protocol that was asked for (ALPN)",
        ),
        (Some(TlsError::AlertReceived(alert)), _) => {
            Stopped::failed(FailureKind::Tls, format_args!("TLS handshake refused by the target ({alert:?})"))
        }
        (Some(TlsError::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge)), _) => {
            let detail =
                "a message of the TLS handshake, such as the certificate chain, is longer than 64 KiB";
            Stopped::failed(FailureKind::Tls, detail)
        }
        (Some(TlsError::InvalidMessage(_)), _) => {
            Stopped::failed(FailureKind::Tls, "the target does not speak TLS on this port")
        }
        (Some(other), _) => Stopped::failed(FailureKind::Tls, format_args!("TLS handshake failed: {other}")),
        (None, io::ErrorKind::UnexpectedEof) => {
            Stopped::failed(FailureKind::Tls, "connection closed during the TLS handshake")
        }
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            Stopped::failed(FailureKind::Tls, "connection reset during the TLS handshake")
        }
        (None, _) => dial::refusal(error),
    }
}

/// What broken TLS means after the handshake: since TLS 1.3 a client certificate is refused only then.
pub(super) fn interrupted(error: &io::Error) -> Stopped {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::AlertReceived(alert)) => {
            Stopped::failed(FailureKind::Tls, format_args!("TLS refused by the target ({alert:?})"))
        }
        _ => Stopped::failed(FailureKind::Protocol, "the answer is broken TLS"),
    }
}

fn certificate_problem(problem: &CertificateError) -> String {
    let text = match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate for another name"
        }
        CertificateError::UnknownIssuer => "certificate from an unknown authority",
        CertificateError::Revoked => "certificate revoked",
        CertificateError::BadSignature => "certificate with a wrong signature",
        CertificateError::BadEncoding => "certificate cannot be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate for another purpose"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            return weak::signature_problem(signature_algorithm_id);
        }
        // Its own authority, which nobody trusts: what most tools make when asked for a self-signed certificate.
        other if is_authority_as_leaf(other) => "certificate from an unknown authority",
        other => {
            return weak::key_problem(other)
                .unwrap_or_else(|| format!("certificate cannot be used: {other}"));
        }
    };
    text.to_owned()
}

fn is_authority_as_leaf(problem: &CertificateError) -> bool {
    // rustls hands webpki's `CaUsedAsEndEntity` on as an opaque error, of which only the text can be seen.
    matches!(problem, CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity"))
}

/// Web PKI verification; besides, a certificate that stands in the file of further authorities is good for itself,
/// though it is marked as an authority. People monitor servers with self-signed certificates, and name them there.
#[derive(Debug)]
struct Verifier {
    web: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(extra_roots: Option<&[u8]>, provider: &Arc<CryptoProvider>) -> Result<Self, Untrusted> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let named = extra_roots.map(certificates).transpose()?.unwrap_or_default();
        for (index, certificate) in named.iter().enumerate() {
            roots.add(certificate.clone()).map_err(|error| unusable(index, &error))?;
        }
        let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .expect("there are roots and no revocation lists");
        Ok(Self { web, named })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
    let all = CertificateDer::pem_slice_iter(pem)
        .enumerate()
        .map(|(index, certificate)| certificate.map_err(|error| unusable(index, &error)))
        .collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err(Untrusted::Empty) } else { Ok(all) }
}

fn unusable(index: usize, problem: &dyn std::fmt::Display) -> Untrusted {
    Untrusted::Certificate { number: index + 1, problem: problem.to_string() }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.web.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(TlsError::InvalidCertificate(problem))
                if is_authority_as_leaf(&problem) && self.named.iter().any(|named| named == leaf) =>
            {
                verify_dates(leaf, now)?;
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let verified = self.web.verify_tls12_signature(message, leaf, signature);
        verified.map_err(|error| weak::explained(error, leaf))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let verified = self.web.verify_tls13_signature(message, leaf, signature);
        verified.map_err(|error| weak::explained(error, leaf))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web.supported_verify_schemes()
    }
}

fn verify_dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
