//! The admin API: thirteen gRPC services over what the coordinator holds, plus health and reflection.
//!
//! In come requests of `vigilmon.admin.v1`; wire types stop here. Reading goes to the views, the settings and the
//! store; a change to a monitor or heartbeat goes to its shard's owner, any other to the settings, and is answered after
//! its commit. Whatever is wrong with a request is said at once, field by field (`invalid`).
//!
//! One file per service; beside them what services share: `fields` and `find` read requests, `paging` and `history` walk
//! lists, `change` redefines subjects, `convert` makes answers, `refusal` says no.

pub mod key;

mod alert;
mod auth;
mod badges;
mod change;
mod channels;
mod convert;
mod deliveries;
mod fields;
mod find;
mod fleet;
mod health;
mod heartbeats;
mod history;
mod incidents;
mod invalid;
mod maintenances;
mod monitors;
mod pages;
mod paging;
mod ping_keys;
mod policies;
mod refusal;
mod runs;
mod scope;
mod silences;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Clock, Random};
use proto::admin::v1::badges_server::BadgesServer;
use proto::admin::v1::channels_server::ChannelsServer;
use proto::admin::v1::deliveries_server::DeliveriesServer;
use proto::admin::v1::fleet_server::FleetServer;
use proto::admin::v1::heartbeats_server::HeartbeatsServer;
use proto::admin::v1::incidents_server::IncidentsServer;
use proto::admin::v1::maintenances_server::MaintenancesServer;
use proto::admin::v1::monitors_server::MonitorsServer;
use proto::admin::v1::ping_keys_server::PingKeysServer;
use proto::admin::v1::policies_server::PoliciesServer;
use proto::admin::v1::runs_server::RunsServer;
use proto::admin::v1::silences_server::SilencesServer;
use proto::admin::v1::status_pages_server::StatusPagesServer;
use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use url::Url;

use crate::delivery::Replay;
use crate::notify::Sender;
use crate::settings::Settings;
use crate::shard;
use crate::view::Views;

/// The largest request, in bytes.
const MAX_REQUEST_BYTES: usize = 256 << 10;
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The thirteen services and what they work on. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// The present instant.
    pub clock: Arc<dyn Clock>,
    /// Ids, tokens and secrets.
    pub random: Arc<dyn Random>,
    /// Incidents and the journal are read from it.
    pub store: Arc<dyn Store>,
    /// Regions, agents, channels, pages, keys.
    pub settings: Arc<Settings>,
    /// Monitors and heartbeats as of the last commit.
    pub views: Arc<Views>,
    /// Which agents are connected.
    pub fleet: Arc<crate::fleet::Fleet>,
    /// The way to change a monitor or heartbeat.
    pub shards: shard::Handle,
    /// Sends tests of channels, as deliveries are sent.
    pub sender: Arc<Sender>,
    /// The way to ask for deliveries to be made again.
    pub redeliver: mpsc::UnboundedSender<Replay>,
    /// Replays that may run at once.
    pub replays: Arc<Semaphore>,
    /// Whether commits succeed: what `grpc.health.v1` answers.
    pub healthy: Arc<AtomicBool>,
    /// Where people and jobs reach this coordinator: ping and page URLs begin with it.
    pub public_url: Url,
    /// SHA-256 of the certificate that agents will see; part of their tokens.
    pub agent_fingerprint: [u8; 32],
    /// Where agents that join are to connect.
    pub agent_address: Url,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("public_url", &self.public_url.as_str()).finish_non_exhaustive()
    }
}

/// Every gRPC service of the admin listener. The thirteen of the API ask for a key; health and reflection are open. The
/// router has no fallback of its own, so that it can be merged with the pages.
#[must_use]
pub fn routes(admin: Admin) -> Routes {
    let auth = auth::RequireKey::new(Arc::clone(&admin.settings));
    let health = health::service(Arc::clone(&admin.healthy));
    macro_rules! guarded {
        ($server:ident, $admin:expr) => {
            InterceptedService::new(
                $server::new($admin)
                    .max_decoding_message_size(MAX_REQUEST_BYTES)
                    .max_encoding_message_size(MAX_ANSWER_BYTES),
                auth.clone(),
            )
        };
    }
    let reflection = health::SERVICES
        .iter()
        .fold(tonic_reflection::server::Builder::configure(), |builder, name| {
            builder.with_service_name(*name)
        })
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by the compiler of the protocols");
    let mut routes = Routes::new(guarded!(MonitorsServer, admin.clone()))
        .add_service(guarded!(HeartbeatsServer, admin.clone()))
        .add_service(guarded!(RunsServer, admin.clone()))
        .add_service(guarded!(PingKeysServer, admin.clone()))
        .add_service(guarded!(BadgesServer, admin.clone()))
        .add_service(guarded!(IncidentsServer, admin.clone()))
        .add_service(guarded!(ChannelsServer, admin.clone()))
        .add_service(guarded!(DeliveriesServer, admin.clone()))
        .add_service(guarded!(FleetServer, admin.clone()))
        .add_service(guarded!(StatusPagesServer, admin.clone()))
        .add_service(guarded!(MaintenancesServer, admin.clone()))
        .add_service(guarded!(PoliciesServer, admin.clone()))
        .add_service(guarded!(SilencesServer, admin))
        .add_service(health)
        .add_service(reflection);
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.reset_fallback();
    routes
}

impl Admin {
    /// A public URL with this path, which begins with `/`.
    fn public_url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}
