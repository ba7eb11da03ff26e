//! A FastAPI application with PostgreSQL behind it and a scheduled job that pings.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually, http};

/// The running application.
#[derive(Debug)]
pub struct FastApi {
    process: Process,
    address: SocketAddr,
    _scratch: Scratch,
}

impl FastApi {
    /// Starts it over a database; its job pings `heartbeat` every second.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start(python: &Path, database: &str, heartbeat: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let address = free_address()?;
        let mut command = Command::new(python);
        command
            .args(["-m", "uvicorn", "--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--log-level", "warning", "--app-dir"])
            .arg(environment::checkout().join("tests/support/fastapi"))
            .arg("app:app")
            .env("DATABASE_URL", database)
            .env("HEARTBEAT_URL", heartbeat)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Process::start("uvicorn", command, scratch.join("uvicorn.log"))?;
        let mut app = Self { process, address, _scratch: scratch };
        let url = app.url("/health/ready");
        eventually("the application was ready", SOON * 2, async || {
            app.process.assert_running()?;
            Ok(http::get(&url).await.ok().filter(|answer| answer.status == 200).map(drop))
        })
        .await?;
        Ok(app)
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops or starts the job; the application goes on.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn job(&self, verb: &str) -> Result<()> {
        http::post(&self.url(&format!("/job/{verb}")), "").await.map(drop)
    }
}
