//! What an agent holds in memory: idle, and with each monitor.

use std::time::Duration;

use anyhow::Result;
use support::{SOON, eventually};

use crate::report::{Budget, Report, Row, figure};
use crate::usage;
use support::fake_coordinator::{FakeCoordinator, agent, paths};

/// Nothing is checked meanwhile.
const LONG: Duration = Duration::from_secs(86_400);
const SETTLING: Duration = Duration::from_secs(5);

/// Measures it; returns what an idle one takes, in KB.
pub(super) async fn run(report: &mut Report) -> Result<u64> {
    let idle = resident_kb(0).await?;
    report.add(
        Row::new("Agent, idle and connected", idle as f64 / 1_024.0, "MB RSS").budget(Budget::AtMost(15.0)),
    );
    for monitors in [1_000, 10_000, 100_000] {
        let busy = resident_kb(monitors).await?;
        report.add(
            Row::new(
                format!("Agent, each of {} monitors", figure(monitors as f64)),
                busy.saturating_sub(idle) as f64 / monitors as f64,
                "KB",
            )
            .beside(format!("{:.1} MB with all of them", busy as f64 / 1_024.0))
            .budget(Budget::AtMost(2.0)),
        );
    }
    Ok(idle)
}

async fn resident_kb(monitors: usize) -> Result<u64> {
    let targets = paths(monitors, |path| format!("http://127.0.0.1:9/bench{path}"));
    let coordinator = FakeCoordinator::start(&targets, LONG).await?;
    let mut agent = agent(&coordinator, None)?;
    eventually("the agent was connected", SOON, async || {
        agent.process().assert_running()?;
        Ok((coordinator.beats() > 0).then_some(()))
    })
    .await?;
    tokio::time::sleep(SETTLING).await;
    usage::resident_kb(agent.process().pid())
}
