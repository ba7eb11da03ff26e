//! The first five minutes: one command, an address, and a first Up; then the tour.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::MonitorStatus;
use rustix::process::Signal;
use support::ctl::done;
use support::process::{Process, free_address};
use support::{Admin, Answer, Coordinator, SOON, Scratch, Site, environment, eventually, http};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_prints_its_address_and_a_first_up_within_ten_seconds() -> Result<()> {
    let scratch = Scratch::new()?;
    let target = Site::start(Answer::Status(200)).await?;
    let (listen, agents) = (free_address()?, free_address()?);
    let url = target.url("/health");
    let start = |log: &str| {
        let mut command = Command::new(environment::binary("vigilmon")?);
        command
            .args(["up", &url, "--http-listen", &listen.to_string(), "--agent-listen", &agents.to_string()])
            .current_dir(scratch.path());
        Process::start("vigilmon up", command, scratch.join(log))
    };
    let started = Instant::now();
    let mut up = start("first.log")?;
    let name = url.trim_start_matches("http://").to_owned();
    eventually("address and first Up were printed", SOON, async || {
        up.assert_running()?;
        let output = up.output();
        let is_up = |line: &str| line.contains(&name) && line.to_lowercase().contains("up");
        Ok((output.contains(&format!("http://{listen}")) && output.lines().any(is_up)).then_some(()))
    })
    .await?;
    println!("first Up after {:?}", started.elapsed());

    let key =
        std::fs::read_to_string(scratch.join("vigilmon-data/admin.key")).context("the first admin key")?;
    ensure!(!up.output().contains(key.trim()), "the key is printed although nobody looks at a terminal");
    let admin = Admin::connect(&format!("http://{listen}"), key.trim())?;
    let list = async || {
        Ok::<_, anyhow::Error>(
            admin
                .monitors()
                .list_monitors(proto::admin::v1::ListMonitorsRequest::default())
                .await?
                .into_inner()
                .monitors,
        )
    };
    let monitors = list().await?;
    ensure!(monitors.len() == 1 && monitors[0].status() == MonitorStatus::Up, "{monitors:?}");

    target.answer(Answer::Status(503));
    let request = proto::admin::v1::UpdateMonitorRequest {
        monitor: Some(proto::admin::v1::Monitor {
            id: monitors[0].id.clone(),
            interval: support::admin::seconds(2),
            timeout: support::admin::seconds(1),
            ..proto::admin::v1::Monitor::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["interval".to_owned(), "timeout".to_owned()],
        }),
    };
    admin.monitors().update_monitor(request).await?;
    eventually("the change was printed as it happened", SOON, async || {
        Ok(up
            .output()
            .lines()
            .any(|line| line.contains(&name) && line.to_lowercase().contains("down"))
            .then_some(()))
    })
    .await?;

    up.signal(Signal::INT)?;
    let ended = up.end().await?;
    ensure!(ended.success(), "it ended with {ended}");
    let again = start("second.log")?;
    eventually("it was back", SOON, async || Ok((list().await?.len() == 1).then_some(()))).await?;
    drop(again);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_tours_every_noun_and_the_page_shows_the_world_only_what_it_may() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let target = Site::start(Answer::Status(200)).await?;
    let token = done(&coordinator, &["agent", "create", "us-east-1", "--region", "us-east"])?;
    ensure!(token.starts_with("vat_") && token.lines().count() == 1, "not a token alone");
    let secret = done(&coordinator, &["channel", "create", "webhook", "ops", "--url", &target.url("/hook")])?;
    ensure!(secret.starts_with("whsec_"), "not a signing secret alone");
    let id = done(
        &coordinator,
        &["monitor", "create", &target.url("/secret-path"), "--name", "api", "--channel", "ops"],
    )?;
    ensure!(id.starts_with("mon_"), "{id}");
    let ping =
        done(&coordinator, &["heartbeat", "create", "nightly", "--interval", "25h", "--channel", "ops"])?;
    ensure!(http::get(&ping).await?.status == 200, "the printed URL can be pinged");
    let page = done(
        &coordinator,
        &["page", "create", "Acme API Status", "--monitor", "api", "--heartbeat", "nightly"],
    )?;

    for noun in ["monitor", "heartbeat", "incident", "agent", "region", "channel", "page"] {
        done(&coordinator, &[noun, "ls"])?;
        let json = done(&coordinator, &[noun, "ls", "-o", "json"])?;
        serde_json::from_str::<serde_json::Value>(&json)
            .with_context(|| format!("{noun} ls -o json: {json}"))?;
    }
    done(&coordinator, &["monitor", "explain", "api"])?;
    done(&coordinator, &["monitor", "edit", "api", "--interval", "30s"])?;
    ensure!(done(&coordinator, &["monitor", "get", "api"])?.contains("30s"));
    done(&coordinator, &["monitor", "pause", "api"])?;
    done(&coordinator, &["monitor", "resume", "api"])?;

    let shown = eventually("the page was there", Duration::from_secs(5), async || {
        let shown = http::get(&page).await?;
        Ok((shown.status == 200).then_some(shown))
    })
    .await?;
    let text = shown.text();
    for part in ["Acme API Status", "api", "nightly"] {
        ensure!(text.contains(part), "`{part}` is not on the page");
    }
    ensure!(
        !text.contains("secret-path") && !text.contains("<script"),
        "the page tells too much, or runs scripts"
    );
    ensure!(shown.header("content-security-policy").is_some(), "{:?}", shown.headers);
    ensure!(http::get(&coordinator.url("/status/unknown")).await?.status == 404);
    Ok(())
}
