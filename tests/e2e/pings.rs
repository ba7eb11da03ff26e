//! The one-URL contract of heartbeats.

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{
    ChannelKind, CreateBadgeRequest, CreatePingKeyRequest, GetRunRequest, Heartbeat, HeartbeatStatus,
    IncidentState, ListRunsRequest,
};
use support::admin::{seconds, wire_time};
use support::{Answer, Coordinator, SOON, Site, environment, eventually, http, webhook};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_counts_however_it_is_sent() -> Result<()> {
    let began = wire_time(environment::now());
    let coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let heartbeat = admin.create_heartbeat(job("job", 3_600)).await?;
    let url = &heartbeat.ping_url;
    for method in ["HEAD", "GET", "POST"] {
        let answer = http::send(method, url, &[], vec![]).await?;
        ensure!(answer.status == 200, "{method} is answered {}", answer.status);
    }
    for suffix in ["start", "0", "7", "fail"] {
        let answer = http::get(&format!("{url}/{suffix}")).await?;
        ensure!(answer.status == 200 && answer.text().trim() == "OK", "/{suffix} is answered {answer:?}");
    }
    let kinds: Vec<_> = admin.pings(&heartbeat.id, began).await?.into_iter().map(|ping| ping.kind).collect();
    assert_eq!(kinds, ["fail", "exit:7", "exit:0", "start", "success", "success", "success"]);

    let answer = http::post(url, vec![b'x'; 10_000_000]).await?;
    ensure!(answer.status == 200, "10 MB are answered {}", answer.status);
    let pings = admin.pings(&heartbeat.id, began).await?;
    let kept = pings.first().context("pings")?;
    let length = kept.body.len();
    ensure!((9_900..=10_000).contains(&length) && kept.left_out_bytes > 9_900_000, "{length} bytes are kept");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_of_other_products_lead_here_and_what_came_with_them_survives_a_kill() -> Result<()> {
    const RUN: &str = "123e4567-e89b-42d3-a456-426614174000";
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let heartbeat = admin.create_heartbeat(job("Nightly Cleanup", 3_600)).await?;
    let told = async |answer: Result<http::Answer>| {
        let answer = answer?;
        anyhow::Ok((answer.status, answer.text().trim().to_owned()))
    };

    let uuid = &heartbeat.uuid_ping_url;
    let ok = (200, "OK".to_owned());
    ensure!(told(http::get(&format!("{uuid}/start?rid={RUN}")).await).await? == ok);
    let log = b"removing old files\ndisk full\n".to_vec();
    ensure!(told(http::post(&format!("{uuid}/3?rid={RUN}"), log.clone()).await).await? == ok);

    let request = CreatePingKeyRequest { name: "jobs".to_owned() };
    let by_slug = admin.ping_keys().create_ping_key(request).await?.into_inner().ping_url_prefix;
    ensure!(told(http::get(&format!("{by_slug}nightly-cleanup/log")).await).await? == ok);
    let created = told(http::get(&format!("{by_slug}db-backup?create=1")).await).await?;
    ensure!(created == (201, "Created".to_owned()), "{created:?}");

    let token = heartbeat.ping_url.rsplit('/').next().context("a token")?;
    let push = coordinator.url(&format!("/api/push/{token}?status=down&msg=oops&ping="));
    ensure!(told(http::get(&push).await).await? == (200, r#"{"ok":true}"#.to_owned()));

    let request = CreateBadgeRequest { subject_id: heartbeat.id.clone() };
    let badge = admin.badges().create_badge(request).await?.into_inner().url.replace(".svg", ".json");
    coordinator.kill()?;
    coordinator.start_again()?;
    coordinator.ready().await?;

    let shown = told(http::get(&badge).await).await?;
    ensure!(shown.0 == 200 && shown.1.contains(r#""status":"down""#), "{shown:?}");
    let request = ListRunsRequest { heartbeat_id: heartbeat.id.clone(), ..ListRunsRequest::default() };
    let runs = admin.runs().list_runs(request).await?.into_inner().runs;
    let outcomes: Vec<_> = runs.iter().map(|run| (run.exit_code, run.duration.is_some())).collect();
    assert_eq!(outcomes, [(None, false), (Some(3), true)]);
    let request = GetRunRequest { heartbeat_id: heartbeat.id, id: RUN.to_owned() };
    assert_eq!(admin.runs().get_run(request).await?.into_inner().log, log);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_unknown_is_answered_alike() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let url = coordinator.admin()?.create_heartbeat(job("job", 3_600)).await?.ping_url;
    let known = url.rsplit('/').next().context("a token")?.to_owned();
    let turned: String = known.chars().rev().collect();
    let mut answers = Vec::new();
    for path in [
        turned.as_str(),
        "x",
        "",
        &format!("{turned}/256"),
        &format!("{known}/unknown"),
        &format!("{known}x"),
    ] {
        let mut answer = http::get(&coordinator.url(&format!("/api/heartbeat/{path}"))).await?;
        answer.headers.retain(|(name, _)| name != "date");
        answers.push((path.to_owned(), answer));
    }
    for (path, answer) in &answers {
        ensure!(
            answer.status == 404 && *answer == answers[0].1,
            "{path}: {answer:?} is not {:?}",
            answers[0].1
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_ping_is_told_once_and_so_is_its_return() -> Result<()> {
    let mut coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let receiver = Site::start(Answer::Status(200)).await?;
    admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let never = admin.create_heartbeat(job("never", 1)).await?;
    let channels = vec!["ops".to_owned()];
    let heartbeat = admin.create_heartbeat(Heartbeat { channels, ..job("nightly_cleanup", 2) }).await?;
    http::get(&heartbeat.ping_url).await?;
    until(&coordinator, &heartbeat.id, HeartbeatStatus::Missed).await?;
    http::get(&heartbeat.ping_url).await?;
    until(&coordinator, &heartbeat.id, HeartbeatStatus::Up).await?;
    for kind in ["incident.opened", "incident.resolved"] {
        eventually(kind, SOON, async || {
            Ok((webhook::of_subject(&receiver.requests(), kind, &heartbeat.id).len() == 1).then_some(()))
        })
        .await?;
    }
    let [.., first] = &admin.incidents_of(&heartbeat.id).await?[..] else { anyhow::bail!("no incident") };
    assert_eq!(first.state(), IncidentState::Resolved);
    ensure!(
        admin.heartbeat(&never.id).await?.status() == HeartbeatStatus::New,
        "nothing is expected before a first ping"
    );

    // Nor is the coordinator's own absence anybody's fault.
    http::get(&heartbeat.ping_url).await?;
    let told = receiver.requests().len();
    coordinator.kill()?;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    coordinator.start_again()?;
    coordinator.ready().await?;
    http::get(&heartbeat.ping_url).await?;
    until(&coordinator, &heartbeat.id, HeartbeatStatus::Up).await?;
    assert_eq!(receiver.requests().len(), told);
    Ok(())
}

fn job(name: &str, interval: u64) -> Heartbeat {
    Heartbeat { name: name.to_owned(), interval: seconds(interval), ..Heartbeat::default() }
}

async fn until(coordinator: &Coordinator, id: &str, status: HeartbeatStatus) -> Result<()> {
    let admin = coordinator.admin()?;
    let what = format!("the heartbeat was {}", status.as_str_name());
    eventually(&what, SOON, async || Ok((admin.heartbeat(id).await?.status() == status).then_some(()))).await
}
