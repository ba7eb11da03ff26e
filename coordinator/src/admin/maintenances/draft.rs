//! From a user's words to a plan. An update is read like a creation: the present plan in wire form with the named fields
//! replaced.

use engine::maintenance::{InvalidSchedule, Schedule};
use model::{SubjectId, Timestamp};
use proto::admin::v1 as wire;
use proto::probe::convert::duration_from_wire;
use tonic::Status;

use super::configured;
use crate::admin::fields::{self, MAX_NAME_CHARS};
use crate::admin::invalid::Invalid;
use crate::admin::scope;
use crate::maintenance::{Maintenance, Plan};
use crate::view::Views;

/// The fields that an update may name.
pub(super) const CHANGEABLE: [&str; 11] = [
    "name",
    "description",
    "all",
    "tags",
    "monitors",
    "heartbeats",
    "start",
    "end",
    "cron",
    "time_zone",
    "duration",
];
/// The fields that only answers have.
pub(super) const FIXED: [&str; 7] = ["id", "active", "current", "next", "created_at", "updated_at", "etag"];

const ONE_WINDOW: [&str; 2] = ["start", "end"];
const RECURRING: [&str; 3] = ["cron", "time_zone", "duration"];
const MAX_DESCRIPTION_CHARS: usize = 2_000;
const DEFAULT_ZONE: &str = "UTC";

/// The name and the plan of maintenance that is to be created.
pub(super) fn new(
    asked: &wire::Maintenance,
    views: &Views,
    now: Timestamp,
) -> Result<(String, Plan), Status> {
    let (name, plan) = read(asked, views, now)?;
    refuse_past(&plan.schedule, now)?;
    Ok((name, plan))
}

/// The name and the plan of maintenance whose fields in `mask` become what `asked` says.
pub(super) fn changed(
    before: &Maintenance,
    asked: &wire::Maintenance,
    mask: &[&str],
    views: &Views,
    now: Timestamp,
) -> Result<(String, Plan), Status> {
    let named = |field: &str| mask.contains(&field);
    let mut draft = configured(before);
    // A plan becomes one of the other kind by naming what that kind has.
    if ONE_WINDOW.into_iter().any(named) && !RECURRING.into_iter().any(named) {
        (draft.cron, draft.time_zone, draft.duration) = Default::default();
    } else if RECURRING.into_iter().any(named) && !ONE_WINDOW.into_iter().any(named) {
        (draft.start, draft.end) = Default::default();
    }
    // So does one of everything, and one of something.
    if named("all") && asked.all {
        (draft.tags, draft.monitors, draft.heartbeats) = Default::default();
    } else if ["tags", "monitors", "heartbeats"].into_iter().any(named) {
        draft.all = false;
    }
    macro_rules! take {
        ($($field:ident),+) => { $(
            if named(stringify!($field)) {
                draft.$field.clone_from(&asked.$field);
            }
        )+ };
    }
    take!(name, description, all, tags, monitors, heartbeats, start, end, cron, time_zone, duration);
    // What is gone does not stand in the way of other changes.
    let gone: Vec<SubjectId> =
        before.plan.scope.subjects.iter().copied().filter(|id| views.get(*id).is_none()).collect();
    let is_gone = |text: &String| gone.iter().any(|id| id.to_string() == *text);
    if !named("monitors") {
        draft.monitors.retain(|text| !is_gone(text));
    }
    if !named("heartbeats") {
        draft.heartbeats.retain(|text| !is_gone(text));
    }
    let is_scope_named = ["all", "tags", "monitors", "heartbeats"].into_iter().any(named);
    if !is_scope_named && draft.monitors.is_empty() && draft.heartbeats.is_empty() {
        draft.all |= draft.tags.is_empty();
    }
    let (name, mut plan) = read(&draft, views, now)?;
    if !is_scope_named {
        plan.scope.clone_from(&before.plan.scope);
    }
    if plan.schedule == before.plan.schedule {
        plan.ended = before.plan.ended;
    } else {
        refuse_past(&plan.schedule, now)?;
    }
    Ok((name, plan))
}

fn read(asked: &wire::Maintenance, views: &Views, now: Timestamp) -> Result<(String, Plan), Status> {
    let mut invalid = Invalid::default();
    let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
    let description = asked.description.trim();
    if description.chars().count() > MAX_DESCRIPTION_CHARS {
        invalid.add("description", format!("must be at most {MAX_DESCRIPTION_CHARS} characters"));
    }
    let (tags, monitors, heartbeats) = (&asked.tags, &asked.monitors, &asked.heartbeats);
    let scope = scope::Asked { all: asked.all, tags, monitors, heartbeats };
    let scope = scope::read(scope, views, &mut invalid);
    let schedule = read_schedule(asked, now, &mut invalid);
    let read = name.zip(schedule).map(|(name, schedule)| {
        (name, Plan { description: description.to_owned(), scope, schedule, ended: None })
    });
    invalid.finish(read)
}

fn read_schedule(asked: &wire::Maintenance, now: Timestamp, invalid: &mut Invalid) -> Option<Schedule> {
    let is_one = asked.start.is_some() || asked.end.is_some();
    let is_recurring = !asked.cron.is_empty() || !asked.time_zone.is_empty() || asked.duration.is_some();
    match (is_one, is_recurring) {
        (true, false) => read_one(asked, now, invalid),
        (false, true) => read_recurring(asked, now, invalid),
        (true, true) => {
            let either = "give either start and end, or cron, time_zone and duration";
            let field = if asked.end.is_some() { "end" } else { "start" };
            invalid.add(
                field,
                format!("is of a single window, but what is given of a recurring one too: {either}"),
            );
            None
        }
        (false, false) => {
            invalid.add(
                "end",
                "no window is given: set start and end for one, or cron, time_zone and duration for a recurring one",
            );
            None
        }
    }
}

fn read_one(asked: &wire::Maintenance, now: Timestamp, invalid: &mut Invalid) -> Option<Schedule> {
    let start = match &asked.start {
        Some(_) => fields::instant("start", asked.start.as_ref(), invalid),
        None => Some(now),
    };
    if asked.end.is_none() {
        invalid.add("end", "is required for a single window");
    }
    let end = fields::instant("end", asked.end.as_ref(), invalid);
    let (start, end) = start.zip(end)?;
    invalid.check("end", Schedule::once(start, end))
}

fn read_recurring(asked: &wire::Maintenance, now: Timestamp, invalid: &mut Invalid) -> Option<Schedule> {
    if asked.cron.trim().is_empty() {
        invalid.add("cron", "is required for a recurring window, such as `0 2 * * 0` for Sundays at two");
    }
    if asked.duration.is_none() {
        invalid.add("duration", "is required for a recurring window: how long each one lasts");
    }
    let duration = asked.duration.as_ref()?;
    let zone = if asked.time_zone.is_empty() { DEFAULT_ZONE } else { asked.time_zone.trim() };
    let Ok(duration) = duration_from_wire(Some(duration), "duration") else {
        invalid.add("duration", "must be from 1 minute to 30 days");
        return None;
    };
    if asked.cron.trim().is_empty() {
        return None;
    }
    match Schedule::recurring(&asked.cron, zone, duration, now) {
        Ok(schedule) => Some(schedule),
        Err(problem) => {
            let field = match &problem {
                InvalidSchedule::Cron { .. } | InvalidSchedule::Never(_) => "cron",
                InvalidSchedule::Zone(_) => "time_zone",
                InvalidSchedule::EndBeforeStart => "end",
                InvalidSchedule::Duration(_) | InvalidSchedule::Endless(_) => "duration",
            };
            invalid.add(field, problem);
            None
        }
    }
}

/// A window that nobody will see is a slip of the pen.
fn refuse_past(schedule: &Schedule, now: Timestamp) -> Result<(), Status> {
    match schedule {
        Schedule::Once(window) if window.end <= now => {
            Err(Invalid::one("end", format!("is in the past: it is {now} now")))
        }
        Schedule::Once(_) | Schedule::Recurring(_) => Ok(()),
    }
}
