//! An incident as it is stored: the row's JSON body, and the public events made from it.

use engine::alert::{self, Severity};
use engine::effect::{CloseReason, Evidence, HeartbeatEvidence, HeartbeatFailure, Opening};
use engine::vote::{RowOutcome, VoteTable};
use model::{Component, EventId, IncidentId, InstallationId, RegionId, SubjectId, Timestamp};
use serde::{Deserialize, Serialize};
use store::records::DEFAULT_WORKSPACE;
use store::{IncidentRow, IncidentState};

use crate::definition::{Definition, Kind};
use crate::notify::event::{
    ClosedReason, Event, EventAcknowledgement, EventComponent, EventFailure, EventIncident, EventKind,
    EventOutcome, EventRegion, EventSubject, EventVote, EventVotes,
};

/// One outage of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Derived from installation, subject and number.
    pub id: IncidentId,
    /// Whose.
    pub subject: SubjectId,
    /// The subject's how-manieth.
    pub number: u32,
    /// Open or how it ended.
    pub state: IncidentState,
    /// First failing vote, or the instant the ping was due.
    pub started_at: Timestamp,
    /// When it was confirmed.
    pub opened_at: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// The rest.
    pub body: Body,
}

/// What is known of an incident besides its instants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// The subject's name when it opened.
    pub subject_name: String,
    /// Why it opened, in one line.
    pub cause: String,
    /// What opened it.
    pub opening: Evidence,
    /// What closed it.
    pub closing: Option<Evidence>,
    /// Why it ended without recovery.
    pub closed_reason: Option<CloseReason>,
    /// Components that the target's health reports name as failing.
    pub failing: Vec<Component>,
    /// Events made so far: the next one's transition.
    pub events: u32,
    /// Timeline lines written so far: the next one's ordinal.
    pub lines: u32,
    /// When it was last told of, if others may join it.
    #[serde(default)]
    pub told_at: Option<Timestamp>,
    /// How many that joined it have been told of.
    #[serde(default)]
    pub members_told: u32,
    /// When the last of its group was well again, if that was after itself.
    #[serde(default)]
    pub group_ended_at: Option<Timestamp>,
    /// The incident whose group it belongs to.
    #[serde(default)]
    pub lead: Option<IncidentId>,
    /// Who has been told of it and who is to be; `None`: nobody is told of it by itself, or of anything more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<alert::State>,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// What it is about, if it is over and somebody has yet to be told: its subject may be gone by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<EventSubject>,
}

/// That somebody takes care of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Since when.
    pub at: Timestamp,
    /// Who, in their own words.
    pub by: String,
    /// What they know of it; may be empty.
    pub reason: String,
}

/// What an event tells besides how the incident stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// Of a reminder: which.
    pub reminder: Option<u32>,
    /// Of an escalation: which step.
    pub escalation_step: Option<u32>,
    /// Where a person acknowledges it.
    pub acknowledge_url: Option<String>,
}

/// How regions are called by people.
pub trait RegionNames {
    /// The display name of a region.
    fn name(&self, region: &RegionId) -> String;
}

impl Incident {
    /// The incident that an opening begins.
    #[must_use]
    pub fn open(installation: InstallationId, definition: &Definition, opening: &Opening) -> Self {
        Self::begin(installation, definition.id, definition.name.clone(), opening)
    }

    /// The incident that an opening begins, of a subject with this name.
    #[must_use]
    pub fn begin(
        installation: InstallationId,
        subject: SubjectId,
        subject_name: String,
        opening: &Opening,
    ) -> Self {
        let failing = match &opening.evidence {
            Evidence::Votes(table) => failing_components(table),
            Evidence::Heartbeat(_) | Evidence::Probe(_) | Evidence::Coverage(_) => vec![],
        };
        Self {
            id: IncidentId::derive(installation, subject.as_bytes(), opening.number),
            subject,
            number: opening.number,
            state: IncidentState::Open,
            started_at: opening.started_at,
            opened_at: opening.opened_at,
            resolved_at: None,
            body: Body {
                subject_name,
                cause: opening.cause.clone(),
                opening: opening.evidence.clone(),
                closing: None,
                closed_reason: None,
                failing,
                events: 0,
                lines: 0,
                told_at: None,
                members_told: 0,
                group_ended_at: None,
                lead: None,
                alert: None,
                acknowledged: None,
                about: None,
            },
        }
    }

    /// Reads a stored incident; `None` when its body cannot be read.
    #[must_use]
    pub fn from_row(row: &IncidentRow) -> Option<Self> {
        Some(Self {
            id: row.id,
            subject: row.subject,
            number: row.number,
            state: row.state,
            started_at: row.started_at,
            opened_at: row.opened_at,
            resolved_at: row.resolved_at,
            body: serde_json::from_str(&row.body).ok()?,
        })
    }

    /// The incident as it is stored.
    #[must_use]
    pub fn to_row(&self) -> IncidentRow {
        IncidentRow {
            id: self.id,
            subject: self.subject,
            workspace: DEFAULT_WORKSPACE.into(),
            number: self.number,
            state: self.state,
            started_at: self.started_at,
            opened_at: self.opened_at,
            resolved_at: self.resolved_at,
            alert_due_at: self.body.alert.as_ref().and_then(alert::State::due_at),
            body: serde_json::to_string(&self.body).expect("bodies have only text keys"),
        }
    }

    /// The next line's place in the timeline.
    pub fn next_line(&mut self) -> u32 {
        let line = self.body.lines;
        self.body.lines += 1;
        line
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match &self.body.opening {
            Evidence::Votes(_) | Evidence::Heartbeat(_) => Severity::Critical,
            Evidence::Probe(_) | Evidence::Coverage(_) => Severity::Warning,
        }
    }

    /// The public event that tells of the incident as it stands now.
    ///
    /// `members` are the names of those who failed together with it.
    pub fn event(
        &mut self,
        about: EventSubject,
        members: Vec<String>,
        telling: Telling,
        names: &dyn RegionNames,
    ) -> Event {
        let transition = self.body.events;
        self.body.events += 1;
        let region = |id: &RegionId| EventRegion { id: id.clone(), name: names.name(id) };
        let opening_votes = votes_of(&self.body.opening);
        let latest_votes = votes_of(self.body.closing.as_ref().unwrap_or(&self.body.opening));
        let regions = match &self.body.opening {
            Evidence::Votes(table) => failing_regions(table).map(region).collect(),
            Evidence::Coverage(coverage) => coverage.offline.keys().map(region).collect(),
            Evidence::Heartbeat(_) | Evidence::Probe(_) => vec![],
        };
        Event {
            version: Event::VERSION,
            id: EventId::derive(self.id, transition),
            kind: telling.kind,
            occurred_at: telling.at,
            incident: EventIncident {
                id: self.id,
                number: self.number,
                failure: self.failure(),
                cause: self.body.cause.clone(),
                started_at: self.started_at,
                opened_at: self.opened_at,
                resolved_at: self.body.group_ended_at.or(self.resolved_at),
                closed_reason: self.body.closed_reason.map(|reason| match reason {
                    CloseReason::Paused => ClosedReason::Paused,
                    CloseReason::Deleted => ClosedReason::Deleted,
                }),
                acknowledged: self.body.acknowledged.as_ref().map(|it| EventAcknowledgement {
                    at: it.at,
                    by: it.by.clone(),
                    reason: it.reason.clone(),
                }),
            },
            subject: about,
            members,
            status: opening_votes.and_then(common_detail),
            regions,
            failing_components: self.body.failing.iter().map(component).collect(),
            last_ping_at: self.heartbeat_evidence().and_then(|evidence| evidence.last_ping_at),
            votes: latest_votes.map(|table| votes(table, &region)),
            reminder: telling.reminder,
            escalation_step: telling.escalation_step,
            acknowledge_url: telling.acknowledge_url,
        }
    }

    fn failure(&self) -> EventFailure {
        match &self.body.opening {
            Evidence::Votes(_) => EventFailure::Down,
            Evidence::Heartbeat(evidence) => match evidence.kind {
                HeartbeatFailure::Missed => EventFailure::Missed,
                HeartbeatFailure::Failed { exit_code } => EventFailure::Failed { exit_code },
                HeartbeatFailure::NeverStarted => EventFailure::NeverStarted,
                HeartbeatFailure::RanTooLong { started_at, max_runtime } => {
                    EventFailure::RanTooLong { started_at, max_runtime }
                }
                HeartbeatFailure::Silent { started_at, heard_at } => {
                    EventFailure::Silent { started_at, heard_at }
                }
            },
            Evidence::Probe(_) => EventFailure::Quarantined,
            Evidence::Coverage(_) => EventFailure::Uncovered,
        }
    }

    const fn heartbeat_evidence(&self) -> Option<&HeartbeatEvidence> {
        match &self.body.opening {
            Evidence::Heartbeat(evidence) => Some(evidence),
            Evidence::Votes(_) | Evidence::Probe(_) | Evidence::Coverage(_) => None,
        }
    }
}

/// What an incident of this subject is about.
#[must_use]
pub fn about(definition: &Definition) -> EventSubject {
    let name = definition.name.clone();
    match (&definition.kind, definition.id) {
        (Kind::Monitor(monitor), SubjectId::Monitor(id)) => EventSubject::Monitor {
            id,
            name,
            url: monitor.spec.check.target(),
            interval: monitor.spec.interval,
        },
        (Kind::Heartbeat(heartbeat), SubjectId::Heartbeat(id)) => EventSubject::Heartbeat {
            id,
            name,
            interval: heartbeat.schedule.interval(),
            calendar: heartbeat.schedule.calendar().map(ToString::to_string),
            grace: heartbeat.grace,
        },
        (Kind::Monitor(_) | Kind::Heartbeat(_), _) => {
            unreachable!("a definition's kind is that of its id")
        }
    }
}

fn votes_of(evidence: &Evidence) -> Option<&VoteTable> {
    match evidence {
        Evidence::Votes(table) => Some(table),
        Evidence::Heartbeat(_) | Evidence::Probe(_) | Evidence::Coverage(_) => None,
    }
}

/// The regions whose failing votes counted.
fn failing_regions(table: &VoteTable) -> impl Iterator<Item = &RegionId> {
    table.rows.iter().filter(|row| row.counted && row.outcome == RowOutcome::Fail).map(|row| &row.region)
}

/// What most of the counted failing votes say; the first of equals.
fn common_detail(table: &VoteTable) -> Option<String> {
    let details: Vec<&str> = table
        .rows
        .iter()
        .filter(|row| row.counted && row.outcome == RowOutcome::Fail)
        .map(|row| row.detail.as_str())
        .collect();
    let count = |detail: &str| details.iter().filter(|other| **other == detail).count();
    let most = details.iter().map(|detail| count(detail)).max()?;
    details.iter().find(|detail| count(detail) == most).map(|detail| (*detail).to_owned())
}

/// Every component that some counted failing vote names, once.
fn failing_components(table: &VoteTable) -> Vec<Component> {
    let mut components: Vec<Component> = vec![];
    for row in table.rows.iter().filter(|row| row.counted && row.outcome == RowOutcome::Fail) {
        for component in &row.failing {
            if !components.iter().any(|known| known.name == component.name) {
                components.push(component.clone());
            }
        }
    }
    components
}

fn component(component: &Component) -> EventComponent {
    EventComponent { name: component.name.clone(), detail: component.detail.clone() }
}

fn votes(table: &VoteTable, region: &dyn Fn(&RegionId) -> EventRegion) -> EventVotes {
    EventVotes {
        at: table.at,
        policy: table.policy.clone(),
        arithmetic: table.arithmetic.clone(),
        rows: table
            .rows
            .iter()
            .map(|row| EventVote {
                region: region(&row.region),
                outcome: match row.outcome {
                    RowOutcome::Pass => EventOutcome::Pass,
                    RowOutcome::Fail => EventOutcome::Fail,
                    RowOutcome::Error => EventOutcome::Error,
                    RowOutcome::None => EventOutcome::None,
                },
                detail: row.detail.clone(),
                started_at: row.started_at,
                counted: row.counted,
                reason: row.reason.clone(),
            })
            .collect(),
    }
}
