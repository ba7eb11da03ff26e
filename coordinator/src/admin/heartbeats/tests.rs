//! The service as its callers see it.

use std::time::Duration;

use engine::heartbeat::PingKind;
use proto::admin::v1::monitors_server::Monitors as _;
use store::journal::{HeardPing, PingMethod};
use tonic::Code;

use super::*;
use crate::admin::bench::{Bench, mask, monitor, refused, said, secs};

fn heartbeat(name: &str, interval: i64) -> wire::Heartbeat {
    wire::Heartbeat { name: name.into(), interval: secs(interval), ..wire::Heartbeat::default() }
}

async fn create(bench: &Bench, heartbeat: wire::Heartbeat) -> Result<Response<wire::Heartbeat>, Status> {
    let request = wire::CreateHeartbeatRequest { heartbeat: Some(heartbeat) };
    bench.admin.create_heartbeat(Request::new(request)).await
}

async fn get(bench: &Bench, id: &str) -> wire::Heartbeat {
    let request = Request::new(wire::GetHeartbeatRequest { id: id.into() });
    said(bench.admin.get_heartbeat(request).await)
}

async fn ping(bench: &Bench, id: &str, kind: PingKind, body: &[u8]) {
    let id = id.parse().unwrap();
    let at = bench.admin.clock.now();
    let heard = HeardPing { method: PingMethod::Post, body: body.to_vec(), ..HeardPing::new(id, kind, at) };
    bench.admin.shards.ping(heard).await.unwrap();
}

#[tokio::test]
async fn the_ping_url_is_shown_once_and_leads_to_the_heartbeat() {
    let bench = Bench::start().await;
    let created = said(create(&bench, heartbeat("nightly_cleanup", 90_000)).await);
    assert_eq!((created.grace, created.status()), (secs(300), wire::HeartbeatStatus::New));
    let token = created.ping_url.strip_prefix("https://status.example.com/api/heartbeat/").unwrap();
    assert_eq!(token.len(), 22);
    let found = bench.admin.views.heartbeat_by_token(&ping::token_digest(token)).unwrap();
    assert_eq!(found.to_string(), created.id);

    assert_eq!(get(&bench, "nightly_cleanup").await.ping_url, "");
    let list = said(bench.admin.list_heartbeats(Request::new(wire::ListHeartbeatsRequest::default())).await);
    assert_eq!(list.heartbeats.len(), 1);
    let everything = format!("{list:?} {:?}", bench.admin.views.all());
    assert!(!everything.contains(token), "{everything}");
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let bench = Bench::start().await;
    for (wrong, fields) in [
        (wire::Heartbeat::default(), vec!["name", "interval"]),
        (heartbeat("x", 0), vec!["interval"]),
        (heartbeat("x", 366 * 86_400 + 1), vec!["interval"]),
        (wire::Heartbeat { grace: secs(0), ..heartbeat("x", 60) }, vec!["grace"]),
        (wire::Heartbeat { grace: secs(31 * 86_400 + 1), ..heartbeat(" ", 60) }, vec!["name", "grace"]),
        (wire::Heartbeat { channels: vec!["ops".into()], ..heartbeat("x", 60) }, vec!["channels"]),
    ] {
        let (code, named) = refused(create(&bench, wrong).await);
        assert_eq!(
            (code, named.iter().map(String::as_str).collect::<Vec<_>>()),
            (Code::InvalidArgument, fields)
        );
    }
    said(create(&bench, heartbeat("x", 60)).await);
    assert_eq!(refused(create(&bench, heartbeat(" x ", 60)).await).0, Code::AlreadyExists);
}

#[tokio::test]
async fn a_monitor_may_have_the_same_name_and_is_another_thing() {
    let bench = Bench::with_regions(&["us-east"]).await;
    bench.create(wire::Monitor { name: "api".into(), ..monitor("http://a.example") }).await.unwrap();
    let created = said(create(&bench, heartbeat("api", 60)).await);
    assert_eq!(get(&bench, "api").await.id, created.id);
    let as_monitor = wire::GetMonitorRequest { id: created.id };
    assert_eq!(refused(bench.admin.get_monitor(Request::new(as_monitor)).await).0, Code::NotFound);
}

#[tokio::test]
async fn updates_keep_the_token_and_change_what_is_named() {
    let bench = Bench::start().await;
    let created = said(create(&bench, heartbeat("job", 600)).await);
    let token = created.ping_url.rsplit('/').next().unwrap().to_owned();
    let update = |heartbeat: wire::Heartbeat, paths: &[&str]| {
        let request = wire::UpdateHeartbeatRequest { heartbeat: Some(heartbeat), update_mask: mask(paths) };
        bench.admin.update_heartbeat(Request::new(request))
    };
    let changed = wire::Heartbeat { id: "job".into(), etag: created.etag.clone(), ..heartbeat("", 1_200) };
    let changed = said(update(changed.clone(), &["interval"]).await);
    assert_eq!((changed.name.as_str(), changed.interval, changed.grace), ("job", secs(1_200), secs(60)));
    // Named without a value: the default of the new interval.
    let again = wire::Heartbeat { id: "job".into(), ..wire::Heartbeat::default() };
    assert_eq!(said(update(again, &["grace"]).await).grace, secs(120));
    let stale = wire::Heartbeat { id: "job".into(), etag: created.etag, ..heartbeat("new", 1) };
    assert_eq!(refused(update(stale, &["name"]).await).0, Code::Aborted);
    let output = wire::Heartbeat { id: "job".into(), ..wire::Heartbeat::default() };
    assert_eq!(refused(update(output, &["ping_url"]).await).1, ["update_mask"]);
    let found = bench.admin.views.heartbeat_by_token(&ping::token_digest(&token));
    assert_eq!(found.map(|id| id.to_string()), Some(created.id));
}

#[tokio::test]
async fn pings_are_listed_newest_first_and_move_the_expectation() {
    let bench = Bench::start().await;
    let id = said(create(&bench, heartbeat("job", 600)).await).id;
    let other = said(create(&bench, heartbeat("other", 600)).await).id;
    assert_eq!(get(&bench, &id).await.expected_at, None);
    for (kind, body) in
        [(PingKind::Start, ""), (PingKind::Exit(0), "done"), (PingKind::Exit(3), "disk full\n")]
    {
        ping(&bench, &id, kind, body.as_bytes()).await;
        ping(&bench, &other, PingKind::Success, b"").await;
        bench.clock.advance(Duration::from_secs(1));
    }
    let present = get(&bench, &id).await;
    let expected = present.last_ping_at.unwrap().seconds + 600;
    assert_eq!(present.expected_at.unwrap().seconds, expected);
    assert_eq!(present.status(), wire::HeartbeatStatus::Missed);
    assert!(present.open_incident_id.starts_with("inc_"));

    let (mut seen, mut page_token) = (vec![], String::new());
    loop {
        let heartbeat_id = "job".into();
        let request = wire::ListPingsRequest {
            heartbeat_id,
            page_size: 1,
            page_token,
            ..wire::ListPingsRequest::default()
        };
        let page = said(bench.admin.list_pings(Request::new(request)).await);
        seen.extend(page.pings.into_iter().map(|ping| (ping.kind, ping.body)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected = [("exit:3", "disk full\n"), ("exit:0", "done"), ("start", "")];
    assert_eq!(seen, expected.map(|(kind, body)| (kind.to_owned(), body.as_bytes().to_vec())));
}

fn by_cron(name: &str, cron: &str, zone: &str) -> wire::Heartbeat {
    let (name, cron, time_zone) = (name.into(), cron.into(), zone.into());
    wire::Heartbeat { name, cron, time_zone, ..wire::Heartbeat::default() }
}

#[tokio::test]
async fn a_job_by_a_calendar_shows_when_it_comes() {
    let bench = Bench::start().await;
    let limits =
        wire::HeartbeatRunLimits { start_grace: secs(60), max_runtime: secs(7_200), keep_alive: None };
    let asked =
        wire::Heartbeat { run_limits: Some(limits), ..by_cron("backup", "0 3 * * *", "Europe/Berlin") };
    let created = said(create(&bench, asked).await);
    assert_eq!((created.cron.as_str(), created.time_zone.as_str()), ("0 3 * * *", "Europe/Berlin"));
    assert_eq!((created.interval, created.grace, created.run_limits), (None, secs(300), Some(limits)));
    assert_eq!(created.upcoming.len(), 5);
    ping(&bench, &created.id, PingKind::Success, b"").await;
    assert_eq!(get(&bench, "backup").await.expected_at, created.upcoming.first().copied());
    let timer = wire::Heartbeat { on_calendar: "daily\n*-*~1 22:00".into(), ..by_cron("timer", "", "") };
    let timer = said(create(&bench, timer).await);
    assert_eq!((timer.on_calendar.as_str(), timer.time_zone.as_str()), ("daily\n*-*~1 22:00", "UTC"));
}

#[tokio::test]
async fn a_schedule_is_replaced_by_one_of_another_kind() {
    let bench = Bench::start().await;
    let hours = "mon-fri 08:00-18:00 UTC";
    let asked = wire::Heartbeat { working_hours: hours.into(), ..heartbeat("job", 3_600) };
    assert_eq!(said(create(&bench, asked).await).working_hours, hours);
    let update = |heartbeat: wire::Heartbeat, paths: &[&str]| {
        let heartbeat = wire::Heartbeat { id: "job".into(), ..heartbeat };
        let request = wire::UpdateHeartbeatRequest { heartbeat: Some(heartbeat), update_mask: mask(paths) };
        bench.admin.update_heartbeat(Request::new(request))
    };
    let changed = said(update(by_cron("", "0 3 * * *", "Asia/Tokyo"), &["cron", "time_zone"]).await);
    assert_eq!(
        (changed.interval, changed.working_hours.as_str()),
        (None, ""),
        "what only intervals have is gone"
    );
    let changed = said(update(by_cron("", "0 4 * * *", ""), &["cron"]).await);
    assert_eq!((changed.cron.as_str(), changed.time_zone.as_str()), ("0 4 * * *", "Asia/Tokyo"));
    let changed = said(update(by_cron("", "", "UTC"), &["time_zone"]).await);
    assert_eq!((changed.cron.as_str(), changed.time_zone.as_str()), ("0 4 * * *", "UTC"));
    let changed = said(update(heartbeat("", 600), &["interval"]).await);
    assert_eq!((changed.interval, changed.cron.as_str(), changed.time_zone.as_str()), (secs(600), "", ""));
    assert_eq!(changed.grace, secs(300), "as it was");
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_said_by_field() {
    let bench = Bench::start().await;
    let limits = |start_grace, max_runtime| {
        Some(wire::HeartbeatRunLimits {
            start_grace: secs(start_grace),
            max_runtime: secs(max_runtime),
            keep_alive: None,
        })
    };
    for (asked, field) in [
        (by_cron("a", "", ""), "interval"),
        (wire::Heartbeat { interval: secs(60), ..by_cron("a", "0 3 * * *", "") }, "interval"),
        (by_cron("a", "0 25 * * *", ""), "cron"),
        (by_cron("a", "0 2 30 2 *", ""), "cron"),
        (wire::Heartbeat { on_calendar: "never".into(), ..by_cron("a", "", "") }, "on_calendar"),
        (by_cron("a", "0 3 * * *", "Europe/Berln"), "time_zone"),
        (wire::Heartbeat { time_zone: "UTC".into(), ..heartbeat("a", 60) }, "time_zone"),
        (wire::Heartbeat { early: secs(60), ..heartbeat("a", 600) }, "early"),
        (wire::Heartbeat { early: secs(86_401), ..by_cron("a", "0 3 * * *", "") }, "early"),
        (wire::Heartbeat { working_hours: "always".into(), ..heartbeat("a", 600) }, "working_hours"),
        (
            wire::Heartbeat {
                working_hours: "mon-fri 08:00-18:00 UTC".into(),
                ..by_cron("a", "0 3 * * *", "")
            },
            "working_hours",
        ),
        (
            wire::Heartbeat { run_limits: limits(301, 60), ..by_cron("a", "0 3 * * *", "") },
            "run_limits.start_grace",
        ),
        (
            wire::Heartbeat { run_limits: limits(60, 0), ..by_cron("a", "0 3 * * *", "") },
            "run_limits.max_runtime",
        ),
    ] {
        let (code, fields) = refused(create(&bench, asked.clone()).await);
        assert_eq!((code, fields), (Code::InvalidArgument, vec![field.to_owned()]), "{asked:?}");
    }
}
