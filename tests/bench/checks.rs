//! Checks: what one costs, how many fit on a core, and how punctual they are. The agent is real and whole (schedule,
//! check, report over TLS); the coordinator acks and does nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use support::fake_coordinator::{FakeCoordinator, agent, paths};
use support::{SOON, eventually};
use tokio::time::Instant;

use crate::report::{Budget, Report, Row, figure, percentile};
use crate::target::Target;
use crate::{usage, wrk};

const SPAN: Duration = Duration::from_secs(10);
/// Until connections, caches and latencies have settled.
const SETTLING: Duration = Duration::from_secs(3);
/// More than a core can check each second.
const TOO_MANY: usize = 20_000;

/// Measures all of it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("checks")?;
    let target = Target::start().await?;
    let url = target.url("/m/1");
    let limit = wrk::run(wrk::Load { connections: 64, seconds: 5, url: &url, script: wrk::CLOSE }).await?;
    let beside = format!(
        "`wrk -t1 -c64`, `Connection: close`: {}/s, {} CPU-s per 1,000",
        figure(limit.rate),
        figure(limit.cpu_per_1000)
    );

    let most = measure(&target, paths(TOO_MANY, |path| target.url(path))).await?;
    report.add(
        Row::new("HTTP checks, agent at saturation", most.rate, "checks/s")
            .beside(format!("{beside}: ×{:.2} of its rate", most.rate / limit.rate))
            .budget(Budget::AtLeast(12_000.0)),
    );
    report.add(
        Row::new("CPU of the agent at saturation", most.cpu_per_1000, "CPU-s per 1,000")
            .beside(format!("{beside}: ×{:.2} of its CPU", most.cpu_per_1000 / limit.cpu_per_1000))
            .budget(Budget::AtMost(0.10)),
    );
    if most.failing > 0 {
        report.note(format!("at saturation {} checks did not pass", most.failing));
    }

    for per_second in [1_000, 5_000] {
        let before = target.seen().map_or(0, |seen| seen.len());
        let paced = measure(&target, paths(per_second, |path| target.logged_url(path))).await?;
        // The log is written once a second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut gaps: BTreeMap<String, f64> = BTreeMap::new();
        let mut deviations = Vec::new();
        for seen in target.seen()?.into_iter().skip(before) {
            if let Some(last) = gaps.insert(seen.path, seen.at) {
                deviations.push((seen.at - last - 1.0).abs() * 1_000.0);
            }
        }
        let (p50, p99) = (percentile(&mut deviations, 0.5), percentile(&mut deviations, 0.99));
        let cpu = Row::new(
            format!("CPU of the agent at {per_second} checks/s"),
            paced.cpu_per_1000,
            "CPU-s per 1,000",
        )
        .beside(format!(
            "{} checks/s done; wrk ×{:.2}",
            figure(paced.rate),
            paced.cpu_per_1000 / limit.cpu_per_1000
        ));
        report.add(if per_second == 1_000 { cpu.budget(Budget::AtMost(0.20)) } else { cpu });
        let late = Row::new(format!("Schedule deviation at {per_second} checks/s, p99"), p99, "ms").beside(
            format!("p50 {p50:.1} ms, {} intervals in nginx's log (1 ms resolution)", deviations.len()),
        );
        report.add(if per_second == 5_000 { late.budget(Budget::AtMost(10.0)) } else { late });
        if paced.failing > 0 {
            report.note(format!("at {per_second} checks/s {} checks did not pass", paced.failing));
        }
    }
    Ok(())
}

struct Measured {
    rate: f64,
    cpu_per_1000: f64,
    failing: u64,
}

/// Lets an agent check these targets each second for a while.
async fn measure(target: &Target, urls: Vec<String>) -> Result<Measured> {
    let coordinator = FakeCoordinator::start(&urls, Duration::from_secs(1)).await?;
    let mut agent = agent(&coordinator)?;
    eventually("the agent reported", SOON, async || {
        agent.process().assert_running()?;
        Ok((coordinator.results() > 0).then_some(()))
    })
    .await?;
    tokio::time::sleep(SETTLING).await;
    let pid = agent.process().pid();
    let (began, before, cpu) = (Instant::now(), target.answered().await?, usage::cpu(pid)?);
    tokio::time::sleep(SPAN).await;
    let (took, after, cpu) =
        (began.elapsed(), target.answered().await?, usage::cpu(pid)?.saturating_sub(cpu));
    let done = after - before;
    Ok(Measured {
        rate: done as f64 / took.as_secs_f64(),
        cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / done as f64,
        failing: coordinator.failing(),
    })
}
