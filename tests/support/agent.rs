//! `vigilmon-agent run` as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::Result;
use rustix::process::Signal;

use crate::process::Process;
use crate::{Scratch, environment};

/// A running probe agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    settings: Settings,
    scratch: Scratch,
}

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the log calls it.
    pub name: String,
    /// The token that `agent create` printed.
    pub token: String,
    /// The coordinator, or a proxy in front of it.
    pub coordinator: SocketAddr,
    /// Authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// What the agent reads in place of `/etc/hosts`, in a mount namespace of its own.
    pub hosts: Option<String>,
    /// What it checks to know whether it can see at all.
    pub canary: Option<String>,
    /// Whether it lacks CAP_NET_RAW, though the test may have it.
    pub without_raw_sockets: bool,
}

impl Agent {
    /// Starts one. It connects by itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(settings: Settings) -> Result<Self> {
        let scratch = Scratch::new()?;
        let process = spawn(&settings, &scratch)?;
        Ok(Self { process, settings, scratch })
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

    /// Starts it again with the same token and spool.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = spawn(&self.settings, &self.scratch)?;
        Ok(())
    }

    /// Starts another process, which takes over, and waits until the one before has ended. Says how it did.
    ///
    /// # Errors
    /// When it does not end, or the other cannot be started.
    pub async fn upgrade(&mut self) -> Result<ExitStatus> {
        let newer = spawn(&self.settings, &self.scratch)?;
        let mut older = std::mem::replace(&mut self.process, newer);
        older.end().await
    }

    /// Another process with the same token and spool and further arguments, waited for until it ends.
    ///
    /// # Errors
    /// When it does not end, or cannot be started.
    pub async fn rival(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let mut command = command(&self.settings, &self.scratch)?;
        command.args(arguments);
        let mut rival = Process::start("rival agent", command, self.scratch.join("rival.log"))?;
        let ended = rival.end().await?;
        Ok((ended, rival.output()))
    }

    /// The directory of its spool.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.scratch.join("spool")
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Whether agents can be given a hosts file of their own here.
#[must_use]
pub fn can_override_hosts() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind /dev/null /etc/hosts"]);
    environment::is_root() && command.output().is_ok_and(|output| output.status.success())
}

fn spawn(settings: &Settings, scratch: &Scratch) -> Result<Process> {
    let name = format!("vigilmon-agent {}", settings.name);
    Process::start(&name, command(settings, scratch)?, scratch.join("agent.log"))
}

fn command(settings: &Settings, scratch: &Scratch) -> Result<Command> {
    let binary = environment::binary("vigilmon-agent")?;
    let token = scratch.write("token", &settings.token)?;
    let mut command = match &settings.hosts {
        None if settings.without_raw_sockets => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", "--"]).arg(binary);
            command
        }
        None => Command::new(binary),
        Some(hosts) => {
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
                .arg(scratch.write("hosts", hosts)?)
                .arg(binary);
            command
        }
    };
    command
        .arg("run")
        .args(["--coordinator", &format!("https://{}", settings.coordinator)])
        .arg("--token-file")
        .arg(token)
        .arg("--spool")
        .arg(scratch.join("spool"))
        .current_dir(scratch.path());
    if let Some(file) = &settings.ca_file {
        command.arg("--ca-file").arg(file);
    }
    if let Some(canary) = &settings.canary {
        command.args(["--canary", canary]);
    }
    Ok(command)
}
