//! `vigilctl` as a user runs it.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{Coordinator, environment};

/// What a run of `vigilctl` left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code.
    pub code: i32,
    /// What it printed for programs, without the last line break.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

/// Runs `vigilctl` against a coordinator, with its admin key.
///
/// # Errors
/// When it cannot be run.
pub fn ctl(coordinator: &Coordinator, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(environment::binary("vigilctl")?)
        .args(arguments)
        .env("VIGILMON_SERVER", coordinator.url(""))
        .env("VIGILMON_API_KEY", coordinator.admin_key()?)
        .output()?;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `vigilctl`, which must succeed, and returns what it printed on stdout.
///
/// # Errors
/// When it fails.
pub fn done(coordinator: &Coordinator, arguments: &[&str]) -> Result<String> {
    let output = ctl(coordinator, arguments)?;
    ensure!(output.code == 0, "vigilctl {arguments:?} ended with {}: {}", output.code, output.stderr);
    Ok(output.stdout)
}
