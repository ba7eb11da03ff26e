//! However often the coordinator is killed in the middle of a delivery, everything arrives, in order, under one id.
//!
//! The receiver gives the moments: when a connection comes, at the first byte of a request, when it is whole, when the
//! answer is on its way. Before and after that are the claim and the record, which are hit by waiting a moment or two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{
    ChannelKind, Delivery, DeliveryState, Heartbeat, ListDeliveriesRequest,
    deliveries_client::DeliveriesClient,
};
use support::admin::seconds;
use support::task::Task;
use support::{Coordinator, SOON, environment, eventually, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The moment of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The event is committed; the delivery may be made, claimed or neither.
    Pinged,
    /// Claimed and connected; nothing that was sent has been read.
    Connected,
    /// Some of the request is sent.
    HalfSent,
    /// All of it is, and there is no answer.
    Sent,
    /// The answer is on its way: nothing is recorded.
    Answered,
    /// The attempt is being recorded, or has just been.
    Recorded,
}

const MOMENTS: [Moment; 6] =
    [Moment::Pinged, Moment::Connected, Moment::HalfSent, Moment::Sent, Moment::Answered, Moment::Recorded];
/// How long a commit takes, about.
const A_MOMENT: Duration = Duration::from_millis(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_a_delivery_it_is_made_in_order_under_one_id() -> Result<()> {
    let kills = usize::try_from(environment::number("VIGILMON_DELIVERY_KILLS", 50)?)?;
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let mut receiver = Receiver::start().await?;
    admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url).await?;
    let mut jobs = vec![];
    for number in 0..kills.div_ceil(2) {
        let heartbeat = Heartbeat {
            name: format!("job {number}"),
            interval: seconds(3_600),
            channels: vec!["ops".to_owned()],
            ..Heartbeat::default()
        };
        jobs.push(admin.create_heartbeat(heartbeat).await?.ping_url);
    }

    for kill in 0..kills {
        let moment = MOMENTS[kill % MOMENTS.len()];
        receiver.arm(moment);
        // Each job fails, and is well again: two events, a kill in the middle of each one's delivery.
        let url = &jobs[kill / 2];
        let url = if kill % 2 == 0 { format!("{url}/fail") } else { url.clone() };
        ensure!(http::post(&url, "").await?.status == 200, "the ping was not taken");
        if moment != Moment::Pinged {
            receiver.reached(moment).await?;
        }
        if matches!(moment, Moment::Pinged | Moment::Recorded) {
            tokio::time::sleep(A_MOMENT.mul_f64(environment::random_unit())).await;
        }
        coordinator.kill()?;
        receiver.disarm();
        coordinator.start_again()?;
        coordinator.ready().await.with_context(|| format!("after kill {kill} at {moment:?}"))?;
    }
    if !kills.is_multiple_of(2) {
        ensure!(http::post(&jobs[kills / 2], "").await?.status == 200, "the ping was not taken");
    }

    let mut deliveries = admin.deliveries();
    let finished = eventually("every delivery was finished", SOON * 3, async || {
        let listed = list(&mut deliveries).await?;
        let waiting = listed.iter().any(|it| it.state() == DeliveryState::Waiting);
        Ok((listed.len() >= jobs.len() * 2 && !waiting).then_some(listed))
    })
    .await?;
    let told = receiver.told();
    everything_arrived_once(&finished, &told)?;
    in_order(&told)
}

/// Every delivery that was not told by a later one arrived, with the same bytes whenever it did; and nothing else did.
fn everything_arrived_once(deliveries: &[Delivery], told: &[Told]) -> Result<()> {
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for it in told {
        let before = bodies.insert(&it.id, &it.body);
        ensure!(before.is_none_or(|body| body == it.body), "{} came with two bodies", it.id);
    }
    let mut ids_of: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for delivery in deliveries {
        *ids_of.entry((&delivery.event_id, &delivery.channel_id)).or_default() += 1;
        let arrived = bodies.remove(delivery.id.as_str()).is_some();
        match delivery.state() {
            DeliveryState::Delivered => ensure!(arrived, "{} is delivered but never came", delivery.id),
            DeliveryState::Coalesced => {
                ensure!(!arrived, "{} came although a later one tells it", delivery.id);
            }
            other => anyhow::bail!("{} is {other:?}: {}", delivery.id, delivery.reason),
        }
    }
    ensure!(bodies.is_empty(), "came but nobody knows of them: {:?}", bodies.keys());
    ensure!(ids_of.values().all(|&ids| ids == 1), "two ids for one event and channel");
    Ok(())
}

/// No incident is told to have begun after it was told to have ended.
fn in_order(told: &[Told]) -> Result<()> {
    let mut ended = std::collections::BTreeSet::new();
    for it in told {
        let body: serde_json::Value = serde_json::from_str(&it.body)?;
        let incident = body["data"]["incident"]["id"].to_string();
        if body["type"] == "incident.resolved" {
            ended.insert(incident);
        } else {
            ensure!(!ended.contains(&incident), "{incident} began after it had ended");
        }
    }
    Ok(())
}

async fn list(deliveries: &mut DeliveriesClient<support::admin::Authorized>) -> Result<Vec<Delivery>> {
    let (mut all, mut page_token) = (vec![], String::new());
    loop {
        let request = ListDeliveriesRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = deliveries.list_deliveries(request).await?.into_inner();
        all.extend(page.deliveries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// A request that was answered, or would have been.
#[derive(Clone, Debug)]
struct Told {
    id: String,
    body: String,
}

/// A receiver that says when an exchange has come to a moment, and stays there while it is armed.
struct Receiver {
    url: String,
    shared: Arc<Shared>,
    moments: mpsc::UnboundedReceiver<Moment>,
    _accepting: Task,
}

struct Shared {
    armed: Mutex<Option<Moment>>,
    told: Mutex<Vec<Told>>,
    moments: mpsc::UnboundedSender<Moment>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (sender, moments) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { armed: Mutex::default(), told: Mutex::default(), moments: sender });
        let accepting = Task::start(accept(listener, Arc::clone(&shared)));
        Ok(Self { url, shared, moments, _accepting: accepting })
    }

    fn arm(&mut self, moment: Moment) {
        while self.moments.try_recv().is_ok() {}
        *self.shared.armed() = Some(moment);
    }

    fn disarm(&self) {
        *self.shared.armed() = None;
    }

    async fn reached(&mut self, moment: Moment) -> Result<()> {
        let reached = tokio::time::timeout(SOON, self.moments.recv()).await;
        ensure!(reached.is_ok_and(|it| it == Some(moment)), "nothing came to {moment:?}");
        Ok(())
    }

    fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn armed(&self) -> std::sync::MutexGuard<'_, Option<Moment>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the moment of the next kill; then it has been told, and nothing more is to happen.
    fn is_the_end(&self, moment: Moment) -> bool {
        let is = *self.armed() == Some(moment);
        if is {
            let _ = self.moments.send(moment);
        }
        is
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                // How a connection ends is the killed one's business.
                connections.spawn(async move { drop(serve(stream, &shared).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        // The connection may be one that was kept.
        stream.readable().await?;
        if shared.is_the_end(Moment::Connected) {
            std::future::pending::<()>().await;
        }
        let mut bytes = vec![];
        let told = loop {
            ensure!(stream.read_buf(&mut bytes).await? > 0, "closed");
            if shared.is_the_end(Moment::HalfSent) {
                std::future::pending::<()>().await;
            }
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length: usize = value("content-length:").unwrap_or("0").parse()?;
            if body.len() >= length {
                let id = value("webhook-id:").context("no webhook-id")?.to_owned();
                break Told { id, body: body.to_owned() };
            }
        };
        shared.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        if shared.is_the_end(Moment::Sent) {
            std::future::pending::<()>().await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        if shared.is_the_end(Moment::Answered) || shared.is_the_end(Moment::Recorded) {
            // What comes next comes from the next process.
            std::future::pending::<()>().await;
        }
    }
}
