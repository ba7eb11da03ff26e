//! `vigilctl silence`: times in which nobody is told.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    CreateSilenceRequest, EndSilenceRequest, GetSilenceRequest, ListSilencesRequest, Silence,
};

use super::scope::{ScopeFlags, covers};
use super::{Context, Get, Ls, Which, client};
use crate::duration;
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, say};

/// What can be done with silences.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the silences that hold, the one that ends first first
    Ls(Ls),
    /// Show one silence
    Get(Get),
    /// Tell nobody for a while; what is still open at the end is told then. Prints the silence's id
    Create(Box<Create>),
    /// End a silence: what it held back is told now if it is still true
    End(Which),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(
    override_usage = "vigilctl silence create --monitor <MONITOR>|--heartbeat <HEARTBEAT>|--tag <TAG>|--all \
                            --for <DURATION> --reason <REASON>"
)]
#[command(group = ArgGroup::new("scope").required(true).multiple(true).args(["all", "monitors", "heartbeats", "tags"]))]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    #[command(flatten)]
    scope: ScopeFlags,
    /// How long it lasts, up to 31 days
    #[arg(long = "for", value_parser = duration::parse, value_name = "DURATION")]
    lasts: Duration,
    /// Why; incidents show it
    #[arg(long)]
    reason: String,
    /// Whose it is
    #[arg(long, env = "USER", hide_env = true, default_value = "", hide_default_value = true)]
    by: String,
}

const EXAMPLES: &str = "\
Examples:
  vigilctl silence create --monitor api --for 2h --reason 'known, a fix is on its way'
  vigilctl silence create --tag staging --for 3d --reason 'load tests'";

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(*create, context).await,
        Verb::End(Which { id }) => end(id, context).await,
    }
}

macro_rules! silences {
    ($context:expr) => {
        client!($context, silences_client::SilencesClient)
    };
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let silences = silences!(context);
    let page = async |page_size, page_token| {
        let request = ListSilencesRequest { page_size, page_token };
        let answer = silences.clone().list_silences(request).await?.into_inner();
        Ok((answer.silences, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let silences = silences!(context);
    context.one(get, async |id| silences.clone().get_silence(GetSilenceRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let ScopeFlags { all, monitors, heartbeats, tags } = create.scope;
    let silence = Silence {
        all,
        monitors,
        heartbeats,
        tags,
        reason: create.reason,
        by: create.by,
        duration: Some(duration::to_wire(create.lasts)),
        ..Silence::default()
    };
    let request = CreateSilenceRequest { silence: Some(silence) };
    let silence = silences!(context).create_silence(request).await?.into_inner();
    let talk = format!("nobody is told until {} UTC", moment::absolute(silence.expires_at.as_ref()));
    context.output.changed(&silence, Some(&silence.id), &talk)
}

async fn end(id: String, context: &Context) -> Result<(), Failure> {
    silences!(context).end_silence(EndSilenceRequest { id: id.clone() }).await?;
    say(&format!("ended {id}"));
    Ok(())
}

impl Listed for Silence {
    const COLUMNS: &'static [&'static str] = &["COVERS", "ENDS", "REASON", "BY", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(covers(self.all, &self.tags, self.monitors.len(), self.heartbeats.len())),
            Cell::text(moment::relative(self.expires_at.as_ref(), now)),
            Cell::text(&self.reason),
            Cell::text(&self.by),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Silence {
    fn sheet(&self, now: Timestamp) -> Sheet {
        Sheet::default()
            .field("id", &self.id)
            .field("reason", &self.reason)
            .field("by", &self.by)
            .field("covers", if self.all { "everything" } else { "" })
            .field("tags", self.tags.join(", "))
            .field("monitors", self.monitors.join(", "))
            .field("heartbeats", self.heartbeats.join(", "))
            .field("since", moment::both(self.created_at.as_ref(), now))
            .field("ends", moment::both(self.expires_at.as_ref(), now))
    }
}
