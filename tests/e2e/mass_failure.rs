//! Thousands of monitors fail for one reason: people hear of that reason, once and soon, and acks keep coming.
//!
//! The agents are scripts at the level of the protocol, so that nothing but the coordinator is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{
    Agent, ChannelKind, GetAgentRequest, Incident, IncidentState, ListIncidentsRequest, ListMonitorsRequest,
    Monitor, MonitorStatus,
};
use support::admin::seconds;
use support::crowd::Reporter;
use support::eventually::throughout;
use support::site::Request;
use support::{Admin, Answer, Coordinator, SOON, Site, eventually, fleet, webhook};
use tokio::task::JoinSet;
use tokio::time::Instant;

const REGIONS: [&str; 3] = ["ap-south", "eu-west", "us-east"];
/// What a debug build decides in time; the bench has ten thousand.
const CHILDREN: usize = 2_000;
/// A third of an agent's monitors must be contradicted, at the rate at which rounds may ask.
const CHILDREN_OF_LIAR: usize = 400;
/// Requests under way at once.
const AT_ONCE: usize = 128;
/// From the first failing result to the first message.
const FIRST_MESSAGE_LIMIT: Duration = Duration::from_secs(5);
/// In which nothing more may be said.
const QUIET: Duration = Duration::from_secs(60);
/// Two rounds, 10 s apart, and what surrounds them.
const RECOVERY_LIMIT: Duration = Duration::from_secs(45);
/// 15 s of silence, a minute of patience, and what surrounds them.
const COVERAGE_LIMIT: Duration = Duration::from_secs(100);

/// A coordinator, its agents, and monitors that all of them say are up.
struct World {
    // Before the coordinator, so that nobody connects to one that has ended.
    agents: Vec<Reporter>,
    admin: Admin,
    parent: String,
    children: usize,
    receiver: Site,
    _coordinator: Coordinator,
}

impl World {
    async fn start(children: usize) -> Result<Self> {
        let coordinator = Coordinator::start().await?;
        let admin = coordinator.admin()?;
        let receiver = Site::start(Answer::Status(200)).await?;
        admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
        let mut tokens = vec![];
        for region in REGIONS {
            tokens.push(fleet::token(&admin, &format!("{region}-1"), region).await?);
        }
        let began = Instant::now();
        let parent = admin.create_monitor(monitor("parent.example", vec![])).await?.id;
        let (mut making, mut made) = (JoinSet::new(), 0);
        while made < children || !making.is_empty() {
            if made < children && making.len() < AT_ONCE {
                let (admin, parent) = (admin.clone(), parent.clone());
                let host = format!("child-{made}.example");
                making.spawn(async move { admin.create_monitor(monitor(&host, vec![parent])).await });
                made += 1;
            } else if let Some(one) = making.join_next().await {
                one??;
            }
        }
        println!("{children} children created in {:?}", began.elapsed());
        let start = |token: &String| Reporter::start(token, coordinator.agent_address());
        let agents = tokens.iter().map(start).collect::<Result<_>>()?;
        let world = Self { agents, admin, parent, children, receiver, _coordinator: coordinator };
        // Two regions are enough to be up; the tests need what all three say.
        eventually("every agent had reported everything", SOON * 6, async || {
            Ok(world.agents.iter().all(|agent| agent.acks().len() > children).then_some(()))
        })
        .await?;
        world.until_all(MonitorStatus::Up, SOON * 6).await?;
        Ok(world)
    }

    /// How many monitors have which status.
    async fn census(&self) -> Result<BTreeMap<&'static str, usize>> {
        let mut census = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = ListMonitorsRequest { page_size: 1_000, page_token };
            let page = self.admin.monitors().list_monitors(request).await?.into_inner();
            for monitor in &page.monitors {
                *census.entry(monitor.status().as_str_name()).or_default() += 1;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(census);
            }
        }
    }

    /// Waits until the parent and all children have a status.
    async fn until_all(&self, status: MonitorStatus, limit: Duration) -> Result<()> {
        self.until_census(&[(status, self.children + 1)], limit).await
    }

    async fn until_census(&self, wanted: &[(MonitorStatus, usize)], limit: Duration) -> Result<()> {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(status, n)| (status.as_str_name(), *n)).collect();
        let began = Instant::now();
        eventually(&format!("the monitors were {wanted:?}"), limit, async || {
            let census = self.census().await?;
            ensure!(census == wanted, "they are {census:?}");
            Ok(Some(()))
        })
        .await?;
        println!("{wanted:?} after {:?}", began.elapsed());
        Ok(())
    }

    /// All incidents there ever were, of everything.
    async fn incidents(&self) -> Result<Vec<Incident>> {
        let request = ListIncidentsRequest { page_size: 100, ..ListIncidentsRequest::default() };
        Ok(self.admin.incidents().list_incidents(request).await?.into_inner().incidents)
    }

    async fn agent(&self, name: &str) -> Result<Agent> {
        let request = GetAgentRequest { id: name.to_owned() };
        Ok(self.admin.fleet().get_agent(request).await?.into_inner())
    }

    /// Waits until so many messages have come, and returns all that have.
    async fn until_told(&self, count: usize, limit: Duration) -> Result<Vec<Request>> {
        eventually(&format!("{count} messages came"), limit, async || {
            let told = self.receiver.requests();
            Ok((told.len() >= count).then_some(told))
        })
        .await
    }

    /// Prints how long acks took since the last time, and that they came.
    fn print_acks(&self, phase: &str, before: &mut Vec<usize>) -> Result<()> {
        before.resize(self.agents.len(), 0);
        let mut took = vec![];
        for (agent, before) in self.agents.iter().zip(before) {
            let acks = agent.acks();
            ensure!(acks.len() > *before, "{phase}: no acks");
            took.extend_from_slice(&acks[*before..]);
            *before = acks.len();
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        println!("{phase}: {} acks, p50 {:?}, p99 {:?}, max {:?}", took.len(), at(50), at(99), at(100));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_monitors_behind_one_dead_parent_are_one_incident_and_two_messages() -> Result<()> {
    let world = World::start(CHILDREN).await?;
    let mut acked = vec![];
    world.print_acks("starting", &mut acked)?;

    // Children first: they must wait for what their parent says.
    let failed = Instant::now();
    world.agents.iter().for_each(|agent| agent.find(true, &world.parent));
    world.until_told(1, FIRST_MESSAGE_LIMIT * 4).await?;
    let first = failed.elapsed();
    println!("first message after {first:?}");
    world.until_census(&[(MonitorStatus::Down, 1), (MonitorStatus::Unknown, CHILDREN)], SOON * 3).await?;
    println!("every child was a member after {:?}", failed.elapsed());
    let [incident] = &world.incidents().await?[..] else {
        anyhow::bail!("not one incident: {:?}", world.incidents().await?)
    };
    assert_eq!((&incident.subject_id, incident.state()), (&world.parent, IncidentState::Open));
    let [incident] = &world.admin.incidents_of(&world.parent).await?[..] else { anyhow::bail!("not one") };
    assert_eq!(usize::try_from(incident.member_count)?, CHILDREN);
    throughout(QUIET.saturating_sub(failed.elapsed()), async || {
        ensure!(world.receiver.requests().len() == 1, "more than one message");
        Ok(())
    })
    .await?;
    world.print_acks("failing", &mut acked)?;

    let recovered = Instant::now();
    world.agents.iter().for_each(|agent| agent.find(false, &world.parent));
    world.until_told(2, RECOVERY_LIMIT).await?;
    println!("told of the recovery after {:?}", recovered.elapsed());
    world.until_all(MonitorStatus::Up, RECOVERY_LIMIT).await?;
    world.print_acks("recovering", &mut acked)?;
    let [incident] = &world.admin.incidents_of("").await?[..] else { anyhow::bail!("not one incident") };
    assert_eq!(incident.state(), IncidentState::Resolved);
    ensure!(incident.members.iter().all(|member| member.left_at.is_some()), "{:?}", incident.members);
    let told = world.receiver.requests();
    assert_eq!(told.len(), 2);
    for kind in ["incident.opened", "incident.resolved"] {
        assert_eq!(webhook::of_subject(&told, kind, &world.parent).len(), 1, "{kind}");
    }
    ensure!(first <= FIRST_MESSAGE_LIMIT, "the first message came after {first:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_alone_finds_everything_failing_is_one_notice() -> Result<()> {
    let world = World::start(CHILDREN_OF_LIAR).await?;
    let mut acked = vec![];
    world.print_acks("starting", &mut acked)?;

    let failed = Instant::now();
    world.agents[2].find(true, &world.parent);
    eventually("us-east-1 was quarantined", SOON * 3, async || {
        Ok(world.agent("us-east-1").await?.quarantine)
    })
    .await?;
    println!("quarantined after {:?}", failed.elapsed());
    world.until_told(1, SOON).await?;
    println!("told after {:?}", failed.elapsed());
    world.until_all(MonitorStatus::Up, SOON * 3).await?;
    throughout(Duration::from_secs(3), async || {
        ensure!(world.receiver.requests().len() == 1, "more than one message");
        Ok(())
    })
    .await?;
    world.print_acks("lying", &mut acked)?;
    let [notice] = &world.incidents().await?[..] else {
        anyhow::bail!("not one incident: {:?}", world.incidents().await?)
    };
    ensure!(notice.subject_name == "agent us-east-1", "{notice:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_falls_silent_over_thousands_of_monitors_is_one_notice() -> Result<()> {
    let mut world = World::start(CHILDREN).await?;
    let mut acked = vec![];
    world.print_acks("starting", &mut acked)?;
    let silent = Instant::now();
    world.agents.pop().context("it ran")?;
    let told = world.until_told(1, COVERAGE_LIMIT).await?;
    println!("told after {:?}", silent.elapsed());
    let text = told[0].json()?["data"]["text"].as_str().context("a text")?.to_owned();
    ensure!(text.starts_with("🟡 COVERAGE: region US-East is offline"), "{text}");
    acked.truncate(2);
    world.print_acks("silent", &mut acked)?;
    throughout(Duration::from_secs(3), async || {
        ensure!(world.receiver.requests().len() == 1, "more than one message");
        Ok(())
    })
    .await?;
    world.until_all(MonitorStatus::Up, SOON).await?;
    assert_eq!(world.incidents().await?.len(), 1);
    Ok(())
}

fn monitor(host: &str, depends_on: Vec<String>) -> Monitor {
    Monitor {
        url: format!("http://{host}/"),
        interval: seconds(60),
        channels: vec!["ops".to_owned()],
        depends_on,
        ..Monitor::default()
    }
}
