//! Quorums in words: what is needed, what was counted, what is missing.

use model::RegionId;

use super::language::{Form, Group};
use super::{Clause, Lack, Quorum, RegionSet, Tally, Why};
use crate::phrase;

impl Quorum {
    /// The policy and what it comes to: `majority: 2 of 3 regions`, `2 of eu-* and 1 of other: 2 of 3 and 1 of 2
    /// regions`.
    #[must_use]
    pub fn describe(&self) -> String {
        let last = self.clauses.len() - 1;
        let part = |(index, clause): (usize, &Clause)| {
            let n = clause.voters.len();
            let n = if index == last { phrase::regions(n) } else { n.to_string() };
            match (clause.all, self.name(index)) {
                (false, _) => format!("{} of {n}", clause.at_least),
                (true, None) => {
                    format!("every region that can be heard, at least {} of {n}", clause.at_least)
                }
                (true, Some(_)) => format!("all that can be heard, at least {} of {n}", clause.at_least),
            }
        };
        let parts: Vec<_> = self.clauses.iter().enumerate().map(part).collect();
        format!("{}: {}", self.policy, parts.join(" and "))
    }

    /// Why the votes decide nothing.
    #[must_use]
    pub fn reason(&self, why: Why) -> String {
        let clause = match &self.policy.0 {
            Form::Groups(clauses) if clauses.len() > 1 => {
                clauses.get(why.clause).map(|clause| format!("`{clause}`: ")).unwrap_or_default()
            }
            _ => String::new(),
        };
        match why.lack {
            Lack::Votes { eligible, needed } => {
                format!("{clause}votes of {} count, {needed} needed", phrase::regions(eligible))
            }
            Lack::Certainty { failing, doubtful, needed } => format!(
                "{clause}{failing} failing and {} not known to pass, {needed} needed",
                doubtful.saturating_sub(failing)
            ),
        }
    }

    /// How far the failing regions are from satisfying the policy: `2 of 3 regions failing, 2 needed`; by group `eu-*
    /// 2 of 3 failing, 2 needed, and other 1 of 2 failing, 1 needed`.
    #[must_use]
    pub fn failing_sum(&self, failing: RegionSet, eligible: RegionSet) -> String {
        self.sum(", and ", |clause| (clause.count(failing), "failing", clause.needed(eligible)))
    }

    /// How far the passing regions are from saying up, while as many are in doubt as the tally says; one group is
    /// enough for that.
    #[must_use]
    pub fn passing_sum(&self, passing: RegionSet, tally: Tally) -> String {
        self.sum(", or ", |clause| {
            let passing = clause.count(passing);
            let heard = passing + clause.count(tally.doubtful);
            (passing, "passing", heard.saturating_sub(clause.needed(tally.eligible)) + 1)
        })
    }

    fn sum(&self, join: &str, sum: impl Fn(&Clause) -> (usize, &'static str, usize)) -> String {
        let part = |(index, clause): (usize, &Clause)| {
            let (counted, what, needed) = sum(clause);
            let n = clause.voters.len();
            match self.name(index) {
                Some(group) => format!("{group} {counted} of {n} {what}, {needed} needed"),
                None => format!("{counted} of {} {what}, {needed} needed", phrase::regions(n)),
            }
        };
        self.clauses.iter().enumerate().map(part).collect::<Vec<_>>().join(join)
    }

    /// How the clause calls its regions; `None` if they are all regions, without a name.
    pub(super) fn name(&self, clause: usize) -> Option<&Group> {
        match &self.policy.0 {
            Form::Regions(_) => None,
            Form::Groups(clauses) => clauses.get(clause).map(|clause| &clause.group),
        }
    }

    /// What is to be said of a clause that names no region.
    pub(super) fn names_nobody(&self, clause: usize, regions: &[RegionId]) -> String {
        let never = self.never(clause);
        match self.name(clause) {
            Some(Group::Matching(glob)) => {
                format!("{never}: `{glob}` matches none of {}", ids(RegionSet::first(regions.len()), regions))
            }
            Some(Group::Other) => format!("{never}: other clauses name every region of the monitor"),
            None => format!("{never}: the monitor has no region"),
        }
    }

    /// What is to be said of a clause that asks for more regions than it names.
    pub(super) fn asks_too_much(&self, clause: usize, regions: &[RegionId]) -> String {
        let never = self.never(clause);
        let voters = self.clauses[clause].voters;
        let n = voters.len();
        let named = format!("{} of the monitor ({})", phrase::regions(n), ids(voters, regions));
        match self.name(clause) {
            Some(Group::Matching(glob)) => format!("{never}: `{glob}` matches {named}: use at most {n}"),
            Some(Group::Other) => {
                let are = if n == 1 { "is" } else { "are" };
                format!("{never}: `other` {are} {named}: use at most {n}")
            }
            None => format!("{never} by {}: use at most {n}", phrase::regions(n)),
        }
    }

    fn never(&self, clause: usize) -> String {
        match &self.policy.0 {
            Form::Groups(clauses) => format!("`{}` can never be satisfied", clauses[clause]),
            Form::Regions(_) => format!("`{}` can never be satisfied", self.policy),
        }
    }
}

fn ids(set: RegionSet, regions: &[RegionId]) -> String {
    let ids: Vec<_> = set.iter().filter_map(|index| Some(regions.get(index)?.as_str())).collect();
    ids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(text: &str, regions: usize) -> Quorum {
        let ids = ["eu-north", "eu-west", "us-east", "eu-south", "us-west"];
        let ids: Vec<_> = ids[..regions].iter().map(|id| RegionId::new(id).unwrap()).collect();
        text.parse::<super::super::Policy>().unwrap().over(&ids)
    }

    #[test]
    fn policies_describe_themselves() {
        for (text, regions, described) in [
            ("majority", 3, "majority: 2 of 3 regions"),
            ("any", 1, "any: 1 of 1 region"),
            ("all", 4, "all: every region that can be heard, at least 2 of 4 regions"),
            ("at_least:2", 4, "at_least:2: 2 of 4 regions"),
            ("percent:60", 5, "percent:60: 3 of 5 regions"),
            ("2 of eu-* and 1 of other", 5, "2 of eu-* and 1 of other: 2 of 3 and 1 of 2 regions"),
            (
                "all of eu-* and 1 of us-east",
                5,
                "all of eu-* and 1 of us-east: all that can be heard, at least 2 of 3 and 1 of 1 region",
            ),
        ] {
            assert_eq!(quorum(text, regions).describe(), described);
        }
    }

    #[test]
    fn a_reason_names_its_clause_only_where_there_are_several() {
        let lacking = Why { clause: 0, lack: Lack::Votes { eligible: 1, needed: 2 } };
        assert_eq!(quorum("2 of eu-*", 5).reason(lacking), "votes of 1 region count, 2 needed");
        assert_eq!(
            quorum("2 of eu-* and 1 of other", 5).reason(lacking),
            "`2 of eu-*`: votes of 1 region count, 2 needed"
        );
    }

    #[test]
    fn sums_are_told_by_group() {
        let set = |indices: &[usize]| indices.iter().copied().collect::<RegionSet>();
        let all = RegionSet::first(5);
        let plain = quorum("majority", 5);
        assert_eq!(plain.failing_sum(set(&[0, 1]), all), "2 of 5 regions failing, 3 needed");
        let groups = quorum("2 of eu-* and 1 of other", 5);
        let sum = groups.failing_sum(set(&[0, 1, 2]), all);
        assert_eq!(sum, "eu-* 2 of 3 failing, 2 needed, and other 1 of 2 failing, 1 needed");
        let tally = Tally { eligible: all, failing: set(&[0, 1, 2]), doubtful: set(&[0, 1, 2]) };
        let sum = groups.passing_sum(set(&[3, 4]), tally);
        assert_eq!(sum, "eu-* 1 of 3 passing, 2 needed, or other 1 of 2 passing, 2 needed");
    }
}
