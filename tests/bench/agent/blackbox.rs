//! blackbox_exporter, the peer: probes on request, as many as it can make.

use std::process::Command;

use anyhow::{Result, ensure};
use support::process::{Process, free_address};
use support::{SOON, Scratch, environment, eventually, http};

use crate::{usage, wrk};

/// What an HTTP probe of Debian's package is, over IPv4.
const CONFIGURATION: &str = "
modules:
  http_2xx:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
";

/// What it did.
pub(super) struct Probes {
    /// Per second.
    pub(super) rate: f64,
    /// Seconds of CPU per 1,000, at blackbox_exporter.
    pub(super) cpu_per_1000: f64,
}

/// Lets it probe a URL; `None` where it is not installed.
pub(super) async fn saturated(url: &str) -> Result<Option<Probes>> {
    let Some(binary) = environment::tool("prometheus-blackbox-exporter", &[]) else { return Ok(None) };
    let scratch = Scratch::new()?;
    let address = free_address()?;
    let mut command = Command::new(binary);
    command
        .arg(format!("--config.file={}", scratch.write("blackbox.yml", CONFIGURATION)?.display()))
        .arg(format!("--web.listen-address={address}"));
    let mut process = Process::start("blackbox_exporter", command, scratch.join("blackbox.log"))?;
    let probe = format!("http://{address}/probe?module=http_2xx&target={url}");
    eventually("blackbox_exporter probed", SOON, async || {
        process.assert_running()?;
        let said = http::get(&probe).await?.text();
        ensure!(said.lines().any(|line| line == "probe_success 1"), "the probe failed: {said}");
        Ok(Some(()))
    })
    .await?;
    let cpu = usage::cpu(process.pid())?;
    let load = wrk::run(wrk::Load { connections: 8, seconds: 5, url: &probe, script: "" }).await?;
    let cpu = usage::cpu(process.pid())?.saturating_sub(cpu);
    Ok(Some(Probes { rate: load.rate, cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / load.answers }))
}
