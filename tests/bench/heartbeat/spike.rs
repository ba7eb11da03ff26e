//! The full minute: a hundred thousand jobs ping within five seconds, the coordinator is killed before the last of them,
//! and what it has answered with 200 must be there when it is back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use proto::admin::v1::Heartbeat;
use support::admin::{seconds, wire_time};
use support::task::Task;
use support::{Coordinator, environment};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::report::{Budget, Report, Row};

/// Few, so that what is left of their pings can be listed.
const JOBS: usize = 10;
const PINGS: usize = 100_000;
const CONNECTIONS: usize = 1_000;
const SPAN: Duration = Duration::from_secs(5);
/// When the coordinator is killed.
const KILLED_AFTER: Duration = Duration::from_millis(4_950);

/// One connection that pings.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    _connection: Task<hyper::Result<()>>,
}

/// What came of a ping.
pub(super) enum Answer {
    Taken,
    /// With `Retry-After`, or without.
    TryLater(bool),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, _connection: Task::start(connection) })
    }

    /// Pings, and waits for the answer.
    ///
    /// # Errors
    /// When there is none, or one that no ping gets.
    pub(super) async fn ping(&mut self, path: &str, body: &str) -> Result<Answer> {
        self.sender.ready().await?;
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = Request::post(path).header("host", "bench").body(body)?;
        let answer = self.sender.send_request(request).await?;
        let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        answer.into_body().collect().await?;
        match status {
            200 => Ok(Answer::Taken),
            503 => Ok(Answer::TryLater(again)),
            other => anyhow::bail!("a ping is answered {other}"),
        }
    }
}

/// What one connection, or all of them, saw.
#[derive(Default)]
struct Seen {
    taken: BTreeSet<String>,
    try_later: usize,
    without_retry_after: usize,
    latest: Duration,
}

/// Measures.
///
/// # Errors
/// When the coordinator does not come back.
pub(super) async fn run(report: &mut Report, coordinator: &mut Coordinator) -> Result<()> {
    let jobs = create(coordinator).await?;
    let paths: Arc<[String]> = jobs.iter().map(|(_, path)| path.clone()).collect();
    let began_at = wire_time(environment::now());
    let address = coordinator.http_address();
    let mut clients = vec![];
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(address).await?);
    }
    let began = Instant::now();
    let mut pinging = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        pinging.spawn(ping(client, number, Arc::clone(&paths), began));
    }
    tokio::time::sleep_until(began + KILLED_AFTER).await;
    coordinator.kill()?;
    let mut seen = Seen::default();
    while let Some(one) = pinging.join_next().await {
        let one = one?;
        seen.taken.extend(one.taken);
        seen.try_later += one.try_later;
        seen.without_retry_after += one.without_retry_after;
        seen.latest = seen.latest.max(one.latest);
    }
    coordinator.start_again()?;
    coordinator.ready().await?;

    let admin = coordinator.admin()?;
    let mut kept = BTreeSet::new();
    for (id, _) in &jobs {
        for ping in admin.pings(id, began_at).await? {
            kept.insert(String::from_utf8(ping.body)?);
        }
    }
    let lost = seen.taken.difference(&kept).count();
    let unanswered = PINGS - seen.taken.len() - seen.try_later;
    report.add(
        Row::new("100,000 pings in 5 s, killed before the last: answered 200 and lost", lost as f64, "pings")
            .beside(format!(
                "{} answered 200, the slowest {:.0} ms after its time; {} answered 503; {unanswered} had no answer yet or were not sent yet",
                seen.taken.len(),
                seen.latest.as_secs_f64() * 1_000.0,
                seen.try_later,
            ))
            .budget(Budget::AtMost(0.0)),
    );
    report.add(
        Row::new("The same: 503 without Retry-After", seen.without_retry_after as f64, "pings")
            .budget(Budget::AtMost(0.0)),
    );
    Ok(())
}

/// The jobs that take part: their ids, and the paths they ping.
async fn create(coordinator: &Coordinator) -> Result<Vec<(String, String)>> {
    let admin = coordinator.admin()?;
    let mut jobs = vec![];
    for number in 0..JOBS {
        let heartbeat =
            Heartbeat { name: format!("spike {number}"), interval: seconds(3_600), ..Heartbeat::default() };
        let created = admin.create_heartbeat(heartbeat).await?;
        let path = created.ping_url.find("/api/").context("a ping URL")?;
        jobs.push((created.id, created.ping_url[path..].to_owned()));
    }
    Ok(jobs)
}

/// Pings at its turns, late or not, until the last or until the connection ends.
async fn ping(mut client: Client, number: usize, paths: Arc<[String]>, began: Instant) -> Seen {
    let mut seen = Seen::default();
    for turn in (number..PINGS).step_by(CONNECTIONS) {
        let planned = began + SPAN.mul_f64(turn as f64 / PINGS as f64);
        tokio::time::sleep_until(planned).await;
        let body = format!("spike {turn}");
        match client.ping(&paths[turn % paths.len()], &body).await {
            Ok(Answer::Taken) => {
                seen.taken.insert(body);
                seen.latest = seen.latest.max(planned.elapsed());
            }
            Ok(Answer::TryLater(again)) => {
                seen.try_later += 1;
                seen.without_retry_after += usize::from(!again);
            }
            Err(_) => break,
        }
    }
    seen
}
