//! The instruments themselves: the neighbours that the other tests script do what they are told.

use std::time::Duration;

use anyhow::{Result, ensure};
use support::certificate::{Authority, Validity};
use support::fastapi::FastApi;
use support::fault_proxy::{FaultProxy, Line};
use support::nginx::{self, Certificates, Nginx};
use support::postgres::{self, Postgres};
use support::{Answer, SOON, Scratch, Site, environment, eventually, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_refuses_and_accepts_again_and_dates_what_arrives() -> Result<()> {
    let site = Site::start(Answer::Status(200)).await?;
    let before = environment::now();
    ensure!(http::post(&site.url("/x"), "body").await?.status == 200);
    let requests = site.requests();
    ensure!(
        requests.len() == 1 && requests[0].text() == "body" && requests[0].arrived_at >= before,
        "{requests:?}"
    );
    site.refuse().await;
    ensure!(http::get(&site.url("/")).await.is_err());
    site.accept_again()?;
    site.answer(Answer::Status(503));
    ensure!(http::get(&site.url("/")).await?.status == 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_line_is_silent_and_delivers_when_it_heals() -> Result<()> {
    let site = Site::start(Answer::Status(200)).await?;
    let proxy = FaultProxy::start(site.address()).await?;
    let url = format!("http://{}/", proxy.address());
    ensure!(http::get(&url).await?.status == 200);
    proxy.set(Line::Cut);
    let mut asking = Box::pin(http::get(&url));
    ensure!(
        tokio::time::timeout(Duration::from_millis(300), &mut asking).await.is_err(),
        "the cut lets through"
    );
    proxy.set(Line::Open);
    ensure!(asking.await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_turns_when_told() -> Result<()> {
    if !nginx::is_installed() {
        return environment::skip("nginx", "nginx is not installed");
    }
    let scratch = Scratch::new()?;
    let authority = Authority::new()?;
    let mut nginx = Nginx::start(&Certificates {
        good: authority.issue(&scratch, "good", &["127.0.0.1"], Validity::Current)?,
        expired: authority.issue(&scratch, "expired", &["127.0.0.1"], Validity::Expired)?,
    })
    .await?;
    nginx.turn(503).await?;
    nginx.turn(200).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_tells_when_its_database_is_gone_and_its_job_pings() -> Result<()> {
    let (Some(python), true) = (environment::python(), postgres::is_installed()) else {
        return environment::skip("application", "PostgreSQL or the virtual environment is missing");
    };
    let job = Site::start(Answer::Status(200)).await?;
    let mut database = Postgres::start().await?;
    let app = FastApi::start(&python, &database.url(), &job.url("/ping")).await?;
    eventually("the job pinged", SOON, async || Ok((!job.requests().is_empty()).then_some(()))).await?;
    database.stop().await?;
    let health = http::get(&app.url("/health")).await?;
    ensure!(health.status == 503 && health.text().contains("\"database\""), "{health:?}");
    database.start_again().await?;
    eventually("the application is ready again", SOON, async || {
        Ok((http::get(&app.url("/health/ready")).await?.status == 200).then_some(()))
    })
    .await?;
    Ok(())
}
