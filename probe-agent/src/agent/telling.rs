//! Which captures are told. Nobody decides anything by them, so they must never cost what decisions need: the place of
//! results in the spool and on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use model::{MonitorId, PathHop, Timestamp};

use super::Agent;
use crate::check::Finding;
use crate::monitor::{Job, Seen};

/// Ways to targets that wait to be looked at, and how often one is.
const MAX_PATHS: usize = 16;
const PATH_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// How often a failure that lasts is told anew.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Captures at once: a mass of failures is told by its first ones.
const BURST: u32 = 200;
/// How often there may be another one after that.
const PAUSE: Duration = Duration::from_millis(50);

/// How many captures may be told.
#[derive(Debug)]
pub(super) struct Telling {
    left: u32,
    counted_at: Timestamp,
}

/// An attempt, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) seen: Seen,
    /// What the attempt before it saw.
    pub(super) before: Option<Seen>,
    /// Whether it answers a round.
    pub(super) is_verification: bool,
    /// When the monitor's last capture was told.
    pub(super) told_at: Option<Timestamp>,
    /// Whether somebody hears it soon.
    pub(super) is_online: bool,
}

impl Agent {
    /// Leaves a finding its capture if that is to be told, and has the way to a target that was not reached looked at.
    pub(super) fn choose_capture(&mut self, job: &Job, finding: &mut Finding, now: Timestamp) {
        let Some(held) = self.held.get_mut(&job.monitor()) else { return };
        let attempt = Attempt {
            seen: Seen::of(finding),
            before: held.seen,
            is_verification: job.attempt != 0,
            told_at: held.told_at,
            is_online: self.terms.is_some(),
        };
        if finding.capture.is_some() && self.telling.admits(attempt, now) {
            held.told_at = Some(now);
        } else {
            finding.capture = None;
        }
        if attempt.seen != Seen::Failing {
            held.path = None;
        } else if let Some(capture) = finding.capture.as_mut().filter(|_| finding.unreached.is_some()) {
            // Told each time: of several captures the coordinator keeps the latest.
            capture.path = held.path.clone().unwrap_or_default();
        }
        let is_looked_at = held.path_at.is_some_and(|at| now.since(at) < PATH_AGAIN_AFTER);
        if let Some(target) = finding.unreached.filter(|_| !is_looked_at && self.paths.len() < MAX_PATHS) {
            held.path_at = Some(now);
            self.paths.push_back((job.monitor(), target));
        }
    }

    /// The next way to a target that is to be looked at.
    pub(crate) fn next_path(&mut self) -> Option<(MonitorId, SocketAddr)> {
        self.paths.pop_front()
    }

    /// A way has been looked at; the next capture of a failure tells of it.
    pub(crate) fn looked_at(&mut self, monitor: MonitorId, path: Vec<PathHop>) {
        if let Some(held) = self.held.get_mut(&monitor).filter(|_| !path.is_empty()) {
            held.path = Some(path);
            // The next failure tells of it, without its minute's pause.
            held.told_at = None;
        }
    }
}

impl Telling {
    pub(super) const fn new() -> Self {
        Self { left: BURST, counted_at: Timestamp::EPOCH }
    }

    /// Whether an attempt's capture is to be told. One that is counts.
    pub(super) fn admits(&mut self, attempt: Attempt, now: Timestamp) -> bool {
        if !attempt.is_telling(now) {
            return false;
        }
        let earned = now.since(self.counted_at).as_micros() / PAUSE.as_micros();
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            self.counted_at = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl Attempt {
    fn is_telling(self, now: Timestamp) -> bool {
        let is_news = self.before != Some(self.seen);
        match self.seen {
            Seen::Failing => {
                // While cut off a long failure would fill the spool with what nobody reads.
                let is_due = self.told_at.is_none_or(|at| now.since(at) >= AGAIN_AFTER);
                is_news || self.is_verification || (self.is_online && is_due)
            }
            Seen::Well | Seen::Unwell => self.is_verification || self.before == Some(Seen::Failing),
            Seen::Unmeasured => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn attempt(seen: Seen, before: Option<Seen>) -> Attempt {
        Attempt { seen, before, is_verification: false, told_at: None, is_online: true }
    }

    fn is_told(attempt: Attempt) -> bool {
        Telling::new().admits(attempt, NOW)
    }

    #[test]
    fn beginnings_and_ends_of_failures_are_told_and_what_rounds_find() {
        use Seen::{Failing, Unmeasured, Unwell, Well};
        assert!(is_told(attempt(Failing, Some(Well))));
        assert!(is_told(attempt(Failing, None)));
        assert!(is_told(attempt(Well, Some(Failing))));
        assert!(is_told(attempt(Unwell, Some(Failing))));
        assert!(is_told(Attempt { is_verification: true, ..attempt(Well, Some(Well)) }));
        assert!(!is_told(attempt(Well, None)));
        assert!(!is_told(attempt(Well, Some(Unwell))));
        assert!(!is_told(attempt(Unmeasured, Some(Failing))));
    }

    #[test]
    fn a_failure_that_lasts_is_told_once_a_minute_while_somebody_hears() {
        let lasting = |seconds, is_online| {
            let told_at = Some(NOW.minus(Duration::from_secs(seconds)));
            is_told(Attempt { told_at, is_online, ..attempt(Seen::Failing, Some(Seen::Failing)) })
        };
        assert!(!lasting(59, true));
        assert!(lasting(60, true));
        assert!(!lasting(600, false));
    }

    #[test]
    fn of_a_mass_of_failures_the_first_are_told_and_then_a_few_a_second() {
        let mut telling = Telling::new();
        let failure = attempt(Seen::Failing, Some(Seen::Well));
        let told = |telling: &mut Telling, now| (0..10_000).filter(|_| telling.admits(failure, now)).count();
        assert_eq!(told(&mut telling, NOW), 200);
        assert_eq!(told(&mut telling, NOW.plus(Duration::from_secs(1))), 20);
        assert_eq!(told(&mut telling, NOW.plus(Duration::from_secs(3_600))), 200);
    }
}
