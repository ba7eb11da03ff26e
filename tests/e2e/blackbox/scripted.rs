//! Servers by hand, where a real one could not be told when to say what.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use support::task::Task;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How long the slow server waits before its first byte, and before its last.
pub(super) const WAIT: Duration = Duration::from_millis(300);

/// Hands every connection to `serve`.
pub(super) async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Result<(SocketAddr, Task)>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = Task::start(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // How a connection ends is the peer's business.
            let talk = serve(stream);
            connections.spawn(async move { drop(talk.await) });
        }
    });
    Ok((address, serving))
}

/// An answer of HTTP whose first byte and last byte let themselves be waited for.
pub(super) async fn slowly(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    while read_line(&mut stream).await? != "\r\n" {}
    tokio::time::sleep(WAIT).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await?;
    stream.flush().await?;
    tokio::time::sleep(WAIT).await;
    stream.write_all(b"full").await?;
    stream.flush().await?;
    // Until the other side has gone.
    read_line(&mut stream).await.map(drop)
}

pub(super) async fn greeting(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 servers.test ready\r\n").await?;
    read_line(&mut stream).await?;
    say(&mut stream, "250 OK\r\n").await?;
    read_line(&mut stream).await.map(drop)
}

/// As much of SMTP as it takes to come to TLS.
pub(super) async fn mail(stream: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 servers.test ESMTP\r\n").await?;
    loop {
        let line = read_line(&mut stream).await?;
        match line.trim_end().split(' ').next().unwrap_or_default() {
            "EHLO" => say(&mut stream, "250-servers.test\r\n250 STARTTLS\r\n").await?,
            "STARTTLS" => break say(&mut stream, "220 go ahead\r\n").await?,
            _ => return say(&mut stream, "221 bye\r\n").await,
        }
    }
    let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.write_all(b"221 bye\r\n").await?;
    Ok(stream.shutdown().await?)
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).await? > 0, "the peer has gone");
    Ok(line)
}

async fn say(stream: &mut BufReader<TcpStream>, words: &str) -> Result<()> {
    stream.write_all(words.as_bytes()).await?;
    Ok(stream.flush().await?)
}
