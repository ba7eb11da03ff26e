//! What a status page says: the complete list of what leaves the house through it.
//!
//! A pure function of the page, the configuration, the pictures, the incidents and the instant. The types have no field
//! for a target, a header, an error's text, a component's detail or an agent; what is not here cannot be shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{RegionId, SubjectId, Timestamp};
use store::{Config, IncidentState, PageRow};

use super::moment::Moment;
use super::planned::{Planned, planned};
use super::tone::{Pill, banner, pill};
use crate::incident::RegionNames as _;
use crate::maintenance::Calendar;
use crate::notify::text::span;
use crate::view::{SubjectView, Views};
use crate::web::incidents::{HISTORY, Picture, PublicIncident, What};

/// Past incidents on a page.
const MAX_PAST: usize = 20;
/// Regions and components that one incident names; the rest is counted.
const MAX_LISTED: usize = 8;

/// A page's content, ready for the template.
pub(super) struct Content {
    pub(super) name: String,
    pub(super) banner: Pill,
    /// What is shown may be old: it is of then. `Some(None)`: nothing could be read yet.
    pub(super) stale_since: Option<Option<Moment>>,
    pub(super) components: Vec<Component>,
    pub(super) open: Vec<OpenIncident>,
    /// Under way and within a week.
    pub(super) planned: Vec<Planned>,
    pub(super) past: Vec<PastIncident>,
    /// How far back `past` looks, in days.
    pub(super) history_days: u64,
    pub(super) updated: Moment,
    /// How long ago that was, as seen from when the page was made.
    pub(super) updated_ago: String,
}

/// A monitor or heartbeat.
pub(super) struct Component {
    pub(super) name: String,
    pub(super) pill: Pill,
    pub(super) since: Moment,
    pub(super) since_span: String,
    /// Our own downtime leaves the status unverified since then.
    pub(super) unverified: Option<Moment>,
}

/// An incident that goes on.
pub(super) struct OpenIncident {
    pub(super) component: String,
    pub(super) word: &'static str,
    pub(super) cause: &'static str,
    /// Display names of the regions that saw it; empty for a heartbeat.
    pub(super) regions: String,
    /// Names of components that the target reports as failing.
    pub(super) failing: String,
    pub(super) started: Moment,
    pub(super) elapsed: String,
}

/// An incident that is over.
pub(super) struct PastIncident {
    pub(super) component: String,
    pub(super) word: &'static str,
    pub(super) ending: &'static str,
    pub(super) started: Moment,
    pub(super) ended: Moment,
    pub(super) duration: String,
}

impl Content {
    /// Gathers a page's content. Subjects that are gone are left out.
    pub(super) fn gather(
        page: &PageRow,
        config: &Config,
        views: &Views,
        picture: &Picture,
        is_healthy: bool,
        now: Timestamp,
    ) -> Self {
        let subjects: Vec<Arc<SubjectView>> =
            page.components.iter().filter_map(|id| views.get(*id)).collect();
        let on_page: BTreeMap<SubjectId, &SubjectView> =
            subjects.iter().map(|view| (view.definition.id, view.as_ref())).collect();
        let (open, past) = incidents(picture, &on_page);

        let open_by_subject: BTreeMap<SubjectId, What> =
            open.iter().map(|(incident, _)| (incident.subject, incident.what)).collect();
        let components: Vec<Component> = subjects
            .iter()
            .map(|view| Component::of(view, open_by_subject.get(&view.definition.id).copied(), now))
            .collect();
        let tones: Vec<_> = components.iter().map(|component| component.pill.tone).collect();
        let is_stale = !is_healthy || picture.is_stale();
        let updated = if is_stale { picture.as_of.unwrap_or(now) } else { now };
        Self {
            name: page.name.clone(),
            banner: banner(&tones),
            stale_since: is_stale.then(|| picture.as_of.map(Moment::of)),
            components,
            open: open
                .into_iter()
                .map(|(incident, view)| OpenIncident::of(incident, view, config, now))
                .collect(),
            planned: planned(&Calendar::at(config, now), &subjects, now),
            past: past.into_iter().filter_map(|(incident, view)| PastIncident::of(incident, view)).collect(),
            history_days: HISTORY.as_secs() / 86_400,
            updated: Moment::of(updated),
            updated_ago: if updated == now {
                "just now".into()
            } else {
                format!("{} ago", span(now.since(updated)))
            },
        }
    }
}

type Told<'a> = Vec<(&'a PublicIncident, &'a SubjectView)>;

/// The open and the past incidents of what is on the page, newest first. Whether one is open its subject knows best.
fn incidents<'a>(
    picture: &'a Picture,
    on_page: &BTreeMap<SubjectId, &'a SubjectView>,
) -> (Told<'a>, Told<'a>) {
    let (mut open, mut past) = (vec![], vec![]);
    for incident in picture.incidents() {
        let Some(view) = on_page.get(&incident.subject) else { continue };
        match incident.state {
            IncidentState::Open if view.incident == Some(incident.id) => {
                open.push((incident.as_ref(), *view));
            }
            IncidentState::Open => {}
            IncidentState::Resolved | IncidentState::Closed if past.len() < MAX_PAST => {
                past.push((incident.as_ref(), *view));
            }
            IncidentState::Resolved | IncidentState::Closed => {}
        }
    }
    (open, past)
}

impl Component {
    fn of(view: &SubjectView, open: Option<What>, now: Timestamp) -> Self {
        Self {
            name: view.definition.name.clone(),
            pill: pill(view.status, open),
            since: Moment::of(view.status_since),
            since_span: span(now.since(view.status_since)),
            unverified: view.unverified_since.map(Moment::of),
        }
    }
}

impl OpenIncident {
    fn of(incident: &PublicIncident, view: &SubjectView, config: &Config, now: Timestamp) -> Self {
        let regions: Vec<String> =
            incident.regions.iter().map(|region: &RegionId| config.name(region)).collect();
        Self {
            component: view.definition.name.clone(),
            word: word(incident.what),
            cause: match incident.what {
                What::Down => "It does not answer as it should.",
                What::Missed => "A ping was expected and did not come.",
                What::Failed => "The job reported a failure.",
            },
            regions: listed(&regions),
            failing: listed(&incident.failing),
            started: Moment::of(incident.started_at),
            elapsed: span(now.since(incident.started_at)),
        }
    }
}

impl PastIncident {
    fn of(incident: &PublicIncident, view: &SubjectView) -> Option<Self> {
        let ended_at = incident.resolved_at?;
        Some(Self {
            component: view.definition.name.clone(),
            word: word(incident.what),
            ending: if incident.state == IncidentState::Resolved { "Resolved" } else { "No longer watched" },
            started: Moment::of(incident.started_at),
            ended: Moment::of(ended_at),
            duration: span(ended_at.since(incident.started_at)),
        })
    }
}

const fn word(what: What) -> &'static str {
    match what {
        What::Down => "Down",
        What::Missed => "Missed",
        What::Failed => "Failed",
    }
}

/// `a, b and 3 more`.
pub(super) fn listed(names: &[String]) -> String {
    let list = names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}
