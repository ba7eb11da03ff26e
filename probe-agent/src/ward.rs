//! Checks that may have brought the agent down. Pure: what was in flight at a death goes in, what may run goes out.
//!
//! A check in flight at two deaths of the process is a *suspect*. Suspects run once while nothing else is in flight,
//! before anything else: one at a time where they are few, and in ever smaller groups where a process was killed that
//! was full of checks. Whoever survives that is cleared. Whoever is alone in flight when the process dies is
//! *quarantined*: it is not run until its specification changes. So killing an agent costs no monitor anything, and a
//! check that kills it costs a few deaths and then nothing.

mod files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{MonitorId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::monitor::Job;
pub(crate) use files::Files;

/// What is said of a check that is not run.
pub(crate) const QUARANTINED: &str =
    "quarantined: the agent died twice while it ran this check; change the monitor to try again";

/// At so many deaths a check is a suspect.
const DEATHS: u32 = 2;
/// What died longer ago says nothing.
const MEMORY: Duration = Duration::from_secs(24 * 3_600);
/// So many suspects and fewer run one at a time; of more an eighth at once, and the first time all.
const FEW: usize = 8;
/// The most checks that are remembered.
const MAX_REMEMBERED: usize = 4096;

/// A version of a monitor's check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) monitor: MonitorId,
    pub(crate) spec_revision: u64,
}

/// What was in flight when the process before died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) keys: BTreeSet<Key>,
    /// Single checks that somebody asked for; they do not come again, and do not leave others alone.
    pub(crate) others: usize,
}

/// What may be done with a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may run.
    Free,
    /// It may run while nothing else does.
    Suspect,
    /// It may not run.
    Quarantined,
}

/// What is kept of one check from process to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) monitor: MonitorId,
    pub(crate) spec_revision: u64,
    /// Deaths at which it was in flight.
    pub(crate) deaths: u32,
    /// The last of them, by the wall clock.
    pub(crate) died_at: Timestamp,
    pub(crate) quarantined: bool,
}

/// The checks that are watched, and those that wait to be tried.
#[derive(Debug, Default)]
pub(crate) struct Ward {
    records: BTreeMap<Key, Record>,
    waiting: VecDeque<Job>,
    /// Attempts under way.
    on_trial: BTreeSet<u64>,
    /// How many more of the present group may start.
    left: usize,
    has_changed: bool,
}

impl Ward {
    /// What was known, and what a death adds to it; `now` by the wall clock.
    pub(crate) fn after(known: Vec<Record>, died: &InFlight, now: Timestamp) -> Self {
        let is_fresh = |it: &Record| now.since(it.died_at) < MEMORY;
        let mut ward = Self {
            records: known.into_iter().filter(is_fresh).map(|record| (record.key(), record)).collect(),
            ..Self::default()
        };
        let is_alone = died.keys.len() == 1 && died.others == 0;
        for key in &died.keys {
            let fresh = Record {
                monitor: key.monitor,
                spec_revision: key.spec_revision,
                deaths: 0,
                died_at: now,
                quarantined: false,
            };
            let record = ward.records.entry(*key).or_insert(fresh);
            record.quarantined |= is_alone && record.deaths >= DEATHS;
            (record.deaths, record.died_at) = (record.deaths + 1, now);
            ward.has_changed = true;
        }
        while ward.records.len() > MAX_REMEMBERED {
            let least =
                ward.records.iter().min_by_key(|(_, it)| (it.quarantined, it.deaths)).map(|(key, _)| *key);
            least.and_then(|key| ward.records.remove(&key));
        }
        ward
    }

    /// What may be done with a check.
    pub(crate) fn verdict(&self, key: Key) -> Verdict {
        match self.records.get(&key) {
            Some(record) if record.quarantined => Verdict::Quarantined,
            Some(record) if record.deaths >= DEATHS => Verdict::Suspect,
            _ => Verdict::Free,
        }
    }

    /// Holds a suspect's attempt until nothing else is in flight.
    pub(crate) fn hold(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// The next suspect to try, while so many attempts are under way.
    pub(crate) fn next(&mut self, running: usize) -> Option<Job> {
        if self.on_trial.is_empty() && running == 0 {
            self.left = self.begin_group();
        }
        if self.left == 0 || running != self.on_trial.len() {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.left -= 1;
        self.on_trial.insert(job.number);
        Some(job)
    }

    /// Whether nothing but suspects may start.
    pub(crate) fn is_closed(&self) -> bool {
        !self.waiting.is_empty() || !self.on_trial.is_empty()
    }

    /// An attempt has ended. `true`: it was a trial; its check has survived.
    pub(crate) fn ended(&mut self, job: &Job) -> bool {
        let was_on_trial = self.on_trial.remove(&job.number);
        if was_on_trial && self.records.remove(&Key::of(job)).is_some() {
            self.has_changed = true;
        }
        was_on_trial
    }

    /// An attempt was not begun after all. `true`: it was to be a trial.
    pub(crate) fn skipped(&mut self, job: &Job) -> bool {
        self.on_trial.remove(&job.number)
    }

    /// A monitor's check is this from now on; what is remembered of others is void.
    pub(crate) fn respecified(&mut self, present: Key) {
        let all = |spec_revision| Key { monitor: present.monitor, spec_revision };
        let others: Vec<Key> = self
            .records
            .range(all(0)..=all(u64::MAX))
            .map(|(key, _)| *key)
            .filter(|key| *key != present)
            .collect();
        for key in others {
            self.records.remove(&key);
            self.has_changed = true;
        }
    }

    /// Checks that are not run, and those that are to be tried.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// What is to be remembered, if that has changed and no trial is under way.
    pub(crate) fn changes(&mut self) -> Option<Vec<Record>> {
        let is_due = self.has_changed && self.on_trial.is_empty();
        is_due.then(|| {
            self.has_changed = false;
            self.records.values().copied().collect()
        })
    }

    /// Puts those in front that were in flight at most deaths, and says how many of them run together.
    fn begin_group(&mut self) -> usize {
        let deaths = |job: &Job| self.records.get(&Key::of(job)).map_or(0, |record| record.deaths);
        let mut waiting: Vec<(u32, Job)> = self.waiting.drain(..).map(|job| (deaths(&job), job)).collect();
        waiting.sort_by_key(|(deaths, job)| (std::cmp::Reverse(*deaths), job.number));
        let most = waiting.first().map_or(0, |(deaths, _)| *deaths);
        let count = waiting.iter().filter(|(deaths, _)| *deaths == most).count();
        self.waiting = waiting.into_iter().map(|(_, job)| job).collect();
        match count {
            0..=FEW => 1,
            _ if most <= DEATHS => count,
            _ => count.div_ceil(FEW),
        }
    }
}

impl Key {
    pub(crate) fn of(job: &Job) -> Self {
        Self { monitor: job.monitor(), spec_revision: job.assignment.spec_revision }
    }
}

impl Record {
    fn key(&self) -> Key {
        Key { monitor: self.monitor, spec_revision: self.spec_revision }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::check::Options;
    use proto::probe::convert::{Assignment, Role};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn key(n: u16) -> Key {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Key { monitor: MonitorId::from_bytes(id), spec_revision: 1 }
    }

    fn job(n: u16) -> Job {
        let assignment = Assignment {
            monitor: key(n).monitor,
            spec_revision: 1,
            check: None,
            options: Options::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            phase: Duration::ZERO,
            role: Role::Primary,
            check_now: false,
        };
        Job {
            number: u64::from(n) + 1,
            assignment: Arc::new(assignment),
            host: "".into(),
            slot: 0,
            attempt: 0,
            round: 0,
            is_close: false,
            queued_at: Timestamp::EPOCH,
            planned_at: None,
            is_single: false,
            is_set_aside: false,
        }
    }

    fn died(keys: impl IntoIterator<Item = u16>) -> InFlight {
        InFlight { keys: keys.into_iter().map(key).collect(), others: 0 }
    }

    /// Runs suspects among `checks` as an agent would; `killer` kills it. Says what was in flight then.
    fn run(ward: &mut Ward, checks: u16, killer: Option<u16>) -> Option<InFlight> {
        let suspects = (0..checks).filter(|n| ward.verdict(key(*n)) == Verdict::Suspect);
        suspects.collect::<Vec<_>>().into_iter().for_each(|n| ward.hold(job(n)));
        while ward.is_closed() {
            let mut running = vec![];
            while let Some(job) = ward.next(running.len()) {
                running.push(job);
            }
            assert!(!running.is_empty(), "it goes on");
            let keys: BTreeSet<Key> = running.iter().map(Key::of).collect();
            if killer.is_some_and(|n| keys.contains(&key(n))) {
                return Some(InFlight { keys, others: 0 });
            }
            running.iter().for_each(|job| assert!(ward.ended(job)));
        }
        None
    }

    fn restart(mut ward: Ward, died: &InFlight) -> Ward {
        let known = ward.records().copied().collect();
        ward.changes();
        Ward::after(known, died, NOW)
    }

    #[test]
    fn an_agent_full_of_checks_that_is_killed_twice_loses_none() {
        let mut ward = Ward::after(vec![], &died(0..500), NOW);
        assert_eq!(run(&mut ward, 500, None), None, "one death says nothing");
        let mut ward = restart(ward, &died(0..500));
        assert!((0..500).all(|n| ward.verdict(key(n)) == Verdict::Suspect));
        assert_eq!(run(&mut ward, 500, None), None);
        assert!((0..500).all(|n| ward.verdict(key(n)) == Verdict::Free));
        assert_eq!(ward.changes(), Some(vec![]));
    }

    #[test]
    fn a_check_that_kills_is_alone_after_a_few_deaths_and_then_not_run() {
        let mut ward = restart(Ward::after(vec![], &died(0..500), NOW), &died(0..500));
        let mut deaths = 2;
        while let Some(died) = run(&mut ward, 500, Some(77)) {
            deaths += 1;
            assert!(deaths < 10);
            ward = restart(ward, &died);
        }
        assert_eq!(deaths, 6);
        let quarantined: Vec<_> =
            (0..500).filter(|n| ward.verdict(key(*n)) == Verdict::Quarantined).collect();
        assert_eq!(quarantined, [77]);
    }

    #[test]
    fn few_suspects_run_one_at_a_time_and_the_third_death_tells() {
        let mut ward = restart(Ward::after(vec![], &died([1, 2, 3]), NOW), &died([2, 3]));
        assert_eq!(ward.verdict(key(1)), Verdict::Free);
        [2, 3].into_iter().for_each(|n| ward.hold(job(n)));
        assert_eq!(ward.next(4).map(|job| job.number), None, "others are in flight");
        let first = ward.next(0).unwrap();
        assert!(ward.next(1).is_none() && ward.is_closed());
        let mut ward = restart(ward, &died([2]));
        assert_eq!((first.number, ward.verdict(key(2))), (3, Verdict::Quarantined));
        assert_eq!(run(&mut ward, 4, None), None);
        assert_eq!(ward.verdict(key(3)), Verdict::Free);
    }

    #[test]
    fn a_changed_check_is_another_one_and_old_deaths_are_forgotten() {
        let mut ward = Ward::after(vec![], &died([1]), NOW);
        for _ in 0..2 {
            ward = restart(ward, &died([1]));
        }
        assert_eq!(ward.verdict(key(1)), Verdict::Quarantined);
        ward.changes();
        ward.respecified(key(1));
        assert_eq!(ward.changes(), None);
        ward.respecified(Key { spec_revision: 2, ..key(1) });
        assert_eq!((ward.verdict(key(1)), ward.changes()), (Verdict::Free, Some(vec![])));

        let ward = Ward::after(vec![], &died([1]), NOW);
        let known = ward.records().copied().collect();
        let later = Ward::after(known, &died([1]), NOW.plus(MEMORY));
        assert_eq!(later.verdict(key(1)), Verdict::Free);
    }

    #[test]
    fn beside_a_single_check_nothing_is_alone() {
        let mut ward = Ward::default();
        for _ in 0..4 {
            ward = restart(ward, &InFlight { others: 1, ..died([1]) });
        }
        assert_eq!(ward.verdict(key(1)), Verdict::Suspect);
    }
}
