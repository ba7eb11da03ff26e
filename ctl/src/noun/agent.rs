//! `vigilctl agent`: probe agents.
//!
//! `create` prints the agent's token alone on stdout, once: `vigilctl agent create … > token` is the file that
//! `vigilmon-agent run --token-file` wants. With `--join` it is the token that `vigilmon-agent join` takes.

use std::time::Duration;

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    Agent, ContradictedFailure, CreateAgentRequest, GetAgentRequest, Joining, ListAgentsRequest, Quarantine,
};

use super::{Context, Get, Ls, client};
use crate::exit::Failure;
use crate::output::{Cell, Described, Listed, Sheet, Table};
use crate::{duration, moment};

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all agents
    Ls(Ls),
    /// Show one agent
    Get(Get),
    /// Admit a new agent; prints its token, this once only
    Create(Create),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Unique name
    name: String,
    /// Where it stands, such as us-east; the region is made if it is new
    #[arg(long)]
    region: String,
    /// Print a join token instead, which is good once: `vigilmon-agent join` makes the agent's own there. Again for the
    /// same agent while it has not joined: another one
    #[arg(long)]
    join: bool,
    /// How long the join token is good, from 1m to 24h [default: 15m]
    #[arg(long, value_parser = duration::parse, requires = "join", value_name = "SPAN")]
    valid_for: Option<Duration>,
    /// Where the agent is to connect, such as https://vigilmon.example.com:8443 [default: the coordinator's
    /// --agent-address]
    #[arg(long, requires = "join", value_name = "URL")]
    address: Option<String>,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(create, context).await,
    }
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let fleet = client!(context, fleet_client::FleetClient);
    let page = async |page_size, page_token| {
        let request = ListAgentsRequest { page_size, page_token };
        let answer = fleet.clone().list_agents(request).await?.into_inner();
        Ok((answer.agents, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let fleet = client!(context, fleet_client::FleetClient);
    context.one(get, async |id| fleet.clone().get_agent(GetAgentRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let joining = create.join.then(|| Joining {
        valid_for: create.valid_for.map(duration::to_wire),
        address: create.address.unwrap_or_default(),
    });
    let request = CreateAgentRequest { name: create.name.clone(), region: create.region.clone(), joining };
    let answer = client!(context, fleet_client::FleetClient).create_agent(request).await?.into_inner();
    if create.join {
        let until = answer.agent.as_ref().and_then(|agent| agent.join_expires_at.as_ref());
        // In a terminal the command can be copied whole; whatever else reads this may keep it for ever.
        let token = if context.output.terminal { &answer.join_token } else { "TOKEN" };
        let talk = format!(
            "{} may join in {} once, until {} UTC; on its machine: vigilmon-agent join {token}",
            create.name,
            create.region,
            moment::absolute(until),
        );
        return context.output.changed(&answer, Some(&answer.join_token), &talk);
    }
    let talk = format!(
        "created {} in {}; this token is shown once only: keep it in a file for `vigilmon-agent run --token-file FILE`",
        create.name, create.region
    );
    context.output.changed(&answer, Some(&answer.token), &talk)
}

impl Listed for Agent {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "REGION", "STATE", "LAST SEEN", "MONITORS", "VERSION", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(&self.region),
            Cell::state(state(self, now)),
            Cell::text(moment::relative(self.last_seen_at.as_ref(), now)),
            Cell::text(self.assigned_monitors.to_string()),
            Cell::text(&self.version),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Agent {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let sheet = Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("region", &self.region)
            .state("state", state(self, now))
            .field("last seen", moment::both(self.last_seen_at.as_ref(), now))
            .field("monitors", self.assigned_monitors.to_string())
            .field("version", &self.version)
            .field("epoch", self.epoch.to_string())
            .field("dropped results", self.dropped_results.to_string())
            .field("clock skew", duration::measured(self.clock_skew.as_ref()))
            .field("created", moment::both(self.created_at.as_ref(), now));
        match &self.quarantine {
            Some(quarantine) => quarantined(sheet, quarantine, now),
            None => sheet,
        }
    }
}

/// Why the agent's votes do not count.
fn quarantined(sheet: Sheet, quarantine: &Quarantine, now: Timestamp) -> Sheet {
    let row = |failure: &ContradictedFailure| {
        let name = if failure.monitor_name.is_empty() { &failure.monitor_id } else { &failure.monitor_name };
        vec![
            Cell::text(name),
            Cell::text(&failure.host),
            Cell::text(moment::absolute(failure.failed_at.as_ref())),
            Cell::text(failure.contradicted_by.join(", ")),
        ]
    };
    sheet
        .field("quarantined since", moment::both(quarantine.since.as_ref(), now))
        .field("reason", &quarantine.reason)
        .field("incident", &quarantine.incident_id)
        .part(
            "failures that other regions contradict (UTC)",
            Table {
                headers: &["MONITOR", "HOST", "FAILED", "PASSED SINCE FROM"],
                rows: quarantine.evidence.iter().map(row).collect(),
            },
        )
}

fn state(agent: &Agent, now: Timestamp) -> String {
    if let Some(until) = agent.join_expires_at.as_ref().map(moment::from_wire) {
        return match until.since(now).as_secs().div_ceil(60) {
            0 => "not joined (token expired)".to_owned(),
            minutes => format!("waiting to join ({minutes} min left)"),
        };
    }
    match (&agent.quarantine, agent.connected) {
        (Some(_), true) => "quarantined",
        (Some(_), false) => "quarantined (disconnected)",
        (None, true) => "connected",
        (None, false) => "disconnected",
    }
    .to_owned()
}
