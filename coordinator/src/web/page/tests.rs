//! Status pages as the public sees them; golden files hold every variant whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::Router;
use axum::body::Body;
use engine::effect::CloseReason;
use engine::maintenance::{Schedule, Scope};
use engine::{heartbeat, monitor};
use http::{Request, StatusCode};
use model::{MaintenanceId, SubjectId};
use store::ConfigChange;

use super::StatusPage;
use super::content::Content;
use crate::maintenance::{Maintenance, Plan};
use crate::web::assets::stylesheet_url;
use crate::web::incidents::{Incidents, Picture};
use crate::web::stage::{Healthy, NOW, SECRETS, Stage, ask, send, text};

const MINUTE: Duration = Duration::from_secs(60);

/// The page, after a look at it for what must not be there.
async fn page(app: &Router) -> String {
    let response = ask(app, "GET", "/status/acme").await;
    assert_eq!(response.status(), StatusCode::OK);
    let html = text(response).await;
    for secret in SECRETS {
        assert!(!html.contains(secret), "the page shows {secret}");
    }
    html.replace(stylesheet_url(), "STYLESHEET")
}

#[tokio::test]
async fn all_is_well() {
    let stage = Stage::new().await;
    let site = stage.show_monitor(1, "Website", monitor::Status::Up);
    let job = stage.show_heartbeat(2, "nightly_cleanup", heartbeat::Status::Up);
    stage.create_page("Acme API Status", vec![SubjectId::Monitor(site), SubjectId::Heartbeat(job)]).await;
    insta::assert_snapshot!("all_up", page(&stage.app()).await);
}

#[tokio::test]
async fn an_outage_is_told_without_its_secrets() {
    let stage = Stage::new().await;
    let site = SubjectId::Monitor(stage.show_monitor(1, "Website", monitor::Status::Up));
    let api = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Down));
    let hidden = SubjectId::Monitor(stage.show_monitor(3, "Not on the page", monitor::Status::Down));
    let before = stage.open_incident(site, 1, 90 * MINUTE).await;
    stage.end_incident(before, None).await;
    let paused = stage.open_incident(site, 2, 30 * MINUTE).await;
    stage.end_incident(paused, Some(CloseReason::Paused)).await;
    stage.open_incident(api, 1, 3 * MINUTE).await;
    stage.open_incident(hidden, 1, 3 * MINUTE).await;
    stage.create_page("Acme API Status", vec![site, api]).await;
    insta::assert_snapshot!("one_down", page(&stage.app()).await);
}

#[tokio::test]
async fn a_missed_heartbeat_is_told() {
    let stage = Stage::new().await;
    let job = SubjectId::Heartbeat(stage.show_heartbeat(2, "nightly_cleanup", heartbeat::Status::Missed));
    stage.open_incident(job, 1, 120 * MINUTE).await;
    stage.create_page("Jobs", vec![job]).await;
    insta::assert_snapshot!("heartbeat_missed", page(&stage.app()).await);
}

#[tokio::test]
async fn what_is_not_known_is_not_called_up_or_down() {
    let stage = Stage::new().await;
    let site = SubjectId::Monitor(stage.show_monitor(1, "Website", monitor::Status::Unknown));
    let new = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Pending));
    stage.alter(site, |view| view.unverified_since = Some(NOW.minus(5 * MINUTE)));
    stage.create_page("Acme API Status", vec![site, new]).await;
    insta::assert_snapshot!("unknown", page(&stage.app()).await);
}

#[tokio::test]
async fn a_page_without_components_says_so() {
    let stage = Stage::new().await;
    stage.create_page("Empty", vec![]).await;
    insta::assert_snapshot!("empty", page(&stage.app()).await);
}

#[tokio::test]
async fn hostile_names_are_only_text() {
    let stage = Stage::new().await;
    let name = "</bdi><script>alert('x')</script>\" onload=\"y\u{202e}{{ 7 * 7 }}";
    let site = SubjectId::Monitor(stage.show_monitor(1, name, monitor::Status::Down));
    stage.open_incident(site, 1, MINUTE).await;
    stage.create_page("<img src=x onerror=alert(1)>", vec![site]).await;
    let html = page(&stage.app()).await;
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    insta::assert_snapshot!("hostile", html);
}

#[tokio::test]
async fn an_incident_that_ends_moves_to_the_past_within_a_second() {
    let stage = Stage::new().await;
    let app = stage.app();
    let api = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Down));
    let incident = stage.open_incident(api, 1, 120 * MINUTE).await;
    stage.create_page("Acme", vec![api]).await;
    assert!(page(&app).await.contains("Open incidents"));

    stage.end_incident(incident, None).await;
    stage.alter(api, |view| {
        view.status = crate::view::Status::Monitor(monitor::Status::Up, monitor::Phase::Steady);
    });
    stage.clock.advance(Duration::from_secs(1));
    let after = page(&app).await;
    assert!(!after.contains("Open incidents") && after.contains("Resolved;"), "{after}");
}

#[tokio::test]
async fn a_crowd_is_shown_one_drawing() {
    let stage = Stage::new().await;
    let app = stage.app();
    let api = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Up));
    stage.create_page("Acme", vec![api]).await;
    let first = ask(&app, "GET", "/status/acme").await;
    let etag = first.headers()["etag"].clone();
    let again = Request::get("/status/acme").header("if-none-match", etag).body(Body::empty()).unwrap();
    let again = send(&app, again).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(again).await, "");
}

#[tokio::test]
async fn when_nothing_can_be_committed_the_page_says_how_old_it_is() {
    let stage = Stage::new().await;
    let app = stage.app();
    let api = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Up));
    stage.create_page("Acme", vec![api]).await;
    assert!(!page(&app).await.contains("out of date"));

    stage.set_healthy(Healthy::No);
    stage.clock.advance(8 * MINUTE);
    let stale = page(&app).await;
    assert!(stale.contains("data from <time datetime=\"2026-11-22T03:04:05Z\">03:04 UTC</time>"), "{stale}");

    stage.set_healthy(Healthy::Yes);
    stage.clock.advance(MINUTE);
    assert!(!page(&app).await.contains("out of date"));
}

#[tokio::test]
async fn a_store_that_cannot_be_read_leaves_what_is_in_memory() {
    let stage = Stage::new().await;
    let api = SubjectId::Monitor(stage.show_monitor(2, "API", monitor::Status::Down));
    stage.open_incident(api, 1, MINUTE).await;
    stage.create_page("Acme", vec![api]).await;
    let config = stage.parts.settings.present();
    let draw = |picture: &Picture| {
        let now = NOW.plus(MINUTE);
        let content = Content::gather(&config.pages[0], &config, &stage.parts.views, picture, true, now);
        StatusPage { stylesheet: "", content }.render().unwrap()
    };

    let never_read = draw(&Picture::default().unrenewed(NOW));
    assert!(
        never_read.contains("cannot be read at present") && never_read.contains("Major outage"),
        "{never_read}"
    );

    let incidents = Incidents::new(
        Arc::clone(&stage.parts.store),
        Arc::clone(&stage.parts.clock),
        Arc::clone(&stage.parts.healthy),
    );
    let last_read = incidents.picture().await.unrenewed(NOW.plus(MINUTE));
    let stale = draw(&last_read);
    assert!(stale.contains("Open incidents") && stale.contains("03:04 UTC</time>"), "{stale}");
    assert!(stale.contains("(1 minute ago)"), "{stale}");
}

#[tokio::test]
async fn unknown_pages_are_all_the_same() {
    let stage = Stage::new().await;
    let app = stage.app();
    stage.create_page("Acme", vec![]).await;
    let mut answers = BTreeSet::new();
    for slug in
        ["nothing", "ACME", "acme%20", "%2e%2e", "%ff", "<script>".replace(['<', '>'], "%3C").as_str()]
    {
        let response = ask(&app, "GET", &format!("/status/{slug}")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{slug}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        answers.insert(text(response).await);
    }
    assert_eq!(answers.len(), 1);
    assert!(answers.first().unwrap().contains("There is no such page"));
}

#[tokio::test]
async fn the_entrance_leads_to_the_first_page_or_says_how_to_make_one() {
    let stage = Stage::new().await;
    let app = stage.app();
    let welcome = ask(&app, "GET", "/").await;
    assert_eq!(welcome.status(), StatusCode::OK);
    assert!(text(welcome).await.contains("vigilctl page create"));

    stage.create_page("Acme", vec![]).await;
    let entrance = ask(&app, "GET", "/").await;
    assert_eq!(entrance.status(), StatusCode::SEE_OTHER);
    assert_eq!(entrance.headers()["location"], "/status/acme");
}

#[tokio::test]
async fn browsers_are_told_to_run_and_load_nothing() {
    let stage = Stage::new().await;
    stage.create_page("Acme", vec![]).await;
    let response = ask(&stage.app(), "GET", "/status/acme").await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    let html = text(response).await;
    assert!(!html.contains("<script") && !html.contains("style=\""), "{html}");
}

#[tokio::test]
async fn maintenance_under_way_and_ahead_is_told_without_what_is_not_on_the_page() {
    let stage = Stage::new().await;
    let site = SubjectId::Monitor(stage.show_monitor(1, "Website", monitor::Status::Maintenance));
    let job = SubjectId::Heartbeat(stage.show_heartbeat(2, "nightly_cleanup", heartbeat::Status::Up));
    let hidden = SubjectId::Monitor(stage.show_monitor(3, "Not on the page", monitor::Status::Maintenance));
    let scope =
        |subjects: &[SubjectId]| Scope { subjects: subjects.iter().copied().collect(), ..Scope::default() };
    let all = Scope { all: true, ..Scope::default() };
    let once = |start, end| Schedule::once(start, end).unwrap();
    let berlin =
        |cron, hours: u32| Schedule::recurring(cron, "Europe/Berlin", MINUTE * (60 * hours), NOW).unwrap();
    let later = |minutes| NOW.plus(MINUTE * minutes);
    let script = "<script>alert(1)</script>";
    for (number, name, scope, schedule) in [
        (1, "New disks", scope(&[site, hidden]), once(NOW.minus(30 * MINUTE), later(90))),
        // 04:04:05 in Berlin, a Sunday; the nights there are UTC + 1.
        (2, "Updates", all.clone(), berlin("0 23 * * *", 2)),
        (3, script, scope(&[job]), once(later(60), later(120))),
        (4, "In a fortnight", all, once(later(14 * 1_440), later(15 * 1_440))),
        (5, "Elsewhere", scope(&[hidden]), once(NOW, later(60))),
        (6, "Over", scope(&[site]), once(NOW.minus(30 * MINUTE), NOW)),
    ] {
        let description = if number == 1 { "The site may be slow.".into() } else { String::new() };
        let plan = Plan { description, scope, schedule, ended: None };
        let id = MaintenanceId::from_bytes([number; 16]);
        let maintenance =
            Maintenance { id, name: name.into(), revision: 1, created_at: NOW, updated_at: NOW, plan };
        let put = ConfigChange::PutMaintenance(maintenance.to_row());
        stage.parts.settings.change(|_| Ok::<_, store::Error>(put)).await.unwrap();
    }
    stage.create_page("Acme API Status", vec![site, job]).await;
    let html = page(&stage.app()).await;
    for absent in ["Not on the page", "In a fortnight", "Elsewhere", "Over", script] {
        assert!(!html.contains(absent), "the page shows {absent}");
    }
    insta::assert_snapshot!("maintenance", html);
}
