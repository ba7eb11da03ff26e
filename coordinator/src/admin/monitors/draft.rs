//! From a user's words to a monitor's definition. An update is read like a creation: the present definition in wire form
//! with the named fields replaced, so that both know one set of rules.

use std::time::Duration;

use engine::quorum;
use model::check::{
    DEFAULT_INTERVAL, DEFAULT_TIMEOUT, MAX_INTERVAL, MAX_TIMEOUT, MIN_INTERVAL, MIN_TIMEOUT, Method,
    validate_header,
};
use model::{Check, CheckSpec, RegionId};
use proto::admin::v1 as wire;
use store::Config;
use tonic::Status;

use super::answer::configured;
use crate::admin::fields::{self, Allowed, MAX_NAME_CHARS};
use crate::admin::find;
use crate::admin::invalid::Invalid;
use crate::definition::{Definition, MonitorDefinition};
use crate::settings::find_region;

/// The fields of a monitor that an update may name.
pub(super) const CHANGEABLE: [&str; 12] = [
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
];
/// The fields that only answers have.
pub(super) const FIXED: [&str; 11] = [
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
];

const DEFAULT_RECOVERY_CHECKS: u32 = 2;
const MAX_RECOVERY_CHECKS: u32 = 20;
/// Headers of one check, as `model` has it; statuses that pass.
const MAX_LISTED: usize = 50;

const INTERVAL: Allowed = Allowed { span: MIN_INTERVAL..=MAX_INTERVAL, words: "from 1 second to 31 days" };
const TIMEOUT: Allowed = Allowed { span: MIN_TIMEOUT..=MAX_TIMEOUT, words: "from 100 ms to 2 minutes" };
const CONFIRMATION: Allowed =
    Allowed { span: Duration::ZERO..=Duration::from_secs(86_400), words: "from 0 to 1 day" };

/// The name and definition of a monitor that is to be created.
pub(super) fn new(asked: &wire::Monitor, config: &Config) -> Result<(String, MonitorDefinition), Status> {
    let every = || config.regions.iter().map(|row| row.id.to_string()).collect();
    let regions: Vec<String> = if asked.regions.is_empty() { every() } else { asked.regions.clone() };
    let no_region = regions.is_empty();
    let read = read(&wire::Monitor { regions, ..asked.clone() }, Named::IfGiven, config);
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
    config: &Config,
) -> Result<(String, MonitorDefinition), Status> {
    let mut draft = configured(before, monitor);
    overlay(&mut draft, asked, mask);
    let named = |field| mask.contains(&field);
    if draft.url.trim_start().starts_with("tcp:") {
        // What only HTTP has goes with it, unless the request insists.
        draft.method = if named("method") { draft.method } else { String::new() };
        draft.headers.retain(|_| named("headers"));
        draft.expected_status.retain(|_| named("expected_status"));
    }
    // A channel that is gone does not stand in the way of other changes.
    draft.channels.retain(|_| named("channels"));
    let mut invalid = Invalid::default();
    if draft.regions.is_empty() {
        invalid.add("regions", "must name at least one region");
        invalid.refuse()?;
    }
    let (name, mut after) = read(&draft, Named::Always, config)?;
    if !named("channels") {
        after.channels.clone_from(&monitor.channels);
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
    );
}

/// Whether a name must be there or is made from the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Always,
    IfGiven,
}

fn read(asked: &wire::Monitor, named: Named, config: &Config) -> Result<(String, MonitorDefinition), Status> {
    let mut invalid = Invalid::default();
    let check = read_check(asked, &mut invalid);
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
        &CONFIRMATION,
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
    let read = || {
        let spec = CheckSpec { check: check?, interval: interval?, timeout: timeout? };
        let definition = MonitorDefinition {
            spec,
            regions: regions?,
            quorum: quorum?,
            confirmation_period: confirmation_period?,
            recovery_checks,
            channels,
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

fn read_check(asked: &wire::Monitor, invalid: &mut Invalid) -> Option<Check> {
    if asked.url.trim().is_empty() {
        invalid.add("url", "is required: use http://, https:// or tcp://HOST:PORT");
        return None;
    }
    let check = Check::from_target(&asked.url).map_err(|error| error.problem);
    match invalid.check("url", check)? {
        Check::Tcp(tcp) => {
            for (field, is_given) in [
                ("method", !asked.method.is_empty()),
                ("headers", !asked.headers.is_empty()),
                ("expected_status", !asked.expected_status.is_empty()),
            ] {
                if is_given {
                    invalid.add(field, "is for http:// and https:// only: leave it empty");
                }
            }
            Some(Check::Tcp(tcp))
        }
        Check::Http(mut http) => {
            if !asked.method.is_empty() {
                match Method::parse(&asked.method) {
                    Some(method) => http.method = method,
                    None => invalid.add("method", "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"),
                }
            }
            http.headers = read_headers(&asked.headers, invalid);
            http.expected_status = read_statuses(&asked.expected_status, invalid);
            Some(Check::Http(http))
        }
    }
}

fn read_headers(asked: &[wire::Header], invalid: &mut Invalid) -> Vec<(String, String)> {
    if asked.len() > MAX_LISTED {
        invalid.add("headers", format!("at most {MAX_LISTED} are allowed"));
        return vec![];
    }
    let read = |header: &wire::Header| {
        let sound = validate_header(&header.name, &header.value).map_err(|error| error.problem);
        invalid.check("headers", sound).map(|()| (header.name.clone(), header.value.clone()))
    };
    asked.iter().filter_map(read).collect()
}

fn read_statuses(asked: &[u32], invalid: &mut Invalid) -> Vec<u16> {
    if asked.len() > MAX_LISTED {
        invalid.add("expected_status", format!("at most {MAX_LISTED} are allowed"));
        return vec![];
    }
    let read = |status: &u32| {
        let sound = u16::try_from(*status).ok().filter(|status| (100..=599).contains(status));
        if sound.is_none() {
            invalid.add("expected_status", format!("{status} is not an HTTP status: use 100 to 599"));
        }
        sound
    };
    asked.iter().filter_map(read).collect()
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
    all_known.then_some(regions)
}

fn read_quorum(asked: &str, regions: Option<&[RegionId]>, invalid: &mut Invalid) -> Option<quorum::Policy> {
    let policy =
        if asked.is_empty() { quorum::Policy::default() } else { invalid.check("quorum", asked.parse())? };
    match regions {
        // Without any region there is something else to be said.
        None | Some([]) => Some(policy),
        Some(regions) => invalid.check("quorum", policy.validate(regions.len())).map(|()| policy),
    }
}
