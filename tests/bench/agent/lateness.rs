//! How punctual checks are, by nginx's log against the schedule: the agent was told when each slot begins, and nginx
//! writes when it answered. Beyond saturation: whether the agent says itself how late it is, and calls nothing down for
//! it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::{INTERVAL, TOO_MANY, Working};
use crate::report::{Budget, Report, Row, figure, percentile};
use crate::target::{Seen, Target};
use crate::wrk;
use support::fake_coordinator::{paths, phase};

/// The log is written once a second.
const WRITTEN_AFTER: Duration = Duration::from_millis(1_500);
/// What a batch may take from the agent to its coordinator on a machine without a free core: the agent says how old a
/// result is when it is sent.
const TOLD_WITHIN_MS: f64 = 50.0;

/// Measures it.
pub(super) async fn run(report: &mut Report, target: &Target, limit: wrk::Outcome) -> Result<()> {
    for per_second in [100, 1_000, 5_000] {
        paced(report, target, per_second, limit).await?;
    }
    beyond_saturation(report, target).await
}

async fn paced(report: &mut Report, target: &Target, count: usize, limit: wrk::Outcome) -> Result<()> {
    let mut agent = Working::start(&paths(count, |path| target.logged_url(path)), None).await?;
    let before = target.seen()?.len();
    let span = agent.span(target).await?;
    tokio::time::sleep(WRITTEN_AFTER).await;
    let failing = agent.coordinator.failing();
    drop(agent);
    let mut late: Vec<f64> =
        target.seen()?.iter().skip(before).map(|seen| lateness_ms(seen, count)).collect();
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&mut late, share));
    let cpu = Row::new(format!("CPU of the agent at {count} checks/s"), span.cpu_per_1000, "CPU-s per 1,000")
        .beside(format!(
            "{} checks/s done; wrk ×{:.2}",
            figure(span.rate),
            span.cpu_per_1000 / limit.cpu_per_1000
        ));
    report.add(if count == 1_000 { cpu.budget(Budget::AtMost(0.20)) } else { cpu });
    report.add(
        Row::new(format!("Lateness at {count} checks/s, p99"), p99, "ms")
            .beside(format!(
                "p50 {p50:.1} ms, most {most:.1} ms; {} answers in nginx's log (1 ms resolution)",
                late.len()
            ))
            .budget(Budget::AtMost(10.0)),
    );
    if failing > 0 {
        report.note(format!("at {count} checks/s {failing} checks did not pass"));
    }
    Ok(())
}

/// From the beginning of its slot to the answer; nearest slot.
fn lateness_ms(seen: &Seen, count: usize) -> f64 {
    let interval = INTERVAL.as_secs_f64();
    let since = (seen.at - phase(index(seen), count, INTERVAL).as_secs_f64()).rem_euclid(interval);
    1_000.0 * if since > interval / 2.0 { since - interval } else { since }
}

fn index(seen: &Seen) -> usize {
    seen.path.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// More is asked for than can be done.
async fn beyond_saturation(report: &mut Report, target: &Target) -> Result<()> {
    let mut agent = Working::start(&paths(TOO_MANY, |path| target.logged_url(path)), None).await?;
    let before = target.seen()?.len();
    agent.coordinator.write_down();
    let span = agent.span(target).await?;
    tokio::time::sleep(WRITTEN_AFTER).await;
    let (told, failing) = (agent.coordinator.written(), agent.coordinator.failing());
    drop(agent);
    let mut seen: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for line in target.seen()?.iter().skip(before) {
        seen.entry(index(line)).or_default().push(line.at);
    }
    let ends = told.iter().map(|told| told.ended_at);
    let (first, last) = ends.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
    let (mut late, mut apart) = (Vec::new(), Vec::new());
    // The first and the last second may be in one of the two only.
    for told in told.iter().filter(|told| told.ended_at > first + 1.0 && told.ended_at < last - 1.0) {
        late.push(told.lateness * 1_000.0);
        let nearest = seen.get(&told.index).into_iter().flatten().map(|at| (at - told.ended_at).abs());
        apart.push(nearest.fold(f64::INFINITY, f64::min) * 1_000.0);
    }
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&mut late, share));
    report.add(Row::new("Lateness that the agent tells beyond saturation, p99", p99, "ms").beside(format!(
        "p50 {p50:.0} ms, most {most:.0} ms, by slot and start of {} results; {} of {} checks/s done",
        late.len(),
        figure(span.rate),
        figure(TOO_MANY as f64 / INTERVAL.as_secs_f64())
    )));
    report.add(
        Row::new("What it tells, from nginx's log, p99", percentile(&mut apart, 0.99), "ms")
            .beside(format!("p50 {:.1} ms; when each of these checks ended", percentile(&mut apart, 0.5)))
            .budget(Budget::AtMost(TOLD_WITHIN_MS)),
    );
    report.add(
        Row::new("Checks beyond saturation that did not pass", failing as f64, "checks")
            .budget(Budget::AtMost(0.0)),
    );
    Ok(())
}
