//! `grpc.health.v1`: serving while commits succeed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What the listener serves, by full name.
pub(super) const SERVICES: [&str; 14] = [
    "vigilmon.admin.v1.Monitors",
    "vigilmon.admin.v1.Heartbeats",
    "vigilmon.admin.v1.Runs",
    "vigilmon.admin.v1.PingKeys",
    "vigilmon.admin.v1.Badges",
    "vigilmon.admin.v1.Incidents",
    "vigilmon.admin.v1.Channels",
    "vigilmon.admin.v1.Deliveries",
    "vigilmon.admin.v1.Fleet",
    "vigilmon.admin.v1.StatusPages",
    "vigilmon.admin.v1.Maintenances",
    "vigilmon.admin.v1.Policies",
    "vigilmon.admin.v1.Silences",
    "grpc.health.v1.Health",
];

/// How often a watched status is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The health service; every service is as healthy as the coordinator.
pub(super) fn service(healthy: Arc<AtomicBool>) -> HealthServer<CoordinatorHealth> {
    HealthServer::new(CoordinatorHealth { healthy })
}

#[derive(Debug)]
pub(super) struct CoordinatorHealth {
    healthy: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Health for CoordinatorHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !service.is_empty() && !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found("no such service here"));
        }
        Ok(Response::new(answer(&self.healthy)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.check(request).await?;
        let begin = (Arc::clone(&self.healthy), None);
        let changes = stream::unfold(begin, async |(healthy, told)| {
            let mut present = answer(&healthy);
            while told == Some(present.status) {
                tokio::time::sleep(WATCH_INTERVAL).await;
                present = answer(&healthy);
            }
            let told = Some(present.status);
            Some((Ok(present), (healthy, told)))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn answer(healthy: &AtomicBool) -> HealthCheckResponse {
    let status =
        if healthy.load(Ordering::Acquire) { ServingStatus::Serving } else { ServingStatus::NotServing };
    let status = tonic_health::pb::health_check_response::ServingStatus::from(status);
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.into() })
    }

    #[tokio::test(start_paused = true)]
    async fn health_follows_the_commits() {
        let healthy = Arc::new(AtomicBool::new(true));
        let health = CoordinatorHealth { healthy: Arc::clone(&healthy) };
        let mut watched = health.watch(ask("")).await.unwrap().into_inner();
        assert_eq!(watched.next().await.unwrap().unwrap().status, SERVING);
        healthy.store(false, Ordering::Release);
        assert_eq!(watched.next().await.unwrap().unwrap().status, NOT_SERVING);
        assert_eq!(health.check(ask(SERVICES[0])).await.unwrap().into_inner().status, NOT_SERVING);
        assert_eq!(health.check(ask("nope")).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
