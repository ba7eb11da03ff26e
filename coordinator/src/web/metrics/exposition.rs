//! The text of `/metrics`: one place that names every metric.

use std::collections::BTreeMap;
use std::fmt;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{heartbeat, monitor};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::{Metrics, Sources};
use crate::view::Status;

/// Every metric's name begins so.
const PREFIX: &str = "vigilmon";

const MONITOR_STATUSES: [monitor::Status; 7] = [
    monitor::Status::Pending,
    monitor::Status::Up,
    monitor::Status::Degraded,
    monitor::Status::Down,
    monitor::Status::Unknown,
    monitor::Status::Paused,
    monitor::Status::Maintenance,
];

const HEARTBEAT_STATUSES: [heartbeat::Status; 8] = [
    heartbeat::Status::New,
    heartbeat::Status::Up,
    heartbeat::Status::Running,
    heartbeat::Status::Late,
    heartbeat::Status::Missed,
    heartbeat::Status::Unknown,
    heartbeat::Status::Paused,
    heartbeat::Status::Maintenance,
];

/// Writes all metrics as they are now.
pub(super) fn render(sources: &Sources) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version of the coordinator", build);
    registry.register_collector(Box::new(Scrape::of(sources)));
    let mut page = String::with_capacity(4_096);
    text::encode(&mut page, &registry).expect("writing into memory does not fail");
    page
}

/// What one scrape shows.
#[derive(Debug)]
struct Scrape {
    counters: Vec<Family>,
    gauges: Vec<Family>,
}

/// One metric.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    One(u64),
    /// With the name and the value of a label each.
    Labelled(Vec<((&'static str, String), u64)>),
}

impl Scrape {
    fn of(sources: &Sources) -> Self {
        Self { counters: counters(&sources.metrics), gauges: gauges(sources) }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.counters {
            family.encode(&mut encoder, MetricType::Counter, ConstCounter::new)?;
        }
        for family in &self.gauges {
            family.encode(&mut encoder, MetricType::Gauge, |value| {
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
            })?;
        }
        Ok(())
    }
}

impl Family {
    const fn one(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, values: Values::One(value) }
    }

    fn by<L: fmt::Display>(
        label: &'static str,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        let values = values.into_iter().map(|(is, value)| ((label, is.to_string()), value));
        Self { name, help, values: Values::Labelled(values.collect()) }
    }

    fn encode<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
        metric: impl Fn(u64) -> M,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match &self.values {
            Values::One(value) => metric(*value).encode(family),
            Values::Labelled(values) => values.iter().try_for_each(|(label, value)| {
                metric(*value).encode(family.encode_family(&slice::from_ref(label))?)
            }),
        }
    }
}

fn counters(metrics: &Metrics) -> Vec<Family> {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    vec![
        Family::by(
            "answer",
            "pings",
            "Requests to heartbeat URLs, by answer",
            [
                ("committed", read(&metrics.pings_committed)),
                ("unknown", read(&metrics.pings_unknown)),
                ("unavailable", read(&metrics.pings_unavailable)),
            ],
        ),
        Family::by(
            "verdict",
            "results",
            "Committed results of agents",
            [("accepted", read(&metrics.results_accepted)), ("refused", read(&metrics.results_refused))],
        ),
        Family::by(
            "outcome",
            "commits",
            "Commits, by outcome",
            [("succeeded", read(&metrics.commits_succeeded)), ("failed", read(&metrics.commits_failed))],
        ),
        Family::by(
            "outcome",
            "deliveries",
            "Attempts to deliver a notification, by outcome",
            [
                ("delivered", read(&metrics.deliveries_delivered)),
                ("failed", read(&metrics.deliveries_failed)),
                ("dead", read(&metrics.deliveries_dead)),
            ],
        ),
    ]
}

fn gauges(sources: &Sources) -> Vec<Family> {
    let views = sources.views.all();
    let count =
        |wanted: &dyn Fn(Status) -> bool| views.iter().filter(|view| wanted(view.status)).count() as u64;
    let monitors = MONITOR_STATUSES.map(|wanted| {
        let number = count(&|status| matches!(status, Status::Monitor(is, _) if is == wanted));
        (wanted.to_string().to_lowercase(), number)
    });
    let heartbeats = HEARTBEAT_STATUSES.map(|wanted| {
        let number = count(&|status| matches!(status, Status::Heartbeat(is, _) if is == wanted));
        (wanted.to_string().to_lowercase(), number)
    });
    let open = views.iter().filter(|view| view.incident.is_some()).count() as u64;
    let healthy = u64::from(sources.healthy.load(Ordering::Acquire));
    let fleet = sources.views.fleet();
    let Backlogs { ailing, waiting, dropped } = backlogs(sources);
    vec![
        Family::one("agents_ailing", "Agents with something that an operator should look at", ailing),
        Family::by("region", "agent_results_waiting", "Results that agents have not sent yet", waiting),
        Family::by("region", "agent_results_dropped", "Results that agents had to give up", dropped),
        Family::one("agents_quarantined", "Agents whose votes do not count", fleet.quarantines.len() as u64),
        Family::one(
            "regions_offline",
            "Regions that check something and of which no agent is connected",
            fleet.offline.len() as u64,
        ),
        Family::by("status", "monitors", "Monitors, by status", monitors),
        Family::by("status", "heartbeats", "Heartbeats, by status", heartbeats),
        Family::one("incidents_open", "Open incidents", open),
        Family::by(
            "region",
            "agents_connected",
            "Agents heard of lately, by region",
            agents_by_region(sources),
        ),
        Family::one("healthy", "1 while commits succeed", healthy),
    ]
}

/// What agents say of themselves, in sums.
#[derive(Default)]
struct Backlogs {
    ailing: u64,
    waiting: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
}

fn backlogs(sources: &Sources) -> Backlogs {
    let now = sources.clock.now();
    let mut sums = Backlogs::default();
    for member in sources.fleet.members().iter().filter(|member| member.is_live(now)) {
        let (region, report) = (member.who.region.to_string(), &member.report);
        let waiting = report.said.as_ref().map_or(0, |(_, status)| status.backlog.results);
        sums.ailing += u64::from(!report.ailments.is_empty());
        *sums.waiting.entry(region.clone()).or_default() += waiting;
        *sums.dropped.entry(region).or_default() += report.dropped();
    }
    sums
}

/// A region without an agent counts 0, so that its absence can be alerted on.
fn agents_by_region(sources: &Sources) -> BTreeMap<String, u64> {
    let config = sources.settings.present();
    let mut regions: BTreeMap<String, u64> =
        config.regions.iter().map(|row| (row.id.to_string(), 0)).collect();
    let now = sources.clock.now();
    for member in sources.fleet.members().iter().filter(|member| member.is_live(now)) {
        *regions.entry(member.who.region.to_string()).or_default() += 1;
    }
    regions
}
