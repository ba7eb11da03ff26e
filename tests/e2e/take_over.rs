//! A new process of an agent takes over from the one that runs: no scheduled check is missed, none is made twice, and
//! whoever fails at it disturbs nobody.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use model::AgentId;
use proto::admin::v1::{ListAgentsRequest, Monitor};
use support::admin::{seconds, wire_time};
use support::{Fleet, PacedSite, SOON, environment, eventually};

const UPGRADES: usize = 3;
const QUICK: usize = 30;
const SLOW: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_upgrades_under_load_miss_no_slot_and_check_none_twice() -> Result<()> {
    let began = wire_time(environment::now());
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let target = PacedSite::start().await?;
    let mut monitors = vec![];
    // Most of the slow ones are being checked at any instant.
    for number in 0..QUICK + SLOW {
        let path = if number < QUICK { format!("/0/{number}") } else { format!("/700/{number}") };
        let monitor = Monitor { url: target.url(&path), interval: seconds(1), ..Monitor::default() };
        monitors.push((path, fleet.admin.create_monitor(monitor).await?.id));
    }
    target.until_each_was_asked(QUICK + SLOW, 3).await?;

    let (refused, said) = fleet.agents[0].rival(&["--ca-file", "/dev/null"]).await?;
    ensure!(refused.code() == Some(2) && said.contains("ca_file"), "{refused} {said}");
    let (refused, said) = fleet.agents[0].rival(&["--no-take-over"]).await?;
    ensure!(refused.code() == Some(2) && said.contains("another vigilmon-agent uses it"), "{refused} {said}");
    let log = fleet.agents[0].process().output();
    ensure!(!log.contains("takes over"), "whoever cannot start, or may not, disturbs nobody\n{log}");

    for upgrade in 0..UPGRADES {
        let asked = target.asked();
        let ended = fleet.agents[0].upgrade().await?;
        ensure!(ended.success(), "upgrade {upgrade}: {ended}");
        target.until_each_was_asked(QUICK + SLOW, asked.values().max().copied().unwrap_or(0) + 2).await?;
        // One that dies after everything was handed to it, and before it said that it can go on.
        die_in_the_middle(&fleet).await?;
        eventually("the process that runs went on", SOON, async || {
            let log = fleet.agents[0].process().output();
            let count = log.matches("the other process did not take over").count();
            ensure!(count == upgrade + 1, "{count}\n{log}");
            Ok(Some(()))
        })
        .await?;
        let asked = target.asked();
        target.until_each_was_asked(QUICK + SLOW, asked.values().max().copied().unwrap_or(0) + 2).await?;
    }
    fleet.agents[0].terminate().await?;

    eventually("every check was recorded", SOON, async || {
        let asked = target.asked();
        for (path, id) in &monitors {
            let results = fleet.admin.results(id, began).await?;
            let requests = asked.get(path).copied().unwrap_or(0);
            // When it was told to end, one check may have been given up.
            ensure!(
                (results.len()..=results.len() + 1).contains(&requests),
                "{path}: {requests} requests, {} results",
                results.len()
            );
            let mut slots: Vec<i64> =
                results.iter().filter(|result| result.attempt == 0).map(|result| result.slot).collect();
            slots.sort_unstable();
            let gapless = slots.windows(2).all(|pair| pair[1] == pair[0] + 1);
            ensure!(gapless, "{path}: slots are missing, or there twice: {slots:?}");
        }
        Ok(Some(()))
    })
    .await
}

/// Asks to take over, takes what is handed over, and ends.
async fn die_in_the_middle(fleet: &Fleet) -> Result<()> {
    let agents = fleet.admin.fleet().list_agents(ListAgentsRequest::default()).await?.into_inner().agents;
    let agent: AgentId = agents.first().context("an agent")?.id.parse().context("an id")?;
    let socket = fleet.agents[0].spool().join("take-over");
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // The protobuf of a request: field 1, 16 bytes.
    let request = [&[0x0a, 16], agent.as_bytes().as_slice()].concat();
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut state = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut state)?;
    ensure!(state.len() > 16 * (QUICK + SLOW), "the state has all monitors");
    Ok(())
}
