//! Which monitors and heartbeats a window covers.

use std::collections::BTreeSet;

use model::{SubjectId, Tag};
use serde::{Deserialize, Serialize};

/// All subjects, or those that are named or carry a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Every subject, also those that are created later.
    pub all: bool,
    /// Those that carry at least one of these.
    pub tags: BTreeSet<Tag>,
    /// These.
    pub subjects: BTreeSet<SubjectId>,
}

impl Scope {
    /// Whether it can never cover anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.tags.is_empty() && self.subjects.is_empty()
    }

    /// Whether it covers a subject with these tags.
    #[must_use]
    pub fn covers(&self, id: SubjectId, tags: &[Tag]) -> bool {
        self.all || self.subjects.contains(&id) || tags.iter().any(|tag| self.tags.contains(tag))
    }
}

#[cfg(test)]
mod tests {
    use model::{HeartbeatId, MonitorId};

    use super::*;

    #[test]
    fn a_scope_covers_what_it_names_by_id_by_tag_or_all() {
        let id = |n| SubjectId::Monitor(MonitorId::from_bytes([n; 16]));
        let job = SubjectId::Heartbeat(HeartbeatId::from_bytes([1; 16]));
        let tag = |word: &str| -> Tag { word.parse().unwrap() };
        let named = Scope { subjects: BTreeSet::from([id(1)]), ..Scope::default() };
        assert!(named.covers(id(1), &[]) && !named.covers(id(2), &[]) && !named.covers(job, &[]));
        let tagged = Scope { tags: BTreeSet::from([tag("db"), tag("eu")]), ..Scope::default() };
        assert!(tagged.covers(job, &[tag("us"), tag("eu")]) && !tagged.covers(job, &[tag("us")]));
        let all = Scope { all: true, ..Scope::default() };
        assert!(all.covers(job, &[]));
        assert!(Scope::default().is_empty() && !all.is_empty() && !tagged.is_empty() && !named.is_empty());
        assert!(!Scope::default().covers(job, &[tag("eu")]));
    }
}
