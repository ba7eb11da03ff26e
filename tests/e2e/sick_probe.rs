//! A probe that lies and a region that is gone are told to operators once, and to nobody else.
//!
//! The agents are scripts at the level of the protocol: each reports what it was told to, for all its monitors, every
//! second, and answers at once when it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Agent, ChannelKind, GetAgentRequest, IncidentState, Monitor, MonitorStatus};
use proto::probe::v1 as wire;
use proto::probe::v1::coordinator_message::Message as Hear;
use support::admin::seconds;
use support::raw_agent::{RawAgent, Session, fail, pass};
use support::task::Task;
use support::webhook::of_type;
use support::{Admin, Answer, Coordinator, SOON, Site, ctl, eventually, fleet, http};

const REGIONS: [&str; 3] = ["ap-south", "eu-west", "us-east"];
const MONITORS: usize = 40;
/// Monitors are spread over so many hosts.
const HOSTS: usize = 8;
/// A minute of good behaviour, and what surrounds it.
const RELEASE_LIMIT: Duration = Duration::from_secs(95);
/// 15 s of silence, a minute of patience, and what surrounds them.
const COVERAGE_LIMIT: Duration = Duration::from_secs(100);

/// A scripted agent. It goes away when it is dropped.
struct Script {
    /// Of so many monitors, in order of their ids, it says that they fail.
    lies: Arc<AtomicUsize>,
    _running: Task,
}

impl Script {
    fn start(token: &str, coordinator: SocketAddr) -> Result<Self> {
        let agent = RawAgent::new(token, coordinator)?;
        let lies = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&lies);
        let running = Task::start(async move {
            let mut seq = 1;
            loop {
                // A coordinator that is gone, or a session that ended, is tried again.
                if let Ok(session) = agent.connect().await {
                    drop(play(session, &told, &mut seq).await);
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Ok(Self { lies, _running: running })
    }

    fn lie_about(&self, monitors: usize) {
        self.lies.store(monitors, Ordering::Relaxed);
    }
}

async fn play(mut session: Session, lies: &AtomicUsize, seq: &mut u64) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        let asked: Vec<wire::Verification> = tokio::select! {
            _ = ticks.tick() => vec![],
            heard = session.hear() => match heard? {
                Hear::VerifyNow(now) => now.verifications,
                _ => continue,
            },
        };
        let mut set = session.assigned.clone();
        set.sort_by(|a, b| a.monitor_id.cmp(&b.monitor_id));
        let lies = lies.load(Ordering::Relaxed);
        let say = |(index, assignment): (usize, &wire::Assignment)| {
            let say = if index < lies { fail } else { pass };
            let round = asked.iter().find(|it| it.monitor_id == assignment.monitor_id);
            let (attempt, round) = round.map_or((0, 0), |it| (1, it.round));
            (asked.is_empty() || round > 0).then(|| wire::Result {
                attempt,
                round,
                age_us: 0,
                ..say(assignment, 0)
            })
        };
        let results: Vec<wire::Result> = set.iter().enumerate().filter_map(say).collect();
        let count = results.len() as u64;
        session.report(*seq, results).await?;
        *seq += count;
    }
}

/// A coordinator, its scripted agents, and monitors that all of them say are up. Every monitor notifies the channel
/// `ops`, which takes notices; `quiet` takes none.
struct World {
    coordinator: Coordinator,
    admin: Admin,
    agents: Vec<Option<Script>>,
    tokens: Vec<String>,
    monitors: Vec<Monitor>,
    ops: Site,
    quiet: Site,
}

impl World {
    async fn start() -> Result<Self> {
        let coordinator = Coordinator::start().await?;
        let admin = coordinator.admin()?;
        let (mut agents, mut tokens) = (vec![], vec![]);
        for region in REGIONS {
            let token = fleet::token(&admin, &format!("{region}-1"), region).await?;
            agents.push(Some(Script::start(&token, coordinator.agent_address())?));
            tokens.push(token);
        }
        let (ops, quiet) = (Site::start(Answer::Status(200)).await?, Site::start(Answer::Status(200)).await?);
        admin.create_channel(ChannelKind::Webhook, "ops", &ops.url("/")).await?;
        let url = quiet.url("/");
        ctl::done(&coordinator, &["channel", "create", "webhook", "quiet", "--url", &url, "--no-notices"])?;
        let mut monitors = vec![];
        for number in 0..MONITORS {
            let monitor = Monitor {
                url: format!("http://127.0.0.{}:9/{number}", 1 + number % HOSTS),
                interval: seconds(5),
                timeout: seconds(1),
                channels: vec!["ops".to_owned()],
                ..Monitor::default()
            };
            monitors.push(admin.create_monitor(monitor).await?);
        }
        for monitor in &monitors {
            admin.until_status(&monitor.id, MonitorStatus::Up, SOON * 2).await?;
        }
        Ok(Self { coordinator, admin, agents, tokens, monitors, ops, quiet })
    }

    async fn agent(&self, name: &str) -> Result<Agent> {
        let request = GetAgentRequest { id: name.to_owned() };
        Ok(self.admin.fleet().get_agent(request).await?.into_inner())
    }

    /// That nobody but operators heard of anything.
    async fn assert_no_outage(&self) -> Result<()> {
        for monitor in &self.monitors {
            let incidents = self.admin.incidents_of(&monitor.id).await?;
            ensure!(incidents.is_empty(), "{incidents:?}");
        }
        ensure!(self.quiet.requests().is_empty(), "a channel without notices was told");
        Ok(())
    }

    /// The notices that `ops` was told, of a type.
    fn told(&self, kind: &str) -> Vec<String> {
        let title = |body: serde_json::Value| body["data"]["text"].as_str().unwrap_or_default().to_owned();
        of_type(&self.ops.requests(), kind).iter().filter_map(|it| it.json().ok().map(title)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_agent_is_one_notice_with_its_evidence_and_no_outage() -> Result<()> {
    let mut world = World::start().await?;
    let page = ["page", "create", "Status", "--monitor", &world.monitors[0].id];
    let page = ctl::done(&world.coordinator, &page)?;

    world.agents[2].as_ref().context("it runs")?.lie_about(20);
    let sick = eventually("us-east-1 was quarantined", SOON * 2, async || {
        let agent = world.agent("us-east-1").await?;
        Ok(agent.quarantine.is_some().then_some(agent))
    })
    .await?;
    let quarantine = sick.quarantine.context("it was there")?;
    ensure!(quarantine.reason.contains("contradicted failures on"), "{quarantine:?}");
    ensure!(quarantine.evidence.len() >= 5, "{quarantine:?}");
    for failure in &quarantine.evidence {
        ensure!(failure.contradicted_by == ["ap-south", "eu-west"], "{failure:?}");
        ensure!(failure.host.starts_with("127.0.0."), "{failure:?}");
    }
    eventually("the notice came", SOON, async || {
        Ok((!world.told("incident.opened").is_empty()).then_some(()))
    })
    .await?;
    let [told] = &world.told("incident.opened")[..] else {
        anyhow::bail!("{:?}", world.told("incident.opened"))
    };
    ensure!(told.starts_with("🟡 QUARANTINED: agent us-east-1\nReason: "), "{told}");

    let shown = ctl::done(&world.coordinator, &["agent", "get", "us-east-1"])?;
    ensure!(shown.contains("quarantined") && shown.contains("127.0.0.1:9/"), "{shown}");
    ensure!(shown.contains("ap-south, eu-west"), "{shown}");
    let listed = ctl::done(&world.coordinator, &["incident", "ls", "--open"])?;
    ensure!(listed.contains("agent us-east-1") && listed.lines().count() == 2, "{listed}");
    let incident = ctl::done(&world.coordinator, &["incident", "ls", "--subject", "us-east-1"])?;
    ensure!(incident.contains("contradicted failures"), "{incident}");
    let public = http::get(&page).await?.text();
    ensure!(!public.contains("us-east-1") && !public.to_lowercase().contains("quarantin"), "{public}");
    let metrics = http::get(&world.coordinator.url("/metrics")).await?.text();
    ensure!(metrics.contains("vigilmon_agents_quarantined 1"), "{metrics}");

    // Whoever starts anew knows it still, and tells nobody again.
    world.coordinator.kill()?;
    world.coordinator.start_again()?;
    world.coordinator.ready().await?;
    let again = world.agent("us-east-1").await?.quarantine.context("forgotten")?;
    ensure!(again.since == quarantine.since && again.evidence == quarantine.evidence, "{again:?}");
    let explained = ctl::done(&world.coordinator, &["monitor", "explain", &world.monitors[0].id])?;
    eventually("its votes did not count", SOON, async || {
        let explained = ctl::done(&world.coordinator, &["monitor", "explain", &world.monitors[0].id])?;
        Ok(explained.contains("agent us-east-1 quarantined since").then_some(()))
    })
    .await
    .with_context(|| explained)?;

    world.agents[2].as_ref().context("it runs")?.lie_about(0);
    eventually("us-east-1 was released", RELEASE_LIMIT, async || {
        Ok(world.agent("us-east-1").await?.quarantine.is_none().then_some(()))
    })
    .await?;
    eventually("the end was told", SOON, async || {
        Ok((!world.told("incident.resolved").is_empty()).then_some(()))
    })
    .await?;
    let (opened, resolved) = (world.told("incident.opened"), world.told("incident.resolved"));
    ensure!(opened.len() == 1 && resolved.len() == 1, "{opened:?} {resolved:?}");
    ensure!(resolved[0].starts_with("✅ RELEASED: agent us-east-1 votes again"), "{resolved:?}");
    world.assert_no_outage().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_gone_is_one_message_whatever_it_checks() -> Result<()> {
    let mut world = World::start().await?;
    world.agents[1] = None;
    eventually("the notice came", COVERAGE_LIMIT, async || {
        Ok((!world.told("incident.opened").is_empty()).then_some(()))
    })
    .await?;
    let [told] = &world.told("incident.opened")[..] else {
        anyhow::bail!("{:?}", world.told("incident.opened"))
    };
    ensure!(told.starts_with("🟡 COVERAGE: region EU-West is offline"), "{told}");
    ensure!(told.contains("40 monitors checked from fewer regions"), "{told}");
    let listed = ctl::done(&world.coordinator, &["incident", "ls", "--subject", "coverage"])?;
    ensure!(listed.contains("region eu-west offline"), "{listed}");
    let metrics = http::get(&world.coordinator.url("/metrics")).await?.text();
    ensure!(metrics.contains("vigilmon_regions_offline 1"), "{metrics}");
    for monitor in &world.monitors {
        let monitor = world.admin.monitor(&monitor.id).await?;
        ensure!(monitor.status() == MonitorStatus::Up, "{monitor:?}");
    }

    world.agents[1] = Some(Script::start(&world.tokens[1], world.coordinator.agent_address())?);
    eventually("the end was told", SOON * 2, async || {
        Ok((!world.told("incident.resolved").is_empty()).then_some(()))
    })
    .await?;
    let (opened, resolved) = (world.told("incident.opened"), world.told("incident.resolved"));
    ensure!(opened.len() == 1 && resolved.len() == 1, "{opened:?} {resolved:?}");
    let incidents = world.admin.incidents_of("coverage").await?;
    ensure!(incidents.len() == 1 && incidents[0].state() == IncidentState::Resolved, "{incidents:?}");
    world.assert_no_outage().await
}
