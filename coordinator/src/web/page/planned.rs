//! Maintenance as a page tells it: what is under way and what comes within a week, as far as it concerns the page.
//!
//! A plan's name, description and times are public; of what it covers only the components of the page itself.

use std::sync::Arc;
use std::time::Duration;

use engine::maintenance::{Schedule, Window};
use model::Timestamp;

use super::content::listed;
use super::moment::Moment;
use crate::maintenance::{Calendar, Entry, Maintenance};
use crate::view::SubjectView;

/// How far ahead a page looks.
const AHEAD: Duration = Duration::from_secs(7 * 86_400);
/// Windows on a page.
const MAX_SHOWN: usize = 20;

/// A window of maintenance.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) description: String,
    /// The components it covers.
    pub(super) components: String,
    /// It is open now.
    pub(super) is_active: bool,
    pub(super) start: Moment,
    pub(super) end: Moment,
    /// Start and end by the clock of the plan's own time zone, unless that is UTC.
    pub(super) local: Option<String>,
}

/// The windows that concern these components: those under way first, each group by start.
pub(super) fn planned(calendar: &Calendar, components: &[Arc<SubjectView>], now: Timestamp) -> Vec<Planned> {
    let mut windows: Vec<(Window, bool, &Maintenance, String)> = vec![];
    for Entry { maintenance, active, next } in calendar.entries() {
        let scope = &maintenance.plan.scope;
        let covers = |view: &&Arc<SubjectView>| scope.covers(view.definition.id, view.definition.tags());
        let covered: Vec<String> =
            components.iter().filter(covers).map(|view| view.definition.name.clone()).collect();
        if covered.is_empty() {
            continue;
        }
        let next = next.filter(|window| window.start <= now.plus(AHEAD));
        let found = active.map(|window| (window, true)).into_iter().chain(next.map(|window| (window, false)));
        windows.extend(found.map(|(window, is_active)| (window, is_active, maintenance, listed(&covered))));
    }
    windows.sort_by_key(|(window, is_active, maintenance, _)| (!is_active, window.start, maintenance.id));
    windows.truncate(MAX_SHOWN);
    windows
        .into_iter()
        .map(|(window, is_active, maintenance, components)| Planned {
            name: maintenance.name.clone(),
            description: maintenance.plan.description.clone(),
            components,
            is_active,
            start: Moment::of(window.start),
            end: Moment::of(window.end),
            local: local(&maintenance.plan.schedule, window),
        })
        .collect()
}

/// `2026-11-22 03:00 to 05:00, Europe/Berlin`.
fn local(schedule: &Schedule, window: Window) -> Option<String> {
    let Schedule::Recurring(recurring) = schedule else { return None };
    if recurring.zone() == "UTC" {
        return None;
    }
    let (start, end) = (recurring.wall_time(window.start)?, recurring.wall_time(window.end)?);
    let format = if start.date() == end.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    Some(format!("{} to {}, {}", start.strftime("%Y-%m-%d %H:%M"), end.strftime(format), recurring.zone()))
}
