//! Prometheus Alertmanager, as far as it does the same: one webhook for each of ten thousand alerts. It keeps none of
//! them on disk.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use support::process::{Process, free_address};
use support::{Scratch, environment, eventually, http};

use crate::receiver::Receiver;
use crate::usage;

/// Alerts in one request, as Prometheus might send them.
const BATCH: usize = 200;

/// What it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Webhooks per second, from the first to the last.
    pub(crate) rate: f64,
    /// Seconds of CPU per 1,000 webhooks.
    pub(crate) cpu_per_1000: f64,
}

/// Whether it is installed.
pub(crate) fn is_installed() -> bool {
    environment::tool("prometheus-alertmanager", &[]).is_some()
}

/// Gives it so many alerts, each a group of its own.
///
/// # Errors
/// When it does not start or does not tell of all.
pub(crate) async fn run(alerts: usize) -> Result<Outcome> {
    let scratch = Scratch::new()?;
    let receiver = Receiver::start().await?;
    let config = format!(
        "route: {{receiver: all, group_by: ['...'], group_wait: 0s, group_interval: 1m, repeat_interval: 4h}}\n\
         receivers: [{{name: all, webhook_configs: [{{url: '{}', send_resolved: false}}]}}]\n",
        receiver.url()
    );
    let config = scratch.write("alertmanager.yml", &config)?;
    let address = free_address()?;
    let program = environment::tool("prometheus-alertmanager", &[]).context("it is not installed")?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", scratch.join("alertmanager").display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--cluster.listen-address=", "--log.level=error"]);
    let mut process = Process::start("alertmanager", command, scratch.join("alertmanager.log"))?;
    let ready = format!("http://{address}/-/ready");
    eventually("Alertmanager was ready", Duration::from_secs(20), async || {
        process.assert_running()?;
        Ok(http::get(&ready).await.ok().filter(|answer| answer.status == 200).map(drop))
    })
    .await?;

    let cpu = usage::cpu(process.pid())?;
    let url = format!("http://{address}/api/v2/alerts");
    let alert =
        |number: usize| serde_json::json!({ "labels": { "alertname": "down", "job": number.to_string() } });
    for first in (0..alerts).step_by(BATCH) {
        let batch: Vec<_> = (first..alerts.min(first + BATCH)).map(alert).collect();
        let body = serde_json::to_vec(&batch)?;
        let answer = http::send("POST", &url, &[("content-type", "application/json")], body).await?;
        ensure!(answer.status == 200, "Alertmanager answers {}: {}", answer.status, answer.text());
    }
    eventually("Alertmanager told of all", Duration::from_secs(60), async || {
        Ok(receiver.arrivals().is_some_and(|(count, _)| count >= alerts).then_some(()))
    })
    .await?;
    let cpu = usage::cpu(process.pid())?.saturating_sub(cpu);
    let (count, took) = receiver.arrivals().context("none arrived")?;
    Ok(Outcome {
        rate: count as f64 / took.as_secs_f64(),
        cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / count as f64,
    })
}
