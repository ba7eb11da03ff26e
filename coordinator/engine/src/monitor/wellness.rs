//! Wellness: what makes a monitor that answers degraded, with hysteresis.
//!
//! A region is *slow* once several passing checks in a row took longer than the limit, and quick again once as many in
//! a row stayed clearly below it. A component is *failing* once two reports in a row name it so, from whatever regions
//! they come, and well again after as many that do not. One odd check changes nothing.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::Step;
use crate::phrase;
use crate::vote::Vote;

/// Checks in a row that make a region slow, or quick again.
const LATENCY_CHECKS: u8 = 3;
/// Reports in a row that make a component failing, or well again.
const REPORTS: u8 = 2;
/// A region is quick again below this many percent of the limit.
const QUICK_PERCENT: u32 = 90;

/// How quickly a region has been answered lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) is_slow: bool,
    /// Checks in a row that say the opposite.
    against: u8,
}

impl Latency {
    /// A check passed after `took`.
    pub(super) fn passed(&mut self, took: Duration, limit: Option<Duration>) {
        let Some(limit) = limit else {
            *self = Self::default();
            return;
        };
        let is_against =
            if self.is_slow { took < limit.saturating_mul(QUICK_PERCENT) / 100 } else { took > limit };
        self.against = if is_against { self.against + 1 } else { 0 };
        if self.against >= LATENCY_CHECKS {
            *self = Self { is_slow: !self.is_slow, against: 0 };
        }
    }
}

/// The components that reports have named as failing lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Components {
    /// When the check behind the newest report started.
    reported_at: Option<Timestamp>,
    /// Sorted by name. A report that is not well but names nothing has the empty name.
    known: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Component {
    name: Box<str>,
    is_failing: bool,
    /// Reports in a row that say the opposite.
    against: u8,
}

impl Components {
    /// Takes in the report of a passing check. An older one than the newest says nothing.
    fn report(&mut self, vote: &Vote) {
        if self.reported_at.is_some_and(|at| vote.started_at <= at) {
            return;
        }
        self.reported_at = Some(vote.started_at);
        let mut named: Vec<&str> = match &vote.health {
            Some(report) => report.failing().map(|component| component.name.as_str()).collect(),
            None => vec![],
        };
        if named.is_empty() && vote.is_unwell() {
            named.push("");
        }
        named.sort_unstable();
        named.dedup();
        for name in &named {
            if let Err(place) = self.known.binary_search_by(|known| (*known.name).cmp(name)) {
                self.known.insert(place, Component { name: (*name).into(), is_failing: false, against: 0 });
            }
        }
        for component in &mut self.known {
            let is_named = named.binary_search(&&*component.name).is_ok();
            component.against = if is_named == component.is_failing { 0 } else { component.against + 1 };
            if component.against >= REPORTS {
                (component.is_failing, component.against) = (is_named, 0);
            }
        }
        self.known.retain(|component| component.is_failing || component.against > 0);
    }

    fn failing(&self) -> impl Iterator<Item = &str> {
        self.known.iter().filter(|component| component.is_failing).map(|component| &*component.name)
    }
}

impl Step<'_> {
    /// Takes note of how well the target was in a passing check that has become its region's vote.
    pub(super) fn note_wellness(&mut self, index: usize) {
        let region = &mut self.state.regions[index];
        let Some(vote) = region.vote.as_ref().filter(|vote| vote.is_pass()) else { return };
        region.latency.passed(vote.duration(), self.policy.thresholds.latency_limit);
        if vote.is_unwell() || self.state.components.is_some() {
            let components = self.state.components.get_or_insert_default();
            components.report(vote);
            if components.known.is_empty() {
                self.state.components = None;
            }
        }
    }

    /// Why it is not well though it answers, if so.
    pub(super) fn unwell_because(&self) -> Option<String> {
        let failing: Vec<&str> = self.state.components.iter().flat_map(|known| known.failing()).collect();
        if !failing.is_empty() {
            let named: Vec<&str> = failing.into_iter().filter(|name| !name.is_empty()).collect();
            return Some(match named.as_slice() {
                [] => "its health report says that it is not well".to_owned(),
                names => format!("its health report names {}", names.join(", ")),
            });
        }
        let limit = self.policy.thresholds.latency_limit?;
        let slow: Vec<&str> = self
            .count()
            .eligible()
            .filter(|(region, vote)| vote.is_pass() && region.latency.is_slow)
            .map(|(region, _)| region.region.as_str())
            .collect();
        (!slow.is_empty()).then(|| format!("slower than {} from {}", phrase::span(limit), slow.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_slow_checks_in_a_row_make_a_region_slow_and_three_clearly_quick_ones_end_it() {
        let mut latency = Latency::default();
        let mut passed = |millis| {
            latency.passed(Duration::from_millis(millis), Some(Duration::from_secs(1)));
            latency.is_slow
        };
        let slow = [1_500, 1_500, 1_000, 1_500, 1_500, 1_001].map(&mut passed);
        assert_eq!(slow, [false, false, false, false, false, true], "the limit itself is not too slow");
        let slow = [800, 800, 950, 800, 899, 899].map(&mut passed);
        assert_eq!(slow, [true, true, true, true, true, false], "just below the limit is not quick yet");
    }

    #[test]
    fn nine_tenths_of_the_limit_are_not_quick_yet() {
        let limit = Some(Duration::from_secs(1));
        let mut slow = Latency { is_slow: true, against: 0 };
        for _ in 0..3 {
            slow.passed(Duration::from_millis(900), limit);
        }
        assert!(slow.is_slow);
    }

    #[test]
    fn a_component_that_is_well_again_is_forgotten() {
        let failing = |is_failing, against| Component { name: "database".into(), is_failing, against };
        for (known, reports) in [(failing(false, 1), 1), (failing(true, 0), 2)] {
            let mut components = Components { reported_at: None, known: vec![known] };
            for second in 0..reports {
                assert!(!components.known.is_empty());
                components.report(&passed(Timestamp::from_secs(second)));
            }
            assert_eq!(components.known, []);
        }
    }

    fn passed(started_at: Timestamp) -> Vote {
        let result = model::CheckResult {
            monitor: model::MonitorId::from_bytes([1; 16]),
            spec_revision: 1,
            region: "eu".parse().unwrap(),
            slot: 0,
            attempt: 0,
            round: 0,
            started_at,
            duration: Duration::from_millis(1),
            outcome: model::Outcome::Pass,
            phases: model::Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        Vote::new(model::AgentId::from_bytes([2; 16]), &result)
    }

    #[test]
    fn without_a_limit_nothing_is_slow() {
        let mut latency = Latency { is_slow: true, against: 0 };
        latency.passed(Duration::from_secs(60), None);
        assert_eq!(latency, Latency::default());
    }
}
