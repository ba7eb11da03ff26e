//! Prometheus' blackbox exporter, another prober that many trust: as a process, asked over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually, http, unprivileged};

const NAME: &str = "prometheus-blackbox-exporter";

/// A running exporter, without privileges whoever runs the tests.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    _process: Process,
    _scratch: Scratch,
}

/// What one probe came to: the metrics of Prometheus' text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(String);

/// Where it is installed, if it is.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    environment::tool(NAME, &[])
}

impl Exporter {
    /// Starts one with these modules (the content of its configuration file).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start(program: &Path, modules: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (address, config) = (free_address()?, scratch.write("blackbox.yml", modules)?);
        let line: Vec<_> =
            unprivileged::prefix(false).into_iter().chain([program.display().to_string()]).collect();
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start(NAME, command, scratch.join("exporter.log"))?;
        eventually("the exporter was ready", SOON, async || {
            process.assert_running()?;
            Ok(http::get(&format!("http://{address}/-/healthy")).await.ok())
        })
        .await?;
        Ok(Self { address, _process: process, _scratch: scratch })
    }

    /// Probes a target once.
    ///
    /// # Errors
    /// When the exporter does not answer.
    pub async fn probe(&self, module: &str, target: &str) -> Result<Probe> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("module", module)
            .append_pair("target", target)
            .finish();
        let answer = http::get(&format!("http://{}/probe?{query}", self.address)).await?;
        ensure!(answer.status == 200, "{module} of {target}: {} {}", answer.status, answer.text());
        Ok(Probe(answer.text()))
    }
}

impl Probe {
    /// Whether it succeeded.
    ///
    /// # Errors
    /// When it does not say.
    pub fn succeeded(&self) -> Result<bool> {
        Ok(self.value("probe_success").context("a probe succeeds or not")? > 0.5)
    }

    /// The value of a metric, its labels in braces where it has some.
    #[must_use]
    pub fn value(&self, metric: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
        value.parse().ok()
    }
}
