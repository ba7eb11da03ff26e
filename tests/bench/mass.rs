//! Ten thousand monitors behind one dead parent, failing in every region at once, and the same in a region that is gone:
//! how soon people hear of it, and how long acks take meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1::ChannelKind;
use support::crowd::Reporter;
use support::{Answer, Coordinator, SOON, Site, eventually, fleet};
use tokio::time::Instant;

use crate::installation;
use crate::report::{Budget, Report, Row, percentile};

const CHILDREN: usize = 10_000;
const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];
const INTERVAL_SECS: u64 = 60;
/// The outage as a whole is told of in this time.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// A silent session ends after 15 s, and operators are told of a region that has been gone for a minute.
const REGION_IS_GONE_AFTER: Duration = Duration::from_secs(75);

/// Measures it.
///
/// # Errors
/// When something does not start, or more is told than that the parent is down.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("mass")?;
    let coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let receiver = Site::start(Answer::Status(200)).await?;
    admin.create_channel(ChannelKind::Webhook, "ops", &receiver.url("/")).await?;
    let mut tokens = vec![];
    for region in REGIONS {
        tokens.push(fleet::token(&admin, &format!("{region}-1"), region).await?);
    }
    let parent = installation::create_family(&admin, CHILDREN, INTERVAL_SECS, "ops").await?;
    let start = |token: &String| Reporter::start(token, coordinator.agent_address());
    let mut agents = tokens.iter().map(start).collect::<Result<Vec<_>>>()?;
    eventually("every monitor had its votes", SOON * 12, async || {
        Ok(agents.iter().all(|agent| agent.acks().len() > CHILDREN).then_some(()))
    })
    .await?;
    let before: Vec<usize> = agents.iter().map(|agent| agent.acks().len()).collect();

    let failed = Instant::now();
    agents.iter().for_each(|agent| agent.find(true, &parent));
    let told = eventually("the first message came", DELIVERED_WITHIN, async || {
        Ok((!receiver.requests().is_empty()).then(|| failed.elapsed()))
    })
    .await?;
    tokio::time::sleep(DELIVERED_WITHIN.saturating_sub(failed.elapsed())).await;
    let count = receiver.requests().len();
    ensure!(count == 1, "{count} messages instead of one");
    let incidents = admin.incidents_of("").await?;
    ensure!(incidents.len() == 1, "{} incidents instead of one", incidents.len());
    let acks = agents.iter().zip(before).flat_map(|(agent, before)| agent.acks().split_off(before));
    let mut acks: Vec<f64> = acks.map(|took| took.as_secs_f64()).collect();
    report.add(
        Row::new(
            "10,000 monitors behind one dead parent: first failing result to first message",
            told.as_secs_f64(),
            "s",
        )
        .beside(format!(
            "the only one in 60 s; {} members; every monitor failed in three regions at once",
            incidents[0].member_count
        ))
        .budget(Budget::AtMost(5.0)),
    );
    let (p50, count) = (percentile(&mut acks, 0.5), acks.len());
    report.add(
        Row::new("Acks meanwhile, p99", percentile(&mut acks, 0.99), "s")
            .beside(format!("p50 {p50:.2} s, {count} results")),
    );

    agents.iter().for_each(|agent| agent.find(false, &parent));
    let told = |count| receiver.requests().len() >= count;
    eventually("the end was told", DELIVERED_WITHIN * 2, async || Ok(told(2).then_some(()))).await?;
    drop(agents.pop());
    let gone = Instant::now();
    let noticed =
        eventually("the notice came", REGION_IS_GONE_AFTER * 2, async || Ok(told(3).then(|| gone.elapsed())))
            .await?;
    tokio::time::sleep(DELIVERED_WITHIN).await;
    let count = receiver.requests().len();
    ensure!(count == 3, "{} messages about a region instead of one", count - 2);
    report.add(
        Row::new(
            "10,000 monitors in a region that is gone: last word to the notice",
            noticed.as_secs_f64(),
            "s",
        )
        .beside("the only message in another 60 s; a minute of patience is the rule")
        .budget(Budget::AtMost((REGION_IS_GONE_AFTER + Duration::from_secs(5)).as_secs_f64())),
    );
    Ok(())
}
