//! The coordinator: assigns monitors to agents, takes their results, decides, notifies, shows.
//!
//! The files stand in the order in which data flows; a stage calls only the next stage's handle and the store.
//!
//! ```text
//! session ▸ ingest ─┐
//! ping ─────────────┤
//! admin, web ───────┤
//!                   ▼
//!                 shard: engine::apply in memory ▸ one commit
//!                   ▼ after the commit only: ack, wake
//!                 outbox ▸ delivery ▸ notify        assign ▸ session
//! ```

pub mod app;
pub mod config;
pub mod data_dir;
pub mod lifecycle;
pub mod telemetry;

pub mod acknowledge_link;
pub mod alert;
pub mod capture;
pub mod definition;
pub mod incident;
pub mod maintenance;
pub mod run;
pub mod settings;
pub mod view;

pub mod agent_listener;
pub mod session;

pub mod ingest;

pub mod http;
pub mod ping;

pub mod shard;
pub mod tenure;

pub mod outbox;

pub mod delivery;

pub mod notify;

pub mod assign;
pub mod fleet;

pub mod admin;
pub mod web;

pub mod up;
