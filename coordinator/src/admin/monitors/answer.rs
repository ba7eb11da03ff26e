//! A monitor and its results as the wire has them.

use engine::monitor;
use engine::placement::{next_check_at, phase};
use engine::vote::RowOutcome;
use model::check::Extras;
use model::{
    AgentId, Check, CheckResult, IncidentId, InstallationId, MonitorId, Outcome, RegionId, Timestamp,
};
use proto::admin::v1 as wire;

use crate::admin::alert;
use crate::admin::convert::{self, instant, span};
use crate::admin::fields::etag;
use crate::admin::maintenances;
use crate::definition::{Definition, MonitorDefinition};
use crate::fleet::report::Abilities;
use crate::maintenance::Calendar;
use crate::shard::{Inspection, State};
use crate::view::{Status, SubjectView};

/// What a user configured, without how the monitor is.
pub(super) fn configured(definition: &Definition, monitor: &MonitorDefinition) -> wire::Monitor {
    let http = match &monitor.spec.check {
        Check::Http(http) => Some(http),
        _ => None,
    };
    let Extras { headers, send, expect, certificate_days } = monitor.spec.check.extras();
    let (thresholds, route) = (&monitor.thresholds, &monitor.spec.options.route);
    wire::Monitor {
        id: definition.id.to_string(),
        name: definition.name.clone(),
        url: monitor.spec.check.target(),
        method: http.map(|http| http.method.as_str().into()).unwrap_or_default(),
        headers: headers.into_iter().map(|(name, value)| wire::Header { name, value }).collect(),
        expected_status: http
            .map(|http| http.expected_status.iter().map(|status| u32::from(*status)).collect())
            .unwrap_or_default(),
        interval: span(monitor.spec.interval),
        timeout: span(monitor.spec.timeout),
        regions: monitor.regions.iter().map(ToString::to_string).collect(),
        quorum: monitor.quorum.to_string(),
        confirmation_period: span(monitor.confirmation_period),
        recovery_checks: monitor.recovery_checks,
        channels: monitor.channels.iter().map(ToString::to_string).collect(),
        failure_threshold: u32::from(thresholds.failures.max(1)),
        success_threshold: u32::from(thresholds.passes.max(1)),
        recovery_period: span(thresholds.recovery_period),
        latency_limit: thresholds.latency_limit.and_then(span),
        depends_on: monitor.depends_on.iter().map(ToString::to_string).collect(),
        tags: monitor.tags.iter().map(ToString::to_string).collect(),
        health: http.map(|http| http.health.as_str().into()).unwrap_or_default(),
        send,
        expect,
        certificate_days: certificate_days.into(),
        assertions: monitor.spec.options.assertions.iter().map(ToString::to_string).collect(),
        upside_down: monitor.spec.options.upside_down,
        ip_version: route.family.version(),
        connect_to: route.connect_to.map(|address| address.to_string()).unwrap_or_default(),
        server_name: route.server_name.clone().unwrap_or_default(),
        max_redirects: http.map(|http| http.max_redirects.into()),
        client_certificate: route.client_certificate.clone().unwrap_or_default(),
        http_version: http.map(|http| http.version.as_str().into()).unwrap_or_default(),
        compressed: http.is_some_and(|http| http.compressed),
        reuse_connection: http.is_some_and(|http| http.reuse_connection),
        alert: alert::render(&monitor.alert),
        created_at: instant(definition.created_at),
        updated_at: instant(definition.updated_at),
        spec_revision: monitor.spec_revision,
        etag: etag(definition.revision),
        ..wire::Monitor::default()
    }
}

/// A monitor as the last commit left it, without its votes.
pub(super) fn from_view(view: &SubjectView, calendar: &Calendar, fleet: &Abilities) -> wire::Monitor {
    let Some((_, monitor)) = view.definition.monitor() else { return wire::Monitor::default() };
    let (status, phase) = match view.status {
        Status::Monitor(status, phase) => (convert::monitor_status(status), convert::phase(phase)),
        Status::Heartbeat(..) => Default::default(),
    };
    let answer = wire::Monitor {
        status: status.into(),
        status_since: instant(view.status_since),
        phase,
        open_incident_id: view.incident.map(|id| id.to_string()).unwrap_or_default(),
        unverified_since: view.unverified_since.and_then(instant),
        unsupported: unsupported(monitor, fleet),
        ..configured(&view.definition, monitor)
    };
    with_maintenance(answer, &view.definition, calendar)
}

/// A monitor with its votes. `None`: it is none.
pub(super) fn from_inspection(
    inspection: &Inspection,
    installation: InstallationId,
    calendar: &Calendar,
    fleet: &Abilities,
) -> Option<wire::Monitor> {
    let Inspection { definition, state, now } = inspection;
    let (State::Monitor(state), (id, monitor)) = (state, definition.monitor()?) else { return None };
    let incident =
        state.open_incident().map(|number| IncidentId::derive(installation, id.as_bytes(), number));
    let answer = wire::Monitor {
        status: convert::monitor_status(state.status()).into(),
        status_since: instant(state.status_since()),
        phase: convert::phase(state.phase()),
        region_states: region_states(id, monitor, state, *now),
        open_incident_id: incident.map(|id| id.to_string()).unwrap_or_default(),
        unverified_since: state.unverified_since().and_then(instant),
        unsupported: unsupported(monitor, fleet),
        ..configured(definition, monitor)
    };
    Some(with_maintenance(answer, definition, calendar))
}

/// Names the plan behind a monitor's maintenance.
fn with_maintenance(answer: wire::Monitor, definition: &Definition, calendar: &Calendar) -> wire::Monitor {
    if answer.status() != wire::MonitorStatus::Maintenance {
        return answer;
    }
    let (maintenance_id, maintenance_until) = maintenances::of_subject(calendar, definition);
    wire::Monitor { maintenance_id, maintenance_until, ..answer }
}

fn unsupported(monitor: &MonitorDefinition, fleet: &Abilities) -> Vec<wire::Unsupported> {
    let needs = monitor.spec.needs();
    let lacking = |region: &RegionId| {
        let reason = fleet.lacking(region, needs)?;
        Some(wire::Unsupported { region: region.to_string(), reason })
    };
    monitor.regions.iter().filter_map(lacking).collect()
}

fn region_states(
    id: MonitorId,
    monitor: &MonitorDefinition,
    state: &monitor::State,
    now: Timestamp,
) -> Vec<wire::RegionState> {
    let table = monitor::table(state, &monitor.policy(), now);
    let interval = monitor.spec.interval;
    let regions = monitor.regions.iter().enumerate();
    let region_state = |(rank, region): (usize, &RegionId)| {
        let live = state.regions().any(|known| known.region == *region && known.live);
        let row = table.rows.iter().find(|row| row.region == *region && row.outcome != RowOutcome::None);
        let next = next_check_at(phase(id, rank, monitor.regions.len(), interval), interval, now);
        wire::RegionState {
            region: region.to_string(),
            live,
            vote: row.map(convert::vote),
            // Nobody is there to check, or nobody is asked to.
            next_check_at: if live && !monitor.paused { instant(next) } else { None },
        }
    };
    regions.map(region_state).collect()
}

/// A single result.
pub(in crate::admin) fn result(
    committed_at: Timestamp,
    agent: AgentId,
    agent_epoch: u64,
    seq: u64,
    result: &CheckResult,
) -> wire::Result {
    let (outcome, detail) = match &result.outcome {
        Outcome::Pass => ("pass", String::new()),
        Outcome::Fail(failure) => ("fail", failure.detail.clone()),
        Outcome::Error(text) => ("error", text.clone()),
    };
    let phases = result.phases;
    wire::Result {
        region: result.region.to_string(),
        agent_id: agent.to_string(),
        started_at: instant(result.started_at),
        duration: span(result.duration),
        outcome: outcome.into(),
        detail,
        http_status: result.http_status.map(u32::from).unwrap_or_default(),
        peer: result.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        phases: Some(wire::Phases {
            dns: phases.dns.and_then(span),
            connect: phases.connect.and_then(span),
            tls: phases.tls.and_then(span),
            first_byte: phases.first_byte.and_then(span),
            body: phases.body.and_then(span),
        }),
        slot: result.slot,
        attempt: result.attempt,
        round: result.round,
        spec_revision: result.spec_revision,
        committed_at: instant(committed_at),
        agent_epoch,
        seq,
    }
}
