//! Channels that fail for good: nothing more is sent there, and operators are told.
//!
//! A receiver that answers 410 wants no more (Standard Webhooks says so), and one that has taken nothing for
//! [`HOPELESS`] is not there any more. The channel's settings say since when and why it is disabled; what is owed to it
//! is given up and goes to its fallback. The notice is an event of its own under a derived id, so that it is told once
//! however often this process starts.

use std::sync::Arc;
use std::time::Duration;

use model::{ChannelId, EventId, IncidentId, InstallationId, SubjectId};
use store::{ChannelRow, Config, ConfigChange, EventRow};
use tracing::{error, warn};

use super::{Deliveries, News, Parts};
use crate::notify::channel::{ChannelSettings, Disabled, takes_notices};
use crate::notify::event::{Event, EventFailure, EventIncident, EventKind, EventSubject};
use crate::notify::send::Outcome;
use crate::settings::find_channel;
use crate::shard::DeliveryBatch;

/// A receiver that has taken nothing for so long will not (as hosted senders of webhooks have it, five days).
const HOPELESS: Duration = Duration::from_secs(5 * 86_400);
/// From this attempt on, an hour and more apart, it is worth looking how a channel has been doing.
const LATE_ATTEMPT: u32 = 9;

/// Why a channel was not disabled.
enum Kept {
    /// It is gone or disabled already.
    NotNeeded,
    Store(store::Error),
}

impl From<store::Error> for Kept {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl Deliveries {
    /// Notes how the `made`-th attempt of a delivery ended: whether its channel should be disabled.
    pub(super) fn suspect(&mut self, channel: ChannelId, outcome: Outcome, made: u32, is_dead: bool) {
        let is_gone = outcome == Outcome::Gone;
        let is_late = outcome != Outcome::Delivered && (is_dead || made >= LATE_ATTEMPT);
        if (is_gone || is_late) && self.suspects.insert(channel) {
            let parts = Arc::clone(&self.parts);
            self.start(async move {
                look_at(&parts, channel, is_gone).await;
                News::LookedAt(channel)
            });
        }
    }

    /// Tells operators of disabled channels, each time once.
    pub(super) fn tell_of_disabled(&mut self) {
        let disabled = self.known.iter().filter_map(|(id, channel)| {
            let disabled = channel.settings.disabled.as_ref()?;
            let notice = notice(self.installation, id, &channel.name, disabled);
            (!self.told_of.contains(&notice.id)).then_some(notice)
        });
        for notice in disabled.collect::<Vec<_>>() {
            self.told_of.insert(notice.id);
            let parts = Arc::clone(&self.parts);
            self.start(async move { tell(&parts, &notice).await });
        }
    }
}

/// Disables a channel if its receiver wants no more, or has taken nothing for too long.
async fn look_at(parts: &Parts, channel: ChannelId, is_gone: bool) {
    let now = parts.clock.now();
    let reason = if is_gone {
        "its receiver answered 410 Gone: it wants no more"
    } else {
        match parts.store.channel_record(channel).await {
            Ok(record) if record.failing_since.is_some_and(|since| now.since(since) >= HOPELESS) => {
                "its receiver has taken nothing for five days"
            }
            Ok(_) => return,
            Err(error) => return warn!(channel.id = %channel, %error, "cannot look how a channel is doing"),
        }
    };
    let disabled = Disabled { at: now, reason: reason.to_owned() };
    let decide = |config: &Config| {
        let row = find_channel(config, channel).ok_or(Kept::NotNeeded)?;
        let settings: ChannelSettings =
            serde_json::from_str(row.settings.expose()).map_err(|_| Kept::NotNeeded)?;
        if settings.disabled.is_some() {
            return Err(Kept::NotNeeded);
        }
        let settings = ChannelSettings { disabled: Some(disabled), ..settings };
        let (settings, revision) = (settings.to_stored(), row.revision + 1);
        Ok(ConfigChange::PutChannel(ChannelRow { settings, revision, updated_at: now, ..row.clone() }))
    };
    match parts.settings.change(decide).await {
        Ok(_) => warn!(channel.id = %channel, "channel disabled: {reason}"),
        Err(Kept::NotNeeded) => {}
        // The next attempt that fails looks again.
        Err(Kept::Store(error)) => error!(channel.id = %channel, %error, "cannot disable a channel"),
    }
}

/// The event that a channel was disabled. Its id says which channel and when.
fn notice(installation: InstallationId, id: ChannelId, name: &str, disabled: &Disabled) -> Event {
    let number = u32::try_from(disabled.at.as_micros() / 1_000_000).unwrap_or(u32::MAX);
    let incident = IncidentId::derive(installation, id.as_bytes(), number);
    Event {
        version: Event::VERSION,
        id: EventId::derive(incident, 0),
        kind: EventKind::Opened,
        occurred_at: disabled.at,
        incident: EventIncident {
            id: incident,
            number: 1,
            failure: EventFailure::Disabled,
            cause: disabled.reason.clone(),
            started_at: disabled.at,
            opened_at: disabled.at,
            resolved_at: None,
            closed_reason: None,
            acknowledged: None,
        },
        subject: EventSubject::Installation { id: installation, name: format!("channel {name}") },
        members: vec![],
        status: None,
        regions: vec![],
        failing_components: vec![],
        last_ping_at: None,
        votes: None,
        reminder: None,
        escalation_step: None,
        acknowledge_url: None,
    }
}

/// Puts a notice into the outbox unless it was told before. What cannot be told now is told after the next start.
async fn tell(parts: &Parts, notice: &Event) -> News {
    match parts.store.event(notice.id).await {
        Ok(None) => {}
        Ok(Some(_)) => return News::Answered,
        Err(error) => {
            error!(event.id = %notice.id, %error, "cannot tell that a channel is disabled");
            return News::Answered;
        }
    }
    let config = parts.settings.present();
    let takes = |row: &&ChannelRow| takes_notices(row);
    let event = EventRow {
        id: notice.id,
        incident: notice.incident.id,
        subject: SubjectId::Installation(parts.store.installation()),
        transition: 0,
        at: notice.occurred_at,
        body: String::from_utf8(notice.encode()).expect("JSON is UTF-8"),
        channels: config.channels.iter().filter(takes).map(|row| row.id).collect(),
    };
    let batch = DeliveryBatch { events: vec![event], ..DeliveryBatch::default() };
    if parts.shards.deliveries(batch).await { News::Answered } else { News::Ending }
}
