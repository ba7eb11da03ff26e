//! TLS handshakes: checks over HTTPS, each with a new connection and the chain verified, beside `openssl s_time`, which
//! does the same one after the other.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::environment;

use super::{TOO_MANY, Working};
use crate::report::{Budget, Report, Row, figure};
use crate::target::Target;
use crate::usage;
use support::fake_coordinator::paths;

/// Measures them.
pub(super) async fn run(report: &mut Report, target: &Target) -> Result<()> {
    let Some(openssl) = environment::tool("openssl", &[]) else {
        report.note("TLS handshakes are not measured: openssl is not installed");
        return Ok(());
    };
    let mut command = Command::new(openssl);
    command
        .args(["s_time", "-new", "-time", "5", "-verify", "3", "-www", "/m/1"])
        .arg("-connect")
        .arg(target.tls_address().to_string())
        .arg("-CAfile")
        .arg(target.authority());
    let peer = usage::run(command).await?;
    ensure!(peer.output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&peer.output.stderr));
    let text = String::from_utf8_lossy(&peer.output.stdout);
    let connections: f64 = text
        .lines()
        .find_map(|line| line.split_once(" connections in ")?.0.trim().parse().ok())
        .with_context(|| format!("no number of connections in {text}"))?;
    let rate = connections / peer.took.as_secs_f64();
    let cpu = peer.cpu.as_secs_f64() * 1_000.0 / connections;

    let mut agent =
        Working::start(&paths(TOO_MANY / 4, |path| target.tls_url(path)), Some(target.authority())).await?;
    let most = agent.span(target).await?;
    report.add(
        Row::new("HTTPS checks, agent at saturation", most.rate, "handshakes/s")
            .beside(format!("`openssl s_time -new`: {}/s: ×{:.2} of it", figure(rate), most.rate / rate))
            .budget(Budget::AtLeast(rate)),
    );
    report.add(
        Row::new("CPU of the agent, HTTPS at saturation", most.cpu_per_1000, "CPU-s per 1,000")
            .beside(format!("`openssl s_time -new`: {}", figure(cpu)))
            .budget(Budget::AtMost(cpu)),
    );
    Ok(())
}
