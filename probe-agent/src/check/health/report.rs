//! Finds a health report in a JSON object, whichever framework wrote it.
//!
//! One reader for all of them, because services mix the shapes:
//! - FastAPI services: `{"status":"degraded","checks":{"database":{"status":"error","detail":"…"}}}`, and components
//!   beside `status`: every object there with a string `status` is one. Either may be wrapped in the `{"detail":{…}}`
//!   of an `HTTPException`.
//! - Spring Boot Actuator: `components` (2.2 and later; "Health" in the Actuator REST API reference), `details` (2.0
//!   and 2.1), components beside `status` (1.x); composite contributors hold further ones in the same way. `status` is
//!   `UP`, `DOWN`, `OUT_OF_SERVICE` or `UNKNOWN`; the error stands in `details.error`.
//! - ASP.NET Core: `results` (Microsoft's sample writer, "Health checks in ASP.NET Core", Customize output) and
//!   `entries` (`UIResponseWriter` of AspNetCore.Diagnostics.HealthChecks), with `description` and `exception`.
//! - MicroProfile Health (specification 4.0.1, "Response payload"): `checks` as a list of `name`, `status`, `data`;
//!   `state` instead of `status` in 1.0.
//! - `application/health+json` (draft-inadarei-api-health-check-06 §3, §4): `checks` by `component:measurement`, each a
//!   list of objects with `status`, `observedValue`, `observedUnit`, `output`.
//!
//! A component's name is its key and never depends on its state, so that it can be followed from check to check. A
//! composite gives its name to those within, `db.primary`, and stands for itself only if none within is as unwell.

use model::health::MAX_DETAIL_CHARS;
use model::result::clean;
use model::{Component, HealthReport, HealthWord};

use super::NoReport;
use super::json::{Json, Object};
use crate::check::secrets::without_secrets;

/// Components within components, below the report's own; what is deeper is not looked at.
pub(super) const MAX_NESTING: usize = 4;

/// Members that hold components, and whether a bare word or a yes and no is one there.
const GROUPS: [(&str, Members); 7] = [
    ("checks", Members::MayBeWords),
    ("components", Members::MayBeWords),
    ("dependencies", Members::MayBeWords),
    ("services", Members::MayBeWords),
    ("entries", Members::AreObjects),
    ("results", Members::AreObjects),
    ("details", Members::AreObjects),
];
/// Groups that make a report of an object whose own `status` is missing or no word for health.
const UNMISTAKABLE: [&str; 2] = ["checks", "components"];
/// What a component in a list is called by.
const NAMES: [&str; 4] = ["name", "component", "key", "componentName"];
/// Where a component explains itself, the best first.
const EXPLANATIONS: [&str; 10] = [
    "detail",
    "error",
    "message",
    "output",
    "reason",
    "description",
    "exception",
    "errors",
    "details",
    "data",
];

/// A report, and its own explanation where it has one beside the components'.
#[derive(Debug, PartialEq)]
pub(super) struct Stated {
    pub(super) report: HealthReport,
    pub(super) detail: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Members {
    MayBeWords,
    AreObjects,
}

/// The report in a body.
///
/// # Errors
/// When it has neither a `status` that is a word for health nor a group of components.
pub(super) fn read(body: &Object) -> Result<Stated, NoReport> {
    let report = match body.get("detail") {
        Some(Json::Object(wrapped)) if body.text("status").is_none() => wrapped,
        _ => body,
    };
    let told = report.text("status");
    let known = told.and_then(HealthWord::parse_known);
    let mut found = Vec::new();
    // Without a word of its own it could be anything: many an API answers with objects that have a `status`.
    if known.is_some() || UNMISTAKABLE.iter().any(|group| report.get(group).is_some()) {
        collect_groups(report, &Place::TOP, &mut found);
    }
    let status = match known {
        Some(HealthWord::Other) | None => {
            HealthWord::worst(found.iter().map(|component| component.status).chain(known))
        }
        Some(_) => known,
    };
    let Some(status) = status else {
        let unknown = |told| NoReport::UnknownStatus(clean(told, MAX_QUOTED_CHARS));
        return Err(told.map_or(NoReport::NoStatus, unknown));
    };
    if known.is_some() {
        collect_beside(report, &Place::TOP, &mut found);
    }
    let detail = explanation(report, status);
    Ok(Stated { report: HealthReport::new(status, found), detail })
}

const MAX_QUOTED_CHARS: usize = 40;

/// Where in a report we are.
struct Place<'a> {
    /// The name of the component around us; empty at the top.
    name: &'a str,
    nesting: usize,
}

impl Place<'_> {
    const TOP: Self = Place { name: "", nesting: 0 };

    fn name_of(&self, member: &str) -> String {
        if self.nesting == 0 { member.to_owned() } else { format!("{}.{member}", self.name) }
    }
}

fn collect_groups(object: &Object, place: &Place<'_>, found: &mut Vec<Component>) {
    for (name, members) in GROUPS {
        match object.get(name) {
            Some(Json::Object(group)) => {
                // `{"checks":{"status":"ok",…}}`: the group's own word is no component.
                let is_own_word = |name: &str, value: &Json| name == "status" && value.as_text().is_some();
                for (name, value) in group.members().filter(|(name, value)| !is_own_word(name, value)) {
                    collect(name, value, members, place, found);
                }
            }
            Some(Json::List(group)) => {
                for item in group {
                    let name = item.as_object().and_then(|item| NAMES.iter().find_map(|key| item.text(key)));
                    if let Some(name) = name {
                        collect(name, item, Members::AreObjects, place, found);
                    }
                }
            }
            Some(Json::Text(_) | Json::Number(_) | Json::Bool(_) | Json::Null) | None => {}
        }
    }
}

/// Components that stand beside the `status` of the whole; within a component only those with a word for health.
fn collect_beside(object: &Object, place: &Place<'_>, found: &mut Vec<Component>) {
    for (name, value) in object.members() {
        let Some(status) = value.as_object().and_then(|object| object.text("status")) else { continue };
        let is_group = GROUPS.iter().any(|(group, _)| group.eq_ignore_ascii_case(name));
        // ASP.NET Core and MicroProfile keep measurements of any shape in `data`.
        let is_data = name.eq_ignore_ascii_case("data");
        let is_told = place.nesting == 0 || HealthWord::parse_known(status).is_some();
        if is_told && !is_group && !is_data {
            collect(name, value, Members::AreObjects, place, found);
        }
    }
}

/// Takes in a member of a group, with what is within it, if it is a component.
fn collect(name: &str, value: &Json, members: Members, place: &Place<'_>, found: &mut Vec<Component>) {
    let name = place.name_of(name);
    match value {
        Json::Object(object) => {
            let Some(status) = word(object) else { return };
            let before = found.len();
            if place.nesting < MAX_NESTING {
                let within = Place { name: &name, nesting: place.nesting + 1 };
                collect_groups(object, &within, found);
                collect_beside(object, &within, found);
            }
            let within = HealthWord::worst(found.iter().skip(before).map(|component| component.status));
            let is_told_within =
                within.is_some_and(|worst| !status.is_bad() || worst.gravity() >= status.gravity());
            if !is_told_within {
                found.push(Component::new(&name, status, explanation(object, status).as_deref()));
            }
        }
        Json::List(measurements) => {
            let objects = || measurements.iter().filter_map(Json::as_object);
            let Some(status) = HealthWord::worst(objects().filter_map(word)) else { return };
            let telling = objects().filter(|object| word(object) == Some(status));
            let detail = telling.filter_map(|object| explanation(object, status)).next();
            found.push(Component::new(&name, status, detail.as_deref()));
        }
        Json::Text(text) if members == Members::MayBeWords => {
            if let Some(status) = HealthWord::parse_known(text) {
                found.push(Component::new(&name, status, None));
            }
        }
        Json::Bool(is_well) if members == Members::MayBeWords => {
            let status = if *is_well { HealthWord::Healthy } else { HealthWord::Unhealthy };
            found.push(Component::new(&name, status, None));
        }
        Json::Text(_) | Json::Bool(_) | Json::Number(_) | Json::Null => {}
    }
}

fn word(object: &Object) -> Option<HealthWord> {
    object.text("status").or_else(|| object.text("state")).map(HealthWord::parse)
}

/// Why something is as it is; nothing is kept of what is healthy. The first member that tells in words, which may
/// stand one level deeper; otherwise what was measured.
fn explanation(object: &Object, status: HealthWord) -> Option<String> {
    if status == HealthWord::Healthy {
        return None;
    }
    let words = || EXPLANATIONS.iter().find_map(|name| in_words(object.get(name)?));
    let text = words().or_else(|| measured(object))?;
    // More than is told, so that a secret which is cut in two is known as one.
    let text = &text[..text.floor_char_boundary(8 * MAX_DETAIL_CHARS)];
    Some(clean(&without_secrets(text), MAX_DETAIL_CHARS)).filter(|text| !text.is_empty())
}

fn in_words(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => said(text),
        Json::List(list) => list.iter().find_map(|item| said(item.as_text()?)),
        Json::Object(object) => EXPLANATIONS.iter().find_map(|name| said(object.text(name)?)),
        Json::Number(_) | Json::Bool(_) | Json::Null => None,
    }
}

fn said(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `observed 85 percent`, or the plain values in `details` or `data`: `free: 4000, threshold: 10485760`.
fn measured(object: &Object) -> Option<String> {
    if let Some(value) = object.get("observedValue").and_then(plain) {
        let unit = object.text("observedUnit").map(|unit| format!(" {unit}")).unwrap_or_default();
        return Some(format!("observed {value}{unit}"));
    }
    let values = ["details", "data"].iter().find_map(|name| object.get(name)?.as_object())?;
    let values: Vec<_> = values
        .members()
        .filter_map(|(name, value)| Some(format!("{name}: {}", plain(value)?)))
        .take(MAX_MEASURED)
        .collect();
    Some(values.join(", ")).filter(|text| !text.is_empty())
}

const MAX_MEASURED: usize = 8;

fn plain(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => said(text),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        Json::Object(_) | Json::List(_) | Json::Null => None,
    }
}
