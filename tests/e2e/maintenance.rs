//! Planned work wakes nobody; what it broke does, as soon as the window is over.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1::{ChannelKind, Heartbeat, HeartbeatStatus, IncidentState, Monitor, MonitorStatus};
use support::admin::{seconds, time};
use support::ctl::done;
use support::eventually::throughout;
use support::webhook::of_subject;
use support::{Answer, Fleet, SOON, Site, environment, eventually, http};

/// Several checks, and several expected pings.
const A_WHILE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_woken_during_maintenance_and_what_it_broke_is_told_of_at_its_end() -> Result<()> {
    let fleet = Fleet::start(&["ap-south", "eu-west", "us-east"]).await?;
    let (target, receiver) =
        (Site::start(Answer::Status(200)).await?, Site::start(Answer::Status(200)).await?);
    fleet.admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let channels = vec!["ops".to_owned()];
    let monitor = Monitor {
        name: "api".to_owned(),
        url: target.url("/health"),
        interval: seconds(2),
        timeout: seconds(1),
        channels: channels.clone(),
        tags: vec!["move".to_owned()],
        ..Monitor::default()
    };
    let monitor = fleet.admin.create_monitor(monitor).await?.id;
    let heartbeat = Heartbeat {
        name: "nightly".to_owned(),
        interval: seconds(2),
        grace: seconds(1),
        channels,
        tags: vec!["move".to_owned()],
        ..Heartbeat::default()
    };
    let heartbeat = fleet.admin.create_heartbeat(heartbeat).await?;
    fleet.admin.until_status(&monitor, MonitorStatus::Up, SOON).await?;
    let page = done(&fleet.coordinator, &["page", "create", "Status", "--monitor", &monitor])?;

    let plan = ["maintenance", "create", "moving the database", "--tag", "move", "--duration", "1h"];
    let plan = done(&fleet.coordinator, &plan)?;
    fleet.admin.until_status(&monitor, MonitorStatus::Maintenance, SOON).await?;
    // One ping in the window, so that the next would be expected in it.
    ensure!(http::get(&heartbeat.ping_url).await?.text().starts_with("OK"));
    target.answer(Answer::Status(503));
    throughout(A_WHILE, async || {
        ensure!(receiver.requests().is_empty(), "somebody was told: {:?}", receiver.requests());
        let status = fleet.admin.monitor(&monitor).await?.status();
        ensure!(status == MonitorStatus::Maintenance, "it is {status:?}");
        let status = fleet.admin.heartbeat(&heartbeat.id).await?.status();
        ensure!(status == HeartbeatStatus::Maintenance, "the heartbeat is {status:?}");
        Ok(())
    })
    .await?;
    let shown = http::get(&page).await?.text();
    ensure!(shown.contains("moving the database"), "the page says nothing of it: {shown}");

    let ended = environment::now();
    done(&fleet.coordinator, &["maintenance", "end", &plan])?;
    for subject in [&monitor, &heartbeat.id] {
        eventually("it was told of after the end", SOON, async || {
            Ok((!of_subject(&receiver.requests(), "incident.opened", subject).is_empty()).then_some(()))
        })
        .await?;
        let [incident] = &fleet.admin.incidents_of(subject).await?[..] else {
            anyhow::bail!("not one incident")
        };
        let opened_at = time(incident.opened_at.as_ref())?;
        ensure!(opened_at >= ended, "{incident:?} opened before {ended:?}");
    }

    target.answer(Answer::Status(200));
    ensure!(http::get(&heartbeat.ping_url).await?.text().starts_with("OK"));
    eventually("both were told to be over", SOON * 4, async || {
        let resolved = |subject| of_subject(&receiver.requests(), "incident.resolved", subject).len();
        Ok((resolved(&monitor) == 1 && resolved(&heartbeat.id) >= 1).then_some(()))
    })
    .await?;
    let [incident] = &fleet.admin.incidents_of(&monitor).await?[..] else {
        anyhow::bail!("not one incident")
    };
    ensure!(incident.state() == IncidentState::Resolved, "{incident:?}");
    Ok(())
}
