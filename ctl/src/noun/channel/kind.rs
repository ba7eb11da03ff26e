//! `vigilctl channel kinds`: what channels can be, and what can be set in each.

use clap::Args;
use model::Timestamp;
use proto::admin::v1::{ChannelKindDescription, ChannelSetting, ListChannelKindsRequest};

use crate::exit::{Exit, Failure};
use crate::noun::{Context, client};
use crate::output::{Cell, Described, Listed, Sheet, Table, print};

/// Arguments of `kinds`.
#[derive(Debug, Args)]
pub(crate) struct Kinds {
    /// The kind whose settings to show; all kinds without it
    kind: Option<String>,
}

/// Lists kinds, or shows one.
pub(super) async fn list(asked: Kinds, context: &Context) -> Result<(), Failure> {
    let request = ListChannelKindsRequest {};
    let kinds = client!(context, channels_client::ChannelsClient).list_channel_kinds(request).await?;
    let kinds = kinds.into_inner().kinds;
    let now = model::Clock::now(&context.clock);
    let Some(name) = asked.kind else { return print(&context.output.list(&kinds, now)?) };
    match kinds.iter().find(|kind| kind.name == name) {
        Some(kind) => print(&context.output.one(kind, now)?),
        None => {
            let known: Vec<_> = kinds.iter().map(|kind| kind.name.as_str()).collect();
            let problem = format!("there is no kind {name}; there are {}", known.join(", "));
            Err(Failure::new(Exit::NotFound, problem))
        }
    }
}

impl Listed for ChannelKindDescription {
    const COLUMNS: &'static [&'static str] = &["KIND", "WHAT", "REQUIRED"];

    fn row(&self, _now: Timestamp) -> Vec<Cell> {
        let required: Vec<_> =
            self.settings.iter().filter(|setting| setting.required).map(|it| it.name.as_str()).collect();
        vec![Cell::text(&self.name), Cell::text(&self.description), Cell::text(required.join(", "))]
    }
}

impl Described for ChannelKindDescription {
    fn sheet(&self, _now: Timestamp) -> Sheet {
        let row = |setting: &ChannelSetting| {
            let is = |yes: bool| if yes { "yes" } else { "no" };
            vec![
                Cell::text(&setting.name),
                Cell::text(is(setting.required)),
                Cell::text(is(setting.secret)),
                Cell::text(&setting.default_value),
                Cell::text(&setting.description),
            ]
        };
        let rows = self.settings.iter().map(row).collect();
        Sheet::default()
            .field("kind", &self.name)
            .field("what", &self.description)
            .part("settings", Table { headers: &["SETTING", "REQUIRED", "SECRET", "DEFAULT", "WHAT"], rows })
    }
}
