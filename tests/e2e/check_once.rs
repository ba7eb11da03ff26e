//! A check that somebody asks for once, from every region, before there is a monitor or beside it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{Answer, Fleet, Site, ctl, eventually, fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_checked_once_from_every_region_and_nothing_is_kept_of_it() -> Result<()> {
    let fleet = Fleet::start(&["eu-west", "us-east"]).await?;
    let site = Site::start(Answer::Status(200)).await?;
    let url = site.url("/health");

    let found = ctl::ctl(&fleet.coordinator, &["check", &url, "--regions", "all", "-o", "json"])?;
    ensure!(found.code == 0, "{found:?}");
    ensure!(outcomes(&found.stdout)? == [("eu-west", "pass"), ("us-east", "pass")].map(owned), "{found:?}");
    ensure!(site.requests().len() == 2, "each region asks once: {:?}", site.requests());
    ensure!(ctl::done(&fleet.coordinator, &["monitor", "ls", "-o", "json"])?.trim() == "[]");

    let report = r#"{"status":"degraded","checks":{"database":{"status":"error","detail":"no route"}}}"#;
    site.answer(Answer::Json(503, report.to_owned()));
    let found = ctl::ctl(&fleet.coordinator, &["check", &url])?;
    ensure!(found.code == 1, "{found:?}");
    for word in ["eu-west", "us-east", "503 Service Unavailable; failing: database"] {
        ensure!(found.stdout.contains(word), "{word} is missing: {found:?}");
    }
    ensure!(found.stderr.contains("2 of 2 regions did not find it well"), "{found:?}");

    let found =
        ctl::ctl(&fleet.coordinator, &["check", &url, "--regions", "us-east", "--expect-status", "503"])?;
    ensure!(found.code == 0 && !found.stdout.contains("eu-west"), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_in_which_nobody_can_be_asked_is_named_as_such() -> Result<()> {
    let fleet = Fleet::start(&["us-east"]).await?;
    let site = Site::start(Answer::Status(200)).await?;
    fleet::token(&fleet.admin, "never-started", "ap-south").await?;
    let found = ctl::ctl(&fleet.coordinator, &["check", &site.url("/"), "-o", "json"])?;
    ensure!(found.code == 1, "{found:?}");
    ensure!(outcomes(&found.stdout)? == [("ap-south", "error"), ("us-east", "pass")].map(owned), "{found:?}");
    ensure!(found.stdout.contains("no agent of this region is connected"), "{found:?}");

    let unknown = ctl::ctl(&fleet.coordinator, &["check", &site.url("/"), "--regions", "mars"])?;
    ensure!(unknown.code == 2 && unknown.stderr.contains("there is no region `mars`"), "{unknown:?}");
    let wrong = ctl::ctl(&fleet.coordinator, &["check", "example.com"])?;
    ensure!(wrong.code == 2 && wrong.stderr.contains("has no scheme"), "{wrong:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_over_a_check_leaves_an_answer() -> Result<()> {
    let mut fleet = Fleet::start(&["us-east"]).await?;
    let silent = Site::start(Answer::Silence).await?;
    let url = silent.url("/");
    let (coordinator, agents) = (&fleet.coordinator, &mut fleet.agents);
    let found = std::thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| ctl::ctl(coordinator, &["check", &url, "--timeout", "2s"]));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(eventually(
                "the target was asked",
                support::SOON,
                async || Ok((!silent.requests().is_empty()).then_some(())),
            ))
        })?;
        agents[0].kill()?;
        asking.join().ok().context("vigilctl was run")?
    })?;
    ensure!(found.code == 1 && found.stdout.contains("the agent did not answer"), "{found:?}");
    Ok(())
}

fn owned((region, outcome): (&str, &str)) -> (String, String) {
    (region.to_owned(), outcome.to_owned())
}

fn outcomes(stdout: &str) -> Result<Vec<(String, String)>> {
    let found: Value = serde_json::from_str(stdout)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let outcome = |it: &Value| (text(&it["result"]["region"]), text(&it["result"]["outcome"]));
    Ok(found.as_array().context("a list")?.iter().map(outcome).collect())
}
