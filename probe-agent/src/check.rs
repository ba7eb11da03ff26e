//! One attempt at one check: a [`Check`] and a total time go in, a [`Finding`] comes out. Always: whatever the target
//! does, the attempt ends by its deadline, reads a bounded amount and never runs anything the target sends.
//!
//! What the *target* did wrong is [`Outcome::Fail`]; what kept *us* from measuring is [`Outcome::Error`] and never
//! counts against the target.
//!
//! One file for each kind of check: `Attempt` for what `model` says of it. They share the way to the target (`dial`,
//! `tls`), how much is read from it (`bounded`) and what is heard there (`expect`).

mod bounded;
mod capture;
mod dial;
mod dns;
mod expect;
mod grpc;
mod health;
mod http;
mod icmp;
mod mail;
mod policy;
mod proxy;
mod secrets;
mod tcp;
mod tls;
mod websocket;

#[cfg(test)]
mod zoo;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::http::response::Parts;
use model::check::assertion::Facts;
use model::check::{Options, Route};
use model::result::UNSUPPORTED;
use model::{
    Capabilities, Capability, Capture, Check, Failure, FailureKind, Handshake, HealthReport, Hop, Outcome,
    Phases, Timestamp,
};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

pub use icmp::{EchoStatistics, RoundTrips};
pub use policy::{AddressPolicy, Denied};
pub use proxy::{Exempt, InvalidProxy, Proxy};
pub use tls::{ClientCertificate, Untrusted, Unusable};

/// What an attempt found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How long the attempt took.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// Where the time went.
    pub phases: Phases,
    /// The final HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// The address that was connected to last.
    pub peer: Option<IpAddr>,
    /// The structured health report in the body, if there was one.
    pub health: Option<Box<HealthReport>>,
    /// Until when the target's certificate is valid, if it has shown one and somebody wants to know.
    pub certificate_ends: Option<Timestamp>,
    /// What was met on the way: of an attempt that failed, or that was to be looked at closely.
    pub capture: Option<Box<Capture>>,
    /// Where a connection was tried and none came about; port 0 where there are no ports.
    pub unreached: Option<SocketAddr>,
    /// What its last TLS handshake came to; only of an [examination](Checker::examine).
    pub tls: Option<Box<Handshake>>,
    /// What came of a series of echo requests.
    pub echo: Option<EchoStatistics>,
    /// Each request in order, the last one too, if there was a redirect; else none.
    pub hops: Vec<Hop>,
}

/// Runs checks. One per process: it holds the TLS configuration that all checks share.
#[derive(Debug)]
pub struct Checker {
    network: Network,
}

/// What an agent's configuration says of targets.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Where the agent may connect to.
    pub addresses: AddressPolicy,
    /// Further certificate authorities that checks trust (PEM).
    pub extra_roots: Option<Vec<u8>>,
    /// What the agent can show of itself, each under a name of its own.
    pub client_certificates: Vec<ClientCertificate>,
    /// What HTTP checks go through.
    pub proxy: Option<Proxy>,
    /// What the operator should know of it.
    pub warnings: Vec<String>,
}

/// The way to targets.
#[derive(Debug)]
struct Network {
    dialer: dial::Dialer,
    tls: tls::Tls,
    /// What HTTP checks go through.
    proxy: Option<Proxy>,
    /// The connections that checks keep.
    kept: http::Pool,
}

impl Network {
    /// What a check of this host goes through, if not directly.
    fn proxy_of(&self, host: &Host<&str>) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.serves(host))
    }
}

/// What this agent can do as its system is now. Finding out sends nothing.
#[must_use]
pub fn capabilities() -> Capabilities {
    let has = |capability: &Capability| match capability {
        Capability::Icmp => icmp::is_allowed(),
        Capability::Ipv6 => dial::has_ipv6_route(),
        _ => true,
    };
    Capability::ALL.into_iter().filter(has).collect()
}

/// A kind of check.
trait Attempt {
    /// Makes one attempt, noting in the trace what is to survive the deadline. `Ok` is a pass.
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped>;
}

impl Checker {
    /// A checker that connects where `policy` lets it and trusts the public authorities and those in `extra_roots`
    /// (PEM).
    ///
    /// # Errors
    /// When `extra_roots` holds no certificate, or one that cannot be used.
    pub fn new(policy: AddressPolicy, extra_roots: Option<&[u8]>) -> Result<Self, Untrusted> {
        let (dialer, tls) = (dial::Dialer::new(policy), tls::Tls::new(extra_roots)?);
        Ok(Self { network: Network { dialer, tls, proxy: None, kept: http::Pool::new() } })
    }

    /// A checker that does as an agent's configuration says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(targets: Targets) -> Result<Self, Untrusted> {
        let mut checker = Self::new(targets.addresses, targets.extra_roots.as_deref())?;
        for certificate in &targets.client_certificates {
            checker.network.tls.add_identity(certificate);
        }
        checker.network.proxy = targets.proxy;
        Ok(checker)
    }

    /// Runs one attempt that is asked for nothing besides. `None` stands for a kind of check that this build does not
    /// know.
    pub async fn run(&self, check: Option<&Check>, timeout: Duration) -> Finding {
        self.run_against(check, &Options::default(), timeout).await
    }

    /// Runs one attempt, of which `options` must hold.
    pub async fn run_against(&self, check: Option<&Check>, options: &Options, timeout: Duration) -> Finding {
        self.conduct(check, options, timeout, Trace::default()).await
    }

    /// As [`run_against`](Self::run_against), and looks closely: for what only a person wants to know, at some cost.
    pub async fn examine(&self, check: Option<&Check>, options: &Options, timeout: Duration) -> Finding {
        let trace = Trace { is_detailed: true, ..Trace::default() };
        self.conduct(check, options, timeout, trace).await
    }

    async fn conduct(
        &self,
        check: Option<&Check>,
        options: &Options,
        timeout: Duration,
        trace: Trace,
    ) -> Finding {
        let started = Instant::now();
        self.network.kept.sweep(started);
        let mut trace = Trace {
            route: options.route.clone(),
            target: check.map(|check| check.host().to_ascii_lowercase()).unwrap_or_default(),
            is_status_judged: options.judge_status(),
            timeout,
            kept: options.read_body().then(Vec::new),
            dates_certificate: options.date_certificate(),
            ..trace
        };
        let end = timeout_at(started + timeout, self.attempt(check, &mut trace)).await;
        let outcome = match end {
            Ok(Ok(())) => self.judge(options, &trace, started.elapsed()).map_or(Outcome::Pass, Outcome::Fail),
            Ok(Err(stopped)) => stopped.into(),
            Err(_) => trace.out_of_time(timeout).into(),
        };
        let outcome = if options.upside_down { upside_down(outcome) } else { outcome };
        let duration = started.elapsed();
        let is_told = trace.is_detailed || outcome.failure().is_some();
        let unreached = outcome.failure().and_then(|_| trace.unreached());
        let hops = trace.hops();
        let capture = is_told.then(|| capture::capture(&trace, &hops)).flatten();
        let Trace { phases, http_status, peer, health, certificate_ends, handshake: tls, echo, .. } = trace;
        // The last hop may have reached nobody.
        let peer = peer.or_else(|| hops.iter().rev().find_map(|hop| hop.peer));
        Finding {
            duration,
            outcome,
            phases,
            http_status,
            peer,
            health,
            certificate_ends,
            tls,
            echo,
            hops,
            capture,
            unreached,
        }
    }

    /// What does not hold of an attempt that went through.
    fn judge(&self, options: &Options, trace: &Trace, latency: Duration) -> Option<Failure> {
        let header = |name: &str| {
            let value = trace.answer.as_ref()?.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let facts = Facts {
            status: trace.http_status,
            header: &header,
            body: trace.kept.as_deref().unwrap_or_default(),
            latency,
            phases: trace.phases,
            certificate_days: self.network.tls.days_left(trace),
        };
        options.assertions.iter().find_map(|assertion| assertion.judge(&facts))
    }

    /// The rarer kinds keep their state apart: an attempt is as large as the largest kind in it, and is moved.
    async fn attempt(&self, check: Option<&Check>, trace: &mut Trace) -> Result<(), Stopped> {
        if let Some(name) = trace.route.client_certificate.as_deref()
            && !self.network.tls.has_identity(name)
        {
            return Err(Stopped::unmeasured(format_args!(
                "unsupported: this agent has no client certificate `{name}` (--client-certificate)"
            )));
        }
        match check {
            Some(Check::Http(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Tcp(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::Tls(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::Mail(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::Dns(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::Icmp(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::Grpc(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            Some(Check::WebSocket(check)) => Box::pin(check.attempt(&self.network, trace)).await,
            None => Err(Stopped::unmeasured(format_args!(
                "{UNSUPPORTED}this agent does not know this kind of check, or what it asks for: update it"
            ))),
        }
    }
}

impl Finding {
    /// The finding of an attempt that could not be made at all.
    #[must_use]
    pub fn unmeasured(why: &str) -> Self {
        Self {
            duration: Duration::ZERO,
            outcome: Stopped::unmeasured(why).into(),
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
            certificate_ends: None,
            capture: None,
            unreached: None,
            tls: None,
            echo: None,
            hops: vec![],
        }
    }
}

/// What an outcome is to somebody who wants the contrary. That nothing could be measured stays what it is.
fn upside_down(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Pass => Outcome::Fail(Failure::new(
            FailureKind::Body,
            "the check passes, and must not: it is upside down",
        )),
        Outcome::Fail(_) => Outcome::Pass,
        Outcome::Error(why) => Outcome::Error(why),
    }
}

/// A host as text.
fn host(text: &str) -> Host<&str> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Host::Ipv4(address),
        Ok(IpAddr::V6(address)) => Host::Ipv6(address),
        Err(_) => Host::Domain(text),
    }
}

/// What is known of an attempt so far; survives the deadline.
#[derive(Debug, Default)]
struct Trace {
    phases: Phases,
    http_status: Option<u16>,
    peer: Option<IpAddr>,
    health: Option<Box<HealthReport>>,
    certificate_ends: Option<Timestamp>,
    /// What came of a series of echo requests.
    echo: Option<EchoStatistics>,
    /// The total time.
    timeout: Duration,
    /// Whether all is noted that a person may want to know.
    is_detailed: bool,
    /// Whether somebody wants to know when the certificate ends.
    dates_certificate: bool,
    /// What the last TLS handshake came to, if all is noted.
    handshake: Option<Box<Handshake>>,
    /// How to get to the target.
    route: Route,
    /// The host that the check names; redirects may lead to others.
    target: String,
    /// Whether somebody else says which HTTP status is right.
    is_status_judged: bool,
    /// Where the target, or what it led to last, is.
    addresses: Vec<SocketAddr>,
    /// The head of the final answer.
    answer: Option<Parts>,
    /// How its body begins, or what else was said.
    beginning: capture::Beginning,
    /// Its body, if somebody wants it.
    kept: Option<Vec<u8>>,
    /// The requests that were redirected.
    left: Vec<Hop>,
    /// What is asked for at present, if a redirect led there.
    visited: Option<String>,
    /// The phases of the requests that were redirected.
    before: Phases,
    /// A definite wrong answer, once it is known: nothing that happens later makes it less wrong.
    wrong_answer: Option<Failure>,
    /// What has not come yet, in a few words.
    awaited: Option<String>,
    /// What the attempt is waiting for, if that is our delay and not the target's.
    held_up: Option<&'static str>,
    /// Whether a TLS session of an earlier check may be taken up.
    resumes: bool,
}

impl Trace {
    /// What the wrong answer, if there was one, makes of an attempt that went through.
    fn verdict(&mut self) -> Result<(), Stopped> {
        self.wrong_answer.take().map_or(Ok(()), |wrong| Err(Stopped::Failed(wrong)))
    }

    /// Where a connection was tried and none came about.
    fn unreached(&self) -> Option<SocketAddr> {
        let is_reached = self.phases.connect.is_some() || self.phases.first_byte.is_some();
        self.addresses.first().copied().filter(|_| !is_reached)
    }

    /// How to get to a host: the target, or one that it leads to.
    fn route_to(&self, host: &Host<&str>) -> Route {
        if self.route == Route::default() {
            return Route::default();
        }
        let is_target = host.to_string().trim_matches(['[', ']']) == self.target.trim_matches(['[', ']']);
        if is_target { self.route.clone() } else { Route { family: self.route.family, ..Route::default() } }
    }

    /// Notes a request that is redirected.
    fn leave(&mut self, url: &Url, status: u16) {
        let url = self.visited.take().unwrap_or_else(|| Hop::shown(url));
        let phases = self.phases.since(&self.before);
        self.left.push(Hop { url, status: Some(status), peer: self.peer.take(), phases });
        self.before = self.phases;
    }

    /// Notes what a redirect leads to.
    fn enter(&mut self, url: &Url) {
        self.visited = Some(Hop::shown(url));
    }

    /// All requests, if there was more than one.
    fn hops(&mut self) -> Vec<Hop> {
        let mut hops = std::mem::take(&mut self.left);
        hops.extend(self.visited.take().map(|url| Hop {
            url,
            status: self.http_status,
            peer: self.peer,
            phases: self.phases.since(&self.before),
        }));
        hops
    }

    fn out_of_time(&mut self, timeout: Duration) -> Stopped {
        if let Some(why) = self.held_up {
            return Stopped::unmeasured(why);
        }
        let awaited = self.awaited.take().map(|what| format!(" waiting for {what}")).unwrap_or_default();
        let late =
            || Failure::new(FailureKind::Timeout, format_args!("timeout after {}{awaited}", Span(timeout)));
        Stopped::Failed(self.wrong_answer.take().unwrap_or_else(late))
    }
}

/// Adds what a hop took to a phase.
fn add(phase: &mut Option<Duration>, started: Instant) {
    *phase = Some(phase.unwrap_or_default() + started.elapsed());
}

/// Why an attempt ended without a pass.
#[derive(Debug, PartialEq)]
enum Stopped {
    /// The target did not do what was asked.
    Failed(Failure),
    /// We could not measure.
    Unmeasured(String),
}

impl Stopped {
    fn failed(kind: FailureKind, detail: impl fmt::Display) -> Self {
        Self::Failed(Failure::new(kind, detail))
    }

    /// The agent lacks what the check needs.
    fn unsupported(lacking: Capability) -> Self {
        Self::unmeasured(format_args!("{UNSUPPORTED}this agent {}", lacking.lack()))
    }

    fn unmeasured(why: impl fmt::Display) -> Self {
        Self::Unmeasured(model::result::clean(&why.to_string(), Failure::MAX_DETAIL_CHARS))
    }
}

impl From<Stopped> for Outcome {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Failed(failure) => Self::Fail(failure),
            Stopped::Unmeasured(why) => Self::Error(why),
        }
    }
}

/// A span as people read it: `10 s`, `1.5 s`, `300 ms`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis @ 0..1_000 => write!(f, "{millis} ms"),
            millis if millis % 1_000 == 0 => write!(f, "{} s", millis / 1_000),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (millis, text) in [(10_000, "10 s"), (1_500, "1.5 s"), (300, "300 ms"), (60_000, "60 s")] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[tokio::test]
    async fn an_unknown_kind_of_check_is_our_fault_and_not_the_targets() {
        let checker = Checker::new(AddressPolicy::default(), None).unwrap();
        let finding = checker.run(None, Duration::from_secs(1)).await;
        assert!(matches!(finding.outcome, Outcome::Error(why) if why.starts_with(UNSUPPORTED)));
    }
}
