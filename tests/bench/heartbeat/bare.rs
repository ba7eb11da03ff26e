//! The least a server of this kind can do: axum on a runtime of its own, 200 to whatever comes.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use support::task::Task;
use tokio::net::TcpListener;

/// A running server; dropped, it ends.
pub(super) struct Bare {
    address: SocketAddr,
    _serving: Task,
}

impl Bare {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let app = Router::new().fallback(async || "OK");
        let serving = Task::start(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the bare server ended: {error}");
            }
        });
        Ok(Self { address, _serving: serving })
    }

    /// Its root.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}
