//! One module per noun: its verbs, the calls they make, and how the answer looks to a person.
//!
//! In: a parsed verb and a [`Context`]. Out: calls to the admin API and what they answered. What all nouns do alike is
//! here: reading a list to its last page, and drawing again for `--watch`.

pub(crate) mod agent;
mod alert;
mod badge;
pub(crate) mod channel;
pub(crate) mod check;
pub(crate) mod delivery;
mod exchange;
pub(crate) mod heartbeat;
pub(crate) mod incident;
pub(crate) mod maintenance;
pub(crate) mod monitor;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod region;
mod scope;
pub(crate) mod silence;
mod vote;
pub(crate) mod webhook;

use std::time::Duration;

use clap::Args;
use model::{Clock, SystemClock, Timestamp};
use tonic::{Response, Status};

use crate::connect::Api;
use crate::exit::Failure;
use crate::output::{Described, Listed, Output, print, say};

/// What every command works with.
pub(crate) struct Context {
    /// The connection.
    pub(crate) api: Api,
    /// The way to stdout.
    pub(crate) output: Output,
    /// For "3 minutes ago".
    pub(crate) clock: SystemClock,
}

/// What an `ls` takes.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Show again every 2 seconds, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// What a `get` takes.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Id or name
    pub(crate) id: String,
    /// Show again every 2 seconds, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// What a verb without options takes.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Id or name
    pub(crate) id: String,
}

/// Lists hold at most this many resources per request; the API's limit is higher, a message's size is not.
const PAGE_SIZE: i32 = 500;

/// Answers are larger than tonic's default of 4 MiB when monitors have many regions.
const MAX_ANSWER_BYTES: usize = 64 << 20;

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// A client of one service of the admin API.
macro_rules! client {
    ($context:expr, $module:ident::$client:ident) => {
        proto::admin::v1::$module::$client::new($context.api.clone())
            .max_decoding_message_size($crate::noun::MAX_ANSWER_BYTES)
    };
}
pub(crate) use client;

impl Context {
    /// Prints what `frame` makes, once or, with `watch`, every two seconds. While watching, a coordinator that is away
    /// for a moment is reported and waited for.
    ///
    /// # Errors
    /// What `frame` fails with.
    async fn show(
        &self,
        watch: bool,
        mut frame: impl AsyncFnMut(&Output, Timestamp) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if !watch {
            return print(&frame(&self.output, self.clock.now()).await?);
        }
        let mut shown = false;
        loop {
            match frame(&self.output, self.clock.now()).await {
                Ok(text) => {
                    // Home and erase, so that the newer frame replaces the older one.
                    let before = match (self.output.terminal, shown) {
                        (true, _) => "\u{1b}[H\u{1b}[2J",
                        (false, true) => "\n",
                        (false, false) => "",
                    };
                    print(&format!("{before}{text}"))?;
                    shown = true;
                }
                Err(failure) if shown && failure.is_passing() => say(&failure.to_string()),
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// Prints a list; `page` reads it, as for [`all`].
    ///
    /// # Errors
    /// What `page` fails with.
    async fn list<M: Listed>(
        &self,
        ls: &Ls,
        limit: Option<u32>,
        page: impl AsyncFn(i32, String) -> Result<(Vec<M>, String), Status>,
    ) -> Result<(), Failure> {
        self.show(ls.watch, async |output, now| output.list(&all(limit, &page).await?, now)).await
    }

    /// Prints one resource; `read` gets its id or name.
    ///
    /// # Errors
    /// What `read` fails with.
    async fn one<M: Described>(
        &self,
        get: &Get,
        read: impl AsyncFn(String) -> Result<Response<M>, Status>,
    ) -> Result<(), Failure> {
        let read = async || read(get.id.clone()).await.map(Response::into_inner);
        self.show(get.watch, async |output, now| output.one(&read().await?, now)).await
    }
}

/// Reads pages, from the first to the last or until there are `limit` items. `page` gets (page size, page token) and
/// returns the items and the next token.
///
/// # Errors
/// What `page` fails with.
async fn all<T>(
    limit: Option<u32>,
    mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Status>,
) -> Result<Vec<T>, Failure> {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut items = Vec::new();
    let mut token = String::new();
    while items.len() < limit {
        let wanted = i32::try_from(limit - items.len()).unwrap_or(i32::MAX).min(PAGE_SIZE);
        let (more, next) = page(wanted, token).await?;
        items.extend(more);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    items.truncate(limit);
    Ok(items)
}
