//! One HTTP request on one connection.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::task::Task;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

/// GETs a URL.
///
/// # Errors
/// When no answer arrives.
pub async fn get(url: &str) -> Result<Answer> {
    send("GET", url, &[], Vec::new()).await
}

/// POSTs a body to a URL.
///
/// # Errors
/// When no answer arrives.
pub async fn post(url: &str, body: impl Into<Vec<u8>>) -> Result<Answer> {
    send("POST", url, &[], body.into()).await
}

/// Sends a request with headers and a body.
///
/// # Errors
/// When no answer arrives.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    tokio::time::timeout(LIMIT, exchange(method, url, headers, body))
        .await
        .with_context(|| format!("no answer from {url} within {LIMIT:?}"))?
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    let url = Url::parse(url)?;
    let host = url.host_str().context("a host")?;
    let port = url.port_or_known_default().context("a port")?;
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = Task::start(connection);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::builder().method(method).uri(target).header("host", format!("{host}:{port}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = answer.status().as_u16();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = answer.into_body().collect().await?.to_bytes().to_vec();
    Ok(Answer { status, headers, body })
}
