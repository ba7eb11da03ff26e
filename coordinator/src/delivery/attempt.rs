//! Attempts: one task each, which holds a place until it ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use model::{DeliveryId, Timestamp};

use super::known::KnownChannel;
use super::{Deliveries, Line, News};
use crate::lifecycle::Task;
use crate::notify::send;

/// An attempt that has ended.
pub(super) struct Attempted {
    pub(super) line: Line,
    pub(super) delivery: DeliveryId,
    pub(super) started_at: Timestamp,
    pub(super) what: send::Attempted,
}

impl Deliveries {
    /// Starts attempts at what is claimed, as many as there are places for.
    pub(super) fn send_claimed(&mut self) {
        while self.parts.tenure.holds(self.parts.clock.now()) {
            let Some((line, woken)) = self.places.take() else { return };
            self.wake(woken);
            let front = self.lines.get(&line).and_then(|waiting| waiting.front());
            let ready = front.and_then(|front| Some((front.row.id, front.body.clone()?)));
            let Some(((delivery, body), channel)) = ready.zip(self.known.get(line.0).cloned()) else {
                // The channel was deleted in between: whoever admits the line again sees it.
                let woken = self.places.ended(line.0, false);
                self.wake(woken);
                self.next_in(line);
                continue;
            };
            self.attempt(line, delivery, channel, body);
        }
    }

    fn attempt(&self, line: Line, delivery: DeliveryId, channel: KnownChannel, body: Bytes) {
        let (parts, news) = (Arc::clone(&self.parts), self.news.0.clone());
        self.parts.supervisor.spawn(Task::Attempt, async move {
            let started_at = parts.clock.now();
            // A panic must not keep the place. What it leaves behind belongs to this one attempt.
            let wall = || parts.clock.wall();
            let made =
                async { channel.settings.channel.attempt(&parts.sender, delivery, wall(), &body).await };
            let made = AssertUnwindSafe(made).catch_unwind().await;
            let what = made.unwrap_or_else(|_| send::Attempted::unsent("internal error".to_owned()));
            drop(news.send(News::Attempted(Box::new(Attempted { line, delivery, started_at, what }))));
        });
    }
}
