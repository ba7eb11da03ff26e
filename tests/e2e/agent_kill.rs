//! An agent may die at any moment: nobody is woken for it, and what it had reported stays.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1::{Monitor, MonitorStatus};
use support::admin::{seconds, wire_time};
use support::{Answer, Fleet, SOON, Site, environment, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_again_and_again_opens_nothing_and_loses_nothing_that_was_acked() -> Result<()> {
    let kills = environment::number("VIGILMON_KILLS", 10)?.div_ceil(2);
    let began = wire_time(environment::now());
    let mut fleet = Fleet::start(&["us-east", "eu-west", "ap-south"]).await?;
    let target = Site::start(Answer::Status(200)).await?;
    let monitor = Monitor { url: target.url("/"), interval: seconds(1), ..Monitor::default() };
    let id = fleet.admin.create_monitor(monitor).await?.id;
    fleet.admin.until_status(&id, MonitorStatus::Up, SOON).await?;

    for kill in 0..kills {
        tokio::time::sleep(Duration::from_secs_f64(0.5 + 2.0 * environment::random_unit())).await;
        let before = seqs(&fleet, &id, began).await?;
        fleet.agents[0].kill()?;
        fleet.agents[0].start_again()?;
        let after = eventually("results of the new process arrived", SOON * 2, async || {
            let after = seqs(&fleet, &id, began).await?;
            // A process numbers its results from a multiple of 2⁴⁰.
            let newest = |seqs: &[(u64, u64)]| seqs.iter().map(|&(_, seq)| seq >> 40).max();
            Ok((newest(&after) > newest(&before)).then_some(after))
        })
        .await?;
        ensure!(
            before.iter().all(|it| after.contains(it)),
            "kill {kill}: results that were committed are gone"
        );
        ensure!(
            after.iter().all(|&(epoch, _)| epoch == after[0].0),
            "kill {kill}: the numbering was not continued"
        );
        ensure!(fleet.admin.incidents_of(&id).await?.is_empty(), "kill {kill}: an incident was opened");
    }

    fleet.agents[0].kill()?;
    target.answer(Answer::Status(503));
    fleet.admin.until_status(&id, MonitorStatus::Down, SOON).await?;
    ensure!(fleet.admin.incidents_of(&id).await?.len() == 1, "two of three regions are enough");
    Ok(())
}

/// Epochs and sequence numbers of the results of the agent that is killed.
async fn seqs(fleet: &Fleet, id: &str, since: prost_types::Timestamp) -> Result<Vec<(u64, u64)>> {
    let results = fleet.admin.results(id, since).await?;
    let own = results.into_iter().filter(|result| result.region == "us-east");
    Ok(own.map(|result| (result.agent_epoch, result.seq)).collect())
}
