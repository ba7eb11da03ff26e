//! `vigilctl incident`: outages, each with the votes that decided it.

mod capture;

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    AcknowledgeIncidentRequest, GetIncidentRequest, Incident, IncidentState, ListCapturesRequest,
    ListIncidentsRequest, Member, TimelineEntry, VoteTable,
};

use super::{Context, Get, Ls, client, vote};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, Table, enum_word};

/// What can be done with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List incidents, newest first
    Ls(List),
    /// Show one incident: its votes, its timeline, the failing components and what its checks met
    Get(Get),
    /// List what its checks met on their way: one a minute for an hour, then one an hour, of each region
    Captures(Captures),
    /// Say that you take care of it: nobody is reminded any more, and nothing escalates
    #[command(visible_alias = "ack")]
    Acknowledge(Acknowledge),
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// Only those of this monitor, heartbeat or agent, by id or name, or of the `coverage`
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    ls: Ls,
}

/// Arguments of `captures`.
#[derive(Debug, Args)]
pub(crate) struct Captures {
    /// The incident's id
    #[arg(value_name = "ID")]
    id: String,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    ls: Ls,
}

/// Arguments of `acknowledge`.
#[derive(Debug, Args)]
pub(crate) struct Acknowledge {
    /// The incident's id
    #[arg(value_name = "ID")]
    id: String,
    /// What you know of it; everybody who was told of the incident reads it
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Who takes care of it [default: the user's name on this machine]
    #[arg(long, env = "USER", hide_env = true)]
    by: String,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(list) => self::list(&list, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Captures(captures) => self::captures(&captures, context).await,
        Verb::Acknowledge(acknowledge) => self::acknowledge(acknowledge, context).await,
    }
}

async fn list(list: &List, context: &Context) -> Result<(), Failure> {
    let incidents = client!(context, incidents_client::IncidentsClient);
    let page = async |page_size, page_token| {
        let request = ListIncidentsRequest {
            page_size,
            page_token,
            subject_id: list.subject.clone().unwrap_or_default(),
            open_only: list.open,
        };
        let answer = incidents.clone().list_incidents(request).await?.into_inner();
        Ok((answer.incidents, answer.next_page_token))
    };
    context.list(&list.ls, Some(list.limit), page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let incidents = client!(context, incidents_client::IncidentsClient);
    context.one(get, async |id| incidents.clone().get_incident(GetIncidentRequest { id }).await).await
}

async fn captures(captures: &Captures, context: &Context) -> Result<(), Failure> {
    let incidents = client!(context, incidents_client::IncidentsClient);
    let page = async |page_size, page_token| {
        let request = ListCapturesRequest { id: captures.id.clone(), page_size, page_token };
        let answer = incidents.clone().list_captures(request).await?.into_inner();
        Ok((answer.captures, answer.next_page_token))
    };
    context.list(&captures.ls, Some(captures.limit), page).await
}

async fn acknowledge(acknowledge: Acknowledge, context: &Context) -> Result<(), Failure> {
    let Acknowledge { id, reason, by } = acknowledge;
    let request = AcknowledgeIncidentRequest { id, by, reason };
    let mut incidents = client!(context, incidents_client::IncidentsClient);
    let incident = incidents.acknowledge_incident(request).await?.into_inner();
    let talk = format!("{} is acknowledged by {}", incident.subject_name, incident.acknowledged_by);
    context.output.changed(&incident, None, &talk)
}

impl Listed for Incident {
    const COLUMNS: &'static [&'static str] = &["SUBJECT", "STATE", "STARTED", "DURATION", "CAUSE", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.subject_name),
            Cell::state(standing(self)),
            Cell::text(moment::relative(self.started_at.as_ref(), now)),
            Cell::text(downtime(self, now)),
            Cell::text(&self.cause),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Incident {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let components = self.failing_components.iter();
        let components = components.map(|it| vec![Cell::text(&it.name), Cell::text(&it.detail)]).collect();
        let entry = |entry: &TimelineEntry| {
            vec![Cell::text(moment::absolute(entry.at.as_ref())), Cell::text(&entry.text)]
        };
        let sheet = Sheet::default()
            .field("subject", &self.subject_name)
            .field("subject id", &self.subject_id)
            .field("id", &self.id)
            .state("state", state(self))
            .field("lead", &self.lead_id)
            .field("members", count(self))
            .field("cause", &self.cause)
            .field("started", moment::both(self.started_at.as_ref(), now))
            .field("opened", moment::both(self.opened_at.as_ref(), now))
            .field("ended", moment::both(self.resolved_at.as_ref(), now))
            .field("resolution", &self.resolution)
            .field("acknowledged", moment::both(self.acknowledged_at.as_ref(), now))
            .field("by", &self.acknowledged_by)
            .field("reason", &self.acknowledge_reason)
            .field("tells next", moment::both(self.alert_due_at.as_ref(), now))
            .field("downtime", downtime(self, now))
            .part("failing components", Table { headers: &["COMPONENT", "DETAIL"], rows: components })
            .part("members", members(&self.members, now));
        let sheet = votes(sheet, "votes that opened it", self.opening_votes.as_ref(), now);
        let sheet = votes(sheet, "votes that closed it", self.closing_votes.as_ref(), now);
        let timeline = self.timeline.iter().map(entry).collect();
        let sheet = sheet.part("timeline (UTC)", Table { headers: &["", ""], rows: timeline });
        capture::told(&self.captures).fold(sheet, |sheet, capture| capture::part(sheet, capture, now))
    }
}

fn state(incident: &Incident) -> String {
    enum_word(incident.state().as_str_name(), IncidentState::Unspecified.as_str_name())
}

/// `open`; `open (grouped)` if another incident tells of it, `open (acknowledged)` if somebody takes care of it.
fn standing(incident: &Incident) -> String {
    let state = state(incident);
    let is_open = incident.state() == IncidentState::Open;
    match (incident.lead_id.is_empty(), &incident.acknowledged_at) {
        (false, _) => format!("{state} (grouped)"),
        (true, Some(_)) if is_open => format!("{state} (acknowledged)"),
        (true, _) => state,
    }
}

/// `12`, or `120 (100 shown)`; nothing for an incident that tells of itself only.
fn count(incident: &Incident) -> String {
    let shown = incident.members.len();
    match usize::try_from(incident.member_count).unwrap_or(usize::MAX) {
        0 => String::new(),
        all if all <= shown => all.to_string(),
        all => format!("{all} ({shown} shown)"),
    }
}

fn members(members: &[Member], now: Timestamp) -> Table {
    let row = |member: &Member| {
        vec![
            Cell::text(&member.subject_name),
            Cell::text(moment::relative(member.joined_at.as_ref(), now)),
            Cell::text(moment::relative(member.left_at.as_ref(), now)),
            Cell::text(&member.cause),
            Cell::text(&member.subject_id),
        ]
    };
    Table { headers: &["SUBJECT", "JOINED", "LEFT", "CAUSE", "ID"], rows: members.iter().map(row).collect() }
}

/// How long it lasted, or has lasted until now.
fn downtime(incident: &Incident, now: Timestamp) -> String {
    let end = incident.resolved_at.as_ref().map_or(now, moment::from_wire);
    let start = incident.started_at.as_ref().map(moment::from_wire);
    start.map_or_else(String::new, |start| moment::rounded(end.since(start)))
}

fn votes(sheet: Sheet, title: &str, table: Option<&VoteTable>, now: Timestamp) -> Sheet {
    let Some(table) = table else { return sheet };
    let sum: Vec<&str> =
        [table.policy.as_str(), table.arithmetic.as_str()].into_iter().filter(|it| !it.is_empty()).collect();
    let title = if sum.is_empty() { title.to_owned() } else { format!("{title} ({})", sum.join("; ")) };
    sheet.part(title, vote::table(&table.votes, now))
}
