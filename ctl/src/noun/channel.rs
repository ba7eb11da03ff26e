//! `vigilctl channel`: where notifications go.
//!
//! Which kinds there are and what can be set in each says the coordinator (`channel kinds`). URLs and tokens are secrets:
//! `-` reads a value from stdin and `@FILE` from a file instead of the command line. A webhook's signing secret is
//! printed alone on stdout, once.

mod kind;
mod test;
mod value;

use clap::{ArgGroup, Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{
    Channel, CreateChannelRequest, DeleteChannelRequest, EnableChannelRequest, GetChannelRequest,
    ListChannelsRequest, RotateChannelSecretRequest, UpdateChannelRequest,
};

use super::{Context, Get, Ls, Which, client};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet, Table, say};
use value::{Assignment, value};

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
    /// Make a new signing secret and print it, this once only, or the public key; the present one signs for another day
    Rotate(Rotate),
    /// Send a message that says it is a test, and show what the receiver answers
    Test(test::Test),
    /// Send to a channel again that was disabled because its receiver failed for good
    Enable(Which),
    /// List the kinds of channels, or what can be set in one kind
    Kinds(kind::Kinds),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What receives the notifications: webhook, slack, discord or another of `channel kinds`
    kind: String,
    /// Unique name
    name: String,
    /// Where to send them, for kinds that have a URL; `-` reads it from stdin, @FILE from a file
    #[arg(long)]
    url: Option<String>,
    /// What `channel kinds KIND` lists; `-` as the value reads it from stdin, @FILE from a file (write @@ for a value that
    /// begins with @); may be repeated
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<Assignment>,
    /// Do not send notices for operators there: agents that are not believed, regions that cannot be heard
    #[arg(long)]
    no_notices: bool,
    /// The channel, by id or name, that is told as well what this one could not take for a minute
    #[arg(long, value_name = "ID")]
    fallback: Option<String>,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(["name", "url", "settings", "unset", "notices", "fallback", "no_fallback"]))]
pub(crate) struct Edit {
    /// Id or name
    id: String,
    /// Unique name
    #[arg(long)]
    name: Option<String>,
    /// Where to send notifications; `-` reads it from stdin, @FILE from a file
    #[arg(long)]
    url: Option<String>,
    /// As for `create`; settings that are not given stay
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<Assignment>,
    /// A setting to take away; may be repeated
    #[arg(long, value_name = "SETTING")]
    unset: Vec<String>,
    /// Whether to send notices for operators there: agents that are not believed, regions that cannot be heard
    #[arg(long, value_name = "true|false")]
    notices: Option<bool>,
    /// The channel, by id or name, that is told as well what this one could not take for a minute
    #[arg(long, value_name = "ID")]
    fallback: Option<String>,
    /// Tell no other channel
    #[arg(long, conflicts_with = "fallback")]
    no_fallback: bool,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Id or name
    id: String,
    /// The present secret ends at once: it has leaked
    #[arg(long)]
    now: bool,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(create, context).await,
        Verb::Edit(edit) => self::edit(edit, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
        Verb::Rotate(rotate) => self::rotate(rotate, context).await,
        Verb::Test(test) => test::run(test, context).await,
        Verb::Enable(Which { id }) => enable(id, context).await,
        Verb::Kinds(kinds) => kind::list(kinds, context).await,
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
    let channel = Channel {
        name: create.name,
        kind_name: create.kind,
        url: create.url.map(|url| value("--url", &url)).transpose()?.unwrap_or_default(),
        settings: value::settings(create.settings)?,
        notices: Some(!create.no_notices),
        fallback: create.fallback.unwrap_or_default(),
        ..Channel::default()
    };
    let request = CreateChannelRequest { channel: Some(channel) };
    let channel = channels!(context).create_channel(request).await?.into_inner();
    let (essence, talk) = match secret(&channel) {
        None => (&channel.id, format!("created {}", channel.name)),
        Some((essence, told)) => (essence, format!("created {}; {told}", channel.name)),
    };
    context.output.changed(&channel, Some(essence), &talk)
}

async fn rotate(rotate: Rotate, context: &Context) -> Result<(), Failure> {
    let request =
        RotateChannelSecretRequest { id: rotate.id, etag: String::new(), drop_previous: rotate.now };
    let channel = channels!(context).rotate_channel_secret(request).await?.into_inner();
    let (essence, told) = secret(&channel).unzip();
    let previous =
        if rotate.now { "the one before has ended" } else { "the one before signs for another day" };
    let talk = format!("{}: {}; {previous}", channel.name, told.unwrap_or_default());
    context.output.changed(&channel, essence.map(String::as_str), &talk)
}

/// What receivers verify with, where there is something, and what to say of it.
fn secret(channel: &Channel) -> Option<(&String, &'static str)> {
    if !channel.signing_secret.is_empty() {
        return Some((
            &channel.signing_secret,
            "this signing secret is shown once only, receivers verify with it",
        ));
    }
    if channel.public_key.is_empty() {
        return None;
    }
    Some((&channel.public_key, "receivers verify with this public key"))
}

async fn edit(edit: Edit, context: &Context) -> Result<(), Failure> {
    let mut settings = value::settings(edit.settings)?;
    for name in edit.unset {
        if settings.insert(name.clone(), String::new()).is_some() {
            return Err(Failure::usage(format!("--unset {name}: --set gives it a value")));
        }
    }
    let given = [
        (edit.name.is_some(), "name"),
        (edit.url.is_some(), "url"),
        (!settings.is_empty(), "settings"),
        (edit.notices.is_some(), "notices"),
        (edit.fallback.is_some() || edit.no_fallback, "fallback"),
    ];
    let paths: Vec<String> =
        given.into_iter().filter(|(given, _)| *given).map(|(_, path)| path.to_owned()).collect();
    let url = edit.url.map(|url| value("--url", &url)).transpose()?.unwrap_or_default();
    let mut channels = channels!(context);
    let present = channels.get_channel(GetChannelRequest { id: edit.id }).await?.into_inner();
    let name = edit.name.unwrap_or_default();
    let notices = edit.notices;
    let fallback = edit.fallback.unwrap_or_default();
    let channel = Channel { id: present.id, etag: present.etag, name, url, settings, ..Channel::default() };
    let channel = Channel { notices, fallback, ..channel };
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

async fn enable(id: String, context: &Context) -> Result<(), Failure> {
    let channel = channels!(context).enable_channel(EnableChannelRequest { id }).await?.into_inner();
    context.output.changed(&channel, None, &format!("enabled {}", channel.name))
}

impl Listed for Channel {
    const COLUMNS: &'static [&'static str] = &["NAME", "KIND", "STATE", "URL", "CREATED", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(&self.kind_name),
            Cell::state(if self.disabled_at.is_some() { "disabled" } else { "enabled" }),
            Cell::text(&self.url),
            Cell::text(moment::relative(self.created_at.as_ref(), now)),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Channel {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let setting = |(name, value): (&String, &String)| vec![Cell::text(name), Cell::text(value)];
        let settings = self.settings.iter().map(setting).collect();
        let previous = match &self.previous_secret_until {
            None => String::new(),
            until => moment::both(until.as_ref(), now),
        };
        Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("kind", &self.kind_name)
            .field("url", &self.url)
            .field("public key", &self.public_key)
            .field("previous secret until", previous)
            .field("notices", if self.notices() { "yes" } else { "no" })
            .field("fallback", &self.fallback)
            .field("disabled", moment::both(self.disabled_at.as_ref(), now))
            .field("disabled because", &self.disabled_reason)
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
            .part("settings", Table { headers: &["", ""], rows: settings })
    }
}
