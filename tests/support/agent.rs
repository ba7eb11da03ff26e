//! `vigilmon-agent run` as a process, without privileges whoever runs the tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::Result;
use rustix::process::Signal;

use crate::process::Process;
use crate::{Scratch, environment, unprivileged};

/// A running probe agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    settings: Settings,
    specialty: Specialty,
    scratch: Scratch,
}

/// What is special about an agent, besides what all have.
#[derive(Clone, Debug, Default)]
pub struct Specialty {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// What it reads in place of `/etc/resolv.conf`, in a mount namespace of its own.
    pub resolv_conf: Option<String>,
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
    /// Whether it has CAP_NET_RAW, which no other has.
    pub has_raw_sockets: bool,
}

impl Agent {
    /// Starts one. It connects by itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(settings: Settings) -> Result<Self> {
        Self::start_special(settings, Specialty::default())
    }

    /// The same with something special about it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_special(settings: Settings, specialty: Specialty) -> Result<Self> {
        let scratch = Scratch::new()?;
        let process = spawn(&settings, &specialty, &scratch)?;
        Ok(Self { process, settings, specialty, scratch })
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
        self.process = spawn(&self.settings, &self.specialty, &self.scratch)?;
        Ok(())
    }

    /// Starts another process, which takes over, and waits until the one before has ended. Says how it did.
    ///
    /// # Errors
    /// When it does not end, or the other cannot be started.
    pub async fn upgrade(&mut self) -> Result<ExitStatus> {
        let newer = spawn(&self.settings, &self.specialty, &self.scratch)?;
        let mut older = std::mem::replace(&mut self.process, newer);
        older.end().await
    }

    /// Another process with the same token and spool and further arguments, waited for until it ends.
    ///
    /// # Errors
    /// When it does not end, or cannot be started.
    pub async fn rival(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let mut command = command(&self.settings, &self.specialty, &self.scratch)?;
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

fn spawn(settings: &Settings, specialty: &Specialty, scratch: &Scratch) -> Result<Process> {
    let name = format!("vigilmon-agent {}", settings.name);
    Process::start(&name, command(settings, specialty, scratch)?, scratch.join("agent.log"))
}

fn command(settings: &Settings, specialty: &Specialty, scratch: &Scratch) -> Result<Command> {
    let token = scratch.write("token", &settings.token)?;
    let mut line = vec![];
    for (file, content) in [("hosts", &settings.hosts), ("resolv.conf", &specialty.resolv_conf)] {
        let Some(content) = content else { continue };
        let script = format!("mount --bind \"$0\" /etc/{file} && exec \"$@\"");
        line.extend(["unshare", "--mount", "sh", "-c", &script].map(str::to_owned));
        line.push(scratch.write(file, content)?.display().to_string());
    }
    line.extend(unprivileged::prefix(settings.has_raw_sockets));
    line.push(unprivileged::binary("vigilmon-agent", scratch)?.display().to_string());
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .arg("run")
        .args(["--coordinator", &format!("https://{}", settings.coordinator)])
        .arg("--token-file")
        .arg(token)
        .arg("--spool")
        .arg(unprivileged::directory("spool", scratch)?)
        .args(&specialty.arguments)
        .current_dir(scratch.path());
    if let Some(file) = &settings.ca_file {
        command.arg("--ca-file").arg(file);
    }
    if let Some(canary) = &settings.canary {
        command.args(["--canary", canary]);
    }
    Ok(command)
}
