//! What is checked: an nginx that answers 200 to everything, with a log of each request, without one, and over TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use support::certificate::{Authority, Files, Validity};
use support::process::{Process, free_address};
use support::{SOON, Scratch, environment, eventually, http};

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Target {
    process: Process,
    log: PathBuf,
    plain: SocketAddr,
    logged: SocketAddr,
    tls: SocketAddr,
    authority: PathBuf,
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
        let (plain, logged, tls) = (free_address()?, free_address()?, free_address()?);
        let authority = Authority::new()?;
        let Files { certificate, key } =
            authority.issue(&scratch, "target", &["127.0.0.1"], Validity::Current)?;
        let (certificate, key) = (certificate.display(), key.display());
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
  server {{
    listen {tls} ssl backlog=4096;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    access_log off;
    location / {{ return 200 'ok\\n'; }}
  }}
}}
",
            log.display()
        );
        let file = scratch.write("nginx.conf", configuration)?;
        let authority = authority.write(&scratch)?;
        let nginx = environment::tool("nginx", &[]).context("nginx is not installed")?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(scratch.path()).arg("-c").arg(file).args(["-e", "stderr"]);
        let process = Process::start("nginx", command, scratch.join("nginx.log"))?;
        let mut target = Self { process, log, plain, logged, tls, authority, _scratch: scratch };
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

    /// Ends it with its workers, who would outlive a master that is killed.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.end().await?;
        Ok(())
    }

    /// A URL whose requests are not logged.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.plain)
    }

    /// A URL whose requests are logged.
    pub(crate) fn logged_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.logged)
    }

    /// A URL over TLS.
    pub(crate) fn tls_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.tls)
    }

    /// Where it listens for TLS.
    pub(crate) const fn tls_address(&self) -> SocketAddr {
        self.tls
    }

    /// The file with the authority of its certificate.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
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
