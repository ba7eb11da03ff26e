//! Heartbeats at size: fifty thousand on one node, how fast their pings are durable, and what a spike and a crash leave.
//!
//! Beside each figure stands what limits it: a server that answers 200 and does nothing, and one `fsync` of this disk.

mod bare;
mod disk;
mod spike;

use std::time::Duration;

use anyhow::{Context, Result};
use support::Coordinator;
use tokio::time::Instant;

use crate::report::{Budget, Report, Row, figure, percentile};
use crate::wrk::Load;
use crate::{installation, pings, usage, wrk};

const HEARTBEATS: usize = 50_000;
const CONNECTIONS: u32 = 100;
const SECONDS: u32 = 10;
/// Pings one at a time.
const SPARSE: usize = 500;
const SPARSE_PAUSE: Duration = Duration::from_millis(5);

/// Measures all of it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("heartbeat")?;
    let mut coordinator = Coordinator::start().await?;
    let pid = coordinator.process().pid();
    let empty_kb = usage::resident_kb(pid)?;
    let paths = installation::create_heartbeats(&coordinator.admin()?, HEARTBEATS, 0, "").await?;

    sparse(report, &coordinator, &paths[0]).await?;
    rate(report, &mut coordinator, &paths).await?;
    let kb = usage::resident_kb(pid)?;
    let each = kb.saturating_sub(empty_kb) as f64 / HEARTBEATS as f64;
    report.add(Row::new("Memory per heartbeat, all of it", each, "KB").beside(format!(
        "{} MB with {HEARTBEATS}, {} MB empty",
        kb >> 10,
        empty_kb >> 10
    )));
    spike::run(report, &mut coordinator).await?;
    restart(report, &mut coordinator).await
}

async fn sparse(report: &mut Report, coordinator: &Coordinator, path: &str) -> Result<()> {
    let disk = disk::syncs(coordinator.data())?;
    let mut client = spike::Client::connect(coordinator.http_address()).await?;
    let mut took = Vec::with_capacity(SPARSE);
    for _ in 0..SPARSE {
        let began = Instant::now();
        client.ping(path, "").await?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(SPARSE_PAUSE).await;
    }
    let (p50, p99) = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    report.add(
        Row::new("One ping at a time, p50", p50, "ms")
            .beside(format!("p99 {p99:.1} ms; {disk}"))
            .budget(Budget::AtMost(3.0)),
    );
    Ok(())
}

async fn rate(report: &mut Report, coordinator: &mut Coordinator, paths: &[String]) -> Result<()> {
    let pid = coordinator.process().pid();
    let url = coordinator.url("/");
    let every = pings::script(paths, "")?;
    let bare = bare::Bare::start().await?;
    let bare = load(&bare.url(), 5, &every).await?;
    // The first ping of each makes it Up, which is more than a ping.
    load(&url, 120, &(every.clone() + pings::ONCE)).await?;
    let before = usage::cpu(pid)?;
    let measured = load(&url, SECONDS, &every).await?;
    let cpu = usage::cpu(pid)?.saturating_sub(before).as_secs_f64() * 1_000.0 / measured.answers;
    let disk = disk::syncs(coordinator.data())?;
    report.add(
        Row::new("Pings, durable before the 200", measured.rate, "pings/s")
            .beside(format!(
                "a bare axum 200, same wrk: {}/s, p99 {:.1} ms: ×{:.2} of its rate",
                figure(bare.rate),
                bare.p99_ms,
                measured.rate / bare.rate
            ))
            .budget(Budget::AtLeast(35_000.0)),
    );
    report.add(
        Row::new("Pings, p99 at 100 connections", measured.p99_ms, "ms")
            .beside(format!("p50 {:.1} ms; {disk}", measured.p50_ms))
            .budget(Budget::AtMost(8.0)),
    );
    report.add(
        Row::new("CPU of the coordinator for pings", cpu, "CPU-s per 1,000").beside("wrk's own not counted"),
    );
    Ok(())
}

async fn restart(report: &mut Report, coordinator: &mut Coordinator) -> Result<()> {
    coordinator.kill().context("the coordinator runs")?;
    let began = coordinator.start_again()?;
    coordinator.ready().await?;
    report.add(
        Row::new("From kill -9 to ready", began.elapsed().as_secs_f64(), "s")
            .beside(format!("{HEARTBEATS} heartbeats"))
            .budget(Budget::AtMost(2.0)),
    );
    Ok(())
}

async fn load(url: &str, seconds: u32, script: &str) -> Result<wrk::Outcome> {
    wrk::run(Load { connections: CONNECTIONS, seconds, url, script }).await
}
