//! What an agent says of itself reaches its operator, and what it cannot check is told at once and is never down.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Agent, GetAgentRequest, ListResultsRequest, Monitor, MonitorStatus};
use serde_json::Value;
use support::admin::seconds;
use support::fleet::Shape;
use support::namespace::{self, Network};
use support::{Answer, Fleet, SOON, Site, ctl, environment, eventually};

/// Half a minute between two reports, and what surrounds it.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_report_of_itself_is_true_and_shown() -> Result<()> {
    let (well, sick) = (Site::start(Answer::Status(200)).await?, Site::start(Answer::Status(503)).await?);
    let shape = Shape { canaries: vec![sick.url("/canary")], ..Shape::default() };
    let mut fleet = Fleet::start_with(&["us-east"], shape).await?;
    let monitor = Monitor { url: well.url("/"), interval: seconds(1), ..Monitor::default() };
    let monitor = fleet.admin.create_monitor(monitor).await?.id;

    let agent = eventually("a whole period was reported", REPORTED_WITHIN, async || {
        let agent = agent(&fleet, "us-east-1").await?;
        let started = agent.status.as_ref().map_or(0, |status| status.checks_started);
        ensure!(started >= 20, "{agent:?}");
        Ok(Some(agent))
    })
    .await?;
    let status = agent.status.context("it was there")?;
    let pid = fleet.agents[0].process().pid();
    let resident = resident_bytes(pid)?;
    let told = status.memory_bytes.context("the system says it")?;
    ensure!(told.abs_diff(resident) < resident / 2, "{told} B, and the system says {resident} B");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    ensure!(status.open_files.is_some_and(|told| told.abs_diff(open) < 20), "{open} {status:?}");
    ensure!(status.open_files_limit > status.open_files && status.cores > 0, "{status:?}");
    let period = status.period.context("it covers something")?.seconds;
    ensure!((25..=40).contains(&period), "{status:?}");
    // A check a second, and the canary is none of them.
    ensure!((20..=45).contains(&status.checks_started), "{status:?}");
    let lateness = status.lateness_p99.context("checks started")?;
    ensure!(lateness.seconds < 5, "{status:?}");
    let offset = agent.clock_offset.context("it said its time")?;
    ensure!(offset.seconds.abs() < 2, "one machine, one clock: {offset:?}");
    ensure!(status.failing_canaries == [sick.url("/canary").trim_start_matches("http://")], "{status:?}");
    for kind in ["http", "tcp", "tls", "dns", "grpc", "websocket", "mail"] {
        ensure!(agent.capabilities.iter().any(|able| able == kind), "{:?}", agent.capabilities);
    }

    let shown = ctl::done(&fleet.coordinator, &["agent", "get", "us-east-1"])?;
    for word in
        ["clock offset:", "lateness:", "waiting results:", "spool:", "open files:", "failing canaries:"]
    {
        ensure!(shown.contains(word), "{word} is missing: {shown}");
    }
    let listed = ctl::done(&fleet.coordinator, &["agent", "ls"])?;
    ensure!(listed.contains("LATE P99") && listed.contains("us-east-1"), "{listed}");
    let document = ctl::done(&fleet.coordinator, &["agent", "get", "us-east-1", "-o", "json"])?;
    let document: Value = serde_json::from_str(&document)?;
    ensure!(document["status"]["waiting_results"].is_u64(), "{document}");
    ensure!(fleet.admin.monitor(&monitor).await?.status() == MonitorStatus::Up);
    Ok(())
}

#[test]
fn what_an_agent_may_not_check_is_unsupported_at_once_and_never_down() -> Result<()> {
    const NAME: &str = "what_an_agent_may_not_check";
    if !namespace::is_possible() || environment::tool("setpriv", &[]).is_none() {
        return environment::skip(NAME, "network namespaces or setpriv are missing (needs root)");
    }
    // In a new network nobody may send echo requests over datagram sockets: net.ipv4.ping_group_range is empty.
    Network::start(&["here"])?.enter("here", |_network| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(unsupported())
    })?
}

async fn unsupported() -> Result<()> {
    let shape = Shape { has_raw_sockets: vec!["eu-west"], ..Shape::default() };
    let fleet = Fleet::start_with(&["eu-west", "us-east"], shape).await?;
    let able = async |name| Ok::<_, anyhow::Error>(agent(&fleet, name).await?.capabilities);
    ensure!(able("eu-west-1").await?.iter().any(|able| able == "icmp"), "it has the right");
    ensure!(!able("us-east-1").await?.iter().any(|able| able == "icmp"));
    ensure!(!able("us-east-1").await?.iter().any(|able| able == "ipv6"), "there is no such route here");

    let arguments = ["monitor", "create", "icmp://127.0.0.1", "--name", "pings", "--interval", "2s"];
    let created = ctl::ctl(&fleet.coordinator, &[&arguments[..], &["--regions", "us-east"]].concat())?;
    ensure!(created.code == 0, "{created:?}");
    let warning = "warning: us-east cannot check it: us-east-1 may not send ICMP echo requests";
    ensure!(created.stderr.contains(warning), "{created:?}");
    eventually("the region said why it cannot", Duration::from_secs(10), async || {
        let shown = ctl::done(&fleet.coordinator, &["monitor", "get", "pings"])?;
        ensure!(shown.contains("unsupported: this agent may not send ICMP echo requests"), "{shown}");
        let explained = ctl::done(&fleet.coordinator, &["monitor", "explain", "pings"])?;
        ensure!(explained.contains("unsupported: this agent may not"), "{explained}");
        Ok(Some(()))
    })
    .await?;
    let listed = ctl::done(&fleet.coordinator, &["monitor", "ls"])?;
    ensure!(listed.contains("us-east (unsupported)"), "{listed}");

    let other = ["monitor", "create", "icmp://127.0.0.1", "--name", "others", "--regions", "eu-west"];
    let other = ctl::ctl(&fleet.coordinator, &other)?;
    ensure!(other.code == 0 && !other.stderr.contains("warning"), "{other:?}");
    fleet.admin.until_status(&other.stdout, MonitorStatus::Up, SOON).await?;

    let request = ListResultsRequest { monitor_id: "pings".into(), ..ListResultsRequest::default() };
    let results = fleet.admin.monitors().list_results(request).await?.into_inner().results;
    ensure!(!results.is_empty() && results.iter().all(|result| result.outcome == "error"), "{results:?}");
    ensure!(fleet.admin.incidents_of("").await?.is_empty(), "somebody is woken");
    Ok(())
}

async fn agent(fleet: &Fleet, name: &str) -> Result<Agent> {
    let request = GetAgentRequest { id: name.to_owned() };
    Ok(fleet.admin.fleet().get_agent(request).await?.into_inner())
}

/// The system's own figure for a process.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has memory")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024)
}
