//! Groups: monitors that fail together for one reason are one incident.
//!
//! The first of them *leads*: its incident is the one that people are told of. A failure joins an open group if it
//! comes soon after the last that did and shares something that explains both: the host, while it fails in the same
//! way; a component that both health reports name; or the regions that see it while several monitors fail from there and
//! none passes. Only a failure whose channels have all been told of the group may join: nobody misses an outage because
//! somebody else was told of another.
//!
//! A group ends when the last of its monitors is well again. Everybody in it keeps its own incident, with its own votes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ChannelId, IncidentId, RegionId, SubjectId, Timestamp};

/// A failure joins a group whose latest failure opened at most this long before.
pub const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// That everything fails from a region is said of at least so many monitors: two whose checks happen to be the only ones
/// for a while, as with long intervals, have nothing in common yet.
pub const EVERYTHING: usize = 3;

/// What an incident that opens may have in common with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The host that the monitor checks.
    pub host: String,
    /// How it fails, so that two services of one host that fail differently are two: `Timeout`, `503 …`.
    pub symptom: String,
    /// What its health reports name as failing.
    pub components: Vec<String>,
    /// The regions whose failing votes counted, sorted.
    pub regions: Vec<RegionId>,
    /// What else was seen from these regions.
    pub sight: Sight,
    /// Who is to be told.
    pub channels: Vec<ChannelId>,
    /// When the outage began.
    pub started_at: Timestamp,
}

/// What was seen from some regions lately, whatever the monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The start of the newest check that passed.
    passed_at: Option<Timestamp>,
    /// Who began to fail since, at most [`EVERYTHING`] of them.
    failing: BTreeSet<SubjectId>,
}

/// What a failure has in common with a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Common {
    /// The host.
    Host(String),
    /// A failing component.
    Component(String),
    /// Everything seen from these regions fails.
    Regions(Vec<RegionId>),
}

/// The open groups, by the incident that leads each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    open: BTreeMap<IncidentId, Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// Hosts and how they fail.
    hosts: BTreeSet<(String, String)>,
    components: BTreeSet<String>,
    regions: Vec<RegionId>,
    channels: BTreeSet<ChannelId>,
    started_at: Timestamp,
    last_opened_at: Timestamp,
    leader: SubjectId,
    /// Those that are not well yet, the leader among them.
    failing: BTreeSet<SubjectId>,
}

/// What it means that a monitor is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was in no group.
    Alone,
    /// Others of this group are not well yet.
    Before(IncidentId),
    /// It was the last: the group is over.
    Last(IncidentId),
}

impl Sight {
    /// A check passed.
    pub fn pass(&mut self, started_at: Timestamp) {
        self.passed_at = self.passed_at.max(Some(started_at));
        self.failing.clear();
    }

    /// A check of a monitor without an open incident failed.
    pub fn fail(&mut self, subject: SubjectId) {
        if self.failing.len() < EVERYTHING {
            self.failing.insert(subject);
        }
    }

    /// What was seen from either of two sets of regions.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.passed_at = self.passed_at.max(other.passed_at);
        self.failing.extend(&other.failing);
        self
    }

    /// Whether since `start` several monitors failed and none passed.
    fn is_dark_since(&self, start: Timestamp) -> bool {
        self.failing.len() >= EVERYTHING && self.passed_at.is_none_or(|at| at < start)
    }
}

impl Groups {
    /// The group that a failure which opens at `now` belongs to, and why; the oldest of several.
    #[must_use]
    pub fn find(&self, failure: &Failure, now: Timestamp) -> Option<(IncidentId, Common)> {
        self.open
            .iter()
            .filter_map(|(lead, group)| Some((group.started_at, *lead, group.common(failure, now)?)))
            .min_by_key(|(started_at, lead, _)| (*started_at, *lead))
            .map(|(_, lead, common)| (lead, common))
    }

    /// A failure that opens at `now` becomes the first of a group that others may join.
    pub fn lead(&mut self, incident: IncidentId, subject: SubjectId, failure: &Failure, now: Timestamp) {
        let group = Group {
            hosts: BTreeSet::from([(failure.host.clone(), failure.symptom.clone())]),
            components: failure.components.iter().cloned().collect(),
            regions: failure.regions.clone(),
            channels: failure.channels.iter().copied().collect(),
            started_at: failure.started_at,
            last_opened_at: now,
            leader: subject,
            failing: BTreeSet::from([subject]),
        };
        self.open.insert(incident, group);
    }

    /// A failure joins the group of `lead`.
    pub fn join(&mut self, lead: IncidentId, subject: SubjectId, now: Timestamp) {
        if let Some(group) = self.open.get_mut(&lead) {
            group.failing.insert(subject);
            group.last_opened_at = group.last_opened_at.max(now);
        }
    }

    /// A monitor is well again, or nobody asks any more.
    pub fn leave(&mut self, subject: SubjectId) -> Left {
        let group = self.open.iter_mut().find(|(_, group)| group.failing.contains(&subject));
        let Some((&lead, group)) = group else { return Left::Alone };
        group.failing.remove(&subject);
        if !group.failing.is_empty() {
            return Left::Before(lead);
        }
        self.open.remove(&lead);
        Left::Last(lead)
    }

    /// Those of the group of `lead` that are not well yet.
    pub fn failing(&self, lead: IncidentId) -> impl Iterator<Item = SubjectId> {
        self.open.get(&lead).into_iter().flat_map(|group| group.failing.iter().copied())
    }

    /// The leader of a group is no longer watched: `heir` leads the rest under its own incident.
    pub fn inherit(&mut self, lead: IncidentId, heir: IncidentId, leader: SubjectId) {
        if let Some(group) = self.open.remove(&lead) {
            self.open.insert(heir, Group { leader, ..group });
        }
    }
}

impl Group {
    /// What the failure has in common with the group, if it may join it.
    fn common(&self, failure: &Failure, now: Timestamp) -> Option<Common> {
        let soon = now.since(self.last_opened_at) <= JOIN_WITHIN;
        let told = failure.channels.iter().all(|channel| self.channels.contains(channel));
        // What is told of a group is told of its leader, and there is nothing more to tell of one that is well.
        if !soon || !told || !self.failing.contains(&self.leader) {
            return None;
        }
        if self.hosts.contains(&(failure.host.clone(), failure.symptom.clone())) {
            return Some(Common::Host(failure.host.clone()));
        }
        if let Some(name) = failure.components.iter().find(|name| self.components.contains(*name)) {
            return Some(Common::Component(name.clone()));
        }
        let same = !self.regions.is_empty() && self.regions == failure.regions;
        (same && failure.sight.is_dark_since(self.started_at))
            .then(|| Common::Regions(failure.regions.clone()))
    }
}

impl std::fmt::Display for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => write!(f, "on the same host, {host}"),
            Self::Component(name) => write!(f, "with the same failing component, {name}"),
            Self::Regions(regions) => {
                let regions: Vec<&str> = regions.iter().map(RegionId::as_str).collect();
                write!(f, "with everything else that is checked from {}", regions.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::MonitorId;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    fn incident(number: u8) -> IncidentId {
        IncidentId::from_bytes([number; 16])
    }

    fn subject(number: u8) -> SubjectId {
        SubjectId::Monitor(MonitorId::from_bytes([number; 16]))
    }

    /// The last check passed at `passed_at`; so many monitors began to fail since.
    fn sight(passed_at: i64, failing: u8) -> Sight {
        let mut sight = Sight::default();
        sight.fail(subject(100));
        sight.pass(at(passed_at));
        (1..=failing).for_each(|number| sight.fail(subject(number)));
        sight
    }

    fn failure(host: &str) -> Failure {
        Failure {
            host: host.into(),
            symptom: "Timeout".into(),
            components: vec![],
            regions: vec!["eu".parse().unwrap(), "us".parse().unwrap()],
            sight: sight(0, 3),
            channels: vec![ChannelId::from_bytes([1; 16])],
            started_at: at(0),
        }
    }

    /// A group led by incident 1, of subject 1 on host `a`, which failed at 0.
    fn led() -> Groups {
        let mut groups = Groups::default();
        let first = Failure { components: vec!["database".into()], ..failure("a") };
        groups.lead(incident(1), subject(1), &first, at(0));
        groups
    }

    #[test]
    fn failures_on_one_host_within_a_minute_of_each_other_are_one_group() {
        let mut groups = led();
        let common = Some((incident(1), Common::Host("a".into())));
        assert_eq!(groups.find(&failure("a"), at(60)), common);
        assert_eq!(groups.find(&failure("a"), at(61)), None, "another outage");
        assert_eq!(groups.find(&failure("b"), at(1)), None, "nothing in common");
        let other = Failure { symptom: "503 Service Unavailable".into(), ..failure("a") };
        assert_eq!(
            groups.find(&other, at(1)),
            None,
            "another service of the host, with a trouble of its own"
        );
        groups.join(incident(1), subject(2), at(60));
        assert_eq!(groups.find(&failure("a"), at(120)), common, "the last one counts");
    }

    #[test]
    fn a_failing_component_that_both_name_is_reason_enough() {
        let named = |name: &str| Failure { components: vec!["cache".into(), name.into()], ..failure("b") };
        let (lead, common) = led().find(&named("database"), at(1)).unwrap();
        assert_eq!(
            (lead, common.to_string()),
            (incident(1), "with the same failing component, database".into())
        );
        assert_eq!(led().find(&named("queue"), at(1)), None);
    }

    #[test]
    fn the_same_regions_are_reason_enough_only_while_several_fail_and_none_passes_from_them() {
        let blind = Failure { sight: sight(-1, 3), ..failure("b") };
        let (_, common) = led().find(&blind, at(1)).unwrap();
        assert_eq!(common.to_string(), "with everything else that is checked from eu, us");
        assert_eq!(led().find(&failure("b"), at(1)), None, "something passed when it began");
        let two = Failure { sight: sight(-1, 2), ..blind.clone() };
        assert_eq!(led().find(&two, at(1)), None, "nothing else was checked meanwhile");
        let elsewhere = Failure { regions: vec!["eu".parse().unwrap()], ..blind };
        assert_eq!(led().find(&elsewhere, at(1)), None);
    }

    #[test]
    fn what_is_seen_from_several_regions_is_seen_from_any_of_them() {
        let mut here = sight(-5, 2);
        here.fail(subject(2));
        assert!(!here.is_dark_since(at(0)), "a monitor is one however often it fails");
        let mut there = sight(-1, 0);
        there.fail(subject(7));
        assert!(here.clone().and(&there).is_dark_since(at(0)));
        there.pass(at(0));
        there.fail(subject(8));
        assert!(!here.and(&there).is_dark_since(at(0)), "one of them is well connected");
    }

    #[test]
    fn nobody_is_left_untold() {
        let other = ChannelId::from_bytes([2; 16]);
        let mut both = failure("a");
        both.channels.push(other);
        assert_eq!(led().find(&both, at(1)), None, "the other channel knows of nothing");
        let silent = Failure { channels: vec![], ..failure("a") };
        assert!(led().find(&silent, at(1)).is_some());
    }

    #[test]
    fn a_group_is_over_when_the_last_of_it_is_well() {
        let mut groups = led();
        groups.join(incident(1), subject(2), at(1));
        assert_eq!(groups.leave(subject(1)), Left::Before(incident(1)), "the leader need not be the last");
        assert_eq!(groups.failing(incident(1)).collect::<Vec<_>>(), [subject(2)]);
        assert_eq!(groups.leave(subject(2)), Left::Last(incident(1)));
        assert_eq!(groups.leave(subject(2)), Left::Alone);
        assert_eq!(groups, Groups::default());
    }

    #[test]
    fn the_rest_of_a_group_goes_on_under_another_leader() {
        let mut groups = led();
        groups.join(incident(1), subject(2), at(1));
        groups.leave(subject(1));
        assert_eq!(groups.find(&failure("a"), at(2)), None, "its leader is well");
        groups.inherit(incident(1), incident(2), subject(2));
        assert_eq!(groups.find(&failure("a"), at(2)).unwrap().0, incident(2));
        assert_eq!(groups.leave(subject(2)), Left::Last(incident(2)));
    }
}
