//! From an event to its deliveries: one for each channel that was enabled on the subject when it happened.
//!
//! In: event rows, written by the commit that made them true; after a restart, those not yet fanned out. Out: delivery
//! rows and the mark that the event is dispatched, in one commit, then the deliveries in memory. Ids are derived, so doing
//! it twice makes the same rows.

use std::sync::Arc;

use model::{Clock, DeliveryId, InstallationId};
use store::{DeliveryRow, DeliveryState, EventRow};
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
            for &channel in &event.channels {
                if find_channel(&config, channel).is_none() {
                    continue;
                }
                let row = DeliveryRow {
                    id: DeliveryId::derive(installation, event.id, channel),
                    event: event.id,
                    channel,
                    incident: event.incident,
                    subject: event.subject,
                    transition: event.transition,
                    state: DeliveryState::Waiting,
                    attempts: 0,
                    next_attempt_at: now,
                    body: None,
                    created_at: now,
                    finished_at: None,
                };
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
