//! Memory at the coordinator: of agents that are only connected.

use std::time::Duration;

use anyhow::Result;
use proto::probe::v1 as wire;
use proto::probe::v1::agent_message::Message as Say;
use support::raw_agent::RawAgent;
use support::{Coordinator, fleet};

use crate::report::{Budget, Report, Row};
use crate::usage;

const AGENTS: usize = 500;
const SETTLING: Duration = Duration::from_secs(5);

/// Measures it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("memory")?;
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
