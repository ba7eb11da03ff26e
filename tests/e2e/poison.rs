//! A check that kills its agent is found and set aside; an agent that is killed for other reasons loses none.

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Monitor, MonitorStatus};
use support::admin::{seconds, wire_time};
use support::ctl::done;
use support::{Fleet, PacedSite, SOON, environment, eventually};

const CULPRIT: &str = "/never/culprit";
const INNOCENTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_that_is_in_flight_whenever_its_agent_dies_is_set_aside_until_it_is_changed() -> Result<()>
{
    let began = wire_time(environment::now());
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let target = PacedSite::start().await?;
    let create = async |path: &str, interval| {
        let (interval, timeout) = (seconds(interval), seconds(interval));
        fleet
            .admin
            .create_monitor(Monitor { url: target.url(path), interval, timeout, ..Monitor::default() })
            .await
    };
    let culprit = create(CULPRIT, 4).await?.id;
    let mut innocents = vec![];
    for number in 0..INNOCENTS {
        innocents.push(create(&format!("/0/{number}"), 1).await?.id);
    }
    // The third time it is tried, alone, before anything else.
    let mut asked = 0;
    for death in 1..=3 {
        eventually("the culprit was in flight", SOON, async || {
            ensure!(target.asked_for(CULPRIT) > asked);
            Ok(Some(()))
        })
        .await?;
        fleet.agents[0].kill()?;
        asked = target.asked_for(CULPRIT);
        fleet.agents[0].start_again()?;
        eventually(&format!("the agent was back after death {death}"), SOON, async || {
            fleet.connected_now(1).await
        })
        .await?;
    }

    eventually("the culprit was set aside", SOON, async || {
        let results = fleet.admin.results(&culprit, began).await?;
        ensure!(
            results.iter().any(|it| it.outcome == "error" && it.detail.starts_with("quarantined:")),
            "{results:?}"
        );
        let shown = done(&fleet.coordinator, &["monitor", "get", &culprit])?;
        ensure!(shown.contains("quarantined: the agent died twice"), "{shown}");
        Ok(Some(()))
    })
    .await?;
    let (asked, before) = (target.asked_for(CULPRIT), target.asked());
    let most = before.values().max().copied().context("somebody was asked")?;
    eventually("the innocent went on", SOON, async || {
        let after = target.asked();
        ensure!(
            (0..INNOCENTS).all(|number| after.get(&format!("/0/{number}")).is_some_and(|it| *it > most + 5))
        );
        Ok(Some(()))
    })
    .await?;
    ensure!(target.asked_for(CULPRIT) == asked, "it is not run");
    for id in &innocents {
        fleet.admin.until_status(id, MonitorStatus::Up, SOON).await?;
        let results = fleet.admin.results(id, began).await?;
        ensure!(results.iter().all(|it| !it.detail.contains("quarantined")), "{results:?}");
    }
    let log = fleet.agents[0].process().output();
    ensure!(log.contains("this check is not run") && log.contains(&culprit), "{log}");

    done(&fleet.coordinator, &["monitor", "edit", &culprit, "--timeout", "3s"])?;
    eventually("it was tried again when it was changed", SOON, async || {
        Ok((target.asked_for(CULPRIT) > asked).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_full_of_checks_that_is_killed_again_and_again_goes_on_with_all_of_them() -> Result<()> {
    const MONITORS: usize = 40;
    let began = wire_time(environment::now());
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let target = PacedSite::start().await?;
    let mut monitors = vec![];
    for number in 0..MONITORS {
        let monitor = Monitor {
            url: target.url(&format!("/800/{number}")),
            interval: seconds(1),
            ..Monitor::default()
        };
        monitors.push(fleet.admin.create_monitor(monitor).await?.id);
    }
    target.until_each_was_asked(MONITORS, 2).await?;
    for _ in 0..4 {
        fleet.agents[0].kill()?;
        fleet.agents[0].start_again()?;
        let asked = target.asked();
        target.until_each_was_asked(MONITORS, asked.values().max().copied().unwrap_or(0) + 2).await?;
    }
    for id in &monitors {
        let results = fleet.admin.results(id, began).await?;
        ensure!(results.iter().all(|it| it.outcome == "pass"), "{results:?}");
    }
    let log = fleet.agents[0].process().output();
    ensure!(log.contains("the process before died with checks in flight"), "{log}");
    Ok(())
}
