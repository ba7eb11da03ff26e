//! Prometheus Alertmanager as a process, asked over its API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually, http, unprivileged};

const NAME: &str = "prometheus-alertmanager";

/// A running Alertmanager that tells nobody.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    _process: Process,
    _scratch: Scratch,
}

/// Where it is installed, if it is.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    environment::tool(NAME, &[])
}

impl Alertmanager {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start(program: &Path) -> Result<Self> {
        let scratch = Scratch::new()?;
        let data = unprivileged::directory("data", &scratch)?;
        let config = "route: { receiver: none }\nreceivers: [{ name: none }]\n";
        let (address, config) = (free_address()?, scratch.write("alertmanager.yml", config)?);
        let line: Vec<_> =
            unprivileged::prefix(false).into_iter().chain([program.display().to_string()]).collect();
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=");
        let mut process = Process::start(NAME, command, scratch.join("alertmanager.log"))?;
        eventually("Alertmanager was ready", SOON, async || {
            process.assert_running()?;
            let answer = http::get(&format!("http://{address}/-/ready")).await.ok();
            Ok(answer.filter(|answer| answer.status == 200))
        })
        .await?;
        Ok(Self { address, _process: process, _scratch: scratch })
    }

    /// A URL of its.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The alerts that fire.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts(&self) -> Result<Vec<serde_json::Value>> {
        let answer = http::get(&self.url("/api/v2/alerts")).await?;
        serde_json::from_str(&answer.text()).context("the alerts are no JSON")
    }
}
