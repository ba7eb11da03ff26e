//! `vigilctl page`: public status pages. `create` prints the page's public URL alone on stdout.

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{CreateStatusPageRequest, GetStatusPageRequest, ListStatusPagesRequest, StatusPage};

use super::{Context, Get, Ls, client};
use crate::exit::Failure;
use crate::moment;
use crate::output::{Cell, Described, Listed, Sheet};

/// What can be done with status pages.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all pages
    Ls(Ls),
    /// Show one page, by id, name or slug
    Get(Get),
    /// Publish a page; prints its public URL
    Create(Create),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl page create <NAME> --monitor <MONITOR>... [OPTIONS]")]
pub(crate) struct Create {
    /// What the page is headed with, such as "Acme API Status"
    name: String,
    /// Monitor to show, by id or name; several are allowed, in this order
    #[arg(long = "monitor", num_args = 1.., value_name = "MONITOR", required_unless_present = "heartbeats")]
    monitors: Vec<String>,
    /// Heartbeat to show below the monitors, by id or name; several are allowed
    #[arg(long = "heartbeat", num_args = 1.., value_name = "HEARTBEAT")]
    heartbeats: Vec<String>,
    /// Last part of the public URL [default: made from the name]
    #[arg(long)]
    slug: Option<String>,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(ls) => list(&ls, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Create(create) => self::create(create, context).await,
    }
}

async fn list(ls: &Ls, context: &Context) -> Result<(), Failure> {
    let pages = client!(context, status_pages_client::StatusPagesClient);
    let page = async |page_size, page_token| {
        let request = ListStatusPagesRequest { page_size, page_token };
        let answer = pages.clone().list_status_pages(request).await?.into_inner();
        Ok((answer.status_pages, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let pages = client!(context, status_pages_client::StatusPagesClient);
    context.one(get, async |id| pages.clone().get_status_page(GetStatusPageRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let page = StatusPage {
        name: create.name,
        slug: create.slug.unwrap_or_default(),
        components: create.monitors.into_iter().chain(create.heartbeats).collect(),
        ..StatusPage::default()
    };
    let request = CreateStatusPageRequest { status_page: Some(page) };
    let mut pages = client!(context, status_pages_client::StatusPagesClient);
    let page = pages.create_status_page(request).await?.into_inner();
    context.output.changed(&page, Some(&page.url), &format!("published {}", page.name))
}

impl Listed for StatusPage {
    const COLUMNS: &'static [&'static str] = &["NAME", "URL", "COMPONENTS", "CREATED", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(&self.url),
            Cell::text(self.components.len().to_string()),
            Cell::text(moment::relative(self.created_at.as_ref(), now)),
            Cell::text(&self.id),
        ]
    }
}

impl Described for StatusPage {
    fn sheet(&self, now: Timestamp) -> Sheet {
        Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .field("url", &self.url)
            .field("slug", &self.slug)
            .field("components", self.components.join(", "))
            .field("created", moment::both(self.created_at.as_ref(), now))
    }
}
