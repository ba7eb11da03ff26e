//! Detection: from the end of the first failing check to the first byte of the webhook.

use std::time::Duration;

use anyhow::{Context, Result};
use model::Timestamp;
use proto::admin::v1::{ChannelKind, Monitor, MonitorStatus};
use support::admin::{seconds, time, wire_time};
use support::{Answer, Fleet, SOON, Site, environment, eventually, webhook};

use crate::report::{Budget, Report, Row, percentile};

/// Targets that break, one after the other, with each kind of failure.
const BREAKS: usize = 60;
const INTERVAL_SECS: u64 = 3;
/// A refused connection needs a second attempt, so much after the first.
const SECOND_ATTEMPT: f64 = 1_000.0;

/// Measures both kinds.
///
/// # Errors
/// When something does not start.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.part("detection")?;
    let fleet = Fleet::start(&["us-east", "eu-west", "ap-south"]).await?;
    let receiver = Site::start(Answer::Status(200)).await?;
    fleet.admin.create_channel(ChannelKind::Webhook, "bench", &receiver.url("/")).await?;
    let mut watched = Vec::new();
    for number in 0..BREAKS * 2 {
        // Hosts of their own: outages of one host would be told of once.
        let host = [127, 0, 1, u8::try_from(number + 1)?];
        let site = Site::start_at((host, 0).into(), Answer::Status(200)).await?;
        let monitor = Monitor {
            url: site.url("/health"),
            interval: seconds(INTERVAL_SECS),
            timeout: seconds(1),
            channels: vec!["bench".to_owned()],
            ..Monitor::default()
        };
        watched.push((fleet.admin.create_monitor(monitor).await?.id, site));
    }
    for (id, _) in &watched {
        fleet.admin.until_status(id, MonitorStatus::Up, SOON * 2).await?;
    }

    for refused in [false, true] {
        let mut took = Vec::new();
        for (id, site) in watched.split_off(watched.len() - BREAKS) {
            let broken_at = environment::now();
            if refused {
                site.refuse().await;
            } else {
                site.answer(Answer::Status(503));
            }
            let arrived_at = eventually("the webhook arrived", SOON * 2, async || {
                let opened = webhook::of_subject(&receiver.requests(), "incident.opened", &id);
                Ok(opened.first().map(|request| request.arrived_at))
            })
            .await?;
            let failed_at = first_failure_ended_at(&fleet, &id, broken_at).await?;
            let micros = arrived_at.as_micros() - failed_at.as_micros();
            took.push(micros as f64 / 1_000.0);
        }
        let (kind, verifying) = if refused { ("refused", SECOND_ATTEMPT) } else { ("503", 0.0) };
        let (p50, p99) = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
        report.add(
            Row::new(format!("Detection, target {kind}: first failing check to first webhook byte, p99"), p99, "ms")
                .beside(format!("p50 {p50:.0} ms; {BREAKS} outages, three regions; the verifying checks take {verifying:.0} ms"))
                .budget(Budget::AtMost(500.0 + verifying)),
        );
    }
    Ok(())
}

async fn first_failure_ended_at(fleet: &Fleet, id: &str, since: Timestamp) -> Result<Timestamp> {
    let results = fleet.admin.results(id, wire_time(since.minus(Duration::from_secs(1)))).await?;
    let ends = results.iter().filter(|result| result.outcome == "fail").map(|result| {
        let duration = Duration::try_from(result.duration.unwrap_or_default()).context("a duration")?;
        Ok(time(result.started_at.as_ref())?.plus(duration))
    });
    ends.collect::<Result<Vec<_>>>()?.into_iter().min().context("no failing result is listed")
}
