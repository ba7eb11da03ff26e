//! Heartbeat URLs as jobs and strangers see them, with the real owner of the shards behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use engine::heartbeat::PingKind;
use engine::schedule::Schedule;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use model::{ChannelId, KeyId, Secret, SubjectId};
use store::faulty::Fault;
use store::journal::{self, HeardPing, PingMethod};
use store::records::DEFAULT_WORKSPACE;
use store::{ChannelRow, ConfigChange, PingKeyRow, Record};

use super::body::KEPT_BYTES;
use super::{Keywords, Options, PATH_PREFIX, token_digest};
use crate::shard::LANE_CAPACITY;
use crate::web::stage::{Healthy, NOW, Stage, TOKEN, ask, send, text};

/// [`TOKEN`] as Healthchecks' clients have it.
const UUID: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkk";
const RUN: &str = "123e4567-e89b-42d3-a456-426614174000";

async fn stage() -> (Stage, Router) {
    stage_with(Options::default()).await
}

async fn stage_with(pings: Options) -> (Stage, Router) {
    let mut stage = Stage::new().await;
    stage.start_owner().await;
    stage.create_heartbeat_with(pings).await;
    let key = PingKeyRow {
        id: KeyId::from_bytes([4; 16]),
        workspace: DEFAULT_WORKSPACE.into(),
        name: "jobs".into(),
        digest: token_digest(KEY),
        created_at: NOW,
    };
    change(&stage, ConfigChange::PutPingKey(key)).await;
    let app = stage.app();
    (stage, app)
}

async fn change(stage: &Stage, change: ConfigChange) {
    stage.parts.settings.change(|_| Ok::<_, store::Error>(change)).await.unwrap();
}

fn url(suffix: &str) -> String {
    format!("{PATH_PREFIX}{TOKEN}{suffix}")
}

fn by_slug(rest: &str) -> String {
    format!("/ping/{KEY}/{rest}")
}

/// What the journal holds of pings.
async fn pings(stage: &Stage) -> Vec<HeardPing> {
    let rows = stage.store.journal_after(0, 100_000).await.unwrap();
    let records = rows.iter().flat_map(|row| journal::decode(&row.blob).unwrap());
    records
        .filter_map(|record| match record {
            Record::Heard(heard) => Some(heard),
            _ => None,
        })
        .collect()
}

async fn last_ping(stage: &Stage) -> HeardPing {
    pings(stage).await.pop().unwrap()
}

fn post(suffix: &str, body: Body) -> Request<Body> {
    Request::builder().method("POST").uri(url(suffix)).body(body).unwrap()
}

/// Status and body of an answer.
async fn told(app: &Router, path: &str) -> (u16, String) {
    let response = ask(app, "GET", path).await;
    (response.status().as_u16(), text(response).await)
}

#[tokio::test]
async fn a_ping_is_answered_once_it_is_in_the_journal() {
    let (stage, app) = stage().await;
    for (method, suffix, kind, kept) in [
        ("GET", "", PingKind::Success, PingMethod::Get),
        ("HEAD", "/start", PingKind::Start, PingMethod::Head),
        ("POST", "/fail", PingKind::Fail, PingMethod::Post),
        ("GET", "/log", PingKind::Log, PingMethod::Get),
        ("GET", "/0?x=1", PingKind::Exit(0), PingMethod::Get),
        ("GET", "/255", PingKind::Exit(255), PingMethod::Get),
    ] {
        let response = ask(&app, method, &url(suffix)).await;
        assert_eq!(response.status(), StatusCode::OK, "{suffix}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let heard = last_ping(&stage).await;
        assert_eq!((heard.kind, heard.method, heard.body), (kind, kept, vec![]), "{suffix}");
        assert_eq!(text(response).await, if method == "HEAD" { "" } else { "OK" });
    }
}

#[tokio::test]
async fn clients_of_healthchecks_are_answered_as_they_are_used_to() {
    let (stage, app) = stage().await;
    for (path, kind) in [
        (format!("/ping/{UUID}"), PingKind::Success),
        (format!("/ping/{UUID}/"), PingKind::Success),
        (format!("/ping/{UUID}/start"), PingKind::Start),
        (format!("/ping/{UUID}/7"), PingKind::Exit(7)),
        (by_slug("nightly_cleanup"), PingKind::Success),
        (by_slug("nightly_cleanup/log"), PingKind::Log),
        (by_slug("nightly_cleanup/fail?create=1"), PingKind::Fail),
    ] {
        let response = ask(&app, "GET", &path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["ping-body-limit"], "10000");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(text(response).await, "OK");
        assert_eq!(last_ping(&stage).await.kind, kind, "{path}");
    }
    let before = pings(&stage).await.len();
    let other = UUID.replace("00", "ff");
    for (path, status, said) in [
        (format!("/ping/{other}"), 404, "not found"),
        (format!("/ping/{other}/256"), 404, "not found"),
        (format!("/ping/{other}?rid=1"), 404, "not found"),
        (format!("/ping/{UUID}/256"), 400, "invalid url format"),
        (format!("/ping/{UUID}?rid=1"), 400, "invalid uuid format"),
        (url("/256"), 400, "invalid url format"),
        (url("/start?rid="), 400, "invalid uuid format"),
        (by_slug("Nightly_cleanup"), 400, "invalid url format"),
        (by_slug("nightly_cleanup/256"), 400, "invalid url format"),
        (by_slug("nightly"), 404, "not found"),
        (format!("/ping/{}/nightly_cleanup", KEY.to_uppercase()), 404, "not found"),
        (format!("/ping/{}/new?create=1", KEY.to_uppercase()), 404, "not found"),
    ] {
        assert_eq!(told(&app, &path).await, (status, said.to_owned()), "{path}");
    }
    assert_eq!(pings(&stage).await.len(), before);
}

#[tokio::test]
async fn runs_and_clients_are_kept_with_the_ping() {
    let (stage, app) = stage().await;
    let request = Request::builder()
        .uri(url(&format!("/start?rid={RUN}")))
        .header("user-agent", "x".repeat(300))
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&app, request).await.status(), StatusCode::OK);
    let heard = last_ping(&stage).await;
    assert_eq!((heard.run, heard.user_agent.len()), (Some(RUN.parse().unwrap()), 200));
}

#[tokio::test]
async fn a_ping_may_create_its_heartbeat_which_notifies_everybody() {
    let (stage, app) = stage().await;
    let channel = ChannelRow {
        id: ChannelId::from_bytes([8; 16]),
        workspace: DEFAULT_WORKSPACE.into(),
        name: "ops".into(),
        settings: Secret::new("{}".into()),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
    };
    let id = channel.id;
    change(&stage, ConfigChange::PutChannel(channel)).await;
    assert_eq!(told(&app, &by_slug("db-backup?create=2")).await.0, 404);
    assert_eq!(told(&app, &by_slug("db-backup/start?create=1")).await, (201, "Created".to_owned()));
    assert_eq!(told(&app, &by_slug("db-backup?create=1")).await, (200, "OK".to_owned()));
    let views = stage.parts.views.all();
    let created = views.iter().find(|view| view.definition.name == "db-backup").unwrap();
    let (_, heartbeat) = created.definition.heartbeat().unwrap();
    assert_eq!(heartbeat.schedule, Schedule::Every(Duration::from_secs(86_400)));
    assert_eq!(heartbeat.grace, Duration::from_secs(3_600));
    assert_eq!(heartbeat.channels, [id]);
    let kinds: Vec<_> = pings(&stage).await.iter().map(|heard| heard.kind).collect();
    assert_eq!(kinds, [PingKind::Start, PingKind::Success]);
}

#[tokio::test]
async fn jobs_that_create_the_same_heartbeat_at_once_create_one() {
    let (stage, app) = stage().await;
    let answers = join_all((0..8).map(|_| async { told(&app, &by_slug("new?create=1")).await.0 })).await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| [200, 201].contains(status)), "{answers:?}");
    assert_eq!(pings(&stage).await.len(), 8);
}

#[tokio::test]
async fn a_slug_that_two_heartbeats_have_is_ambiguous() {
    let (stage, app) = stage().await;
    stage.show_heartbeat(9, "Nightly_Cleanup", engine::heartbeat::Status::New);
    for path in ["nightly_cleanup", "nightly_cleanup/start?create=1"] {
        assert_eq!(told(&app, &by_slug(path)).await, (409, "ambiguous slug".to_owned()));
    }
    let other = SubjectId::Heartbeat(model::HeartbeatId::from_bytes([9; 16]));
    stage.parts.views.publish(vec![(other, None)]);
    assert_eq!(told(&app, &by_slug("nightly_cleanup")).await.0, 200);
}

#[tokio::test]
async fn push_scripts_of_uptime_kuma_are_answered_as_they_are_used_to() {
    let (stage, app) = stage().await;
    let push = |query: &str| format!("/api/push/{TOKEN}{query}");
    for (query, kind, body) in [
        ("", PingKind::Success, ""),
        ("?status=up&msg=OK&ping=", PingKind::Success, ""),
        ("?status=down&msg=disk%20full&ping=12", PingKind::Fail, "disk full (ping: 12 ms)"),
    ] {
        let response = ask(&app, "GET", &push(query)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
        assert_eq!(text(response).await, r#"{"ok":true}"#);
        let heard = last_ping(&stage).await;
        assert_eq!((heard.kind, heard.body.as_slice()), (kind, body.as_bytes()), "{query}");
    }
    let unknown = told(&app, "/api/push/BBECAwQFBgcICQoLDA0ODw?ping=x").await;
    assert_eq!(unknown, (404, r#"{"msg":"Monitor not found or not active.","ok":false}"#.to_owned()));
    let (status, said) = told(&app, &push("?ping=x")).await;
    assert_eq!((status, said.contains(r#""ok":false"#)), (400, true), "{said}");
    stage.faults.lasting(Fault::Unavailable);
    let away = ask(&app, "POST", &push("")).await;
    assert_eq!((away.status().as_u16(), away.headers().contains_key("retry-after")), (503, true));
}

#[tokio::test]
async fn requests_that_do_not_count_are_answered_and_shown() {
    let (stage, app) = stage_with(Options { post_only: true, ..Options::default() }).await;
    for (method, is_ignored) in [("GET", true), ("HEAD", true), ("POST", false)] {
        assert_eq!(ask(&app, method, &url("/fail")).await.status(), StatusCode::OK);
        let heard = last_ping(&stage).await;
        assert_eq!((heard.kind, heard.is_ignored), (PingKind::Fail, is_ignored), "{method}");
        let view = stage.parts.views.get(SubjectId::Heartbeat(heard.heartbeat)).unwrap();
        assert_eq!(view.incident.is_some(), !is_ignored, "{method}");
    }
}

#[tokio::test]
async fn keywords_say_what_a_ping_means() {
    let words = |word: &str| vec![word.to_owned()];
    let keywords = Keywords { fail: words("ERROR"), success: words("done"), ..Keywords::default() };
    let (stage, app) = stage_with(Options { keywords: Some(keywords), ..Options::default() }).await;
    for (body, kind, is_ignored) in [
        ("all done", PingKind::Success, false),
        ("done, with an ERROR", PingKind::Fail, false),
        ("nothing to say", PingKind::Start, true),
    ] {
        send(&app, post("/start", Body::from(body))).await;
        let heard = last_ping(&stage).await;
        assert_eq!((heard.kind, heard.is_ignored), (kind, is_ignored), "{body}");
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
        format!("{PATH_PREFIX}{other}/256"),
        format!("{PATH_PREFIX}{other}/nonsense"),
        format!("{PATH_PREFIX}{}", &TOKEN[1..]),
        format!("{PATH_PREFIX}%41{}", &TOKEN[1..]),
        format!("/ping/{TOKEN}"),
        format!("/ping/{other}/nightly_cleanup"),
        format!("/ping/{other}/nightly_cleanup?create=1"),
        "/ping/".to_owned(),
        "/api/push/".to_owned(),
        url("/nonsense"),
        url("//"),
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
        let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3..=6).contains(&seconds), "{seconds}");
    }
    assert!(pings(&stage).await.is_empty());
}

/// The queue is full before anybody looks at it, so that what fits and what does not is told exactly.
#[tokio::test]
async fn of_more_pings_than_can_wait_the_rest_is_turned_away_and_none_that_was_taken_is_lost() {
    const MORE: usize = 500;
    let mut stage = Stage::new().await;
    stage.show_heartbeat(1, "nightly_cleanup", engine::heartbeat::Status::New);
    let app = stage.app();
    let ping = async |_| ask(&app, "GET", &url("")).await;
    let mut asked: FuturesUnordered<_> = (0..LANE_CAPACITY + MORE).map(ping).collect();
    for _ in 0..MORE {
        let response = asked.next().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }
    stage.start_owner().await;
    while let Some(response) = asked.next().await {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(pings(&stage).await.len(), LANE_CAPACITY);
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

/// So many pieces of 4 KiB, and how many of them were read.
fn pieces(count: usize) -> (Body, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let body = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4_096]))
    });
    (Body::from_stream(body.take(count)), read)
}

#[tokio::test]
async fn of_a_long_body_the_beginning_and_the_end_are_kept() {
    let (stage, app) = stage().await;
    let (body, _) = pieces(2_560);
    let response = send(&app, post("", body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get("connection"), None);
    let heard = last_ping(&stage).await;
    let kept = String::from_utf8(heard.body).unwrap();
    assert!(kept.len() <= KEPT_BYTES && kept.starts_with("xxx") && kept.ends_with("xxx"));
    assert!(kept.contains(&format!("\n[… {} bytes left out …]\n", heard.left_out)));
    assert_eq!(kept.bytes().filter(|byte| *byte == b'x').count() as u64 + heard.left_out, 2_560 * 4_096);
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let (stage, app) = stage().await;
    let (body, read) = pieces(10_000);
    let response = send(&app, post("", body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(read.load(Ordering::Relaxed), 4_096, "16 MiB");
    assert!(last_ping(&stage).await.body.ends_with(b"[the rest was not read]"));
}

#[tokio::test]
async fn nothing_is_read_for_a_heartbeat_that_is_not_there() {
    let (_stage, app) = stage().await;
    let (body, read) = pieces(10_000);
    let request = Request::builder().method("POST").uri("/ping/k/slug").body(body).unwrap();
    assert_eq!(send(&app, request).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_that_fits_is_kept_whole_and_keeps_the_connection() {
    let (stage, app) = stage().await;
    for length in [0, 1, KEPT_BYTES] {
        let response = send(&app, post("/1", Body::from(vec![b'y'; length]))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("connection"), None, "{length}");
        let heard = last_ping(&stage).await;
        assert_eq!((heard.kind, heard.body.len(), heard.left_out), (PingKind::Exit(1), length, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_does_not_hold_the_ping() {
    let (stage, app) = stage().await;
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first words"))]);
    let before = tokio::time::Instant::now();
    let response = send(&app, post("", Body::from_stream(first.chain(stream::pending())))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(last_ping(&stage).await.body, b"first words\n[the rest was not read]");
}

#[tokio::test]
async fn a_job_that_breaks_off_has_pinged() {
    let (stage, app) = stage().await;
    let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("reset"))]);
    let response = send(&app, post("/start", Body::from_stream(broken))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let heard = last_ping(&stage).await;
    assert_eq!((heard.kind, heard.body.starts_with(b"half\n")), (PingKind::Start, true));
}
