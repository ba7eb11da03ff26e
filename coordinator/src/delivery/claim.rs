//! Claiming: which delivery of a line goes next, and what exactly it says.
//!
//! In: lines that are due. Out: their first deliveries, coalesced, rendered and stored; those that were claimed before
//! need nothing of it and go on at once.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{DeliveryId, Timestamp};
use store::{ClaimRow, DeliveryState, EventRow};
use tracing::warn;

use super::known::KnownChannel;
use super::{Deliveries, Line, MAX_BATCH, News, Parts};
use crate::notify::Event;
use crate::shard::DeliveryBatch;

/// How long until what could not be read is looked for again.
const LATER: Duration = Duration::from_secs(1);

/// The first delivery of a line, claimed or not.
pub(super) struct Claimed {
    line: Line,
    delivery: DeliveryId,
    rendered: Rendered,
}

/// What came of rendering a delivery.
enum Rendered {
    Body(Bytes),
    /// The event could not be loaded now.
    Later,
    /// There is no such event, or it cannot be read.
    Never,
}

/// A delivery to be rendered.
struct Unrendered {
    line: Line,
    delivery: DeliveryId,
    event_id: model::EventId,
    event: Option<Arc<EventRow>>,
    channel: KnownChannel,
}

impl Deliveries {
    /// Admits lines that are due and claims their first deliveries.
    pub(super) fn claim_due(&mut self) {
        loop {
            let due = self.take_due();
            if due.is_empty() {
                return;
            }
            let (mut batch, mut unrendered) = (DeliveryBatch::default(), vec![]);
            for line in due {
                unrendered.extend(self.begin(line, &mut batch));
            }
            if !(unrendered.is_empty() && batch.marks.is_empty()) {
                let parts = Arc::clone(&self.parts);
                self.start(async move { claim(&parts, unrendered, batch).await });
            }
        }
    }

    /// Lines whose first delivery may be claimed now.
    pub(super) fn take_due(&mut self) -> Vec<Line> {
        let now = self.parts.clock.now();
        let mut due = vec![];
        while due.len() < MAX_BATCH && self.parts.tenure.holds(now) {
            let Some(&Reverse((at, line))) = self.ready.peek() else { break };
            if at > now {
                break;
            }
            self.ready.pop();
            if self.places.admit(line) {
                due.push(line);
            }
        }
        due
    }

    /// Begins with the first delivery of an admitted line. What ends here without an attempt is put into the batch.
    fn begin(&mut self, line: Line, batch: &mut DeliveryBatch) -> Option<Unrendered> {
        let now = self.parts.clock.now();
        let Some(waiting) = self.lines.get_mut(&line) else {
            let woken = self.places.withdrawn(line);
            self.wake(woken);
            return None;
        };
        while waiting.len() > 1 && waiting.iter().take(2).all(|it| !it.is_begun()) {
            if let Some(mut earlier) = waiting.pop_front() {
                earlier.row.state = DeliveryState::Coalesced;
                earlier.row.finished_at = Some(now);
                if let Some(later) = waiting.front() {
                    earlier.row.reason = format!("told together with a later event, as {}", later.row.id);
                }
                batch.marks.push(earlier.row.mark());
            }
        }
        let front = waiting.front_mut()?;
        let channel = match self.known.get(line.0) {
            None => Err("the channel was deleted"),
            Some(channel) if channel.settings.disabled.is_some() => Err("the channel is disabled"),
            Some(channel) => Ok(channel),
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(why) => {
                self.give_up(line, why, batch);
                return None;
            }
        };
        if front.body.is_some() {
            self.places.claimed(line);
            return None;
        }
        front.is_taken = true;
        Some(Unrendered {
            line,
            delivery: front.row.id,
            event_id: front.row.event,
            event: front.event.take(),
            channel: channel.clone(),
        })
    }

    /// Goes on with what was claimed.
    pub(super) fn claimed(&mut self, claimed: Claimed) {
        let Claimed { line, delivery, rendered } = claimed;
        let front = self.lines.get_mut(&line).and_then(VecDeque::front_mut);
        let Some(front) = front.filter(|it| it.row.id == delivery) else { return };
        front.is_taken = false;
        match rendered {
            Rendered::Body(body) => {
                front.body = Some(body);
                self.places.claimed(line);
            }
            Rendered::Later => {
                front.row.next_attempt_at = self.parts.clock.now().plus(LATER);
                self.next_in(line);
                let woken = self.places.withdrawn(line);
                self.wake(woken);
            }
            Rendered::Never => {
                let mut batch = DeliveryBatch::default();
                self.give_up(line, "its event cannot be read", &mut batch);
                let parts = Arc::clone(&self.parts);
                self.start(async move { claim(&parts, vec![], batch).await });
            }
        }
    }

    /// Ends the first delivery of an admitted line without an attempt.
    fn give_up(&mut self, line: Line, why: &str, batch: &mut DeliveryBatch) {
        let now = self.parts.clock.now();
        self.stand_in_for_front(line);
        if let Some(mut front) = self.lines.get_mut(&line).and_then(VecDeque::pop_front) {
            warn!(delivery.id = %front.row.id, "delivery given up: {why}");
            front.row.state = DeliveryState::Dead;
            front.row.finished_at = Some(now);
            why.clone_into(&mut front.row.reason);
            batch.marks.push(front.row.mark());
        }
        self.next_in(line);
        let woken = self.places.withdrawn(line);
        self.wake(woken);
    }
}

/// Renders deliveries and stores what they say.
async fn claim(parts: &Parts, unrendered: Vec<Unrendered>, mut batch: DeliveryBatch) -> News {
    let mut claimed = Vec::with_capacity(unrendered.len());
    let now = parts.clock.now();
    for it in unrendered {
        let rendered = render(parts, &it, now).await;
        if let Rendered::Body(body) = &rendered {
            batch.claims.push(ClaimRow { delivery: it.delivery, body: body.to_vec() });
        }
        claimed.push(Claimed { line: it.line, delivery: it.delivery, rendered });
    }
    let is_empty = batch.claims.is_empty() && batch.marks.is_empty();
    if is_empty || parts.shards.deliveries(batch).await { News::Claimed(claimed) } else { News::Ending }
}

async fn render(parts: &Parts, it: &Unrendered, now: Timestamp) -> Rendered {
    let stored;
    let event = match &it.event {
        Some(event) => event.as_ref(),
        None => match parts.store.event(it.event_id).await {
            Ok(Some(event)) => {
                stored = event;
                &stored
            }
            Ok(None) => return Rendered::Never,
            Err(_) => return Rendered::Later,
        },
    };
    let Ok(event) = Event::decode(event.body.as_bytes()) else { return Rendered::Never };
    Rendered::Body(it.channel.settings.channel.body(it.delivery, &event, now).into())
}
