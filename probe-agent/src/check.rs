//! One attempt at one check: a [`Check`] and a total time go in, a [`Finding`] comes out. Always: whatever the target
//! does, the attempt ends by its deadline, reads a bounded amount and never runs anything the target sends.
//!
//! What the *target* did wrong is [`Outcome::Fail`]; what kept *us* from measuring is [`Outcome::Error`] and never
//! counts against the target.
//!
//! One file for each kind of check: `Attempt` for what `model` says of it. They share the way to the target (`dial`,
//! `tls`), how much is read from it (`bounded`) and what is heard there (`expect`).

mod bounded;
mod dial;
mod dns;
mod expect;
mod grpc;
mod health;
mod http;
mod icmp;
mod mail;
mod policy;
mod tcp;
mod tls;
mod websocket;

#[cfg(test)]
mod zoo;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ::http::HeaderMap;
use model::check::assertion::Facts;
use model::check::{Options, Route};
use model::result::UNSUPPORTED;
use model::{
    Capabilities, Capability, Check, Failure, FailureKind, HealthReport, Outcome, Phases, Timestamp,
};
use tokio::time::{Instant, timeout_at};
use url::Host;

pub use policy::{AddressPolicy, Denied};
pub use tls::Untrusted;

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
    /// Until when the target's certificate is valid, if it has shown one.
    pub certificate_ends: Option<Timestamp>,
}

/// Runs checks. One per process: it holds the TLS configuration that all checks share.
#[derive(Debug)]
pub struct Checker {
    network: Network,
}

/// The way to targets.
#[derive(Debug)]
struct Network {
    dialer: dial::Dialer,
    tls: tls::Tls,
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
        Ok(Self { network: Network { dialer: dial::Dialer::new(policy), tls: tls::Tls::new(extra_roots)? } })
    }

    /// Runs one attempt that is asked for nothing besides. `None` stands for a kind of check that this build does not
    /// know.
    pub async fn run(&self, check: Option<&Check>, timeout: Duration) -> Finding {
        self.run_against(check, &Options::default(), timeout).await
    }

    /// Runs one attempt, of which `options` must hold.
    pub async fn run_against(&self, check: Option<&Check>, options: &Options, timeout: Duration) -> Finding {
        let started = Instant::now();
        let mut trace = Trace {
            route: options.route.clone(),
            target: check.map(|check| check.host().to_ascii_lowercase()).unwrap_or_default(),
            is_status_judged: options.judge_status(),
            headers: (!options.assertions.is_empty()).then(HeaderMap::new),
            kept: options.read_body().then(Vec::new),
            ..Trace::default()
        };
        let end = timeout_at(started + timeout, self.attempt(check, &mut trace)).await;
        let outcome = match end {
            Ok(Ok(())) => self.judge(options, &trace, started.elapsed()).map_or(Outcome::Pass, Outcome::Fail),
            Ok(Err(stopped)) => stopped.into(),
            Err(_) => trace.out_of_time(timeout).into(),
        };
        let outcome = if options.upside_down { upside_down(outcome) } else { outcome };
        let Trace { phases, http_status, peer, health, certificate_ends, .. } = trace;
        Finding { duration: started.elapsed(), outcome, phases, http_status, peer, health, certificate_ends }
    }

    /// What does not hold of an attempt that went through.
    fn judge(&self, options: &Options, trace: &Trace, latency: Duration) -> Option<Failure> {
        let header = |name: &str| {
            let value = trace.headers.as_ref()?.get(name)?;
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

    async fn attempt(&self, check: Option<&Check>, trace: &mut Trace) -> Result<(), Stopped> {
        match check {
            Some(Check::Http(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Tcp(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Tls(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Mail(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Dns(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Icmp(check)) => check.attempt(&self.network, trace).await,
            Some(Check::Grpc(check)) => check.attempt(&self.network, trace).await,
            Some(Check::WebSocket(check)) => check.attempt(&self.network, trace).await,
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
    /// How to get to the target.
    route: Route,
    /// The host that the check names; redirects may lead to others.
    target: String,
    /// Whether somebody else says which HTTP status is right.
    is_status_judged: bool,
    /// The headers of the final answer, if somebody wants them.
    headers: Option<HeaderMap>,
    /// Its body, if somebody wants it.
    kept: Option<Vec<u8>>,
    /// A definite wrong answer, once it is known: nothing that happens later makes it less wrong.
    wrong_answer: Option<Failure>,
    /// What has not come yet, in a few words.
    awaited: Option<String>,
    /// Whether the attempt is waiting for its turn at the resolver, which is our delay, not the target's.
    is_queued: bool,
}

impl Trace {
    /// What the wrong answer, if there was one, makes of an attempt that went through.
    fn verdict(&mut self) -> Result<(), Stopped> {
        self.wrong_answer.take().map_or(Ok(()), |wrong| Err(Stopped::Failed(wrong)))
    }

    /// How to get to a host: the target, or one that it leads to.
    fn route_to(&self, host: &Host<&str>) -> Route {
        let is_target = host.to_string().trim_matches(['[', ']']) == self.target.trim_matches(['[', ']']);
        if is_target { self.route.clone() } else { Route { family: self.route.family, ..Route::default() } }
    }

    fn out_of_time(&mut self, timeout: Duration) -> Stopped {
        if self.is_queued {
            return Stopped::unmeasured("the agent's name resolution is overloaded");
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
