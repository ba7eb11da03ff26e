//! The main job: regions check, the coordinator lets them vote, people hear of it once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ChannelKind, Incident, IncidentState, Monitor, MonitorStatus};
use support::admin::seconds;
use support::certificate::{Authority, Validity};
use support::eventually::throughout;
use support::fleet::{Fleet, Shape};
use support::nginx::{Certificates, Nginx};
use support::site::Request;
use support::{Answer, SOON, Scratch, Site, agent, environment, eventually, nginx, webhook};

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// A name that the test's own hosts files resolve.
const HOST: &str = "target.test";

/// Two rounds, 10 s apart, and what surrounds them.
const RECOVERY_LIMIT: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_one_incident_and_one_delivery_per_channel_until_it_is_resolved() -> Result<()> {
    if !nginx::is_installed() {
        return environment::skip("quorum_outage", "nginx is not installed");
    }
    let Some(python) = environment::python() else {
        return environment::skip("quorum_outage", "no virtual environment with standardwebhooks");
    };
    let scratch = Scratch::new()?;
    let (mut nginx, ca_file) = nginx(&scratch).await?;
    let fleet = Fleet::start_with(&REGIONS, Shape { ca_file: Some(ca_file), ..Shape::default() }).await?;
    let admin = &fleet.admin;
    let [hook, slack, discord] = [
        Site::start(Answer::Status(200)).await?,
        Site::start(Answer::Status(200)).await?,
        Site::start(Answer::Status(204)).await?,
    ];
    let channel = admin.create_channel(ChannelKind::Webhook, "ops", &hook.url("/hook")).await?;
    admin.create_channel(ChannelKind::Slack, "chat", &slack.url("/services/T/B/x")).await?;
    admin.create_channel(ChannelKind::Discord, "games", &discord.url("/api/webhooks/1/x")).await?;
    let mut monitors = Vec::new();
    for url in [
        format!("http://127.0.0.1:{}/health", nginx.http_port()),
        format!("https://127.0.0.1:{}/health", nginx.https_port()),
    ] {
        let channels = ["ops", "chat", "games"].map(str::to_owned).to_vec();
        monitors.push(admin.create_monitor(Monitor { url, channels, ..quick() }).await?);
    }
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Up, SOON).await?;
    }

    nginx.turn(503).await?;
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Down, SOON).await?;
        let [incident] = &admin.incidents_of(&monitor.id).await?[..] else {
            anyhow::bail!("not one incident")
        };
        assert_explained(incident)?;
    }
    for (receiver, name) in [(&hook, "webhook"), (&slack, "slack"), (&discord, "discord")] {
        eventually(name, SOON, async || Ok((!receiver.requests().is_empty()).then_some(()))).await?;
    }
    for request in hook.requests() {
        webhook::verify(&python, &channel.signing_secret, &request)?;
    }
    let tampered = Request { body: b"{}".to_vec(), ..hook.requests()[0].clone() };
    assert!(webhook::verify(&python, &channel.signing_secret, &tampered).is_err());
    let text = slack.requests()[0].json()?["text"].as_str().context("text")?.to_owned();
    for part in ["🔴 DOWN: 127.0.0.1:", "Status: 503 Service Unavailable", "Regions: ", "Started: "] {
        ensure!(text.contains(part), "`{part}` is missing in {text}");
    }

    nginx.turn(200).await?;
    for monitor in &monitors {
        admin.until_status(&monitor.id, MonitorStatus::Up, RECOVERY_LIMIT).await?;
        let [incident] = &admin.incidents_of(&monitor.id).await?[..] else {
            anyhow::bail!("not one incident")
        };
        assert_eq!(incident.state(), IncidentState::Resolved);
        assert!(incident.resolved_at.is_some() && incident.closing_votes.is_some(), "{incident:?}");
    }
    for (receiver, name) in [(&hook, "webhook"), (&slack, "slack"), (&discord, "discord")] {
        eventually(name, SOON, async || Ok((receiver.requests().len() >= 2).then_some(()))).await?;
    }
    let text = slack.requests()[1].json()?["text"].as_str().context("text")?.to_owned();
    ensure!(text.contains("✅ RECOVERED: ") && text.contains("Total downtime: "), "{text}");

    throughout(Duration::from_secs(3), async || {
        for receiver in [&hook, &slack, &discord] {
            ensure!(receiver.requests().len() == 2, "more than one delivery per transition and channel");
        }
        Ok(())
    })
    .await?;
    for request in hook.requests() {
        webhook::verify(&python, &channel.signing_secret, &request)?;
    }
    assert_eq!(webhook::ids(&hook.requests()).len(), 2);
    let told = |kind, id: &str| webhook::of_subject(&hook.requests(), kind, id).len();
    let led: Vec<_> = monitors.iter().filter(|monitor| told("incident.opened", &monitor.id) == 1).collect();
    ensure!(led.len() == 1, "both ports of the host are one outage, told of once");
    assert_eq!(told("incident.resolved", &led[0].id), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_region_alone_degrades_and_opens_nothing_unless_any_region_is_enough() -> Result<()> {
    if !nginx::is_installed() {
        return environment::skip("one_region_alone", "nginx is not installed");
    }
    if !agent::can_override_hosts() {
        return environment::skip(
            "one_region_alone",
            "agents cannot be given hosts files (needs root and unshare)",
        );
    }
    let scratch = Scratch::new()?;
    let (nginx, ca_file) = nginx(&scratch).await?;
    // Nobody listens at 127.0.0.66: the first region alone cannot reach the target.
    let hosts =
        ["127.0.0.66", "127.0.0.1", "127.0.0.1"].map(|address| format!("{address} {HOST}\n")).to_vec();
    let fleet =
        Fleet::start_with(&REGIONS, Shape { ca_file: Some(ca_file), hosts, ..Shape::default() }).await?;
    let admin = &fleet.admin;
    let url = format!("https://{HOST}:{}/health", nginx.https_port());
    let create = async |name: &str, quorum: &str, url: &str| {
        let (name, quorum, url) = (name.to_owned(), quorum.to_owned(), url.to_owned());
        admin.create_monitor(Monitor { name, quorum, url, ..quick() }).await
    };
    let majority = create("majority", "majority", &url).await?;
    let any = create("any", "any", &url).await?;

    admin.until_status(&majority.id, MonitorStatus::Degraded, SOON * 2).await?;
    admin.until_status(&any.id, MonitorStatus::Down, SOON * 2).await?;
    let [incident] = &admin.incidents_of(&any.id).await?[..] else { anyhow::bail!("not one incident") };
    let votes = incident.opening_votes.as_ref().context("votes")?;
    let failing: Vec<_> = votes.votes.iter().filter(|vote| vote.counted && vote.outcome == "fail").collect();
    assert_eq!(failing.len(), 1, "{votes:?}");
    assert_eq!((failing[0].region.as_str(), failing[0].detail.as_str()), ("us-east", "connection refused"));
    throughout(Duration::from_secs(6), async || {
        let incidents = admin.incidents_of(&majority.id).await?;
        ensure!(incidents.is_empty(), "one region opened {incidents:?}");
        Ok(())
    })
    .await?;
    admin.until_status(&majority.id, MonitorStatus::Degraded, SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_fails_with_that_reason() -> Result<()> {
    if !nginx::is_installed() {
        return environment::skip("expired_certificate", "nginx is not installed");
    }
    let scratch = Scratch::new()?;
    let (nginx, ca_file) = nginx(&scratch).await?;
    let fleet =
        Fleet::start_with(&REGIONS[..1], Shape { ca_file: Some(ca_file), ..Shape::default() }).await?;
    let url = format!("https://127.0.0.1:{}/health", nginx.expired_port());
    let monitor = fleet.admin.create_monitor(Monitor { url, ..quick() }).await?;
    fleet.admin.until_status(&monitor.id, MonitorStatus::Down, SOON).await?;
    let [incident] = &fleet.admin.incidents_of(&monitor.id).await?[..] else {
        anyhow::bail!("not one incident")
    };
    assert!(incident.cause.contains("certificate expired"), "{}", incident.cause);
    Ok(())
}

fn assert_explained(incident: &Incident) -> Result<()> {
    let table = incident.opening_votes.as_ref().context("an incident keeps its votes")?;
    let failing: Vec<_> = table.votes.iter().filter(|vote| vote.counted && vote.outcome == "fail").collect();
    ensure!(table.votes.len() == 3 && failing.len() >= 2, "{table:?}");
    ensure!(failing.iter().all(|vote| vote.detail == "503 Service Unavailable"), "{table:?}");
    ensure!(table.policy.contains("majority") && !table.arithmetic.is_empty(), "{table:?}");
    ensure!(incident.state() == IncidentState::Open && !incident.timeline.is_empty(), "{incident:?}");
    let [started, opened] =
        [&incident.started_at, &incident.opened_at].map(|at| support::admin::time(at.as_ref()));
    ensure!(started? <= opened?, "{incident:?}");
    Ok(())
}

async fn nginx(scratch: &Scratch) -> Result<(Nginx, std::path::PathBuf)> {
    let authority = Authority::new()?;
    let names = [HOST, "127.0.0.1"];
    let certificates = Certificates {
        good: authority.issue(scratch, "good", &names, Validity::Current)?,
        expired: authority.issue(scratch, "expired", &names, Validity::Expired)?,
    };
    Ok((Nginx::start(&certificates).await?, authority.write(scratch)?))
}

fn quick() -> Monitor {
    Monitor { interval: seconds(2), timeout: seconds(1), ..Monitor::default() }
}
