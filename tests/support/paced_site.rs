//! A target that takes as long as its path says, and counts who asks: `/700/NAME` answers 200 after 700 ms, `/never/NAME`
//! not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::task::Task;
use crate::{SOON, eventually};

/// A running site.
#[derive(Debug)]
pub struct PacedSite {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    _listening: Task,
}

impl PacedSite {
    /// Starts one.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = Arc::clone(&asked);
        let listening = Task::start(async move {
            let mut answers = vec![];
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&counts);
                answers.push(Task::start(async move { drop(answer(stream, &counts).await) }));
            }
        });
        Ok(Self { address, asked, _listening: listening })
    }

    /// A URL of it; `path` begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often each path was asked for.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often this path was asked for.
    #[must_use]
    pub fn asked_for(&self, path: &str) -> usize {
        self.asked().get(path).copied().unwrap_or(0)
    }

    /// Waits until so many paths were asked for so many times each.
    ///
    /// # Errors
    /// When they are not.
    pub async fn until_each_was_asked(&self, paths: usize, times: usize) -> Result<()> {
        eventually("every target was asked", SOON * 2, async || {
            let asked = self.asked();
            ensure!(
                asked.len() == paths && asked.values().all(|count| *count >= times),
                "{times}: {asked:?}"
            );
            Ok(Some(()))
        })
        .await
    }
}

async fn answer(mut stream: TcpStream, counts: &Mutex<BTreeMap<String, usize>>) -> Result<()> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).context("a path")?.to_owned();
    let pace = path.split('/').nth(1).and_then(|pace| pace.parse().ok()).map(Duration::from_millis);
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default() += 1;
    match pace {
        Some(pace) => tokio::time::sleep(pace).await,
        None => std::future::pending().await,
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
    Ok(())
}
