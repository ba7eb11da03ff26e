//! Ending as asked, and starting where somebody else already runs.

use anyhow::{Context, Result, ensure};
use std::process::Command;
use support::process::{Process, free_address};
use support::{Coordinator, Fleet, Scratch, environment, eventually, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_end_coordinator_and_agents_end_well_and_come_back() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let ended = fleet.coordinator.terminate().await?;
    ensure!(ended.success(), "the coordinator ended with {ended}");
    fleet.coordinator.start_again()?;
    fleet.coordinator.ready().await?;
    fleet.connected(1).await?;
    let ended = fleet.agents[0].terminate().await?;
    ensure!(ended.success(), "the agent ended with {ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_coordinator_on_the_same_data_is_refused_by_name() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let scratch = Scratch::new()?;
    let data = coordinator.data().to_str().context("a path")?.to_owned();
    let mut second = serve(&scratch, &["--data", &data])?;
    let ended = second.end().await?;
    ensure!(!ended.success(), "the second one started");
    ensure!(second.output().contains(&data), "the refusal does not name the directory: {}", second.output());
    ensure!(http::get(&coordinator.url("/health/ready")).await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_options_are_reported_all_at_once() -> Result<()> {
    let scratch = Scratch::new()?;
    let arguments = ["--public-url", "ftp://example.com", "--allow-receiver", "everywhere"];
    let mut wrong = serve(&scratch, &arguments)?;
    let ended = wrong.end().await?;
    let output = wrong.output();
    ensure!(!ended.success(), "it started");
    ensure!(output.contains("public-url") && output.contains("allow-receiver"), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_in_the_shape_that_is_understood() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let health = http::get(&coordinator.url("/health")).await?;
    let body: serde_json::Value = serde_json::from_slice(&health.body)?;
    ensure!(body["status"].is_string() && body["checks"]["database"]["status"] == "ok", "{body}");
    ensure!(http::get(&coordinator.url("/health/live")).await?.status == 200);
    let ready: serde_json::Value =
        serde_json::from_slice(&http::get(&coordinator.url("/health/ready")).await?.body)?;
    ensure!(ready["status"] == "ready" && ready["database"]["status"] == "ok", "{ready}");
    let metrics = http::get(&coordinator.url("/metrics")).await?;
    ensure!(metrics.status == 200 && metrics.text().contains("vigilmon_build_info"), "{}", metrics.text());
    eventually("the root led somewhere", support::SOON, async || {
        let root = http::get(&coordinator.url("/")).await?;
        Ok([200, 303].contains(&root.status).then_some(()))
    })
    .await
}

fn serve(scratch: &Scratch, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(environment::binary("vigilmon")?);
    command
        .args([
            "serve",
            "--http-listen",
            &free_address()?.to_string(),
            "--agent-listen",
            &free_address()?.to_string(),
        ])
        .args(arguments)
        .current_dir(scratch.path());
    Process::start("vigilmon", command, scratch.join("second.log"))
}
