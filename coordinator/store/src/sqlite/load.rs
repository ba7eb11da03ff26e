//! What a coordinator needs at start, as of one instant.

use super::connection::Database;
use super::{delivery, incident, journal, member, outbox, subject};
use crate::{Error, Loaded};

/// See [`crate::Store::load`].
pub(super) async fn load(database: &Database) -> Result<Loaded, Error> {
    let mut transaction = database.read().await?;
    let connection = &mut *transaction;
    let (replay_from, last_in_journal) = journal::ends(connection).await?;
    let mut loaded = Loaded {
        subjects: subject::list(connection).await?,
        states: subject::list_states(connection).await?,
        snapshots: journal::list_snapshots(connection).await?,
        agents_seen: journal::list_agents_seen(connection).await?,
        open_incidents: incident::all_open(connection).await?,
        owed_incidents: incident::all_owed(connection).await?,
        open_members: member::all_present(connection).await?,
        undispatched: outbox::undispatched(connection).await?,
        unfinished: delivery::unfinished(connection).await?,
        replay_from,
        last_position: last_in_journal,
    };
    loaded.count_folded_positions();
    Ok(loaded)
}
