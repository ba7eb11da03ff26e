//! Trying a channel: one message that says it is a test, through the sender that deliveries take.
//!
//! Nothing of it is stored and nothing is tried again. What the receiver answered is shown as it came, to those who may
//! configure channels only.

use model::{ChannelId, DeliveryId, Timestamp};
use proto::admin::v1 as wire;

use crate::admin::Admin;
use crate::admin::convert::span;
use crate::notify::Channel;
use crate::notify::sample::Sample;
use crate::notify::send::Outcome;

impl Admin {
    /// Sends a sample and says what came of it.
    pub(super) async fn send_test(
        &self,
        id: ChannelId,
        channel: &Channel,
        sample: wire::ChannelSample,
    ) -> wire::TestChannelResponse {
        let now: Timestamp = self.clock.now();
        let event = sample_of(sample).event(id, now);
        // Of its own, so that no receiver takes a second test for the first one.
        let delivery = DeliveryId::from_bytes(model::random::bytes(self.random.as_ref()));
        let message = channel.message(&event, now);
        let body = channel.body(delivery, &event, now).into();
        let attempted = channel.attempt(&self.sender, delivery, self.clock.wall(), &body).await;
        wire::TestChannelResponse {
            delivered: attempted.outcome == Outcome::Delivered,
            status: attempted.status.map(i32::from).unwrap_or_default(),
            detail: attempted.detail,
            duration: span(attempted.duration),
            answer: String::from_utf8_lossy(&attempted.answer).into_owned(),
            text: message.details(),
            title: message.title,
        }
    }
}

const fn sample_of(sample: wire::ChannelSample) -> Sample {
    match sample {
        wire::ChannelSample::Unspecified | wire::ChannelSample::Down => Sample::Down,
        wire::ChannelSample::Recovered => Sample::Recovered,
        wire::ChannelSample::Missed => Sample::Missed,
    }
}
