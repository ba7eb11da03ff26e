//! `vigilctl maintenance`: planned times in which nothing is judged.
//!
//! `create` and `edit` share their flags ([`Settings`]). A window is given by its start and end (or duration), a
//! recurring one by `--cron`; which of the two a lone `--duration` means in `edit`, the present plan says.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use model::{Clock, Timestamp};
use proto::admin::v1::{
    CreateMaintenanceRequest, DeleteMaintenanceRequest, EndMaintenanceRequest, GetMaintenanceRequest,
    ListMaintenancesRequest, Maintenance, MaintenanceWindow, UpdateMaintenanceRequest,
};

use super::{Context, Get, Ls, Which, client};
use crate::duration;
use crate::exit::Failure;
use crate::moment::{self, Ahead};
use crate::output::{Cell, Described, Listed, Sheet, say};

/// What can be done with maintenance.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all maintenance, with what is in progress and what comes next
    Ls(Ls),
    /// Show one plan
    Get(Get),
    /// Plan maintenance; prints its id
    Create(Box<Create>),
    /// Change the settings that are given
    Edit(Box<Edit>),
    /// Delete a plan; a window that is open ends
    Delete(Which),
    /// End the window that is open; a recurring one opens again the next time
    End(Which),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl maintenance create <NAME> --monitor <MONITOR>|--tag <TAG>|--all \
                            --end <WHEN>|--duration <DURATION>|--cron <CRON> [OPTIONS]")]
#[command(group = ArgGroup::new("scope").required(true).multiple(true).args(["all", "monitors", "heartbeats", "tags"]))]
#[command(group = ArgGroup::new("time").required(true).multiple(true).args(["end", "duration"]))]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Unique name; status pages show it
    name: String,
    #[command(flatten)]
    settings: Settings,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl maintenance edit <ID> [OPTIONS]")]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args([
    "name", "description", "all", "monitors", "heartbeats", "tags", "start", "end", "duration", "cron", "zone",
]))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Unique name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What `create` and `edit` can set.
#[derive(Debug, Args)]
struct Settings {
    /// What it is about; status pages show it
    #[arg(long)]
    description: Option<String>,
    /// Cover every monitor and heartbeat
    #[arg(long, conflicts_with_all = ["monitors", "heartbeats", "tags"])]
    all: bool,
    /// Cover this monitor, by id or name; several are allowed
    #[arg(long = "monitor", num_args = 1.., value_name = "MONITOR")]
    monitors: Vec<String>,
    /// Cover this heartbeat, by id or name; several are allowed
    #[arg(long = "heartbeat", num_args = 1.., value_name = "HEARTBEAT")]
    heartbeats: Vec<String>,
    /// Cover whatever carries this tag; several are allowed
    #[arg(long = "tag", value_delimiter = ',', num_args = 1.., value_name = "TAG")]
    tags: Vec<String>,
    /// When a single window begins: RFC 3339, or a span from now [default: now]
    #[arg(long, value_parser = Ahead::parse, value_name = "WHEN", conflicts_with = "cron")]
    start: Option<Ahead>,
    /// When it ends: RFC 3339, or a span from now
    #[arg(long, value_parser = Ahead::parse, value_name = "WHEN", conflicts_with_all = ["cron", "duration"])]
    end: Option<Ahead>,
    /// How long a window lasts, such as 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// When recurring windows begin: minute hour day month weekday, such as '0 2 * * 0'
    #[arg(long)]
    cron: Option<String>,
    /// Time zone of --cron, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["start", "end"])]
    zone: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  vigilctl maintenance create disks --tag db --duration 2h
  vigilctl maintenance create move --monitor api --start 2026-11-22T02:00:00+01:00 --end 2026-11-22T05:00:00+01:00
  vigilctl maintenance create sundays --all --cron '0 2 * * 0' --zone Europe/Berlin --duration 2h";

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(*create, context).await,
        Verb::Edit(edit) => self::edit(*edit, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
        Verb::End(Which { id }) => end(id, context).await,
    }
}

macro_rules! maintenances {
    ($context:expr) => {
        client!($context, maintenances_client::MaintenancesClient)
    };
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let maintenances = maintenances!(context);
    let page = async |page_size, page_token| {
        let request = ListMaintenancesRequest { page_size, page_token };
        let answer = maintenances.clone().list_maintenances(request).await?.into_inner();
        Ok((answer.maintenances, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let maintenances = maintenances!(context);
    let read = async |id| maintenances.clone().get_maintenance(GetMaintenanceRequest { id }).await;
    context.one(get, read).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let mut maintenance = Maintenance { name: create.name, ..Maintenance::default() };
    create.settings.apply(&mut maintenance, &Maintenance::default(), context.clock.now());
    let request = CreateMaintenanceRequest { maintenance: Some(maintenance) };
    let maintenance = maintenances!(context).create_maintenance(request).await?.into_inner();
    let talk = match (&maintenance.current, &maintenance.next) {
        (Some(current), _) => {
            format!(
                "created {}, in progress until {} UTC",
                maintenance.name,
                moment::absolute(current.end.as_ref())
            )
        }
        (None, Some(next)) => {
            format!("created {}, begins {} UTC", maintenance.name, moment::absolute(next.start.as_ref()))
        }
        (None, None) => format!("created {}", maintenance.name),
    };
    context.output.changed(&maintenance, Some(&maintenance.id), &talk)
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let mut maintenances = maintenances!(context);
    let present = maintenances.get_maintenance(GetMaintenanceRequest { id: edit.id }).await?.into_inner();
    let mut maintenance = Maintenance::default();
    let mut paths = edit.settings.apply(&mut maintenance, &present, context.clock.now());
    if let Some(name) = edit.name {
        maintenance.name = name;
        paths.push("name");
    }
    maintenance.id = present.id;
    maintenance.etag = present.etag;
    let paths = paths.into_iter().map(str::to_owned).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = UpdateMaintenanceRequest { maintenance: Some(maintenance), update_mask };
    let maintenance = maintenances.update_maintenance(request).await?.into_inner();
    context.output.changed(&maintenance, None, &format!("changed {}", maintenance.name))
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    let request = DeleteMaintenanceRequest { id: id.clone(), etag: String::new() };
    maintenances!(context).delete_maintenance(request).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

async fn end(id: String, context: &Context) -> Result<(), Failure> {
    let maintenance =
        maintenances!(context).end_maintenance(EndMaintenanceRequest { id }).await?.into_inner();
    context.output.changed(&maintenance, None, &format!("ended {}", maintenance.name))
}

impl Settings {
    /// Sets what was given and returns the names of those fields. A duration is that of the recurring windows, or sets
    /// the end of the single one.
    fn apply(
        self,
        maintenance: &mut Maintenance,
        present: &Maintenance,
        now: Timestamp,
    ) -> Vec<&'static str> {
        let recurs = self.cron.is_some()
            || self.zone.is_some()
            || (!present.cron.is_empty() && self.start.is_none() && self.end.is_none());
        let start = self.start.map(|start| start.to_wire(now));
        let (duration, end) = match self.duration {
            Some(span) if !recurs => {
                let from = start.or(present.start).map_or(now, |start| moment::from_wire(&start));
                (None, Some(Ahead::At(from.plus(span)).to_wire(now)))
            }
            span => (span.map(duration::to_wire), self.end.map(|end| end.to_wire(now))),
        };
        let mut paths = Vec::new();
        macro_rules! set {
            ($($field:ident = $value:expr;)+) => { $(
                if let Some(value) = $value {
                    maintenance.$field = value;
                    paths.push(stringify!($field));
                }
            )+ };
        }
        set! {
            description = self.description;
            all = self.all.then_some(true);
            monitors = Some(self.monitors).filter(|list| !list.is_empty());
            heartbeats = Some(self.heartbeats).filter(|list| !list.is_empty());
            tags = Some(self.tags).filter(|list| !list.is_empty());
            start = start.map(Some);
            end = end.map(Some);
            duration = duration.map(Some);
            cron = self.cron;
            time_zone = self.zone;
        }
        paths
    }
}

impl Listed for Maintenance {
    const COLUMNS: &'static [&'static str] = &["NAME", "STATE", "NEXT", "SCHEDULE", "COVERS", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        let next = self.next.as_ref().and_then(|next| next.start.as_ref());
        vec![
            Cell::text(&self.name),
            Cell::text(state(self, now)),
            Cell::text(moment::relative(next, now)),
            Cell::text(schedule(self)),
            Cell::text(covers(self)),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Maintenance {
    fn sheet(&self, now: Timestamp) -> Sheet {
        Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("state", state(self, now))
            .field("description", &self.description)
            .field("schedule", schedule(self))
            .field("now", window(self.current.as_ref()))
            .field("next", window(self.next.as_ref()))
            .field("covers", if self.all { "everything" } else { "" })
            .field("tags", self.tags.join(", "))
            .field("monitors", self.monitors.join(", "))
            .field("heartbeats", self.heartbeats.join(", "))
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
    }
}

/// `in progress, ends in 2 hours`, `planned`, `over`.
fn state(maintenance: &Maintenance, now: Timestamp) -> String {
    match (&maintenance.current, &maintenance.next) {
        (Some(current), _) => {
            format!("in progress, ends {}", moment::relative(current.end.as_ref(), now))
        }
        (None, Some(_)) => "planned".to_owned(),
        (None, None) => "over".to_owned(),
    }
}

/// `0 2 * * 0 Europe/Berlin, for 2h`, or the single window.
fn schedule(maintenance: &Maintenance) -> String {
    if maintenance.cron.is_empty() {
        let once = MaintenanceWindow { start: maintenance.start, end: maintenance.end };
        return window(Some(&once));
    }
    let duration = duration::setting(maintenance.duration.as_ref());
    format!("{} {}, for {duration}", maintenance.cron, maintenance.time_zone)
}

/// `2026-11-22 01:00:00 to 2026-11-22 03:00:00 UTC`.
fn window(window: Option<&MaintenanceWindow>) -> String {
    window.map_or_else(String::new, |window| {
        let (start, end) = (moment::absolute(window.start.as_ref()), moment::absolute(window.end.as_ref()));
        format!("{start} to {end} UTC")
    })
}

/// `everything`, or how much of what.
fn covers(maintenance: &Maintenance) -> String {
    if maintenance.all {
        return "everything".to_owned();
    }
    let counted = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        more => Some(format!("{more} {word}s")),
    };
    let tags = (!maintenance.tags.is_empty()).then(|| format!("tags {}", maintenance.tags.join(", ")));
    let parts = [
        tags,
        counted(maintenance.monitors.len(), "monitor"),
        counted(maintenance.heartbeats.len(), "heartbeat"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
