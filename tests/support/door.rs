//! A door to a neighbour from somewhere else: connections to a listener are passed on to an address.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::task::Task;

/// An open door; shut on drop.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    _open: Task,
}

impl Door {
    /// Passes on to `to` what comes to `listener`, which may belong to another network namespace than the caller.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn open(listener: std::net::TcpListener, to: SocketAddr) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { address: listener.local_addr()?, _open: Task::start(pass(listener, to)) })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn pass(listener: TcpListener, to: SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut outer, _)) = accepted else { continue };
                connections.spawn(async move {
                    let Ok(mut inner) = TcpStream::connect(to).await else { return };
                    // How a connection ends is its peers' business.
                    drop(copy_bidirectional(&mut outer, &mut inner).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
