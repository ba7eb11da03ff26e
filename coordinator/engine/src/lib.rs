//! Decisions.
//!
//! What the coordinator decides, and nothing else: when regions make a quorum, when an incident opens and resolves,
//! when a heartbeat is missed, when a delivery is tried again, which agent checks what. Everything here is pure, total
//! and deterministic: state, policy, event and `now` come in; the new state, its effects and the next deadline go out.
//! The crate has no I/O, no runtime and no clock, and cannot get one: its manifest names none.
//!
//! The invariants I1–I10, H1–H5 and D1–D4 that the tests name are those of `ARCHITECTURE.md`.

pub mod ailment;
pub mod alert;
pub mod budget;
pub mod capture;
pub mod coverage;
pub mod effect;
pub mod group;
pub mod heartbeat;
pub mod maintenance;
pub mod monitor;
pub mod placement;
pub mod probe;
pub mod quorum;
pub mod replay;
pub mod retry;
pub mod schedule;
pub mod vote;

mod phrase;

pub use effect::{
    CloseReason, Effect, Evidence, HeartbeatEvidence, HeartbeatFailure, Opening, RunEnd, RunLoss, RunOutcome,
    Transition,
};
