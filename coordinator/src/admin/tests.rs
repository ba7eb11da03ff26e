//! The routes as they are mounted.

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use model::{KeyId, SystemRandom, Timestamp};
use prost::Message;
use proto::admin::v1 as wire;
use store::records::DEFAULT_WORKSPACE;
use store::{ConfigChange, KeyRow};
use tonic::Code;
use tower::ServiceExt;

use super::bench::{Bench, monitor};
use super::*;

/// What a call came to: the code, and the message of an answer.
async fn call(app: &Router, path: &str, key: Option<&str>, message: &impl Message) -> (Code, Vec<u8>) {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let answer = app.clone().oneshot(request.body(Body::from(frame)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status")).unwrap();
    let code = Code::from_bytes(code.as_bytes());
    (code, body.to_bytes().iter().skip(5).copied().collect())
}

async fn mounted(bench: &Bench) -> (Router, String) {
    let (key, digest) = key::generate(&SystemRandom);
    let row = KeyRow {
        id: KeyId::new(Timestamp::from_secs(1), &SystemRandom),
        workspace: DEFAULT_WORKSPACE.into(),
        name: "test".into(),
        digest,
        created_at: Timestamp::from_secs(1),
    };
    bench.admin.settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutKey(row))).await.unwrap();
    // The pages have a fallback of their own.
    let pages = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
    (pages.merge(routes(bench.admin.clone()).into_axum_router()), key.expose().clone())
}

#[tokio::test]
async fn every_service_asks_for_a_key_but_health_and_reflection() {
    let bench = Bench::start().await;
    let (app, key) = mounted(&bench).await;
    let nothing = wire::ListMonitorsRequest::default();
    for method in [
        "Monitors/ListMonitors",
        "Heartbeats/ListHeartbeats",
        "Incidents/ListIncidents",
        "Channels/ListChannels",
        "Fleet/ListAgents",
        "StatusPages/ListStatusPages",
        "Maintenances/ListMaintenances",
    ] {
        let path = format!("/vigilmon.admin.v1.{method}");
        assert_eq!(call(&app, &path, None, &nothing).await.0, Code::Unauthenticated, "{method}");
        assert_eq!(call(&app, &path, Some("vk_wrong"), &nothing).await.0, Code::Unauthenticated, "{method}");
        assert_eq!(call(&app, &path, Some(&key), &nothing).await.0, Code::Ok, "{method}");
    }
    let check = tonic_health::pb::HealthCheckRequest { service: "vigilmon.admin.v1.Monitors".into() };
    assert_eq!(call(&app, "/grpc.health.v1.Health/Check", None, &check).await.0, Code::Ok);

    let unknown = Request::post("/vigilmon.admin.v2.Monitors/ListMonitors").body(Body::empty()).unwrap();
    let unknown: Response<Body> = app.oneshot(unknown).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn reflection_lists_what_is_served_here() {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let bench = Bench::start().await;
    let (app, _) = mounted(&bench).await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (code, answer) = call(&app, path, None, &list).await;
    assert_eq!(code, Code::Ok);
    let answer = ServerReflectionResponse::decode(answer.as_slice()).unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let mut names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    let mut expected = health::SERVICES.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn requests_larger_than_the_limit_are_refused() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let (app, key) = mounted(&bench).await;
    let huge = wire::Monitor { name: "x".repeat(MAX_REQUEST_BYTES), ..monitor("http://a.example") };
    let huge = wire::CreateMonitorRequest { monitor: Some(huge) };
    let (code, _) = call(&app, "/vigilmon.admin.v1.Monitors/CreateMonitor", Some(&key), &huge).await;
    assert_eq!(code, Code::OutOfRange);
}

#[tokio::test]
async fn debug_says_nothing_secret() {
    let bench = Bench::start().await;
    assert_eq!(format!("{:?}", bench.admin), r#"Admin { public_url: "https://status.example.com/", .. }"#);
}
