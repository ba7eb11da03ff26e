//! An outage is decided in seconds, at any interval.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use model::Timestamp;
use proto::admin::v1::{ChannelKind, ListMonitorsRequest, Monitor, MonitorStatus};
use support::admin::{seconds, time, wire_time};
use support::{Answer, Fleet, SOON, Site, environment, eventually, webhook};

const INTERVAL_SECS: u64 = 600;
const TIMEOUT: Duration = Duration::from_secs(3);
/// Many, so that one of them is always due soon: 3 regions × 40 monitors in 600 s.
const MONITORS: usize = 40;
/// How long before its next check a target breaks.
const NOTICE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Breaks {
    Refused,
    Status,
    Silent,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_600_s_interval_the_first_failing_check_is_followed_by_the_webhook_in_seconds() -> Result<()> {
    let fleet = Fleet::start(&["us-east", "eu-west", "ap-south"]).await?;
    let receiver = Site::start(Answer::Status(200)).await?;
    let mut watched = Vec::new();
    for number in 0..MONITORS {
        // One each: of a monitor that fails soon after another of its host the same channel would not be told at once.
        let channel = format!("ops-{number}");
        fleet.admin.create_channel(ChannelKind::Webhook, &channel, &receiver.url("/")).await?;
        let site = Site::start(Answer::Status(200)).await?;
        let monitor = Monitor {
            url: site.url("/health"),
            interval: seconds(INTERVAL_SECS),
            timeout: seconds(TIMEOUT.as_secs()),
            channels: vec![channel],
            ..Monitor::default()
        };
        watched.push((fleet.admin.create_monitor(monitor).await?.id, site));
    }
    eventually("all monitors were up", SOON * 2, async || {
        let request = ListMonitorsRequest { page_size: 1_000, ..ListMonitorsRequest::default() };
        let list = fleet.admin.monitors().list_monitors(request).await?.into_inner().monitors;
        let up = list.iter().filter(|monitor| monitor.status() == MonitorStatus::Up).count();
        ensure!(up == MONITORS, "{up} of {MONITORS} are up");
        Ok(Some(()))
    })
    .await?;

    for breaks in [Breaks::Status, Breaks::Refused, Breaks::Silent] {
        let due = next_due(&fleet, &watched).await?;
        let (id, site) = watched.remove(due.index);
        // Waiting for the instant itself is the point here.
        tokio::time::sleep(due.at.minus(NOTICE).since(environment::now())).await;
        match breaks {
            Breaks::Refused => site.refuse().await,
            Breaks::Status => site.answer(Answer::Status(503)),
            Breaks::Silent => site.answer(Answer::Silence),
        }
        let arrived_at = eventually("the webhook arrived", NOTICE + TIMEOUT * 2 + SOON, async || {
            let opened = webhook::of_subject(&receiver.requests(), "incident.opened", &id);
            Ok(opened.first().map(|request| request.arrived_at))
        })
        .await?;
        let failed_at = first_failure_ended_at(&fleet, &id, due.at.minus(NOTICE)).await?;
        let took = arrived_at.since(failed_at);
        println!("{breaks:?}: {took:?} from the end of the first failing check to the first byte");
        ensure!(took <= TIMEOUT + Duration::from_secs(2), "{breaks:?} took {took:?}");
    }
    Ok(())
}

struct Due {
    index: usize,
    at: Timestamp,
}

/// The monitor whose next check comes soonest, but late enough to break its target before.
async fn next_due(fleet: &Fleet, watched: &[(String, Site)]) -> Result<Due> {
    let mut soonest: Option<Due> = None;
    for (index, (id, _)) in watched.iter().enumerate() {
        let monitor = fleet.admin.monitor(id).await?;
        ensure!(monitor.region_states.len() == 3, "next_check_at is returned per region: {monitor:?}");
        for region in &monitor.region_states {
            let at = time(region.next_check_at.as_ref())?;
            let in_time = at.since(environment::now()) > NOTICE * 2;
            if in_time && soonest.as_ref().is_none_or(|due| at < due.at) {
                soonest = Some(Due { index, at });
            }
        }
    }
    soonest.context("no check is due")
}

async fn first_failure_ended_at(fleet: &Fleet, id: &str, since: Timestamp) -> Result<Timestamp> {
    let results = fleet.admin.results(id, wire_time(since)).await?;
    let ends = results.iter().filter(|result| result.outcome == "fail").map(|result| {
        let duration = Duration::try_from(result.duration.unwrap_or_default()).context("a duration")?;
        Ok(time(result.started_at.as_ref())?.plus(duration))
    });
    ends.collect::<Result<Vec<_>>>()?.into_iter().min().context("no failing result is listed")
}
