//! The connection to the coordinator: HTTP/2 in the clear (`http://`) or under TLS (`https://`).
//!
//! In: a [`Server`]. Out: an [`Api`] to make clients from, whose every request carries the key and the deadline. TLS is
//! rustls under tonic's transport, as everywhere in Vigilmon; tonic's own stays off. Pings, which are plain HTTP/1.1, share
//! [`open`].

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use model::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::exit::{Exit, Failure};

/// What the admin API is spoken in.
pub(crate) const HTTP2: &[u8] = b"h2";
/// What pings are sent in; a server that negotiates nothing speaks it.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// Where the coordinator is and how to be let in.
#[derive(Debug)]
pub(crate) struct Server {
    /// `http://host:port` or `https://host:port`.
    pub(crate) url: String,
    /// The bearer key; without one the coordinator decides what may be seen.
    pub(crate) api_key: Option<Secret<String>>,
    /// Certificates to trust besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// For the connection, and again for each answer.
    pub(crate) timeout: Duration,
}

/// What clients of the admin API are made from.
pub(crate) type Api = InterceptedService<Channel, Entry>;

/// Puts the key and the deadline on each request.
#[derive(Clone)]
pub(crate) struct Entry {
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Interceptor for Entry {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.set_timeout(self.timeout);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// Connects.
///
/// # Errors
/// Usage when the URL, the key or the certificate file is unfit; unavailable or timeout when nobody answers.
pub(crate) async fn connect(server: &Server) -> Result<Api, Failure> {
    let uri = server_uri(&server.url)?;
    let entry = Entry { authorization: authorization(server.api_key.as_ref())?, timeout: server.timeout };
    let tls = match uri.scheme_str() {
        Some("https") => Some(tls_connector(server.ca_file.as_deref(), HTTP2)?),
        _ => None,
    };
    let connector = tower::service_fn(move |uri| open(uri, tls.clone()));
    let endpoint = Endpoint::from(uri).http2_adaptive_window(true);
    let channel = tokio::time::timeout(server.timeout, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| Failure::new(Exit::Timeout, format!("{} did not answer in time", server.url)))?
        .map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot reach {}: {}", server.url, root_cause(&error)))
        })?;
    Ok(InterceptedService::new(channel, entry))
}

fn server_uri(url: &str) -> Result<Uri, Failure> {
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    uri.ok_or_else(|| {
        Failure::usage(format!("--server: `{url}` is no address: use http://host:port or https://host:port"))
    })
}

fn authorization(key: Option<&Secret<String>>) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    key.map(|key| {
        let mut value = MetadataValue::try_from(format!("Bearer {}", key.expose()))
            .map_err(|_| Failure::usage("the API key holds characters that no key has"))?;
        value.set_sensitive(true);
        Ok(value)
    })
    .transpose()
}

/// What speaks TLS, and above it `protocol` ([`HTTP2`] or [`HTTP1`]).
///
/// # Errors
/// Usage when the certificate file is unfit.
pub(crate) fn tls_connector(ca_file: Option<&Path>, protocol: &[u8]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca_file {
        let unfit =
            |error: &dyn Error| Failure::usage(format!("--ca-file: cannot use {}: {error}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unfit(&error))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unfit(&error))?;
            roots.add(certificate).map_err(|error| unfit(&error))?;
        }
        if roots.len() == before {
            return Err(unfit(&io::Error::other("there is no certificate in it")));
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(Exit::Negative, format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A byte stream, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the host of a URL, with TLS if there is a connector for it.
///
/// # Errors
/// When nobody answers there, or not in the protocol that was asked for.
pub(crate) async fn open(uri: Uri, tls: Option<TlsConnector>) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let bracketed = uri.host().unwrap_or_default();
    let host = bracketed.trim_start_matches('[').trim_end_matches(']');
    let default_port = if tls.is_some() { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(TokioIo::new(Box::new(tcp))) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tls.connect(name, tcp).await?;
    let wants_http2 = tls.config().alpn_protocols.iter().any(|protocol| protocol == HTTP2);
    if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(io::Error::other("the server does not speak HTTP/2"));
    }
    Ok(TokioIo::new(Box::new(stream)))
}

/// The innermost message: the outer ones only say that connecting failed.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
