//! What a check costs: at saturation beside `wrk`, which opens a connection for each request too, and beside
//! blackbox_exporter; at a rate that leaves the machine time to sleep.

use anyhow::Result;

use super::{TOO_MANY, Working, blackbox};
use crate::report::{Budget, Report, Row, figure};
use crate::target::Target;
use crate::{usage, wrk};
use support::fake_coordinator::paths;

/// Measures it; returns what the limit is.
pub(super) async fn run(report: &mut Report, target: &Target, idle_kb: u64) -> Result<wrk::Outcome> {
    let url = target.url("/m/1");
    let limit = wrk::run(wrk::Load { connections: 64, seconds: 5, url: &url, script: wrk::CLOSE }).await?;
    let beside = format!(
        "`wrk -t1 -c64`, `Connection: close`: {}/s, {} CPU-s per 1,000",
        figure(limit.rate),
        figure(limit.cpu_per_1000)
    );

    let mut agent = Working::start(&paths(TOO_MANY, |path| target.url(path)), None).await?;
    let before_kb = usage::resident_kb(agent.pid())?;
    let most = agent.span(target).await?;
    let after_kb = usage::resident_kb(agent.pid())?;
    let failing = agent.coordinator.failing();
    drop(agent);
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
    report.add(
        Row::new("Agent at saturation, 20,000 monitors", after_kb as f64 / 1_024.0, "MB RSS")
            .beside(format!(
                "{:.1} MB ten seconds before; 2 KB for each monitor and what is idle",
                before_kb as f64 / 1_024.0
            ))
            .budget(Budget::AtMost((idle_kb + 2 * TOO_MANY as u64) as f64 / 1_024.0)),
    );
    report.add(
        Row::new("Checks at saturation that did not pass", failing as f64, "checks")
            .budget(Budget::AtMost(0.0)),
    );

    match blackbox::saturated(&url).await? {
        Some(peer) => report.add(
            Row::new("CPU of the agent, of blackbox_exporter's", most.cpu_per_1000 / peer.cpu_per_1000, "×")
                .beside(format!(
                    "the same target, `wrk -c8` at `/probe`: {} probes/s, {} CPU-s per 1,000",
                    figure(peer.rate),
                    figure(peer.cpu_per_1000)
                ))
                .budget(Budget::AtMost(0.2)),
        ),
        None => report.note("not beside blackbox_exporter, which is not installed"),
    }
    Ok(limit)
}
