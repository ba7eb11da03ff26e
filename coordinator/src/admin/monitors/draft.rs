//! From a user's words to a monitor's definition. An update is read like a creation: the present definition in wire form
//! with the named fields replaced, so that both know one set of rules.

mod check;

use std::time::Duration;

use engine::monitor::Thresholds;
use engine::quorum;
use model::check::{DEFAULT_INTERVAL, DEFAULT_TIMEOUT, MAX_INTERVAL, MAX_TIMEOUT, MIN_INTERVAL, MIN_TIMEOUT};
use model::{CheckSpec, MonitorId, RegionId};
use proto::admin::v1 as wire;
use store::Config;
use tonic::Status;

use super::answer::configured;
use crate::admin::alert;
use crate::admin::fields::{self, Allowed, MAX_NAME_CHARS};
use crate::admin::find;
use crate::admin::invalid::Invalid;
use crate::definition::{Definition, MonitorDefinition};
use crate::settings::find_region;
use crate::view::Views;

/// The fields of a monitor that an update may name.
pub(super) const CHANGEABLE: [&str; 33] = [
    "name",
    "url",
    "method",
    "headers",
    "expected_status",
    "interval",
    "timeout",
    "regions",
    "quorum",
    "confirmation_period",
    "recovery_checks",
    "channels",
    "failure_threshold",
    "success_threshold",
    "recovery_period",
    "latency_limit",
    "depends_on",
    "health",
    "tags",
    "send",
    "expect",
    "certificate_days",
    "assertions",
    "upside_down",
    "ip_version",
    "connect_to",
    "server_name",
    "max_redirects",
    "client_certificate",
    "http_version",
    "compressed",
    "reuse_connection",
    "alert",
];
/// The fields that only answers have.
pub(super) const FIXED: [&str; 14] = [
    "id",
    "status",
    "status_since",
    "phase",
    "region_states",
    "open_incident_id",
    "created_at",
    "updated_at",
    "spec_revision",
    "etag",
    "unverified_since",
    "maintenance_id",
    "maintenance_until",
    "unsupported",
];

const DEFAULT_RECOVERY_CHECKS: u32 = 2;
const MAX_RECOVERY_CHECKS: u32 = 20;
const MAX_THRESHOLD: u16 = 20;

const INTERVAL: Allowed = Allowed { span: MIN_INTERVAL..=MAX_INTERVAL, words: "from 1 second to 31 days" };
const TIMEOUT: Allowed = Allowed { span: MIN_TIMEOUT..=MAX_TIMEOUT, words: "from 100 ms to 2 minutes" };
const UP_TO_A_DAY: Allowed =
    Allowed { span: Duration::ZERO..=Duration::from_secs(86_400), words: "from 0 to 1 day" };
const LATENCY: Allowed =
    Allowed { span: Duration::ZERO..=MAX_TIMEOUT, words: "from 1 µs to the timeout, or 0 for no limit" };

/// What the names in a request may stand for.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Regions and channels.
    pub(super) config: &'a Config,
    /// Other monitors.
    pub(super) views: &'a Views,
}

/// The name and definition of a monitor that is to be created.
pub(super) fn new(asked: &wire::Monitor, known: Known<'_>) -> Result<(String, MonitorDefinition), Status> {
    let config = known.config;
    let every = || config.regions.iter().map(|row| row.id.to_string()).collect();
    let regions: Vec<String> = if asked.regions.is_empty() { every() } else { asked.regions.clone() };
    let no_region = regions.is_empty();
    let read = read(&wire::Monitor { regions, ..asked.clone() }, Named::IfGiven, None, known);
    match read {
        // Nothing the request could say better.
        Ok(_) if no_region => Err(Status::failed_precondition(
            "there is no region to check from yet: create an agent first, as with `vigilctl agent create NAME \
             --region REGION`",
        )),
        read => read,
    }
}

/// The name and definition of a monitor whose fields in `mask` become what `asked` says.
pub(super) fn changed(
    before: &Definition,
    monitor: &MonitorDefinition,
    asked: &wire::Monitor,
    mask: &[&str],
    known: Known<'_>,
) -> Result<(String, MonitorDefinition), Status> {
    let mut draft = configured(before, monitor);
    overlay(&mut draft, asked, mask);
    let named = |field| mask.contains(&field);
    check::drop_useless(&mut draft, mask);
    // A channel or a monitor that is gone does not stand in the way of other changes.
    draft.channels.retain(|_| named("channels"));
    draft.depends_on.retain(|_| named("depends_on"));
    draft.alert = draft.alert.filter(|_| named("alert"));
    let mut invalid = Invalid::default();
    if draft.regions.is_empty() {
        invalid.add("regions", "must name at least one region");
        invalid.refuse()?;
    }
    let itself = before.monitor().map(|(id, _)| id);
    let (name, mut after) = read(&draft, Named::Always, itself, known)?;
    if !named("channels") {
        after.channels.clone_from(&monitor.channels);
    }
    if !named("alert") {
        after.alert.clone_from(&monitor.alert);
    }
    if !named("depends_on") {
        after.depends_on.clone_from(&monitor.depends_on);
    }
    after.paused = monitor.paused;
    after.spec_revision = monitor.spec_revision + u64::from(after.respecifies(monitor));
    Ok((name, after))
}

fn overlay(draft: &mut wire::Monitor, asked: &wire::Monitor, mask: &[&str]) {
    macro_rules! take {
        ($($field:ident),+ $(,)?) => { $(
            if mask.contains(&stringify!($field)) {
                draft.$field.clone_from(&asked.$field);
            }
        )+ };
    }
    take!(
        name,
        url,
        method,
        headers,
        expected_status,
        interval,
        timeout,
        regions,
        quorum,
        confirmation_period,
        recovery_checks,
        channels,
        failure_threshold,
        success_threshold,
        recovery_period,
        latency_limit,
        depends_on,
        health,
        tags,
        send,
        expect,
        certificate_days,
        assertions,
        upside_down,
        ip_version,
        connect_to,
        server_name,
        max_redirects,
        client_certificate,
        http_version,
        compressed,
        reuse_connection,
        alert,
    );
}

/// Whether a name must be there or is made from the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Always,
    IfGiven,
}

fn read(
    asked: &wire::Monitor,
    named: Named,
    itself: Option<MonitorId>,
    known: Known<'_>,
) -> Result<(String, MonitorDefinition), Status> {
    let config = known.config;
    let mut invalid = Invalid::default();
    let check = check::read(asked, &mut invalid);
    let options = check::read_options(asked, check.as_ref(), &mut invalid);
    let name = match (&check, named) {
        (_, Named::IfGiven) if asked.name.is_empty() => {
            check.as_ref().map(|check| check.default_name().chars().take(MAX_NAME_CHARS).collect())
        }
        _ => fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid),
    };
    let (interval, timeout) = read_rhythm(asked, &mut invalid);
    let regions = read_regions(&asked.regions, config, &mut invalid);
    let quorum = read_quorum(&asked.quorum, regions.as_deref(), &mut invalid);
    let confirmation_period = fields::span(
        "confirmation_period",
        asked.confirmation_period.as_ref(),
        Some(Duration::ZERO),
        &UP_TO_A_DAY,
        &mut invalid,
    );
    let recovery_checks = match asked.recovery_checks {
        0 => DEFAULT_RECOVERY_CHECKS,
        checks @ 1..=MAX_RECOVERY_CHECKS => checks,
        _ => {
            invalid.add("recovery_checks", format!("must be 1 to {MAX_RECOVERY_CHECKS}, or 0 for 2"));
            0
        }
    };
    let channels = find::channels(config, &asked.channels, &mut invalid);
    let alert = alert::read(asked.alert.as_ref(), config, &mut invalid);
    let tags = fields::tags(&asked.tags, &mut invalid);
    let thresholds = read_thresholds(asked, timeout, &mut invalid);
    let depends_on = find::parents(known.views, itself, &asked.depends_on, &mut invalid);
    let read = || {
        let spec = CheckSpec { check: check?, options, interval: interval?, timeout: timeout? };
        let definition = MonitorDefinition {
            spec,
            regions: regions?,
            quorum: quorum?,
            confirmation_period: confirmation_period?,
            recovery_checks,
            thresholds: thresholds?,
            depends_on,
            channels,
            alert,
            tags,
            paused: false,
            spec_revision: 1,
        };
        Some((name?, definition))
    };
    let read = read();
    let (name, definition) = invalid.finish(read)?;
    // The door of the domain has the last word.
    definition.spec.validate().map_err(|error| Invalid::one(error.field, error.problem))?;
    Ok((name, definition))
}

fn read_rhythm(asked: &wire::Monitor, invalid: &mut Invalid) -> (Option<Duration>, Option<Duration>) {
    let default = Some(DEFAULT_INTERVAL);
    let interval = fields::span("interval", asked.interval.as_ref(), default, &INTERVAL, invalid);
    let default = Some(interval.map_or(DEFAULT_TIMEOUT, |interval| interval.min(DEFAULT_TIMEOUT)));
    let timeout = fields::span("timeout", asked.timeout.as_ref(), default, &TIMEOUT, invalid);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        invalid.add("timeout", "must not be longer than the interval");
    }
    (interval, timeout)
}

fn read_thresholds(
    asked: &wire::Monitor,
    timeout: Option<Duration>,
    invalid: &mut Invalid,
) -> Option<Thresholds> {
    let mut count = |field, asked| match u16::try_from(asked) {
        Ok(0) => Some(1),
        Ok(count @ 1..=MAX_THRESHOLD) => Some(count),
        _ => {
            invalid.add(field, format!("must be 1 to {MAX_THRESHOLD}, or 0 for 1"));
            None
        }
    };
    let failures = count("failure_threshold", asked.failure_threshold);
    let passes = count("success_threshold", asked.success_threshold);
    let none = Some(Duration::ZERO);
    let recovery_period =
        fields::span("recovery_period", asked.recovery_period.as_ref(), none, &UP_TO_A_DAY, invalid);
    let latency = fields::span("latency_limit", asked.latency_limit.as_ref(), none, &LATENCY, invalid);
    if let (Some(latency), Some(timeout)) = (latency, timeout)
        && latency > timeout
    {
        invalid.add("latency_limit", "must not be longer than the timeout");
    }
    let latency_limit = Some(latency?).filter(|limit| !limit.is_zero());
    Some(Thresholds {
        failures: failures?,
        passes: passes?,
        recovery_period: recovery_period?,
        latency_limit,
    })
}

/// The regions, sorted, each once; `None` if one is unknown.
fn read_regions(asked: &[String], config: &Config, invalid: &mut Invalid) -> Option<Vec<RegionId>> {
    let mut regions = vec![];
    let mut all_known = true;
    for asked in asked {
        match RegionId::new(asked).ok().filter(|id| find_region(config, id).is_some()) {
            Some(id) => regions.push(id),
            None => {
                all_known = false;
                let known = find::listed(config.regions.iter().map(|row| row.id.as_str()));
                invalid.add(
                    "regions",
                    format!("there is no region `{}`; there are: {known}", find::shorten(asked)),
                );
            }
        }
    }
    regions.sort_unstable();
    regions.dedup();
    if regions.len() > quorum::RegionSet::CAPACITY {
        invalid.add("regions", format!("at most {} are allowed", quorum::RegionSet::CAPACITY));
        return None;
    }
    all_known.then_some(regions)
}

fn read_quorum(asked: &str, regions: Option<&[RegionId]>, invalid: &mut Invalid) -> Option<quorum::Policy> {
    let policy =
        if asked.is_empty() { quorum::Policy::default() } else { invalid.check("quorum", asked.parse())? };
    match regions {
        // Without any region there is something else to be said.
        None | Some([]) => Some(policy),
        Some(regions) => invalid.check("quorum", policy.validate(regions)).map(|()| policy),
    }
}
