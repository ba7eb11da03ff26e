//! Three regions, a target and a coordinator, each on its own line of one network.
//!
//! The test itself sits at the coordinator: there stand its receiver, which therefore sees every message whatever line
//! is cut, and the sites behind the target's doors.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, Incident, Monitor, MonitorStatus, Vote};
use support::admin::seconds;
use support::agent::Settings;
use support::door::Door;
use support::eventually::throughout;
use support::namespace::{self, Network};
use support::process::Process;
use support::site::Request;
use support::{Admin, Agent, Answer, SOON, Scratch, Site, environment, eventually, fleet, http, webhook};

pub(super) const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];
pub(super) const COORDINATOR: &str = "coordinator";
pub(super) const TARGET: &str = "target";

/// Also the timeout: a busy machine may hold up a check for a while.
pub(super) const INTERVAL_SECS: u64 = 2;

/// Where the coordinator answers the test; its default.
const CONSOLE: &str = "http://127.0.0.1:8080";
const AGENT_PORT: u16 = 8443;

/// What every test here begins with. Nothing is slower or cut yet.
#[derive(Debug)]
pub(super) struct Scene {
    // In the order in which it ends.
    agents: Vec<Agent>,
    _coordinator: Process,
    pub(super) admin: Admin,
    pub(super) receiver: Site,
    pub(super) network: Network,
    _scratch: Scratch,
}

/// A monitored site at the target's place.
#[derive(Debug)]
pub(super) struct Watched {
    /// The monitor's id.
    pub(super) id: String,
    /// What stands behind the door.
    pub(super) site: Site,
    _door: Door,
}

/// Runs a test at the coordinator's place, or reports that `name` cannot run here.
pub(super) fn run<F: Future<Output = Result<()>>>(
    name: &str,
    test: impl FnOnce(Network) -> F + Send,
) -> Result<()> {
    if !namespace::is_possible() {
        return environment::skip(name, "network namespaces cannot be made (needs root and iproute2)");
    }
    let places: Vec<_> = REGIONS.into_iter().chain([COORDINATOR, TARGET]).collect();
    let network = Network::start(&places)?;
    network.enter(COORDINATOR, |network| {
        // One thread: the one that is there.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test(network))
    })?
}

impl Scene {
    /// Starts the coordinator and an agent in each of `regions`.
    pub(super) async fn start(network: Network, regions: &[&str]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let coordinator = coordinator(&network, &scratch)?;
        eventually("the coordinator was ready", SOON * 2, async || {
            let ready = http::get(&format!("{CONSOLE}/health/ready")).await;
            Ok(ready.ok().filter(|answer| answer.status == 200).map(drop))
        })
        .await?;
        let key = std::fs::read_to_string(scratch.join("data/admin.key"))?;
        let admin = Admin::connect(CONSOLE, key.trim())?;
        let receiver = Site::start(Answer::Status(200)).await?;
        admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
        let mut scene =
            Self { agents: vec![], _coordinator: coordinator, admin, receiver, network, _scratch: scratch };
        for region in regions {
            let settings = Settings {
                name: (*region).to_owned(),
                token: fleet::token(&scene.admin, region, region).await?,
                coordinator: scene.agent_address()?,
                ca_file: None,
                hosts: None,
                canary: None,
                has_raw_sockets: false,
            };
            scene.agents.push(scene.network.within(region, || Agent::start(settings))??);
        }
        scene.connected(regions.len(), SOON * 2).await?;
        Ok(scene)
    }

    /// Where agents connect.
    pub(super) fn agent_address(&self) -> Result<SocketAddr> {
        Ok((self.network.address(COORDINATOR)?, AGENT_PORT).into())
    }

    /// Puts a site at the target's place and watches it from every region.
    pub(super) async fn watch(&self, answer: Answer) -> Result<Watched> {
        let site = Site::start(answer).await?;
        let address = self.network.address(TARGET)?;
        let door =
            Door::open(self.network.within(TARGET, || TcpListener::bind((address, 0)))??, site.address())?;
        let monitor = Monitor {
            url: format!("http://{}/health", door.address()),
            interval: seconds(INTERVAL_SECS),
            timeout: seconds(INTERVAL_SECS),
            channels: vec!["ops".to_owned()],
            ..Monitor::default()
        };
        Ok(Watched { id: self.admin.create_monitor(monitor).await?.id, site, _door: door })
    }

    /// The same, and waits until it is up.
    pub(super) async fn watch_well(&self) -> Result<Watched> {
        let watched = self.watch(Answer::Status(200)).await?;
        self.admin.until_status(&watched.id, MonitorStatus::Up, SOON).await?;
        Ok(watched)
    }

    /// Waits until exactly so many agents are connected.
    pub(super) async fn connected(&self, count: usize, limit: Duration) -> Result<()> {
        eventually("the agents were connected", limit, async || {
            let request = proto::admin::v1::ListAgentsRequest::default();
            let agents = self.admin.fleet().list_agents(request).await?.into_inner().agents;
            let connected = agents.iter().filter(|agent| agent.connected).count();
            ensure!(connected == count, "{connected} agents are connected, not {count}");
            Ok(Some(()))
        })
        .await
    }

    /// Nothing is opened for a monitor and nobody is told of one for the whole of `span`.
    pub(super) async fn stays_quiet(&self, span: Duration) -> Result<()> {
        throughout(span, async || self.is_quiet().await).await
    }

    /// Nothing was opened for a monitor and nobody was told of one. Operators may have been told of the fleet.
    pub(super) async fn is_quiet(&self) -> Result<()> {
        let incidents = self.incidents().await?;
        ensure!(incidents.is_empty(), "opened: {incidents:#?}");
        let messages = self.messages("monitor");
        ensure!(messages.is_empty(), "sent: {messages:#?}");
        Ok(())
    }

    /// The messages about subjects of a kind.
    pub(super) fn messages(&self, kind: &str) -> Vec<Request> {
        let mut messages = self.receiver.requests();
        messages.retain(|request| request.json().is_ok_and(|body| body["data"]["subject"]["kind"] == kind));
        messages
    }

    /// The incidents of monitors.
    pub(super) async fn incidents(&self) -> Result<Vec<Incident>> {
        let mut incidents = self.admin.incidents_of("").await?;
        incidents.retain(|incident| incident.subject_id.starts_with("mon_"));
        Ok(incidents)
    }

    /// The one incident that there is of any monitor.
    pub(super) async fn only_incident(&self) -> Result<Incident> {
        let mut incidents = self.incidents().await?;
        ensure!(incidents.len() == 1, "not one incident: {incidents:#?}");
        incidents.pop().context("one")
    }

    /// Waits until the messages are exactly these, and sees that no more follow.
    pub(super) async fn told(&self, kinds: &[&str]) -> Result<()> {
        let told = || self.messages("monitor");
        eventually("the receiver was told", SOON, async || Ok((told().len() >= kinds.len()).then_some(())))
            .await?;
        throughout(Duration::from_secs(2), async || {
            ensure!(told().len() == kinds.len(), "more was sent: {:#?}", told());
            Ok(())
        })
        .await?;
        for kind in kinds {
            ensure!(webhook::of_type(&told(), kind).len() == 1, "not one {kind}: {:#?}", told());
        }
        Ok(())
    }

    /// The newest vote of a region.
    pub(super) async fn vote(&self, watched: &Watched, region: &str) -> Result<Vote> {
        let states = self.admin.monitor(&watched.id).await?.region_states;
        let state =
            states.into_iter().find(|state| state.region == region).context("the region is listed")?;
        state.vote.context("it has voted")
    }
}

/// The regions whose failing votes opened an incident.
pub(super) fn blamed(incident: &Incident) -> Result<BTreeSet<&str>> {
    let table = incident.opening_votes.as_ref().context("an incident keeps its votes")?;
    let failing = table.votes.iter().filter(|vote| vote.counted && vote.outcome == "fail");
    Ok(failing.map(|vote| vote.region.as_str()).collect())
}

fn coordinator(network: &Network, scratch: &Scratch) -> Result<Process> {
    let agents = SocketAddr::from((network.address(COORDINATOR)?, AGENT_PORT));
    let mut command = Command::new(environment::binary("vigilmon")?);
    command
        .arg("serve")
        .arg("--data")
        .arg(scratch.join("data"))
        .args(["--agent-listen", &agents.to_string(), "--allow-receiver", "127.0.0.0/8"])
        .current_dir(scratch.path());
    Process::start("vigilmon", command, scratch.join("vigilmon.log"))
}
