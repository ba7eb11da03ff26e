//! `vigilctl region`: the places checks are made from.

use clap::{Args, Subcommand};
use model::Timestamp;
use proto::admin::v1::{CreateRegionRequest, GetRegionRequest, ListRegionsRequest, Region};

use super::{Context, Get, Ls, client};
use crate::exit::Failure;
use crate::output::{Cell, Described, Listed, Sheet};

/// What can be done with regions.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all regions
    Ls(Ls),
    /// Show one region
    Get(Get),
    /// Make a region; prints its id
    Create(Create),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Id, such as us-east
    id: String,
    /// What people read, such as US-East [default: made from the id]
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
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
    let fleet = client!(context, fleet_client::FleetClient);
    let page = async |page_size, page_token| {
        let request = ListRegionsRequest { page_size, page_token };
        let answer = fleet.clone().list_regions(request).await?.into_inner();
        Ok((answer.regions, answer.next_page_token))
    };
    context.list(ls, None, page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let fleet = client!(context, fleet_client::FleetClient);
    context.one(get, async |id| fleet.clone().get_region(GetRegionRequest { id }).await).await
}

async fn create(create: Create, context: &Context) -> Result<(), Failure> {
    let display_name = create.display_name.unwrap_or_default();
    let region = Region { id: create.id, display_name, ..Region::default() };
    let request = CreateRegionRequest { region: Some(region) };
    let region = client!(context, fleet_client::FleetClient).create_region(request).await?.into_inner();
    context.output.changed(&region, Some(&region.id), &format!("created {}", region.display_name))
}

impl Listed for Region {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "AGENTS", "CONNECTED"];

    fn row(&self, _: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.id),
            Cell::text(&self.display_name),
            Cell::text(self.agents.to_string()),
            Cell::text(self.connected_agents.to_string()),
        ]
    }
}

impl Described for Region {
    fn sheet(&self, _: Timestamp) -> Sheet {
        Sheet::default()
            .field("id", &self.id)
            .field("name", &self.display_name)
            .field("agents", self.agents.to_string())
            .field("connected", self.connected_agents.to_string())
    }
}
