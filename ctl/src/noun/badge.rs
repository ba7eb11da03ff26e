//! `badge` of a monitor or heartbeat: the address of a picture of how it is.

use clap::Args;
use proto::admin::v1::{CreateBadgeRequest, DeleteBadgeRequest};

use super::{Context, client};
use crate::exit::Failure;
use crate::output::say;

/// Arguments of `badge`.
#[derive(Debug, Args)]
pub(crate) struct Badge {
    /// Id or name
    pub(super) id: String,
    /// Let its address lead nowhere from now on
    #[arg(long)]
    revoke: bool,
}

impl Badge {
    /// Prints the address of the badge of that subject, making one if there is none; or takes it away.
    pub(super) async fn run(self, subject_id: String, context: &Context) -> Result<(), Failure> {
        let mut badges = client!(context, badges_client::BadgesClient);
        if self.revoke {
            badges.delete_badge(DeleteBadgeRequest { subject_id }).await?;
            say(&format!("the badge of {} is revoked", self.id));
            return Ok(());
        }
        let badge = badges.create_badge(CreateBadgeRequest { subject_id }).await?.into_inner();
        let talk = "whoever has this address sees the name and the state; .json and .shields instead of .svg say the \
                    same, ?states=3 tells late and degraded from up";
        context.output.changed(&badge, Some(&badge.url), talk)
    }
}
