//! A TCP proxy that can lose one direction or both, as networks do: silently.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::task::Task;

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// They arrive.
    Open,
    /// They arrive this much later.
    Slow(Duration),
    /// Neither direction gets through; nobody is told. New connections are accepted and stay silent.
    Cut,
    /// Only what goes to the server is lost.
    CutToServer,
    /// Only what goes to the client is lost.
    CutToClient,
}

/// A running proxy in front of one server.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    _accepting: Task,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Toward {
    Server,
    Client,
}

impl FaultProxy {
    /// Starts one in front of `server`, open.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let line = watch::Sender::new(Line::Open);
        let accepting = Task::start(accept(listener, server, line.subscribe()));
        Ok(Self { address, line, _accepting: accepting })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to bytes from now on. What was held back by a cut arrives when it heals, as after a
    /// retransmission.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: watch::Receiver<Line>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connect(client, server, line.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, line: watch::Receiver<Line>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::join!(
        forward(client_reads, server_writes, Toward::Server, line.clone()),
        forward(server_reads, client_writes, Toward::Client, line),
    );
}

/// Copies until either side is gone.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    toward: Toward,
    mut line: watch::Receiver<Line>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = |line: &Line| match line {
            Line::Open | Line::Slow(_) => true,
            Line::Cut => false,
            Line::CutToServer => toward == Toward::Client,
            Line::CutToClient => toward == Toward::Server,
        };
        let Ok(open) = line.wait_for(passes).await.map(|line| *line) else { return };
        if let Line::Slow(delay) = open {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
