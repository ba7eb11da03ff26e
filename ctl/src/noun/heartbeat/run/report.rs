//! Pings of a run: each one request of HTTP/1.1 on a connection of its own, repeated within bounds.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use model::{SystemRandom, random};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::output::Kept;
use crate::connect::{HTTP1, open, root_cause, tls_connector};
use crate::exit::Failure;
use crate::output::say;

/// For one attempt, from the connection to the answer.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between attempts double from the first to the last of these; `Retry-After` is heeded up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It has begun.
    Start,
    /// It is still running.
    Log,
    /// It has ended.
    Exit(u8),
}

impl Report {
    fn suffix(self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Log => "log".to_owned(),
            Self::Exit(code) => code.to_string(),
        }
    }
}

/// Tells one heartbeat of one run.
pub(super) struct Reporter {
    url: Uri,
    run_id: String,
    tls: Option<TlsConnector>,
    /// No further attempt at a report begins after so long: a job must end.
    retry_for: Duration,
    quiet: bool,
}

/// Why a report was not taken.
struct Refused {
    why: String,
    /// Whether it may be taken later, and after how long at the earliest.
    again: Option<Duration>,
}

impl Reporter {
    /// For a ping URL, with a fresh run id. The messages never repeat the URL: its path is a secret.
    ///
    /// # Errors
    /// Usage when the URL or the certificate file is unfit.
    pub(super) fn new(
        url: &str,
        ca_file: Option<&Path>,
        retry_for: Duration,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let url = url.trim().parse::<Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        });
        let url = url.ok_or_else(|| {
            Failure::usage("--url or VIGILMON_PING_URL: must be the URL that `heartbeat create` printed")
        })?;
        let tls = match url.scheme_str() {
            Some("https") => Some(tls_connector(ca_file, HTTP1)?),
            _ => None,
        };
        let run_id = uuid::Builder::from_random_bytes(random::bytes(&SystemRandom)).into_uuid().to_string();
        Ok(Self { url, run_id, tls, retry_for, quiet })
    }

    /// Tells of the start, and then every `interval` that the run goes on, until it is over.
    pub(super) async fn accompany(
        &self,
        interval: Option<Duration>,
        kept: &RefCell<Kept>,
        mut is_over: watch::Receiver<bool>,
    ) {
        self.try_until(Report::Start, b"", async || is_over.wait_for(|is_over| *is_over).await.is_ok()).await;
        let Some(interval) = interval.filter(|interval| !interval.is_zero()) else { return };
        while tokio::time::timeout(interval, is_over.wait_for(|is_over| *is_over)).await.is_err() {
            let recent = kept.borrow().recent();
            if let Err(refused) = self.tell(Report::Log, &recent).await {
                self.complain(&format!("/log: {}", refused.why));
            }
        }
    }

    /// Tells of the end, however long that takes within bounds.
    pub(super) async fn insist(&self, report: Report, body: &[u8]) {
        self.try_until(report, body, std::future::pending).await;
    }

    /// Says what went wrong, unless nobody wants to know.
    pub(super) fn complain(&self, what: &str) {
        if !self.quiet {
            say(&format!("vigilctl: heartbeat: {what}"));
        }
    }

    /// Tries until it is told, cannot be, or `over` ends a pause.
    async fn try_until(&self, report: Report, body: &[u8], mut over: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + self.retry_for;
        let mut pause = PAUSES.0;
        loop {
            let Err(refused) = self.tell(report, body).await else { return };
            let what = format!("/{}: {}", report.suffix(), refused.why);
            let Some(at_least) = refused.again else { return self.complain(&what) };
            let wait = pause.max(at_least).min(PAUSES.1);
            if Instant::now() + wait >= end {
                return self.complain(&format!("{what}; given up"));
            }
            self.complain(&format!("{what}; trying again in {} s", wait.as_secs()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = over() => return,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Sends one ping.
    async fn tell(&self, report: Report, body: &[u8]) -> Result<(), Refused> {
        let passing = |why: String| Refused { why, again: Some(Duration::ZERO) };
        let answer = tokio::time::timeout(ATTEMPT_LIMIT, self.ask(report, body));
        let answer = answer.await.map_err(|_| passing("no answer in time".to_owned()))?;
        let (status, retry_after) = answer.map_err(passing)?;
        let again = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Some(retry_after),
            status if status.is_server_error() => Some(retry_after),
            status if status.is_success() => return Ok(()),
            _ => None,
        };
        Err(Refused { why: format!("answered {status}"), again })
    }

    async fn ask(&self, report: Report, body: &[u8]) -> Result<(StatusCode, Duration), String> {
        let stream = open(self.url.clone(), self.tls.clone())
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let lost = |error: hyper::Error| root_cause(&error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(lost)?;
        let request = Request::post(target(&self.url, &report.suffix(), &self.run_id))
            .header(HOST, self.url.authority().map_or("", |authority| authority.as_str()))
            .header(USER_AGENT, concat!("vigilctl/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|error| error.to_string())?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(lost)?;
            let status = answer.status();
            let seconds =
                answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            // Read to its end, so that the server does not see a connection break off.
            drop(answer.into_body().collect().await);
            Ok((status, Duration::from_secs(seconds.unwrap_or(0))))
        };
        // The connection ends by itself once the sender is gone; why it broke off the exchange says.
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }
}

/// The path and query of a report: the URL's own query stays, such as `?create=1`.
fn target(url: &Uri, suffix: &str, run_id: &str) -> String {
    let path = url.path().trim_end_matches('/');
    let query = url.query().map_or(String::new(), |query| format!("{query}&"));
    format!("{path}/{suffix}?{query}rid={run_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_suffix_of_the_path_and_keeps_the_query() {
        for (url, expected) in [
            ("http://h/api/heartbeat/T", "/api/heartbeat/T/start?rid=R"),
            ("http://h/ping/key/slug/?create=1", "/ping/key/slug/start?create=1&rid=R"),
        ] {
            assert_eq!(target(&url.parse().unwrap(), &Report::Start.suffix(), "R"), expected);
        }
        assert_eq!(Report::Exit(255).suffix(), "255");
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_repeating_it() {
        for url in ["", "secret", "ftp://host/secret", "http:///secret", "unix:secret"] {
            let failure = Reporter::new(url, None, Duration::ZERO, true).err().unwrap().to_string();
            assert!(failure.contains("VIGILMON_PING_URL") && !failure.contains("secret"), "{failure}");
        }
    }
}
