//! An agent that cannot see what is known to be well is not believed until it can.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Agent, ChannelKind, GetAgentRequest, Monitor, MonitorStatus};
use support::admin::seconds;
use support::fleet::Shape;
use support::webhook::of_type;
use support::{Answer, Fleet, SOON, Site, ctl, eventually};

/// 15 s between two looks at the canaries, a second look, and what surrounds them.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// The same, and the minute of good behaviour.
const RELEASED_WITHIN: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_own_canaries_fail_is_not_believed_until_they_are_well() -> Result<()> {
    let mut canaries = vec![];
    for _ in 0..3 {
        canaries.push(Site::start(Answer::Status(200)).await?);
    }
    let shape = Shape { canaries: canaries.iter().map(|site| site.url("/")).collect(), ..Shape::default() };
    let fleet = Fleet::start_with(&["ap-south", "eu-west", "us-east"], shape).await?;
    let (target, receiver) =
        (Site::start(Answer::Status(200)).await?, Site::start(Answer::Status(200)).await?);
    fleet.admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let monitor = Monitor { url: target.url("/"), interval: seconds(2), ..Monitor::default() };
    let monitor = fleet.admin.create_monitor(monitor).await?.id;
    fleet.admin.until_status(&monitor, MonitorStatus::Up, SOON).await?;
    let told = |kind| of_type(&receiver.requests(), kind).len();

    canaries[2].answer(Answer::Status(503));
    let sick = eventually("us-east-1 was quarantined", NOTICED_WITHIN, async || {
        let agent = agent(&fleet, "us-east-1").await?;
        Ok(agent.quarantine.is_some().then_some(agent))
    })
    .await?;
    let quarantine = sick.quarantine.context("it was there")?;
    ensure!(quarantine.reason == "its own canaries fail", "{quarantine:?}");
    eventually("the notice came", SOON, async || Ok((told("incident.opened") == 1).then_some(()))).await?;
    eventually("whose vote does not count was explained", SOON, async || {
        let shown = ctl::done(&fleet.coordinator, &["monitor", "explain", &monitor])?;
        ensure!(shown.contains("quarantine"), "{shown}");
        Ok(Some(()))
    })
    .await?;
    for well in ["ap-south-1", "eu-west-1"] {
        ensure!(agent(&fleet, well).await?.quarantine.is_none(), "{well} is blamed too");
    }
    ensure!(fleet.admin.monitor(&monitor).await?.status() == MonitorStatus::Up, "two regions can tell");

    canaries[2].answer(Answer::Status(200));
    eventually("us-east-1 was believed again", RELEASED_WITHIN, async || {
        Ok(agent(&fleet, "us-east-1").await?.quarantine.is_none().then_some(()))
    })
    .await?;
    eventually("that was told", SOON, async || Ok((told("incident.resolved") == 1).then_some(()))).await?;
    ensure!(told("incident.opened") == 1, "more was told: {:?}", receiver.requests());
    Ok(())
}

async fn agent(fleet: &Fleet, name: &str) -> Result<Agent> {
    let request = GetAgentRequest { id: name.to_owned() };
    Ok(fleet.admin.fleet().get_agent(request).await?.into_inner())
}
