//! How many checks run at the same time: a limit for the agent and one for each target host. Pure.
//!
//! At a limit checks wait, which is lateness, never failure. Verifications go before scheduled checks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The most checks that run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// In all.
    pub total: usize,
    /// Against one host.
    pub per_host: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { total: 512, per_host: 64 }
    }
}

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// An answer that a decision is waiting for.
    Verification,
    /// Everything else.
    Scheduled,
}

/// Jobs that wait for their turn.
#[derive(Debug)]
pub(crate) struct Gate<J> {
    limits: Concurrency,
    running: usize,
    /// How many jobs wait.
    waiting: usize,
    /// Jobs whose host may have room.
    ready: Lanes<(Arc<str>, J)>,
    hosts: HashMap<Arc<str>, Host<J>>,
}

#[derive(Debug)]
struct Host<J> {
    running: usize,
    /// Jobs that found their host full.
    held: Lanes<J>,
}

/// One queue for each class.
#[derive(Debug)]
struct Lanes<T> {
    verification: VecDeque<T>,
    scheduled: VecDeque<T>,
}

impl<J> Gate<J> {
    pub(crate) fn new(limits: Concurrency) -> Self {
        Self { limits, running: 0, waiting: 0, ready: Lanes::new(), hosts: HashMap::new() }
    }

    /// Queues a job against a host.
    pub(crate) fn offer(&mut self, host: Arc<str>, class: Class, job: J) {
        self.waiting += 1;
        self.ready.of(class).push_back((host, job));
    }

    /// The next job that may start; it counts as running until [`Gate::done`].
    pub(crate) fn next(&mut self) -> Option<J> {
        while self.running < self.limits.total {
            let (class, (name, job)) = self.ready.pop()?;
            let host = self.hosts.entry(name).or_insert_with(|| Host { running: 0, held: Lanes::new() });
            if host.running < self.limits.per_host {
                host.running += 1;
                self.running += 1;
                self.waiting -= 1;
                return Some(job);
            }
            host.held.of(class).push_back(job);
        }
        None
    }

    /// The jobs that wait, in no order.
    pub(crate) fn jobs(&self) -> Vec<&J> {
        #[expect(clippy::disallowed_methods, reason = "whoever asks puts them in order")]
        let held = self.hosts.values().flat_map(|host| host.held.all());
        self.ready.all().map(|(_, job)| job).chain(held).collect()
    }

    /// A job against this host has ended.
    pub(crate) fn done(&mut self, name: &Arc<str>) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.running = host.running.saturating_sub(1);
        self.running = self.running.saturating_sub(1);
        if let Some((class, job)) = host.held.pop() {
            self.ready.of(class).push_front((Arc::clone(name), job));
        } else if host.running == 0 {
            self.hosts.remove(name);
        }
    }

    /// How many jobs wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The least key of a job that waits, if keys rise in the order in which jobs are offered: the first of each queue are
    /// looked at.
    #[expect(clippy::disallowed_methods, reason = "which is the least does not depend on the order of hosts")]
    pub(crate) fn least<K: Ord>(&self, key: impl Fn(&J) -> K) -> Option<K> {
        let held = self.hosts.values().flat_map(|host| host.held.first());
        self.ready.first().map(|(_, job)| job).chain(held).map(key).min()
    }
}

impl<T> Lanes<T> {
    const fn new() -> Self {
        Self { verification: VecDeque::new(), scheduled: VecDeque::new() }
    }

    const fn of(&mut self, class: Class) -> &mut VecDeque<T> {
        match class {
            Class::Verification => &mut self.verification,
            Class::Scheduled => &mut self.scheduled,
        }
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.verification.iter().chain(&self.scheduled)
    }

    fn pop(&mut self) -> Option<(Class, T)> {
        let verification = self.verification.pop_front().map(|job| (Class::Verification, job));
        verification.or_else(|| self.scheduled.pop_front().map(|job| (Class::Scheduled, job)))
    }

    fn first(&self) -> impl Iterator<Item = &T> {
        [self.verification.front(), self.scheduled.front()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate(total: usize, per_host: usize) -> Gate<u32> {
        Gate::new(Concurrency { total, per_host })
    }

    #[test]
    fn verifications_overtake_what_is_scheduled() {
        let mut gate = gate(1, 1);
        let host: Arc<str> = "a".into();
        for (class, job) in [(Class::Scheduled, 1), (Class::Scheduled, 2), (Class::Verification, 3)] {
            gate.offer(Arc::clone(&host), class, job);
        }
        let mut order = vec![];
        while let Some(job) = gate.next() {
            order.push(job);
            assert_eq!(gate.next(), None, "one at a time");
            gate.done(&host);
        }
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn a_full_host_does_not_hold_up_the_others() {
        let mut gate = gate(10, 2);
        let (slow, fast): (Arc<str>, Arc<str>) = ("slow".into(), "fast".into());
        for job in 0..5 {
            gate.offer(Arc::clone(&slow), Class::Scheduled, job);
        }
        gate.offer(Arc::clone(&fast), Class::Scheduled, 9);
        let started: Vec<_> = std::iter::from_fn(|| gate.next()).collect();
        assert_eq!(started, [0, 1, 9]);
        gate.done(&slow);
        assert_eq!(gate.next(), Some(2));
    }

    proptest! {
        #[test]
        fn every_job_runs_once_and_no_limit_is_passed(
            (total, per_host) in (1..5_usize, 1..4_usize),
            offers in proptest::collection::vec((0..3_usize, any::<bool>()), 0..60),
        ) {
            let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
            let mut gate = gate(total, per_host);
            for (job, (host, urgent)) in offers.iter().enumerate() {
                let class = if *urgent { Class::Verification } else { Class::Scheduled };
                gate.offer(Arc::clone(&names[*host]), class, job as u32);
            }
            let mut running: Vec<usize> = vec![];
            let mut seen = vec![];
            loop {
                while let Some(job) = gate.next() {
                    seen.push(job);
                    running.push(offers[job as usize].0);
                }
                prop_assert!(running.len() <= total);
                prop_assert_eq!(gate.waiting(), offers.len() - seen.len());
                let oldest = (0..offers.len() as u32).find(|job| !seen.contains(job));
                prop_assert_eq!(gate.least(|job| *job), oldest);
                for host in 0..3 {
                    prop_assert!(running.iter().filter(|&&h| h == host).count() <= per_host);
                }
                let Some(host) = running.pop() else { break };
                gate.done(&names[host]);
            }
            prop_assert_eq!(gate.waiting(), 0);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..offers.len() as u32).collect::<Vec<_>>());
            prop_assert!(gate.hosts.is_empty());
        }
    }
}
