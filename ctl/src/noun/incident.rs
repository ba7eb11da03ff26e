//! `vigilctl incident`: outages, each with the votes that decided it.

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    GetIncidentRequest, Incident, IncidentState, ListIncidentsRequest, TimelineEntry, VoteTable,
};

use super::{Context, Get, Ls, all, client, vote};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, Table, enum_word};

/// What can be done with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List incidents, newest first
    Ls(List),
    /// Show one incident: its votes, its timeline and the failing components
    Get(Get),
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// Only those of this monitor or heartbeat, by id or name
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    ls: Ls,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(list) => self::list(&list, context).await,
        Verb::Get(get) => show(&get, context).await,
    }
}

async fn list(list: &List, context: &Context) -> Result<(), Failure> {
    let incidents = client!(context, incidents_client::IncidentsClient);
    context
        .show(list.ls.watch, async |output, now| {
            let found = all(Some(list.limit), async |page_size, page_token| {
                let request = ListIncidentsRequest {
                    page_size,
                    page_token,
                    subject_id: list.subject.clone().unwrap_or_default(),
                    open_only: list.open,
                };
                let answer = incidents.clone().list_incidents(request).await?.into_inner();
                Ok((answer.incidents, answer.next_page_token))
            });
            output.list(&found.await?, now)
        })
        .await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let mut incidents = client!(context, incidents_client::IncidentsClient);
    context
        .show(get.watch, async |output, now| {
            let request = GetIncidentRequest { id: get.id.clone() };
            output.one(&incidents.get_incident(request).await?.into_inner(), now)
        })
        .await
}

impl Listed for Incident {
    const COLUMNS: &'static [&'static str] = &["SUBJECT", "STATE", "STARTED", "DURATION", "CAUSE", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.subject_name),
            Cell::state(state(self)),
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
            .field("cause", &self.cause)
            .field("started", moment::both(self.started_at.as_ref(), now))
            .field("opened", moment::both(self.opened_at.as_ref(), now))
            .field("ended", moment::both(self.resolved_at.as_ref(), now))
            .field("resolution", &self.resolution)
            .field("downtime", downtime(self, now))
            .part("failing components", Table { headers: &["COMPONENT", "DETAIL"], rows: components });
        let sheet = votes(sheet, "votes that opened it", self.opening_votes.as_ref(), now);
        let sheet = votes(sheet, "votes that closed it", self.closing_votes.as_ref(), now);
        let timeline = self.timeline.iter().map(entry).collect();
        sheet.part("timeline (UTC)", Table { headers: &["", ""], rows: timeline })
    }
}

fn state(incident: &Incident) -> String {
    enum_word(incident.state().as_str_name(), IncidentState::Unspecified.as_str_name())
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
