//! The channel that stands in for another one, in requests and answers.

use model::ChannelId;
use store::{ChannelRow, Config};
use tonic::Status;

use super::settings_of;
use crate::admin::find;
use crate::admin::invalid::Invalid;

const FIELD: &str = "fallback";

/// Reads what a request says; empty means none. `itself` is the channel, if it exists yet.
pub(super) fn read(
    config: &Config,
    itself: Option<ChannelId>,
    asked: &str,
    invalid: &mut Invalid,
) -> Option<ChannelId> {
    if asked.is_empty() {
        return None;
    }
    match find::channel(config, asked) {
        Some(row) if Some(row.id) == itself => {
            invalid.add(FIELD, "a channel cannot stand in for itself");
            None
        }
        Some(row) => Some(row.id),
        None => {
            let known = find::listed(config.channels.iter().map(|row| row.name.as_str()));
            let asked = find::shorten(asked);
            invalid.add(FIELD, format!("there is no channel `{asked}`; there are: {known}"));
            None
        }
    }
}

/// A channel that another one relies on stays.
pub(super) fn refuse_while_used(config: &Config, row: &ChannelRow) -> Result<(), Status> {
    let relies =
        |other: &&ChannelRow| settings_of(other).is_ok_and(|settings| settings.fallback == Some(row.id));
    match config.channels.iter().find(relies) {
        None => Ok(()),
        Some(other) => Err(Status::failed_precondition(format!(
            "channel `{}` is the fallback of channel `{}`: give that one another fallback first",
            row.name, other.name
        ))),
    }
}
