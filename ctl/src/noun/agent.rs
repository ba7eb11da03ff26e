//! `vigilctl agent`: probe agents.
//!
//! `create` prints the agent's token alone on stdout, once: `vigilctl agent create … > token` is the file that
//! `vigilmon-agent run --token-file` wants. With `--join` it is the token that `vigilmon-agent join` takes.

use std::time::Duration;

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    Agent, AgentStatus, AgentWarning, ContradictedFailure, CreateAgentRequest, GetAgentRequest, Joining,
    ListAgentsRequest, Quarantine,
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
    const COLUMNS: &'static [&'static str] = &[
        "NAME",
        "REGION",
        "STATE",
        "LAST SEEN",
        "MONITORS",
        "LATE P99",
        "WAITING",
        "CLOCK",
        "WARNING",
        "VERSION",
        "ID",
    ];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        let status = self.status.as_ref();
        let lateness = status.and_then(|status| status.lateness_p99.as_ref());
        let warnings: Vec<&str> = self.warnings.iter().map(|warning| warning.kind.as_str()).collect();
        vec![
            Cell::text(&self.name),
            Cell::text(&self.region),
            Cell::state(state(self, now)),
            Cell::text(moment::relative(self.last_seen_at.as_ref(), now)),
            Cell::text(self.assigned_monitors.to_string()),
            Cell::text(duration::measured(lateness)),
            Cell::text(status.map(|status| status.waiting_results.to_string()).unwrap_or_default()),
            Cell::text(offset(self.clock_offset.as_ref())),
            Cell::text(warnings.join(",")),
            Cell::text(&self.version),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Agent {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let warn = |sheet: Sheet, warning: &AgentWarning| sheet.field("warning", &warning.text);
        let sheet = Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("region", &self.region)
            .state("state", state(self, now));
        let sheet = self
            .warnings
            .iter()
            .fold(sheet, warn)
            .field("last seen", moment::both(self.last_seen_at.as_ref(), now))
            .field("monitors", self.assigned_monitors.to_string())
            .field("version", &self.version)
            .field("epoch", self.epoch.to_string())
            .field("dropped results", self.dropped_results.to_string())
            .field("clock offset", offset(self.clock_offset.as_ref()))
            .field("capabilities", self.capabilities.join(", "))
            .field("created", moment::both(self.created_at.as_ref(), now));
        let sheet = match &self.status {
            Some(status) => reported(sheet, status, now),
            None => sheet,
        };
        match &self.quarantine {
            Some(quarantine) => quarantined(sheet, quarantine, now),
            None => sheet,
        }
    }
}

/// What the agent says of itself.
fn reported(sheet: Sheet, status: &AgentStatus, now: Timestamp) -> Sheet {
    let measured = |span: &Option<prost_types::Duration>| duration::measured(span.as_ref());
    let in_seconds = |span: Option<prost_types::Duration>| {
        measured(&span.map(|span| prost_types::Duration { nanos: 0, ..span }))
    };
    let lateness = status.lateness_p99.map(|p99| {
        let (p50, max) = (measured(&status.lateness_p50), measured(&status.lateness_max));
        format!("p50 {p50}, p99 {}, max {max}", measured(&Some(p99)))
    });
    let load = status.load.map(|load| format!("{load:.2} on {}", count(status.cores.into(), "core")));
    let files = status.open_files.map(|open| match status.open_files_limit {
        Some(limit) => format!("{open} of {limit}"),
        None => open.to_string(),
    });
    let waiting = match (status.waiting_results, measured(&status.oldest_waiting_age)) {
        (0, _) => "none".to_owned(),
        (results, age) if age.is_empty() => results.to_string(),
        (results, age) => format!("{results}, the oldest for {age}"),
    };
    let (started, skipped) = (count(status.checks_started, "check"), status.checks_skipped);
    let queued = match (status.checks_queued, measured(&status.longest_wait)) {
        (0, wait) => format!("none (the longest wait was {wait})"),
        (queued, wait) => format!("{queued} (the longest wait is {wait})"),
    };
    sheet
        .field("reported", moment::both(status.reported_at.as_ref(), now))
        .field("running for", in_seconds(status.uptime))
        .field("started", format!("{started} in {}, {skipped} skipped", in_seconds(status.period)))
        .field("lateness", lateness.unwrap_or_default())
        .field("under way", count(status.checks_running.into(), "check"))
        .field("queued", queued)
        .field("waiting results", waiting)
        .field("spool", filled(status.spool_bytes, status.spool_capacity_bytes))
        .field("load", load.unwrap_or_default())
        .field("memory", status.memory_bytes.map(bytes).unwrap_or_default())
        .field("open files", files.unwrap_or_default())
        .field("failing canaries", status.failing_canaries.join(", "))
}

/// `1 check`, `2 checks`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn filled(used: u64, capacity: u64) -> String {
    let percent = (u128::from(used) * 100).checked_div(capacity.into()).unwrap_or_default();
    format!("{} of {} ({percent} %)", bytes(used), bytes(capacity))
}

/// Bytes in the largest binary unit of which there is one, rounded down.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
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

/// How far a clock is off; below a millisecond it is not.
fn offset(span: Option<&prost_types::Duration>) -> String {
    let millis =
        span.map(|span| prost_types::Duration { nanos: span.nanos - span.nanos % 1_000_000, ..*span });
    duration::measured(millis.as_ref())
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
