//! From an event to its deliveries: one for each channel that is to hear of it (`engine::alert` decides that).
//!
//! In: event rows, written by the commit that made them true; after a restart, those not yet fanned out. Out: delivery
//! rows and the mark that the event is dispatched, in one commit, then the deliveries in memory. Ids are derived, so doing
//! it twice makes the same rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{ChannelId, Clock, DeliveryId, InstallationId, Timestamp};
use store::{DeliveryRow, EventRow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::delivery::Owed;
use crate::settings::{Settings, find_channel};
use crate::shard::{self, DeliveryBatch};

/// Events fanned out in one commit.
const MAX_BATCH: usize = 1_024;

/// Fans events out until told to drain and none is waiting.
pub async fn run(
    mut events: mpsc::UnboundedReceiver<EventRow>,
    owed: mpsc::UnboundedSender<Owed>,
    shards: shard::Handle,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    installation: InstallationId,
    drain: CancellationToken,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        tokio::select! {
            biased;
            count = events.recv_many(&mut batch, MAX_BATCH) => if count == 0 { return },
            // What is not fanned out now is found in the database at the next start.
            () = drain.cancelled() => return,
        }
        let config = settings.present();
        let now = clock.now();
        let mut rows = DeliveryBatch::default();
        let mut made = vec![];
        for event in batch.drain(..) {
            rows.dispatched.push(event.id);
            let event = Arc::new(event);
            for row in fan_out(&event, installation, now, |channel| find_channel(&config, channel).is_some())
            {
                rows.deliveries.push(row.clone());
                made.push(Owed { row, event: Some(Arc::clone(&event)) });
            }
        }
        if !shards.deliveries(rows).await {
            return;
        }
        for delivery in made {
            drop(owed.send(delivery));
        }
    }
}

/// The one delivery of an event to each of its channels that still `exists`.
fn fan_out(
    event: &EventRow,
    installation: InstallationId,
    now: Timestamp,
    exists: impl Fn(ChannelId) -> bool,
) -> Vec<DeliveryRow> {
    let channels: BTreeSet<ChannelId> =
        event.channels.iter().copied().filter(|channel| exists(*channel)).collect();
    let delivery =
        |channel| DeliveryRow::owed(DeliveryId::derive(installation, event.id, channel), event, channel, now);
    channels.into_iter().map(delivery).collect()
}

#[cfg(test)]
mod tests {
    use model::{EventId, IncidentId, MonitorId, SubjectId};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// D4: every event reaches each of its channels by exactly one delivery, the same however often it is fanned out.
        #[test]
        fn d4_each_channel_that_exists_is_owed_exactly_one_delivery(
            channels in prop::collection::vec(0_u8..12, 0..20),
            deleted in prop::collection::btree_set(0_u8..12, 0..6),
        ) {
            let channel = |number: u8| ChannelId::from_bytes([number; 16]);
            let event = EventRow {
                id: EventId::from_bytes([1; 16]),
                incident: IncidentId::from_bytes([2; 16]),
                subject: SubjectId::Monitor(MonitorId::from_bytes([3; 16])),
                transition: 0,
                at: Timestamp::EPOCH,
                body: String::new(),
                channels: channels.iter().map(|number| channel(*number)).collect(),
            };
            let gone: BTreeSet<ChannelId> = deleted.iter().map(|number| channel(*number)).collect();
            let made = |now| fan_out(&event, InstallationId::from_bytes([4; 16]), now, |id| !gone.contains(&id));
            let rows = made(Timestamp::EPOCH);
            let told: BTreeSet<ChannelId> = rows.iter().map(|row| row.channel).collect();
            let wanted: BTreeSet<ChannelId> =
                event.channels.iter().copied().filter(|id| !gone.contains(id)).collect();
            prop_assert_eq!(&told, &wanted);
            prop_assert_eq!(rows.len(), wanted.len());
            let ids: BTreeSet<DeliveryId> = rows.iter().map(|row| row.id).collect();
            prop_assert_eq!(ids.len(), rows.len());
            let again: BTreeSet<DeliveryId> = made(Timestamp::from_secs(9)).iter().map(|row| row.id).collect();
            prop_assert_eq!(ids, again);
        }
    }
}
