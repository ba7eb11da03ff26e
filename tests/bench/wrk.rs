//! `wrk`, the yardstick: as many requests as one thread can make.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::{Scratch, environment};

use crate::usage;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// Connections at a time.
    pub(crate) connections: u32,
    /// For how long, in seconds.
    pub(crate) seconds: u32,
    /// Where to.
    pub(crate) url: &'a str,
    /// A program in Lua that makes the requests; empty: GETs of the URL.
    pub(crate) script: &'a str,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Answers per second.
    pub(crate) rate: f64,
    /// All answers.
    pub(crate) answers: f64,
    /// Milliseconds until half of the answers.
    pub(crate) p50_ms: f64,
    /// Milliseconds until 99 of 100 answers.
    pub(crate) p99_ms: f64,
    /// Seconds of CPU per 1,000 requests, at the client.
    pub(crate) cpu_per_1000: f64,
}

/// Closes the connection with each request.
pub(crate) const CLOSE: &str = "wrk.headers[\"Connection\"] = \"close\"\n";

/// Whether it is installed.
pub(crate) fn is_installed() -> bool {
    environment::tool("wrk", &[]).is_some()
}

/// Runs it.
///
/// # Errors
/// When it cannot run, or an answer is not a success.
pub(crate) async fn run(load: Load<'_>) -> Result<Outcome> {
    let scratch = Scratch::new()?;
    let script = scratch.write("script.lua", load.script)?;
    let mut command = Command::new(environment::tool("wrk", &[]).context("wrk is not installed")?);
    command
        .args(["-t1", "--latency", &format!("-c{}", load.connections), &format!("-d{}s", load.seconds), "-s"])
        .arg(script)
        .arg(load.url);
    let usage::Ran { output, cpu, .. } = usage::run(command).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}");
    ensure!(!text.contains("Non-2xx"), "not every answer was a success: {text}");
    let after = |label: &str| {
        let line = text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(label));
        line.map(str::trim).with_context(|| format!("no `{label}` in {text}"))
    };
    let answers: f64 = text
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
        .with_context(|| format!("no number of requests in {text}"))?;
    Ok(Outcome {
        rate: after("Requests/sec:")?.parse()?,
        answers,
        p50_ms: millis(after("50%")?)?,
        p99_ms: millis(after("99%")?)?,
        cpu_per_1000: cpu.as_secs_f64() * 1_000.0 / answers,
    })
}

/// `12.3us`, `4.5ms`, `6.7s`, in milliseconds.
fn millis(text: &str) -> Result<f64> {
    let at = text.find(char::is_alphabetic).with_context(|| format!("no unit in {text}"))?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        _ => 1_000.0,
    };
    Ok(number.parse::<f64>()? * factor)
}
