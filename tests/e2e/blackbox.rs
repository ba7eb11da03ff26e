//! The same real servers seen by `vigilmon-agent check` and by Prometheus' blackbox exporter, both without privileges:
//! they agree on what is well, on statuses, on where the time goes and on when certificates end. Where they differ on
//! purpose, that is said.

mod scripted;
mod servers;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use model::Timestamp;
use scripted::WAIT;
use serde_json::Value;
use servers::Servers;
use support::blackbox::{self, Exporter, Probe};
use support::namespace::{self, Network};
use support::{Scratch, environment, nginx, unprivileged};

/// How far two measurements of one server may be apart on a busy machine.
const NOISE: Duration = Duration::from_millis(100);
/// How often two measurements that are further apart are made again: noise is not systematic.
const TRIES: usize = 5;

/// What both are asked, and whether they are to agree.
struct Case {
    name: &'static str,
    /// How the agent is asked.
    arguments: Vec<String>,
    /// How the exporter is asked.
    module: &'static str,
    target: String,
    expected: Expected,
}

/// What is to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It passes with both.
    Pass,
    /// It fails with both.
    Fail,
    /// Only the exporter lets it pass, for this reason.
    FailHere(&'static str),
}

#[test]
fn both_see_the_same_in_the_same_servers() -> Result<()> {
    let Some(exporter) = blackbox::installed() else {
        return environment::skip("blackbox", "prometheus-blackbox-exporter is not installed");
    };
    if !nginx::is_installed() {
        return environment::skip("blackbox", "nginx is not installed");
    }
    if !namespace::is_possible() {
        return environment::skip("blackbox", "network namespaces cannot be made (needs root and iproute2)");
    }
    Network::start(&["servers"])?.enter("servers", |_network| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(compare(exporter))
    })?
}

async fn compare(exporter: PathBuf) -> Result<()> {
    let servers = Servers::start().await?;
    let exporter = Exporter::start(&exporter, &servers.modules()).await?;
    let agent = Agent::new(servers.authority.clone())?;
    let mut wrong = vec![];
    for case in servers.cases() {
        let (ours, theirs) = (agent.check(&case).await?, exporter.probe(case.module, &case.target).await?);
        let found = (ours.passed(), theirs.succeeded()?);
        let expected = match case.expected {
            Expected::Pass => (true, true),
            Expected::Fail => (false, false),
            Expected::FailHere(_) => (false, true),
        };
        println!("{:<40} agent {:<60} exporter {}", case.name, ours.summary(), found.1);
        if found != expected {
            wrong.push(format!("{}: {found:?}, expected {:?}: {ours:?}", case.name, case.expected));
        }
        if found.0 == found.1 {
            wrong.extend(difference(case.name, &ours, &theirs));
        }
    }
    wrong.extend(timing(&servers, &agent, &exporter).await?);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    certificate_ends(&servers, &agent, &exporter).await
}

/// Whether both say the same of the final status.
fn difference(name: &str, ours: &Found, theirs: &Probe) -> Option<String> {
    // The exporter's 0 is none, and a redirect that it gave up on is not final.
    let is_final = |status: &f64| *status > 0.0 && !(300.0..400.0).contains(status);
    let theirs = theirs.value("probe_http_status_code").filter(is_final)?;
    let ours = ours.0["http_status"].as_f64();
    (ours != Some(theirs)).then(|| format!("{name}: the agent saw status {ours:?}, the exporter {theirs}"))
}

/// Where the time goes: to a server that waits before its first byte, and before its last.
async fn timing(servers: &Servers, agent: &Agent, exporter: &Exporter) -> Result<Option<String>> {
    let url = servers.slow();
    let mut told = None;
    for _ in 0..TRIES {
        let ours = agent.check(&Case::http("slow", &url, Expected::Pass)).await?;
        let theirs = exporter.probe("http", &url).await?;
        told = None;
        for (phase, name, least) in
            [("connect", "connect", 0), ("first_byte", "processing", 1), ("body", "transfer", 1)]
        {
            let metric = format!("probe_http_duration_seconds{{phase=\"{name}\"}}");
            let theirs = theirs.value(&metric).context(metric)?;
            let ours = ours.phase(phase).with_context(|| format!("no {phase} in {ours:?}"))?;
            println!("slow: {phase} {ours:.3} s, exporter's {name} {theirs:.3} s");
            ensure!(ours >= WAIT.as_secs_f64() * f64::from(least), "{phase} took only {ours} s");
            if (ours - theirs).abs() > NOISE.as_secs_f64() {
                told = Some(format!("{phase} took {ours} s here and {theirs} s there"));
            }
        }
        if told.is_none() {
            break;
        }
    }
    Ok(told)
}

/// To the second. Where a server shows other certificates besides its own, the agent tells when its own ends, because
/// what of a chain matters differs from client to client; the exporter tells the first end of all that are shown.
async fn certificate_ends(servers: &Servers, agent: &Agent, exporter: &Exporter) -> Result<()> {
    for (case, are_equal) in [(servers.trusted(), true), (servers.with_a_relic(), false)] {
        let (ours, theirs) = (agent.check(&case).await?, exporter.probe(case.module, &case.target).await?);
        let earliest = theirs.value("probe_ssl_earliest_cert_expiry").context("it shows a certificate")?;
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds of this century")]
        let theirs = Timestamp::from_secs(earliest as i64).to_string();
        let ours = ours.0["certificate_ends"].as_str().context("it shows a certificate")?;
        println!("{}: ends {ours}, the exporter's earliest {theirs}", case.name);
        ensure!((ours == theirs) == are_equal, "{}: {ours} here, {theirs} there", case.name);
    }
    Ok(())
}

impl Case {
    fn http(name: &'static str, url: &str, expected: Expected) -> Self {
        Self::new(name, url, "http", url, expected)
    }

    fn new(name: &'static str, url: &str, module: &'static str, target: &str, expected: Expected) -> Self {
        Self { name, arguments: vec![url.to_owned()], module, target: target.to_owned(), expected }
    }

    /// With further arguments for the agent.
    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&it| it.to_owned()));
        self
    }
}

/// `vigilmon-agent check`.
struct Agent {
    authority: PathBuf,
    scratch: Scratch,
}

/// What it printed.
#[derive(Debug)]
struct Found(Value);

impl Agent {
    fn new(authority: PathBuf) -> Result<Self> {
        Ok(Self { authority, scratch: Scratch::new()? })
    }

    async fn check(&self, case: &Case) -> Result<Found> {
        let program = unprivileged::binary("vigilmon-agent", &self.scratch)?;
        let line: Vec<_> =
            unprivileged::prefix(false).into_iter().chain([program.display().to_string()]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(["check", "-o", "json", "--timeout", "3s", "--ca-file"]);
        command.arg(&self.authority).args(&case.arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        let found = serde_json::from_slice(&output.stdout);
        Ok(Found(found.with_context(|| format!("{}: {said}", case.name))?))
    }
}

impl Found {
    fn passed(&self) -> bool {
        self.0["outcome"] == "pass"
    }

    fn summary(&self) -> String {
        let word = |name: &str| self.0[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("outcome"), word("detail"))
    }

    /// Seconds.
    fn phase(&self, name: &str) -> Option<f64> {
        self.0["phases"][name].as_str()?.strip_suffix('s')?.parse().ok()
    }
}
