//! TLS to the coordinator, which is known by the fingerprint of its certificate: the one in the agent's token. No
//! authority is asked, so a self-made certificate is as good as a bought one, and a bought one for the same name is
//! not.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use url::Url;

/// Time for the connection and both handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections to one coordinator.
pub(crate) struct Dial {
    host: String,
    port: u16,
    tls: TlsConnector,
}

/// Why the coordinator cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Connect(io::Error),
    #[error(
        "the certificate at the coordinator's address is not the one in the agent's token: another server, or the \
         coordinator has a new certificate and the agent needs a new token"
    )]
    WrongCertificate,
    #[error("{0}")]
    Http2(tonic::transport::Error),
}

impl Dial {
    pub(crate) fn new(coordinator: &Url, fingerprint: [u8; 32]) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            host: coordinator.host_str().unwrap_or_default().to_owned(),
            port: coordinator.port_or_known_default().unwrap_or(443),
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A gRPC channel over one fresh connection; it does not reconnect by itself.
    pub(crate) async fn connect(&self) -> Result<Channel, Unreachable> {
        timeout(CONNECT_TIMEOUT, self.open()).await.unwrap_or(Err(Unreachable::Timeout))
    }

    async fn open(&self) -> Result<Channel, Unreachable> {
        let stream = self.secure().await.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
            match cause {
                Some(TlsError::InvalidCertificate(_)) => Unreachable::WrongCertificate,
                _ => Unreachable::Connect(error),
            }
        })?;
        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or(io::ErrorKind::NotConnected).map_err(io::Error::from))
        });
        // The scheme is `http` because TLS is ours: tonic would refuse to connect an `https` URI without its own.
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", self.host, self.port))
            .map_err(Unreachable::Http2)?;
        endpoint.connect_with_connector(once).await.map_err(Unreachable::Http2)
    }

    async fn secure(&self) -> io::Result<TlsStream<TcpStream>> {
        let bare = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((bare, self.port)).await?;
        stream.set_nodelay(true)?;
        let name = match bare.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?,
        };
        self.tls.connect(name, stream).await
    }
}

/// Accepts the one certificate with this fingerprint, from whoever can sign with its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if Sha256::digest(leaf).as_slice() == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
