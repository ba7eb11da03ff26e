//! What would change the decision: which regions would have to say what, by name.

use model::RegionId;

use super::language::Form;
use super::{Clause, Quorum, RegionSet, Tally};
use crate::phrase;

/// How many regions are named before the rest is counted.
const MAX_NAMED: usize = 8;

/// What would change what the votes say. Each part is a phrase for people; regions are named in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What must fail for down, beside what fails already: `ap-south or us-east also fails`. `None` if nothing more.
    pub down_if: Option<String>,
    /// What must pass for up: `eu-north or eu-west passes`. `None` if the votes say up, or can't before more count.
    pub up_if: Option<String>,
    /// Whose votes are missing before anything can be said, one phrase for each clause: ``us-east or us-west, for `1 of
    /// other` ``.
    pub missing: Vec<String>,
}

/// So many of these regions.
struct Choice {
    needed: usize,
    among: RegionSet,
}

impl Quorum {
    /// What would change what the votes say, for a monitor with these assigned regions.
    #[must_use]
    pub fn outlook(&self, tally: Tally, regions: &[RegionId]) -> Outlook {
        let down: Vec<_> = self
            .clauses
            .iter()
            .filter_map(|clause| {
                let also = if clause.count(tally.failing) > 0 { "also " } else { "" };
                let (names, plural) = clause.failures_for_down(tally)?.phrase(regions);
                Some(format!("{names} {also}{}", if plural { "fail" } else { "fails" }))
            })
            .collect();
        let is_up = self.clauses.iter().any(|clause| clause.says_up(tally));
        let up: Vec<_> = self
            .clauses
            .iter()
            .filter(|_| !is_up)
            .filter_map(|clause| {
                let (names, plural) = clause.passes_for_up(tally)?.phrase(regions);
                Some(format!("{names} {}", if plural { "pass" } else { "passes" }))
            })
            .collect();
        let missing = (0..self.clauses.len()).filter(|_| !is_up).filter_map(|index| {
            let (names, _) = self.clauses[index].votes_missing(tally)?.phrase(regions);
            Some(match &self.policy.0 {
                Form::Groups(clauses) if clauses.len() > 1 => format!("{names}, for `{}`", clauses[index]),
                _ => names,
            })
        });
        Outlook {
            down_if: (!down.is_empty()).then(|| down.join(", and ")),
            up_if: (!up.is_empty()).then(|| up.join(", or ")),
            missing: missing.collect(),
        }
    }
}

impl Clause {
    fn says_up(&self, tally: Tally) -> bool {
        self.count(tally.eligible) >= self.at_least
            && self.count(tally.doubtful) < self.needed(tally.eligible)
    }

    /// Which failures are missing; of `all`, those of every region that can be heard.
    fn failures_for_down(&self, tally: Tally) -> Option<Choice> {
        let heard = self.all && self.count(tally.eligible) >= self.at_least;
        let candidates = if heard { self.voters.and(tally.eligible) } else { self.voters };
        let needed = self.needed(tally.eligible).saturating_sub(self.count(tally.failing));
        Choice::new(needed, candidates.without(tally.failing))
    }

    /// How many of the regions in doubt must pass, whichever they are.
    fn passes_for_up(&self, tally: Tally) -> Option<Choice> {
        if self.count(tally.eligible) < self.at_least {
            return None;
        }
        let in_doubt = self.voters.and(tally.doubtful);
        let needed = (in_doubt.len() + 1).saturating_sub(self.needed(tally.eligible));
        Choice::new(needed, in_doubt)
    }

    fn votes_missing(&self, tally: Tally) -> Option<Choice> {
        let needed = self.at_least.saturating_sub(self.count(tally.eligible));
        Choice::new(needed, self.voters.without(tally.eligible))
    }
}

impl Choice {
    /// `None` if nothing has to be chosen.
    fn new(needed: usize, among: RegionSet) -> Option<Self> {
        (needed > 0).then_some(Self { needed, among })
    }

    /// `a`, `a or b`, `a and b`, `2 of a, b and c`; and whether a verb after it stands in the plural.
    fn phrase(&self, regions: &[RegionId]) -> (String, bool) {
        let names: Vec<_> = self.among.iter().filter_map(|index| regions.get(index)).collect();
        let needed = self.needed;
        if names.len() < needed {
            // Only a policy that would not be saved asks for more than there are.
            return (format!("{needed} regions, which are more than there are,"), true);
        }
        let phrase = match names.len() {
            n if n > MAX_NAMED => format!(
                "{needed} of {n} regions ({}, …)",
                names[..MAX_NAMED].iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
            ),
            n if n == needed => phrase::list(&names, "and"),
            _ if needed == 1 => phrase::list(&names, "or"),
            _ => format!("{needed} of {}", phrase::list(&names, "and")),
        };
        (phrase, needed > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said with no vote at all, of regions `r1`, `r2` …
    fn without_votes(policy: &str, regions: usize) -> Outlook {
        let ids: Vec<RegionId> = (1..=regions).map(|n| format!("r{n}").parse().unwrap()).collect();
        policy.parse::<super::super::Policy>().unwrap().over(&ids).outlook(Tally::default(), &ids)
    }

    #[test]
    fn a_clause_is_named_only_where_there_are_several() {
        assert_eq!(without_votes("2 of r*", 2).missing, ["r1 and r2"]);
        assert_eq!(
            without_votes("1 of r1 and 1 of other", 2).missing,
            ["r1, for `1 of r1`", "r2, for `1 of other`"]
        );
    }

    #[test]
    fn eight_regions_are_named_and_of_more_the_first_eight() {
        assert_eq!(without_votes("at_least:3", 8).missing, ["3 of r1, r2, r3, r4, r5, r6, r7 and r8"]);
        let nine = without_votes("at_least:3", 9).missing;
        assert_eq!(nine, ["3 of 9 regions (r1, r2, r3, r4, r5, r6, r7, r8, …)"]);
    }
}
