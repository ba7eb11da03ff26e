//! The service as its callers see it.

mod dependencies;

use std::collections::BTreeSet;
use std::time::Duration;

use model::AgentId;
use proto::admin::v1::heartbeats_server::Heartbeats as _;
use store::faulty::Fault;
use tokio::sync::mpsc;
use tonic::Code;

use super::*;
use crate::admin::bench::{Bench, monitor, refused, said, secs};
use crate::fleet::Introduction;

fn id(id: &str) -> String {
    id.to_owned()
}

#[tokio::test]
async fn a_monitor_of_a_url_alone_has_every_default() {
    let bench = Bench::with_regions(&["us-east", "eu-west", "ap-south"]).await;
    let created = bench.create(monitor("https://yourdomain.com/health")).await.unwrap();
    assert!(created.id.starts_with("mon_"));
    assert_eq!(created.name, "yourdomain.com/health");
    assert_eq!((created.method.as_str(), created.quorum.as_str()), ("GET", "majority"));
    assert_eq!(
        (created.interval, created.timeout, created.confirmation_period),
        (secs(60), secs(10), secs(0))
    );
    assert_eq!(created.regions, ["ap-south", "eu-west", "us-east"]);
    assert_eq!((created.recovery_checks, created.spec_revision), (2, 1));
    assert_eq!((created.failure_threshold, created.success_threshold), (1, 1));
    assert_eq!((created.recovery_period, created.latency_limit), (secs(0), None));
    assert!(created.depends_on.is_empty());
    assert_eq!(created.health, "read");
    assert_eq!(created.status(), wire::MonitorStatus::Pending);
    assert_eq!(created.region_states.len(), 3);
    let short = wire::Monitor { interval: secs(3), ..monitor("tcp://db.internal:5432") };
    let short = bench.create(short).await.unwrap();
    assert_eq!(
        (short.timeout, short.name.as_str(), short.method.as_str()),
        (secs(3), "db.internal:5432", "")
    );
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let wrong = wire::Monitor {
        name: "a\nb".into(),
        url: "file:///etc/passwd".into(),
        interval: Some(prost_types::Duration { seconds: 0, nanos: 999_000_000 }),
        timeout: secs(-1),
        regions: vec!["us-east".into(), "mars".into()],
        quorum: "most".into(),
        confirmation_period: secs(86_401),
        recovery_checks: 21,
        channels: vec!["nowhere".into()],
        failure_threshold: 21,
        success_threshold: u32::MAX,
        recovery_period: secs(86_401),
        latency_limit: secs(121),
        depends_on: vec!["nobody".into()],
        ..wire::Monitor::default()
    };
    let answer = bench.create(wrong).await;
    let text = answer.as_ref().unwrap_err().message().to_owned();
    let (code, fields) = refused(answer);
    assert_eq!(code, Code::InvalidArgument);
    let all = [
        "url",
        "name",
        "interval",
        "timeout",
        "regions",
        "quorum",
        "confirmation_period",
        "recovery_checks",
        "channels",
        "failure_threshold",
        "success_threshold",
        "recovery_period",
        "latency_limit",
        "depends_on",
    ];
    assert_eq!(fields, all);
    assert!(text.contains("there is no region `mars`; there are: us-east"), "{text}");
}

#[tokio::test]
async fn each_field_is_refused_by_its_name() {
    let bench = Bench::with_regions(&["us-east", "eu-west"]).await;
    let http = || monitor("http://a.example");
    let header = |name: &str, value: &str| wire::Header { name: name.into(), value: value.into() };
    for (wrong, field) in [
        (monitor(""), "url"),
        (monitor("a.example/health"), "url"),
        (monitor("ftp://a.example"), "url"),
        (wire::Monitor { method: "BREW".into(), ..http() }, "method"),
        (wire::Monitor { method: "GET".into(), ..monitor("tcp://a.example:1") }, "method"),
        (wire::Monitor { headers: vec![header("x\r\ny", "1")], ..http() }, "headers"),
        (wire::Monitor { headers: vec![header("Host", "b/c")], ..http() }, "headers"),
        (wire::Monitor { headers: vec![header("Content-Length", "1")], ..http() }, "headers"),
        (wire::Monitor { assertions: vec!["latency < 300".into()], ..http() }, "assertions"),
        (wire::Monitor { assertions: vec!["certificate_days > 1".into()], ..http() }, "assertions"),
        (wire::Monitor { assertions: vec!["latency < 1s".into(); 21], ..http() }, "assertions"),
        (
            wire::Monitor { assertions: vec!["status == 200".into()], ..monitor("tcp://a.example:1") },
            "assertions",
        ),
        (wire::Monitor { ip_version: 5, ..http() }, "ip_version"),
        (wire::Monitor { connect_to: "b.example".into(), ..http() }, "connect_to"),
        (wire::Monitor { connect_to: "192.0.2.1".into(), ip_version: 6, ..http() }, "connect_to"),
        (wire::Monitor { server_name: "b.example".into(), ..http() }, "server_name"),
        (wire::Monitor { max_redirects: Some(21), ..http() }, "max_redirects"),
        (wire::Monitor { client_certificate: "acme".into(), ..http() }, "client_certificate"),
        (
            wire::Monitor { client_certificate: "a b".into(), ..monitor("tls://a.example") },
            "client_certificate",
        ),
        (wire::Monitor { http_version: "3".into(), ..http() }, "http_version"),
        (wire::Monitor { http_version: "2".into(), ..monitor("wss://a.example") }, "http_version"),
        (wire::Monitor { compressed: true, ..monitor("wss://a.example") }, "compressed"),
        (wire::Monitor { reuse_connection: true, ..monitor("wss://a.example") }, "reuse_connection"),
        (wire::Monitor { reuse_connection: true, http_version: "2".into(), ..http() }, "reuse_connection"),
        (wire::Monitor { max_redirects: Some(u32::MAX), ..http() }, "max_redirects"),
        (wire::Monitor { max_redirects: Some(5), ..monitor("tcp://a.example:1") }, "max_redirects"),
        (wire::Monitor { headers: vec![header("x", "1"); 51], ..http() }, "headers"),
        (wire::Monitor { expected_status: vec![200, 600], ..http() }, "expected_status"),
        (wire::Monitor { expected_status: vec![u32::MAX], ..http() }, "expected_status"),
        (wire::Monitor { interval: secs(i64::MAX), ..http() }, "interval"),
        (wire::Monitor { interval: secs(5), timeout: secs(6), ..http() }, "timeout"),
        (wire::Monitor { interval: secs(500), timeout: secs(121), ..http() }, "timeout"),
        (wire::Monitor { quorum: "at_least:3".into(), ..http() }, "quorum"),
        (wire::Monitor { quorum: "at_least:0".into(), ..http() }, "quorum"),
        (wire::Monitor { quorum: "percent:101".into(), ..http() }, "quorum"),
        (wire::Monitor { quorum: "2 of eu-* and 1 of other".into(), ..http() }, "quorum"),
        (wire::Monitor { quorum: "1 of sa-* and 1 of other".into(), ..http() }, "quorum"),
        (wire::Monitor { regions: vec!["EU West".into()], ..http() }, "regions"),
        (wire::Monitor { name: "x".repeat(201), ..http() }, "name"),
        (wire::Monitor { confirmation_period: secs(-1), ..http() }, "confirmation_period"),
        (wire::Monitor { failure_threshold: 65_537, ..http() }, "failure_threshold"),
        (wire::Monitor { recovery_period: secs(-1), ..http() }, "recovery_period"),
        (wire::Monitor { latency_limit: secs(-1), ..http() }, "latency_limit"),
        (wire::Monitor { timeout: secs(5), latency_limit: secs(6), ..http() }, "latency_limit"),
        (wire::Monitor { health: "yes".into(), ..http() }, "health"),
        (wire::Monitor { health: "expect".into(), method: "HEAD".into(), ..http() }, "health"),
        (wire::Monitor { health: "strict".into(), method: "head".into(), ..http() }, "health"),
        (wire::Monitor { health: "ignore".into(), ..monitor("tcp://a.example:1") }, "health"),
        (wire::Monitor { health: "yes".into(), ..monitor("tcp://a.example:1") }, "health"),
    ] {
        let shown = format!("{field}: {wrong:?}");
        assert_eq!(
            refused(bench.create(wrong).await),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn without_any_region_the_way_to_one_is_told() {
    let bench = Bench::start().await;
    let refusal = bench.create(monitor("http://a.example")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("agent create"), "{refusal}");
    // What is wrong otherwise is said first.
    assert_eq!(refused(bench.create(monitor("a.example")).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn names_are_unique_and_stand_for_ids() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let created = bench.create(monitor("http://a.example")).await.unwrap();
    let again = bench.create(monitor("https://a.example/")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert!(again.message().contains("monitor `a.example` already exists"), "{again}");
    for asked in [created.id.as_str(), "a.example"] {
        let found = bench.admin.get_monitor(Request::new(wire::GetMonitorRequest { id: id(asked) })).await;
        assert_eq!(said(found).id, created.id);
    }
    let nobody = bench.admin.get_monitor(Request::new(wire::GetMonitorRequest { id: id("b.example") })).await;
    let nobody = nobody.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::NotFound, "there is no monitor `b.example`"));
    let nothing = bench.admin.get_monitor(Request::new(wire::GetMonitorRequest::default())).await;
    assert_eq!(refused(nothing), (Code::InvalidArgument, vec![id("id")]));
}

#[tokio::test]
async fn an_update_changes_the_named_fields_and_nothing_else() {
    let bench = Bench::with_regions(&["us-east", "eu-west"]).await;
    let ops = bench.channel("ops").await;
    let created = wire::Monitor { channels: vec!["ops".into()], ..monitor("http://a.example/x?y=1") };
    let created = bench.create(created).await.unwrap();
    assert_eq!(created.channels, std::slice::from_ref(&ops.id));

    bench.clock.advance(Duration::from_secs(2));
    let renamed = wire::Monitor {
        id: created.id.clone(),
        name: "site".into(),
        quorum: "any".into(),
        ..created.clone()
    };
    let renamed = bench.update(renamed, &["name"]).await.unwrap();
    assert_ne!(renamed.etag, created.etag);
    let only_name = wire::Monitor {
        name: "site".into(),
        etag: renamed.etag.clone(),
        updated_at: renamed.updated_at,
        region_states: renamed.region_states.clone(),
        ..created.clone()
    };
    assert_eq!(renamed, only_name);

    let faster = wire::Monitor { id: "site".into(), interval: secs(30), ..wire::Monitor::default() };
    let faster = bench.update(faster, &["interval", "channels"]).await.unwrap();
    assert_eq!((faster.interval, faster.spec_revision), (secs(30), 2));
    assert!(faster.channels.is_empty());
}

#[tokio::test]
async fn turning_http_into_tcp_drops_what_only_http_has() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let http = monitor("http://a.example:81");
    let http = wire::Monitor { expected_status: vec![200], health: "strict".into(), ..http };
    let id = bench.create(http).await.unwrap().id;
    let tcp = wire::Monitor { id: id.clone(), url: "tcp://a.example:81".into(), ..wire::Monitor::default() };
    let tcp = bench.update(tcp, &["url"]).await.unwrap();
    assert_eq!(
        (tcp.url.as_str(), tcp.method.as_str(), tcp.expected_status.len()),
        ("tcp://a.example:81", "", 0)
    );
    assert_eq!(tcp.health, "");
    let method = wire::Monitor { id, method: "HEAD".into(), ..wire::Monitor::default() };
    assert_eq!(refused(bench.update(method, &["method"]).await).1, ["method"]);
}

#[tokio::test]
async fn every_kind_of_target_is_created_and_shown_with_what_is_asked_of_it() {
    let bench = Bench::with_regions(&["us-east"]).await;
    for (url, asked) in [
        (
            "tcp://a.example:25",
            wire::Monitor {
                send: r"QUIT\r\n".into(),
                expect: vec!["221".into()],
                ..wire::Monitor::default()
            },
        ),
        ("tls://a.example:443", wire::Monitor { certificate_days: 14, ..wire::Monitor::default() }),
        (
            "dns://192.0.2.1:53/a.example?type=MX",
            wire::Monitor { expect: vec!["10 mx.a.example".into()], ..wire::Monitor::default() },
        ),
        ("icmp://a.example", wire::Monitor::default()),
        (
            "grpcs://a.example:443/acme.v1.Orders",
            wire::Monitor { certificate_days: 14, ..wire::Monitor::default() },
        ),
        (
            "wss://a.example/chat",
            wire::Monitor { send: "hello".into(), expect: vec!["world".into()], ..wire::Monitor::default() },
        ),
        (
            "imap://a.example:143",
            wire::Monitor { expect: vec!["STARTTLS".into()], ..wire::Monitor::default() },
        ),
    ] {
        let made = bench.create(wire::Monitor { url: url.into(), ..asked.clone() }).await.unwrap();
        assert_eq!(
            (made.url.as_str(), &made.send, &made.expect, made.certificate_days),
            (url, &asked.send, &asked.expect, asked.certificate_days)
        );
        // Another kind drops what it has no use for, also what it could have had.
        let page = wire::Monitor {
            id: made.id.clone(),
            url: "https://b.example".into(),
            ..wire::Monitor::default()
        };
        assert_eq!(bench.update(page, &["url"]).await.unwrap().send, "", "{url}");
        let ping = wire::Monitor { id: made.id, url: "icmp://b.example".into(), ..wire::Monitor::default() };
        let ping = bench.update(ping, &["url"]).await.unwrap();
        assert_eq!((ping.send.as_str(), ping.expect.len(), ping.certificate_days), ("", 0, 0), "{url}");
    }
}

#[tokio::test]
async fn what_a_kind_of_target_has_no_use_for_is_refused_by_name() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let asked = |url: &str| wire::Monitor {
        headers: vec![wire::Header { name: "x-a".into(), value: "1".into() }],
        send: "hello".into(),
        expect: vec!["world".into()],
        certificate_days: 14,
        ..monitor(url)
    };
    for (url, fields) in [
        ("https://a.example", vec!["send"]),
        ("icmp://a.example", vec!["headers", "send", "expect", "certificate_days"]),
        ("ws://a.example", vec!["certificate_days"]),
    ] {
        assert_eq!(refused(bench.create(asked(url)).await).1, fields, "{url}");
    }
    let wrong = wire::Monitor { send: r"\q".into(), ..monitor("tcp://a.example:1") };
    assert_eq!(refused(bench.create(wrong).await).1, ["send"]);
    let long = wire::Monitor { certificate_days: 70_000, ..monitor("tls://a.example") };
    assert_eq!(refused(bench.create(long).await).1, ["certificate_days"]);
}

#[tokio::test]
async fn what_a_health_report_means_is_one_of_four_words() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let id = bench.create(monitor("http://a.example")).await.unwrap().id;
    let told =
        |health: &str| wire::Monitor { id: id.clone(), health: health.into(), ..wire::Monitor::default() };
    for (asked, shown) in
        [("ignore", "ignore"), ("Expect", "expect"), ("STRICT", "strict"), ("read", "read"), ("", "read")]
    {
        assert_eq!(bench.update(told(asked), &["health"]).await.unwrap().health, shown);
    }
    let refusal = bench.update(told("down"), &["health"]).await.unwrap_err();
    assert!(refusal.message().contains("health: must be ignore, read, expect or strict"), "{refusal}");
    // Whatever comes second, a report is not expected of an answer without a body.
    bench.update(told("strict"), &["health"]).await.unwrap();
    let head = wire::Monitor { id: id.clone(), method: "HEAD".into(), ..wire::Monitor::default() };
    let refusal = bench.update(head.clone(), &["method"]).await.unwrap_err();
    assert!(refusal.message().contains("health: `strict` needs a body"), "{refusal}");
    let unread = wire::Monitor { health: "ignore".into(), ..head };
    assert_eq!(bench.update(unread, &["method", "health"]).await.unwrap().health, "ignore");
    // What is said by default can be said of TCP too.
    let tcp = wire::Monitor { health: "read".into(), ..monitor("tcp://a.example:1") };
    assert_eq!(bench.create(tcp).await.unwrap().health, "");
}

#[tokio::test]
async fn masks_and_values_of_updates_are_checked() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let id = bench.create(monitor("http://a.example")).await.unwrap().id;
    let same = || wire::Monitor { id: id.clone(), interval: secs(5), ..wire::Monitor::default() };
    assert_eq!(refused(bench.update(same(), &[]).await), (Code::InvalidArgument, vec!["update_mask".into()]));
    assert_eq!(refused(bench.update(same(), &["nmae"]).await).1, ["update_mask"]);
    assert_eq!(refused(bench.update(same(), &["status", "etag"]).await).1, ["update_mask", "update_mask"]);
    assert_eq!(refused(bench.update(same(), &["regions"]).await).1, ["regions"]);
    assert_eq!(refused(bench.update(same(), &["name"]).await).1, ["name"]);
    // The timeout that stays is 10 s.
    assert_eq!(refused(bench.update(same(), &["interval"]).await).1, ["timeout"]);
}

#[tokio::test]
async fn an_old_etag_is_refused_and_none_means_whatever_is_there() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let created = bench.create(monitor("http://a.example")).await.unwrap();
    let with = |etag: &str, name: &str| wire::Monitor {
        id: created.id.clone(),
        etag: etag.into(),
        name: name.into(),
        ..wire::Monitor::default()
    };
    let second = bench.update(with(&created.etag, "b"), &["name"]).await.unwrap();
    let stale = bench.update(with(&created.etag, "c"), &["name"]).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    assert!(stale.message().starts_with("etag: "), "{stale}");
    bench.update(with("", "d"), &["name"]).await.unwrap();
    let delete = |etag: &str| Request::new(wire::DeleteMonitorRequest { id: "d".into(), etag: etag.into() });
    let refusal = bench.admin.delete_monitor(delete(&second.etag)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Aborted);
    assert_eq!(bench.admin.delete_monitor(delete("nonsense")).await.unwrap_err().code(), Code::Aborted);
    bench.admin.delete_monitor(delete("")).await.unwrap();
    assert_eq!(bench.admin.delete_monitor(delete("")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn concurrent_changes_without_an_etag_all_succeed() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let id = bench.create(monitor("http://a.example")).await.unwrap().id;
    let draft = || wire::Monitor { id: id.clone(), ..wire::Monitor::default() };
    let interval = wire::Monitor { interval: secs(30), ..draft() };
    let quorum = wire::Monitor { quorum: "any".into(), ..draft() };
    let name = wire::Monitor { name: "new".into(), ..draft() };
    let done = tokio::join!(
        bench.update(interval, &["interval"]),
        bench.update(quorum, &["quorum"]),
        bench.update(name, &["name"]),
    );
    assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok());
    let present = said(bench.admin.get_monitor(Request::new(wire::GetMonitorRequest { id })).await);
    assert_eq!((present.interval, present.quorum.as_str(), present.name.as_str()), (secs(30), "any", "new"));
    assert_eq!(present.etag, "r4");
}

#[tokio::test]
async fn pausing_rests_and_resuming_begins_anew() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let id = bench.create(monitor("http://a.example")).await.unwrap().id;
    let pause = || Request::new(wire::PauseMonitorRequest { id: id.clone() });
    let paused = said(bench.admin.pause_monitor(pause()).await);
    assert_eq!(paused.status(), wire::MonitorStatus::Paused);
    // Again changes nothing.
    assert_eq!(said(bench.admin.pause_monitor(pause()).await).etag, paused.etag);
    let resume = Request::new(wire::ResumeMonitorRequest { id: id.clone() });
    let resumed = said(bench.admin.resume_monitor(resume).await);
    assert_eq!(resumed.status(), wire::MonitorStatus::Pending);
}

#[tokio::test]
async fn lists_walk_everything_once_by_name() {
    let bench = Bench::with_regions(&["us-east"]).await;
    for number in [3, 1, 4, 0, 2] {
        bench.create(monitor(&format!("http://{number}.example"))).await.unwrap();
    }
    bench.heartbeat("not a monitor").await;
    let (mut names, mut page_token) = (vec![], String::new());
    loop {
        let request = wire::ListMonitorsRequest { page_size: 2, page_token };
        let page = said(bench.admin.list_monitors(Request::new(request)).await);
        assert!(page.monitors.len() <= 2);
        names.extend(page.monitors.into_iter().map(|monitor| monitor.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["0.example", "1.example", "2.example", "3.example", "4.example"]);
    let bad = wire::ListMonitorsRequest { page_size: -1, page_token: "x".into() };
    let bad = bench.admin.list_monitors(Request::new(bad)).await;
    assert_eq!(refused(bad), (Code::InvalidArgument, vec![id("page_size"), id("page_token")]));
}

#[tokio::test]
async fn votes_and_the_next_check_are_shown_per_region() {
    let bench = Bench::with_regions(&["eu-west", "us-east"]).await;
    let live = |region: &str| crate::shard::Input::RegionLive { region: region.parse().unwrap(), live: true };
    bench.admin.shards.tell(live("us-east")).await;
    let created = bench.create(monitor("http://a.example")).await.unwrap();
    bench.results(&created, "us-east", 1..=1).await;
    let request = Request::new(wire::GetMonitorRequest { id: created.id.clone() });
    let shown = said(bench.admin.get_monitor(request).await);
    let [eu, us] = shown.region_states.as_slice() else { panic!("{shown:?}") };
    assert_eq!(
        (eu.region.as_str(), eu.live, eu.vote.is_none(), eu.next_check_at),
        ("eu-west", false, true, None)
    );
    assert!(us.live && us.vote.as_ref().is_some_and(|vote| vote.outcome == "pass"), "{us:?}");
    let next = us.next_check_at.unwrap().seconds - 1_700_000_000;
    assert!((0..=60).contains(&next), "{next}");

    let request = Request::new(wire::ExplainMonitorRequest { id: created.id });
    let explained = said(bench.admin.explain_monitor(request).await);
    assert_eq!((explained.policy.as_str(), explained.votes.len()), ("majority: 2 of 2 regions", 2));
    assert!(!explained.decision.is_empty() && !explained.would_change.is_empty());
}

#[tokio::test]
async fn results_are_walked_newest_first_exactly_once() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let watched = bench.create(monitor("http://a.example")).await.unwrap();
    let other = bench.create(monitor("http://b.example")).await.unwrap();
    for first in [1, 11, 21] {
        bench.results(&watched, "us-east", first..=first + 4).await;
        bench.results(&other, "us-east", first + 5..=first + 9).await;
        bench.clock.advance(Duration::from_secs(60));
    }
    for page_size in [1, 2, 7, 100] {
        let (mut seqs, mut page_token) = (vec![], String::new());
        loop {
            let request = wire::ListResultsRequest {
                monitor_id: watched.id.clone(),
                page_size,
                page_token,
                ..wire::ListResultsRequest::default()
            };
            let page = said(bench.admin.list_results(Request::new(request)).await);
            seqs.extend(page.results.into_iter().map(|result| result.seq));
            assert!(seqs.len() < 100, "the pages do not end");
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seqs, [25, 24, 23, 22, 21, 15, 14, 13, 12, 11, 5, 4, 3, 2, 1], "{page_size}");
    }
    // The second batch ended 60 s after the first, and two minutes have passed since.
    let at = |seconds: i64| Some(prost_types::Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 });
    let window = wire::ListResultsRequest {
        monitor_id: watched.id.clone(),
        since: at(57),
        until: at(60),
        ..wire::ListResultsRequest::default()
    };
    let page = said(bench.admin.list_results(Request::new(window)).await);
    assert_eq!(page.results.iter().map(|result| result.seq).collect::<Vec<_>>(), [14, 13, 12]);
    let backwards = wire::ListResultsRequest {
        monitor_id: watched.id,
        since: at(60),
        until: at(57),
        ..wire::ListResultsRequest::default()
    };
    assert_eq!(refused(bench.admin.list_results(Request::new(backwards)).await).1, ["since"]);
}

#[tokio::test]
async fn a_change_that_cannot_be_committed_is_unavailable() {
    let bench = Bench::with_regions(&["us-east"]).await;
    bench.faults.lasting(Fault::Unavailable);
    let refusal = bench.create(monitor("http://a.example")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    let request = wire::PauseHeartbeatRequest { id: id("nobody") };
    assert_eq!(bench.admin.pause_heartbeat(Request::new(request)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn regions_that_cannot_make_a_check_are_named_with_what_they_lack() {
    let bench = Bench::with_regions(&["eu-west", "us-east"]).await;
    let who = Introduction {
        agent: AgentId::from_bytes([1; 16]),
        name: "probe-1".into(),
        region: "us-east".parse().unwrap(),
        process_nonce: [1; 16],
        epoch: 1,
        version: "0.1.0".into(),
        capacity: 0,
        digest: vec![],
        dropped_results: 0,
        clock_offset_micros: None,
        capabilities: ["http".to_owned()].into_iter().collect(),
        is_embedded: false,
    };
    let (outgoing, _wire) = mpsc::unbounded_channel();
    bench.admin.fleet.join(who, outgoing).unwrap();
    let created = bench.create(monitor("icmp://a.example")).await.unwrap();
    let [unsupported] = created.unsupported.as_slice() else { panic!("{created:?}") };
    assert_eq!(unsupported.region, "us-east", "of the other region nothing is known");
    assert!(unsupported.reason.starts_with("probe-1 may not send ICMP echo requests"), "{unsupported:?}");
    assert!(bench.create(monitor("http://a.example")).await.unwrap().unsupported.is_empty());
    let list = wire::ListMonitorsRequest::default();
    let list = said(bench.admin.list_monitors(Request::new(list)).await).monitors;
    let named: Vec<usize> = list.iter().map(|monitor| monitor.unsupported.len()).collect();
    assert_eq!(named.iter().sum::<usize>(), 1);
}

#[tokio::test]
async fn updates_by_mask_reach_every_changeable_field() {
    let bench = Bench::with_regions(&["eu-west", "us-east"]).await;
    bench.channel("ops").await;
    let parent = bench.create(monitor("http://parent.example")).await.unwrap().id;
    let id = bench.create(monitor("http://a.example")).await.unwrap().id;
    let new = wire::Monitor {
        id,
        name: "n".into(),
        url: "https://b.example/x".into(),
        method: "post".into(),
        headers: vec![wire::Header { name: "x-a".into(), value: "1".into() }],
        expected_status: vec![204],
        interval: secs(120),
        timeout: secs(4),
        regions: vec!["us-east".into()],
        quorum: "any".into(),
        confirmation_period: secs(60),
        recovery_checks: 5,
        channels: vec!["ops".into()],
        failure_threshold: 3,
        success_threshold: 4,
        recovery_period: secs(300),
        latency_limit: secs(2),
        depends_on: vec![parent],
        health: "expect".into(),
        tags: vec!["prod".into()],
        send: "hello".into(),
        expect: vec!["world".into()],
        certificate_days: 14,
        assertions: vec!["latency < 300ms".into()],
        upside_down: true,
        ip_version: 4,
        connect_to: "192.0.2.1".into(),
        server_name: "c.example".into(),
        max_redirects: Some(0),
        client_certificate: "acme".into(),
        http_version: "1".into(),
        compressed: true,
        reuse_connection: true,
        alert: Some(wire::Alert { severity: "critical".into(), delay: secs(60), ..wire::Alert::default() }),
        ..wire::Monitor::default()
    };
    let over_http = |field: &str| !matches!(field, "send" | "expect");
    let over_websocket = ["url", "send", "expect"];
    let mask: Vec<&str> = draft::CHANGEABLE.into_iter().filter(|field| over_http(field)).collect();
    let done = bench.update(new.clone(), &mask).await.unwrap();
    let socket = wire::Monitor { url: "wss://b.example/x".into(), ..new.clone() };
    let socket = bench.update(socket, &over_websocket).await.unwrap();
    let told = format!("{done:?}");
    let wrong: BTreeSet<&str> = draft::CHANGEABLE
        .into_iter()
        .filter(|field| match *field {
            "name" => done.name != new.name,
            "url" => done.url != new.url,
            "method" => done.method != "POST",
            "headers" => done.headers != new.headers,
            "expected_status" => done.expected_status != new.expected_status,
            "interval" => done.interval != new.interval,
            "timeout" => done.timeout != new.timeout,
            "regions" => done.regions != new.regions,
            "quorum" => done.quorum != new.quorum,
            "confirmation_period" => done.confirmation_period != new.confirmation_period,
            "recovery_checks" => done.recovery_checks != new.recovery_checks,
            "channels" => done.channels.len() != 1,
            "failure_threshold" => done.failure_threshold != new.failure_threshold,
            "success_threshold" => done.success_threshold != new.success_threshold,
            "recovery_period" => done.recovery_period != new.recovery_period,
            "latency_limit" => done.latency_limit != new.latency_limit,
            "depends_on" => done.depends_on != new.depends_on,
            "tags" => done.tags != new.tags,
            "health" => done.health != new.health,
            "send" => socket.send != new.send,
            "expect" => socket.expect != new.expect,
            "certificate_days" => done.certificate_days != new.certificate_days,
            "assertions" => done.assertions != new.assertions,
            "upside_down" => done.upside_down != new.upside_down,
            "ip_version" => done.ip_version != new.ip_version,
            "connect_to" => done.connect_to != new.connect_to,
            "server_name" => done.server_name != new.server_name,
            "max_redirects" => done.max_redirects != new.max_redirects,
            "client_certificate" => done.client_certificate != new.client_certificate,
            "http_version" => done.http_version != "1.1",
            "compressed" => done.compressed != new.compressed,
            "reuse_connection" => done.reuse_connection != new.reuse_connection,
            "alert" => done.alert != new.alert,
            unknown => panic!("{unknown} is not tested"),
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} in {told}");
}
