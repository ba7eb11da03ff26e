//! `vigilmon up`: everything a first look needs on one machine. Coordinator, an embedded agent per region, a monitor per
//! URL, and what happens printed as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engine::quorum;
use model::check::{DEFAULT_INTERVAL, DEFAULT_TIMEOUT, Options};
use model::{
    AgentId, Check, CheckSpec, Clock, MonitorId, Random, RegionId, Secret, SubjectId, Timestamp, random,
};
use proto::probe::token::AgentToken;
use store::{AgentRow, Config as StoredConfig, ConfigChange};
use tokio_util::sync::CancellationToken;
use tracing::error;
use url::Url;

use crate::app::{ADMIN_KEY_FILE, App, Parts};
use crate::config::{Config, Flags};
use crate::definition::{Definition, Kind, MonitorDefinition};
use crate::lifecycle::Task;
use crate::shard::{ChangeError, ChangeRequest};
use crate::view::{Status, SubjectView, Views};

/// Arguments of `up`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to monitor: https://…, http://…, tcp://HOST:PORT, tls://HOST, dns:NAME, icmp://HOST and more. Those already
    /// monitored stay as they are
    #[arg(value_name = "URL", value_parser = Check::from_target)]
    pub targets: Vec<Check>,
    /// Regions to check from, one embedded agent each; may be repeated [default: local]
    #[arg(long = "region", value_name = "REGION", value_delimiter = ',')]
    pub regions: Vec<RegionId>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub flags: Flags,
}

/// Runs until a signal. `true`: ended as asked.
///
/// # Errors
/// Says what stands in the way, for a person; then nothing was started.
pub async fn run(
    args: Args,
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> anyhow::Result<bool> {
    let regions = if args.regions.is_empty() { vec![RegionId::new("local")?] } else { args.regions };
    let regions: BTreeSet<RegionId> = regions.into_iter().collect();
    let names = regions.iter().map(ToString::to_string).collect();
    let app = App::bind(&config, clock, random, names).await?;
    let mut tokens = vec![];
    for region in &regions {
        tokens.push(embedded_agent(&app.parts, region).await?);
    }
    println!("Vigilmon is at {}", app.public_url);
    println!("Status page and admin API there; agents connect to {}", app.agent_address);
    println!("Admin key: {}", config.data.join(ADMIN_KEY_FILE).display());
    if let Some(key) = app.new_admin_key.as_ref().filter(|_| std::io::stdout().is_terminal()) {
        println!("           {}", key.expose());
    }
    let coordinator = loopback(app.agent_address);
    let running = app.start();
    for token in tokens {
        start_agent(&running.parts, token, coordinator, &config.data)?;
    }
    let parts = running.parts.clone();
    let drain = parts.supervisor.drain().clone();
    parts.supervisor.spawn(Task::Terminal, print_changes(Arc::clone(&parts.views), drain));
    for check in args.targets {
        add_monitor(&parts, check, &regions).await.context("cannot add a monitor")?;
    }
    Ok(running.until_signal().await)
}

/// Where this process itself reaches a listener.
fn loopback(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port())
    } else {
        bound
    }
}

/// The agent of a region, created if it is new, with a token for this run.
async fn embedded_agent(parts: &Parts, region: &RegionId) -> anyhow::Result<AgentToken> {
    let now = parts.clock.now();
    let secret = Secret::new(random::bytes(parts.random.as_ref()));
    let fresh = AgentId::new(now, parts.random.as_ref());
    let fingerprint = parts.agent_fingerprint;
    let mut token = AgentToken { agent: fresh, secret, fingerprint };
    let decide = |config: &StoredConfig| {
        let known = config.agents.iter().find(|row| row.name == region.as_str());
        token.agent = known.map_or(fresh, |row| row.id);
        let row = AgentRow {
            id: token.agent,
            name: region.to_string(),
            region: region.clone(),
            secret_digest: token.digest(),
            epoch: known.map_or(0, |row| row.epoch),
            process_nonce: known.and_then(|row| row.process_nonce),
            created_at: known.map_or(now, |row| row.created_at),
            join: None,
        };
        Ok::<_, store::Error>(ConfigChange::PutAgent(row))
    };
    parts.settings.change(decide).await.context("cannot register the embedded agent")?;
    Ok(token)
}

fn start_agent(parts: &Parts, token: AgentToken, coordinator: SocketAddr, data: &Path) -> anyhow::Result<()> {
    let spool = data.join("spool").join(token.agent.to_string());
    let mut config = probe_agent::Config::new(Url::parse(&format!("https://{coordinator}"))?, token);
    config.spool = Some(spool);
    let (clock, random) = (Arc::clone(&parts.clock), Arc::clone(&parts.random));
    let drain = parts.supervisor.drain().clone();
    parts.supervisor.spawn(Task::EmbeddedAgent, async move {
        if let Err(error) = probe_agent::run(config, clock, random, drain).await {
            error!(%error, "the embedded agent failed");
        }
    });
    Ok(())
}

/// Creates a monitor unless its target is monitored already.
async fn add_monitor(parts: &Parts, check: Check, regions: &BTreeSet<RegionId>) -> anyhow::Result<()> {
    let target = check.target();
    let is_known = |view: &Arc<SubjectView>| {
        view.definition.monitor().is_some_and(|(_, monitor)| monitor.spec.check.target() == target)
    };
    if parts.views.all().iter().any(is_known) {
        return Ok(());
    }
    let now = parts.clock.now();
    let definition = MonitorDefinition {
        spec: CheckSpec {
            check: check.clone(),
            options: Options::default(),
            interval: DEFAULT_INTERVAL,
            timeout: DEFAULT_TIMEOUT,
        },
        regions: regions.iter().cloned().collect(),
        quorum: quorum::Policy::default(),
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: engine::monitor::Thresholds::default(),
        depends_on: vec![],
        channels: vec![],
        alert: engine::alert::Options::default(),
        tags: vec![],
        paused: false,
        spec_revision: 1,
    };
    let definition = Definition {
        id: SubjectId::Monitor(MonitorId::new(now, parts.random.as_ref())),
        name: check.default_name(),
        revision: 1,
        created_at: now,
        updated_at: now,
        kind: Kind::Monitor(Arc::new(definition)),
    };
    let request = ChangeRequest::Put { definition: Box::new(definition), expected: None };
    match parts.shards.change(request).await {
        // A monitor of that name checks something else: the user decides.
        Ok(()) | Err(ChangeError::NameTaken(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Prints each change of a status.
async fn print_changes(views: Arc<Views>, drain: CancellationToken) {
    let mut changes = views.watch();
    let mut shown: BTreeMap<SubjectId, String> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        for view in views.all() {
            let status = status_word(&view);
            if shown.insert(view.definition.id, status.clone()).as_ref() != Some(&status) {
                println!("{}  {status:<9} {}", clock_time(view.status_since), view.definition.name);
            }
        }
        tokio::select! {
            () = drain.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

fn status_word(view: &SubjectView) -> String {
    match view.status {
        Status::Monitor(status, _) => status.to_string(),
        Status::Heartbeat(status, _) => status.to_string(),
    }
}

/// `15:04:05 UTC`.
fn clock_time(at: Timestamp) -> String {
    at.to_jiff().map_or_else(String::new, |at| {
        at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M:%S UTC").to_string()
    })
}
