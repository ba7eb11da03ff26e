//! What the black-box tests share: real processes, scripted neighbours, and protocol-level clients that remember what
//! they were promised.
//!
//! Everything here speaks to Vigilmon through the doors that users have: command lines, HTTP and the two gRPC
//! protocols. Nothing reads the database. Whatever a test starts ends with it: processes by their id, tasks and
//! directories on drop.

pub mod admin;
pub mod agent;
pub mod alertmanager;
pub mod blackbox;
pub mod certificate;
pub mod coordinator;
pub mod crowd;
pub mod ctl;
pub mod door;
pub mod environment;
pub mod eventually;
pub mod exim;
pub mod fake_coordinator;
pub mod fastapi;
pub mod fault_proxy;
pub mod fleet;
pub mod http;
pub mod load;
pub mod name_server;
pub mod namespace;
pub mod nginx;
pub mod paced_site;
pub mod ping;
pub mod postgres;
pub mod process;
pub mod raw_agent;
pub mod scratch;
pub mod site;
pub mod strace;
pub mod task;
pub mod unprivileged;
pub mod webhook;

pub use admin::Admin;
pub use agent::Agent;
pub use coordinator::{Coordinator, Options};
pub use eventually::{SOON, eventually};
pub use fault_proxy::FaultProxy;
pub use fleet::Fleet;
pub use paced_site::PacedSite;
pub use scratch::Scratch;
pub use site::{Answer, Site};
