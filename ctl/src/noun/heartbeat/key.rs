//! `vigilctl heartbeat key`: keys by which heartbeats are pinged by their slugs.
//!
//! `create` prints what the URLs begin with alone on stdout, this once only; the slug comes after it.

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{CreatePingKeyRequest, DeletePingKeyRequest, ListPingKeysRequest, PingKey};

use crate::exit::Failure;
use crate::moment;
use crate::noun::{Context, Ls, Which, client};
use crate::output::{Cell, Listed, say};

/// What can be done with ping keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all ping keys
    Ls(Ls),
    /// Make a ping key; prints what its URLs begin with, this once only
    Create(Create),
    /// Delete a ping key; nothing is taken any more that comes with it
    Delete(Which),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is for; unique
    name: String,
}

macro_rules! ping_keys {
    ($context:expr) => {
        client!($context, ping_keys_client::PingKeysClient)
    };
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Create(create) => self::create(create, context).await,
        Verb::Delete(Which { id }) => delete(id, context).await,
    }
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let keys = ping_keys!(context);
    let page = async |page_size, page_token| {
        let request = ListPingKeysRequest { page_size, page_token };
        let answer = keys.clone().list_ping_keys(request).await?.into_inner();
        Ok((answer.ping_keys, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let request = CreatePingKeyRequest { name: create.name };
    let key = ping_keys!(context).create_ping_key(request).await?.into_inner();
    let talk = format!(
        "created {}; this is shown once only: put a heartbeat's slug after it, and ?create=1 after that to have it \
         created by its first ping",
        key.name
    );
    context.output.changed(&key, Some(&key.ping_url_prefix), &talk)
}

async fn delete(id: String, context: &Context) -> Result<(), Failure> {
    ping_keys!(context).delete_ping_key(DeletePingKeyRequest { id: id.clone() }).await?;
    say(&format!("deleted {id}"));
    Ok(())
}

impl Listed for PingKey {
    const COLUMNS: &'static [&'static str] = &["NAME", "CREATED", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(moment::relative(self.created_at.as_ref(), now)),
            Cell::text(&self.id),
        ]
    }
}
