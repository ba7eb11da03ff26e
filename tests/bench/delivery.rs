//! Deliveries: what follows when ten thousand jobs fail at once, beside Alertmanager at the same kind of receiver, and
//! how soon a single one is on its way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use support::{Coordinator, eventually, http};
use tokio::time::Instant;

use crate::pings::{JOBS, Jobs, ONCE, load, script};
use crate::report::{Budget, Report, Row, figure, percentile};
use crate::{alertmanager, usage};

/// Seconds that wrk may take to let every job fail.
const SECONDS: u32 = 20;
/// Events that come one at a time.
const SPARSE: usize = 200;

/// Measures it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("delivery")?;
    let mut coordinator = Coordinator::start().await?;
    let peer = if alertmanager::is_installed() { Some(alertmanager::run(JOBS).await?) } else { None };
    if peer.is_none() {
        report.note("prometheus-alertmanager is not installed: nothing stands beside the deliveries");
    }
    for channels in [1, 8] {
        let jobs = Jobs::create(&coordinator, channels).await?;
        all_at_once(report, &mut coordinator, &jobs, peer).await?;
        if channels == 1 {
            one_at_a_time(report, &coordinator, &jobs).await?;
        }
    }
    Ok(())
}

/// Every job fails once; each failure is an incident, an event and a delivery.
async fn all_at_once(
    report: &mut Report,
    coordinator: &mut Coordinator,
    jobs: &Jobs,
    peer: Option<alertmanager::Outcome>,
) -> Result<()> {
    let url = coordinator.url("/");
    let pid = coordinator.process().pid();
    let fail = script(&jobs.paths, "/fail")? + ONCE;
    let cpu = usage::cpu(pid)?;
    let failing = load(&url, SECONDS, &fail);
    let arrived = eventually("every delivery arrived", Duration::from_secs(60), async || {
        Ok(jobs.receiver.arrivals().is_some_and(|(count, _)| count >= JOBS).then_some(()))
    });
    let (failed, arrived) = tokio::join!(failing, arrived);
    failed?;
    if let Err(error) = arrived {
        report.note(format!("deliveries: {error:#}"));
    }
    let cpu = usage::cpu(pid)?.saturating_sub(cpu).as_secs_f64() * 1_000.0;
    let (count, took) = jobs.receiver.arrivals().context("no delivery arrived")?;
    let (channels, took) = (jobs.channels, took.as_secs_f64());
    let rate = count as f64 / took;
    let beside = peer.map_or_else(String::new, |peer| {
        format!(
            "Alertmanager, keeping nothing: {}/s, ×{:.2} of its rate",
            figure(peer.rate),
            rate / peer.rate
        )
    });
    report.add(
        Row::new(format!("Deliveries, each durable, {channels} channel(s)"), rate, "deliveries/s")
            .beside(beside)
            .budget(Budget::AtLeast(5_000.0)),
    );
    let beside = format!("{count} arrived; what made the jobs fail, and the receiver, on the same cores");
    report.add(
        Row::new(format!("10,000 events, {channels} channel(s): first to last webhook"), took, "s")
            .beside(beside)
            .budget(Budget::AtMost(5.0)),
    );
    let beside = peer.map_or_else(String::new, |peer| format!("Alertmanager: {:.3}", peer.cpu_per_1000));
    report.add(
        Row::new(
            "CPU of the coordinator, from the ping to the record",
            cpu / count as f64,
            "CPU-s per 1,000",
        )
        .beside(beside),
    );
    Ok(())
}

/// A job recovers, then another one: from the 200 for its ping, which is the commit, to the webhook.
async fn one_at_a_time(report: &mut Report, coordinator: &Coordinator, jobs: &Jobs) -> Result<()> {
    let mut delays = vec![];
    for path in jobs.paths.iter().take(SPARSE) {
        let before = jobs.receiver.arrivals().map_or(0, |(count, _)| count);
        ensure!(http::get(&coordinator.url(path)).await?.status == 200, "a ping was not taken");
        let committed = Instant::now();
        let arrived = eventually("the webhook came", Duration::from_secs(20), async || {
            Ok(jobs.receiver.last().filter(|(count, _)| *count > before).map(|(_, at)| at))
        })
        .await?;
        delays.push(arrived.saturating_duration_since(committed).as_secs_f64() * 1_000.0);
    }
    let (p50, p99) = (percentile(&mut delays, 0.5), percentile(&mut delays, 0.99));
    report.add(
        Row::new("One event at a time: commit to first byte of its webhook, p50", p50, "ms")
            .beside(format!("p99 {p99:.1} ms"))
            .budget(Budget::AtMost(50.0)),
    );
    Ok(())
}
