//! Quorum: which regions must agree.
//!
//! In comes the [`Policy`] that a user wrote, resolved once against the *assigned* regions ([`Policy::over`]), so that
//! losing agents never makes it easier to alert; then, for every decision, the [`Tally`] of the votes. Out comes *Down*
//! when the confirmed failing votes alone satisfy every clause, *Up* when some clause could not be satisfied even if
//! every region in doubt failed, otherwise nothing, with the clause that is the reason. Never both, whatever the votes.
//!
//! A decision is made on bit sets, without allocating: it is made several times for every result.
//!
//! **Lies.** Of a clause over `n` regions that needs `k`, lying regions open nothing unless `k` of them do, and hide
//! nothing unless more than `n − k` do: then too few honest regions are left. A policy is opened by lies only if every
//! clause is, and hidden from as soon as one clause is. So fewer than `k` liars never open an incident; they cannot
//! hide an outage either while `2k ≤ n + 1`, as for `any` and for `majority` of an odd number. For `majority` of an
//! even number it takes one fewer to hide, and `all` lets every single region hide an outage: that is what it says.
//! `all` counts only regions that can be heard, so two liars open it once all the honest ones are silent.

mod describe;
mod glob;
mod language;
mod outlook;
mod set;

use model::RegionId;

pub use language::{InvalidPolicy, Policy};
pub use set::RegionSet;

use language::{Count, Form, Group};

/// A policy over the assigned regions of one monitor. Regions are known by their index there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    policy: Policy,
    /// In the order of the policy's clauses; at least one.
    clauses: Vec<Clause>,
}

/// A clause over the regions that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Clause {
    voters: RegionSet,
    /// So many of them must fail; at least 1.
    at_least: usize,
    /// And all of them whose vote counts.
    all: bool,
}

/// The votes, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Regions whose vote counts.
    pub eligible: RegionSet,
    /// Eligible regions that fail for certain.
    pub failing: RegionSet,
    /// Regions that may be failing for all we know: live without a pass that counts, or offline since they failed.
    /// Those that fail for certain are among them.
    pub doubtful: RegionSet,
}

/// What the votes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Some clause can no longer be satisfied.
    Up,
    /// Every clause is satisfied.
    Down,
    /// Neither; the status stays as it is.
    Undecided(Why),
}

/// Why the votes decide nothing. [`Quorum::reason`] puts it into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// The first clause that is to blame, from 0.
    pub clause: usize,
    /// What is the matter with it.
    pub lack: Lack,
}

/// What a clause lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Too few of its regions have a vote that counts.
    Votes {
        /// How many have one.
        eligible: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Too many of its regions are in doubt to say up, too few fail to say down.
    Certainty {
        /// Regions that fail for certain.
        failing: usize,
        /// Regions that do not pass, those that fail among them.
        doubtful: usize,
        /// How many failing regions are needed.
        needed: usize,
    },
}

/// Why a policy could never be satisfied by the regions that it is meant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsatisfiable {
    /// A clause asks for more regions than it names.
    #[error("quorum: {0}")]
    TooMany(String),
    /// A clause names none of the regions.
    #[error("quorum: {0}")]
    NoRegion(String),
    /// More regions than can vote.
    #[error("quorum: {0} regions are too many for one monitor: use at most {max}", max = RegionSet::CAPACITY)]
    TooManyRegions(usize),
}

impl Policy {
    /// Applies the policy to the assigned regions, sorted as they are there. Regions beyond
    /// [`RegionSet::CAPACITY`] have no vote; [`Policy::validate`] refuses them.
    #[must_use]
    pub fn over(&self, regions: &[RegionId]) -> Quorum {
        let everyone = RegionSet::first(regions.len());
        let clauses = match &self.0 {
            Form::Regions(count) => vec![Clause::new(*count, everyone)],
            Form::Groups(clauses) => {
                let named = |group: &Group| -> RegionSet {
                    let Group::Matching(glob) = group else { return RegionSet::EMPTY };
                    (0..regions.len()).filter(|&index| glob.matches(regions[index].as_str())).collect()
                };
                let taken =
                    clauses.iter().fold(RegionSet::EMPTY, |taken, clause| taken.or(named(&clause.group)));
                let voters = |group: &Group| match group {
                    Group::Matching(_) => named(group),
                    Group::Other => everyone.without(taken),
                };
                clauses.iter().map(|clause| Clause::new(clause.count, voters(&clause.group))).collect()
            }
        };
        Quorum { policy: self.clone(), clauses }
    }

    /// Checks that the regions can satisfy the policy.
    ///
    /// # Errors
    /// Names the clause that names no region, or asks for more than it names.
    pub fn validate(&self, regions: &[RegionId]) -> Result<(), Unsatisfiable> {
        if regions.len() > RegionSet::CAPACITY {
            return Err(Unsatisfiable::TooManyRegions(regions.len()));
        }
        let quorum = self.over(regions);
        for (index, clause) in quorum.clauses.iter().enumerate() {
            if clause.voters.is_empty() {
                return Err(Unsatisfiable::NoRegion(quorum.names_nobody(index, regions)));
            }
            if clause.at_least > clause.voters.len() {
                return Err(Unsatisfiable::TooMany(quorum.asks_too_much(index, regions)));
            }
        }
        Ok(())
    }
}

impl Tally {
    /// The vote of a live region counts no more.
    pub const fn lose(&mut self, index: usize) {
        self.eligible.remove(index);
        self.failing.remove(index);
        self.doubtful.insert(index);
    }
}

impl Quorum {
    /// What the votes say.
    #[must_use]
    pub fn decide(&self, tally: Tally) -> Decision {
        let (mut short, mut uncertain) = (None, None);
        for (index, clause) in self.clauses.iter().enumerate() {
            let eligible = clause.count(tally.eligible);
            let (failing, doubtful) = (clause.count(tally.failing), clause.count(tally.doubtful));
            let needed = clause.needed(tally.eligible);
            if eligible < needed {
                short.get_or_insert(Why { clause: index, lack: Lack::Votes { eligible, needed } });
            } else if failing >= needed {
                // Satisfied: it is for the other clauses to say no.
            } else if doubtful < needed {
                return Decision::Up;
            } else {
                let lack = Lack::Certainty { failing, doubtful, needed };
                uncertain.get_or_insert(Why { clause: index, lack });
            }
        }
        short.or(uncertain).map_or(Decision::Down, Decision::Undecided)
    }

    /// Whether these failing regions satisfy every clause while the votes of `eligible` regions count.
    #[must_use]
    pub fn is_satisfied(&self, failing: RegionSet, eligible: RegionSet) -> bool {
        self.clauses.iter().all(|clause| clause.count(failing) >= clause.needed(eligible))
    }

    /// Whether too few votes count to decide anything: no clause says up, and some clause has not enough votes to say
    /// anything. The other clauses do not matter for the latter, because all are needed to say down; and as long as
    /// one of them says up, nothing is missing.
    #[must_use]
    pub fn is_short(&self, tally: Tally) -> bool {
        matches!(self.decide(tally), Decision::Undecided(Why { lack: Lack::Votes { .. }, .. }))
    }

    /// Whether votes of these regions could say down: every clause has enough of them.
    #[must_use]
    pub fn can_say_down(&self, regions: RegionSet) -> bool {
        self.clauses.iter().all(|clause| clause.count(regions) >= clause.at_least)
    }

    /// Whether votes of these regions could say up: one clause has enough of them, and one is enough for that.
    #[must_use]
    pub fn can_say_up(&self, regions: RegionSet) -> bool {
        self.clauses.iter().any(|clause| clause.count(regions) >= clause.at_least)
    }

    /// The regions that some clause names; the votes of others are for information only.
    #[must_use]
    pub fn voters(&self) -> RegionSet {
        self.clauses.iter().fold(RegionSet::EMPTY, |voters, clause| voters.or(clause.voters))
    }

    /// The policy as it was written.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Clause {
    fn new(count: Count, voters: RegionSet) -> Self {
        let n = voters.len();
        let at_least = match count {
            Count::Any => 1,
            Count::Majority => n / 2 + 1,
            Count::All => n.min(2),
            Count::AtLeast(k) => usize::from(k.get()),
            Count::Percent(p) => (n * usize::from(p.get())).div_ceil(100).max(n.min(2)),
        };
        Self { voters, at_least: at_least.max(1), all: count == Count::All }
    }

    /// How many of its regions are in the set.
    const fn count(&self, regions: RegionSet) -> usize {
        self.voters.and(regions).len()
    }

    /// How many of its regions must fail while the votes of `eligible` regions count.
    fn needed(&self, eligible: RegionSet) -> usize {
        if self.all { self.count(eligible).max(self.at_least) } else { self.at_least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(text: &str, regions: &str) -> Quorum {
        text.parse::<Policy>().unwrap().over(&ids(regions))
    }

    fn ids(regions: &str) -> Vec<RegionId> {
        regions.split(' ').map(|id| RegionId::new(id).unwrap()).collect()
    }

    fn refusal(text: &str, regions: &str) -> String {
        text.parse::<Policy>().unwrap().validate(&ids(regions)).unwrap_err().to_string()
    }

    fn set(indices: &[usize]) -> RegionSet {
        indices.iter().copied().collect()
    }

    /// Of so many regions, how many must fail when all of them vote, and when none does.
    fn needed(text: &str, regions: usize) -> (usize, usize) {
        let ids: Vec<_> = (0..regions).map(|n| RegionId::new(&format!("r{n:02}")).unwrap()).collect();
        let clause = text.parse::<Policy>().unwrap().over(&ids).clauses[0];
        (clause.needed(RegionSet::first(regions)), clause.needed(RegionSet::EMPTY))
    }

    const FIVE: &str = "ap-south eu-north eu-west us-east us-west";

    #[test]
    fn a_majority_is_more_than_half_of_the_assigned_regions() {
        let needed = (1..=7).map(|n| needed("majority", n).1).collect::<Vec<_>>();
        assert_eq!(needed, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn all_means_those_that_can_be_heard_but_never_one_alone_of_several() {
        assert_eq!(needed("all", 1), (1, 1));
        assert_eq!(needed("all", 5), (5, 2));
    }

    #[test]
    fn a_share_is_rounded_up_and_never_one_alone_of_several() {
        for (text, regions, fixed) in [
            ("percent:60", 5, 3),
            ("percent:61", 5, 4),
            ("percent:1", 1, 1),
            ("percent:1", 5, 2),
            ("percent:100", 64, 64),
            ("percent:34", 3, 2),
        ] {
            assert_eq!(needed(text, regions), (fixed, fixed), "{text} of {regions}");
        }
    }

    #[test]
    fn down_takes_every_clause_and_up_takes_one() {
        let quorum = quorum("2 of eu-* and 1 of other", FIVE);
        let all = RegionSet::first(5);
        let tally =
            |failing: &[usize]| Tally { eligible: all, failing: set(failing), doubtful: set(failing) };
        assert_eq!(quorum.decide(tally(&[1, 2, 3])), Decision::Down);
        assert_eq!(quorum.decide(tally(&[1, 2])), Decision::Up);
        assert_eq!(quorum.decide(tally(&[0, 1, 3, 4])), Decision::Up);
        let doubt = Tally { doubtful: set(&[1, 2, 3]), ..tally(&[1, 2]) };
        let Decision::Undecided(why) = quorum.decide(doubt) else { panic!("decided") };
        assert_eq!(quorum.reason(why), "`1 of other`: 0 failing and 1 not known to pass, 1 needed");
    }

    #[test]
    fn a_clause_without_votes_cannot_be_satisfied_but_another_can_still_say_up() {
        let quorum = quorum("2 of eu-* and 1 of other", FIVE);
        let europe = set(&[1, 2]);
        let tally = Tally { eligible: europe, failing: europe, doubtful: europe };
        let Decision::Undecided(why) = quorum.decide(tally) else { panic!("decided") };
        assert_eq!(quorum.reason(why), "`1 of other`: votes of 0 regions count, 1 needed");
        assert!(quorum.is_short(tally));
        let one_passes = Tally { eligible: europe, failing: set(&[1]), doubtful: set(&[1]) };
        assert_eq!(quorum.decide(one_passes), Decision::Up);
        assert!(!quorum.is_short(one_passes));
        assert!(quorum.can_say_up(europe) && !quorum.can_say_down(europe));
    }

    #[test]
    fn a_region_that_two_clauses_name_counts_in_both() {
        let quorum = quorum("1 of eu-* and 1 of *-west and 1 of other", FIVE);
        assert!(quorum.is_satisfied(set(&[0, 2]), RegionSet::EMPTY), "eu-west counts twice");
        assert!(!quorum.is_satisfied(set(&[2, 4]), RegionSet::EMPTY), "us-west is named, so it is not other");
        assert_eq!(quorum.voters(), RegionSet::first(5));
    }

    #[test]
    fn regions_in_doubt_keep_a_monitor_from_being_called_up() {
        let quorum = quorum("majority", "ap eu us");
        let tally = Tally { eligible: set(&[0, 1]), failing: RegionSet::EMPTY, doubtful: set(&[2]) };
        assert_eq!(quorum.decide(tally), Decision::Up);
        let Decision::Undecided(why) = quorum.decide(Tally { doubtful: set(&[1, 2]), ..tally }) else {
            panic!("decided")
        };
        assert_eq!(quorum.reason(why), "0 failing and 2 not known to pass, 2 needed");
    }

    #[test]
    fn what_can_never_be_satisfied_is_refused_by_name() {
        for (text, problem) in [
            ("at_least:6", "`at_least:6` can never be satisfied by 5 regions: use at most 5"),
            (
                "1 of other and 3 of eu-*",
                "`3 of eu-*` can never be satisfied: `eu-*` matches 2 regions of the monitor (eu-north, eu-west): \
                 use at most 2",
            ),
            (
                "2 of eu-* and 4 of other",
                "`4 of other` can never be satisfied: `other` are 3 regions of the monitor (ap-south, us-east, \
                 us-west): use at most 3",
            ),
            (
                "2 of eu-* and 1 of sa-*",
                "`1 of sa-*` can never be satisfied: `sa-*` matches none of ap-south, eu-north, eu-west, us-east, \
                 us-west",
            ),
            (
                "1 of *-* and 1 of other",
                "`1 of other` can never be satisfied: other clauses name every region of the monitor",
            ),
        ] {
            assert_eq!(refusal(text, FIVE), format!("quorum: {problem}"));
        }
        let one = refusal("at_least:3", "local");
        assert_eq!(one, "quorum: `at_least:3` can never be satisfied by 1 region: use at most 1");
        for text in ["any", "majority", "all", "percent:100", "at_least:5", "all of eu-* and 100% of other"] {
            assert_eq!(text.parse::<Policy>().unwrap().validate(&ids(FIVE)), Ok(()), "{text}");
        }
    }

    #[test]
    fn sixty_four_regions_can_vote_and_more_are_refused() {
        let ids: Vec<_> = (0..65).map(|n| RegionId::new(&format!("r{n}")).unwrap()).collect();
        let policy: Policy = "percent:100".parse().unwrap();
        assert_eq!(policy.validate(&ids[..64]), Ok(()));
        let error = policy.validate(&ids).unwrap_err().to_string();
        assert_eq!(error, "quorum: 65 regions are too many for one monitor: use at most 64");
        let everyone = RegionSet::first(65);
        let tally = Tally { eligible: everyone, failing: everyone, doubtful: everyone };
        assert_eq!(policy.over(&ids).decide(tally), Decision::Down);
    }
}
