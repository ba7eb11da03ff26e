//! What an agent says of itself: what it has done since it last said so, and how it is.

use std::time::Duration;

use model::agent_status::Work;
use model::{AgentStatus, Timestamp};
use proto::probe::convert::status_to_wire;
use proto::probe::v1::agent_message::Message as ToCoordinator;

use super::{Agent, message};
use crate::lateness::Histogram;
use crate::monitor::Job;
use crate::vitals::Vitals;

/// What a report counts; begins anew with each.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Since when; `None`: since the first session.
    pub(super) since: Option<Timestamp>,
    pub(super) started: u64,
    pub(super) lateness: Histogram,
    pub(super) longest_wait: Duration,
    /// Scheduled checks that had been skipped by then.
    pub(super) skipped_before: u64,
}

impl Agent {
    /// Whether [`Agent::report`] is to be told the vitals now.
    pub(crate) const fn wants_vitals(&self) -> bool {
        self.wants_vitals
    }

    /// Says how the agent is.
    pub(crate) fn report(&mut self, vitals: Vitals, now: Timestamp) {
        self.wants_vitals = false;
        if self.terms.is_none() {
            return;
        }
        let Vitals { wall, uptime, machine } = vitals;
        let (work, backlog) = (self.work(now), self.spool.backlog(now));
        let failing_canaries = self.failing_canaries.clone();
        let status = AgentStatus { wall, uptime, machine, work, backlog, failing_canaries };
        self.outbox.push_back(message(ToCoordinator::Status(status_to_wire(&status))));
    }

    /// What was done since the last report, and what is being done.
    fn work(&mut self, now: Timestamp) -> Work {
        let skipped = self.schedule.missed();
        let next = Tally { since: Some(now), skipped_before: skipped, ..Tally::default() };
        let mut done = std::mem::replace(&mut self.done, next);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let waits = self.gate.least(|job| job.queued_at).map(|since| now.since(since));
        Work {
            period: done.since.map(|since| now.since(since)).unwrap_or_default(),
            started: done.started,
            skipped: skipped - done.skipped_before,
            lateness: done.lateness.take(),
            running: count(self.running.len()),
            queued: count(self.gate.waiting()),
            longest_wait: done.longest_wait.max(waits.unwrap_or_default()),
        }
    }

    pub(super) fn note_start(&mut self, job: &Job, now: Timestamp) {
        self.done.started += 1;
        self.done.longest_wait = self.done.longest_wait.max(now.since(job.queued_at));
        if let Some(planned_at) = job.planned_at {
            self.done.lateness.record(now.since(planned_at));
        }
    }
}
