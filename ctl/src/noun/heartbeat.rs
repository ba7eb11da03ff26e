//! `vigilctl heartbeat`: jobs that ping.
//!
//! `create` prints the ping URL alone on stdout: it is shown this once only, and `curl "$(vigilctl heartbeat create …)"`
//! is how it gets into a job.

mod key;
mod pinging;
pub(crate) mod run;
mod runs;
mod schedule;
mod snippet;
mod snooze;

use clap::{ArgGroup, Args, Subcommand};
use model::{Clock, Timestamp};
use proto::admin::v1::{
    CreateHeartbeatRequest, DeleteHeartbeatRequest, GetHeartbeatRequest, Heartbeat, HeartbeatStatus,
    ListHeartbeatsRequest, ListPingsRequest, PauseHeartbeatRequest, Ping, ResumeHeartbeatRequest,
    UpdateHeartbeatRequest,
};

use super::alert::{self, AlertFlags};
use super::badge::Badge;
use super::{Context, Get, Ls, Which, all, client};
use crate::exit::Failure;
use crate::moment::Moment;
use crate::output::{Cell, Described, Listed, Sheet, enum_word, print, say};
use crate::{duration, moment};
use pinging::Pinging;

use schedule::Schedule;
use snooze::Snooze;

/// What can be done with heartbeats.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all heartbeats
    Ls(Ls),
    /// Show one heartbeat
    Get(Get),
    /// Expect pings from now on; prints the URL to ping, this once only
    Create(Box<Create>),
    /// Change the settings that are given
    Edit(Box<Edit>),
    /// Delete a heartbeat; an open incident is closed
    Delete(Which),
    /// Expect nothing for a while; an open incident is closed
    Pause(Which),
    /// Expect pings again
    Resume(Which),
    /// Let nothing come due for a while: a window of maintenance over this heartbeat alone
    Snooze(Snooze),
    /// End a snooze
    Unsnooze(Which),
    /// List the latest pings, newest first
    Pings(Pings),
    /// List runs that have something to tell, newest first, and how long they take
    Runs(runs::Runs),
    /// Show what a run had to say
    Log(runs::Log),
    /// Print the address of a picture of how it is, for README files and the like
    Badge(Badge),
    /// Keys by which heartbeats are pinged by their slugs
    Key {
        #[command(subcommand)]
        verb: key::Verb,
    },
    /// Print how a job pings: for a shell, a scheduler or a language
    Snippet(snippet::Snippet),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl heartbeat create <NAME> --interval <INTERVAL> [OPTIONS]\n       \
                            vigilctl heartbeat create <NAME> --cron <EXPRESSION> [--tz <ZONE>] [OPTIONS]")]
#[command(group = ArgGroup::new("when").required(true).args(["interval", "cron", "on_calendar"]))]
pub(crate) struct Create {
    /// Unique name
    name: String,
    #[command(flatten)]
    schedule: Schedule,
    /// Channel to notify, by id or name; several are allowed [default: none]
    #[arg(long = "channel", value_delimiter = ',', num_args = 1.., value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Word by which to group it, such as payments; several are allowed [default: none]
    #[arg(long = "tag", value_delimiter = ',', num_args = 1.., value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    pinging: Pinging,
    #[command(flatten)]
    alert: AlertFlags,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl heartbeat edit <ID> [OPTIONS]")]
#[command(group = ArgGroup::new("changes").required(true).multiple(true)
    .args(["name", "interval", "cron", "on_calendar", "tz", "grace", "start_grace", "max_runtime", "keep_alive",
        "early", "working_hours", "channels", "clear_channels", "tags", "clear_tags", "clear_alert"])
    .args(pinging::CHANGES).args(alert::FLAGS))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Unique name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    schedule: Schedule,
    /// Channels to notify instead of the present ones
    #[arg(long = "channel", value_delimiter = ',', num_args = 1.., value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Notify no channel
    #[arg(long, conflicts_with = "channels")]
    clear_channels: bool,
    /// Words by which to group it instead of the present ones
    #[arg(long = "tag", value_delimiter = ',', num_args = 1.., value_name = "TAG")]
    tags: Vec<String>,
    /// Group it by no tag
    #[arg(long, conflicts_with = "tags")]
    clear_tags: bool,
    #[command(flatten)]
    pinging: Pinging,
    /// Let pings say what their URLs say, whatever is in their bodies
    #[arg(long, conflicts_with_all = ["fail_words", "success_words", "start_words", "without_words"])]
    clear_words: bool,
    /// Tell at once, once, and of the end
    #[arg(long, conflicts_with_all = alert::FLAGS)]
    clear_alert: bool,
    #[command(flatten)]
    alert: AlertFlags,
}

/// Arguments of `pings`.
#[derive(Debug, Args)]
pub(crate) struct Pings {
    /// Id or name
    heartbeat: String,
    /// Oldest: a span before now, or RFC 3339
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
        Verb::Snooze(snooze) => snooze::begin(snooze, context).await,
        Verb::Unsnooze(which) => snooze::end(which, context).await,
        Verb::Pings(pings) => self::pings(&pings, context).await,
        Verb::Runs(runs) => runs::list(&runs, context).await,
        Verb::Log(log) => runs::log(log, context).await,
        Verb::Badge(badge) => self::badge(badge, context).await,
        Verb::Key { verb } => key::run(verb, context).await,
        Verb::Snippet(snippet) => self::snippet(snippet, context).await,
    }
}

macro_rules! heartbeats {
    ($context:expr) => {
        client!($context, heartbeats_client::HeartbeatsClient)
    };
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let heartbeats = heartbeats!(context);
    let page = async |page_size, page_token| {
        let request = ListHeartbeatsRequest { page_size, page_token };
        let answer = heartbeats.clone().list_heartbeats(request).await?.into_inner();
        Ok((answer.heartbeats, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let heartbeats = heartbeats!(context);
    context.one(get, async |id| heartbeats.clone().get_heartbeat(GetHeartbeatRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let mut heartbeat = Heartbeat {
        name: create.name,
        channels: create.channels,
        tags: create.tags,
        alert: create.alert.apply(None),
        ..create.pinging.fields()
    };
    create.schedule.apply(&mut heartbeat, &Heartbeat::default());
    let request = CreateHeartbeatRequest { heartbeat: Some(heartbeat) };
    let heartbeat = heartbeats!(context).create_heartbeat(request).await?.into_inner();
    let talk =
        format!("created {}; this URL is shown once only, it alerts after its first ping", heartbeat.name);
    context.output.changed(&heartbeat, Some(&heartbeat.ping_url), &talk)
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let mut heartbeats = heartbeats!(context);
    let present = heartbeats.get_heartbeat(GetHeartbeatRequest { id: edit.id }).await?.into_inner();
    let alert = edit.alert.apply(present.alert.as_ref());
    let given = [
        (edit.name.is_some(), "name"),
        (edit.clear_channels || !edit.channels.is_empty(), "channels"),
        (edit.clear_tags || !edit.tags.is_empty(), "tags"),
        (edit.clear_words, "keywords"),
        (edit.clear_alert || alert.is_some(), "alert"),
    ];
    let given = given.into_iter().filter(|(given, _)| *given).map(|(_, path)| path);
    let given: Vec<&str> = given.chain(edit.pinging.paths()).collect();
    let mut heartbeat = edit.pinging.fields();
    let scheduled = edit.schedule.apply(&mut heartbeat, &present);
    let paths = scheduled.into_iter().chain(given).map(str::to_owned).collect();
    heartbeat.id = present.id;
    heartbeat.etag = present.etag;
    heartbeat.name = edit.name.unwrap_or_default();
    heartbeat.channels = edit.channels;
    heartbeat.tags = edit.tags;
    heartbeat.alert = alert;
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = UpdateHeartbeatRequest { heartbeat: Some(heartbeat), update_mask };
    let heartbeat = heartbeats.update_heartbeat(request).await?.into_inner();
    context.output.changed(&heartbeat, None, &format!("changed {}", heartbeat.name))
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    let request = DeleteHeartbeatRequest { id: id.clone(), etag: String::new() };
    heartbeats!(context).delete_heartbeat(request).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

async fn pause(id: String, context: &Context) -> Result<(), Failure> {
    let heartbeat = heartbeats!(context).pause_heartbeat(PauseHeartbeatRequest { id }).await?.into_inner();
    context.output.changed(&heartbeat, None, &format!("paused {}", heartbeat.name))
}

async fn resume(id: String, context: &Context) -> Result<(), Failure> {
    let heartbeat = heartbeats!(context).resume_heartbeat(ResumeHeartbeatRequest { id }).await?.into_inner();
    context.output.changed(&heartbeat, None, &format!("resumed {}", heartbeat.name))
}

async fn badge(badge: Badge, context: &Context) -> Result<(), Failure> {
    let request = GetHeartbeatRequest { id: badge.id.clone() };
    let heartbeat = heartbeats!(context).get_heartbeat(request).await?.into_inner();
    badge.run(heartbeat.id, context).await
}

async fn pings(pings: &Pings, context: &Context) -> Result<(), Failure> {
    let heartbeats = heartbeats!(context);
    let now = context.clock.now();
    let list = all(Some(pings.limit), async |page_size, page_token| {
        let request = ListPingsRequest {
            heartbeat_id: pings.heartbeat.clone(),
            since: pings.since.map(|since| since.to_wire(now)),
            until: pings.until.map(|until| until.to_wire(now)),
            page_size,
            page_token,
        };
        let answer = heartbeats.clone().list_pings(request).await?.into_inner();
        Ok((answer.pings, answer.next_page_token))
    });
    print(&context.output.list(&list.await?, now)?)
}

async fn snippet(snippet: snippet::Snippet, context: &Context) -> Result<(), Failure> {
    let request = GetHeartbeatRequest { id: snippet.heartbeat.clone() };
    let heartbeat = heartbeats!(context).get_heartbeat(request).await?.into_inner();
    let (text, remark) = snippet.text(&heartbeat.name)?;
    print(&text)?;
    if let Some(remark) = remark {
        say(remark);
    }
    Ok(())
}

impl Listed for Heartbeat {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "STATUS", "LAST PING", "EXPECTED", "SCHEDULE", "GRACE", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::state(status(self)),
            Cell::text(moment::relative(self.last_ping_at.as_ref(), now)),
            Cell::text(moment::relative(self.expected_at.as_ref(), now)),
            Cell::text(schedule::summary(self)),
            Cell::text(duration::setting(self.grace.as_ref())),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Heartbeat {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let upcoming = self.upcoming.iter().map(|at| moment::absolute(Some(at))).collect::<Vec<_>>();
        let sheet = Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .state("status", status(self))
            .field("since", moment::both(self.status_since.as_ref(), now))
            .field("unverified", moment::both(self.unverified_since.as_ref(), now))
            .field("incident", &self.open_incident_id)
            .field("maintenance", &self.maintenance_id)
            .field("until", moment::both(self.maintenance_until.as_ref(), now))
            .field("last ping", moment::both(self.last_ping_at.as_ref(), now))
            .field("expected", moment::both(self.expected_at.as_ref(), now));
        let sheet = schedule::describe(self, sheet)
            .field("comes at", upcoming.join(", "))
            .field("channels", self.channels.join(", "))
            .field("tags", self.tags.join(", "))
            .field("slug", &self.slug)
            .field("counts", if self.post_only { "POST only" } else { "" })
            .field("keywords", pinging::keywords_text(self));
        alert::fields(sheet, self.alert.as_ref())
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
    }
}

impl Listed for Ping {
    const COLUMNS: &'static [&'static str] = &["AT", "KIND", "METHOD", "RUN", "CLIENT", "BODY"];

    fn row(&self, _: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(moment::absolute(self.at.as_ref())),
            Cell::state(if self.ignored { format!("{} (ignored)", self.kind) } else { self.kind.clone() }),
            Cell::text(&self.method),
            Cell::text(&self.run_id),
            Cell::text(&self.user_agent),
            Cell::text(String::from_utf8_lossy(&self.body)),
        ]
    }
}

fn status(heartbeat: &Heartbeat) -> String {
    let word = enum_word(heartbeat.status().as_str_name(), HeartbeatStatus::Unspecified.as_str_name());
    if heartbeat.unverified_since.is_some() { word + " (unverified)" } else { word }
}
