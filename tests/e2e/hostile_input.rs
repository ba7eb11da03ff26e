//! Bad input at every door: a clear answer that names the field, and nothing half-done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ListHeartbeatsRequest, ListMonitorsRequest, Monitor};
use proto::probe::v1 as wire;
use support::admin::{seconds, wire_time};
use support::ctl::{ctl, done};
use support::raw_agent::{RawAgent, Session, pass};
use support::{Coordinator, SOON, environment, eventually, fleet};

const OK_URL: &str = "http://127.0.0.1:9/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_commands_name_the_field_and_what_is_allowed_and_change_nothing() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    for region in ["us-east", "eu-west", "ap-south"] {
        done(&coordinator, &["agent", "create", region, "--region", region])?;
    }
    done(&coordinator, &["monitor", "create", OK_URL, "--name", "taken"])?;
    done(&coordinator, &["heartbeat", "create", "taken", "--interval", "1h"])?;
    let long = "x".repeat(300);
    let refused: &[(i32, &str, &[&str])] = &[
        (2, "url", &["monitor", "create", "example.com/health"]),
        (2, "url", &["monitor", "create", "file:///etc/passwd"]),
        (2, "url", &["monitor", "create", "http://"]),
        (2, "url", &["monitor", "create", "tcp://example.com"]),
        (2, "interval", &["monitor", "create", OK_URL, "--interval", "500ms"]),
        (2, "interval", &["monitor", "create", OK_URL, "--interval", "32d"]),
        (2, "timeout", &["monitor", "create", OK_URL, "--interval", "5s", "--timeout", "6s"]),
        (2, "quorum", &["monitor", "create", OK_URL, "--quorum", "at_least:4"]),
        (2, "quorum", &["monitor", "create", OK_URL, "--quorum", "at_least:0"]),
        (2, "quorum", &["monitor", "create", OK_URL, "--quorum", "most"]),
        (2, "regions", &["monitor", "create", OK_URL, "--regions", "us-east,atlantis"]),
        (2, "channels", &["monitor", "create", OK_URL, "--channel", "nobody"]),
        (2, "header", &["monitor", "create", OK_URL, "--header", "X-A: b\r\nX-Evil: c"]),
        (2, "header", &["monitor", "create", OK_URL, "--header", "X A: b"]),
        (2, "method", &["monitor", "create", OK_URL, "--method", "BREW"]),
        (2, "expect", &["monitor", "create", OK_URL, "--expect-status", "1000"]),
        (2, "name", &["monitor", "create", OK_URL, "--name", &long]),
        (5, "taken", &["monitor", "create", OK_URL, "--name", "taken"]),
        (2, "interval", &["heartbeat", "create", "job", "--interval", "500ms"]),
        (2, "interval", &["heartbeat", "create", "job", "--interval", "367d"]),
        (2, "name", &["heartbeat", "create", "", "--interval", "1h"]),
        (5, "taken", &["heartbeat", "create", "taken", "--interval", "1h"]),
        (2, "url", &["channel", "create", "slack", "chat", "--url", "ftp://example.com/"]),
        (2, "url", &["channel", "create", "webhook", "ops", "--url", "nowhere"]),
        (2, "region", &["agent", "create", "one", "--region", "US East"]),
        (5, "us-east", &["agent", "create", "us-east", "--region", "us-east"]),
        (2, "components", &["page", "create", "Page", "--monitor", "unknown"]),
        (3, "unknown", &["monitor", "get", "unknown"]),
        (3, "unknown", &["heartbeat", "get", "unknown"]),
        (3, "unknown", &["incident", "get", "unknown"]),
    ];
    let mut wrong = Vec::new();
    for (code, word, arguments) in refused {
        let output = ctl(&coordinator, arguments)?;
        if output.code != *code || !output.stderr.contains(word) || !output.stdout.is_empty() {
            wrong.push(format!("{arguments:?}: wanted {code} and `{word}`, got {output:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let admin = coordinator.admin()?;
    let monitors =
        admin.monitors().list_monitors(ListMonitorsRequest::default()).await?.into_inner().monitors;
    let heartbeats =
        admin.heartbeats().list_heartbeats(ListHeartbeatsRequest::default()).await?.into_inner().heartbeats;
    assert_eq!((monitors.len(), heartbeats.len()), (1, 1), "something was half-done");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_nothing_is_told() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let stranger = support::Admin::connect(&coordinator.url(""), "vk_not-a-key")?;
    let refused =
        stranger.monitors().list_monitors(ListMonitorsRequest::default()).await.err().context("refused")?;
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reordered_and_repeated_batches_are_acked_and_listed_once() -> Result<()> {
    let scene = Scene::start().await?;
    let mut session = scene.agent.connect().await?;
    let assignment = scene.assignment(&mut session).await?;
    let slot = environment::now().as_secs();
    let batch = |seqs: std::ops::Range<u64>| {
        seqs.map(|seq| pass(&assignment, slot - 100 + i64::try_from(seq).unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    for seqs in [11..21, 1..11, 11..21, 5..15] {
        session.report(seqs.start, batch(seqs)).await?;
    }
    session.until_acked(1..21).await?;
    eventually("each result was listed once", SOON, async || {
        let mut seqs: Vec<_> = scene.results().await?.into_iter().map(|result| result.seq).collect();
        seqs.sort_unstable();
        ensure!(seqs == (1..21).collect::<Vec<_>>(), "{seqs:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unassigned_and_invalid_results_are_counted_acked_and_ignored() -> Result<()> {
    let scene = Scene::start().await?;
    let mut session = scene.agent.connect().await?;
    let assignment = scene.assignment(&mut session).await?;
    let slot = environment::now().as_secs();
    let good = pass(&assignment, slot);
    let strange = wire::Result { monitor_id: vec![7; 16], ..good.clone() };
    let short = wire::Result { monitor_id: vec![7; 3], ..good.clone() };
    let vague = wire::Result { outcome: 0, slot: slot + 1, ..good.clone() };
    session.report(1, vec![strange, short, good, vague]).await?;
    session.until_acked(1..5).await?;
    ensure!(session.refused == 3, "{} were refused", session.refused);
    let seqs: Vec<_> = scene.results().await?.into_iter().map(|result| result.seq).collect();
    assert_eq!(seqs, [3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecodable_and_oversized_frames_close_their_session_only() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut session = scene.agent.connect().await?;
    let assignment = scene.assignment(&mut session).await?;
    let detail = "x".repeat(32 << 20);
    session.report(1, vec![wire::Result { detail, ..pass(&assignment, 1) }]).await?;
    let closed = session.until("never", |_| false).await;
    ensure!(closed.is_err(), "32 MiB were taken");

    let garbage = scene.agent.send_raw(&[0xff; 64]).await;
    ensure!(garbage.is_err(), "garbage was taken: {garbage:?}");

    // A message that ends in the middle of a field: tag of `hello`, its length, and nothing.
    let truncated = scene.agent.send_raw(&[0x0a, 0x40, 0x08]).await;
    ensure!(truncated.is_err(), "half a message was taken: {truncated:?}");

    scene.coordinator.process().assert_running()?;
    let mut session = scene.agent.connect().await?;
    let assignment = scene.assignment(&mut session).await?;
    session.report(100, vec![pass(&assignment, environment::now().as_secs())]).await?;
    session.until_acked(100..101).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_token_the_newer_wins() -> Result<()> {
    let scene = Scene::start().await?;
    let mut older = scene.agent.connect().await?;
    let newer = RawAgent::new(&scene.token, scene.coordinator.agent_address())?;
    let mut newer = newer.connect().await?;
    ensure!(newer.welcome.agent_epoch > older.welcome.agent_epoch);
    ensure!(older.until("never", |_| false).await.is_err(), "the older session stayed open");
    let assignment = scene.assignment(&mut newer).await?;
    newer.report(1, vec![pass(&assignment, environment::now().as_secs())]).await?;
    newer.until_acked(1..2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_an_agent_is_comes_from_its_token_alone() -> Result<()> {
    let scene = Scene::start().await?;
    let lies = wire::Hello { region: "ap-south".to_owned(), ..scene.agent.hello() };
    let refused = scene.agent.connect_saying(lies).await.err().context("the lie was believed")?;
    let text = format!("{refused:#}");
    ensure!(text.contains("ap-south") && text.contains("us-east"), "the refusal does not name both: {text}");
    let future = wire::Hello { protocol_min: 7, protocol_max: 9, ..scene.agent.hello() };
    let refused = scene.agent.connect_saying(future).await.err().context("protocol 7 was accepted")?;
    ensure!(format!("{refused:#}").contains('7'), "{refused:#}");
    Ok(())
}

/// A coordinator with one monitor and one agent that speaks for itself.
struct Scene {
    began: prost_types::Timestamp,
    agent: RawAgent,
    token: String,
    monitor: String,
    coordinator: Coordinator,
}

impl Scene {
    async fn start() -> Result<Self> {
        let began = wire_time(environment::now().minus(Duration::from_secs(600)));
        let coordinator = Coordinator::start().await?;
        let admin = coordinator.admin()?;
        let token = fleet::token(&admin, "us-east-1", "us-east").await?;
        let monitor = Monitor { url: OK_URL.to_owned(), interval: seconds(1), ..Monitor::default() };
        let monitor = admin.create_monitor(monitor).await?.id;
        let agent = RawAgent::new(&token, coordinator.agent_address())?;
        Ok(Self { began, agent, token, monitor, coordinator })
    }

    async fn assignment(&self, session: &mut Session) -> Result<wire::Assignment> {
        session.until("an assignment", |session| !session.assigned.is_empty()).await?;
        Ok(session.assigned[0].clone())
    }

    async fn results(&self) -> Result<Vec<proto::admin::v1::Result>> {
        self.coordinator.admin()?.results(&self.monitor, self.began).await
    }
}
