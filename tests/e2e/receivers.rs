//! Forty receivers that behave badly before a real coordinator: each attempt ends in time and is told in words, memory
//! stays where it was, and those that behave hear as soon as if they were alone.

mod behaviours;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{
    ChannelKind, Delivery, DeliveryState, GetDeliveryRequest, Heartbeat, ListDeliveriesRequest,
};
use support::admin::{seconds, time};
use support::{Admin, Answer, Coordinator, Scratch, Site, eventually, http};
use tokio::task::JoinSet;

use behaviours::Ends;

/// The deadline of an attempt is 15 s; what it may take beyond, on a busy machine.
const LONGEST: Duration = Duration::from_millis(15_500);
/// Attempts at each kind of receiver.
const EVENTS: usize = 3;
/// Receivers that behave, and events for each.
const HEALTHY: usize = 8;
const EVENTS_FOR_HEALTHY: usize = 25;
/// What memory may grow by for 100 attempts, in KiB.
const GROWTH_KB: u64 = 8 * 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_receiver_does_attempts_end_in_time_and_others_do_not_wait() -> Result<()> {
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let scratch = Scratch::new()?;
    let cases = behaviours::all(&scratch, &coordinator).await?;
    ensure!(cases.len() >= 40, "only {} receivers", cases.len());
    let good = Site::start(Answer::Status(200)).await?;
    let mut bad_jobs = vec![];
    for case in &cases {
        admin.create_channel(ChannelKind::Webhook, case.name, &case.url).await?;
        bad_jobs.extend(jobs(&admin, case.name, EVENTS).await?);
    }
    let mut good_jobs = vec![];
    for number in 0..HEALTHY {
        let name = format!("healthy {number}");
        admin.create_channel(ChannelKind::Webhook, &name, &good.url("/")).await?;
        good_jobs.extend(jobs(&admin, &name, EVENTS_FOR_HEALTHY).await?);
    }

    let before_kb = resident_kb(coordinator.process().pid())?;
    fail(&bad_jobs).await?;
    // While many hang: those that wait for 15 s are at it by now.
    fail(&good_jobs).await?;
    eventually("every good receiver had heard", Duration::from_secs(30), async || {
        Ok((good.requests().len() >= good_jobs.len()).then_some(()))
    })
    .await?;

    let mut wrong = vec![];
    let (mut attempts, mut longest) = (0_u64, Duration::ZERO);
    for case in &cases {
        let delivery = eventually(case.name, Duration::from_secs(40), async || {
            let listed = list(&admin, case.name).await?;
            Ok(listed.into_iter().find(|it| it.attempt_count > 0 || it.state() == DeliveryState::Dead))
        })
        .await?;
        let request = GetDeliveryRequest { id: delivery.id.clone() };
        let delivery = admin.deliveries().get_delivery(request).await?.into_inner();
        let first = delivery.attempts.first().with_context(|| format!("{}: no attempt", case.name))?;
        let took = first.duration.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
        longest = longest.max(took);
        attempts += u64::from(delivery.attempt_count.unsigned_abs());
        let told = match delivery.state() {
            DeliveryState::Delivered => Ends::Delivered,
            DeliveryState::Dead => Ends::GivenUp,
            _ => Ends::TriedAgain,
        };
        println!("{}: {told:?} after {took:?}: {}", case.name, first.detail);
        if told != case.ends || !first.detail.contains(case.says) || took > LONGEST {
            wrong.push(format!("{}: {told:?} after {took:?}: {}", case.name, first.detail));
        }
        ensure!(first.answer.len() <= 2_048, "{}: {} bytes are kept", case.name, first.answer.len());
        ensure!(!first.detail.contains("hush"), "{}: {}", case.name, first.detail);
    }
    ensure!(wrong.is_empty(), "{} receivers: {wrong:#?}", wrong.len());
    let grown_kb = resident_kb(coordinator.process().pid())?.saturating_sub(before_kb);
    let total = attempts * EVENTS as u64 + good_jobs.len() as u64;
    println!("{} receivers, at most {longest:?}; + {grown_kb} KiB for some {total} attempts", cases.len());
    ensure!(grown_kb <= GROWTH_KB * total.div_ceil(100), "memory grew by {grown_kb} KiB");

    let mut delays = vec![];
    for number in 0..HEALTHY {
        for delivery in list(&admin, &format!("healthy {number}")).await? {
            let (made, began) =
                (time(delivery.created_at.as_ref())?, time(delivery.first_attempt_at.as_ref())?);
            delays.push(began.since(made));
        }
    }
    delays.sort_unstable();
    let p99 = delays[delays.len() * 99 / 100];
    println!("healthy receivers heard after {:?}, p99 {p99:?}", delays[delays.len() / 2]);
    ensure!(p99 < Duration::from_secs(2), "healthy receivers waited for {p99:?}");
    let log = coordinator.process().output();
    ensure!(!log.contains("hush"), "the path of a receiver's URL is in the log");
    Ok(())
}

/// Heartbeats that notify a channel; their ping URLs.
async fn jobs(admin: &Admin, channel: &str, count: usize) -> Result<Vec<String>> {
    let mut urls = vec![];
    for number in 0..count {
        let heartbeat = Heartbeat {
            name: format!("{channel} {number}"),
            interval: seconds(3_600),
            channels: vec![channel.to_owned()],
            ..Heartbeat::default()
        };
        urls.push(admin.create_heartbeat(heartbeat).await?.ping_url);
    }
    Ok(urls)
}

/// Every job fails.
async fn fail(jobs: &[String]) -> Result<()> {
    let mut pings = JoinSet::new();
    for url in jobs {
        let url = format!("{url}/fail");
        pings.spawn(async move { http::post(&url, "").await });
        if pings.len() >= 16 {
            pings.join_next().await.context("there are pings")???;
        }
    }
    while let Some(ping) = pings.join_next().await {
        ensure!(ping??.status == 200, "a ping was not taken");
    }
    Ok(())
}

async fn list(admin: &Admin, channel: &str) -> Result<Vec<Delivery>> {
    let request =
        ListDeliveriesRequest { page_size: 1_000, channel: channel.to_owned(), ..Default::default() };
    Ok(admin.deliveries().list_deliveries(request).await?.into_inner().deliveries)
}

fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
