//! `vigilctl channel`: where notifications go.
//!
//! The URL of a Slack or Discord channel is a secret: `--url -` reads it from stdin instead of the command line. A
//! webhook's signing secret is printed alone on stdout, once.

use std::io::BufRead;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use model::Timestamp;
use proto::admin::v1::{
    Channel, ChannelKind, CreateChannelRequest, DeleteChannelRequest, GetChannelRequest, ListChannelsRequest,
    UpdateChannelRequest,
};

use super::{Context, Get, Ls, Which, client};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, enum_word, say};

/// What can be done with channels.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all channels
    Ls(Ls),
    /// Show one channel
    Get(Get),
    /// Make a channel; prints a webhook's signing secret, this once only, and else the channel's id
    Create(Create),
    /// Change the settings that are given
    Edit(Edit),
    /// Delete a channel; nothing is sent there any more
    Delete(Which),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What receives the notifications
    #[arg(value_enum)]
    kind: Kind,
    /// Unique name
    name: String,
    /// Where to send them; `-` reads it from stdin
    #[arg(long)]
    url: String,
    /// Do not send notices for operators there: agents that are not believed, regions that cannot be heard
    #[arg(long)]
    no_notices: bool,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(["name", "url", "notices"]))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Unique name
    #[arg(long)]
    name: Option<String>,
    /// Where to send notifications; `-` reads it from stdin
    #[arg(long)]
    url: Option<String>,
    /// Whether to send notices for operators there: agents that are not believed, regions that cannot be heard
    #[arg(long, value_name = "true|false")]
    notices: Option<bool>,
}

/// Kinds of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A Slack incoming webhook
    Slack,
    /// A Discord webhook
    Discord,
    /// Any receiver of Standard Webhooks (standardwebhooks.com)
    Webhook,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(create, context).await,
        Verb::Edit(edit) => self::edit(edit, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
    }
}

macro_rules! channels {
    ($context:expr) => {
        client!($context, channels_client::ChannelsClient)
    };
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let channels = channels!(context);
    let page = async |page_size, page_token| {
        let request = ListChannelsRequest { page_size, page_token };
        let answer = channels.clone().list_channels(request).await?.into_inner();
        Ok((answer.channels, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let channels = channels!(context);
    context.one(get, async |id| channels.clone().get_channel(GetChannelRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let kind = match create.kind {
        Kind::Slack => ChannelKind::Slack,
        Kind::Discord => ChannelKind::Discord,
        Kind::Webhook => ChannelKind::Webhook,
    };
    let url = url_or_stdin(create.url)?;
    let notices = Some(!create.no_notices);
    let channel = Channel { name: create.name, kind: kind.into(), url, notices, ..Channel::default() };
    let request = CreateChannelRequest { channel: Some(channel) };
    let channel = channels!(context).create_channel(request).await?.into_inner();
    let (essence, talk) = match channel.signing_secret.as_str() {
        "" => (&channel.id, format!("created {}", channel.name)),
        _ => (
            &channel.signing_secret,
            format!(
                "created {}; this signing secret is shown once only, receivers verify with it",
                channel.name
            ),
        ),
    };
    context.output.changed(&channel, Some(essence), &talk)
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let given =
        [(edit.name.is_some(), "name"), (edit.url.is_some(), "url"), (edit.notices.is_some(), "notices")];
    let paths: Vec<String> =
        given.into_iter().filter(|(given, _)| *given).map(|(_, path)| path.to_owned()).collect();
    let url = edit.url.map(url_or_stdin).transpose()?.unwrap_or_default();
    let mut channels = channels!(context);
    let present = channels.get_channel(GetChannelRequest { id: edit.id }).await?.into_inner();
    let name = edit.name.unwrap_or_default();
    let notices = edit.notices;
    let channel = Channel { id: present.id, etag: present.etag, name, url, notices, ..Channel::default() };
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = UpdateChannelRequest { channel: Some(channel), update_mask };
    let channel = channels.update_channel(request).await?.into_inner();
    context.output.changed(&channel, None, &format!("changed {}", channel.name))
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    let request = DeleteChannelRequest { id: id.clone(), etag: String::new() };
    channels!(context).delete_channel(request).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

/// The URL itself, or the first line of stdin for `-`.
fn url_or_stdin(url: String) -> Result<String, Failure> {
    if url != "-" {
        return Ok(url);
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::usage(format!("--url -: cannot read stdin: {error}")))?;
    match line.trim() {
        "" => Err(Failure::usage("--url -: there is no URL on stdin")),
        line => Ok(line.to_owned()),
    }
}

impl Listed for Channel {
    const COLUMNS: &'static [&'static str] = &["NAME", "KIND", "URL", "CREATED", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(kind(self)),
            Cell::text(&self.url),
            Cell::text(moment::relative(self.created_at.as_ref(), now)),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Channel {
    fn sheet(&self, now: Timestamp) -> Sheet {
        Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("kind", kind(self))
            .field("url", &self.url)
            .field("notices", if self.notices() { "yes" } else { "no" })
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
    }
}

fn kind(channel: &Channel) -> String {
    enum_word(channel.kind().as_str_name(), ChannelKind::Unspecified.as_str_name())
}
