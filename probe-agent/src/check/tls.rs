//! TLS to a target: one shared configuration, one handshake per check, and what its failures mean; and the check that
//! asks for nothing else.

mod weak;

use std::io;
use std::sync::Arc;
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
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::{Attempt, Network, Stopped, Trace, add, dial, host};

const DAY_SECS: u64 = 86_400;

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
pub(super) struct Tls(TlsConnector);

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
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // Every check is a stranger's first visit: a resumed session would neither see nor time the certificate.
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands over a connection, timing it.
    pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: Host<&str>,
        stream: S,
        alpn: Alpn,
        trace: &mut Trace,
    ) -> Result<TlsStream<S>, Stopped> {
        let route = trace.route_to(&host);
        let host = route.server_name.as_deref().map_or(host, Host::Domain);
        let name = match host {
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(address)),
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| Stopped::unmeasured("the host name cannot be used with TLS"))?,
        };
        let started = Instant::now();
        let connecting = self.0.with_alpn(alpn.protocols()).connect(name, stream);
        let stream = connecting.await.map_err(|error| failure(&error))?;
        add(&mut trace.phases.tls, started);
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        trace.certificate_ends = leaf.and_then(end);
        Ok(stream)
    }

    /// Whole days until the certificate that was shown ends.
    pub(super) fn days_left(&self, trace: &Trace) -> Option<i32> {
        let left = trace.certificate_ends?.since(self.now()).as_secs() / DAY_SECS;
        Some(i32::try_from(left).unwrap_or(i32::MAX))
    }

    fn now(&self) -> Timestamp {
        let now = self.0.config().time_provider.current_time();
        Timestamp::from_secs(now.and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX))
    }

    /// Notes a certificate that ends within so many days as a wrong answer. 0: none does.
    pub(super) fn outlasts(&self, days: u16, trace: &mut Trace) {
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
        let Network { dialer, tls } = network;
        let stream = dialer.dial(host(&self.host), self.port, trace).await?;
        tls.handshake(host(&self.host), stream, Alpn::Unsaid, trace).await?;
        tls.outlasts(self.certificate_days, trace);
        trace.verdict()
    }
}

/// The end of a certificate's validity.
fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
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
