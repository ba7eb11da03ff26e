//! `vigilctl heartbeat snooze`: nothing comes due for a while.
//!
//! A snooze is a window of maintenance over the one heartbeat, named after it; `unsnooze` deletes it.

use std::time::Duration;

use clap::Args;
use model::Clock;
use proto::admin::v1::{CreateMaintenanceRequest, DeleteMaintenanceRequest, Maintenance};

use super::{Which, client};
use crate::duration;
use crate::exit::Failure;
use crate::moment::Ahead;
use crate::noun::Context;
use crate::output::say;

/// Arguments of `snooze`.
#[derive(Debug, Args)]
pub(crate) struct Snooze {
    /// Id or name
    id: String,
    /// For how long: 1 minute to 30 days
    #[arg(long = "for", value_parser = duration::parse, value_name = "SPAN")]
    span: Duration,
    /// Why, for those who look
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Lets nothing come due until then.
pub(super) async fn begin(snooze: Snooze, context: &Context) -> Result<(), Failure> {
    let now = context.clock.now();
    let maintenance = Maintenance {
        name: name(&snooze.id),
        description: snooze.reason.unwrap_or_default(),
        heartbeats: vec![snooze.id.clone()],
        end: Some(Ahead::At(now.plus(snooze.span)).to_wire(now)),
        ..Maintenance::default()
    };
    let request = CreateMaintenanceRequest { maintenance: Some(maintenance) };
    let maintenance = client!(context, maintenances_client::MaintenancesClient)
        .create_maintenance(request)
        .await?
        .into_inner();
    let talk = format!("snoozed {} for {}", snooze.id, duration::text(snooze.span));
    context.output.changed(&maintenance, None, &talk)
}

/// Expects pings again.
pub(super) async fn end(Which { id }: Which, context: &Context) -> Result<(), Failure> {
    let request = DeleteMaintenanceRequest { id: name(&id), etag: String::new() };
    client!(context, maintenances_client::MaintenancesClient).delete_maintenance(request).await?;
    say(&format!("unsnoozed {id}"));
    Ok(())
}

fn name(heartbeat: &str) -> String {
    format!("snooze of {heartbeat}")
}
