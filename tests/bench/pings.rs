//! Pings, durable before their 200, and the deliveries that follow when ten thousand jobs fail at once.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use support::{Coordinator, eventually};
use tokio::time::Instant;

use crate::receiver::Receiver;
use crate::report::{Budget, Report, Row, figure};
use crate::wrk::{Load, Outcome};
use crate::{installation, usage, wrk};

const JOBS: usize = 10_000;
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

/// Measures both.
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

    report.part("deliveries")?;
    deliveries(report, &coordinator, &jobs).await?;
    deliveries(report, &coordinator, &Jobs::create(&coordinator, 8).await?).await
}

/// Heartbeats, and whom they notify.
struct Jobs {
    paths: Vec<String>,
    channels: usize,
    receiver: Receiver,
}

impl Jobs {
    async fn create(coordinator: &Coordinator, channels: usize) -> Result<Self> {
        let receiver = Receiver::start().await?;
        let paths =
            installation::create_heartbeats(&coordinator.admin()?, JOBS, channels, &receiver.url()).await?;
        Ok(Self { paths, channels, receiver })
    }
}

/// Every job fails once; each failure is an incident, an event and a delivery.
async fn deliveries(report: &mut Report, coordinator: &Coordinator, jobs: &Jobs) -> Result<()> {
    let url = coordinator.url("/");
    let fail = script(&jobs.paths, "/fail")? + ONCE;
    let failing = load(&url, SECONDS, &fail);
    let arrived = eventually("every delivery arrived", Duration::from_secs(60), async || {
        Ok(jobs.receiver.arrivals().is_some_and(|(count, _)| count >= JOBS).then_some(()))
    });
    let (failed, arrived) = tokio::join!(failing, arrived);
    failed?;
    if let Err(error) = arrived {
        report.note(format!("deliveries: {error:#}"));
    }
    let (count, took) = jobs.receiver.arrivals().context("no delivery arrived")?;
    let (channels, took) = (jobs.channels, took.as_secs_f64());
    report.add(
        Row::new(
            format!("Deliveries, each durable, {channels} channel(s)"),
            count as f64 / took,
            "deliveries/s",
        )
        .beside("receiver and sender of the failing pings on the same cores")
        .budget(Budget::AtLeast(5_000.0)),
    );
    report.add(
        Row::new(format!("10,000 events, {channels} channel(s): first to last webhook"), took, "s")
            .beside(format!("{count} arrived"))
            .budget(Budget::AtMost(5.0)),
    );
    Ok(())
}

async fn load(url: &str, seconds: u32, script: &str) -> Result<Outcome> {
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
