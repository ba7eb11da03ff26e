//! Monitors of other kinds than HTTP, from creation to the message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, Monitor, MonitorStatus};
use support::admin::seconds;
use support::task::Task;
use support::webhook::of_type;
use support::{Answer, Fleet, SOON, Site, ctl, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_says_something_else_than_expected_is_one_incident_that_says_what() -> Result<()> {
    let fleet = Fleet::start(&["eu-west", "us-east"]).await?;
    let receiver = Site::start(Answer::Status(200)).await?;
    fleet.admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let is_well = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = Arc::clone(&is_well);
    let _cache = Task::start(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 6];
            if stream.read_exact(&mut heard).await.is_ok() && heard == *b"PING\r\n" {
                let well = served.load(Ordering::Acquire);
                let answer: &[u8] = if well { b"+PONG\r\n" } else { b"-LOADING dataset in memory\r\n" };
                drop(stream.write_all(answer).await);
            }
        }
    });

    let monitor = ctl::done(
        &fleet.coordinator,
        &[
            "monitor",
            "create",
            &format!("tcp://{address}"),
            "--name",
            "cache",
            "--interval",
            "2s",
            "--channel",
            "ops",
            "--send",
            r"PING\r\n",
            "--expect",
            "+PONG",
        ],
    )?;
    fleet.admin.until_status(&monitor, MonitorStatus::Up, SOON).await?;
    is_well.store(false, Ordering::Release);
    fleet.admin.until_status(&monitor, MonitorStatus::Down, SOON * 2).await?;
    eventually("the message came", SOON, async || {
        Ok((of_type(&receiver.requests(), "incident.opened").len() == 1).then_some(()))
    })
    .await?;
    let told = of_type(&receiver.requests(), "incident.opened").pop().context("one")?.text();
    ensure!(told.contains("`+PONG` did not come, but `-LOADING dataset in memory`"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_that_no_longer_holds_is_one_incident_that_says_what_was_found() -> Result<()> {
    let fleet = Fleet::start(&["eu-west", "us-east"]).await?;
    let receiver = Site::start(Answer::Status(200)).await?;
    fleet.admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let stats = Site::start(Answer::Json(200, r#"{"queue": 3}"#.to_owned())).await?;
    let create = |assertion: &str| {
        let (url, coordinator) = (stats.url("/stats"), &fleet.coordinator);
        let options = ["--name", "stats", "--interval", "2s", "--channel", "ops", "--assert", assertion];
        ctl::ctl(coordinator, &[["monitor", "create", &url].as_slice(), &options].concat())
    };
    let refused = create("latency < 300")?;
    ensure!(refused.code == 2 && refused.stderr.contains("a duration needs a unit"), "{refused:?}");
    let made = create(r#"status == 200 && latency < 30s && json("$.queue") < 10"#)?;
    let monitor = made.stdout.trim().to_owned();
    fleet.admin.until_status(&monitor, MonitorStatus::Up, SOON).await?;

    stats.answer(Answer::Json(200, r#"{"queue": 12}"#.to_owned()));
    fleet.admin.until_status(&monitor, MonitorStatus::Down, SOON * 2).await?;
    eventually("the message came", SOON, async || {
        Ok((of_type(&receiver.requests(), "incident.opened").len() == 1).then_some(()))
    })
    .await?;
    let told = of_type(&receiver.requests(), "incident.opened").pop().context("one")?.text();
    ensure!(told.contains(r#"json(\"$.queue\") is 12, wanted json(\"$.queue\") < 10"#), "{told}");

    ctl::done(&fleet.coordinator, &["monitor", "edit", &monitor, "--upside-down"])?;
    fleet.admin.until_status(&monitor, MonitorStatus::Up, SOON * 2).await?;
    ctl::done(
        &fleet.coordinator,
        &["monitor", "edit", &monitor, "--upside-down=false", "--clear", "assert"],
    )?;
    let shown = fleet.admin.monitor(&monitor).await?;
    ensure!(shown.assertions.is_empty() && !shown.upside_down, "{shown:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_a_running_server_speaks_are_found_up_and_an_absent_one_down() -> Result<()> {
    let fleet = Fleet::start(&["us-east"]).await?;
    let own = fleet.coordinator.url("");
    let place = own.trim_start_matches("http://").trim_end_matches('/');
    let closed = support::process::free_address()?;
    for (url, status) in [
        // The coordinator's own health service.
        (format!("grpc://{place}"), MonitorStatus::Up),
        (format!("grpc://{place}/no.such.Service"), MonitorStatus::Down),
        (format!("ws://{place}/"), MonitorStatus::Down),
        (format!("tls://{place}"), MonitorStatus::Down),
        (format!("smtp://{closed}"), MonitorStatus::Down),
        (format!("dns://{closed}/example.com?type=MX"), MonitorStatus::Down),
    ] {
        let monitor = Monitor { url: url.clone(), interval: seconds(2), ..Monitor::default() };
        let monitor = fleet.admin.create_monitor(monitor).await?;
        fleet.admin.until_status(&monitor.id, status, SOON * 2).await.with_context(|| url)?;
    }
    Ok(())
}
