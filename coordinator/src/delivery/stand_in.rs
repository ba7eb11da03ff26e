//! Fallback: what a channel has failed to take for a minute is told to another channel too.
//!
//! A stand-in is a delivery of the same event to the channel's fallback, made once: its id is derived from event and
//! channel like any other's, so an event that goes there anyway, or stands in for two channels, is told there once. It
//! carries the id of the delivery that it stands in for, and nothing stands in for a stand-in: there are no loops. The
//! first delivery goes on being tried. A minute counts from its first attempt; what waits behind it in its line from
//! when it began to wait; a delivery that is given up is told elsewhere at once.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use model::{ChannelId, DeliveryId, EventId, Timestamp};
use store::DeliveryRow;
use tracing::{info, warn};

use super::{Deliveries, Line, News, Owed, Parts};
use crate::shard::DeliveryBatch;

/// How long a delivery may fail before it is told elsewhere.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long until a store that could not be read is asked again.
const LATER: Duration = Duration::from_secs(1);

/// A delivery that may be needed elsewhere.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// The one that fails.
    failing: DeliveryId,
    event: EventId,
    fallback: ChannelId,
    /// What the one elsewhere is called.
    id: DeliveryId,
}

/// What came of making it.
pub(super) struct Made {
    wanted: Wanted,
    what: Outcome,
}

enum Outcome {
    Owed(Box<Owed>),
    /// The event is told there anyway, or is gone.
    NotNeeded,
    Later,
}

impl Deliveries {
    /// Looks at a line again when its first delivery has been failing for long enough.
    pub(super) fn watch_for_stand_in(&mut self, line: Line) {
        if self.known.fallback(line.0).is_none() {
            return;
        }
        if let Some(at) = self.next_stand_in(line) {
            self.stand_ins.push(Reverse((at, line)));
        }
    }

    /// Makes stand-ins for what has been failing for long enough.
    pub(super) fn stand_in_for_failing(&mut self) {
        let now = self.parts.clock.now();
        while let Some(&Reverse((at, line))) = self.stand_ins.peek() {
            if at > now {
                return;
            }
            self.stand_ins.pop();
            let count = self.lines.get(&line).map_or(0, std::collections::VecDeque::len);
            for place in 0..count {
                if self.fails_since(line, place).is_some_and(|since| since.plus(PATIENCE) <= now) {
                    self.stand_in(line, place);
                }
            }
            self.watch_for_stand_in(line);
        }
    }

    /// Makes a stand-in for the first delivery of a line, which is given up.
    pub(super) fn stand_in_for_front(&mut self, line: Line) {
        self.stand_in(line, 0);
    }

    /// Takes in what came of making one.
    pub(super) fn stood_in(&mut self, made: Made) {
        let Made { wanted, what } = made;
        self.standing_in.remove(&wanted.id);
        match what {
            Outcome::Owed(owed) => {
                info!(delivery.id = %wanted.failing, stand_in.id = %wanted.id, "told to the fallback channel");
                self.add(*owed);
            }
            Outcome::NotNeeded => {}
            Outcome::Later => self.make(wanted, LATER),
        }
    }

    /// When a line has to be looked at for what has no stand-in yet.
    fn next_stand_in(&self, line: Line) -> Option<Timestamp> {
        let waiting = self.lines.get(&line)?;
        let open = waiting.iter().enumerate().filter(|(_, it)| !it.is_stood_in_for);
        open.filter_map(|(place, _)| self.fails_since(line, place)).min().map(|since| since.plus(PATIENCE))
    }

    /// Since when a delivery has not reached its receiver because the line fails.
    fn fails_since(&self, line: Line, place: usize) -> Option<Timestamp> {
        let waiting = self.lines.get(&line)?;
        let failing_since = waiting.front()?.row.first_attempt_at?;
        let row = &waiting.get(place)?.row;
        let is_open = row.stands_in_for.is_none() && row.finished_at.is_none();
        is_open.then(|| row.first_attempt_at.unwrap_or_else(|| failing_since.max(row.created_at)))
    }

    fn stand_in(&mut self, line: Line, place: usize) {
        let Some(fallback) = self.known.fallback(line.0) else { return };
        let Some(it) = self.lines.get_mut(&line).and_then(|waiting| waiting.get_mut(place)) else { return };
        if it.is_stood_in_for || it.row.stands_in_for.is_some() {
            return;
        }
        it.is_stood_in_for = true;
        let event = it.row.event;
        let id = DeliveryId::derive(self.installation, event, fallback);
        let wanted = Wanted { failing: it.row.id, event, fallback, id };
        if self.standing_in.insert(id) {
            self.make(wanted, Duration::ZERO);
        }
    }

    fn make(&mut self, wanted: Wanted, after: Duration) {
        self.standing_in.insert(wanted.id);
        let parts = Arc::clone(&self.parts);
        self.start(async move {
            tokio::time::sleep(after).await;
            make(&parts, wanted).await
        });
    }
}

/// Makes a stand-in unless the event has a delivery there, finished or not.
async fn make(parts: &Parts, wanted: Wanted) -> News {
    let told = |what| News::StoodIn(Made { wanted, what });
    let (event, present) =
        match (parts.store.event(wanted.event).await, parts.store.delivery(wanted.id).await) {
            (Ok(Some(event)), Ok(present)) => (event, present),
            (Ok(None), _) => return told(Outcome::NotNeeded),
            (Err(error), _) | (_, Err(error)) => {
                warn!(delivery.id = %wanted.failing, %error, "cannot tell the fallback channel yet");
                return told(Outcome::Later);
            }
        };
    // What the outbox has still to fan out is told there as well.
    if present.is_some() || event.channels.contains(&wanted.fallback) {
        return told(Outcome::NotNeeded);
    }
    let row = DeliveryRow {
        stands_in_for: Some(wanted.failing),
        ..DeliveryRow::owed(wanted.id, &event, wanted.fallback, parts.clock.now())
    };
    let batch = DeliveryBatch { deliveries: vec![row.clone()], ..DeliveryBatch::default() };
    if !parts.shards.deliveries(batch).await {
        return News::Ending;
    }
    told(Outcome::Owed(Box::new(Owed { row, event: Some(Arc::new(event)) })))
}
