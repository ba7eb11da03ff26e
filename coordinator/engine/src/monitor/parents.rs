//! Parents: the monitors that this one depends on.
//!
//! While a parent is down or cannot be judged, a failure here says nothing about this monitor: it becomes `Unknown`,
//! joins what is wrong with the parent, and asks nobody. When the parents are well again and it still fails, the
//! failure is its own. A child often fails first, because it is checked more often: its failure therefore asks the
//! parents too, and its incident waits for what they say, at most for one round.

use std::fmt;
use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{AwaitedParents, Owed, Pursuit, Round, State};
use super::{Phase, ROUND_MARGIN, SECOND_ATTEMPT_AFTER, Status, Step};
use crate::effect::Effect;

/// A parent that a round has looked at within this time has just been looked at. As long as that it may have failed
/// without being asked, so it is short, and no pause after rounds that children asked for makes it longer.
const JUST: Duration = Duration::from_secs(1);

/// How the monitors that another depends on stand, the worst of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// None is in question.
    #[default]
    Well,
    /// One may be down; it is being found out.
    InQuestion,
    /// One is not to be relied on.
    Failing {
        /// The parent's name.
        name: Box<str>,
        /// What is wrong with it.
        trouble: Trouble,
    },
}

/// Why a parent is not to be relied on; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Trouble {
    /// Too few regions can say how it is.
    Unknown,
    /// It is being worked on.
    Maintenance,
    /// It is down, with an incident that is open.
    Down,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "cannot be judged",
            Self::Maintenance => "is in maintenance",
            Self::Down => "is down",
        })
    }
}

/// How a monitor called `name` stands to those that depend on it.
#[must_use]
pub fn standing(state: &State, name: &str) -> Standing {
    let failing = |trouble| Standing::Failing { name: name.into(), trouble };
    match (state.status, state.phase()) {
        (Status::Down, _) => failing(Trouble::Down),
        (Status::Paused, _) => Standing::Well,
        _ if state.is_in_maintenance() => failing(Trouble::Maintenance),
        (Status::Unknown, _) => failing(Trouble::Unknown),
        (_, Phase::Verifying) => Standing::InQuestion,
        _ => Standing::Well,
    }
}

impl Standing {
    /// The worse of two; of equals the first.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |standing: &Self| match standing {
            Self::Well => 0,
            Self::InQuestion => 1,
            Self::Failing { trouble, .. } => 2 + *trouble as u8,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// Whether a failure is to be put down to a parent.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        matches!(self, Self::Failing { .. })
    }
}

/// The failing parent and what is wrong with it; empty if none fails.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { name, trouble } => write!(f, "{name}, which {trouble}"),
            Self::Well | Self::InQuestion => Ok(()),
        }
    }
}

impl Step<'_> {
    /// The parents stand otherwise than before.
    pub(super) fn parents_stand(&mut self, standing: &Standing) {
        let before = self.state.set_parents(standing);
        if let Pursuit::AwaitingParents(awaited) = &mut self.state.pursuit {
            awaited.answered = true;
        }
        if self.state.is_paused() || before == *standing {
            return;
        }
        if let Standing::Failing { name, trouble } = standing {
            if self.state.is_down() {
                self.record(format!("{name}, on which it depends, {trouble}"));
            }
        } else if before.is_failing() && !self.state.is_down() {
            let fails = |state: &State| state.regions.iter().any(|region| region.failing_since.is_some());
            if fails(&self.state) || self.state.status == Status::Unknown {
                self.state.owed = Some(Owed::Parents);
            }
        }
    }

    /// A child may be failing: this monitor is looked at, unless it has just been, is being, or is known to be failing.
    pub(super) fn asked(&mut self) {
        let idle = matches!(self.state.pursuit, Pursuit::Nothing | Pursuit::Held { .. });
        let just = self.now < self.state.reviewed_at.plus(JUST);
        if idle && !just && matches!(self.state.status, Status::Up | Status::Degraded | Status::Pending) {
            self.state.owed.get_or_insert(Owed::Child);
        }
    }

    /// Whether failures are put down to a parent: then they start no round and open nothing.
    pub(super) fn is_sheltered(&self) -> bool {
        self.state.parents().is_failing() && !self.state.is_down()
    }

    /// A verifying round starts: how the parents stand must be known when it ends.
    pub(super) fn ask_parents(&mut self) {
        if self.policy.has_parents {
            self.effects.push(Effect::AskParents);
        }
    }

    /// A round said down, and a parent may be the cause.
    pub(super) fn await_parents(&mut self, round: Box<Round>, started_at: Timestamp) {
        let patience = self.policy.timeout.saturating_add(SECOND_ATTEMPT_AFTER).saturating_add(ROUND_MARGIN);
        // Whoever applies `AskParents` tells how they stand at once; here only a round that ended as it began is too early.
        let answered = round.asked_at < self.now;
        let until = self.now.plus(patience);
        let awaited = AwaitedParents { round, started_at, until, answered };
        self.state.pursuit = Pursuit::AwaitingParents(Box::new(awaited));
    }

    /// Whether a failure that counts is put down to a parent now.
    pub(super) fn is_put_down_to_parent(&self) -> bool {
        self.is_sheltered() && self.count().eligible().any(|(_, vote)| vote.is_fail())
    }

    /// Puts what fails down to the parent: what was pursued is dropped, and the status says so.
    pub(super) fn shelter(&mut self) {
        if !self.is_put_down_to_parent() {
            return;
        }
        let reason = format!("fails, but depends on {}", self.state.parents());
        self.state.pursuit = Pursuit::Nothing;
        self.change_status(Status::Unknown, reason);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::monitor::{Event, Policy, Thresholds, apply, new};

    fn failing(name: &str, trouble: Trouble) -> Standing {
        Standing::Failing { name: name.into(), trouble }
    }

    #[test]
    fn the_worse_of_two_standings_is_told_and_of_equals_the_first() {
        let rising = [
            Standing::Well,
            Standing::InQuestion,
            failing("db", Trouble::Unknown),
            failing("db", Trouble::Maintenance),
            failing("db", Trouble::Down),
        ];
        for (index, better) in rising.iter().enumerate() {
            assert_eq!(better.is_failing(), index >= 2);
            for worse in &rising[index..] {
                assert_eq!(better.clone().worse(worse.clone()), *worse);
                assert_eq!(worse.clone().worse(better.clone()), *worse);
            }
        }
        let (first, second) = (failing("cache", Trouble::Down), failing("db", Trouble::Down));
        assert_eq!(first.clone().worse(second), first);
    }

    #[test]
    fn a_standing_names_the_parent_that_fails() {
        assert_eq!(failing("db", Trouble::Unknown).to_string(), "db, which cannot be judged");
        assert_eq!(failing("db", Trouble::Maintenance).to_string(), "db, which is in maintenance");
        assert_eq!(failing("db", Trouble::Down).to_string(), "db, which is down");
        assert_eq!(Standing::Well.to_string() + &Standing::InQuestion.to_string(), "");
    }

    #[test]
    fn a_monitor_stands_to_its_children_as_its_status_says() {
        let regions: Vec<model::RegionId> = vec!["eu".parse().unwrap()];
        let policy = Policy {
            quorum: crate::quorum::Policy::default().over(&regions),
            regions,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: Thresholds::default(),
            has_parents: false,
            spec_revision: 1,
        };
        let now = Timestamp::from_secs(1_700_000_000);
        let with = |status: Status, events: &[Event]| {
            let mut state = new(&policy, now);
            state.status = status;
            for event in events {
                state = apply(state, &policy, event, now).state;
            }
            standing(&state, "db")
        };
        let work = Event::MaintenanceStarted { at: now };
        for (status, expected) in [
            (Status::Pending, Standing::Well),
            (Status::Up, Standing::Well),
            (Status::Degraded, Standing::Well),
            (Status::Down, failing("db", Trouble::Down)),
            (Status::Unknown, failing("db", Trouble::Unknown)),
            (Status::Paused, Standing::Well),
        ] {
            assert_eq!(with(status, &[]), expected, "{status}");
        }
        for (status, expected) in [
            (Status::Up, failing("db", Trouble::Maintenance)),
            (Status::Unknown, failing("db", Trouble::Maintenance)),
            (Status::Down, failing("db", Trouble::Down)),
            (Status::Paused, Standing::Well),
        ] {
            assert_eq!(with(status, std::slice::from_ref(&work)), expected, "{status} in maintenance");
        }
        let live = Event::RegionLive { region: "eu".parse().unwrap(), live: true };
        assert_eq!(with(Status::Up, &[live.clone(), Event::Asked]), Standing::InQuestion);
        assert_eq!(with(Status::Up, &[live]), Standing::Well);
    }
}
