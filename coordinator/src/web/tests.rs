//! Metrics, health and assets as scrapers and browsers see them.

use http::StatusCode;
use model::{AgentId, Clock as _};
use store::{AgentRow, ConfigChange};
use tokio::sync::mpsc;

use super::metrics::{DeliveryOutcome, PingAnswer};
use super::stage::{Healthy, NOW, Stage, ask, text};
use crate::fleet::{Introduction, SILENCE};
use engine::{heartbeat, monitor};
use model::{RegionId, SubjectId};

async fn add_agent(stage: &Stage, region: &str) -> Introduction {
    let region = RegionId::new(region).unwrap();
    let id = AgentId::from_bytes([8; 16]);
    let row = AgentRow {
        id,
        name: "probe-1".into(),
        region: region.clone(),
        secret_digest: [0; 32],
        epoch: 0,
        process_nonce: None,
        created_at: NOW,
        join: None,
    };
    stage.parts.settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutAgent(row))).await.unwrap();
    Introduction {
        agent: id,
        name: "probe-1".into(),
        region,
        process_nonce: [1; 16],
        epoch: 1,
        version: "0.1.0".into(),
        capacity: 0,
        digest: vec![],
        dropped_results: 0,
        clock_offset_micros: None,
        capabilities: [].into_iter().collect(),
        is_embedded: false,
    }
}

fn connect(stage: &Stage, agent: Introduction) {
    let (outgoing, _) = mpsc::unbounded_channel();
    drop(stage.parts.fleet.join(agent, outgoing));
}

#[tokio::test]
async fn health_is_said_in_the_form_that_monitors_read() {
    let stage = Stage::new().await;
    let app = stage.app();
    let agent = add_agent(&stage, "eu-west").await;
    let health = ask(&app, "GET", "/health").await;
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(
        text(health).await,
        r#"{"status":"degraded","checks":{"database":{"status":"ok"},"agents":{"status":"degraded","detail":"no agent connected in eu-west"}}}"#
    );

    connect(&stage, agent);
    let all_ok = r#"{"status":"ok","checks":{"database":{"status":"ok"},"agents":{"status":"ok"}}}"#;
    assert_eq!(text(ask(&app, "GET", "/health").await).await, all_ok);

    stage.clock.advance(SILENCE);
    assert_ne!(text(ask(&app, "GET", "/health").await).await, all_ok);
}

#[tokio::test]
async fn who_cannot_commit_is_neither_well_nor_ready_but_alive() {
    let stage = Stage::new().await;
    let app = stage.app();
    let ready = ask(&app, "GET", "/health/ready").await;
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(text(ready).await, r#"{"status":"ready","database":{"status":"ok"}}"#);

    stage.set_healthy(Healthy::No);
    let ready = ask(&app, "GET", "/health/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        text(ready).await,
        r#"{"status":"not_ready","database":{"status":"error","detail":"commits fail"}}"#
    );
    assert_eq!(ask(&app, "GET", "/health").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&app, "GET", "/health/live").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_what_happened_and_show_what_is() {
    let stage = Stage::new().await;
    let app = stage.app();
    stage.show_monitor(1, "a", monitor::Status::Up);
    let down = stage.show_monitor(2, "b", monitor::Status::Down);
    stage.open_incident(SubjectId::Monitor(down), 1, std::time::Duration::ZERO).await;
    stage.show_heartbeat(3, "c", heartbeat::Status::Late);
    let agent = add_agent(&stage, "eu-west").await;
    connect(&stage, agent);
    let metrics = &stage.parts.metrics;
    metrics.ping(PingAnswer::Unavailable);
    metrics.results(100, 2);
    metrics.commit_succeeded();
    metrics.commit_failed();
    metrics.delivery(DeliveryOutcome::Dead);
    ask(&app, "GET", "/api/heartbeat/nonsense").await;

    let scrape = ask(&app, "GET", "/metrics").await;
    assert!(scrape.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    insta::assert_snapshot!("metrics", text(scrape).await.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    assert_eq!(stage.clock.now(), NOW);
}

#[tokio::test]
async fn the_stylesheet_is_kept_for_ever_under_a_url_of_its_own() {
    let stage = Stage::new().await;
    let app = stage.app();
    let style = ask(&app, "GET", super::assets::stylesheet_url()).await;
    assert_eq!(style.status(), StatusCode::OK);
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    assert!(style.headers()["cache-control"].to_str().unwrap().contains("immutable"));
}

#[tokio::test]
async fn a_router_with_a_fallback_of_its_own_can_join() {
    let stage = Stage::new().await;
    let other = axum::Router::new()
        .route("/vigilmon.admin.v1.Monitors/{*rest}", axum::routing::any(async || "grpc"))
        .fallback(async || "fallback");
    let app = stage.app().merge(other);
    assert_eq!(text(ask(&app, "POST", "/vigilmon.admin.v1.Monitors/Get").await).await, "grpc");
    for path in ["/api/heartbeat/", "/api/heartbeat", "/nonsense", "/vigilmon.admin.v1.Nonsense/Get"] {
        assert_eq!(ask(&app, "GET", path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
