//! `vigilctl monitor`: active checks.
//!
//! `create` and `edit` share their flags ([`Settings`]): each flag that was given sets one field and names it in the
//! update mask, so `edit` changes exactly what was typed, under the etag it read.

mod replay;
mod view;

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use model::Clock;
use proto::admin::v1::{
    CreateMonitorRequest, DeleteMonitorRequest, ExplainMonitorRequest, GetMonitorRequest,
    ListMonitorsRequest, ListResultsRequest, Monitor, PauseMonitorRequest, ResumeMonitorRequest,
    UpdateMonitorRequest,
};

use super::alert::{self, AlertFlags};
use super::badge::Badge;
use super::exchange::{Exchange, given, set};
use super::{Context, Get, Ls, Which, all, client};
use crate::duration;
use crate::exit::Failure;
use crate::moment::Moment;
use crate::output::say;

/// What can be done with monitors.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all monitors
    Ls(Ls),
    /// Show one monitor with its regions
    Get(Get),
    /// Check a URL from now on; prints the monitor's id
    Create(Box<Create>),
    /// Change the settings that are given
    Edit(Box<Edit>),
    /// Delete a monitor with its history; an open incident is closed
    Delete(Which),
    /// Stop checking; an open incident is closed
    Pause(Which),
    /// Check again
    Resume(Which),
    /// Show the present votes, the sum, the decision, and what would change it
    Explain(Get),
    /// List single results, newest first
    Results(Results),
    /// Try another policy on what is recorded: incidents added, removed, earlier, later
    Replay(replay::Replay),
    /// Print the address of a picture of how it is, for README files and the like
    Badge(Badge),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl monitor create <URL> [OPTIONS]")]
pub(crate) struct Create {
    /// https://…, http://…, tcp://HOST:PORT, tls://HOST, dns:NAME?type=MX, dns://SERVER/NAME, icmp://HOST[?count=N],
    /// grpc://HOST:PORT/SERVICE, wss://…, smtp://HOST, imap://HOST, pop3://HOST, or the last ones with an s for TLS
    url: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    alert: AlertFlags,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl monitor edit <ID> [OPTIONS]")]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(CHANGES).args(alert::FLAGS))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Another target
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Put a setting back to none
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SETTING,…")]
    clear: Vec<Clearable>,
    #[command(flatten)]
    alert: AlertFlags,
}

/// The ids of what `edit` needs at least one of.
const CHANGES: [&str; 33] = [
    "url",
    "name",
    "interval",
    "timeout",
    "regions",
    "quorum",
    "channels",
    "method",
    "headers",
    "expect_status",
    "confirmation_period",
    "recovery_checks",
    "failures",
    "passes",
    "recovery_period",
    "latency_limit",
    "depends_on",
    "health",
    "tags",
    "send",
    "expect",
    "certificate_days",
    "assertions",
    "upside_down",
    "ip_version",
    "connect_to",
    "server_name",
    "max_redirects",
    "client_certificate",
    "http_version",
    "compressed",
    "reuse_connection",
    "clear",
];

/// What may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clearable {
    Channels,
    Headers,
    ExpectStatus,
    LatencyLimit,
    DependsOn,
    Tags,
    Send,
    Expect,
    CertificateDays,
    Assert,
    ConnectTo,
    ServerName,
    MaxRedirects,
    ClientCertificate,
    HttpVersion,
    Alert,
}

/// What `create` and `edit` can set.
#[derive(Debug, Args)]
struct Settings {
    /// Unique name [default: the URL without its scheme]
    #[arg(long)]
    name: Option<String>,
    /// How often each region checks, such as 30s or 5m [default: 1m]
    #[arg(long, value_parser = duration::parse)]
    interval: Option<Duration>,
    /// How long a check may take [default: 10s, or the interval if shorter]
    #[arg(long, value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Regions to check from [default: every region there is]
    #[arg(long, value_delimiter = ',', value_name = "REGION,…")]
    regions: Vec<String>,
    /// Which regions must agree: any, majority, all, at_least:K, percent:P, or by groups such as "2 of eu-* and 1 of
    /// other" [default: majority]
    #[arg(long)]
    quorum: Option<String>,
    /// Channel to notify, by id or name; several are allowed [default: none]
    #[arg(long = "channel", value_delimiter = ',', num_args = 1.., value_name = "CHANNEL")]
    channels: Vec<String>,
    /// How long the regions must agree before an incident opens [default: 0s]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    confirmation_period: Option<Duration>,
    /// Rounds that must pass before an incident is resolved [default: 2]
    #[arg(long, value_name = "COUNT")]
    recovery_checks: Option<u32>,
    /// Failing checks in a row that make a region's failure count [default: 1]
    #[arg(long, value_name = "COUNT")]
    failures: Option<u32>,
    /// Passing checks in a row that end a region's failure [default: 1]
    #[arg(long, value_name = "COUNT")]
    passes: Option<u32>,
    /// How long a recovery must last before an incident is resolved [default: 0s]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    recovery_period: Option<Duration>,
    /// Checks that pass but take longer make the monitor degraded [default: none]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    latency_limit: Option<Duration>,
    /// Monitor without which this one cannot work, by id or name; may be repeated [default: none]
    #[arg(long, value_name = "MONITOR")]
    depends_on: Vec<String>,
    /// Word by which to group it, such as payments; several are allowed [default: none]
    #[arg(long = "tag", value_delimiter = ',', num_args = 1.., value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    exchange: Exchange,
}

/// Arguments of `results`.
#[derive(Debug, Args)]
pub(crate) struct Results {
    /// Id or name
    monitor: String,
    /// Oldest: a span before now, or RFC 3339 [default: 1h]
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    since: Option<Moment>,
    /// Newest: a span before now, or RFC 3339 [default: now]
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    until: Option<Moment>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(*create, context).await,
        Verb::Edit(edit) => self::edit(*edit, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
        Verb::Pause(Which { id }) => pause(id, context).await,
        Verb::Resume(Which { id }) => resume(id, context).await,
        Verb::Explain(get) => explain(&get, context).await,
        Verb::Results(results) => self::results(&results, context).await,
        Verb::Replay(replay) => replay::run(replay, context).await,
        Verb::Badge(badge) => self::badge(badge, context).await,
    }
}

macro_rules! monitors {
    ($context:expr) => {
        client!($context, monitors_client::MonitorsClient)
    };
}

async fn badge(badge: Badge, context: &Context) -> Result<(), Failure> {
    let request = GetMonitorRequest { id: badge.id.clone() };
    let monitor = monitors!(context).get_monitor(request).await?.into_inner();
    badge.run(monitor.id, context).await
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let monitors = monitors!(context);
    let page = async |page_size, page_token| {
        let request = ListMonitorsRequest { page_size, page_token };
        let answer = monitors.clone().list_monitors(request).await?.into_inner();
        Ok((answer.monitors, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let monitors = monitors!(context);
    context.one(get, async |id| monitors.clone().get_monitor(GetMonitorRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let mut monitor = Monitor { url: create.url, ..Monitor::default() };
    create.settings.apply(&mut monitor);
    monitor.alert = create.alert.apply(None);
    let request = CreateMonitorRequest { monitor: Some(monitor) };
    let monitor = monitors!(context).create_monitor(request).await?.into_inner();
    let talk = format!("created {}, checked from {}", monitor.name, monitor.regions.join(", "));
    context.output.changed(&monitor, Some(&monitor.id), &talk)?;
    warn(&monitor);
    Ok(())
}

/// Says which regions cannot make the check as their agents are.
fn warn(monitor: &Monitor) {
    for unsupported in &monitor.unsupported {
        say(&format!("warning: {} cannot check it: {}", unsupported.region, unsupported.reason));
    }
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let mut monitors = monitors!(context);
    let mut monitor = Monitor::default();
    let mut paths = edit.settings.apply(&mut monitor);
    if edit.alert.is_given() {
        paths.push("alert");
    }
    if let Some(url) = edit.url {
        monitor.url = url;
        paths.push("url");
    }
    for clear in edit.clear {
        let path = clear.path();
        if paths.contains(&path) {
            return Err(Failure::usage(format!("--clear: {path} is set by another flag")));
        }
        paths.push(path);
    }
    let present = monitors.get_monitor(GetMonitorRequest { id: edit.id }).await?.into_inner();
    monitor.alert = edit.alert.apply(present.alert.as_ref());
    monitor.id = present.id;
    monitor.etag = present.etag;
    let paths = paths.into_iter().map(str::to_owned).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = UpdateMonitorRequest { monitor: Some(monitor), update_mask };
    let monitor = monitors.update_monitor(request).await?.into_inner();
    context.output.changed(&monitor, None, &format!("changed {}", monitor.name))?;
    warn(&monitor);
    Ok(())
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    let request = DeleteMonitorRequest { id: id.clone(), etag: String::new() };
    monitors!(context).delete_monitor(request).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

async fn pause(id: String, context: &Context) -> Result<(), Failure> {
    let monitor = monitors!(context).pause_monitor(PauseMonitorRequest { id }).await?.into_inner();
    context.output.changed(&monitor, None, &format!("paused {}", monitor.name))
}

async fn resume(id: String, context: &Context) -> Result<(), Failure> {
    let monitor = monitors!(context).resume_monitor(ResumeMonitorRequest { id }).await?.into_inner();
    context.output.changed(&monitor, None, &format!("resumed {}", monitor.name))
}

async fn explain(get: &Get, context: &Context) -> Result<(), Failure> {
    let monitors = monitors!(context);
    context.one(get, async |id| monitors.clone().explain_monitor(ExplainMonitorRequest { id }).await).await
}

async fn results(results: &Results, context: &Context) -> Result<(), Failure> {
    let monitors = monitors!(context);
    let now = context.clock.now();
    let list = all(Some(results.limit), async |page_size, page_token| {
        let request = ListResultsRequest {
            monitor_id: results.monitor.clone(),
            since: results.since.map(|since| since.to_wire(now)),
            until: results.until.map(|until| until.to_wire(now)),
            page_size,
            page_token,
        };
        let answer = monitors.clone().list_results(request).await?.into_inner();
        Ok((answer.results, answer.next_page_token))
    });
    crate::output::print(&context.output.list(&list.await?, now)?)
}

impl Settings {
    /// Sets what was given and returns the names of those fields.
    fn apply(self, monitor: &mut Monitor) -> Vec<&'static str> {
        let mut paths = Vec::new();
        let wire = |span: Option<Duration>| span.map(duration::to_wire).map(Some);
        set! { monitor, paths:
            name = self.name;
            interval = wire(self.interval);
            timeout = wire(self.timeout);
            regions = given(self.regions);
            quorum = self.quorum;
            channels = given(self.channels);
            confirmation_period = wire(self.confirmation_period);
            recovery_checks = self.recovery_checks;
            failure_threshold = self.failures;
            success_threshold = self.passes;
            recovery_period = wire(self.recovery_period);
            latency_limit = wire(self.latency_limit);
            depends_on = given(self.depends_on);
            tags = given(self.tags);
        }
        self.exchange.apply(monitor, &mut paths);
        paths
    }
}

impl Clearable {
    const fn path(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Headers => "headers",
            Self::ExpectStatus => "expected_status",
            Self::LatencyLimit => "latency_limit",
            Self::DependsOn => "depends_on",
            Self::Tags => "tags",
            Self::Send => "send",
            Self::Expect => "expect",
            Self::CertificateDays => "certificate_days",
            Self::Assert => "assertions",
            Self::ConnectTo => "connect_to",
            Self::ServerName => "server_name",
            Self::MaxRedirects => "max_redirects",
            Self::ClientCertificate => "client_certificate",
            Self::HttpVersion => "http_version",
            Self::Alert => "alert",
        }
    }
}
