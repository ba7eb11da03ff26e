//! What a handshake shows to whoever looks closely. A verifier of its own notes what the server sends, so that the chain
//! is known of a handshake that fails for it, and so that nothing is kept of one that nobody looks at.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use model::Timestamp;
use model::handshake::{Certificate, Handshake};
use model::result::clean;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, ProtocolVersion,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

/// What a server sends of itself during one handshake.
#[derive(Debug)]
pub(super) struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    chain_length: usize,
    is_stapled: bool,
}

impl Witness {
    /// A connector that does as another one and has `verifier`'s verdicts witnessed.
    pub(super) fn new(
        config: &ClientConfig,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> (Arc<Self>, TlsConnector) {
        let witness = Arc::new(Self { verifier, seen: Mutex::default() });
        let mut config = config.clone();
        config.dangerous().set_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
        (witness, TlsConnector::from(Arc::new(config)))
    }

    /// What there is to tell; `connection` if the handshake went through.
    pub(super) fn tell(&self, connection: Option<&ClientConnection>) -> Handshake {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let suite = connection.and_then(|connection| connection.negotiated_cipher_suite());
        let alpn = connection.and_then(|connection| connection.alpn_protocol());
        Handshake {
            version: connection.and_then(|connection| connection.protocol_version()).map(version),
            cipher: suite.map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")),
            alpn: alpn.map(|alpn| clean(&String::from_utf8_lossy(alpn), Certificate::MAX_CHARS)),
            is_stapled: seen.is_stapled,
            chain: seen.chain.iter().filter_map(summary).collect(),
            chain_length: u32::try_from(seen.chain_length).unwrap_or(u32::MAX),
        }
    }
}

fn version(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

fn summary(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let instant = |at: x509_parser::time::ASN1Time| Timestamp::from_secs(at.timestamp());
    let validity = certificate.validity();
    Some(Certificate {
        subject: text(certificate.subject()),
        issuer: text(certificate.issuer()),
        names: names(&certificate),
        not_before: instant(validity.not_before),
        not_after: instant(validity.not_after),
    })
}

fn text(name: &X509Name<'_>) -> String {
    clean(&name.to_string(), Certificate::MAX_CHARS)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return vec![] };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(clean(name, Certificate::MAX_CHARS)),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).take(Certificate::MAX_NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let chain = std::iter::once(leaf).chain(intermediates).take(Handshake::MAX_CHAIN);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
            chain: chain.map(|certificate| certificate.clone().into_owned()).collect(),
            chain_length: 1 + intermediates.len(),
            is_stapled: !ocsp.is_empty(),
        };
        self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
