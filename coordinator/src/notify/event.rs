//! The public, versioned fact that something happened to an incident.
//!
//! Written into the outbox by the commit that made it true; everything that leaves the house about an incident is
//! rendered from it and from nothing else. It is stored and sent as JSON ([`Event::encode`]), in which no field is
//! ever left out: what does not apply is `null` or empty. Fields may be added to version 1; none is removed or
//! changes its meaning.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use model::{AgentId, EventId, HeartbeatId, IncidentId, InstallationId, MonitorId, RegionId, Timestamp};

use super::json_time::{instant, optional_instant, optional_seconds, seconds};

/// What happened to one incident, with all that a reader needs to understand it without asking back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// [`Event::VERSION`].
    pub version: u32,
    /// The same for every copy of this event, in every channel and after every restart.
    pub id: EventId,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened, not when it was sent.
    #[serde(with = "instant")]
    pub occurred_at: Timestamp,
    /// The incident as it stands after the event.
    pub incident: EventIncident,
    /// What the incident is about.
    pub subject: EventSubject,
    /// The names of those who failed together with it and are told of with it.
    #[serde(default)]
    pub members: Vec<String>,
    /// What most failing regions saw: `503 Service Unavailable`. Monitors only.
    pub status: Option<String>,
    /// The regions whose failing votes counted, in the order in which they are shown; of the installation, those that
    /// cannot be heard.
    pub regions: Vec<EventRegion>,
    /// What the target's own health report names as failing.
    pub failing_components: Vec<EventComponent>,
    /// The last ping before the incident. Heartbeats only.
    #[serde(with = "optional_instant", default)]
    pub last_ping_at: Option<Timestamp>,
    /// The votes behind the decision. Monitors only.
    pub votes: Option<EventVotes>,
    /// The how-manieth reminder it is. Of [`EventKind::Reminder`] only.
    #[serde(default)]
    pub reminder: Option<u32>,
    /// The how-manieth step of the escalation it is. Of [`EventKind::Escalated`] only.
    #[serde(default)]
    pub escalation_step: Option<u32>,
    /// Where a person acknowledges the incident with one click; whoever knows it can. `None` once there is nothing to
    /// acknowledge, and for installations that have no public URL.
    #[serde(default)]
    pub acknowledge_url: Option<String>,
}

/// What can happen to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was confirmed.
    #[serde(rename = "incident.opened")]
    Opened,
    /// Others that failed together with it joined it.
    #[serde(rename = "incident.updated")]
    Updated,
    /// The subject recovered.
    #[serde(rename = "incident.resolved")]
    Resolved,
    /// It ended without recovery; [`EventIncident::closed_reason`] says why.
    #[serde(rename = "incident.closed")]
    Closed,
    /// It is still open.
    #[serde(rename = "incident.reminder")]
    Reminder,
    /// Nobody has acknowledged it for so long that others are told.
    #[serde(rename = "incident.escalated")]
    Escalated,
    /// Somebody takes care of it; [`EventIncident::acknowledged`] says who.
    #[serde(rename = "incident.acknowledged")]
    Acknowledged,
}

/// One outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventIncident {
    /// Its id.
    pub id: IncidentId,
    /// Counts the subject's incidents from 1.
    pub number: u32,
    /// How the subject failed.
    pub failure: EventFailure,
    /// Why it was opened, in one line for people.
    pub cause: String,
    /// Start of the first failing check that counted, or when the ping was due.
    #[serde(with = "instant")]
    pub started_at: Timestamp,
    /// When it was confirmed.
    #[serde(with = "instant")]
    pub opened_at: Timestamp,
    /// When it ended, by recovery or otherwise.
    #[serde(with = "optional_instant", default)]
    pub resolved_at: Option<Timestamp>,
    /// Why it ended without recovery.
    pub closed_reason: Option<ClosedReason>,
    /// Who takes care of it.
    #[serde(default)]
    pub acknowledged: Option<EventAcknowledgement>,
}

/// That somebody takes care of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAcknowledgement {
    /// Since when.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// Who, in their own words.
    pub by: String,
    /// What they know of it; may be empty.
    pub reason: String,
}

/// How a subject failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventFailure {
    /// A monitor's regions agree that the target fails.
    Down,
    /// A heartbeat's ping did not come.
    Missed,
    /// A heartbeat's job said that it failed.
    Failed {
        /// The exit code it gave, if it gave one.
        exit_code: Option<u8>,
    },
    /// A heartbeat's job did not even start in time.
    NeverStarted,
    /// A run of a heartbeat's job takes longer than it may.
    RanTooLong {
        /// When it began.
        #[serde(with = "instant")]
        started_at: Timestamp,
        /// How long it may take, in seconds.
        #[serde(with = "seconds", rename = "max_runtime_seconds")]
        max_runtime: Duration,
    },
    /// A run of a heartbeat's job no longer says that it lives.
    Silent {
        /// When it began.
        #[serde(with = "instant")]
        started_at: Timestamp,
        /// When it was last heard of.
        #[serde(with = "instant")]
        heard_at: Timestamp,
    },
    /// An agent's votes do not count, because too many of its failures are contradicted. For operators.
    Quarantined,
    /// Regions cannot be heard, or monitors cannot be judged. For operators.
    Uncovered,
    /// A channel's receiver takes nothing any more, so nothing more is sent there. For operators.
    Disabled,
}

/// Why an incident ended without recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedReason {
    /// Its subject was paused.
    Paused,
    /// Its subject was deleted.
    Deleted,
}

/// What an incident is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventSubject {
    /// An active check.
    Monitor {
        /// Its id.
        id: MonitorId,
        /// What people call it; by default its URL without the scheme.
        name: String,
        /// What is checked, as a user would write it.
        url: String,
        /// Time between two checks from one region, in seconds.
        #[serde(with = "seconds", rename = "interval_seconds")]
        interval: Duration,
    },
    /// A job that pings.
    Heartbeat {
        /// Its id.
        id: HeartbeatId,
        /// What people call it.
        name: String,
        /// A ping is expected every so often, in seconds; `None`: by a calendar.
        #[serde(with = "optional_seconds", rename = "interval_seconds", default)]
        interval: Option<Duration>,
        /// The calendar, for people: `0 3 * * * (Europe/Berlin)`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        calendar: Option<String>,
        /// How late a ping may be, in seconds.
        #[serde(with = "seconds", rename = "grace_seconds")]
        grace: Duration,
    },
    /// A probe agent. For operators.
    Agent {
        /// Its id.
        id: AgentId,
        /// What people call it: `agent tokyo-1`.
        name: String,
        /// Where it stands; `None` if it was deleted.
        region: Option<EventRegion>,
    },
    /// The installation as a whole: whether enough of its regions can be heard, whether its channels work. For operators.
    Installation {
        /// Its id.
        id: InstallationId,
        /// What of it: `coverage`, `channel ops`.
        name: String,
    },
}

/// A place from which checks are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRegion {
    /// `us-east`.
    pub id: RegionId,
    /// `US-East`.
    pub name: String,
}

/// A dependency that the target's health report names as failing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventComponent {
    /// `database`.
    pub name: String,
    /// `could not connect to database 'main'`; `None` if the report does not say.
    pub detail: Option<String>,
}

/// The votes behind a decision, with the arithmetic that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventVotes {
    /// When they were counted.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// The quorum in words: `majority: 2 of 3 regions`.
    pub policy: String,
    /// The sum: `2 of 3 regions failing, 2 needed`.
    pub arithmetic: String,
    /// One row for each assigned region.
    pub rows: Vec<EventVote>,
}

/// One region's vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventVote {
    /// Who voted.
    pub region: EventRegion,
    /// What it found.
    pub outcome: EventOutcome,
    /// For people: `503 Service Unavailable`; may be empty.
    pub detail: String,
    /// When the check behind the vote started.
    #[serde(with = "optional_instant", default)]
    pub started_at: Option<Timestamp>,
    /// Whether it counted.
    pub counted: bool,
    /// Why it counted or did not.
    pub reason: String,
}

/// What a region found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// The target did what was asked.
    Pass,
    /// It did not.
    Fail,
    /// The region could not measure.
    Error,
    /// There is no vote.
    None,
}

/// Why stored bytes are not an event that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// They are not the JSON of an event.
    #[error("not the JSON of an event")]
    Json(#[from] serde_json::Error),
    /// A newer version wrote them.
    #[error("version {found}, but only {known} is known", known = Event::VERSION)]
    Version {
        /// The version that the bytes name.
        found: u32,
    },
}

impl Event {
    /// The version that this code writes, and the only one it reads.
    pub const VERSION: u32 = 1;

    /// The event as JSON: its one stored and public form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an event has no map with other keys than text and no failing field")
    }

    /// Reads what [`Event::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged, or of another version.
    pub fn decode(json: &[u8]) -> Result<Self, Undecodable> {
        // The version first: the rest of another version need not have this shape.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version: found } = serde_json::from_slice(json)?;
        if found != Self::VERSION {
            return Err(Undecodable::Version { found });
        }
        Ok(serde_json::from_slice(json)?)
    }
}

impl EventKind {
    /// The public name: `incident.opened`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "incident.opened",
            Self::Updated => "incident.updated",
            Self::Resolved => "incident.resolved",
            Self::Closed => "incident.closed",
            Self::Reminder => "incident.reminder",
            Self::Escalated => "incident.escalated",
            Self::Acknowledged => "incident.acknowledged",
        }
    }
}

impl EventSubject {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Monitor { name, .. }
            | Self::Heartbeat { name, .. }
            | Self::Agent { name, .. }
            | Self::Installation { name, .. } => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    #[test]
    fn every_variant_survives_its_stored_form() {
        for (name, event) in samples::all() {
            assert_eq!(Event::decode(&event.encode()).unwrap(), event, "{name}");
        }
    }

    #[test]
    fn the_type_in_json_is_the_public_name() {
        for kind in [
            EventKind::Opened,
            EventKind::Updated,
            EventKind::Resolved,
            EventKind::Closed,
            EventKind::Reminder,
            EventKind::Escalated,
            EventKind::Acknowledged,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let error = Event::decode(br#"{"version":2,"shape":"unknown"}"#).unwrap_err();
        assert_eq!(error.to_string(), "version 2, but only 1 is known");
        assert!(matches!(Event::decode(b"{"), Err(Undecodable::Json(_))));
    }
}
