//! How monitors, their results and their explanation look to a person.

use model::check::DEFAULT_REDIRECTS;
use model::result::UNSUPPORTED;
use model::{HealthPolicy, Timestamp};
use proto::admin::v1::{Explanation, Monitor, MonitorStatus, RegionState, Result};

use crate::noun::{alert, vote};
use crate::output::{Cell, Described, Listed, Sheet, Table, enum_word};
use crate::{duration, moment};

impl Listed for Monitor {
    const COLUMNS: &'static [&'static str] = &["NAME", "STATUS", "SINCE", "INTERVAL", "REGIONS", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::state(status(self)),
            Cell::text(moment::relative(self.status_since.as_ref(), now)),
            Cell::text(duration::setting(self.interval.as_ref())),
            Cell::text(self.regions.iter().map(|region| marked(self, region)).collect::<Vec<_>>().join(",")),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Monitor {
    fn sheet(&self, now: Timestamp) -> Sheet {
        // Values of headers are often credentials; `-o json` has them.
        let headers: Vec<&str> = self.headers.iter().map(|header| header.name.as_str()).collect();
        let expected: Vec<String> = self.expected_status.iter().map(u32::to_string).collect();
        let sheet = Sheet::default()
            .field("name", &self.name)
            .field("id", &self.id)
            .state("status", status(self))
            .field("since", moment::both(self.status_since.as_ref(), now))
            .field("unverified", moment::both(self.unverified_since.as_ref(), now))
            .field("incident", &self.open_incident_id)
            .field("maintenance", &self.maintenance_id)
            .field("until", moment::both(self.maintenance_until.as_ref(), now))
            .field("url", &self.url)
            .field("method", &self.method)
            .field("headers", headers.join(", "))
            .field("expects", expected.join(", "))
            .field("must contain", self.expect.join(", "))
            .field("certificate", certificate(self.certificate_days))
            .field("must hold", self.assertions.join(", "))
            .field("upside down", if self.upside_down { "passes when the check fails" } else { "" })
            .field("connects to", &self.connect_to)
            .field(
                "over",
                if self.ip_version == 0 { String::new() } else { format!("IPv{}", self.ip_version) },
            )
            .field("server name", &self.server_name)
            .field("redirects", redirects(self.max_redirects))
            .field("shows certificate", &self.client_certificate)
            .field("speaks", if self.http_version == "2" { "HTTP/2" } else { "" })
            .field("connections", if self.reuse_connection { "kept for the next check" } else { "" })
            .field("compressed", if self.compressed { "asks for gzip and deflate" } else { "" })
            .field("interval", duration::setting(self.interval.as_ref()))
            .field("timeout", duration::setting(self.timeout.as_ref()))
            .field("quorum", &self.quorum)
            .field("confirms for", duration::setting(self.confirmation_period.as_ref()))
            .field("recovers after", recovery(self.recovery_checks))
            .field("recovers for", unless_zero(self.recovery_period.as_ref()))
            .field("fails after", in_a_row(self.failure_threshold, "failing"))
            .field("passes after", in_a_row(self.success_threshold, "passing"))
            .field("slow above", unless_zero(self.latency_limit.as_ref()))
            .field("health", unless_read(&self.health))
            .field("depends on", self.depends_on.join(", "))
            .field("tags", self.tags.join(", "))
            .field("channels", self.channels.join(", "));
        alert::fields(sheet, self.alert.as_ref())
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("changed", moment::both(self.updated_at.as_ref(), now))
            .part("regions", regions(self, now))
    }
}

/// What is done with redirects, where it is not the usual thing.
fn redirects(max: Option<u32>) -> String {
    match max {
        None => String::new(),
        Some(max) if max == u32::from(DEFAULT_REDIRECTS) => String::new(),
        Some(0) => "none is followed".to_owned(),
        Some(max) => format!("up to {max} are followed"),
    }
}

impl Described for Explanation {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let lines = self.would_change.iter().map(|line| vec![Cell::text(line)]).collect();
        Sheet::default()
            .state("status", phased(&status_word(self.status()), &self.phase))
            .field("policy", &self.policy)
            .field("sum", &self.arithmetic)
            .field("decision", &self.decision)
            .field("decides again", moment::relative(self.next_decision_at.as_ref(), now))
            .part("votes", vote::table(&self.votes, now))
            .part("failing components", vote::components(&self.votes))
            .part("what would change it", Table { headers: &[""], rows: lines })
    }
}

impl Listed for Result {
    const COLUMNS: &'static [&'static str] = &["STARTED", "REGION", "OUTCOME", "DURATION", "DETAIL", "AGENT"];

    fn row(&self, _: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(moment::absolute(self.started_at.as_ref())),
            Cell::text(&self.region),
            Cell::state(&self.outcome),
            Cell::text(duration::measured(self.duration.as_ref())),
            Cell::text(&self.detail),
            Cell::text(&self.agent_id),
        ]
    }
}

/// `us-east`, `us-east (unsupported)`.
fn marked(monitor: &Monitor, region: &str) -> String {
    let mark = if lack(monitor, region).is_empty() { "" } else { " (unsupported)" };
    format!("{region}{mark}")
}

/// Why a region cannot make the check; nothing if it can.
fn lack(monitor: &Monitor, region: &str) -> String {
    let unsupported = monitor.unsupported.iter().find(|unsupported| unsupported.region == region);
    unsupported.map(|it| format!("{UNSUPPORTED}{}", it.reason)).unwrap_or_default()
}

/// `up`, `up (verifying)`, `down (unverified)`.
fn status(monitor: &Monitor) -> String {
    let phase = if monitor.unverified_since.is_some() { "unverified" } else { monitor.phase.as_str() };
    phased(&status_word(monitor.status()), phase)
}

fn status_word(status: MonitorStatus) -> String {
    enum_word(status.as_str_name(), MonitorStatus::Unspecified.as_str_name())
}

fn phased(status: &str, phase: &str) -> String {
    if phase.is_empty() { status.to_owned() } else { format!("{status} ({phase})") }
}

fn recovery(checks: u32) -> String {
    match checks {
        0 => String::new(),
        1 => "1 passing round".to_owned(),
        more => format!("{more} passing rounds"),
    }
}

/// A threshold; nothing where one check is enough, as usual.
fn in_a_row(checks: u32, kind: &str) -> String {
    if checks <= 1 { String::new() } else { format!("{checks} {kind} checks in a row") }
}

/// A span; nothing where there is none, as usual.
fn unless_zero(span: Option<&prost_types::Duration>) -> String {
    duration::setting(span.filter(|span| (span.seconds, span.nanos) != (0, 0)))
}

/// How long a certificate must last; nothing where it merely has to be valid.
fn certificate(days: u32) -> String {
    match days {
        0 => String::new(),
        1 => "valid for 1 day or longer".to_owned(),
        days => format!("valid for {days} days or longer"),
    }
}

/// What a health report means; nothing where it is merely read, as usual.
fn unless_read(health: &str) -> &str {
    if HealthPolicy::parse(health) == Some(HealthPolicy::default()) { "" } else { health }
}

/// One row per region; regions that have not answered yet are named without a state.
fn regions(monitor: &Monitor, now: Timestamp) -> Table {
    let state = |region: &RegionState| {
        let vote = region.vote.as_ref();
        vec![
            Cell::text(&region.region),
            Cell::state(if region.live { "connected" } else { "disconnected" }),
            Cell::state(vote.map_or("", |vote| &vote.outcome)),
            Cell::text(moment::relative(vote.and_then(|vote| vote.started_at.as_ref()), now)),
            Cell::text(duration::measured(vote.and_then(|vote| vote.duration.as_ref()))),
            Cell::text(moment::relative(region.next_check_at.as_ref(), now)),
            Cell::text(vote.map_or_else(|| lack(monitor, &region.region), |vote| vote.detail.clone())),
        ]
    };
    let silent = |region: &String| {
        let mut row = vec![Cell::text(region)];
        row.resize(6, Cell::text(""));
        row.push(Cell::text(lack(monitor, region)));
        row
    };
    let known = |region: &&String| !monitor.region_states.iter().any(|state| state.region == **region);
    let rows = monitor.region_states.iter().map(state);
    let rows = rows.chain(monitor.regions.iter().filter(known).map(silent)).collect();
    Table { headers: &["REGION", "AGENT", "OUTCOME", "CHECKED", "DURATION", "NEXT", "DETAIL"], rows }
}
