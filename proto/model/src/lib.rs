//! The words everyone shares.
//!
//! Ids, instants, regions, what a check does and what it reports. Every other crate depends on this one and
//! this one on none of them: no I/O, no runtime, no wire types. (The two doors to the outside, [`SystemClock`]
//! and [`SystemRandom`], are values that `main` creates and hands down.)

pub mod address;
pub mod agent_status;
pub mod capability;
pub mod capture;
pub mod check;
pub mod clock;
pub mod handshake;
pub mod hash;
pub mod health;
pub mod id;
pub mod random;
pub mod region;
pub mod result;
pub mod run;
pub mod secret;
pub mod subject;
pub mod tag;
pub mod time;

pub use agent_status::AgentStatus;
pub use capability::{Capabilities, Capability};
pub use capture::{Capture, Excerpt, PathHop};
pub use check::{
    Check, CheckSpec, DnsCheck, GrpcCheck, HttpCheck, IcmpCheck, MailCheck, TcpCheck, TlsCheck,
    WebSocketCheck,
};
pub use clock::{Clock, SystemClock, TestClock};
pub use handshake::Handshake;
pub use health::{Component, HealthPolicy, HealthReport, HealthWord};
pub use id::{
    AgentId, ChannelId, DeliveryId, EventId, HeartbeatId, IncidentId, InstallationId, KeyId, MaintenanceId,
    MonitorId, PageId, PolicyId, SilenceId,
};
pub use random::{Random, SystemRandom};
pub use region::RegionId;
pub use result::{CheckResult, Failure, FailureKind, Hop, Outcome, Phases};
pub use run::RunId;
pub use secret::Secret;
pub use subject::{Shard, SubjectId};
pub use tag::Tag;
pub use time::Timestamp;
