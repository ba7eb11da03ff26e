//! What users configured: monitors and heartbeats, as stored and as the engine's policies.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use engine::heartbeat::RunLimits;
use engine::schedule::{Schedule, WorkingHours};
use engine::{alert, heartbeat, monitor, quorum};
use model::{ChannelId, CheckSpec, HeartbeatId, MonitorId, RegionId, SubjectId, Tag, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use store::records::DEFAULT_WORKSPACE;
use store::{SubjectKind, SubjectRow};

use crate::ping;

/// A monitor or a heartbeat with what all definitions have.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Which.
    pub id: SubjectId,
    /// Unique among its kind.
    pub name: String,
    /// Rises with every change; the etag.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What is particular to its kind.
    pub kind: Kind,
}

/// What is particular to a kind of subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An active check.
    Monitor(Arc<MonitorDefinition>),
    /// A passive one.
    Heartbeat(Arc<HeartbeatDefinition>),
}

/// A monitor's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorDefinition {
    /// What to check, how often, how long to wait.
    pub spec: CheckSpec,
    /// From where; sorted, unique, not empty.
    pub regions: Vec<RegionId>,
    /// Which regions must agree; stored as its text.
    pub quorum: quorum::Policy,
    /// How long they must agree before an incident opens.
    pub confirmation_period: Duration,
    /// Rounds that must pass before it is resolved.
    pub recovery_checks: u32,
    /// How much more evidence a decision needs than is usual.
    #[serde(default)]
    pub thresholds: monitor::Thresholds,
    /// Monitors without which this one cannot work; sorted, unique.
    #[serde(default)]
    pub depends_on: Vec<MonitorId>,
    /// Who is notified.
    pub channels: Vec<ChannelId>,
    /// When, and how often.
    #[serde(default, skip_serializing_if = "alert::Options::is_default")]
    pub alert: alert::Options,
    /// By which it is grouped; sorted, unique.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Not checked while set.
    pub paused: bool,
    /// Rises when target, interval, timeout or regions change.
    pub spec_revision: u64,
}

/// A heartbeat's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatDefinition {
    /// When a ping is expected.
    #[serde(alias = "interval")]
    pub schedule: Schedule,
    /// How late it may be.
    pub grace: Duration,
    /// What else is expected of the job.
    #[serde(default)]
    pub timing: Timing,
    /// Who is notified.
    pub channels: Vec<ChannelId>,
    /// When, and how often.
    #[serde(default, skip_serializing_if = "alert::Options::is_default")]
    pub alert: alert::Options,
    /// By which it is grouped; sorted, unique.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Not expected while set.
    pub paused: bool,
    /// SHA-256 of the token in the ping URL.
    pub token_digest: [u8; 32],
    /// How its pings are read.
    #[serde(default)]
    pub pings: ping::Options,
}

/// What is expected of a heartbeat besides pings in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// How early a ping may be and still count; `None`: the default. Of calendars only.
    pub early: Option<Duration>,
    /// The time that counts. Of intervals only.
    pub working_hours: Option<Arc<WorkingHours>>,
    /// What is expected of runs.
    pub runs: RunLimits,
}

/// A stored definition that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {id} cannot be read: {problem}")]
pub struct Unreadable {
    id: SubjectId,
    problem: serde_json::Error,
}

impl Definition {
    /// Reads a stored definition.
    ///
    /// # Errors
    /// When the stored JSON is not one.
    pub fn from_row(row: &SubjectRow) -> Result<Self, Unreadable> {
        let unreadable = |problem| Unreadable { id: row.id, problem };
        let kind = match row.id {
            SubjectId::Monitor(_) => {
                Kind::Monitor(serde_json::from_str(&row.definition).map_err(unreadable)?)
            }
            SubjectId::Agent(_) | SubjectId::Installation(_) => {
                return Err(unreadable(serde_json::Error::custom("it is neither a monitor nor a heartbeat")));
            }
            SubjectId::Heartbeat(_) => {
                Kind::Heartbeat(serde_json::from_str(&row.definition).map_err(unreadable)?)
            }
        };
        Ok(Self {
            id: row.id,
            name: row.name.clone(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
            kind,
        })
    }

    /// The definition as it is stored.
    #[must_use]
    pub fn to_row(&self) -> SubjectRow {
        let definition = match &self.kind {
            Kind::Monitor(monitor) => serde_json::to_string(monitor),
            Kind::Heartbeat(heartbeat) => serde_json::to_string(heartbeat),
        };
        SubjectRow {
            id: self.id,
            workspace: DEFAULT_WORKSPACE.into(),
            name: self.name.clone(),
            definition: definition.expect("definitions have only text keys"),
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Which kind of subject it defines.
    #[must_use]
    pub const fn to_kind(&self) -> SubjectKind {
        match self.kind {
            Kind::Monitor(_) => SubjectKind::Monitor,
            Kind::Heartbeat(_) => SubjectKind::Heartbeat,
        }
    }

    /// The monitor's part, if it is one.
    #[must_use]
    pub fn monitor(&self) -> Option<(MonitorId, &Arc<MonitorDefinition>)> {
        match (&self.kind, self.id) {
            (Kind::Monitor(monitor), SubjectId::Monitor(id)) => Some((id, monitor)),
            _ => None,
        }
    }

    /// The heartbeat's part, if it is one.
    #[must_use]
    pub fn heartbeat(&self) -> Option<(HeartbeatId, &Arc<HeartbeatDefinition>)> {
        match (&self.kind, self.id) {
            (Kind::Heartbeat(heartbeat), SubjectId::Heartbeat(id)) => Some((id, heartbeat)),
            _ => None,
        }
    }

    /// The word by which a heartbeat is pinged in `/ping/{key}/{slug}`: its own or, lacking one, that of its name.
    #[must_use]
    pub fn slug(&self) -> Option<Cow<'_, str>> {
        let (_, heartbeat) = self.heartbeat()?;
        match &heartbeat.pings.slug {
            Some(slug) => Some(Cow::Borrowed(slug)),
            None => ping::slug_of(&self.name).map(Cow::Owned),
        }
    }

    /// Whether the user paused it.
    #[must_use]
    pub fn paused(&self) -> bool {
        match &self.kind {
            Kind::Monitor(monitor) => monitor.paused,
            Kind::Heartbeat(heartbeat) => heartbeat.paused,
        }
    }

    /// By which it is grouped.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        match &self.kind {
            Kind::Monitor(monitor) => &monitor.tags,
            Kind::Heartbeat(heartbeat) => &heartbeat.tags,
        }
    }

    /// How they are notified.
    #[must_use]
    pub fn alert(&self) -> &alert::Options {
        match &self.kind {
            Kind::Monitor(monitor) => &monitor.alert,
            Kind::Heartbeat(heartbeat) => &heartbeat.alert,
        }
    }

    /// Who is notified.
    #[must_use]
    pub fn channels(&self) -> &[ChannelId] {
        match &self.kind {
            Kind::Monitor(monitor) => &monitor.channels,
            Kind::Heartbeat(heartbeat) => &heartbeat.channels,
        }
    }
}

impl MonitorDefinition {
    /// The part on which the engine decides.
    #[must_use]
    pub fn policy(&self) -> monitor::Policy {
        monitor::Policy {
            regions: self.regions.clone(),
            quorum: self.quorum.over(&self.regions),
            interval: self.spec.interval,
            timeout: self.spec.timeout,
            confirmation_period: self.confirmation_period,
            recovery_checks: self.recovery_checks,
            thresholds: self.thresholds,
            has_parents: !self.depends_on.is_empty(),
            spec_revision: self.spec_revision,
        }
    }

    /// Whether the agents must do something else than before.
    #[must_use]
    pub fn respecifies(&self, before: &Self) -> bool {
        self.spec != before.spec || self.regions != before.regions
    }
}

impl HeartbeatDefinition {
    /// The part on which the engine decides.
    #[must_use]
    pub fn policy(&self) -> heartbeat::Policy {
        heartbeat::Policy {
            schedule: self.schedule.clone(),
            grace: self.grace,
            early: self.timing.early,
            working_hours: self.timing.working_hours.clone(),
            runs: self.timing.runs,
        }
    }
}
