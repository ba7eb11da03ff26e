//! Real connections over loopback.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::web::stage::{Stage, TOKEN};

async fn serving(app: Router, supervisor: &Supervisor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    supervisor.spawn(Task::HttpListener, serve(listener, app, supervisor.clone()));
    address
}

fn answering() -> Router {
    Router::new().route("/", axum::routing::get(async || "hello"))
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let supervisor = Supervisor::new();
    let address = serving(answering(), &supervisor).await;

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");

    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    supervisor.spawn(Task::Attempt, async { drop(connection.await) });
    let request = http::Request::get(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_job_that_sends_more_than_is_read_without_listening_still_gets_its_answer() {
    let mut stage = Stage::new().await;
    stage.start_owner().await;
    stage.create_heartbeat().await;
    let address = serving(stage.app(), &stage.supervisor).await;

    let mut job = TcpStream::connect(address).await.unwrap();
    let length = 24 << 20;
    let head = format!("POST /api/heartbeat/{TOKEN} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    job.write_all(head.as_bytes()).await.unwrap();
    job.write_all(&vec![b'x'; length]).await.unwrap();
    let mut answer = String::new();
    job.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_is_shown_out() {
    let supervisor = Supervisor::new();
    let address = serving(answering(), &supervisor).await;
    for opening in ["", "GET", "PRI * HT", "GET / HTTP/1.1\r\nx-slow: "] {
        let mut idler = TcpStream::connect(address).await.unwrap();
        idler.write_all(opening.as_bytes()).await.unwrap();
        let mut rest = vec![];
        let end = tokio::time::timeout(HEADER_PATIENCE * 2, idler.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{opening:?} was let in for ever");
    }
}

#[tokio::test]
async fn the_drain_closes_idle_connections_and_lets_nobody_new_in() {
    let supervisor = Supervisor::new();
    let address = serving(answering(), &supervisor).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut some = [0; 1];
    idle.read_exact(&mut some).await.unwrap();

    supervisor.drain().cancel();
    let mut rest = vec![];
    idle.read_to_end(&mut rest).await.unwrap();
    drop(idle);
    assert!(supervisor.run_until_signal().await);
    assert!(TcpStream::connect(address).await.is_err());
}
