//! Words of the domain as the wire has them.

use std::time::Duration;

use engine::vote::{RowOutcome, VoteRow, VoteTable};
use engine::{heartbeat, monitor};
use model::{Component, Timestamp};
use proto::admin::v1 as wire;
use proto::probe::convert::{duration_to_wire, timestamp_to_wire};

/// An instant. Like every message field, optional on the wire.
pub(super) fn instant(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(timestamp_to_wire(at))
}

/// A span. Like every message field, optional on the wire.
pub(super) fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(duration_to_wire(span))
}

/// A monitor's status.
pub(super) const fn monitor_status(status: monitor::Status) -> wire::MonitorStatus {
    match status {
        monitor::Status::Pending => wire::MonitorStatus::Pending,
        monitor::Status::Up => wire::MonitorStatus::Up,
        monitor::Status::Degraded => wire::MonitorStatus::Degraded,
        monitor::Status::Down => wire::MonitorStatus::Down,
        monitor::Status::Unknown => wire::MonitorStatus::Unknown,
        monitor::Status::Paused => wire::MonitorStatus::Paused,
        monitor::Status::Maintenance => wire::MonitorStatus::Maintenance,
    }
}

/// The word for a phase; none while nothing is being decided.
pub(super) fn phase(phase: monitor::Phase) -> String {
    match phase {
        monitor::Phase::Steady => "",
        monitor::Phase::Verifying => "verifying",
        monitor::Phase::Recovering => "recovering",
    }
    .into()
}

/// A heartbeat's status.
pub(super) const fn heartbeat_status(status: heartbeat::Status) -> wire::HeartbeatStatus {
    match status {
        heartbeat::Status::New => wire::HeartbeatStatus::New,
        heartbeat::Status::Up => wire::HeartbeatStatus::Up,
        heartbeat::Status::Running => wire::HeartbeatStatus::Running,
        heartbeat::Status::Late => wire::HeartbeatStatus::Late,
        heartbeat::Status::Missed => wire::HeartbeatStatus::Missed,
        heartbeat::Status::Unknown => wire::HeartbeatStatus::Unknown,
        heartbeat::Status::Paused => wire::HeartbeatStatus::Paused,
        heartbeat::Status::Maintenance => wire::HeartbeatStatus::Maintenance,
    }
}

/// What a ping says.
pub(super) fn ping_kind(kind: heartbeat::PingKind) -> String {
    match kind {
        heartbeat::PingKind::Success => "success".into(),
        heartbeat::PingKind::Start => "start".into(),
        heartbeat::PingKind::Fail => "fail".into(),
        heartbeat::PingKind::Exit(code) => format!("exit:{code}"),
        heartbeat::PingKind::Log => "log".into(),
    }
}

/// A vote table.
pub(super) fn vote_table(table: &VoteTable) -> wire::VoteTable {
    wire::VoteTable {
        at: instant(table.at),
        policy: table.policy.clone(),
        arithmetic: table.arithmetic.clone(),
        votes: table.rows.iter().map(vote).collect(),
    }
}

/// A row of a vote table. A region that has not voted has no outcome.
pub(super) fn vote(row: &VoteRow) -> wire::Vote {
    let outcome = match row.outcome {
        RowOutcome::Pass => "pass",
        RowOutcome::Fail => "fail",
        RowOutcome::Error => "error",
        RowOutcome::None => "",
    };
    wire::Vote {
        region: row.region.to_string(),
        agent_id: row.agent.map(|agent| agent.to_string()).unwrap_or_default(),
        outcome: outcome.into(),
        detail: row.detail.clone(),
        started_at: row.started_at.and_then(instant),
        duration: row.duration.and_then(span),
        counted: row.counted,
        reason: row.reason.clone(),
        failing_components: row.failing.iter().map(component).collect(),
    }
}

/// A component that a health report names as failing.
pub(super) fn component(component: &Component) -> wire::FailingComponent {
    wire::FailingComponent {
        name: component.name.clone(),
        detail: component.detail.clone().unwrap_or_default(),
    }
}
