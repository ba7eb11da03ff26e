//! A client of the admin API, with the questions that tests ask again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1 as wire;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::{SOON, eventually};

/// A channel that shows the API key.
pub type Authorized = InterceptedService<Channel, Key>;

/// Shows the API key with every request.
#[derive(Clone, Debug)]
pub struct Key(MetadataValue<Ascii>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The admin API. Connects, and connects again, by itself.
#[derive(Clone, Debug)]
pub struct Admin {
    channel: Channel,
    key: Key,
}

impl Admin {
    /// A client of the coordinator at `url`.
    ///
    /// # Errors
    /// When URL or key cannot be used.
    pub fn connect(url: &str, key: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.timeout(SOON).connect_timeout(SOON);
        let key = Key(format!("Bearer {key}").parse()?);
        Ok(Self { channel: endpoint.connect_lazy(), key })
    }

    fn authorized(&self) -> Authorized {
        InterceptedService::new(self.channel.clone(), self.key.clone())
    }

    /// Monitors.
    #[must_use]
    pub fn monitors(&self) -> wire::monitors_client::MonitorsClient<Authorized> {
        wire::monitors_client::MonitorsClient::new(self.authorized())
    }

    /// Heartbeats.
    #[must_use]
    pub fn heartbeats(&self) -> wire::heartbeats_client::HeartbeatsClient<Authorized> {
        wire::heartbeats_client::HeartbeatsClient::new(self.authorized())
    }

    /// Runs of heartbeats' jobs.
    #[must_use]
    pub fn runs(&self) -> wire::runs_client::RunsClient<Authorized> {
        wire::runs_client::RunsClient::new(self.authorized())
    }

    /// Ping keys.
    #[must_use]
    pub fn ping_keys(&self) -> wire::ping_keys_client::PingKeysClient<Authorized> {
        wire::ping_keys_client::PingKeysClient::new(self.authorized())
    }

    /// Badges.
    #[must_use]
    pub fn badges(&self) -> wire::badges_client::BadgesClient<Authorized> {
        wire::badges_client::BadgesClient::new(self.authorized())
    }

    /// Incidents.
    #[must_use]
    pub fn incidents(&self) -> wire::incidents_client::IncidentsClient<Authorized> {
        wire::incidents_client::IncidentsClient::new(self.authorized())
    }

    /// Channels.
    #[must_use]
    pub fn channels(&self) -> wire::channels_client::ChannelsClient<Authorized> {
        wire::channels_client::ChannelsClient::new(self.authorized())
    }

    /// What was owed to channels.
    #[must_use]
    pub fn deliveries(&self) -> wire::deliveries_client::DeliveriesClient<Authorized> {
        wire::deliveries_client::DeliveriesClient::new(self.authorized())
    }

    /// Agents and regions.
    #[must_use]
    pub fn fleet(&self) -> wire::fleet_client::FleetClient<Authorized> {
        wire::fleet_client::FleetClient::new(self.authorized())
    }

    /// Creates a monitor.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn create_monitor(&self, monitor: wire::Monitor) -> Result<wire::Monitor> {
        let request = wire::CreateMonitorRequest { monitor: Some(monitor) };
        Ok(self.monitors().create_monitor(request).await?.into_inner())
    }

    /// A monitor as it is.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn monitor(&self, id: &str) -> Result<wire::Monitor> {
        let request = wire::GetMonitorRequest { id: id.to_owned() };
        Ok(self.monitors().get_monitor(request).await?.into_inner())
    }

    /// Waits until a monitor has a status.
    ///
    /// # Errors
    /// When it does not get it within `limit`.
    pub async fn until_status(
        &self,
        id: &str,
        status: wire::MonitorStatus,
        limit: Duration,
    ) -> Result<wire::Monitor> {
        let what = format!("monitor {id} was {}", status.as_str_name());
        eventually(&what, limit, async || {
            let monitor = self.monitor(id).await?;
            ensure!(monitor.status() == status, "it is {}", monitor.status().as_str_name());
            Ok(Some(monitor))
        })
        .await
    }

    /// Creates a heartbeat; its ping URL is in the answer.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn create_heartbeat(&self, heartbeat: wire::Heartbeat) -> Result<wire::Heartbeat> {
        let request = wire::CreateHeartbeatRequest { heartbeat: Some(heartbeat) };
        Ok(self.heartbeats().create_heartbeat(request).await?.into_inner())
    }

    /// A heartbeat as it is.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn heartbeat(&self, id: &str) -> Result<wire::Heartbeat> {
        let request = wire::GetHeartbeatRequest { id: id.to_owned() };
        Ok(self.heartbeats().get_heartbeat(request).await?.into_inner())
    }

    /// Creates a channel; a webhook's secret is in the answer.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn create_channel(
        &self,
        kind: wire::ChannelKind,
        name: &str,
        url: &str,
    ) -> Result<wire::Channel> {
        let channel = wire::Channel {
            name: name.to_owned(),
            kind: kind.into(),
            url: url.to_owned(),
            ..wire::Channel::default()
        };
        let request = wire::CreateChannelRequest { channel: Some(channel) };
        Ok(self.channels().create_channel(request).await?.into_inner())
    }

    /// All incidents of a monitor or heartbeat (or of everything: empty), newest first, each in full.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn incidents_of(&self, subject: &str) -> Result<Vec<wire::Incident>> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let request = wire::ListIncidentsRequest {
                page_token: token,
                subject_id: subject.to_owned(),
                ..wire::ListIncidentsRequest::default()
            };
            let page = self.incidents().list_incidents(request).await?.into_inner();
            for listed in page.incidents {
                let request = wire::GetIncidentRequest { id: listed.id };
                found.push(self.incidents().get_incident(request).await?.into_inner());
            }
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            token = page.next_page_token;
        }
    }

    /// All results of a monitor since `since`, newest first.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn results(&self, monitor: &str, since: prost_types::Timestamp) -> Result<Vec<wire::Result>> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let request = wire::ListResultsRequest {
                monitor_id: monitor.to_owned(),
                since: Some(since),
                page_size: 1_000,
                page_token: token,
                ..wire::ListResultsRequest::default()
            };
            let page = self.monitors().list_results(request).await?.into_inner();
            found.extend(page.results);
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            token = page.next_page_token;
        }
    }

    /// All pings of a heartbeat since `since`, newest first.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn pings(&self, heartbeat: &str, since: prost_types::Timestamp) -> Result<Vec<wire::Ping>> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let request = wire::ListPingsRequest {
                heartbeat_id: heartbeat.to_owned(),
                since: Some(since),
                page_size: 1_000,
                page_token: token,
                ..wire::ListPingsRequest::default()
            };
            let page = self.heartbeats().list_pings(request).await?.into_inner();
            found.extend(page.pings);
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            token = page.next_page_token;
        }
    }
}

/// A span on the wire.
#[must_use]
pub fn span(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

/// Whole seconds on the wire.
#[must_use]
pub fn seconds(count: u64) -> Option<prost_types::Duration> {
    span(Duration::from_secs(count))
}

/// An instant on the wire.
#[must_use]
pub fn wire_time(at: model::Timestamp) -> prost_types::Timestamp {
    proto::probe::convert::timestamp_to_wire(at)
}

/// An instant from the wire, where one must be.
///
/// # Errors
/// When there is none.
pub fn time(wire: Option<&prost_types::Timestamp>) -> Result<model::Timestamp> {
    Ok(proto::probe::convert::timestamp_from_wire(wire, "timestamp")?)
}
