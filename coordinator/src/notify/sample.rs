//! Events that never happened, to try a channel with. Whoever reads them sees that they are a test.

use std::time::Duration;

use model::{ChannelId, EventId, HeartbeatId, IncidentId, MonitorId, RegionId, Timestamp};

use super::event::{Event, EventFailure, EventIncident, EventKind, EventRegion, EventSubject};

/// What can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A monitor goes down.
    Down,
    /// It recovers.
    Recovered,
    /// A heartbeat is missed.
    Missed,
}

impl Sample {
    /// The event, for this channel. A channel's samples of down and recovered are one incident, so that what the first
    /// opens at a provider the second closes.
    #[must_use]
    pub fn event(self, channel: ChannelId, now: Timestamp) -> Event {
        let incident = IncidentId::from_bytes(*channel.as_bytes());
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let started_at = now.minus(minutes(3));
        let (kind, failure, transition) = match self {
            Self::Down => (EventKind::Opened, EventFailure::Down, 1),
            Self::Recovered => (EventKind::Resolved, EventFailure::Down, 2),
            Self::Missed => (EventKind::Opened, EventFailure::Missed, 1),
        };
        let monitor = EventSubject::Monitor {
            id: MonitorId::from_bytes(*channel.as_bytes()),
            name: "TEST of a monitor".to_owned(),
            url: "https://example.com/health".to_owned(),
            interval: minutes(1),
        };
        let heartbeat = EventSubject::Heartbeat {
            id: HeartbeatId::from_bytes(*channel.as_bytes()),
            name: "TEST of a".to_owned(),
            interval: Some(minutes(24 * 60)),
            calendar: None,
            grace: minutes(5),
        };
        let is_missed = self == Self::Missed;
        Event {
            version: Event::VERSION,
            id: EventId::derive(incident, transition),
            kind,
            occurred_at: now,
            incident: EventIncident {
                id: incident,
                number: 0,
                failure,
                cause: "a test of this channel: nothing has happened".to_owned(),
                started_at,
                opened_at: started_at,
                resolved_at: (self == Self::Recovered).then_some(now),
                closed_reason: None,
                acknowledged: None,
            },
            subject: if is_missed { heartbeat } else { monitor },
            members: vec![],
            status: (!is_missed).then(|| "503 Service Unavailable".to_owned()),
            regions: if is_missed { vec![] } else { region().into_iter().collect() },
            failing_components: vec![],
            last_ping_at: is_missed.then(|| now.minus(minutes(24 * 60 + 8))),
            votes: None,
            reminder: None,
            escalation_step: None,
            acknowledge_url: None,
        }
    }
}

fn region() -> Option<EventRegion> {
    let id = RegionId::new("test").ok()?;
    Some(EventRegion { name: id.default_display_name(), id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Message;

    #[test]
    fn every_sample_says_that_it_is_a_test_and_down_and_recovered_are_one_incident() {
        let now = Timestamp::from_secs(1_800_000_000);
        let channel = ChannelId::from_bytes([7; 16]);
        for sample in [Sample::Down, Sample::Recovered, Sample::Missed] {
            let event = sample.event(channel, now);
            assert!(Message::render(&event, now).title.contains("TEST"), "{sample:?}");
            assert_eq!(Event::decode(&event.encode()).unwrap(), event);
        }
        let ids = [Sample::Down, Sample::Recovered].map(|sample| sample.event(channel, now));
        assert_eq!(ids[0].incident.id, ids[1].incident.id);
        assert_ne!(ids[0].id, ids[1].id);
    }
}
