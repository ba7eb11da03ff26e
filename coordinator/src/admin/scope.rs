//! What a plan, a policy or a silence covers: everything, what carries a tag, or what is named.

use std::collections::{BTreeMap, BTreeSet};

use engine::maintenance::Scope;
use model::SubjectId;

use super::fields;
use super::find;
use super::invalid::Invalid;
use crate::definition::Kind;
use crate::view::Views;

/// Monitors, and heartbeats, that one may name; more are better covered by a tag.
const MAX_NAMED: usize = 1_000;

/// What a user says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Everything.
    pub(super) all: bool,
    /// Tags.
    pub(super) tags: &'a [String],
    /// Monitors, by id or name.
    pub(super) monitors: &'a [String],
    /// Heartbeats, by id or name.
    pub(super) heartbeats: &'a [String],
}

/// Reads what is covered; something must be.
pub(super) fn read(asked: Asked<'_>, views: &Views, invalid: &mut Invalid) -> Scope {
    let is_empty = asked.tags.is_empty() && asked.monitors.is_empty() && asked.heartbeats.is_empty();
    if asked.all && !is_empty {
        invalid.add("all", "covers everything: leave tags, monitors and heartbeats empty");
    } else if !asked.all && is_empty {
        invalid.add("all", "nothing is covered: set all, or name tags, monitors or heartbeats");
    }
    let tags = fields::tags(asked.tags, invalid).into_iter().collect();
    let is_monitor: fn(&Kind) -> bool = |kind| matches!(kind, Kind::Monitor(_));
    let is_heartbeat: fn(&Kind) -> bool = |kind| matches!(kind, Kind::Heartbeat(_));
    let mut subjects = read_subjects("monitors", asked.monitors, is_monitor, views, invalid);
    subjects.extend(read_subjects("heartbeats", asked.heartbeats, is_heartbeat, views, invalid));
    Scope { all: asked.all, tags, subjects }
}

/// The subjects of a kind that a scope names, by their ids.
pub(super) fn named(scope: &Scope, is_kind: fn(&SubjectId) -> bool) -> Vec<String> {
    scope.subjects.iter().filter(|id| is_kind(id)).map(ToString::to_string).collect()
}

fn read_subjects(
    field: &str,
    asked: &[String],
    is_kind: fn(&Kind) -> bool,
    views: &Views,
    invalid: &mut Invalid,
) -> BTreeSet<SubjectId> {
    if asked.len() > MAX_NAMED {
        invalid.add(field, format!("at most {MAX_NAMED} are allowed: give them a tag and name that"));
        return BTreeSet::new();
    }
    let all = if asked.is_empty() { vec![] } else { views.all() };
    let known = all.iter().map(|view| &view.definition).filter(|definition| is_kind(&definition.kind));
    let by_name: BTreeMap<&str, SubjectId> =
        known.map(|definition| (definition.name.as_str(), definition.id)).collect();
    let mut found = BTreeSet::new();
    for asked in asked {
        let by_id = SubjectId::parse(asked)
            .and_then(|id| views.get(id))
            .filter(|view| is_kind(&view.definition.kind))
            .map(|view| view.definition.id);
        match by_id.or_else(|| by_name.get(asked.as_str()).copied()) {
            Some(id) => drop(found.insert(id)),
            None => {
                let kind = field.trim_end_matches('s');
                invalid.add(field, format!("there is no {kind} `{}`", find::shorten(asked)));
            }
        }
    }
    found
}
