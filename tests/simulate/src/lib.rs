//! A seeded simulation of Vigilmon: a world of targets, regions and faults around the real engine.
//!
//! The engine's machines, budget, placement and quorum are the real ones. Around them stands what the world does
//! ([`target`], [`fault`], [`network`], [`check`]), a thin model of the agents and of the shard's owner
//! ([`simulation`], [`shard`]), and an oracle that knows the truth ([`judge`]). Everything follows from a seed
//! ([`random`]). Heartbeats have a world of their own ([`jobs`]).
//!
//! What the coordinator thinks of its agents is [`credit`]. What users plan and arrange stands in [`windows`] (maintenance) and [`scenario`] (policies, parents). Cron schedules of
//! heartbeats are not here yet; they belong beside [`jobs`]' intervals.

pub mod check;
pub mod closed_form;
pub mod credit;
pub mod fault;
pub mod jobs;
pub mod judge;
pub mod network;
pub mod random;
pub mod recorder;
pub mod report;
pub mod scenario;
pub mod shard;
pub mod simulation;
pub mod span;
pub mod target;
pub mod windows;
pub mod world;
