//! A FastAPI service with a database and a scheduled job: the people this is for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, GetIncidentRequest, Heartbeat, HeartbeatStatus, Monitor, MonitorStatus};
use support::admin::seconds;
use support::fastapi::FastApi;
use support::postgres::{self, Postgres};
use support::{Admin, Answer, Fleet, SOON, Site, environment, eventually};

const RECOVERY_LIMIT: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_database_is_named_and_a_stopped_job_is_missed() -> Result<()> {
    if !postgres::is_installed() {
        return environment::skip("fastapi", "PostgreSQL is not installed");
    }
    let Some(python) = environment::python() else {
        return environment::skip("fastapi", "no virtual environment with FastAPI");
    };
    let fleet = Fleet::start(&["us-east", "eu-west", "ap-south"]).await?;
    let admin = &fleet.admin;
    let slack = Site::start(Answer::Status(200)).await?;
    admin.create_channel(ChannelKind::Slack, "chat", &slack.url("/services/T/B/x")).await?;
    let heartbeat = admin
        .create_heartbeat(Heartbeat {
            name: "nightly_cleanup".to_owned(),
            interval: seconds(3),
            grace: seconds(1),
            channels: vec!["chat".to_owned()],
            ..Heartbeat::default()
        })
        .await?;
    let mut database = Postgres::start().await?;
    let app = FastApi::start(&python, &database.url(), &heartbeat.ping_url).await?;
    let mut monitors = Vec::new();
    for path in ["/health", "/health/ready"] {
        let monitor = Monitor {
            url: app.url(path),
            interval: seconds(2),
            channels: vec!["chat".to_owned()],
            ..Monitor::default()
        };
        monitors.push(admin.create_monitor(monitor).await?);
    }
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Up, SOON).await?;
    }
    until_heartbeat(admin, &heartbeat.id, HeartbeatStatus::Up).await?;

    database.stop().await?;
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Down, SOON * 2).await?;
        let [incident] = &admin.incidents_of(&monitor.id).await?[..] else {
            anyhow::bail!("not one incident")
        };
        let named: Vec<_> = incident.failing_components.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(named, ["database"]);
        said_itself(admin, &incident.id).await?;
    }
    // The two are one outage: whichever failed first leads it.
    let text = said(&slack, "🔴 DOWN: ").await?;
    ensure!(text.contains("Failing: database ("), "{text}");
    app.job("stop").await?;
    until_heartbeat(admin, &heartbeat.id, HeartbeatStatus::Missed).await?;
    let missed = said(&slack, "🔴 MISSED: nightly_cleanup heartbeat").await?;
    ensure!(missed.contains("Expected every: 3 seconds") && missed.contains("Last ping: "), "{missed}");

    database.start_again().await?;
    app.job("start").await?;
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Up, RECOVERY_LIMIT).await?;
    }
    let leader = text.lines().next().and_then(|title| title.strip_prefix("🔴 DOWN: ")).context("a title")?;
    said(&slack, &format!("✅ RECOVERED: {leader} is back UP")).await?;
    until_heartbeat(admin, &heartbeat.id, HeartbeatStatus::Up).await?;
    said(&slack, "✅ RECOVERED: nightly_cleanup heartbeat is back").await?;
    assert_eq!(slack.requests().len(), 4);
    Ok(())
}

/// An incident keeps what the service itself said when it failed.
async fn said_itself(admin: &Admin, incident: &str) -> Result<()> {
    let request = GetIncidentRequest { id: incident.to_owned() };
    let captures = admin.incidents().get_incident(request).await?.into_inner().captures;
    let failing = captures.iter().find(|it| it.result.as_ref().is_some_and(|it| it.outcome == "fail"));
    let met = failing.and_then(|it| it.capture.as_ref()).with_context(|| format!("{captures:#?}"))?;
    ensure!(met.status_line == "HTTP/1.1 503 Service Unavailable", "{met:#?}");
    ensure!(met.headers.iter().any(|it| it.name == "content-type" && it.value == "application/json"));
    ensure!(met.body.contains("database") && !met.addresses.is_empty(), "{met:#?}");
    Ok(())
}

async fn until_heartbeat(admin: &Admin, id: &str, status: HeartbeatStatus) -> Result<()> {
    let what = format!("the heartbeat was {}", status.as_str_name());
    eventually(&what, SOON, async || Ok((admin.heartbeat(id).await?.status() == status).then_some(()))).await
}

/// Waits for a message that begins so, and returns it.
async fn said(slack: &Site, beginning: &str) -> Result<String> {
    eventually(&format!("Slack got `{beginning}`"), SOON, async || {
        let texts = slack.requests().into_iter().filter_map(|request| {
            request.json().ok().and_then(|body| body["text"].as_str().map(str::to_owned))
        });
        Ok(texts.into_iter().find(|text| text.starts_with(beginning)))
    })
    .await
}
