//! The tape: what was heard about one monitor, in the order in which it was committed.
//!
//! It is recorded backwards, because the journal is read so, and compactly: texts and regions are shared, and what no
//! decision reads is left out. [`Evidence`] is the same results by region and start, for questions that were never
//! asked in reality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{
    AgentId, CheckResult, Failure, FailureKind, HealthReport, MonitorId, Outcome, Phases, RegionId, Timestamp,
};

use crate::monitor::{Event, Policy, Standing};

/// One thing that was heard and decided on.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A result; those that came too late to vote are not part of it.
    Result {
        /// The agent.
        agent: AgentId,
        /// What it found.
        result: Box<CheckResult>,
    },
    /// A scheduled check was still pending long after it usually ends.
    Slow {
        /// From where.
        region: RegionId,
        /// When it started.
        started_at: Timestamp,
    },
    /// A region could be asked from then on, or no longer.
    RegionLive {
        /// The region.
        region: RegionId,
        /// Whether an agent of it was connected.
        live: bool,
    },
    /// The coordinator could neither see nor ask during this span.
    Blind {
        /// When it last could.
        from: Timestamp,
        /// Since when it could again.
        to: Timestamp,
        /// Whether it was started at `to`, so that no region was live.
        restarted: bool,
    },
    /// How the monitors that this one depends on stood from then on.
    Parents(Standing),
    /// A monitor that depends on this one might have been failing.
    Asked,
    /// An agent's votes did not count any more, from checks on that started at `since`.
    Quarantined {
        /// The agent.
        agent: AgentId,
        /// What people call it.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// An agent's votes counted again.
    Released {
        /// The agent.
        agent: AgentId,
    },
    /// A window in which nothing is judged had begun.
    MaintenanceStarted {
        /// When.
        at: Timestamp,
    },
    /// It was over.
    MaintenanceEnded,
    /// The user changed what is checked, how often or from where: earlier results said nothing any more.
    Respecified,
    /// The user paused it.
    Paused,
    /// The user resumed it.
    Resumed,
}

/// What was heard about one monitor.
#[derive(Clone, Debug)]
pub struct Tape {
    monitor: MonitorId,
    /// Newest first.
    entries: Vec<Entry>,
    samples: usize,
    regions: BTreeSet<RegionId>,
    texts: BTreeSet<Arc<str>>,
}

/// One entry of a tape.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The instant of its commit, at which it was decided on.
    pub(super) at: Timestamp,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Sample(Sample),
    Event(Event),
    /// As blind, and every region is gone.
    Restarted {
        from: Timestamp,
        to: Timestamp,
    },
}

/// What decisions read of a result.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) agent: AgentId,
    pub(super) region: RegionId,
    pub(super) started_at: Timestamp,
    pub(super) duration: Duration,
    spec_revision: u64,
    attempt: u32,
    round: u32,
    finding: Finding,
    health: Option<Box<HealthReport>>,
}

#[derive(Clone, Debug)]
enum Finding {
    Pass,
    Fail(FailureKind, Arc<str>),
    Error(Arc<str>),
}

impl Tape {
    /// An empty tape of a monitor.
    #[must_use]
    pub const fn of(monitor: MonitorId) -> Self {
        Self { monitor, entries: vec![], samples: 0, regions: BTreeSet::new(), texts: BTreeSet::new() }
    }

    /// Adds what was heard just before everything that is on the tape, at the instant of its commit.
    pub fn prepend(&mut self, at: Timestamp, heard: Heard) {
        let what = match heard {
            Heard::Result { agent, result } => {
                self.samples += 1;
                What::Sample(self.sample(agent, *result))
            }
            Heard::Slow { region, started_at } => What::Event(Event::Slow { region, started_at }),
            Heard::RegionLive { region, live } => What::Event(Event::RegionLive { region, live }),
            Heard::Blind { from, to, restarted: true } => What::Restarted { from, to },
            Heard::Blind { from, to, restarted: false } => What::Event(Event::Blind { from, to }),
            Heard::Parents(standing) => What::Event(Event::Parents(standing)),
            Heard::Asked => What::Event(Event::Asked),
            Heard::Quarantined { agent, name, since } => {
                What::Event(Event::Quarantined { agent, name, since })
            }
            Heard::Released { agent } => What::Event(Event::Released { agent }),
            Heard::MaintenanceStarted { at } => What::Event(Event::MaintenanceStarted { at }),
            Heard::MaintenanceEnded => What::Event(Event::MaintenanceEnded),
            Heard::Respecified => What::Event(Event::PolicyChanged { respec: true }),
            Heard::Paused => What::Event(Event::Paused),
            Heard::Resumed => What::Event(Event::Resumed),
        };
        self.entries.push(Entry { at, what });
    }

    /// How many things were heard.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was heard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them are results.
    #[must_use]
    pub const fn results(&self) -> usize {
        self.samples
    }

    /// Everything, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// Whether an agent of the region was connected when the tape begins: its first word, if it is not that one has
    /// just come.
    pub(super) fn begins_live(&self, region: &RegionId) -> bool {
        let word = |entry: &Entry| match &entry.what {
            What::Sample(sample) if sample.region == *region => Some(true),
            What::Event(Event::RegionLive { region: other, live }) if other == region => Some(!live),
            What::Restarted { .. } => Some(false),
            What::Sample(_) | What::Event(_) => None,
        };
        self.entries().find_map(word).unwrap_or(false)
    }

    /// Whether the monitor was paused when the tape begins.
    pub(super) fn begins_paused(&self) -> bool {
        let word = |entry: &Entry| match &entry.what {
            What::Event(Event::Resumed) => Some(true),
            What::Event(Event::Paused) | What::Sample(_) => Some(false),
            What::Event(_) | What::Restarted { .. } => None,
        };
        self.entries().find_map(word).unwrap_or(false)
    }

    /// A sample as the result that it was, had it started at `started_at`.
    pub(super) fn result(&self, sample: &Sample, started_at: Timestamp) -> CheckResult {
        let outcome = match &sample.finding {
            Finding::Pass => Outcome::Pass,
            Finding::Fail(kind, detail) => Outcome::Fail(Failure::new(*kind, detail)),
            Finding::Error(text) => Outcome::Error(text.to_string()),
        };
        CheckResult {
            monitor: self.monitor,
            spec_revision: sample.spec_revision,
            region: sample.region.clone(),
            slot: 0,
            attempt: sample.attempt,
            round: sample.round,
            started_at,
            duration: sample.duration,
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: sample.health.clone(),
        }
    }

    fn sample(&mut self, agent: AgentId, result: CheckResult) -> Sample {
        let finding = match result.outcome {
            Outcome::Pass => Finding::Pass,
            Outcome::Fail(failure) => Finding::Fail(failure.kind, self.text(&failure.detail)),
            Outcome::Error(text) => Finding::Error(self.text(&text)),
        };
        if !self.regions.contains(&result.region) {
            self.regions.insert(result.region.clone());
        }
        Sample {
            agent,
            // The one that is shared.
            region: self.regions.get(&result.region).cloned().unwrap_or(result.region),
            started_at: result.started_at,
            duration: result.duration,
            spec_revision: result.spec_revision,
            attempt: result.attempt,
            round: result.round,
            finding,
            health: result.health,
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }
}

impl Sample {
    pub(super) const fn is_pass(&self) -> bool {
        matches!(self.finding, Finding::Pass)
    }

    /// Whether it is a definite wrong answer, which is not asked for twice.
    pub(super) const fn is_definite_fail(&self) -> bool {
        matches!(self.finding, Finding::Fail(kind, _) if kind.is_definite())
    }

    const fn is_conclusive(&self) -> bool {
        !matches!(self.finding, Finding::Error(_))
    }
}

/// The conclusive results of a tape under one specification, by region and start.
pub(super) struct Evidence<'a> {
    by_region: BTreeMap<&'a RegionId, Vec<&'a Sample>>,
    /// When attempts of rounds started.
    asked: Vec<Timestamp>,
}

impl<'a> Evidence<'a> {
    pub(super) fn of(tape: &'a Tape, policy: &Policy) -> Self {
        let mut by_region: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut asked = vec![];
        for entry in &tape.entries {
            let What::Sample(sample) = &entry.what else { continue };
            if sample.spec_revision != policy.spec_revision {
                continue;
            }
            if sample.attempt > 0 {
                asked.push(sample.started_at);
            }
            if sample.is_conclusive() {
                by_region.entry(&sample.region).or_default().push(sample);
            }
        }
        for samples in by_region.values_mut() {
            samples.sort_by_key(|sample| sample.started_at);
        }
        asked.sort_unstable();
        Self { by_region, asked }
    }

    /// Whether a round was really run in this span: then what was answered is recorded, and who did not answer did not.
    pub(super) fn was_asked(&self, from: Timestamp, until: Timestamp) -> bool {
        let first = self.asked.partition_point(|at| *at < from);
        self.asked.get(first).is_some_and(|at| *at < until)
    }

    /// What a region would have found at an instant: what it found before and after, if that is the same and neither is
    /// further away than `reach`. The nearer of the two.
    pub(super) fn at(&self, region: &RegionId, at: Timestamp, reach: Duration) -> Option<&'a Sample> {
        let samples = self.by_region.get(region)?;
        let next = samples.partition_point(|sample| sample.started_at < at);
        let (before, after) = (samples.get(next.checked_sub(1)?)?, samples.get(next)?);
        let (since, until) = (at.since(before.started_at), after.started_at.since(at));
        let agree = before.is_pass() == after.is_pass() && since <= reach && until <= reach;
        agree.then_some(if since < until { *before } else { *after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITOR: MonitorId = MonitorId::from_bytes([1; 16]);
    const AGENT: AgentId = AgentId::from_bytes([2; 16]);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn region(id: &str) -> RegionId {
        id.parse().unwrap()
    }

    fn fail() -> Outcome {
        Outcome::Fail(Failure::new(FailureKind::Timeout, "timeout after 10 s"))
    }

    fn checked(started_at: Timestamp, outcome: Outcome, attempt: u32) -> Heard {
        let result = CheckResult {
            monitor: MONITOR,
            spec_revision: 1,
            region: region("eu"),
            slot: 0,
            attempt,
            round: attempt,
            started_at,
            duration: Duration::from_millis(1),
            outcome,
            phases: Phases::default(),
            http_status: None,
            peer: None,
            health: None,
        };
        Heard::Result { agent: AGENT, result: Box::new(result) }
    }

    /// A tape on which this stands, oldest first, a second apart.
    fn tape(
        heard: impl IntoIterator<Item = Heard, IntoIter: DoubleEndedIterator + ExactSizeIterator>,
    ) -> Tape {
        let mut tape = Tape::of(MONITOR);
        for (second, heard) in heard.into_iter().enumerate().rev() {
            tape.prepend(at(second as i64), heard);
        }
        tape
    }

    fn live(id: &str, live: bool) -> Heard {
        Heard::RegionLive { region: region(id), live }
    }

    fn policy() -> Policy {
        let regions = vec![region("eu")];
        Policy {
            quorum: crate::quorum::Policy::default().over(&regions),
            regions,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: crate::monitor::Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        }
    }

    #[test]
    fn a_tape_tells_how_much_is_on_it_and_how_much_of_that_are_results() {
        let empty = tape([]);
        assert_eq!((empty.len(), empty.is_empty(), empty.results()), (0, true, 0));
        let full = tape([live("eu", true), checked(at(0), Outcome::Pass, 0), checked(at(1), fail(), 0)]);
        assert_eq!((full.len(), full.is_empty(), full.results()), (3, false, 2));
    }

    #[test]
    fn what_results_share_is_kept_once() {
        let tape = tape((0..100).map(|second| checked(at(second), fail(), 0)).collect::<Vec<_>>());
        assert_eq!((tape.regions.len(), tape.texts.len()), (1, 1));
        let details: Vec<_> = tape
            .entries()
            .filter_map(|entry| match &entry.what {
                What::Sample(Sample { finding: Finding::Fail(_, detail), .. }) => Some(detail),
                _ => None,
            })
            .collect();
        assert!(details.iter().all(|detail| Arc::ptr_eq(detail, details[0])), "{}", details.len());
    }

    #[test]
    fn a_wrong_answer_is_definite_and_none_at_all_is_not() {
        let wrong = Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable"));
        let tape = tape([wrong, fail(), Outcome::Pass].map(|outcome| checked(at(0), outcome, 0)));
        let samples = tape.entries().filter_map(|entry| match &entry.what {
            What::Sample(sample) => Some(sample.is_definite_fail()),
            _ => None,
        });
        assert_eq!(samples.collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_region_was_live_at_the_beginning_if_it_was_heard_or_lost_before_it_came() {
        let eu = region("eu");
        assert!(!tape([]).begins_live(&eu), "nothing is known");
        assert!(tape([checked(at(0), fail(), 0)]).begins_live(&eu));
        assert!(tape([live("us", true), live("eu", false)]).begins_live(&eu));
        assert!(!tape([live("us", false), live("eu", true)]).begins_live(&eu));
        let heard = tape([checked(at(0), fail(), 0), live("us", true)]);
        assert!(!heard.begins_live(&region("us")), "another region was heard");
        let blind = |restarted| Heard::Blind { from: at(0), to: at(1), restarted };
        assert!(!tape([blind(true), live("eu", false)]).begins_live(&eu), "after a restart nobody is");
        assert!(tape([blind(false), live("eu", false)]).begins_live(&eu));
    }

    #[test]
    fn a_monitor_was_paused_at_the_beginning_if_it_was_resumed_before_anything_else() {
        assert!(!tape([]).begins_paused());
        assert!(tape([live("eu", true), Heard::Resumed]).begins_paused());
        assert!(!tape([Heard::Paused, Heard::Resumed]).begins_paused());
        assert!(!tape([checked(at(0), Outcome::Pass, 0), Heard::Resumed]).begins_paused());
    }

    #[test]
    fn a_round_was_run_if_an_attempt_of_one_started_in_the_span_without_its_end() {
        let tape = tape([checked(at(5), Outcome::Pass, 0), checked(at(10), Outcome::Pass, 1)]);
        let evidence = Evidence::of(&tape, &policy());
        assert!(evidence.was_asked(at(10), at(11)) && evidence.was_asked(at(9), at(11)));
        assert!(!evidence.was_asked(at(8), at(10)) && !evidence.was_asked(at(11), at(20)));
        assert!(!evidence.was_asked(at(0), at(6)), "a scheduled check is no answer to a round");
    }

    #[test]
    fn a_region_would_have_found_what_it_found_before_and_after_if_both_are_near_and_agree() {
        let tape = tape([
            checked(at(0), Outcome::Pass, 0),
            checked(at(60), Outcome::Pass, 0),
            checked(at(70), Outcome::Error("too many open files".to_owned()), 0),
            checked(at(120), fail(), 0),
            checked(at(180), fail(), 0),
        ]);
        let evidence = Evidence::of(&tape, &policy());
        let found = |secs, reach| {
            let sample = evidence.at(&region("eu"), at(secs), Duration::from_secs(reach))?;
            Some((sample.started_at.since(at(0)).as_secs(), sample.is_pass()))
        };
        assert_eq!(found(20, 60), Some((0, true)), "the nearer one");
        assert_eq!(found(31, 60), Some((60, true)));
        assert_eq!(found(30, 60), Some((60, true)), "of two as near the later one");
        assert_eq!(found(140, 60), Some((120, false)));
        assert_eq!(found(90, 60), None, "it passed before and failed after");
        assert_eq!(found(20, 40), Some((0, true)), "just within reach");
        assert_eq!(found(20, 39), None, "the later one is too far away");
        assert_eq!(found(40, 39), None, "the earlier one is");
        assert_eq!((found(0, 60), found(181, 60)), (None, None), "nothing before, nothing after");
        assert!(
            evidence.at(&region("us"), at(20), Duration::from_secs(60)).is_none(),
            "nobody checks from there"
        );
        let other = Evidence::of(&tape, &Policy { spec_revision: 2, ..policy() });
        assert!(other.at(&region("eu"), at(20), Duration::from_secs(60)).is_none(), "another specification");
    }
}
