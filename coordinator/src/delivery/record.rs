//! Recording: what an attempt means for its delivery, and what comes next.

use std::collections::VecDeque;

use engine::retry;
use model::random;
use store::{AttemptRow, DeliveryRow, DeliveryState};
use tracing::{info, warn};

use super::attempt::Attempted;
use super::{Deliveries, Line, News};
use crate::notify::send::{self, Outcome};
use crate::shard::DeliveryBatch;
use crate::web::metrics::DeliveryOutcome;

impl Deliveries {
    /// Records attempts that have ended and decides what comes next. Their places are free at once; their lines go on
    /// when it is committed, so that nothing overtakes what a crash would send again.
    pub(super) fn record(&mut self, attempted: Vec<Attempted>) {
        let mut batch = DeliveryBatch::default();
        let mut lines = vec![];
        for ended in attempted {
            let line = ended.line;
            let is_delivered = ended.what.outcome == Outcome::Delivered;
            let woken = self.places.ended(line.0, is_delivered);
            self.wake(woken);
            self.settle(ended, &mut batch);
            lines.push(line);
            if !is_delivered {
                self.watch_for_stand_in(line);
            }
        }
        let shards = self.parts.shards.clone();
        self.start(async move {
            if shards.deliveries(batch).await { News::Recorded(lines) } else { News::Ending }
        });
    }

    /// Goes on with a line whose attempt is recorded.
    pub(super) fn recorded(&mut self, line: Line) {
        if let Some(waiting) = self.lines.get_mut(&line)
            && waiting.front().is_some_and(|front| front.row.finished_at.is_some())
        {
            waiting.pop_front();
        }
        self.next_in(line);
    }

    fn settle(&mut self, ended: Attempted, batch: &mut DeliveryBatch) {
        let Attempted { line, delivery, started_at, what } = ended;
        let now = self.parts.clock.now();
        let front = self.lines.get_mut(&line).and_then(VecDeque::front_mut);
        let Some(front) = front.filter(|it| it.row.id == delivery) else { return };
        let row = &mut front.row;
        row.attempts += 1;
        row.first_attempt_at.get_or_insert(started_at);
        let outcome = match what.outcome {
            Outcome::Delivered => retry::Outcome::Delivered,
            Outcome::Failed { retry_after } => retry::Outcome::Failed { retry_after },
            Outcome::Refused | Outcome::Gone => retry::Outcome::Gone,
        };
        let made = row.attempts - row.replayed_after;
        match retry::next(made, outcome, now, random::unit(self.parts.random.as_ref())) {
            retry::Next::Done => (row.state, row.finished_at) = (DeliveryState::Delivered, Some(now)),
            retry::Next::DeadLetter => (row.state, row.finished_at) = (DeliveryState::Dead, Some(now)),
            retry::Next::At(at) => row.next_attempt_at = at,
        }
        self.parts.metrics.delivery(match row.state {
            DeliveryState::Delivered => DeliveryOutcome::Delivered,
            DeliveryState::Dead => DeliveryOutcome::Dead,
            DeliveryState::Waiting | DeliveryState::Coalesced => DeliveryOutcome::Failed,
        });
        log(row, &what);
        batch.marks.push(row.mark());
        batch.attempts.push(AttemptRow {
            delivery,
            number: row.attempts,
            started_at,
            duration: what.duration,
            status: what.status,
            detail: what.detail,
            answer: what.answer,
            timing: what.timing,
        });
        let is_dead = row.state == DeliveryState::Dead;
        if is_dead {
            self.stand_in_for_front(line);
        }
        self.suspect(line.0, what.outcome, made, is_dead);
    }
}

fn log(row: &DeliveryRow, what: &send::Attempted) {
    let (delivery, channel) = (row.id, row.channel);
    let (attempts, detail) = (row.attempts, &what.detail);
    match row.state {
        DeliveryState::Delivered => {
            info!(delivery.id = %delivery, channel.id = %channel, attempts, "delivered");
        }
        DeliveryState::Dead => {
            warn!(delivery.id = %delivery, channel.id = %channel, attempts, detail, "delivery given up");
        }
        DeliveryState::Waiting | DeliveryState::Coalesced => {
            info!(delivery.id = %delivery, channel.id = %channel, attempts, detail, "attempt failed; will try again");
        }
    }
}
