//! Ten thousand monitors in three regions: memory, restart, results per second.

use std::time::Duration;

use anyhow::{Context, Result};
use support::raw_agent::{RawAgent, Session};
use support::{Coordinator, SOON, eventually, fleet, http};
use tokio::time::Instant;

use crate::feeder::{Feeder, flood};
use crate::report::{Budget, Report, Row, figure, percentile};
use crate::{installation, usage};
use support::fake_coordinator::{FakeCoordinator, paths};

const MONITORS: usize = 10_000;
const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];
const INTERVAL_SECS: u64 = 60;
/// Of each region while there is load: every monitor every 5 s.
const PER_SECOND: usize = 2_000;
const LOADED: Duration = Duration::from_secs(20);
const FLOODED: Duration = Duration::from_secs(10);
/// Monitors on the status page.
const SHOWN: usize = 100;

/// Measures all of it.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("fleet")?;
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let mut tokens = Vec::new();
    for region in REGIONS {
        tokens.push(fleet::token(&admin, &format!("{region}-1"), region).await?);
    }
    let empty = usage::resident_kb(coordinator.process().pid())?;
    let began = Instant::now();
    let monitors = installation::create_monitors(&admin, MONITORS, INTERVAL_SECS).await?;
    let rate = MONITORS as f64 / began.elapsed().as_secs_f64();
    report.add(Row::new("Monitors created through the admin API", rate, "1/s").beside("64 requests at once"));
    let created = usage::resident_kb(coordinator.process().pid())?;
    let page = installation::publish_page(&coordinator, &monitors[..SHOWN]).await?;

    let feeders = tokens.iter().map(|token| Feeder::start(token, coordinator.agent_address(), PER_SECOND));
    let feeders: Vec<Feeder> = feeders.collect::<Result<_>>()?;
    every_monitor_has_its_votes(&feeders).await?;
    let full = usage::resident_kb(coordinator.process().pid())?;
    restart(report, &mut coordinator, &feeders, &page).await?;
    let again = usage::resident_kb(coordinator.process().pid())?;
    let each = |full: u64| (full.saturating_sub(empty)) as f64 / MONITORS as f64;
    report.add(Row::new("Coordinator memory per monitor × 3 regions, all of it", each(full), "KB").beside(
        format!(
            "RSS {} MB empty; + {:.1} KB per monitor when created, + {:.1} KB assigned and with its votes; {:.1} KB \
             in all after a restart; §9 has 0.5 KB for the engine's state alone",
            empty >> 10,
            each(created),
            each(full) - each(created),
            each(again),
        ),
    ));
    drop(feeders);
    results(report, &mut coordinator, &tokens).await
}

async fn every_monitor_has_its_votes(feeders: &[Feeder]) -> Result<()> {
    let enough = MONITORS as u64 + 1_000;
    eventually("every monitor had its votes", SOON * 12, async || {
        Ok(feeders.iter().all(|feeder| feeder.heard().acked >= enough).then_some(()))
    })
    .await
}

/// kill -9 under load, and again.
async fn restart(
    report: &mut Report,
    coordinator: &mut Coordinator,
    feeders: &[Feeder],
    page: &str,
) -> Result<()> {
    tokio::time::sleep(LOADED).await;
    let url = coordinator.url(page);
    let mut calls = latencies(&url, 200).await?;
    let (p50, p99) = (percentile(&mut calls, 0.5), percentile(&mut calls, 0.99));
    let sent: u64 = feeders.iter().map(|feeder| feeder.heard().acked).sum();
    coordinator.kill()?;
    let started = coordinator.start_again()?;
    let shown = async {
        loop {
            let asked = Instant::now();
            match http::get(&url).await {
                Ok(answer) if answer.status == 200 => return (started.elapsed(), asked.elapsed()),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let acked = eventually("acks came again", SOON * 3, async || {
        let first = |feeder: &Feeder| {
            let heard = feeder.heard();
            heard.session_began.filter(|began| *began > started).and(heard.first_ack)
        };
        Ok(feeders.iter().filter_map(first).min().map(|at| at - started))
    });
    let (acked, (shown, first_call)) = tokio::join!(acked, shown);
    report.add(
        Row::new("Restart after kill -9 to the first ack", acked?.as_secs_f64(), "s")
            .beside(format!(
                "under {} results/s, {} results acked before",
                PER_SECOND * REGIONS.len(),
                figure(sent as f64)
            ))
            .budget(Budget::AtMost(2.0)),
    );
    report.add(
        Row::new(
            "First status page after the restart (100 monitors)",
            first_call.as_secs_f64() * 1_000.0,
            "ms",
        )
        .beside(format!("answered {:.2} s after the start", shown.as_secs_f64()))
        .budget(Budget::AtMost(50.0)),
    );
    report.add(
        Row::new("Status page under load, p99", p99, "ms")
            .beside(format!("p50 {p50:.1} ms, new connections"))
            .budget(Budget::AtMost(50.0)),
    );
    // Agents and votes are back.
    let before: Vec<u64> = feeders.iter().map(|feeder| feeder.heard().acked).collect();
    eventually("every monitor had fresh votes", SOON * 6, async || {
        let enough = |(feeder, before): (&Feeder, &u64)| feeder.heard().acked >= before + MONITORS as u64;
        Ok(feeders.iter().zip(&before).all(enough).then_some(()))
    })
    .await
}

async fn latencies(url: &str, count: usize) -> Result<Vec<f64>> {
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let asked = Instant::now();
        http::get(url).await?;
        found.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(found)
}

/// Results through gRPC, engine and journal into the commit, beside the same stream into a coordinator that only
/// decodes and acks.
async fn results(report: &mut Report, coordinator: &mut Coordinator, tokens: &[String]) -> Result<()> {
    report.part("results")?;
    let targets = paths(MONITORS, |path| format!("http://127.0.0.1:9{path}"));
    let fake = FakeCoordinator::start(&targets, Duration::from_secs(INTERVAL_SECS)).await?;
    let mut session = connected(&RawAgent::new(&fake.token, fake.address)?).await?;
    let limit = flood(&mut session, &mut 1, FLOODED / 2).await? as f64 / (FLOODED / 2).as_secs_f64();
    drop(session);

    let mut sessions = Vec::new();
    for token in tokens {
        sessions.push(connected(&RawAgent::new(token, coordinator.agent_address())?).await?);
    }
    let pid = coordinator.process().pid();
    let [first, second, third] = sessions.as_mut_slice() else { anyhow::bail!("three regions have agents") };
    let mut seqs = [1, 1, 1];
    let [a, b, c] = &mut seqs;
    let (began, cpu) = (Instant::now(), usage::cpu(pid)?);
    let (a, b, c) =
        tokio::try_join!(flood(first, a, FLOODED), flood(second, b, FLOODED), flood(third, c, FLOODED))?;
    let (took, cpu) = (began.elapsed(), usage::cpu(pid)?.saturating_sub(cpu));
    let sum = (a + b + c) as f64;
    let rate = sum / FLOODED.as_secs_f64();
    report.add(
        Row::new("Results through gRPC, engine and journal", rate, "results/s")
            .beside(format!(
                "decode and ack alone, one agent of the same kind: {}/s: ×{:.2} of it; the last acks came {:.1} s after the end",
                figure(limit),
                rate / limit,
                (took.saturating_sub(FLOODED)).as_secs_f64()
            ))
            .budget(Budget::AtLeast(500_000.0)),
    );
    report.add(
        Row::new("CPU of the coordinator per 1,000 results", cpu.as_secs_f64() * 1e6 / sum, "ms")
            .beside("batches of 100, window 64, three agents"),
    );
    Ok(())
}

/// A session that has its assignments.
async fn connected(agent: &RawAgent) -> Result<Session> {
    let mut session = agent.connect().await?;
    session.until("all assignments", |session| session.assigned.len() == MONITORS).await.context("flood")?;
    Ok(session)
}
