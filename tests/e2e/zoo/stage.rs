//! What all enclosures of the zoo are built with: scripted servers, and what a check of each is expected to say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use model::check::{Assertion, Extras, Options};
use model::{Check, HealthPolicy, MonitorId};
use proto::probe::convert::{Assignment, Role};
use proto::probe::v1 as wire;
use proto::probe::v1::FailureKind;
use support::Site;
use support::name_server::NameServer;
use support::process::Process;
use support::task::Task;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How often everything is checked.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// The deadline of whatever never comes to an end, short enough to be waited for.
const HASTE: Duration = Duration::from_secs(1);

/// Servers and targets.
#[derive(Debug, Default)]
pub(super) struct Stage {
    servers: Vec<Task>,
    pub(super) sites: Vec<Site>,
    pub(super) name_servers: Vec<NameServer>,
    pub(super) processes: Vec<Process>,
    pub(super) targets: Vec<Target>,
}

/// Something to check.
#[derive(Debug)]
pub(super) struct Target {
    /// What is odd about it.
    pub(super) name: &'static str,
    check: Check,
    options: Options,
    /// The deadline.
    pub(super) timeout: Duration,
    /// What a check may say, each of it precisely.
    expected: Vec<Said>,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    outcome: wire::Outcome,
    kind: FailureKind,
    detail: String,
}

impl Stage {
    /// Keeps something running as long as the zoo is open.
    pub(super) fn keep(&mut self, server: Task) {
        self.servers.push(server);
    }

    /// Hands every connection to `serve`.
    pub(super) async fn serve<F>(
        &mut self,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<SocketAddr>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        self.keep(Task::start(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(serve(stream));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }));
        Ok(address)
    }

    /// Says the same to everybody who has sent a request's head, and closes.
    pub(super) async fn answer(&mut self, answer: impl Into<Vec<u8>>) -> Result<SocketAddr> {
        let answer: Arc<[u8]> = answer.into().into();
        self.serve(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                head(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                part(stream).await;
            }
        })
        .await
    }

    /// Begins with `first` once it has read a request's head, and goes on with `more` as long as anybody listens.
    pub(super) async fn endless(
        &mut self,
        first: impl Into<Vec<u8>>,
        more: impl Into<Vec<u8>>,
        pause: Duration,
    ) -> Result<SocketAddr> {
        let (first, more): (Arc<[u8]>, Arc<[u8]>) = (first.into().into(), more.into().into());
        self.serve(move |mut stream| {
            let (first, more) = (Arc::clone(&first), Arc::clone(&more));
            async move {
                head(&mut stream).await;
                let _ = stream.write_all(&first).await;
                flood(&mut stream, &more, pause).await;
            }
        })
        .await
    }

    /// Adds a target, which passes unless its expectations are changed.
    pub(super) fn target(&mut self, name: &'static str, url: &str) -> Result<&mut Target> {
        let check = Check::from_target(url).with_context(|| format!("{name}: {url}"))?;
        self.targets.push(Target {
            name,
            check,
            options: Options::default(),
            timeout: INTERVAL,
            expected: vec![Said::passed()],
        });
        self.targets.last_mut().context("it was just added")
    }
}

impl Target {
    /// It fails, with exactly these words.
    pub(super) fn fails(&mut self, kind: FailureKind, detail: &str) -> &mut Self {
        self.expected = vec![Said::failed(kind, detail)];
        self
    }

    /// Besides what was expected so far, this may come of it.
    pub(super) fn or_fails(&mut self, kind: FailureKind, detail: &str) -> &mut Self {
        self.expected.push(Said::failed(kind, detail));
        self
    }

    /// It is not connected to.
    pub(super) fn denies(&mut self, address: &str) -> &mut Self {
        self.expected = vec![Said::denied(address)];
        self
    }

    /// Sometimes it is not connected to.
    pub(super) fn or_denies(&mut self, address: &str) -> &mut Self {
        self.expected.push(Said::denied(address));
        self
    }

    /// It goes on until the deadline, with exactly these words after that.
    pub(super) fn hangs(&mut self, awaited: &str) -> &mut Self {
        self.timeout = HASTE;
        self.fails(FailureKind::Timeout, &format!("timeout after 1 s{awaited}"))
    }

    /// This must be found in what it says.
    pub(super) fn expecting(&mut self, text: &str) -> &mut Self {
        let extras = Extras { expect: vec![text.to_owned()], ..self.check.extras() };
        assert_eq!(self.check.set_extras(extras), [], "{} can be expected something of", self.name);
        self
    }

    /// This must hold of what it says.
    pub(super) fn asserting(&mut self, expression: &str) -> Result<&mut Self> {
        self.options.assertions.push(Assertion::parse(expression)?);
        Ok(self)
    }

    /// What its health report means.
    pub(super) fn health(&mut self, policy: HealthPolicy) -> &mut Self {
        let Check::Http(http) = &mut self.check else { panic!("{} is not HTTP", self.name) };
        http.health = policy;
        self
    }

    /// As the monitor of this number, with its share of the interval.
    pub(super) fn assignment(&self, number: u32, of: u32) -> Assignment {
        Assignment {
            monitor: MonitorId::from_bytes(u128::from(number).to_be_bytes()),
            spec_revision: 1,
            check: Some(self.check.clone()),
            options: self.options.clone(),
            interval: INTERVAL,
            timeout: self.timeout,
            phase: INTERVAL / of * number,
            role: Role::Primary,
            check_now: false,
        }
    }

    /// What is wrong with a result.
    pub(super) fn objection(&self, result: &wire::Result, margin: Duration) -> Option<String> {
        let said = Said::of(result);
        let took = Duration::from_micros(result.duration_us);
        if !self.expected.contains(&said) {
            return Some(format!("{}: said {said:?}, not {:?}", self.name, self.expected));
        }
        let limit = self.timeout + margin;
        (took > limit).then(|| format!("{}: took {took:?}, more than {limit:?}", self.name))
    }
}

impl Said {
    /// What a result says.
    pub(super) fn of(result: &wire::Result) -> Self {
        Self { outcome: result.outcome(), kind: result.failure_kind(), detail: result.detail.clone() }
    }

    fn passed() -> Self {
        Self { outcome: wire::Outcome::Pass, kind: FailureKind::Unspecified, detail: String::new() }
    }

    fn failed(kind: FailureKind, detail: &str) -> Self {
        Self { outcome: wire::Outcome::Fail, kind, detail: detail.to_owned() }
    }

    fn denied(address: &str) -> Self {
        let detail = format!("address {address} is not allowed by this agent's configuration");
        Self { outcome: wire::Outcome::Error, kind: FailureKind::Unspecified, detail }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = match self.outcome {
            wire::Outcome::Pass => return f.write_str("pass"),
            wire::Outcome::Fail => "fail",
            wire::Outcome::Error => "error",
            wire::Outcome::Unspecified => "?",
        };
        write!(f, "{outcome}: {}", self.detail)
    }
}

/// Reads a request's head.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Says the same again and again, as long as anybody listens.
pub(super) async fn flood(stream: &mut TcpStream, more: &[u8], pause: Duration) {
    while stream.write_all(more).await.is_ok() {
        // Also without a pause: a flood must not keep others from being served.
        tokio::time::sleep(pause).await;
    }
}

/// Ends without what was not read resetting the connection.
pub(super) async fn part(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Says nothing, until the other side has gone.
pub(super) async fn silence(mut stream: TcpStream) {
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Ends as a crash does: with a reset.
pub(super) fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
    drop(stream);
}
