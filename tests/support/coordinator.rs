//! `vigilmon serve` as a process that can be killed and started again on the same data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::process::{Process, free_address};
use crate::{Admin, Scratch, environment, eventually, http};

/// How long a coordinator may take until it is ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How a coordinator is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Where its data is; by default a directory of its own.
    pub data: Option<PathBuf>,
    /// A program (with arguments) that starts it, such as `strace`.
    pub wrapper: Vec<String>,
}

/// A running coordinator.
#[derive(Debug)]
pub struct Coordinator {
    // Before the directory, so that the process has ended when the directory goes.
    process: Process,
    options: Options,
    http: SocketAddr,
    agents: SocketAddr,
    data: PathBuf,
    scratch: Scratch,
}

impl Coordinator {
    /// Starts one with a data directory of its own and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_with(options: Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (http, agents) = (free_address()?, free_address()?);
        let data = options.data.clone().unwrap_or_else(|| scratch.join("data"));
        let process = spawn(&options, http, agents, &data, &scratch)?;
        let mut coordinator = Self { process, options, http, agents, data, scratch };
        coordinator.ready().await?;
        Ok(coordinator)
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        let url = self.url("/health/ready");
        eventually("the coordinator was ready", START_LIMIT, async || {
            self.process.assert_running()?;
            Ok(http::get(&url).await.ok().filter(|answer| answer.status == 200).map(drop))
        })
        .await
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.end().await
    }

    /// Starts it again on the same data and addresses, without waiting. Returns when that was.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<Instant> {
        let started = Instant::now();
        self.process = spawn(&self.options, self.http, self.agents, &self.data, &self.scratch)?;
        Ok(started)
    }

    /// Variables for the next start.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.options.environment = environment;
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A URL at its HTTP listener; `path` begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The address of its HTTP listener.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The address of its agent listener.
    #[must_use]
    pub const fn agent_address(&self) -> SocketAddr {
        self.agents
    }

    /// The admin key it made at its first start.
    ///
    /// # Errors
    /// When there is none.
    pub fn admin_key(&self) -> Result<String> {
        let file = self.data.join("admin.key");
        let key = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        Ok(key.trim().to_owned())
    }

    /// A client of its admin API.
    ///
    /// # Errors
    /// When there is no key.
    pub fn admin(&self) -> Result<Admin> {
        Admin::connect(&self.url(""), &self.admin_key()?)
    }
}

fn spawn(
    options: &Options,
    http: SocketAddr,
    agents: SocketAddr,
    data: &Path,
    scratch: &Scratch,
) -> Result<Process> {
    let binary = environment::binary("vigilmon")?;
    let mut command = match options.wrapper.split_first() {
        None => Command::new(binary),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--http-listen", &http.to_string(), "--agent-listen", &agents.to_string()])
        .args(["--public-url", &format!("http://{http}"), "--allow-receiver", "127.0.0.0/8"])
        .args(&options.arguments)
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(scratch.path());
    Process::start("vigilmon", command, scratch.join("vigilmon.log"))
}
