//! Targets and receivers that misbehave hold up nobody but themselves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, Monitor, MonitorStatus};
use support::admin::seconds;
use support::{Answer, Fleet, SOON, Site, environment, eventually};

/// What an agent may use at most while a zoo of targets throws gigabytes at it.
const MEMORY_LIMIT_KB: u64 = 96 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_targets_end_within_the_timeout_and_the_agent_lives_on() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let zoo = [
        ("silence", Answer::Silence, MonitorStatus::Down),
        ("headers without end", Answer::EndlessHeaders, MonitorStatus::Down),
        ("a byte a second", Answer::Drip, MonitorStatus::Down),
        ("hangs up", Answer::Hangup, MonitorStatus::Down),
        ("to a file", Answer::Redirect("file:///etc/passwd".to_owned()), MonitorStatus::Down),
        ("redirect loop", Answer::Redirect("/".to_owned()), MonitorStatus::Down),
        ("a gigabyte", Answer::Huge(1 << 30), MonitorStatus::Up),
        ("a compressed bomb", Answer::GzipBomb, MonitorStatus::Up),
        ("well", Answer::Status(200), MonitorStatus::Up),
    ];
    let mut watched = Vec::new();
    for (name, answer, status) in zoo {
        let site = Site::start(answer).await?;
        let monitor = Monitor {
            name: name.to_owned(),
            url: site.url("/"),
            interval: seconds(2),
            timeout: seconds(1),
            ..Monitor::default()
        };
        watched.push((fleet.admin.create_monitor(monitor).await?.id, status, site));
    }
    let mut wrong = Vec::new();
    for (id, status, _) in &watched {
        if let Err(error) = fleet.admin.until_status(id, *status, SOON * 2).await {
            wrong.push(format!("{error:#}: {:?}", fleet.admin.monitor(id).await?));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (id, ..) in &watched {
        for vote in
            fleet.admin.monitor(id).await?.region_states.iter().filter_map(|region| region.vote.as_ref())
        {
            let took = Duration::try_from(vote.duration.unwrap_or_default()).context("a duration")?;
            ensure!(took < Duration::from_millis(1_500), "{vote:?}");
        }
    }
    let agent = fleet.agents[0].process();
    agent.assert_running()?;
    let peak = peak_memory_kb(agent.pid())?;
    println!("the agent's memory reached {peak} kB");
    ensure!(peak < MEMORY_LIMIT_KB, "the agent's memory reached {peak} kB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_receivers_delay_nobody_and_lead_nowhere() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let admin = &fleet.admin;
    let secret = Site::start(Answer::Status(200)).await?;
    let receivers = [
        ("hangs", Site::start(Answer::Silence).await?),
        ("redirects", Site::start(Answer::Redirect(secret.url("/latest/meta-data"))).await?),
        ("floods", Site::start(Answer::Huge(10 << 30)).await?),
        ("drips", Site::start(Answer::Drip).await?),
        ("well", Site::start(Answer::Status(200)).await?),
    ];
    for (name, site) in &receivers {
        admin.create_channel(ChannelKind::Webhook, name, &site.url("/")).await?;
    }
    let target = Site::start(Answer::Status(503)).await?;
    let channels = receivers.iter().map(|(name, _)| (*name).to_owned()).collect();
    let monitor = Monitor { url: target.url("/"), interval: seconds(1), channels, ..Monitor::default() };
    let id = admin.create_monitor(monitor).await?.id;
    admin.until_status(&id, MonitorStatus::Down, SOON).await?;
    for (name, site) in &receivers {
        eventually(&format!("`{name}` was asked"), Duration::from_secs(3), async || {
            Ok((!site.requests().is_empty()).then_some(()))
        })
        .await?;
    }
    // The one that redirects is tried again after 5 s: wherever it leads, nobody follows.
    eventually("the redirecting receiver was tried again", SOON * 2, async || {
        Ok((receivers[1].1.requests().len() >= 2).then_some(()))
    })
    .await?;
    ensure!(secret.requests().is_empty(), "a redirect was followed");
    let told: Vec<_> = receivers[4].1.requests().iter().map(|it| format!("{it:?}")).collect();
    ensure!(told.len() == 1, "the well-behaved receiver was told more than once: {told:#?}");
    let coordinator = fleet.coordinator.process();
    coordinator.assert_running()?;
    let peak = peak_memory_kb(coordinator.pid())?;
    ensure!(peak < 4 * MEMORY_LIMIT_KB, "the coordinator's memory reached {peak} kB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_at_an_address_that_is_not_allowed_is_never_connected_to() -> Result<()> {
    let Ok(private) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return environment::skip("private_receiver", "there is no IPv6 loopback");
    };
    let fleet = Fleet::start(&["us-east"]).await?;
    let admin = &fleet.admin;
    // This coordinator's configuration allows 127.0.0.0/8 and nothing else that is private.
    admin
        .create_channel(ChannelKind::Webhook, "private", &format!("http://{}/", private.local_addr()?))
        .await?;
    let allowed = Site::start(Answer::Status(200)).await?;
    admin.create_channel(ChannelKind::Webhook, "allowed", &allowed.url("/")).await?;
    let target = Site::start(Answer::Status(503)).await?;
    let channels = vec!["private".to_owned(), "allowed".to_owned()];
    let monitor = Monitor { url: target.url("/"), interval: seconds(1), channels, ..Monitor::default() };
    admin.create_monitor(monitor).await?;
    eventually("the allowed receiver was told", SOON, async || {
        Ok((!allowed.requests().is_empty()).then_some(()))
    })
    .await?;
    let connected = tokio::time::timeout(Duration::from_secs(6), private.accept()).await;
    ensure!(connected.is_err(), "the private address was connected to");
    Ok(())
}

fn peak_memory_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
