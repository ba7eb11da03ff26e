//! What a request means by an id: the id itself, or a unique name.

use std::sync::Arc;

use model::{ChannelId, MonitorId, SubjectId};
use store::{ChannelRow, Config};
use tonic::Status;

use super::Admin;
use super::invalid::Invalid;
use super::refusal::not_found;
use crate::definition::Kind;
use crate::view::{SubjectView, Views};

/// Names that an error message lists.
const MAX_LISTED: usize = 20;
/// Monitors that one may depend on.
const MAX_PARENTS: usize = 20;

/// What was found for the id or name of a monitor or heartbeat.
pub(super) enum Found {
    One(Arc<SubjectView>),
    Nothing,
    /// A monitor and a heartbeat have that name.
    Several,
}

impl Admin {
    /// A monitor by id or name.
    pub(super) fn find_monitor(&self, asked: &str) -> Result<Arc<SubjectView>, Status> {
        self.find_kind("monitor", asked, |kind| matches!(kind, Kind::Monitor(_)))
    }

    /// A heartbeat by id or name.
    pub(super) fn find_heartbeat(&self, asked: &str) -> Result<Arc<SubjectView>, Status> {
        self.find_kind("heartbeat", asked, |kind| matches!(kind, Kind::Heartbeat(_)))
    }

    fn find_kind(
        &self,
        kind: &str,
        asked: &str,
        is_kind: impl Fn(&Kind) -> bool,
    ) -> Result<Arc<SubjectView>, Status> {
        require_id(asked)?;
        by_id_or_name(&self.views, asked, is_kind).ok_or_else(|| not_found(kind, asked))
    }

    /// A monitor or heartbeat by id or name.
    pub(super) fn find_subject(&self, asked: &str) -> Found {
        if let Some(view) = SubjectId::parse(asked).and_then(|id| self.views.get(id)) {
            return Found::One(view);
        }
        let mut named = self.views.all().into_iter().filter(|view| view.definition.name == asked);
        match (named.next(), named.next()) {
            (Some(view), None) => Found::One(view),
            (None, _) => Found::Nothing,
            (Some(_), Some(_)) => Found::Several,
        }
    }
}

/// The monitors that one depends on, sorted, each once. `itself` is the one, if it exists yet.
pub(super) fn parents(
    views: &Views,
    itself: Option<MonitorId>,
    asked: &[String],
    invalid: &mut Invalid,
) -> Vec<MonitorId> {
    const FIELD: &str = "depends_on";
    if asked.len() > MAX_PARENTS {
        invalid.add(FIELD, format!("at most {MAX_PARENTS} are allowed"));
        return vec![];
    }
    let mut found = vec![];
    for asked in asked {
        let view = by_id_or_name(views, asked, |kind| matches!(kind, Kind::Monitor(_)));
        match view.and_then(|view| Some(view.definition.monitor()?.0)) {
            Some(id) if Some(id) == itself => invalid.add(FIELD, "a monitor cannot depend on itself"),
            Some(id) => found.push(id),
            None => invalid.add(FIELD, format!("there is no monitor `{}`", shorten(asked))),
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Refuses a request that says nothing of what it means.
pub(super) fn require_id(asked: &str) -> Result<(), Status> {
    if asked.is_empty() { Err(Invalid::one("id", "is required: an id or a unique name")) } else { Ok(()) }
}

/// A channel by id or name.
pub(super) fn channel<'a>(config: &'a Config, asked: &str) -> Option<&'a ChannelRow> {
    let id: Option<ChannelId> = asked.parse().ok();
    let by_id = config.channels.iter().find(|row| Some(row.id) == id);
    by_id.or_else(|| config.channels.iter().find(|row| row.name == asked))
}

/// The channels that a monitor or heartbeat is to notify, each once.
pub(super) fn channels(config: &Config, asked: &[String], invalid: &mut Invalid) -> Vec<ChannelId> {
    let mut found = vec![];
    for asked in asked {
        match channel(config, asked) {
            Some(row) if found.contains(&row.id) => {}
            Some(row) => found.push(row.id),
            None => {
                let known = listed(config.channels.iter().map(|row| row.name.as_str()));
                invalid
                    .add("channels", format!("there is no channel `{}`; there are: {known}", shorten(asked)));
            }
        }
    }
    found
}

/// Names for an error message; not all of very many.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.take(MAX_LISTED + 1).collect();
    if names.is_empty() {
        return "none".into();
    }
    if names.len() > MAX_LISTED {
        names[MAX_LISTED] = "…";
    }
    names.join(", ")
}

/// A text of the request as it may stand in an error message.
pub(super) fn shorten(text: &str) -> String {
    model::result::clean(text, 80)
}

fn by_id_or_name(views: &Views, asked: &str, is_kind: impl Fn(&Kind) -> bool) -> Option<Arc<SubjectView>> {
    let is_kind = |view: &Arc<SubjectView>| is_kind(&view.definition.kind);
    let by_id = SubjectId::parse(asked).and_then(|id| views.get(id)).filter(is_kind);
    by_id.or_else(|| views.all().into_iter().find(|view| is_kind(view) && view.definition.name == asked))
}
