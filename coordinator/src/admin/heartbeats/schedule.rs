//! When pings are expected, and what of runs: from and to the wire.

use std::sync::Arc;
use std::time::Duration;

use engine::heartbeat::{self, RunLimits};
use engine::schedule::{Calendar, DEFAULT_ZONE, InvalidSchedule, Notation, Schedule, WorkingHours};
use model::Timestamp;
use proto::admin::v1 as wire;

use super::{DAY, GRACE, INTERVAL};
use crate::admin::convert::{instant, span};
use crate::admin::fields::{self, Allowed};
use crate::admin::invalid::Invalid;
use crate::definition::{HeartbeatDefinition, Timing};

/// The fields that say when; one of the first three is required.
pub(super) const CHANGEABLE: [&str; 8] =
    ["interval", "cron", "on_calendar", "grace", "time_zone", "run_limits", "early", "working_hours"];

const LIMIT: Allowed = Allowed {
    span: Duration::from_secs(1)..=Duration::from_secs(31 * DAY),
    words: "from 1 second to 31 days",
};
const EARLY: Allowed = Allowed { span: Duration::ZERO..=Duration::from_secs(DAY), words: "from 0 to 1 day" };
/// The longest interval of working hours.
const MAX_WORKING: Duration = Duration::from_secs(31 * DAY);
/// So many expectations are shown.
const UPCOMING: usize = 5;

/// What a user says of when.
pub(super) struct Expectations {
    pub(super) schedule: Schedule,
    pub(super) grace: Duration,
    pub(super) timing: Timing,
}

/// Reads it. That a calendar comes is seen from `now`.
pub(super) fn read(asked: &wire::Heartbeat, now: Timestamp, invalid: &mut Invalid) -> Option<Expectations> {
    let schedule = schedule(asked, now, invalid)?;
    let default = match schedule {
        Schedule::Every(interval) => heartbeat::default_grace(interval),
        Schedule::Calendar(_) => heartbeat::MAX_DEFAULT_GRACE,
    };
    let grace = fields::span("grace", asked.grace.as_ref(), Some(default), &GRACE, invalid)?;
    let optional = |field, wire: Option<&prost_types::Duration>, allowed, invalid: &mut Invalid| {
        wire.and_then(|wire| fields::span(field, Some(wire), None, allowed, invalid))
    };
    let early = optional("early", asked.early.as_ref(), &EARLY, invalid);
    if early.is_some() && schedule.interval().is_some() {
        invalid.add("early", "only with cron or on_calendar");
    }
    let limits = asked.run_limits.unwrap_or_default();
    let runs = RunLimits {
        start_grace: optional("run_limits.start_grace", limits.start_grace.as_ref(), &LIMIT, invalid),
        max_runtime: optional("run_limits.max_runtime", limits.max_runtime.as_ref(), &LIMIT, invalid),
        keep_alive: optional("run_limits.keep_alive", limits.keep_alive.as_ref(), &LIMIT, invalid),
    };
    if runs.start_grace.is_some_and(|start_grace| start_grace > grace) {
        invalid.add("run_limits.start_grace", "must not be longer than grace");
    }
    let working_hours = match asked.working_hours.as_str() {
        "" => None,
        text => invalid.check("working_hours", WorkingHours::read(text)).map(Arc::new),
    };
    if working_hours.is_some() && schedule.interval().is_none_or(|interval| interval > MAX_WORKING) {
        invalid.add("working_hours", "only with an interval of at most 31 days");
    }
    Some(Expectations { schedule, grace, timing: Timing { early, working_hours, runs } })
}

fn schedule(asked: &wire::Heartbeat, now: Timestamp, invalid: &mut Invalid) -> Option<Schedule> {
    let (notation, field, text) = match (&asked.interval, asked.cron.as_str(), asked.on_calendar.as_str()) {
        (None, "", "") => {
            invalid.add("interval", format!("must be {}, or give cron or on_calendar", INTERVAL.words));
            return None;
        }
        (Some(_), "", "") if asked.time_zone.is_empty() => {
            let interval = fields::span("interval", asked.interval.as_ref(), None, &INTERVAL, invalid)?;
            return Some(Schedule::Every(interval));
        }
        (Some(_), "", "") => {
            invalid.add("time_zone", "only with cron or on_calendar");
            return None;
        }
        (None, cron, "") => (Notation::Cron, "cron", cron),
        (None, "", on_calendar) => (Notation::OnCalendar, "on_calendar", on_calendar),
        _ => {
            invalid.add("interval", "give only one of interval, cron and on_calendar");
            return None;
        }
    };
    let zone = if asked.time_zone.is_empty() { DEFAULT_ZONE } else { &asked.time_zone };
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let calendar = Calendar::new(notation, &lines, zone, now);
    let field = if matches!(calendar, Err(InvalidSchedule::Zone(_))) { "time_zone" } else { field };
    invalid.check(field, calendar).map(|calendar| Schedule::Calendar(Arc::new(calendar)))
}

/// Puts what the fields in `mask` do not name into a draft of a change. Who names one kind of schedule ends the others.
pub(super) fn keep(before: &HeartbeatDefinition, mask: &[&str], draft: &mut wire::Heartbeat) {
    let mut present = wire::Heartbeat::default();
    write(before, &mut present);
    let named = |field| mask.contains(&field);
    if ["interval", "cron", "on_calendar"].into_iter().any(named) {
        draft.interval = draft.interval.filter(|_| named("interval"));
        draft.cron = if named("cron") { std::mem::take(&mut draft.cron) } else { String::new() };
        let on_calendar = std::mem::take(&mut draft.on_calendar);
        draft.on_calendar = if named("on_calendar") { on_calendar } else { String::new() };
    } else {
        (draft.interval, draft.cron, draft.on_calendar) =
            (present.interval, present.cron, present.on_calendar);
    }
    // What only calendars have is kept from one to the next, and what only intervals have.
    let is_interval = draft.interval.is_some();
    if !named("time_zone") {
        draft.time_zone = if is_interval { String::new() } else { present.time_zone };
    }
    if !named("early") {
        draft.early = present.early.filter(|_| !is_interval);
    }
    if !named("working_hours") {
        draft.working_hours = if is_interval { present.working_hours } else { String::new() };
    }
    if !named("grace") {
        draft.grace = present.grace;
    }
    if !named("run_limits") {
        draft.run_limits = present.run_limits;
    }
}

/// Says it.
pub(super) fn write(heartbeat: &HeartbeatDefinition, to: &mut wire::Heartbeat) {
    to.grace = span(heartbeat.grace);
    match &heartbeat.schedule {
        Schedule::Every(interval) => to.interval = span(*interval),
        Schedule::Calendar(calendar) => {
            let lines = calendar.lines().collect::<Vec<_>>().join("\n");
            match calendar.notation() {
                Notation::Cron => to.cron = lines,
                Notation::OnCalendar => to.on_calendar = lines,
            }
            to.time_zone = calendar.zone().to_owned();
        }
    }
    let Timing { early, working_hours, runs } = &heartbeat.timing;
    to.early = early.and_then(span);
    to.working_hours = working_hours.as_ref().map(ToString::to_string).unwrap_or_default();
    let limits = wire::HeartbeatRunLimits {
        start_grace: runs.start_grace.and_then(span),
        max_runtime: runs.max_runtime.and_then(span),
        keep_alive: runs.keep_alive.and_then(span),
    };
    to.run_limits = (*runs != RunLimits::default()).then_some(limits);
}

/// The next instants that its calendar names.
pub(super) fn upcoming(heartbeat: &HeartbeatDefinition, now: Timestamp) -> Vec<prost_types::Timestamp> {
    let Some(calendar) = heartbeat.schedule.calendar() else { return vec![] };
    let next = |at: &Timestamp| calendar.next_after(*at);
    std::iter::successors(next(&now), next).take(UPCOMING).filter_map(instant).collect()
}
