//! Where agents connect: TLS 1.3 with a certificate made at first start, HTTP/2 inside, nothing else served.
//!
//! The certificate is trusted by its fingerprint, which travels inside each agent's token; names and dates in it mean
//! nothing.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::Secret;
use proto::probe::v1::probe_service_server::ProbeServiceServer;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::data_dir::DataDir;
use crate::lifecycle::{Supervisor, Task};
use crate::session;

/// The file in the data directory that holds certificate and key.
const IDENTITY_FILE: &str = "agent-listener.pem";
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may go without an accepted session after the handshake.
const SESSION_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to end after it was told to.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Connections at once.
const MAX_CONNECTIONS: usize = 20_000;
/// Bytes of one message of an agent.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The only call with a long body, and bytes of the body of any other.
const SESSION_PATH: &str = "/vigilmon.probe.v1.ProbeService/Session";
const MAX_BODY_BYTES: usize = 4 << 10;

/// The listener's certificate and key.
pub struct Identity {
    tls: Arc<ServerConfig>,
    /// SHA-256 of the certificate's DER form.
    pub fingerprint: [u8; 32],
}

/// Reads the identity, or makes it at first start.
///
/// # Errors
/// When the file cannot be read, made or understood.
pub fn identity(data: &DataDir) -> anyhow::Result<Identity> {
    let pem = match data.read_secret(IDENTITY_FILE)? {
        Some(pem) => pem,
        None => {
            let key = KeyPair::generate()?;
            let certificate =
                CertificateParams::new(vec!["vigilmon-coordinator".into()])?.self_signed(&key)?;
            let pem = Secret::new(certificate.pem() + &key.serialize_pem());
            data.write_secret(IDENTITY_FILE, &pem)?;
            pem
        }
    };
    let understood = "it must hold a certificate and its key in PEM form; delete it to have a new one made (agents then need new tokens)";
    let certificate = CertificateDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|error| anyhow::anyhow!("{IDENTITY_FILE}: {error}: {understood}"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|error| anyhow::anyhow!("{IDENTITY_FILE}: {error}: {understood}"))?;
    let fingerprint = Sha256::digest(&certificate).into();
    let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Identity { tls: Arc::new(tls), fingerprint })
}

/// Accepts agents until told to drain.
pub async fn serve(
    listener: TcpListener,
    identity: Identity,
    service: session::Service,
    supervisor: Supervisor,
) {
    let acceptor = TlsAcceptor::from(identity.tls);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let service = ProbeServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(64 << 20);
    let routes = tonic::service::Routes::new(service).prepare();
    loop {
        let accepted = tokio::select! {
            () = supervisor.drain().cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                warn!(%error, "cannot accept an agent");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, routes, drain) = (acceptor.clone(), routes.clone(), supervisor.drain().clone());
        supervisor.spawn(Task::Connection, async move {
            if let Err(error) = serve_one(stream, acceptor, routes, drain).await {
                debug!(%error, "an agent's connection ended");
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// Serves until the agent leaves, the drain begins, or no session comes.
async fn serve_one(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    routes: tonic::service::Routes,
    drain: CancellationToken,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::select! {
        () = drain.cancelled() => return Ok(()),
        stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => stream??,
    };
    let opened = session::Opened::default();
    let mark = opened.clone();
    let routes = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(mark.clone());
        bounded(request)
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(16)
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_header_list_size(8 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(2 << 20)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = drain.cancelled() => {}
        () = without_session(&opened) => debug!("an agent's connection has no session: it is closed"),
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(END_PATIENCE, connection).await??;
    Ok(())
}

/// Bounds what is read before anybody knows who asks: a session looks at the credential first, any other call at the
/// whole message.
fn bounded<B>(request: http::Request<B>) -> http::Request<Either<B, Limited<B>>> {
    let is_session = request.uri().path() == SESSION_PATH;
    request.map(|body| {
        if is_session { Either::Left(body) } else { Either::Right(Limited::new(body, MAX_BODY_BYTES)) }
    })
}

/// Ends when no session was opened for too long; otherwise not at all.
async fn without_session(opened: &session::Opened) {
    tokio::time::sleep(SESSION_PATIENCE).await;
    if opened.is_marked() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn only_a_session_may_have_a_long_body() {
        const JOIN_PATH: &str = "/vigilmon.probe.v1.ProbeService/Join";
        for (path, bytes, is_read) in [
            (JOIN_PATH, MAX_BODY_BYTES, true),
            (JOIN_PATH, MAX_BODY_BYTES + 1, false),
            (SESSION_PATH, MAX_MESSAGE_BYTES, true),
        ] {
            let request = http::Request::post(path).body(Full::new(Bytes::from(vec![0; bytes]))).unwrap();
            let read = bounded(request).into_body().collect().await;
            assert_eq!(read.is_ok(), is_read, "{path}: {bytes} bytes");
        }
    }

    #[test]
    fn a_session_is_known_by_its_path() {
        let service = proto::probe::v1::probe_service_server::SERVICE_NAME;
        assert_eq!(SESSION_PATH, format!("/{service}/Session"));
    }
}
