//! Policies, silences, options and acknowledgements over a real owner of the shards.

use engine::heartbeat::PingKind;
use proto::admin::v1::channels_server::Channels as _;
use proto::admin::v1::heartbeats_server::Heartbeats as _;
use proto::admin::v1::incidents_server::Incidents as _;
use proto::admin::v1::policies_server::Policies as _;
use proto::admin::v1::silences_server::Silences as _;
use store::journal::HeardPing;
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::admin::bench::{Bench, mask, said, secs};

async fn with_channels(names: &[&str]) -> Bench {
    let bench = Bench::start().await;
    for name in names {
        bench.channel(name).await;
    }
    bench
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Status {
    answer.unwrap_err()
}

/// Everything that can be said.
fn everything() -> wire::Alert {
    wire::Alert {
        severity: "critical".into(),
        delay: secs(120),
        remind_every: secs(1_800),
        remind_backoff: "double".into(),
        remind_max: 5,
        escalation: vec![wire::EscalationStep { after: secs(900), channels: vec!["boss".into()] }],
        escalation_repeat: 2,
        quiet_hours: Some(wire::QuietHours {
            days: vec!["sat".into(), "Sun".into()],
            from: "22:00".into(),
            to: "7:00".into(),
            time_zone: "Europe/Berlin".into(),
            hold_critical: true,
        }),
        no_recovery: true,
        no_acknowledgement: true,
    }
}

fn policy(name: &str) -> wire::Policy {
    wire::Policy {
        name: name.into(),
        tags: vec!["payments".into()],
        channels: vec!["ops".into()],
        ..wire::Policy::default()
    }
}

async fn create(bench: &Bench, policy: wire::Policy) -> Result<wire::Policy, Status> {
    let request = wire::CreatePolicyRequest { policy: Some(policy) };
    bench.admin.create_policy(Request::new(request)).await.map(Response::into_inner)
}

async fn update(bench: &Bench, policy: wire::Policy, paths: &[&str]) -> Result<wire::Policy, Status> {
    let request = wire::UpdatePolicyRequest { policy: Some(policy), update_mask: mask(paths) };
    bench.admin.update_policy(Request::new(request)).await.map(Response::into_inner)
}

async fn silence(bench: &Bench, silence: wire::Silence) -> Result<wire::Silence, Status> {
    let request = wire::CreateSilenceRequest { silence: Some(silence) };
    bench.admin.create_silence(Request::new(request)).await.map(Response::into_inner)
}

#[tokio::test]
async fn what_is_said_of_alerts_comes_back_and_what_is_not_named_stays() {
    let bench = with_channels(&["ops", "boss"]).await;
    let created =
        create(&bench, wire::Policy { alert: Some(everything()), ..policy("payments") }).await.unwrap();
    let alert = created.alert.clone().unwrap();
    let hours = alert.quiet_hours.clone().unwrap();
    assert_eq!(
        (hours.from.as_str(), hours.to.as_str(), hours.days),
        ("22:00", "07:00", vec!["sat".into(), "sun".into()])
    );
    assert!(alert.escalation[0].channels[0].starts_with("chn_"), "by id");
    assert_eq!((alert.remind_backoff.as_str(), alert.remind_max, alert.escalation_repeat), ("double", 5, 2));

    let asked = wire::Policy {
        id: "payments".into(),
        name: "money".into(),
        etag: created.etag.clone(),
        ..wire::Policy::default()
    };
    let renamed = update(&bench, asked.clone(), &["name"]).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.alert, renamed.tags), ("money", created.alert, created.tags));
    assert_eq!(
        refused(update(&bench, wire::Policy { id: "money".into(), ..asked }, &["name"]).await).code(),
        Code::Aborted
    );
    let plain = update(
        &bench,
        wire::Policy { id: "money".into(), all: true, ..wire::Policy::default() },
        &["alert", "all"],
    )
    .await;
    let plain = plain.unwrap();
    assert!(plain.alert.is_none() && plain.all && plain.tags.is_empty(), "{plain:?}");

    let job = wire::Heartbeat {
        name: "job".into(),
        interval: secs(60),
        alert: Some(wire::Alert { delay: secs(30), ..wire::Alert::default() }),
        ..wire::Heartbeat::default()
    };
    let request = wire::CreateHeartbeatRequest { heartbeat: Some(job) };
    let job = said(bench.admin.create_heartbeat(Request::new(request)).await);
    assert_eq!(job.alert.clone().unwrap().delay, secs(30));
    let asked = wire::Heartbeat { id: "job".into(), interval: secs(90), ..wire::Heartbeat::default() };
    let request = wire::UpdateHeartbeatRequest { heartbeat: Some(asked), update_mask: mask(&["interval"]) };
    let changed = said(bench.admin.update_heartbeat(Request::new(request)).await);
    assert_eq!(changed.alert, job.alert);
}

#[tokio::test]
async fn every_wrong_field_of_an_alert_is_named() {
    let bench = with_channels(&["ops"]).await;
    let wrong = wire::Alert {
        severity: "fatal".into(),
        delay: secs(100_000),
        remind_backoff: "cubic".into(),
        escalation: vec![wire::EscalationStep { after: None, channels: vec!["nobody".into()] }],
        quiet_hours: Some(wire::QuietHours { from: "22".into(), ..wire::QuietHours::default() }),
        ..wire::Alert::default()
    };
    let refusal = refused(create(&bench, wire::Policy { alert: Some(wrong), ..policy("x") }).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    for part in [
        "alert.severity: must be warning or critical",
        "alert.delay: must be at most",
        "alert.remind_backoff: must be none, linear or double",
        "alert.remind_every: is required for reminders",
        "alert.escalation: every step needs an `after`",
        "channels: there is no channel `nobody`",
        "alert.quiet_hours: `22` is no time of day",
    ] {
        assert!(refusal.message().contains(part), "{part} is missing: {}", refusal.message());
    }
    let nobody = wire::Policy { channels: vec![], ..policy("x") };
    assert!(refused(create(&bench, nobody).await).message().contains("channels: nobody is told"));
    let nothing = wire::Policy { tags: vec![], ..policy("x") };
    assert!(refused(create(&bench, nothing).await).message().contains("all: nothing is covered"));
}

#[tokio::test]
async fn a_channel_that_a_policy_tells_stays() {
    let bench = with_channels(&["ops", "boss"]).await;
    create(&bench, wire::Policy { alert: Some(everything()), ..policy("payments") }).await.unwrap();
    for name in ["ops", "boss"] {
        let request = wire::DeleteChannelRequest { id: name.into(), etag: String::new() };
        let refusal = refused(bench.admin.delete_channel(Request::new(request)).await);
        assert!(refusal.message().contains("policy `payments`"), "{}", refusal.message());
    }
    let request = wire::DeletePolicyRequest { id: "payments".into(), etag: String::new() };
    said(bench.admin.delete_policy(Request::new(request)).await);
    let request = wire::DeleteChannelRequest { id: "ops".into(), etag: String::new() };
    said(bench.admin.delete_channel(Request::new(request)).await);
}

#[tokio::test]
async fn a_silence_has_a_reason_and_an_end_and_is_gone_after_it() {
    let bench = Bench::start().await;
    let asked =
        wire::Silence { all: true, reason: "rollout".into(), duration: secs(60), ..wire::Silence::default() };
    let made = silence(&bench, asked.clone()).await.unwrap();
    assert!(made.id.starts_with("sil_") && made.duration.is_none());
    for (wrong, part) in [
        (wire::Silence { reason: String::new(), ..asked.clone() }, "reason: must be 1 to 200"),
        (wire::Silence { duration: None, ..asked.clone() }, "duration: must be from 1 second to 31 days"),
        (wire::Silence { duration: secs(32 * 86_400), ..asked.clone() }, "duration: must be"),
        (wire::Silence { all: false, ..asked.clone() }, "all: nothing is covered"),
    ] {
        let refusal = refused(silence(&bench, wrong).await);
        assert!(refusal.message().contains(part), "{part}: {}", refusal.message());
    }
    let later = silence(&bench, wire::Silence { duration: secs(600), ..asked }).await.unwrap();
    let list = async || {
        let request = wire::ListSilencesRequest::default();
        let listed = said(bench.admin.list_silences(Request::new(request)).await).silences;
        listed.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [made.id.clone(), later.id.clone()], "the one that ends first first");
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(list().await, std::slice::from_ref(&later.id));
    let gone = wire::EndSilenceRequest { id: made.id };
    assert_eq!(refused(bench.admin.end_silence(Request::new(gone)).await).code(), Code::NotFound);
    let end = wire::EndSilenceRequest { id: later.id };
    said(bench.admin.end_silence(Request::new(end)).await);
    assert!(list().await.is_empty());
}

#[tokio::test]
async fn an_incident_is_acknowledged_by_name_and_shows_it() {
    let bench = Bench::start().await;
    let job = bench.heartbeat("job").await;
    let ping = async |kind| {
        let heard = HeardPing::new(job.id.parse().unwrap(), kind, bench.admin.clock.now());
        bench.admin.shards.ping(heard).await.unwrap();
        bench.clock.advance(Duration::from_secs(1));
    };
    ping(PingKind::Fail).await;
    let request = wire::ListIncidentsRequest::default();
    let id = said(bench.admin.list_incidents(Request::new(request)).await).incidents.remove(0).id;
    let acknowledge = async |id: &str, by: &str| {
        let request =
            wire::AcknowledgeIncidentRequest { id: id.into(), by: by.into(), reason: "on it".into() };
        bench.admin.acknowledge_incident(Request::new(request)).await.map(Response::into_inner)
    };
    assert!(refused(acknowledge(&id, " ").await).message().contains("by: must be 1 to 100"));
    assert_eq!(refused(acknowledge("inc_nothing", "ana").await).code(), Code::NotFound);
    let shown = acknowledge(&id, "ana").await.unwrap();
    assert_eq!((shown.acknowledged_by.as_str(), shown.acknowledge_reason.as_str()), ("ana", "on it"));
    assert!(shown.acknowledged_at.is_some());
    assert!(shown.timeline.iter().any(|line| line.text == "acknowledged by ana: on it"), "{shown:?}");
    assert_eq!(acknowledge(&id, "ben").await.unwrap().acknowledged_by, "ana", "whoever was first stays");
    ping(PingKind::Success).await;
    let over = refused(acknowledge(&id, "ana").await);
    assert_eq!((over.code(), over.message()), (Code::FailedPrecondition, "id: the incident is over"));
}
