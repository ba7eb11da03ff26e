//! What a request means by an id: the id itself, or a unique name.

use std::sync::Arc;

use model::{ChannelId, SubjectId};
use store::{ChannelRow, Config};
use tonic::Status;

use super::Admin;
use super::invalid::Invalid;
use super::refusal::not_found;
use crate::definition::Kind;
use crate::view::SubjectView;

/// Names that an error message lists.
const MAX_LISTED: usize = 20;

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
        let is_kind = |view: &Arc<SubjectView>| is_kind(&view.definition.kind);
        let by_id = SubjectId::parse(asked).and_then(|id| self.views.get(id)).filter(is_kind);
        let by_name =
            || self.views.all().into_iter().find(|view| is_kind(view) && view.definition.name == asked);
        by_id.or_else(by_name).ok_or_else(|| not_found(kind, asked))
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
