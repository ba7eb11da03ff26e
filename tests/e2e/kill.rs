//! Nothing that was acknowledged is lost, however often the coordinator is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, Heartbeat, HeartbeatStatus, Monitor, MonitorStatus};
use support::admin::{seconds, wire_time};
use support::load::LoadAgent;
use support::ping::Pinger;
use support::{Admin, Answer, Coordinator, SOON, Site, environment, eventually, fleet};
use tokio::time::Instant;

const MONITORS: usize = 30;
/// Monitors whose target is down all the time.
const FAILING: usize = 5;
const HEARTBEATS: usize = 100;
/// Heartbeats whose job stops in the middle.
const STOPPED: usize = 10;
/// From a start after a kill to the first ack.
const RESUME_LIMIT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_the_coordinator_keeps_every_promise() -> Result<()> {
    let kills = environment::number("VIGILMON_KILLS", 10)?;
    let began = wire_time(environment::now());
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let receiver = Site::start(Answer::Status(200)).await?;
    admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let mut tokens = Vec::new();
    for region in ["us-east", "eu-west", "ap-south"] {
        tokens.push(fleet::token(&admin, region, region).await?);
    }
    let monitors = monitors(&admin).await?;
    let failing: BTreeSet<_> = monitors[..FAILING].iter().cloned().collect();
    let failing = Arc::new(failing);
    let agents = tokens
        .iter()
        .map(|token| LoadAgent::start(token, coordinator.agent_address(), Arc::clone(&failing)))
        .collect::<Result<Vec<_>>>()?;
    let mut jobs = jobs(&admin).await?;
    for id in failing.iter() {
        admin.until_status(id, MonitorStatus::Down, SOON * 2).await?;
    }

    let mut opened = BTreeSet::new();
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_secs_f64(0.3 + 2.0 * environment::random_unit())).await;
        opened.extend(admin.incidents_of("").await?.into_iter().map(|incident| incident.id));
        coordinator.kill()?;
        let started = coordinator.start_again()?;
        let resumed = eventually("acks resumed", SOON * 2, async || {
            let last = agents.iter().filter_map(LoadAgent::last_ack).max();
            Ok(last.filter(|&last| last > started))
        })
        .await?;
        let took = resumed.duration_since(started);
        println!("kill {kill}: acks resumed after {took:?}");
        ensure!(took <= RESUME_LIMIT, "acks resumed only after {took:?}");
        coordinator.ready().await?;
        if kill == kills / 2 {
            jobs.iter_mut().take(STOPPED).for_each(Job::stop);
        }
    }

    for job in jobs.iter().take(STOPPED) {
        eventually("a stopped job was missed", Duration::from_secs(30), async || {
            Ok((admin.heartbeat(&job.id).await?.status() == HeartbeatStatus::Missed).then_some(()))
        })
        .await?;
    }
    alerts_are_those_of_stopped_jobs(&admin, &jobs, began).await?;
    one_id_per_transition(&receiver, FAILING + STOPPED).await?;
    let promised: Vec<_> = agents.iter().map(LoadAgent::memory).collect();
    drop(agents);
    jobs.iter_mut().for_each(Job::stop);
    every_acked_result_is_listed(&admin, &monitors, promised, began).await?;
    every_answered_ping_is_listed(&admin, &jobs, began).await?;
    let present: BTreeSet<_> =
        admin.incidents_of("").await?.into_iter().map(|incident| incident.id).collect();
    ensure!(opened.is_subset(&present), "lost incidents: {:?}", opened.difference(&present));
    Ok(())
}

/// A heartbeat and who pings it.
struct Job {
    id: String,
    pinger: Option<Pinger>,
    answered: Vec<String>,
}

impl Job {
    fn stop(&mut self) {
        if let Some(pinger) = self.pinger.take() {
            self.answered = pinger.answered();
        }
    }
}

async fn monitors(admin: &Admin) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for number in 0..MONITORS {
        let monitor = Monitor {
            name: format!("service {number}"),
            // Hosts of their own: outages of one host would be told of once.
            url: format!("http://service-{number}.example/"),
            interval: seconds(1),
            channels: vec!["ops".to_owned()],
            ..Monitor::default()
        };
        ids.push(admin.create_monitor(monitor).await?.id);
    }
    Ok(ids)
}

async fn jobs(admin: &Admin) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for number in 0..HEARTBEATS {
        let interval = 2 + number as u64 % 4;
        let heartbeat = Heartbeat {
            name: format!("job {number}"),
            interval: seconds(interval),
            channels: vec!["ops".to_owned()],
            ..Heartbeat::default()
        };
        let heartbeat = admin.create_heartbeat(heartbeat).await?;
        let pace = Duration::from_secs(interval).mul_f64(0.9);
        let pinger = Pinger::start(heartbeat.name, heartbeat.ping_url, pace);
        jobs.push(Job { id: heartbeat.id, pinger: Some(pinger), answered: vec![] });
    }
    Ok(jobs)
}

/// While the other jobs still ping.
async fn alerts_are_those_of_stopped_jobs(
    admin: &Admin,
    jobs: &[Job],
    since: prost_types::Timestamp,
) -> Result<()> {
    let mut wrong = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let incidents = admin.incidents_of(&job.id).await?;
        if incidents.len() != usize::from(index < STOPPED) {
            let pings = admin.pings(&job.id, since).await?;
            let pings: Vec<_> = pings.iter().filter_map(|ping| ping.at.map(|at| at.to_string())).collect();
            let told: Vec<_> = incidents
                .iter()
                .map(|it| format!("{} {:?} {}", it.started_at.unwrap_or_default(), it.state(), it.cause))
                .collect();
            wrong.push(format!("job {index}: {told:?}, although it pinged at {pings:?}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} jobs have other alerts than they should:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

async fn every_acked_result_is_listed(
    admin: &Admin,
    monitors: &[String],
    promised: Vec<support::load::Memory>,
    since: prost_types::Timestamp,
) -> Result<()> {
    // Sequence numbers belong to an agent; the regions tell the agents apart.
    let mut listed: BTreeMap<String, BTreeSet<(String, u64, u64)>> = BTreeMap::new();
    for monitor in monitors {
        for result in admin.results(monitor, since).await? {
            let fresh = listed.entry(result.region).or_default().insert((
                monitor.clone(),
                result.agent_epoch,
                result.seq,
            ));
            ensure!(fresh, "monitor {monitor}: result {} is listed twice", result.seq);
        }
    }
    for (region, memory) in ["us-east", "eu-west", "ap-south"].into_iter().zip(promised) {
        let listed = listed.get(region).with_context(|| format!("no result of {region}"))?;
        let lost: Vec<_> = memory.acked.difference(listed).take(5).collect();
        println!("{region}: {} results acked", memory.acked.len());
        ensure!(lost.is_empty(), "{region}: acked but lost: {lost:?}");
        ensure!(memory.acked.len() > 100, "{region}: there was no load");
    }
    Ok(())
}

async fn every_answered_ping_is_listed(
    admin: &Admin,
    jobs: &[Job],
    since: prost_types::Timestamp,
) -> Result<()> {
    for job in jobs {
        let listed = admin.pings(&job.id, since).await?.into_iter().map(|ping| String::from_utf8(ping.body));
        let listed = listed.collect::<Result<BTreeSet<_>, _>>()?;
        let lost: Vec<_> = job.answered.iter().filter(|body| !listed.contains(*body)).collect();
        ensure!(lost.is_empty() && !job.answered.is_empty(), "answered but lost: {lost:?}");
    }
    Ok(())
}

/// Each incident was told of, and however often, always under one id and with one body.
async fn one_id_per_transition(receiver: &Site, incidents: usize) -> Result<()> {
    type Told = BTreeMap<(String, String), BTreeSet<(String, Vec<u8>)>>;
    let told = || {
        let mut told = Told::new();
        for request in receiver.requests() {
            let body = request.json()?;
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let transition = (word(&body["data"]["incident"]["id"]), word(&body["type"]));
            let delivery = (request.header("webhook-id").to_owned(), request.body);
            told.entry(transition).or_default().insert(delivery);
        }
        Ok::<_, anyhow::Error>(told)
    };
    let began = Instant::now();
    eventually("every incident was told of", SOON * 3, async || {
        let opened = told()?.into_keys().filter(|(_, kind)| kind == "incident.opened").count();
        ensure!(opened == incidents, "{opened} of {incidents}");
        Ok(Some(()))
    })
    .await?;
    println!("all deliveries arrived after {:?}", began.elapsed());
    for ((incident, kind), deliveries) in told()? {
        ensure!(
            deliveries.len() == 1,
            "{kind} of {incident} came as {} different deliveries",
            deliveries.len()
        );
        ensure!(kind == "incident.opened", "nothing ended, but {incident} is told {kind}");
    }
    Ok(())
}
