//! A real PostgreSQL with a data directory of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually};

/// PostgreSQL, running or stopped.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    port: u16,
    scratch: Scratch,
}

/// Whether PostgreSQL is installed.
#[must_use]
pub fn is_installed() -> bool {
    program("initdb").is_some() && program("postgres").is_some()
}

impl Postgres {
    /// Makes a database and starts it.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        if let Some((user, group)) = owner()? {
            std::os::unix::fs::chown(scratch.path(), Some(user), Some(group))?;
        }
        let mut initdb = command("initdb")?;
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--pgdata"]);
        let output = initdb.arg(scratch.join("data")).output()?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let mut postgres = Self { process: None, port: free_address()?.port(), scratch };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// Starts it again after [`Postgres::stop`].
    ///
    /// # Errors
    /// When it does not accept connections.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut server = command("postgres")?;
        server
            .arg("-D")
            .arg(self.scratch.join("data"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "fsync=off", "-k"])
            .arg(self.scratch.path());
        let log = self.scratch.join("server.log");
        let process = self.process.insert(Process::start("postgres", server, log)?);
        eventually("PostgreSQL accepted connections", SOON * 2, async || {
            process.assert_running()?;
            Ok(TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(drop))
        })
        .await
    }

    /// Stops it: clients are cut off at once, data stays whole.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.signal(Signal::INT)?;
        process.end().await?;
        Ok(())
    }

    /// How clients reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children end with it when it is asked, not when it is killed.
        if let Some(process) = &self.process {
            drop(process.signal(Signal::QUIT));
        }
    }
}

/// A PostgreSQL program as the user it may run as.
fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name).with_context(|| format!("{name} is not installed"))?);
    command.current_dir("/").env("LC_ALL", "C");
    if let Some((user, group)) = owner()? {
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// User and group to run as: PostgreSQL refuses to run as root.
fn owner() -> Result<Option<(u32, u32)>> {
    if !environment::is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    for name in ["postgres", "nobody"] {
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        if let Some([_, _, user, group, ..]) = line.map(|line| line.split(':').collect::<Vec<_>>()).as_deref()
        {
            return Ok(Some((user.parse()?, group.parse()?)));
        }
    }
    bail!("there is neither a user `postgres` nor `nobody`")
}

fn program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut places: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    places.sort();
    environment::tool(name, &places)
}
