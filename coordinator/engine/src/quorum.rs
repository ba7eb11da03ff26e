//! Quorum: how many regions must agree.
//!
//! The policy is asked twice. *Down* when the confirmed failing votes alone satisfy it; *Up* when it could not be
//! satisfied even if every region in doubt failed; otherwise nothing is decided and the status stays. The number
//! needed comes from the *assigned* regions, so that losing agents never makes it easier to alert.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::phrase;

/// How many failing regions make a monitor down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// One.
    Any,
    /// More than half of the assigned regions.
    #[default]
    Majority,
    /// All eligible regions, and at least two where two are assigned.
    All,
    /// This many.
    AtLeast(NonZeroU8),
}

/// What the votes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The policy can no longer be satisfied.
    Up,
    /// The policy is satisfied.
    Down,
    /// Neither; the status stays as it is.
    Undecided(Why),
}

/// Why the votes decide nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too few regions have a vote that counts.
    TooFewVotes {
        /// How many have one.
        eligible: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Too many regions are in doubt to say up, too few fail to say down.
    InDoubt {
        /// Regions that fail for certain.
        failing: usize,
        /// Regions that do not pass, those that fail among them.
        doubtful: usize,
        /// How many failing regions are needed.
        needed: usize,
    },
}

/// The votes, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Regions the monitor is assigned to.
    pub assigned: usize,
    /// Regions whose vote counts.
    pub eligible: usize,
    /// Eligible regions that fail for certain.
    pub failing: usize,
    /// Regions that may be failing for all we know: live without a pass that counts, or offline since they failed.
    pub doubtful: usize,
}

/// A policy that can never be satisfied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quorum: `{clause}` can never be satisfied by {}: use at most {regions}", phrase::regions(*.regions))]
pub struct Unsatisfiable {
    /// The clause that asks for too much.
    pub clause: Policy,
    /// How many regions there are.
    pub regions: usize,
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quorum: `{0}` is not a quorum: use any, majority, all or at_least:K with K from 1 to 255")]
pub struct InvalidPolicy(String);

impl Policy {
    /// How many failing regions satisfy the policy when `eligible` of `assigned` regions have a vote that counts.
    #[must_use]
    pub fn needed(self, assigned: usize, eligible: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::Majority => assigned / 2 + 1,
            Self::All => eligible.max(self.coverage(assigned)),
            Self::AtLeast(k) => usize::from(k.get()),
        }
    }

    /// How many regions must have a vote that counts before anything can be decided.
    #[must_use]
    pub fn coverage(self, assigned: usize) -> usize {
        match self {
            Self::All => assigned.clamp(1, 2),
            Self::Any | Self::Majority | Self::AtLeast(_) => self.needed(assigned, 0),
        }
    }

    /// What the votes say.
    #[must_use]
    pub fn decide(self, tally: Tally) -> Decision {
        let Tally { assigned, eligible, failing, doubtful } = tally;
        let needed = self.needed(assigned, eligible);
        if eligible < needed {
            Decision::Undecided(Why::TooFewVotes { eligible, needed })
        } else if failing >= needed {
            Decision::Down
        } else if doubtful < needed {
            Decision::Up
        } else {
            Decision::Undecided(Why::InDoubt { failing, doubtful, needed })
        }
    }

    /// The policy for people: `majority: 2 of 3 regions`.
    #[must_use]
    pub fn describe(&self, regions: usize) -> String {
        match self {
            Self::All => format!(
                "all: every region that can be heard, at least {} of {}",
                self.coverage(regions),
                phrase::regions(regions)
            ),
            Self::Any | Self::Majority | Self::AtLeast(_) => {
                format!("{self}: {} of {}", self.needed(regions, 0), phrase::regions(regions))
            }
        }
    }

    /// Checks that `regions` regions can satisfy the policy.
    ///
    /// # Errors
    /// Names the clause that asks for more regions than there are.
    pub fn validate(&self, regions: usize) -> Result<(), Unsatisfiable> {
        if self.coverage(regions) <= regions { Ok(()) } else { Err(Unsatisfiable { clause: *self, regions }) }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Majority => f.write_str("majority"),
            Self::All => f.write_str("all"),
            Self::AtLeast(k) => write!(f, "at_least:{k}"),
        }
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        match text {
            "any" => Ok(Self::Any),
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            _ => text
                .strip_prefix("at_least:")
                .and_then(|k| k.trim().parse().ok())
                .map(Self::AtLeast)
                .ok_or_else(|| InvalidPolicy(model::result::clean(text, 40))),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewVotes { eligible, needed } => {
                write!(f, "votes of {} count, {needed} needed", phrase::regions(*eligible))
            }
            Self::InDoubt { failing, doubtful, needed } => write!(
                f,
                "{failing} failing and {} not known to pass, {needed} needed",
                doubtful.saturating_sub(*failing)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half_of_the_assigned_regions() {
        let needed = (1..=7).map(|n| Policy::Majority.needed(n, 0)).collect::<Vec<_>>();
        assert_eq!(needed, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn all_means_those_that_can_be_heard_but_never_one_alone_of_several() {
        assert_eq!(Policy::All.needed(1, 0), 1);
        assert_eq!(Policy::All.needed(5, 1), 2);
        assert_eq!(Policy::All.needed(5, 4), 4);
    }

    #[test]
    fn text_survives_a_round_trip_and_nonsense_is_refused() {
        for text in ["any", "majority", "all", "at_least:1", "at_least:255"] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        for text in ["", "Any", "at_least:0", "at_least:256", "at_least:-1", "2"] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(error.contains("any, majority, all or at_least:K"), "{error}");
        }
    }

    #[test]
    fn a_quorum_of_more_regions_than_there_are_is_refused_by_name() {
        let three: Policy = "at_least:3".parse().unwrap();
        assert_eq!(three.validate(3), Ok(()));
        let error = three.validate(1).unwrap_err().to_string();
        assert_eq!(error, "quorum: `at_least:3` can never be satisfied by 1 region: use at most 1");
    }

    #[test]
    fn policies_describe_themselves() {
        assert_eq!(Policy::Majority.describe(3), "majority: 2 of 3 regions");
        assert_eq!(Policy::Any.describe(1), "any: 1 of 1 region");
        assert_eq!(Policy::All.describe(4), "all: every region that can be heard, at least 2 of 4 regions");
        assert_eq!("at_least:2".parse::<Policy>().unwrap().describe(4), "at_least:2: 2 of 4 regions");
    }

    #[test]
    fn regions_in_doubt_keep_a_monitor_from_being_called_up() {
        let tally = Tally { assigned: 3, eligible: 2, failing: 0, doubtful: 1 };
        assert_eq!(Policy::Majority.decide(tally), Decision::Up);
        let tally = Tally { doubtful: 2, ..tally };
        let Decision::Undecided(why) = Policy::Majority.decide(tally) else { panic!("decided") };
        assert_eq!(why.to_string(), "0 failing and 2 not known to pass, 2 needed");
    }
}
