//! The probe agent: checks targets from one region and reports to the coordinator.
//!
//! ```text
//!              Assignments, VerifyNow                  due, verify
//!  coordinator ───────────────────────▶ agent ─────────────────────▶ gate ▸ check
//!     (session)                       (reconcile,                            │
//!              ◀─────────────────────  schedule)  ◀──────────────────────────┘
//!                 Results ◂ spool                        Finding
//! ```
//!
//! [`run`] moves it all in one task. The mind (`agent`, with `reconcile`, `schedule`, `gate` and `spool`) does no I/O;
//! `session` and [`check`] do nothing else. An agent never runs code that somebody sends it, starts no process, and
//! where it may connect is its local [`config`].

mod agent;
mod canary;
pub mod check;
pub mod config;
mod gate;
pub mod join;
mod latency;
mod lateness;
mod monitor;
mod path;
mod place;
mod reconcile;
mod run;
mod schedule;
mod session;
mod spool;
mod take_over;
mod vitals;
mod ward;

pub use config::Config;
pub use gate::Concurrency;
pub use run::{Error, run};
