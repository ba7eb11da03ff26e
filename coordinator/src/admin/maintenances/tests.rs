//! The service over a real owner of the shards.

use std::time::Duration;

use model::Clock as _;
use proto::admin::v1::heartbeats_server::Heartbeats as _;
use proto::admin::v1::monitors_server::Monitors as _;
use tonic::Code;

use super::*;
use crate::admin::bench::{Bench, mask, monitor, refused, said, secs};

fn plan(name: &str) -> wire::Maintenance {
    wire::Maintenance { name: name.into(), all: true, ..wire::Maintenance::default() }
}

fn nightly(name: &str) -> wire::Maintenance {
    wire::Maintenance {
        cron: "0 2 * * *".into(),
        time_zone: "Europe/Berlin".into(),
        duration: secs(7_200),
        ..plan(name)
    }
}

async fn create(bench: &Bench, maintenance: wire::Maintenance) -> Result<wire::Maintenance, Status> {
    let request = wire::CreateMaintenanceRequest { maintenance: Some(maintenance) };
    bench.admin.create_maintenance(Request::new(request)).await.map(Response::into_inner)
}

async fn update(
    bench: &Bench,
    maintenance: wire::Maintenance,
    paths: &[&str],
) -> Result<wire::Maintenance, Status> {
    let request = wire::UpdateMaintenanceRequest { maintenance: Some(maintenance), update_mask: mask(paths) };
    bench.admin.update_maintenance(Request::new(request)).await.map(Response::into_inner)
}

async fn end(bench: &Bench, id: &str) -> Result<wire::Maintenance, Status> {
    let request = wire::EndMaintenanceRequest { id: id.into() };
    bench.admin.end_maintenance(Request::new(request)).await.map(Response::into_inner)
}

fn after(bench: &Bench, seconds: i64) -> Option<prost_types::Timestamp> {
    let at = bench.clock.now().as_secs() + seconds;
    Some(prost_types::Timestamp { seconds: at, nanos: 0 })
}

/// The monitor, once the owner has looked at the calendar.
async fn monitor_with(bench: &Bench, id: &str, status: wire::MonitorStatus) -> wire::Monitor {
    let mut monitor = wire::Monitor::default();
    for _ in 0..500 {
        let request = wire::GetMonitorRequest { id: id.into() };
        monitor = said(bench.admin.get_monitor(Request::new(request)).await);
        if monitor.status() == status {
            return monitor;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {status:?}: {monitor:?}")
}

#[tokio::test]
async fn a_window_covers_who_carries_the_tag_and_ends_by_hand() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let tagged =
        wire::Monitor { tags: vec!["db".into(), "eu".into(), "db".into()], ..monitor("http://a.example") };
    let tagged = bench.create(tagged).await.unwrap();
    assert_eq!(tagged.tags, ["db", "eu"], "sorted, each once");
    let other = bench.create(monitor("http://b.example")).await.unwrap();
    let window = wire::Maintenance {
        all: false,
        tags: vec!["db".into()],
        description: " New disks. ".into(),
        end: after(&bench, 3_600),
        ..plan("disks")
    };
    let made = create(&bench, window).await.unwrap();
    assert!(made.id.starts_with("mnt_") && made.active, "{made:?}");
    assert_eq!((made.start, made.description.as_str()), (after(&bench, 0), "New disks."));
    assert_eq!(made.current.unwrap().end, made.end);

    let inside = monitor_with(&bench, &tagged.id, wire::MonitorStatus::Maintenance).await;
    assert_eq!((inside.maintenance_id, inside.maintenance_until), (made.id.clone(), made.end));
    let list = said(bench.admin.list_monitors(Request::new(wire::ListMonitorsRequest::default())).await);
    assert_eq!(list.monitors.iter().filter(|monitor| !monitor.maintenance_id.is_empty()).count(), 1);
    assert_eq!(monitor_with(&bench, &other.id, wire::MonitorStatus::Pending).await.maintenance_id, "");

    // What is tagged later is covered at once, and no more when the tag goes.
    let change = wire::Monitor { id: other.id.clone(), tags: vec!["db".into()], ..wire::Monitor::default() };
    let changed = bench.update(change.clone(), &["tags"]).await.unwrap();
    assert_eq!(changed.status(), wire::MonitorStatus::Maintenance);
    let changed = bench.update(wire::Monitor { tags: vec![], ..change }, &["tags"]).await.unwrap();
    assert_eq!(changed.status(), wire::MonitorStatus::Pending);

    let ended = end(&bench, "disks").await.unwrap();
    assert!(!ended.active && ended.current.is_none() && ended.etag == "r2", "{ended:?}");
    let outside = monitor_with(&bench, &tagged.id, wire::MonitorStatus::Pending).await;
    assert_eq!(outside.maintenance_id, "");
    assert_eq!(refused(end(&bench, "disks").await).0, Code::FailedPrecondition);
}

#[tokio::test]
async fn a_recurring_window_that_is_ended_opens_again_the_next_time() {
    let bench = Bench::start().await;
    let heartbeat = bench.heartbeat("job").await;
    // 2023-11-14 22:13:20 UTC is 23:13:20 in Berlin.
    let window = wire::Maintenance {
        cron: "0 23 * * *".into(),
        all: false,
        heartbeats: vec!["job".into()],
        ..nightly("nightly")
    };
    let made = create(&bench, window).await.unwrap();
    assert!(made.active);
    assert_eq!(made.heartbeats, std::slice::from_ref(&heartbeat.id));
    let get = || wire::GetHeartbeatRequest { id: "job".into() };
    while said(bench.admin.get_heartbeat(Request::new(get())).await).status()
        != wire::HeartbeatStatus::Maintenance
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let shown = said(bench.admin.get_heartbeat(Request::new(get())).await);
    assert_eq!(shown.maintenance_id, made.id);
    let ended = end(&bench, &made.id).await.unwrap();
    assert_eq!((ended.active, &ended.next), (false, &made.next));
    // The same once more, one day later.
    bench.clock.advance(Duration::from_secs(86_400));
    let request = wire::GetMaintenanceRequest { id: "nightly".into() };
    assert!(said(bench.admin.get_maintenance(Request::new(request)).await).active);
}

#[tokio::test]
async fn every_wrong_field_is_named_with_what_is_allowed() {
    let bench = Bench::start().await;
    let once = |start, end| wire::Maintenance { start, end, ..plan("x") };
    let (past, now, later) = (after(&bench, -90), after(&bench, 0), after(&bench, 60));
    for (wrong, fields, says) in [
        (wire::Maintenance::default(), vec!["name", "all", "end"], "no window is given"),
        (plan(""), vec!["name", "end"], "1 to 200 characters"),
        (once(later, None), vec!["end"], "is required for a single window"),
        (once(later, now), vec!["end"], "must be after the start"),
        (once(past, after(&bench, -10)), vec!["end"], "is in the past: it is 2023-11-14T22:13:20Z now"),
        (once(now, after(&bench, 59)), vec!["end"], "from 1 minute to 30 days"),
        (once(now, after(&bench, 40 * 86_400)), vec!["end"], "from 1 minute to 30 days"),
        (wire::Maintenance { end: later, ..nightly("x") }, vec!["end"], "either start and end, or cron"),
        (
            wire::Maintenance { time_zone: "Berlin".into(), ..nightly("x") },
            vec!["time_zone"],
            "`Europe/Berlin`",
        ),
        (
            wire::Maintenance { cron: "0 25 * * *".into(), ..nightly("x") },
            vec!["cron"],
            "such as `0 2 * * 0`",
        ),
        (wire::Maintenance { cron: String::new(), ..nightly("x") }, vec!["cron"], "is required"),
        (wire::Maintenance { duration: None, ..nightly("x") }, vec!["duration"], "is required"),
        (wire::Maintenance { duration: secs(-5), ..nightly("x") }, vec!["duration"], "from 1 minute"),
        (wire::Maintenance { duration: secs(86_400), ..nightly("x") }, vec!["duration"], "none ever ends"),
        (wire::Maintenance { all: false, ..nightly("x") }, vec!["all"], "nothing is covered"),
        (wire::Maintenance { tags: vec!["db".into()], ..nightly("x") }, vec!["all"], "covers everything"),
        (
            wire::Maintenance { all: false, tags: vec!["DB".into()], ..nightly("x") },
            vec!["tags"],
            "lower-case",
        ),
        (
            wire::Maintenance { all: false, monitors: vec!["nobody".into()], ..nightly("x") },
            vec!["monitors"],
            "there is no monitor `nobody`",
        ),
        (
            wire::Maintenance { all: false, heartbeats: vec!["nobody".into()], ..nightly("x") },
            vec!["heartbeats"],
            "there is no heartbeat `nobody`",
        ),
        (
            wire::Maintenance { description: "x".repeat(2_001), ..nightly("x") },
            vec!["description"],
            "at most 2000 characters",
        ),
    ] {
        let answer = create(&bench, wrong).await;
        let message = answer.as_ref().unwrap_err().message().to_owned();
        let (code, named) = refused(answer);
        assert_eq!(
            (code, named),
            (Code::InvalidArgument, fields.iter().map(|it| (*it).to_owned()).collect()),
            "{message}"
        );
        assert!(message.contains(says), "{message} says not: {says}");
    }
    create(&bench, nightly("x")).await.unwrap();
    assert_eq!(refused(create(&bench, nightly("x")).await).0, Code::AlreadyExists);
}

#[tokio::test]
async fn updates_keep_what_is_not_named_and_respect_the_etag() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let site = bench.create(monitor("http://a.example")).await.unwrap();
    let named = wire::Maintenance { all: false, monitors: vec!["a.example".into()], ..nightly("night") };
    let made = create(&bench, named).await.unwrap();
    assert_eq!(made.monitors, std::slice::from_ref(&site.id));
    let change = || wire::Maintenance { id: "night".into(), ..wire::Maintenance::default() };

    // Its monitor may go; the plan can still be changed.
    let delete = wire::DeleteMonitorRequest { id: site.id.clone(), etag: String::new() };
    said(bench.admin.delete_monitor(Request::new(delete)).await);
    let longer = wire::Maintenance { duration: secs(3_600), etag: made.etag.clone(), ..change() };
    let longer = update(&bench, longer, &["duration"]).await.unwrap();
    assert_eq!((longer.cron.as_str(), longer.monitors.len(), longer.etag.as_str()), ("0 2 * * *", 1, "r2"));
    let stale = wire::Maintenance { etag: made.etag, name: "z".into(), ..change() };
    assert_eq!(refused(update(&bench, stale, &["name"]).await).0, Code::Aborted);
    let all = update(&bench, wire::Maintenance { all: true, ..change() }, &["all"]).await.unwrap();
    assert!(all.all && all.monitors.is_empty());
    let tagged = wire::Maintenance { tags: vec!["db".into()], ..change() };
    let tagged = update(&bench, tagged, &["tags"]).await.unwrap();
    assert!(!tagged.all && tagged.tags == ["db"]);

    // From recurring to a single window and back.
    let once = wire::Maintenance { end: after(&bench, 600), ..change() };
    let once = update(&bench, once, &["end"]).await.unwrap();
    assert_eq!((once.cron.as_str(), once.active, once.start), ("", true, after(&bench, 0)));
    let again = wire::Maintenance { id: "night".into(), ..nightly("") };
    let again = update(&bench, again, &["cron", "duration"]).await.unwrap();
    assert_eq!((again.end, again.time_zone.as_str()), (None, "UTC"));

    assert_eq!(refused(update(&bench, change(), &["active"]).await).1, ["update_mask"]);
    let delete = |etag: &str| wire::DeleteMaintenanceRequest { id: "night".into(), etag: etag.into() };
    assert_eq!(refused(bench.admin.delete_maintenance(Request::new(delete("r1"))).await).0, Code::Aborted);
    said(bench.admin.delete_maintenance(Request::new(delete(""))).await);
    assert_eq!(refused(bench.admin.delete_maintenance(Request::new(delete(""))).await).0, Code::NotFound);
}

#[tokio::test]
async fn plans_are_listed_by_name_page_by_page() {
    let bench = Bench::start().await;
    for name in ["c", "a", "b"] {
        create(&bench, nightly(name)).await.unwrap();
    }
    let page = |page_token: String| wire::ListMaintenancesRequest { page_size: 2, page_token };
    let first = said(bench.admin.list_maintenances(Request::new(page(String::new()))).await);
    let second = said(bench.admin.list_maintenances(Request::new(page(first.next_page_token))).await);
    let names: Vec<_> = first.maintenances.iter().chain(&second.maintenances).map(|it| &it.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(second.next_page_token, "");
}

#[tokio::test]
async fn tags_are_checked_and_kept_on_heartbeats_too() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let many = (0..21).map(|n| format!("t{n}")).collect();
    let wrong = wire::Monitor { tags: many, ..monitor("http://a.example") };
    assert_eq!(refused(bench.create(wrong).await).1, ["tags"]);
    let wrong = wire::Monitor { tags: vec!["a b".into()], ..monitor("http://a.example") };
    assert_eq!(refused(bench.create(wrong).await).1, ["tags"]);
    let heartbeat = bench.heartbeat("job").await;
    let change = wire::Heartbeat { id: heartbeat.id, tags: vec!["db".into()], ..wire::Heartbeat::default() };
    let request =
        wire::UpdateHeartbeatRequest { heartbeat: Some(change.clone()), update_mask: mask(&["tags"]) };
    assert_eq!(said(bench.admin.update_heartbeat(Request::new(request)).await).tags, ["db"]);
    let grace = wire::Heartbeat { grace: secs(60), tags: vec![], ..change };
    let request = wire::UpdateHeartbeatRequest { heartbeat: Some(grace), update_mask: mask(&["grace"]) };
    assert_eq!(said(bench.admin.update_heartbeat(Request::new(request)).await).tags, ["db"]);
}
