//! `vigilctl policy`: rules about who is told of incidents, and how.

use clap::{ArgGroup, Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    CreatePolicyRequest, DeletePolicyRequest, GetPolicyRequest, ListPoliciesRequest, Policy,
    UpdatePolicyRequest,
};

use super::alert::{self, AlertFlags};
use super::scope::{ScopeFlags, covers};
use super::{Context, Get, Ls, Which, client};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, say};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all policies in the order in which they apply
    Ls(Ls),
    /// Show one policy
    Get(Get),
    /// Say who is told of the incidents of what is covered, from the next one on; prints the policy's id
    Create(Box<Create>),
    /// Change the settings that are given
    Edit(Box<Edit>),
    /// Delete a policy
    Delete(Which),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(
    override_usage = "vigilctl policy create <NAME> --tag <TAG>|--monitor <MONITOR>|--heartbeat <HEARTBEAT>|--all \
                            --channel <CHANNEL> [OPTIONS]"
)]
#[command(group = ArgGroup::new("scope").required(true).multiple(true).args(["all", "monitors", "heartbeats", "tags"]))]
#[command(group = ArgGroup::new("who").required(true).multiple(true).args(["channels", "escalate"]))]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Unique name; of several policies for a channel the first by name decides
    name: String,
    #[command(flatten)]
    scope: ScopeFlags,
    /// Channel to notify, by id or name; several are allowed
    #[arg(long = "channel", value_delimiter = ',', num_args = 1.., value_name = "CHANNEL")]
    channels: Vec<String>,
    #[command(flatten)]
    alert: AlertFlags,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl policy edit <ID> [OPTIONS]")]
#[command(group = ArgGroup::new("changes").required(true).multiple(true)
    .args(["name", "all", "monitors", "heartbeats", "tags", "channels", "clear_alert"]).args(alert::FLAGS))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Unique name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    scope: ScopeFlags,
    /// Channels to notify instead of the present ones
    #[arg(long = "channel", value_delimiter = ',', num_args = 1.., value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Tell at once, once, and of the end
    #[arg(long, conflicts_with_all = alert::FLAGS)]
    clear_alert: bool,
    #[command(flatten)]
    alert: AlertFlags,
}

const EXAMPLES: &str = "\
Examples:
  vigilctl policy create payments --tag payments --severity critical --channel ops --escalate 15m:phone
  vigilctl policy create nights --all --channel chat --quiet 22:00-07:00 --quiet-zone Europe/Berlin
  vigilctl policy create nagging --tag shop --channel ops --remind-every 30m --remind-backoff double";

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(*create, context).await,
        Verb::Edit(edit) => self::edit(*edit, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
    }
}

macro_rules! policies {
    ($context:expr) => {
        client!($context, policies_client::PoliciesClient)
    };
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let policies = policies!(context);
    let page = async |page_size, page_token| {
        let request = ListPoliciesRequest { page_size, page_token };
        let answer = policies.clone().list_policies(request).await?.into_inner();
        Ok((answer.policies, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let policies = policies!(context);
    context.one(get, async |id| policies.clone().get_policy(GetPolicyRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let ScopeFlags { all, monitors, heartbeats, tags } = create.scope;
    let policy = Policy {
        name: create.name,
        all,
        monitors,
        heartbeats,
        tags,
        channels: create.channels,
        alert: create.alert.apply(None),
        ..Policy::default()
    };
    let request = CreatePolicyRequest { policy: Some(policy) };
    let policy = policies!(context).create_policy(request).await?.into_inner();
    context.output.changed(&policy, Some(&policy.id), &format!("created {}", policy.name))
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let mut policies = policies!(context);
    let present = policies.get_policy(GetPolicyRequest { id: edit.id }).await?.into_inner();
    let ScopeFlags { all, monitors, heartbeats, tags } = edit.scope;
    let alert = edit.alert.apply(present.alert.as_ref());
    let given = [
        (edit.name.is_some(), "name"),
        (all, "all"),
        (!monitors.is_empty(), "monitors"),
        (!heartbeats.is_empty(), "heartbeats"),
        (!tags.is_empty(), "tags"),
        (!edit.channels.is_empty(), "channels"),
        (alert.is_some() || edit.clear_alert, "alert"),
    ];
    let paths: Vec<String> =
        given.into_iter().filter(|(given, _)| *given).map(|(_, path)| path.to_owned()).collect();
    let policy = Policy {
        id: present.id,
        etag: present.etag,
        name: edit.name.unwrap_or_default(),
        all,
        monitors,
        heartbeats,
        tags,
        channels: edit.channels,
        alert,
        ..Policy::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = UpdatePolicyRequest { policy: Some(policy), update_mask };
    let policy = policies.update_policy(request).await?.into_inner();
    context.output.changed(&policy, None, &format!("changed {}", policy.name))
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    let request = DeletePolicyRequest { id: id.clone(), etag: String::new() };
    policies!(context).delete_policy(request).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

impl Listed for Policy {
    const COLUMNS: &'static [&'static str] = &["NAME", "COVERS", "SEVERITY", "CHANNELS", "ID"];

    fn row(&self, _: Timestamp) -> Vec<Cell> {
        let severity = self.alert.as_ref().map(|alert| alert.severity.as_str());
        vec![
            Cell::text(&self.name),
            Cell::text(covers(self.all, &self.tags, self.monitors.len(), self.heartbeats.len())),
            Cell::text(severity.filter(|word| !word.is_empty()).unwrap_or("warning")),
            Cell::text(self.channels.join(", ")),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Policy {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let sheet = Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("covers", if self.all { "everything" } else { "" })
            .field("tags", self.tags.join(", "))
            .field("monitors", self.monitors.join(", "))
            .field("heartbeats", self.heartbeats.join(", "))
            .field("channels", self.channels.join(", "));
        alert::fields(sheet, self.alert.as_ref())
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
    }
}
