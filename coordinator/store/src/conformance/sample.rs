//! Rows to write. Equal arguments make equal rows; different numbers make different keys.

use std::time::Duration;

use model::{
    AgentId, ChannelId, DeliveryId, EventId, HeartbeatId, IncidentId, InstallationId, KeyId, MaintenanceId,
    MonitorId, PageId, PolicyId, RegionId, RunId, Secret, Shard, SilenceId, SubjectId, Timestamp,
};

use crate::records::DEFAULT_WORKSPACE;
use crate::{
    AgentRow, AgentSeen, AttemptRow, AttemptTiming, BadgeRow, CaptureRow, CaptureVerdict, ChannelRow, Commit,
    DeliveryRow, EventRow, IncidentRow, IncidentState, JoinRow, JournalRow, KeyRow, Lease, MaintenanceRow,
    MemberRow, PageRow, PingKeyRow, PolicyRow, Position, RegionRow, RunRow, SilenceRow, SnapshotRow,
    StateRow, SubjectRow, TimelineRow,
};

pub(crate) fn installation() -> InstallationId {
    InstallationId::from_bytes([9; 16])
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_123 + second * 1_000_000)
}

fn id(kind: u8, number: u32) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn monitor(number: u32) -> SubjectId {
    SubjectId::Monitor(MonitorId::from_bytes(id(1, number)))
}

pub(crate) fn heartbeat(number: u32) -> SubjectId {
    SubjectId::Heartbeat(HeartbeatId::from_bytes(id(2, number)))
}

pub(crate) fn incident_id(number: u32) -> IncidentId {
    IncidentId::from_bytes(id(3, number))
}

pub(crate) fn agent_id(number: u32) -> AgentId {
    AgentId::from_bytes(id(4, number))
}

pub(crate) fn channel_id(number: u32) -> ChannelId {
    ChannelId::from_bytes(id(5, number))
}

pub(crate) fn region_id(number: u32) -> RegionId {
    RegionId::new(&format!("region-{number}")).unwrap()
}

/// A commit under a lease, with nothing in it.
pub(crate) fn commit(lease: &Lease) -> Commit {
    Commit {
        coordinator: lease.coordinator.clone(),
        generation: lease.generation,
        now: at(1),
        ..Commit::default()
    }
}

/// A commit of one journal row, committed at the second of its position.
pub(crate) fn journal_commit(lease: &Lease, position: Position) -> Commit {
    Commit { journal: Some(journal(position)), ..commit(lease) }
}

pub(crate) fn journal(position: Position) -> JournalRow {
    let at = at(i64::try_from(position).unwrap());
    JournalRow { position, at, blob: position.to_be_bytes().repeat(3) }
}

pub(crate) fn subject(id: SubjectId, name: &str) -> SubjectRow {
    SubjectRow {
        id,
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        definition: r#"{"url":"https://example.com/?a=\"b\""}"#.into(),
        revision: 3,
        created_at: at(-10),
        updated_at: at(-5),
    }
}

pub(crate) fn state(subject: SubjectId, position: Position) -> StateRow {
    StateRow { subject, position, state: format!(r#"{{"since":{position}}}"#) }
}

pub(crate) fn incident(number: u32, subject: SubjectId, state: IncidentState) -> IncidentRow {
    let opened = i64::from(number);
    IncidentRow {
        id: incident_id(number),
        subject,
        workspace: DEFAULT_WORKSPACE.into(),
        number,
        state,
        started_at: at(opened - 2),
        opened_at: at(opened),
        resolved_at: (state != IncidentState::Open).then(|| at(opened + 60)),
        alert_due_at: None,
        body: r#"{"votes":[]}"#.into(),
    }
}

pub(crate) fn line(incident: IncidentId, ordinal: u32) -> TimelineRow {
    TimelineRow { incident, ordinal, at: at(i64::from(ordinal)), text: format!("line {ordinal}") }
}

/// A member that joined at the second of its number.
pub(crate) fn member(incident: IncidentId, subject: SubjectId, joined: i64) -> MemberRow {
    MemberRow {
        incident,
        subject,
        name: format!("member {subject}"),
        cause: "timeout after 10 s".into(),
        joined_at: at(joined),
        left_at: None,
    }
}

/// A capture of a failing check at the second of its period.
pub(crate) fn capture(incident: IncidentId, region: &str, period: Option<u32>) -> CaptureRow {
    CaptureRow {
        incident,
        region: region.parse().unwrap(),
        verdict: CaptureVerdict::Fail,
        period,
        at: at(period.map_or(100, i64::from)),
        body: format!(r#"{{"period":{period:?},"body":"50 %\n\"é\""}}"#),
    }
}

pub(crate) fn heartbeat_id(number: u32) -> HeartbeatId {
    HeartbeatId::from_bytes(id(2, number))
}

/// A run under way since a second; even seconds have an id of the job's own.
pub(crate) fn run(heartbeat: u32, second: i64) -> RunRow {
    RunRow {
        heartbeat: heartbeat_id(heartbeat),
        at: at(second),
        run: (second % 2 == 0).then_some(RunId::from_bytes([u8::try_from(second % 256).unwrap(); 16])),
        ended_at: None,
        body: r#"{"outcome":null,"é":"\"50 %\""}"#.into(),
        log: vec![],
    }
}

pub(crate) fn event(incident: &IncidentRow, transition: u32) -> EventRow {
    EventRow {
        id: EventId::derive(incident.id, transition),
        incident: incident.id,
        subject: incident.subject,
        transition,
        at: at(i64::from(transition)),
        body: r#"{"type":"incident.opened"}"#.into(),
        channels: vec![channel_id(1), channel_id(2)],
    }
}

pub(crate) fn delivery(event: &EventRow, channel: ChannelId) -> DeliveryRow {
    let id = DeliveryId::derive(installation(), event.id, channel);
    DeliveryRow::owed(id, event, channel, event.at)
}

pub(crate) fn attempt(delivery: DeliveryId, number: u32) -> AttemptRow {
    AttemptRow {
        delivery,
        number,
        started_at: at(i64::from(number)),
        duration: Duration::from_micros(123_456),
        status: number.is_multiple_of(2).then_some(503),
        detail: "connection refused".into(),
        answer: vec![0, 1, 254, 255],
        timing: AttemptTiming { connect_us: Some(77), ..AttemptTiming::default() },
    }
}

pub(crate) fn snapshot(shard: u16, position: Position) -> SnapshotRow {
    let body = (0..=255).chain([0, 0]).collect();
    SnapshotRow { shard: Shard::new(shard).unwrap(), position, version: 1, body }
}

pub(crate) fn seen(agent: u32, epoch: u64, position: Position) -> AgentSeen {
    AgentSeen { agent: agent_id(agent), epoch, position, ranges: format!("[[1,{position}]]") }
}

pub(crate) fn region(number: u32) -> RegionRow {
    RegionRow { id: region_id(number), display_name: format!("Region {number}"), created_at: at(2) }
}

pub(crate) fn agent(number: u32, name: &str) -> AgentRow {
    AgentRow {
        id: agent_id(number),
        name: name.into(),
        region: region_id(number),
        secret_digest: [u8::try_from(number).unwrap(); 32],
        epoch: 5,
        process_nonce: number.is_multiple_of(2).then_some([8; 16]),
        created_at: at(3),
        join: number.is_multiple_of(2).then_some(JoinRow {
            digest: [9; 32],
            expires_at: at(900),
            joined_at: None,
        }),
    }
}

pub(crate) fn channel(number: u32, name: &str) -> ChannelRow {
    ChannelRow {
        id: channel_id(number),
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        settings: Secret::new(r#"{"url":"https://hooks.example.com/secret"}"#.into()),
        revision: 1,
        created_at: at(4),
        updated_at: at(5),
    }
}

pub(crate) fn page(number: u32, name: &str, slug: &str) -> PageRow {
    PageRow {
        id: PageId::from_bytes(id(6, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        slug: slug.into(),
        components: vec![monitor(2), heartbeat(1), monitor(1)],
        created_at: at(6),
    }
}

pub(crate) fn maintenance(number: u32, name: &str) -> MaintenanceRow {
    MaintenanceRow {
        id: MaintenanceId::from_bytes(id(8, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        definition: r#"{"description":"Größeres"}"#.into(),
        revision: 1,
        created_at: at(8),
        updated_at: at(9),
    }
}

pub(crate) fn policy(number: u32, name: &str) -> PolicyRow {
    PolicyRow {
        id: PolicyId::from_bytes(id(9, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        definition: r#"{"tags":["größer"]}"#.into(),
        revision: 1,
        created_at: at(8),
        updated_at: at(9),
    }
}

/// A silence from the 10th second on.
pub(crate) fn silence(number: u32, expires: i64) -> SilenceRow {
    SilenceRow {
        id: SilenceId::from_bytes(id(10, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        definition: r#"{"reason":"Umzug"}"#.into(),
        created_at: at(10),
        expires_at: at(expires),
    }
}

pub(crate) fn key(number: u32) -> KeyRow {
    KeyRow {
        id: KeyId::from_bytes(id(7, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        name: "deploy".into(),
        digest: [u8::try_from(number).unwrap(); 32],
        created_at: at(7),
    }
}

pub(crate) fn ping_key(number: u32, name: &str) -> PingKeyRow {
    PingKeyRow {
        id: KeyId::from_bytes(id(9, number)),
        workspace: DEFAULT_WORKSPACE.into(),
        name: name.into(),
        digest: [u8::try_from(number).unwrap(); 32],
        created_at: at(9),
    }
}

pub(crate) fn badge(id: &str, subject: SubjectId) -> BadgeRow {
    BadgeRow { id: id.into(), workspace: DEFAULT_WORKSPACE.into(), subject, created_at: at(10) }
}
