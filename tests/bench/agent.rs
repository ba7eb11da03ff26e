//! The agent: what a check costs and how many fit beside their target, how punctual they are, what it holds in memory.
//! It is real and whole (schedule, check, spool, report over TLS); its coordinator acks and does nothing else.
//!
//! Each file asks one question of one nginx, beside a limit or a peer that is asked the same.

mod blackbox;
mod cost;
mod handshakes;
mod lateness;
mod memory;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use support::{SOON, eventually};
use tokio::time::Instant;

use crate::report::Report;
use crate::target::Target;
use crate::usage;
use support::fake_coordinator::{FakeCoordinator, agent};

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(10);
/// Until connections, caches and latencies have settled.
const SETTLING: Duration = Duration::from_secs(3);
/// Every monitor is checked so often.
const INTERVAL: Duration = Duration::from_secs(1);
/// More than a core can check each second.
const TOO_MANY: usize = 20_000;

/// Measures all of it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("agent: memory")?;
    let idle_kb = memory::run(report).await?;
    let target = Target::start().await?;
    let measured = beside(report, &target, idle_kb).await;
    target.stop().await?;
    measured
}

/// What is measured at a target.
async fn beside(report: &mut Report, target: &Target, idle_kb: u64) -> Result<()> {
    report.part("cost")?;
    let limit = cost::run(report, target, idle_kb).await?;
    report.part("handshakes")?;
    handshakes::run(report, target).await?;
    report.part("lateness")?;
    lateness::run(report, target, limit).await
}

/// An agent that is at work.
struct Working {
    agent: support::Agent,
    coordinator: FakeCoordinator,
}

/// What it did in a span.
struct Span {
    /// Checks that the target answered, per second.
    rate: f64,
    /// Seconds of CPU per 1,000 of them, at the agent.
    cpu_per_1000: f64,
}

impl Working {
    /// Starts one that checks these targets every [`INTERVAL`], and lets it settle.
    async fn start(urls: &[String], ca_file: Option<&Path>) -> Result<Self> {
        let coordinator = FakeCoordinator::start(urls, INTERVAL).await?;
        let mut agent = agent(&coordinator, ca_file)?;
        eventually("the agent reported", SOON, async || {
            agent.process().assert_running()?;
            Ok((coordinator.results() > 0).then_some(()))
        })
        .await?;
        tokio::time::sleep(SETTLING).await;
        Ok(Self { agent, coordinator })
    }

    fn pid(&mut self) -> u32 {
        self.agent.process().pid()
    }

    /// Lets it work for [`SPAN`].
    async fn span(&mut self, target: &Target) -> Result<Span> {
        let pid = self.pid();
        let (began, answered, cpu) = (Instant::now(), target.answered().await?, usage::cpu(pid)?);
        tokio::time::sleep(SPAN).await;
        let (took, cpu) = (began.elapsed(), usage::cpu(pid)?.saturating_sub(cpu));
        let done = (target.answered().await? - answered) as f64;
        Ok(Span { rate: done / took.as_secs_f64(), cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / done })
    }
}
