//! Delivering again what somebody asks for: dead letters, and what was delivered and got lost behind the receiver's door.
//!
//! A replay keeps its id, its body and its attempts; only its schedule begins anew. What still waits is tried at once.

use std::cmp::Reverse;
use std::sync::Arc;

use model::DeliveryId;
use store::{DeliveryRow, DeliveryState};
use tokio::sync::oneshot;

use super::{Deliveries, Line, News, Owed, Parts};
use crate::shard::DeliveryBatch;

/// Somebody wants deliveries to be made again.
#[derive(Debug)]
pub struct Replay {
    /// Which.
    pub deliveries: Vec<DeliveryId>,
    /// Told after the commit; dropped when nothing can be committed.
    pub reply: oneshot::Sender<Replayed>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// These are made again, or at once what would have been made later.
    pub again: Vec<DeliveryId>,
    /// There are no such deliveries.
    pub unknown: Vec<DeliveryId>,
}

/// Finished deliveries that are to be made again.
pub(super) struct Found {
    rows: Vec<DeliveryRow>,
    reply: oneshot::Sender<Replayed>,
    replayed: Replayed,
}

impl Deliveries {
    /// Tries what waits at once and looks for the rest in the store.
    pub(super) fn find(&mut self, replay: Replay) {
        let now = self.parts.clock.now();
        let mut replayed = Replayed::default();
        let mut finished = vec![];
        for id in replay.deliveries {
            match self.line_of(id) {
                Some((line, place)) => {
                    replayed.again.push(id);
                    self.hasten(line, place, now);
                }
                None => finished.push(id),
            }
        }
        let parts = Arc::clone(&self.parts);
        self.start(async move { look_for(&parts, finished, replay.reply, replayed).await });
    }

    /// Takes finished deliveries in again.
    pub(super) fn replay(&mut self, found: Found) {
        for row in found.rows {
            self.add(Owed { row, event: None });
        }
        // Whoever asked may have gone.
        drop(found.reply.send(found.replayed));
    }

    fn line_of(&self, id: DeliveryId) -> Option<(Line, usize)> {
        self.lines.iter().find_map(|(line, waiting)| {
            let place = waiting.iter().position(|it| it.row.id == id && it.row.finished_at.is_none())?;
            Some((*line, place))
        })
    }

    /// Makes the first delivery of a line due now; the others come after it anyway.
    fn hasten(&mut self, line: Line, place: usize, now: model::Timestamp) {
        let front = self.lines.get_mut(&line).and_then(|waiting| waiting.get_mut(place));
        let Some(front) = front.filter(|_| place == 0) else { return };
        if front.row.next_attempt_at > now {
            front.row.next_attempt_at = now;
            self.ready.retain(|Reverse((_, other))| *other != line);
            self.ready.push(Reverse((now, line)));
        }
    }
}

/// Reads deliveries and marks those that are finished as waiting again.
async fn look_for(
    parts: &Parts,
    ids: Vec<DeliveryId>,
    reply: oneshot::Sender<Replayed>,
    mut replayed: Replayed,
) -> News {
    let now = parts.clock.now();
    let mut rows = vec![];
    for id in ids {
        match parts.store.delivery(id).await {
            Ok(Some((row, _))) => {
                replayed.again.push(id);
                // One that waits in the store and not here has just been finished, by an attempt that is being recorded.
                if row.state != DeliveryState::Waiting {
                    rows.push(begun_anew(row, now));
                }
            }
            Ok(None) => replayed.unknown.push(id),
            // Dropping the reply says that it did not work.
            Err(_) => return News::Answered,
        }
    }
    let marks = rows.iter().map(DeliveryRow::mark).collect();
    let batch = DeliveryBatch { marks, ..DeliveryBatch::default() };
    if !(rows.is_empty() || parts.shards.deliveries(batch).await) {
        return News::Ending;
    }
    News::Found(Found { rows, reply, replayed })
}

fn begun_anew(row: DeliveryRow, now: model::Timestamp) -> DeliveryRow {
    DeliveryRow {
        state: DeliveryState::Waiting,
        replayed_after: row.attempts,
        next_attempt_at: now,
        first_attempt_at: None,
        finished_at: None,
        reason: String::new(),
        ..row
    }
}
