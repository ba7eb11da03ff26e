//! Who is told, when and how often: reminders and an escalation by the clock, an acknowledgement by the link in a
//! message, and a silence across a crash.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use support::ctl::done;
use support::eventually::throughout;
use support::site::Request;
use support::webhook::{ids, of_type};
use support::{Answer, Coordinator, SOON, Site, eventually, http};

/// Longer than any pause between two messages here.
const A_WHILE: Duration = Duration::from_secs(3);

async fn first(receiver: &Site, kind: &str) -> Result<Request> {
    eventually(&format!("{kind} was told"), SOON, async || {
        Ok(of_type(&receiver.requests(), kind).into_iter().next())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_is_reminded_others_are_told_and_one_click_ends_both() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let (team, boss) = (Site::start(Answer::Status(200)).await?, Site::start(Answer::Status(200)).await?);
    for (name, site) in [("team", &team), ("boss", &boss)] {
        done(&coordinator, &["channel", "create", "webhook", name, "--url", &site.url("/")])?;
    }
    let how = ["--remind-every", "1s", "--escalate", "2s:boss"];
    done(
        &coordinator,
        &[&["policy", "create", "jobs", "--tag", "jobs", "--channel", "team"][..], &how].concat(),
    )?;
    let job = done(&coordinator, &["heartbeat", "create", "nightly", "--interval", "1h", "--tag", "jobs"])?;

    ensure!(http::get(&format!("{job}/fail")).await?.status == 200);
    first(&team, "incident.opened").await?;
    let reminder = first(&team, "incident.reminder").await?.json()?;
    ensure!(reminder["data"]["reminder"] == 1, "{reminder}");
    let escalated = first(&boss, "incident.escalated").await?.json()?;
    ensure!(of_type(&boss.requests(), "incident.opened").is_empty(), "the boss was told too early");

    let link = escalated["data"]["acknowledge_url"].as_str().context("a link")?.to_owned();
    let page = http::get(&link).await?;
    ensure!(page.status == 200 && page.text().contains("I take care of it"), "{}", page.text());
    throughout(A_WHILE, async || {
        ensure!(of_type(&team.requests(), "incident.acknowledged").is_empty(), "looking acknowledged it");
        Ok(())
    })
    .await?;
    ensure!(http::post(&link, "by=Ana&reason=on+it").await?.text().contains("Acknowledged by Ana"));
    for site in [&team, &boss] {
        let told = first(site, "incident.acknowledged").await?.json()?;
        ensure!(told["data"]["incident"]["acknowledged"]["by"] == "Ana", "{told}");
    }
    let reminders = of_type(&team.requests(), "incident.reminder").len();
    throughout(A_WHILE, async || {
        let now = of_type(&team.requests(), "incident.reminder").len();
        ensure!(now == reminders, "reminded {now} times, {reminders} before the acknowledgement");
        Ok(())
    })
    .await?;

    ensure!(http::get(&job).await?.status == 200);
    for site in [&team, &boss] {
        first(site, "incident.resolved").await?;
        let told = site.requests();
        ensure!(ids(&told).len() == told.len(), "something was told twice");
    }
    let forged = format!("{}A", &link[..link.len() - 1]);
    ensure!(http::get(&forged).await?.status == 404);
    ensure!(http::get(&link).await?.text().contains("It is over"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_silence_held_back_is_told_after_it_also_by_the_next_process() -> Result<()> {
    let mut coordinator = Coordinator::start().await?;
    let team = Site::start(Answer::Status(200)).await?;
    done(&coordinator, &["channel", "create", "webhook", "team", "--url", &team.url("/")])?;
    let create = ["heartbeat", "create", "nightly", "--interval", "1h", "--channel", "team"];
    let job = done(&coordinator, &create)?;
    ensure!(http::get(&format!("{job}/fail")).await?.status == 200);
    first(&team, "incident.opened").await?;
    let create = ["silence", "create", "--heartbeat", "nightly", "--for", "1h", "--reason", "rollout"];
    let silence = done(&coordinator, &create)?;
    ensure!(http::get(&job).await?.status == 200);
    coordinator.kill()?;
    coordinator.start_again()?;
    coordinator.ready().await?;
    throughout(A_WHILE, async || {
        let told = team.requests();
        ensure!(told.len() == 1, "told in a silence: {told:?}");
        Ok(())
    })
    .await?;
    done(&coordinator, &["silence", "end", &silence])?;
    first(&team, "incident.resolved").await?;
    let incidents = done(&coordinator, &["incident", "ls", "-o", "json"])?;
    let incidents: serde_json::Value = serde_json::from_str(&incidents)?;
    let shown = done(&coordinator, &["incident", "get", incidents[0]["id"].as_str().context("an id")?])?;
    ensure!(shown.contains("silenced (rollout)"), "{shown}");
    Ok(())
}
