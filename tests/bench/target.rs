//! What is checked: an nginx that answers 200 to everything, once with a log of each request and once without.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::process::{Process, free_address};
use support::{SOON, Scratch, environment, eventually, http};

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Target {
    process: Process,
    log: PathBuf,
    plain: SocketAddr,
    logged: SocketAddr,
    _scratch: Scratch,
}

/// One logged request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it was answered, in seconds.
    pub(crate) at: f64,
    /// Its path.
    pub(crate) path: String,
}

impl Target {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let (plain, logged) = (free_address()?, free_address()?);
        let log = scratch.join("access.log");
        let root = scratch.path().display();
        let configuration = format!(
            "daemon off;
worker_processes 2;
pid {root}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  default_type text/plain;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  log_format short '$msec $uri';
  server {{
    listen {plain} backlog=4096;
    access_log off;
    location = /count {{ stub_status; }}
    location / {{ return 200 'ok\\n'; }}
  }}
  server {{
    listen {logged} backlog=4096;
    access_log {} short buffer=256k flush=1s;
    location / {{ return 200 'ok\\n'; }}
  }}
}}
",
            log.display()
        );
        let file = scratch.write("nginx.conf", configuration)?;
        let nginx = environment::tool("nginx", &[]).context("nginx is not installed")?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(scratch.path()).arg("-c").arg(file).args(["-e", "stderr"]);
        let process = Process::start("nginx", command, scratch.join("nginx.log"))?;
        let mut target = Self { process, log, plain, logged, _scratch: scratch };
        let url = target.url("/");
        eventually("nginx answered", SOON, async || {
            target.process.assert_running()?;
            let status = http::get(&url).await?.status;
            ensure!(status == 200, "it answers {status}");
            Ok(Some(()))
        })
        .await?;
        Ok(target)
    }

    /// A URL whose requests are not logged.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.plain)
    }

    /// A URL whose requests are logged.
    pub(crate) fn logged_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.logged)
    }

    /// Requests answered so far, logged or not.
    ///
    /// # Errors
    /// When nginx does not say.
    pub(crate) async fn answered(&self) -> Result<u64> {
        // "server accepts handled requests", and the three numbers in the next line.
        let text = http::get(&self.url("/count")).await?.text();
        let numbers = text.lines().nth(2).context("stub_status has four lines")?;
        Ok(numbers.split_whitespace().nth(2).context("the number of requests")?.parse()?)
    }

    /// What has been logged so far. The log is a second behind.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn seen(&self) -> Result<Vec<Seen>> {
        let text = fs::read_to_string(&self.log)?;
        let read = |line: &str| {
            let (at, path) = line.split_once(' ')?;
            Some(Seen { at: at.parse().ok()?, path: path.to_owned() })
        };
        Ok(text.lines().filter_map(read).collect())
    }
}
