//! Memory: of an idle agent, of what an agent holds, and of agents that are only connected.

use std::time::Duration;

use anyhow::Result;
use proto::probe::v1 as wire;
use proto::probe::v1::agent_message::Message as Say;
use support::fake_coordinator::{FakeCoordinator, agent, paths};
use support::raw_agent::RawAgent;
use support::{Coordinator, SOON, eventually, fleet};

use crate::report::{Budget, Report, Row};
use crate::usage;

const MONITORS: usize = 10_000;
const AGENTS: usize = 500;
/// Nothing is checked meanwhile.
const LONG: Duration = Duration::from_secs(86_400);
const SETTLING: Duration = Duration::from_secs(5);

/// Measures all of it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("memory")?;
    let idle = agent_resident_kb(0).await?;
    let busy = agent_resident_kb(MONITORS).await?;
    report.add(
        Row::new("Agent, idle and connected", idle as f64 / 1_024.0, "MB RSS").budget(Budget::AtMost(15.0)),
    );
    report.add(
        Row::new("Agent, each monitor more", busy.saturating_sub(idle) as f64 / MONITORS as f64, "KB")
            .beside(format!("{:.1} MB with 10,000", busy as f64 / 1_024.0))
            .budget(Budget::AtMost(2.0)),
    );

    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let mut tokens = Vec::with_capacity(AGENTS);
    for index in 0..AGENTS {
        tokens.push(fleet::token(&admin, &format!("agent-{index}"), "us-east").await?);
    }
    tokio::time::sleep(SETTLING / 2).await;
    let empty = usage::resident_kb(coordinator.process().pid())?;
    let mut sessions = Vec::with_capacity(AGENTS);
    for token in &tokens {
        let session = RawAgent::new(token, coordinator.agent_address())?.connect().await?;
        let agent_epoch = session.welcome.agent_epoch;
        session.say(Say::Results(wire::Results { agent_epoch, ..wire::Results::default() })).await?;
        sessions.push(session);
    }
    tokio::time::sleep(SETTLING / 2).await;
    let full = usage::resident_kb(coordinator.process().pid())?;
    report.add(
        Row::new(
            "Coordinator, each connected idle agent",
            full.saturating_sub(empty) as f64 / AGENTS as f64,
            "KB",
        )
        .beside(format!("{} MB → {} MB with 500, TLS", empty >> 10, full >> 10))
        .budget(Budget::AtMost(50.0)),
    );
    Ok(())
}

async fn agent_resident_kb(monitors: usize) -> Result<u64> {
    let targets = paths(monitors, |path| format!("http://127.0.0.1:9/bench{path}"));
    let coordinator = FakeCoordinator::start(&targets, LONG).await?;
    let mut agent = agent(&coordinator)?;
    eventually("the agent was connected", SOON, async || {
        agent.process().assert_running()?;
        Ok((coordinator.beats() > 0).then_some(()))
    })
    .await?;
    tokio::time::sleep(SETTLING).await;
    usage::resident_kb(agent.process().pid())
}
