//! The journal: what was heard, in the order in which it was committed.
//!
//! One row per commit; its blob holds the commit's records. It is replayed after a restart (votes, streaks and last
//! pings only) and is read for single results until history has its lasting form.

use model::{AgentId, CheckResult, HeartbeatId, MonitorId, RegionId, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A place in the journal. Rises with every commit; 0 is before the first.
pub type Position = u64;

/// One commit's journal row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Where it stands.
    pub position: Position,
    /// When it was committed.
    pub at: Timestamp,
    /// [`encode`]d records.
    pub blob: Vec<u8>,
}

/// One thing that was heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A check's result.
    Result {
        /// The agent that reported it.
        agent: AgentId,
        /// The agent process's epoch.
        agent_epoch: u64,
        /// Its sequence number in that epoch.
        seq: u64,
        /// When the coordinator received it.
        received_at: Timestamp,
        /// What it says.
        result: Box<CheckResult>,
    },
    /// A heartbeat's ping, as it was written before pings told of runs.
    Ping {
        /// The heartbeat.
        heartbeat: HeartbeatId,
        /// What the ping says.
        kind: engine::heartbeat::PingKind,
        /// When it was received.
        at: Timestamp,
        /// Its HTTP method.
        method: PingMethod,
        /// What was kept of its body.
        body: Vec<u8>,
    },
    /// A sequence number of an agent that was refused and acked, so that it is not taken for missing.
    Refused {
        /// The agent.
        agent: AgentId,
        /// The agent process's epoch.
        agent_epoch: u64,
        /// The sequence number.
        seq: u64,
    },
    /// A result of an earlier boot of the agent's machine: history that was never a vote.
    LateResult {
        /// The agent that reported it.
        agent: AgentId,
        /// The agent process's epoch.
        agent_epoch: u64,
        /// Its sequence number in that epoch.
        seq: u64,
        /// When the coordinator received it.
        received_at: Timestamp,
        /// What it says.
        result: Box<CheckResult>,
    },
    /// What else a monitor was told. Nothing is restored from it: it is for replays of other policies.
    Told {
        /// The monitor.
        monitor: MonitorId,
        /// What.
        what: Told,
    },
    /// A region's agents came or went. For replays, as the next.
    RegionLive {
        /// The region.
        region: RegionId,
        /// Whether one of them was there.
        live: bool,
    },
    /// Nothing could be heard in a span that ended with this commit.
    Blind {
        /// When it began.
        from: Timestamp,
        /// When it ended.
        to: Timestamp,
        /// Whether the coordinator was started at its end, so that no region was live.
        restarted: bool,
    },
    /// A heartbeat's ping.
    Heard(HeardPing),
}

/// A heartbeat's ping as it was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardPing {
    /// The heartbeat.
    pub heartbeat: HeartbeatId,
    /// What the ping says.
    pub kind: engine::heartbeat::PingKind,
    /// When it was received.
    pub at: Timestamp,
    /// Of which run, if the job tells its runs apart.
    pub run: Option<RunId>,
    /// Its HTTP method.
    pub method: PingMethod,
    /// What was kept of its body.
    pub body: Vec<u8>,
    /// How many bytes of its body were not.
    pub left_out: u64,
    /// What the client called itself.
    pub user_agent: String,
    /// Whether the heartbeat's options say that it counts for nothing.
    pub is_ignored: bool,
}

impl HeardPing {
    /// A bare ping: by GET, without a body, of no run in particular.
    #[must_use]
    pub const fn new(heartbeat: HeartbeatId, kind: engine::heartbeat::PingKind, at: Timestamp) -> Self {
        Self {
            heartbeat,
            kind,
            at,
            run: None,
            method: PingMethod::Get,
            body: vec![],
            left_out: 0,
            user_agent: String::new(),
            is_ignored: false,
        }
    }
}

/// What a monitor can be told besides results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A scheduled check takes long.
    Slow {
        /// From where.
        region: RegionId,
        /// When it started.
        started_at: Timestamp,
    },
    /// The user changed it; whether earlier results say nothing any more.
    PolicyChanged {
        /// Whether target, interval, timeout or regions changed.
        respec: bool,
    },
    /// The user paused it.
    Paused,
    /// The user resumed it.
    Resumed,
    /// How the monitors that it depends on stand from now on.
    Parents(engine::monitor::Standing),
    /// A monitor that depends on it may be failing.
    Asked,
    /// An agent's votes do not count, from checks on that started at `since`.
    Quarantined {
        /// The agent.
        agent: AgentId,
        /// What people call it.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// An agent's votes count again.
    Released {
        /// The agent.
        agent: AgentId,
    },
    /// A window in which nothing is judged has begun.
    MaintenanceStarted {
        /// When.
        at: Timestamp,
    },
    /// It is over.
    MaintenanceEnded,
}

/// The methods a ping may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "RFC 9110 says what they mean")]
pub enum PingMethod {
    Head,
    Get,
    Post,
}

/// The first byte of a blob: the form of what follows.
const VERSION: u8 = 1;

/// A commit's records as one blob.
#[must_use]
pub fn encode(records: &[Record]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(64 * records.len() + 1);
    blob.push(VERSION);
    postcard::to_extend(records, blob).expect("records hold nothing that postcard cannot write")
}

/// The records of a blob.
///
/// # Errors
/// [`Error::Corrupt`] when the blob is of an unknown version or cut short.
pub fn decode(blob: &[u8]) -> Result<Vec<Record>, Error> {
    match blob.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| Error::Corrupt(format!("a journal row: {error}")))
        }
        Some((version, _)) => Err(Error::Corrupt(format!("a journal row of unknown version {version}"))),
        None => Err(Error::Corrupt("an empty journal row".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Failure, FailureKind, Outcome, Phases};

    use super::*;

    fn records() -> Vec<Record> {
        let agent = AgentId::from_bytes([1; 16]);
        let at = Timestamp::from_micros(1_800_000_000_000_001);
        let result = CheckResult {
            monitor: MonitorId::from_bytes([2; 16]),
            spec_revision: 3,
            region: RegionId::new("eu-west").unwrap(),
            slot: -1,
            attempt: 1,
            round: 4,
            started_at: at,
            duration: Duration::from_micros(12_345),
            outcome: Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")),
            phases: Phases { connect: Some(Duration::from_micros(7)), ..Phases::default() },
            http_status: Some(503),
            peer: Some("192.0.2.1".parse().unwrap()),
            health: None,
        };
        let late = Box::new(result.clone());
        let monitor = result.monitor;
        let region = result.region.clone();
        vec![
            Record::Result {
                agent,
                agent_epoch: 5,
                seq: u64::MAX,
                received_at: at,
                result: Box::new(result),
            },
            Record::Ping {
                heartbeat: HeartbeatId::from_bytes([6; 16]),
                kind: engine::heartbeat::PingKind::Exit(3),
                at,
                method: PingMethod::Post,
                body: vec![0, 255],
            },
            Record::Refused { agent, agent_epoch: 5, seq: 9 },
            Record::LateResult { agent, agent_epoch: 5, seq: 10, received_at: at, result: late },
            Record::Told { monitor, what: Told::Slow { region: region.clone(), started_at: at } },
            Record::Told { monitor, what: Told::PolicyChanged { respec: true } },
            Record::Told { monitor, what: Told::Paused },
            Record::Told { monitor, what: Told::Resumed },
            Record::Told { monitor, what: Told::Parents(engine::monitor::Standing::Well) },
            Record::Told { monitor, what: Told::Asked },
            Record::Told { monitor, what: Told::Quarantined { agent, name: "probe-1".into(), since: at } },
            Record::Told { monitor, what: Told::Released { agent } },
            Record::Told { monitor, what: Told::MaintenanceStarted { at } },
            Record::Told { monitor, what: Told::MaintenanceEnded },
            Record::RegionLive { region, live: true },
            Record::Blind { from: at, to: at, restarted: true },
            Record::Heard(HeardPing {
                run: Some(RunId::from_bytes([7; 16])),
                left_out: 9,
                user_agent: "curl".into(),
                is_ignored: true,
                ..HeardPing::new(HeartbeatId::from_bytes([6; 16]), engine::heartbeat::PingKind::Log, at)
            }),
        ]
    }

    #[test]
    fn records_come_back_as_they_were() {
        assert_eq!(decode(&encode(&records())).unwrap(), records());
        assert_eq!(decode(&encode(&[])).unwrap(), []);
    }

    #[test]
    fn what_is_cut_short_empty_or_of_another_version_is_refused() {
        let blob = encode(&records());
        for length in 0..blob.len() {
            assert!(matches!(decode(&blob[..length]), Err(Error::Corrupt(_))), "{length} bytes");
        }
        let newer = [&[VERSION + 1], &blob[1..]].concat();
        assert!(decode(&newer).unwrap_err().to_string().contains("version 2"));
    }
}
