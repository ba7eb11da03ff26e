//! What the HTTP port shows: status pages, badges, metrics, health; and, composed with them, heartbeat URLs.
//!
//! Everything here reads: pictures of subjects ([`Views`]), what belongs to no subject ([`Settings`]) and, through a
//! cache, incidents from the store. Nothing here decides, and only a ping makes a commit.
//!
//! Public means public: what a page may show is listed in `page`'s content types and nowhere else.

pub(crate) mod badge;
pub mod metrics;

mod acknowledge;
mod answer;
mod assets;
mod health;
mod incidents;
mod page;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::routing::any;
use model::{Clock, Random};
use store::Store;

use crate::acknowledge_link::AcknowledgeLinks;
use crate::fleet::Fleet;
use crate::ping::{self, Pings};
use crate::settings::Settings;
use crate::shard;
use crate::view::Views;
use metrics::Metrics;

/// What the HTTP port needs from outside.
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
#[derive(Clone)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    /// Ids and tokens of heartbeats that a ping creates.
    pub random: Arc<dyn Random>,
    pub store: Arc<dyn Store>,
    pub settings: Arc<Settings>,
    pub views: Arc<Views>,
    pub fleet: Arc<Fleet>,
    pub shards: shard::Handle,
    /// Whether commits succeed.
    pub healthy: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
    pub links: Arc<AcknowledgeLinks>,
}

/// Every route of the HTTP port but the admin API's.
///
/// Whatever is nowhere gets the very `404` of an unknown heartbeat. That is a route for everything, not a fallback: a
/// router with a fallback of its own can be merged into this one, and its fallback is then never reached.
pub fn router(parts: Parts) -> Router {
    let pages = Router::new()
        .merge(page::router(&parts))
        .merge(metrics::router(&parts))
        .merge(health::router(&parts))
        .merge(assets::router())
        .merge(badge::router(&parts))
        .merge(acknowledge::router(&parts))
        .route("/{*anywhere}", any(async || ping::not_found()));
    let Parts { clock, random, settings, views, shards, healthy, metrics, .. } = parts;
    let pings = Pings { clock, random, settings, views, shards, healthy, metrics };
    pages.merge(ping::router(Arc::new(pings)))
}

#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
mod tests;
