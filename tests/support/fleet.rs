//! A coordinator with one real agent in each of some regions: what most tests begin with.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use proto::admin::v1::{CreateAgentRequest, ListAgentsRequest};

use crate::agent::Settings;
use crate::{Admin, Agent, Coordinator, SOON, eventually};

/// A coordinator and its agents.
#[derive(Debug)]
pub struct Fleet {
    /// The agents, in the order of their regions.
    pub agents: Vec<Agent>,
    /// A client of the coordinator's admin API.
    pub admin: Admin,
    /// The coordinator.
    pub coordinator: Coordinator,
}

/// What the agents of a fleet have in common or apart.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Authorities that all agents trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Hosts files, by region; empty: the system's.
    pub hosts: Vec<String>,
    /// Canaries, by region; empty: none.
    pub canaries: Vec<String>,
    /// Regions whose agents have CAP_NET_RAW.
    pub has_raw_sockets: Vec<&'static str>,
}

impl Fleet {
    /// Starts a coordinator and one agent in each region, and waits until all are connected.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(regions: &[&str]) -> Result<Self> {
        Self::start_with(regions, Shape::default()).await
    }

    /// The same with a shape.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_with(regions: &[&str], shape: Shape) -> Result<Self> {
        let coordinator = Coordinator::start().await?;
        let admin = coordinator.admin()?;
        let mut agents = Vec::new();
        for (index, region) in regions.iter().enumerate() {
            agents.push(Agent::start(Settings {
                name: format!("{region}-1"),
                token: token(&admin, &format!("{region}-1"), region).await?,
                coordinator: coordinator.agent_address(),
                ca_file: shape.ca_file.clone(),
                hosts: shape.hosts.get(index).cloned(),
                canary: shape.canaries.get(index).cloned(),
                has_raw_sockets: shape.has_raw_sockets.contains(region),
            })?);
        }
        let mut fleet = Self { agents, admin, coordinator };
        fleet.connected(regions.len()).await?;
        Ok(fleet)
    }

    /// Waits until so many agents are connected.
    ///
    /// # Errors
    /// When they do not, or one ended.
    pub async fn connected(&mut self, count: usize) -> Result<()> {
        eventually("all agents were connected", SOON * 2, async || {
            for agent in &mut self.agents {
                agent.process().assert_running()?;
            }
            connected_now(&self.admin, count).await
        })
        .await
    }

    /// Something, if exactly so many agents are connected.
    ///
    /// # Errors
    /// Says how many are connected instead.
    pub async fn connected_now(&self, count: usize) -> Result<Option<()>> {
        connected_now(&self.admin, count).await
    }
}

async fn connected_now(admin: &Admin, count: usize) -> Result<Option<()>> {
    let answer = admin.fleet().list_agents(ListAgentsRequest::default()).await?.into_inner();
    let connected = answer.agents.iter().filter(|agent| agent.connected).count();
    ensure!(connected == count, "{connected} agents are connected, not {count}");
    Ok(Some(()))
}

/// Creates an agent and returns its token.
///
/// # Errors
/// When the coordinator refuses.
pub async fn token(admin: &Admin, name: &str, region: &str) -> Result<String> {
    let request = CreateAgentRequest { name: name.to_owned(), region: region.to_owned(), joining: None };
    Ok(admin.fleet().create_agent(request).await?.into_inner().token)
}
