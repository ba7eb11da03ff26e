//! Pings, durable before their 200.

use std::fmt::Write as _;

use anyhow::Result;
use support::Coordinator;
use tokio::time::Instant;

use crate::receiver::Receiver;
use crate::report::{Budget, Report, Row, figure};
use crate::wrk::{Load, Outcome};
use crate::{installation, usage, wrk};

/// How many heartbeats there are.
pub(crate) const JOBS: usize = 10_000;
const CONNECTIONS: u32 = 100;
const SECONDS: u32 = 10;
/// Ends wrk when each path has been requested once.
pub(crate) const ONCE: &str = "
local answers = 0
function response()
  answers = answers + 1
  if answers == #requests then wrk.thread:stop() end
end
";

/// Measures them.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("pings")?;
    let mut coordinator = Coordinator::start().await?;
    let began = Instant::now();
    let jobs = Jobs::create(&coordinator, 1).await?;
    let rate = JOBS as f64 / began.elapsed().as_secs_f64();
    report
        .add(Row::new("Heartbeats created through the admin API", rate, "1/s").beside("64 requests at once"));

    let url = coordinator.url("/");
    let pid = coordinator.process().pid();
    let live = load(&url, 5, &script(&vec!["/health/live".to_owned(); JOBS], "")?).await?;
    let every = script(&jobs.paths, "")?;
    // The first ping of each makes it Up, which is more than a ping.
    load(&url, 3, &every).await?;
    let cpu = usage::cpu(pid)?;
    let pings = load(&url, SECONDS, &every).await?;
    let cpu = usage::cpu(pid)?.saturating_sub(cpu).as_secs_f64() * 1_000.0 / pings.answers;
    let beside = format!(
        "`/health/live` (no storage), same wrk: {}/s, p99 {:.1} ms: ×{:.2} of its rate",
        figure(live.rate),
        live.p99_ms,
        pings.rate / live.rate
    );
    report.add(
        Row::new("Pings, durable before the 200", pings.rate, "pings/s")
            .beside(beside)
            .budget(Budget::AtLeast(35_000.0)),
    );
    report.add(
        Row::new("Pings, p99 at 100 connections", pings.p99_ms, "ms")
            .beside(format!("p50 {:.1} ms", pings.p50_ms))
            .budget(Budget::AtMost(8.0)),
    );
    report.add(
        Row::new("CPU of the coordinator for pings", cpu, "CPU-s per 1,000").beside("wrk's own not counted"),
    );
    Ok(())
}

/// Heartbeats, and whom they notify.
pub(crate) struct Jobs {
    /// Of their ping URLs.
    pub(crate) paths: Vec<String>,
    /// How many channels there are, all to one receiver.
    pub(crate) channels: usize,
    /// The receiver.
    pub(crate) receiver: Receiver,
}

impl Jobs {
    /// Creates ten thousand.
    ///
    /// # Errors
    /// When the coordinator refuses one.
    pub(crate) async fn create(coordinator: &Coordinator, channels: usize) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let paths =
            installation::create_heartbeats(&coordinator.admin()?, JOBS, channels, &receiver.url()).await?;
        Ok(Self { paths, channels, receiver })
    }
}

/// Runs wrk at the usual number of connections.
///
/// # Errors
/// As [`wrk::run`].
pub(crate) async fn load(url: &str, seconds: u32, script: &str) -> Result<Outcome> {
    wrk::run(Load { connections: CONNECTIONS, seconds, url, script }).await
}

/// Requests each path with a suffix in turn.
///
/// # Errors
/// Never in fact.
pub(crate) fn script(paths: &[String], suffix: &str) -> Result<String> {
    let mut text = String::from("local requests = {}\nlocal next = 0\nlocal paths = {\n");
    for path in paths {
        writeln!(text, "{:?},", format!("{path}{suffix}"))?;
    }
    text.push_str(
        "}
function init()
  for i, path in ipairs(paths) do requests[i] = wrk.format('GET', path) end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
",
    );
    Ok(text)
}
