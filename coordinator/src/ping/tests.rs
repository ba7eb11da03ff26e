//! Heartbeat URLs as jobs and strangers see them, with the real owner of the shards behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use engine::heartbeat::PingKind;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use store::Record;
use store::faulty::Fault;
use store::journal::{self, PingMethod};

use super::PATH_PREFIX;
use super::body::KEPT_BYTES;
use crate::web::stage::{Healthy, Stage, TOKEN, ask, send, text};

async fn stage() -> (Stage, Router) {
    let mut stage = Stage::new().await;
    stage.start_owner().await;
    stage.create_heartbeat().await;
    let app = stage.app();
    (stage, app)
}

fn url(suffix: &str) -> String {
    format!("{PATH_PREFIX}{TOKEN}{suffix}")
}

/// What the journal holds of pings.
async fn pings(stage: &Stage) -> Vec<(PingKind, PingMethod, Vec<u8>)> {
    let rows = stage.store.journal_after(0, 1_000).await.unwrap();
    let records = rows.iter().flat_map(|row| journal::decode(&row.blob).unwrap());
    records
        .filter_map(|record| match record {
            Record::RunPing { kind, method, body, .. } => Some((kind, method, body)),
            _ => None,
        })
        .collect()
}

fn post(suffix: &str, body: Body) -> Request<Body> {
    Request::builder().method("POST").uri(url(suffix)).body(body).unwrap()
}

#[tokio::test]
async fn a_ping_is_answered_once_it_is_in_the_journal() {
    let (stage, app) = stage().await;
    for (method, suffix, kind, kept) in [
        ("GET", "", PingKind::Success, PingMethod::Get),
        ("HEAD", "/start", PingKind::Start, PingMethod::Head),
        ("POST", "/fail", PingKind::Fail, PingMethod::Post),
        ("GET", "/0?rid=1", PingKind::Exit(0), PingMethod::Get),
        ("GET", "/255", PingKind::Exit(255), PingMethod::Get),
    ] {
        let response = ask(&app, method, &url(suffix)).await;
        assert_eq!(response.status(), StatusCode::OK, "{suffix}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(pings(&stage).await.last(), Some(&(kind, kept, vec![])), "{suffix}");
        assert_eq!(text(response).await, if method == "HEAD" { "" } else { "OK" });
    }
}

#[tokio::test]
async fn whatever_is_no_heartbeat_gets_the_same_404() {
    let (_stage, app) = stage().await;
    let other = "BBECAwQFBgcICQoLDA0ODw";
    let answer = async |method: &str, path: &str| -> (StatusCode, HeaderMap, String) {
        let response = ask(&app, method, path).await;
        (response.status(), response.headers().clone(), text(response).await)
    };
    let unknown = answer("GET", &format!("{PATH_PREFIX}{other}")).await;
    assert_eq!((unknown.0, unknown.2.as_str()), (StatusCode::NOT_FOUND, "not found"));
    for path in [
        format!("{PATH_PREFIX}{other}/fail"),
        format!("{PATH_PREFIX}{other}/nonsense"),
        format!("{PATH_PREFIX}{}", &TOKEN[1..]),
        format!("{PATH_PREFIX}%41{}", &TOKEN[1..]),
        url("/256"),
        url("/nonsense"),
        url("/log"),
        url("/"),
        PATH_PREFIX.to_owned(),
        PATH_PREFIX.trim_end_matches('/').to_owned(),
        "/api/nonsense".to_owned(),
        "/nonsense".to_owned(),
    ] {
        assert_eq!(answer("GET", &path).await, unknown, "{path}");
        assert_eq!(answer("POST", &path).await, unknown, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_without_a_look_at_the_token() {
    let (stage, app) = stage().await;
    for path in [url(""), url("/nonsense"), format!("{PATH_PREFIX}x")] {
        let response = ask(&app, "DELETE", &path).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD, POST");
    }
    assert!(pings(&stage).await.is_empty());
}

#[tokio::test]
async fn a_ping_that_cannot_be_committed_is_to_be_repeated() {
    let (stage, app) = stage().await;
    stage.faults.lasting(Fault::Unavailable);
    for _ in 0..2 {
        let response = ask(&app, "GET", &url("")).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "5");
    }
    assert!(pings(&stage).await.is_empty());
}

#[tokio::test]
async fn while_nothing_can_be_committed_no_token_is_called_unknown() {
    let (stage, app) = stage().await;
    stage.set_healthy(Healthy::No);
    let unknown = format!("{PATH_PREFIX}BBECAwQFBgcICQoLDA0ODw");
    assert_eq!(ask(&app, "GET", &unknown).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_ten_seconds_for_its_commit_and_no_longer() {
    let (stage, app) = stage().await;
    stage.faults.lasting(Fault::Delay(Duration::from_secs(60)));
    let before = tokio::time::Instant::now();
    assert_eq!(ask(&app, "GET", &url("")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn of_a_ten_megabyte_body_only_the_beginning_is_read() {
    let (stage, app) = stage().await;
    let chunks = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&chunks);
    let body = stream::repeat_with(move || {
        read.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4_096]))
    });
    let response = send(&app, post("", Body::from_stream(body.take(2_560)))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(chunks.load(Ordering::Relaxed), 3);
    assert_eq!(pings(&stage).await, [(PingKind::Success, PingMethod::Post, vec![b'x'; KEPT_BYTES])]);
}

#[tokio::test]
async fn a_body_that_fits_is_kept_whole_and_keeps_the_connection() {
    let (stage, app) = stage().await;
    for length in [0, 1, KEPT_BYTES] {
        let response = send(&app, post("/1", Body::from(vec![b'y'; length]))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("connection"), None, "{length}");
        let (kind, _, body) = pings(&stage).await.pop().unwrap();
        assert_eq!((kind, body.len()), (PingKind::Exit(1), length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_does_not_hold_the_ping() {
    let (stage, app) = stage().await;
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first words"))]);
    let before = tokio::time::Instant::now();
    let response = send(&app, post("", Body::from_stream(first.chain(stream::pending())))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(before.elapsed().as_secs(), 2);
    assert_eq!(pings(&stage).await.pop().unwrap().2, b"first words");
}

#[tokio::test]
async fn a_job_that_breaks_off_has_pinged() {
    let (stage, app) = stage().await;
    let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("reset"))]);
    let response = send(&app, post("/start", Body::from_stream(broken))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(pings(&stage).await, [(PingKind::Start, PingMethod::Post, b"half".to_vec())]);
}
