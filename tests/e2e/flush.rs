//! What is acknowledged is on the disk: seen from outside, by the system calls between question and answer.

use anyhow::{Result, ensure};
use model::Timestamp;
use proto::admin::v1::{Heartbeat, Monitor};
use support::admin::seconds;
use support::raw_agent::{RawAgent, pass};
use support::{Coordinator, Options, Scratch, environment, fleet, http, strace};

/// Enough that the flushes of other work cannot stand in for all of them.
const TIMES: u32 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_ends_between_each_ping_and_its_answer_and_each_batch_and_its_ack() -> Result<()> {
    if !strace::is_possible() {
        return environment::skip("flush", "processes cannot be traced");
    }
    let (pings, batches) = unflushed(vec![]).await?;
    ensure!(pings == 0 && batches == 0, "without a flush: {pings} pings and {batches} batches of {TIMES}");
    Ok(())
}

/// The test above can fail: without synchronous writes it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_synchronous_writes_the_missing_flushes_are_noticed() -> Result<()> {
    if !strace::is_possible() {
        return environment::skip("flush", "processes cannot be traced");
    }
    let (pings, batches) =
        unflushed(vec![("VIGILMON_UNSAFE_SYNCHRONOUS".to_owned(), "off".to_owned())]).await?;
    ensure!(
        pings > TIMES / 2 && batches > TIMES / 2,
        "without a flush: only {pings} pings and {batches} batches"
    );
    Ok(())
}

/// How many pings and batches were answered without a flush in between.
async fn unflushed(variables: Vec<(String, String)>) -> Result<(u32, u32)> {
    let scratch = Scratch::new()?;
    let trace = scratch.join("trace");
    let wrapper = strace::wrapper(&trace);
    let mut coordinator =
        Coordinator::start_with(Options { environment: variables, wrapper, ..Options::default() }).await?;
    let admin = coordinator.admin()?;
    let job = Heartbeat { name: "job".to_owned(), interval: seconds(3_600), ..Heartbeat::default() };
    let ping_url = admin.create_heartbeat(job).await?.ping_url;
    let token = fleet::token(&admin, "us-east-1", "us-east").await?;
    let monitor =
        Monitor { url: "http://127.0.0.1:9/".to_owned(), interval: seconds(1), ..Monitor::default() };
    admin.create_monitor(monitor).await?;
    let mut session = RawAgent::new(&token, coordinator.agent_address())?.connect().await?;
    session.until("an assignment", |session| !session.assigned.is_empty()).await?;
    let assignment = session.assigned[0].clone();

    let mut pings = Vec::new();
    let mut batches = Vec::new();
    for seq in 1..=TIMES {
        let asked = environment::now();
        ensure!(http::get(&ping_url).await?.status == 200, "a ping was refused");
        pings.push((asked, environment::now()));
        let asked = environment::now();
        session.report(seq.into(), vec![pass(&assignment, seq.into())]).await?;
        session.until_acked(seq.into()..u64::from(seq) + 1).await?;
        batches.push((asked, environment::now()));
    }
    let pid = coordinator.process().pid();
    coordinator.terminate().await?;
    let flushes = strace::flushes(&trace, pid).await?;
    let without = |spans: &[(Timestamp, Timestamp)]| {
        let flushed =
            |(from, to): &&(Timestamp, Timestamp)| !flushes.iter().any(|end| (from..=to).contains(&end));
        spans.iter().filter(flushed).count()
    };
    Ok((u32::try_from(without(&pings))?, u32::try_from(without(&batches))?))
}
