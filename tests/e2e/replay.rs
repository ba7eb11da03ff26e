//! Another policy on what real agents reported: the record is enough to tell what it would have done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Monitor, MonitorStatus};
use serde_json::Value;
use support::admin::seconds;
use support::eventually::throughout;
use support::fleet::{Fleet, Shape};
use support::{Answer, Coordinator, SOON, Site, agent, ctl, environment};

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// A name that the agents' own hosts files resolve: for the first region to one site, for the others to another.
const HOST: &str = "target.test";

/// Two rounds, 10 s apart, and what surrounds them.
const RECOVERY_LIMIT: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_adds_what_any_region_saw_and_removes_what_not_all_did() -> Result<()> {
    if !agent::can_override_hosts() {
        return environment::skip("replay", "agents cannot be given hosts files (needs root and unshare)");
    }
    let most = Site::start(Answer::Status(200)).await?;
    let port = most.address().port();
    let alone = Site::start_at(([127, 0, 0, 66], port).into(), Answer::Status(200)).await?;
    let hosts =
        ["127.0.0.66", "127.0.0.1", "127.0.0.1"].map(|address| format!("{address} {HOST}\n")).to_vec();
    let fleet = Fleet::start_with(&REGIONS, Shape { hosts, ..Shape::default() }).await?;
    let admin = &fleet.admin;
    let url = format!("http://{HOST}:{port}/health");
    let quick = Monitor { interval: seconds(2), timeout: seconds(1), ..Monitor::default() };
    let monitor = admin.create_monitor(Monitor { name: "shop".into(), url, ..quick }).await?;
    admin.until_status(&monitor.id, MonitorStatus::Up, SOON).await?;

    // One region alone, which is no majority.
    alone.answer(Answer::Status(503));
    admin.until_status(&monitor.id, MonitorStatus::Degraded, SOON).await?;
    throughout(Duration::from_secs(4), async || {
        ensure!(admin.incidents_of(&monitor.id).await?.is_empty(), "one region is no majority");
        Ok(())
    })
    .await?;
    alone.answer(Answer::Status(200));
    admin.until_status(&monitor.id, MonitorStatus::Up, SOON).await?;
    // Long enough for the other policy, too, to see a recovery.
    throughout(Duration::from_secs(16), async || {
        let status = admin.monitor(&monitor.id).await?.status();
        ensure!(status == MonitorStatus::Up, "it is {}", status.as_str_name());
        Ok(())
    })
    .await?;

    // The two others, which are not all.
    most.answer(Answer::Status(503));
    admin.until_status(&monitor.id, MonitorStatus::Down, SOON).await?;
    most.answer(Answer::Status(200));
    admin.until_status(&monitor.id, MonitorStatus::Up, RECOVERY_LIMIT).await?;

    let coordinator = &fleet.coordinator;
    let present = replay(coordinator, &[])?;
    ensure!(changes(&present)? == ["same"], "{present}");
    ensure!(present["departures"].as_array().is_some_and(Vec::is_empty), "{present}");

    let any = replay(coordinator, &["--policy", "any"])?;
    let [first, _] = &changes(&any)?[..] else { anyhow::bail!("not two incidents: {any}") };
    ensure!(*first == "added", "{any}");
    let cause = any["incidents"][0]["after"]["cause"].as_str().context("a cause")?;
    ensure!(cause == "503 Service Unavailable from us-east", "{any}");

    let all = replay(coordinator, &["--policy", "all"])?;
    ensure!(changes(&all)? == ["removed"], "{all}");

    let patient = replay(coordinator, &["--confirmation-period", "1h"])?;
    ensure!(changes(&patient)? == ["removed"], "{patient}");

    let said = ctl::done(coordinator, &["monitor", "replay", "shop", "--policy", "majority"])?;
    ensure!(said.contains("none: the same incident with both policies"), "{said}");
    let wrong = ctl::ctl(coordinator, &["monitor", "replay", "shop", "--policy", "most"])?;
    ensure!(wrong.code == 2 && wrong.stderr.contains("quorum"), "{wrong:?}");
    Ok(())
}

fn replay(coordinator: &Coordinator, options: &[&str]) -> Result<Value> {
    let arguments = [&["monitor", "replay", "shop", "--since", "1h", "-o", "json"], options].concat();
    Ok(serde_json::from_str(&ctl::done(coordinator, &arguments)?)?)
}

/// What became of each incident, oldest first.
fn changes(answer: &Value) -> Result<Vec<&str>> {
    let incidents = answer["incidents"].as_array().context("incidents")?;
    incidents.iter().map(|it| it["change"].as_str().context("a change")).collect()
}
