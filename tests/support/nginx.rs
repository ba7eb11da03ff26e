//! A real nginx: plain HTTP, HTTPS with a good certificate, and HTTPS with an expired one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::certificate::Files;
use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually, http};

/// A running nginx whose `/health` answers as it is told.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    scratch: Scratch,
    http: SocketAddr,
    https: SocketAddr,
    expired: SocketAddr,
}

/// What nginx is started with.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// For the HTTPS server.
    pub good: Files,
    /// For the other HTTPS server.
    pub expired: Files,
}

/// Whether nginx is installed.
#[must_use]
pub fn is_installed() -> bool {
    environment::tool("nginx", &[]).is_some()
}

impl Nginx {
    /// Starts one whose `/health` answers 200.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start(certificates: &Certificates) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (http, https, expired) = (free_address()?, free_address()?, free_address()?);
        scratch.write("health.conf", answer(200))?;
        let config = configuration(
            scratch.path(),
            http,
            [(https, &certificates.good), (expired, &certificates.expired)],
        );
        let config = scratch.write("nginx.conf", config)?;
        let mut command = Command::new(environment::tool("nginx", &[]).unwrap_or_else(|| "nginx".into()));
        command.arg("-p").arg(scratch.path()).arg("-c").arg(config).args(["-e", "stderr"]);
        let process = Process::start("nginx", command, scratch.join("nginx.log"))?;
        let mut nginx = Self { process, scratch, http, https, expired };
        nginx.answers(200).await?;
        Ok(nginx)
    }

    /// Answers differently from now on; returns when it does.
    ///
    /// # Errors
    /// When it does not.
    pub async fn turn(&mut self, status: u16) -> Result<()> {
        self.scratch.write("health.conf", answer(status))?;
        self.process.signal(rustix::process::Signal::HUP)?;
        self.answers(status).await
    }

    /// Port of plain HTTP.
    #[must_use]
    pub const fn http_port(&self) -> u16 {
        self.http.port()
    }

    /// Port of HTTPS.
    #[must_use]
    pub const fn https_port(&self) -> u16 {
        self.https.port()
    }

    /// Port of HTTPS with the expired certificate.
    #[must_use]
    pub const fn expired_port(&self) -> u16 {
        self.expired.port()
    }

    async fn answers(&mut self, status: u16) -> Result<()> {
        let url = format!("http://{}/health", self.http);
        eventually("nginx answered as told", SOON, async || {
            self.process.assert_running()?;
            // Twice in a row: while it reloads, old and new workers accept side by side.
            for _ in 0..2 {
                let answer = http::get(&url).await?;
                ensure!(answer.status == status, "it answers {}", answer.status);
            }
            Ok(Some(()))
        })
        .await
    }
}

fn answer(status: u16) -> String {
    format!("location = /health {{ default_type text/plain; return {status} 'answer {status}\\n'; }}\n")
}

fn configuration(root: &Path, http: SocketAddr, https: [(SocketAddr, &Files); 2]) -> String {
    let root = root.display();
    let [first, second] = https.map(|(address, files)| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!(
            "server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; include {root}/health.conf; }}"
        )
    });
    format!(
        "daemon off;
worker_processes 1;
pid {root}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{ listen {http}; include {root}/health.conf; }}
  {first}
  {second}
}}
"
    )
}
