//! A region that is cut off for a minute: silence is unknown, never down, and the minute is not lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1::{Monitor, MonitorStatus};
use support::admin::{seconds, time, wire_time};
use support::agent::{Agent, Settings};
use support::eventually::throughout;
use support::fault_proxy::Line;
use support::{Answer, FaultProxy, Fleet, SOON, Site, environment, eventually, fleet};

const CUT: Duration = Duration::from_secs(60);
const INTERVAL_SECS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_cut_off_for_a_minute_opens_nothing_and_reports_the_minute_afterwards() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east", "eu-west"]).await?;
    let proxy = FaultProxy::start(fleet.coordinator.agent_address()).await?;
    let lonely = Settings {
        name: "ap-south-1".to_owned(),
        token: fleet::token(&fleet.admin, "ap-south-1", "ap-south").await?,
        coordinator: proxy.address(),
        ca_file: None,
        hosts: None,
        canary: None,
        has_raw_sockets: false,
    };
    fleet.agents.push(Agent::start(lonely)?);
    fleet.connected(3).await?;
    let target = Site::start(Answer::Status(200)).await?;
    let monitor = Monitor { url: target.url("/"), interval: seconds(INTERVAL_SECS), ..Monitor::default() };
    let id = fleet.admin.create_monitor(monitor).await?.id;
    fleet.admin.until_status(&id, MonitorStatus::Up, SOON).await?;

    let from = environment::now();
    proxy.set(Line::Cut);
    // Of the monitor: that the region is gone may be a notice of its own by the time it is back.
    throughout(CUT, async || {
        let incidents = fleet.admin.incidents_of(&id).await?;
        ensure!(incidents.is_empty(), "silence opened {incidents:?}");
        Ok(())
    })
    .await?;
    let to = environment::now();
    ensure!(fleet.admin.monitor(&id).await?.status() == MonitorStatus::Up);
    proxy.set(Line::Open);

    // A check may straddle either end of the cut.
    let expected = usize::try_from(CUT.as_secs() / INTERVAL_SECS)? - 2;
    eventually("the results of the minute were listed", Duration::from_secs(90), async || {
        let results = fleet.admin.results(&id, wire_time(from)).await?;
        let mut of_the_minute = 0;
        for result in results.iter().filter(|result| result.region == "ap-south") {
            let started = time(result.started_at.as_ref())?;
            of_the_minute += usize::from(started >= from && started <= to);
        }
        ensure!(of_the_minute >= expected, "{of_the_minute} of {expected} are there");
        Ok(Some(()))
    })
    .await?;
    ensure!(fleet.admin.incidents_of(&id).await?.is_empty(), "the late results opened an incident");
    ensure!(fleet.admin.monitor(&id).await?.status() == MonitorStatus::Up);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_saw_while_it_was_cut_off_outlives_its_process() -> Result<()> {
    let mut fleet = Fleet::start(&[]).await?;
    let proxy = FaultProxy::start(fleet.coordinator.agent_address()).await?;
    let lonely = Settings {
        name: "us-east-1".to_owned(),
        token: fleet::token(&fleet.admin, "us-east-1", "us-east").await?,
        coordinator: proxy.address(),
        ca_file: None,
        hosts: None,
        canary: None,
        has_raw_sockets: false,
    };
    fleet.agents.push(Agent::start(lonely)?);
    fleet.connected(1).await?;
    let target = Site::start(Answer::Status(200)).await?;
    let monitor = Monitor { url: target.url("/"), interval: seconds(1), ..Monitor::default() };
    let id = fleet.admin.create_monitor(monitor).await?.id;
    fleet.admin.until_status(&id, MonitorStatus::Up, SOON).await?;

    let from = environment::now();
    proxy.set(Line::Cut);
    let before = target.requests().len();
    let seen = eventually("the agent went on checking", Duration::from_secs(30), async || {
        let seen = target.requests().len() - before;
        Ok((seen >= 10).then_some(seen))
    })
    .await?;
    fleet.agents[0].kill()?;
    let killed = environment::now();
    proxy.set(Line::Open);
    fleet.agents[0].start_again()?;

    eventually("the results of the dead process were listed", Duration::from_secs(60), async || {
        let results = fleet.admin.results(&id, wire_time(from)).await?;
        let mut slots = vec![];
        for result in &results {
            if time(result.started_at.as_ref())? <= killed {
                slots.push(result.slot);
            }
        }
        slots.sort_unstable();
        let all = slots.len();
        slots.dedup();
        ensure!(slots.len() == all, "some are there twice");
        // The check that ran when it was killed, and the one before the cut, may be missing.
        ensure!(all + 2 >= seen, "{all} of {seen} are there");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_hears_nothing_is_told_apart_from_one_that_is_well() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let proxy = FaultProxy::start(fleet.coordinator.agent_address()).await?;
    let deaf = Settings {
        name: "eu-west-1".to_owned(),
        token: fleet::token(&fleet.admin, "eu-west-1", "eu-west").await?,
        coordinator: proxy.address(),
        ca_file: None,
        hosts: None,
        canary: None,
        has_raw_sockets: false,
    };
    fleet.agents.push(Agent::start(deaf)?);
    fleet.connected(2).await?;
    proxy.set(Line::CutToServer);
    // 15 s of silence close a session from either side.
    eventually("the silent agent was seen as gone", Duration::from_secs(25), async || {
        fleet.connected_now(1).await
    })
    .await?;
    proxy.set(Line::Open);
    eventually("it came back by itself", Duration::from_secs(60), async || fleet.connected_now(2).await).await
}
